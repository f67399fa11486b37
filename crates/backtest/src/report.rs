//! A report: one HTML file that needs nothing else, and a picture of its main chart.
//!
//! The same [`Input`] gives the same bytes. Every text of it may have been written by a strategy, so all of them are bounded and
//! escaped, and the page's policy lets only the scripts of this program run. Curves are thinned for drawing, figures never.

mod axis;
mod chart;
mod heat;
mod input;
mod lucky;
mod measured;
mod page;
mod paint;
mod scene;
mod stretches;
mod table;
mod thin;
mod words;
mod write;

pub use input::{
    Backtest, Fact, Figure, Input, Interval, Luck, Parts, Prices, Row, Source, Statement, Stretches, Sweep, Value,
    Versus,
};
pub use paint::PictureError;

/// The report as one HTML file. It makes no request, and without its scripts it still shows everything but the interactive chart of
/// prices and all but the first rows of long tables.
#[must_use]
pub fn html(input: &Input) -> String {
    page::page(input)
}

/// The main chart as a PNG: equity against buy and hold, and drawdown, with heading and axes, on white. Fit for 100 KB at 1200 × 675.
///
/// # Errors
/// [`PictureError`] when `width` or `height` is out of bounds.
pub fn png(input: &Input, width: u32, height: u32) -> Result<Vec<u8>, PictureError> {
    paint::picture(input, width, height)
}
