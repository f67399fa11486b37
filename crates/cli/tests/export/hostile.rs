//! What somebody hostile makes of it.

use std::{fs, process::Command};

use ringfence_engine::api::Sandboxes;
use ringfence_model::{
    Code,
    api::{Actor, CreateRequest, ExecuteRequest, ImportRequest, LimitsRequest, SandboxRequest},
};

use crate::{
    common::template,
    scene::{Scene, export, named},
};

/// What programs put in the place of files, as long as they run: the copy is of one moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_home_that_changes_while_it_is_copied_leads_nowhere() {
    let scene = Scene::of_test().await;
    let id = scene.create("python").await;
    let swap = r#"
import os
os.chdir("/home/user")
os.makedirs("real/etc"); open("real/etc/passwd", "w").write("of the sandbox")
os.symlink("/", "link")
os.mkfifo("fifo"); os.chmod("real/etc/passwd", 0o4777)
os.link("real/etc/passwd", "hard")
os.makedirs(b"new\nline\xff"); open(b"new\nline\xff/x", "w").write("x")
try:
    os.mknod("whiteout", 0o020000 | 0o666, os.makedev(0, 0))
except OSError as e:
    print("no device:", e.errno, flush=True)
for name in ["trusted.overlay.opaque", "trusted.overlay.redirect"]:
    try:
        os.setxattr("real", name, b"y")
    except OSError as e:
        print("no attribute:", e.errno, flush=True)
while True:
    os.rename("real", "other"); os.rename("link", "real")
    os.rename("real", "link"); os.rename("other", "real")
