//! Connections whose bytes go through, and those that do not come to be.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use ringfence_model::net::control::GateOp;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::world::{LOOPBACK, PATIENCE, Server, Signer, World, get, is_reset, read};

#[tokio::test]
async fn tls_that_passes_through_has_the_certificate_of_the_host() {
    let signer = Signer::new();
    let server = Server::start(Some((&signer, "api.test", &["http/1.1"]))).await;
    let mut world = World::new(&[&signer], &[("api.test", LOOPBACK)]).await;
    world.allow("api.test", server.port).await;
    world.given("api.test").await;
    let stream = world.tls(server.port, "api.test", &signer.root, &["http/1.1"]).await.unwrap();
    let (mut sender, connection) = http1::handshake::<_, Full<bytes::Bytes>>(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    assert_eq!(read(sender.send_request(get("api.test", "/")).await.unwrap()).await.0, 200);
    drop(sender);
    assert!(world.denials().is_empty());
    // Settled when both sides are done.
    let tls = loop {
        let decisions = world.decisions().await;
        let tls = decisions.into_iter().find(|decision| decision.protocol == "tls").unwrap();
        if tls.bytes_down.is_some() {
            break tls;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!((&*tls.destination, &*tls.verdict), (&*format!("api.test:{}", server.port), "allow"));
    assert!(tls.bytes_up.unwrap() > 100 && tls.bytes_down.unwrap() > 100);
}

#[tokio::test]
async fn a_name_that_no_rule_allows_gets_an_alert_after_it_was_told() {
    let signer = Signer::new();
    let server = Server::start(Some((&signer, "api.test", &["http/1.1"]))).await;
    let mut world = World::new(&[&signer], &[("api.test", LOOPBACK), ("other.test", LOOPBACK)]).await;
    world.allow("api.test", server.port).await;
    world.given("api.test").await;
    let error = world.tls(server.port, "other.test", &signer.root, &[]).await.unwrap_err();
    assert!(error.to_string().contains("AccessDenied"), "{error}");
    assert_eq!(world.denied(), (format!("other.test:{}", server.port), "host_not_allowed".to_owned()));
    assert_eq!(*server.connections.lock().unwrap(), 0);
}

#[tokio::test]
async fn an_address_that_was_given_for_another_name_or_never_is_refused() {
    let signer = Signer::new();
    let server = Server::start(Some((&signer, "api.test", &["http/1.1"]))).await;
    let mut world = World::new(&[&signer], &[("api.test", LOOPBACK), ("other.test", LOOPBACK)]).await;
    let port = server.port;
    world
        .policy(json!({"allow": [{"host": "api.test", "ports": [port]}, {"host": "other.test", "ports": [port]}]}))
        .await;
    world.given("other.test").await;
    world.tls(port, "api.test", &signer.root, &[]).await.unwrap_err();
    assert_eq!(world.denied().1, "host_mismatch");
    // An address of the Internet that nobody asked for.
    let stream = world.connect_to("192.0.9.9:443".parse().unwrap()).await;
    drop(stream);
    let mut stream = world.connect_to("192.0.9.9:443".parse().unwrap()).await;
    stream.write_all(b"hello\n").await.unwrap();
    assert!(is_reset(stream).await);
    assert_eq!(world.denials().last().unwrap().reason.code(), "address_not_given");
    assert_eq!(*server.connections.lock().unwrap(), 0);
}

#[tokio::test]
async fn loopback_that_was_not_pinned_is_no_destination() {
    let mut world = World::new(&[], &[]).await;
    assert!(is_reset(world.connect(80).await).await);
    assert_eq!(world.denied(), ("127.0.0.1:80".to_owned(), "address_refused".to_owned()));
}

#[tokio::test]
async fn what_is_neither_tls_nor_http_is_reset_unless_a_rule_lets_it_through() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut world = World::new(&[], &[("db.test", LOOPBACK)]).await;
    world.policy(json!({"allow": [{"host": "db.test", "ports": [port], "methods": ["GET"]}]})).await;
    world.given("db.test").await;
    let mut stream = world.connect(port).await;
    stream.write_all(b"\0\x01binary").await.unwrap();
    assert!(is_reset(stream).await);
    assert_eq!(world.denied().1, "not_inspectable");
    world.allow("db.test", port).await;
    let mut stream = world.connect(port).await;
    stream.write_all(b"\0\x01binary").await.unwrap();
    let (mut upstream, _) = tokio::time::timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    let mut text = [0; 8];
    upstream.read_exact(&mut text).await.unwrap();
    assert_eq!(&text, b"\0\x01binary");
    upstream.write_all(b"ok").await.unwrap();
    stream.read_exact(&mut text[..2]).await.unwrap();
    assert_eq!(&text[..2], b"ok");
    assert!(world.denials().is_empty());
}

#[tokio::test]
async fn a_server_that_speaks_first_is_heard_but_silence_is_no_way_around_the_name() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut world = World::new(&[], &[("db.test", LOOPBACK)]).await;
    world.allow("db.test", port).await;
    world.given("db.test").await;
    let mut stream = world.connect(port).await;
    let (mut upstream, _) = tokio::time::timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    upstream.write_all(b"220 hello\r\n").await.unwrap();
    let mut text = [0; 11];
    stream.read_exact(&mut text).await.unwrap();
    stream.write_all(&[0x16, 3, 1, 2, 0]).await.unwrap();
    assert!(is_reset(stream).await);
    assert_eq!(world.denied().1, "not_inspectable");
    assert_eq!(upstream.read(&mut text).await.unwrap_or(0), 0, "nothing of it went out");
}

#[tokio::test]
async fn a_policy_that_no_longer_allows_it_ends_a_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut world = World::new(&[], &[("db.test", LOOPBACK)]).await;
    world.allow("db.test", port).await;
    world.given("db.test").await;
    let mut stream = world.connect(port).await;
    stream.write_all(b"\0").await.unwrap();
    let (_upstream, _) = tokio::time::timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    // One that still allows it changes nothing.
    world.policy(json!({"allow": [{"host": "*.db.test", "ports": [1]}, {"host": "db.test", "ports": [port]}]})).await;
    stream.write_all(b"\0").await.unwrap();
    world.policy(json!("none")).await;
    assert!(is_reset(stream).await);
    assert_eq!(world.denied(), (format!("db.test:{port}"), "policy_changed".to_owned()));
}

