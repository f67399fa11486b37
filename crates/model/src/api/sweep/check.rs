//! Bounds of sweeps.

use serde_json::Value;

use super::{
    SWEEP_BATCH_MAX, SWEEP_CAPITAL_DEFAULT, SWEEP_COMMISSION_BPS_DEFAULT, SWEEP_PARAMETERS_MAX, SWEEP_RUN_S_DEFAULT,
    SWEEP_RUNS_MAX, SWEEP_STRATEGIES_MAX, SWEEP_SYMBOLS_MAX, SWEEP_TOP_DEFAULT, SWEEP_TOP_MAX, SweepNative,
    SweepRequest, SweepSearch, SweepStatusRequest,
};
use crate::{
    ApiError,
    api::{
        CODE_BYTES_MAX, EXECUTION_S_MAX, NAME_CHARS_MAX, WAIT_S_MAX,
        check::{Checked, invalid, too_large},
    },
};

/// Characters of a text that is a parameter's value.
const TEXT_CHARS_MAX: usize = 200;

impl SweepRequest {
    /// Judges it, as far as that is possible without data and strategies.
    ///
    /// # Errors
    /// INVALID_ARGUMENT or TOO_LARGE, with the argument's name.
    pub fn check(&self) -> Checked {
        if let Some(name) = &self.name
            && (name.is_empty() || name.chars().count() > NAME_CHARS_MAX || name.chars().any(char::is_control))
        {
            return Err(invalid(format!(
                "`name` must have 1 to {NAME_CHARS_MAX} characters, none of them control characters"
            )));
        }
        self.check_strategies()?;
        self.check_parameters()?;
        self.check_numbers()?;
        self.check_account()
    }

    fn check_strategies(&self) -> Checked {
        let named = usize::from(self.strategy.is_some()) + self.strategies.len();
        match (&self.code, named) {
            (None, 0) => return Err(invalid("name a `strategy`, such as `sma_cross`, or send `code` of your own")),
            (Some(_), 1..) => return Err(invalid("`code` and `strategy` exclude each other")),
            (Some(code), 0) if code.trim().is_empty() => return Err(invalid("`code` is empty")),
            (Some(code), 0) if code.len() > CODE_BYTES_MAX => {
                return Err(too_large("`code`", code.len(), CODE_BYTES_MAX));
            }
            (None, SWEEP_STRATEGIES_MAX..) => {
                return Err(invalid(format!("at most {SWEEP_STRATEGIES_MAX} strategies are swept at once")));
            }
            _ => {}
        }
        if self.code.is_some() && self.native == Some(SweepNative::Always) {
            return Err(invalid("`native` is for built-in strategies: leave it out with `code`"));
        }
        if self.symbols.len() > SWEEP_SYMBOLS_MAX {
            return Err(invalid(format!("`symbols` has more than {SWEEP_SYMBOLS_MAX}")));
        }
        Ok(())
    }

    fn check_parameters(&self) -> Checked {
        let names = self.parameters.keys().chain(self.combinations.iter().flat_map(|set| set.keys()));
        names.into_iter().try_for_each(|name| check_name(name))?;
        let widest = self.combinations.iter().map(std::collections::BTreeMap::len).max().unwrap_or(0);
        if self.parameters.len() + widest > SWEEP_PARAMETERS_MAX {
            return Err(invalid(format!("a strategy has at most {SWEEP_PARAMETERS_MAX} parameters")));
        }
        for (name, values) in &self.parameters {
            if values.is_empty() {
                return Err(invalid(format!("`parameters.{name}` is empty: give at least one value")));
            }
            values.iter().try_for_each(|value| check_value(name, value))?;
            let mut seen: Vec<String> = values.iter().map(Value::to_string).collect();
            seen.sort();
            if seen.windows(2).any(|pair| pair[0] == pair[1]) {
                return Err(invalid(format!("`parameters.{name}` holds a value twice")));
            }
        }
        for set in &self.combinations {
            set.iter().try_for_each(|(name, value)| check_value(name, value))?;
            if let Some(name) = set.keys().find(|name| self.parameters.contains_key(*name)) {
                return Err(invalid(format!("`{name}` is in both `parameters` and `combinations`")));
            }
        }
        if self.sets() > u128::from(SWEEP_RUNS_MAX) && self.search.unwrap_or_default() == SweepSearch::Grid {
            return Err(invalid(format!(
                "that is more than {SWEEP_RUNS_MAX} combinations: use `search` `random` or `halving` with a `budget`"
            )));
        }
        Ok(())
    }

