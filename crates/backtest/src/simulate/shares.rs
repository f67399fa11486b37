//! The account that holds shares: orders are filled at the open or close of the next bar, sized by equity at those prices.

use std::collections::VecDeque;

use super::{
    Reason, price,
    settings::{Fill, Rebalance, Settings},
    tally::{Book, Close, Entry, borrow_years},
};
use crate::{
    panel::{Columns, Panel},
    targets::{Order, Targets},
};

/// A trade of less than this fraction of equity is rounding and is not made, unless it ends a position.
const DUST: f64 = 1e-9;

/// How near below a whole number of shares counts as that number, as a fraction of it: rounding. Otherwise a position that is exactly
/// what is wanted might be found one share too large.
const NEAR: f64 = 1e-9;

/// By how much positions may exceed what is allowed, as a fraction of it: rounding.
const SLACK: f64 = 1e-12;

/// What a strategy wants, in one of its forms.
pub(super) enum Wanted<'a> {
    Targets(&'a Targets),
    Orders(&'a [Order]),
}

/// The account between rows.
struct Account<'a> {
    panel: &'a Panel,
    settings: &'a Settings,
    cash: f64,
    /// Shares of each symbol, below zero when short.
    shares: Vec<f64>,
    /// The last known close of each symbol; NaN before its first.
    marks: Vec<f64>,
    /// At what each symbol is valued while orders are filled.
    prices: Vec<f64>,
    /// What is to be traded of each symbol at this row: what makes its position smaller, and what makes it larger.
    less: Vec<f64>,
    more: Vec<f64>,
    /// Of orders: how many shares of each symbol's bar may still be ours.
    room: Vec<f64>,
}

/// Goes through all rows.
pub(super) fn run(panel: &Panel, wanted: Wanted<'_>, settings: &Settings, book: &mut impl Book) {
    let mut account = Account::new(panel, settings);
    let mut pending = Pending::new(panel.columns().len());
    let mut ruined = false;
    for row in 0..panel.len() {
        if !ruined {
            account.borrow(row, book);
            if pending.any() {
                account.fill(row, &mut pending, book);
            }
        }
        let mut close = account.close(row);
        if !ruined && close.equity <= 0.0 {
            book.ruin(row, -close.equity);
            ruined = true;
            account.cash = 0.0;
            account.shares.fill(0.0);
        }
        if ruined {
            close = Close { equity: 0.0, cash: 0.0, gross: 0.0, net: 0.0 };
        } else {
            pending.note(row, &wanted, settings.rebalance);
        }
        book.close(close);
    }
    if !ruined {
        account.unfilled(&pending, book);
    }
    book.end(&account.marks);
}

/// What waits for a fill.
struct Pending {
    /// The target that was last wanted of each symbol, and whether it waits.
    targets: Vec<f64>,
    waits: Vec<bool>,
    waiting: usize,
    /// Orders of the bar before, as they were given; and of each symbol those that waited longer, for a bar or for its volume. What a
    /// row costs goes by what is filled at it, not by how many wait.
    fresh: Vec<Order>,
    queues: Vec<VecDeque<Order>>,
    queued: usize,
    /// How many orders were taken in so far.
    taken: usize,
}

impl Pending {
    fn new(symbols: usize) -> Self {
        Self {
            targets: vec![0.0; symbols],
            waits: vec![false; symbols],
            waiting: 0,
            fresh: Vec::new(),
            queues: vec![VecDeque::new(); symbols],
            queued: 0,
            taken: 0,
        }
    }

    fn any(&self) -> bool {
        self.waiting > 0 || self.queued > 0 || !self.fresh.is_empty()
    }

    /// Takes in what is wanted at the close of a row.
    fn note(&mut self, row: usize, wanted: &Wanted<'_>, rebalance: Rebalance) {
        match wanted {
            Wanted::Targets(targets) => {
                for (symbol, weight) in targets.row(row).iter().enumerate() {
                    self.want(symbol, *weight, rebalance);
                }
            }
            Wanted::Orders(orders) => {
                let due = orders[self.taken..].iter().take_while(|o| o.row == row);
                let before = self.fresh.len();
                self.fresh.extend(due);
                self.taken += self.fresh.len() - before;
            }
        }
    }

    fn want(&mut self, symbol: usize, weight: f64, rebalance: Rebalance) {
        let changed = weight != self.targets[symbol] || rebalance == Rebalance::EveryBar;
        if !weight.is_nan() && changed {
            self.targets[symbol] = weight;
            self.waiting += usize::from(!self.waits[symbol]);
            self.waits[symbol] = true;
        }
    }

