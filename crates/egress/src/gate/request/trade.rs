//! Requests to a venue that the pre-trade controls judge, phase after phase as any other request, with the ledger in the place of
//! the plain decision.

mod early;
mod message;
mod orders;

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use ring::digest;
use ringfence_model::net::{DenialReason, HostName};
use ringfence_model::trade::{AccountId, CanonicalSymbol, CloseSize, Facts, Message, Refusal, Rule, UpstreamId};
use ringfence_store::StoreError;
use ringfence_store::gate::{Admitted, OrderRow, TradeAsk, TradeRuling};
use serde_json::{Value, json};
use tokio::sync::OwnedMutexGuard;

use self::message::Meant;
use self::orders::passed;
use super::body::Answer;
use super::shape::Asked;
use super::signed;
use super::{Session, Turned};
use crate::gate::desk::settle::{Sent, placed};
use crate::gate::desk::wire::{Answered, Said};
use crate::gate::desk::{Access, facts, put_chosen};
use crate::gate::lead::{Lead, Way};
use crate::gate::record::{About, Passage, rule_name};
use crate::gate::room::Force;
use crate::trade::{Asks, Codec, Fields, Route, Written, binance};

/// Headers of a venue's answer that clients read.
const KEPT: [HeaderName; 5] = [
    header::CONTENT_TYPE,
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("x-ratelimit-limit"),
    HeaderName::from_static("x-ratelimit-remaining"),
    HeaderName::from_static("x-ratelimit-reset"),
];

/// A refusal as a venue says it.
fn refused(codec: Codec, refusal: &Refusal) -> Response<Answer> {
    let status = StatusCode::from_u16(Refusal::STATUS).unwrap_or(StatusCode::FORBIDDEN);
    json_answer(status, codec.refusal(refusal).to_string().into())
}

