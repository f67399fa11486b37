//! What can be traded, and when: `/v2/assets`, `/v2/clock`, `/v2/calendar`, `/v2/corporate_actions/announcements`.

use jiff::{Timestamp, civil::Date};
use ringfence_market::{Action, Kind, Symbol, calendar, new_york};
use rust_decimal::Decimal;

use super::{Answer, Request, in_new_york, named, shown};
use crate::{
    exact::Exact,
    exchange::Turn,
    json::{Json, object},
    refusal::Refusal,
    seed::{Uuid, asset_id},
};

/// Where every symbol is said to be listed: bars do not tell, and clients refuse words that they do not know.
pub(super) const EXCHANGE: &str = "NASDAQ";

/// Longest span of announcements, in days, as at Alpaca.
const ANNOUNCED_DAYS_MAX: i64 = 90;

pub(super) fn asset(turn: &Turn<'_>, symbol: &Symbol) -> Json {
    // What has had no price by now cannot be traded yet.
    let tradable = turn.market().price(symbol).is_some();
    object! {
        "id" => asset_id(symbol.as_str()).to_string(),
        "class" => "us_equity",
        "exchange" => EXCHANGE,
        "symbol" => symbol.as_str(),
        "name" => format!("{symbol} (replayed)"),
        "status" => "active",
        "tradable" => tradable,
        "marginable" => true,
        "maintenance_margin_requirement" => 30_u64,
        "margin_requirement_long" => Decimal::from(30),
        "margin_requirement_short" => Decimal::from(100),
        "shortable" => true,
        "easy_to_borrow" => true,
        "borrow_status" => "easy_to_borrow",
        "fractionable" => true,
        "attributes" => Json::List(Vec::new()),
    }
}

pub(super) fn list(turn: &Turn<'_>, request: &Request) -> Result<Answer, Refusal> {
    let fits = |name: &str, ours: &str| request.param(name).is_none_or(|wanted| wanted == ours);
    let status = request.param("status");
    if status.is_some_and(|status| !matches!(status, "active" | "inactive")) {
        return Err(Refusal::invalid("status must be active or inactive"));
    }
    // None of ours has an attribute.
    let any = fits("status", "active")
        && fits("asset_class", "us_equity")
        && fits("exchange", EXCHANGE)
        && request.param("attributes").is_none();
    let symbols = if any { turn.symbols() } else { &[] };
    Ok(Answer::ok(Json::List(symbols.iter().map(|symbol| asset(turn, symbol)).collect())))
}

pub(super) fn show(turn: &Turn<'_>, name: &str) -> Result<Answer, Refusal> {
    let symbol = named(turn, name)?;
    Ok(Answer::ok(asset(turn, &symbol)))
}

pub(super) fn clock(turn: &Turn<'_>) -> Answer {
    let now = turn.now();
    Answer::ok(object! {
        "timestamp" => in_new_york(now),
        "is_open" => calendar::phase(now) == calendar::Phase::Regular,
        "next_open" => calendar::next_open(now).map(in_new_york),
        "next_close" => calendar::next_close(now).map(in_new_york),
    })
}

pub(super) fn calendar(request: &Request) -> Result<Answer, Refusal> {
    let start = request.date("start")?.unwrap_or(calendar::FIRST);
    let end = request.date("end")?.unwrap_or(calendar::LAST);
    let date_type = request.param("date_type");
    if date_type.is_some_and(|word| !matches!(word.to_ascii_uppercase().as_str(), "TRADING" | "SETTLEMENT")) {
        return Err(Refusal::invalid("date_type must be TRADING or SETTLEMENT"));
    }
    let by_settlement = date_type.is_some_and(|word| word.eq_ignore_ascii_case("SETTLEMENT"));
    let settled = |day: Date| calendar::settlement(day);
    // A trade settles within a fortnight.
    let first = if by_settlement { start.checked_sub(jiff::Span::new().days(14)).unwrap_or(start) } else { start };
    let time = |at: Timestamp, pattern: &str| new_york::civil(at).strftime(pattern).to_string();
    let sessions = calendar::onwards(first).take_while(|session| session.date <= end).filter(|session| {
        let day = if by_settlement { settled(session.date) } else { Some(session.date) };
        day.is_some_and(|day| start <= day && day <= end)
    });
    let each = sessions.map(|session| {
        object! {
            "date" => session.date.to_string(),
            "open" => time(session.open, "%H:%M"),
            "close" => time(session.close, "%H:%M"),
            "session_open" => time(session.pre_open, "%H%M"),
            "session_close" => time(session.post_close, "%H%M"),
            "settlement_date" => settled(session.date).map(|day| day.to_string()),
        }
    });
    Ok(Answer::ok(Json::List(each.collect())))
}

