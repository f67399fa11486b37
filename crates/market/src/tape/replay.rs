//! Going through a market as an exchange does, to see how long it takes.

use jiff::Timestamp;

use super::{Tape, Tick};
use crate::{bar::Symbol, new_york};

/// Ticks that are asked for at a time.
const CHUNK: usize = 4096;

/// What a replay went through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Quotes and trades.
    pub ticks: u64,
    /// Minutes with a trade: the bars of a minute that come out of it.
    pub minutes: u64,
    /// Days with a trade.
    pub days: u64,
}

/// Goes through every tick of a symbol after `after`, up to and including `until`. A benchmark measures the time of this with a new
/// tape, whose days are not worked out yet, and divides.
#[must_use]
pub fn replay(tape: &dyn Tape, symbol: &Symbol, after: Timestamp, until: Timestamp) -> Replayed {
    let mut found = Replayed::default();
    let mut after = after;
    let (mut minute, mut day) = (None, None);
    loop {
        let ticks = tape.ticks(symbol, after, until, CHUNK);
        found.ticks += u64::try_from(ticks.len()).expect("a count");
        for tick in &ticks {
            if let Tick::Trade(trade) = tick {
                let of = Some(trade.at.as_second().div_euclid(60));
                if of != minute {
                    minute = of;
                    found.minutes += 1;
                    let date = Some(new_york::date(trade.at));
                    found.days += u64::from(date != day);
                    day = date;
                }
            }
        }
        match ticks.last() {
            Some(last) if ticks.len() == CHUNK => after = last.at(),
            _ => return found,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tape::BarTape;

    #[test]
    fn a_year_is_252_days_of_390_minutes_but_for_its_half_days() {
        let tape = BarTape::sample(1).expect("the sample");
        let at = |text: &str| text.parse::<Timestamp>().expect("an instant");
        let symbol = Symbol::parse("AAPL").expect("a symbol");
        let year = replay(&tape, &symbol, at("2011-01-01T00:00:00Z"), at("2012-01-01T00:00:00Z"));
        // 2011 had one session until 13:00. Three trades a minute, and a quote before each.
        let minutes = 251 * 390 + 210;
        assert_eq!(year, Replayed { ticks: minutes * 6, minutes, days: 252 });
    }
}
