"""Attacks on the kernel's surface: namespaces, mounts, other processes, and calls that nobody inside needs."""

import fcntl
import tempfile

AT_FDCWD = -100
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x20000, 0x10000000, 0x20000000, 0x40000000
SIGCHLD = 17


def _new_dir():
    return tempfile.mkdtemp().encode()


@attack
def mount():
    call(165, b"none", _new_dir(), b"tmpfs", 0, 0)


@attack
def remount():
    call(165, b"none", b"/", b"", 32 | 4096, 0)  # MS_REMOUNT | MS_BIND: reaches "/" read-write, without nosuid


@attack
def umount():
    call(166, b"/proc", 2)


@attack
def pivot_root():
    reaches(155, b"/nowhere", b"/nowhere")


@attack
def chroot():
    in_child(lambda: call(161, b"/tmp"))


@attack
def fsopen():
    call(430, b"tmpfs", 0)


@attack
def fspick():
    call(433, AT_FDCWD, b"/", 0)


@attack
def open_tree():
    call(428, AT_FDCWD, b"/", 1)


@attack
def move_mount():
    reaches(429, -1, b"", -1, b"", 0)


@attack
def mount_setattr():
    call(442, AT_FDCWD, b"/", 0, struct.pack("QQQQ", 0, 0, 0, 0), 32)


@attack
def unshare_user():
    in_child(lambda: call(272, CLONE_NEWUSER))


@attack
def unshare_mount():
    in_child(lambda: call(272, CLONE_NEWNS))


@attack
def unshare_net():
    in_child(lambda: call(272, CLONE_NEWNET))


def _clone(number, *arguments):
    pid = call(number, *arguments)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


@attack
def clone_user():
    _clone(56, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0)


@attack
def clone_pid():
    _clone(56, CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0)


@attack
def clone_high_bits():
    """The kernel truncates the flags to 32 bits: a filter that compared all 64 would be fooled."""
    _clone(56, 1 << 32 | CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0)


@attack
def clone_sibling():
    """A child of the jailer, unseen by its accounts."""
    pid = call(56, 0x8000 | SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)


@attack
def clone3_user():
    _clone(435, struct.pack("8Q", CLONE_NEWUSER, 0, 0, 0, SIGCHLD, 0, 0, 0), 64)


@attack
def setns_own():
    fd = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    in_child(lambda: call(308, fd, CLONE_NEWNS))


@attack
def setns_init():
    fd = os.open("/proc/1/ns/mnt", os.O_RDONLY)
    in_child(lambda: call(308, fd, CLONE_NEWNS))


@attack
def ptrace_me():
    in_child(lambda: call(101, 0, 0, 0, 0))


@attack
def ptrace_seize():
    pid = os.fork()
    if pid == 0:
        time.sleep(30)
        os._exit(0)
    try:
        call(101, 0x4206, pid, 0, 0)
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


@attack
def process_vm_readv():
    there, here = ctypes.create_string_buffer(b"secret"), ctypes.create_string_buffer(6)
    vector = lambda buffer: struct.pack("QQ", ctypes.addressof(buffer), 6)
    call(310, os.getpid(), vector(here), 1, vector(there), 1, 0)


@attack
def process_vm_writev():
    there, here = ctypes.create_string_buffer(b"secret"), ctypes.create_string_buffer(6)
    vector = lambda buffer: struct.pack("QQ", ctypes.addressof(buffer), 6)
    call(311, os.getpid(), vector(here), 1, vector(there), 1, 0)


@attack
def process_madvise():
    reaches(440, -1, 0, 0, 0, 0)


@attack
def kcmp():
    call(312, os.getpid(), os.getpid(), 0, 0, 1)


@attack
def pidfd_open():
    call(434, os.getpid(), 0)


@attack
def pidfd_getfd():
    reaches(438, -1, 0, 0)


@attack
def bpf():
    call(321, 0, struct.pack("4I", 2, 4, 4, 1) + bytes(112), 128)


@attack
def perf_event_open():
    call(298, struct.pack("IIQ", 1, 128, 0) + bytes(112), 0, -1, -1, 0)


@attack
def userfaultfd():
    call(323, 0)


@attack
def io_uring_setup():
    call(425, 4, ctypes.create_string_buffer(120))


@attack
def io_uring_enter():
    reaches(426, -1, 0, 0, 0, 0, 0)


@attack
def io_uring_register():
    reaches(427, -1, 0, 0, 0)


@attack
def keyctl():
    call(250, 0, -3, 1)


@attack
def add_key():
    call(248, b"user", b"ringfence-attack", b"x", 1, -2)


@attack
def request_key():
    reaches(249, b"user", b"ringfence-nobody-has-it", 0, 0)


@attack
def session_keyring_of_root():
    """A key that root put into its session keyring, read by whoever inherits that."""
    payload = ctypes.create_string_buffer(64)
    for key in _keys():
        if call(250, 11, key, payload, 64) and payload.value.startswith(b"ringfence-secret"):
            return
    raise Blocked("no such key")


