//! Pre-trade controls as pure rules: what an order may be, what it may cost at worst, and whether it may go to a venue.
//!
//! [`decide`] judges one [`Message`] of a sandbox by the [`Limits`] in force, the [`Facts`] of market and account, and what the
//! ledger has [`Counted`]. It reads no clock and changes nothing: what follows from its verdict is in the [`Judgement`], and the
//! ledger (`store::gate`) carries that out in the transaction that records it.

mod amount;
mod decide;
mod knob;
mod limits;
mod loss;
mod mode;
mod name;
mod order;
mod refusal;
mod snapshot;
mod state;
mod verdict;

pub use amount::{BadAmount, Percent, Price, Qty, Usd};
pub use decide::{Early, decide, refused_early};
pub use knob::{Hours, LIST_MAX, Window};
pub use limits::{BadLimit, KnobInfo, Limits, LoosenedKnob, MissingKnobs};
pub use loss::{Loss, loss_event};
pub use mode::{Environment, LIVE_MS_MAX, Mode, NotArmed};
pub use name::{AccountId, AssetClass, BadName, CanonicalSymbol, ClientOrderId, UpstreamId};
pub use order::{
    Changes, CloseSize, Exit, Message, OptionLeg, OrderClass, OrderIntent, OrderRef, OrderType, Pricing, Side, Size,
    StopLoss, Structure, TimeInForce, Trail,
};
pub use refusal::{Figure, Refusal, Rule};
pub use snapshot::{
    AccountClock, Bucket, Counted, Counters, Equity, Facts, OpenOrder, Position, Question, Reference, Scope, Scoped,
    Session, Spent, Target, TradeDate,
};
pub use state::{By, Cause, StateEvent, TradingState};
pub use verdict::{Action, Effect, Judgement, Reservation, Verdict};

/// The first characters of a refused text, fit for an error's sentence.
fn excerpt(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_debug).collect()
}
