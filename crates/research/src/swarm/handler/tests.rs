use ringfence_model::{ExecutionId, SandboxId, api::Interpreter};

use super::*;

fn run(output: &str) -> ExecutionAnswer {
    ExecutionAnswer {
        success: true,
        execution_id: ExecutionId::from_parts(1, [1; 6]),
        sandbox_id: SandboxId::from_random([1; 20]),
        output: output.to_owned(),
        error: None,
        stderr: String::new(),
        exit_code: Some(0),
        status: ExecutionStatus::Completed,
        execution_time: 0.1,
        cpu_time: 0.1,
        memory_peak_bytes: 1,
        truncated: false,
        output_bytes: output.len() as u64,
        language: "python".to_owned(),
        interpreter: Interpreter::Parked,
        artifacts: Vec::new(),
        denials: Vec::new(),
        warnings: Vec::new(),
    }
}

fn bars() -> Bars {
    Bars { market: "/nonexistent".into() }
}

fn input(json: Value) -> Map<String, Value> {
    plain(&json)
}

#[test]
fn tasks_are_known_by_the_names_of_handlers() {
    for (text, handler) in [
        ("Run distributed backtest", Handler::Backtest),
        ("technical_analysis", Handler::TechnicalAnalysis),
        (" Sentiment  Analysis. ", Handler::Sentiment),
        ("Risk Calculation", Handler::Risk),
    ] {
        assert_eq!(Handler::named(text), Some(handler), "{text}");
    }
    for text in ["", "run", "code", "Make me rich", "backtest my code", "run run backtest"] {
        assert_eq!(Handler::named(text), None, "{text}");
    }
}

#[track_caller]
fn code_is_refused(output: &str, word: &str) {
    let refused = Handler::Code.read(&Map::new(), &run(output), &bars()).expect_err("refused");
    assert!(refused.contains(word), "{refused}");
}

#[test]
fn a_program_of_the_callers_votes_with_its_last_line() {
    let read = |output: &str| Handler::Code.read(&Map::new(), &run(output), &bars()).expect("read");
    let found = read("noise\n{\"decision\": \"buy\", \"confidence\": 0.25, \"votes\": {\"sell\": 99}}\n");
    assert_eq!((found.vote, found.weight), (Some(Decision::Buy), Some(0.25)));
    let found = read("{\"decision\": \"sell\"}\n42\n");
    assert_eq!((found.vote, found.output.as_deref()), (None, Some("{\"decision\": \"sell\"}\n42\n")));
    assert_eq!(read(""), Finding::default());
    assert_eq!(read("{\"x\": 1}").vote, None);
    let long = "ä".repeat(5000);
    assert_eq!(read(&long).output.map(|text| text.len()), Some(2048));

    code_is_refused("{\"decision\": \"BUY EVERYTHING\"}", "buy, sell or hold");
    code_is_refused("{\"decision\": [\"buy\"]}", "buy, sell or hold");
    code_is_refused("{\"decision\": \"buy\", \"confidence\": 1e9}", "between 0 and 1");
    code_is_refused("{\"decision\": \"buy\", \"confidence\": NaN}", "is none");
    code_is_refused("{\"decision\": \"buy\", \"confidence\": 1e999}", "is none");
    code_is_refused("{half", "is none");
    code_is_refused(&format!("{{\"a\": {}1{}}}", "[".repeat(2000), "]".repeat(2000)), "recursion");
    code_is_refused(&format!("{{\"a\": \"{}\"}}", "x".repeat(9000)), "at most 8192");
    let flood = ExecutionAnswer { truncated: true, ..run("{}") };
    assert!(Handler::Code.read(&Map::new(), &flood, &bars()).is_err_and(|why| why.contains("1 MiB")));
    let late =
        ExecutionAnswer { status: ExecutionStatus::Timeout, exit_code: Some(124), ..run("{\"decision\": \"buy\"}") };
    assert!(Handler::Code.read(&Map::new(), &late, &bars()).is_err_and(|why| why.contains("time")));
}

