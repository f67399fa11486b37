# Attacks that would give a process rights which it had, or never had. Follows kernel.py, whose names it uses.


@attack
def capset_all():
    in_child(lambda: call(126, struct.pack("II", 0x20080522, 0), struct.pack("6I", *[1 << 21, 1 << 21, 0, 0, 0, 0])))


@attack
def become_root():
    in_child(lambda: os.setresuid(0, 0, 0))


@attack
def join_groups():
    in_child(lambda: os.setgroups([0]))


@attack
def real_time():
    in_child(lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50)))


@attack
def deadline_class():
    in_child(lambda: call(314, 0, struct.pack("IIQiIQQQ", 48, 6, 0, 0, 0, 10**7, 2 * 10**7, 2 * 10**7), 0))


@attack
def nice_minus_20():
    in_child(lambda: os.setpriority(os.PRIO_PROCESS, 0, -20))


@attack
def real_time_io():
    in_child(lambda: call(251, 1, 0, 1 << 13))


@attack
def core_limit_raised():
    in_child(lambda: call(160, 4, struct.pack("QQ", 1 << 30, 1 << 30)))


@attack
def core_limit_lowered():
    in_child(lambda: call(160, 4, struct.pack("QQ", 0, 0)))


@attack
def core_limit_prlimit():
    in_child(lambda: call(302, 0, 4, struct.pack("QQ", 0, 0), 0))


def _terminal(request, argument):
    """On a terminal of our own, as its controlling process."""

    def work():
        master, slave = os.openpty()
        os.setsid()
        fcntl.ioctl(slave, 0x540E, 0)  # TIOCSCTTY
        call(16, slave, request, argument)

    in_child(work)


@attack
def type_into_terminal():
    _terminal(0x5412, b"x")


@attack
def type_into_terminal_high_bits():
    _terminal(1 << 32 | 0x5412, b"x")


@attack
def paste_into_console():
    """TIOCLINUX, subcode 13 (harmless): on a pseudo-terminal the kernel answers ENOTTY, the filter EPERM."""
    try:
        _terminal(0x541C, b"\x0d")
    except OSError as error:
        if error.errno != errno.ENOTTY:
            raise


@attack
def line_discipline():
    _terminal(0x5423, struct.pack("i", 0))


@attack
def tcp_upper_layer():
    """TCP_ULP, which loads modules."""
    with socket.socket() as tcp:
        try:
            tcp.setsockopt(6, 31, b"tls")
        except OSError as error:
            if error.errno == errno.EPERM:
                raise


@attack
def trusted_attribute():
    with tempfile.NamedTemporaryFile(dir=".") as file:
        os.setxattr(file.name, "trusted.overlay.opaque", b"y")


@attack
def file_capabilities():
    """cap_sys_admin+ep on a copy of ours."""
    with tempfile.NamedTemporaryFile(dir=".") as file:
        os.setxattr(file.name, "security.capability", struct.pack("5I", 0x02000001, 1 << 21, 0, 0, 0))


@attack
def immutable_file():
    with tempfile.NamedTemporaryFile(dir=".") as file:
        fcntl.ioctl(file.fileno(), 0x40086602, struct.pack("q", 0x10))
        fcntl.ioctl(file.fileno(), 0x40086602, struct.pack("q", 0))


@attack
def give_file_away():
    with tempfile.NamedTemporaryFile(dir=".") as file:
        os.chown(file.name, 0, 0)


@attack
def block_device():
    path = _new_dir() + b"/disk"
    os.mknod(path, 0o60600, os.makedev(8, 0))
    os.unlink(path)


@attack
def character_device():
    path = _new_dir() + b"/mem"
    os.mknod(path, 0o20600, os.makedev(1, 1))
    os.unlink(path)


@attack
def setuid_program():
    """A setuid program of root gives us its user: `su` waits for a password meanwhile."""
    import subprocess

    child = subprocess.Popen(["/bin/su"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 5
        while child.poll() is None and time.monotonic() < end:
            with open("/proc/%d/status" % child.pid) as status:
                text = status.read()
            effective = next(line for line in text.splitlines() if line.startswith("Uid:")).split()[2]
            if effective == "0":
                return
            if "\nName:\tsu\n" in "\n" + text:
                raise Blocked("uid %s stays" % ("user" if int(effective) == os.getuid() else effective))
        raise Blocked("it ended")
    finally:
        child.kill()
        child.wait()


@attack
def kill_init():
    """Pid 1, a process of another user. The control's own pid 1 ignores what comes from its namespace, whoever sends it: a
    neighbour that is another user stands for it."""
    victim = 1
    if os.getuid() == 0:
        victim = os.fork()
        if victim == 0:
            os.setresuid(999, 999, 999)
            time.sleep(30)
            os._exit(0)
    time.sleep(0.05)
    os.kill(victim, 9)
