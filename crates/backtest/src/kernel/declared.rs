//! A strategy that is a rule with numbers.

use std::collections::BTreeMap;

use serde_json::Value;

/// The largest window, in bars: the largest that one of the Python files allows. An indicator may cost bars times window.
const WINDOW_MAX: usize = 5000;

/// A strategy that is a rule with numbers, checked. What each rule and number means is written in the Python file of its name.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs, reason = "the fields are the parameters of the Python strategies, and documented there")]
pub enum Declared {
    SmaCross { fast: usize, slow: usize, short: bool },
    Breakout { entry: usize, exit: usize, short: bool },
    Rsi { window: usize, low: f64, high: f64, short: bool },
    Momentum { lookback: usize, threshold: f64, short: bool },
    MeanReversion { lookback: usize, entry: f64, exit: f64, short: bool },
    BuyAndHold,
}

/// Why a strategy cannot be run natively.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's sentence is its documentation")]
pub enum DeclaredError {
    #[error("there is no native code of `{name}`; there is of {}", Declared::NAMES.join(", "))]
    NoSuch { name: String },
    #[error("{strategy} needs a value of `{parameter}`")]
    Missing { strategy: &'static str, parameter: &'static str },
    #[error("{strategy} has no parameter `{parameter}`")]
    Unknown { strategy: &'static str, parameter: String },
    #[error("`{parameter}` of {strategy} is {value}; it must be {wanted}")]
    Value { strategy: &'static str, parameter: &'static str, value: String, wanted: &'static str },
    #[error("the fast average ({fast} bars) must be shorter than the slow one ({slow} bars)")]
    Averages { fast: usize, slow: usize },
    #[error("the range that it leaves on ({exit} bars) must not be longer than that of its entry ({entry} bars)")]
    Ranges { entry: usize, exit: usize },
    #[error("low ({low}) must lie below high ({high})")]
    Levels { low: f64, high: f64 },
    #[error("it must leave (exit {exit}) nearer to the average than it enters (entry {entry})")]
    Bands { entry: f64, exit: f64 },
}

impl Declared {
    /// What there is native code of.
    pub const NAMES: [&'static str; 6] = ["sma_cross", "breakout", "rsi", "momentum", "mean_reversion", "buy_and_hold"];

    /// Whether there is native code of a built-in strategy.
    #[must_use]
    pub fn has(name: &str) -> bool {
        Self::NAMES.contains(&name)
    }

    /// A strategy by name with a value for each of its parameters: numbers, and true or false. A whole number may also be written
    /// with a fraction of zero. Defaults and narrower bounds are those of the Python files, and are applied by who reads these.
    ///
    /// # Errors
    /// No native code of that name, a parameter that is missing, not known or of another kind, or what the Python strategy refuses.
    pub fn new(name: &str, parameters: &BTreeMap<String, Value>) -> Result<Self, DeclaredError> {
        let Some(strategy) = Self::NAMES.into_iter().find(|known| *known == name) else {
            return Err(DeclaredError::NoSuch { name: name.chars().take(40).collect() });
        };
        let mut given = Given { strategy, parameters, taken: Vec::new() };
        let declared = match strategy {
            "sma_cross" => {
                Self::SmaCross { fast: given.window("fast")?, slow: given.window("slow")?, short: given.flag("short")? }
            }
            "breakout" => Self::Breakout {
                entry: given.window("entry")?,
                exit: given.window("exit")?,
                short: given.flag("short")?,
            },
            "rsi" => Self::Rsi {
                window: given.window("window")?,
                low: given.number("low")?,
                high: given.number("high")?,
                short: given.flag("short")?,
            },
            "momentum" => Self::Momentum {
                lookback: given.window("lookback")?,
                threshold: given.number("threshold")?,
                short: given.flag("short")?,
            },
            "mean_reversion" => Self::MeanReversion {
                lookback: given.window("lookback")?,
                entry: given.number("entry")?,
                exit: given.number("exit")?,
                short: given.flag("short")?,
            },
            _ => Self::BuyAndHold,
        };
        given.nothing_else()?;
        declared.sound()
    }

    /// The name of the strategy.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::SmaCross { .. } => "sma_cross",
            Self::Breakout { .. } => "breakout",
            Self::Rsi { .. } => "rsi",
            Self::Momentum { .. } => "momentum",
            Self::MeanReversion { .. } => "mean_reversion",
            Self::BuyAndHold => "buy_and_hold",
        }
    }

    /// What the Python strategies refuse by `ValueError`.
    fn sound(self) -> Result<Self, DeclaredError> {
        match self {
            Self::SmaCross { fast, slow, .. } if fast >= slow => Err(DeclaredError::Averages { fast, slow }),
            Self::Breakout { entry, exit, .. } if exit > entry => Err(DeclaredError::Ranges { entry, exit }),
            Self::Rsi { low, high, .. } if low >= high => Err(DeclaredError::Levels { low, high }),
            Self::MeanReversion { entry, exit, .. } if exit >= entry => Err(DeclaredError::Bands { entry, exit }),
            sound => Ok(sound),
        }
    }
}

struct Given<'a> {
    strategy: &'static str,
    parameters: &'a BTreeMap<String, Value>,
    taken: Vec<&'static str>,
}

impl Given<'_> {
    fn take<T>(
        &mut self,
        parameter: &'static str,
        wanted: &'static str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<T, DeclaredError> {
        let strategy = self.strategy;
        let Some(value) = self.parameters.get(parameter) else {
            return Err(DeclaredError::Missing { strategy, parameter });
        };
        self.taken.push(parameter);
        let shown = || value.to_string().chars().take(40).collect();
        read(value).ok_or_else(|| DeclaredError::Value { strategy, parameter, value: shown(), wanted })
    }

    fn window(&mut self, parameter: &'static str) -> Result<usize, DeclaredError> {
        self.take(parameter, "a whole number from 1 to 5000", |value| {
            let whole = value.as_u64().or_else(|| {
                #[allow(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "checked to be whole and small"
                )]
                let whole = |x: f64| (x.fract() == 0.0 && (1.0..=5e3).contains(&x)).then_some(x as u64);
                value.as_f64().and_then(whole)
            })?;
            usize::try_from(whole).ok().filter(|bars| (1..=WINDOW_MAX).contains(bars))
        })
    }

    fn number(&mut self, parameter: &'static str) -> Result<f64, DeclaredError> {
        self.take(parameter, "a finite number", |value| value.as_f64().filter(|x| x.is_finite()))
    }

    fn flag(&mut self, parameter: &'static str) -> Result<bool, DeclaredError> {
        self.take(parameter, "true or false", Value::as_bool)
    }

    fn nothing_else(&self) -> Result<(), DeclaredError> {
        match self.parameters.keys().find(|name| !self.taken.contains(&name.as_str())) {
            Some(name) => {
                let parameter = name.chars().take(40).collect();
                Err(DeclaredError::Unknown { strategy: self.strategy, parameter })
            }
            None => Ok(()),
        }
    }
}
