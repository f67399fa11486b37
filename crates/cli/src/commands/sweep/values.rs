//! Parameters as they are written on a command line.

use std::collections::BTreeMap;

use serde_json::{Number, Value};

/// Values that a range may have.
const RANGE_MAX: usize = 10_000;

/// A value: a number, `true` or `false`, else a text.
fn value(text: &str) -> Value {
    match serde_json::from_str::<Value>(text) {
        Ok(value @ (Value::Number(_) | Value::Bool(_))) => value,
        _ => Value::String(text.to_owned()),
    }
}

/// `NAME=VALUE,VALUE,…`, where `5..50:5` stands for 5, 10, …, 50.
pub(super) fn values(text: &str) -> Result<(String, Vec<Value>), String> {
    let (name, list) = text.split_once('=').ok_or_else(|| format!("`{text}` is not NAME=VALUE,VALUE"))?;
    let mut values = Vec::new();
    for part in list.split(',') {
        match part.trim() {
            "" => return Err(format!("`{text}` has an empty value")),
            part => match range(part)? {
                Some(range) => values.extend(range),
                None => values.push(value(part)),
            },
        }
    }
    Ok((name.trim().to_owned(), values))
}

/// `NAME=VALUE,NAME=VALUE,…`: one parameter set.
pub(super) fn set(text: &str) -> Result<BTreeMap<String, Value>, String> {
    let mut set = BTreeMap::new();
    for part in text.split(',') {
        let (name, own) = part.split_once('=').ok_or_else(|| format!("`{part}` is not NAME=VALUE"))?;
        if set.insert(name.trim().to_owned(), value(own.trim())).is_some() {
            return Err(format!("`{name}` is there twice"));
        }
    }
    Ok(set)
}

/// `FROM..TO` or `FROM..TO:STEP`, both ends included. Whole numbers stay whole.
fn range(text: &str) -> Result<Option<Vec<Value>>, String> {
    let Some((from, rest)) = text.split_once("..") else { return Ok(None) };
    let (to, step) = rest.split_once(':').unwrap_or((rest, "1"));
    let numbers = [from, to, step].map(str::parse::<f64>);
    let [Ok(first), Ok(last), Ok(by)] = numbers else { return Ok(None) };
    if !(first.is_finite() && last.is_finite() && by.is_finite() && by > 0.0 && first <= last) {
        return Err(format!("`{text}` is not a range: write FROM..TO or FROM..TO:STEP, as in 5..50:5"));
    }
    let whole = [from, to, step].iter().all(|part| part.parse::<i64>().is_ok());
    let mut values = Vec::new();
    // By multiplication, so that errors of the step do not add up.
    for place in 0..=RANGE_MAX {
        let at = first + by * place as f64;
        if at > last + by * 1e-9 {
            break;
        }
        if place == RANGE_MAX {
            return Err(format!("`{text}` has more than {RANGE_MAX} values"));
        }
        let number = if whole { Some(Number::from(at as i64)) } else { Number::from_f64(at) };
        values.extend(number.map(Value::Number));
    }
    Ok(Some(values))
}

/// Bars to choose on and bars to judge on: `500:60`.
pub(super) fn windows(text: &str) -> Result<(u32, u32), String> {
    let parsed = text.split_once(':').and_then(|(train, test)| Some((train.parse().ok()?, test.parse().ok()?)));
    parsed.ok_or_else(|| format!("`{text}` is not TRAIN:TEST in bars, as in 500:60"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_booleans_texts_and_ranges() {
        let check =
            |text: &str, expected: Value| assert_eq!(json!(values(text).expect("values").1), expected, "{text}");
        check("fast=10,20.5,1e3", json!([10, 20.5, 1e3]));
        check("short=true,false", json!([true, false]));
        check("kind=ema,\"x\"", json!(["ema", "\"x\""]));
        check("fast=5..50:15", json!([5, 20, 35, 50]));
        check("fast=1..3,10", json!([1, 2, 3, 10]));
        check("z=0.5..0.8:0.1", json!([0.5, 0.6, 0.7, 0.8]));
        for text in ["fast", "fast=", "fast=1,,2", "fast=5..1", "fast=1..5:0", "fast=0..1:0.00001"] {
            values(text).expect_err(text);
        }
        assert_eq!(json!(set("fast=10,slow=20").expect("a set")), json!({"fast": 10, "slow": 20}));
        set("fast=1,fast=2").expect_err("twice");
        assert_eq!((windows("500:60"), windows("500").is_err()), (Ok((500, 60)), true));
    }
}
