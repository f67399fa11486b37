//! What became of an order that was sent: what the venue said, what it says when it is asked, and what of that the ledger is told.

use std::time::Duration;

use hyper::http::Method;
use ringfence_model::net::HostName;
use ringfence_model::trade::{OrderClass, Price, Qty, TradeDate, Usd};
use ringfence_store::StoreError;
use ringfence_store::gate::{Acknowledged, Fill, OrderRow};

use super::Access;
use super::wire::{Answered, Said, WireError};
use crate::gate::{Gate, now_ms};
use crate::trade::{Heard, Placed};

pub(in crate::gate) use crate::trade::OrderSaid;

/// How often, and for how long, a venue is asked at once about an order of which nobody knows whether it has arrived.
const ASKS: u32 = 5;
const ASK_EVERY: Duration = Duration::from_millis(400);
/// An order that a venue does not know after so long has never arrived.
const LOST_MS: u64 = 60_000;

/// What the venue has of an order that was sent.
pub(in crate::gate) enum Sent {
    /// It has it: its answer.
    Taken(Answered),
    /// It refused it: its answer.
    Refused(Answered),
    /// It was never sent.
    Unsent(String),
    /// Nobody knows. It keeps its reservation, and is looked up.
    InDoubt,
}

/// What the ledger is told of an order that a venue has.
fn acknowledged(said: &OrderSaid) -> Option<Acknowledged> {
    let legs = said.legs.iter().flatten().filter_map(OrderSaid::upstream).collect();
    Some(Acknowledged { id: said.upstream()?, legs })
}

/// An order of the ledger as a venue is told of it.
pub(in crate::gate) fn placed(order: &OrderRow) -> Placed<'_> {
    Placed { symbol: &order.intent.symbol, id: order.upstream_id.as_ref(), client: &order.client_order_id }
}

/// The day of an instant in New York. What is filled by day falls on one day with either of its offsets.
fn day_of(at: jiff::Timestamp) -> Option<TradeDate> {
    let there = at.to_zoned(jiff::tz::TimeZone::fixed(jiff::tz::offset(-5)));
    TradeDate::new(
        u16::try_from(there.year()).ok()?,
        u8::try_from(there.month()).ok()?,
        u8::try_from(there.day()).ok()?,
    )
}

impl Gate {
    /// Sends an order, once, and tells the ledger what came of it.
    pub(in crate::gate) async fn send_order(
        &self,
        access: &Access,
        host: &HostName,
        order: &OrderRow,
        said: Said,
    ) -> Result<Sent, StoreError> {
        let number = order.number;
        let answered = match self.say(access, said).await {
            Ok(answered) => answered,
            Err(WireError::Unsent(why)) => {
                self.store.trade_closed(number, now_ms(), "not_sent".to_owned()).await?;
                return Ok(Sent::Unsent(why));
            }
            Err(WireError::Unknown(why)) => {
                tracing::warn!(order = number, why, "nobody knows whether an order has arrived");
                return self.look_up(access, host, order).await;
            }
        };
        let codec = access.lead.codec;
        match codec.heard(answered.status, &answered.body) {
            Heard::Taken => {
                if let Some(said) = codec.order(&answered.body).and_then(|said| acknowledged(&said)) {
                    self.store.trade_acknowledged(number, now_ms(), said).await?;
                    return Ok(Sent::Taken(answered));
                }
            }
            Heard::Refused => {
                let why = String::from_utf8_lossy(answered.body.get(..300).unwrap_or(&answered.body)).into_owned();
                self.store.trade_refused_upstream(number, now_ms(), answered.status.as_u16(), why).await?;
                return Ok(Sent::Refused(answered));
            }
            Heard::InDoubt => {}
        }
        self.look_up(access, host, order).await
    }

    /// Asks what became of an order that may have arrived. It is never sent again.
    pub(in crate::gate) async fn look_up(
        &self,
        access: &Access,
        host: &HostName,
        order: &OrderRow,
    ) -> Result<Sent, StoreError> {
        self.store.trade_ambiguous(order.number).await?;
        for round in 0..ASKS {
            if round > 0 {
                tokio::time::sleep(ASK_EVERY).await;
            }
            if let Ok(Some(answered)) = self.asked_once(access, host, order).await? {
                return Ok(Sent::Taken(answered));
            }
        }
        Ok(Sent::InDoubt)
    }

