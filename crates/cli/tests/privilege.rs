//! No process that has run third-party code has a capability on the host. Read from /proc, of every process below the
//! daemon's jailer: zygotes, joiners, guest inits, parked interpreters and running programs.

mod common;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs,
    os::unix::fs::MetadataExt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use common::{Sandbox, shared};
use ringfence_jail::{
    host::{INIT_UID, PROGRAM_UID, SLOTS, UIDS_PER_SLOT, Uids},
    installation::Installation,
};

const SETS: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];

/// `CAP_KILL`, `CAP_SETGID` and `CAP_SETUID`.
const INIT_CAPS: u64 = 1 << 5 | 1 << 6 | 1 << 7;

/// What a process is, as its uid and user namespace tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// The jailer's own code: its forks that build shells.
    Ours,
    Zygote,
    /// A zygote's child on its way: in a sandbox's user namespace, and capable there until it has dropped everything.
    Joiner,
    Init,
    Program,
}

/// One look at a process, while it stayed in one user namespace and executed one file.
#[derive(Debug)]
struct Look {
    pid: u32,
    uid: u32,
    user_namespace: u64,
    executable: String,
    status: HashMap<String, String>,
}

fn inode(path: &str) -> Option<u64> {
    fs::metadata(path).ok().map(|m| m.ino())
}

impl Look {
    /// `None` when it is gone, or moved meanwhile.
    fn at(pid: u32) -> Option<Self> {
        let namespace = format!("/proc/{pid}/ns/user");
        let user_namespace = inode(&namespace)?;
        // One without an executable has none of its memory left, and is about to be gone.
        let executable = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
        let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        if inode(&namespace)? != user_namespace || fs::read_link(format!("/proc/{pid}/exe")).ok()? != executable {
            return None;
        }
        let executable = executable.to_string_lossy().into_owned();
        let status: HashMap<String, String> =
            text.lines().filter_map(|l| l.split_once(':')).map(|(k, v)| (k.to_owned(), v.trim().to_owned())).collect();
        let uid = status.get("Uid")?.split_whitespace().next()?.parse().ok()?;
        Some(Self { pid, uid, user_namespace, executable, status })
    }

    fn capabilities(&self, set: &str) -> u64 {
        u64::from_str_radix(&self.status[set], 16).expect("the kernel writes hexadecimal")
    }

    /// Whether it is between its change of user and its last filter.
    fn is_dropping(&self) -> bool {
        let filters = self.status.get("Seccomp_filters").map(String::as_str);
        self.capabilities("CapEff") != 0 && filters == Some("1") && self.status["SigBlk"].starts_with("ffffffff")
    }

    fn ids(&self, name: &str) -> HashSet<&str> {
        self.status[name].split_whitespace().collect()
    }
}

/// What the installation's processes are judged by.
struct Host {
    uids: Uids,
    jailer: u32,
    executable: String,
    namespaces: HashSet<String>,
    user_namespace: u64,
}

const NAMESPACES: [&str; 7] = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"];