def _keys():
    ring = ctypes.create_string_buffer(4096)
    length = call(250, 11, -3, ring, 4096)  # KEYCTL_READ of the session keyring
    return struct.unpack_from("%di" % (length // 4), ring)


@attack
def modify_ldt():
    reaches(154, 1, 0, 0)


@attack
def no_address_randomisation():
    in_child(lambda: call(135, 0x0040000))


@attack
def iopl():
    in_child(lambda: call(172, 3))


@attack
def ioperm():
    in_child(lambda: call(173, 0x80, 1, 1))


@attack
def swapon():
    reaches(167, b"/nowhere", 0)


@attack
def init_module():
    reaches(175, 0, 0, b"")


@attack
def finit_module():
    reaches(313, -1, b"", 0)


@attack
def delete_module():
    reaches(176, b"ringfence_nowhere", 0)


@attack
def kexec_load():
    reaches(246, 0, 1, 0, 1 << 20)


@attack
def reboot():
    reaches(169, 0, 0, 0, 0)


@attack
def settimeofday():
    call(164, 0, 0)


@attack
def clock_settime():
    reaches(227, 0, struct.pack("qq", 0, -1))


@attack
def adjtimex():
    reaches(159, struct.pack("IIq", 0x8000, 0, 0) + bytes(240))


@attack
def acct():
    reaches(163, b"/nowhere")


@attack
def syslog():
    call(103, 3, ctypes.create_string_buffer(4096), 4096)


@attack
def quotactl():
    reaches(179, 0x800002 << 8, b"/nowhere", 0, 0)


@attack
def fanotify():
    call(300, 0, 0)


@attack
def name_to_handle_at():
    reaches(303, AT_FDCWD, b"/", struct.pack("Ii", 0, 0), ctypes.create_string_buffer(4), 0)


@attack
def open_by_handle_at():
    reaches(304, AT_FDCWD, struct.pack("Ii", 8, 1) + bytes(8), 0)


@attack
def sethostname():
    call(170, b"attacked", 8)


@attack
def move_pages():
    reaches(279, 0, 0, 0, 0, 0, 0)


@attack
def vmsplice():
    reaches(278, -1, 0, 0, 0)


@attack
def memfd_secret():
    call(447, 0)


@attack
def posix_queue():
    """The bytes of queues count per owner of the user namespace: one sandbox took the queues of all."""
    fd = call(240, b"ringfence-attack", os.O_CREAT | os.O_RDWR, 0o600, 0)
    os.close(fd)
    call(241, b"ringfence-attack")


@attack
def shm_lock():
    """Locked shared memory counts per owner of the user namespace, too."""
    segment = call(29, 0, 4096, 0o1600)
    try:
        call(31, segment, 11, 0)
    finally:
        call(31, segment, 0, 0)


@attack
def x32_abi():
    """getpid by its x32 number, which a filter that looks at plain numbers only would not know."""
    call(0x40000000 | 39)


@attack
def int80_abi():
    """mkdir (39) by way of the 32-bit entry; a filter for one architecture would take it for getpid, which is allowed."""
    import mmap

    path = tempfile.mkdtemp().encode() + b"/made-by-int80"

    def enter():
        low = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40, prot=7)  # MAP_32BIT
        address = ctypes.addressof(ctypes.c_char.from_buffer(low))
        code = b"\x53\xbb" + struct.pack("I", address + 64)  # push rbx; mov ebx, path
        code += b"\xb9\xed\x01\0\0\xb8\x27\0\0\0\xcd\x80\x5b\xc3"  # mov ecx, 0755; mov eax, 39; int 0x80; pop rbx; ret
        low[: len(code)] = code
        low[64 : 64 + len(path) + 1] = path + b"\0"
        result = ctypes.CFUNCTYPE(ctypes.c_int)(address)()
        if result < 0:
            raise OSError(-result, "")

    in_child(enter)
    os.rmdir(path)


def _allow_everything():
    """A filter of one instruction: SECCOMP_RET_ALLOW."""
    program = struct.pack("HBBI", 6, 0, 0, 0x7FFF0000)
    buffer = ctypes.create_string_buffer(program)
    header = struct.pack("HxxxxxxQ", 1, ctypes.addressof(buffer))
    call(157, 38, 1, 0, 0, 0)
    call(317, 1, 0, header)


@attack
def a_wider_filter():
    """Filters add up: a later one that allows everything takes nothing away."""

    def work():
        _allow_everything()
        call(165, b"none", _new_dir(), b"tmpfs", 0, 0)

    in_child(work)


@attack
def filter_removed():
    def work():
        try:
            call(157, 22, 0, 0, 0, 0)  # PR_SET_SECCOMP, SECCOMP_MODE_DISABLED
        except OSError:
            pass
        call(165, b"none", _new_dir(), b"tmpfs", 0, 0)

    in_child(work)


@attack
def new_privileges_allowed_again():
    def work():
        try:
            call(157, 38, 0, 0, 0, 0)
        except OSError:
            pass
        if call(157, 39, 0, 0, 0, 0) == 1:
            raise Blocked("no_new_privs")

    in_child(work)
