//! What takes the place of `serve`: an engine, and tests that call it.

use std::{
    fs,
    io::Write,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use ringfence_engine::{
    Config, Engine, TemplateSettings,
    api::{Sandboxes, TrialAnswer, TrialRequest, Trials},
};
use ringfence_jail::{supervise, sys};
use ringfence_model::{
    ApiError, LayerDigest,
    api::{Actor, HealthAnswer},
};

use crate::{REPORT_FD, attack, ends, talk, whole};

/// What every test is given.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) engine: Engine,
    pub(crate) home: PathBuf,
    pub(crate) data: String,
    report: Arc<Mutex<fs::File>>,
}

/// Runs one test, whose name is its function's.
macro_rules! run {
    ($place:expr, $($module:ident :: $test:ident),* $(,)?) => {
        $( $place.verdict(stringify!($test), tokio::spawn($module::$test($place.clone())).await.is_ok()); )*
    };
}

pub(crate) fn serve(args: &[String]) {
    let [home, data, trust, part] = args else { panic!("wrong arguments") };
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
    let code = runtime.block_on(async {
        let (engine, gone) = Engine::start(config).await.expect("the engine starts");
        let report = Arc::new(Mutex::new(report));
        let place = Place { engine, home: home.into(), data: data.clone(), report };
        let mut terminate =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).expect("a signal");
        tokio::select! {
            () = play(&place, part) => place.engine.close().await,
            _ = terminate.recv() => place.engine.close().await,
            _ = gone => return 1,
        }
        0
    });
    std::process::exit(code);
}

async fn play(place: &Place, part: &str) {
    place.warm().await;
    match part {
        "living" => {
            run!(
                place,
                whole::a_trial_answers_with_what_it_printed,
                whole::a_program_that_fails_is_an_answer,
                whole::a_trial_ends_at_its_timeout_with_all_that_it_started,
                whole::all_of_a_large_input_arrives,
                whole::input_that_is_not_read_harms_nobody,
                whole::output_beyond_the_bound_is_a_failure,
                whole::of_a_flood_of_errors_the_last_are_kept,
                whole::what_a_program_leaves_running_ends_with_it,
                whole::memory_and_files_are_limited,
                whole::requests_out_of_bounds_are_refused,
                whole::a_trial_is_in_the_audit_log_and_in_no_list,
                whole::hundreds_take_turns_in_order,
                whole::two_trials_see_nothing_of_each_other,
                talk::it_is_spoken_with,
                talk::the_end_of_what_it_is_told_is_the_end_of_its_input,
                talk::nobody_has_to_listen,
                talk::a_flood_waits_for_its_listener,
                talk::who_does_not_read_is_not_waited_for_longer_than_its_time,
                attack::a_trial_has_no_bars_and_a_sandbox_has_them,
                attack::a_trial_has_no_network,
                ends::a_caller_that_goes_away_takes_its_trial_along,
                ends::a_zygote_that_is_killed_harms_no_trial,
                ends::the_shelf_is_given_back,
                ends::nothing_is_left_of_them,
            );
        }
        "stopped" => ends::begin_and_stop(place).await,
        "serve" | "jailer" | "supervisor" => {
            let began = place.home.join("engine").join(format!("began-{part}"));
            if !began.exists() {
                fs::write(&began, "").expect("written");
                return ends::begin_and_be_killed(place).await;
            }
            run!(place, ends::the_next_daemon_finds_nothing_running);
            place.say("do look");
        }
        other => panic!("no part {other}"),
    }
    place.say("do end");
}

impl Place {
    pub(crate) fn say(&self, line: &str) {
        writeln!(self.report.lock().expect("nothing panics under this lock"), "{line}").expect("somebody listens");
    }

    fn verdict(&self, name: &str, passed: bool) {
        self.say(&format!("{} {name}", if passed { "ok" } else { "FAILED" }));
    }

    /// Waits until the template's interpreter is warm.
    async fn warm(&self) {
        self.until("the interpreter is warm", async |health: &HealthAnswer| {
            health.templates.iter().any(|template| template.name == "python" && template.warm)
        })
        .await;
    }

    /// Waits until the health is as it must be.
    pub(crate) async fn until(&self, what: &str, holds: impl AsyncFn(&HealthAnswer) -> bool) {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let health = self.engine.health(Actor::Operator).await.expect("it is answered");
            if holds(&health).await {
                return;
            }
            assert!(Instant::now() < end, "not within a minute: {what}; it is {health:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Runs a program with an input.
    pub(crate) async fn run(&self, code: &str, input: &[u8]) -> TrialAnswer {
        self.ask(TrialRequest { input: input.to_vec(), ..program(code) }).await.expect("it is run")
    }

    pub(crate) async fn ask(&self, request: TrialRequest) -> Result<TrialAnswer, ApiError> {
        self.engine.trial(Actor::Agent, request).await
    }
}

/// A request for a program.
pub(crate) fn program(code: &str) -> TrialRequest {
    TrialRequest {
        template: "python".to_owned(),
        purpose: "a test".to_owned(),
        code: code.to_owned(),
        timeout: 30.0,
        ..TrialRequest::default()
    }
}
