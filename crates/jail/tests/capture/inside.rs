//! What runs in the sandbox: this very test program, started there under the name of one thing to try. It prints what
//! came of it, a line each.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket},
    time::{Duration, Instant},
};

use ringfence_jail::{
    sys,
    sys::{bpf, bpf::MapKind},
};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, ipproto, listen, recv, send, socket_with,
    sockopt,
};

/// Longer than anything here takes that is answered at all.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is at once.
const AT_ONCE: Duration = Duration::from_millis(500);

/// Does what the arguments say.
pub(crate) fn run(args: &[String]) {
    let rest = args.get(1..).unwrap_or_default();
    match args.first().map(String::as_str) {
        Some("connect") => rest.iter().for_each(|to| println!("{to} {}", connect(address(to)))),
        Some("claim") => claim(address(&rest[0])),
        Some("ask") => rest.iter().for_each(|to| println!("{to} {}", ask(address(to)))),
        Some("resolve") => resolve(&rest[0]),
        Some("servers") => servers(),
        Some("take") => take(),
        Some("meddle") => meddle(),
        Some("escape") => escape(),
        Some("leave") => leave(),
        Some("sleep") => std::thread::sleep(PATIENCE * 4),
        other => println!("nothing is called {other:?}"),
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address of this test")
}

fn kind(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM) => "EPERM".into(),
        Some(libc::EACCES) => "EACCES".into(),
        Some(libc::EADDRINUSE) => "EADDRINUSE".into(),
        _ => error.to_string(),
    }
}

/// What came back from there, or why nothing did.
pub(crate) fn connect(to: SocketAddr) -> String {
    let since = Instant::now();
    let said = (|| {
        let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"hello\n")?;
        let mut said = String::new();
        stream.read_to_string(&mut said)?;
        Ok(said)
    })();
    with_speed(since, said)
}

fn with_speed(since: Instant, said: io::Result<String>) -> String {
    let speed = if since.elapsed() < AT_ONCE { "at once" } else { "late" };
    match said {
        Ok(said) => said,
        Err(e) if e.raw_os_error() == Some(libc::ECONNREFUSED) => format!("refused {speed}"),
        Err(e) if e.kind() == ErrorKind::WouldBlock || e.kind() == ErrorKind::TimedOut => "silence".into(),
        Err(e) => kind(&e),
    }
}

/// Serves an address that is not loopback, and connects to it.
fn claim(at: SocketAddr) {
    let family = if at.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None).expect("a socket");
    // IPv6 asks for an interface's address otherwise. Anybody may set it.
    sockopt::set_ip_freebind(&socket, true).expect("any address");
    bind(&socket, &at).expect("any address");
    listen(&socket, 8).expect("a bound socket");
    let listener = TcpListener::from(socket);
    println!("{at} {}", connect(at));
    listener.set_nonblocking(true).expect("an open socket");
    println!("{}", if listener.accept().is_err() { "nobody came" } else { "somebody came" });
}

/// The answer to one datagram, received by a connected socket.
pub(crate) fn ask(to: SocketAddr) -> String {
    let since = Instant::now();
    let said = (|| {
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any)?;
        socket.connect(to)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.send(b"question")?;
        let mut answer = [0; 512];
        let len = socket.recv(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer[..len]).into_owned())
    })();
    with_speed(since, said)
}

/// By the C library, as every program does it.
fn resolve(name: &str) {
    let since = Instant::now();
    let found = (name, 80).to_socket_addrs().map(|found| found.collect::<Vec<_>>());
    let speed = if since.elapsed() < AT_ONCE { "at once" } else { "late" };
    match found {
        Ok(found) => println!("found {found:?} {speed}"),
        Err(_) => println!("not found {speed}"),
    }
}

/// Servers inside are reached at the loopback addresses, however they listen.
fn servers() {
    for (at, reached) in [
        ("127.0.0.1:0", &["127.0.0.1", "[::ffff:127.0.0.1]"][..]),
        ("0.0.0.0:0", &["127.0.0.1", "127.1.2.3", "0.0.0.0", "[::ffff:127.0.0.1]"]),
        ("[::1]:0", &["[::1]"]),
        ("[::]:0", &["[::1]", "[::]", "127.0.0.1", "127.1.2.3"]),
    ] {
        let listener = TcpListener::bind(at).expect("a server");
        let socket = UdpSocket::bind(at).expect("a server");
        socket.set_read_timeout(Some(PATIENCE)).expect("an open socket");
        for ip in reached {
            let to = address(&format!("{ip}:{}", listener.local_addr().expect("bound").port()));
            let mut client = TcpStream::connect_timeout(&to, PATIENCE).unwrap_or_else(|e| panic!("{at} at {to}: {e}"));
            let (mut served, _) = listener.accept().expect("the client");
            served.write_all(b"here").expect("the client");
            drop(served);
            let mut said = String::new();
            client.read_to_string(&mut said).expect("the server");
            assert_eq!(said, "here", "{at} at {to}");

            // From there a wildcard socket answers with another address, here as on any Linux.
            if *ip == "127.1.2.3" {
                continue;
            }
            let to = address(&format!("{ip}:{}", socket.local_addr().expect("bound").port()));
            let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let client = UdpSocket::bind(any).expect("a client");
            client.set_read_timeout(Some(PATIENCE)).expect("an open socket");
            client.connect(to).expect("a route");
            client.send(b"there?").expect("sent");
            let (mut asked, mut answer) = ([0; 16], [0; 16]);
            let (len, from) = socket.recv_from(&mut asked).unwrap_or_else(|e| panic!("UDP {at} at {to}: {e}"));
            socket.send_to(&asked[..len], from).expect("sent");
            let len = client.recv(&mut answer).unwrap_or_else(|e| panic!("UDP {at} from {to}: {e}"));
            assert_eq!(&answer[..len], b"there?", "{at} at {to}");
        }
    }
    println!("all reached");
}

