//! What a trial has written, read strictly. The strategy runs in the process that writes it, so anything may be there: what is
//! not exactly an answer is a failure of that set, and of those after it.
//!
//! `RFANSWER\1\0\0\0`, then for each set, in their order, kind (u32), number of the set (u32), length of a JSON text (u64), length of
//! the data (u64), text, data; last a frame of kind [`END`] with the number of sets. Little-endian. What comes before the first
//! word was printed before the runner was reached.

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use ringfence_backtest::{Curve, Order, Orders, Panel, Side, Targets, Trade, targets::ORDERS_MAX};
use ringfence_market::{Symbol, import::Interval, new_york};
use serde::Deserialize;

use super::{
    Proposal, SelfReported, WEIGHT_MAX,
    ask::Asked,
    said::{self, Failure, LOG_LINE_CHARS_MAX, LOG_LINES_MAX},
};

pub(super) const MAGIC: &[u8; 12] = b"RFANSWER\x01\0\0\0";
const WEIGHTS: u32 = 1;
const ORDERS: u32 = 2;
const REPORTED: u32 = 3;
const FAILED: u32 = 4;
const END: u32 = 5;

const HEAD: usize = 24;
/// Bytes of an answer's text (`TEXT_BYTES_MAX` of `_trial.py`).
pub(super) const TEXT_BYTES_MAX: usize = 4 << 20;
const ORDER_BYTES: usize = 16;
const POINT_BYTES: usize = 16;
/// Points of an equity curve that a program reports.
const POINTS_MAX: usize = 1 << 20;
const TRADES_MAX: usize = 100_000;

/// What is in the output of a trial.
pub(super) struct Said {
    /// For each set, what was answered; `None` where the output ends before it.
    pub(super) parts: Vec<Option<Part>>,
    /// What was printed before the runner was reached.
    pub(super) early: Vec<String>,
    /// Why it was not read to its end.
    pub(super) fault: Option<String>,
}

/// An answer.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) proposal: Proposal,
    pub(super) log: Vec<String>,
    pub(super) log_dropped: u64,
}

impl Default for Part {
    fn default() -> Self {
        Self { proposal: Proposal::Failed(Failure::default()), log: Vec::new(), log_dropped: 0 }
    }
}

/// The text of an answer.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Text {
    #[serde(default)]
    log: Vec<String>,
    #[serde(default)]
    log_dropped: u64,
    #[serde(default)]
    trades: Vec<TradeText>,
    #[serde(default)]
    pub(super) error: Option<ErrorText>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ErrorText {
    message: String,
    traceback: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TradeText {
    #[serde(default)]
    symbol: Option<String>,
    side: String,
    entry: String,
    exit: String,
    quantity: f64,
    entry_price: f64,
    exit_price: f64,
    profit: f64,
    #[serde(default)]
    costs: f64,
    #[serde(default)]
    bars: f64,
    #[serde(default)]
    open: bool,
}

impl Text {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|_| "it wrote an answer whose text is malformed".to_owned())
    }

    /// The log, as long as logs may be.
    pub(super) fn log(&mut self) -> (Vec<String>, u64) {
        let beyond = self.log.len().saturating_sub(LOG_LINES_MAX);
        let log = self.log.drain(..).take(LOG_LINES_MAX).map(|line| said::plain(&line, LOG_LINE_CHARS_MAX)).collect();
        (log, self.log_dropped.saturating_add(beyond as u64))
    }

    pub(super) fn failure(&self) -> Failure {
        match &self.error {
            Some(error) => said::failure(&error.message, &error.traceback),
            None => said::failure("", ""),
        }
    }
}

/// Reads the output of a trial of `sets` parameter sets.
pub(super) fn read(output: &[u8], asked: &Asked<'_>, sets: usize) -> Said {
    let mut parts: Vec<Option<Part>> = Vec::new();
    parts.resize_with(sets, || None);
    let Some(at) = find(output, MAGIC) else {
        return Said { parts, early: early(output), fault: None };
    };
    let early = early(&output[..at]);
    let mut rest = &output[at + MAGIC.len()..];
    let mut fault = None;
    for (number, place) in parts.iter_mut().enumerate() {
        match frame(&mut rest).and_then(|frame| frame.map(|f| f.part(number, asked)).transpose()) {
            Ok(Some(part)) => *place = Some(part),
            // It ends here: how the program ended says why.
            Ok(None) => return Said { parts, early, fault: None },
            Err(why) => {
                fault = Some(why);
                break;
            }
        }
    }
    if fault.is_none() {
        let end = frame(&mut rest).ok().flatten();
        let proper =
            end.is_some_and(|f| f.kind == END && f.number as usize == sets && f.text.is_empty() && f.data.is_empty());
        // All sets are answered; what comes after them, or the want of an end, is nobody's answer. But a program that goes on
        // writing is not one that has come to its end, and its last word is not to be trusted either.
        if !(proper && rest.is_empty())
            && let Some(last) = parts.last_mut()
        {
            *last = None;
            fault = Some("it wrote more than an answer, or did not end after it".to_owned());
        }
    }
    Said { parts, early, fault }
}

