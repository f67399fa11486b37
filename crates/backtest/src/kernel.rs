//! The native kernel: strategies that are a rule with numbers, over a grid of them, without a sandbox.
//!
//! Each rule is the built-in Python strategy of the same name (`crates/guest/harness/usr/lib/python3.11/ringfence/strategies`), and its
//! indicators are computed in the same order of additions (`indicators.py` there says which), so that what it wants is the same to
//! the bit; a test compares the two over a random grid. What becomes of it is decided by [`simulate`](crate::simulate()) for both.
//!
//! Over a grid the work that combinations share is done once: an indicator of a window is kept, and equity is computed from one
//! change of position to the next ([`Kernel::brief`]).

mod brief;
mod declared;
pub mod indicators;
mod rules;

use std::rc::Rc;

pub use brief::Brief;
pub use declared::{Declared, DeclaredError};

use crate::{
    panel::Panel,
    simulate::{Settings, SimulateError},
    targets::Targets,
};

/// Indicators are kept up to this many values (256 MiB); then all are thrown away and computed again when they are asked for.
const KEPT_MAX: usize = 1 << 25;

/// A change of position: at the close of row `.0` the weight `.1` is wanted.
pub type Event = (usize, f64);

/// Why the kernel does not take bars.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's sentence is its documentation")]
pub enum KernelError {
    #[error(
        "the native kernel takes one symbol at a time, not {0}: give each its own panel, or run the strategy in a sandbox"
    )]
    Symbols(usize),
    #[error(
        "{symbol} has no bar in row {row} ({at}); the native kernel takes bars without gaps: make a panel of that symbol alone"
    )]
    Gap { symbol: String, row: usize, at: String },
}

/// The bars of one symbol, and the indicators of them that were asked for so far.
#[derive(Debug)]
pub struct Kernel<'a> {
    panel: &'a Panel,
    kept: indicators::Kept<'a>,
    events: Vec<Event>,
    equity: Vec<f64>,
    returns: Vec<f64>,
}

impl<'a> Kernel<'a> {
    /// Over a panel of one symbol that has a bar in each row.
    ///
    /// # Errors
    /// Several symbols, or a gap.
    pub fn new(panel: &'a Panel) -> Result<Self, KernelError> {
        let [columns] = panel.columns() else { return Err(KernelError::Symbols(panel.columns().len())) };
        if let Some(row) = (0..panel.len()).find(|row| !columns.has(*row)) {
            return Err(KernelError::Gap { symbol: columns.symbol.to_string(), row, at: panel.label(row) });
        }
        let kept = indicators::Kept::new(columns);
        Ok(Self { panel, kept, events: Vec::new(), equity: Vec::new(), returns: Vec::new() })
    }

    /// Where a strategy changes its position, in order of rows.
    pub fn events(&mut self, declared: &Declared) -> &[Event] {
        self.events.clear();
        rules::events(declared, self.panel.columns()[0].close.as_slice(), &mut self.kept, &mut self.events);
        &self.events
    }

    /// What a strategy wants: a weight where it changes its position, and no change elsewhere.
    ///
    /// # Panics
    /// Never: the weights fit the panel that they were computed from.
    pub fn targets(&mut self, declared: &Declared) -> Targets {
        let mut weights = vec![f64::NAN; self.panel.len()];
        for (row, weight) in self.events(declared) {
            weights[*row] = *weight;
        }
        Targets::new(self.panel, weights).expect("there is a weight for each row, and each is finite")
    }

    /// Simulates a strategy and keeps only what a large grid is ranked by. Equity is, to the bit, that of
    /// [`simulate`](crate::simulate()) with [`Self::targets`].
    ///
    /// # Errors
    /// As [`simulate`](crate::simulate()).
    pub fn brief(&mut self, declared: &Declared, settings: &Settings) -> Result<Brief, SimulateError> {
        self.events(declared);
        let (events, equity) = (self.events.as_slice(), &mut self.equity);
        let counted = match brief::events(self.panel, events, settings, equity)? {
            Some(counted) => counted,
            // From event to event would not do: row by row.
            None => {
                let targets = self.targets(declared);
                let run = crate::simulate(self.panel, &targets, settings)?;
                self.equity.clone_from(&run.curve.equity);
                brief::Counted::of(&run)
            }
        };
        Ok(Brief::new(self.panel, settings.capital, &self.equity, counted, &mut self.returns))
    }

    /// Equity at each close of the strategy that [`Self::brief`] simulated last.
    #[must_use]
    pub fn equity(&self) -> &[f64] {
        &self.equity
    }
}

/// An indicator: a value for each bar, NaN until there are enough of them.
type Indicator = Rc<[f64]>;

#[cfg(test)]
mod tests;
