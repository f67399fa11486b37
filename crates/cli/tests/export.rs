//! Templates that are made from sandboxes, with a daemon of their own: the seed document's sequence, what stays behind, versions,
//! archives on a second state directory, and what somebody hostile makes of it.

mod common;
#[path = "export/hostile.rs"]
mod hostile;
#[path = "export/own.rs"]
mod own;
#[path = "export/scene.rs"]
mod scene;
#[path = "export/snapshot.rs"]
mod snapshot;

use ringfence_engine::api::Sandboxes;
use ringfence_model::{
    Code,
    api::{
        Actor, CloneRequest, CreateRequest, EnvVars, ExportRequest, ImportRequest, LimitsRequest, ListRequest,
        SandboxRequest, SandboxStatus, TemplateRequest,
    },
};
use serde_json::json;

use scene::{Agent, Scene, export, named};

/// The seed document's block, as it stands there but for the language that it is written in. In `make test` the block is a part of
/// `mcp.rs`, and what is used elsewhere is [`packages_of_debian_come_along`].
#[test]
fn the_seeds_template_is_saved_and_used_without_a_network_here_and_elsewhere() {
    if !common::is_long("the seed's template with its packages, here and elsewhere") {
        return;
    }
    let scene = Scene::open();
    let mut agent = Agent::of(&scene.home);
    let sandbox = agent.call("sandbox_create", json!({"template": "python", "name": "trading-template"}));
    let packages = json!(["alpaca-py", "yfinance", "ta-lib", "pandas", "numpy", "scikit-learn"]);
    agent.call("sandbox_configure", json!({"sandbox_id": sandbox["sandbox_id"], "install_packages": packages}));
    let template = agent
        .call("export_template", json!({"sandbox_id": sandbox["sandbox_id"], "template_name": "alpaca-trading-v1"}));
    assert_eq!((&template["version"], &template["base_template"]), (&json!(1), &json!("python")), "{template}");
    let listed = template["packages"].as_array().expect("a list");
    for name in ["scikit-learn", "yfinance", "alpaca-py", "pandas", "TA-Lib"] {
        let found = listed.iter().find(|p| p["name"].as_str().is_some_and(|n| n.eq_ignore_ascii_case(name)));
        assert!(found.is_some_and(|p| p["version"].as_str().is_some_and(|v| v.contains('.'))), "{name}: {template}");
    }
    agent.call("sandbox_delete", json!({"sandbox_id": sandbox["sandbox_id"]}));
    const IMPORT: &str = "import alpaca, yfinance, talib, pandas, numpy, sklearn; print('imported', sklearn.__file__)";
    const EXPECTED: &str = "imported /home/user/.local/lib/python3.11/site-packages/sklearn/__init__.py\n";
    let check = |agent: &mut Agent| {
        let made = agent.call("sandbox_create", json!({"template": "alpaca-trading-v1"}));
        let id = &made["sandbox_id"];
        assert_eq!(made["network"], "none", "{made}");
        let ran = agent.call("sandbox_execute", json!({"sandbox_id": id, "code": IMPORT}));
        assert_eq!(ran["output"], EXPECTED, "{ran}");
        agent.call("sandbox_delete", json!({"sandbox_id": id}));
    };
    check(&mut agent);
    // What an earlier program of a sandbox left does not come along.
    let listed = agent.call("template_list", json!({"category": "exported"}));
    assert!(
        listed["templates"].as_array().expect("a list").iter().any(|t| t["name"] == "alpaca-trading-v1"),
        "{listed}"
    );

    let file = scene.dir.path().join("alpaca-trading-v1.tar.zst");
    let path = file.to_str().expect("plain");
    scene.run(&["template", "export", "alpaca-trading-v1", path]);
    let elsewhere = Scene::empty();
    elsewhere.run(&["template", "import", path]);
    let mut other = Agent::of(&elsewhere.home);
    check(&mut other);
    let there = other.call("template_get", json!({"template_name": "alpaca-trading-v1"}));
    assert_eq!(there["template"]["digest"], template["digest"], "{there}");
    // From there it is the same file again.
    let again = elsewhere.dir.path().join("again.tar.zst");
    elsewhere.run(&["template", "export", "alpaca-trading-v1", again.to_str().expect("plain")]);
    let (first, second) = (std::fs::read(&file).expect("there"), std::fs::read(&again).expect("there"));
    assert!(first == second, "{} and {} bytes", first.len(), second.len());
    drop(other);
    elsewhere.run(&["template", "rm", "alpaca-trading-v1"]);
    agent.call("template_delete", json!({"template_name": "alpaca-trading-v1"}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_secrets_histories_and_keys_stay_behind() {
    let scene = Scene::of_test().await;
    let vars = [
        ("ALPACA_API_KEY", "canary-of-the-client-51d7aa0f"),
        ("OTHER_API_KEY", "canary-exposed-51d7aa0e"),
        ("MODE", "paper"),
        // Its name says nothing, and it stands in the clear.
        ("DATABASE_URL", "postgres://u:canary-51d7aa0c@db.internal/prices"),
        ("ORIGIN", "https://paper-api.alpaca.markets"),
    ];
    let vars = EnvVars::new(vars.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    let request = CreateRequest { env_vars: vars, expose: true, ..named("python") };
    let made = scene.api.create(Actor::Operator, request, None).await.expect("a sandbox");
    let id = made.sandbox_id.to_string();
    scene
        .prints(
            &id,
            r#"
import os, base64, subprocess
os.chdir("/home/user")
key = os.environ["ALPACA_API_KEY"]
open("placeholder.py", "w").write("key = %r" % key)
open("encoded.txt", "w").write(base64.b64encode(("x" + key).encode()).decode())
open("exposed.json", "w").write('{"key": "%s"}' % os.environ["OTHER_API_KEY"])
open("mode.txt", "w").write(os.environ["MODE"])
open("url.py", "w").write("url = %r" % os.environ["DATABASE_URL"])
open("origin.py", "w").write("origin = %r" % os.environ["ORIGIN"])
os.makedirs("bot/.cargo"); open("bot/.npmrc", "w").write("x"); open("bot/.cargo/credentials.toml", "w").write("x")
open(".bash_history", "w").write("export X=1")
open(".python_history", "w").write("x")
open(".netrc", "w").write("machine x")
open(".env", "w").write("A=b")
os.makedirs("artifacts", exist_ok=True); open("artifacts/result.csv", "w").write("1")
os.makedirs(".ssh", exist_ok=True); open(".ssh/id_ed25519", "w").write("x")
open("/tmp/left", "w").write("x")
open("strategy.py", "w").write("print('a strategy')")
"#,
        )
        .await;
    let exported = export(&scene, &id, "clean").await.expect("exported");
    assert_eq!(exported.env_vars_required, ["ALPACA_API_KEY", "DATABASE_URL", "MODE", "ORIGIN", "OTHER_API_KEY"]);
    let left: Vec<&str> = exported.left_out.iter().map(|left| left.path.as_str()).collect();
    for path in [
        "placeholder.py",
        "encoded.txt",
        "exposed.json",
        "url.py",
        "bot/.npmrc",
        "bot/.cargo/credentials.toml",
        ".bash_history",
        ".python_history",
        ".netrc",
        ".env",
        "artifacts",
        ".ssh",
    ] {
        assert!(left.contains(&path), "{path} is not among {left:?}");
    }
    let text = serde_json::to_string(&exported).expect("plain");
    assert!(!text.contains("canary"), "{text}");
    let copy = scene.create("clean").await;
    let seen = scene
        .prints(&copy, r#"
import os
found = sorted(os.path.relpath(os.path.join(d, f), "/home/user") for d, _, fs in os.walk("/home/user") for f in fs)
print([f for f in found if not f.startswith((".cache/", ".config/", ".local/"))], os.path.exists("/tmp/left"), "ALPACA_API_KEY" in os.environ)
"#)
        .await;
    assert_eq!(seen, "['mode.txt', 'origin.py', 'strategy.py'] False False\n");
    // The control: without the variables the very same files come along.
    let control = scene.create("python").await;
    scene
        .prints(&control, "open('/home/user/placeholder.py', 'w').write('key = \"PKTESTTESTTESTTESTTESTTEST1\"')")
        .await;
    let exported = export(&scene, &control, "control").await.expect("exported");
    assert!(exported.left_out.iter().all(|left| left.path != "placeholder.py"), "{exported:?}");
    // Nothing of the values is on disk of the daemon's layers.
    let found =
        std::process::Command::new("grep").args(["-rlE", "51d7aa0[cef]"]).arg(scene.home.join("layers")).output();
    assert_eq!(String::from_utf8_lossy(&found.expect("grep(1)").stdout), "");
    scene.end(&[&id, &copy, &control], &["clean", "control"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_versions_and_deletion() {
    let scene = Scene::of_test().await;
    let id = scene.create("python").await;
    scene.prints(&id, "open('/home/user/v', 'w').write('1')").await;
    for (name, code) in [
        ("python", Code::TemplateExists),
        ("nodejs", Code::TemplateExists),
        ("../x", Code::InvalidArgument),
        ("", Code::InvalidArgument),
    ] {
        assert_eq!(export(&scene, &id, name).await.expect_err("refused").code, code, "{name}");
    }
    assert_eq!(export(&scene, "nobody", "versions").await.expect_err("refused").code, Code::SandboxNotFound);
    let first = export(&scene, &id, "versions").await.expect("exported");
    assert_eq!(export(&scene, &id, "versions").await.expect_err("refused").code, Code::TemplateExists);
    let old = scene.create("versions").await;
    scene.prints(&id, "open('/home/user/v', 'w').write('2')").await;
    let request = ExportRequest { new_version: true, ..scene::request(&id, "versions") };
    let second = scene.api.export_template(Actor::Agent, request, None).await.expect("exported");
    assert_eq!((first.version, second.version), (1, 2));
    assert_ne!(first.digest, second.digest);
    let new = scene.create("versions").await;
    const READ: &str = "print(open('/home/user/v').read())";
    assert_eq!((scene.prints(&old, READ).await, scene.prints(&new, READ).await), ("1\n".to_owned(), "2\n".to_owned()));
    // Sandboxes of the first version live on, also when they are started again.
    for step in [true, false] {
        let request = SandboxRequest { sandbox_id: old.clone() };
        let moved = if step { scene.api.stop(Actor::Agent, request) } else { scene.api.resume(Actor::Agent, request) };
        moved.await.expect("it is moved");
    }
    assert_eq!(scene.prints(&old, READ).await, "1\n");
    let delete = |name: &str| scene.api.template_delete(Actor::Agent, TemplateRequest { template_name: name.into() });
    assert_eq!(delete("versions").await.expect_err("in use").code, Code::TemplateInUse);
    assert_eq!(delete("python").await.expect_err("shipped").code, Code::InvalidArgument);
    assert_eq!(delete("nobody").await.expect_err("unknown").code, Code::TemplateNotFound);
    for sandbox in [&old, &new] {
        scene.delete(sandbox).await;
    }
    let layers = |digest: &str| scene.home.join("layers").join(digest).exists();
    assert!(layers(&first.digest) && layers(&second.digest));
    assert_eq!(delete("versions").await.expect("deleted").versions, 2);
    assert!(!layers(&first.digest) && !layers(&second.digest), "their layers are gone");
    let gone = scene.api.create(Actor::Agent, named("versions"), None).await.expect_err("gone");
    assert_eq!(gone.code, Code::TemplateNotFound);
    scene.delete(&id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_start_command_comes_along_and_a_generation_is_built_on_another() {
    let scene = Scene::of_test().await;
    let request = CreateRequest { startup_script: Some("echo started >> /home/user/log".into()), ..named("python") };
    let made = scene.api.create(Actor::Agent, request, None).await.expect("a sandbox");
    let id = made.sandbox_id.to_string();
    scene.prints(&id, "import os; os.makedirs('/home/user/d'); open('/home/user/d/a', 'w').write('a'); open('/home/user/b', 'w').write('b')").await;
    let exported = export(&scene, &id, "one").await.expect("exported");
    assert_eq!(exported.start_command.as_deref(), Some("echo started >> /home/user/log"));
    let first = scene.create("one").await;
    // Moved and deleted in the second generation: what the first had does not show through.
    let changed = "
import os
os.rename('/home/user/d', '/home/user/e')
os.remove('/home/user/b')
print(open('/home/user/log').read().split())
";
    assert_eq!(scene.prints(&first, changed).await, "['started', 'started']\n");
    let exported = export(&scene, &first, "two").await.expect("exported");
    assert_eq!((exported.base_template.as_str(), exported.start_command.is_some()), ("one", true));
    let request = CreateRequest { startup_script: Some("true".into()), ..named("two") };
    let second = scene.api.create(Actor::Agent, request, None).await.expect("a sandbox").sandbox_id.to_string();
    let seen = "
import os
print(sorted(n for n in os.listdir('/home/user') if n[0] != '.'), open('/home/user/e/a').read(), open('/home/user/log').read().count('started'))
";
    assert_eq!(scene.prints(&second, seen).await, "['e', 'log'] a 2\n", "a script of one's own is run instead");
    scene.end(&[&id, &first, &second], &["one", "two"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_package_over_a_preloaded_one_wins_and_can_be_changed() {
    let scene = Scene::of_test().await;
    let id = scene.create("python").await;
    let install = "
import os
site = '/home/user/.local/lib/python3.11/site-packages'
os.makedirs(site + '/talib', exist_ok=True)
open(site + '/talib/__init__.py', 'w').write('MARK = 1\\n')
os.makedirs(site + '/talib-9.9.dist-info')
open(site + '/talib-9.9.dist-info/METADATA', 'w').write('Metadata-Version: 2.1\\nName: TA-Lib\\nVersion: 9.9\\n')
";
    scene.prints(&id, install).await;
    let exported = export(&scene, &id, "own").await.expect("exported");
    let talib: Vec<_> = exported.packages.iter().filter(|p| p.name == "TA-Lib").collect();
    assert!(matches!(&talib[..], [only] if only.version == "9.9"), "{talib:?}");
    let copy = scene.create("own").await;
    scene.warm("own").await;
    const MARK: &str = "import sys; early = 'talib' in sys.modules; import talib; print(talib.MARK)";
    assert_eq!(scene.prints(&copy, MARK).await, "1\n");
    // Its own interpreter has read the file before: a change is seen all the same.
    let edit = "open('/home/user/.local/lib/python3.11/site-packages/talib/__init__.py', 'w').write('MARK = 22\\n')";
    scene.prints(&copy, edit).await;
    assert_eq!(scene.prints(&copy, MARK).await, "22\n");
    // And where nothing was changed the waiting interpreter is used: its modules are there at once.
    let other = scene.create("own").await;
    let timed = "import time; t = time.perf_counter(); import pandas; print(open('/proc/self/cmdline').read().count('fresh.py'))";
    assert_eq!(scene.prints(&other, timed).await, "0\n");
    scene.end(&[&id, &copy, &other], &["own"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_sandbox_is_copied() {
    let scene = Scene::of_test().await;
    let vars = EnvVars::new([("MODE".to_owned(), "paper".to_owned())].into());
    let request = CreateRequest { env_vars: vars, ..named("python") };
    let id = scene.api.create(Actor::Agent, request, None).await.expect("a sandbox").sandbox_id.to_string();
    scene.prints(&id, "open('/home/user/big', 'wb').write(b'x' * (200 << 20))").await;
    let clone = |name: &str| CloneRequest { sandbox_id: id.clone(), name: Some(name.into()), timeout: None };
    let running = scene.api.clone_sandbox(Actor::Agent, clone("early")).await.expect_err("it runs");
    assert_eq!(running.code, Code::SandboxNotRunning);
    scene.api.stop(Actor::Agent, SandboxRequest { sandbox_id: id.clone() }).await.expect("stopped");
    let copy = scene.api.clone_sandbox(Actor::Agent, clone("copy")).await.expect("copied");
    assert_eq!((copy.status, &copy.env_vars_required[..]), (SandboxStatus::Stopped, &["MODE".to_owned()][..]));
    let copy = copy.sandbox_id.to_string();
    let disk = |id: &str| {
        let request = SandboxRequest { sandbox_id: id.to_owned() };
        let api = scene.api.clone();
        async move { api.status(Actor::Agent, request).await.expect("a status").sandbox.resources.expect("known") }
    };
    let (first, second) = (disk(&id).await, disk(&copy).await);
    assert!(first.disk_bytes > 200 << 20 && first.disk_shared_bytes == 0, "{first:?}");
    // It counts all that it holds, and shares what it was copied with.
    assert!(second.disk_bytes >= first.disk_bytes && second.disk_limit_bytes == first.disk_limit_bytes, "{second:?}");
    assert!(second.disk_bytes - second.disk_shared_bytes < 1 << 20, "it shares what it was copied with: {second:?}");
    for sandbox in [&id, &copy] {
        scene.api.resume(Actor::Agent, SandboxRequest { sandbox_id: sandbox.clone() }).await.expect("runs");
    }
    // Each has its own from now on, and the copy has no value of the other.
    let change =
        "import os; p = '/home/user/big'; f = open(p, 'r+b'); f.write(b'y'); f.close(); print(os.environ.get('MODE'))";
    assert_eq!(scene.prints(&copy, change).await, "None\n");
    const FIRST: &str = "print(open('/home/user/big', 'rb').read(1), len(open('/home/user/big', 'rb').read()) >> 20)";
    assert_eq!(scene.prints(&id, FIRST).await, "b'x' 200\n");
    assert_eq!(scene.prints(&copy, FIRST).await, "b'y' 200\n");
    // The first one may go.
    scene.delete(&id).await;
    assert_eq!(scene.prints(&copy, FIRST).await, "b'y' 200\n");
    // Its limit is the kernel's.
    let fill = "
import errno
f = open('/home/user/more', 'wb', buffering=0)
try:
    while True: f.write(b'z' * (8 << 20))
except OSError as e:
    print(errno.errorcode[e.errno], f.tell() >> 20 < 1100)
";
    assert!(matches!(&scene.prints(&copy, fill).await[..], "EDQUOT True\n" | "ENOSPC True\n"));
    scene.delete(&copy).await;
}

/// Filling, copying and filling again does not give more than the limit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_has_what_is_left_of_the_limit() {
    let scene = Scene::of_test().await;
    let limits = LimitsRequest { disk_mb: Some(64), ..LimitsRequest::default() };
    let request = CreateRequest { limits: Some(limits), ..named("python") };
    let id = scene.api.create(Actor::Agent, request, None).await.expect("a sandbox").sandbox_id.to_string();
    let stop = |id: &str| scene.api.stop(Actor::Agent, SandboxRequest { sandbox_id: id.to_owned() });
    let clone = |id: &str| {
        scene.api.clone_sandbox(Actor::Agent, CloneRequest { sandbox_id: id.to_owned(), name: None, timeout: None })
    };
    scene.prints(&id, "open('/home/user/first', 'wb').write(b'x' * (40 << 20))").await;
    stop(&id).await.expect("stopped");
    let copy = clone(&id).await.expect("copied").sandbox_id.to_string();
    // What it shares is what the first one wrote, also when a copy is copied.
    let again = clone(&copy).await.expect("copied").sandbox_id.to_string();
    const FILL: &str = "
import errno, os
f = open('/home/user/more', 'wb', buffering=0)
try:
    while True: f.write(b'z' * (1 << 20))
except OSError as e:
    print(errno.errorcode[e.errno], 15 <= f.tell() >> 20 <= 24)
print(os.stat('/home/user/first').st_size >> 20)
";
    for copy in [&copy, &again] {
        scene.api.resume(Actor::Agent, SandboxRequest { sandbox_id: copy.clone() }).await.expect("runs");
        assert_eq!(scene.prints(copy, FILL).await, "EDQUOT True\n40\n");
        let seen = scene.api.status(Actor::Agent, SandboxRequest { sandbox_id: copy.clone() }).await.expect("a status");
        let used = seen.sandbox.resources.expect("known");
        assert!(used.disk_limit_bytes == 64 << 20 && used.disk_bytes > 55 << 20, "{used:?}");
        let listed = scene.api.list(Actor::Agent, ListRequest { limit: Some(1000), ..ListRequest::default() }).await;
        let listed = listed.expect("a list").sandboxes.into_iter().find(|one| one.sandbox_id.as_str() == copy);
        let listed = listed.expect("it is there").disk_bytes;
        assert!(listed.is_some_and(|bytes| bytes > 55 << 20), "{listed:?}");
    }
    // Where nothing is left there is nothing to copy for.
    let filled = "
f = open('/home/user/more', 'ab', buffering=0)
size = 1 << 20
while size >= 4096:
    try: f.write(b'z' * size)
    except OSError: size //= 2
";
    scene.prints(&copy, filled).await;
    stop(&copy).await.expect("stopped");
    let refused = clone(&copy).await.expect_err("it is full");
    assert_eq!(refused.code, Code::QuotaExceeded);
    assert!(refused.message.contains("could write nothing") && refused.message.contains("of the 64 MiB"), "{refused}");
    // The first one's going changes nothing for those that share with it.
    scene.delete(&id).await;
    assert_eq!(scene.prints(&again, "print(len(open('/home/user/first', 'rb').read()) >> 20)").await, "40\n");
    for id in [&copy, &again] {
        scene.delete(id).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn archives_are_for_operators() {
    let scene = Scene::of_test().await;
    let request = TemplateRequest { template_name: "nobody".into() };
    let refused = scene.api.template_archive(Actor::Agent, request.clone()).await.err().expect("refused");
    assert_eq!(refused.code, Code::PermissionDenied);
    let unknown = scene.api.template_archive(Actor::Operator, request).await.err().expect("unknown");
    assert_eq!(unknown.code, Code::TemplateNotFound);
    let chunks = || Box::pin(futures::stream::iter([Ok("no archive".into())]));
    let refused =
        scene.api.template_import(Actor::Agent, ImportRequest::default(), chunks()).await.expect_err("refused");
    assert_eq!(refused.code, Code::PermissionDenied);
    let refused =
        scene.api.template_import(Actor::Operator, ImportRequest::default(), chunks()).await.expect_err("refused");
    assert_eq!(refused.code, Code::InvalidArgument, "{refused}");
    assert!(refused.message.contains("archive is refused"), "{refused}");
    assert_eq!(std::fs::read_dir(scene.home.join("engine/archives")).expect("a directory").count(), 0);
}

/// Where packages are installed by root, what is exported is a root too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packages_of_debian_come_along() {
    common::template("base").await;
    let scene = Scene::of_test_with("base").await;
    let request = CreateRequest { install_packages: vec!["apt:sl".into()], ..named("base") };
    let id = scene.api.create(Actor::Agent, request, None).await.expect("a sandbox").sandbox_id.to_string();
    scene
        .prints(&id, "echo mine > /home/user/mine; rm -f /home/user/none; echo x > /var/tmp/x; ls /usr/games/sl")
        .await;
    let exported = export(&scene, &id, "with-sl").await.expect("exported");
    assert!(
        exported.packages.iter().any(|p| p.name == "sl" && p.version.starts_with(|c: char| c.is_ascii_digit())),
        "{exported:?}"
    );
    let copy = scene.create("with-sl").await;
    let seen = scene.prints(&copy, "ls /usr/games/sl; cat mine; ls /var/tmp /tmp; stat -c %U:%a /etc/passwd /usr/games/sl; dpkg -s sl | grep ^Status").await;
    assert_eq!(seen, "/usr/games/sl\nmine\n/tmp:\n\n/var/tmp:\nroot:644\nroot:755\nStatus: install ok installed\n");
    // On top of it more can be installed, and exported again.
    let file = scene.dir.path().join("with-sl.tar.zst");
    scene.run(&["template", "export", "with-sl", file.to_str().expect("plain")]);
    let elsewhere = tokio::task::spawn_blocking(Scene::empty).await.expect("a daemon");
    elsewhere.run(&["template", "import", file.to_str().expect("plain")]);
    let there = elsewhere.create("with-sl").await;
    assert_eq!(elsewhere.prints(&there, "ls /usr/games/sl; cat mine").await, "/usr/games/sl\nmine\n");
    elsewhere.end(&[&there], &["with-sl"]).await;
    // The control: without an installer a template of the same base has no root of its own.
    let plain = scene.create("base").await;
    scene.prints(&plain, "echo x > /var/tmp/x; echo y > /home/user/y").await;
    let small = export(&scene, &plain, "plain").await.expect("exported");
    assert!(small.size_bytes < 1 << 20 && exported.size_bytes > 50 << 20, "{small:?}");
    scene.end(&[&id, &copy, &plain], &["with-sl", "plain"]).await;
}