#[test]
fn what_a_handlers_program_prints_is_read_strictly() {
    let read = |output: &str| Handler::Sentiment.read(&Map::new(), &run(output), &bars());
    let found = read("{\"vote\": \"hold\", \"weight\": 0.5, \"figures\": {\"score\": 0.1}}").expect("read");
    assert_eq!((found.vote, found.weight), (Some(Decision::Hold), Some(0.5)));
    for forged in [
        "",
        "{}",
        "{\"vote\": \"buy\", \"weight\": 2, \"figures\": {}}",
        "{\"vote\": \"buy\", \"weight\": -0.1, \"figures\": {}}",
        "{\"vote\": \"strong buy\", \"weight\": 1, \"figures\": {}}",
        "{\"vote\": \"buy\", \"weight\": 1, \"figures\": {}, \"agent_id\": \"another\"}",
        "{\"vote\": \"buy\", \"weight\": 1, \"figures\": []}",
    ] {
        assert!(read(forged).is_err(), "{forged}");
    }
}

#[test]
fn inputs_are_completed_or_refused_before_anything_runs() {
    let complete = |handler: Handler, json: Value, place| handler.complete(input(json), place, &bars());
    let strategy = |place| complete(Handler::Backtest, json!({}), place).expect("completed");
    assert_eq!((&strategy(0)["strategy"], &strategy(0)["symbols"]), (&json!("momentum"), &json!(["AAPL"])));
    assert_eq!(
        (&strategy(2)["strategy"], &strategy(2)["symbols"]),
        (&json!("pairs_trading"), &json!(["AAPL", "MSFT"]))
    );
    assert_eq!((&strategy(8)["strategy"], &strategy(8)["symbols"]), (&json!("mean_reversion"), &json!(["MSFT"])));
    // What was completed is complete.
    assert_eq!(complete(Handler::Backtest, Value::Object(strategy(2)), 5), Ok(strategy(2)));
    for (handler, json, word) in [
        (Handler::Backtest, json!({"strategy": "alchemy"}), "backtest_sweep"),
        (Handler::Backtest, json!({"strategy": "pairs_trading", "symbols": ["A", "B", "C"]}), "2 symbols"),
        (Handler::Backtest, json!({"symbol": "NOPE"}), "no daily bars"),
        (Handler::Backtest, json!({"symbol": "AAPL", "symbols": ["IBM"]}), "not both"),
        (Handler::Backtest, json!({"commission_bps": -1}), "between 0 and 5000"),
        (Handler::Backtest, json!({"costs": {"slippage_bps": 5001}}), "between 0 and 5000"),
        (Handler::Backtest, json!({"slippage_bps": 1, "costs": {"slippage_bps": 1}}), "given twice"),
        (Handler::Backtest, json!({"account": {"leverage_max": 0.5}}), "between 1 and 100"),
        (Handler::Backtest, json!({"account": {"margin": 2}}), "margin"),
        (Handler::Backtest, json!({"fill": "yesterday"}), "yesterday"),
        (Handler::Backtest, json!({"risk_free": 3}), "between -0.5 and 1"),
        (Handler::Backtest, json!({"strategi": "x"}), "unknown argument `strategi`"),
        (Handler::TechnicalAnalysis, json!({"symbol": "NOPE"}), "no daily bars"),
        (Handler::Sentiment, json!({}), "`texts` is missing"),
        (Handler::Sentiment, json!({"texts": []}), "1 to 500"),
        (Handler::Sentiment, json!({"texts": "one"}), "sequence"),
        (Handler::Risk, json!({}), "`positions` is missing"),
        (Handler::Risk, json!({"positions": {"AAPL": 1e300}}), "up to 1e12"),
        (Handler::Risk, json!({"positions": {"AAPL": 1}, "lookback": 3}), "between 20"),
    ] {
        let refused = complete(handler, json.clone(), 0).expect_err("refused");
        assert!(refused.contains(word), "{json}: {refused}");
    }
}

