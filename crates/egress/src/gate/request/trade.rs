//! Requests to a venue that the pre-trade controls judge, phase after phase as any other request, with the ledger in the place of
//! the plain decision.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use ring::digest;
use ringfence_model::net::{DenialReason, HostName};
use ringfence_model::trade::{
    CanonicalSymbol, CloseSize, Message, OrderRef, Pricing, Refusal, Rule, Trail, UpstreamId,
};
use ringfence_store::StoreError;
use ringfence_store::gate::{Admitted, OrderRow, TradeAsk, TradeRuling};
use serde_json::{Value, json};

use super::body::Answer;
use super::shape::Asked;
use super::signed;
use super::{Session, Turned};
use crate::gate::desk::settle::{OrderSaid, Sent};
use crate::gate::desk::wire::{Answered, Said};
use crate::gate::desk::{Access, facts};
use crate::gate::lead::Lead;
use crate::gate::record::{Passage, rule_name};
use crate::gate::room::Force;
use crate::trade::{Asks, Fields, Reading, Route, Written};

/// Headers of a venue's answer that clients read.
const KEPT: [HeaderName; 5] = [
    header::CONTENT_TYPE,
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("x-ratelimit-limit"),
    HeaderName::from_static("x-ratelimit-remaining"),
    HeaderName::from_static("x-ratelimit-reset"),
];
/// Bytes of a message about an order.
const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// A refusal as a venue says it, which official clients read as a permission that is missing.
pub(super) fn refused(refusal: &Refusal) -> Response<Answer> {
    let status = StatusCode::from_u16(Refusal::STATUS).unwrap_or(StatusCode::FORBIDDEN);
    json_answer(status, refusal.body().to_string().into())
}

fn json_answer(status: StatusCode, body: Bytes) -> Response<Answer> {
    let mut response = Response::new(Full::new(body).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An error in a venue's words that no client takes for one to try again.
fn trouble(message: &str) -> Response<Answer> {
    let body = json!({"code": 50_010_000, "message": message}).to_string();
    json_answer(StatusCode::BAD_GATEWAY, body.into())
}

/// A request on its way through the desk.
struct Trade<'s> {
    session: &'s Arc<Session>,
    asked: &'s Asked,
    parts: &'s Parts,
    force: Arc<Force>,
    host: &'s HostName,
    access: Access,
    rule: Option<String>,
    secrets: Vec<String>,
    /// Of the request as it came.
    digest: [u8; 32],
    body: Bytes,
}

/// Marks an order's answer as lost, unless it was given.
struct Answering<'s> {
    session: &'s Session,
    number: u64,
    given: bool,
}

impl Drop for Answering<'_> {
    /// The request's future is dropped when its client hangs up.
    fn drop(&mut self) {
        let (store, number, given) = (self.session.gate.store.clone(), self.number, self.given);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = store.trade_answered(number, given).await {
                    tracing::error!(order = number, %error, "what became of an answer could not be noted");
                }
            });
        }
    }
}

impl Session {
    /// What a request to a venue asks for.
    pub(super) async fn route(&self, parts: &Parts, asked: &Asked, lead: &Lead) -> Result<Route, Turned> {
        let venue = asked.host.as_ref().and_then(|host| self.gate.leads.venue(host));
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        let route = venue.and_then(|(venue, part)| venue.route(part, &parts.method, target));
        let refusal = match route {
            Some(route) if route.asks == Asks::Clock && !facts::is_near(lead.environment) => {
                Refusal::because(Rule::EndpointAllowList, "a replayed clock is there in mode `simulated` alone")
            }
            Some(route) => return Ok(route),
            None => Refusal::because(
                Rule::EndpointAllowList,
                format!("`{} {:.200}` is nothing that a sandbox may ask a venue for", parts.method, parts.uri.path()),
            ),
        };
        Err(self.firewall(parts, asked, refusal).await)
    }

