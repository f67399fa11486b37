//! What a strategy may only try in a sandbox.

use std::time::{Duration, Instant};

use ringfence_research::strategy::{Options, Parameters};

use crate::scene::{Scene, apple, code, failure, targets};

pub(crate) async fn what_would_break_a_host_fails_cleanly(scene: &Scene<'_>) {
    let panel = apple(50);
    for (name, text, why) in [
        ("ten gigabytes", "def signals(bars):\n    return bytearray(10 << 30)\n", ""),
        (
            "ten gigabytes, touched",
            "def signals(bars):\n    held = []\n    while True:\n        held.append(bytearray(64 << 20))\n",
            "",
        ),
        (
            "a fork bomb",
            "\
import os
def signals(bars):
    while True:
        try:
            os.fork()
        except OSError:
            pass
",
            "not done in the time",
        ),
        (
            "ten gigabytes of output",
            "\
import os, ringfence._backtest
def signals(bars):
    block = bytes(1 << 20)
    for _ in range(10 << 10):
        os.write(ringfence._backtest.trial.out, block)
",
            "more than the 64 MiB",
        ),
        (
            "ten gigabytes of errors",
            "import os\ndef signals(bars):\n    for _ in range(10 << 10):\n        os.write(2, bytes(1 << 20))\n    return 5\n",
            "",
        ),
        (
            "a full disk",
            "\
def signals(bars):
    with open('/tmp/full', 'wb') as file:
        while True:
            file.write(bytes(1 << 20))
",
            "",
        ),
        (
            "children that hold the output",
            "\
import os, time
def signals(bars):
    if os.fork() == 0:
        os.setsid()
        time.sleep(1000)
    os._exit(0)
",
            "",
        ),
        ("a signal to all", "import os, signal\ndef signals(bars):\n    os.kill(-1, signal.SIGKILL)\n", ""),
    ] {
        let options = Options { timeout: 5.0, memory_mib: Some(512), ..Options::default() };
        let begin = Instant::now();
        let outcome = scene.sets(&code(text), &panel, &[Parameters::default()], &options).await.remove(0);
        let spent = outcome.spent.clone().expect("it ran");
        let found = failure(outcome, name);
        println!("{name}: {found} ({:.1?}, {} MiB)", begin.elapsed(), spent.memory_peak_bytes >> 20);
        assert!(found.message.contains(why) && !found.message.is_empty(), "{name}: {found:?}, not {why}");
        assert!(begin.elapsed() < Duration::from_secs(15), "{name}: {:?}", begin.elapsed());
        assert!(spent.memory_peak_bytes <= 512 << 20, "{name}: {spent:?}");
    }
    // And after all that a strategy runs as before.
    targets(scene.one(&code("def signals(bars):\n    return [1] * len(bars)\n"), &panel).await);
}

pub(crate) async fn there_are_no_bars_but_those_given(scene: &Scene<'_>) {
    let text = "\
import os
import ringfence
def found():
    for top in os.listdir('/'):
        if top not in ('proc', 'sys', 'dev'):
            for path, _, files in os.walk('/' + top):
                yield from (f'{path}/{name}' for name in files if 'AAPL' in name or name.endswith('.parquet'))
def on_bar(history, state):
    if history.row == 0:
        ringfence.log(os.listdir('/data') if os.path.exists('/data') else [], list(found()))
    ringfence.log(max(len(history._bars['AAPL'].close), 0))
    return 1
";
    let outcome = scene.stepwise(&code(text), &apple(5), &Parameters::default()).await;
    assert_eq!(outcome.log[0], "[] []", "what a program finds of bars");
    assert_eq!(outcome.log[1..], ["1", "2", "3", "4", "5"]);
    targets(outcome);
}

pub(crate) async fn the_warm_interpreter_runs_it(scene: &Scene<'_>) {
    // What the runner needs was imported before the sandbox was made, and nothing of it is in a plain program's way.
    let text = "\
import sys
loaded = set(sys.modules)
import ringfence
ringfence.log(*sorted(name for name in set(sys.modules) - loaded if name.startswith(('ringfence', 'pandas', 'numpy'))))
def signals(bars):
    ringfence.log('ringfence._trial' in loaded, 'ringfence.strategies.rsi' in loaded, 'pandas' in loaded)
    return [1] * len(bars)
";
    let outcome = scene.one(&code(text), &apple(50)).await;
    assert_eq!(outcome.log, ["", "True True True"]);
    targets(outcome);
}