impl Host {
    fn find() -> Self {
        let home = shared();
        let installation = Installation::load(home).expect("the daemon has made it");
        let wanted = format!("ringfence-jailer\0{}\0", home.display());
        // What it forks has its command line too until it executes something, and a lower number once these have begun anew.
        let named: Vec<Look> = fs::read_dir("/proc")
            .expect("procfs")
            .flatten()
            .filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok())
            .filter(|pid| {
                fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|c| String::from_utf8_lossy(&c).starts_with(&wanted))
            })
            .filter_map(Look::at)
            .collect();
        let is_forked = |look: &&Look| named.iter().any(|other| look.status["PPid"] == other.pid.to_string());
        let look = named.iter().find(|look| !is_forked(look)).expect("the daemon has a jailer");
        let jailer = look.pid;
        let name =
            |ns: &&str| fs::read_link(format!("/proc/self/ns/{ns}")).expect("ours").to_string_lossy().into_owned();
        let ours = NAMESPACES.iter().map(name);
        let jailers = NAMESPACES.iter().map(|ns| {
            fs::read_link(format!("/proc/{jailer}/ns/{ns}")).expect("it runs").to_string_lossy().into_owned()
        });
        Self {
            uids: Uids::of_block(installation.uid_block),
            jailer,
            executable: look.executable.clone(),
            namespaces: ours.chain(jailers).collect(),
            user_namespace: look.user_namespace,
        }
    }

    /// Every process below the jailer, by the parents that all processes have. (The kernel's own list of children misses
    /// some while others end: proc(5).)
    fn processes(&self) -> Vec<u32> {
        let numbers =
            fs::read_dir("/proc").expect("procfs").flatten().filter_map(|e| e.file_name().to_str()?.parse().ok());
        let looks: Vec<Look> = numbers.filter_map(Look::at).collect();
        let (mut found, mut next) = (Vec::new(), vec![self.jailer]);
        while let Some(parent) = next.pop() {
            let children = looks.iter().filter(|l| l.status["PPid"] == parent.to_string()).map(|l| l.pid);
            let before = found.len();
            found.extend(children);
            next.extend(&found[before..]);
        }
        found
    }

    /// The user inside, when the uid is of a slot.
    fn inside(&self, uid: u32) -> Option<u32> {
        let offset = uid.checked_sub(self.uids.slot(0))?;
        (offset < SLOTS * UIDS_PER_SLOT).then_some(offset % UIDS_PER_SLOT)
    }

    /// # Errors
    /// What is not as it must be.
    fn check(&self, look: &Look) -> Result<Kind, String> {
        let in_host = look.user_namespace == self.user_namespace;
        // The daemon's own executable has loaded nothing of anybody: its forks, until they execute something else.
        if look.executable == self.executable {
            return Ok(Kind::Ours);
        }
        let kind = match (look.uid, self.inside(look.uid)) {
            (_, Some(INIT_UID)) => Kind::Init,
            // The interpreter that a joiner made: native code only, signals blocked, the last filter still to come.
            (_, Some(PROGRAM_UID)) if !in_host && look.is_dropping() => Kind::Joiner,
            (_, Some(PROGRAM_UID)) => Kind::Program,
            (uid, None) if (self.uids.zygote_range()).contains(&uid) && in_host => Kind::Zygote,
            (uid, None) if (self.uids.zygote_range()).contains(&uid) => Kind::Joiner,
            (uid, _) => return Err(format!("uid {uid} is nobody's")),
        };
        let set = |name: &str| look.capabilities(name);
        if in_host && SETS.iter().any(|s| set(s) != 0) {
            return Err(format!("{kind:?} has capabilities on the host: {:?}", SETS.map(set)));
        }
        match kind {
            Kind::Ours | Kind::Joiner => {}
            Kind::Zygote if !look.executable.contains("/python3") => {
                return Err(format!("a zygote is {}", look.executable));
            }
            Kind::Zygote | Kind::Program if SETS.iter().any(|s| set(s) != 0) => {
                return Err(format!("{kind:?} has capabilities: {:?}", SETS.map(set)));
            }
            Kind::Init => {
                let allowed = [0, INIT_CAPS];
                if set("CapPrm") != INIT_CAPS
                    || set("CapEff") != INIT_CAPS
                    || set("CapBnd") != 0
                    || !allowed.contains(&set("CapInh"))
                {
                    return Err(format!("an init has {:?}", SETS.map(set)));
                }
            }
            Kind::Zygote | Kind::Program => {}
        }
        if kind == Kind::Joiner {
            // Whatever it may do in the sandbox's user namespace, it is one process of the zygote's user outside.
            let filtered = look.status["Seccomp"] == "2" && look.status["NoNewPrivs"] == "1";
            return if filtered { Ok(kind) } else { Err("a joiner without a filter".into()) };
        }
        if matches!(kind, Kind::Init | Kind::Program) && in_host {
            return Err(format!("{kind:?} is in the host's user namespace"));
        }
        if look.status["NoNewPrivs"] != "1" || look.status["Seccomp"] != "2" {
            return Err(format!(
                "{kind:?}: NoNewPrivs {}, Seccomp {}",
                look.status["NoNewPrivs"], look.status["Seccomp"]
            ));
        }
        // Between its setns and its drop an interpreter is still the zygote's user: from here on it has one of its own.
        if look.ids("Uid").len() != 1 || look.ids("Gid").len() != 1 || !look.status["Groups"].is_empty() {
            return Err(format!("{kind:?} has ids {:?} {:?}", look.status["Uid"], look.status["Groups"]));
        }
        Ok(kind)
    }

    /// # Errors
    /// A descriptor that leads to the host.
    fn check_descriptors(&self, look: &Look) -> Result<(), String> {
        for entry in fs::read_dir(format!("/proc/{}/fd", look.pid)).into_iter().flatten().flatten() {
            let Ok(target) = fs::read_link(entry.path()) else { continue };
            let target = target.to_string_lossy().into_owned();
            let harmless =
                ["pipe:", "socket:", "anon_inode:", "/memfd:", "/dev/null"].iter().any(|p| target.starts_with(p));
            let is_namespace = NAMESPACES.iter().any(|ns| target.starts_with(&format!("{ns}:[")));
            if !harmless && (!is_namespace || self.namespaces.contains(&target)) {
                return Err(format!("{} holds {target} at {}", look.pid, entry.file_name().to_string_lossy()));
            }
        }
        Ok(())
    }
}

/// Where zygotes' uids are.
trait ZygoteRange {
    fn zygote_range(self) -> std::ops::Range<u32>;
}

impl ZygoteRange for Uids {
    fn zygote_range(self) -> std::ops::Range<u32> {
        self.zygote(ringfence_jail::proto::ZygoteNo(0))..self.build()
    }
}

async fn host() -> Arc<Host> {
    Arc::new(tokio::task::spawn_blocking(Host::find).await.expect("the daemon starts"))
}

