//! `/v2/orders`.

use super::{Answer, Request, part, shown};
use crate::{
    exchange::Turn,
    json::Json,
    order::{Class, Order, Part, Side},
    refusal::Refusal,
    request::{NewOrder, Replacement},
    seed::Uuid,
};

/// Orders of one answer, unless something else is said, and at most.
const LIMIT: (usize, usize) = (50, 500);

fn id(text: &str) -> Result<Uuid, Refusal> {
    // What is no id is no order's either; Alpaca says so with another code.
    Uuid::parse(text).ok_or_else(|| Refusal::malformed(format!("order_id is invalid: {}", shown(text))))
}

fn find<'a>(turn: &'a Turn<'_>, text: &str) -> Result<&'a Order, Refusal> {
    let id = id(text)?;
    turn.account().order(id).ok_or_else(|| Refusal::not_found(format!("order not found for {id}")))
}

pub(super) fn submit(turn: &mut Turn<'_>, request: &Request) -> Result<Answer, Refusal> {
    let new = NewOrder::read(request.object()?, turn.symbols())?;
    turn.submit(&new).map(Answer::ok)
}

pub(super) fn show(turn: &Turn<'_>, request: &Request, id: &str) -> Result<Answer, Refusal> {
    let nested = request.truth("nested")?;
    Ok(Answer::ok(turn.account().show(find(turn, id)?, nested)))
}

pub(super) fn of_client(turn: &Turn<'_>, request: &Request) -> Result<Answer, Refusal> {
    let id = request.param("client_order_id").ok_or_else(|| Refusal::invalid("client_order_id is required"))?;
    let order = turn.account().order_of_client(id);
    let order = order.ok_or_else(|| Refusal::not_found(format!("order not found for {}", shown(id))))?;
    Ok(Answer::ok(turn.account().show(order, false)))
}

pub(super) fn replace(turn: &mut Turn<'_>, request: &Request, text: &str) -> Result<Answer, Refusal> {
    let id = id(text)?;
    turn.replace(id, &Replacement::read(request.object()?)?).map(Answer::ok)
}

pub(super) fn cancel(turn: &mut Turn<'_>, text: &str) -> Result<Answer, Refusal> {
    turn.cancel(id(text)?)?;
    Ok(Answer::nothing())
}

pub(super) fn cancel_all(turn: &mut Turn<'_>) -> Answer {
    let open: Vec<Uuid> = turn.account().open_orders().map(|order| order.id).collect();
    let each = open.into_iter().map(|id| {
        let (status, body) = match turn.cancel(id) {
            Ok(()) => (200, Json::Null),
            // The first of its group has taken it along.
            Err(_) if turn.account().order(id).is_some_and(|order| !order.status.is_open()) => (200, Json::Null),
            Err(refusal) => (refusal.status, refusal.json()),
        };
        part("id", id.to_string().into(), status, body)
    });
    Answer::several(each.collect())
}

pub(super) fn list(turn: &Turn<'_>, request: &Request) -> Result<Answer, Refusal> {
    let account = turn.account();
    let limit = request.number("limit", LIMIT.0, LIMIT.1)?;
    let nested = request.truth("nested")?;
    let (after, until) = (request.instant("after")?, request.instant("until")?);
    let ascending = match request.param("direction") {
        None | Some("desc") => false,
        Some("asc") => true,
        Some(_) => return Err(Refusal::invalid("direction must be asc or desc")),
    };
    let open = match request.param("status") {
        None | Some("open") => Some(true),
        Some("closed") => Some(false),
        Some("all") => None,
        Some(_) => return Err(Refusal::invalid("status must be open, closed or all")),
    };
    let side = match request.param("side") {
        None => None,
        Some(word) => Some(Side::parse(word).ok_or_else(|| Refusal::invalid("side must be buy or sell"))?),
    };
    let symbols: Option<Vec<&str>> = request.param("symbols").map(|list| list.split(',').collect());
    let of_stocks = request.param("asset_class").is_none_or(|list| list.split(',').any(|class| class == "us_equity"));
    let number = |name: &str| match request.param(name) {
        None => Ok(None),
        Some(text) => find(turn, text).map(|order| Some(order.no)),
    };
    let (before_no, after_no) = (number("before_order_id")?, number("after_order_id")?);
    let wanted = |order: &&Order| {
        // Rolled up, an exit is seen below its first order alone.
        let rolled = nested && order.parent.is_some_and(|parent| account.orders.contains_key(&parent));
        of_stocks
            && !rolled
            && open.is_none_or(|open| open == (order.status.is_open() || (nested && any_leg_open(turn, order))))
            && after.is_none_or(|after| order.created_at > after)
            && until.is_none_or(|until| order.created_at < until)
            && side.is_none_or(|side| order.side == side)
            && symbols.as_ref().is_none_or(|symbols| symbols.contains(&order.symbol.as_str()))
            && before_no.is_none_or(|no| order.no < no)
            && after_no.is_none_or(|no| order.no > no)
    };
    let show = |order: &Order| account.show(order, nested);
    let found: Vec<Json> = match (open, ascending) {
        (Some(true), false) if !nested => {
            let open = account.index.open.iter().rev().filter_map(|no| account.orders.get(no));
            open.filter(wanted).take(limit).map(show).collect()
        }
        (_, true) => account.orders.values().filter(wanted).take(limit).map(show).collect(),
        (_, false) => account.orders.values().rev().filter(wanted).take(limit).map(show).collect(),
    };
    Ok(Answer::ok(Json::List(found)))
}

/// Whether an entry that has filled still has an exit that stands.
fn any_leg_open(turn: &Turn<'_>, order: &Order) -> bool {
    let is_first = order.class != Class::Simple && order.part != Some(Part::StopLoss);
    is_first && order.legs.iter().filter_map(|no| turn.account().orders.get(no)).any(|leg| leg.status.is_open())
}
