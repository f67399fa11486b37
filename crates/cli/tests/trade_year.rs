//! A year that is traded through alpaca-py, and the same rules in a plain calculation over the same bars and fills. `make test` ends
//! after the first position, in April; the whole year is a part of `make suites`.

mod common;
#[path = "gate/exchange.rs"]
mod exchange;
#[path = "gate/scene.rs"]
mod scene;
#[path = "gate/websocket.rs"]
mod websocket;

use std::{collections::BTreeMap, path::Path};

use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{Actor, CreateRequest, EnvVars};
use rust_decimal::Decimal;
use serde_json::Value;

use crate::{exchange::venue, scene::Scene};

const SHARES: i64 = 2;
const FAST: usize = 5;
const SLOW: usize = 20;
/// The last day, and how many decisions there are at least.
const APRIL: (&str, usize) = ("2012-04-20", 2);
const YEAR: (&str, usize) = ("2012-12-31", 10);

/// Buys when the mean of the last closes is above that of more of them, a minute after the next opening; sells when it is not.
const STRATEGY: &str = r#"
import os, json, time
from datetime import date, datetime
import ringfence
from alpaca.trading.client import TradingClient
from alpaca.trading.requests import MarketOrderRequest
from alpaca.trading.enums import OrderSide, TimeInForce
from alpaca.data.historical import StockHistoricalDataClient
from alpaca.data.requests import StockBarsRequest
from alpaca.data.timeframe import TimeFrame
KEY, SECRET = os.environ["APCA_API_KEY_ID"], os.environ["APCA_API_SECRET_KEY"]
client, data = TradingClient(KEY, SECRET, paper=True), StockHistoricalDataClient(KEY, SECRET)

def trade(side):
    order = client.submit_order(MarketOrderRequest(symbol="AAPL", qty=SHARES, side=side, time_in_force=TimeInForce.DAY))
    for _ in range(300):
        found = client.get_order_by_id(order.id)
        if found.status.value == "filled":
            return
        ringfence.clock.step(by=60)
    raise SystemExit(f"the order is {found.status.value}")

ringfence.clock.set(mode="stepped")
held, decided = False, []
while True:
    ringfence.clock.step("next_close")
    ringfence.clock.step(by=60)
    today = client.get_clock().timestamp.date()
    if today > date.fromisoformat(LAST):
        break
    bars = data.get_stock_bars(StockBarsRequest(symbol_or_symbols="AAPL", timeframe=TimeFrame.Day, start=datetime(2011, 11, 1)))
    closes = [bar.close for bar in bars.data["AAPL"]]
    assert bars.data["AAPL"][-1].timestamp.date() == today, "today's bar is there after the close, and none later"
    wanted = sum(closes[-FAST:]) / FAST > sum(closes[-SLOW:]) / SLOW
    ringfence.clock.step("next_open")
    ringfence.clock.step(by=60)
    if wanted != held:
        trade(OrderSide.BUY if wanted else OrderSide.SELL)
        decided.append([str(today), "buy" if wanted else "sell"])
        held = wanted
if held:
    ringfence.clock.step("next_open")
    ringfence.clock.step(by=60)
    trade(OrderSide.SELL)
    decided.append([str(today), "sell"])
account = client.get_account()
print(json.dumps({"decided": decided, "equity": str(account.equity), "cash": str(account.cash), "shares": len(client.get_all_positions())}))
"#;

/// Every fill of the account in the order of time: side, shares, price.
fn fills(home: &Path) -> Vec<(String, Decimal, Decimal)> {
    let (status, listed) = venue(home, "GET", "/v2/account/activities/FILL?direction=asc&page_size=100", "");
    assert_eq!(status, 200, "{listed}");
    let listed = listed.as_array().expect("a list");
    assert!(listed.len() < 100, "all of them are on one page");
    let decimal = |fill: &Value, name: &str| fill[name].as_str().expect(name).parse::<Decimal>().expect(name);
    let fill = |fill: &Value| {
        (fill["side"].as_str().expect("a side").to_owned(), decimal(fill, "qty"), decimal(fill, "price"))
    };
    listed.iter().map(fill).collect()
}

