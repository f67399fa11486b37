use serde_json::json;

use super::{peek::cut::Draw, *};

#[test]
fn every_built_in_strategy_is_read_from_its_file() {
    for strategy in built_ins() {
        assert!(strategy.text.ends_with('.') && strategy.code.lines().count() < 60, "{}", strategy.name);
        let complete =
            strategy.complete(&Parameters::default(), strategy.symbols).expect("the defaults are within bounds");
        assert_eq!(complete.iter().len(), strategy.parameters.len());
        for (name, parameter) in &strategy.parameters {
            assert!(
                strategy.code.contains(&format!("\"{name}\": {{")) && !parameter.text.is_empty(),
                "{}",
                strategy.name
            );
        }
    }
    let sma = &built_ins().iter().find(|b| b.name == "sma_cross").expect("it is built in").parameters;
    assert_eq!((&sma["fast"].default, sma["fast"].kind, sma["fast"].max), (&json!(20), Kind::Integer, Some(5000.0)));
    assert_eq!(sma["short"].default, json!(false));
}

#[test]
fn names_and_values_of_parameters_are_plain() {
    let one = |name: &str, value| Parameters::new([(name.to_owned(), value)]);
    for name in ["", "_x", "1x", "a-b", "ä", "x y", &"x".repeat(65)] {
        assert!(one(name, json!(1)).is_err(), "{name}");
    }
    for value in [json!(null), json!([1]), json!({}), json!("x".repeat(2000))] {
        assert!(one("x", value.clone()).is_err(), "{value}");
    }
    assert!(Parameters::new((0..65).map(|n| (format!("x{n}"), json!(n)))).is_err());
    assert!(serde_json::from_str::<Parameters>(r#"{"a b": 1}"#).is_err());
    let good = Parameters::new([("slow".to_owned(), json!(20)), ("fast".to_owned(), json!(1.5))]).expect("plain");
    assert_eq!(good.to_string(), "fast=1.5 slow=20");
}

#[test]
fn code_has_bounds() {
    for (text, code) in [("", Code::InvalidArgument), (" \n", Code::InvalidArgument), ("a\0b", Code::InvalidArgument)] {
        assert_eq!(Strategy::code("mine", text).expect_err("it is refused").code, code, "{text:?}");
    }
    assert_eq!(Strategy::code("mine", &"x".repeat(CODE_BYTES_MAX)).expect_err("too long").code, Code::TooLarge);
    let strategy = Strategy::code("mine", "x = 1").expect("a file");
    assert_eq!(strategy.sha256(), hex::encode(Sha256::digest("x = 1")));
    assert!(strategy.program().starts_with("x = 1\nimport ringfence._trial"));
}

#[test]
fn a_built_in_file_is_named_by_its_hash() {
    let strategy = Strategy::built_in("sma_cross").expect("it is built in");
    let program = strategy.program();
    assert!(
        program.starts_with("# The built-in strategy sma_cross, SHA-256 ") && program.contains(strategy.sha256()),
        "{program}"
    );
    assert_eq!(strategy.source(), built_ins().iter().find(|b| b.name == "sma_cross").expect("it is there").code);
}

#[test]
fn a_batch_is_as_large_as_can_be_read() {
    let symbols = ["AAPL"].map(|s| ringfence_market::Symbol::parse(s).expect("a symbol"));
    let panel = Panel::sample(&symbols).expect("the sample");
    let most = batch_max(&panel);
    assert!(most > 1000 && most * panel.len() * 8 < TRIAL_OUTPUT_MAX, "{most}");
    assert_eq!(batch_max(&panel.truncated(1)), 10_000);
}

/// The table of docs/reference/python.md; `RINGFENCE_WRITE=1` writes it.
#[test]
fn the_reference_has_every_built_in_strategy() {
    let mut table = String::from("\n| name | symbols | what it does | parameters |\n|---|---|---|---|\n");
    for strategy in built_ins() {
        let one = |(name, about): (&String, &Parameter)| {
            let bounds = about.min.zip(about.max).map_or(String::new(), |(min, max)| format!(", {min} to {max}"));
            format!("`{name}` = {}{bounds}: {}", about.default, about.text)
        };
        let parameters: Vec<String> = strategy.parameters.iter().map(one).collect();
        let parameters = if parameters.is_empty() { "none".to_owned() } else { parameters.join("; ") };
        table += &format!("| `{}` | {} | {} | {parameters} |\n", strategy.name, strategy.symbols, strategy.text);
    }
    table.push('\n');
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/python.md");
    let text = std::fs::read_to_string(&path).expect("the reference");
    let (before, rest) = text.split_once("the_reference -->\n").expect("the mark before the table");
    let (found, after) = rest.split_once("<!-- end -->").expect("the mark after it");
    if std::env::var_os("RINGFENCE_WRITE").is_some() {
        let text = format!("{before}the_reference -->\n{table}<!-- end -->{after}");
        std::fs::write(&path, text).expect("written");
        return;
    }
    assert_eq!(found, table, "RINGFENCE_WRITE=1 cargo test -p ringfence-research the_reference");
}

/// A head, a text and data, as the runner writes them.
fn frame(kind: u32, number: u32, text: &str, data: &[u8]) -> Vec<u8> {
    let mut frame = [kind.to_le_bytes(), number.to_le_bytes()].concat();
    frame.extend((text.len() as u64).to_le_bytes());
    frame.extend((data.len() as u64).to_le_bytes());
    frame.extend(text.as_bytes());
    frame.extend(data);
    frame
}

#[test]
fn bytes_of_any_kind_are_read_without_harm() {
    let symbols = ["AAPL", "MSFT"].map(|s| ringfence_market::Symbol::parse(s).expect("a symbol"));
    let panel = Panel::sample(&symbols).expect("the sample").truncated(4);
    let asked = ask::Asked::of(&panel);
    let weights: Vec<u8> = (0..8_u8).flat_map(|n| (f64::from(n) / 8.0).to_le_bytes()).collect();
    let order = [3_u32.to_le_bytes(), 1_u32.to_le_bytes()]
        .concat()
        .into_iter()
        .chain(5.0_f64.to_le_bytes())
        .collect::<Vec<u8>>();
    let points: Vec<u8> = [951_868_800_000_000_i64.to_le_bytes(), 1.5_f64.to_le_bytes()].concat();
    let trade = r#"{"symbol":"AAPL","side":"long","entry":"2000-03-01","exit":"2000-03-02 00:00:00","quantity":1,"entry_price":2,"exit_price":3,"profit":1}"#;
    let good: Vec<u8> = [
        b"early".to_vec(),
        answer::MAGIC.to_vec(),
        frame(1, 0, r#"{"log":["a"],"log_dropped":1}"#, &weights),
        frame(2, 1, "{}", &order),
        frame(3, 2, &format!(r#"{{"log":[],"trades":[{trade}]}}"#), &points),
        frame(4, 3, r#"{"error":{"message":"m","traceback":"t"}}"#, b""),
        frame(5, 4, "", b""),
    ]
    .concat();
    let said = answer::read(&good, &asked, 4);
    assert_eq!((said.early, said.fault), (vec!["early".to_owned()], None));
    let kinds: Vec<_> = said.parts.into_iter().map(|p| p.expect("it is whole").proposal).collect();
    let [Proposal::Targets(_), Proposal::Orders(_), Proposal::SelfReported(reported), Proposal::Failed(_)] = &kinds[..]
    else {
        panic!("{kinds:?}")
    };
    assert_eq!((reported.trades.len(), reported.curve.as_ref().expect("one").dates[0]), (1, panel.dates()[0]));

    let mut draw = Draw(41);
    let (mut whole, mut faults) = (0, 0);
    for _ in 0..30_000 {
        let mut bytes = good.clone();
        for _ in 0..=draw.below(3) {
            let at = draw.below(bytes.len());
            match draw.below(4) {
                0 => bytes.truncate(at.max(1)),
                1 => bytes.insert(at, draw.next().to_le_bytes()[0]),
                2 => drop(bytes.remove(at)),
                _ => bytes[at] = [0, 0xff, draw.next().to_le_bytes()[0]][draw.below(3)],
            }
            if bytes.is_empty() {
                break;
            }
        }
        let said = answer::read(&bytes, &asked, 4);
        assert_eq!(said.parts.len(), 4);
        faults += usize::from(said.fault.is_some());
        whole += usize::from(said.parts.iter().all(Option::is_some));
        for part in said.parts.into_iter().flatten() {
            match part.proposal {
                Proposal::Targets(t) => assert!(t.weights().iter().all(|w| w.is_nan() || w.abs() <= WEIGHT_MAX)),
                Proposal::Orders(orders) => orders.check(&panel).expect("they fit"),
                Proposal::SelfReported(r) => assert!(r.curve.is_none_or(|c| c.equity.iter().all(|e| e.is_finite()))),
                Proposal::Failed(failure) => assert!(!failure.message.is_empty()),
            }
        }
    }
    println!("of 30,000 damaged outputs {faults} were refused, {whole} read to their end");
    assert!(faults > 1_000 && whole > 300, "{faults} {whole}");
}
