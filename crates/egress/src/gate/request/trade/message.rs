//! What a request to a venue means, in the gate's form.

use bytes::Bytes;
use hyper::http::header;
use hyper::http::request::Parts;
use ringfence_model::trade::{Message, OrderRef, Pricing, Refusal, Trail, UpstreamId};

use super::{Told, Trade, form};
use crate::trade::{Asks, Codec, Fields, Reading, binance};

/// Bytes of a message about an order.
const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// What a request means, and what of it the gate's form does not say.
pub(super) struct Meant {
    pub(super) message: Message,
    /// The order that a request for another one in its place, or for its end, names in its path.
    pub(super) named: Option<String>,
    /// The order only ever waits for others.
    pub(super) post_only: bool,
    /// The symbol, in the venue's spelling, that all orders are cancelled of.
    pub(super) symbol: Option<String>,
}

impl Meant {
    pub(super) fn of(message: Message) -> Self {
        Self { message, named: None, post_only: false, symbol: None }
    }
}

/// Refuses a body that is not read as parameters.
pub(super) fn is_form(parts: &Parts, body: &Bytes) -> Result<(), Refusal> {
    const FORM: &str = "application/x-www-form-urlencoded";
    if body.is_empty() {
        return Ok(());
    }
    if body.len() > MESSAGE_BYTES_MAX {
        return Err(form(format!("a request about orders has at most {MESSAGE_BYTES_MAX} bytes")));
    }
    if kind(parts) != Some(FORM.to_owned()) || parts.headers.contains_key(header::CONTENT_ENCODING) {
        return Err(form(format!("parameters in a body are sent as `Content-Type: {FORM}`, without a coding")));
    }
    Ok(())
}

/// What the body is said to be; none where that is said twice.
fn kind(parts: &Parts) -> Option<String> {
    let mut kinds = parts.headers.get_all(header::CONTENT_TYPE).iter();
    let kind = kinds.next().and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_owned();
    kinds.next().is_none().then_some(kind)
}

impl Trade<'_> {
    /// The message in the gate's form.
    pub(super) async fn meant(&self, asks: Asks, named: Option<&str>) -> Result<Meant, Told> {
        let (venue, _) = self.session.gate.leads.venue(self.host).ok_or_else(|| form("this is no venue"))?;
        match venue.codec {
            Codec::Alpaca => self.alpaca_message(Reading::of(venue), asks, named).await,
            Codec::Binance => self.binance_message(Reading::of(venue), asks).await,
        }
    }

    async fn binance_message(&self, reading: Reading<'_>, asks: Asks) -> Result<Meant, Told> {
        let gate = &self.session.gate;
        Ok(match asks {
            Asks::Submit => {
                let (fields, post_only) = binance::read_order(&self.fields)?;
                let draft = reading.submit(&fields)?;
                let (symbol, class) = gate.asset(&self.access, self.host, &draft.symbol).await?;
                Meant { post_only, ..Meant::of(Message::Submit(draft.about(symbol, class))) }
            }
            Asks::Cancel => Meant::of(Message::Cancel { of: binance::named(&self.fields)? }),
            Asks::CancelAll => {
                binance::only(&self.fields, &["symbol"])?;
                let symbol = Some(binance::symbol_in(&self.fields)?.to_owned());
                Meant { symbol, ..Meant::of(Message::CancelAll) }
            }
            _ => return Err(form("the gate does not read a request of this kind").into()),
        })
    }

    async fn alpaca_message(&self, reading: Reading<'_>, asks: Asks, named: Option<&str>) -> Result<Meant, Told> {
        let gate = &self.session.gate;
        let query = Fields::of_form(self.parts.uri.query().unwrap_or_default()).map_err(Refusal::from)?;
        let named = named.unwrap_or_default();
        let nothing = |fields: &Fields| match fields.names().next() {
            None => Ok(()),
            Some(name) => Err(form(format!("`{name}` is nothing that this request has"))),
        };
        if matches!(asks, Asks::Submit | Asks::Replace) {
            nothing(&query)?;
            self.is_json()?;
        } else if !self.body.is_empty() && self.body.as_ref() != b"{}" {
            return Err(form("a request of this kind has no body").into());
        }
        let order = || OrderRef::Upstream(UpstreamId::parse(named).unwrap_or_else(|_| nobodys()));
        Ok(match asks {
            Asks::Submit => {
                let fields = Fields::of_json(&self.body).map_err(Refusal::from)?;
                let draft = reading.submit(&fields)?;
                let (symbol, class) = gate.asset(&self.access, self.host, &draft.symbol).await?;
                Meant::of(Message::Submit(draft.about(symbol, class)))
            }
            Asks::Replace => {
                let fields = Fields::of_json(&self.body).map_err(Refusal::from)?;
                let percent = self.trails_in_percent(named).await?;
                let changes = reading.changes(&fields, percent)?;
                Meant { named: Some(named.to_owned()), ..Meant::of(Message::Replace { of: order(), changes }) }
            }
            Asks::Cancel => {
                nothing(&query)?;
                Meant { named: Some(named.to_owned()), ..Meant::of(Message::Cancel { of: order() }) }
            }
            Asks::CancelAll => {
                nothing(&query)?;
                Meant::of(Message::CancelAll)
            }
            Asks::ClosePosition => {
                let size = reading.close_size(&query)?;
                let (symbol, _) = gate.asset(&self.access, self.host, named).await?;
                Meant::of(Message::ClosePosition { symbol, size })
            }
            Asks::CloseAll => {
                let cancel_orders = match query.names().next() {
                    None => false,
                    Some("cancel_orders") => {
                        matches!(query.get("cancel_orders"), Some(crate::trade::Value::Text(t)) if t.eq_ignore_ascii_case("true"))
                    }
                    Some(other) => return Err(form(format!("`{other}` is nothing that this request has")).into()),
                };
                Meant::of(Message::CloseAll { cancel_orders })
            }
            _ => Meant::of(Message::Read),
        })
    }

    fn is_json(&self) -> Result<(), Refusal> {
        if self.body.len() > MESSAGE_BYTES_MAX {
            return Err(form(format!("an order has at most {MESSAGE_BYTES_MAX} bytes")));
        }
        let encoded = self.parts.headers.contains_key(header::CONTENT_ENCODING);
        if kind(self.parts).as_deref() != Some("application/json") || encoded {
            return Err(form("an order is sent as `Content-Type: application/json`, without a coding"));
        }
        Ok(())
    }

    /// In what the order trails that is replaced.
    async fn trails_in_percent(&self, named: &str) -> Result<bool, Told> {
        let account = self.session.gate.whose(&self.access, self.host).await?;
        let of = OrderRef::Upstream(UpstreamId::parse(named).unwrap_or_else(|_| nobodys()));
        let owned = self.session.gate.store.trade_owned(account, self.session.room.id.clone(), of).await?;
        Ok(owned.is_some_and(|owned| {
            matches!(owned.order.intent.pricing, Pricing::TrailingStop { trail: Trail::Percent(_) })
        }))
    }
}

/// An id that no order has.
fn nobodys() -> UpstreamId {
    UpstreamId::parse("-").expect("it has the shape of one")
}
