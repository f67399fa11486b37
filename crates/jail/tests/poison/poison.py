"""A package that was poisoned: a zygote imports it before any tenant exists. What it tries is named by POISON.

For what happens between `setns` and the last filter it brings a join of its own, written with ctypes, that does what
crates/guest/join does except where a variant spoils it. Whatever is found is said as one line of JSON.
"""

import ctypes
import errno
import json
import os
import socket
import struct
import sys
import threading
import time

VARIANT = os.environ.pop("POISON", "")
HOST = os.environ.pop("POISON_HOST", "/nowhere")

CLONE, SETNS, CLOSE_RANGE, SECCOMP, CAPSET = 56, 308, 436, 317, 126
CLONE_PARENT, CLONE_NEWUSER, CLONE_NEWNS, SIGCHLD = 0x8000, 0x10000000, 0x00020000, 17
PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 4, 24, 47, 4
USER = 1000

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def call(number, *arguments):
    result = libc.syscall(ctypes.c_long(number), *(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments))
    return result if result != -1 else -ctypes.get_errno()


def join(control, streams, namespaces, count, last_filter, length, descriptors):
    """What rf_join does: a joiner enters, makes the interpreter, and is gone."""
    joiner = call(CLONE, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0)
    if joiner:
        return joiner
    for fd in list(namespaces):
        if call(SETNS, fd, 0) < 0:
            os._exit(1)
    if VARIANT == "forks_before_hello" and call(CLONE, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0) == 0:
        linger()
    made = call(CLONE, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0)
    if made == 0:
        return interpreter(control, list(streams), list(namespaces), last_filter, descriptors)
    if VARIANT == "leaves_a_joiner":
        linger()
    os._exit(0)


def linger():
    os.closerange(0, 1024)
    while True:
        time.sleep(1000)


def interpreter(control, streams, namespaces, last_filter, descriptors):
    jailer = socket.socket(fileno=control)
    if VARIANT == "names_init":
        credentials = struct.pack("<III", 1, 0, 0)
        jailer.sendmsg([b"RFHELLO1"], [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, credentials)])
    else:
        jailer.send(b"RFHELLO1")
    if jailer.recv(1) != b"G":
        os._exit(1)
    if VARIANT == "forks_after_go" and call(CLONE, SIGCHLD, 0, 0, 0, 0) == 0:
        linger()
    os.setsid()
    for number, fd in enumerate(streams):
        os.dup2(fd, number)
    if VARIANT == "keeps_a_namespace_as_stdin":
        os.dup2(namespaces[0], 0)
    if VARIANT.startswith("hides_namespaces_in_a_queue"):
        # Unseen: neither the namespaces nor the jailer's own socket is a descriptor of anybody until it is received.
        shown, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        socket.send_fds(other, [b"all"], [*namespaces, jailer.fileno()])
        other.close()
        shown_fd, talk = shown.detach(), jailer.dup()
        os.dup2(shown_fd, 3)
        # The jailer looks when it has been told; nobody but this queue holds the socket by then.
        speaks = talk.detach()
    else:
        os.dup2(control, 3)
        speaks = None
    if VARIANT == "keeps_a_namespace":
        os.dup2(namespaces[0], 700)
        call(CLOSE_RANGE, 4, 699, 0)
    elif speaks is not None:
        os.dup2(speaks, 4)
        call(CLOSE_RANGE, 5, 0xFFFFFFFF, 0)
    else:
        call(CLOSE_RANGE, 4, 0xFFFFFFFF, 0)
    os.umask(0o022)
    drop(last_filter)
    libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
    if VARIANT == "starts_a_thread":
        threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
    if speaks is not None:
        os.write(4, b"RFPARK_1")
        os.close(4)
        time.sleep(0.3)  # the jailer has looked by now
        # The jailer's word is for a socket that waits in the queue.
        received, fds, *_ = socket.recv_fds(socket.socket(fileno=os.dup(3)), 8, 16)
        os.read(fds[-1], 1)
        os.dup2(fds[-1], 3)
        say({"namespaces": [call(SETNS, fd, 0) for fd in fds[:-1]]})
    else:
        os.write(3, b"RFPARK_1")
        if os.read(3, 1) != b"G":
            os._exit(1)
    if VARIANT == "own_filter":
        say(attack())
    return 0


