use jiff::Timestamp;
use ringfence_backtest::{Order, Panel, Side, panel::History};
use ringfence_market::{import::Interval, new_york};
use ringfence_research::strategy::{Options, Parameters, Proposal};
use serde_json::json;

use crate::scene::{Scene, apple, code, failure, panel, set, targets};

const NAN: f64 = f64::NAN;

pub(crate) async fn positions_come_in_many_forms(scene: &Scene<'_>) {
    let panel = apple(4);
    let rising = panel.columns()[0].close.windows(2).map(|c| f64::from(c[1] > c[0])).collect::<Vec<_>>();
    let rising: Vec<f64> = [0.0].into_iter().chain(rising).collect();
    for (body, wanted) in [
        ("bars.close > bars.close.shift(1)", rising.clone()),
        ("(bars.close > bars.close.shift(1)).to_numpy()", rising.clone()),
        ("(bars.close > bars.close.shift(1)).astype('Float64')", rising.clone()),
        ("{'AAPL': bars.close > bars.close.shift(1)}", rising.clone()),
        ("(bars.close > bars.close.shift(1)).to_frame()", rising),
        ("[1, 0, -0.5, 2]", vec![1.0, 0.0, -0.5, 2.0]),
        ("[[1], [0], [1], [0]]", vec![1.0, 0.0, 1.0, 0.0]),
        ("pd.Series([1, None, 0, 1])", vec![1.0, NAN, 0.0, 1.0]),
        ("pd.Series([1, pd.NA, 0, 1], dtype='Int64')", vec![1.0, NAN, 0.0, 1.0]),
        ("pd.Series([True, False], index=bars.index[[3, 1]])", vec![NAN, 0.0, NAN, 1.0]),
        ("bars.close[::-1] * 0 + [3, 2, 1, 0]", vec![0.0, 1.0, 2.0, 3.0]),
    ] {
        let text = format!("import pandas as pd\ndef signals(bars):\n    return {body}\n");
        let found = scene.targets(&code(&text), &panel).await;
        let same = found.weights().iter().zip(&wanted).all(|(a, b)| a == b || a.is_nan() && b.is_nan());
        assert!(same && found.weights().len() == wanted.len(), "{body}: {:?}, not {wanted:?}", found.weights());
    }
    let two = crate::scene::panel(&["AAPL", "MSFT"]).truncated(2);
    for body in ["{'MSFT': [1, 0]}", "pd.DataFrame({'MSFT': [1, 0]})", "[[None, 1], [float('nan'), 0]]"] {
        let text = format!("import pandas as pd\ndef signals(bars):\n    return {body}\n");
        let found = scene.targets(&code(&text), &two).await;
        let weights = found.weights();
        assert!(
            weights[0].is_nan() && weights[2].is_nan() && weights[1] == 1.0 && weights[3] == 0.0,
            "{body}: {weights:?}"
        );
    }
}

