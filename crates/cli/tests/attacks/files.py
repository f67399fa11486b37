"""Attacks on what can be seen and opened: procfs, sysfs, cgroups, devices, files and descriptors of the host."""

import glob


def _readable(path, size=64):
    with open(path, "rb", buffering=0) as file:
        data = file.read(size)
    if not data:
        raise Blocked("empty")
    return data


def _writable(path):
    """Opens for writing, and writes nothing."""
    os.close(os.open(path, os.O_WRONLY))


@attack
def environment_of_init():
    _readable("/proc/1/environ")


@attack
def memory_of_init():
    with open("/proc/1/maps") as maps:
        start = int(next(maps).split("-")[0], 16)
    with open("/proc/1/mem", "rb", buffering=0) as memory:
        memory.seek(start)
        memory.read(4)


@attack
def descriptors_of_init():
    os.listdir("/proc/1/fd")


@attack
def root_of_init():
    os.listdir("/proc/1/root/")


@attack
def other_processes():
    """Any process that is not of our own user."""
    others = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.stat("/proc/" + pid).st_uid != os.getuid() or int(pid) == os.getppid():
                others.append(pid)
        except OSError:
            pass
    # Their numbers, although they are not listed.
    for pid in range(1, 3000):
        try:
            os.stat("/proc/%d/cmdline" % pid)
            if os.stat("/proc/%d" % pid).st_uid != os.getuid():
                others.append(pid)
        except OSError:
            pass
    if not others:
        raise Blocked("invisible")


@attack
def kcore():
    _readable("/proc/kcore")


@attack
def kallsyms():
    _readable("/proc/kallsyms")


@attack
def kernel_stack():
    """Where in the kernel a process of ours is, function by function."""
    _readable("/proc/self/stack")


@attack
def kernel_slabs():
    """What the kernel holds in its caches, of all that run on it."""
    _readable("/proc/slabinfo")


@attack
def kernel_messages():
    fd = os.open("/proc/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    try:
        if not os.read(fd, 10):
            raise Blocked("empty")
    except BlockingIOError:
        pass  # open, and nothing new


@attack
def kernel_command_line():
    _readable("/proc/cmdline")


@attack
def modules_and_devices():
    for name in ("iomem", "interrupts", "diskstats", "partitions", "timer_list", "vmallocinfo", "keys", "crypto", "devices"):
        try:
            _readable("/proc/" + name)
            return
        except (Blocked, OSError):
            pass
    raise Blocked("empty")


@attack
def system_settings():
    """Anything below /proc/sys that opens for writing."""
    found = 0
    for directory, _, names in os.walk("/proc/sys"):
        for name in names:
            found += 1
            try:
                _writable(os.path.join(directory, name))
                return
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EROFS, errno.EPERM):
                    raise
    raise Blocked("EROFS" if found else "absent")


@attack
def core_pattern():
    _writable("/proc/sys/kernel/core_pattern")


@attack
def sysrq():
    _writable("/proc/sysrq-trigger")


@attack
def sysfs():
    if not os.listdir("/sys"):
        raise Blocked("empty")


@attack
def own_cgroup():
    """Its own limits, wherever a cgroup file system is mounted."""
    with open("/proc/self/mountinfo") as mounts:
        points = [line.split()[4] for line in mounts if " - cgroup" in line]
    for point in points:
        for name in ("cgroup.procs", "memory.limit_in_bytes", "pids.max"):
            try:
                _writable(os.path.join(point, name))
                return
            except FileNotFoundError:
                pass
    raise Blocked("no cgroup file system")


@attack
def uid_map():
    with open("/proc/self/uid_map", "w") as file:
        file.write("0 0 1\n")


@attack
def oom_score_lowered():
    """Below nothing at all: others would be chosen first."""
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("-1\n")


@attack
def devices():
    for name in ("mem", "kmsg", "port", "kvm", "fuse", "net/tun", "loop-control", "vda", "sda", "nvme0n1", "console", "tty1"):
        try:
            os.close(os.open("/dev/" + name, os.O_RDONLY | os.O_NONBLOCK))
            return
        except FileNotFoundError:
            pass
    raise Blocked("ENOENT")


@attack
def harmless_devices_are_not_the_host_s():
    """The host's own /dev/null could be watched: inotify tells when anybody uses it."""
    if (os.stat("/dev/null").st_dev, os.stat("/dev/null").st_ino) == HOST_DEV_NULL:
        return
    raise Blocked("another inode")


@attack
def file_of_the_host():
    """A file whose path on the host is known, by every way out of a root directory."""
    ways = [HOST_FILE, "/proc/self/root" + HOST_FILE, "/proc/1/root" + HOST_FILE, "/proc/self/cwd/../../../.." + HOST_FILE,
            "/" + "../" * 30 + HOST_FILE, "/dev/fd/../../.." + HOST_FILE]
    root = os.open("/", os.O_PATH)
    for way in ways:
        for dir_fd in (None, root):
            try:
                fd = os.open(way if dir_fd is None else "../" * 9 + way.lstrip("/"), os.O_RDONLY, dir_fd=dir_fd)
            except OSError as error:
                last = error
            else:
                if os.read(fd, 100).startswith(b"ringfence-secret"):
                    return
                os.close(fd)
                last = Blocked("another file")
    try:
        call(161, b"/tmp")  # the classic way out: chroot below, walk up
        os.chdir("../" * 30)
        if os.path.exists("." + HOST_FILE):
            return
    except OSError:
        pass
    raise last


@attack
def descriptors_of_the_host():
    """Whatever was open before us: anything but three pipes."""
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink("/proc/self/fd/" + name)
        except FileNotFoundError:
            continue  # the directory itself, closed since
        if target.startswith(("pipe:", "/proc/")):
            continue
        if target.startswith("/dev/null") and int(name) < 3:
            continue
        fd = int(name)
        try:
            os.lseek(fd, 0, 0)
            os.read(fd, 10)
        except OSError:
            os.fstat(fd)
        return
    raise Blocked("none")


@attack
def paths_of_the_host():
    """Where the daemon's state lies, told by a mount table."""
    for table in ("/proc/self/mountinfo", "/proc/mounts", "/proc/self/mountstats", "/proc/self/cgroup", "/proc/self/maps"):
        with open(table) as file:
            text = file.read()
        if HOST_HOME in text or "/dev/vda" in text or "ringfence-" in text.replace("/run/ringfence", ""):
            return
    raise Blocked("relative")


@attack
def library_of_the_interpreter():
    """What every sandbox of the template imports, and the interpreter's own file once nobody runs it."""
    _writable(os.__file__)


@attack
def directory_of_the_interpreter():
    """A file beside it, which the next interpreter would find first."""
    path = os.path.join(os.path.dirname(os.__file__), "ringfence_attack.py")
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o644))
    os.unlink(path)


@attack
def interpreter_through_its_own_link():
    """The runtime's executable by the magic link, as CVE-2019-5736 did. Whoever may write it is told that it is busy."""
    try:
        _writable("/proc/self/exe")
    except OSError as error:
        if error.errno != errno.ETXTBSY:
            raise
