//! What somebody wants to hear of a market: channels, and symbols in them.

use std::collections::{BTreeMap, BTreeSet};

use rmpv::Value;

use super::codec::{self, field};

/// Symbols of one sandbox's socket over all channels. (Alpaca's largest plan has no limit; its free one has 30.)
pub(super) const SYMBOLS_MAX: usize = 5000;
/// The longest symbol, in bytes: an option's has 21.
const SYMBOL_BYTES_MAX: usize = 32;
/// All symbols.
const ALL: &str = "*";

/// A channel, and the kind of message that comes by it.
type Channel = (&'static str, &'static str);

/// The channels of shares (Alpaca, "Real-time Stock Data"), in the order in which a subscription is told.
const STOCKS: [Channel; 9] = [
    ("trades", "t"),
    ("quotes", "q"),
    ("bars", "b"),
    ("updatedBars", "u"),
    ("dailyBars", "d"),
    ("statuses", "s"),
    ("lulds", "l"),
    ("corrections", "c"),
    ("cancelErrors", "x"),
];
const CRYPTO: [Channel; 6] =
    [("trades", "t"), ("quotes", "q"), ("orderbooks", "o"), ("bars", "b"), ("updatedBars", "u"), ("dailyBars", "d")];
const OPTIONS: [Channel; 2] = [("trades", "t"), ("quotes", "q")];
const NEWS: [Channel; 1] = [("news", "n")];
/// Those that come with trades and are not asked for.
const WITH_TRADES: [&str; 2] = ["corrections", "cancelErrors"];

/// What one path of the stream's host tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gate) struct Channels(&'static [Channel]);

impl Channels {
    /// By the path; none for one at which nothing is told.
    pub(in crate::gate) fn of(path: &str) -> Option<Self> {
        let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        let plain = |word: &&str| !word.is_empty() && word.len() <= 32 && word.bytes().all(is_plain);
        if !segments.iter().all(plain) {
            return None;
        }
        Some(Self(match segments[..] {
            ["v1beta1", "news"] => &NEWS,
            ["v1beta1" | "v1beta2", "crypto"] | ["v1beta3", "crypto", _] => &CRYPTO,
            ["v1beta1", "options", _] => &OPTIONS,
            ["v1beta1", "indicative" | "opra" | "options"] => &OPTIONS,
            ["v2" | "v1beta1", _] => &STOCKS,
            _ => return None,
        }))
    }

    fn name(self, name: &str) -> Option<&'static str> {
        self.0.iter().find(|channel| channel.0 == name).map(|channel| channel.0)
    }

    /// The channel by which a kind of message comes.
    pub(super) fn of_kind(self, kind: &str) -> Option<&'static str> {
        self.0.iter().find(|channel| channel.1 == kind).map(|channel| channel.0)
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'
}

/// Channels and their symbols. No channel is there without one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wish(BTreeMap<&'static str, BTreeSet<String>>);

impl Wish {
    /// What a request names; none when it names what there is not.
    pub(super) fn read(request: &Value, channels: Channels) -> Option<Self> {
        let mut wish = Self::default();
        for (name, symbols) in request.as_map()? {
            let name = name.as_str()?;
            if name == "action" {
                continue;
            }
            let symbols: Vec<&str> = match symbols {
                // Some clients send what is not wanted as null.
                Value::Nil => vec![],
                symbols => symbols.as_array()?.iter().map(Value::as_str).collect::<Option<_>>()?,
            };
            if !symbols.iter().all(|symbol| is_symbol(symbol)) {
                return None;
            }
            let channel = channels.name(name)?;
            if !WITH_TRADES.contains(&channel) {
                wish.put(channel, symbols.into_iter().map(str::to_owned));
            }
        }
        Some(wish)
    }

    /// What a venue says that it sends.
    pub(super) fn told(subscription: &Value, channels: Channels) -> Self {
        let mut wish = Self::default();
        for (channel, _) in channels.0.iter().filter(|channel| !WITH_TRADES.contains(&channel.0)) {
            let symbols = field(subscription, channel).and_then(Value::as_array);
            let symbols = symbols.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
            wish.put(channel, symbols);
        }
        wish
    }

