//! Packages as a program in a sandbox meets them: from the cache, by pip typed inside, from an index of the operator's.

use std::sync::{Arc, Mutex};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{Actor, ConfigureRequest, CreateAnswer, EgressRequest, ExecuteRequest, ExecutionAnswer};
use serde_json::json;

use crate::{
    API, common,
    scene::{NAMES, Scene},
};

const INDEX: &str = NAMES[2];

async fn bash(scene: &Scene, sandbox: &CreateAnswer, code: &str) -> ExecutionAnswer {
    let request = ExecuteRequest {
        sandbox_id: sandbox.sandbox_id.to_string(),
        code: code.to_owned(),
        language: Some("bash".into()),
        timeout: Some(300.0),
        ..ExecuteRequest::default()
    };
    scene.api.execute(Actor::Agent, request).await.expect("it is run")
}

fn install(sandbox: &CreateAnswer, packages: &[&str]) -> ConfigureRequest {
    ConfigureRequest {
        sandbox_id: sandbox.sandbox_id.to_string(),
        install_packages: packages.iter().map(|name| (*name).to_owned()).collect(),
        ..ConfigureRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_sandbox_installed_another_gets_from_the_cache() {
    let scene = Scene::new().await;
    let mut cached = Vec::new();
    for _ in 0..2 {
        let sandbox = scene.create(json!("none"), &[]).await;
        scene.api.configure(Actor::Agent, install(&sandbox, &["toolz==1.0.0"])).await.expect("it is installed");
        let run = scene.python(&sandbox, "import toolz; print(toolz.__version__)").await;
        assert_eq!(run.output.trim(), "1.0.0", "{}", run.stderr);
        let ask = EgressRequest { sandbox_id: Some(sandbox.sandbox_id.to_string()), ..EgressRequest::default() };
        let seen = scene.api.egress_list(Actor::Operator, ask).await.expect("listed").decisions;
        let requests: Vec<_> = seen.into_iter().filter(|one| one.request.is_some()).collect();
        assert!(requests.len() >= 2, "{requests:?}");
        cached.push(requests.iter().filter(|one| one.cached).count());
        if cached.len() == 2 {
            assert_eq!(cached[1], requests.len(), "everything: {requests:?}");
        }
    }
    assert_eq!(cached[0], 0);
    // What is kept is for the gateway's user alone, and for no sandbox.
    let kept = std::fs::metadata(scene.home.join("gate/cache/bodies")).expect("it is there");
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&kept.permissions()) & 0o777, 0o700);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pip_works_inside_where_the_policy_allows_it() {
    let scene = Scene::new().await;
    let sandbox = scene.create(json!("packages"), &[]).await;
    let run =
        bash(&scene, &sandbox, "pip list 2>&1 | grep -i '^pandas ' && pip install -q six==1.16.0 && echo done").await;
    assert!(run.output.starts_with("pandas ") && run.output.ends_with("done\n"), "{}{}", run.output, run.stderr);
    // The template has idna, and the newest: an older one that is installed wins.
    let run = bash(&scene, &sandbox, "python3 -m pip install -q idna==3.7 && echo done").await;
    assert_eq!(run.output, "done\n", "{}", run.stderr);
    let run = scene.python(&sandbox, "import six, idna; print(six.__version__, idna.__version__, idna.__file__)").await;
    assert!(run.output.starts_with("1.16.0 3.7 /home/user/.local/"), "{}{}", run.output, run.stderr);
    // The control: under another policy it does not get there.
    let closed = scene.create(json!("none"), &[]).await;
    let run = bash(&scene, &closed, "pip install -q --retries 0 six==1.16.0").await;
    assert_ne!(run.exit_code, Some(0), "{}", run.output);
}

/// One that a program installs by itself, in a place of its own too, and pip's own copy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_certifi_trusts_the_gate_as_well() {
    let scene = Scene::new().await;
    let api = scene.serve(API).await;
    let allow = json!({"allow": [{"host": API, "ports": [api], "paths": ["/v2/**"]},
                                 {"host": "pypi.org"}, {"host": "files.pythonhosted.org"}]});
    let sandbox = scene.create(allow, &[]).await;
    scene.api.configure(Actor::Agent, install(&sandbox, &["httpx", "aiohttp"])).await.expect("they are installed");
    let newest = "python3 -m pip install -q -U --force-reinstall --no-deps certifi && \
                  python3 -m pip install -q --no-deps --target /home/user/own certifi requests urllib3 idna charset-normalizer";
    let run = bash(&scene, &sandbox, newest).await;
    assert_eq!(run.exit_code, Some(0), "{}{}", run.output, run.stderr);
    let code = format!(
        r#"
import asyncio, os, ssl, sys, urllib.request
import aiohttp, certifi, httpx, requests
url = "https://{API}:{api}/v2/clock"
print(os.path.dirname(certifi.__file__), "ringfence" in " ".join(sys.modules))
print("certifi", urllib.request.urlopen(url, context=ssl.create_default_context(cafile=certifi.where())).status)
print("contents", urllib.request.urlopen(url, context=ssl.create_default_context(cadata=certifi.contents())).status)
print("requests", requests.get(url).status_code)
print("httpx", httpx.get(url).status_code)
async def main():
    async with aiohttp.ClientSession() as session:
        context = ssl.create_default_context(cafile=certifi.where())
        async with session.get(url, ssl=context) as answer:
            print("aiohttp", answer.status)
asyncio.run(main())
from pip._vendor import certifi as theirs, requests as pips
print("pip", pips.get(url, verify=theirs.where()).status_code)
# The list that came along is the public one: with it nothing is trusted here.
own = os.path.join(os.path.dirname(certifi.__file__), "cacert.pem")
try:
    urllib.request.urlopen(url, context=ssl.create_default_context(cafile=own))
    print("control trusted")
except urllib.error.URLError as error:
    print("control", type(error.reason).__name__)
"#
    );
    let expected = "False\ncertifi 200\ncontents 200\nrequests 200\nhttpx 200\naiohttp 200\npip 200\ncontrol SSLCertVerificationError\n";
    for (place, prefix) in [
        ("/home/user/.local/lib/python3.11/site-packages", ""),
        ("/home/user/own", "import sys; sys.path.insert(0, '/home/user/own')\n"),
    ] {
        let run = scene.python(&sandbox, &format!("{prefix}{code}")).await;
        assert_eq!(run.output, format!("{place}/certifi {expected}"), "{}", run.stderr);
    }
}

