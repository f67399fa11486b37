//! What codes mean, and corporate actions.

use std::borrow::Cow;

use jiff::{Timestamp, civil::Date};
use ringfence_market::{Action, BarTape, Kind, Symbol, Tape, new_york};
use rust_decimal::Decimal;
use sha2::{Digest, Sha256};

use super::{
    DERIVED, EXCHANGE, Refusal,
    query::{Mark, Query, Sort},
    value::Value,
};

pub(super) fn exchanges() -> Value {
    Value::map([(EXCHANGE, Value::text("ringfence: replayed from bars"))])
}

pub(super) fn conditions(kind: &str) -> Result<Value, Refusal> {
    match kind {
        "trade" => Ok(Value::map([
            ("@", Value::text("Regular Sale")),
            ("Q", Value::text("Market Center Official Open")),
            ("M", Value::text("Market Center Official Close")),
            (DERIVED, Value::text("Derived from a bar (ringfence)")),
        ])),
        "quote" => Ok(Value::map([
            ("R", Value::text("Regular, Two-Sided Open")),
            ("C", Value::text("Closing: the session's last quote, still in force")),
            (DERIVED, Value::text("Derived from a bar (ringfence)")),
        ])),
        _ => Err(Refusal::absent("there are conditions of a trade and of a quote")),
    }
}

const KINDS: [(&str, &str); 3] =
    [("forward_split", "forward_splits"), ("reverse_split", "reverse_splits"), ("cash_dividend", "cash_dividends")];

/// Splits and dividends whose ex-date has come. When one was announced is not recorded, so none is told of before.
pub(super) fn corporate_actions(tape: &BarTape, query: &Query, now: Timestamp) -> Result<Value, Refusal> {
    let today = new_york::date(now);
    let day = |name: &str, otherwise: Date| match query.get(name) {
        None => Ok(otherwise),
        Some(text) => text.parse::<Date>().map_err(|_| Refusal::invalid(format!("invalid {name} (YYYY-MM-DD)"))),
    };
    let symbols = if query.get("symbols").is_some() { query.symbols()? } else { tape.symbols() };
    let end = day("end", today)?;
    let start = day("start", Date::constant(today.year(), 1, 1).min(end))?;
    if end < start {
        return Err(Refusal::invalid("end should not be before start"));
    }
    let kinds: Option<Vec<&str>> = query.get("types").map(|text| text.split(',').collect());
    let limit = match query.get("limit") {
        None => 100,
        Some(text) => text
            .parse()
            .ok()
            .filter(|limit| (1..=1000).contains(limit))
            .ok_or_else(|| Refusal::invalid("invalid limit (1 to 1000)"))?,
    };
    let mut found: Vec<&Action> = symbols
        .iter()
        .flat_map(|symbol| tape.all_actions(symbol))
        .filter(|a| a.ex_date <= today && (start..=end).contains(&a.ex_date))
        .filter(|a| kinds.as_ref().is_none_or(|kinds| kinds.contains(&kind(a).0)))
        .collect();
    found.sort_by_key(|a| (a.ex_date, &a.symbol));
    if query.sort()? == Sort::Descending {
        found.reverse();
    }
    // A page goes on after an action: its symbol and its day, as an instant.
    let position = |mark: &Mark| {
        found
            .iter()
            .position(|a| a.symbol == mark.symbol && new_york::midnight(a.ex_date) == Some(mark.at))
            .map(|at| at + 1)
    };
    let from = match query.mark()? {
        None => 0,
        Some(mark) => position(&mark).ok_or_else(|| Refusal::invalid("invalid page_token"))?,
    };
    let page: Vec<&Action> = found[from..].iter().copied().take(limit).collect();
    let token = match page.last() {
        Some(last) if from + page.len() < found.len() => {
            let at = new_york::midnight(last.ex_date).unwrap_or(now);
            Value::text(Mark { symbol: last.symbol.clone(), at }.token())
        }
        _ => Value::Null,
    };
    let of = |(one, several): &(&'static str, &'static str)| {
        let own: Vec<Value> = page.iter().filter(|a| kind(a).0 == *one).map(|a| said(a)).collect();
        (!own.is_empty()).then_some((Cow::Borrowed(*several), Value::List(own)))
    };
    Ok(Value::map([
        ("corporate_actions", Value::Map(KINDS.iter().filter_map(of).collect())),
        ("next_page_token", token),
    ]))
}

fn kind(action: &Action) -> (&'static str, &'static str) {
    match action.kind {
        Kind::Split(into) if into > Decimal::ONE => KINDS[0],
        Kind::Split(_) => KINDS[1],
        Kind::Dividend(_) => KINDS[2],
    }
}

/// An action in the wire's words. What is not recorded (CUSIPs) is empty; it is processed on its ex-date.
fn said(action: &Action) -> Value {
    let day = || Value::text(action.ex_date.to_string());
    let symbol = || Value::text(action.symbol.to_string());
    let id = Value::text(id(&action.symbol, action.ex_date, kind(action).0));
    let none = || Value::text("");
    match action.kind {
        Kind::Split(into) => {
            let (new, old) = rates(into);
            let rates = [("new_rate", Value::Number(new)), ("old_rate", Value::Number(old))];
            let cusips = if into > Decimal::ONE { vec!["cusip"] } else { vec!["old_cusip", "new_cusip"] };
            let mut fields = vec![("id", id), ("symbol", symbol())];
            fields.extend(cusips.into_iter().map(|name| (name, none())));
            fields.extend(rates);
            fields.extend([("process_date", day()), ("ex_date", day())]);
            super::words::map(fields)
        }
        Kind::Dividend(cash) => Value::map([
            ("id", id),
            ("symbol", symbol()),
            ("cusip", none()),
            ("rate", Value::Number(cash)),
            ("special", Value::Bool(false)),
            ("foreign", Value::Bool(false)),
            ("process_date", day()),
            ("ex_date", day()),
        ]),
    }
}

/// New shares for old ones: 3 for 2, or 1 for 10, where one of both can be a whole number up to 1000.
fn rates(into: Decimal) -> (Decimal, Decimal) {
    let whole = |old: u32| into.checked_mul(Decimal::from(old)).filter(|new| new.fract().is_zero());
    if let Some((new, old)) = (1..=1000).find_map(|old| Some((whole(old)?, Decimal::from(old)))) {
        return (new, old);
    }
    (into, Decimal::ONE)
}

/// The same for the same action, in the form of a UUID of version 8 (RFC 9562, 5.8).
fn id(symbol: &Symbol, ex_date: Date, kind: &str) -> String {
    let digest = Sha256::digest(format!("{symbol} {ex_date} {kind}"));
    let mut bytes: [u8; 16] = digest[..16].try_into().expect("a digest has 32 bytes");
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_told_in_whole_shares() {
        let check = |into: &str, new: u32, old: u32| {
            let into = into.parse().expect("a decimal");
            assert_eq!(rates(into), (Decimal::from(new), Decimal::from(old)), "{into}");
        };
        check("2", 2, 1);
        check("1.5", 3, 2);
        check("0.1", 1, 10);
        check("0.125", 1, 8);
    }

    #[test]
    fn an_action_has_one_id() {
        let symbol = Symbol::parse("AAPL").expect("a symbol");
        let of = |day: i8| id(&symbol, Date::constant(2012, 8, day), "cash_dividend");
        assert_eq!(of(9), of(9));
        assert_ne!(of(9), of(10));
        assert_eq!((of(9).len(), of(9).as_bytes()[14]), (36, b'8'));
    }
}
