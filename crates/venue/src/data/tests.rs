//! The wire's shapes, pages that add up, adjustment, and that no answer knows what is to come.

use std::sync::LazyLock;

use jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::Value as Json;

use super::*;

static TAPE: LazyLock<BarTape> = LazyLock::new(|| BarTape::sample(1).expect("the sample"));

fn at(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

#[track_caller]
fn get_at(target: &str, now: Timestamp) -> Json {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let answer = handle(&TAPE, "GET", path, query, now);
    assert_eq!(answer.status, 200, "{target}: {}", answer.body);
    serde_json::from_str(&answer.body).expect("JSON")
}

#[track_caller]
fn get(target: &str) -> Json {
    get_at(target, at("2012-08-15T15:00:30Z"))
}

#[track_caller]
fn refused(target: &str) -> (u16, String) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let answer = handle(&TAPE, "GET", path, query, at("2012-08-15T15:00:30Z"));
    let body: Json = serde_json::from_str(&answer.body).expect("JSON");
    assert!(body["code"].is_u64(), "{body}");
    (answer.status, body["message"].as_str().expect("a message").to_owned())
}

#[track_caller]
fn names(value: &Json) -> Vec<&str> {
    value.as_object().unwrap_or_else(|| panic!("a map: {value}")).keys().map(String::as_str).collect()
}

