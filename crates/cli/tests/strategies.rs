//! Strategies in real sandboxes: this test is the executable that a supervisor and a jailer are started from, and its `serve` is an
//! engine without faces. What is asked and answered is in `crates/research/tests/strategies`; here come those that only a sandbox
//! can hold. Needs root, and the Python template that the other integration tests build.
//!
//! No test harness: the supervisor forks, and only a process with one thread may. The way is that of `crates/engine/tests/trials.rs`;
//! it is not the same code because `research` may be used here and not there.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::{
        fd::OwnedFd,
        unix::fs::{PermissionsExt, chown},
    },
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use ringfence_engine::{Config, Engine, TemplateSettings, api::Sandboxes};
use ringfence_jail::{board::Board, boot, host::Uids, installation::Installation, notify::Relay, supervise, sys};
use ringfence_model::{LayerDigest, api::Actor};
use ringfence_store::{DatabaseKind, SealingKey, Store, copy_database};

#[path = "../../research/tests/strategies/answers.rs"]
mod answers;
#[path = "../../research/tests/strategies/built_ins.rs"]
mod built_ins;
#[path = "strategies/confined.rs"]
mod confined;
#[path = "../../research/tests/strategies/hostile.rs"]
mod hostile;
#[path = "../../research/tests/strategies/look_ahead.rs"]
mod look_ahead;
#[path = "../../research/tests/strategies/scene.rs"]
mod scene;
#[path = "strategies/speed.rs"]
mod speed;

use scene::Scene;

/// Where `serve` finds what it tells the test through.
const REPORT_FD: i32 = 5;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    match args.first().map(String::as_str) {
        Some(supervise::JAILER_ROLE) => jailer(&args[1]),
        Some(supervise::SERVE_ROLE) => serve(&args[1..]),
        Some(supervise::GATEWAY_ROLE) => do_nothing(true),
        Some(supervise::VENUE_ROLE) => do_nothing(false),
        _ => test(args.get(1).filter(|arg| !arg.starts_with('-')).cloned()),
    }
}

fn jailer(home: &str) {
    let control = sys::inherited_fd(supervise::CONTROL_FD).expect("the socket to serve");
    let door = sys::inherited_fd(supervise::DOOR_FD).expect("the door");
    if let Err(error) = boot::run(Path::new(home), control, Some(door))
        && !error.to_string().contains("closed its socket")
    {
        eprintln!("jailer: {error}");
        std::process::exit(1);
    }
}

/// In the places of the gateway and of the venue, until the supervisor, or the other end of its first socket, goes: a strategy
/// has no network.
fn do_nothing(has_peer: bool) {
    if has_peer {
        drop(sys::inherited_fd(supervise::DOOR_FD).expect("the socket to serve"));
        let mut jailer = fs::File::from(sys::inherited_fd(supervise::CONTROL_FD).expect("the socket to the jailer"));
        let mut buffer = [0_u8; 4096];
        while matches!(jailer.read(&mut buffer), Ok(len) if len > 0) {}
        return;
    }
    loop {
        std::thread::park();
    }
}

fn serve(args: &[String]) {
    let [home, data, trust, only] = args else { panic!("wrong arguments") };
    let config = Config {
        home: PathBuf::from(home),
        data: LayerDigest::parse(data).expect("a digest"),
        trust: LayerDigest::parse(trust).expect("a digest"),
        jailer: sys::inherited_fd(supervise::CONTROL_FD).expect("the socket to the jailer"),
        door: sys::inherited_fd(supervise::DOOR_FD).expect("the door"),
        tcp: None,
        build: "test".to_owned(),
        board: None,
        templates: TemplateSettings {
            network_defaults: false,
            image_downloads: false,
            shelf_mib: Some(24),
            cache_bytes_max: 1 << 30,
        },
        credits: ringfence_model::credit::CreditSettings::default(),
    };
    let report = fs::File::from(sys::inherited_fd(REPORT_FD).expect("the report"));
    sys::raise_descriptor_limit().expect("more descriptors");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (engine, _gone) = Engine::start(config).await.expect("the engine starts");
        warm(&engine).await;
        play(&engine, report, only).await;
        engine.close().await;
    });
    std::process::exit(0);
}