    /// Judges a request, and carries out what is allowed.
    pub(super) async fn trade(
        self: &Arc<Self>,
        parts: Parts,
        body: Incoming,
        (asked, lead, route): (&Asked, &Lead, Route),
    ) -> Result<Response<Answer>, Turned> {
        let host = asked.host.as_ref().ok_or_else(|| Turned::Upstream("a venue has a name".to_owned()))?;
        let place = self.room.gathering.acquire().await;
        let body = match signed::gather(body).await {
            Ok(body) => body,
            Err(why) => return Err(self.firewall(&parts, asked, form(why.message)).await),
        };
        let force = self.force(Some(lead));
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        // The network's own rules come first: a venue is a host as any other one.
        let allowed = match force.rulebook.request(host, self.to.port(), parts.method.as_str(), target) {
            Ok(allowed) => allowed,
            Err(reason) => return Err(self.deny(&parts, Some(asked), reason, None).await),
        };
        if let Err(reason) = self.gate.check_given(&self.room, host, self.to) {
            return Err(self.deny(&parts, Some(asked), reason, None).await);
        }
        let mut injected = parts.clone();
        let secrets = match force.injector.inject(self.destination(asked, Some(lead)), &mut injected) {
            Ok(injected) => injected.secrets,
            Err(refusal) => return Err(self.unsigned(&parts, asked, refusal.into()).await),
        };
        if let Err(why) = signed::misplaced(force.injector.scanner(), &body) {
            return Err(self.unsigned(&parts, asked, why).await);
        }
        let mut hash = digest::Context::new(&digest::SHA256);
        for part in [parts.method.as_str().as_bytes(), target.as_bytes(), &body] {
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(hash.finish().as_ref());
        let rule = rule_name(&force.rulebook, allowed.rule);
        let access = Access::of_request(lead, &injected.headers);
        let trade = Trade {
            session: self,
            asked,
            parts: &parts,
            force: force.clone(),
            host,
            access,
            rule,
            secrets,
            digest,
            body,
        };
        let answered = Box::pin(trade.run(route)).await;
        drop(place);
        match answered {
            Err(Told::Refused(refusal)) => Err(self.firewall(&parts, asked, refusal).await),
            Err(Told::Unrecorded(error)) => {
                tracing::error!(sandbox = %self.room.id, %error, "a message to a venue could not be recorded, and is not sent");
                Err(Turned::Unrecorded)
            }
            Ok(response) => Ok(response),
        }
    }
}

/// Why there is no answer.
enum Told {
    /// Refused before the ledger was asked: that has to be recorded.
    Refused(Refusal),
    /// Nothing happens that is not on disk.
    Unrecorded(StoreError),
}

impl From<Refusal> for Told {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<StoreError> for Told {
    fn from(error: StoreError) -> Self {
        Self::Unrecorded(error)
    }
}

fn form(why: impl ToString) -> Refusal {
    Refusal::because(Rule::CanonicalForm, why.to_string())
}

impl Trade<'_> {
    async fn run(&self, route: Route) -> Result<Response<Answer>, Told> {
        match route.asks {
            Asks::ReadOrders => self.read_orders().await,
            Asks::ReadOrder => self.read_order(route.named.as_deref()).await,
            asks => {
                let (message, changes_of) = self.message(asks, route.named.as_deref()).await?;
                self.judge(message, self.digest, changes_of).await
            }
        }
    }

