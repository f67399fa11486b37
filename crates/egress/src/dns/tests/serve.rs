//! Questions over real sockets.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, OpCode, Query as Question, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::dns::answer::{Decision, Judge, answer};
use crate::dns::given::Given;
use crate::dns::message::{Transport, read_framed, write_framed};
use crate::dns::resolve::{Resolver, Share};
use crate::dns::serve::{serve, serve_stream};
use crate::dns::throttle::Throttle;

/// Lets names below `example.com` be resolved, and refuses private addresses.
struct Below;

impl Judge for Below {
    fn name(&self, name: &str) -> Decision {
        match name {
            "gone.example.com" => Decision::NoSuchName,
            _ if name.ends_with(".example.com") => Decision::Resolve(name.to_owned()),
            _ => Decision::Refuse,
        }
    }

    fn address(&self, _: &str, address: IpAddr) -> bool {
        !matches!(address, IpAddr::V4(address) if address.is_private())
    }
}

struct Sandbox {
    resolver: Resolver,
    given: Mutex<Given>,
}

impl Sandbox {
    fn new() -> Arc<Self> {
        let pin = |name: &str, addresses: &[&str]| {
            (name.to_owned(), addresses.iter().map(|address| address.parse().unwrap()).collect())
        };
        let resolver = Resolver::new([
            pin("api.example.com", &["192.0.2.1", "10.0.0.1", "2001:db8::1"]),
            pin("v4.example.com", &["192.0.2.4"]),
            pin("private.example.com", &["10.0.0.1"]),
            pin("nothing.example.com", &[]),
            pin("other.example.org", &["192.0.2.1"]),
        ]);
        Arc::new(Self { resolver, given: Mutex::default() })
    }

    async fn answer(self: Arc<Self>, query: Vec<u8>, transport: Transport) -> Option<Vec<u8>> {
        answer(&query, transport, &Below, (&self.resolver, &Share::default()), &self.given).await
    }
}

fn query(id: u16, name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.add_query(Question::query(Name::from_ascii(name).unwrap(), kind));
    message.to_vec().unwrap()
}