"#;
    let request = ExecuteRequest {
        sandbox_id: id.clone(),
        code: swap.into(),
        background: true,
        timeout: Some(600.0),
        ..ExecuteRequest::default()
    };
    let begun = scene.api.execute(Actor::Agent, request).await.expect("it runs");
    let printed = loop {
        let ask =
            ringfence_model::api::ExecutionRequest { execution_id: begun.execution_id.to_string(), wait: Some(0.05) };
        let now = scene.api.execution(Actor::Agent, ask).await.expect("known");
        if now.output.lines().count() == 3 {
            break now.output;
        }
    };
    assert_eq!(printed, "no device: 1\nno attribute: 1\nno attribute: 1\n");
    let host = fs::read_to_string("/etc/passwd").expect("the host has one");
    for round in 0..4 {
        let name = format!("swapped-{round}");
        let exported = export(&scene, &id, &name).await.expect("exported");
        let home = scene.home.join("layers").join(&exported.digest).join("rootfs/home/user");
        for dir in ["real", "other", "link"] {
            let Ok(found) = fs::symlink_metadata(home.join(dir)) else { continue };
            if found.is_dir() {
                let passwd = fs::read_to_string(home.join(dir).join("etc/passwd")).expect("a file");
                assert!(passwd == "of the sandbox" && passwd != host);
            } else {
                assert_eq!(fs::read_link(home.join(dir)).expect("a link").to_str(), Some("/"));
            }
        }
        assert!(exported.left_out.iter().any(|left| left.path == "fifo"), "{exported:?}");
        let special = Command::new("find")
            .arg(home.join("../.."))
            .args(["-perm", "/7000", "-o", "-type", "p", "-o", "-type", "c"])
            .output();
        assert_eq!(String::from_utf8_lossy(&special.expect("find(1)").stdout), "");
    }
    let templates: Vec<String> = (0..4).map(|round| format!("swapped-{round}")).collect();
    scene.end(&[&id], &templates.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_home_that_grows_is_refused_and_leaves_nothing() {
    let scene = Scene::of_test().await;
    let limits = LimitsRequest { disk_mb: Some(128), ..LimitsRequest::default() };
    let request = CreateRequest { limits: Some(limits), ..named("python") };
    let id = scene.api.create(Actor::Agent, request, None).await.expect("a sandbox").sandbox_id.to_string();
    // Other tests build and export meanwhile: what is looked for is what this sandbox has in its home.
    let left = || {
        let mut find = std::process::Command::new("find");
        find.args([scene.home.join("layers"), scene.home.join("builds")]);
        let found = find.args(["-path", "*/home/user/sparse", "-o", "-path", "*/home/user/d/d/d"]).output();
        String::from_utf8_lossy(&found.expect("find(1)").stdout).into_owned()
    };
    // It takes no room in the sandbox: that is the control.
    let room = "
import os
os.truncate(os.open('/home/user/sparse', os.O_CREAT | os.O_RDWR), 1 << 40)
print(os.stat('/home/user/sparse').st_blocks)
";
    assert_eq!(scene.prints(&id, room).await, "0\n");
    let refused = export(&scene, &id, "bomb").await.expect_err("refused");
    assert_eq!(refused.code, Code::InvalidArgument);
    assert!(refused.message.contains("sparse"), "{refused}");
    scene
        .prints(&id, "import os; os.remove('/home/user/sparse')\nfor n in range(120): os.mkdir('d'); os.chdir('d')")
        .await;
    let refused = export(&scene, &id, "deep").await.expect_err("refused");
    assert!(refused.message.contains("deeper"), "{refused}");
    assert_eq!(left(), "", "nothing is left");
    // Fit again, and it is exported; then there is something to be found.
    scene.prints(&id, "import shutil; shutil.rmtree('/home/user/d'); open('/home/user/sparse', 'w').close()").await;
    export(&scene, &id, "fits").await.expect("exported");
    assert_eq!(left().lines().count(), 1, "{}", left());
    scene.end(&[&id], &["fits"]).await;
}

/// Code of a home runs in the warm interpreter of its template: it may spoil that, and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packages_that_spoil_their_warm_interpreter_spoil_that_alone() {
    let scene = Scene::of_test().await;
    let id = scene.create("python").await;
    let poison = r#"
import os
site = "/home/user/.local/lib/python3.11/site-packages"
os.makedirs(site, exist_ok=True)
open(site + "/poison.pth", "w").write("import os, sys; 'RINGFENCE_PRELOAD' in os.environ and os._exit(3)\n")
open(site + "/deep.py", "w").write("(" * 100000)
os.makedirs(site + "/x-1.dist-info", exist_ok=True)
open(site + "/x-1.dist-info/METADATA", "wb").write(b"Name: \xff\x00\x1b[2J\nVersion: " + b"9" * 100000 + b"\n")
"#;
    scene.prints(&id, poison).await;
    let exported = export(&scene, &id, "poisoned").await.expect("exported");
    assert!(exported.packages.iter().all(|p| p.version.len() <= 200 && !p.name.contains('\u{1b}')), "{exported:?}");
    let copy = scene.create("poisoned").await;
    assert_eq!(scene.prints(&copy, "print(1)").await, "1\n", "a fresh interpreter");
    let other = scene.create("python").await;
    assert_eq!(scene.prints(&other, "print(2)").await, "2\n");
    scene.end(&[&id, &copy, &other], &["poisoned"]).await;
}

/// The process has what the warm interpreter printed into; whoever waited for its end would wait for as long as it likes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warm_interpreter_that_ends_and_leaves_a_process_behind_holds_up_nobody() {
    let scene = Scene::of_test().await;
    let id = scene.create("python").await;
    let poison = r#"
