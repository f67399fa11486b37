//! A collector of OpenTelemetry's, and what `serve` tells it. Of the feature `otlp`: `make suites` builds with it.
#![cfg(feature = "otlp")]

mod common;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{Actor, CreateRequest, EnvVars, ExecuteRequest, SandboxRequest};

/// The exporter sends what it has every few seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came, by path.
type Heard = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// Listens as a collector does: takes everything, and answers that all is well.
fn collect() -> (u16, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let heard = Heard::default();
    let of_thread = heard.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let heard = of_thread.clone();
            std::thread::spawn(move || take(stream.expect("a connection"), &heard));
        }
    });
    (port, heard)
}

fn take(stream: TcpStream, heard: &Heard) {
    let mut reader = BufReader::new(&stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).expect("readable") == 0 {
            return;
        }
    }
    let path = head.split(' ').nth(1).expect("a request line").to_owned();
    let field = |name: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(':'));
        lines.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned()).next()
    };
    assert_eq!(field("content-type").as_deref(), Some("application/x-protobuf"), "{head}");
    let length = field("content-length").expect("a length").parse().expect("a number");
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("the whole body");
    heard.lock().expect("no panic").push((path, body));
    let _ =
        (&stream).write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n");
}

fn contains(body: &[u8], text: &str) -> bool {
    body.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Waits until one body at that path has all of these texts in it: strings stand in protobuf as they are.
#[track_caller]
fn hears(heard: &Heard, at: &str, texts: &[&str]) {
    let end = Instant::now() + PATIENCE;
    loop {
        let found = heard
            .lock()
            .expect("no panic")
            .iter()
            .any(|(path, body)| path == at && texts.iter().all(|text| contains(body, text)));
        if found {
            return;
        }
        assert!(Instant::now() < end, "nothing at {at} with {texts:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_collector_hears_of_requests_and_of_the_log_and_of_nothing_that_is_secret() {
    const SECRET: &str = "a-value-that-only-a-program-knows";
    const CODE: &str = "a_word_of_the_code";
    let home = common::beside("otlp-home");
    common::prepare(common::shared(), &home);
    let (port, heard) = collect();
    let config = format!("[otlp]\nendpoint = \"http://127.0.0.1:{port}/below/\"\n{}", common::SMALL_SHELF);
    std::fs::write(home.join("config.toml"), config).expect("written");
    common::start(&home, "none");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let id = runtime.block_on(async {
        let api = common::client_of(&home);
        let env_vars = EnvVars::new([("WORD_OF_MINE".to_owned(), SECRET.to_owned())].into());
        let request = CreateRequest { template: "python".into(), env_vars, ..CreateRequest::default() };
        let id = api.create(Actor::Operator, request, None).await.expect("a sandbox").sandbox_id.to_string();
        let code = format!("{CODE} = 1; print({CODE})");
        let run = ExecuteRequest { sandbox_id: id.clone(), code, ..ExecuteRequest::default() };
        assert!(api.execute(Actor::Operator, run).await.expect("run").success);
        api.delete(Actor::Operator, SandboxRequest { sandbox_id: id.clone() }).await.expect("deleted");
        id
    });
    hears(&heard, "/below/v1/traces", &["ringfence", "POST /v1/sandboxes/{id}/execute", "http.response.status_code"]);
    hears(&heard, "/below/v1/logs", &["ringfence", "a warm interpreter is ready", "INFO"]);
    common::stop(&home);
    // What was said last is sent before the end.
    hears(&heard, "/below/v1/logs", &["stopped in order"]);
    let token = std::fs::read_to_string(home.join("run/token")).expect("a token");
    for (path, body) in heard.lock().expect("no panic").iter() {
        for never in [SECRET, CODE, token.trim()] {
            assert!(!contains(body, never), "{never} is in what was sent to {path}");
        }
        assert!(path != "/below/v1/traces" || !contains(body, &id), "a path is in a span");
    }
    std::fs::remove_dir_all(&home).expect("removed");
}
