//! Secrets on their way out, and what comes back of them.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use ringfence_model::Project;
use ringfence_model::net::control::{GateAnswer, GateOp, stored_context};
use ringfence_store::gate::EnvelopePublicKey;
use ringfence_store::{SecretValue, Verification};

use crate::world::{LOOPBACK, Server, Signer, World, bound, get, read};

const VALUE: &str = "the-real-value-of-the-token";

async fn with_secret(alpn: &[&str]) -> (World, Server, String) {
    let signer = Signer::new();
    let server = Server::start(Some((&signer, "api.test", alpn))).await;
    let world = World::new(&[&signer], &[("api.test", LOOPBACK)]).await;
    world.secret("TOKEN", VALUE, Some(bound("api.test", server.port)), false).await;
    let placeholder = world.placeholder("TOKEN").await;
    assert_eq!(placeholder, world.placeholder("TOKEN").await);
    world.given("api.test").await;
    (world, server, placeholder)
}

fn with(token: &str, body: &str) -> Request<Full<Bytes>> {
    let request =
        Request::post("/v2/orders").header("host", "api.test").header("authorization", format!("Bearer {token}"));
    request.body(Full::from(body.to_owned())).unwrap()
}

#[tokio::test]
async fn the_host_sees_the_value_and_the_sandbox_never_does() {
    let (mut world, server, placeholder) = with_secret(&["http/1.1"]).await;
    let mut sender = world.http1(server.port, "api.test").await;
    let response = sender.send_request(with(&placeholder, "{}")).await.unwrap();
    assert_eq!(response.headers()["x-echo"], format!("Bearer {placeholder}"));
    let (status, body) = read(response).await;
    assert_eq!((status, body), (200, format!("authorization=Bearer {placeholder} body={{}}")));
    assert_eq!(server.seen()[0].headers["authorization"], format!("Bearer {VALUE}"));
    assert!(world.denials().is_empty());
    let decision = world.decisions().await.pop().unwrap();
    assert_eq!((decision.secrets, &*decision.verdict), (vec!["TOKEN".to_owned()], "allow"));
    assert!(matches!(world.gateway.store().verify(1, None).await.unwrap(), Verification::Sound(_)));
}

#[tokio::test]
async fn the_same_over_http2() {
    let (world, server, placeholder) = with_secret(&["h2"]).await;
    let mut sender = world.http2(server.port, "api.test").await;
    let request = Request::get(format!("https://api.test:{}/", server.port)).header("x-key", &placeholder);
    assert_eq!(read(sender.send_request(request.body(Full::default()).unwrap()).await.unwrap()).await.0, 200);
    assert_eq!(server.seen()[0].headers["x-key"], VALUE);
}

