//! Strategies that mean harm, or might as well.

use std::time::{Duration, Instant};

use ringfence_research::strategy::{Options, Parameters, Proposal};
use serde_json::json;

use crate::scene::{Scene, apple, code, failure, set, targets};

/// What writes to the descriptor of the answers itself, from where a strategy is asked.
const WRITE: &str = "\
import os, json, struct
def frame(kind, number, text, data=b'', sizes=None):
    text = text if isinstance(text, bytes) else json.dumps(text).encode()
    return struct.pack('<IIQQ', kind, number, *(sizes or (len(text), len(data)))) + text + data
def say(*parts):
    import ringfence._backtest
    for part in parts:
        rest = memoryview(part)
        while rest:
            rest = rest[os.write(ringfence._backtest.trial.out, rest):]
GOOD = lambda bars: frame(1, 0, {'log': []}, struct.pack('<d', 1.0) * len(bars))
END = frame(5, 1, b'')
";

pub(crate) async fn words_of_its_own_are_no_answer(scene: &Scene<'_>) {
    let panel = apple(20);
    for (body, why) in [
        // Garbage, and then what it wants.
        ("say(b'garbage' * 10); return [1] * len(bars)", "no answer"),
        ("say(b'\\0' * 100); return [1] * len(bars)", "no answer"),
        ("say(b'RFANSWER\\1\\0\\0\\0'); return [1] * len(bars)", "no answer"),
        ("os.write(1, b'x'); say(b'x' * 1000000); return [1] * len(bars)", "no answer"),
        // Sizes that are not so.
        ("say(frame(1, 0, {}, b'', (2, 1 << 62))); os._exit(0)", "ended before it had answered"),
        ("say(frame(1, 0, {}, b'', ((1 << 64) - 1, (1 << 64) - 1))); os._exit(0)", "too large"),
        ("say(frame(1, 0, {}, b'', (1 << 30, 8))); os._exit(0)", "too large"),
        ("say(frame(1, 0, {}, b'1234567'), END); os._exit(0)", "7 bytes of weights"),
        ("say(frame(1, 0, {}, b'12345678' * 21), END); os._exit(0)", "168 bytes of weights"),
        ("say(frame(1, 0, {}), END); os._exit(0)", "0 bytes of weights"),
        ("say(frame(2, 0, {}, b'123'), END); os._exit(0)", "3 bytes of orders"),
        ("say(frame(2, 0, {}, struct.pack('<IId', 20, 0, 1.0)), END); os._exit(0)", "bar 20, and there are 20"),
        ("say(frame(2, 0, {}, struct.pack('<IId', 0, 9, 1.0)), END); os._exit(0)", "symbol 9"),
        (
            "say(frame(2, 0, {}, struct.pack('<IId', 3, 0, 1.0) + struct.pack('<IId', 2, 0, 1.0)), END); os._exit(0)",
            "order of time",
        ),
        ("say(frame(3, 0, {}, struct.pack('<qd', -(1 << 63), 1.0)), END); os._exit(0)", "a date that is none"),
        ("say(frame(3, 0, {}, struct.pack('<qqdd', 86400000000, 0, 1.0, 1.0)), END); os._exit(0)", "after one of"),
        // Texts that are none.
        ("say(frame(1, 0, b'{', b'')); os._exit(0)", "malformed"),
        ("say(frame(1, 0, b'[' * 100000, b'')); os._exit(0)", "malformed"),
        ("say(frame(1, 0, {'log': [[[]]]}, b'')); os._exit(0)", "malformed"),
        ("say(frame(1, 0, {'log': [], 'more': 1}, b'')); os._exit(0)", "malformed"),
        ("say(frame(1, 0, b'\\xff\\xfe', b'')); os._exit(0)", "malformed"),
        ("say(frame(1, 0, {'error': {'message': 'm', 'traceback': ''}}, b'')); os._exit(0)", "does not belong"),
        ("say(frame(4, 0, {}, b'')); os._exit(0)", "does not belong"),
        ("say(frame(1, 0, {'trades': [{}]}, b'')); os._exit(0)", "malformed"),
        // Kinds and sets that there are not; ends that are none.
        ("say(frame(9, 0, {})); os._exit(0)", "no answer"),
        ("say(frame(0, 0, {})); os._exit(0)", "no answer"),
        ("say(frame(5, 1, b'')); os._exit(0)", "another parameter set"),
        ("say(GOOD(bars)[:4] + b'\\1\\0\\0\\0' + GOOD(bars)[8:], END); os._exit(0)", "another parameter set"),
        ("say(GOOD(bars)); os._exit(0)", "did not end after it"),
        ("say(GOOD(bars), END, b'more'); os._exit(0)", "more than an answer"),
        ("say(GOOD(bars), END); return [1] * len(bars)", "more than an answer"),
        ("say(GOOD(bars), END); os._exit(3)", "exit code 3"),
        ("say(GOOD(bars), END); os.kill(os.getpid(), 9)", ""),
    ] {
        let text = format!("{WRITE}def signals(bars):\n    {body}\n");
        let found = scene.failure(&text, &panel).await;
        assert!(found.message.contains(why), "{body}: {found:?}, not {why}");
    }
    // Whoever writes exactly an answer has answered: it is what the strategy wants, by whatever way it says so.
    let text = format!("{WRITE}def signals(bars):\n    say(GOOD(bars), END); os._exit(0)\n");
    assert!(targets(scene.one(&code(&text), &panel).await).weights().iter().all(|w| *w == 1.0));
}