/// What was printed before the runner was reached, as lines.
pub(super) fn early(output: &[u8]) -> Vec<String> {
    const BYTES_MAX: usize = 64 << 10;
    let text = String::from_utf8_lossy(&output[..output.len().min(BYTES_MAX)]);
    text.lines().take(LOG_LINES_MAX).map(|line| said::plain(line, LOG_LINE_CHARS_MAX)).collect()
}

pub(super) fn find(output: &[u8], word: &[u8]) -> Option<usize> {
    output.windows(word.len()).position(|window| window == word)
}

struct Frame<'a> {
    kind: u32,
    number: u32,
    text: &'a [u8],
    data: &'a [u8],
}

/// The next frame; `None` at the end, also of one that is cut off.
fn frame<'a>(rest: &mut &'a [u8]) -> Result<Option<Frame<'a>>, String> {
    let Some((head, body)) = rest.split_at_checked(HEAD) else { return Ok(None) };
    let u32_at = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
    let u64_at = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes"));
    let (kind, number) = (u32_at(0), u32_at(4));
    if !(WEIGHTS..=END).contains(&kind) {
        return Err("it wrote something that is no answer".to_owned());
    }
    let sizes = usize::try_from(u64_at(8)).ok().zip(usize::try_from(u64_at(16)).ok());
    let Some((text, data)) = sizes.filter(|(text, _)| *text <= TEXT_BYTES_MAX) else {
        return Err("it wrote an answer that is too large".to_owned());
    };
    let Some((text, after)) = body.split_at_checked(text) else { return Ok(None) };
    let Some((data, after)) = after.split_at_checked(data) else { return Ok(None) };
    *rest = after;
    Ok(Some(Frame { kind, number, text, data }))
}

impl Frame<'_> {
    fn part(self, set: usize, asked: &Asked<'_>) -> Result<Part, String> {
        if self.kind == END || self.number as usize != set {
            return Err("it answered for another parameter set than was asked".to_owned());
        }
        let mut text = Text::parse(self.text)?;
        if (self.kind == FAILED) != text.error.is_some() || self.kind != REPORTED && !text.trades.is_empty() {
            return Err("it wrote an answer whose text does not belong to it".to_owned());
        }
        let (log, log_dropped) = text.log();
        let proposal = match self.kind {
            WEIGHTS => weights(self.data, asked).map(Proposal::Targets),
            ORDERS => orders(self.data, asked).map(Proposal::Orders),
            REPORTED => reported(text.trades, self.data, asked.panel).map(Proposal::SelfReported),
            _ => Ok(Proposal::Failed(text.failure())),
        };
        Ok(Part { proposal: proposal.unwrap_or_else(|why| Proposal::Failed(Failure::new(why))), log, log_dropped })
    }
}

fn doubles(data: &[u8]) -> impl ExactSizeIterator<Item = f64> {
    data.chunks_exact(8).map(|c| f64::from_le_bytes(c.try_into().expect("eight bytes")))
}

/// Weights of the rows that were sent, in all rows of the panel.
fn weights(data: &[u8], asked: &Asked<'_>) -> Result<Targets, String> {
    let symbols = asked.panel.columns().len();
    if data.len() != asked.rows.len() * symbols * 8 {
        let wanted = asked.rows.len() * symbols;
        return Err(format!("it answered with {} bytes of weights, and {wanted} weights were asked for", data.len()));
    }
    let sent: Vec<f64> = doubles(data).collect();
    let mut all = vec![f64::NAN; asked.panel.len() * symbols];
    for (weights, row) in sent.chunks_exact(symbols).zip(&asked.rows) {
        check(weights, *row, asked.panel)?;
        all[row * symbols..(row + 1) * symbols].copy_from_slice(weights);
    }
    Targets::new(asked.panel, all).map_err(|e| e.to_string())
}

/// Refuses what is no weight.
pub(super) fn check(weights: &[f64], row: usize, panel: &Panel) -> Result<(), String> {
    match weights.iter().position(|w| !(w.is_nan() || w.abs() <= WEIGHT_MAX)) {
        None => Ok(()),
        Some(place) => Err(format!(
            "row {row} ({}): the weight of {} is {}; a weight is a fraction of equity, at most {WEIGHT_MAX}, or NaN for no change",
            panel.label(row),
            panel.columns()[place].symbol,
            weights[place],
        )),
    }
}

