//! The report: what is in it, what cannot get into it, and that the same input gives the same bytes.

mod reported;

use std::{collections::BTreeSet, io::Cursor};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::civil::date;
use proptest::prelude::*;
use ringfence_backtest::{
    report::{self, Backtest, Input, Prices, Row, Sweep, Value, Versus},
    types::{Curve, Side, Trade},
};
use ringfence_market::Symbol;
use sha2::{Digest, Sha256};

/// The subset as it was made.
const FONT: &str = "ac695a642bc133c1c34898d0bd8051f30c55b9a84a3700922f03af10cc2b8f1f";

/// The names of all tags, in order.
fn tags(html: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        let name: String =
            rest.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '!' | '-')).collect();
        // Of a script's or a style's text nothing is a tag but its end.
        for raw in ["script", "style"] {
            if name == raw {
                let end = rest.find(&format!("</{raw}>")).expect("it ends");
                rest = &rest[end..];
            }
        }
        found.push(name);
    }
    found
}

/// The texts between `open` and `close`.
fn between<'a>(html: &'a str, open: &str, close: &str) -> Vec<&'a str> {
    html.split(open).skip(1).filter_map(|rest| rest.split(close).next()).collect()
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let page = report::html(&reported::sweep());
    assert!(page == report::html(&reported::sweep()));
    let picture = || report::png(&reported::sweep(), 1200, 675).expect("a picture");
    assert!(picture() == picture());
    // To be looked at.
    std::fs::create_dir_all(reported::target()).expect("a directory");
    let write = |name: &str, bytes: &[u8]| std::fs::write(reported::target().join(name), bytes).expect("a file");
    write("sweep.html", page.as_bytes());
    write("sweep.png", &picture());
    write("single.html", report::html(&reported::single()).as_bytes());
}

#[test]
fn what_is_in_a_report() {
    let page = report::html(&reported::sweep());
    for heading in [
        "Figures",
        "Equity",
        "Prices and trades",
        "All runs",
        "How likely it was luck",
        "Months",
        "Trades",
        "Where it comes from",
        "What the figures mean",
    ] {
        assert_eq!(page.matches(&format!("<h2>{heading}</h2>")).count(), 1, "{heading}");
    }
    let ids: Vec<&str> = between(&page, " id=\"", "\"");
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "no id is there twice");
    let links = between(&page, "href=\"#", "\"");
    assert!(links.len() > 40 && links.iter().all(|link| ids.contains(link)), "{links:?}");
    // The table that starts on the page, and all of it in the data.
    let data: serde_json::Value =
        serde_json::from_str(between(&page, "id=\"data\">", "</script>")[0]).expect("the data is JSON");
    assert_eq!(data["runs"]["columns"][0]["cells"].as_array().expect("a column").len(), 100);
    assert_eq!(data["curve"]["own"].as_array().expect("a curve").len(), 3270);
    assert_eq!(data["bars"][0]["close"].as_array().expect("bars").len(), 3270);
    assert_eq!(data["bars"][0]["tips"].as_array().expect("arrows").len(), 20, "ten trades that ended");
    assert!(page.contains("TradingView Lightweight Charts™ 5.2.1") && page.contains("https://www.tradingview.com/"));
    assert!(page.contains("Apache License"));
    assert!(
        page.contains("<dt>Data, SHA-256</dt><dd>493c33a6bb7542524d958f6b1faa3f360e2c98efc0194982061823acf18900f0")
    );
}

#[test]
fn what_was_not_beaten_is_the_first_that_is_said() {
    let page = report::html(&reported::single());
    let words = between(&page, "<ul class=\"words\">", "</ul>")[0];
    let said = between(words, "<li", "</li>");
    let first = "class=\"against\">Buy and hold was not beaten on total return (174.84\u{a0}% against 627.57";
    assert!(said[0].contains(first), "{said:?}");
    assert!(said[1].contains("Buy and hold was beaten on max drawdown"), "{said:?}");
    let page = report::html(&reported::all_of("x"));
    assert!(between(&page, "<ul class=\"words\">", "</ul>")[0].starts_with("<li class=\"against\">Self-reported:"));
}