/// The part outside of the sandbox, with positions that a strategy may print, and such that none does.
#[test]
fn positions_become_figures_and_forged_ones_do_not() {
    let asked = Handler::Backtest
        .complete(
            input(json!({"strategy": "buy_and_hold", "symbol": "IBM", "start": "2010-01-01", "end": "2010-12-31"})),
            0,
            &bars(),
        )
        .expect("completed");
    let line = |first: &str, rows: usize| {
        let rest = vec!["[null]"; rows - 1].join(",");
        format!("{{\"weights\": [[{first}],{rest}]}}")
    };
    let read = |output: &str| Handler::Backtest.read(&asked, &run(output), &bars());
    let found = read(&line("1.0", 252)).expect("read");
    // Bought at the second bar's open, as buy and hold is.
    assert_eq!(found.result["excess_return"], json!(0.0));
    assert_eq!((found.vote, found.result["trades"].as_f64()), (Some(Decision::Buy), Some(1.0)));
    assert_eq!(read(&line("1.0", 252)).expect("again").result, found.result);
    let idle = read(&line("null", 252)).expect("read");
    assert_eq!(
        (idle.vote, idle.result["total_return"].as_f64(), &idle.result["sharpe"]),
        (Some(Decision::Hold), Some(0.0), &Value::Null)
    );
    // The same positions under other conditions, and the conditions with the result.
    let told = |more: Value| {
        let mut all = asked.clone();
        all.extend(plain(&more));
        let completed = Handler::Backtest.complete(all, 0, &bars()).expect("completed");
        Handler::Backtest.read(&completed, &run(&line("1.0", 252)), &bars()).expect("read").result
    };
    let dearer = told(json!({"costs": {"commission_bps": 100.0, "range_slippage": 0.5}}));
    assert!(dearer["total_return"].as_f64() < found.result["total_return"].as_f64(), "{dearer:?}");
    assert_eq!(dearer["settings"]["slippage"]["range"], json!(0.5));
    let whole = told(json!({"account": {"whole_shares": true}, "capital": 1000.0, "fill": "next_close"}));
    assert_ne!(whole["equity_sha256"], found.result["equity_sha256"]);
    assert_eq!((&whole["settings"]["fill"], &whole["settings"]["capital"]), (&json!("next_close"), &json!(1000.0)));
    let riskless = told(json!({"risk_free": 0.05}));
    assert_eq!(riskless["equity_sha256"], found.result["equity_sha256"]);
    assert!(riskless["sharpe"].as_f64() < found.result["sharpe"].as_f64(), "{riskless:?}");
    for (forged, word) in [
        (line("1.0", 251), "252 bars"),
        (line("1.0, 1.0", 252), "252 bars"),
        (line("1e999", 252), "holds no positions"),
        (line("1e300", 252), "refused"),
        ("{\"weights\": [], \"sharpe\": 99}".to_owned(), "holds no positions"),
        (String::new(), "holds no positions"),
    ] {
        let refused = read(&forged).expect_err("refused");
        assert!(refused.contains(word), "{refused}");
    }
}

#[test]
fn backtests_held_together_share_their_days() {
    let curve = |from: i8, equity: &[f64]| Curve {
        dates: (0..equity.len()).map(|day| jiff::civil::date(2020, 1, from + day as i8)).collect(),
        equity: equity.to_vec(),
        capital: 100.0,
    };
    let both = combined(&[curve(1, &[90.0, 100.0, 120.0, 130.0]), curve(2, &[50.0, 50.0])]);
    assert_eq!(
        (&both["first_bar"], &both["last_bar"], both["bars"].as_f64()),
        (&json!("2020-01-02"), &json!("2020-01-03"), Some(2.0))
    );
    assert!(both["total_return"].as_f64().is_some_and(|total| (total - 0.1).abs() < 1e-12), "{both:?}");
    assert!(combined(&[]).is_empty());
    assert!(combined(&[curve(1, &[1.0, 1.0]), curve(20, &[1.0, 1.0])]).contains_key("note"));
    assert!(combined(&[curve(1, &[1.0, 0.0, 0.0]), curve(2, &[1.0, 1.0])]).contains_key("note"));
}
