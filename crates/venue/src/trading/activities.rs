//! `/v2/account/activities`.

use jiff::Timestamp;
use ringfence_market::new_york;
use rust_decimal::Decimal;

use super::{Answer, Request};
use crate::{
    account::{Account, Activity, ActivityKind},
    exchange::Turn,
    json::{Json, object},
    order::Side,
    refusal::Refusal,
    seed::Uuid,
};

/// Activities of one answer, unless fewer are asked for.
const PAGE: usize = 100;

/// `YYYYMMDDhhmmssmmm::uuid`, by which activities are in the order of their time.
fn id(account: &Account, activity: &Activity) -> String {
    let stamp = stamp(activity.at);
    format!("{stamp}::{}", Uuid::derived("activity", &account.seed(), activity.no))
}

fn stamp(at: Timestamp) -> String {
    let at = at.to_zoned(jiff::tz::TimeZone::UTC);
    let millis = at.subsec_nanosecond() / 1_000_000;
    format!("{}{millis:03}", at.strftime("%Y%m%d%H%M%S"))
}

/// The activity with that id.
fn find<'a>(account: &'a Account, token: &str) -> Option<&'a Activity> {
    let (wanted, _) = token.split_once("::")?;
    let first = account.activities.partition_point(|activity| stamp(activity.at).as_str() < wanted);
    let mut of_then = account.activities.iter().skip(first).take_while(|activity| stamp(activity.at) == wanted);
    of_then.find(|activity| id(account, activity) == token)
}

fn json(account: &Account, activity: &Activity) -> Json {
    let id = id(account, activity);
    let Some(fill) = &activity.fill else {
        let date = new_york::date(activity.at).to_string();
        return object! {
            "id" => id,
            "activity_type" => activity.kind.word(),
            "date" => date,
            "created_at" => activity.at,
            "net_amount" => activity.cash,
            "description" => match activity.kind {
                ActivityKind::Split => format!("split {} for 1", activity.price.normalize()),
                ActivityKind::Dividend => "cash dividend".to_owned(),
                _ => "fee of the account's profile".to_owned(),
            },
            "symbol" => activity.symbol.as_str(),
            "qty" => activity.qty,
            "per_share_amount" => Some(activity.price).filter(|_| activity.kind == ActivityKind::Dividend),
            "status" => "executed",
        };
    };
    let order = account.orders.get(&fill.order);
    let done = fill.leaves <= Decimal::ZERO;
    object! {
        "id" => id,
        "activity_type" => activity.kind.word(),
        "transaction_time" => activity.at,
        "type" => if done { "fill" } else { "partial_fill" },
        "price" => activity.price,
        "qty" => activity.qty.abs(),
        "side" => if fill.short && fill.side == Side::Sell { "sell_short" } else { fill.side.word() },
        "symbol" => activity.symbol.as_str(),
        "leaves_qty" => fill.leaves,
        "order_id" => order.map(|order| order.id.to_string()),
        "cum_qty" => fill.cumulative,
        "order_status" => if done { "filled" } else { "partially_filled" },
    }
}

pub(super) fn list(turn: &Turn<'_>, request: &Request, kind: Option<&str>) -> Result<Answer, Refusal> {
    let account = turn.account();
    let words = match (kind, request.param("activity_types")) {
        (Some(_), Some(_)) => return Err(Refusal::invalid("activity_types is in the path already")),
        (Some(kind), None) => Some(kind),
        (None, list) => list,
    };
    let kinds: Option<Vec<&str>> = words.map(|list| list.split(',').collect());
    let known = |word: &&str| word.len() <= 10 && word.bytes().all(|b| b.is_ascii_uppercase());
    if kinds.as_ref().is_some_and(|kinds| !kinds.iter().all(known)) {
        return Err(Refusal::invalid("invalid activity type"));
    }
    let size = request.number("page_size", PAGE, PAGE)?;
    let ascending = match request.param("direction") {
        None | Some("desc") => false,
        Some("asc") => true,
        Some(_) => return Err(Refusal::invalid("direction must be asc or desc")),
    };
    let day = request.date("date")?;
    let (after, until) = (request.instant("after")?, request.instant("until")?);
    if day.is_some() && (after.is_some() || until.is_some()) {
        return Err(Refusal::invalid("date cannot be used with after or until"));
    }
    let last = match request.param("page_token") {
        None => None,
        Some(token) => {
            Some(find(account, token).ok_or_else(|| Refusal::invalid("page_token is not an activity's id"))?.no)
        }
    };
    let within = |at: Timestamp| {
        day.is_none_or(|day| new_york::date(at) == day)
            && after.is_none_or(|after| at > after)
            && until.is_none_or(|until| at < until)
    };
    let wanted = |activity: &&Activity| {
        kinds.as_ref().is_none_or(|kinds| kinds.contains(&activity.kind.word()))
            && within(activity.at)
            && last.is_none_or(|no| if ascending { activity.no > no } else { activity.no < no })
    };
    let show = |activity: &Activity| json(account, activity);
    let all = account.activities.iter();
    let found: Vec<Json> = if ascending {
        all.filter(wanted).take(size).map(show).collect()
    } else {
        all.rev().filter(wanted).take(size).map(show).collect()
    };
    Ok(Answer::ok(Json::List(found)))
}