/// Starts to serve on a dual-stack socket; its port.
fn start(sandbox: Arc<Sandbox>) -> u16 {
    let socket = std::net::UdpSocket::bind("[::]:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    tokio::spawn(serve(socket.into(), Arc::default(), move |query| sandbox.clone().answer(query, Transport::Udp)));
    port
}

/// What the server at `server` answers. The client's socket is connected, so only an answer from that very address is read.
async fn ask(server: SocketAddr, bytes: &[u8]) -> Message {
    let client = UdpSocket::bind(if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).await.unwrap();
    client.connect(server).await.unwrap();
    client.send(bytes).await.unwrap();
    let mut answer = vec![0; 65535];
    let length = timeout(Duration::from_secs(10), client.recv(&mut answer)).await.expect("an answer").unwrap();
    Message::from_vec(&answer[..length]).unwrap()
}

#[tokio::test]
async fn an_answer_comes_from_the_address_that_was_asked() {
    let port = start(Sandbox::new());
    for server in ["127.0.0.1", "127.0.0.53", "127.1.2.3", "127.255.255.254", "::1"] {
        let server = SocketAddr::new(server.parse().unwrap(), port);
        let message = ask(server, &query(7, "api.example.com.", RecordType::A)).await;
        assert_eq!((message.metadata.id, message.answers.len()), (7, 1), "{server}");
    }
}

#[tokio::test]
async fn what_is_answered_was_allowed_and_is_remembered() {
    let sandbox = Sandbox::new();
    let server = SocketAddr::new("127.0.0.53".parse().unwrap(), start(sandbox.clone()));
    let check = async |name: &str, kind, code, addresses: &[&str]| {
        let message = ask(server, &query(1, name, kind)).await;
        assert_eq!(message.metadata.response_code, code, "{name} {kind}");
        let found: Vec<String> =
            message.answers.iter().map(|record| record.data.ip_addr().unwrap().to_string()).collect();
        assert_eq!(found, addresses, "{name} {kind}");
    };
    check("API.Example.Com.", RecordType::A, ResponseCode::NoError, &["192.0.2.1"]).await;
    check("api.example.com.", RecordType::AAAA, ResponseCode::NoError, &["2001:db8::1"]).await;
    check("v4.example.com.", RecordType::AAAA, ResponseCode::NoError, &[]).await;
    check("api.example.com.", RecordType::TXT, ResponseCode::NoError, &[]).await;
    check("api.example.com.", RecordType::HTTPS, ResponseCode::NoError, &[]).await;
    check("private.example.com.", RecordType::A, ResponseCode::Refused, &[]).await;
    check("nothing.example.com.", RecordType::A, ResponseCode::NXDomain, &[]).await;
    check("gone.example.com.", RecordType::A, ResponseCode::NXDomain, &[]).await;
    check("other.example.org.", RecordType::A, ResponseCode::Refused, &[]).await;
    check("other.example.org.", RecordType::TXT, ResponseCode::Refused, &[]).await;
    let mut given = sandbox.given.lock().unwrap();
    let now = Instant::now();
    assert!(given.take("192.0.2.1".parse().unwrap(), "api.example.com", now));
    assert!(given.take("2001:db8::1".parse().unwrap(), "api.example.com", now));
    assert_eq!(given.len(), 2, "nothing that was not said");
}

#[tokio::test]
async fn who_asks_too_much_is_refused_and_served_again_later() {
    let server = SocketAddr::new("127.0.0.1".parse().unwrap(), start(Sandbox::new()));
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect(server).await.unwrap();
    let (mut served, mut refused) = (0, 0);
    let mut answer = [0; 512];
    for id in 0..400 {
        client.send(&query(id, "api.example.com.", RecordType::A)).await.unwrap();
        // In step, so that no buffer overflows.
        let length = timeout(Duration::from_secs(10), client.recv(&mut answer)).await.expect("an answer").unwrap();
        match Message::from_vec(&answer[..length]).unwrap().metadata.response_code {
            ResponseCode::NoError => served += 1,
            ResponseCode::Refused => refused += 1,
            other => panic!("{other}"),
        }
    }
    assert!(served >= 200 && refused > 0, "{served} served, {refused} refused");
    let end = Instant::now() + Duration::from_secs(10);
    while ask(server, &query(1, "api.example.com.", RecordType::A)).await.metadata.response_code
        != ResponseCode::NoError
    {
        assert!(Instant::now() < end, "never served again");
    }
}

#[tokio::test]
async fn sixty_four_are_answered_at_once() {
    let socket = std::net::UdpSocket::bind("[::]:0").unwrap();
    let server = SocketAddr::new("127.0.0.1".parse().unwrap(), socket.local_addr().unwrap().port());
    let (started, mut starts) = tokio::sync::mpsc::unbounded_channel();
    // None of them ends.
    tokio::spawn(serve(socket.into(), Arc::default(), move |query: Vec<u8>| {
        started.send(query).unwrap();
        std::future::pending()
    }));
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect(server).await.unwrap();
    for id in 0..64 {
        client.send(&query(id, "api.example.com.", RecordType::A)).await.unwrap();
        timeout(Duration::from_secs(10), starts.recv()).await.expect("begun").unwrap();
    }
    client.send(&query(64, "api.example.com.", RecordType::A)).await.unwrap();
    let mut answer = [0; 512];
    let length = timeout(Duration::from_secs(10), client.recv(&mut answer)).await.expect("an answer").unwrap();
    let message = Message::from_vec(&answer[..length]).unwrap();
    assert_eq!((message.metadata.id, message.metadata.response_code), (64, ResponseCode::Refused));
}

#[tokio::test]
async fn nonsense_does_not_stop_it() {
    let server = SocketAddr::new("::1".parse().unwrap(), start(Sandbox::new()));
    let client = UdpSocket::bind("[::1]:0").await.unwrap();
    for bytes in [&b""[..], &[0], &[0xff; 300], &[0; 5000], &[0; 60_000]] {
        client.send_to(bytes, server).await.unwrap();
    }
    // A client that is gone before its answer comes.
    let gone = UdpSocket::bind("[::1]:0").await.unwrap();
    gone.send_to(&query(3, "api.example.com.", RecordType::A), server).await.unwrap();
    drop(gone);
    assert_eq!(ask(server, &query(2, "api.example.com.", RecordType::A)).await.answers.len(), 1);
    let mut long = query(4, "api.example.com.", RecordType::A);
    long.resize(5000, 0);
    assert_eq!(ask(server, &long).await.metadata.response_code, ResponseCode::FormErr);
}

#[tokio::test]
async fn a_socket_of_another_kind_is_refused() {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let error = serve(socket.into(), Arc::default(), async |_| None::<Vec<u8>>).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
}

#[tokio::test]
async fn questions_are_answered_over_tcp() {
    let sandbox = Sandbox::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    let served = tokio::spawn(async move {
        let throttle = Throttle::default();
        serve_stream(server, &throttle, |query| sandbox.clone().answer(query, Transport::Tcp)).await
    });
    for id in 0..3 {
        write_framed(&mut client, &query(id, "api.example.com.", RecordType::A)).await.unwrap();
        let message = Message::from_vec(&read_framed(&mut client).await.unwrap().unwrap()).unwrap();
        assert_eq!((message.metadata.id, message.answers.len()), (id, 1));
    }
    drop(client);
    served.await.unwrap().unwrap();
}

/// As in a sandbox: every address is local by a route, and none but those of loopback is any interface's.
#[test]
fn an_answer_comes_from_an_address_that_only_a_route_makes_local() {
    const INNER: &str = "RINGFENCE_TEST_ANY_ADDRESS";
    const NAME: &str = "dns::tests::serve::an_answer_comes_from_an_address_that_only_a_route_makes_local";
    if std::env::var_os(INNER).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let port = start(Sandbox::new());
            for server in ["8.8.8.8", "10.0.2.3", "127.0.0.53", "2001:4860:4860::8888", "fd00::53", "::1"] {
                let server = SocketAddr::new(server.parse().unwrap(), port);
                let message = ask(server, &query(7, "api.example.com.", RecordType::A)).await;
                assert_eq!(message.answers.len(), 1, "{server}");
            }
        });
        println!("answered everywhere");
        return;
    }
    const ROUTES: &str =
        "ip link set lo up && ip route add local 0.0.0.0/0 dev lo && ip -6 route add local ::/0 dev lo";
    let in_namespace = |then: &str| {
        std::process::Command::new("unshare")
            .args(["--map-root-user", "--net", "sh", "-c", &format!("{ROUTES} && {then}"), NAME])
            .arg(std::env::current_exe().unwrap())
            .env(INNER, "1")
            .output()
    };
    if !in_namespace("true").is_ok_and(|output| output.status.success()) {
        eprintln!("{NAME}: SKIPPED: no network namespace of its own with `unshare` and `ip` here");
        return;
    }
    let output = in_namespace("exec \"$1\" --exact \"$0\" --nocapture").unwrap();
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success() && text.contains("answered everywhere"), "{text}");
}