#[tokio::test]
async fn a_sandbox_that_is_detached_has_no_connection_left() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut world = World::new(&[], &[("db.test", LOOPBACK)]).await;
    world.allow("db.test", port).await;
    world.given("db.test").await;
    let mut stream = world.connect(port).await;
    stream.write_all(b"\0").await.unwrap();
    let (mut upstream, _) = tokio::time::timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    upstream.read_exact(&mut [0]).await.unwrap();
    world.gateway.call(GateOp::Detach { sandbox: world.sandbox.clone() }).await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, upstream.read(&mut [0; 8])).await.unwrap();
    assert!(!matches!(ended, Ok(1..)));
    // And what comes after is refused without a record.
    let before = world.decisions().await.len();
    assert!(is_reset(world.connect(port).await).await);
    assert_eq!((world.decisions().await.len(), world.denials().len()), (before, 0));
}

#[tokio::test]
async fn what_is_kept_of_a_sandbox_that_is_gone_is_forgotten() {
    let world = World::new(&[], &[]).await;
    world.allow("db.test", 5432).await;
    let keep = |sandboxes| world.gateway.call(GateOp::Keep { sandboxes });
    keep(vec![world.sandbox.clone()]).await.unwrap();
    assert_eq!(world.gateway.store().policies().await.unwrap().len(), 1);
    keep(vec![]).await.unwrap();
    assert!(world.gateway.store().policies().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_policy_outlives_the_gateway() {
    let world = World::new(&[], &[]).await;
    world.allow("db.test", 5432).await;
    let refused = GateOp::SetPolicy {
        sandbox: world.sandbox.clone(),
        network: serde_json::from_value(json!("open")).unwrap(),
        by_agent: false,
    };
    let error = world.gateway.call(refused).await.unwrap_err();
    assert_eq!(error.code.as_str(), "PERMISSION_DENIED");
    let World { gateway, home, sandbox, .. } = world;
    gateway.store().clone().close().await.unwrap();
    drop(gateway);
    let config = ringfence_egress::gate::Config {
        home: home.path().into(),
        pins: Default::default(),
        stand_ins: Default::default(),
        roots: ringfence_egress::tls::client::Roots::only(&[Signer::new().root]).unwrap(),
        registries: vec![],
        logins: vec![],
        open_allowed: false,
        agent_hosts: None,
        live_allowed: false,
        pause_on_misuse: false,
        cache: Default::default(),
        exchange: Default::default(),
    };
    let gateway = loop {
        match ringfence_egress::gate::Gateway::start(config_again(&config)).await {
            Ok((gateway, _)) => break gateway,
            Err(ringfence_egress::gate::StartError::Open(ringfence_store::OpenError::InUse { .. })) => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(error) => panic!("{error:?}"),
        }
    };
    match gateway.call(GateOp::Status { sandbox }).await.unwrap() {
        ringfence_model::net::control::GateAnswer::Status { network, .. } => {
            assert_eq!(
                serde_json::to_value(network).unwrap(),
                json!({"allow": [{"host": "db.test", "ports": [5432]}]})
            );
        }
        other => panic!("{other:?}"),
    }
}

fn config_again(config: &ringfence_egress::gate::Config) -> ringfence_egress::gate::Config {
    ringfence_egress::gate::Config {
        home: config.home.clone(),
        pins: config.pins.clone(),
        stand_ins: Default::default(),
        roots: config.roots.clone(),
        registries: vec![],
        logins: vec![],
        open_allowed: false,
        agent_hosts: None,
        live_allowed: false,
        pause_on_misuse: false,
        cache: Default::default(),
        exchange: Default::default(),
    }
}

#[tokio::test]
async fn more_connections_than_a_sandbox_may_have_are_refused() {
    let mut world = World::new(&[], &[]).await;
    let to: SocketAddr = "192.0.9.9:443".parse().unwrap();
    let mut held = Vec::new();
    for _ in 0..256 {
        held.push(world.connect_to(to).await);
    }
    let last = world.connect_to(to).await;
    assert!(is_reset(last).await);
    assert!(world.denials().iter().any(|denial| denial.reason.code() == "limit_exceeded"));
}