    /// One question about an order by its client order id. `Ok(None)`: the venue says that it does not have it.
    pub(in crate::gate) async fn asked_once(
        &self,
        access: &Access,
        host: &HostName,
        order: &OrderRow,
    ) -> Result<Result<Option<Answered>, WireError>, StoreError> {
        let codec = access.lead.codec;
        let target = codec.by_client_id(placed(order));
        let said = Said { method: Method::GET, host: host.clone(), target, body: vec![] };
        let answered = match self.say(access, said).await {
            Ok(answered) => answered,
            Err(error) => return Ok(Err(error)),
        };
        if codec.is_not_found(answered.status, &answered.body) {
            return Ok(Ok(None));
        }
        let found = answered.status.is_success().then(|| codec.order(&answered.body)).flatten();
        match found.and_then(|said| acknowledged(&said)) {
            Some(said) => {
                self.store.trade_acknowledged(order.number, now_ms(), said).await?;
                Ok(Ok(Some(answered)))
            }
            None => Ok(Err(WireError::Unknown(format!("it answered {}", answered.status.as_u16())))),
        }
    }

    /// Looks an order in doubt up once more; one that the venue does not know after a minute never arrived.
    pub(in crate::gate) async fn resolve(&self, access: &Access, order: &OrderRow) -> Result<(), StoreError> {
        if let Ok(None) = self.asked_once(access, &self.host_of(access), order).await?
            && now_ms().saturating_sub(order.admitted_at_ms) > LOST_MS
        {
            self.store.trade_closed(order.number, now_ms(), "not_found".to_owned()).await?;
        }
        Ok(())
    }

    /// Tells the ledger what the venue says of an order now: new fills, and its end.
    ///
    /// A venue tells sums, of which the news are the rest: so one after the other, each from what the ledger has by then. The
    /// stream of orders and whoever asks the venue may tell of the same fill.
    pub(in crate::gate) async fn note_order(&self, row: &OrderRow, said: &OrderSaid) -> Result<(), StoreError> {
        let _turn = self.desk.noting.lock().await;
        let number = row.number;
        let row = &self.store.read(move |view| view.trade_order(number)).await?;
        if row.state.is_unresolved()
            && let Some(said) = acknowledged(said)
        {
            self.store.trade_acknowledged(row.number, now_ms(), said).await?;
        }
        let entry = (row.filled, row.posted);
        self.note_fill(row, said, false, entry).await?;
        // Of the legs, the exits that were counted are those of all together.
        let mut counted = row.exit_filled;
        for leg in said.legs.iter().flatten() {
            let Some(filled) = leg.filled() else { continue };
            let before = if counted > filled { filled } else { counted };
            counted = counted.less(filled);
            self.note_fill(row, leg, true, (before, Usd::ZERO)).await?;
        }
        if said.is_over() {
            self.store.trade_closed(row.number, now_ms(), said.status.clone()).await?;
        }
        Ok(())
    }

    /// Whether an update of an order by itself says all of it: one with legs is asked for with them.
    pub(in crate::gate) fn is_whole(row: &OrderRow) -> bool {
        row.intent.structure.class() == OrderClass::Simple
    }

    /// Counts what was filled since it was last heard of. A venue tells the sum and its average, of which the news are the rest.
    async fn note_fill(
        &self,
        row: &OrderRow,
        said: &OrderSaid,
        leg: bool,
        (before, posted): (Qty, Usd),
    ) -> Result<(), StoreError> {
        let (Some(filled), Some(average), Some(at)) = (said.filled(), said.average(), said.at()) else { return Ok(()) };
        let Some(qty) = filled.minus(before).filter(|qty| qty.is_positive()) else { return Ok(()) };
        let rest = average.times(filled).and_then(|all| all.minus(posted)).filter(|_| !leg && before.is_positive());
        let price = match rest.filter(|rest| rest.is_positive()) {
            Some(rest) => {
                rest.decimal().checked_div(qty.decimal()).and_then(|p| Price::from_decimal(p.trunc_with_scale(9)))
            }
            None => Some(average),
        };
        let Some(date) = day_of(at) else { return Ok(()) };
        let fill = Fill {
            number: row.number,
            leg,
            execution_id: format!("{}:{}", said.id, filled),
            qty,
            price: price.unwrap_or(average),
            at_ms: u64::try_from(at.as_millisecond()).unwrap_or(0),
            date,
            host_ms: now_ms(),
        };
        for moved in self.store.trade_fill(fill).await?.moved {
            tracing::warn!(account = %moved.account, state = moved.state.as_str(), "fills have moved a state");
        }
        Ok(())
    }
}