pub(crate) async fn numbers_that_are_none_are_refused(scene: &Scene<'_>) {
    let panel = apple(20);
    for value in ["float('inf')", "-float('inf')", "1e308", "-1e308", "1001.0"] {
        let found = scene.failure(&format!("def on_bar(history, state):\n    return {value}\n"), &panel).await;
        assert!(found.message.contains("row 0 (2000-03-01): the weight of AAPL is"), "{value}: {found:?}");
        let text = format!(
            "{WRITE}def signals(bars):\n    say(frame(2, 0, {{}}, struct.pack('<IId', 0, 0, {value} * 1e306)), END); os._exit(0)\n"
        );
        match scene.one(&code(&text), &panel).await.proposal {
            Proposal::Failed(found) => assert!(found.message.contains("finite number"), "{found:?}"),
            // A large number of shares is for whoever fills orders to refuse.
            Proposal::Orders(orders) => assert!(orders.0[0].shares.is_finite()),
            other => panic!("{other:?}"),
        }
    }
    // NaN is no change, whatever its bits are.
    let text =
        format!("{WRITE}def signals(bars):\n    say(frame(1, 0, {{}}, b'\\xff' * 8 * len(bars)), END); os._exit(0)\n");
    assert!(targets(scene.one(&code(&text), &panel).await).weights().iter().all(|w| w.is_nan()));
}

