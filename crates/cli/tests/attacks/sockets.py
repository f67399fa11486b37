"""Sockets beyond TCP, UDP, unix and NETLINK_ROUTE, and every address."""


def _open(family, kind, protocol):
    fd = call(41, family, kind, protocol)
    os.close(fd)


for _name, _socket in {
    "vsock": (40, 1, 0),
    "alg": (38, 5, 0),
    "packet": (17, 3, 0x300),
    "packet_datagram": (17, 2, 0x300),
    "raw_icmp": (2, 3, 1),
    "raw_any": (2, 3, 255),
    "ping": (2, 2, 1),
    "raw_icmp6": (10, 3, 58),
    "mptcp": (2, 1, 262),
    "mptcp6": (10, 1, 262),
    "sctp": (2, 1, 132),
    "dccp": (2, 6, 33),
    "udplite": (2, 2, 136),
    "udplite6": (10, 2, 136),
    "ax25": (3, 2, 0),
    "ipx": (4, 2, 0),
    "rds": (21, 5, 0),
    "can": (29, 3, 1),
    "tipc": (30, 2, 0),
    "bluetooth": (31, 3, 1),
    "kcm": (41, 5, 0),
    "qipcrtr": (42, 2, 0),
    "smc": (43, 1, 0),
    "xdp": (44, 3, 0),
    "netlink_sock_diag": (16, 3, 4),
    "netlink_netfilter": (16, 3, 12),
    "netlink_audit": (16, 3, 9),
    "netlink_uevent": (16, 3, 15),
    "netlink_generic": (16, 3, 16),
    "netlink_crypto": (16, 3, 21),
    "netlink_xfrm": (16, 3, 6),
    "vsock_high_bits": (1 << 32 | 40, 1, 0),
    "unix_protocol": (1, 1, 1),
}.items():
    ATTACKS[_name] = lambda s=_socket: _open(*s)


@attack
def every_socket():
    """Every family, type and protocol: what opens must be on the list."""
    transports = ((1, 0), (1, 6), (2, 0), (2, 17))
    allowed = lambda f, t, p: (f in (1, 16) and p == 0) or (f in (2, 10) and (t, p) in transports)
    others = set()
    for family in range(0, 50):
        for kind in (1, 2, 3, 4, 5, 6, 10):
            for protocol in [*range(0, 34), 58, 103, 132, 136, 143, 255, 262, 263]:
                if allowed(family, kind, protocol):
                    continue
                try:
                    _open(family, kind, protocol)
                except OSError as error:
                    if error.errno != errno.EPERM:
                        others.add(((family, kind, protocol), errno.errorcode[error.errno]))
                else:
                    return
    raise Blocked("the kernel alone refused %s" % sorted(others)[:3] if others else "EPERM")


@attack
def every_address():
    """A datagram is sent to an address of every /16, and to those that matter: every address is the sandbox's own, where
    nothing listens. (Multicast is answered by nobody anywhere; it has the same one way to go, lo.)"""
    matter = ["169.254.169.254", "168.63.129.16", "100.100.100.200", "10.0.0.1", "172.17.0.1", "192.168.0.1", "8.8.8.8"]
    reached = set()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as four:
        for address in [*matter, *HOST_ADDRESSES, *("%d.%d.1.1" % (a, b) for a in range(1, 224) for b in range(256))]:
            if ":" in address or address.startswith("127."):
                continue
            try:
                four.connect((address, 9))
                four.send(b"x")
                four.send(b"x")  # the first one's refusal
            except OSError as error:
                if error.errno != errno.ECONNREFUSED:
                    raise
            else:
                reached.add(address)
    first = ["fd00:ec2::254", "2001:4860:4860::8888", "fe80::1", "64:ff9b::808:808", "::ffff:8.8.8.8"]
    for address in [*first, *[a for a in HOST_ADDRESSES if ":" in a], *("%x::1" % a for a in range(0x2000, 0x4000, 16))]:
        # One each: a socket that was connected keeps its own address, and hears no refusal of the other family.
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as six:
            try:
                six.connect((address, 9))
                six.send(b"x")
                six.send(b"x")
            except OSError as error:
                if error.errno not in (errno.ECONNREFUSED, errno.ENETUNREACH, errno.EINVAL, errno.EADDRNOTAVAIL):
                    raise
            else:
                reached.add(address)
    if not reached:
        raise Blocked("ECONNREFUSED")


@attack
def service_of_the_host():
    """What listens on the host's own loopback."""
    for host in ("127.0.0.1", "localhost", "0.0.0.0", "127.1.2.3"):
        with socket.socket() as tcp:
            tcp.settimeout(3)
            try:
                tcp.connect((host, HOST_PORT))
                return
            except OSError as error:
                last = error
    raise last


@attack
def abstract_socket_of_the_host():
    with socket.socket(socket.AF_UNIX) as unix:
        unix.connect("\0" + HOST_SOCKET)


@attack
def socket_files_of_the_host():
    """Sockets that somebody listens at, wherever the file system shows one: the daemon's, a container engine's, a desktop's, an agent's."""
    import stat

    known = [HOST_SOCKET_FILE, "/proc/1/root" + HOST_SOCKET_FILE, "/var/lib/ringfence/run/api.sock", "/var/run/docker.sock",
             "/run/containerd/containerd.sock", "/run/dbus/system_bus_socket", "/run/systemd/private",
             "/tmp/.X11-unix/X0", os.environ.get("SSH_AUTH_SOCK", "/tmp/ssh-agent.sock")]
    below = ("/run", "/tmp", "/var/tmp", "/dev", "/home", "/mnt", "/srv")
    found = [os.path.join(path, name) for top in below for path, _, names in os.walk(top) for name in names]
    for path in known + found:
        try:
            if not stat.S_ISSOCK(os.stat(path).st_mode):
                continue
            with socket.socket(socket.AF_UNIX) as unix:
                unix.connect(path)
            return
        except OSError:
            pass
    raise Blocked("none")


@attack
def interface_changed():
    """NETLINK_ROUTE is there to read: RTM_NEWADDR 10.9.9.9/8 on lo."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as route:
        attribute = struct.pack("HH4s", 8, 2, bytes([10, 9, 9, 9])) + struct.pack("HH4s", 8, 1, bytes([10, 9, 9, 9]))
        body = struct.pack("BBBBI", 2, 8, 0, 0, 1) + attribute
        route.send(struct.pack("IHHII", 16 + len(body), 20, 0x405, 1, 0) + body)
        answer = route.recv(4096)
        code = struct.unpack_from("i", answer, 16)[0]
        if code:
            raise OSError(-code, "")