    /// How many parameter sets there are.
    #[must_use]
    pub fn sets(&self) -> u128 {
        let grid =
            self.parameters.values().fold(1_u128, |product, values| product.saturating_mul(values.len() as u128));
        grid.saturating_mul(self.combinations.len().max(1) as u128)
    }

    fn check_numbers(&self) -> Checked {
        let within = |name: &str, value: Option<f64>, low: f64, high: f64| match value {
            Some(v) if !(v.is_finite() && (low..=high).contains(&v)) => {
                Err(invalid(format!("`{name}` is {v}; it must be between {low} and {high}")))
            }
            _ => Ok(()),
        };
        within("capital", self.capital, 1.0, 1e12)?;
        within("costs.commission_bps", self.costs.commission_bps, 0.0, 5_000.0)?;
        within("costs.slippage_bps", self.costs.slippage_bps, 0.0, 5_000.0)?;
        within("costs.range_slippage", self.costs.range_slippage, 0.0, 1.0)?;
        within("costs.per_share", self.costs.per_share, 0.0, 1e6)?;
        within("costs.minimum", self.costs.minimum, 0.0, 1e6)?;
        within("costs.borrow_bps", self.costs.borrow_bps, 0.0, 100_000.0)?;
        within("risk_free", self.risk_free, -0.5, 1.0)?;
        within("timeout", self.timeout, 0.01, EXECUTION_S_MAX)?;
        within("wait", self.wait, 0.0, f64::MAX)?;
        if let Some(train) = self.train {
            if !(train > 0.0 && train < 1.0) {
                return Err(invalid("`train` is a share of the bars: above 0 and below 1"));
            }
            if self.walk_forward.is_some() {
                return Err(invalid("`train` and `walk_forward` exclude each other"));
            }
        }
        if let Some(walk) = self.walk_forward {
            if walk.train < 2 || walk.test < 1 {
                return Err(invalid("`walk_forward` needs at least 2 bars to `train` and 1 to `test`"));
            }
            if self.search == Some(SweepSearch::Halving) {
                return Err(invalid("`walk_forward` needs every combination on all of the data: not with `halving`"));
            }
        }
        if self.train.is_some() && self.search == Some(SweepSearch::Halving) {
            return Err(invalid("`train` needs every combination on all of the data: not with `halving`"));
        }
        if self.budget.is_some() && self.search.unwrap_or_default() == SweepSearch::Grid {
            return Err(invalid("`budget` is for `search` `random` or `halving`"));
        }
        let range = |name: &str, value: Option<u64>, high: u64| match value {
            Some(value) if !(1..=high).contains(&value) => {
                Err(invalid(format!("`{name}` is {value}; it must be between 1 and {high}")))
            }
            _ => Ok(()),
        };
        range("budget", self.budget, SWEEP_RUNS_MAX)?;
        range("batch", self.batch.map(u64::from), u64::from(SWEEP_BATCH_MAX))?;
        range("parallelism", self.parallelism.map(u64::from), 1024)?;
        top(self.top).map(drop)
    }

    /// Seconds to wait.
    #[must_use]
    pub fn wait_s(&self) -> f64 {
        self.wait.unwrap_or(WAIT_S_MAX).clamp(0.0, WAIT_S_MAX)
    }

    /// How many ranked results are answered.
    #[must_use]
    pub fn top_wanted(&self) -> u32 {
        self.top.unwrap_or(SWEEP_TOP_DEFAULT)
    }

    /// Seconds that one run may take.
    #[must_use]
    pub fn run_s(&self) -> f64 {
        self.timeout.unwrap_or(SWEEP_RUN_S_DEFAULT)
    }

    /// What each backtest begins with.
    #[must_use]
    pub fn capital_begun(&self) -> f64 {
        self.capital.unwrap_or(SWEEP_CAPITAL_DEFAULT)
    }

    /// Commission in hundredths of a percent.
    #[must_use]
    pub fn commission_bps(&self) -> f64 {
        self.costs.commission_bps.unwrap_or(SWEEP_COMMISSION_BPS_DEFAULT)
    }
}