pub(crate) async fn what_is_no_answer_is_refused_in_a_sentence(scene: &Scene<'_>) {
    let panel = apple(4);
    for (text, why) in [
        ("x = 1", "defines none of signals"),
        ("signals = 3", "defines none of signals"),
        ("def signals(bars): return None", "returned nothing"),
        ("def signals(bars): return 1", "returned int"),
        ("def signals(bars): return [1, 2, 3]", "has 3 values for 4 bars"),
        ("def signals(bars): return ['a', 'b', 'c', 'd']", "must be numbers"),
        ("def signals(bars): return {'MSFT': [1] * 4, 'AAPL': [1] * 4}", "'MSFT', which is none of AAPL"),
        ("def signals(bars): return bars.close.rename(lambda d: d.replace(year=1990))", "which is no bar"),
        ("def signals(bars): return bars", "'open', which is none of AAPL"),
        ("def signals(bars, fast): return bars.close", "missing 1 required positional argument: 'fast'"),
        ("def signals(bars): return [float('inf')] * 4", "row 0 (2000-03-01): the weight of AAPL is inf"),
        ("def signals(bars): return [0, 1e308, 0, 0]", "row 1 (2000-03-02): the weight of AAPL is"),
        ("def signals(bars): pass\ndef on_bar(history, state): pass", "defines both signals and on_bar"),
        ("SYMBOLS = 2\ndef signals(bars): return [0] * 4", "takes 2 symbols, and was given 1"),
        ("PARAMETERS = {'fast': {'type': 'integer'}}\ndef signals(bars, fast): return [0] * 4", "'fast' is missing"),
        ("def on_bar(history, state): return 'all'", "on_bar must return a number"),
        ("def orders(bars): return 5", "orders returned int"),
        ("def orders(bars): return [(7, 1)]", "at bar 7, and there are 4"),
        ("def orders(bars): return [('2000-03', 1)]", "2000-03, which is no bar"),
        ("def orders(bars): return [(1, 0)]", "for 0 shares"),
        ("import ringfence\nringfence.report(equity=[1, 2])", "2 values for 4 bars"),
        ("import ringfence\nringfence.report()", "report an equity curve"),
        ("import ringfence\nringfence.report(equity=[1] * 4)\ndef signals(bars): return [0] * 4", "one of them"),
        ("import ringfence\nringfence.report(equity=[1, 2, 3, float('nan')])", "point 3 of the equity is NaN"),
        ("import ringfence\nringfence.report(trades=[{'side': 'long'}])", "malformed"),
        ("import ringfence\nringfence.report(trades=[{'side': 'long', 'profit': float('inf')}])", "finite"),
    ] {
        let found = scene.failure(text, &panel).await;
        assert!(found.message.contains(why), "{text}: {found:?}, not {why}");
    }
}

pub(crate) async fn orders_are_dated(scene: &Scene<'_>) {
    let panel = apple(4);
    let (a, b) = (Order { row: 1, symbol: 0, shares: 5.0 }, Order { row: 3, symbol: 0, shares: -5.0 });
    for body in [
        "[(bars.index[3], 'AAPL', -5), (bars.index[1], 5)]",
        "[(3, -5), ('2000-03-02', 5)]",
        "pd.DataFrame({'shares': [5, -5]}, index=bars.index[[1, 3]])",
        "pd.DataFrame({'date': bars.index[[1, 3]], 'symbol': 'AAPL', 'shares': [5.0, -5.0]})",
    ] {
        let text = format!("import pandas as pd\ndef orders(bars):\n    return {body}\n");
        match scene.one(&code(&text), &panel).await.proposal {
            Proposal::Orders(found) => assert_eq!(found.0, [a, b], "{body}"),
            other => panic!("{body}: {other:?}"),
        }
    }
}

pub(crate) async fn a_bar_at_a_time_with_a_memory(scene: &Scene<'_>) {
    let text = "\
def on_bar(history, state, wait=2):
    state.seen = getattr(state, 'seen', 0) + 1
    assert len(history) == len(history.close) == len(history.dates) == history.row + 1 == state.seen
    assert str(history.date)[:10] >= '2000-03-01' and history['AAPL'].high[-1] >= history.low[-1]
    return None if state.seen <= wait else state.seen % 2
";
    let strategy = code(text);
    let panel = apple(300);
    for outcome in [scene.one(&strategy, &panel).await, scene.stepwise(&strategy, &panel, &Parameters::default()).await]
    {
        let found = targets(outcome);
        assert!(found.weights()[..2].iter().all(|w| w.is_nan()), "{:?}", &found.weights()[..4]);
        assert!(found.weights()[2..].iter().enumerate().all(|(i, w)| *w == f64::from(u8::from(i % 2 == 0))));
    }
    let two = crate::scene::panel(&["AAPL", "GOOG"]).window(1110..1130);
    let text = "\
def on_bar(history, state):
    try:
        history.close
    except AttributeError as error:
        assert 'history[symbol].close' in str(error)
    return {symbol: 0.5 for symbol in history if history[symbol].close[-1] == history[symbol].close[-1]}
";
    let found = targets(scene.one(&code(text), &two).await);
    for row in 0..two.len() {
        let wanted: Vec<bool> = two.columns().iter().map(|c| c.has(row)).collect();
        assert_eq!(found.row(row).iter().map(|w| !w.is_nan()).collect::<Vec<_>>(), wanted, "row {row}");
    }
}

