//! What a request asks for.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{Timestamp, civil::Date};
use percent_encoding::percent_decode_str;
use ringfence_market::{Symbol, new_york};

use super::Refusal;

/// The most symbols of one request.
const SYMBOLS_MAX: usize = 1000;
/// The most items of a page.
const LIMIT_MAX: usize = 10_000;
/// The items of a page that says nothing.
const LIMIT: usize = 1000;

const FEEDS: [&str; 6] = ["sip", "iex", "boats", "otc", "delayed_sip", "overnight"];

/// The parameters of a request.
pub(super) struct Query(BTreeMap<String, String>);

/// Which way time goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Ascending,
    Descending,
}

/// Where a page ends: the last item in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) symbol: Symbol,
    pub(super) at: Timestamp,
}

/// What every request for history has.
#[derive(Debug, Clone)]
pub(super) struct Range {
    pub(super) start: Timestamp,
    /// Never after the account's time.
    pub(super) end: Timestamp,
    pub(super) limit: usize,
    pub(super) sort: Sort,
    pub(super) after: Option<Mark>,
}

/// The path's parts, decoded. `None` when it is not absolute, has an empty part, or is not UTF-8.
pub(super) fn segments(path: &str) -> Option<Vec<String>> {
    let decode = |part: &str| {
        let part = percent_decode_str(part).decode_utf8().ok()?;
        (!part.is_empty()).then(|| part.into_owned())
    };
    path.strip_prefix('/')?.split('/').map(decode).collect()
}

pub(super) fn symbol(text: &str) -> Result<Symbol, Refusal> {
    Symbol::parse(text).map_err(|_| Refusal::invalid(format!("invalid symbol: {}", cut(text))))
}

fn cut(text: &str) -> String {
    text.chars().take(40).collect()
}

impl Query {
    pub(super) fn parse(text: &str) -> Result<Self, Refusal> {
        let mut found = BTreeMap::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let [name, value] = [name, value].map(|part| {
                let part = part.replace('+', " ");
                percent_decode_str(&part).decode_utf8().map(std::borrow::Cow::into_owned)
            });
            let (Ok(name), Ok(value)) = (name, value) else {
                return Err(Refusal::invalid("the query is not UTF-8"));
            };
            if found.insert(name.clone(), value).is_some() {
                return Err(Refusal::invalid(format!("{} is given twice", cut(&name))));
            }
        }
        Ok(Self(found))
    }

    /// A parameter; an empty one is none.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The symbols, ascending, each once.
    pub(super) fn symbols(&self) -> Result<Vec<Symbol>, Refusal> {
        let text = self.get("symbols").ok_or_else(|| Refusal::invalid("symbols is required"))?;
        let symbols: BTreeSet<Symbol> = text.split(',').map(|s| symbol(s.trim())).collect::<Result<_, _>>()?;
        if symbols.len() > SYMBOLS_MAX {
            return Err(Refusal::invalid(format!("too many symbols: {} of at most {SYMBOLS_MAX}", symbols.len())));
        }
        Ok(symbols.into_iter().collect())
    }

    /// Where the page before ended.
    pub(super) fn mark(&self) -> Result<Option<Mark>, Refusal> {
        let parse = |token| Mark::parse(token).ok_or_else(|| Refusal::invalid("invalid page_token"));
        self.get("page_token").map(parse).transpose()
    }

    pub(super) fn limit(&self) -> Result<usize, Refusal> {
        let Some(text) = self.get("limit") else { return Ok(LIMIT) };
        let limit = text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
        limit.ok_or_else(|| Refusal::invalid(format!("invalid limit: {} (1 to {LIMIT_MAX})", cut(text))))
    }

    pub(super) fn sort(&self) -> Result<Sort, Refusal> {
        match self.get("sort") {
            None | Some("asc") => Ok(Sort::Ascending),
            Some("desc") => Ok(Sort::Descending),
            Some(other) => Err(Refusal::invalid(format!("invalid sort: {} (asc or desc)", cut(other)))),
        }
    }

    /// Feed and currency, which must be ones that there are. Every feed is the same data.
    pub(super) fn check_source(&self) -> Result<(), Refusal> {
        if let Some(feed) = self.get("feed").filter(|feed| !FEEDS.contains(feed)) {
            return Err(Refusal::invalid(format!("invalid feed: {}", cut(feed))));
        }
        match self.get("currency") {
            None | Some("USD") => Ok(()),
            Some(other) => {
                Err(Refusal::invalid(format!("invalid currency: {}; recorded prices are in USD", cut(other))))
            }
        }
    }

    /// Which part of history. Without a start it is the day in New York, without an end it is now.
    pub(super) fn range(&self, now: Timestamp) -> Result<Range, Refusal> {
        self.check_source()?;
        let today = new_york::midnight(new_york::date(now)).unwrap_or(now);
        let start = match self.get("start") {
            None => today,
            Some(text) => instant("start", text, new_york::midnight)?,
        };
        let end = match self.get("end") {
            None => now,
            // A day as the end is meant to be in it.
            Some(text) => instant("end", text, |day| {
                let next = new_york::midnight(day.tomorrow().ok()?)?;
                next.checked_sub(jiff::SignedDuration::from_nanos(1)).ok()
            })?,
        };
        if end < start && self.get("end").is_some() {
            return Err(Refusal::invalid("end should not be before start"));
        }
        Ok(Range { start, end: end.min(now), limit: self.limit()?, sort: self.sort()?, after: self.mark()? })
    }
}

