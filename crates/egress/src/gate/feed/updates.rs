//! What becomes of orders, told to the sandbox whose orders they are, and to the ledger of the gate before anybody.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use hyper::http::HeaderMap;
use ringfence_model::SandboxId;
use ringfence_model::trade::{AccountId, ClientOrderId, UpstreamId};
use ringfence_store::StoreError;
use ringfence_store::gate::Owned;
use rmpv::Value;
use serde::Deserialize;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use super::codec::{self, Codec, field, object, text};
use super::upstream::{Over, Talk};
use super::words::{self, Refusal, TRADE_UPDATES};
use super::{Ask, Guest, Guests, Login};
use crate::gate::desk::Access;
use crate::gate::desk::settle::OrderSaid;
use crate::gate::{Gate, now_ms};
use crate::secret::Echo;

/// Longest wait for a venue's answer.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// An order whose answer is still on its way is known by its id a moment later: how often, and how long, that is waited for.
const LOOKS: u32 = 10;
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// In milliseconds: an order in doubt for longer holds nothing up.
const NEW_MS: u64 = 10_000;

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Away,
    Login,
    /// The venue is to say that it will tell.
    Listening,
    Ready,
}

/// An update, as far as the gate has to know it.
#[derive(Deserialize)]
struct Update {
    order: OrderSaid,
}

#[derive(Deserialize)]
struct Envelope<'e> {
    stream: &'e str,
    #[serde(borrow)]
    data: &'e serde_json::value::RawValue,
}

/// One connection for what becomes of an account's orders.
pub(super) struct Updates {
    account: AccountId,
    access: Access,
    login: Login,
    /// Whether they listen.
    guests: Guests<bool>,
    phase: Phase,
    says: VecDeque<Message>,
    due: Option<Instant>,
    masks: Vec<Echo>,
    /// Wakes who asks the venue about orders with legs.
    asking: Arc<Notify>,
    asker: Option<AbortHandle>,
}

impl Updates {
    pub(super) fn new(account: AccountId, access: Access, login: Login) -> Self {
        let masks = match &login {
            Login::Keys { id, secret } => vec![Echo::new(id.expose()), Echo::new(secret.expose())],
            Login::Account(_) => vec![],
        };
        Self {
            account,
            access,
            login,
            guests: Guests::new(),
            phase: Phase::Away,
            says: VecDeque::new(),
            due: None,
            masks,
            asking: Arc::default(),
            asker: None,
        }
    }

    fn say(&mut self, number: u64, message: Message, is_answer: bool) {
        // There is no word for it on this stream but the one of the other.
        self.guests.say(number, message, is_answer, |codec| words::trouble(codec, &Refusal::slow().text));
    }

    fn let_in(&mut self, number: u64) {
        if let Some(seated) = self.guests.all.get_mut(&number).filter(|seated| !seated.is_in) {
            seated.is_in = true;
            let message = words::authorization(seated.codec, "authenticate", true);
            self.say(number, message, true);
        }
    }