/// A wheel with one module, made by the host's Python.
fn wheel(name: &str) -> Vec<u8> {
    let code = r#"
import io, sys, zipfile
name = sys.argv[1]
info = f"{name}-1.0.dist-info"
files = {f"{name}.py": "WHENCE = 'the operator'\n",
         f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
         f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
files[f"{info}/RECORD"] = "".join(f"{each},,\n" for each in [*files, f"{info}/RECORD"])
made = io.BytesIO()
with zipfile.ZipFile(made, "w") as archive:
    for each, text in files.items():
        archive.writestr(each, text)
sys.stdout.buffer.write(made.getvalue())
"#;
    let made = std::process::Command::new("python3").args(["-c", code, name]).output().expect("python3");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    made.stdout
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operators_own_index_is_where_packages_come_from() {
    let scene = Scene::prepared(&["python"]).await;
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let (noted, file) = (asked.clone(), wheel("ringfence_private"));
    let answer = move |head: &str| {
        noted.lock().expect("nobody panics").push(head.to_owned());
        if head.contains(" /echo ") || head.contains(" /upload ") {
            return head.as_bytes().to_vec();
        }
        if head.starts_with("GET /simple/ringfence-private/ ") {
            let name = "ringfence_private-1.0-py3-none-any.whl";
            return format!("<!DOCTYPE html><html><body><a href=\"/files/{name}\">{name}</a></body></html>")
                .into_bytes();
        }
        file.clone()
    };
    let port = scene.serve_by(INDEX, Arc::new(answer)).await;
    // An authority of its own, an unusual port, and a password that must stay where it is.
    let url = format!("https://someone:hunter2-s3cret@{INDEX}:{port}/simple");
    let scene = scene.start(&[("PIP_INDEX_URL", url)]).await;
    let sandbox = scene.create(json!("none"), &[]).await;
    let answer = scene.api.configure(Actor::Agent, install(&sandbox, &["ringfence-private"])).await;
    assert_eq!(answer.expect("it is installed").packages_installed[0].version, "1.0");
    let code = "import ringfence_private; print(ringfence_private.WHENCE)";
    assert_eq!(scene.python(&sandbox, code).await.output, "the operator\n");
    // Typed inside it is the same, and what a sandbox can read has no password in it.
    let typed = scene.create(json!("packages"), &[]).await;
    let look = "pip install -q ringfence-private && pip config list; cat /etc/pip.conf; env; \
                grep -rs hunter2 /etc /home /proc/self/environ /tmp";
    let run = bash(&scene, &typed, look).await;
    assert!(run.output.contains(&format!("https://{INDEX}:{port}/simple")), "{}{}", run.output, run.stderr);
    assert!(!run.output.contains("hunter2") && !run.output.contains("someone"), "{}", run.output);
    // The gate said who it is, to this host and to it alone, and what is answered to somebody is kept for nobody.
    let heads = asked.lock().expect("nobody panics").clone();
    assert_eq!(heads.len(), 4, "{heads:?}");
    let login = format!("authorization: basic {}", STANDARD.encode("someone:hunter2-s3cret")).to_lowercase();
    assert!(heads.iter().all(|head| head.to_lowercase().contains(&login)), "{heads:?}");
    let said = std::fs::read_to_string(scene.home.join("log/daemon.log")).expect("a log");
    assert!(said.contains("stays outside") && !said.contains("hunter2"), "{said}");
    // It is recorded by a name, is not for what writes, and an index that repeats it is not let to.
    let meddle = format!(
        "import requests\nat = 'https://{INDEX}:{port}'\n\
         print(requests.get(at + '/echo').text.count('placeholder'), 'hunter2' in requests.get(at + '/echo').text)\n\
         print(requests.post(at + '/upload').status_code, requests.get(at + '/echo', auth=('me', 'mine')).status_code)"
    );
    let run = scene.python(&typed, &meddle).await;
    assert!(run.output.contains("False\n200 200\n"), "{}{}", run.output, run.stderr);
    let heads = asked.lock().expect("nobody panics").clone();
    let posted = heads.iter().find(|head| head.starts_with("POST ")).expect("it came");
    assert!(!posted.to_lowercase().contains("authorization"), "{posted}");
    let own = heads.last().expect("it came");
    assert!(own.contains(&STANDARD.encode("me:mine")) && !own.to_lowercase().contains(&login), "{own}");
    let ask = EgressRequest { sandbox_id: Some(typed.sandbox_id.to_string()), ..EgressRequest::default() };
    let seen = scene.api.egress_list(Actor::Operator, ask).await.expect("listed").decisions;
    let named = seen.iter().filter(|one| one.secrets == ["registry-login-1"]).count();
    assert!(named >= 4, "{seen:?}");
    // Where the policy does not let packages in, the same host is told nothing.
    let listed = json!({"allow": [{"host": INDEX, "ports": [port]}]});
    let listed = scene.create(listed, &[]).await;
    let run = scene
        .python(&listed, &format!("import requests; print(requests.get('https://{INDEX}:{port}/echo').status_code)"))
        .await;
    assert_eq!(run.output, "200\n", "{}", run.stderr);
    let last = asked.lock().expect("nobody panics").last().cloned().expect("it came");
    assert!(!last.to_lowercase().contains("authorization"), "{last}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packages_of_debian_are_installed_in_base_and_nowhere_else() {
    common::template("base").await;
    let scene = Scene::of(&["python", "base"]).await;
    let python = scene.create(json!("none"), &[]).await;
    let error = scene.api.configure(Actor::Agent, install(&python, &["apt:sqlite3"])).await.expect_err("not here");
    assert!(error.message.contains("`base`") && error.code.as_str() == "INVALID_ARGUMENT", "{error}");

    let sandbox = scene.create_from("base", json!("none"), &[]).await;
    // What its user leaves about decides nothing of what root of the sandbox does.
    let traps = "mkdir -p ~/.local/bin; for name in dpkg apt-get perl awk mktemp; do \
                 printf '#!/bin/sh\\ntouch /home/user/trapped\\n' > ~/.local/bin/$name; chmod +x ~/.local/bin/$name; done; \
                 echo 'touch /home/user/trapped' > ~/.bashrc; cp ~/.bashrc ~/.profile; which sqlite3";
    assert_eq!(bash(&scene, &sandbox, traps).await.output, "");
    let set: ConfigureRequest = serde_json::from_value(json!({"sandbox_id": sandbox.sandbox_id,
        "env_vars": {"BASH_ENV": "/home/user/.bashrc", "PERL5OPT": "-Mnothing", "APT_CONFIG": "/home/user/apt.conf"}}))
    .expect("a request");
    scene.api.configure(Actor::Agent, set).await.expect("they are set");
    let answer = scene.api.configure(Actor::Agent, install(&sandbox, &["apt:sqlite3", "apt:tree"])).await;
    let installed = answer.expect("they are installed").packages_installed;
    let names: Vec<_> = installed.iter().map(|package| package.name.as_str()).collect();
    assert_eq!(names, ["sqlite3", "tree"]);
    let look = "unset BASH_ENV; sqlite3 :memory: 'select 6*7'; tree --version | cut -c1-4; dpkg-query -W sqlite3 | cut -f2; \
                id -u; find /home/user -uid 0; find / -xdev -newer ~/.bashrc -user user -not -path '/home/*' \
                -not -path '/proc/*' -not -path '/dev/*' -not -path '/run/*' 2>/dev/null; ls /usr/sbin/policy-rc.d 2>/dev/null";
    let run = bash(&scene, &sandbox, &look.replace("dpkg-query", "/usr/bin/dpkg-query")).await;
    assert_eq!(run.output, format!("42\ntree\n{}\n1000\n", installed[0].version), "{}", run.stderr);

    // A misspelling installs nothing, and is told what was meant.
    let error = scene.api.configure(Actor::Agent, install(&sandbox, &["apt:jo", "apt:sqlite4"])).await;
    let error = error.expect_err("there is none");
    assert!(error.code.as_str() == "PACKAGE_INSTALL_FAILED" && error.message.contains("sqlite3"), "{error}");
    let run = bash(&scene, &sandbox, "unset BASH_ENV; which jo; /usr/bin/dpkg --audit; echo none").await;
    assert_eq!(run.output, "none\n");
    // The registries were open for as long as it took.
    let run =
        bash(&scene, &sandbox, "unset BASH_ENV; curl -sS -m 10 http://deb.debian.org/debian/ 2>&1 | head -c 200").await;
    assert!(!run.output.contains("<html"), "{}", run.output);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_that_nobody_signed_for_installs_nothing() {
    common::template("base").await;
    let scene = Scene::prepared(&["base"]).await;
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let noted = asked.clone();
    let release = "Suite: bookworm\nCodename: bookworm\nComponents: main\nArchitectures: amd64\n";
    let answer = move |head: &str| {
        noted.lock().expect("nobody panics").push(head.to_owned());
        release.as_bytes().to_vec()
    };
    let port = scene.serve_by(INDEX, Arc::new(answer)).await;
    let scene = scene.start(&[("RINGFENCE_DEBIAN_MIRROR", format!("https://{INDEX}:{port}/debian"))]).await;
    let sandbox = scene.create_from("base", json!("none"), &[]).await;
    let error = scene.api.configure(Actor::Agent, install(&sandbox, &["apt:tree"])).await.expect_err("it is refused");
    assert!(error.code.as_str() == "PACKAGE_INSTALL_FAILED", "{error}");
    assert!(error.message.contains("not signed") || error.message.contains("isn't signed"), "{error}");
    assert!(
        asked.lock().expect("nobody panics").iter().any(|head| head.contains("/dists/bookworm/")),
        "the mirror was asked"
    );
}