/// RFC 3339, or a day.
fn instant(name: &str, text: &str, of_day: impl Fn(Date) -> Option<Timestamp>) -> Result<Timestamp, Refusal> {
    let parsed = if text.len() == 10 {
        text.parse::<Date>().ok().and_then(of_day)
    } else {
        // A `+` that was not encoded arrives as a space.
        let mended = match text.rsplit_once(' ') {
            Some((before, after)) if after.len() == 5 && before.contains(['T', 't']) => format!("{before}+{after}"),
            _ => text.to_owned(),
        };
        mended.parse().ok()
    };
    parsed.ok_or_else(|| Refusal::invalid(format!("invalid {name}: {} (RFC 3339, or YYYY-MM-DD)", cut(text))))
}

impl Mark {
    /// As a token: opaque to clients, as they are told by Alpaca.
    pub(super) fn token(&self) -> String {
        URL_SAFE_NO_PAD.encode(format!("{}|{}", self.symbol, self.at.as_nanosecond()))
    }

    fn parse(token: &str) -> Option<Self> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token.trim_end_matches('=')).ok()?).ok()?;
        let (symbol, at) = text.split_once('|')?;
        let at = Timestamp::from_nanosecond(at.parse().ok()?).ok()?;
        Some(Self { symbol: Symbol::parse(symbol).ok()?, at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, start: &str, end: &str) {
        let now: Timestamp = "2012-06-15T15:00:00Z".parse().expect("an instant");
        let range = Query::parse(text).and_then(|q| q.range(now)).expect("a good query");
        assert_eq!((range.start.to_string().as_str(), range.end.to_string().as_str()), (start, end), "{text}");
    }

    #[test]
    fn a_range_is_days_in_new_york_or_instants_and_ends_now() {
        check("", "2012-06-15T04:00:00Z", "2012-06-15T15:00:00Z");
        check("start=2012-01-03&end=2012-01-03", "2012-01-03T05:00:00Z", "2012-01-04T04:59:59.999999999Z");
        check("start=2012-01-03T09%3A30%3A00-05%3A00", "2012-01-03T14:30:00Z", "2012-06-15T15:00:00Z");
        check("start=2012-01-03T09:30:00+01:00", "2012-01-03T08:30:00Z", "2012-06-15T15:00:00Z");
        check("start=2012-01-03&end=2030-01-01", "2012-01-03T05:00:00Z", "2012-06-15T15:00:00Z");
        check("start=2013-01-03", "2013-01-03T05:00:00Z", "2012-06-15T15:00:00Z");
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_name() {
        let refused = |text: &str| {
            let range = Query::parse(text).and_then(|q| q.range(Timestamp::UNIX_EPOCH));
            range.map(|r| r.start).expect_err(text).message
        };
        assert_eq!(refused("start=yesterday"), "invalid start: yesterday (RFC 3339, or YYYY-MM-DD)");
        assert_eq!(refused("start=2012-02-30"), "invalid start: 2012-02-30 (RFC 3339, or YYYY-MM-DD)");
        assert_eq!(refused("start=2012-01-03&end=2012-01-02"), "end should not be before start");
        assert_eq!(refused("limit=0"), "invalid limit: 0 (1 to 10000)");
        assert_eq!(refused("limit=10001"), "invalid limit: 10001 (1 to 10000)");
        assert_eq!(refused("sort=up"), "invalid sort: up (asc or desc)");
        assert_eq!(refused("feed=carrier-pigeon"), "invalid feed: carrier-pigeon");
        assert_eq!(refused("currency=EUR"), "invalid currency: EUR; recorded prices are in USD");
        assert_eq!(refused("page_token=x"), "invalid page_token");
        assert_eq!(refused("limit=1&limit=2"), "limit is given twice");
        assert_eq!(refused("limit=%ff"), "the query is not UTF-8");
    }

    #[test]
    fn a_mark_comes_back_from_its_token() {
        let mark = Mark { symbol: Symbol::parse("BRK.B").expect("a symbol"), at: Timestamp::UNIX_EPOCH };
        assert_eq!(Mark::parse(&mark.token()), Some(mark));
    }

    #[test]
    fn a_path_has_parts_and_no_empty_one() {
        assert_eq!(segments("/v2/stocks/BRK%2EB"), Some(vec!["v2".into(), "stocks".into(), "BRK.B".into()]));
        for path in ["", "v2", "/v2//stocks", "/v2/", "/%ff"] {
            assert_eq!(segments(path), None, "{path}");
        }
    }
}
