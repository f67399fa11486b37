//! The time that an id takes. That no look into another project's thing happens is shown by the calls in
//! `crates/server/tests/matrix.rs`; here it is seen from outside, with a bound that no noise of a busy machine reaches.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{scene::Daemon, table::Things};

const ROUNDS: usize = 400;

/// How many times as long as the other the middle one may take. Both do the same; a look into the thing itself is a call to the jailer and
/// to the gateway more, as the control has it.
const FACTOR_MAX: f64 = 2.0;

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e6
}

#[test]
fn an_id_of_another_project_takes_as_long_as_one_that_nobody_has() {
    let daemon = Daemon::start("matrix-time");
    let (theirs, nobodys) = (daemon.things("rival", 0), Things::nobodys());
    let (fund, rival) = (daemon.token("agent", Some("fund")), daemon.token("agent", Some("rival")));
    for (path, theirs, nobodys) in [
        ("/v1/sandboxes/", &theirs.sandbox, &nobodys.sandbox),
        ("/v1/executions/", &theirs.execution, &nobodys.execution),
        ("/v1/sweeps/", &theirs.sweep, &nobodys.sweep),
        ("/v1/pipelines/", &theirs.pipeline, &nobodys.pipeline),
        ("/v1/swarms/", &theirs.swarm, &nobodys.swarm),
        ("/v1/tasks/", &theirs.task, &nobodys.task),
    ] {
        let time = |secret: &str, id: &str, wanted: u16| {
            let target = format!("{path}{id}");
            loop {
                let begun = Instant::now();
                let (status, body) = daemon.send_once(secret, "GET", &target, &Value::Null);
                match status {
                    429 => std::thread::sleep(Duration::from_millis(50)),
                    _ => {
                        assert_eq!(status, wanted, "{target}: {body}");
                        return begun.elapsed();
                    }
                }
            }
        };
        // In turns, each first as often as the other, so that what the machine does meanwhile falls upon all alike.
        let (mut of_theirs, mut of_nobodys, mut of_owners) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            if round % 2 == 0 {
                of_theirs.push(time(&fund, theirs, 404));
                of_nobodys.push(time(&fund, nobodys, 404));
            } else {
                of_nobodys.push(time(&fund, nobodys, 404));
                of_theirs.push(time(&fund, theirs, 404));
            }
            of_owners.push(time(&rival, theirs, 200));
        }
        let (one, other, found) = (median(of_theirs), median(of_nobodys), median(of_owners));
        println!(
            "{path}: another project's {one:.0} us, nobody's {other:.0} us, its own {found:.0} us, medians of {ROUNDS}"
        );
        let factor = one.max(other) / one.min(other);
        assert!(factor < FACTOR_MAX, "{path}: {one:.0} us and {other:.0} us");
    }
}
