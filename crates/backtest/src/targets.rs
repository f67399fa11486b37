//! What a strategy wants: target weights bar by bar, or orders.

use crate::panel::Panel;

/// By how much weights may add up to more than is allowed, so that sums of rounded fractions are not refused.
const SLACK: f64 = 1e-9;

/// Target weights: for each row of a [`Panel`] and each symbol, the fraction of equity that is to be held from the next fill on;
/// below zero to be short. NaN wants no change.
#[derive(Debug, Clone, PartialEq)]
pub struct Targets {
    rows: usize,
    symbols: usize,
    /// Row after row, in each the symbols in the panel's order.
    weights: Vec<f64>,
}

/// An order at the next fill.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Order {
    /// The row at whose close it was given.
    pub row: usize,
    /// The symbol's place in the panel.
    pub symbol: usize,
    /// Shares to buy; below zero to sell.
    pub shares: f64,
}

/// Orders, another form of what a strategy wants.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Orders(pub Vec<Order>);

/// The most orders of one backtest.
pub const ORDERS_MAX: usize = 1 << 20;

/// Why a strategy's wishes are refused. Rows are counted from 0.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's sentence is its documentation")]
pub enum TargetError {
    #[error("there are {found} weights; {rows} bars of {symbols} symbol(s) need {}", rows * symbols)]
    Length { found: usize, rows: usize, symbols: usize },
    #[error("row {row} ({at}): the weight of {symbol} is {value}; it must be a finite number, or NaN for no change")]
    NotFinite { row: usize, at: String, symbol: String, value: f64 },
    #[error(
        "row {row} ({at}): the weights add up to {gross} of equity without regard to sign; at most {limit} is allowed"
    )]
    Leverage { row: usize, at: String, gross: f64, limit: f64 },
    #[error("row {row} ({at}): the weight of {symbol} is {value}, and short selling is not allowed")]
    Short { row: usize, at: String, symbol: String, value: f64 },
    #[error("there are {found} orders; at most {ORDERS_MAX} are taken")]
    TooMany { found: usize },
    #[error("order {index} is for row {row}; the bars have {rows}")]
    NoRow { index: usize, row: usize, rows: usize },
    #[error("order {index} (row {row}) comes after an order of a later row; give them in order of time")]
    Order { index: usize, row: usize },
    #[error("order {index} (row {row}) is for symbol {symbol}; there are {symbols}")]
    NoSymbol { index: usize, row: usize, symbol: usize, symbols: usize },
    #[error("order {index} (row {row}) is for {shares} shares; it must be a finite number other than 0")]
    Shares { index: usize, row: usize, shares: f64 },
}

impl Targets {
    /// Weights for a panel: row after row, in each the symbols in the panel's order.
    ///
    /// # Errors
    /// Another number of them than bars times symbols, or an infinite one.
    pub fn new(panel: &Panel, weights: Vec<f64>) -> Result<Self, TargetError> {
        let (rows, symbols) = (panel.len(), panel.columns().len());
        if weights.len() != rows * symbols {
            return Err(TargetError::Length { found: weights.len(), rows, symbols });
        }
        if let Some(i) = weights.iter().position(|w| w.is_infinite()) {
            let (row, symbol) = (i / symbols, i % symbols);
            return Err(TargetError::NotFinite {
                row,
                at: panel.label(row),
                symbol: panel.columns()[symbol].symbol.to_string(),
                value: weights[i],
            });
        }
        Ok(Self { rows, symbols, weights })
    }

    /// Wants nothing.
    #[must_use]
    pub fn none(panel: &Panel) -> Self {
        let (rows, symbols) = (panel.len(), panel.columns().len());
        Self { rows, symbols, weights: vec![f64::NAN; rows * symbols] }
    }

    /// Holds equal parts of every symbol from its first bar on: what a strategy has to beat. Of one symbol, all.
    #[must_use]
    pub fn buy_and_hold(panel: &Panel) -> Self {
        let mut targets = Self::none(panel);
        let weight = 1.0 / f64::from(u32::try_from(targets.symbols).unwrap_or(u32::MAX));
        for (symbol, columns) in panel.columns().iter().enumerate() {
            if let Some(first) = (0..panel.len()).find(|row| columns.has(*row)) {
                targets.weights[first * targets.symbols + symbol] = weight;
            }
        }
        targets
    }

    /// Rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Symbols.
    #[must_use]
    pub fn symbols(&self) -> usize {
        self.symbols
    }

    /// The weights of a row, in the panel's order of symbols.
    ///
    /// # Panics
    /// There is no such row.
    #[must_use]
    pub fn row(&self, row: usize) -> &[f64] {
        &self.weights[row * self.symbols..(row + 1) * self.symbols]
    }

    /// All of them, row after row.
    #[must_use]
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// Checks that they fit the panel, and that what is wanted at each row (with what earlier rows wanted and no later one changed)
    /// stays within `leverage_max` times equity, and is not short unless that is allowed.
    ///
    /// # Errors
    /// The first row that does not.
    pub fn check(&self, panel: &Panel, leverage_max: f64, short_allowed: bool) -> Result<(), TargetError> {
        let (rows, symbols) = (panel.len(), panel.columns().len());
        if (self.rows, self.symbols) != (rows, symbols) {
            return Err(TargetError::Length { found: self.weights.len(), rows, symbols });
        }
        let mut wanted = vec![0.0_f64; symbols];
        for row in 0..rows {
            let mut changed = false;
            for (symbol, (wanted, weight)) in wanted.iter_mut().zip(self.row(row)).enumerate() {
                if weight.is_nan() {
                    continue;
                }
                if *weight < 0.0 && !short_allowed {
                    let symbol = panel.columns()[symbol].symbol.to_string();
                    return Err(TargetError::Short { row, at: panel.label(row), symbol, value: *weight });
                }
                changed |= *weight != *wanted;
                *wanted = *weight;
            }
            if changed {
                let gross = wanted.iter().fold(0.0, |sum, w| sum + w.abs());
                if gross > leverage_max + SLACK {
                    return Err(TargetError::Leverage { row, at: panel.label(row), gross, limit: leverage_max });
                }
            }
        }
        Ok(())
    }
}

impl Orders {
    /// Checks that they fit the panel and are in order of time.
    ///
    /// # Errors
    /// The first that does not.
    pub fn check(&self, panel: &Panel) -> Result<(), TargetError> {
        if self.0.len() > ORDERS_MAX {
            return Err(TargetError::TooMany { found: self.0.len() });
        }
        let mut before = 0;
        for (index, Order { row, symbol, shares }) in self.0.iter().copied().enumerate() {
            if row >= panel.len() {
                return Err(TargetError::NoRow { index, row, rows: panel.len() });
            }
            if row < before {
                return Err(TargetError::Order { index, row });
            }
            if symbol >= panel.columns().len() {
                return Err(TargetError::NoSymbol { index, row, symbol, symbols: panel.columns().len() });
            }
            if !shares.is_finite() || shares == 0.0 {
                return Err(TargetError::Shares { index, row, shares });
            }
            before = row;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
