//! Venues as data: names, where they lead, and what each request to them asks for.

use std::collections::BTreeMap;

use hyper::http::Method;
use ringfence_model::net::{CanonicalPath, HostName};
use ringfence_model::trade::{AssetClass, Environment};
use serde::Deserialize;

use super::codec::Codec;

/// What is spoken at a host of a venue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Part {
    /// Orders.
    Trading,
    /// What a market has said.
    Data,
    /// What it says now.
    Stream,
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Asks {
    /// A new order.
    Submit,
    /// Another order in place of one.
    Replace,
    /// An order's end.
    Cancel,
    /// The end of all orders.
    CancelAll,
    /// A position's end.
    ClosePosition,
    /// The end of all positions.
    CloseAll,
    /// Orders: those of the sandbox that asks.
    ReadOrders,
    /// One order, if it is the sandbox's.
    ReadOrder,
    /// Something that changes no order.
    Read,
    /// The stream of what becomes of orders.
    Updates,
    /// The stream of what a market says.
    DataStream,
    /// The replayed clock, which the simulated exchange alone has.
    Clock,
}

impl Asks {
    /// Whether it would change an order or a position.
    pub(crate) fn changes(self) -> bool {
        matches!(
            self,
            Self::Submit | Self::Replace | Self::Cancel | Self::CancelAll | Self::ClosePosition | Self::CloseAll
        )
    }

    /// Whether the body says what is asked, so that it is read whole before anything is decided.
    pub(crate) fn is_judged(self) -> bool {
        matches!(
            self,
            Self::Submit
                | Self::Replace
                | Self::Cancel
                | Self::CancelAll
                | Self::ClosePosition
                | Self::CloseAll
                | Self::ReadOrders
                | Self::ReadOrder
        )
    }
}

/// A request that the venue's file knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    /// What it asks for.
    pub(crate) asks: Asks,
    /// The order or symbol that the path names.
    pub(crate) named: Option<String>,
}