#[test]
fn only_what_is_in_this_program_may_run_and_nothing_is_fetched() {
    let page = report::html(&reported::sweep());
    let policy = between(&page, "Content-Security-Policy\" content=\"", "\"")[0];
    let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)));
    let (scripts, styles) = (between(&page, "<script>", "</script>"), between(&page, "<style>", "</style>"));
    assert_eq!((scripts.len(), styles.len()), (2, 1));
    let expected = format!(
        "default-src 'none'; script-src {} {}; style-src {}; img-src data:; base-uri 'none'; form-action 'none'",
        hash(scripts[0]),
        hash(scripts[1]),
        hash(styles[0])
    );
    assert_eq!(policy, expected);
    let markup = scripts.iter().chain(&styles).fold(page.clone(), |page, text| page.replace(text, ""));
    assert!(!markup.contains(" src=") && !markup.contains(" style=") && !styles[0].contains("url("));
    let links: BTreeSet<&str> = between(&markup, "href=\"", "\"").into_iter().filter(|l| !l.starts_with('#')).collect();
    assert_eq!(links, BTreeSet::from(["data:,", "https://www.tradingview.com/"]));
}

#[test]
fn the_charts_and_the_font_are_those_that_were_taken_from_their_makers() {
    let hash = |name: &str| {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/report/assets").join(name);
        hex::encode(Sha256::digest(std::fs::read(path).expect("it is in the repository")))
    };
    // As in the package lightweight-charts 5.2.1 of npm.
    let charts = "e21cc5caa0226ef30bd8549c50b9ef926615f2a4ee6b4e486353477a55f598cf";
    assert_eq!(hash("lightweight-charts.standalone.production.js"), charts);
    assert_eq!(hash("DejaVuSansCondensed.ttf"), FONT);
}

#[test]
fn no_text_of_a_strategy_becomes_markup() {
    let (hostile, tame) = (report::html(&reported::all_of(reported::HOSTILE)), report::html(&reported::all_of("tame")));
    assert_eq!(tags(&hostile), tags(&tame));
    let markup: String = between(&hostile, "<body>", "<script>").concat();
    for attack in ["<img", "<svg o", "<!--", "\0", "\u{202e}", "\u{2028}"] {
        assert!(!markup.contains(attack), "{attack:?}");
    }
    let data = between(&hostile, "id=\"data\">", "</script>")[0];
    assert!(!data.contains('<'), "the element of the data cannot be ended");
    let data: serde_json::Value = serde_json::from_str(data).expect("JSON");
    assert!(data["bars"][0]["symbol"].as_str().expect("a symbol").starts_with("</script></style></title><img src=x"));
    report::png(&reported::all_of(reported::HOSTILE), 1200, 675).expect("a picture");
    std::fs::create_dir_all(reported::target()).expect("a directory");
    std::fs::write(reported::target().join("hostile.html"), hostile).expect("a file");
}

#[test]
fn what_a_strategy_says_is_bounded() {
    let long = "x".repeat(20_000);
    let mut input = reported::all_of(&long);
    input.run.log = vec![long.clone(); 1_000];
    input.run.symbols = vec![long.clone(); 1_000];
    input.run.parameters = vec![(long.clone(), long.clone()); 1_000];
    input.notes = vec![long; 1_000];
    let page = report::html(&input);
    assert!(page.len() < 1_500_000, "{} bytes", page.len());
    report::png(&input, 1200, 675).expect("a picture");
}

#[test]
fn a_report_of_nothing_says_so() {
    let page = report::html(&Input::default());
    for sentence in ["There are no figures.", "There is no equity: the run had no bar.", "There was no trade."] {
        assert!(page.contains(sentence), "{sentence}");
    }
    let mut input = reported::single();
    for figure in &mut input.run.figures {
        figure.value = Value::Ratio(f64::NAN);
    }
    let page = report::html(&input);
    assert!(!page.contains("NaN</td>") && page.matches(">n/a</td>").count() >= input.run.figures.len());
    assert!(report::png(&Input::default(), 1200, 675).is_ok());
}

#[test]
fn ten_thousand_runs_and_eight_thousand_bars_are_a_file_of_two_megabytes() {
    let input = reported::large();
    let page = report::html(&input);
    let picture = report::png(&input, 1200, 675).expect("a picture");
    println!("10,000 runs and 8,000 bars: {} bytes of HTML, {} of PNG", page.len(), picture.len());
    assert!(page.len() < 2_500_000, "{} bytes", page.len());
    std::fs::create_dir_all(reported::target()).expect("a directory");
    std::fs::write(reported::target().join("large.html"), page).expect("a file");
    std::fs::write(reported::target().join("large.png"), picture).expect("a file");
}

/// How many pixels of a picture have each of these colours, or one that differs by no more than `by` in each channel.
fn painted(file: &[u8], colours: &[[u8; 3]], by: u8) -> (u32, u32, Vec<usize>) {
    let mut decoder = png::Decoder::new(Cursor::new(file));
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info().expect("a PNG");
    let mut pixels = vec![0; reader.output_buffer_size().expect("a size")];
    let info = reader.next_frame(&mut pixels).expect("a frame");
    let near = |pixel: &[u8], colour: &[u8; 3]| pixel.iter().zip(colour).all(|(a, b)| a.abs_diff(*b) <= by);
    let count = |colour: &[u8; 3]| pixels.chunks_exact(3).filter(|pixel| near(pixel, colour)).count();
    (info.width, info.height, colours.iter().map(count).collect())
}

