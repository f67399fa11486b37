//! Names in orders: symbols, asset classes, accounts, and the ids that clients give.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::SandboxId;

/// Why a text is not such a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}: {why}")]
pub struct BadName {
    /// What was offered, cut to 80 characters.
    pub text: String,
    /// What was wanted.
    pub what: &'static str,
    /// The shape that it should have had.
    pub why: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $why:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks the shape of `text`.
            ///
            /// # Errors
            /// [`BadName`] when it is another one.
            pub fn parse(text: &str) -> Result<Self, BadName> {
                let check: fn(&str) -> bool = $check;
                if check(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(BadName { text: super::excerpt(text), what: $what, why: $why })
                }
            }

            /// As text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadName;
            fn try_from(text: String) -> Result<Self, BadName> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = BadName;
            fn from_str(text: &str) -> Result<Self, BadName> {
                Self::parse(text)
            }
        }
    };
}

/// Characters of the longest symbol: an option's has 21.
const SYMBOL_BYTES_MAX: usize = 24;

name!(
    /// A symbol in the one spelling that the rules compare: capitals, a crypto pair with its slash (`BTC/USD`), a class of shares
    /// with its point (`BRK.B`). An asset id or another spelling is looked up before it becomes one; no asset id has this shape.
    CanonicalSymbol, "a symbol", "write capitals and digits, as in `AAPL`, `BRK.B` or `BTC/USD`",
    |text| {
        let inner = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit();
        text.len() <= SYMBOL_BYTES_MAX
            && text.bytes().next().is_some_and(inner)
            && text.bytes().last().is_some_and(inner)
            && text.bytes().all(|b| inner(b) || b == b'.' || b == b'/')
            && text.bytes().filter(|b| !inner(*b)).count() <= 1
    }
);

name!(
    /// What an order is called by the one who sends it: printable ASCII without spaces, at most 128 characters.
    ClientOrderId, "a client order id", "use 1 to 128 printable ASCII characters without spaces",
    |text| (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
);

name!(
    /// An account at a venue, as the gate calls it. An account that begins anew has a new one, so that counters of days that
    /// are replayed again do not add up.
    AccountId, "an account", "use 1 to 64 characters of `a-z`, `0-9`, `.`, `:`, `_` and `-`",
    |text| (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".:_-".contains(&b))
);

name!(
    /// An order's id at the venue: `A-Z`, `a-z`, `0-9`, `_` and `-`, at most 64 characters.
    UpstreamId, "an order's id", "use 1 to 64 characters of `A-Z`, `a-z`, `0-9`, `_` and `-`",
    |text| (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
);

impl AccountId {
    /// What the ledger calls the venue itself: states and limits of this one hold for every account there, also for one that is
    /// opened tomorrow. No account of a venue has this shape, which has a colon.
    #[must_use]
    pub fn venue() -> Self {
        Self("alpaca".to_owned())
    }

    /// Whether it is the venue itself.
    #[must_use]
    pub fn is_venue(&self) -> bool {
        self.0 == "alpaca"
    }

    /// Where the orders of an account go: what stands before its colon. None for the venue itself.
    #[must_use]
    pub fn environment(&self) -> Option<super::Environment> {
        match self.0.split_once(':')?.0 {
            "sim" => Some(super::Environment::Simulated),
            "paper" => Some(super::Environment::Paper),
            "live" => Some(super::Environment::Live),
            _ => None,
        }
    }
}

impl ClientOrderId {
    /// The id that the gate gives to an order without one: it tells the sandbox, and no two orders have the same.
    #[must_use]
    pub fn of_order(sandbox: &SandboxId, number: u64) -> Self {
        Self(format!("rf-{sandbox}-{number}"))
    }

    /// Whether it looks like one that the gate has given. A client may not choose such a one.
    #[must_use]
    pub fn is_of_the_gate(&self) -> bool {
        self.0.starts_with("rf-")
    }
}

/// Defines an enum of words: their text, in JSON and for people, and how they are read.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $what:literal { $($(#[$item:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ::serde::Serialize, ::serde::Deserialize)]
        pub enum $name {
            $($(#[$item])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = $crate::trade::BadName;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                const WHY: &str = concat!("use one of: ", $($word, " ",)+);
                let found = Self::ALL.iter().copied().find(|word| word.as_str() == text);
                found.ok_or_else(|| $crate::trade::BadName {
                    text: $crate::trade::excerpt(text),
                    what: $what,
                    why: WHY.trim_ascii_end(),
                })
            }
        }
    };
}
pub(super) use words;

words!(
    /// What is traded.
    AssetClass, "an asset class" {
        /// Shares and funds.
        UsEquity = "us_equity",
        /// Options on them: a contract is about 100.
        UsOption = "us_option",
        /// Coins, at any hour.
        Crypto = "crypto",
    }
);

impl AssetClass {
    /// Units of the price that one of it is about.
    #[must_use]
    pub fn multiplier(self) -> u32 {
        match self {
            Self::UsEquity | Self::Crypto => 1,
            Self::UsOption => 100,
        }
    }

    /// Whether it is traded at any hour of any day.
    #[must_use]
    pub fn never_closes(self) -> bool {
        self == Self::Crypto
    }
}
