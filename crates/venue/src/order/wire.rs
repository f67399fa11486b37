//! An order as clients read it.

use jiff::Timestamp;

use super::{Kind, Order, Status, Trail};
use crate::{
    json::{Json, object},
    seed::asset_id,
};

impl Order {
    /// The order, with `legs` as the value of that field. `group` is the id of the order that a group began with.
    #[must_use]
    pub fn json(&self, legs: Json, group: Option<String>) -> Json {
        let ended = |status: Status| self.ended_at.filter(|_| self.status == status);
        let (trail_price, trail_percent) = match self.trail {
            Some(Trail::Price(dollars)) => (Some(dollars), None),
            Some(Trail::Percent(percent)) => (None, Some(percent)),
            None => (None, None),
        };
        let stop_price = match self.kind {
            Kind::TrailingStop => self.trailed().unwrap_or(None).or(self.stop_price),
            _ => self.stop_price,
        };
        let expires_at: Option<Timestamp> = ringfence_market::calendar::session(self.expires)
            .map(|session| if self.extended_hours { session.post_close } else { session.close });
        let mut order = object! {
            "id" => self.id.to_string(),
            "client_order_id" => self.client_order_id.as_str(),
            "created_at" => self.created_at,
            "updated_at" => self.updated_at,
            "submitted_at" => self.created_at,
            "filled_at" => ended(Status::Filled),
            "expired_at" => ended(Status::Expired),
            "expires_at" => expires_at,
            "canceled_at" => ended(Status::Canceled),
            "failed_at" => ended(Status::Rejected),
            "replaced_at" => ended(Status::Replaced),
            "replaced_by" => self.replaced_by.map(|id| id.to_string()),
            "replaces" => self.replaces.map(|id| id.to_string()),
            "asset_id" => asset_id(self.symbol.as_str()).to_string(),
            "symbol" => self.symbol.as_str(),
            "asset_class" => "us_equity",
            "notional" => self.notional,
            "qty" => if self.notional.is_some() { None } else { self.qty },
            "filled_qty" => self.filled_qty,
            "filled_avg_price" => self.filled_avg_price(),
            "order_class" => self.class.word(),
            "order_type" => self.kind.word(),
            "type" => self.kind.word(),
            "side" => self.side.word(),
            "position_intent" => self.position_intent.clone(),
            "time_in_force" => self.tif.word(),
            "limit_price" => self.limit_price,
            "stop_price" => stop_price,
            "status" => self.status.word(),
            "extended_hours" => self.extended_hours,
            "legs" => legs,
            "trail_percent" => trail_percent,
            "trail_price" => trail_price,
            "hwm" => self.hwm,
            "ratio_qty" => Json::Null,
            "subtag" => Json::Null,
            "source" => Json::Null,
        };
        // Alpaca's description has these as texts where they are at all.
        if let (Json::Object(fields), Some(part), Some(group)) = (&mut order, self.part, group) {
            fields.push(("group_id".to_owned(), group.into()));
            fields.push(("group_role".to_owned(), part.word().into()));
        }
        order
    }
}
