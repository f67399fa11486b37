//! What is counted of decisions, beside the records of them: how many there were since this gateway began.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ringfence_model::net::control::{GateFigures, OrderCount, OrderVerdict};
use ringfence_model::trade::{AccountId, Environment};
use ringfence_store::StoreError;
use ringfence_store::gate::{TradeAsk, TradeRuling, Verdict};

use super::Gate;
use crate::trade::Asks;

/// Longest wait for the exchange, which is asked each time.
const EXCHANGE_TIME: Duration = Duration::from_secs(1);

const ENVIRONMENTS: [Environment; 3] = [Environment::Simulated, Environment::Paper, Environment::Live];

/// The counters.
#[derive(Debug, Default)]
pub(super) struct Counts {
    allowed: AtomicU64,
    refused: AtomicU64,
    orders: [[AtomicU64; OrderVerdict::ALL.len()]; ENVIRONMENTS.len()],
}

impl Counts {
    /// Something was decided, and that is on disk.
    pub(super) fn decided(&self, verdict: &Verdict) {
        let counter = match verdict {
            Verdict::Allow => &self.allowed,
            Verdict::Refuse { .. } => &self.refused,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn order(&self, environment: Environment, verdict: OrderVerdict) {
        let place = ENVIRONMENTS.iter().zip(&self.orders).find(|(known, _)| **known == environment);
        let place = place.and_then(|(_, of)| OrderVerdict::ALL.iter().zip(of).find(|(known, _)| **known == verdict));
        if let Some((_, counter)) = place {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A message was refused before it came to the ledger.
    pub(super) fn refused_early(&self, environment: Environment, asks: Asks) {
        if matches!(asks, Asks::Submit | Asks::Replace | Asks::ClosePosition) {
            self.order(environment, OrderVerdict::Refused);
        }
    }

    fn orders(&self) -> Vec<OrderCount> {
        let of = |(environment, counters): (&Environment, &[AtomicU64; OrderVerdict::ALL.len()])| {
            let environment = *environment;
            let counts = OrderVerdict::ALL.iter().zip(counters);
            let counts = counts.map(move |(verdict, counter)| OrderCount {
                environment,
                verdict: *verdict,
                count: counter.load(Ordering::Relaxed),
            });
            counts.collect::<Vec<_>>()
        };
        ENVIRONMENTS.iter().zip(&self.orders).flat_map(of).collect()
    }
}

impl Gate {
    /// What the ledger says of a message, counted.
    ///
    /// # Errors
    /// As [`ringfence_store::gate::GateStore::trade_admit`]; nothing is counted then.
    pub(super) async fn rule(&self, ask: TradeAsk) -> Result<TradeRuling, StoreError> {
        let (environment, is_order) = (ask.facts.environment, ask.message.makes_an_order());
        let ruling = self.store.trade_admit(ask).await?;
        let (verdict, counter) = match &ruling {
            TradeRuling::Allowed { .. } => (OrderVerdict::Allowed, &self.counts.allowed),
            TradeRuling::Duplicate { .. } => (OrderVerdict::Duplicate, &self.counts.allowed),
            TradeRuling::Refused { .. } => (OrderVerdict::Refused, &self.counts.refused),
            TradeRuling::Held { .. } => (OrderVerdict::Held, &self.counts.refused),
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if is_order {
            self.counts.order(environment, verdict);
        }
        Ok(ruling)
    }

    /// All that is counted, and how things stand now.
    ///
    /// # Errors
    /// The database refuses.
    pub(super) async fn figures(&self) -> Result<GateFigures, StoreError> {
        let standing = self.store.trade_standing(AccountId::venue(), None).await?;
        let exchange = tokio::time::timeout(EXCHANGE_TIME, self.exchange()).await;
        Ok(GateFigures {
            decisions_allowed: self.counts.allowed.load(Ordering::Relaxed),
            decisions_refused: self.counts.refused.load(Ordering::Relaxed),
            orders: self.counts.orders(),
            state: standing.account.states.account.as_str().to_owned(),
            mode: self.leads.mode().as_str().to_owned(),
            exchange_answers: exchange.is_ok_and(|asked| asked.is_ok()),
            database_bytes: self.store.bytes(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_counted_where_it_would_go() {
        let counts = Counts::default();
        counts.order(Environment::Paper, OrderVerdict::Held);
        counts.refused_early(Environment::Live, Asks::Submit);
        counts.refused_early(Environment::Live, Asks::Cancel);
        counts.refused_early(Environment::Live, Asks::ReadOrders);
        let seen: Vec<_> = counts.orders().into_iter().filter(|count| count.count > 0).collect();
        let count = |environment, verdict| OrderCount { environment, verdict, count: 1 };
        assert_eq!(
            seen,
            [count(Environment::Paper, OrderVerdict::Held), count(Environment::Live, OrderVerdict::Refused)]
        );
        assert_eq!(counts.orders().len(), 12, "each series is there from the beginning");
    }
}