impl SweepStatusRequest {
    /// Seconds to wait, and how many results are wanted.
    ///
    /// # Errors
    /// INVALID_ARGUMENT.
    pub fn checked(&self) -> Result<(f64, u32), ApiError> {
        let wait = self.wait.unwrap_or(0.0);
        if !wait.is_finite() || wait < 0.0 {
            return Err(invalid("`wait` must be 0 or more"));
        }
        Ok((wait.min(WAIT_S_MAX), top(self.top)?))
    }
}

fn top(top: Option<u32>) -> Result<u32, ApiError> {
    match top {
        Some(top) if top > SWEEP_TOP_MAX => {
            Err(invalid(format!("`top` is {top}; at most {SWEEP_TOP_MAX}: the table of the sweep holds all results")))
        }
        top => Ok(top.unwrap_or(SWEEP_TOP_DEFAULT)),
    }
}

fn check_name(name: &str) -> Checked {
    let mut bytes = name.bytes();
    let begins = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if begins && name.len() <= 64 && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Ok(());
    }
    let shown: String = name.chars().take(80).collect();
    Err(invalid(format!("`{}` is not a name of a parameter: letters, digits and _, at most 64", shown.escape_debug())))
}

fn check_value(name: &str, value: &Value) -> Checked {
    match value {
        Value::Bool(_) => Ok(()),
        Value::Number(number) if number.as_f64().is_some_and(f64::is_finite) => Ok(()),
        Value::String(text) if text.chars().count() <= TEXT_CHARS_MAX && !text.contains('\0') => Ok(()),
        _ => Err(invalid(format!(
            "a value of the parameter `{name}` is neither a number, a boolean nor a text of at most {TEXT_CHARS_MAX} characters"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(request: Value, word: Option<&str>) {
        let request: SweepRequest = serde_json::from_value(request).expect("a request");
        match (request.check(), word) {
            (Ok(()), None) => {}
            (Err(error), Some(word)) => assert!(error.message.contains(word), "{}", error.message),
            (found, word) => panic!("{found:?}, not {word:?}"),
        }
    }

    #[test]
    fn what_makes_sense_is_accepted() {
        check(json!({"strategy": "sma_cross", "symbols": ["AAPL"]}), None);
        check(json!({"code": "def signals(bars): return 1", "parameters": {"a": [1, 2.5, "x", true]}}), None);
        check(json!({"strategy": "a", "combinations": [{"fast": 10, "slow": 20}], "train": 0.7}), None);
        check(json!({"strategies": ["a", "b"], "search": "random", "budget": 10, "start": "2010-01-04"}), None);
        check(json!({"strategy": "a", "walk_forward": {"train": 500, "test": 60, "anchored": true}}), None);
    }

    #[test]
    fn what_makes_none_is_refused_by_name() {
        for (request, word) in [
            (json!({}), "strategy"),
            (json!({"strategy": "a", "code": "b"}), "exclude"),
            (json!({"code": "  "}), "empty"),
            (json!({"code": "x", "native": "always"}), "native"),
            (json!({"strategy": "a", "parameters": {"x": []}}), "parameters.x"),
            (json!({"strategy": "a", "parameters": {"x": [1, 1]}}), "twice"),
            (json!({"strategy": "a", "parameters": {"x": [[1]]}}), "`x`"),
            (json!({"strategy": "a", "parameters": {"__import__('os')": [1]}}), "name of a parameter"),
            (json!({"strategy": "a", "parameters": {"x": [1]}, "combinations": [{"x": 2}]}), "both"),
            (json!({"strategy": "a", "capital": 0}), "capital"),
            (json!({"strategy": "a", "train": 1.0}), "train"),
            (json!({"strategy": "a", "train": 0.5, "walk_forward": {"train": 9, "test": 9}}), "exclude"),
            (json!({"strategy": "a", "walk_forward": {"train": 1, "test": 9}}), "walk_forward"),
            (json!({"strategy": "a", "budget": 5}), "budget"),
            (json!({"strategy": "a", "batch": 0}), "batch"),
            (json!({"strategy": "a", "top": 501}), "top"),
            (json!({"strategy": "a", "name": "a\nb"}), "name"),
        ] {
            check(request, Some(word));
        }
        let many: Vec<u32> = (0..600).collect();
        check(json!({"strategy": "a", "parameters": {"x": many, "y": many}}), Some("random"));
        check(json!({"strategy": "a", "parameters": {"x": many, "y": many}, "search": "random"}), None);
    }
}
