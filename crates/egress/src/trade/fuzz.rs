//! A property of orders that holds for any bytes.

use ringfence_model::trade::{AssetClass, CanonicalSymbol, Qty, Size};
use serde_json::Value;

use super::codec::Codec;
use super::fields::Fields;
use super::order::Reading;
use super::venue::Venues;
use super::{alpaca, binance};

/// Any bytes as the body of an order: no panic; what is read as an order is written in bytes that read as the same order, and every
/// other reader of JSON, who takes the last of two equal names and rounds, finds the same symbol, side and quantity in what came.
pub fn fuzz_order(bytes: &[u8]) {
    let venues = Venues::built_in();
    let _ = parameters(&venues, bytes);
    let Some((alpaca, _)) = venues.hosts().find_map(|host| venues.of(host)) else { return };
    let read = |bytes: &[u8]| {
        let draft = Reading::of(alpaca).submit(&Fields::of_json(bytes).ok()?).ok()?;
        let symbol = CanonicalSymbol::parse(&draft.symbol).ok()?;
        Some(draft.about(symbol, AssetClass::UsEquity))
    };
    let _ = Fields::of_json(bytes).map(|fields| Reading::of(alpaca).changes(&fields, false).is_ok());
    let _ = std::str::from_utf8(bytes)
        .map(|text| Fields::of_form(text).map(|query| Reading::of(alpaca).close_size(&query).is_ok()));
    let Some(intent) = read(bytes) else { return };
    let written = alpaca::submit(&intent);
    assert_eq!(read(&written.body).as_ref(), Some(&intent), "its own bytes");
    for bytes in [bytes, &written.body] {
        let others: Value = serde_json::from_slice(bytes).expect("what has one reading is JSON");
        assert_eq!(others["symbol"], intent.symbol.as_str());
        assert_eq!(others["side"], intent.side.as_str());
        let number = |value: &Value| match value {
            Value::String(text) => text.parse::<f64>().ok(),
            other => other.as_f64(),
        };
        match intent.size {
            Size::Qty(qty) => {
                let near = number(&others["qty"]).expect("a number");
                let exact = qty.units() as f64 / Qty::whole(1).expect("one").units() as f64;
                assert!((near - exact).abs() <= exact.abs() * 1e-9, "{near} {exact}");
                assert!(others["notional"].is_null());
            }
            Size::Notional(_) => assert!(others["qty"].is_null()),
        }
    }
}

/// The same of parameters: an order that is read is written in parameters that read as the same order, none of them twice.
fn parameters(venues: &Venues, bytes: &[u8]) -> Option<()> {
    let venue = venues.speaking(Codec::Binance);
    let read = |bytes: &[u8]| {
        let asked = binance::asked("", bytes).ok()?;
        let _ = binance::named(&asked).is_ok();
        let (fields, post_only) = binance::read_order(&asked).ok()?;
        let draft = Reading::of(venue).submit(&fields).ok()?;
        let symbol = CanonicalSymbol::parse(&draft.symbol).ok().filter(|symbol| !symbol.as_str().contains('/'))?;
        Some((draft.about(symbol, AssetClass::Crypto), post_only))
    };
    let (intent, post_only) = read(bytes)?;
    let written = Codec::Binance.submit(&intent, post_only);
    let (_, query) = written.target.split_once('?').expect("it has parameters");
    assert_eq!(read(query.as_bytes()), Some((intent, post_only)), "its own bytes");
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_do_not_upset_the_fuzz_target() {
        let directory = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/order");
        let mut orders = 0;
        for entry in std::fs::read_dir(directory).expect("seeds").flatten() {
            let bytes = std::fs::read(entry.path()).expect("a seed");
            fuzz_order(&bytes);
            orders += 1;
            // Broken in every place.
            for at in 0..bytes.len() {
                for other in [0, b'"', b'1', b'e', b'{', b'-', 0xff] {
                    let mut broken = bytes.clone();
                    broken[at] = other;
                    fuzz_order(&broken);
                }
                fuzz_order(&bytes[..at]);
            }
        }
        assert!(orders >= 10);
    }
}