/// What a process is, once it is as it stays: one of ours is seen on its way into a sandbox, before it has dropped what it
/// has, and before anything foreign runs in it. `None` when it is gone.
async fn settled(host: &Host, pid: u32) -> Option<Kind> {
    const LOOKS: u32 = 40;
    let mut looks = 0;
    loop {
        let look = Look::at(pid)?;
        let verdict = host.check(&look).and_then(|kind| match kind {
            Kind::Ours => Ok(kind),
            _ => host.check_descriptors(&look).map(|_| kind),
        });
        match verdict {
            Ok(kind) => return Some(kind),
            Err(why) if looks == LOOKS => panic!("{why}\n{look:#?}"),
            Err(_) => looks += 1,
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

#[tokio::test]
async fn no_process_that_ran_foreign_code_has_a_capability_on_the_host() {
    let (sandbox, idle) = (Sandbox::new().await, Sandbox::new().await);
    let host = host().await;
    assert!(
        sandbox
            .bash("sleep 100 >/dev/null 2>&1 & python3 -c 'import time; time.sleep(100)' >/dev/null 2>&1 &")
            .await
            .success
    );
    assert!(idle.python("1").await.success);
    // The interpreter for the next program is parked soon after an answer.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut seen: BTreeMap<Kind, u32> = BTreeMap::new();
    for pid in host.processes() {
        let Some(kind) = settled(&host, pid).await else { continue };
        *seen.entry(kind).or_default() += 1;
    }
    let count = |kind| seen.get(&kind).copied().unwrap_or(0);
    assert!(count(Kind::Zygote) >= 1 && count(Kind::Init) >= 2 && count(Kind::Program) >= 3, "{seen:?}");
}

#[tokio::test]
async fn joiners_are_capable_in_their_sandbox_and_nowhere_else() {
    drop(Sandbox::new().await);
    let host = host().await;
    let over = Arc::new(AtomicBool::new(false));
    let watcher = {
        let (host, over) = (Arc::clone(&host), Arc::clone(&over));
        std::thread::spawn(move || {
            let mut seen: BTreeMap<Kind, u32> = BTreeMap::new();
            let mut capable = 0;
            let children = format!("/proc/{0}/task/{0}/children", host.jailer);
            let mut known: HashMap<u32, u8> = HashMap::new();
            while !over.load(Ordering::Relaxed) {
                // Joiners and interpreters are the jailer's own children; what was looked at often is left.
                let text = fs::read_to_string(&children).unwrap_or_default();
                for pid in text.split_whitespace().rev().take(12).filter_map(|p| p.parse().ok()) {
                    let looks = known.entry(pid).or_default();
                    if *looks == u8::MAX {
                        continue;
                    }
                    *looks += 1;
                    let Some(look) = Look::at(pid) else { continue };
                    let kind = host.check(&look).map_err(|why| format!("{why}\n{look:#?}"))?;
                    *seen.entry(kind).or_default() += 1;
                    capable += u32::from(kind == Kind::Joiner && look.capabilities("CapEff") != 0);
                }
            }
            Ok::<_, String>((seen, capable))
        })
    };
    for _ in 0..10 {
        let makers = (0..5).map(|_| async {
            let sandbox = Sandbox::new().await;
            assert_eq!(sandbox.python("print(1)").await.output, "1\n");
            assert_eq!(sandbox.python("print(2)").await.output, "2\n");
            sandbox.delete().await;
        });
        futures::future::join_all(makers).await;
    }
    over.store(true, Ordering::Relaxed);
    let (seen, capable) = watcher.join().expect("it does not panic").unwrap_or_else(|why| panic!("{why}"));
    assert!(capable > 0, "no process was seen while it joined: {seen:?}");
    assert!(seen.contains_key(&Kind::Program), "{seen:?}");
}

/// The control: what these tests look for is found where there is no defence.
#[tokio::test]
async fn a_process_without_the_defence_is_noticed() {
    let host = host().await;
    let ours = Look::at(std::process::id()).expect("it runs");
    assert!(host.check(&ours).is_err(), "root of the host: {ours:?}");
    // A program's uid, and everything else as usual.
    let uid = (host.uids.slot(0) + PROGRAM_UID).to_string();
    let mut sleeper = std::process::Command::new("setpriv");
    sleeper
        .args(["--reuid", &uid, "--regid", &uid, "--clear-groups", "--inh-caps=-all", "sleep", "30"])
        .stdin(fs::File::open("/etc/passwd").expect("every host has one"));
    let mut child = sleeper.spawn().expect("util-linux");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let look = Look::at(child.id()).expect("it sleeps");
    let (posture, descriptors) = (host.check(&look), host.check_descriptors(&look));
    child.kill().expect("it is ours");
    child.wait().expect("it is ours");
    assert!(posture.is_err(), "{posture:?} {look:?}");
    assert!(descriptors.is_err_and(|why| why.contains("/etc/passwd")));
}
