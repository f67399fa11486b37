//! `/v2/watchlists`, by id and by name.

use ringfence_market::Symbol;

use super::{Answer, Request, assets::asset, named, shown};
use crate::{
    account::{Change, WATCHED_MAX, WATCHLISTS_MAX, Watchlist},
    exchange::Turn,
    json::{Json, object},
    refusal::Refusal,
    request::Fields,
    seed::Uuid,
};

/// Longest name of a watchlist, in characters (Alpaca's bound).
const NAME_MAX: usize = 64;

fn json(turn: &Turn<'_>, list: &Watchlist) -> Json {
    object! {
        "id" => list.id.to_string(),
        "account_id" => turn.account().id().to_string(),
        "created_at" => list.created_at,
        "updated_at" => list.updated_at,
        "name" => list.name.as_str(),
        "assets" => Json::List(list.symbols.iter().map(|symbol| asset(turn, symbol)).collect()),
    }
}

/// Answers a request for watchlists, of which the router has checked the form.
pub(super) fn answer(turn: &mut Turn<'_>, request: &Request, path: &[&str]) -> Result<Answer, Refusal> {
    let method = request.method.as_str();
    if let (["watchlists"], "GET") = (path, method) {
        let all = turn.account().watchlists.values().map(|list| json(turn, list));
        return Ok(Answer::ok(Json::List(all.collect())));
    }
    if let ["watchlists"] = path {
        return create(turn, request);
    }
    let list = find(turn, request, path)?;
    match (method, path) {
        ("GET", _) => Ok(Answer::ok(json(turn, &list))),
        ("DELETE", [_, _, symbol]) => {
            let symbol = named(turn, symbol)?;
            let mut list = list;
            if !list.symbols.contains(&symbol) {
                return Err(Refusal::not_found(format!("asset not found for {symbol}")));
            }
            list.symbols.retain(|known| *known != symbol);
            Ok(put(turn, list))
        }
        ("DELETE", _) => {
            turn.change(Change::Unwatched(list.id));
            Ok(Answer::nothing())
        }
        ("PUT", _) => update(turn, request, list),
        _ => add(turn, request, list),
    }
}

fn find(turn: &Turn<'_>, request: &Request, path: &[&str]) -> Result<Watchlist, Refusal> {
    let lists = &turn.account().watchlists;
    let found = match path {
        ["watchlists:by_name"] => {
            let name = request.param("name").ok_or_else(|| Refusal::invalid("name is required"))?;
            lists.values().find(|list| list.name == name)
        }
        [_, id, ..] => Uuid::parse(id).and_then(|id| lists.get(&id)),
        _ => None,
    };
    let asked = || path.get(1).map_or_else(|| shown(request.param("name").unwrap_or_default()), |id| shown(id));
    found.cloned().ok_or_else(|| Refusal::not_found(format!("watchlist not found for {}", asked())))
}

fn name(turn: &Turn<'_>, fields: &Fields<'_>, but: Option<Uuid>) -> Result<Option<String>, Refusal> {
    let Some(name) = fields.text("name")? else { return Ok(None) };
    let length = name.chars().count();
    if length == 0 || length > NAME_MAX || name.chars().any(char::is_control) {
        return Err(Refusal::invalid(format!("name must be of 1 to {NAME_MAX} characters")));
    }
    if turn.account().watchlists.values().any(|list| list.name == name && Some(list.id) != but) {
        return Err(Refusal::invalid("watchlist name must be unique"));
    }
    Ok(Some(name.to_owned()))
}

fn symbols(turn: &Turn<'_>, fields: &Fields<'_>) -> Result<Option<Vec<Symbol>>, Refusal> {
    let Some(texts) = fields.texts("symbols")? else { return Ok(None) };
    let mut symbols = Vec::new();
    for text in texts {
        let symbol = crate::request::symbol(text, turn.symbols())?;
        if !symbols.contains(&symbol) {
            symbols.push(symbol);
        }
    }
    if symbols.len() > WATCHED_MAX {
        return Err(Refusal::invalid(format!("a watchlist holds at most {WATCHED_MAX} symbols")));
    }
    Ok(Some(symbols))
}

fn create(turn: &mut Turn<'_>, request: &Request) -> Result<Answer, Refusal> {
    let fields = Fields::of(request.object()?)?;
    let name = name(turn, &fields, None)?.ok_or_else(|| Refusal::invalid("name is required"))?;
    let symbols = symbols(turn, &fields)?.unwrap_or_default();
    if turn.account().watchlists.len() >= WATCHLISTS_MAX {
        return Err(Refusal::forbidden(format!("an account has at most {WATCHLISTS_MAX} watchlists")));
    }
    let (id, now) = (turn.id("watchlist"), turn.now());
    Ok(put(turn, Watchlist { id, name, symbols, created_at: now, updated_at: now }))
}

fn update(turn: &mut Turn<'_>, request: &Request, mut list: Watchlist) -> Result<Answer, Refusal> {
    let fields = Fields::of(request.object()?)?;
    if let Some(name) = name(turn, &fields, Some(list.id))? {
        list.name = name;
    }
    if let Some(symbols) = symbols(turn, &fields)? {
        list.symbols = symbols;
    }
    Ok(put(turn, list))
}

fn add(turn: &mut Turn<'_>, request: &Request, mut list: Watchlist) -> Result<Answer, Refusal> {
    let fields = Fields::of(request.object()?)?;
    let text = fields.text("symbol")?.ok_or_else(|| Refusal::invalid("symbol is required"))?;
    let symbol = crate::request::symbol(text, turn.symbols())?;
    if list.symbols.contains(&symbol) {
        return Err(Refusal::unprocessable("duplicate symbol in watchlist"));
    }
    if list.symbols.len() >= WATCHED_MAX {
        return Err(Refusal::forbidden(format!("a watchlist holds at most {WATCHED_MAX} symbols")));
    }
    list.symbols.push(symbol);
    Ok(put(turn, list))
}

fn put(turn: &mut Turn<'_>, mut list: Watchlist) -> Answer {
    list.updated_at = turn.now();
    turn.change(Change::Watchlist(list.clone()));
    Answer::ok(json(turn, &list))
}
