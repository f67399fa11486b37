//! A build script is somebody else's program. What it tries is tried outside as well, where it succeeds.

use std::{
    fs,
    net::{IpAddr, TcpListener, UdpSocket},
    os::{
        linux::net::SocketAddrExt,
        unix::{
            fs::{MetadataExt, PermissionsExt, chown},
            net::{SocketAddr, UnixListener},
        },
    },
    path::{Path, PathBuf},
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
try raw perl -e 'use Socket; exit(!socket(my $s, PF_INET, SOCK_RAW, 1))'
try own-address bash -c "exec 3<> /dev/tcp/$ADDRESS/$PORT"
try named-socket perl -e 'use Socket; socket(my $s, PF_UNIX, SOCK_STREAM, 0); exit(!connect($s, pack("S a*", 1, $ENV{SOCKET})))'
try nameless-socket perl -e 'use Socket; socket(my $s, PF_UNIX, SOCK_STREAM, 0); exit(!connect($s, pack("S a*", 1, "\0$ENV{NAMELESS}")))'
try devices bash -c 'test $(grep -c : /proc/net/dev) -gt 1'
bash -c "echo x > /dev/udp/127.0.0.1/$DATAGRAMS" > /dev/null 2>&1
try settings bash -c 'was=$(cat /proc/sys/vm/swappiness) && echo $was > /proc/sys/vm/swappiness'
"#;

/// Whoever listens on this machine: at a port of every address, at a name in the file system, and at one that is in none.
struct Listeners {
    port: u16,
    address: IpAddr,
    datagrams: UdpSocket,
    socket: PathBuf,
    nameless: String,
    _open: (TcpListener, UnixListener, UnixListener),
}

impl Listeners {
    fn new(dir: &Path) -> Self {
        let stream = TcpListener::bind("0.0.0.0:0").expect("a port");
        let datagrams = UdpSocket::bind("127.0.0.1:0").expect("a port");
        datagrams.set_nonblocking(true).expect("it does not wait");
        // Nothing is sent: it only says by which address this machine would.
        let route = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        route.connect("192.0.2.200:9").expect("there is a route");
        let socket = dir.join("socket");
        let named = UnixListener::bind(&socket).expect("a socket");
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o777)).expect("mode");
        let nameless = format!("ringfence-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&nameless).expect("a name");
        let abstracted = UnixListener::bind_addr(&address).expect("a socket");
        Self {
            port: stream.local_addr().expect("bound").port(),
            address: route.local_addr().expect("bound").ip(),
            datagrams,
            socket,
            nameless,
            _open: (stream, named, abstracted),
        }
    }

    /// What has come in datagrams since the last time.
    fn received(&self) -> usize {
        std::iter::from_fn(|| self.datagrams.recv(&mut [0; 16]).ok()).count()
    }
}

fn attempts(place: &str, listeners: &Listeners, outside: &Path) -> String {
    let Listeners { port, address, datagrams, socket, nameless, .. } = listeners;
    format!(
        "export WHERE={place} SOCKET='{}' NAMELESS={nameless}; PORT={port}; ADDRESS={address}; DATAGRAMS={}; OUTSIDE='{}'\n\
         mkdir -p $WHERE/mnt\n{ATTEMPTS}",
        socket.display(),
        datagrams.local_addr().expect("bound").port(),
        outside.display()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_script_reaches_nothing_and_leaves_nothing_that_counts() {
    let outside = tempfile::tempdir().expect("a directory");
    let listeners = Listeners::new(outside.path());
    fs::set_permissions(outside.path(), fs::Permissions::from_mode(0o777)).expect("mode");
    let target = outside.path().join("written");

    // Outside the jail, as root in namespaces of its own so that nothing stays behind, all of it succeeds.
    let place = outside.path().join("control");
    fs::create_dir(&place).expect("a directory");
    let control = Command::new("unshare")
        .args(["--mount", "bash", "-c", &attempts(&place.display().to_string(), &listeners, &target)])
        .output()
        .expect("unshare(1)");
    let succeeded = String::from_utf8_lossy(&control.stdout).into_owned();
    for name in [
        "device",
        "mount",
        "user-namespace",
        "network",
        "outside",
        "raw",
        "own-address",
        "named-socket",
        "nameless-socket",
        "devices",
        "settings",
    ] {
        assert!(succeeded.lines().any(|line| line == name), "{name} of {succeeded}");
    }
    assert_eq!(listeners.received(), 1, "the control has sent it");
    fs::remove_file(&target).expect("the control has written it");

    let dir = Dir::new(
        "recipe-hostile",
        "working_dir = \"/srv/app\"\n[[build]]\nscript = \"evil.sh\"\nas = \"root\"\n\
         [[build]]\nscript = \"user.sh\"\ndirectory = \"/home/user\"\n",
    );
    let more = "cp /usr/bin/id /srv/app/id; chown 0:0 /srv/app/id; chmod 4755 /srv/app/id; ln -s / /srv/app/host\n\
                ln -sfn /../../../../.. /srv/app/up; cat /proc/self/status | grep -E 'CapEff|NoNewPrivs' >> /srv/app/said; exit 0\n";
    // The same as the user, in the next step: whatever succeeds stands in its own file.
    let as_user =
        attempts("/home/user/evil", &listeners, &target).replace("cd \"$WHERE\"", "cd \"$WHERE\"; exec > said");
    dir.file("user.sh", &format!("{as_user}\nexit 0\n"));
    let script = attempts("/srv/app", &listeners, &target).replace("cd \"$WHERE\"", "cd \"$WHERE\"; exec > said");
    dir.file("evil.sh", &format!("{script}\n{more}"));
    let built = build(shared(), &dir);
    assert!(!target.exists(), "it has written on the host");
    assert_eq!(listeners.received(), 0, "it has sent what has arrived");

    // The last stage is the user's.
    let layer = built.stages.iter().rev().nth(1).and_then(|stage| stage.layer.clone()).expect("it has left something");
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
    assert_eq!(sandbox.bash("cat /home/user/evil/said").await.output, "", "as the user");
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
