//! What an agent that was talked into it opens: no host beyond those that the operator lets agents name.

use std::collections::BTreeMap;

use ringfence_engine::api::Sandboxes;
use ringfence_model::{
    ApiError, Code,
    api::{Actor, ConfigureRequest, CreateRequest, EnvVars, ListRequest, Network, SandboxRequest, SandboxStatus},
};
use serde_json::{Value, json};

use crate::{
    TRY,
    scene::{NAMES, Scene},
};

const API: &str = NAMES[0];
const OTHER: &str = NAMES[2];

async fn asks(scene: &Scene, actor: Actor, sandbox: &str, network: Value) -> Result<(), ApiError> {
    let network: Option<Network> = Some(serde_json::from_value(network).expect("a policy"));
    let request = ConfigureRequest { sandbox_id: sandbox.to_owned(), network, ..ConfigureRequest::default() };
    scene.api.configure(actor, request).await.map(drop)
}

/// Whether a program in the sandbox gets something to the host that it was not to reach.
async fn leaks(scene: &Scene, sandbox: &ringfence_model::SandboxId, port: u16) -> bool {
    let code = format!("{TRY}\nprint(ask('https://{OTHER}:{port}/', 'POST', {{}}, b'the strategy')[0])");
    let run = scene.run(sandbox, &code).await;
    assert_eq!(run.exit_code, Some(0), "{}", run.stderr);
    run.output.trim() == "200"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_opens_no_host_that_the_operator_does_not_let_it_name() {
    let rule = |host: &str, port: u16| json!({"allow": [{"host": host, "ports": [port]}]});
    // The control: where nothing was decided, an agent names whom it likes.
    {
        let scene = Scene::new().await;
        let port = scene.serve(OTHER).await;
        let sandbox = scene.create(json!("none"), &[]).await.sandbox_id;
        assert!(!leaks(&scene, &sandbox, port).await);
        asks(&scene, Actor::Agent, sandbox.as_str(), rule(OTHER, port)).await.expect("any host");
        assert!(leaks(&scene, &sandbox, port).await, "without the defence it gets out");
    }
    let scene = Scene::configured(&format!("agent_hosts = [{API:?}, \"*.alpaca.markets\"]\n")).await;
    let (api, port) = (scene.serve(API).await, scene.serve(OTHER).await);
    let sandbox = scene.create(rule(API, api), &[]).await.sandbox_id;
    for host in [OTHER, "*.ringfence.test"] {
        let refused = asks(&scene, Actor::Agent, sandbox.as_str(), rule(host, port)).await.expect_err(host);
        assert_eq!(refused.code, Code::PermissionDenied, "{refused:?}");
        assert!(refused.message.contains(&format!("--allow {host}")), "{}", refused.message);
    }
    assert!(!leaks(&scene, &sandbox, port).await, "nothing was opened");
    let create = |request: CreateRequest| {
        let api = scene.api.clone();
        async move { api.create(Actor::Agent, CreateRequest { template: "python".into(), ..request }, None).await }
    };
    let network = serde_json::from_value(rule(OTHER, port)).expect("a policy");
    let refused = create(CreateRequest { network: Some(network), ..CreateRequest::default() }).await;
    assert_eq!(refused.expect_err("refused").code, Code::PermissionDenied);
    // Nor by a key of its own, for a host that ringfence knows.
    let key = |name: &str, value: &str| EnvVars::new(BTreeMap::from([(name.to_owned(), value.to_owned())]));
    let env_vars = key("ANTHROPIC_API_KEY", "sk-ant-of-somebody-else-0123456789");
    let refused = create(CreateRequest { env_vars, ..CreateRequest::default() }).await.expect_err("refused");
    assert_eq!(refused.code, Code::PermissionDenied);
    assert!(refused.message.contains("api.anthropic.com") && !refused.message.contains("somebody"), "{refused:?}");
    let env_vars = key("APCA_API_KEY_ID", "PKCANARY7F3A9D1C5E2B80");
    let made = create(CreateRequest { env_vars, ..CreateRequest::default() }).await.expect("one of those hosts");
    let named = SandboxRequest { sandbox_id: made.sandbox_id.to_string() };
    scene.api.delete(Actor::Agent, named).await.expect("it is deleted");
    // The operator decides otherwise for one sandbox, which its agent may take back and not have again.
    asks(&scene, Actor::Operator, sandbox.as_str(), rule(OTHER, port)).await.expect("the operator's word");
    assert!(leaks(&scene, &sandbox, port).await);
    asks(&scene, Actor::Agent, sandbox.as_str(), json!("none")).await.expect("narrower");
    assert!(!leaks(&scene, &sandbox, port).await);
    asks(&scene, Actor::Agent, sandbox.as_str(), rule(OTHER, port)).await.expect_err("wider");
    let running = scene.api.list(Actor::Operator, ListRequest::default()).await.expect("a list").sandboxes;
    let running: Vec<_> = running.iter().filter(|one| one.status == SandboxStatus::Running).collect();
    assert_eq!(running.len(), 1, "what was refused has left no sandbox: {running:?}");
}