#[test]
fn bars_have_the_fields_of_the_wire_and_the_digits_of_the_file() {
    let answer = handle(
        &TAPE,
        "GET",
        "/v2/stocks/bars",
        "symbols=AAPL,IBM&timeframe=1Day&start=2012-08-14&end=2012-08-14",
        at("2012-09-01T00:00:00Z"),
    );
    let raw = r#"{"bars":{"AAPL":[{"t":"2012-08-14T04:00:00Z","o":631.87,"h":638.61,"l":630.21,"c":631.69,"v":12148900,"n":1170,"vw":"#;
    assert!(answer.body.starts_with(raw), "{}", answer.body);
    let json: Json = serde_json::from_str(&answer.body).expect("JSON");
    assert_eq!(names(&json), ["bars", "next_page_token"]);
    assert_eq!(names(&json["bars"]), ["AAPL", "IBM"]);
    assert_eq!(json["next_page_token"], Json::Null);
    let one = get("/v2/stocks/AAPL/bars?timeframe=1Day&start=2012-08-14&end=2012-08-14");
    assert_eq!(names(&one), ["bars", "next_page_token", "symbol"]);
    assert_eq!(one["bars"], json["bars"]["AAPL"]);
    let nothing = get("/v2/stocks/bars?symbols=NONE&timeframe=1Day&start=2012-08-14");
    assert_eq!(nothing.to_string(), r#"{"bars":{},"next_page_token":null}"#);
}

#[test]
fn trades_quotes_and_auctions_have_the_fields_of_the_wire() {
    let range = "symbols=AAPL&start=2012-08-14T13:30:00Z&limit=3";
    let trades = get(&format!("/v2/stocks/trades?{range}"));
    let first = &trades["trades"]["AAPL"][0];
    assert_eq!(names(first), ["c", "i", "p", "s", "t", "x", "z"]);
    assert_eq!(
        (first["p"].to_string().as_str(), &first["t"], &first["x"]),
        ("631.87", &Json::from("2012-08-14T13:30:00.001Z"), &Json::from("R"))
    );
    assert_eq!(first["c"], serde_json::json!(["@", "~"]));
    let quotes = get(&format!("/v2/stocks/quotes?{range}"));
    assert_eq!(names(&quotes["quotes"]["AAPL"][0]), ["ap", "as", "ax", "bp", "bs", "bx", "c", "t", "z"]);
    let auctions = get("/v2/stocks/auctions?symbols=AAPL&start=2012-08-14&end=2012-08-15");
    let days = auctions["auctions"]["AAPL"].as_array().expect("days");
    assert_eq!(
        (days[0]["d"].as_str(), days[0]["o"][0]["p"].to_string(), days[0]["c"][0]["p"].to_string()),
        (Some("2012-08-14"), "631.87".into(), "631.69".into())
    );
    assert_eq!(days[1]["c"], serde_json::json!([]), "the second day is not over");
}

#[test]
fn the_latest_are_the_last_at_or_before_now() {
    let now = at("2012-08-15T15:00:30Z");
    for (name, one) in [("bars", "bar"), ("trades", "trade"), ("quotes", "quote")] {
        let several = get(&format!("/v2/stocks/{name}/latest?symbols=AAPL,NONE,FB"));
        assert_eq!(names(&several), [name]);
        assert_eq!(names(&several[name]), ["AAPL", "FB"]);
        let single = get(&format!("/v2/stocks/AAPL/{name}/latest"));
        assert_eq!(single[one], several[name]["AAPL"]);
        assert_eq!(single["symbol"], "AAPL");
        assert!(at(single[one]["t"].as_str().expect("a time")) <= now);
        let (status, message) = refused(&format!("/v2/stocks/NONE/{name}/latest"));
        assert_eq!((status, message), (404, format!("no {one} found for NONE")));
    }
    let bar = get("/v2/stocks/AAPL/bars/latest");
    assert_eq!(bar["bar"]["t"], "2012-08-15T14:59:00Z", "the minute that is over, not the one under way");
    let night = get_at("/v2/stocks/AAPL/quotes/latest", at("2012-08-15T23:00:00Z"));
    assert_eq!(night["quote"]["c"], serde_json::json!(["C", "~"]));
}

#[test]
fn a_snapshot_is_the_bare_map_of_symbols() {
    let several = get("/v2/stocks/snapshots?symbols=AAPL,NONE");
    assert_eq!(names(&several), ["AAPL"]);
    let snapshot = &several["AAPL"];
    assert_eq!(names(snapshot), ["dailyBar", "latestQuote", "latestTrade", "minuteBar", "prevDailyBar"]);
    assert_eq!(snapshot["prevDailyBar"]["c"].to_string(), "631.69");
    assert_eq!(snapshot["dailyBar"]["t"], "2012-08-15T04:00:00Z");
    let one = get("/v2/stocks/AAPL/snapshot");
    assert_eq!((&one["symbol"], &one["dailyBar"]), (&Json::from("AAPL"), &snapshot["dailyBar"]));
}

#[test]
fn adjusted_prices_know_the_actions_up_to_now() {
    let close = |adjustment: &str, now: &str| {
        let target =
            format!("/v2/stocks/AAPL/bars?timeframe=1Day&start=2005-02-25&end=2005-02-25&adjustment={adjustment}");
        let bar = get_at(&target, at(now))["bars"][0].clone();
        (bar["c"].to_string(), bar["v"].to_string())
    };
    let raw = close("raw", "2005-02-26T12:00:00Z");
    assert_eq!(raw.0, "88.99");
    assert_eq!(close("split", "2005-02-28T04:59:59Z"), raw, "before the ex-date begins");
    assert_eq!(close("split", "2005-02-28T05:00:00Z").0, "44.495");
    assert_eq!(close("split", "2005-02-28T05:00:00Z").1, (raw.1.parse::<u64>().expect("a volume") * 2).to_string());
    assert_eq!(close("raw", "2013-01-01T00:00:00Z"), raw);
    // 88.99 / 2 × (1 - 2.65 / 619.86) × (1 - 2.65 / 582.8495): the closes before the two ex-dates of 2012.
    assert_eq!(close("all", "2013-01-01T00:00:00Z").0, "44.103339");
    assert_eq!(close("split,dividend", "2013-01-01T00:00:00Z"), close("all", "2013-01-01T00:00:00Z"));
}

#[test]
fn corporate_actions_come_with_their_ex_date() {
    let target = "/v1/corporate-actions?symbols=AAPL,IBM&start=2012-01-01&end=2012-12-31";
    let actions =
        |now: &str| get_at(target, at(now))["corporate_actions"]["cash_dividends"].as_array().map_or(0, Vec::len);
    assert_eq!(actions("2012-08-08T20:00:00Z"), 3, "IBM's of February, May and August");
    assert_eq!(actions("2012-08-09T12:00:00Z"), 4);
    let split = get("/v1/corporate-actions?symbols=AAPL&types=forward_split&start=2000-01-01&limit=1");
    let one = &split["corporate_actions"]["forward_splits"][0];
    assert_eq!((&one["ex_date"], &one["new_rate"], &one["old_rate"]), (&"2000-06-21".into(), &2.into(), &1.into()));
    let token = split["next_page_token"].as_str().expect("another page");
    let second = get(&format!(
        "/v1/corporate-actions?symbols=AAPL&types=forward_split&start=2000-01-01&limit=1&page_token={token}"
    ));
    assert_eq!(second["corporate_actions"]["forward_splits"][0]["ex_date"], "2005-02-28");
    assert_eq!(second["next_page_token"], Json::Null);
}

#[test]
fn the_screener_ranks_by_the_day_so_far() {
    let actives = get("/v1beta1/screener/stocks/most-actives?by=trades&top=2");
    assert_eq!(actives["most_actives"].as_array().map(Vec::len), Some(2));
    let movers = get("/v1beta1/screener/stocks/movers");
    let all = [&movers["gainers"], &movers["losers"]].map(|m| m.as_array().map_or(0, Vec::len));
    assert_eq!(all[0] + all[1], 5);
    assert_eq!(movers["market_type"], "stocks");
}

#[test]
fn what_is_not_there_is_refused_in_a_sentence() {
    let check = |target: &str, status: u16, words: &str| {
        let (found, message) = refused(target);
        assert_eq!(found, status, "{target}: {message}");
        assert!(message.contains(words), "{target}: {message}");
    };
    check("/v1beta1/news", 404, "no recorded news");
    check("/v1beta3/crypto/us/bars?symbols=BTC/USD", 404, "crypto is not replayed");
    check("/v1beta1/options/snapshots", 404, "options are not replayed");
    check("/v2/stocks", 404, "endpoint not found");
    check("/v2/stocks/bars/", 400, "path");
    check("/v2/stocks/bars?timeframe=1Day", 400, "symbols is required");
    check("/v2/stocks/bars?symbols=AAPL", 400, "timeframe is required");
    check("/v2/stocks/bars?symbols=AAPL&timeframe=1Year", 400, "invalid timeframe: 1Year");
    check("/v2/stocks/bars?symbols=aapl&timeframe=1Day", 400, "invalid symbol: aapl");
    check("/v2/stocks/AAPL/bars?timeframe=60Min", 400, "invalid timeframe: 60Min");
    check("/v2/stocks/AAPL/bars?timeframe=1Day&adjustment=none", 400, "invalid adjustment: none");
    let post = handle(&TAPE, "POST", "/v2/stocks/bars", "", Timestamp::UNIX_EPOCH);
    assert_eq!(post.status, 405);
}

/// Every `t` in an answer.
fn times(value: &Json, found: &mut Vec<Timestamp>) {
    match value {
        Json::Object(fields) => {
            found.extend(fields.get("t").and_then(Json::as_str).map(at));
            fields.values().for_each(|v| times(v, found));
        }
        Json::Array(values) => values.iter().for_each(|v| times(v, found)),
        _ => {}
    }
}

fn instants() -> impl Strategy<Value = Timestamp> {
    (0_i64..60 * 86_400, 0_i32..1_000_000_000)
        .prop_map(|(s, ns)| Timestamp::new(1_339_000_000 + s, ns).expect("an instant"))
}

fn targets() -> impl Strategy<Value = String> {
    let frames = prop_oneof![Just("1Min"), Just("15Min"), Just("1Hour"), Just("1Day"), Just("1Week"), Just("3Month")];
    let days = (0_i64..50, 0_i64..40, "asc|desc", 1_usize..700, frames, "raw|split|all");
    let history = ("bars|trades|quotes|auctions", days).prop_map(|(kind, (first, more, sort, limit, frame, adjustment))| {
        let start = jiff::civil::date(2012, 6, 5) + SignedDuration::from_hours(24 * first);
        let end = start + SignedDuration::from_hours(24 * more);
        format!("/v2/stocks/{kind}?symbols=FB,AAPL&start={start}&end={end}&sort={sort}&limit={limit}&timeframe={frame}&adjustment={adjustment}")
    });
    let newest =
        "(bars|trades|quotes)/latest|snapshots".prop_map(|kind| format!("/v2/stocks/{kind}?symbols=AAPL,FB,IBM"));
    prop_oneof![4 => history, 1 => newest, 1 => Just("/v1/corporate-actions?start=2012-01-01".to_owned())]
}

proptest! {
    #[test]
    fn any_request_is_answered_in_json(path in "/v2/stocks/(bars|AAPL/trades|auctions|quotes/latest|snapshots)|/v1/corporate-actions|/v1beta1/screener/stocks/(movers|most-actives)|/[a-z0-9%/]{0,30}",
        start in "-?[0-9]{4,6}-0[1-9]-[0-2][0-9](T00:00:00Z)?|[ -~]{0,12}", frame in "1Week|12Month|59Min|[0-9a-zA-Z]{0,6}",
        rest in "(&(limit|top|end|sort|page_token|adjustment|by|types)=[0-9a-zA-Z,%=-]{0,12}){0,4}", s in i64::from(i32::MIN)..i64::from(i32::MAX)) {
        let query = format!("symbols=AAPL,FB&start={start}&timeframe={frame}{rest}");
        let answer = handle(&TAPE, "GET", &path, &query, Timestamp::from_second(s).expect("an instant"));
        let body: Json = serde_json::from_str(&answer.body).expect("JSON");
        prop_assert_eq!(answer.status != 200, body["message"].is_string(), "{}", answer.body);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// And a tape that ends with the day of `now` says the same to the letter: later days are not in any answer. (Within the day
    /// of `now` the path was drawn with its bar known, so a tape cut in the middle of a day cannot be compared.)
    #[test]
    fn no_answer_knows_what_is_to_come(target in targets(), now in instants()) {
        let answer = get_at(&target, now);
        let mut found = Vec::new();
        times(&answer, &mut found);
        for time in found {
            prop_assert!(time <= now, "{} after {}", time, now);
        }
        let today = ringfence_market::new_york::date(now);
        let mut cut = BarTape::sample_instruments().expect("the sample");
        for instrument in &mut cut {
            instrument.daily.retain(|b| b.date <= today);
            instrument.actions.retain(|a| a.ex_date <= today);
        }
        let cut = BarTape::new(1, cut).expect("sound bars");
        let (path, query) = target.split_once('?').expect("a query");
        let again: Json = serde_json::from_str(&handle(&cut, "GET", path, query, now).body).expect("JSON");
        prop_assert_eq!(answer, again);
    }

    #[test]
    fn pages_add_up_to_the_whole(kind in "bars|trades|quotes|auctions", sort in "asc|desc", limit in 1_usize..900, day in 1_i8..20) {
        let limit = if kind == "auctions" { 1 + limit % 3 } else { limit.max(90) };
        let now = at("2012-06-20T15:00:00Z");
        let target = format!("/v2/stocks/{kind}?symbols=AAPL,FB,NONE&timeframe=2Min&start=2012-06-{day:02}&end=2012-06-{:02}&sort={sort}", day + 1);
        let mut pages: Vec<(String, Json)> = Vec::new();
        let mut token = String::new();
        for _ in 0..200 {
            let page = get_at(&format!("{target}&limit={limit}{token}"), now);
            let mut count = 0;
            for (symbol, items) in page[&kind].as_object().expect("a map") {
                let items = items.as_array().expect("a list");
                count += items.len();
                pages.extend(items.iter().map(|item| (symbol.clone(), item.clone())));
            }
            prop_assert!(count <= limit);
            match page["next_page_token"].as_str() {
                None => break,
                Some(next) => {
                    prop_assert_eq!(count, limit, "a page with another behind it is full");
                    token = format!("&page_token={next}");
                }
            }
        }
        let whole = get_at(&format!("{target}&limit=10000"), now);
        let mut expected = Vec::new();
        for (symbol, items) in whole[&kind].as_object().expect("a map") {
            let items = items.as_array().expect("a list");
            expected.extend(items.iter().map(|item| (symbol.clone(), item.clone())));
        }
        prop_assert!(whole["next_page_token"].is_null());
        prop_assert_eq!(pages, expected);
    }
}