fn orders(data: &[u8], asked: &Asked<'_>) -> Result<Orders, String> {
    if !data.len().is_multiple_of(ORDER_BYTES) || data.len() / ORDER_BYTES > ORDERS_MAX {
        return Err(format!("it answered with {} bytes of orders; at most {ORDERS_MAX} orders are taken", data.len()));
    }
    let mut found = Vec::with_capacity(data.len() / ORDER_BYTES);
    for chunk in data.chunks_exact(ORDER_BYTES) {
        let u32_at = |at: usize| u32::from_le_bytes(chunk[at..at + 4].try_into().expect("four bytes"));
        let sent = u32_at(0) as usize;
        let row = *asked
            .rows
            .get(sent)
            .ok_or_else(|| format!("an order is for bar {sent}, and there are {}", asked.rows.len()))?;
        let shares = f64::from_le_bytes(chunk[8..].try_into().expect("eight bytes"));
        found.push(Order { row, symbol: u32_at(4) as usize, shares });
    }
    let orders = Orders(found);
    orders.check(asked.panel).map_err(|e| e.to_string())?;
    Ok(orders)
}

fn reported(trades: Vec<TradeText>, data: &[u8], panel: &Panel) -> Result<SelfReported, String> {
    if trades.len() > TRADES_MAX {
        return Err(format!("it reported {} trades; at most {TRADES_MAX} are taken", trades.len()));
    }
    if !data.len().is_multiple_of(POINT_BYTES) || data.len() / POINT_BYTES > POINTS_MAX {
        return Err(format!("it reported {} bytes of equity; at most {POINTS_MAX} points are taken", data.len()));
    }
    let points = data.len() / POINT_BYTES;
    let (times, amounts) = data.split_at(points * 8);
    let trades = trades.into_iter().enumerate().map(|(i, t)| t.trade(panel).map_err(|why| format!("trade {i}: {why}")));
    let trades = trades.collect::<Result<_, _>>()?;
    if points == 0 {
        return Ok(SelfReported { curve: None, trades });
    }
    let equity: Vec<f64> = doubles(amounts).collect();
    if let Some(at) = equity.iter().position(|e| !e.is_finite()) {
        return Err(format!("point {at} of the equity is {}; it must be a finite number", equity[at]));
    }
    let day = |chunk: &[u8]| day(i64::from_le_bytes(chunk.try_into().expect("eight bytes")), panel);
    let dates: Vec<Date> = times.chunks_exact(8).map(day).collect::<Result<_, _>>()?;
    if let Some(at) = dates.windows(2).position(|pair| pair[0] > pair[1]) {
        return Err(format!("point {} of the equity is of {}, after one of {}", at + 1, dates[at + 1], dates[at]));
    }
    Ok(SelfReported { curve: Some(Curve { dates, capital: equity[0], equity }), trades })
}

/// The day of a time in microseconds: of intraday bars, New York's.
fn day(micros: i64, panel: &Panel) -> Result<Date, String> {
    let at = Timestamp::from_microsecond(micros).map_err(|_| "the equity has a date that is none".to_owned())?;
    Ok(match panel.interval() {
        Interval::Day => at.to_zoned(TimeZone::UTC).date(),
        Interval::Minute => new_york::date(at),
    })
}

impl TradeText {
    fn trade(self, panel: &Panel) -> Result<Trade, String> {
        let symbol = match (&self.symbol, panel.columns()) {
            (Some(symbol), _) => Symbol::parse(symbol).map_err(|_| "its symbol is none".to_owned())?,
            (None, [only]) => only.symbol.clone(),
            (None, _) => return Err("it must name its symbol".to_owned()),
        };
        let side = match self.side.as_str() {
            "long" => Side::Long,
            "short" => Side::Short,
            _ => return Err("its side must be \"long\" or \"short\"".to_owned()),
        };
        let date =
            |text: &str| text.get(..10).and_then(|t| t.parse::<Date>().ok()).ok_or("its dates must be YYYY-MM-DD");
        let (entry, exit) = (date(&self.entry)?, date(&self.exit)?);
        let put_in = self.entry_price * self.quantity;
        if exit < entry
            || !(self.quantity > 0.0 && self.entry_price > 0.0 && self.exit_price >= 0.0 && put_in.is_finite())
        {
            return Err("it must end after it begins, with a quantity and prices above 0".to_owned());
        }
        let bars = self.bars.is_finite() && (0.0..=f64::from(u32::MAX)).contains(&self.bars);
        if !(bars && self.profit.is_finite() && self.costs.is_finite()) {
            return Err("its bars, profit and costs must be finite numbers".to_owned());
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
        let bars = self.bars as u32;
        Ok(Trade {
            symbol,
            side,
            entry,
            exit,
            bars,
            quantity: self.quantity,
            entry_price: self.entry_price,
            exit_price: self.exit_price,
            profit: self.profit,
            return_on_entry: self.profit / put_in,
            costs: self.costs,
            open: self.open,
        })
    }
}
