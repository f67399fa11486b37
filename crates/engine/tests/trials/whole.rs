//! Trials that are given all and give all.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use ringfence_engine::api::{
    Sandboxes, TRIAL_INPUT_MAX, TRIAL_OUTPUT_MAX, TRIAL_PURPOSE_MAX, TrialAnswer, TrialRequest, Trials,
};
use ringfence_model::{
    Code,
    api::{Actor, AuditLogRequest, ExecutionRequest, ExecutionStatus, ListRequest, SandboxRequest, SandboxStatus},
};

use crate::inside::{Place, program};

fn text(answer: &TrialAnswer) -> String {
    String::from_utf8(answer.output.clone()).expect("text")
}

pub(crate) async fn a_trial_answers_with_what_it_printed(place: Place) {
    let code = "import sys, time\ntime.sleep(0.05)\nprint(sys.stdin.read().upper())\nprint('aside', file=sys.stderr)";
    let answer = place.run(code, b"given").await;
    assert_eq!((answer.status, answer.exit_code), (ExecutionStatus::Completed, 0), "{answer:?}");
    assert_eq!((text(&answer).as_str(), answer.stderr.as_str()), ("GIVEN\n", "aside\n"));
    assert!(answer.execution_time >= 0.05 && answer.execution_time < 10.0, "{answer:?}");
    assert!(answer.cpu_time > 0.0005 && answer.cpu_time < answer.execution_time + 0.05, "{answer:?}");
    assert!(answer.memory_peak_bytes > 1 << 20, "{answer:?}");
    // It is `python3 program.py` to the program: pandas is loaded, and the working directory is its home.
    let code = "import os, pandas; print(pandas.Series([1, 2]).sum(), os.getcwd(), __name__, os.environ['USER'])";
    assert_eq!(text(&place.run(code, b"").await), "3 /home/user __main__ user\n");
}

pub(crate) async fn a_program_that_fails_is_an_answer(place: Place) {
    let answer = place.run("print('before')\nraise SystemExit('no more')", b"").await;
    assert_eq!((answer.status, answer.exit_code), (ExecutionStatus::Failed, 1));
    assert_eq!((text(&answer).as_str(), answer.stderr.as_str()), ("before\n", "no more\n"));
    let answer = place.run("import os; os.kill(os.getpid(), 11)", b"").await;
    assert_eq!((answer.status, answer.exit_code), (ExecutionStatus::Failed, 139), "{answer:?}");
    let answer = place.run("def f(:", b"").await;
    assert!(answer.exit_code == 1 && answer.stderr.contains("SyntaxError"), "{answer:?}");
}

pub(crate) async fn a_trial_ends_at_its_timeout_with_all_that_it_started(place: Place) {
    let code = "import os, subprocess, time, signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n\
        subprocess.Popen(['setsid', 'bash', '-c', 'sleep 271 & sleep 272'])\nprint('partial', flush=True)\nwhile True: pass";
    let begin = Instant::now();
    let answer = place.ask(TrialRequest { timeout: 0.5, ..program(code) }).await.expect("it is run");
    assert_eq!((answer.status, answer.exit_code), (ExecutionStatus::Timeout, 124), "{answer:?}");
    assert_eq!(text(&answer), "partial\n");
    assert!(begin.elapsed() < Duration::from_secs(10) && answer.execution_time >= 0.5, "{answer:?}");
}

