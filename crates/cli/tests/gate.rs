//! The gate as a program in a sandbox meets it: real clients, a real daemon, TLS servers of this process behind names that the
//! operator has pinned. Nothing here needs the wider internet.

#[path = "gate/agents.rs"]
mod agents;
#[path = "gate/alpaca.rs"]
mod alpaca;
#[path = "gate/attacks.rs"]
mod attacks;
mod common;
#[path = "gate/cores.rs"]
mod cores;
#[path = "gate/keys.rs"]
mod keys;
#[path = "gate/node.rs"]
mod node;
#[path = "gate/packages.rs"]
mod packages;
#[path = "gate/scene.rs"]
mod scene;
#[path = "gate/signing.rs"]
mod signing;
#[path = "gate/websocket.rs"]
mod websocket;

use std::time::{Duration, Instant};

use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{Actor, ConfigureRequest, ExecutionStatus, Network, SecretSetRequest};
use rustix::process::{Pid, Signal, kill_process};
use scene::{NAMES, Scene};
use serde_json::json;

const API: &str = NAMES[0];
const PLAIN: &str = NAMES[1];
const OTHER: &str = NAMES[2];

/// What a client got: the status, or the name of the error.
const TRY: &str = r#"
import urllib.request, urllib.error, sys
def ask(url, method="GET", headers={}, data=None):
    request = urllib.request.Request(url, method=method, headers=headers, data=data)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except urllib.error.URLError as error:
        return type(error.reason).__name__, str(error.reason)
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_policy_names_is_reached_and_nothing_else() {
    let scene = Scene::new().await;
    let (api, plain) = (scene.serve(API).await, scene.serve(PLAIN).await);
    let allow = json!({"allow": [
        {"host": API, "ports": [api], "methods": ["GET"], "paths": ["/v2/**"]},
        {"host": PLAIN, "ports": [plain]},
    ]});
    let sandbox = scene.create(allow, &[]).await;
    let code = format!(
        r#"{TRY}
import requests, ssl, socket
print(ask("https://{API}:{api}/v2/account")[0])
print(requests.get("https://{API}:{api}/v2/orders?status=open", timeout=10).status_code)
print(requests.Session().get("https://{API}:{api}/v2/clock", timeout=10).status_code)
print(ask("https://{API}:{api}/v2/orders", "POST", data=b"qty=1")[0])
print(ask("https://{API}:{api}/v1/account")[0])
print(ask("https://{PLAIN}:{plain}/anything", "DELETE")[0])
def issuer(host, port):
    with socket.create_connection((host, port), 10) as plain:
        with ssl.create_default_context().wrap_socket(plain, server_hostname=host) as s:
            return dict(pair[0] for pair in s.getpeercert()["issuer"])["commonName"]
print("gate" in issuer("{API}", {api}), issuer("{PLAIN}", {plain}))
print(ask("https://{OTHER}:{plain}/")[0])
print(ask("https://{PLAIN}:{api}/")[0])
print(ask("https://127.0.0.1:{plain}/")[0], ask("https://1.1.1.1:443/")[0])
"#
    );
    let begin = Instant::now();
    let run = scene.python(&sandbox, &code).await;
    assert_eq!(run.status, ExecutionStatus::Completed, "{}\n{}", run.output, run.stderr);
    let lines: Vec<&str> = run.output.lines().collect();
    assert_eq!(lines[..6], ["200", "200", "200", "403", "403", "200"], "{}", run.output);
    assert_eq!(lines[6], "True servers of the tests", "seen into where a rule needs it, and there alone");
    assert_eq!(lines[7], "gaierror", "a name that no rule names is not even resolved");
    assert!(lines[8] != "200" && !lines[9].contains("200"), "{}", run.output);
    assert!(begin.elapsed() < Duration::from_secs(8), "refusals are quick: {:?}", begin.elapsed());
    let denied: Vec<&str> = run.denials.iter().map(|denial| denial.destination.as_str()).collect();
    assert!(denied.iter().any(|name| name.starts_with(OTHER)), "{denied:?}");
    assert!(denied.iter().any(|name| name.starts_with(API)), "{denied:?}");
    let command = format!("ringfence sandbox configure {} --allow {OTHER}", sandbox.sandbox_id);
    assert!(run.denials.iter().any(|denial| denial.allow_with.starts_with(&command)), "{:?}", run.denials);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_policy_nothing_leaves_and_a_policy_may_come_later() {
    let scene = Scene::new().await;
    let plain = scene.serve(PLAIN).await;
    let sandbox = scene.create(json!("none"), &[]).await;
    let code = format!("{TRY}\nprint(ask('https://{PLAIN}:{plain}/')[0])");
    let run = scene.python(&sandbox, &code).await;
    assert_eq!(run.output.trim(), "gaierror");
    assert_eq!(run.denials.len(), 1, "{:?}", run.denials);
    let network: Network =
        serde_json::from_value(json!({"allow": [{"host": PLAIN, "ports": [plain]}]})).expect("a policy");
    let id = sandbox.sandbox_id.to_string();
    let request = ConfigureRequest { sandbox_id: id.clone(), network: Some(network), ..ConfigureRequest::default() };
    scene.api.configure(Actor::Operator, request).await.expect("it is changed");
    let run = scene.python(&sandbox, &code).await;
    assert_eq!((run.output.trim(), run.denials.len()), ("200", 0), "{}", run.stderr);
    let verified = common::ringfence(&scene.home, &["audit", "verify"]);
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(verified.status.success() && said.contains("the gateway's chain holds"), "{said}");
    // And gone again.
    let none = serde_json::from_value(json!("none")).expect("a policy");
    let request = ConfigureRequest { sandbox_id: id, network: Some(none), ..ConfigureRequest::default() };
    scene.api.configure(Actor::Operator, request).await.expect("it is changed");
    assert_ne!(scene.python(&sandbox, &code).await.output.trim(), "200");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_reaches_its_host_and_never_the_sandbox() {
    const VALUE: &str = "canary-7f3a9d1c5e2b8064-value";
    let scene = Scene::tracing().await;
    let api = scene.serve(API).await;
    let request: SecretSetRequest = serde_json::from_value(json!({
        "name": "BROKER_TOKEN", "value": VALUE, "rotate": false,
        "hosts": [API], "ports": [api], "placements": ["bearer"],
    }))
    .expect("a request");
    scene.api.secret_set(Actor::Operator, request).await.expect("it is stored");
    let sandbox = scene.create(json!("none"), &["BROKER_TOKEN"]).await;
    // Reversed in the program's text, which is kept as every program's is.
    let backwards: String = VALUE.chars().rev().collect();
    let code = format!(
        r#"{TRY}
import os
value = "{backwards}"[::-1]
token = os.environ["BROKER_TOKEN"]
status, head = ask("https://{API}:{api}/v2/account", headers={{"Authorization": "Bearer " + token}})
print(status, token in head, value in head)
print(ask("https://{API}:{api}/v2/account?leak=" + token)[0])
print(ask("https://{API}:{api}/v2/account", "POST", data=token.encode())[0])
print(ask("https://{API}:{api}/v2/account", headers={{"X-Other": token}})[0])
print(value in str(dict(os.environ)))
"#
    );
    let run = scene.python(&sandbox, &code).await;
    assert_eq!(run.status, ExecutionStatus::Completed, "{}\n{}", run.output, run.stderr);
    // The echo of the value comes back as the placeholder: the server had the value, the program never sees it.
    assert_eq!(
        run.output.lines().collect::<Vec<_>>(),
        ["200 True False", "403", "403", "403", "False"],
        "{}",
        run.stderr
    );
    assert_ne!(scene.files_with(API.as_bytes()), Vec::<String>::new(), "what is written there can be found");
    assert!(scene.has_traced());
    let found = scene.files_with(VALUE.as_bytes());
    assert_eq!(found, Vec::<String>::new(), "the value is in no file of the daemon");
    for role in ["ringfence-serve", "ringfence-jailer"] {
        assert!(!scene.memory_of(role, VALUE.as_bytes()), "{role} remembers the value");
    }
    assert!(scene.memory_of("ringfence-gateway", VALUE.as_bytes()), "the search can find");
}

fn parent(pid: Pid) -> Pid {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).expect("it lives");
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:")).expect("it has a parent");
    line.trim().parse().ok().and_then(Pid::from_raw).expect("a process")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_dies_lets_nothing_out_and_the_next_one_goes_on() {
    let scene = Scene::new().await;
    let plain = scene.serve(PLAIN).await;
    let sandbox = scene.create(json!({"allow": [{"host": PLAIN, "ports": [plain]}]}), &[]).await;
    let once = format!("{TRY}\nprint(ask('https://{PLAIN}:{plain}/')[0])");
    assert_eq!(scene.python(&sandbox, &once).await.output.trim(), "200");
    // It asks all the time, each time in a thread of its own: a connection that waits when a gateway dies is the next one's.
    let code = format!(
        r#"{TRY}
import threading, time
print("asking", flush=True)
got = []
def probe():
    began = time.time()
    try:
        answer = ask("https://{PLAIN}:{plain}/")[0]
    except Exception as error:
        answer = type(error).__name__
    got.append((began, str(answer)))
probes = [threading.Thread(target=probe) for _ in range(200)]
for each in probes:
    each.start()
    time.sleep(0.03)
for each in probes:
    each.join()
answers = [answer for _, answer in sorted(got)]
print(answers[-1], *sorted(set(answers)))
"#
    );
    let first = scene.role("ringfence-gateway").expect("it runs");
    let running = scene.begin(&sandbox.sandbox_id, &code).await;
    running.says("asking", 1).await;
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(1200)).await;
        let Some(pid) = scene.role("ringfence-gateway").and_then(Pid::from_raw) else { continue };
        // Whoever starts the next one is held for as long as ten probes take: it comes within less than one.
        let supervisor = parent(pid);
        kill_process(supervisor, Signal::STOP).expect("it is ours");
        kill_process(pid, Signal::KILL).expect("it is ours");
        tokio::time::sleep(Duration::from_millis(300)).await;
        kill_process(supervisor, Signal::CONT).expect("it is ours");
    }
    let run = running.ends().await;
    let seen: Vec<&str> = run.output.split_whitespace().skip(1).collect();
    assert_eq!(seen.first(), Some(&"200"), "reached again in the end: {}{}", run.output, run.stderr);
    assert!(seen.contains(&"ConnectionRefusedError") || seen.contains(&"gaierror"), "refused in between: {seen:?}");
    assert_ne!(scene.role("ringfence-gateway"), Some(first));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packages_are_installed_and_the_registries_are_closed_again() {
    let scene = Scene::new().await;
    let sandbox = scene.create(json!("none"), &[]).await;
    let install = |packages: &[&str]| ConfigureRequest {
        sandbox_id: sandbox.sandbox_id.to_string(),
        install_packages: packages.iter().map(|name| (*name).to_owned()).collect(),
        ..ConfigureRequest::default()
    };
    let answer = scene.api.configure(Actor::Agent, install(&["six==1.17.0"])).await.expect("it is installed");
    let installed: Vec<_> = answer.packages_installed.iter().map(|p| (p.name.as_str(), p.version.as_str())).collect();
    assert_eq!(installed, [("six", "1.17.0")]);
    let run = scene.python(&sandbox, "import six; print(six.__version__, six.__file__)").await;
    assert!(run.output.starts_with("1.17.0 /home/user/.local/"), "{}{}", run.output, run.stderr);
    // One that there is beside one that there is not.
    let error = scene.api.configure(Actor::Agent, install(&["toolz", "scikit-lern"])).await.expect_err("there is none");
    assert_eq!(error.code.as_str(), "PACKAGE_INSTALL_FAILED");
    assert!(error.message.contains("did you mean scikit-learn") && error.message.contains("exit code 1"), "{error}");
    let run = scene.python(&sandbox, "import toolz").await;
    assert!(run.stderr.contains("ModuleNotFoundError"), "nothing of it is installed: {}", run.stderr);
    let code = format!("{TRY}\nprint(ask('https://pypi.org/simple/six/')[0])");
    let run = scene.python(&sandbox, &code).await;
    assert_eq!(run.output.trim(), "gaierror", "closed again");
    assert_eq!(run.denials.len(), 1, "{:?}", run.denials);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_python_need_to_be_told_nothing() {
    let scene = Scene::new().await;
    let (api, plain) = (scene.serve(API).await, scene.serve(PLAIN).await);
    let allow = json!({"allow": [
        {"host": API, "ports": [api], "paths": ["/v2/**"]},
        {"host": PLAIN, "ports": [plain]},
    ]});
    let sandbox = scene.create(allow, &[]).await;
    let request = ConfigureRequest {
        sandbox_id: sandbox.sandbox_id.to_string(),
        install_packages: vec!["httpx[http2]".into(), "aiohttp".into(), "curl_cffi".into()],
        ..ConfigureRequest::default()
    };
    scene.api.configure(Actor::Agent, request).await.expect("they are installed");
    let code = format!(
        r#"
import asyncio, os, subprocess, urllib.request
import aiohttp, httpx, requests
assert not [name for name in os.environ if "proxy" in name.lower() or "CERT" in name or "CA_BUNDLE" in name]
url = "https://{API}:{api}/v2/clock"
print("urllib", urllib.request.urlopen(url).status)
print("requests", requests.get(url).status_code, requests.get(url.replace("v2", "v1")).status_code)
print("httpx", httpx.get(url).status_code, httpx.get(url.replace("v2", "v1")).status_code)
with httpx.Client(http2=True) as client:
    answers = [client.get(url) for _ in range(3)]
    print("httpx", *{{(answer.http_version, answer.status_code) for answer in answers}})
# As yfinance asks: it sends what Chrome sends, an encrypted hello that is noise included.
import curl_cffi.requests
passed = "https://{PLAIN}:{plain}/v1"
print("curl_cffi", *[curl_cffi.requests.get(to, impersonate="chrome").status_code for to in (url, url.replace("v2", "v1"), passed)])
async def main():
    async with aiohttp.ClientSession() as session:
        answers = await asyncio.gather(*[session.get(url) for _ in range(5)])
        print("aiohttp", [answer.status for answer in answers])
    async with httpx.AsyncClient(http2=True) as client:
        answers = await asyncio.gather(*[client.get(url) for _ in range(5)])
        print("httpx", [answer.status_code for answer in answers])
asyncio.run(main())
"#
    );
    let run = scene.python(&sandbox, &code).await;
    let expected = "urllib 200\nrequests 200 403\nhttpx 200 403\nhttpx ('HTTP/2', 200)\n\
                    curl_cffi 200 403 200\naiohttp [200, 200, 200, 200, 200]\nhttpx [200, 200, 200, 200, 200]\n";
    assert_eq!(run.output, expected, "{}", run.stderr);
}