/// One venue.
#[derive(Debug)]
pub(crate) struct Venue {
    /// What it is called.
    pub(crate) name: String,
    /// How it writes and reads.
    pub(crate) codec: Codec,
    /// What is traded there unless its assets say something else.
    pub(crate) asset_class: AssetClass,
    /// Whether the exchange of this installation speaks as it does, so that its names lead there in mode `simulated`.
    pub(crate) simulated: bool,
    /// Assets there that are counted as dollars, the one to value others by first.
    pub(crate) dollars: Vec<String>,
    hosts: BTreeMap<HostName, (Part, Option<Environment>)>,
    leads: BTreeMap<(Environment, Part), HostName>,
    requests: Vec<Request>,
    refused: Vec<Refused>,
    /// Where the parts of an order stand.
    pub(crate) order: BTreeMap<String, String>,
    /// Its words for ours.
    pub(crate) words: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Request {
    part: Part,
    method: Option<Method>,
    path: Vec<Segment>,
    asks: Asks,
}

/// A request that is refused as any other that is not in the file, with a sentence of its own.
#[derive(Debug)]
struct Refused {
    path: Vec<Segment>,
    because: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Segment {
    Is(String),
    Named,
    Rest,
}

/// A venue's file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    codec: Codec,
    asset_class: AssetClass,
    #[serde(default)]
    simulated: bool,
    #[serde(default)]
    dollars: Vec<String>,
    host: Vec<FileHost>,
    #[serde(default)]
    paper: BTreeMap<Part, HostName>,
    #[serde(default)]
    live: BTreeMap<Part, HostName>,
    request: Vec<FileRequest>,
    #[serde(default)]
    refuse: Vec<FileRefusal>,
    order: BTreeMap<String, String>,
    #[serde(default)]
    words: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileHost {
    name: HostName,
    part: Part,
    only: Option<Environment>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileRequest {
    part: Part,
    method: String,
    path: String,
    is: Asks,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileRefusal {
    path: String,
    because: String,
}

/// Why a venue's file is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VenueError {
    #[error("the file of a venue cannot be read")]
    Toml(#[from] toml::de::Error),
    #[error("`{0}` is not a method")]
    Method(String),
}

impl Venue {
    /// Reads a venue's file.
    pub(crate) fn parse(text: &str) -> Result<Self, VenueError> {
        let file: File = toml::from_str(text)?;
        let leads = [(Environment::Paper, file.paper), (Environment::Live, file.live)];
        let leads = leads.into_iter().flat_map(|(mode, parts)| parts.into_iter().map(move |(p, h)| ((mode, p), h)));
        let requests = file.request.into_iter().map(|request| {
            let method = match request.method.as_str() {
                "*" => None,
                method => {
                    Some(Method::from_bytes(method.as_bytes()).map_err(|_| VenueError::Method(method.to_owned()))?)
                }
            };
            Ok(Request { part: request.part, method, path: segments(&request.path), asks: request.is })
        });
        let refused =
            file.refuse.into_iter().map(|one| Refused { path: segments(&one.path), because: one.because }).collect();
        Ok(Self {
            name: file.name,
            codec: file.codec,
            asset_class: file.asset_class,
            simulated: file.simulated,
            dollars: file.dollars,
            refused,
            hosts: file.host.into_iter().map(|host| (host.name, (host.part, host.only))).collect(),
            leads: leads.collect(),
            requests: requests.collect::<Result<_, VenueError>>()?,
            order: file.order,
            words: file.words,
        })
    }

    /// What is spoken at a host of its own.
    pub(crate) fn part(&self, host: &HostName) -> Option<Part> {
        self.hosts.get(host).map(|(part, _)| *part)
    }

    /// Whether a name of its own leads anywhere in this environment.
    pub(crate) fn leads_in(&self, host: &HostName, environment: Environment) -> bool {
        self.hosts.get(host).is_some_and(|(_, only)| only.is_none_or(|only| only == environment))
    }

    /// Where a part of it is outside; nowhere in mode `simulated`.
    pub(crate) fn outside(&self, environment: Environment, part: Part) -> Option<&HostName> {
        self.leads.get(&(environment, part))
    }

    /// The name by which the gate itself sends orders in this environment: the one that leads somewhere in all of them, if there is
    /// such a name.
    pub(crate) fn trading_host(&self, environment: Environment) -> Option<&HostName> {
        let of = |wanted: Option<Environment>| {
            self.hosts.iter().find(|(_, (part, only))| *part == Part::Trading && *only == wanted).map(|(name, _)| name)
        };
        of(None).or_else(|| of(Some(environment)))
    }

    /// What the file says of a request that nobody allowed, if it says something.
    pub(crate) fn why_not(&self, target: &str) -> Option<&str> {
        let path = target.split('?').next().unwrap_or_default();
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let refused = self.refused.iter().find(|refused| matches(&refused.path, &segments).is_some())?;
        Some(&refused.because)
    }

    /// All of its names.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = &HostName> {
        self.hosts.keys()
    }

    /// What a request asks for; none for one that nobody allowed. The path must have one reading, and be written as it is read: no
    /// `//`, no `%2F`, no slash at its end but where the file has one.
    pub(crate) fn route(&self, part: Part, method: &Method, target: &str) -> Option<Route> {
        let path = target.split('?').next().unwrap_or_default();
        let canonical = CanonicalPath::parse(path).ok()?;
        let as_written = canonical.as_str() == path || (part == Part::Trading && plain(path, canonical.as_str()));
        if !as_written {
            return None;
        }
        let segments: Vec<&str> = canonical.as_str().split('/').skip(1).collect();
        let slashed = path.len() > 1 && path.ends_with('/');
        self.requests.iter().find_map(|request| {
            let named = matches(&request.path, &segments)?;
            if slashed && request.path.last() != Some(&Segment::Is(String::new())) {
                return None;
            }
            let fits = request.part == part && request.method.as_ref().is_none_or(|wanted| wanted == method);
            fits.then(|| Route { asks: request.asks, named: named.map(str::to_owned) })
        })
    }
}

fn segments(path: &str) -> Vec<Segment> {
    let segments = path.split('/').skip(1).map(|segment| match segment {
        "**" => Segment::Rest,
        segment if segment.starts_with('{') => Segment::Named,
        segment => Segment::Is(segment.to_owned()),
    });
    segments.collect()
}

/// Whether the only escapes are those of letters that clients write so: a colon, and the slash never.
fn plain(written: &str, read: &str) -> bool {
    written.replace("%3A", ":").replace("%3a", ":") == read
}

/// What a segment in braces stands for, if the path is one of these.
fn matches<'p>(pattern: &[Segment], path: &[&'p str]) -> Option<Option<&'p str>> {
    let mut named = None;
    for (at, segment) in pattern.iter().enumerate() {
        match (segment, path.get(at)) {
            (Segment::Rest, Some(_)) => return Some(named),
            (Segment::Is(wanted), Some(found)) if wanted == found => {}
            (Segment::Named, Some(found)) if !found.is_empty() => named = Some(*found),
            _ => return None,
        }
    }
    (path.len() == pattern.len()).then_some(named)
}

