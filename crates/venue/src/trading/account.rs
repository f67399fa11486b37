//! `/v2/account` and `/v2/account/configurations`.

use ringfence_market::new_york;
use rust_decimal::Decimal;

use super::{Answer, Request};
use crate::{
    account::{Account, Change, Configuration, value::MARGIN_EQUITY_MIN},
    exact::{Exact, round},
    exchange::Turn,
    json::{Json, object},
    refusal::Refusal,
    request::Fields,
};

/// The number by which people call an account.
fn number(account: &Account) -> String {
    let id = account.id().to_string().replace('-', "").to_uppercase();
    format!("PA{}", id.get(..10).unwrap_or_default())
}

pub(super) fn show(turn: &Turn<'_>) -> Result<Answer, Refusal> {
    let account = turn.account();
    let value = account.value(turn.market())?;
    let today = new_york::date(turn.now());
    let last = account.marks.iter().rev().find(|mark| mark.date < today);
    let last_equity = last.map_or(account.opening.cash, |mark| mark.equity);
    let cents = |value: Decimal| round(value, 2);
    let configuration = &account.configuration;
    let shorting =
        !configuration.no_shorting && configuration.max_margin_multiplier != "1" && value.equity >= MARGIN_EQUITY_MIN;
    Ok(Answer::ok(object! {
        "id" => account.id().to_string(),
        "admin_configurations" => Json::Object(Vec::new()),
        "user_configurations" => Json::Null,
        "account_number" => number(account),
        "status" => "ACTIVE",
        "crypto_status" => "INACTIVE",
        "currency" => "USD",
        "options_buying_power" => Decimal::ZERO,
        "options_approved_level" => 0_u64,
        "options_trading_level" => 0_u64,
        "buying_power" => cents(value.buying_power),
        "regt_buying_power" => cents(value.buying_power),
        "daytrading_buying_power" => Decimal::ZERO,
        "effective_buying_power" => cents(value.buying_power),
        "non_marginable_buying_power" => cents(value.cash_power),
        "bod_dtbp" => Decimal::ZERO,
        "cash" => account.cash,
        "accrued_fees" => Decimal::ZERO,
        "pending_transfer_in" => Decimal::ZERO,
        "pending_transfer_out" => Decimal::ZERO,
        "portfolio_value" => value.equity,
        "pattern_day_trader" => false,
        "trading_blocked" => false,
        "transfers_blocked" => false,
        "account_blocked" => false,
        "created_at" => account.opening.start,
        "trade_suspended_by_user" => configuration.suspend_trade,
        "multiplier" => value.multiplier,
        "shorting_enabled" => shorting,
        "equity" => value.equity,
        "last_equity" => last_equity,
        "long_market_value" => value.long,
        "short_market_value" => value.short,
        "position_market_value" => value.long.plus(value.short.abs())?,
        "initial_margin" => cents(value.initial_margin),
        "maintenance_margin" => cents(value.maintenance_margin),
        "last_maintenance_margin" => cents(value.maintenance_margin),
        "sma" => cents(value.equity.minus(value.initial_margin)?),
        "daytrade_count" => 0_u64,
        "balance_asof" => last.map_or(new_york::date(account.opening.start), |mark| mark.date).to_string(),
        "crypto_tier" => 0_u64,
        "intraday_adjustments" => Decimal::ZERO,
        "pending_reg_taf_fees" => Decimal::ZERO,
    }))
}

fn json(configuration: &Configuration) -> Json {
    object! {
        "dtbp_check" => configuration.dtbp_check.as_str(),
        "fractional_trading" => configuration.fractional_trading,
        "max_margin_multiplier" => configuration.max_margin_multiplier.as_str(),
        "max_options_trading_level" => 0_u64,
        "no_shorting" => configuration.no_shorting,
        "pdt_check" => configuration.pdt_check.as_str(),
        "ptp_no_exception_entry" => configuration.ptp_no_exception_entry,
        "suspend_trade" => configuration.suspend_trade,
        "trade_confirm_email" => configuration.trade_confirm_email.as_str(),
        "disable_overnight_trading" => true,
    }
}

pub(super) fn configuration(turn: &Turn<'_>) -> Answer {
    Answer::ok(json(&turn.account().configuration))
}

pub(super) fn configure(turn: &mut Turn<'_>, request: &Request) -> Result<Answer, Refusal> {
    let fields = Fields::of(request.object()?)?;
    let mut new = turn.account().configuration.clone();
    let word = |name: &str, words: &[&str], value: &mut String| -> Result<(), Refusal> {
        let known = |text: &str| words.contains(&text).then(|| text.to_owned());
        if let Some(text) = fields.word(name, known)? {
            *value = text;
        }
        Ok(())
    };
    word("dtbp_check", &["both", "entry", "exit"], &mut new.dtbp_check)?;
    word("pdt_check", &["both", "entry", "exit"], &mut new.pdt_check)?;
    word("trade_confirm_email", &["all", "none"], &mut new.trade_confirm_email)?;
    word("max_margin_multiplier", &["1", "2", "4"], &mut new.max_margin_multiplier)?;
    for (name, value) in [
        ("fractional_trading", &mut new.fractional_trading),
        ("no_shorting", &mut new.no_shorting),
        ("suspend_trade", &mut new.suspend_trade),
        ("ptp_no_exception_entry", &mut new.ptp_no_exception_entry),
    ] {
        if let Some(wanted) = fields.truth(name)? {
            *value = wanted;
        }
    }
    if new != turn.account().configuration {
        turn.change(Change::Configuration(new));
    }
    Ok(configuration(turn))
}