/// Waits until the template's interpreter is warm.
async fn warm(engine: &Engine) {
    for _ in 0..3000 {
        let health = engine.health(Actor::Operator).await.expect("it is answered");
        if health.templates.iter().any(|template| template.name == "python" && template.warm) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("no warm interpreter within a minute");
}

/// Runs the tests whose names contain `only`, and says how each went.
async fn play(engine: &Engine, mut report: fs::File, only: &str) {
    macro_rules! run {
        ($($module:ident :: $test:ident),* $(,)?) => { $(
            if stringify!($module::$test).contains(only) {
                let engine = engine.clone();
                let begin = std::time::Instant::now();
                let done = tokio::spawn(async move { $module::$test(&Scene { trials: &engine }).await }).await;
                println!("{} took {:.1?}", stringify!($test), begin.elapsed());
                writeln!(report, "{} {}", if done.is_ok() { "ok" } else { "FAILED" }, stringify!($test)).expect("somebody listens");
            }
        )* };
    }
    run!(
        built_ins::each_wants_something_and_the_same_twice,
        built_ins::the_three_of_the_seed_earn_three_different_things,
        built_ins::a_batch_gives_what_single_runs_give,
        built_ins::point_in_time_gives_what_the_whole_gives,
        built_ins::parameters_are_held_to_their_bounds_in_both_languages,
        answers::positions_come_in_many_forms,
        answers::what_is_no_answer_is_refused_in_a_sentence,
        answers::orders_are_dated,
        answers::a_bar_at_a_time_with_a_memory,
        answers::what_a_program_reports_itself_is_called_so,
        answers::what_is_printed_is_logged_within_bounds,
        answers::a_traceback_shows_the_strategys_own_lines,
        answers::one_set_leaves_nothing_to_the_next,
        answers::rows_without_a_bar_are_not_asked_for,
        answers::minutes_are_named_by_new_yorks_clock,
        hostile::words_of_its_own_are_no_answer,
        hostile::numbers_that_are_none_are_refused,
        hostile::an_end_of_its_own_is_told,
        hostile::a_set_that_hangs_takes_no_other_along,
        hostile::bar_by_bar_it_can_lie_no_better,
        look_ahead::who_looks_ahead_is_caught,
        look_ahead::who_does_not_passes,
        look_ahead::chance_is_not_look_ahead,
        look_ahead::what_cannot_be_told_is_not_called_honest,
        look_ahead::bar_by_bar_nothing_is_missed,
        confined::what_would_break_a_host_fails_cleanly,
        confined::there_are_no_bars_but_those_given,
        confined::the_warm_interpreter_runs_it,
    );
    if only == "speed" {
        speed::measure(&Scene { trials: engine }).await;
    }
}

fn test(only: Option<String>) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("strategies: these tests need root: run them with sudo");
        std::process::exit(1);
    }
    let shared = std::env::var_os("RINGFENCE_TEST_HOME")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-home"), PathBuf::from);
    let skipped = || {
        println!(
            "strategies: SKIPPED: no Python template in {}; run the other tests of `ringfence` first",
            shared.display()
        );
        println!("\ntest result: ok. 0 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out");
    };
    let Ok(parent) = shared.canonicalize().map(|home| home.parent().expect("it has a parent").to_owned()) else {
        return skipped();
    };
    // On the file system of the layers, for hard links.
    let keep = tempfile::tempdir_in(parent).expect("a temporary directory");
    fs::set_permissions(keep.path(), fs::Permissions::from_mode(0o711)).expect("roles may enter it");
    let home = keep.path().canonicalize().expect("it was just made");
    let Some(daemon) = Daemon::prepare(&shared, &home) else { return skipped() };
    let verdicts = daemon.run(&only.unwrap_or_default());
    for (name, passed) in &verdicts {
        println!("test {name} ... {}", if *passed { "ok" } else { "FAILED" });
    }
    let passed = verdicts.iter().filter(|(_, passed)| *passed).count();
    let failed = verdicts.len() - passed;
    let verdict = if failed == 0 && passed > 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {verdict}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out");
    drop(keep);
    std::process::exit(i32::from(failed > 0 || passed == 0));
}

/// A state directory with the Python template, and who it belongs to.
struct Daemon {
    home: PathBuf,
    installation: Installation,
    _claim: OwnedFd,
    data: String,
    trust: String,
}

impl Daemon {
    /// Links the layers of the shared directory, and takes its template over. `None` when there is none.
    fn prepare(shared: &Path, home: &Path) -> Option<Self> {
        for dir in ["run", "layers", "builds", "engine", "gate", "venue", "log"] {
            fs::create_dir_all(home.join(dir)).expect("a state directory");
        }
        for dir in ["", "run"] {
            fs::set_permissions(home.join(dir), fs::Permissions::from_mode(0o711)).expect("roles may enter it");
        }
        let with = |file: &str| -> Option<String> {
            let mut found = fs::read_dir(shared.join("layers")).ok()?.flatten();
            found.find(|entry| entry.path().join("rootfs").join(file).is_file())?.file_name().into_string().ok()
        };
        let (data, trust) = (with("data/adjusted/AAPL.csv")?, with("etc/ssl/cert.pem")?);
        let layers = template_layers(shared, home);
        if layers.is_empty() {
            return None;
        }
        let from = layers.iter().chain([&data, &trust]).map(|layer| shared.join("layers").join(layer));
        let linked = Command::new("cp").arg("-al").args(from).arg(home.join("layers")).status();
        assert!(linked.expect("cp(1)").success(), "linking the layers");
        let (installation, claim) = Installation::claim(home).expect("an installation");
        own(&home.join("engine"), Uids::of_block(installation.uid_block).serve());
        Some(Self { home: home.to_owned(), installation, _claim: claim, data, trust })
    }

