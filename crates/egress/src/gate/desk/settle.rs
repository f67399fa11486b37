//! What became of an order that was sent: what the venue said, what it says when it is asked, and what of that the ledger is told.

use std::time::Duration;

use hyper::http::{Method, StatusCode};
use ringfence_model::net::HostName;
use ringfence_model::trade::{OrderClass, Price, Qty, TradeDate, UpstreamId, Usd};
use ringfence_store::StoreError;
use ringfence_store::gate::{Acknowledged, Fill, OrderRow};
use rust_decimal::Decimal;
use serde::Deserialize;

use super::Access;
use super::wire::{Answered, Said, WireError};
use crate::gate::{Gate, now_ms};

/// How often, and for how long, a venue is asked at once about an order of which nobody knows whether it has arrived.
const ASKS: u32 = 5;
const ASK_EVERY: Duration = Duration::from_millis(400);
/// An order that a venue does not know after so long has never arrived.
const LOST_MS: u64 = 60_000;

/// An order as a venue tells it.
#[derive(Debug, Clone, Deserialize)]
pub(in crate::gate) struct OrderSaid {
    pub(in crate::gate) id: String,
    #[serde(default)]
    pub(in crate::gate) client_order_id: String,
    pub(in crate::gate) status: String,
    filled_qty: Option<String>,
    filled_avg_price: Option<String>,
    filled_at: Option<String>,
    updated_at: Option<String>,
    legs: Option<Vec<OrderSaid>>,
}

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

impl OrderSaid {
    fn upstream(&self) -> Option<UpstreamId> {
        UpstreamId::parse(&self.id).ok()
    }

    fn acknowledged(&self) -> Option<Acknowledged> {
        let legs = self.legs.iter().flatten().filter_map(Self::upstream).collect();
        Some(Acknowledged { id: self.upstream()?, legs })
    }

    /// Whether it and its legs trade no more.
    fn is_over(&self) -> bool {
        const OVER: [&str; 5] = ["filled", "canceled", "expired", "replaced", "rejected"];
        OVER.contains(&self.status.as_str()) && self.legs.iter().flatten().all(Self::is_over)
    }

    fn filled(&self) -> Option<Qty> {
        let text = self.filled_qty.as_deref().unwrap_or("0");
        Qty::from_decimal(Decimal::from_str_exact(text).ok()?.trunc_with_scale(9))
    }

    fn average(&self) -> Option<Price> {
        Price::from_decimal(Decimal::from_str_exact(self.filled_avg_price.as_deref()?).ok()?.trunc_with_scale(9))
    }

    /// When it was last filled, by the account's clock.
    fn at(&self) -> Option<jiff::Timestamp> {
        self.filled_at.as_deref().or(self.updated_at.as_deref())?.parse().ok()
    }
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
        if answered.status.is_success() {
            return match serde_json::from_slice::<OrderSaid>(&answered.body).ok().and_then(|said| said.acknowledged()) {
                Some(said) => {
                    self.store.trade_acknowledged(number, now_ms(), said).await?;
                    Ok(Sent::Taken(answered))
                }
                None => self.look_up(access, host, order).await,
            };
        }
        // Below 500 it was read and refused, but for the two that say that nobody looked at it in time.
        let is_refusal = answered.status.is_client_error() && answered.status != StatusCode::REQUEST_TIMEOUT;
        if is_refusal {
            let why = String::from_utf8_lossy(answered.body.get(..300).unwrap_or(&answered.body)).into_owned();
            self.store.trade_refused_upstream(number, now_ms(), answered.status.as_u16(), why).await?;
            return Ok(Sent::Refused(answered));
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
        let id =
            percent_encoding::utf8_percent_encode(order.client_order_id.as_str(), percent_encoding::NON_ALPHANUMERIC);
        let target = format!("/v2/orders:by_client_order_id?client_order_id={id}");
        let said = Said { method: Method::GET, host: host.clone(), target, body: vec![] };
        let answered = match self.say(access, said).await {
            Ok(answered) => answered,
            Err(error) => return Ok(Err(error)),
        };
        if answered.status == StatusCode::NOT_FOUND {
            return Ok(Ok(None));
        }
        let found = answered.status.is_success().then(|| serde_json::from_slice::<OrderSaid>(&answered.body).ok());
        match found.flatten().and_then(|said| said.acknowledged()) {
            Some(said) => {
                self.store.trade_acknowledged(order.number, now_ms(), said).await?;
                Ok(Ok(Some(answered)))
            }
            None => Ok(Err(WireError::Unknown(format!("it answered {}", answered.status.as_u16())))),
        }
    }

    /// Looks an order in doubt up once more; one that the venue does not know after a minute never arrived.
    pub(in crate::gate) async fn resolve(&self, access: &Access, order: &OrderRow) -> Result<(), StoreError> {
        if let Ok(None) = self.asked_once(access, &self.trading_host(), order).await?
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
            && let Some(said) = said.acknowledged()
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