pub(crate) async fn what_a_program_reports_itself_is_called_so(scene: &Scene<'_>) {
    let text = "\
import sys
import ringfence
bars = ringfence.bars()
factor = ringfence.parameters().get('factor', 1)
trade = {'side': 'short', 'entry': bars.index[0], 'exit': bars.index[2], 'quantity': 2, 'entry_price': 10, 'exit_price': 9,
         'profit': 2.0}
ringfence.report(equity=bars.close * factor, trades=[trade])
sys.exit(0)
";
    let panel = apple(5);
    let sets = [set(json!({})), set(json!({"factor": 2}))];
    for (outcome, factor) in
        scene.sets(&code(text), &panel, &sets, &Options::default()).await.into_iter().zip([1.0, 2.0])
    {
        let Proposal::SelfReported(found) = outcome.proposal else { panic!("{outcome:?}") };
        let curve = found.curve.expect("it reported one");
        let equity: Vec<f64> = panel.columns()[0].close.iter().map(|c| c * factor).collect();
        assert_eq!((curve.dates.as_slice(), &curve.equity, curve.capital), (panel.dates(), &equity, equity[0]));
        let [trade] = &found.trades[..] else { panic!("{:?}", found.trades) };
        assert_eq!((trade.side, trade.symbol.as_str(), trade.exit), (Side::Short, "AAPL", panel.dates()[2]));
        assert!((trade.return_on_entry - 0.1).abs() < 1e-12, "{trade:?}");
    }
}

pub(crate) async fn what_is_printed_is_logged_within_bounds(scene: &Scene<'_>) {
    let text = "\
from __future__ import annotations
print('before anything')
import os, sys
import ringfence
ringfence.log('a', 1)
print('\\x1b[31mred', end='')
sys.stderr.write('!\\n')
def signals(bars):
    os.write(1, b'straight to the descriptor')
    os.system('echo a child of mine')
    for number in range(500):
        print(number, 'x' * 5000)
    return [0] * len(bars)
";
    let outcome = scene.one(&code(text), &apple(3)).await;
    assert!(outcome.log.len() <= 201 && outcome.log_dropped >= 300, "{} {}", outcome.log.len(), outcome.log_dropped);
    assert_eq!(outcome.log[..3], ["before anything", "a 1", "\u{fffd}[31mred!"]);
    assert!(outcome.log.iter().all(|line| line.chars().count() <= 1000));
    targets(outcome);
}

pub(crate) async fn a_traceback_shows_the_strategys_own_lines(scene: &Scene<'_>) {
    let panel = apple(5);
    for (text, message, line) in [
        (
            "\n\ndef signals(bars):\n    return bars.clos\n",
            "AttributeError: 'DataFrame' object has no attribute 'clos'",
            "File \"strategy.py\", line 4, in signals",
        ),
        (
            "\nimport ringfence\nx = 1 / 0\n",
            "ZeroDivisionError: division by zero",
            "File \"strategy.py\", line 3, in <module>",
        ),
        (
            "import ringfence\nringfence.bars()\n\nx = 1 / 0\n",
            "ZeroDivisionError: division by zero",
            "File \"strategy.py\", line 4, in <module>",
        ),
        ("def signals(bars)\n    return 1\n", "SyntaxError: expected ':'", "File \"strategy.py\", line 1"),
        (
            "def signals(bars):\n    return signals(bars)\n",
            "RecursionError",
            "File \"strategy.py\", line 2, in signals",
        ),
        (
            "import ringfence\n\nringfence.report()\n",
            "ValueError: report an equity curve, trades, or both",
            "File \"strategy.py\", line 3, in <module>",
        ),
        ("import no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module'", "line 1"),
    ] {
        let found = scene.failure(text, &panel).await;
        assert!(found.message.contains(message), "{text}: {found:?}");
        assert!(found.traceback.contains(line), "{text}: {}", found.traceback);
        for ours in ["_trial.py", "_backtest.py", "program.py", "/run/ringfence"] {
            assert!(!found.traceback.contains(ours), "{text}: {}", found.traceback);
        }
    }
}

