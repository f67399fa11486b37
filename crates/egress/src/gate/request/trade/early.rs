//! Messages that are refused before they come to the ledger count towards its throttle and its refusals in a row all the same: a
//! program that sends nonsense in a loop is halted as one that sends orders that are too large.

use ringfence_model::trade::{AccountId, Refusal, Rule};

use super::{Session, Trade};
use crate::gate::now_ms;
use crate::trade::Asks;

/// Whether a refusal is about what the client has sent. What could not be found out says nothing about it, and a key or a mode that
/// is not there is the operator's.
fn is_of_the_client(refusal: &Refusal) -> bool {
    !matches!(
        refusal.rule,
        Rule::MaxReferenceAge
            | Rule::PermittedSymbols
            | Rule::CredentialBinding
            | Rule::EnvironmentLock
            | Rule::TradingState
    )
}

impl Trade<'_> {
    /// Counts a message in the account that it was for, if it was to change something and is refused for what it is.
    pub(super) async fn count_early(&self, asks: Asks, refusal: &Refusal) {
        if !asks.changes() || !is_of_the_client(refusal) {
            return;
        }
        match self.session.gate.whose_of_late(&self.access, self.host).await {
            Ok(account) => {
                // What asks for nothing that there is has no account: it counts where the sandbox trades.
                self.session.gate.has_traded(&account, &self.session.room.id);
                self.session.count_early(account).await;
            }
            // Nobody says whose it is.
            Err(_) => self.session.count_where_it_trades(true).await,
        }
    }
}

impl Session {
    /// Counts a message of which it is not known which account it was for, in every account that the sandbox has traded in; one that
    /// only reads counts nowhere.
    pub(super) async fn count_where_it_trades(&self, changes: bool) {
        if changes {
            for account in self.gate.accounts_of(&self.room.id) {
                self.count_early(account).await;
            }
        }
    }

    async fn count_early(&self, account: AccountId) {
        let counted = self.gate.store.trade_refused_early(account.clone(), self.room.id.clone(), now_ms()).await;
        match counted {
            Ok(moved) => {
                for moved in moved {
                    tracing::warn!(account = %moved.account, state = moved.state.as_str(), "a refusal has moved a state");
                }
            }
            // The message is refused in any case.
            Err(error) => tracing::error!(%account, %error, "a refusal could not be counted"),
        }
    }
}