    /// Runs the daemon to its end: each test and whether it passed.
    fn run(&self, only: &str) -> Vec<(String, bool)> {
        let (read, write) = rustix::pipe::pipe().expect("a pipe");
        let supervisor = match sys::fork().expect("forked") {
            sys::Forked::Parent(pid) => pid,
            sys::Forked::Child => {
                drop(read);
                sys::exit_now(self.supervise(only, write))
            }
        };
        drop(write);
        let lines = BufReader::new(fs::File::from(read)).lines().map(|line| line.expect("readable"));
        let said: Vec<String> = lines.collect();
        let split = |line: &String| line.split_once(' ').map(|(word, name)| (name.to_owned(), word == "ok"));
        let mut verdicts: Vec<_> = said.iter().filter_map(split).collect();
        let code = sys::wait_for(supervisor).expect("it ended").code;
        verdicts.push(("the_daemon_ends_by_itself".to_owned(), code == Some(0)));
        verdicts
    }

    fn supervise(&self, only: &str, report: OwnedFd) -> i32 {
        let nothing = fs::File::open("/dev/null").expect("a descriptor");
        let daemon = supervise::Daemon {
            home: self.home.clone(),
            installation: self.installation.clone(),
            serve_role: supervise::SERVE_ROLE,
            serve_args: vec![self.data.clone(), self.trust.clone(), only.to_owned()],
            serve_fds: vec![report],
            gateway_args: Vec::new(),
            venue_args: Vec::new(),
            venue_socket: nothing.into(),
            role_env: Vec::new(),
            board: Board::new().expect("a board"),
            relay: Relay::pair().expect("a pair").1,
            drain: Duration::ZERO,
        };
        supervise::run(&daemon).unwrap_or_else(|error| {
            eprintln!("strategies: {error}");
            1
        })
    }
}

/// Copies the row of the Python template into a database of ours, and says its layers. In a child: the store has threads.
fn template_layers(shared: &Path, home: &Path) -> Vec<String> {
    let copy = tempfile::tempdir_in(home).expect("a directory");
    let (from, to) = (shared.join("engine"), copy.path());
    // Of one moment, whatever the shared daemon writes.
    copy_database(DatabaseKind::Engine, &from.join("engine.db"), &to.join("engine.db")).expect("it can be copied");
    fs::copy(from.join("sealing.key"), to.join("sealing.key")).expect("the key can be copied");
    let open = |dir: &Path| {
        let key = SealingKey::load_or_create(&dir.join("sealing.key")).expect("a key");
        Store::open(&dir.join("engine.db"), key).expect("it opens")
    };
    let (read, write) = rustix::pipe::pipe().expect("a pipe");
    let child = match sys::fork().expect("forked") {
        sys::Forked::Parent(pid) => pid,
        sys::Forked::Child => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let layers = runtime.block_on(async {
                let theirs = open(copy.path());
                let row = theirs.ready_template("python").await.expect("readable");
                theirs.close().await.expect("closed");
                let Some(row) = row else { return Vec::new() };
                let layers: Vec<String> = row.layers.iter().map(ToString::to_string).collect();
                let ours = open(&home.join("engine"));
                ours.write(move |tx| tx.put_template(&row)).await.expect("written");
                ours.close().await.expect("closed");
                layers
            });
            fs::File::from(write).write_all(layers.join("\n").as_bytes()).expect("told");
            sys::exit_now(0)
        }
    };
    drop(write);
    let mut layers = String::new();
    fs::File::from(read).read_to_string(&mut layers).expect("told");
    sys::wait_for(child).expect("it ended");
    layers.lines().map(str::to_owned).collect()
}

fn own(path: &Path, uid: u32) {
    chown(path, Some(uid), Some(uid)).expect("given");
    for entry in fs::read_dir(path).expect("a directory").flatten() {
        if entry.path().is_dir() {
            own(&entry.path(), uid);
        } else {
            chown(entry.path(), Some(uid), Some(uid)).expect("given");
        }
    }
}
