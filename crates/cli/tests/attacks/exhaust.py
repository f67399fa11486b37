"""Attacks that take what others need. Each takes a bounded amount that no sandbox may have, so that the control, which
gets it, harms nobody.
"""

import fcntl
import mmap
import resource
import signal
import tempfile
import threading

MIB = 1 << 20


@attack
def fork_bomb():
    """600 processes at once."""
    children = []
    try:
        for _ in range(600):
            pid = os.fork()
            if pid == 0:
                time.sleep(60)
                os._exit(0)
            children.append(pid)
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        for pid in children:
            os.waitpid(pid, 0)


@attack
def thread_bomb():
    """600 threads at once."""
    over = threading.Event()
    threads = []
    try:
        for _ in range(600):
            thread = threading.Thread(target=over.wait)
            try:
                thread.start()
            except RuntimeError:
                raise OSError(errno.EAGAIN, "no thread")
            threads.append(thread)
    finally:
        over.set()
        for thread in threads:
            thread.join()


@attack
def memory_bomb():
    """300 MiB, touched."""
    held = mmap.mmap(-1, 300 * MIB)
    for at in range(0, len(held), 4096):
        held[at] = 1


@attack
def locked_bomb():
    """300 MiB that no swap may take, of which nothing has been touched before."""
    held = mmap.mmap(-1, 300 * MIB)
    call(149, ctypes.addressof(ctypes.c_char.from_buffer(held)), 300 * MIB)


def _fill(file, mib=300):
    block = b"x" * MIB
    for _ in range(mib):
        file.write(block)


@attack
def memfd_bomb():
    with open(os.memfd_create("bomb"), "wb", buffering=0) as file:
        _fill(file)


@attack
def shm_file_bomb():
    """On the tmpfs that every sandbox has; the control's is of the same name."""
    with tempfile.NamedTemporaryFile(dir="/dev/shm", buffering=0) as file:
        _fill(file)


@attack
def run_directory_bomb():
    """The tmpfs that the host itself puts programs on."""
    os.makedirs("/run/ringfence", exist_ok=True)
    with tempfile.NamedTemporaryFile(dir="/run/ringfence", buffering=0) as file:
        _fill(file, 20)


@attack
def system_v_bomb():
    """A shared memory segment outlives its process."""
    _libc.shmat.restype = ctypes.c_void_p
    segment = call(29, 0, 300 * MIB, 0o1600)
    try:
        address = _libc.shmat(segment, None, 0)
        for at in range(0, 300 * MIB, 4096):
            ctypes.memset(address + at, 1, 1)
    finally:
        call(31, segment, 0, 0)


@attack
def pipe_bomb():
    """300 MiB in pipes that nobody reads."""
    block = b"x" * MIB
    for _ in range(300):
        _, write = os.pipe()
        fcntl.fcntl(write, 1031, MIB)  # F_SETPIPE_SZ
        os.write(write, block)


def _sent(sockets, most):
    total = 0
    for socket_ in sockets:
        try:
            while total < most:
                total += socket_.send(b"x" * 65536)
        except BlockingIOError:
            pass
    return total


@attack
def tcp_bomb():
    """100 MiB in connections to itself that nobody reads: cgroup v1 does not count them as memory."""
    total, held = 0, []
    while total < 100 * MIB:
        listener = socket.create_server(("127.0.0.1", 0))
        client = socket.create_connection(listener.getsockname())
        held += [client, listener.accept()[0]]
        listener.close()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * MIB)
        client.setblocking(False)
        total += _sent([client], 100 * MIB - total)
        if len(held) > 900:
            raise Blocked("socket buffers")


