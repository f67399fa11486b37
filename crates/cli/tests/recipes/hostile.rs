//! A build script is somebody else's program. What it tries is tried outside as well, where it succeeds.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::Path,
    process::Command,
};

use ringfence_model::api::CreateRequest;

use crate::{
    bench::{Dir, build},
    common::{Sandbox, shared},
};

/// Each line says what it tries and is followed by its name when that succeeds.
const ATTEMPTS: &str = r#"
cd "$WHERE"
try() { name=$1; shift; if "$@" > /dev/null 2>&1; then echo "$name"; fi; }
try device mknod disk b 8 0
try mount perl -e 'my ($none, $at, $kind) = ("none", "$ENV{WHERE}/mnt", "tmpfs"); exit(syscall(165, $none, $at, $kind, 0, 0) != 0)'
try user-namespace unshare --user true
try network bash -c "exec 3<> /dev/tcp/127.0.0.1/$PORT"
try outside bash -c "echo x > '$OUTSIDE'"
try settings bash -c 'was=$(cat /proc/sys/vm/swappiness) && echo $was > /proc/sys/vm/swappiness'
"#;

fn attempts(place: &str, port: u16, outside: &Path) -> String {
    format!("export WHERE={place}; PORT={port}; OUTSIDE='{}'\nmkdir -p $WHERE/mnt\n{ATTEMPTS}", outside.display())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_script_reaches_nothing_and_leaves_nothing_that_counts() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let outside = tempfile::tempdir().expect("a directory");
    fs::set_permissions(outside.path(), fs::Permissions::from_mode(0o777)).expect("mode");
    let target = outside.path().join("written");

    // Outside the jail, as root in namespaces of its own so that nothing stays behind, all of it succeeds.
    let place = outside.path().join("control");
    fs::create_dir(&place).expect("a directory");
    let control = Command::new("unshare")
        .args(["--mount", "bash", "-c", &attempts(&place.display().to_string(), port, &target)])
        .output()
        .expect("unshare(1)");
    let succeeded = String::from_utf8_lossy(&control.stdout).into_owned();
    for name in ["device", "mount", "user-namespace", "network", "outside", "settings"] {
        assert!(succeeded.lines().any(|line| line == name), "{name} of {succeeded}");
    }
    fs::remove_file(&target).expect("the control has written it");

    let dir =
        Dir::new("recipe-hostile", "working_dir = \"/srv/app\"\n[[build]]\nscript = \"evil.sh\"\nas = \"root\"\n");
    let more = "cp /usr/bin/id /srv/app/id; chown 0:0 /srv/app/id; chmod 4755 /srv/app/id; ln -s / /srv/app/host\n\
                ln -sfn /../../../../.. /srv/app/up; cat /proc/self/status | grep -E 'CapEff|NoNewPrivs' >> /srv/app/said; exit 0\n";
    let script = attempts("/srv/app", port, &target).replace("cd \"$WHERE\"", "cd \"$WHERE\"; exec > said");
    dir.file("evil.sh", &format!("{script}\n{more}"));
    let built = build(shared(), &dir);
    assert!(!target.exists(), "it has written on the host");

    let layer = built.stages.last().and_then(|stage| stage.layer.clone()).expect("it has left something");
    let root = shared().join("layers").join(layer).join("rootfs");
    // The bit is there, as it is on Debian's own `su`, and has no effect: every mount of a sandbox is nosuid.
    assert_eq!(fs::metadata(root.join("srv/app/id")).expect("it is there").mode() & 0o7777, 0o4755);
    let sandbox = Sandbox::with(CreateRequest { template: "recipe-hostile".into(), ..CreateRequest::default() }).await;
    let said = sandbox.bash("./id -u; ls host/home; ls up/ | wc -l; ls / | wc -l; cat said").await;
    let lines: Vec<&str> = said.output.lines().collect();
    assert_eq!((lines[0], lines[1]), ("1000", "user"), "{said:?}");
    assert_eq!(lines[2], lines[3], "a link leads to the sandbox's own root: {said:?}");
    // Nothing succeeded but what has five capabilities of its own user namespace.
    assert_eq!(lines[4..].iter().filter(|line| !line.contains(':')).count(), 0, "{said:?}");
    assert!(said.output.contains("NoNewPrivs:\t1") && said.output.contains("CapEff:\t00000000000000cb"), "{said:?}");
    sandbox.delete().await;

    // The same file with the same mode does raise whoever runs it where mounts are not nosuid.
    let raised = outside.path().join("id");
    fs::copy("/usr/bin/id", &raised).expect("a copy");
    chown(&raised, Some(0), Some(0)).expect("owner");
    fs::set_permissions(&raised, fs::Permissions::from_mode(0o4755)).expect("mode");
    let id = Command::new("setpriv")
        .args(["--reuid", "1000", "--regid", "1000", "--clear-groups"])
        .arg(&raised)
        .arg("-u")
        .output()
        .expect("setpriv(1)");
    assert_eq!(String::from_utf8_lossy(&id.stdout), "0\n");
}