/// The venues of this build.
#[derive(Debug)]
pub(crate) struct Venues(Vec<Venue>);

impl Venues {
    /// Those whose files are compiled in.
    pub(crate) fn built_in() -> Self {
        let files = [include_str!("../../venues/alpaca.toml"), include_str!("../../venues/binance.toml")];
        Self(files.iter().map(|text| Venue::parse(text).expect("the files in venues/ are tested")).collect())
    }

    /// The venue that a host belongs to.
    pub(crate) fn of(&self, host: &HostName) -> Option<(&Venue, Part)> {
        self.0.iter().find_map(|venue| Some((venue, venue.part(host)?)))
    }

    /// The venue that is spoken with so. Each has a codec of its own.
    pub(crate) fn speaking(&self, codec: Codec) -> &Venue {
        self.0.iter().find(|venue| venue.codec == codec).expect("every codec has its file in venues/")
    }

    /// The venue of this name.
    #[cfg(test)]
    pub(crate) fn named(&self, name: &str) -> Option<&Venue> {
        self.0.iter().find(|venue| venue.name == name)
    }

    /// All names of all venues.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = &HostName> {
        self.0.iter().flat_map(Venue::hosts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> HostName {
        HostName::parse(name).expect("a name")
    }

    #[test]
    fn each_request_is_what_the_file_says_and_everything_else_is_refused() {
        let venues = Venues::built_in();
        let (alpaca, part) = venues.of(&host("paper-api.alpaca.markets")).expect("a venue");
        assert_eq!((alpaca.name.as_str(), part), ("alpaca", Part::Trading));
        #[track_caller]
        fn check(venue: &Venue, method: &str, target: &str, wanted: Option<(Asks, Option<&str>)>) {
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            let found = venue.route(Part::Trading, &method, target);
            let found = found.as_ref().map(|route| (route.asks, route.named.as_deref()));
            assert_eq!(found, wanted, "{method} {target}");
        }
        check(alpaca, "POST", "/v2/orders", Some((Asks::Submit, None)));
        check(alpaca, "PATCH", "/v2/orders/0-1", Some((Asks::Replace, Some("0-1"))));
        check(alpaca, "DELETE", "/v2/positions/BTC%2FUSD?qty=1", None);
        check(alpaca, "DELETE", "/v2/positions/AAPL?qty=1", Some((Asks::ClosePosition, Some("AAPL"))));
        check(alpaca, "GET", "/v2/orders:by_client_order_id?client_order_id=x", Some((Asks::ReadOrder, None)));
        check(alpaca, "GET", "/v2/orders%3Aby_client_order_id?client_order_id=x", Some((Asks::ReadOrder, None)));
        check(alpaca, "GET", "/v2/watchlists/x/AAPL", Some((Asks::Read, None)));
        check(alpaca, "GET", "/stream", Some((Asks::Updates, None)));
        check(alpaca, "GET", "/stream/", Some((Asks::Updates, None)));
        for (method, target) in [
            ("POST", "/v2/orders/"),
            ("GET", "/stream//"),
            ("GET", "/v2/watchlists/"),
            ("GET", "/v2/watchlists/x/"),
            ("POST", "//v2/orders"),
            ("POST", "/v2//orders"),
            ("POST", "/v2/%6Frders"),
            ("POST", "/v2/x/../orders"),
            ("PATCH", "/v2/account/configurations"),
            ("POST", "/v2/positions/AAPL/exercise"),
            ("POST", "/v2/wallets/transfers"),
            ("GET", "/v3/orders"),
            ("GET", "/v2/locates"),
            ("PUT", "/v2/orders"),
        ] {
            check(alpaca, method, target, None);
        }
    }

    #[test]
    fn at_binance_nothing_is_reached_by_which_money_leaves() {
        let venues = Venues::built_in();
        let (binance, part) = venues.of(&host("testnet.binance.vision")).expect("a venue");
        assert_eq!((binance.codec, part), (Codec::Binance, Part::Trading));
        let route = |method: &str, target: &str| {
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            binance.route(part, &method, target).map(|route| route.asks)
        };
        assert_eq!(route("POST", "/api/v3/order?symbol=A"), Some(Asks::Submit));
        assert_eq!(route("DELETE", "/api/v3/order"), Some(Asks::Cancel));
        assert_eq!(route("DELETE", "/api/v3/openOrders"), Some(Asks::CancelAll));
        assert_eq!(route("GET", "/api/v3/myTrades"), Some(Asks::ReadOrders));
        assert_eq!(route("POST", "/api/v3/order/test"), Some(Asks::Read));
        assert_eq!(route("GET", "/api/v3/ticker/24hr"), Some(Asks::Read));
        assert_eq!(route("GET", "/sapi/v1/capital/config/getall"), Some(Asks::Read));
        for (method, target, why) in [
            ("POST", "/sapi/v1/capital/withdraw/apply", Some("money leaves")),
            ("POST", "/sapi/v1/capital/config/getall", Some("money leaves")),
            ("POST", "/api/v3/order/cancelReplace", Some("cancel it")),
            ("PUT", "/api/v3/order/amend/keepPriority", Some("cancel it")),
            ("POST", "/api/v3/orderList/otoco", Some("one by one")),
            ("GET", "/api/v3/allOrderList", None),
            ("PUT", "/api/v3/order", None),
            ("GET", "/api/v3/account/balance", None),
            ("POST", "/wapi/v3/withdraw.html", None),
        ] {
            assert_eq!(route(method, target), None, "{method} {target}");
            match (why, binance.why_not(target)) {
                (Some(words), Some(why)) => assert!(why.contains(words), "{why}"),
                (wanted, found) => assert_eq!(wanted, found, "{target}"),
            }
        }
        for environment in [Environment::Simulated, Environment::Paper, Environment::Live] {
            for name in binance.hosts() {
                let wanted = if name.as_str().contains("testnet") { Environment::Paper } else { Environment::Live };
                assert_eq!(binance.leads_in(name, environment), environment == wanted, "{name} {environment}");
            }
        }
        let sends = |environment| binance.trading_host(environment).map(HostName::as_str);
        assert_eq!(sends(Environment::Paper), Some("testnet.binance.vision"));
        assert_eq!(binance.outside(Environment::Live, Part::Trading).map(HostName::as_str), Some("api.binance.com"));
        assert!(sends(Environment::Live).is_some_and(|name| binance.leads_in(&host(name), Environment::Live)));
        assert_eq!(
            venues.speaking(Codec::Alpaca).trading_host(Environment::Live),
            Some(&host("paper-api.alpaca.markets"))
        );
    }

    #[test]
    fn a_name_of_live_leads_nowhere_but_there() {
        let venues = Venues::built_in();
        let alpaca = venues.named("alpaca").expect("it is there");
        let (paper, live) = (host("paper-api.alpaca.markets"), host("api.alpaca.markets"));
        for environment in [Environment::Simulated, Environment::Paper] {
            assert!(alpaca.leads_in(&paper, environment) && !alpaca.leads_in(&live, environment));
        }
        assert!(alpaca.leads_in(&paper, Environment::Live) && alpaca.leads_in(&live, Environment::Live));
        assert_eq!(alpaca.outside(Environment::Live, Part::Trading), Some(&live));
        assert_eq!(alpaca.outside(Environment::Paper, Part::Trading), Some(&paper));
        assert_eq!(alpaca.outside(Environment::Simulated, Part::Trading), None);
    }
}
