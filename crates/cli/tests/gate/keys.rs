//! Keys that clients give as environment variables: kept outside, or visible because somebody wanted it so.

use std::collections::BTreeMap;

use ringfence_engine::api::Sandboxes;
use ringfence_model::{
    Code,
    api::{
        Actor, AuditLogRequest, ConfigureRequest, CreateAnswer, CreateRequest, EnvVars, ExecuteRequest,
        ExecutionStatus, Hidden, ListRequest, SandboxRequest, SandboxStatus, SecretSetRequest,
    },
};

use serde_json::json;

use crate::scene::{NAMES, Scene};

const API: &str = NAMES[0];

fn vars(pairs: &[(&str, &str)]) -> EnvVars {
    EnvVars::new(
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>(),
    )
}

fn base() -> CreateRequest {
    CreateRequest { template: "python".into(), ..CreateRequest::default() }
}

/// The operator has bound BROKER_TOKEN to a server of the test: its port.
async fn bound(scene: &Scene) -> u16 {
    let port = scene.serve(API).await;
    let request: SecretSetRequest = serde_json::from_value(json!({
        "name": "BROKER_TOKEN", "value": "of-the-operator-1234", "rotate": false,
        "hosts": [API], "ports": [port], "placements": ["bearer"],
    }))
    .expect("a request");
    scene.api.secret_set(Actor::Operator, request).await.expect("it is stored");
    port
}

/// Asks with what is in BROKER_TOKEN: the status, and whether the answer's echo holds that again.
fn asking(port: u16) -> String {
    format!(
        r#"
import os, urllib.request, urllib.error
token = os.environ.get("BROKER_TOKEN") or open("token").read()
open("token", "w").write(token)
request = urllib.request.Request("https://{API}:{port}/", headers={{"Authorization": "Bearer " + token}})
try:
    with urllib.request.urlopen(request, timeout=10) as answer:
        print(answer.status, token in answer.read().decode())
except urllib.error.HTTPError as error:
    print(error.code)
"#
    )
}