/// The rules over the bars of the repository up to a day: on which day which side is decided.
fn decisions(until: &str) -> Vec<(String, String)> {
    let text = include_str!("../../../data/bars/AAPL.csv");
    let mut lines = text.lines();
    let head: Vec<&str> = lines.next().expect("a head").split(',').collect();
    let place = |name: &str| head.iter().position(|one| one.eq_ignore_ascii_case(name)).expect("a column");
    let (day, close) = (place("date"), place("close"));
    let bars: Vec<(&str, f64)> = lines
        .map(|line| {
            let cells: Vec<&str> = line.split(',').collect();
            (cells[day], cells[close].parse().expect("a price"))
        })
        .collect();
    let mean =
        |last: usize, count: usize| bars[last + 1 - count..=last].iter().map(|bar| bar.1).sum::<f64>() / count as f64;
    let mut held = false;
    let mut decided = Vec::new();
    for (last, (day, _)) in bars.iter().enumerate().filter(|(_, (day, _))| ("2012-01-03"..=until).contains(day)) {
        let wanted = mean(last, FAST) > mean(last, SLOW);
        if wanted != held {
            decided.push(((*day).to_owned(), if wanted { "buy" } else { "sell" }.to_owned()));
            held = wanted;
        }
    }
    decided
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replayed_year_through_alpaca_py_ends_as_the_plain_calculation() {
    let (until, fewest) = if common::is_long("the rest of the year") { YEAR } else { APRIL };
    let scene = Scene::new().await;
    let keys = [
        ("APCA_API_KEY_ID", "PKANYKEYATALL0123456"),
        ("APCA_API_SECRET_KEY", "anySecretOf40LettersAndDigits0123456789a"),
    ];
    let keys: BTreeMap<_, _> = keys.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let request = CreateRequest { template: "python".into(), env_vars: EnvVars::new(keys), ..CreateRequest::default() };
    let sandbox = scene.api.create(Actor::Agent, request, None).await.expect("a sandbox").sandbox_id;
    let code = format!("SHARES, FAST, SLOW, LAST = {SHARES}, {FAST}, {SLOW}, '{until}'\n{STRATEGY}");
    let running = scene.begin(&sandbox, &code).await;
    let run = running.ends().await;
    let said: Value =
        serde_json::from_str(run.output.trim()).unwrap_or_else(|_| panic!("{}{}", run.output, run.stderr));
    // The rules decided the same, on bars of the repository and on bars of the exchange.
    let mut plain = decisions(until);
    let is_held = plain.len() % 2 == 1;
    let decided: Vec<(String, String)> = serde_json::from_value(said["decided"].clone()).expect("decisions");
    if is_held {
        plain.push((decided.last().expect("the last sale").0.clone(), "sell".to_owned()));
    }
    assert!(plain.len() >= fewest, "{plain:?}");
    assert_eq!(decided, plain);
    // The same shares at the prices of the exchange's own record leave the same money, to the digit.
    let fills = fills(&scene.home);
    let mut sides: Vec<&str> = Vec::new();
    let (mut cash, mut shares) = (Decimal::from(100_000), Decimal::ZERO);
    for (side, quantity, price) in &fills {
        let bought = if side == "buy" { *quantity } else { -*quantity };
        cash -= bought * *price;
        shares += bought;
        if shares.is_zero() || (side == "buy" && shares == Decimal::from(SHARES)) {
            sides.push(side);
        }
    }
    assert_eq!(sides, decided.iter().map(|(_, side)| side.as_str()).collect::<Vec<_>>());
    assert_eq!(shares, Decimal::ZERO);
    assert_eq!(said["shares"], 0);
    for name in ["equity", "cash"] {
        let told: Decimal = said[name].as_str().expect(name).parse().expect(name);
        assert_eq!(told, cash, "{name}: {fills:?}");
    }
}