@attack
def udp_bomb():
    """100 MiB in datagrams to itself that nobody reads."""
    sender, held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), []
    kept = 0
    while kept < 100 * MIB:
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * MIB)
        receiver.bind(("127.0.0.1", 0))
        held.append(receiver)
        for _ in range(16):
            sender.sendto(b"x" * 60_000, receiver.getsockname())
        kept += 16 * 60_000
        if len(held) > 900:
            break
    # What was dropped is known to the receiver only: read back how much there is.
    there = 0
    for receiver in held:
        receiver.setblocking(False)
        try:
            while True:
                there += len(receiver.recv(65536))
        except BlockingIOError:
            pass
    if there < 90 * MIB:
        raise Blocked("socket buffers")


@attack
def descriptor_bomb():
    """4000 descriptors in one process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    fds = []
    try:
        for _ in range(4000):
            fds.append(os.open("/dev/null", os.O_RDONLY))
    finally:
        for fd in fds:
            os.close(fd)


@attack
def disk_bomb():
    with tempfile.NamedTemporaryFile(dir=".", buffering=0) as file:
        _fill(file, 100)
        os.fsync(file.fileno())


@attack
def fallocate_bomb():
    with tempfile.NamedTemporaryFile(dir=".", buffering=0) as file:
        os.posix_fallocate(file.fileno(), 0, 100 * MIB)


@attack
def sparse_bomb():
    """A file far larger than the disk, then data all over it."""
    with tempfile.NamedTemporaryFile(dir=".", buffering=0) as file:
        os.ftruncate(file.fileno(), 1 << 30)
        for at in range(0, 1 << 30, 10 * MIB):
            os.pwrite(file.fileno(), b"x" * MIB, at)
        os.fsync(file.fileno())


@attack
def pseudo_terminal_bomb():
    """Their number is the whole host's."""
    for _ in range(100):
        os.openpty()


def _hold(take, most):
    """Takes until there is nothing more, says so, and keeps it until its input ends."""
    held = []
    try:
        while len(held) < most:
            held.append(take())
    except OSError as error:
        print("HOLDS", len(held), errno.errorcode[error.errno], flush=True)
    else:
        print("HOLDS", len(held), flush=True)
    return held


def _take_inotify():
    return call(294, 0)


def _take_timer():
    timer = ctypes.c_int()
    call(222, 1, 0, ctypes.byref(timer))
    return timer.value


def _take_queue():
    _take_queue.number += 1
    return call(240, b"ringfence-%d" % _take_queue.number, os.O_CREAT | os.O_RDWR, 0o600, 0)


_take_queue.number = os.getpid() * 1000
TAKE = {"inotify": _take_inotify, "timers": _take_timer, "queues": _take_queue}


@attack
def take_all():
    """One sandbox's part: holds what RESOURCE names until killed."""
    held = _hold(TAKE[RESOURCE], 100_000)
    time.sleep(HOLD_SECONDS)


@attack
def neighbour_has_none():
    """The neighbour's part: the attack succeeded when there is nothing left."""
    try:
        TAKE[RESOURCE]()
    except OSError as error:
        if error.errno == errno.ENOSYS:
            raise
        return
    raise Blocked("there is enough")


@attack
def signal_everybody():
    """kill(-1): with a neighbour that did nothing to deserve it. Where pid 1 is somebody else's, that is the neighbour."""
    victim = int(VICTIM) if VICTIM else 1
    try:
        os.kill(-1, signal.SIGKILL)
    except ProcessLookupError:
        pass  # there is nobody whom it may be sent to
    for _ in range(100):
        try:
            os.kill(victim, 0)
            with open("/proc/%d/stat" % victim) as stat:
                if stat.read().rpartition(")")[2].split()[0] == "Z":
                    return
        except (FileNotFoundError, ProcessLookupError):
            return
        except PermissionError:
            raise Blocked("EPERM")
        time.sleep(0.01)
    raise Blocked("it lives")


@attack
def outlive_the_deadline():
    """Ignores SIGTERM, and leaves a daemon behind: double fork and setsid. Says its pid."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            print("DAEMON", os.getpid(), flush=True)
            time.sleep(120)
        os._exit(0)
    time.sleep(120)