import os
site = "/home/user/.local/lib/python3.11/site-packages"
os.makedirs(site, exist_ok=True)
leaves = "(os.fork() and os._exit(3), time.sleep(600))"
open(site + "/leaves.pth", "w").write(f"import os, time; 'RINGFENCE_PRELOAD' in os.environ and {leaves}\n")
"#;
    scene.prints(&id, poison).await;
    export(&scene, &id, "leaving").await.expect("exported");
    let copy = scene.create("leaving").await;
    assert_eq!(scene.prints(&copy, "print(1)").await, "1\n", "a fresh interpreter");
    assert_eq!(scene.prints(&id, "print(2)").await, "2\n");
    scene.end(&[&id, &copy], &["leaving"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layer_that_was_changed_on_disk_is_not_used() {
    let scene = Scene::of_test().await;
    let id = scene.create("python").await;
    scene.prints(&id, "open('/home/user/strategy.py', 'w').write('print(1)')").await;
    let exported = export(&scene, &id, "sealed").await.expect("exported");
    let file = scene.home.join("layers").join(&exported.digest).join("rootfs/home/user/strategy.py");
    scene.restart(|| ()).await;
    let copy = scene.create("sealed").await; // the control
    scene.delete(&copy).await;
    scene.restart(|| fs::write(&file, "print(2)").expect("changed")).await;
    let refused = scene.api.create(Actor::Agent, named("sealed"), None).await.expect_err("refused");
    assert!(refused.message.contains("not what was exported"), "{refused}");
    scene.restart(|| fs::write(&file, "print(1)").expect("as it was")).await;
    let copy = scene.create("sealed").await;
    // One that was stopped is not started on it either.
    scene.api.stop(Actor::Agent, SandboxRequest { sandbox_id: copy.clone() }).await.expect("stopped");
    scene.restart(|| fs::write(&file, "print(2)").expect("changed")).await;
    let refused =
        scene.api.resume(Actor::Agent, SandboxRequest { sandbox_id: copy.clone() }).await.expect_err("refused");
    assert!(refused.message.contains("not what was exported"), "{refused}");
    scene.end(&[&id, &copy], &["sealed"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_that_was_changed_leaves_nothing() {
    // The smallest: it is unpacked ten times.
    template("base").await;
    let scene = Scene::of_test_with("base").await;
    let id = scene.create("base").await;
    scene.prints(&id, "for n in $(seq 1000); do printf 'print(1)'; done > /home/user/strategy.py").await;
    export(&scene, &id, "moved").await.expect("exported");
    let file = scene.dir.path().join("moved.tar.zst");
    scene.run(&["template", "export", "moved", file.to_str().expect("plain")]);
    let whole = fs::read(&file).expect("there");
    scene.end(&[&id], &["moved"]).await;
    let used = |dir: &str| fs::read_dir(scene.home.join(dir)).expect("a directory").count();
    let before = (used("layers"), used("builds"));
    let import = |bytes: Vec<u8>| {
        let chunks = futures::stream::iter(bytes.chunks(1 << 20).map(|c| Ok(c.to_vec().into())).collect::<Vec<_>>());
        scene.api.template_import(Actor::Operator, ImportRequest::default(), Box::pin(chunks))
    };
    let mut attacks: Vec<Vec<u8>> =
        vec![Vec::new(), whole[..whole.len() / 2].to_vec(), whole[..whole.len() - 1].to_vec()];
    for at in [10, whole.len() / 2, whole.len() - 3] {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        attacks.push(changed);
    }
    attacks.push([&whole[..], b"more"].concat());
    for (number, bytes) in attacks.into_iter().enumerate() {
        let refused = import(bytes).await.expect_err("refused");
        assert!(refused.message.contains("archive is refused"), "{number}: {refused}");
        assert_eq!((used("layers"), used("builds"), used("engine/archives")), (before.0, before.1, 0), "{number}");
    }
    // A tar that is right, of another manifest: what is asked of the jailer is bounded all the same.
    let tar = Command::new("sh").arg("-c").arg("zstd -dcq \"$0\" | head -c 200000 | zstd -q").arg(&file).output();
    if let Some(tar) = tar.ok().filter(|tar| tar.status.success() && !tar.stdout.is_empty()) {
        assert!(import(tar.stdout).await.is_err());
    }
    // The control: what was written comes back.
    let imported = import(whole).await.expect("imported");
    assert_eq!(imported.template.name, "moved");
    let copy = scene.create("moved").await;
    assert_eq!(scene.prints(&copy, "wc -c < /home/user/strategy.py").await, "8000\n");
    scene.end(&[&copy], &["moved"]).await;
}