    /// Whose order it is. None is nobody's here: another program trades in the account, or a person.
    async fn owned(&self, gate: &Gate, said: &OrderSaid) -> Result<Option<Owned>, StoreError> {
        let Ok(id) = UpstreamId::parse(&said.id) else { return Ok(None) };
        for look in 0..LOOKS {
            if look > 0 {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            if let Some(owned) = gate.store.trade_of_upstream(self.account.clone(), id.clone()).await? {
                return Ok(Some(owned));
            }
            if let Ok(name) = ClientOrderId::parse(&said.client_order_id)
                && let Some(order) = gate.store.trade_of_client_id(self.account.clone(), name).await?
            {
                return Ok(Some(Owned { order, leg: false }));
            }
            let unresolved = gate.store.trade_unresolved().await?;
            let is_new = |at_ms: u64| now_ms().saturating_sub(at_ms) < NEW_MS;
            if !unresolved.iter().any(|order| order.account == self.account && is_new(order.admitted_at_ms)) {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// Tells the ledger, then the sandbox whose order it is.
    async fn updated(&mut self, gate: &Arc<Gate>, data: &serde_json::value::RawValue) {
        let Ok(update) = serde_json::from_str::<Update>(data.get()) else {
            tracing::warn!(account = %self.account, "an update of an order could not be read, and is told to nobody");
            return;
        };
        let owned = match self.owned(gate, &update.order).await {
            Ok(Some(owned)) => owned,
            Ok(None) => return,
            Err(error) => {
                tracing::error!(account = %self.account, %error, "whose an order is could not be found out; its update is told to nobody");
                return;
            }
        };
        if owned.leg || !Gate::is_whole(&owned.order) {
            self.asking.notify_one();
        } else {
            let _turn = gate.turn(&self.account).await;
            if let Err(error) = gate.note_order(&owned.order, &update.order).await {
                tracing::error!(account = %self.account, %error, "an update of an order could not be noted");
            }
        }
        self.tell(&owned.order.sandbox, data);
    }

    fn tell(&mut self, owner: &SandboxId, data: &serde_json::value::RawValue) {
        let text = format!(r#"{{"stream":"{TRADE_UPDATES}","data":{}}}"#, data.get());
        let json = Message::binary(text.clone());
        let mut packed = None;
        let own = self.guests.all.iter().filter(|(_, seated)| seated.wish && seated.sandbox == *owner);
        let own: Vec<_> = own.map(|(number, seated)| (*number, seated.codec)).collect();
        for (number, codec) in own {
            let message = match codec {
                Codec::Msgpack => packed
                    .get_or_insert_with(|| {
                        // Its instants are texts in both forms, as its amounts are.
                        let value = serde_json::from_str(&text).map_or(Value::Nil, codec::of_texts);
                        codec.frame(&value)
                    })
                    .clone(),
                Codec::Json => Message::text(text.clone()),
                Codec::BinaryJson => json.clone(),
            };
            self.say(number, message, false);
        }
    }

    /// The exchange of this installation takes an id that is nobody's for that of its first account, and an account may have been
    /// begun anew meanwhile. Whoever listened to the one before has to say again who it is.
    async fn check_account(&self, gate: &Gate) -> Result<(), Over> {
        if !matches!(self.login, Login::Account(_)) {
            return Ok(());
        }
        match gate.whose(&self.access, &gate.trading_host()).await {
            Ok(account) if account == self.account => Ok(()),
            Ok(_) => Err(Over::Refused(Refusal::internal("the account is another one now"))),
            Err(refusal) => Err(Over::Lost(refusal.to_string())),
        }
    }

    fn control(&mut self, message: &Value) -> Result<(), Over> {
        let data = field(message, "data");
        match (self.phase, text(message, "stream")) {
            (Phase::Login, Some("authorization")) => {
                if data.and_then(|data| text(data, "status")) != Some("authorized") {
                    return Err(Over::Refused(Refusal::auth_failed()));
                }
                let streams = object([("streams", Value::Array(vec![TRADE_UPDATES.into()]))]);
                let listen = object([("action", "listen".into()), ("data", streams)]);
                self.says.push_back(Codec::Json.frame(&listen));
                self.phase = Phase::Listening;
            }
            (Phase::Listening, Some("listening")) => {
                self.phase = Phase::Ready;
                self.due = None;
                // What happened while nobody listened is asked for.
                self.asking.notify_one();
                let waiting: Vec<u64> = self.guests.all.keys().copied().collect();
                waiting.into_iter().for_each(|number| self.let_in(number));
            }
            (_, Some("error")) => return Err(Over::Lost("the venue says that something is wrong".to_owned())),
            _ => {}
        }
        Ok(())
    }

    /// Asks the venue about open orders whenever it is woken: many updates at once are one question.
    fn wake(&mut self, gate: &Arc<Gate>) {
        if self.asker.is_some() {
            return;
        }
        let (gate, access, account) = (Arc::downgrade(gate), self.access.clone(), self.account.clone());
        let asking = self.asking.clone();
        let task = tokio::spawn(async move {
            loop {
                asking.notified().await;
                let Some(gate) = gate.upgrade() else { return };
                if let Err(error) = gate.sync(&access, &account).await {
                    tracing::error!(%account, %error, "the ledger of orders could not be brought up to date");
                }
            }
        });
        self.asker = Some(task.abort_handle());
    }
}

impl Drop for Updates {
    fn drop(&mut self) {
        if let Some(asker) = &self.asker {
            asker.abort();
        }
    }
}

impl Talk for Updates {
    fn headers(&self) -> HeaderMap {
        match &self.login {
            // The exchange knows an account by the handshake.
            Login::Account(_) => self.access.headers.clone(),
            Login::Keys { .. } => HeaderMap::new(),
        }
    }

    fn join(&mut self, guest: Guest) {
        let number = guest.number;
        self.guests.join(guest);
        if self.phase == Phase::Ready {
            self.let_in(number);
        }
    }

    fn ask(&mut self, number: u64, ask: Ask) {
        let Some(seated) = self.guests.all.get_mut(&number) else { return };
        let codec = seated.codec;
        let message = match ask {
            Ask::Listen(is_wanted) => {
                seated.wish = is_wanted;
                words::listening(codec, is_wanted)
            }
            Ask::Subscribe(_) | Ask::Unsubscribe(_) => words::trouble(codec, "unknown action"),
        };
        self.say(number, message, true);
    }

    fn leave(&mut self, number: u64) {
        self.guests.all.remove(&number);
    }

    fn is_empty(&self) -> bool {
        self.guests.is_empty()
    }

    fn begin(&mut self) {
        let mut data = vec![];
        if let Login::Keys { id, secret } = &self.login {
            let word = |value: &[u8]| Value::from(String::from_utf8_lossy(value).into_owned());
            data.push(("key_id".into(), word(id.expose())));
            data.push(("secret_key".into(), word(secret.expose())));
        }
        let login = object([("action", "authenticate".into()), ("data", Value::Map(data))]);
        self.says.push_back(Codec::Json.frame(&login));
        self.phase = Phase::Login;
        self.due = Some(Instant::now() + ANSWER_TIME);
    }

    fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    fn due(&self) -> Option<Instant> {
        self.due
    }

    fn says(&mut self) -> Option<Message> {
        self.says.pop_front()
    }

    async fn heard(&mut self, gate: &Arc<Gate>, message: &Message) -> Result<(), Over> {
        self.wake(gate);
        let bytes = match message {
            Message::Text(text) => bytes::Bytes::copy_from_slice(text.as_bytes()),
            Message::Binary(bytes) => bytes.clone(),
            _ => return Ok(()),
        };
        let masks = self.masks.iter().map(|echo| echo.mask().of_equal_length());
        let bytes = masks.fold(bytes, |bytes, mask| mask.whole(bytes));
        if let Ok(envelope) = serde_json::from_slice::<Envelope<'_>>(&bytes)
            && envelope.stream == TRADE_UPDATES
        {
            self.updated(gate, envelope.data).await;
            return Ok(());
        }
        let Some(message) = codec::read_bytes(&bytes) else {
            return Err(Over::Lost("the venue says what cannot be read".to_owned()));
        };
        let before = self.phase;
        self.control(&message)?;
        if (before, self.phase) == (Phase::Login, Phase::Listening) {
            self.check_account(gate).await?;
        }
        Ok(())
    }

    fn lost(&mut self) {
        self.phase = Phase::Away;
        self.says.clear();
        self.due = None;
    }

    fn refused(&mut self, refusal: &Refusal) {
        tracing::debug!(account = %self.account, code = refusal.code, "the stream of an account's orders was refused");
        let all: Vec<u64> = self.guests.all.keys().copied().collect();
        for number in all {
            self.guests.dismiss(number, |codec| match refusal.code {
                402 => words::authorization(codec, "authenticate", false),
                _ => words::trouble(codec, &refusal.text),
            });
        }
    }
}