pub(super) fn json_answer(status: StatusCode, body: Bytes) -> Response<Answer> {
    let mut response = Response::new(Full::new(body).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
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
    /// Of the request as it came, or of what it asks for, where it is signed anew at every try.
    digest: [u8; 32],
    body: Bytes,
    /// What it asks for, where that stands in query and body alike.
    fields: Fields,
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
    /// A refusal in the words of the venue that the connection is to.
    pub(super) fn refused(&self, refusal: &Refusal) -> Response<Answer> {
        let venue = self.name.as_ref().and_then(|host| self.gate.leads.venue(host));
        refused(venue.map_or(Codec::Alpaca, |(venue, _)| venue.codec), refusal)
    }

    /// Why the rules could not be asked, where that is because no exchange of this installation runs: such a refusal is none of theirs, and
    /// does not count towards those that halt a sandbox. Nothing was sent.
    async fn unanswered(&self, lead: &Lead, refusal: &Refusal) -> Option<String> {
        let is_unknown = matches!(refusal.rule, Rule::MaxReferenceAge | Rule::PermittedSymbols);
        if lead.way != Way::Exchange || !is_unknown {
            return None;
        }
        self.gate.exchange().await.err().map(|error| error.to_string())
    }

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
            None => {
                let mut why = format!(
                    "`{} {:.200}` is nothing that a sandbox may ask a venue for",
                    parts.method,
                    parts.uri.path()
                );
                if let Some(more) = venue.and_then(|(venue, _)| venue.why_not(target)) {
                    why = format!("{why}: {more}");
                }
                Refusal::because(Rule::EndpointAllowList, why)
            }
        };
        self.count_where_it_trades(!parts.method.is_safe()).await;
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
            Err(why) => {
                self.count_where_it_trades(route.asks.changes()).await;
                return Err(self.firewall(&parts, asked, form(why.message)).await);
            }
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
        let destination = self.destination(asked, Some(lead));
        let (access, secrets) = match lead.codec.signed_as() {
            None => {
                let mut injected = parts.clone();
                match force.injector.inject(destination, &mut injected) {
                    Ok(found) => {
                        put_chosen(&self.room, lead, &mut injected.headers);
                        (Access::of_request(lead, &injected.headers), found.secrets)
                    }
                    Err(refusal) => return Err(self.unsigned(&parts, asked, refusal.into()).await),
                }
            }
            Some(_) => {
                let plan = match signed::plan(&force, destination, &parts, &body) {
                    Ok(Some(plan)) => plan,
                    Ok(None) => {
                        let why = "it is not signed with the placeholders of a key that this sandbox has for this host";
                        let refusal = Refusal::because(Rule::CredentialBinding, why);
                        return Err(self.firewall(&parts, asked, refusal).await);
                    }
                    Err(why) => return Err(self.unsigned(&parts, asked, why).await),
                };
                // What the client has signed goes nowhere; that it could be signed is what lets the gate sign its own words.
                let carried = plan.carry_out(&force, destination, &mut parts.clone(), body.clone(), None);
                let secrets = match carried {
                    Ok((injected, _)) => injected.secrets,
                    Err(why) => return Err(self.unsigned(&parts, asked, why).await),
                };
                (Access::signing(lead, Arc::new(plan.into_key())), secrets)
            }
        };
        if let Err(why) = signed::misplaced(force.injector.scanner(), &body) {
            return Err(self.unsigned(&parts, asked, why).await);
        }
        let (fields, digest) = match lead.codec {
            Codec::Alpaca => (Fields::default(), hashed(&[parts.method.as_str().as_bytes(), target.as_bytes(), &body])),
            // The time and the signature are others at every try; what is asked for is the same.
            Codec::Binance => {
                let fields = message::is_form(&parts, &body)
                    .and_then(|()| binance::asked(parts.uri.query().unwrap_or_default(), &body));
                match fields {
                    Ok(fields) => {
                        let (method, path, query) = (parts.method.as_str(), parts.uri.path(), fields.query());
                        let digest = hashed(&[method.as_bytes(), path.as_bytes(), query.as_bytes()]);
                        (fields, digest)
                    }
                    Err(refusal) => {
                        self.count_where_it_trades(route.asks.changes()).await;
                        return Err(self.firewall(&parts, asked, refusal).await);
                    }
                }
            }
        };
        if secrets.iter().any(|name| !allowed.secrets.contains(&name.as_str())) {
            return Err(self.deny(&parts, Some(asked), DenialReason::PlaceholderMisplaced, None).await);
        }
        let rule = rule_name(&force.rulebook, allowed.rule);
        // What the rules look at is asked with the key before there is a verdict. That it is asked is on disk before.
        let _asks = match lead.outside() {
            None => None,
            Some(_) => {
                let path = match lead.codec {
                    Codec::Alpaca => "/v2/account",
                    Codec::Binance => "/api/v3/account",
                };
                let about = About { request: Some(("GET", path)), ..asked.about(self.to) };
                match self.gate.allow(&self.room, &about, rule.clone(), &secrets).await {
                    Ok(passage) => Some(passage),
                    Err(error) => {
                        tracing::error!(sandbox = %self.room.id, %error, "a question to a venue could not be recorded, and is not asked");
                        return Err(Turned::Unrecorded);
                    }
                }
            }
        };
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
            fields,
        };
        let asks = route.asks;
        let answered = Box::pin(trade.run(route)).await;
        drop(place);
        match answered {
            Err(Told::Refused(refusal)) => match self.unanswered(lead, &refusal).await {
                Some(why) => Err(Turned::Venue(lead.codec, why)),
                None => {
                    trade.count_early(asks, &refusal).await;
                    Err(self.firewall(&parts, asked, refusal).await)
                }
            },
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

/// One hash of parts that cannot run into one another.
fn hashed(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = digest::Context::new(&digest::SHA256);
    for part in parts {
        hash.update(&(part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(hash.finish().as_ref());
    digest
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
                let meant = self.meant(asks, route.named.as_deref()).await?;
                self.judge(meant, self.digest).await
            }
        }
    }

    /// The symbols whose references a message is judged by.
    async fn symbols(&self, message: &Message) -> Result<Vec<CanonicalSymbol>, Told> {
        Ok(match message {
            Message::Submit(intent) => vec![intent.symbol.clone()],
            Message::ClosePosition { symbol, .. } => vec![symbol.clone()],
            Message::Replace { of, .. } => {
                let gate = &self.session.gate;
                let account = gate.whose(&self.access, self.host).await?;
                let owned = gate.store.trade_owned(account, self.session.room.id.clone(), of.clone()).await?;
                owned.map(|owned| owned.order.intent.symbol).into_iter().collect()
            }
            _ => vec![],
        })
    }

    /// The account, a turn of it, and everything that is known of it; none when it is another one than it was of late.
    async fn see(&self, symbols: &[CanonicalSymbol]) -> Result<Option<(AccountId, OwnedMutexGuard<()>, Facts)>, Told> {
        let gate = &self.session.gate;
        let account = gate.whose_of_late(&self.access, self.host).await?;
        gate.has_traded(&account, &self.session.room.id);
        let turn = gate.turn(&account).await;
        // What has been filled meanwhile is noted first. What is filled from here on is counted twice, and not at all never.
        gate.sync_held(&self.access, &account, &turn).await?;
        let (same, facts) = Box::pin(gate.facts(&self.access, self.host, symbols)).await?;
        if same == account {
            return Ok(Some((account, turn, facts)));
        }
        gate.forget_whose(&self.access);
        Ok(None)
    }

    async fn judge(&self, meant: Meant, digest: [u8; 32]) -> Result<Response<Answer>, Told> {
        let gate = &self.session.gate;
        let symbols = self.symbols(&meant.message).await?;
        let (account, turn, facts) = match self.see(&symbols).await? {
            Some(seen) => seen,
            // What was known of it is forgotten now.
            None => self.see(&symbols).await?.ok_or_else(|| {
                Refusal::because(Rule::MaxReferenceAge, "the account began anew meanwhile; send it again")
            })?,
        };
        let mut decision =
            self.asked.about(self.session.to).decision(&self.session.room, ringfence_store::gate::Verdict::Allow);
        decision.rule = self.rule.clone();
        decision.signed = self.codec().signed_as().map(|exchange| exchange.as_str().to_owned());
        decision.secrets =
            self.secrets.iter().map(|name| ringfence_store::gate::SecretName::parse(name)).collect::<Result<_, _>>()?;
        let ask = TradeAsk { decision, account, facts, message: meant.message.clone(), body: digest };
        let ruling = gate.rule(ask).await?;
        drop(turn);
        match ruling {
            TradeRuling::Allowed { permit, action } => {
                let passage = Passage::new(gate, &permit);
                let response = self.carry_out(action, meant).await?;
                passage.sent(self.body.len());
                passed(&passage, &response);
                Ok(response)
            }
            TradeRuling::Duplicate { permit, order } => {
                let passage = Passage::new(gate, &permit);
                let response = self.first(&order).await?;
                passed(&passage, &response);
                Ok(response)
            }
            TradeRuling::Refused { refusal, moved, .. } => {
                for moved in moved {
                    tracing::warn!(account = %moved.account, state = moved.state.as_str(), "a refusal has moved a state");
                }
                self.tell(&refusal);
                Ok(refused(self.codec(), &refusal))
            }
            TradeRuling::Held { refusal, .. } => {
                self.tell(&refusal);
                Ok(refused(self.codec(), &refusal))
            }
        }
    }

    /// Tells of a refusal that is on disk already.
    fn tell(&self, refusal: &Refusal) {
        let about = self.asked.about(self.session.to);
        self.session.gate.told(&self.session.room, &about, DenialReason::TradeRefused, refusal.to_string());
    }

    async fn carry_out(&self, action: Admitted, meant: Meant) -> Result<Response<Answer>, Told> {
        let (gate, codec) = (&self.session.gate, self.codec());
        let changes = match meant.message {
            Message::Replace { changes, .. } => Some(changes),
            _ => None,
        };
        match action {
            Admitted::Forward => self.forward().await,
            Admitted::Send { order, replaces } => {
                let replacement = replaces.zip(changes).and_then(|(of, mut changes)| {
                    changes.client_order_id = Some(order.client_order_id.clone());
                    codec.replace(of.as_str(), &changes)
                });
                let said = match replacement {
                    Some(replacement) => self.said(Method::PATCH, replacement),
                    None => self.said(Method::POST, codec.submit(&order.intent, meant.post_only)),
                };
                let mut answering = Answering { session: self.session, number: order.number, given: false };
                let response = match gate.send_order(&self.access, self.host, &order, said).await? {
                    Sent::Taken(answered) => self.answer(answered),
                    Sent::Refused(answered) => self.answer(answered),
                    Sent::Unsent(why) => self.trouble(&why),
                    Sent::InDoubt => {
                        // The same request again is answered with what has become of this one.
                        return Ok(self.trouble(&format!(
                            "the venue did not say whether it has the order; it is looked up as `{}`, and never sent again",
                            order.client_order_id
                        )));
                    }
                };
                answering.given = true;
                Ok(response)
            }
            Admitted::ReplaceLeg { order } => {
                let written = meant.named.zip(changes).and_then(|(id, changes)| codec.replace(&id, &changes));
                let Some(written) = written else { return Err(form("it names no leg").into()) };
                let said = self.said(Method::PATCH, written);
                let answered = match gate.say(&self.access, said).await {
                    Ok(answered) => answered,
                    Err(error) => return Ok(self.trouble(&error.to_string())),
                };
                let new = codec.order(&answered.body);
                if let Some(new) = new.filter(|_| answered.status.is_success())
                    && let Ok(new) = UpstreamId::parse(&new.id)
                {
                    gate.store.trade_leg(order.number, new).await?;
                }
                Ok(self.answer(answered))
            }
            Admitted::Cancel { order } => {
                let target = codec.cancel(placed(&order), meant.named.as_deref());
                let response = self.say(self.said(Method::DELETE, Written::plain(target))).await;
                self.sync_soon(&order);
                Ok(response)
            }
            Admitted::CancelOwn { orders } => Ok(self.cancel_own(orders, meant.symbol.as_deref()).await),
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
                    let response = Box::pin(self.judge(Meant::of(message), digest)).await?;
                    let status = response.status().as_u16();
                    let body = response.into_body().collect().await.map(|whole| whole.to_bytes()).unwrap_or_default();
                    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
                    list.push(json!({"symbol": symbol, "status": status, "body": body}));
                }
                Ok(json_answer(StatusCode::MULTI_STATUS, Value::from(list).to_string().into()))
            }
        }
    }

    /// Cancels the sandbox's own open orders, where a symbol is named those in it. What is told of them is each venue's own.
    async fn cancel_own(&self, mut orders: Vec<OrderRow>, symbol: Option<&str>) -> Response<Answer> {
        let gate = &self.session.gate;
        orders.retain(|order| symbol.is_none_or(|symbol| binance::symbol(&order.intent.symbol) == symbol));
        let response = match self.codec() {
            Codec::Alpaca => {
                let said = gate.cancel(&self.access, &orders).await;
                let list: Vec<Value> =
                    said.iter().map(|(order, status)| json!({"id": order.upstream_id, "status": status})).collect();
                json_answer(StatusCode::MULTI_STATUS, Value::from(list).to_string().into())
            }
            // The answers to those that were cancelled.
            Codec::Binance => {
                let said = gate.cancel_each(&self.access, &orders).await;
                let done = said.into_iter().filter_map(|(_, answered)| answered.filter(|one| one.status.is_success()));
                let list: Vec<Value> = done.filter_map(|one| serde_json::from_slice(&one.body).ok()).collect();
                json_answer(StatusCode::OK, Value::from(list).to_string().into())
            }
        };
        orders.iter().for_each(|order| self.sync_soon(order));
        response
    }

    /// What became of the first of two equal requests.
    async fn first(&self, order: &OrderRow) -> Result<Response<Answer>, Told> {
        let gate = &self.session.gate;
        let name = &order.client_order_id;
        match gate.look_up(&self.access, self.host, order).await? {
            Sent::Taken(answered) => {
                drop(Answering { session: self.session, number: order.number, given: true });
                Ok(self.answer(answered))
            }
            _ if matches!(order.closed_because.as_deref(), Some("not_found" | "not_sent")) => Ok(self.trouble(&format!(
                "the same order was admitted before as `{name}`, never reached the venue, and is closed; send it under another name"
            ))),
            _ => Ok(self.trouble(&format!(
                "the same order was sent before as `{name}`, and the venue has not said yet whether it has it"
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
        Ok(self.say(self.said(self.parts.method.clone(), Written::plain(self.target()))).await)
    }

    /// Path and query as the gate sends them.
    fn target(&self) -> String {
        match self.codec() {
            Codec::Alpaca => self.parts.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned(),
            Codec::Binance => binance::target(self.parts.uri.path(), &self.fields.query()),
        }
    }

    fn codec(&self) -> Codec {
        self.access.lead.codec
    }

    /// An error in the venue's words that no client takes for one to try again.
    fn trouble(&self, message: &str) -> Response<Answer> {
        json_answer(StatusCode::BAD_GATEWAY, self.codec().trouble(message).to_string().into())
    }

    async fn say(&self, said: Said) -> Response<Answer> {
        match self.session.gate.say(&self.access, said).await {
            Ok(answered) => self.answer(answered),
            Err(error) => self.trouble(&error.to_string()),
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
            body = self.codec().slower().to_string().into_bytes();
        }
        let mut headers = HeaderMap::new();
        for name in KEPT.iter().chain(self.codec().headers()) {
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
        let (gate, room) = (&self.session.gate, &self.session.room);
        let signed = self.codec().signed_as().map(|exchange| (exchange, None));
        Ok(gate.allow_signed(room, &about, self.rule.clone(), &self.secrets, signed, false).await?.0)
    }
}
