//! Figures of stretches of the time: what was out of sample, and windows that walk through it.

use std::fmt::Write as _;

use super::{
    input::{Stretches, Value},
    write::{counted, escaped},
};

/// Tables in a report.
const TABLES_MAX: usize = 20;
/// Rows of one.
const ROWS_MAX: usize = 500;

/// The tables.
pub(super) fn section(all: &[Stretches]) -> String {
    let mut out = String::new();
    for one in all.iter().take(TABLES_MAX) {
        let _ = write!(
            out,
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{0}\"><table><caption>{0}</caption><thead><tr>",
            escaped(&one.heading)
        );
        // Numbers stand on the right, and so do their names.
        let numbers: Vec<bool> = (0..one.columns.len())
            .map(|at| one.rows.iter().all(|row| !matches!(row.get(at), Some(Value::Text(_) | Value::Day(_)))))
            .collect();
        let class = |at: usize| if numbers.get(at) == Some(&true) { " class=\"n\"" } else { "" };
        for (at, name) in one.columns.iter().enumerate() {
            let _ = write!(out, "<th scope=\"col\"{}>{}</th>", class(at), escaped(name));
        }
        out.push_str("</tr></thead><tbody>");
        for row in one.rows.iter().take(ROWS_MAX) {
            out.push_str("<tr>");
            for (at, value) in row.iter().take(one.columns.len()).enumerate() {
                let _ = write!(out, "<td{}>{}</td>", class(at), escaped(&value.written()));
            }
            out.push_str("</tr>");
        }
        out.push_str("</tbody></table></div>");
        let _ = write!(out, "<p class=\"note\">{}", escaped(&one.note));
        if one.rows.len() > ROWS_MAX {
            let _ = write!(out, " The first {ROWS_MAX} of {} are shown.", counted(one.rows.len(), "row"));
        }
        out.push_str("</p>");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_table_is_cut_and_says_so_and_no_text_ends_it() {
        let one = Stretches {
            heading: "<b>".into(),
            note: "</table>".into(),
            columns: vec!["Window".into(), "Return".into()],
            rows: vec![vec![Value::Text("</td>".into()), Value::Fraction(0.5)]; ROWS_MAX + 1],
        };
        let html = section(std::slice::from_ref(&one));
        assert_eq!(html.matches("<tr>").count(), ROWS_MAX + 1, "with the heading's");
        assert!(
            html.contains("The first 500 of 501\u{a0}rows are shown.") && html.contains("<td class=\"n\">50.00\u{a0}%")
        );
        assert!(!html.contains("<b>") && html.matches("</table>").count() == 1);
        assert_eq!(section(&vec![one; TABLES_MAX + 1]).matches("<table>").count(), TABLES_MAX);
    }
}
