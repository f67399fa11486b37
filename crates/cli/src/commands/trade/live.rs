//! Arming live: a person at a terminal types the account's name.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use anyhow::Context;
use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{Actor, TradeModeRequest, TradeStatusRequest, trade_account};
use ringfence_model::trade::Environment;

use super::ModeArgs;
use crate::{args, failure};

/// Bytes of a line that is typed.
const LINE_BYTES_MAX: u64 = 256;

/// Refuses arguments that make no sense.
pub(super) fn check(args: &ModeArgs) -> anyhow::Result<()> {
    if args.mode.as_deref() != Some("live") {
        if args.until.is_some() || args.account.is_some() {
            return failure::usage("--until and --account are for `ringfence trade mode live`");
        }
        return Ok(());
    }
    let Some(until) = &args.until else {
        return failure::usage("live has an end: give it with --until, as in `--until 2h`, at most 24 hours from now");
    };
    end(until, jiff::Timestamp::now()).map_err(failure::Usage)?;
    if let Some(account) = &args.account {
        let parsed = trade_account(Some(account)).map_err(|error| failure::Usage(error.message))?;
        if parsed.and_then(|account| account.environment()) != Some(Environment::Live) {
            return failure::usage(format!("`{account}` is not a live account: it begins with `live:`"));
        }
    }
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return failure::usage(
            "live trading is armed by a person who types the account's name: run this at a terminal, not from a program",
        );
    }
    Ok(())
}

/// A time, or one that is so long from now.
fn end(text: &str, now: jiff::Timestamp) -> Result<jiff::Timestamp, String> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    let seconds = args::whole_seconds(text)
        .map_err(|_| format!("`{text}` is not a time: write it as in `2h` or `2026-11-27T21:00:00Z`"))?;
    let seconds = i64::try_from(seconds).ok().map(jiff::SignedDuration::from_secs);
    seconds
        .and_then(|length| now.checked_add(length).ok())
        .ok_or_else(|| format!("`{text}` is too long: live is armed for at most 24 hours"))
}

/// Asks for the name. Nothing is sent unless somebody typed it.
pub(super) async fn request(api: &dyn Sandboxes, args: &ModeArgs) -> anyhow::Result<TradeModeRequest> {
    let account = match &args.account {
        Some(account) => account.clone(),
        None => only_live_account(api).await?,
    };
    let until = end(args.until.as_deref().unwrap_or_default(), jiff::Timestamp::now()).map_err(failure::Usage)?;
    let mut err = io::stderr();
    writeln!(err, "Orders of every sandbox with a key of {account} will trade with money until {until}.")
        .and_then(|()| write!(err, "Type the name of the account to arm live trading: "))
        .and_then(|()| err.flush())
        .context("asking on standard error")?;
    let mut typed = String::new();
    io::stdin().lock().take(LINE_BYTES_MAX).read_line(&mut typed).context("reading what was typed")?;
    let typed = typed.trim();
    if typed != account {
        return failure::usage("that is not the name of the account: nothing was changed");
    }
    let (confirm, until) = (Some(typed.to_owned()), Some(until.to_string()));
    Ok(TradeModeRequest { mode: "live".into(), until, account: Some(account), confirm })
}

/// The one live account that is known.
async fn only_live_account(api: &dyn Sandboxes) -> anyhow::Result<String> {
    let status = api.trade_status(Actor::Operator, TradeStatusRequest::default()).await?;
    let mut live = status.accounts.into_iter().filter(|account| account.environment == "live");
    match (live.next(), live.next()) {
        (Some(only), None) => Ok(only.account),
        (None, _) => failure::usage(
            "no live account is known: name it with --account, and set its limits with `ringfence trade limits --account live:ID \
             set NAME=VALUE …`",
        ),
        (Some(_), Some(_)) => failure::usage("several live accounts are known: name one with --account"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_time_or_a_while_from_now() {
        let now: jiff::Timestamp = "2026-01-02T03:04:05Z".parse().expect("a time");
        for (text, expected) in [
            ("2h", "2026-01-02T05:04:05Z"),
            ("90", "2026-01-02T03:05:35Z"),
            ("2026-01-02T21:00:00-05:00", "2026-01-03T02:00:00Z"),
        ] {
            assert_eq!(end(text, now).expect("a time").to_string(), expected, "{text}");
        }
        for text in ["", "soon", "-2h", "99999999999999999d"] {
            assert!(end(text, now).is_err(), "{text}");
        }
    }
}