    fn done(&mut self, symbol: usize) {
        self.waiting -= usize::from(self.waits[symbol]);
        self.waits[symbol] = false;
    }
}

impl<'a> Account<'a> {
    fn new(panel: &'a Panel, settings: &'a Settings) -> Self {
        let symbols = panel.columns().len();
        let zeros = || vec![0.0; symbols];
        let marks = vec![f64::NAN; symbols];
        let prices = marks.clone();
        Self {
            panel,
            settings,
            cash: settings.capital,
            shares: zeros(),
            marks,
            prices,
            less: zeros(),
            more: zeros(),
            room: zeros(),
        }
    }

    /// Pays the lenders of what was short overnight.
    fn borrow(&mut self, row: usize, book: &mut impl Book) {
        if self.settings.borrow_rate == 0.0 {
            return;
        }
        for (symbol, shares) in self.shares.iter().enumerate() {
            if *shares < 0.0 {
                let fee = self.settings.borrow_rate * borrow_years(self.panel, row) * -shares * self.marks[symbol];
                self.cash -= fee;
                book.borrow(symbol, fee);
            }
        }
    }

    fn fill(&mut self, row: usize, pending: &mut Pending, book: &mut impl Book) {
        let at_open = self.settings.fill == Fill::NextOpen;
        for (symbol, columns) in self.panel.columns().iter().enumerate() {
            let price = if at_open { columns.open[row] } else { columns.close[row] };
            self.prices[symbol] = if price.is_nan() { self.marks[symbol] } else { price };
        }
        if pending.waiting > 0 {
            self.fill_targets(row, pending, book);
        } else {
            self.fill_orders(row, pending, book);
        }
    }

    /// Trades towards the targets that wait. What makes positions smaller is traded whole; what makes them larger is cut by one
    /// factor where all of it would exceed the leverage that is allowed, costs included.
    fn fill_targets(&mut self, row: usize, pending: &mut Pending, book: &mut impl Book) {
        let equity = self.equity();
        self.less.fill(0.0);
        self.more.fill(0.0);
        for symbol in 0..self.shares.len() {
            let columns = &self.panel.columns()[symbol];
            if !pending.waits[symbol] || !columns.has(row) {
                continue;
            }
            let wanted = pending.targets[symbol] * equity / self.prices[symbol];
            let wanted = if self.settings.whole_shares { whole(wanted) } else { wanted };
            let delta = wanted - self.shares[symbol];
            let dust = delta.abs() * self.prices[symbol] <= DUST * equity && wanted != 0.0;
            let (delta, all) = if dust { (0.0, true) } else { self.within_volume(columns, row, delta) };
            if all {
                pending.done(symbol);
            }
            (self.less[symbol], self.more[symbol]) = parts(self.shares[symbol], delta);
        }
        let factor = self.affordable(row, equity, book);
        for symbol in 0..self.shares.len() {
            let more = self.more[symbol] * factor;
            let more = if self.settings.whole_shares { whole(more) } else { more };
            let after = self.shares[symbol] + self.less[symbol] + more;
            if self.less[symbol] != 0.0 || more != 0.0 {
                self.trade(row, symbol, after, book);
            }
        }
    }

    /// Trades orders one after the other: first those that waited, symbol by symbol and each symbol's in order of time; then the new
    /// ones, as they were given.
    fn fill_orders(&mut self, row: usize, pending: &mut Pending, book: &mut impl Book) {
        for (symbol, columns) in self.panel.columns().iter().enumerate() {
            self.room[symbol] = if columns.has(row) { self.volume_room(columns, row) } else { 0.0 };
        }
        for (symbol, queue) in pending.queues.iter_mut().enumerate() {
            while self.room[symbol] > 0.0 {
                let Some(order) = queue.pop_front() else { break };
                pending.queued -= 1;
                if let Some(rest) = self.fill_order(row, order, book) {
                    queue.push_front(rest);
                    pending.queued += 1;
                }
            }
        }
        for order in std::mem::take(&mut pending.fresh) {
            let queue = &mut pending.queues[order.symbol];
            let waits = !queue.is_empty() || self.room[order.symbol] == 0.0;
            let rest = if waits { Some(order) } else { self.fill_order(row, order, book) };
            pending.queued += usize::from(rest.is_some());
            queue.extend(rest);
        }
    }

