"""What a process shows of itself in /proc: its command line and its environment."""

import ctypes
import mmap
import os

PR_SET_MM = 35
PR_SET_MM_MAP = 14


class MemoryMap(ctypes.Structure):
    """struct prctl_mm_map (prctl(2))."""

    NAMES = ("start_code", "end_code", "start_data", "end_data", "start_brk", "brk", "start_stack", "arg_start", "arg_end",
             "env_start", "env_end", "auxv")
    _fields_ = [(name, ctypes.c_uint64) for name in NAMES] + [("auxv_size", ctypes.c_uint32), ("exe_fd", ctypes.c_uint32)]


# Never unmapped: the kernel reads from it.
_shown = None
# What does not change from the fork to the program: the break is asked for anew.
_numbers = None

_libc = ctypes.CDLL(None)
_libc.sbrk.restype = ctypes.c_void_p
_libc.sbrk.argtypes = [ctypes.c_ssize_t]
_libc.prctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong]


def show(argv, env):
    """Makes `argv` and `env` (lists of bytes) what /proc/self/cmdline and /proc/self/environ show."""
    numbers = _numbers or _memory()
    argv = b"".join(argument + b"\0" for argument in argv)
    env = b"".join(variable + b"\0" for variable in env)
    if not _show_elsewhere(numbers, argv, env):
        _overwrite(numbers["arg_start"], numbers["arg_end"], argv)
        _overwrite(numbers["env_start"], numbers["env_end"], env)


def remember():
    """Reads ahead what `show` needs."""
    global _numbers
    _numbers = _memory()


def _memory():
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    # Numbers as in proc(5), where the first field after the name is the third.
    numbered = {"start_code": 26, "end_code": 27, "start_stack": 28, "start_data": 45, "end_data": 46, "start_brk": 47,
                "arg_start": 48, "arg_end": 49, "env_start": 50, "env_end": 51}
    return {name: int(fields[number - 3]) for name, number in numbered.items()}


def _show_elsewhere(numbers, argv, env):
    """Points the kernel at a copy: exact, and of any size. Needs CONFIG_CHECKPOINT_RESTORE, and no privilege."""
    global _shown
    # Private: the kernel shows anonymous memory only.
    memory = mmap.mmap(-1, max(len(argv) + len(env), 1), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.write(argv + env)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    wanted = dict(numbers, brk=_libc.sbrk(0), arg_start=start, arg_end=start + len(argv), env_start=start + len(argv),
                  env_end=start + len(argv) + len(env), auxv=0, auxv_size=0, exe_fd=0xFFFFFFFF)
    new = MemoryMap(**wanted)
    if _libc.prctl(PR_SET_MM, PR_SET_MM_MAP, ctypes.addressof(new), ctypes.sizeof(new), 0) != 0:
        return False
    _shown = memory
    return True


def _overwrite(start, end, text):
    """In place, cut or padded with NUL. Nothing may point there any more."""
    room = end - start
    if 0 < room < 1 << 22:
        ctypes.memmove(start, text[: room - 1].ljust(room, b"\0"), room)


def page_bytes():
    """Resident memory of this process, in bytes."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
