//! What registries answer is kept, served to every sandbox, and cannot be chosen by one of them for another.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use ringfence_egress::cache::CacheConfig;
use ringfence_model::net::{HostPattern, PortRange, Rule, TlsMode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::world::{LOOPBACK, PATIENCE, Signer, World, bound, get, host, read};

const NAME: &str = "index.test";

/// How the registry answers one request: with a status, headers and a body.
type Answering = Box<dyn Fn(&Request<Incoming>) -> (u16, Vec<(&'static str, String)>, Vec<u8>) + Send>;

/// A registry whose answers can be changed, and what it was asked.
struct Registry {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
    answering: Arc<Mutex<Answering>>,
}

impl Registry {
    async fn start(signer: &Signer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let counted = AtomicUsize::new(0);
        let first: Answering = Box::new(move |request| {
            let number = counted.fetch_add(1, Ordering::Relaxed);
            (200, vec![], format!("{number} {}", request.uri().path()).into_bytes())
        });
        let answering = Arc::new(Mutex::new(first));
        let acceptor = TlsAcceptor::from(signer.config(NAME, &["http/1.1"]));
        let (noted, answers) = (asked.clone(), answering.clone());
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (noted, answers, acceptor) = (noted.clone(), answers.clone(), acceptor.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request: Request<Incoming>| {
                        let mut lines: Vec<String> = request
                            .headers()
                            .iter()
                            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap_or("?")))
                            .collect();
                        lines.sort();
                        noted.lock().unwrap().push(format!(
                            "{} {}\n{}",
                            request.method(),
                            request.uri(),
                            lines.join("\n")
                        ));
                        let (status, headers, body) = (answers.lock().unwrap())(&request);
                        let mut response = Response::builder().status(status);
                        for (name, value) in headers {
                            response = response.header(name, value);
                        }
                        let response = response.body(Full::<Bytes>::from(body)).unwrap();
                        async move { Ok::<_, Infallible>(response) }
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { port, asked, answering }
    }

    fn answer(
        &self,
        answer: impl Fn(&Request<Incoming>) -> (u16, Vec<(&'static str, String)>, Vec<u8>) + Send + 'static,
    ) {
        *self.answering.lock().unwrap() = Box::new(answer);
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    fn last(&self) -> String {
        self.asked.lock().unwrap().last().cloned().unwrap_or_default()
    }
}

async fn scene(cache: CacheConfig) -> (World, Registry) {
    let signer = Signer::new();
    let registry = Registry::start(&signer).await;
    let port = PortRange::new(registry.port, registry.port).unwrap();
    let rule = Rule { ports: vec![port], tls: TlsMode::Intercept, ..Rule::host(HostPattern::exact(host(NAME))) };
    let world = World::with(&[&signer], &[(NAME, LOOPBACK)], vec![rule], cache).await;
    world.policy(serde_json::json!("packages")).await;
    world.given(NAME).await;
    (world, registry)
}

impl Registry {
    async fn client(&self, world: &World) -> http1::SendRequest<Full<Bytes>> {
        world.http1(self.port, NAME).await
    }
}

fn files(world: &World, below: &str) -> Vec<PathBuf> {
    let all = std::fs::read_dir(world.home.path().join("cache").join(below)).unwrap();
    all.map(|file| file.unwrap().path()).collect()
}

/// Waits until so many answers are kept: that is done after the client has its own.
async fn kept(world: &World, count: usize) {
    let end = Instant::now() + PATIENCE;
    while files(world, "entries").len() != count {
        assert!(Instant::now() < end, "{:?}", files(world, "entries"));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Time for what must not be kept to be kept all the same.
async fn never_kept(world: &World) {
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(files(world, "entries"), Vec::<PathBuf>::new());
    assert_eq!(files(world, "unfinished"), Vec::<PathBuf>::new());
}

async fn ask(client: &mut http1::SendRequest<Full<Bytes>>, request: Request<Full<Bytes>>) -> (u16, String) {
    read(client.send_request(request).await.unwrap()).await
}

fn with(path: &str, headers: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let mut request = get(NAME, path);
    for (name, value) in headers {
        let name = hyper::http::HeaderName::from_bytes(name.as_bytes()).unwrap();
        request.headers_mut().append(name, value.parse().unwrap());
    }
    request
}

#[tokio::test]
async fn what_was_answered_once_is_served_again_and_recorded_as_such() {
    let (world, registry) = scene(CacheConfig::default()).await;
    let mut client = registry.client(&world).await;
    let first = ask(&mut client, get(NAME, "/simple/six/")).await;
    assert_eq!(first, (200, "0 /simple/six/".to_owned()));
    kept(&world, 1).await;
    let response = client.send_request(get(NAME, "/simple/six/")).await.unwrap();
    assert!(response.headers().contains_key("age"));
    assert_eq!(read(response).await, first);
    let mut client = world.http2(registry.port, NAME).await;
    let uri = format!("https://{NAME}:{}/simple/six/", registry.port);
    let response = client.send_request(Request::get(uri).body(Full::default()).unwrap()).await.unwrap();
    assert_eq!(read(response).await, first, "the same over HTTP/2");
    assert_eq!(registry.asked(), 1);
    let seen: Vec<_> = world.decisions().await.into_iter().filter(|one| one.request.is_some()).collect();
    assert_eq!(seen.iter().map(|one| one.cached).collect::<Vec<_>>(), [false, true, true]);
    assert!(seen.iter().all(|one| one.verdict == "allow" && one.destination.starts_with(NAME)));
}

#[tokio::test]
async fn one_program_does_not_choose_what_another_is_answered() {
    // A registry, or a proxy before it, that heeds everything: each of these changes its answer.
    const TRIES: [(&str, &str); 14] = [
        ("x-forwarded-host", "evil.test"),
        ("x-host", "evil.test"),
        ("x-forwarded-proto", "http"),
        ("x-original-url", "/simple/evil/"),
        ("x-rewrite-url", "/simple/evil/"),
        ("x-http-method-override", "POST"),
        ("forwarded", "host=evil.test"),
        ("user-agent", "evil"),
        ("accept-language", "evil"),
        ("origin", "https://evil.test"),
        ("x-evil", "1"),
        ("if-none-match", "\"evil\""),
        ("accept", "text/html, evil/evil"),
        ("accept-encoding", "gzip, evil"),
    ];
    let heeds = |request: &Request<Incoming>| {
        let text = format!("{:?}", request.headers());
        let heeded = text.contains("evil") || text.contains("x-forwarded") || text.contains("override");
        (200, vec![], if heeded { b"poisoned".to_vec() } else { b"good".to_vec() })
    };
    for (name, value) in TRIES {
        let (world, registry) = scene(CacheConfig::default()).await;
        registry.answer(heeds);
        let mut attacker = registry.client(&world).await;
        let mut victim = registry.client(&world).await;
        let poisoning = ask(&mut attacker, with("/simple/six/", &[(name, value)])).await;
        kept(&world, 1).await;
        let plain = if name == "accept" { vec![("accept", "text/html")] } else { vec![] };
        assert_eq!(ask(&mut victim, with("/simple/six/", &plain)).await.1, "good", "{name}");
        assert_eq!(poisoning.1, "good", "{name} went out: {}", registry.last());
    }
    // The control: the registry is one that can be poisoned, and without a cache every one of them reaches it.
    let (world, registry) = scene(CacheConfig { bytes_max: 0, ..CacheConfig::default() }).await;
    registry.answer(heeds);
    let mut client = registry.client(&world).await;
    for (name, value) in TRIES {
        assert_eq!(ask(&mut client, with("/simple/six/", &[(name, value)])).await.1, "poisoned", "{name}");
    }
}

#[tokio::test]
async fn what_is_asked_with_credentials_is_neither_kept_nor_served_from_what_is() {
    let (world, registry) = scene(CacheConfig::default()).await;
    let mut client = registry.client(&world).await;
    for headers in [&[("authorization", "Basic dTpw")][..], &[("cookie", "a=b")], &[("range", "bytes=0-1")]] {
        assert_eq!(ask(&mut client, with("/simple/own/", headers)).await.0, 200);
    }
    assert_eq!(ask(&mut client, get(NAME, "/simple/own/?token=1")).await.0, 200);
    let posted = Request::post("/simple/own/").header("host", NAME).body(Full::from("x")).unwrap();
    assert_eq!(ask(&mut client, posted).await.0, 200);
    let with_body = Request::get("/simple/own/").header("host", NAME).body(Full::from("x")).unwrap();
    assert_eq!(ask(&mut client, with_body).await.0, 200);
    never_kept(&world).await;
    let asked = registry.asked();
    assert_eq!(ask(&mut client, get(NAME, "/simple/own/")).await.0, 200);
    kept(&world, 1).await;
    assert_eq!(ask(&mut client, with("/simple/own/", &[("authorization", "Basic dTpw")])).await.0, 200);
    assert_eq!(registry.asked(), asked + 2, "what was kept is for those without credentials");
}

#[tokio::test]
async fn where_a_secret_may_go_nothing_is_kept() {
    let (world, registry) = scene(CacheConfig::default()).await;
    world.secret("TOKEN", "s3cret-value-of-the-index", Some(bound(NAME, registry.port)), false).await;
    let placeholder = world.placeholder("TOKEN").await;
    let mut client = registry.client(&world).await;
    let bearer = format!("Bearer {placeholder}");
    assert_eq!(ask(&mut client, with("/simple/own/", &[("authorization", &bearer)])).await.0, 200);
    assert!(registry.last().contains("authorization: Bearer s3cret-value-of-the-index"));
    assert_eq!(ask(&mut client, with("/simple/own/", &[])).await.0, 200);
    never_kept(&world).await;
}

#[tokio::test]
async fn answers_that_may_not_be_kept_are_not() {
    let (world, registry) = scene(CacheConfig::default()).await;
    let mut client = registry.client(&world).await;
    let said: [(u16, &[(&'static str, &str)]); 8] = [
        (200, &[("cache-control", "no-store")]),
        (200, &[("cache-control", "private, max-age=60")]),
        (200, &[("set-cookie", "a=b")]),
        (200, &[("vary", "*")]),
        (200, &[("content-encoding", "br")]),
        (404, &[]),
        (301, &[("location", "https://evil.test/")]),
        (206, &[("content-range", "bytes 0-3/10")]),
    ];
    for (status, headers) in said {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        registry.answer(move |_| (status, headers.clone(), b"once".to_vec()));
        assert_eq!(ask(&mut client, get(NAME, "/simple/six/")).await.0, status);
    }
    never_kept(&world).await;
    // The control: with none of these it is.
    registry.answer(|_| (200, vec![], b"kept".to_vec()));
    assert_eq!(ask(&mut client, get(NAME, "/simple/six/")).await.0, 200);
    kept(&world, 1).await;
}

#[tokio::test]
async fn what_is_old_is_asked_for_again_and_may_be_confirmed() {
    let (world, registry) = scene(CacheConfig::default()).await;
    let mut client = registry.client(&world).await;
    let tagged = |tag: &'static str, body: &'static str| {
        move |request: &Request<Incoming>| {
            let headers = vec![("etag", tag.to_owned()), ("cache-control", "max-age=0".to_owned())];
            match request.headers().get("if-none-match") {
                Some(asked) if asked == tag => (304, headers, vec![]),
                _ => (200, headers, body.into()),
            }
        }
    };
    registry.answer(tagged("\"one\"", "first"));
    assert_eq!(ask(&mut client, get(NAME, "/simple/six/")).await.1, "first");
    kept(&world, 1).await;
    assert_eq!(ask(&mut client, get(NAME, "/simple/six/")).await, (200, "first".to_owned()), "confirmed");
    assert!(registry.last().contains("if-none-match: \"one\""));
    assert_eq!(
        ask(&mut client, with("/simple/six/", &[("if-none-match", "\"one\"")])).await.0,
        304,
        "the client has it"
    );
    registry.answer(tagged("\"two\"", "second"));
    assert_eq!(ask(&mut client, get(NAME, "/simple/six/")).await.1, "second");
    assert_eq!(registry.asked(), 4);
}

#[tokio::test]
async fn a_file_that_was_changed_on_disk_is_never_served_whole() {
    for len in [1000, 3 << 20] {
        let (world, registry) = scene(CacheConfig::default()).await;
        registry.answer(move |_| (200, vec![], vec![b'a'; len]));
        let mut client = registry.client(&world).await;
        assert_eq!(ask(&mut client, get(NAME, "/f/six.whl")).await.1.len(), len);
        kept(&world, 1).await;
        let [body] = &files(&world, "bodies")[..] else { panic!("one body") };
        let mut bytes = std::fs::read(body).unwrap();
        *bytes.last_mut().unwrap() = b'b';
        std::fs::write(body, bytes).unwrap();
        let answer = client.send_request(get(NAME, "/f/six.whl")).await.unwrap().into_body().collect().await;
        match answer {
            // Read before it is handed out: fetched anew.
            Ok(body) => assert!(body.to_bytes().iter().all(|byte| *byte == b'a'), "{len}"),
            Err(_) => assert!(len > 1 << 20, "cut off before its end"),
        }
        if len < 1 << 20 {
            kept(&world, 1).await;
        }
        let mut client = registry.client(&world).await;
        assert_eq!(ask(&mut client, get(NAME, "/f/six.whl")).await.1, "a".repeat(len), "and right again");
        assert_eq!(registry.asked(), 2);
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_kept_and_many_at_once_are_one() {
    let (world, registry) = scene(CacheConfig::default()).await;
    registry.answer(|_| (200, vec![], vec![b'a'; 8 << 20]));
    // Whoever asked is gone before the end.
    let mut client = registry.client(&world).await;
    let mut body = client.send_request(get(NAME, "/f/big.whl")).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    drop((body, client));
    never_kept(&world).await;
    let one = || async {
        let mut client = registry.client(&world).await;
        ask(&mut client, get(NAME, "/f/big.whl")).await.1.len()
    };
    let (a, b, c, d) = tokio::join!(one(), one(), one(), one());
    assert_eq!([a, b, c, d], [8 << 20; 4]);
    kept(&world, 1).await;
    assert_eq!(files(&world, "bodies").len(), 1);
}

#[tokio::test]
async fn the_cache_does_not_grow_beyond_its_bound() {
    let (world, registry) = scene(CacheConfig { bytes_max: 1 << 20, ..CacheConfig::default() }).await;
    registry.answer(|request| {
        let len = if request.uri().path() == "/f/huge.whl" { 1 << 19 } else { 100 << 10 };
        let mut body = vec![b'a'; len];
        body[..request.uri().path().len()].copy_from_slice(request.uri().path().as_bytes());
        (200, vec![], body)
    });
    let mut client = registry.client(&world).await;
    assert_eq!(ask(&mut client, get(NAME, "/f/huge.whl")).await.0, 200, "more than a quarter of it is not kept");
    for number in 0..30 {
        assert_eq!(ask(&mut client, get(NAME, &format!("/f/{number}.whl"))).await.0, 200);
    }
    // An answer is there before it is kept, and what is too much goes after that.
    let end = Instant::now() + PATIENCE;
    let kept = || files(&world, "bodies").iter().map(|file| file.metadata().map_or(0, |meta| meta.len())).sum::<u64>();
    while (!files(&world, "unfinished").is_empty() || kept() > 1 << 20) && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!((1..=1 << 20).contains(&kept()), "{}", kept());
    let mut asked = registry.asked();
    assert_eq!(ask(&mut client, get(NAME, "/f/0.whl")).await.0, 200);
    assert_eq!(registry.asked(), asked + 1, "the oldest went");
    // The newest is there, as soon as it is.
    loop {
        asked = registry.asked();
        assert_eq!(ask(&mut client, get(NAME, "/f/29.whl")).await.0, 200);
        if registry.asked() == asked {
            return;
        }
        assert!(Instant::now() < end, "the newest is never kept");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A registry that does not read the body of a `GET`, and takes it for the next request.
async fn careless(signer: &Signer) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TlsAcceptor::from(signer.config(NAME, &["http/1.1"]));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let (mut read, mut chunk) = (Vec::new(), [0; 4096]);
                loop {
                    let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") else {
                        match stream.read(&mut chunk).await {
                            Ok(len) if len > 0 => read.extend_from_slice(&chunk[..len]),
                            _ => return,
                        }
                        continue;
                    };
                    let line = String::from_utf8_lossy(&read[..end]).lines().next().unwrap_or_default().to_owned();
                    read.drain(..end + 4);
                    // Slow with that one: an answer to nothing would be noticed by whoever waits for none.
                    if line.contains("evil") {
                        match stream.read(&mut chunk).await {
                            Ok(len) if len > 0 => read.extend_from_slice(&chunk[..len]),
                            _ => return,
                        }
                    }
                    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{line}", line.len());
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn an_answer_that_was_smuggled_in_is_not_kept_for_what_is_asked_next() {
    let mut seen = Vec::new();
    for bytes_max in [CacheConfig::default().bytes_max, 0] {
        let signer = Signer::new();
        let port = careless(&signer).await;
        let ports = vec![PortRange::new(port, port).unwrap()];
        let rule = Rule { ports, tls: TlsMode::Intercept, ..Rule::host(HostPattern::exact(host(NAME))) };
        let cache = CacheConfig { bytes_max, ..CacheConfig::default() };
        let world = World::with(&[&signer], &[(NAME, LOOPBACK)], vec![rule], cache).await;
        world.policy(serde_json::json!("packages")).await;
        world.given(NAME).await;
        let mut attacker = world.http1(port, NAME).await;
        let hidden = "GET /simple/evil/ HTTP/1.1\r\nhost: index.test\r\n\r\n";
        let carrier = Request::get("/x").header("host", NAME).body(Full::from(hidden)).unwrap();
        assert_eq!(ask(&mut attacker, carrier).await.0, 200);
        attacker.ready().await.unwrap();
        seen.push(ask(&mut attacker, get(NAME, "/simple/six/")).await.1);
        let mut victim = world.http1(port, NAME).await;
        assert_eq!(ask(&mut victim, get(NAME, "/simple/six/")).await.1, "GET /simple/six/ HTTP/1.1");
    }
    // With the cache the request goes by a connection of the gate's own. The control: on the program's, the host is fooled.
    assert_eq!(seen, ["GET /simple/six/ HTTP/1.1", "GET /simple/evil/ HTTP/1.1"]);
}
