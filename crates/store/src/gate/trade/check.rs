//! What must be so of the ledger at any time, checked from its rows.

use std::collections::BTreeMap;

use rusqlite::Row;

use crate::error::{Result, doing};
use crate::gate::{GateStore, GateView};

/// The sums of one scope: pending to buy, pending to trade, open orders, bought, traded.
type Sums = [i64; 5];

impl GateView<'_> {
    /// What is not as it must be; nothing, unless the file was edited or there is a bug. It reads the whole ledger.
    ///
    /// # Errors
    /// The database refuses, or holds something unreadable.
    pub fn trade_check(&self) -> Result<Vec<String>> {
        let mut broken = Vec::new();
        let mut expected: BTreeMap<(String, String), Sums> = BTreeMap::new();
        for order in self.order_rows("ORDER BY o.number", [])? {
            let (bought, turnover) = (order.pending_bought().units(), order.pending_turnover().units());
            if order.closed_at_ms.is_some() && (turnover, order.open_orders) != (0, 0) {
                broken.push(format!("order {} is closed and still holds {turnover} millionths", order.number));
            }
            if order.replaces.is_none()
                && (order.entry_pending, order.exit_pending) > (order.reservation.entry, order.reservation.exit)
            {
                broken.push(format!("order {} holds more than was reserved for it", order.number));
            }
            for key in ["", order.sandbox.as_str()] {
                let sums = expected.entry((order.account.as_str().to_owned(), key.to_owned())).or_default();
                for (sum, more) in sums.iter_mut().zip([bought, turnover, i64::from(order.open_orders), 0, 0]) {
                    *sum += more;
                }
            }
        }
        let mut posted: BTreeMap<u64, i64> = BTreeMap::new();
        let fills = self.rows("SELECT number, account, sandbox_id, side, value FROM trade_fill", |row| {
            Ok((
                row.get(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, String>(2)?,
                row.get::<_, String>(3)?,
                row.get::<_, i64>(4)?,
            ))
        })?;
        for (number, account, sandbox, side, value) in fills {
            *posted.entry(number).or_default() += value;
            for key in [String::new(), sandbox] {
                let sums = expected.entry((account.clone(), key)).or_default();
                sums[3] += if side == "buy" { value } else { 0 };
                sums[4] += value;
            }
        }
        for order in self.order_rows("ORDER BY o.number", [])? {
            let of_fills = posted.get(&order.number).copied().unwrap_or_default();
            if order.posted.units() != of_fills {
                broken.push(format!(
                    "order {} has {} posted, and fills of {of_fills}",
                    order.number,
                    order.posted.units()
                ));
            }
        }
        let found = self.rows(
            "SELECT s.account, s.sandbox_id, s.pending_bought, s.pending_turnover, s.open_orders, \
             coalesce(sum(d.bought), 0), coalesce(sum(d.turnover), 0) FROM trade_scope s LEFT JOIN trade_day d \
             ON d.account = s.account AND d.sandbox_id = s.sandbox_id GROUP BY s.account, s.sandbox_id",
            |row| {
                let sums: Sums = [row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?];
                Ok(((row.get::<_, String>(0)?, row.get::<_, String>(1)?), sums))
            },
        )?;
        let mut found: BTreeMap<_, _> = found.into_iter().collect();
        for (scope, sums) in expected {
            let of_scope = found.remove(&scope).unwrap_or_default();
            if of_scope != sums {
                broken.push(format!("{scope:?} counts {of_scope:?}, and its orders and fills come to {sums:?}"));
            }
        }
        let rest = found.into_iter().filter(|(_, sums)| *sums != Sums::default());
        broken.extend(rest.map(|(scope, sums)| format!("{scope:?} counts {sums:?}, and has no order")));
        let stray = self.rows(
            "SELECT u.upstream_id FROM trade_upstream u LEFT JOIN trade_order o ON o.number = u.number \
             AND o.account = u.account WHERE o.number IS NULL",
            |row| row.get::<_, String>(0),
        )?;
        broken.extend(stray.into_iter().map(|id| format!("{id} is the id of no order")));
        Ok(broken)
    }

    fn rows<T>(&self, sql: &str, read: fn(&Row<'_>) -> rusqlite::Result<T>) -> Result<Vec<T>> {
        self.conn
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_map([], read)?.collect())
            .map_err(doing("check the ledger"))
    }
}

impl GateStore {
    /// [`GateView::trade_check`].
    ///
    /// # Errors
    /// As there.
    pub async fn trade_check(&self) -> Result<Vec<String>> {
        self.read(|view| view.trade_check()).await
    }
}