def drop(last_filter):
    if VARIANT != "keeps_bounding_set":
        for capability in range(64):
            if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
                break
    libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    os.setgroups([])
    if VARIANT != "keeps_its_user":
        libc.syscall(119, USER, USER, USER)  # setresgid
        libc.syscall(117, USER, USER, USER)  # setresuid
    if VARIANT != "keeps_capabilities":
        header = struct.pack("<Ii", 0x20080522, 0)
        call(CAPSET, ctypes.c_char_p(header), ctypes.c_char_p(bytes(24)))
    if VARIANT == "skips_the_filter":
        return
    if VARIANT == "own_filter":
        last_filter = struct.pack("<HBBI", 0x06, 0, 0, 0x7FFF0000)  # allow everything
    instructions = ctypes.create_string_buffer(last_filter, len(last_filter))
    program = struct.pack("<HxxxxxxQ", len(last_filter) // 8, ctypes.addressof(instructions))
    if call(SECCOMP, 1, 0, ctypes.c_char_p(program)) != 0:
        os._exit(1)


def say(found):
    os.write(1, json.dumps(found).encode() + b"\n")


def attack():
    """Tries everything; whatever is not refused is returned by name."""
    text = lambda t: ctypes.c_char_p(t)
    buffer = ctypes.create_string_buffer(4096)
    numbers = [n for n in range(1, 6000) if n != os.getpid()]
    tries = {
        "unshare user": (272, CLONE_NEWUSER),
        "unshare mnt": (272, CLONE_NEWNS),
        "clone user": (CLONE, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0),
        "clone3": (435, buffer, 88),
        "mount": (165, text(b"none"), text(b"/mnt"), text(b"tmpfs"), 0, 0),
        "umount": (166, text(b"/proc"), 2),
        "pivot_root": (155, text(b"/"), text(b"/")),
        "chroot": (161, text(b"/")),
        "open_tree": (428, -100, text(b"/"), 1),
        "fsopen": (430, text(b"tmpfs"), 0),
        "mount_setattr": (442, -100, text(b"/"), 0, buffer, 32),
        "ptrace": (101, 16, 1, 0, 0),
        "ptrace traceme": (101, 0, 0, 0, 0),
        "process_vm_readv": (310, 1, buffer, 1, buffer, 1, 0),
        "pidfd_open": (434, 1, 0),
        "kcmp": (312, os.getpid(), 1, 0, 0, 0),
        "bpf": (321, 0, buffer, 64),
        "perf_event_open": (298, buffer, 0, -1, -1, 0),
        "userfaultfd": (323, 1),
        "io_uring_setup": (425, 8, buffer),
        "keyctl": (250, 0, -3, 0),
        "add_key": (248, text(b"user"), text(b"k"), text(b"v"), 1, -3),
        "init_module": (175, buffer, 16, text(b"")),
        "kexec_load": (246, 0, 0, 0, 0),
        "reboot": (169, 0xFEE1DEAD, 672274793, 0, 0),
        "syslog": (103, 3, buffer, 4096),
        "swapon": (167, text(b"/dev/vda"), 0),
        "open_by_handle_at": (304, -100, buffer, 0),
        "settimeofday": (164, buffer, 0),
        "iopl": (172, 3),
        "sethostname": (170, text(b"x"), 1),
        "vsock": (41, 40, 1, 0),
        "packet socket": (41, 17, 3, 0),
    }
    found = {}
    for name, arguments in tries.items():
        result = call(*arguments)
        if result >= 0:
            found[name] = result
    for owner in ("self", "1"):
        for kind in ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"):
            try:
                fd = os.open(f"/proc/{owner}/ns/{kind}", os.O_RDONLY)
            except OSError:
                continue
            if call(SETNS, fd, 0) == 0:
                found[f"setns {owner} {kind}"] = 0
            os.close(fd)
    reached = [n for n in numbers if call(62, n, 0) == 0 and not is_ours(n)]
    if reached:
        found["processes"] = reached
    paths = [HOST, HOST + "/installation", "/proc/1/environ", "/proc/1/root/etc/passwd", "/proc/1/cwd/", "/proc/kallsyms",
             "/proc/kcore", "/dev/kmsg", "/dev/vda", "/dev/mem", "/sys/kernel/security", "/etc/shadow", "/root/.bashrc",
             "/proc/sysrq-trigger", "/l", "/root/l", "/work"]
    for path in paths:
        try:
            if os.path.isdir(path):
                read = len(os.listdir(path))
            else:
                with open(path, "rb") as file:
                    read = len(file.read(1))
            if read:
                found[path] = read
        except OSError:
            pass
    for address in (("127.0.0.1", 17433), ("169.254.169.254", 80), ("1.1.1.1", 53)):
        with socket.socket() as outside:
            outside.settimeout(0.3)
            if outside.connect_ex(address) == 0:
                found[str(address)] = 0
    for name in ("ringfence-uids-%d" % n for n in range(16)):
        with socket.socket(socket.AF_UNIX) as outside:
            if outside.connect_ex("\0" + name) == 0:
                found[name] = 0
    return found


def is_ours(number):
    """Processes of the same interpreter or sandbox may be signalled."""
    return number == os.getppid() or os.path.exists(f"/proc/{number}/task") and VARIANT != "attacks_at_import"


def poison_the_join():
    genuine = ctypes.PyDLL

    class Function:
        def __call__(self, *arguments):
            return join(*arguments)

    class Library:
        def __init__(self, path):
            self.real = genuine(path)
            self.rf_join = Function()

        def __getattr__(self, name):
            return getattr(self.real, name)

    ctypes.PyDLL = lambda path, *rest: Library(path) if path.endswith("join.so") else genuine(path, *rest)


if VARIANT == "attacks_at_import":
    raise ImportError("FOUND" + json.dumps(attack()))
elif VARIANT == "starts_a_thread_at_import":
    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
elif VARIANT == "denies_its_thread":
    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
    genuine_listdir = os.listdir
    os.listdir = lambda path=".": ["1"] if path == "/proc/self/task" else genuine_listdir(path)
elif VARIANT == "attacks_after_fork":
    os.register_at_fork(after_in_child=lambda: say(attack()))
elif VARIANT:
    poison_the_join()