    fn put(&mut self, channel: &'static str, symbols: impl Iterator<Item = String>) {
        let mut symbols = symbols.peekable();
        if symbols.peek().is_some() {
            self.0.entry(channel).or_default().extend(symbols);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Symbols over all channels.
    pub(super) fn len(&self) -> usize {
        self.0.values().map(BTreeSet::len).sum()
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (channel, symbols) in &other.0 {
            self.put(channel, symbols.iter().cloned());
        }
    }

    /// What is here and not there.
    pub(super) fn without(&self, other: &Self) -> Self {
        let mut rest = Self::default();
        for (channel, symbols) in &self.0 {
            let there = other.0.get(channel);
            rest.put(channel, symbols.iter().filter(|symbol| !there.is_some_and(|all| all.contains(*symbol))).cloned());
        }
        rest
    }

    /// What is here, and would not come by a subscription of which a venue says that it is `told`.
    pub(super) fn lacking(&self, told: &Self) -> Self {
        let mut rest = self.without(told);
        rest.0.retain(|channel, _| !told.0.get(channel).is_some_and(|symbols| symbols.contains(ALL)));
        rest
    }

    /// Whether a message that comes by `channel` was wanted.
    pub(super) fn has(&self, channel: &str, message: &Value) -> bool {
        let channel = if WITH_TRADES.contains(&channel) { "trades" } else { channel };
        let Some(symbols) = self.0.get(channel) else { return false };
        if symbols.contains(ALL) {
            return true;
        }
        match codec::text(message, "S") {
            Some(symbol) => symbols.contains(symbol),
            // News are about several.
            None => {
                let about = field(message, "symbols").and_then(Value::as_array);
                about.into_iter().flatten().filter_map(Value::as_str).any(|symbol| symbols.contains(symbol))
            }
        }
    }

    /// As the fields of a request, or of what a subscription is told as: all channels, with their symbols.
    pub(super) fn fields(&self, channels: Channels, is_whole: bool) -> Vec<(Value, Value)> {
        let mut fields = Vec::new();
        for (channel, _) in channels.0 {
            let source = if is_whole && WITH_TRADES.contains(channel) { "trades" } else { channel };
            let symbols = self.0.get(source);
            if is_whole || symbols.is_some() {
                let symbols = symbols.into_iter().flatten().map(|symbol| symbol.as_str().into()).collect();
                fields.push(((*channel).into(), Value::Array(symbols)));
            }
        }
        fields
    }
}

fn is_symbol(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"./-_".contains(&byte);
    text == ALL || (1..=SYMBOL_BYTES_MAX).contains(&text.len()) && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(json: &str) -> Option<Wish> {
        let value = codec::read_bytes(&bytes::Bytes::copy_from_slice(json.as_bytes())).expect("it is JSON");
        Wish::read(&value, Channels::of("/v2/iex").expect("it is one"))
    }

    #[test]
    fn wishes_are_added_and_taken_away() {
        let mut all =
            wish(r#"{"action":"subscribe","bars":["A","B"],"trades":["*"],"quotes":[],"lulds":null}"#).unwrap();
        assert_eq!(all.len(), 3);
        all.add(&wish(r#"{"bars":["C"],"quotes":["A"]}"#).unwrap());
        let rest = all.without(&wish(r#"{"bars":["A","C","X"],"trades":["*"]}"#).unwrap());
        assert_eq!(rest, wish(r#"{"bars":["B"],"quotes":["A"]}"#).unwrap());
        assert!(rest.without(&all).is_empty());
        let channels = Channels::of("/v2/sip").unwrap();
        assert_eq!(rest.fields(channels, false).len(), 2);
        let told = Value::Map(rest.fields(channels, true));
        assert_eq!((told.as_map().unwrap().len(), Wish::told(&told, channels)), (9, rest));
    }

    #[test]
    fn a_message_is_for_those_who_asked_for_its_channel_and_symbol() {
        let wish = wish(r#"{"bars":["A"],"trades":["*"]}"#).unwrap();
        let of = |symbol: &str| codec::object([("S", symbol.into())]);
        assert!(wish.has("bars", &of("A")) && !wish.has("bars", &of("B")) && !wish.has("quotes", &of("A")));
        assert!(wish.has("trades", &of("B")) && wish.has("corrections", &of("B")));
        let news = codec::object([("symbols", Value::Array(vec!["A".into(), "B".into()]))]);
        let asked = codec::object([("news", Value::Array(vec!["B".into()]))]);
        let asked = Wish::read(&asked, Channels::of("/v1beta1/news").unwrap()).unwrap();
        assert!(asked.has("news", &news) && !asked.has("news", &codec::object([("symbols", Value::Array(vec![]))])));
    }

    #[test]
    fn what_names_no_channel_or_symbol_is_no_wish() {
        for text in [
            r#"{"bars":"A"}"#,
            r#"{"bars":[1]}"#,
            r#"{"bars":["A B"]}"#,
            r#"{"bars":[""]}"#,
            r#"{"bars":["A\u0000"]}"#,
            r#"{"candles":["A"]}"#,
            r#"{"orderbooks":["A"]}"#,
            r#"["bars"]"#,
        ] {
            assert_eq!(wish(text), None, "{text}");
        }
        assert_eq!(wish(&format!(r#"{{"bars":["{}"]}}"#, "A".repeat(33))), None);
        for path in ["/", "", "/v2", "/v2/", "/v2/a/b", "/v2/..", "/v2/IEX", "/v3/iex", "/v2/a%2fb", "/stream"] {
            assert_eq!(Channels::of(path), None, "{path}");
        }
        assert_eq!(Channels::of("/v1beta3/crypto/us").and_then(|found| found.of_kind("o")), Some("orderbooks"));
    }
}