/// Tries to take the gate's ports, and to send what is neither TCP nor UDP.
pub(crate) fn take() {
    for at in ["0.0.0.0:1", "127.0.0.1:1", "[::]:1", "[::1]:1", "0.0.0.0:53", "1.2.3.4:443"] {
        println!("tcp {at} {}", outcome(TcpListener::bind(at)));
    }
    for at in ["0.0.0.0:53", "192.0.2.53:53", "127.0.0.53:53", "[::]:53", "[::1]:53"] {
        println!("udp {at} {}", outcome(UdpSocket::bind(at)));
    }
    for (name, family, protocol) in
        [("ping", AddressFamily::INET, ipproto::ICMP), ("ping6", AddressFamily::INET6, ipproto::ICMPV6)]
    {
        let socket = socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, Some(protocol));
        println!("{name} {}", outcome(socket.map_err(io::Error::from)));
        let socket = socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, Some(protocol));
        println!("raw {name} {}", outcome(socket.map_err(io::Error::from)));
    }
}

/// Tries what root could do, and what an installer must be able to.
pub(crate) fn escape() {
    let here = std::path::PathBuf::from(format!("/tmp-{}", std::process::id()));
    println!("write {}", outcome(std::fs::write(&here, "x")));
    println!("chown {}", outcome(std::os::unix::fs::chown(&here, Some(7), Some(7))));
    println!("chown beyond {}", outcome(std::os::unix::fs::chown(&here, Some(70_000), None)));
    let _ = std::fs::remove_file(&here);
    println!("mount {}", outcome(sys::mount("tmpfs", "/", "tmpfs", 0, "")));
    for (name, kind) in [("mounts", sys::CLONE_NEWNS), ("users", sys::CLONE_NEWUSER), ("network", sys::CLONE_NEWNET)] {
        println!("unshare {name} {}", outcome(sys::unshare(kind)));
    }
    let memory = rustix::fs::makedev(1, 1);
    let kind = rustix::fs::FileType::CharacterDevice;
    let made = rustix::fs::mknodat(rustix::fs::CWD, "/device", kind, rustix::fs::Mode::RUSR, memory);
    println!("mknod {}", outcome(made.map_err(io::Error::from)));
    let _ = std::fs::remove_file("/device");
    println!("chroot {}", outcome(std::os::unix::fs::chroot("/")));
    println!("route {}", outcome(delete_route(AddressFamily::INET6)));
    println!("memory of init {}", outcome(std::fs::OpenOptions::new().write(true).open("/proc/1/mem")));
    println!(
        "signal init {}",
        outcome(rustix::process::test_kill_process(rustix::process::Pid::INIT).map_err(io::Error::from))
    );
    println!("forward {}", outcome(std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")));
    println!("become init's user {}", outcome(sys::become_id(999, 999)));
    println!("memory of init {}", outcome(std::fs::OpenOptions::new().write(true).open("/proc/1/mem")));
}

/// Leaves a process behind.
fn leave() {
    let null = || std::process::Stdio::null();
    let child = std::process::Command::new("/inside")
        .args(["inside", "sleep"])
        .stdin(null())
        .stdout(null())
        .stderr(null())
        .spawn();
    println!("{}", outcome(child));
}

fn outcome<T>(result: io::Result<T>) -> String {
    result.map_or_else(|e| kind(&e), |_| "done".into())
}

/// Tries to change what leads to the gate.
pub(crate) fn meddle() {
    println!("program {}", outcome(bpf::load_sk_lookup(&pass_everything())));
    println!("map {}", outcome(bpf::map_create(MapKind::Sockets, 1)));
    println!("unroute {}", outcome(delete_route(AddressFamily::INET)));
    println!("unroute6 {}", outcome(delete_route(AddressFamily::INET6)));
}

/// A program that hands nothing to the gate.
fn pass_everything() -> [bpf::Instruction; 2] {
    let instruction = |code, immediate| bpf::Instruction { code, registers: 0, offset: 0, immediate };
    [instruction(0xb7, 1), instruction(0x95, 0)]
}

/// `RTM_DELROUTE` of the route by which everything is local (rtnetlink(7)).
fn delete_route(family: AddressFamily) -> io::Result<()> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    let family = u8::try_from(family.as_raw()).expect("a small number");
    // Length, type, flags (request, acknowledge), sequence, port; then struct rtmsg: only family and table matter.
    let mut message = Vec::new();
    message.extend_from_slice(&36_u32.to_ne_bytes());
    message.extend_from_slice(&25_u16.to_ne_bytes());
    message.extend_from_slice(&5_u16.to_ne_bytes());
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(&[family, 0, 0, 0, 255, 0, 255, 0, 0, 0, 0, 0]);
    message.extend_from_slice(&8_u16.to_ne_bytes());
    message.extend_from_slice(&4_u16.to_ne_bytes());
    message.extend_from_slice(&1_u32.to_ne_bytes());
    send(&socket, &message, SendFlags::empty())?;
    let mut answer = [0; 256];
    let (len, _) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
    assert!(len >= 20, "an acknowledgement");
    match i32::from_ne_bytes(answer[16..20].try_into().expect("four bytes")) {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(-code)),
    }
}
