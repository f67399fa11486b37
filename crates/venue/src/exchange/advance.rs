//! Time passes: sessions open and close, the tape's ticks meet orders, orders expire.
//!
//! Everything happens in one order, whatever the pieces in which time is walked through: by instant; at one instant first what
//! begins (splits, sessions, orders that were on their way), then the ticks by symbol, then what ends. A stretch is open at
//! its begin and closed at its end, so that two of them make one.

use jiff::{SignedDuration, Timestamp};
use ringfence_market::{Quote, Symbol, Tick, Trade, calendar, new_york};
use rust_decimal::Decimal;

use super::{EventKind, Turn, submit::window};
use crate::{
    account::{Change, Mark, value::Market},
    order::{Kind, OrderNo, Side, Status, Tif},
};

/// Ticks of a symbol that are read at a time.
const TICKS: usize = 4096;

const NANOSECOND: SignedDuration = SignedDuration::from_nanos(1);

/// One symbol's ticks.
struct Feed {
    symbol: Symbol,
    ticks: std::vec::IntoIter<Tick>,
    next: Option<Tick>,
    /// The last instant that was read.
    read: Timestamp,
    /// Whether nothing comes after what was read.
    whole: bool,
    quote: Option<Quote>,
    orders: Vec<OrderNo>,
    edits: u64,
}

