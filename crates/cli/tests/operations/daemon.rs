//! A daemon of a test's own, over a state directory beside the shared one, and requests that say exactly what they are told to.

use std::{
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError},
    time::{Duration, Instant},
};

use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{Actor, CreateRequest, ExecuteRequest, ExecutionAnswer};
use ringfence_server::Client;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::common::{self, BIN};

pub(crate) struct Daemon {
    pub(crate) home: PathBuf,
    outer: Child,
    env: Vec<(&'static str, String)>,
    args: Vec<String>,
    _turn: MutexGuard<'static, ()>,
}

/// What a probe or another request was answered.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// Waits until it is so, and panics with what was found last.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        match look() {
            Ok(found) => return found,
            Err(why) => assert!(Instant::now() < end, "{what}: {why}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Daemon {
    /// One with that configuration, those variables and those arguments of `serve`. There are two at a time, as a machine may have two
    /// cores.
    pub(crate) fn start(config: &str, env: &[(&'static str, String)], args: &[&str]) -> Self {
        static PLACES: [(&str, Mutex<()>); 2] = [("one", Mutex::new(())), ("two", Mutex::new(()))];
        let (name, turn) = loop {
            let free = PLACES.iter().find_map(|(name, place)| match place.try_lock() {
                Ok(turn) => Some((name, turn)),
                Err(TryLockError::Poisoned(turn)) => Some((name, PoisonError::into_inner(turn))),
                Err(TryLockError::WouldBlock) => None,
            });
            match free {
                Some(free) => break free,
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        let shared = common::shared();
        let home = common::beside(name);
        // In a thread of its own: it waits with a runtime, and the test has one already.
        std::thread::scope(|scope| scope.spawn(|| common::prepare(shared, &home)).join()).expect("it is prepared");
        let config = format!("{}{config}", common::SMALL_SHELF);
        fs::write(home.join("config.toml"), config).expect("the configuration can be written");
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let outer = serve(&home, env, &args);
        let daemon = Self { home, outer, env: env.to_vec(), args, _turn: turn };
        daemon.wait_until_ready();
        daemon
    }

    /// Another one over the same state directory.
    pub(crate) fn start_again(&mut self) {
        self.outer = serve(&self.home, &self.env, &self.args);
        self.wait_until_ready();
    }

    #[track_caller]
    fn wait_until_ready(&self) {
        until("a daemon that was just started", || match self.try_get("/ready") {
            Ok(answer) if answer.status == 200 => Ok(()),
            Ok(answer) => Err(answer.body),
            Err(error) => Err(format!("{error}: {}", self.log())),
        });
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.home.join("log/daemon.log")).unwrap_or_default()
    }

    pub(crate) fn outer_pid(&self) -> i32 {
        i32::try_from(self.outer.id()).expect("31 bits")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        signal_to(self.outer_pid(), signal);
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        until("the daemon's end", || {
            self.outer.try_wait().expect("it is our child").ok_or_else(|| "it runs".to_owned())
        })
    }

    /// Ends it in order, and removes its state.
    pub(crate) fn end(mut self) {
        if self.outer.try_wait().expect("it is our child").is_none() {
            self.signal(Signal::TERM);
            assert_eq!(self.wait().code(), Some(0), "{}", self.log());
        }
        let removed = fs::remove_dir_all(&self.home);
        assert!(removed.is_ok() || !self.home.join("engine/engine.db").exists(), "{removed:?}");
    }

    pub(crate) fn try_get(&self, path: &str) -> std::io::Result<Answer> {
        let stream = UnixStream::connect(self.home.join("run/api.sock"))?;
        ask(stream, &format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"))
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.try_get(path).unwrap_or_else(|error| panic!("{path}: {error}: {}", self.log()))
    }

    /// Waits until `/ready` says so, whatever it is.
    #[track_caller]
    /// Waits until the first of what is missing is this. An answer that was under way when the drain began knows only that it did.
    pub(crate) fn wait_for_missing(&self, words: &str) {
        until("what `/ready` says", || {
            let said = self.get("/ready").json();
            let is_said = said["missing"][0].as_str().is_some_and(|missing| missing.contains(words));
            if is_said { Ok(()) } else { Err(said.to_string()) }
        });
    }

    pub(crate) fn wait_for_status(&self, status: &str) -> Value {
        until("what `/ready` says", || {
            let said = self.get("/ready").json();
            if said["status"] == status { Ok(said) } else { Err(said.to_string()) }
        })
    }

    /// Pids of its processes, as this host sees them, with their names.
    pub(crate) fn tree(&self) -> Vec<(i32, String)> {
        let mut found = vec![(self.outer_pid(), String::new())];
        let mut at = 0;
        while at < found.len() {
            let pid = found[at].0;
            let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
            for task in tasks {
                let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
                for child in children.split_whitespace().filter_map(|pid| pid.parse().ok()) {
                    let command = fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
                    let name = command.split(|byte| *byte == 0).next().unwrap_or_default();
                    found.push((child, String::from_utf8_lossy(name).into_owned()));
                }
            }
            at += 1;
        }
        found.remove(0);
        found
    }

    /// The supervisor's child of that name.
    #[track_caller]
    pub(crate) fn role(&self, name: &str) -> i32 {
        until(name, || {
            let tree = self.tree();
            tree.iter().find(|(_, own)| own == name).map(|(pid, _)| *pid).ok_or_else(|| format!("{tree:?}"))
        })
    }

    pub(crate) fn client(&self) -> Arc<Client> {
        common::client_of(&self.home)
    }
}

impl Drop for Daemon {
    /// A test that failed leaves none behind.
    fn drop(&mut self) {
        let _ = self.outer.kill();
        let _ = self.outer.wait();
    }
}

fn serve(home: &Path, env: &[(&'static str, String)], args: &[String]) -> Child {
    let log = fs::OpenOptions::new().create(true).append(true).open(home.join("log/daemon.log")).expect("a log");
    let mut serve = Command::new(BIN);
    serve.args(["serve", "--home"]).arg(home).args(args);
    if !args.iter().any(|arg| arg == "--tcp") {
        serve.args(["--tcp", "none"]);
    }
    serve.envs(env.iter().map(|(name, value)| (*name, value.as_str()))).current_dir("/");
    serve.stdin(Stdio::null()).stdout(log.try_clone().expect("a descriptor")).stderr(log).spawn().expect("it starts")
}

pub(crate) fn signal_to(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).expect("a pid"), signal).expect("it is there");
}

/// One request, word by word.
pub(crate) fn ask(mut stream: impl Read + Write, request: &str) -> std::io::Result<Answer> {
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let bad = || std::io::Error::other(format!("no answer of HTTP: {text:?}"));
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(bad)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(bad)?;
    Ok(Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() })
}

pub(crate) async fn create(api: &Client) -> String {
    let request = CreateRequest { template: "python".into(), ..CreateRequest::default() };
    api.create(Actor::Operator, request, None).await.expect("a sandbox").sandbox_id.to_string()
}

/// Runs a program to its end, in a task of its own, and returns when it runs.
pub(crate) async fn begin(api: &Arc<Client>, id: &str, code: &str) -> tokio::task::JoinHandle<ExecutionAnswer> {
    let request = ExecuteRequest {
        sandbox_id: id.to_owned(),
        code: code.to_owned(),
        timeout: Some(300.0),
        ..ExecuteRequest::default()
    };
    let own = api.clone();
    let run = tokio::spawn(async move { own.execute(Actor::Operator, request).await.expect("it is answered") });
    let end = Instant::now() + Duration::from_secs(30);
    while api.health(Actor::Operator).await.expect("health").executions_running == 0 {
        assert!(Instant::now() < end, "it does not run");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    run
}
