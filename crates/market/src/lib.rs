//! Bars: reading, checking, importing and adjusting them, the sample that every sandbox finds at `/data`, the exchange's calendar, and
//! the tape that is derived from bars.
//!
//! Prices are exact decimals from the file to the last rounding; floating point appears only in the Parquet files, which
//! are what pandas reads. Nothing here opens a socket or reads a clock.

pub mod action;
pub mod adjust;
pub mod bar;
pub mod calendar;
pub mod columns;
pub mod import;
pub mod library;
pub mod minute;
pub mod new_york;
pub mod read;
pub mod sample;
pub mod tape;

pub use action::{Action, Kind};
pub use bar::{Bar, Fault, Series, Symbol};
pub use library::Library;
pub use minute::Minute;
pub use tape::{BarTape, Quote, Tape, Tick, Trade};