    /// Trades an order as far as the bar's volume has room: what waits for the next bar. For want of equity it is refused, with all
    /// that is left of it.
    fn fill_order(&mut self, row: usize, order: Order, book: &mut impl Book) -> Option<Order> {
        let symbol = order.symbol;
        let asked = if self.settings.whole_shares { order.shares.trunc() } else { order.shares };
        if asked == 0.0 {
            book.refuse(row, symbol, order.shares, Reason::Fraction);
            return None;
        }
        let shares = asked.abs().min(self.room[symbol]).copysign(asked);
        let after = self.shares[symbol] + shares;
        if after < 0.0 && shares < 0.0 && !self.settings.short_allowed {
            book.refuse(row, symbol, asked, Reason::Short);
            return None;
        }
        self.less.fill(0.0);
        self.more.fill(0.0);
        (self.less[symbol], self.more[symbol]) = parts(self.shares[symbol], shares);
        let equity = self.equity();
        if self.more[symbol] != 0.0 && self.factor(row, equity) < 1.0 {
            book.refuse(row, symbol, asked, Reason::Margin);
            return None;
        }
        self.trade(row, symbol, after, book);
        self.room[symbol] -= shares.abs();
        let rest = asked - shares;
        // What rounding leaves is nothing.
        (rest.abs() > NEAR * shares.abs()).then_some(Order { shares: rest, ..order })
    }

    /// How many shares of a bar may be ours.
    fn volume_room(&self, columns: &Columns, row: usize) -> f64 {
        let share_max = self.settings.slippage.volume_share_max;
        if share_max == 0.0 {
            return f64::INFINITY;
        }
        let most = share_max * columns.volume[row];
        if self.settings.whole_shares { most.trunc() } else { most }
    }

    /// How much of an order the bar's volume lets through, and whether that is all of it.
    fn within_volume(&self, columns: &Columns, row: usize, shares: f64) -> (f64, bool) {
        let most = self.volume_room(columns, row);
        if shares.abs() <= most { (shares, true) } else { (most.copysign(shares), false) }
    }

    /// The factor by which what makes positions larger is cut, and a note where more than costs is the reason.
    fn affordable(&self, row: usize, equity: f64, book: &mut impl Book) -> f64 {
        let factor = self.factor(row, equity);
        let limit = self.settings.leverage_max * equity;
        if factor < 1.0 && self.gross(1.0) > limit * (1.0 + DUST) {
            for (symbol, more) in self.more.iter().enumerate().filter(|(_, more)| **more != 0.0) {
                book.refuse(row, symbol, more * (1.0 - factor), Reason::Margin);
            }
        }
        factor
    }

    /// The largest factor from 0 to 1 of what makes positions larger at which positions come to no more than the leverage that is
    /// allowed times what equity is after costs. Costs are taken as a straight line from none to all, of which they lie below
    /// or on it (a minimum is the reason why they may lie below), so that the factor is never too large.
    fn factor(&self, row: usize, equity: f64) -> f64 {
        let leverage = self.settings.leverage_max;
        let (none, all) = (self.gross(0.0), self.gross(1.0));
        if all == none {
            return 1.0;
        }
        let (least, most) = (self.costs(row, 0.0), self.costs(row, 1.0));
        if all <= leverage * (equity - most) * (1.0 + SLACK) {
            return 1.0;
        }
        let factor = (leverage * (equity - least) - none) / ((all - none) + leverage * (most - least));
        factor.clamp(0.0, 1.0)
    }

    /// What positions would come to, without regard to sign, with this factor.
    fn gross(&self, factor: f64) -> f64 {
        let mut sum = 0.0;
        for symbol in 0..self.shares.len() {
            let after = self.shares[symbol] + self.less[symbol] + self.more[symbol] * factor;
            if after != 0.0 {
                sum += after.abs() * self.prices[symbol];
            }
        }
        sum
    }

    /// What the trades of this row would cost with this factor; with 0, what they cost in the limit.
    fn costs(&self, row: usize, factor: f64) -> f64 {
        let mut sum = 0.0;
        for symbol in 0..self.shares.len() {
            let (less, more) = (self.less[symbol], self.more[symbol]);
            if less == 0.0 && more == 0.0 {
                continue;
            }
            let (reference, shares) = (self.prices[symbol], less + more * factor);
            let direction = if more == 0.0 { less } else { more };
            let filled = price::of_fill(self.settings, &self.panel.columns()[symbol], row, reference, direction);
            let commission = price::commission(&self.settings.commission, shares, filled);
            sum += commission.max(self.settings.commission.minimum) + shares.abs() * (filled - reference).abs();
        }
        sum
    }

