//! What a simulation writes down while it goes through the rows, and the [`Run`] that this becomes.

use jiff::civil::Date;
use ringfence_market::Symbol;

use super::{
    Costs, Filled, Reason, Refused, Ruin, Run,
    settings::{Fill, Settings},
};
use crate::{
    panel::Panel,
    types::{Curve, Side, Trade},
};

/// A fill: the position in shares before and after it, and what it cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) row: usize,
    pub(crate) symbol: usize,
    pub(crate) before: f64,
    pub(crate) after: f64,
    /// Slippage included.
    pub(crate) price: f64,
    pub(crate) commission: f64,
    pub(crate) slippage: f64,
}

/// The account at a close.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Close {
    pub(crate) equity: f64,
    pub(crate) cash: f64,
    /// Positions without regard to sign.
    pub(crate) gross: f64,
    /// Positions, shorts negative.
    pub(crate) net: f64,
}

/// Who is told what happens, in the order in which it happens.
pub(crate) trait Book {
    /// An order was filled.
    fn fill(&mut self, entry: Entry);
    /// An order was not filled.
    fn refuse(&mut self, row: usize, symbol: usize, shares: f64, reason: Reason);
    /// What a position earned at a row, where weights and not shares are held.
    fn carry(&mut self, symbol: usize, money: f64);
    /// The lender of a short position was paid.
    fn borrow(&mut self, symbol: usize, money: f64);
    /// Everything is lost.
    fn ruin(&mut self, row: usize, owed: f64);
    /// A row is over.
    fn close(&mut self, close: Close);
    /// All rows are over; the last known close of each symbol, NaN where there was none.
    fn end(&mut self, marks: &[f64]);
}

/// For what part of a year a position is held from the row before to this one.
pub(super) fn borrow_years(panel: &Panel, row: usize) -> f64 {
    let Some(before) = row.checked_sub(1) else { return 0.0 };
    let days = (panel.dates()[row] - panel.dates()[before]).get_days();
    f64::from(days) / 365.0
}

/// A round trip that has not ended.
#[derive(Debug, Clone)]
struct Open {
    side: Side,
    row: usize,
    /// Largest number of shares.
    most: f64,
    /// Now, without sign.
    shares: f64,
    in_shares: f64,
    in_money: f64,
    out_shares: f64,
    out_money: f64,
    costs: f64,
    /// Money in and out where shares are held, commission and borrowing included; what was carried, less costs, where weights are.
    flow: f64,
}

/// Writes down everything.
pub(super) struct Tally<'a> {
    panel: &'a Panel,
    by_weight: bool,
    open: Vec<Option<Open>>,
    run: Run,
}

impl<'a> Tally<'a> {
    pub(super) fn new(panel: &'a Panel, settings: &Settings) -> Self {
        let rows = panel.len();
        let run = Run {
            curve: Curve { dates: panel.dates().to_vec(), equity: Vec::with_capacity(rows), capital: settings.capital },
            cash: Vec::with_capacity(rows),
            exposure: Vec::with_capacity(rows),
            net: Vec::with_capacity(rows),
            trades: Vec::new(),
            fills: Vec::new(),
            refused: Vec::new(),
            costs: Costs::default(),
            traded: 0.0,
            turnover: None,
            ruin: None,
            stale: Vec::new(),
            settings: *settings,
        };
        let open = vec![None; panel.columns().len()];
        Self { panel, by_weight: settings.fill == Fill::SignalClose, open, run }
    }

    pub(super) fn finish(mut self) -> Run {
        let rows = count(self.run.curve.equity.len());
        let mean = self.run.curve.equity.iter().fold(0.0, |sum, e| sum + e) / rows;
        let years = rows / self.panel.periods_per_year();
        self.run.turnover = (mean > 0.0).then(|| self.run.traded / mean / years);
        self.run
    }

    fn date(&self, row: usize) -> Date {
        self.panel.dates()[row]
    }

    fn symbol(&self, symbol: usize) -> &Symbol {
        &self.panel.columns()[symbol].symbol
    }

    /// A part of a fill that makes a position or makes it larger.
    fn enter(&mut self, entry: &Entry, shares: f64, share_of_costs: f64) {
        let side = if shares > 0.0 { Side::Long } else { Side::Short };
        let open = self.open[entry.symbol].get_or_insert(Open {
            side,
            row: entry.row,
            most: 0.0,
            shares: 0.0,
            in_shares: 0.0,
            in_money: 0.0,
            out_shares: 0.0,
            out_money: 0.0,
            costs: 0.0,
            flow: 0.0,
        });
        open.shares = entry.after.abs();
        open.most = open.most.max(open.shares);
        open.in_shares += shares.abs();
        open.in_money += shares.abs() * entry.price;
        open.pay(entry, shares, share_of_costs, self.by_weight);
    }

