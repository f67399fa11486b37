//! What commands print. Nothing here panics when the reader is gone: that is an error like any other.

use std::io::{self, IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

/// A line on standard output.
pub(crate) fn line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Bytes on standard output, as they are.
pub(crate) fn raw(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// Bytes on standard error, as they are.
pub(crate) fn raw_error(bytes: &[u8]) -> io::Result<()> {
    io::stderr().lock().write_all(bytes)
}

/// A line on standard error: progress and warnings. Nobody has to read it.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Data as JSON on standard output.
pub(crate) fn json(data: &impl Serialize) -> anyhow::Result<()> {
    Ok(line(&serde_json::to_string_pretty(data)?)?)
}

/// A table without lines, its header in capitals.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header.iter().map(|name| name.to_uppercase()).collect::<Vec<_>>());
    // A pipe has no width; rows must not be folded for a reader that is a program.
    if !io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    table
}

/// The table as text: columns two spaces apart, the first at the margin.
pub(crate) fn text(mut table: Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// A table on standard output.
pub(crate) fn show(table: Table) -> io::Result<()> {
    line(&text(table))
}