pub(crate) async fn all_of_a_large_input_arrives(place: Place) {
    let input: Vec<u8> = (0..24_u32 << 18).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let code = "import sys, zlib\ngiven = sys.stdin.buffer.read()\nprint(len(given), zlib.adler32(given))\n\
        sys.stdout.flush()\nsys.stdout.buffer.write(given)";
    let answer = place.run(code, &input).await;
    let (a, b) = input.iter().fold((1_u32, 0_u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    let line = format!("{} {}\n", input.len(), b << 16 | a);
    assert!(answer.output.starts_with(line.as_bytes()), "{:?}", answer.status);
    assert!(answer.output[line.len()..] == input, "what was sent back is what was sent");
}

pub(crate) async fn input_that_is_not_read_harms_nobody(place: Place) {
    let answer = place.run("print('done')", &vec![b'x'; TRIAL_INPUT_MAX]).await;
    assert_eq!((answer.status, text(&answer).as_str()), (ExecutionStatus::Completed, "done\n"));
    let answer =
        place.run("import os, time; os.close(0); print('done', flush=True); time.sleep(0.2)", &[b'x'; 1 << 20]);
    assert_eq!(text(&answer.await), "done\n");
}

pub(crate) async fn output_beyond_the_bound_is_a_failure(place: Place) {
    let code = "import sys\nblock = b'y' * (1 << 20)\nwhile True: sys.stdout.buffer.write(block)";
    let answer = place.run(code, b"").await;
    assert_eq!(answer.status, ExecutionStatus::Failed, "{:?} {}", answer.status, answer.stderr);
    assert!(answer.output.len() <= TRIAL_OUTPUT_MAX && answer.output.len() > TRIAL_OUTPUT_MAX / 2);
    assert!(answer.stderr.contains("64 MiB"), "{}", answer.stderr);
}

pub(crate) async fn of_a_flood_of_errors_the_last_are_kept(place: Place) {
    let code = "import sys\nfor n in range(200_000): sys.stderr.write(f'line {n}\\n')";
    let answer = place.run(code, b"").await;
    assert_eq!(answer.status, ExecutionStatus::Completed);
    assert!(answer.stderr.len() <= 64 << 10 && answer.stderr.ends_with("line 199999\n"), "{}", answer.stderr.len());
}

pub(crate) async fn what_a_program_leaves_running_ends_with_it(place: Place) {
    let code = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        time.sleep(600)\n    \
        os._exit(0)\nprint('gone')";
    let answer = place.run(code, b"").await;
    assert_eq!((answer.status, text(&answer).as_str()), (ExecutionStatus::Completed, "gone\n"), "{answer:?}");
    place.until("nothing runs", async |health| health.trials.running == 0).await;
}

pub(crate) async fn memory_and_files_are_limited(place: Place) {
    let small = |code: &str| TrialRequest { memory_mib: Some(96), ..program(code) };
    let answer = place.ask(small("x = bytearray(300 << 20)\nprint(len(x))")).await.expect("it is run");
    assert_eq!(answer.status, ExecutionStatus::Killed, "{answer:?}");
    assert!(answer.stderr.contains("ran out of memory"), "{answer:?}");
    // Files are in memory, and full before the memory is: an error in the program, not its death.
    let code = "import errno, os\nfor path in ('/tmp/full', '/home/user/full'):\n    size = 0\n    try:\n        \
        with open(path, 'wb', buffering=0) as file:\n            while True: size += file.write(b'x' * 65536)\n    \
        except OSError as error: print(errno.errorcode[error.errno], size >> 20)\n    os.unlink(path)";
    let answer = place.ask(small(code)).await.expect("it is run");
    assert_eq!(text(&answer), "ENOSPC 24\nENOSPC 24\n", "{answer:?}");
}

pub(crate) async fn requests_out_of_bounds_are_refused(place: Place) {
    let check = async |request: TrialRequest, code: Code, says: &str| {
        let refused = place.ask(request).await.expect_err("it is refused");
        assert!(refused.code == code && refused.message.contains(says), "{refused:?}");
    };
    let fine = || program("print(1)");
    check(TrialRequest { template: "nowhere".into(), ..fine() }, Code::TemplateNotFound, "nowhere").await;
    check(TrialRequest { code: "#".repeat(2 << 20), ..fine() }, Code::TooLarge, "program").await;
    check(TrialRequest { input: vec![0; TRIAL_INPUT_MAX + 1], ..fine() }, Code::TooLarge, "input").await;
    for timeout in [0.0, -1.0, f64::NAN, f64::INFINITY, 86_401.0] {
        check(TrialRequest { timeout, ..fine() }, Code::InvalidArgument, "trial may run").await;
    }
    check(TrialRequest { memory_mib: Some(1), ..fine() }, Code::InvalidArgument, "memory_mib").await;
    let purpose = "p".repeat(TRIAL_PURPOSE_MAX + 1);
    check(TrialRequest { purpose, ..fine() }, Code::InvalidArgument, "purpose").await;
}

pub(crate) async fn a_trial_is_in_the_audit_log_and_in_no_list(place: Place) {
    let engine = &place.engine;
    let request = TrialRequest { purpose: "sweep_1 17".into(), ..program("print('seen')") };
    let answer = place.ask(request).await.expect("it is run");
    let asked = ExecutionRequest { execution_id: answer.execution.to_string(), wait: None };
    let execution = engine.execution(Actor::Agent, asked.clone()).await.expect("it is known");
    assert_eq!((execution.status, execution.output.as_str()), (ExecutionStatus::Completed, "seen\n"));
    assert_eq!(execution.sandbox_id, answer.sandbox);
    let named = SandboxRequest { sandbox_id: answer.sandbox.to_string() };
    place.until("nothing runs", async |health| health.trials.running == 0).await;
    let sandbox = engine.status(Actor::Agent, named).await.expect("it is known").sandbox;
    assert_eq!((sandbox.status, sandbox.name.as_str()), (SandboxStatus::Deleted, "sweep_1 17"));
    let listed = engine.list(Actor::Operator, ListRequest::default()).await.expect("listed");
    assert!(listed.sandboxes.iter().all(|sandbox| sandbox.sandbox_id != answer.sandbox), "{listed:?}");
    let asked = AuditLogRequest { sandbox_id: Some(answer.sandbox.to_string()), ..AuditLogRequest::default() };
    let log = engine.audit_log(Actor::Operator, asked).await.expect("it is answered");
    let entry = &log.entries[0];
    assert_eq!((log.entries.len(), entry.event.as_str()), (1, "trial.start"), "{log:?}");
    let detail = &entry.detail;
    assert_eq!(detail["purpose"], "sweep_1 17");
    assert_eq!(detail["code_sha256"].as_str().map(str::len), Some(64), "{detail:?}");
    // As it runs: killing or deleting it is its job's affair.
    let endless = program("while True: pass");
    let running = engine.trial(Actor::Agent, TrialRequest { timeout: 1.0, ..endless });
    let look = async {
        place.until("it runs", async |health| health.executions_running == 1).await;
        let listed = engine.list(Actor::Operator, ListRequest::default()).await.expect("listed");
        listed.sandboxes.len()
    };
    let (answer, listed) = tokio::join!(running, look);
    assert_eq!((answer.expect("it is run").status, listed), (ExecutionStatus::Timeout, 0));
}

pub(crate) async fn hundreds_take_turns_in_order(place: Place) {
    const COUNT: usize = 200;
    let most = Arc::new(AtomicUsize::new(0));
    let watching = {
        let (place, most) = (place.clone(), Arc::clone(&most));
        tokio::spawn(async move {
            loop {
                let health = place.engine.health(Actor::Operator).await.expect("answered");
                most.fetch_max(health.trials.running as usize, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
    };
    let all = (0..COUNT).map(|n| {
        let place = place.clone();
        async move { place.run("print(int(input()) * 3)", n.to_string().as_bytes()).await }
    });
    let answers = futures::future::join_all(all).await;
    watching.abort();
    for (n, answer) in answers.iter().enumerate() {
        assert_eq!(text(answer), format!("{}\n", n * 3));
    }
    let sandboxes: std::collections::BTreeSet<_> = answers.iter().map(|answer| &answer.sandbox).collect();
    assert_eq!(sandboxes.len(), COUNT, "each had a sandbox of its own");
    let cpus = std::thread::available_parallelism().map_or(2, usize::from);
    let most = most.load(Ordering::Relaxed);
    assert!(most > 1 && most <= 2 * cpus + 2, "{most} at once");
    // Ids of executions begin with the time: whoever asked first began first, but for those that ran side by side.
    let ids: Vec<_> = answers.iter().map(|answer| answer.execution.to_string()).collect();
    for (n, id) in ids.iter().enumerate().skip(4 * cpus) {
        assert!(id > &ids[n - 4 * cpus], "{n} began before one that came long before it");
    }
}

pub(crate) async fn two_trials_see_nothing_of_each_other(place: Place) {
    let writer = "import os, time\nfor path in ('/home/user/s', '/tmp/s', '/dev/shm/s', '/run/ringfence/s'):\n    \
        open(path, 'w').write('secret')\ntime.sleep(1)\nprint('written')";
    let reader = "import os, time\ntime.sleep(0.4)\nfor path in ('/home/user/s', '/tmp/s', '/dev/shm/s', '/run/ringfence/s'):\n    \
        print(os.path.exists(path))\nprint(sum(name.isdigit() for name in os.listdir('/proc')))";
    let (written, read) = tokio::join!(place.run(writer, b""), place.run(reader, b""));
    assert_eq!(text(&written), "written\n");
    assert_eq!(text(&read), "False\nFalse\nFalse\nFalse\n1\n", "{read:?}");
    assert_eq!(text(&place.run(reader, b"").await), "False\nFalse\nFalse\nFalse\n1\n");
}
