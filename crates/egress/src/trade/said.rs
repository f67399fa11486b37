//! An order as a venue tells it, in Alpaca's words: those of other venues are put into them.

use ringfence_model::trade::{Price, Qty, UpstreamId};
use rust_decimal::Decimal;
use serde::Deserialize;

/// An order as a venue tells it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct OrderSaid {
    /// Its id, as the ledger has it.
    pub(crate) id: String,
    /// What it was called by the one who sent it.
    #[serde(default)]
    pub(crate) client_order_id: String,
    /// How far it is: `new`, `filled` and so on.
    pub(crate) status: String,
    /// What of it was filled.
    pub(crate) filled_qty: Option<String>,
    /// The average price of that.
    pub(crate) filled_avg_price: Option<String>,
    /// When it was last filled.
    pub(crate) filled_at: Option<String>,
    /// When something last became of it.
    pub(crate) updated_at: Option<String>,
    /// Orders that belong to it.
    pub(crate) legs: Option<Vec<OrderSaid>>,
}

impl OrderSaid {
    /// Its id, if it has the shape of one.
    pub(crate) fn upstream(&self) -> Option<UpstreamId> {
        UpstreamId::parse(&self.id).ok()
    }

    /// Whether it and its legs trade no more.
    pub(crate) fn is_over(&self) -> bool {
        const OVER: [&str; 5] = ["filled", "canceled", "expired", "replaced", "rejected"];
        OVER.contains(&self.status.as_str()) && self.legs.iter().flatten().all(Self::is_over)
    }

    /// What of it was filled.
    pub(crate) fn filled(&self) -> Option<Qty> {
        let text = self.filled_qty.as_deref().unwrap_or("0");
        Qty::from_decimal(Decimal::from_str_exact(text).ok()?.trunc_with_scale(9))
    }

    /// At which price, on average.
    pub(crate) fn average(&self) -> Option<Price> {
        Price::from_decimal(Decimal::from_str_exact(self.filled_avg_price.as_deref()?).ok()?.trunc_with_scale(9))
    }

    /// When it was last filled, by the account's clock.
    pub(crate) fn at(&self) -> Option<jiff::Timestamp> {
        self.filled_at.as_deref().or(self.updated_at.as_deref())?.parse().ok()
    }
}