fn announced(action: &Action) -> Json {
    let (kind, value) = match action.kind {
        Kind::Split(ratio) => ("split", ratio),
        Kind::Dividend(dollars) => ("dividend", dollars),
    };
    let split = kind == "split";
    let symbol = action.symbol.as_str();
    let day = action.ex_date.to_string();
    // One share became `value`, or `1 / value` shares became one.
    let (old, new) = match value.is_zero() || value >= Decimal::ONE {
        true => (Decimal::ONE, value),
        false => (Decimal::ONE.over(value).unwrap_or(Decimal::ONE), Decimal::ONE),
    };
    object! {
        "id" => announcement_id(action).to_string(),
        "corporate_action_id" => format!("{symbol}_{kind}_{day}"),
        "ca_type" => kind,
        "ca_sub_type" => match (split, value >= Decimal::ONE) {
            (false, _) => "cash",
            (true, true) => "stock_split",
            (true, false) => "reverse_split",
        },
        "initiating_symbol" => symbol,
        "initiating_original_cusip" => "",
        "target_symbol" => symbol,
        "target_original_cusip" => "",
        "declaration_date" => Json::Null,
        "ex_date" => day.as_str(),
        "record_date" => Json::Null,
        "payable_date" => Json::Null,
        "cash" => if split { Decimal::ZERO } else { value },
        "old_rate" => if split { old } else { Decimal::ZERO },
        "new_rate" => if split { new } else { Decimal::ZERO },
    }
}

fn announcement_id(action: &Action) -> Uuid {
    Uuid::derived("announcement", &format!("{}/{}/{:?}", action.symbol, action.ex_date, action.kind), 0)
}

/// Actions whose ex-date is within two days and not after now.
fn actions(turn: &Turn<'_>, symbols: &[Symbol], since: Date, until: Date) -> Vec<Action> {
    let today = new_york::date(turn.now());
    let before = since.yesterday().ok().and_then(new_york::midnight);
    let (Some(before), Some(end)) = (before, new_york::midnight(until.min(today))) else { return Vec::new() };
    let of = |symbol: &Symbol| turn.market().tape.actions(symbol, before, end);
    symbols.iter().flat_map(of).filter(|action| since <= action.ex_date && action.ex_date <= until).collect()
}

pub(super) fn announcements(turn: &Turn<'_>, request: &Request) -> Result<Answer, Refusal> {
    let needed = |name: &str| Refusal::invalid(format!("{name} is required"));
    let types = request.param("ca_types").ok_or_else(|| needed("ca_types"))?;
    let types: Vec<String> = types.split(',').map(str::to_ascii_lowercase).collect();
    if !types.iter().all(|word| matches!(word.as_str(), "dividend" | "merger" | "spinoff" | "split")) {
        return Err(Refusal::invalid("ca_types must be of dividend, merger, spinoff, split"));
    }
    let since = request.date("since")?.ok_or_else(|| needed("since"))?;
    let until = request.date("until")?.ok_or_else(|| needed("until"))?;
    if until < since || (until - since).get_days() > i32::try_from(ANNOUNCED_DAYS_MAX).unwrap_or(i32::MAX) {
        return Err(Refusal::invalid("since and until must be at most 90 days apart"));
    }
    if request.param("date_type").is_some_and(|word| word != "ex_date") {
        return Err(Refusal::unprocessable("the ex_date is the only date that is known of an announcement"));
    }
    let symbols = match request.param("symbol") {
        Some(text) => vec![named(turn, text)?],
        None => turn.symbols().to_vec(),
    };
    let wanted = |action: &Action| {
        let word = if matches!(action.kind, Kind::Split(_)) { "split" } else { "dividend" };
        types.iter().any(|kind| kind == word)
    };
    let found = actions(turn, &symbols, since, until);
    Ok(Answer::ok(Json::List(found.iter().filter(|action| wanted(action)).map(announced).collect())))
}

pub(super) fn announcement(turn: &Turn<'_>, id: &str) -> Result<Answer, Refusal> {
    let all = actions(turn, turn.symbols(), calendar::FIRST, calendar::LAST);
    let found = Uuid::parse(id).and_then(|id| all.iter().find(|action| announcement_id(action) == id));
    let found = found.ok_or_else(|| Refusal::not_found(format!("announcement not found for {}", shown(id))))?;
    Ok(Answer::ok(announced(found)))
}
