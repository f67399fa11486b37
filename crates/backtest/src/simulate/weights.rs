//! The account of vectorised backtests: weights held exactly, paid for where they change.
//!
//! With `w` the weights in force since the close before, `r` the returns from close to close and `c` the costs of the changes at the
//! close before, as money: `equity' = equity + equity × Σ w r − c`. With costs of `k` of the money that changes hands and nothing
//! else, this is `equity × (1 + Σ w r − k Σ |Δw|)`, the formula of the references in DESIGN.md.

use super::{
    price,
    settings::Settings,
    tally::{Book, Close, Entry, borrow_years},
};
use crate::{panel::Panel, targets::Targets};

/// Goes through all rows.
pub(super) fn run(panel: &Panel, targets: &Targets, settings: &Settings, book: &mut impl Book) {
    let symbols = panel.columns().len();
    let mut equity = settings.capital;
    // What is wanted, what is in force, and the last known close of each symbol.
    let (mut wanted, mut held) = (vec![0.0_f64; symbols], vec![0.0_f64; symbols]);
    let mut marks = vec![f64::NAN; symbols];
    // What the changes at the close before cost.
    let mut due = 0.0;
    let mut ruined = false;
    for row in 0..panel.len() {
        let before = equity;
        let mut gain = 0.0;
        let mut paid = due;
        due = 0.0;
        for (symbol, columns) in panel.columns().iter().enumerate() {
            let weight = held[symbol];
            let close = columns.close[row];
            if weight != 0.0 {
                if !close.is_nan() {
                    let part = weight * (close / marks[symbol] - 1.0);
                    gain += part;
                    book.carry(symbol, before * part);
                }
                if weight < 0.0 && settings.borrow_rate > 0.0 {
                    let fee = settings.borrow_rate * borrow_years(panel, row) * -weight * before;
                    paid += fee;
                    book.borrow(symbol, fee);
                }
            }
            if !close.is_nan() {
                marks[symbol] = close;
            }
        }
        equity = before + before * gain - paid;
        if !ruined && equity <= 0.0 {
            book.ruin(row, -equity);
            ruined = true;
        }
        if ruined {
            equity = 0.0;
            held.fill(0.0);
        }
        let last = row + 1 == panel.len();
        for (symbol, weight) in targets.row(row).iter().enumerate() {
            if !weight.is_nan() {
                wanted[symbol] = *weight;
            }
            let columns = &panel.columns()[symbol];
            // Nobody trades a symbol on a day on which it has no bar, nor after the last row, nor without equity.
            if last || ruined || wanted[symbol] == held[symbol] || !columns.has(row) {
                continue;
            }
            let close = columns.close[row];
            let shares = (wanted[symbol] - held[symbol]) * equity / close;
            let filled = price::of_fill(settings, columns, row, close, shares);
            let entry = Entry {
                row,
                symbol,
                before: held[symbol] * equity / close,
                after: wanted[symbol] * equity / close,
                price: filled,
                commission: price::commission(&settings.commission, shares, filled),
                slippage: shares.abs() * (filled - close).abs(),
            };
            due += entry.commission + entry.slippage;
            book.fill(entry);
            held[symbol] = wanted[symbol];
        }
        let (gross, net) = held.iter().fold((0.0, 0.0), |(gross, net), w| (gross + w.abs(), net + w));
        book.close(Close { equity, cash: equity - net * equity, gross: gross * equity, net: net * equity });
    }
    book.end(&marks);
}

/// Goes through all rows of one symbol that has a bar in each, as the [`run_events`](super::shares::run_events) of shares does.
pub(crate) fn run_events(
    panel: &Panel,
    events: &[(usize, f64)],
    settings: &Settings,
    book: &mut impl Book,
    equity: &mut Vec<f64>,
) -> Option<()> {
    if events.iter().any(|(_, weight)| *weight < 0.0) && settings.borrow_rate > 0.0 {
        return None;
    }
    let columns = &panel.columns()[0];
    let closes = columns.close.as_slice();
    equity.clear();
    equity.reserve(closes.len());
    let (mut now, mut held, mut due) = (settings.capital, 0.0_f64, 0.0);
    let mut events = events.iter().copied().peekable();
    while equity.len() < closes.len() {
        let first = equity.len();
        let end = events.peek().map_or(closes.len(), |(row, _)| row + 1);
        for row in first..end {
            if held != 0.0 {
                now = now + now * (held * (closes[row] / closes[row - 1] - 1.0)) - due;
            } else {
                now -= due;
            }
            due = 0.0;
            if now <= 0.0 {
                return None;
            }
            equity.push(now);
        }
        let Some((row, wanted)) = events.next() else { break };
        if end == closes.len() || wanted == held {
            continue;
        }
        let close = closes[row];
        let shares = (wanted - held) * now / close;
        let filled = price::of_fill(settings, columns, row, close, shares);
        let entry = Entry {
            row,
            symbol: 0,
            before: held * now / close,
            after: wanted * now / close,
            price: filled,
            commission: price::commission(&settings.commission, shares, filled),
            slippage: shares.abs() * (filled - close).abs(),
        };
        due += entry.commission + entry.slippage;
        book.fill(entry);
        held = wanted;
    }
    Some(())
}
