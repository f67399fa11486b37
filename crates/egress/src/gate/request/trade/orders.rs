//! Questions about orders, of which a sandbox is told its own alone.

use hyper::body::Body as _;
use hyper::http::{Method, Response};
use ringfence_model::trade::{ClientOrderId, OrderRef, Refusal, UpstreamId};

use super::{Answer, Told, Trade, json_answer};
use crate::gate::record::Passage;
use crate::trade::{Codec, Fields, Value, Written, binance};

/// Notes what a sandbox is answered, of which the whole is there.
pub(super) fn passed(passage: &Passage, response: &Response<Answer>) {
    passage.answered(response.status().as_u16());
    let bytes = response.body().size_hint().exact().unwrap_or(0);
    passage.received(usize::try_from(bytes).unwrap_or(usize::MAX));
}

impl Trade<'_> {
    /// The orders of the account, of which those are told that are the sandbox's own.
    pub(super) async fn read_orders(&self) -> Result<Response<Answer>, Told> {
        let passage = self.allow().await?;
        let gate = &self.session.gate;
        let said = self.said(Method::GET, Written::plain(self.target()));
        let mut answered = match gate.say(&self.access, said).await {
            Ok(answered) => answered,
            Err(error) => return Ok(self.trouble(&error.to_string())),
        };
        if answered.status.is_success() {
            let account = gate.whose(&self.access, self.host).await?;
            let Ok(listed) = serde_json::from_slice::<Vec<Box<serde_json::value::RawValue>>>(&answered.body) else {
                return Ok(self.trouble("the venue's list of orders could not be read"));
            };
            let mut own = Vec::new();
            for order in listed {
                let Some(id) = self.codec().listed(order.get()) else { continue };
                let owner = self.session.room.id.clone();
                if gate.store.trade_owned(account.clone(), owner, OrderRef::Upstream(id)).await?.is_some() {
                    own.push(order);
                }
            }
            answered.body = serde_json::to_vec(&own).unwrap_or_else(|_| b"[]".to_vec()).into();
        }
        let response = self.answer(answered);
        passed(&passage, &response);
        Ok(response)
    }

    /// One order, if it is the sandbox's own.
    pub(super) async fn read_order(&self, named: Option<&str>) -> Result<Response<Answer>, Told> {
        let gate = &self.session.gate;
        let of = self.order_asked_about(named)?;
        let account = gate.whose(&self.access, self.host).await?;
        let owned = match of {
            Some(of) => gate.store.trade_owned(account, self.session.room.id.clone(), of).await?,
            None => None,
        };
        let passage = self.allow().await?;
        let response = if owned.is_none() {
            // As a venue says it of an order that it does not have: whose it is is nobody's business.
            let (status, body) = self.codec().not_found();
            json_answer(status, body.to_string().into())
        } else {
            self.forward().await?
        };
        passed(&passage, &response);
        Ok(response)
    }

    /// The order that a question is about; none for what no order has.
    fn order_asked_about(&self, named: Option<&str>) -> Result<Option<OrderRef>, Refusal> {
        if self.codec() == Codec::Binance {
            return binance::named(&self.fields).map(Some);
        }
        let query = Fields::of_form(self.parts.uri.query().unwrap_or_default())?;
        Ok(match (named, query.get("client_order_id")) {
            (Some(id), _) => UpstreamId::parse(id).ok().map(OrderRef::Upstream),
            (None, Some(Value::Text(id))) => ClientOrderId::parse(id).ok().map(OrderRef::Client),
            _ => None,
        })
    }
}
