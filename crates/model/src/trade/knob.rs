//! Values of limits: how they are read and written, and which of two is tighter.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::name::words;
use super::{Percent, Qty, Usd};

/// Entries that a list of a limit has at most.
pub const LIST_MAX: usize = 256;

words!(
    /// At which hours orders may be sent. Coins are traded at any.
    Hours, "a choice of trading hours" {
        /// While the market is open.
        Regular = "regular",
        /// Also before and after, on days on which it opens.
        Extended = "extended",
        /// At any time: the venue queues what it cannot trade yet.
        Any = "any",
    }
);

/// A time of each day, in minutes of New York's clock: from the first, to before the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Window {
    from: u16,
    to: u16,
}

impl Window {
    /// Whether a minute of the day lies in it. One that ends before it begins goes over midnight.
    #[must_use]
    pub fn contains(self, minute: u16) -> bool {
        if self.from < self.to {
            (self.from..self.to).contains(&minute)
        } else {
            minute >= self.from || minute < self.to
        }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (self.from, self.to);
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60)
    }
}

impl FromStr for Window {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let minute = |text: &str| {
            let (hours, minutes) = text.split_once(':')?;
            let two = |part: &str| {
                (part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit()))
                    .then(|| part.parse::<u16>().ok())
                    .flatten()
            };
            let (hours, minutes) = (two(hours)?, two(minutes)?);
            (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
        };
        text.split_once('-')
            .and_then(|(from, to)| Some(Self { from: minute(from)?, to: minute(to)? }))
            .filter(|window| window.from != window.to)
            .ok_or_else(|| format!("`{}` is not a time of the day: write it as in `09:30-10:00`", super::excerpt(text)))
    }
}

impl TryFrom<String> for Window {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Window> for String {
    fn from(window: Window) -> Self {
        window.to_string()
    }
}

/// A value that a limit can have.
pub(super) trait Knob: Sized + Clone + PartialEq {
    /// Reads it.
    fn read(text: &str) -> Result<Self, String>;
    /// Writes it so that it is read again.
    fn text(&self) -> String;
}

macro_rules! plain {
    ($($type:ty),+) => {
        $(impl Knob for $type {
            fn read(text: &str) -> Result<Self, String> {
                text.parse::<Self>().map_err(|error| error.to_string())
            }
            fn text(&self) -> String {
                self.to_string()
            }
        })+
    };
}

plain!(Usd, Qty, Percent, Hours);

impl Knob for u32 {
    fn read(text: &str) -> Result<Self, String> {
        let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let number = plain.then(|| text.parse().ok()).flatten();
        number.ok_or_else(|| format!("`{}` is not a count: write digits", super::excerpt(text)))
    }
    fn text(&self) -> String {
        self.to_string()
    }
}

impl Knob for bool {
    fn read(text: &str) -> Result<Self, String> {
        match text {
            "yes" | "true" => Ok(true),
            "no" | "false" => Ok(false),
            _ => Err(format!("`{}` is neither `yes` nor `no`", super::excerpt(text))),
        }
    }
    fn text(&self) -> String {
        if *self { "yes" } else { "no" }.to_owned()
    }
}

impl<T: Ord + Clone + fmt::Display + FromStr<Err: fmt::Display>> Knob for BTreeSet<T> {
    /// Reads a list with commas; `[]` is the empty one.
    fn read(text: &str) -> Result<Self, String> {
        if text == "[]" {
            return Ok(Self::new());
        }
        let items = text.split(',').map(|item| item.trim().parse::<T>().map_err(|error| error.to_string()));
        let set = items.collect::<Result<Self, _>>()?;
        if set.len() > LIST_MAX {
            return Err(format!("the list has {} entries: at most {LIST_MAX} are kept", set.len()));
        }
        Ok(set)
    }
    fn text(&self) -> String {
        if self.is_empty() {
            return "[]".to_owned();
        }
        self.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }
}

/// Which of two values of one limit lets less through. Each function says whether `value` lets nothing through that `than` does not.
pub(super) mod tighter {
    use std::collections::BTreeSet;

    use super::Window;

    /// The smaller one.
    pub(in super::super) fn smaller<T: PartialOrd>(value: &T, than: &T) -> bool {
        value <= than
    }

    /// The larger one; of `yes` and `no`, yes.
    pub(in super::super) fn larger<T: PartialOrd>(value: &T, than: &T) -> bool {
        value >= than
    }

    /// The one that is a part of the other.
    pub(in super::super) fn fewer<T: Ord>(value: &BTreeSet<T>, than: &BTreeSet<T>) -> bool {
        value.is_subset(than)
    }

    /// The one that the other is a part of.
    pub(in super::super) fn more<T: Ord>(value: &BTreeSet<T>, than: &BTreeSet<T>) -> bool {
        value.is_superset(than)
    }

    /// The times that cover the others, minute for minute.
    pub(in super::super) fn longer(value: &BTreeSet<Window>, than: &BTreeSet<Window>) -> bool {
        let covers = |set: &BTreeSet<Window>, minute| set.iter().any(|window| window.contains(minute));
        (0..24 * 60).all(|minute| !covers(than, minute) || covers(value, minute))
    }
}
