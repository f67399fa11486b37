//! Figures, printed and not judged: `strategies speed`.

use std::time::Instant;

use ringfence_research::strategy::{Options, Parameters, peek};
use serde_json::json;

use crate::scene::{Scene, built_in, code, panel, set, targets};

pub(crate) async fn measure(scene: &Scene<'_>) {
    let panel = panel(&["AAPL"]);
    let strategy = built_in("sma_cross");
    let sets: Vec<Parameters> = (0..200).map(|n| set(json!({"fast": 5 + n % 20, "slow": 40 + n}))).collect();
    let options = Options::default();
    for round in 0..3 {
        let (mut took, mut inside, mut cpu): (Vec<f64>, f64, f64) = (Vec::new(), 0.0, 0.0);
        for set in &sets {
            let begin = Instant::now();
            let outcome = scene.sets(&strategy, &panel, std::slice::from_ref(set), &options).await.remove(0);
            let spent = outcome.spent.clone().expect("it ran");
            inside += spent.execution_time * 5.0;
            cpu += spent.cpu_time * 5.0;
            targets(outcome);
            took.push(begin.elapsed().as_secs_f64() * 1e3);
        }
        took.sort_by(f64::total_cmp);
        println!(
            "round {round}: one set, 3,270 bars, one after the other: p50 {:.2} p95 {:.2} ms; in the sandbox {inside:.2} ms, {cpu:.2} of processor",
            took[100], took[190]
        );
        let begin = Instant::now();
        let all = futures::future::join_all(
            sets.iter().map(|set| scene.sets(&strategy, &panel, std::slice::from_ref(set), &options)),
        );
        all.await.into_iter().for_each(|mut outcomes| drop(targets(outcomes.remove(0))));
        println!(
            "round {round}: 200 sets at once, a sandbox each: {:.2} ms a set",
            begin.elapsed().as_secs_f64() * 5.0
        );
        let begin = Instant::now();
        scene.sets(&strategy, &panel, &sets, &options).await.into_iter().for_each(|outcome| drop(targets(outcome)));
        println!("round {round}: 200 sets in one sandbox: {:.3} ms a set", begin.elapsed().as_secs_f64() * 5.0);
    }
    let on_bar = "def on_bar(history, state):\n    return float(history.close[-1] > history.close[-20:].mean())\n";
    for (name, strategy) in [("signals", strategy.clone()), ("on_bar", code(on_bar))] {
        let begin = Instant::now();
        targets(scene.stepwise(&strategy, &panel, &Parameters::default()).await);
        let took = begin.elapsed().as_secs_f64();
        println!("point in time, {name}: {} bars in {took:.2} s, {:.1} µs a bar", panel.len(), took * 1e6 / 3270.0);
        let begin = Instant::now();
        let subject = peek::Subject {
            trials: scene.trials,
            actor: ringfence_model::api::Actor::Agent,
            purpose: "a check",
            strategy: &strategy,
            panel: &panel,
            parameters: &Parameters::default(),
            options: &options,
        };
        let verdict = peek::check(subject, peek::Depth::Cuts, 1).await.expect("it is checked");
        println!("look-ahead check, {name}: {verdict} in {:.0} ms", begin.elapsed().as_secs_f64() * 1e3);
    }
}