async fn fingerprint(scene: &Scene, sandbox: &CreateAnswer, change: ConfigureRequest) -> Option<String> {
    let request = ConfigureRequest { sandbox_id: sandbox.sandbox_id.to_string(), ..change };
    let answer = scene.api.configure(Actor::Agent, request).await.expect("it is changed");
    answer.env_fingerprints.get("BROKER_TOKEN").cloned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_a_client_stays_outside_is_rotated_and_is_taken_back() {
    // Put together here, so that this program's own text is not what is found.
    let own = |number: u32| format!("{}-of-the-client-{number:016x}", "canary");
    let scene = Scene::tracing().await;
    let port = bound(&scene).await;
    let (first, second) = (own(0x51d7_aa01), own(0x51d7_aa02));
    let request = CreateRequest {
        env_vars: vars(&[("BROKER_TOKEN", &first), ("ALPACA_API_KEY", &own(3)), ("MODE", "paper")]),
        secrets: vec!["BROKER_TOKEN".into()],
        anthropic_key: Some(Hidden::new(own(4))),
        ..base()
    };
    let sandbox = scene.api.create(Actor::Agent, request, None).await.expect("a sandbox");
    assert_eq!(sandbox.secrets, ["ALPACA_API_KEY", "ANTHROPIC_API_KEY", "BROKER_TOKEN"]);
    assert!(sandbox.anthropic_key_configured && sandbox.env_vars_configured == 4, "{sandbox:?}");
    assert!(sandbox.exposed.is_empty());
    let warning = sandbox.warnings.first().expect("a warning");
    assert!(
        warning.contains("ringfence secret set") && warning.contains("rotated") && !warning.contains("canary"),
        "{warning}"
    );

    let seen = scene.python(
        &sandbox,
        "import os; print({k: v for k, v in os.environ.items() if 'canary' in v}, os.environ['MODE'])",
    );
    assert_eq!(seen.await.output, "{} paper\n");
    let ask = asking(port);
    // The echo is masked: the server had this client's value and not the operator's, or it would be seen as it is.
    assert_eq!(scene.python(&sandbox, &ask).await.output, "200 True\n");
    let before = fingerprint(&scene, &sandbox, ConfigureRequest::default()).await;
    let rotated = ConfigureRequest {
        env_vars: vars(&[("BROKER_TOKEN", &second)]),
        secrets: vec!["BROKER_TOKEN".into()],
        ..ConfigureRequest::default()
    };
    let after = fingerprint(&scene, &sandbox, rotated).await;
    assert!(before.is_some() && after.is_some() && before != after, "{before:?} {after:?}");
    assert_eq!(scene.python(&sandbox, &ask).await.output, "200 True\n");

    let unset = ConfigureRequest { unset_env: vec!["BROKER_TOKEN".into()], ..ConfigureRequest::default() };
    assert_eq!(fingerprint(&scene, &sandbox, unset).await, None);
    let run = scene.python(&sandbox, &ask).await;
    assert_ne!(run.output, "200 True\n", "what it remembers is worth nothing: {}", run.stderr);
    let status = SandboxRequest { sandbox_id: sandbox.sandbox_id.to_string() };
    let network = scene.api.status(Actor::Agent, status).await.expect("a status").sandbox.network.expect("a network");
    assert_eq!(network.secrets, ["ALPACA_API_KEY", "ANTHROPIC_API_KEY"]);

    for value in [&first, &second, &own(3), &own(4)] {
        assert_eq!(scene.files_with(value.as_bytes()), Vec::<String>::new());
        for role in ["ringfence-serve", "ringfence-jailer"] {
            assert!(!scene.memory_of(role, value.as_bytes()), "{role} still holds a value");
        }
    }
    assert!(scene.has_traced());
    // The search can find: the gateway has what it may use, and `serve` what no secret is.
    assert!(scene.memory_of("ringfence-gateway", own(3).as_bytes()));
    assert!(scene.memory_of("ringfence-serve", b"BROKER_TOKEN"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_whose_hosts_nobody_knows_is_refused_or_visible_and_masked() {
    let scene = Scene::new().await;
    let value = format!("{}-e5d0aa97c1", "exposed-canary");
    let of_nobody = || vars(&[("NOBODY_API_KEY", &value)]);
    let refused = scene.api.create(Actor::Agent, CreateRequest { env_vars: of_nobody(), ..base() }, None).await;
    let refused = refused.expect_err("nobody knows where it may go");
    assert_eq!(refused.code, Code::InvalidArgument);
    for said in ["ringfence secret set NOBODY_API_KEY --host", "expose: true"] {
        assert!(refused.message.contains(said), "{}", refused.message);
    }
    let all = scene.api.list(Actor::Agent, ListRequest::default()).await.expect("a list");
    assert_eq!(all.count, 0, "nothing is left of it");

    let request = CreateRequest { env_vars: of_nobody(), expose: true, ..base() };
    let sandbox = scene.api.create(Actor::Agent, request, None).await.expect("a sandbox");
    assert_eq!(sandbox.exposed, ["NOBODY_API_KEY"]);
    assert!(sandbox.warnings.iter().any(|warning| warning.contains("NOBODY_API_KEY")), "{:?}", sandbox.warnings);
    let code = r#"
import os, sys, base64, time
value = os.environ["NOBODY_API_KEY"]
print(len(value), value)
print(base64.b64encode(("key=" + value).encode()).decode())
for letter in value:
    sys.stderr.write(letter); sys.stderr.flush(); time.sleep(0.001)
"#;
    let run = scene.python(&sandbox, code).await;
    assert_eq!(run.status, ExecutionStatus::Completed, "{}", run.stderr);
    assert_eq!(run.output.lines().next(), Some(format!("{} [NOBODY_API_KEY hidden]", value.len()).as_str()));
    assert_eq!(run.stderr, "[NOBODY_API_KEY hidden]");
    assert!(!run.output.contains("ZXhwb3NlZC1jYW5hcnk"), "not in base64 either: {}", run.output);
    // Without the mask it would be there: an execution that is given the same text under another name shows it.
    let plain = ExecuteRequest {
        sandbox_id: sandbox.sandbox_id.to_string(),
        code: "print('exposed-' + 'canary')".into(),
        ..ExecuteRequest::default()
    };
    assert_eq!(scene.api.execute(Actor::Agent, plain).await.expect("it is run").output, "exposed-canary\n");

    let once = |expose| ExecuteRequest {
        sandbox_id: sandbox.sandbox_id.to_string(),
        code: "import os; print(os.environ['ONCE_TOKEN'])".into(),
        env_vars: vars(&[("ONCE_TOKEN", "once-0123456789")]),
        expose,
        ..ExecuteRequest::default()
    };
    let refused = scene.api.execute(Actor::Agent, once(false)).await.expect_err("it is a key");
    assert!(refused.message.contains("sandbox_configure"), "{}", refused.message);
    assert_eq!(scene.api.execute(Actor::Agent, once(true)).await.expect("asked for").output, "[ONCE_TOKEN hidden]\n");

    let id = SandboxRequest { sandbox_id: sandbox.sandbox_id.to_string() };
    let status = scene.api.status(Actor::Agent, id).await.expect("a status");
    assert_eq!(status.sandbox.network.expect("a network").exposed, ["NOBODY_API_KEY"]);
    let audit = AuditLogRequest { sandbox_id: Some(sandbox.sandbox_id.to_string()), ..AuditLogRequest::default() };
    let audited =
        serde_json::to_string(&scene.api.audit_log(Actor::Operator, audit).await.expect("entries")).expect("JSON");
    assert!(audited.contains(r#""exposed":["NOBODY_API_KEY"]"#), "{audited}");
    assert!(audited.contains(r#""exposed":["ONCE_TOKEN"]"#), "{audited}");
    assert_eq!(scene.files_with(value.as_bytes()), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sandbox_that_misuses_a_placeholder_is_paused_where_the_operator_wants_it_so() {
    for (lines, expected) in [("pause_on_misuse = true\n", SandboxStatus::Paused), ("", SandboxStatus::Running)] {
        let scene = Scene::configured(lines).await;
        let port = bound(&scene).await;
        let sandbox = scene.create(json!("none"), &["BROKER_TOKEN"]).await;
        let code = format!(
            r#"
import os, urllib.request, time
try:
    urllib.request.urlopen("https://{API}:{port}/?leak=" + os.environ["BROKER_TOKEN"], timeout=10)
except Exception as error:
    print(error)
time.sleep(1)
"#
        );
        let request = ExecuteRequest {
            sandbox_id: sandbox.sandbox_id.to_string(),
            code,
            wait: Some(3.0),
            ..ExecuteRequest::default()
        };
        let run = scene.api.execute(Actor::Agent, request).await.expect("it is begun");
        let id = SandboxRequest { sandbox_id: sandbox.sandbox_id.to_string() };
        let status = scene.api.status(Actor::Agent, id.clone()).await.expect("a status");
        assert_eq!(status.status, expected, "{run:?}");
        if expected == SandboxStatus::Paused {
            assert_eq!(run.status, ExecutionStatus::Running, "frozen where it was");
            scene.api.resume(Actor::Operator, id).await.expect("it goes on");
        }
    }
}