    /// The message in the gate's form, and the text of a replacement's order.
    async fn message(&self, asks: Asks, named: Option<&str>) -> Result<(Message, Option<String>), Told> {
        let gate = &self.session.gate;
        let (venue, _) = gate.leads.venue(self.host).ok_or_else(|| form("this is no venue"))?;
        let reading = Reading::of(venue);
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
                (Message::Submit(draft.about(symbol, class)), None)
            }
            Asks::Replace => {
                let fields = Fields::of_json(&self.body).map_err(Refusal::from)?;
                let percent = self.trails_in_percent(named).await?;
                let changes = reading.changes(&fields, percent)?;
                (Message::Replace { of: order(), changes }, Some(named.to_owned()))
            }
            Asks::Cancel => {
                nothing(&query)?;
                (Message::Cancel { of: order() }, Some(named.to_owned()))
            }
            Asks::CancelAll => {
                nothing(&query)?;
                (Message::CancelAll, None)
            }
            Asks::ClosePosition => {
                let size = reading.close_size(&query)?;
                let (symbol, _) = gate.asset(&self.access, self.host, named).await?;
                (Message::ClosePosition { symbol, size }, None)
            }
            Asks::CloseAll => {
                let cancel_orders = match query.names().next() {
                    None => false,
                    Some("cancel_orders") => {
                        matches!(query.get("cancel_orders"), Some(crate::trade::Value::Text(t)) if t.eq_ignore_ascii_case("true"))
                    }
                    Some(other) => return Err(form(format!("`{other}` is nothing that this request has")).into()),
                };
                (Message::CloseAll { cancel_orders }, None)
            }
            _ => (Message::Read, None),
        })
    }

    fn is_json(&self) -> Result<(), Refusal> {
        if self.body.len() > MESSAGE_BYTES_MAX {
            return Err(form(format!("an order has at most {MESSAGE_BYTES_MAX} bytes")));
        }
        let mut kinds = self.parts.headers.get_all(header::CONTENT_TYPE).iter();
        let kind = kinds.next().and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
        let kind = kind.split(';').next().unwrap_or_default().trim().to_owned();
        let encoded = self.parts.headers.contains_key(header::CONTENT_ENCODING);
        if kind != "application/json" || kinds.next().is_some() || encoded {
            return Err(form("an order is sent as `Content-Type: application/json`, without a coding"));
        }
        Ok(())
    }

    /// In what the order trails that is replaced.
    async fn trails_in_percent(&self, named: &str) -> Result<bool, Told> {
        let (account, _) = self.session.gate.account(&self.access, self.host).await?;
        let of = OrderRef::Upstream(UpstreamId::parse(named).unwrap_or_else(|_| nobodys()));
        let owned = self.session.gate.store.trade_owned(account, self.session.room.id.clone(), of).await?;
        Ok(owned.is_some_and(|owned| {
            matches!(owned.order.intent.pricing, Pricing::TrailingStop { trail: Trail::Percent(_) })
        }))
    }

    /// The symbols whose references a message is judged by.
    async fn symbols(&self, message: &Message) -> Result<Vec<CanonicalSymbol>, Told> {
        Ok(match message {
            Message::Submit(intent) => vec![intent.symbol.clone()],
            Message::ClosePosition { symbol, .. } => vec![symbol.clone()],
            Message::Replace { of, .. } => {
                let gate = &self.session.gate;
                let (account, _) = gate.account(&self.access, self.host).await?;
                let owned = gate.store.trade_owned(account, self.session.room.id.clone(), of.clone()).await?;
                owned.map(|owned| owned.order.intent.symbol).into_iter().collect()
            }
            _ => vec![],
        })
    }

    async fn judge(&self, message: Message, digest: [u8; 32], named: Option<String>) -> Result<Response<Answer>, Told> {
        let gate = &self.session.gate;
        let symbols = self.symbols(&message).await?;
        let (account, _) = gate.account(&self.access, self.host).await?;
        gate.has_traded(&account, &self.session.room.id);
        let turn = gate.turn(&account).await;
        // What has been filled meanwhile is noted first. What is filled from here on is counted twice, and not at all never.
        gate.sync_held(&self.access, &account, &turn).await?;
        let (same, facts) = Box::pin(gate.facts(&self.access, self.host, &symbols)).await?;
        if same != account {
            return Err(Refusal::because(Rule::MaxReferenceAge, "the account began anew meanwhile").into());
        }
        let mut decision =
            self.asked.about(self.session.to).decision(&self.session.room, ringfence_store::gate::Verdict::Allow);
        decision.rule = self.rule.clone();
        decision.secrets =
            self.secrets.iter().map(|name| ringfence_store::gate::SecretName::parse(name)).collect::<Result<_, _>>()?;
        let changes = match &message {
            Message::Replace { changes, .. } => Some(changes.clone()),
            _ => None,
        };
        let ask = TradeAsk { decision, account, facts, message, body: digest };
        let ruling = gate.store.trade_admit(ask).await?;
        drop(turn);
        match ruling {
            TradeRuling::Allowed { permit, action } => {
                let passage = Passage::new(gate, &permit);
                let response = self.carry_out(action, changes, named).await?;
                passage.answered(response.status().as_u16());
                passage.sent(self.body.len());
                Ok(response)
            }
            TradeRuling::Duplicate { permit, order } => {
                let passage = Passage::new(gate, &permit);
                let response = self.first(&order).await?;
                passage.answered(response.status().as_u16());
                Ok(response)
            }
            TradeRuling::Refused { refusal, moved, .. } => {
                for moved in moved {
                    tracing::warn!(account = %moved.account, state = moved.state.as_str(), "a refusal has moved a state");
                }
                self.tell(&refusal);
                Ok(refused(&refusal))
            }
            TradeRuling::Held { refusal, .. } => {
                self.tell(&refusal);
                Ok(refused(&refusal))
            }
        }
    }

    /// Tells of a refusal that is on disk already.
    fn tell(&self, refusal: &Refusal) {
        let about = self.asked.about(self.session.to);
        self.session.gate.told(&self.session.room, &about, DenialReason::TradeRefused, refusal.to_string());
    }

    async fn carry_out(
        &self,
        action: Admitted,
        changes: Option<ringfence_model::trade::Changes>,
        named: Option<String>,
    ) -> Result<Response<Answer>, Told> {
        let gate = &self.session.gate;
        match action {
            Admitted::Forward => self.forward().await,
            Admitted::Send { order, replaces } => {
                let said = match (&replaces, changes) {
                    (Some(of), Some(mut changes)) => {
                        changes.client_order_id = Some(order.client_order_id.clone());
                        self.said(Method::PATCH, Written::replace(of.as_str(), &changes))
                    }
                    _ => self.said(Method::POST, Written::submit(&order.intent)),
                };
                let mut answering = Answering { session: self.session, number: order.number, given: false };
                let response = match gate.send_order(&self.access, self.host, &order, said).await? {
                    Sent::Taken(answered) => self.answer(answered),
                    Sent::Refused(answered) => self.answer(answered),
                    Sent::Unsent(why) => trouble(&why),
                    Sent::InDoubt => {
                        // The same request again is answered with what has become of this one.
                        return Ok(trouble(&format!(
                            "the venue did not say whether it has the order; it is looked up as `{}`, and never sent again",
                            order.client_order_id
                        )));
                    }
                };
                answering.given = true;
                Ok(response)
            }
            Admitted::ReplaceLeg { order } => {
                let Some((id, changes)) = named.zip(changes) else { return Err(form("it names no leg").into()) };
                let said = self.said(Method::PATCH, Written::replace(&id, &changes));
                let answered = match gate.say(&self.access, said).await {
                    Ok(answered) => answered,
                    Err(error) => return Ok(trouble(&error.to_string())),
                };
                let new = serde_json::from_slice::<OrderSaid>(&answered.body).ok();
                if let Some(new) = new.filter(|_| answered.status.is_success())
                    && let Ok(new) = UpstreamId::parse(&new.id)
                {
                    gate.store.trade_leg(order.number, new).await?;
                }
                Ok(self.answer(answered))
            }
            Admitted::Cancel { order } => {
                let id = named.or_else(|| order.upstream_id.as_ref().map(ToString::to_string)).unwrap_or_default();
                let said = self.said(Method::DELETE, Written::plain(format!("/v2/orders/{id}")));
                let response = self.say(said).await;
                self.sync_soon(&order);
                Ok(response)
            }
            Admitted::CancelOwn { orders } => {
                let said = gate.cancel(&self.access, &orders).await;
                let list: Vec<Value> =
                    said.iter().map(|(order, status)| json!({"id": order.upstream_id, "status": status})).collect();
                orders.iter().for_each(|order| self.sync_soon(order));
                Ok(json_answer(StatusCode::MULTI_STATUS, Value::from(list).to_string().into()))
            }
            Admitted::CloseEach { orders, symbols } => {
                gate.cancel(&self.access, &orders).await;
                let mut list = Vec::new();
                for symbol in symbols {
                    let message = Message::ClosePosition { symbol: symbol.clone(), size: CloseSize::All };
                    let mut hash = digest::Context::new(&digest::SHA256);
                    hash.update(&self.digest);
                    hash.update(symbol.as_str().as_bytes());
                    let mut digest = [0; 32];
                    digest.copy_from_slice(hash.finish().as_ref());
                    let response = Box::pin(self.judge(message, digest, None)).await?;
                    let status = response.status().as_u16();
                    let body = response.into_body().collect().await.map(|whole| whole.to_bytes()).unwrap_or_default();
                    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
                    list.push(json!({"symbol": symbol, "status": status, "body": body}));
                }
                Ok(json_answer(StatusCode::MULTI_STATUS, Value::from(list).to_string().into()))
            }
        }
    }

    /// What became of the first of two equal requests.
    async fn first(&self, order: &OrderRow) -> Result<Response<Answer>, Told> {
        let gate = &self.session.gate;
        match gate.look_up(&self.access, self.host, order).await? {
            Sent::Taken(answered) => {
                drop(Answering { session: self.session, number: order.number, given: true });
                Ok(self.answer(answered))
            }
            _ => Ok(trouble(&format!(
                "the same order was sent before as `{}`, and the venue has not said yet whether it has it",
                order.client_order_id
            ))),
        }
    }

    /// The venue is asked what has become of orders, while nobody waits.
    fn sync_soon(&self, order: &OrderRow) {
        let (gate, access, account) = (self.session.gate.clone(), self.access.clone(), order.account.clone());
        tokio::spawn(async move {
            if let Err(error) = gate.sync(&access, &account).await {
                tracing::error!(%account, %error, "the ledger of orders could not be brought up to date");
            }
        });
    }

    fn said(&self, method: Method, written: Written) -> Said {
        Said { method, host: self.host.clone(), target: written.target, body: written.body }
    }

    /// The request as it is, in the gate's own bytes.
    async fn forward(&self) -> Result<Response<Answer>, Told> {
        let target = self.parts.uri.path_and_query().map_or("/", |target| target.as_str());
        Ok(self.say(self.said(self.parts.method.clone(), Written::plain(target))).await)
    }

    async fn say(&self, said: Said) -> Response<Answer> {
        match self.session.gate.say(&self.access, said).await {
            Ok(answered) => self.answer(answered),
            Err(error) => trouble(&error.to_string()),
        }
    }

    /// A venue's answer as the program gets it: masked, and never one that an official client takes for one to try again.
    fn answer(&self, answered: Answered) -> Response<Answer> {
        let mut mask = self.force.injector.mask();
        let mut body = mask.feed(answered.body).to_vec();
        body.extend_from_slice(&mask.whole(Bytes::new()));
        let again = [StatusCode::TOO_MANY_REQUESTS, StatusCode::GATEWAY_TIMEOUT].contains(&answered.status);
        let status = match answered.status {
            StatusCode::TOO_MANY_REQUESTS => StatusCode::FORBIDDEN,
            StatusCode::GATEWAY_TIMEOUT => StatusCode::BAD_GATEWAY,
            status => status,
        };
        if again && serde_json::from_slice::<Value>(&body).is_err() {
            body = json!({"code": 42_910_000, "message": "the venue asks for fewer requests"}).to_string().into_bytes();
        }
        let mut headers = HeaderMap::new();
        for name in &KEPT {
            headers.extend(answered.headers.get(name).map(|value| (name.clone(), value.clone())));
        }
        self.force.injector.mask_headers(&mut headers);
        let mut response = Response::new(Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync());
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }

    /// Writes down that a request which changes nothing is let through.
    async fn allow(&self) -> Result<Arc<Passage>, Told> {
        let about = self.asked.about(self.session.to);
        Ok(self.session.gate.allow(&self.session.room, &about, self.rule.clone(), &self.secrets).await?)
    }

    /// The orders of the account, of which those are told that are the sandbox's own.
    async fn read_orders(&self) -> Result<Response<Answer>, Told> {
        let passage = self.allow().await?;
        let gate = &self.session.gate;
        let target = self.parts.uri.path_and_query().map_or("/", |target| target.as_str());
        let said = self.said(Method::GET, Written::plain(target));
        let mut answered = match gate.say(&self.access, said).await {
            Ok(answered) => answered,
            Err(error) => return Ok(trouble(&error.to_string())),
        };
        passage.answered(answered.status.as_u16());
        if answered.status.is_success() {
            let (account, _) = gate.account(&self.access, self.host).await?;
            let Ok(listed) = serde_json::from_slice::<Vec<Box<serde_json::value::RawValue>>>(&answered.body) else {
                return Ok(trouble("the venue's list of orders could not be read"));
            };
            let mut own = Vec::new();
            for order in listed {
                let Ok(said) = serde_json::from_str::<OrderSaid>(order.get()) else { continue };
                let Ok(id) = UpstreamId::parse(&said.id) else { continue };
                let owner = self.session.room.id.clone();
                if gate.store.trade_owned(account.clone(), owner, OrderRef::Upstream(id)).await?.is_some() {
                    own.push(order);
                }
            }
            answered.body = serde_json::to_vec(&own).unwrap_or_else(|_| b"[]".to_vec()).into();
        }
        Ok(self.answer(answered))
    }

    /// One order, if it is the sandbox's own.
    async fn read_order(&self, named: Option<&str>) -> Result<Response<Answer>, Told> {
        let gate = &self.session.gate;
        let query = Fields::of_form(self.parts.uri.query().unwrap_or_default()).map_err(Refusal::from)?;
        let of = match (named, query.get("client_order_id")) {
            (Some(id), _) => UpstreamId::parse(id).ok().map(OrderRef::Upstream),
            (None, Some(crate::trade::Value::Text(id))) => {
                ringfence_model::trade::ClientOrderId::parse(id).ok().map(OrderRef::Client)
            }
            _ => None,
        };
        let (account, _) = gate.account(&self.access, self.host).await?;
        let owned = match of {
            Some(of) => gate.store.trade_owned(account, self.session.room.id.clone(), of).await?,
            None => None,
        };
        let passage = self.allow().await?;
        if owned.is_none() {
            // As a venue says it of an order that it does not have: whose it is is nobody's business.
            passage.answered(404);
            let body = json!({"code": 40_410_000, "message": "order not found"}).to_string();
            return Ok(json_answer(StatusCode::NOT_FOUND, body.into()));
        }
        self.forward().await
    }
}

/// An id that no order has.
fn nobodys() -> UpstreamId {
    UpstreamId::parse("-").expect("it has the shape of one")
}
