//! A sandbox gets a simulated account: that one, whatever key its programs use, as long as orders go to the exchange of this installation.

use hyper::http::header::AUTHORIZATION;
use hyper::http::{HeaderMap, HeaderValue, Method};
use ringfence_model::api::{TradingChoice, TradingChosen};
use ringfence_model::trade::{AccountId, Environment};
use ringfence_model::{ApiError, Code, SandboxId};
use ringfence_store::{Actor, AuditEntry};
use serde_json::{Map, Value, json};

use super::super::{failed, invalid};
use super::show::clock;
use crate::gate::desk::wire::{Answered, Said};
use crate::gate::desk::{Access, account_id};
use crate::gate::{Gate, now_ms};
use crate::trade::Codec;

impl Gate {
    /// Finds or opens the account, sets its clock where that is asked for, and writes down whose it is.
    pub(super) async fn choose_account(
        &self,
        sandbox: &SandboxId,
        choice: &TradingChoice,
    ) -> Result<TradingChosen, ApiError> {
        choice.check()?;
        let lead = match self.leads.of(Environment::Simulated, &self.trading_host()) {
            Some(lead) if self.leads.environment() == Some(Environment::Simulated) => lead,
            _ => {
                let mode = self.leads.mode().as_str();
                return Err(invalid(format!(
                    "`trading` chooses a simulated account, and the mode of trading is {mode}: leave it out, or let the operator set \
                     `ringfence trade mode simulated`"
                )));
            }
        };
        let name = choice.account.clone().unwrap_or_else(|| sandbox.to_string());
        // Accounts are anybody's to open there; a key is asked for all the same, and this one is nobody's.
        let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static("Bearer ringfence"))]);
        let nobody = Access { lead: lead.clone(), headers, key: None };
        let found = self.tell(&nobody, Method::GET, &format!("/ringfence/v1/accounts/{name}"), None).await?;
        let (account, opened) = if found.status.is_success() {
            (json_of(&found)?, false)
        } else {
            let mut wish = clock_of(choice, "start");
            wish.insert("name".to_owned(), Value::from(name.clone()));
            let made = self.tell(&nobody, Method::POST, "/ringfence/v1/accounts", Some(wish)).await?;
            (json_of(&accepted(made)?)?, true)
        };
        let id = account.get("account_id").and_then(Value::as_str).unwrap_or_default();
        let id = account_id(Codec::Alpaca, Environment::Simulated, id)
            .ok_or_else(|| ApiError::internal("the simulated exchange answered an account without an id"))?;
        let mut shown = clock(account.get("clock").unwrap_or(&Value::Null).to_string().as_bytes());
        let change = clock_of(choice, "now");
        if !opened && !change.is_empty() {
            let access = Access::of_exchange(&lead, &id).unwrap_or(nobody);
            let moved = self.tell(&access, Method::PUT, "/ringfence/v1/clock", Some(change)).await?;
            shown = clock(&accepted(moved)?.body);
        }
        self.give(sandbox, id.clone()).await?;
        Ok(TradingChosen { account: name, account_id: id.as_str().to_owned(), opened, clock: shown })
    }

    async fn give(&self, sandbox: &SandboxId, id: AccountId) -> Result<(), ApiError> {
        let _turn = self.changes.lock().await;
        let entry = AuditEntry::new(now_ms(), Actor::System, "trade.account")
            .sandbox(sandbox)
            .detail(json!({"account": id.as_str()}));
        let (whose, chosen) = (sandbox.clone(), id.clone());
        let written = self.store.write_with_audit(entry, move |tx| tx.choose_account(&whose, &chosen)).await;
        let ((), _receipt) = written.map_err(failed)?;
        self.room(sandbox).choose(id);
        Ok(())
    }

    async fn tell(
        &self,
        access: &Access,
        method: Method,
        target: &str,
        body: Option<Map<String, Value>>,
    ) -> Result<Answered, ApiError> {
        let body = body.map_or_else(Vec::new, |body| Value::Object(body).to_string().into_bytes());
        let said = Said { method, host: self.trading_host(), target: target.to_owned(), body };
        self.say(access, said).await.map_err(|error| {
            ApiError::new(Code::InsufficientResources, format!("the account could not be chosen: {error}"))
        })
    }
}

/// What is asked of a clock, under the names that the exchange has for it.
fn clock_of(choice: &TradingChoice, start: &str) -> Map<String, Value> {
    let mut wish = Map::new();
    if let Some(at) = &choice.start {
        wish.insert(start.to_owned(), Value::from(at.clone()));
    }
    if let Some(speed) = choice.speed {
        wish.insert("speed".to_owned(), Value::from(speed));
    }
    wish
}

fn json_of(answered: &Answered) -> Result<Value, ApiError> {
    serde_json::from_slice(&answered.body)
        .map_err(|_| ApiError::internal("the simulated exchange answered something that is no JSON"))
}

/// What the exchange did not refuse.
fn accepted(answered: Answered) -> Result<Answered, ApiError> {
    if answered.status.is_success() {
        return Ok(answered);
    }
    let why = json_of(&answered).ok().and_then(|said| Some(said.get("message")?.as_str()?.to_owned()));
    let why = why.unwrap_or_else(|| format!("it answered {}", answered.status.as_u16()));
    Err(invalid(format!("`trading`: the simulated exchange refused it: {why}")))
}