    /// A part of a fill that makes a position smaller, or ends it.
    fn leave(&mut self, entry: &Entry, shares: f64, share_of_costs: f64, ends: bool) {
        let Some(open) = self.open[entry.symbol].as_mut() else { return };
        open.shares = if ends { 0.0 } else { entry.after.abs() };
        open.out_shares += shares.abs();
        open.out_money += shares.abs() * entry.price;
        open.pay(entry, shares, share_of_costs, self.by_weight);
        if ends {
            self.conclude(entry.symbol, entry.row, None);
        }
    }

    /// A round trip ends at a row; `mark` is given where it is still open and valued at that price.
    fn conclude(&mut self, symbol: usize, row: usize, mark: Option<f64>) {
        let Some(mut open) = self.open[symbol].take() else { return };
        let mut exit_price = open.out_money / open.out_shares;
        if let Some(mark) = mark {
            if !self.by_weight {
                open.flow += if open.side == Side::Long { open.shares * mark } else { -open.shares * mark };
            }
            exit_price = mark;
        }
        self.run.trades.push(Trade {
            symbol: self.symbol(symbol).clone(),
            side: open.side,
            entry: self.date(open.row),
            exit: self.date(row),
            bars: u32::try_from(row - open.row).unwrap_or(u32::MAX),
            quantity: open.most,
            entry_price: open.in_money / open.in_shares,
            exit_price,
            profit: open.flow,
            return_on_entry: open.flow / open.in_money,
            costs: open.costs,
            open: mark.is_some(),
        });
    }
}

impl Open {
    /// Notes what a part of a fill cost and moved.
    fn pay(&mut self, entry: &Entry, shares: f64, share_of_costs: f64, by_weight: bool) {
        let (commission, slippage) = (entry.commission * share_of_costs, entry.slippage * share_of_costs);
        self.costs += commission + slippage;
        self.flow -= if by_weight { commission + slippage } else { shares * entry.price + commission };
    }
}

impl Book for Tally<'_> {
    fn fill(&mut self, entry: Entry) {
        let Entry { row, symbol, before, after, price, commission, slippage } = entry;
        let shares = after - before;
        self.run.fills.push(Filled { row, date: self.date(row), symbol, shares, price, commission, slippage });
        self.run.costs.commission += commission;
        self.run.costs.slippage += slippage;
        self.run.traded += shares.abs() * price;
        if before == 0.0 || before * after > 0.0 {
            if after.abs() > before.abs() {
                self.enter(&entry, shares, 1.0);
            } else {
                self.leave(&entry, shares, 1.0, false);
            }
        } else if after == 0.0 {
            self.leave(&entry, shares, 1.0, true);
        } else {
            // Across zero: one round trip ends and another begins.
            let closing = before.abs() / shares.abs();
            self.leave(&entry, -before, closing, true);
            self.enter(&entry, after, 1.0 - closing);
        }
    }

    fn refuse(&mut self, row: usize, symbol: usize, shares: f64, reason: Reason) {
        self.run.refused.push(Refused { row, date: self.date(row), symbol, shares, reason });
    }

    fn carry(&mut self, symbol: usize, money: f64) {
        if let Some(open) = self.open[symbol].as_mut() {
            open.flow += money;
        }
    }

    fn borrow(&mut self, symbol: usize, money: f64) {
        self.run.costs.borrow += money;
        if let Some(open) = self.open[symbol].as_mut() {
            open.costs += money;
            open.flow -= money;
        }
    }

    fn ruin(&mut self, row: usize, owed: f64) {
        self.run.ruin = Some(Ruin { row, date: self.date(row), owed });
        for symbol in 0..self.open.len() {
            let mark = self.last_close(symbol, row);
            self.conclude(symbol, row, Some(mark));
        }
    }

    fn close(&mut self, close: Close) {
        let Close { equity, cash, gross, net } = close;
        let part = |money: f64| if equity > 0.0 { money / equity } else { 0.0 };
        self.run.curve.equity.push(equity);
        self.run.cash.push(cash);
        self.run.exposure.push(part(gross));
        self.run.net.push(part(net));
    }

    fn end(&mut self, marks: &[f64]) {
        let last = self.panel.len() - 1;
        for (symbol, mark) in marks.iter().enumerate() {
            if self.open[symbol].is_some() && !self.panel.columns()[symbol].has(last) {
                let name = self.symbol(symbol).clone();
                self.run.stale.push(name);
            }
            self.conclude(symbol, last, Some(*mark));
        }
    }
}

impl Tally<'_> {
    fn last_close(&self, symbol: usize, row: usize) -> f64 {
        let known = self.panel.columns()[symbol].close[..=row].iter().rev().find(|c| !c.is_nan());
        known.copied().unwrap_or(f64::NAN)
    }
}

fn count(rows: usize) -> f64 {
    f64::from(u32::try_from(rows).unwrap_or(u32::MAX))
}