pub(crate) async fn an_end_of_its_own_is_told(scene: &Scene<'_>) {
    let panel = apple(20);
    for (text, why) in [
        ("import os\nos._exit(0)", "ended before it had answered (exit code 0)"),
        ("import os\nos._exit(7)", "ended before it had answered (exit code 7)"),
        ("import sys\nsys.exit(7)", "ended before it had answered (exit code 7)"),
        ("import os\ndef signals(bars): os._exit(7)", "ended before it had answered (exit code 7)"),
        ("import sys\ndef signals(bars): sys.exit(7)", "the program ended itself"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("import os\nos.close(1)\ndef signals(bars): return [1] * 20", "OSError"),
        (
            "import os\ndef signals(bars):\n    os.closerange(0, 1000)\n    return [1] * 20",
            "ended before it had answered",
        ),
        ("import os\nos.read(0, 1 << 20)\nos.close(0)\ndef signals(bars): return [1] * 20", ""),
        ("import ctypes\ndef signals(bars): ctypes.string_at(0)", "ended before it had answered"),
        ("import builtins\ndef signals(bars):\n    builtins.len = None\n    return [1] * 20", ""),
        (
            "import sys, ringfence._trial\nringfence._trial.finish = lambda: None",
            "ended before it had answered (exit code 0)",
        ),
        ("import json\njson.dumps = lambda *a, **k: 'x' * 9\ndef signals(bars): return [1] * 20", ""),
    ] {
        let found = scene.failure(text, &panel).await;
        assert!(found.message.contains(why), "{text}: {found:?}, not {why}");
    }
}

pub(crate) async fn a_set_that_hangs_takes_no_other_along(scene: &Scene<'_>) {
    let panel = apple(20);
    let sets: Vec<Parameters> = (0..4).map(|n| set(json!({"n": n}))).collect();
    let options = Options { timeout: 1.0, ..Options::default() };
    let text = "\
def signals(bars, n):
    while n == 1:
        pass
    return [n] * len(bars)
";
    let begin = Instant::now();
    let mut outcomes = scene.sets(&code(text), &panel, &sets, &options).await;
    assert!(begin.elapsed() < Duration::from_secs(10));
    assert!(failure(outcomes.remove(1), text).message.contains("not done after 1 seconds"));
    for (outcome, wanted) in outcomes.into_iter().zip([0.0, 2.0, 3.0]) {
        assert!(targets(outcome).weights().iter().all(|w| *w == wanted));
    }
    // One that takes no notice is ended with its sandbox; what was answered before it stands.
    let text = text.replace("    while n == 1:\n        pass\n", "    while n == 1:\n        try:\n            time.sleep(1000)\n        except BaseException:\n            pass\n");
    let text = format!("import time\n{text}");
    let options = Options { timeout: 0.7, ..Options::default() };
    let outcomes = scene.sets(&code(&text), &panel, &sets, &options).await;
    let messages: Vec<Option<String>> = outcomes
        .into_iter()
        .map(|o| if let Proposal::Failed(f) = o.proposal { Some(f.message) } else { None })
        .collect();
    assert!(
        messages[1..].iter().all(|m| m.as_ref().is_some_and(|m| m.contains("not done in the time"))),
        "{messages:?}"
    );
    // So does one that ends the process: the sets after it have no answer.
    let text = "import os\ndef signals(bars, n):\n    if n == 2: os._exit(5)\n    return [n] * len(bars)\n";
    let mut outcomes = scene.sets(&code(text), &panel, &sets, &Options::default()).await;
    for _ in 0..2 {
        assert!(failure(outcomes.pop().expect("four"), text).message.contains("exit code 5"));
    }
    outcomes.into_iter().for_each(|outcome| drop(targets(outcome)));
}

pub(crate) async fn bar_by_bar_it_can_lie_no_better(scene: &Scene<'_>) {
    let panel = apple(30);
    let write = WRITE.replace("def say(", "def say_now(").replace("GOOD", "UNUSED");
    for (body, why) in [
        ("return 1 / (5 - history.row)", "ZeroDivisionError"),
        ("return 'x'", "must return a number"),
        ("return 1e308", "the weight of AAPL is"),
        ("os._exit(4)", "exit code 4"),
        ("say_now(b'garbage')", "no answer"),
        // An answer before its bar is found at once, or, where it came alone, by there being one too many.
        ("say_now(b'STEP' + bytes(8)); return 1", ""),
        ("say_now((b'STEP' + bytes(8)) * 1000); return 1", ""),
        ("say_now(b'DONE' + (1 << 31).to_bytes(4, 'little')); return 1", "too large"),
        ("say_now(b'DONE' + (2).to_bytes(4, 'little') + b'{}'); os._exit(0)", "ended before it had answered"),
        ("say_now(b'FAIL' + (2).to_bytes(4, 'little') + b'{}'); os._exit(0)", "no answer"),
        ("say_now(b'FAIL' + (9).to_bytes(4, 'little') + b'[' * 9); os._exit(0)", "malformed"),
        ("say_now(b'x' * 100_000_000); return 1", "no answer"),
        ("os.read(0, 1); return 1", ""),
        ("while True: pass", "not done in the time"),
    ] {
        let text = format!("{write}def on_bar(history, state):\n    {body}\n");
        let options =
            Options { timeout: 4.0, mode: ringfence_research::strategy::Mode::PointInTime, ..Options::default() };
        let outcome = scene.sets(&code(&text), &panel, &[Parameters::default()], &options).await.remove(0);
        let found = failure(outcome, body);
        assert!(found.message.contains(why), "{body}: {found:?}, not {why}");
    }
    let text = "print('x' * 100_000)\ndef on_bar(history, state):\n    return 1\n";
    let found = failure(scene.stepwise(&code(text), &panel, &Parameters::default()).await, text);
    assert!(found.message.contains("printed too much"), "{found:?}");
    for (text, why) in [
        ("import ringfence\nringfence.parameters()\nx = 1 / 0\n", "ZeroDivisionError"),
        ("import sys, ringfence\nringfence.parameters()\nsys.exit(0)\n", "ended itself before its last line"),
        ("import ringfence\nringfence.bars()\n", "one by one here"),
        ("import ringfence\nringfence.report(equity=[1])\n", "not run point in time"),
    ] {
        let found = failure(scene.stepwise(&code(text), &panel, &Parameters::default()).await, text);
        assert!(found.message.contains(why), "{text}: {found:?}");
    }
    let text = "def orders(bars):\n    return []\n";
    let found = failure(scene.stepwise(&code(text), &panel, &Parameters::default()).await, text);
    assert!(found.message.contains("signals or on_bar"), "{found:?}");
}