    fn trade(&mut self, row: usize, symbol: usize, after: f64, book: &mut impl Book) {
        let before = self.shares[symbol];
        let (shares, reference) = (after - before, self.prices[symbol]);
        let filled = price::of_fill(self.settings, &self.panel.columns()[symbol], row, reference, shares);
        let commission = price::commission(&self.settings.commission, shares, filled);
        let slippage = shares.abs() * (filled - reference).abs();
        self.cash -= shares * filled + commission;
        self.shares[symbol] = after;
        book.fill(Entry { row, symbol, before, after, price: filled, commission, slippage });
    }

    /// Equity at the prices of the fills.
    fn equity(&self) -> f64 {
        let mut equity = self.cash;
        for (shares, price) in self.shares.iter().zip(&self.prices) {
            if *shares != 0.0 {
                equity += shares * price;
            }
        }
        equity
    }

    /// The account at the close of a row.
    fn close(&mut self, row: usize) -> Close {
        let (mut gross, mut net) = (0.0, 0.0);
        for (symbol, columns) in self.panel.columns().iter().enumerate() {
            let close = columns.close[row];
            if !close.is_nan() {
                self.marks[symbol] = close;
            }
            let shares = self.shares[symbol];
            if shares != 0.0 {
                let value = shares * self.marks[symbol];
                net += value;
                gross += value.abs();
            }
        }
        Close { equity: self.cash + net, cash: self.cash, gross, net }
    }

    /// Notes what still waits after the last row.
    fn unfilled(&mut self, pending: &Pending, book: &mut impl Book) {
        let last = self.panel.len() - 1;
        self.prices.clone_from(&self.marks);
        let equity = self.equity();
        for (symbol, target) in pending.targets.iter().enumerate() {
            let shares = target * equity / self.marks[symbol] - self.shares[symbol];
            if pending.waits[symbol] && shares.is_finite() && shares != 0.0 {
                book.refuse(last, symbol, shares, Reason::Ended);
            }
        }
        for order in pending.queues.iter().flatten().chain(&pending.fresh) {
            book.refuse(last, order.symbol, order.shares, Reason::Ended);
        }
    }
}

/// What of a trade makes a position smaller, and what makes it, or one of the other side, larger.
fn parts(held: f64, delta: f64) -> (f64, f64) {
    if held * delta >= 0.0 {
        (0.0, delta)
    } else if delta.abs() <= held.abs() {
        (delta, 0.0)
    } else {
        (-held, held + delta)
    }
}

/// The whole shares in a number of shares.
fn whole(shares: f64) -> f64 {
    let size = shares.abs();
    (size + NEAR * size.max(1.0)).floor().copysign(shares)
}

/// Goes through all rows of one symbol that has a bar in each, from event to event: at the close of row `.0` the weight `.1` is
/// wanted. Equity at each close goes into `equity`; it is, to the bit, what [`run`] finds. `None`, and `equity` without a meaning,
/// where going from event to event would not do: shares are borrowed for a fee, a fill is spread over bars, or all is lost.
pub(crate) fn run_events(
    panel: &Panel,
    events: &[(usize, f64)],
    settings: &Settings,
    book: &mut impl Book,
    equity: &mut Vec<f64>,
) -> Option<()> {
    let is_short = events.iter().any(|(_, weight)| *weight < 0.0);
    if (is_short && settings.borrow_rate > 0.0) || settings.slippage.volume_share_max > 0.0 {
        return None;
    }
    let closes = panel.columns()[0].close.as_slice();
    let mut account = Account::new(panel, settings);
    let mut pending = Pending::new(1);
    equity.clear();
    equity.reserve(closes.len());
    for (row, weight) in events {
        pending.want(0, *weight, settings.rebalance);
        let fill = row + 1;
        account.hold(&closes[equity.len()..fill], equity)?;
        if fill == closes.len() {
            break;
        }
        if pending.any() {
            account.fill(fill, &mut pending, book);
        }
    }
    account.hold(&closes[equity.len()..], equity)
}

impl Account<'_> {
    /// Equity at closes between which nothing is traded. `None` when all is lost at one of them.
    fn hold(&self, closes: &[f64], equity: &mut Vec<f64>) -> Option<()> {
        let (cash, shares) = (self.cash, self.shares[0]);
        let from = equity.len();
        if shares == 0.0 {
            equity.resize(from + closes.len(), cash + 0.0);
        } else {
            equity.extend(closes.iter().map(|close| cash + shares * close));
        }
        let lost = |sum: bool, e: &f64| sum | (*e <= 0.0);
        (!equity[from..].iter().fold(false, lost)).then_some(())
    }
}