impl Turn<'_> {
    /// Lets time pass until `to`; nothing happens when that is not later than what has happened already.
    pub fn advance(&mut self, to: Timestamp) {
        while self.account.until < to {
            let from = self.account.until;
            let end = match self.next_instant(from, to) {
                Some(at) => {
                    let before = at.checked_sub(NANOSECOND).unwrap_or(at);
                    self.walk(from, before);
                    self.begin(at);
                    self.walk(before.max(from), at);
                    self.close(at);
                    at
                }
                None => {
                    self.walk(from, to);
                    to
                }
            };
            self.account.until = end;
        }
        self.now = self.now.max(to);
    }

    /// The first instant after `from`, `to` at the latest, at which something begins or ends.
    fn next_instant(&self, from: Timestamp, to: Timestamp) -> Option<Timestamp> {
        let working = !self.account.index.open.is_empty();
        let mut first: Option<Timestamp> = None;
        let mut note = |at: Timestamp| {
            if at > from && at <= to {
                first = Some(first.map_or(at, |known| known.min(at)));
            }
        };
        for session in calendar::onwards(new_york::date(from)).take(2) {
            note(session.close);
            if working {
                [session.pre_open, session.open, session.post_close].into_iter().for_each(&mut note);
            }
        }
        for order in self.account.open_orders() {
            note(order.eligible_from);
        }
        let symbols = self.account.open_orders().map(|order| &order.symbol).chain(self.account.positions.keys());
        let end = first.unwrap_or(to);
        let mut seen: Option<&Symbol> = None;
        for symbol in symbols {
            if seen == Some(symbol) {
                continue;
            }
            seen = Some(symbol);
            for action in self.tape.actions(symbol, from, end) {
                if let Some(at) = new_york::midnight(action.ex_date).filter(|at| *at > from && *at <= end) {
                    first = Some(first.map_or(at, |known| known.min(at)));
                }
            }
        }
        first
    }

    fn begin(&mut self, at: Timestamp) {
        self.corporate_actions(at);
        let open: Vec<OrderNo> = self.account.index.open.iter().copied().collect();
        let session = self.session_of(at);
        for no in open {
            let Some(order) = self.account.orders.get(&no) else { continue };
            let opens = session.is_some_and(|session| window(&session, order.extended_hours).0 == at);
            if order.status == Status::Accepted && opens {
                self.admit(no, at);
            } else if order.eligible_from == at {
                self.attempt(no, at, None);
            }
        }
    }

    fn close(&mut self, at: Timestamp) {
        let Some(session) = self.session_of(at) else { return };
        if at == session.close {
            let cls = |tif: Tif| tif == Tif::Cls;
            let closing: Vec<_> =
                self.account.open_orders().filter(|o| cls(o.tif) && o.status.is_live()).map(|o| o.no).collect();
            for no in closing {
                let Some(order) = self.account.orders.get(&no) else { continue };
                let last = self.tape.last_trade(&order.symbol, at).filter(|trade| trade.at >= session.open);
                match last {
                    Some(trade) => self.auction(no, at, trade.price),
                    None => self.finish(no, at, Status::Canceled, EventKind::Canceled),
                }
            }
        }
        let over: Vec<_> = self
            .account
            .open_orders()
            .filter(|order| order.expires <= session.date && window(&session, order.extended_hours).1 == at)
            .map(|order| order.no)
            .collect();
        for no in over {
            self.finish(no, at, Status::Expired, EventKind::Expired);
        }
        if at == session.close
            && let Ok(value) = self.account.value(Market { tape: self.tape, at })
        {
            let mark = Mark { date: session.date, at, equity: value.equity, cash: self.account.cash };
            self.change(Change::Mark(mark));
        }
    }

    /// The ticks after `after` up to `until` meet the orders that may fill.
    fn walk(&mut self, after: Timestamp, until: Timestamp) {
        if after >= until {
            return;
        }
        let mut symbols: Vec<Symbol> =
            self.account.open_orders().filter(|o| o.status.is_live()).map(|o| o.symbol.clone()).collect();
        symbols.sort_unstable();
        symbols.dedup();
        let mut feeds: Vec<Feed> = symbols.into_iter().map(|symbol| self.feed(symbol, after)).collect();
        loop {
            for feed in &mut feeds {
                self.refill(feed, until);
            }
            // Symbols ascend, so that the first of one instant is the first by name.
            let first = feeds.iter().enumerate().filter_map(|(n, feed)| Some((feed.next.as_ref()?.at(), n))).min();
            let Some((at, n)) = first else { return };
            let feed = &mut feeds[n];
            let Some(tick) = feed.next.take() else { return };
            if feed.edits != self.edits {
                feed.edits = self.edits;
                let of_symbol = self.account.open_orders().filter(|o| o.symbol == feed.symbol);
                feed.orders = of_symbol.map(|order| order.no).collect();
            }
            match tick {
                Tick::Quote(quote) => {
                    for no in &feed.orders {
                        self.attempt(*no, at, Some(&quote));
                    }
                    feed.quote = Some(quote);
                }
                Tick::Trade(trade) => {
                    for no in &feed.orders {
                        self.traded(*no, &trade, feed.quote.as_ref());
                    }
                }
            }
            // Orders may have ended, or exits have come in.
            if feed.edits != self.edits && !self.account.open_orders().any(|o| o.symbol == feed.symbol) {
                feeds.remove(n);
            }
        }
    }

    fn feed(&self, symbol: Symbol, after: Timestamp) -> Feed {
        Feed {
            quote: self.tape.quote(&symbol, after),
            symbol,
            ticks: Vec::new().into_iter(),
            next: None,
            read: after,
            whole: false,
            orders: Vec::new(),
            edits: u64::MAX,
        }
    }

    fn refill(&self, feed: &mut Feed, until: Timestamp) {
        if feed.next.is_some() {
            return;
        }
        feed.next = feed.ticks.next();
        if feed.next.is_some() || feed.whole {
            return;
        }
        let ticks = self.tape.ticks(&feed.symbol, feed.read, until, TICKS);
        feed.whole = ticks.len() < TICKS;
        if let Some(last) = ticks.last() {
            feed.read = last.at();
        }
        feed.ticks = ticks.into_iter();
        feed.next = feed.ticks.next();
    }

    /// A trade of others: the opening one for orders that want it, and what elects stops, in a session alone.
    fn traded(&mut self, no: OrderNo, trade: &Trade, quote: Option<&Quote>) {
        let Some(order) = self.account.orders.get(&no).filter(|order| order.status.is_live()) else { return };
        let (tif, waits) = (order.tif, order.waits_for_price());
        if tif != Tif::Opg && !waits {
            return;
        }
        let at = trade.at;
        let Some(session) = self.session_of(at).filter(|s| s.open <= at && at <= s.close) else { return };
        if tif == Tif::Opg {
            return self.auction(no, at, trade.price);
        }
        // A trade outside of the best prices elects nothing; before the session's first quote there are none.
        let quote = quote.filter(|quote| quote.at >= session.open);
        if quote.is_some_and(|quote| trade.price < quote.bid || trade.price > quote.ask) {
            return;
        }
        let Some(order) = self.account.orders.get(&no) else { return };
        if order.kind == Kind::TrailingStop {
            let better = |best: Decimal| match order.side {
                Side::Sell => trade.price > best,
                Side::Buy => trade.price < best,
            };
            if order.hwm.is_none_or(better) {
                self.edit(no, at, |order| order.hwm = Some(trade.price));
            }
        }
        let Some(order) = self.account.orders.get(&no) else { return };
        let stop = match order.kind {
            Kind::TrailingStop => order.trailed().unwrap_or(None),
            _ => order.stop_price,
        };
        let elected = stop.is_some_and(|stop| match order.side {
            Side::Sell => trade.price <= stop,
            Side::Buy => trade.price >= stop,
        });
        if elected && at >= order.eligible_from {
            self.edit(no, at, |order| {
                order.elected = true;
                if order.kind == Kind::TrailingStop {
                    order.stop_price = stop;
                }
            });
            self.attempt(no, at, quote);
        }
    }
}