#[tokio::test]
async fn a_placeholder_in_the_body_or_in_another_header_is_refused() {
    let (mut world, server, placeholder) = with_secret(&["http/1.1"]).await;
    let mut sender = world.http1(server.port, "api.test").await;
    let response = sender.send_request(with("x", &format!("{{\"key\": \"{placeholder}\"}}"))).await.unwrap();
    let denials = world.denials();
    assert_eq!(denials[0].reason.code(), "placeholder_misplaced");
    assert!(denials[0].message.contains("TOKEN") && !denials[0].message.contains(&placeholder));
    assert_eq!(read(response).await.0, 403);
    let mut sender = world.http1(server.port, "api.test").await;
    let request = Request::get("/").header("host", "api.test").header("x-other", &placeholder);
    let response = sender.send_request(request.body(Full::default()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 403);
    let request =
        Request::get("/").header("host", "api.test").header("x-key", &placeholder).header("connection", "x-key");
    let response = sender.send_request(request.body(Full::default()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 403);
    assert_eq!(world.denials().len(), 2);
    assert!(
        server
            .seen()
            .iter()
            .all(|seen| !format!("{seen:?}").contains(&placeholder) && !format!("{seen:?}").contains(VALUE))
    );
}

#[tokio::test]
async fn a_new_value_is_used_on_a_connection_that_is_open() {
    let (mut world, server, placeholder) = with_secret(&["http/1.1"]).await;
    let mut sender = world.http1(server.port, "api.test").await;
    assert_eq!(read(sender.send_request(with(&placeholder, "")).await.unwrap()).await.0, 200);
    world.secret("TOKEN", "another-value-of-the-token", None, true).await;
    assert_eq!(read(sender.send_request(with(&placeholder, "")).await.unwrap()).await.0, 200);
    assert_eq!(server.seen()[1].headers["authorization"], "Bearer another-value-of-the-token");
    world.gateway.call(GateOp::RemoveSecret { project: Project::default(), name: "TOKEN".into() }).await.unwrap();
    let response = sender.send_request(with(&placeholder, "")).await.unwrap();
    assert_eq!(response.status(), 403);
    assert_eq!(world.denials().len(), 1);
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn of_one_name_each_project_has_its_own_and_a_sandbox_is_given_its_projects() {
    const THEIRS: &str = "the-value-that-another-project-has";
    let signer = Signer::new();
    let server = Server::start(Some((&signer, "api.test", &["http/1.1"]))).await;
    let world = World::new(&[&signer], &[("api.test", LOOPBACK)]).await;
    world.secret("TOKEN", VALUE, Some(bound("api.test", server.port)), false).await;
    let [fund, rival] = ["fund", "rival"].map(|name| Project::parse(name).unwrap());
    // Nobody else's is used, seen, replaced or removed.
    let unknown = world.try_placeholder_of(&rival, "TOKEN").await.unwrap_err();
    let never_there = world.try_placeholder_of(&rival, "NOKEN").await.unwrap_err();
    assert_eq!(unknown.message.replace("TOKEN", "NOKEN"), never_there.message);
    let names = async |project: Option<&Project>| {
        let list = GateOp::Secrets { project: project.cloned() };
        let GateAnswer::Secrets(secrets) = world.gateway.call(list).await.unwrap() else { panic!("no secrets") };
        secrets.into_iter().map(|secret| format!("{}/{}", secret.project, secret.name)).collect::<Vec<_>>()
    };
    assert!(names(Some(&rival)).await.is_empty());
    assert!(world.try_secret_of(&rival, "TOKEN", THEIRS, None, true).await.is_err(), "there is none to be rotated");
    let remove = |project: &Project| GateOp::RemoveSecret { project: project.clone(), name: "TOKEN".into() };
    world.gateway.call(remove(&rival)).await.unwrap_err();

    let binding = || Some(bound("api.test", server.port));
    world.try_secret_of(&fund, "TOKEN", THEIRS, binding(), false).await.unwrap();
    assert_eq!(names(None).await, ["default/TOKEN", "fund/TOKEN"]);
    assert_eq!(names(Some(&fund)).await, ["fund/TOKEN"]);
    assert_eq!(names(Some(&Project::default())).await, ["default/TOKEN"]);
    // An envelope for one project is none for another.
    let GateAnswer::Key(key) = world.gateway.call(GateOp::Key).await.unwrap() else { panic!("no key") };
    let sealed = EnvelopePublicKey::parse(&key).unwrap().seal(&SecretValue::new(THEIRS), &stored_context(&fund, "K"));
    let sealed = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, sealed);
    let set = GateOp::SetSecret { project: rival, name: "K".into(), sealed, binding: binding(), rotate: false };
    assert!(world.gateway.call(set).await.unwrap_err().message.contains("another place"));

    let placeholder = world.try_placeholder_of(&fund, "TOKEN").await.unwrap();
    world.given("api.test").await;
    let mut sender = world.http1(server.port, "api.test").await;
    assert_eq!(read(sender.send_request(with(&placeholder, "")).await.unwrap()).await.0, 200);
    assert_eq!(server.seen()[0].headers["authorization"], format!("Bearer {THEIRS}"));
    // Its own is removed, and the other one stays.
    world.gateway.call(remove(&fund)).await.unwrap();
    assert_eq!(sender.send_request(with(&placeholder, "")).await.unwrap().status(), 403);
    let GateAnswer::Secrets(left) = world.gateway.call(GateOp::Secrets { project: None }).await.unwrap() else {
        panic!("no secrets")
    };
    assert_eq!(
        left.iter().map(|secret| (secret.project.as_str(), secret.revoked)).collect::<Vec<_>>(),
        [("default", false), ("fund", true)]
    );
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_secret_does_not_leave_without_tls() {
    let server = Server::start(None).await;
    let mut world = World::new(&[], &[("api.test", LOOPBACK)]).await;
    world.secret("TOKEN", VALUE, Some(bound("api.test", server.port)), false).await;
    let placeholder = world.placeholder("TOKEN").await;
    world.given("api.test").await;
    let stream = world.connect(server.port).await;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    assert_eq!(sender.send_request(with(&placeholder, "")).await.unwrap().status(), 403);
    assert_eq!(world.denied().1, "placeholder_misplaced");
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_name_that_nobody_knows_needs_a_binding() {
    let world = World::new(&[], &[]).await;
    world.secret("ANTHROPIC_API_KEY", VALUE, None, false).await;
    let placeholder = world.placeholder("ANTHROPIC_API_KEY").await;
    assert!(placeholder.starts_with("sk-ant-"));
    let op = GateOp::SetSecret {
        project: Project::default(),
        name: "TOKEN".into(),
        sealed: "AAAA".into(),
        binding: None,
        rotate: false,
    };
    assert_eq!(world.gateway.call(op).await.unwrap_err().code.as_str(), "INVALID_ARGUMENT");
    let op =
        GateOp::UseSecrets { sandbox: world.sandbox.clone(), project: Project::default(), names: vec!["NONE".into()] };
    assert_eq!(world.gateway.call(op).await.unwrap_err().code.as_str(), "INVALID_ARGUMENT");
}

#[tokio::test]
async fn another_host_gets_no_value() {
    let signer = Signer::new();
    let server = Server::start(Some((&signer, "other.test", &["http/1.1"]))).await;
    let mut world = World::new(&[&signer], &[("other.test", LOOPBACK)]).await;
    world.secret("TOKEN", VALUE, Some(bound("api.test", server.port)), false).await;
    let placeholder = world.placeholder("TOKEN").await;
    world
        .policy(serde_json::json!({"allow": [{"host": "other.test", "ports": [server.port], "methods": ["GET"]}]}))
        .await;
    world.given("other.test").await;
    let mut sender = world.http1(server.port, "other.test").await;
    let mut request = get("other.test", "/");
    request.headers_mut().insert("x-key", placeholder.parse().unwrap());
    assert_eq!(sender.send_request(request).await.unwrap().status(), 403);
    assert_eq!(world.denied().1, "placeholder_misplaced");
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_key_for_a_host_does_not_widen_what_the_policy_says_about_it() {
    let (mut world, server, placeholder) = with_secret(&["http/1.1"]).await;
    let allow =
        serde_json::json!({"host": "api.test", "ports": [server.port], "methods": ["POST"], "paths": ["/v2/**"]});
    world.policy(serde_json::json!({"allow": [allow]})).await;
    let mut sender = world.http1(server.port, "api.test").await;
    assert_eq!(read(sender.send_request(with(&placeholder, "")).await.unwrap()).await.0, 200);
    assert_eq!(server.seen()[0].headers["authorization"], format!("Bearer {VALUE}"));
    for (method, path, reason) in
        [("POST", "/v1/orders", "path_not_allowed"), ("DELETE", "/v2/orders", "method_not_allowed")]
    {
        let mut request = with(&placeholder, "");
        *request.uri_mut() = path.parse().unwrap();
        *request.method_mut() = method.parse().unwrap();
        let mut sender = world.http1(server.port, "api.test").await;
        assert_eq!(sender.send_request(request).await.unwrap().status(), 403);
        assert_eq!(world.denied().1, reason);
    }
    assert_eq!(server.seen().len(), 1);
}
