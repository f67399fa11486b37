//! What is kept of every trial of a search: enough for the statistics, and not its returns.

use crate::metrics::Moments;
use crate::metrics::ratios::{self, finite};
use crate::metrics::sum::{count, deviation};

/// Parts into which the bars are cut unless another number is asked for.
pub const BLOCKS: usize = 16;
/// The most parts: 20 make 184,756 combinations.
pub const BLOCKS_MAX: usize = 20;

/// Why a trial cannot be added, or a search cannot be begun.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTrial {
    /// The bars cannot be cut so.
    #[error("{0} blocks: it must be an even number from 2 to {BLOCKS_MAX}")]
    Blocks(usize),
    /// Trials are compared bar by bar.
    #[error("the trial has {found} returns, and the search {expected}: every trial must be of the same bars")]
    Length {
        /// How many it has.
        found: usize,
        /// How many it should have.
        expected: usize,
    },
    /// A return is none.
    #[error("the return of row {row} is not a number")]
    NotANumber {
        /// Which, counted from 1.
        row: usize,
    },
}

/// The trials of a search, in the order in which they were added, all over the same bars but those of [`Trials::add_alone`].
///
/// A trial whose returns do not differ (it never traded) has no Sharpe ratio and cannot be the best. It is counted in [`Trials::still`]
/// and in nothing else.
///
/// Of each trial two sums for each block are kept, 256 bytes with 16 blocks; its returns are not.
#[derive(Debug, Clone)]
pub struct Trials {
    bars: usize,
    /// By block, then by trial: the sums of the standardised returns, and of their squares.
    pub(super) sums: Vec<Vec<f64>>,
    pub(super) squares: Vec<Vec<f64>>,
    pub(super) sharpes: Vec<f64>,
    /// By bar, the sum over the trials of their standardised returns.
    together: Vec<f64>,
    still: u64,
    alone: u64,
}

impl Trials {
    /// Before the first trial of a search over so many bars, cut into so many blocks ([`BLOCKS`]).
    ///
    /// # Errors
    /// [`BadTrial::Blocks`].
    pub fn new(bars: usize, blocks: usize) -> Result<Self, BadTrial> {
        if !(2..=BLOCKS_MAX).contains(&blocks) || blocks % 2 == 1 {
            return Err(BadTrial::Blocks(blocks));
        }
        Ok(Self {
            bars,
            sums: vec![Vec::new(); blocks],
            squares: vec![Vec::new(); blocks],
            sharpes: Vec::new(),
            together: vec![0.0; bars],
            still: 0,
            alone: 0,
        })
    }

    /// Adds the returns of a trial, above the riskless one.
    ///
    /// # Errors
    /// [`BadTrial`] when they are not of the search's bars, or not numbers.
    pub fn add(&mut self, returns: &[f64]) -> Result<(), BadTrial> {
        if returns.len() != self.bars {
            return Err(BadTrial::Length { found: returns.len(), expected: self.bars });
        }
        if let Some(at) = returns.iter().position(|value| !value.is_finite()) {
            return Err(BadTrial::NotANumber { row: at + 1 });
        }
        // None of one whose returns do not differ.
        let moments = Moments::of(returns);
        let measured = ratios::sharpe_per_bar(&moments).zip(moments.mean()).zip(moments.deviation());
        let Some(((sharpe, middle), spread)) = measured else {
            self.still += 1;
            return Ok(());
        };
        let standard: Vec<f64> = returns.iter().map(|value| (value - middle) / spread).collect();
        for (all, own) in self.together.iter_mut().zip(&standard) {
            *all += own;
        }
        let length = self.block_bars();
        for (block, (sums, squares)) in self.sums.iter_mut().zip(&mut self.squares).enumerate() {
            let part = &standard[block * length..(block + 1) * length];
            sums.push(part.iter().fold(0.0, |sum, value| sum + value));
            squares.push(part.iter().fold(0.0, |sum, value| sum + value * value));
        }
        self.sharpes.push(sharpe);
        Ok(())
    }

    /// Adds a trial of which nothing is known but its Sharpe ratio of one bar, over bars of its own; `None` of one whose returns do not
    /// differ.
    ///
    /// It counts as a trial and in the deviation of the Sharpe ratios, which is what deflating needs. It cannot be compared bar by bar:
    /// with one such trial there is no correlation and no probability of overfitting.
    pub fn add_alone(&mut self, sharpe: Option<f64>) {
        let Some(sharpe) = sharpe.filter(|sharpe| sharpe.is_finite()) else {
            self.still += 1;
            return;
        };
        self.alone += 1;
        self.sharpes.push(sharpe);
    }

    /// Trials that have a Sharpe ratio.
    #[must_use]
    pub fn count(&self) -> usize {
        self.sharpes.len()
    }

    /// Trials whose returns do not differ.
    #[must_use]
    pub fn still(&self) -> u64 {
        self.still
    }

    /// Trials that were added by their Sharpe ratio alone.
    #[must_use]
    pub fn alone(&self) -> u64 {
        self.alone
    }

    /// Bars of each trial.
    #[must_use]
    pub fn bars(&self) -> usize {
        self.bars
    }

    /// Bars of each block. The last bars, fewer than there are blocks, belong to none.
    #[must_use]
    pub fn block_bars(&self) -> usize {
        self.bars / self.sums.len()
    }

    /// Sharpe ratios of one bar, of the trials that have one.
    #[must_use]
    pub fn sharpes(&self) -> &[f64] {
        &self.sharpes
    }

    /// Their standard deviation. `None` of fewer than two.
    #[must_use]
    pub fn deviation(&self) -> Option<f64> {
        deviation(&self.sharpes)
    }

    /// The mean correlation of the returns of two trials. `None` of fewer than two trials, or where one was added alone.
    ///
    /// The squares of the sum of standardised returns hold every pair twice and every trial once, so that no pair has to be looked at.
    #[must_use]
    pub fn correlation(&self) -> Option<f64> {
        let n = count(&self.sharpes);
        if self.sharpes.len() < 2 || self.alone > 0 {
            return None;
        }
        let squares =
            crate::metrics::sum::sum(self.together.iter().map(|sum| sum * sum)) / (count(&self.together) - 1.0);
        finite((squares - n) / (n * (n - 1.0))).map(|mean| mean.clamp(-1.0, 1.0))
    }

    /// How many independent trials these are worth: `ρ + (1 − ρ) n` with their mean correlation `ρ` (Bailey and López de Prado, *The Deflated
    /// Sharpe Ratio*, 2014, appendix 3), from 1 to n. `None` without a trial, or without a correlation.
    #[must_use]
    pub fn effective(&self) -> Option<f64> {
        self.worth(self.correlation())
    }

    /// How many independent trials these are worth with that mean correlation of theirs.
    pub(super) fn worth(&self, correlation: Option<f64>) -> Option<f64> {
        let n = count(&self.sharpes);
        match self.sharpes.len() {
            0 => None,
            1 => Some(1.0),
            _ => correlation.map(|mean| (mean + (1.0 - mean) * n).clamp(1.0, n)),
        }
    }
}