pub(crate) async fn one_set_leaves_nothing_to_the_next(scene: &Scene<'_>) {
    let text = "\
import ringfence
seen = []
def signals(bars, n):
    seen.append(n)
    assert seen == [n], seen
    assert bars.close.iloc[0] > 0 and 'mine' not in bars
    ringfence.log(n)
    bars['mine'] = 1
    bars.iloc[:, :] = -1
    return [n] * len(bars)
";
    let sets: Vec<Parameters> = (1..=5).map(|n| set(json!({"n": n}))).collect();
    for (number, outcome) in
        scene.sets(&code(text), &apple(10), &sets, &Options::default()).await.into_iter().enumerate()
    {
        assert_eq!(outcome.log, [(number + 1).to_string()]);
        assert!(targets(outcome).weights().iter().all(|w| *w == f64::from(u8::try_from(number + 1).expect("small"))));
    }
    let sets = [set(json!({"n": 1})), set(json!({"n": "x"})), set(json!({"n": 3}))];
    let text = "def signals(bars, n):\n    return [n + 0] * len(bars)\n";
    let mut outcomes = scene.sets(&code(text), &apple(10), &sets, &Options::default()).await;
    targets(outcomes.remove(2));
    assert!(failure(outcomes.remove(1), text).message.contains("TypeError"));
    targets(outcomes.remove(0));
}

pub(crate) async fn rows_without_a_bar_are_not_asked_for(scene: &Scene<'_>) {
    let both = panel(&["AAPL", "GOOG"]).window(1100..1200);
    let google = both.only(&[both.columns()[1].symbol.clone()]).expect("it is one of them");
    let has: Vec<bool> = (0..google.len()).map(|row| google.columns()[0].has(row)).collect();
    assert!(has.contains(&false), "Google came to the market in these days");
    let text = "def signals(bars):\n    assert not bars.isna().any().any()\n    return [1] * len(bars)\n";
    for outcome in
        [scene.one(&code(text), &google).await, scene.stepwise(&code(text), &google, &Parameters::default()).await]
    {
        let found = targets(outcome);
        assert_eq!(found.weights().iter().map(|w| !w.is_nan()).collect::<Vec<_>>(), has);
    }
}

pub(crate) async fn minutes_are_named_by_new_yorks_clock(scene: &Scene<'_>) {
    // The last minute of a winter's day, and the first two of a summer's.
    let times = [1_704_229_140_i64, 1_719_927_000, 1_719_927_060];
    let times: Vec<Timestamp> = times.iter().map(|t| Timestamp::from_second(*t).expect("a time")).collect();
    let prices = vec![10.0, 11.0, 12.0];
    let history = History {
        symbol: panel(&["AAPL"]).columns()[0].symbol.clone(),
        dates: times.iter().map(|t| new_york::date(*t)).collect(),
        times,
        open: prices.clone(),
        high: prices.clone(),
        low: prices.clone(),
        close: prices,
        volume: vec![1.0; 3],
    };
    let minutes = Panel::new(Interval::Minute, vec![history]).expect("bars");
    let text = "\
def signals(bars):
    wanted = ['2024-01-02 15:59:00-05:00', '2024-07-02 09:30:00-04:00', '2024-07-02 09:31:00-04:00']
    assert [str(at) for at in bars.index] == wanted[:len(bars)], bars.index
    return (bars.index.hour == 9) * 1
";
    for outcome in
        [scene.one(&code(text), &minutes).await, scene.stepwise(&code(text), &minutes, &Parameters::default()).await]
    {
        assert_eq!(targets(outcome).weights(), [0.0, 1.0, 1.0]);
    }
    let text = "import ringfence\nringfence.report(equity=ringfence.bars().close)\n";
    match scene.one(&code(text), &minutes).await.proposal {
        Proposal::SelfReported(found) => assert_eq!(found.curve.expect("one").dates, minutes.dates()),
        other => panic!("{other:?}"),
    }
}