#[test]
fn a_picture_shows_both_curves_and_the_drawdown_and_is_small() {
    const OWN: [u8; 3] = [0x0a, 0x5a, 0xb0];
    const HOLD: [u8; 3] = [0x7c, 0x85, 0x90];
    const LOSS: [u8; 3] = [0xb4, 0x23, 0x1a];
    for (input, width, height) in [
        (reported::sweep(), 1200, 675),
        (reported::large(), 1200, 675),
        (reported::single(), 640, 400),
        (reported::single(), 1600, 900),
    ] {
        let file = report::png(&input, width, height).expect("a picture");
        assert!(file.len() <= 100_000, "{} bytes at {width} × {height}", file.len());
        let (found_width, found_height, counts) = painted(&file, &[OWN, HOLD, LOSS, [0xff; 3]], 24);
        assert_eq!((found_width, found_height), (width, height));
        let all = (width * height) as usize;
        assert!(counts[..3].iter().all(|count| *count > 150) && counts[3] > all / 2, "{counts:?} of {all}");
    }
    let mut alone = reported::single();
    alone.run.benchmark = None;
    let (.., counts) = painted(&report::png(&alone, 1200, 675).expect("a picture"), &[OWN, HOLD], 0);
    assert!(counts[0] > 150 && counts[1] < 20, "{counts:?}");
}

#[test]
fn a_picture_of_no_size_is_refused() {
    for (width, height) in [(0, 0), (319, 400), (1200, 199), (2401, 675), (u32::MAX, u32::MAX)] {
        let refused = report::png(&Input::default(), width, height).expect_err("no picture");
        assert!(refused.to_string().contains("choose a width from 320 to 2400"), "{refused}");
    }
}

fn strange() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => -1e6..1e6_f64,
        1 => prop::sample::select(vec![0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN_POSITIVE]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever a program reports of itself: numbers of any kind, columns of any length, days in any order.
    #[test]
    fn any_numbers_make_a_report_and_a_picture(
        equity in prop::collection::vec(strange(), 0..60),
        hold in prop::collection::vec(strange(), 0..60),
        prices in prop::collection::vec(strange(), 0..60),
        days in prop::collection::vec(-700_000..2_000_000_i32, 0..60),
        scores in prop::collection::vec((strange(), 0..9_u8, 0..9_u8), 0..40),
        capital in strange(),
    ) {
        let day = |at: &i32| date(1970, 1, 1).saturating_add(jiff::Span::new().days(*at));
        let dates: Vec<_> = days.iter().map(day).collect();
        let trade = |at: usize| Trade {
            symbol: Symbol::parse("AAPL").expect("a symbol"),
            side: if at.is_multiple_of(2) { Side::Long } else { Side::Short },
            entry: dates[at],
            exit: dates[dates.len() - 1 - at],
            bars: 1,
            quantity: capital,
            entry_price: capital,
            exit_price: capital,
            profit: capital,
            return_on_entry: capital,
            costs: capital,
            open: at.is_multiple_of(3),
        };
        let row = |(score, x, y): &(f64, u8, u8)| Row {
            parameters: vec![("x".into(), x.to_string()), ("y".into(), y.to_string())],
            score: Versus { own: Some(*score), hold: Some(capital) },
            values: vec![Value::Fraction(*score), Value::Ratio(*score), Value::Money(*score)],
            ..Row::default()
        };
        let input = Input {
            run: Backtest {
                curve: Curve { dates: dates.clone(), equity, capital },
                benchmark: Some(Curve { dates: dates.clone(), equity: hold, capital }),
                trades: (0..dates.len()).map(trade).collect(),
                prices: vec![Prices {
                    symbol: "AAPL".into(),
                    dates: dates.clone(),
                    open: prices.clone(),
                    high: prices.iter().rev().copied().collect(),
                    low: prices.clone(),
                    close: prices,
                }],
                ..Backtest::default()
            },
            sweep: Some(Sweep { metric: "m".into(), columns: vec!["a".into(), "b".into(), "c".into()], rows: scores.iter().map(row).collect() }),
            ..Input::default()
        };
        let page = report::html(&input);
        let data = between(&page, "id=\"data\">", "</script>")[0];
        prop_assert!(serde_json::from_str::<serde_json::Value>(data).is_ok());
        let drawn = between(&page, "<svg", "</svg>").concat();
        prop_assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{}", drawn);
        prop_assert!(report::png(&input, 640, 400).is_ok());
    }
}
