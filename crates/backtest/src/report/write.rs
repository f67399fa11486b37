//! How texts and numbers stand in a report: what came from a strategy cannot become markup, and a number that there is not is `n/a`.

use std::fmt::Write as _;

use super::input::Value;

/// Characters of a name, a parameter or a sentence that are shown; the rest is cut off, with an ellipsis.
pub(super) const TEXT_CHARS_MAX: usize = 1_000;

/// What stands for a figure that there is not.
pub(super) const NONE: &str = "n/a";

/// A minus as wide as a plus, and a space at which no line breaks.
const MINUS: char = '\u{2212}';
const SPACE: char = '\u{a0}';

/// A text of a strategy as it may be shown: bounded, and without characters that nobody sees but that change what is read
/// (controls, and those that turn the direction of writing around).
pub(super) fn plain(text: &str) -> String {
    let mut kept = String::new();
    for (at, c) in text.chars().enumerate() {
        if at == TEXT_CHARS_MAX {
            kept.push('…');
            break;
        }
        let turns =
            matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        let breaks = matches!(c, '\u{2028}' | '\u{2029}');
        kept.push(match c {
            '\n' | '\t' | '\r' => ' ',
            c if c.is_control() || turns || breaks => '\u{fffd}',
            c => c,
        });
    }
    kept
}

/// As text of an element or of a quoted attribute.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in plain(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// As a string of JSON that may stand in an element `script`: it holds no `<`, so it cannot end that.
pub(super) fn json_string(text: &str) -> String {
    let mut out = String::from("\"");
    for c in plain(text).chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '<' | '>' | '&' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// As a number of JSON; `null` where there is none. Beyond a thousand million millions decimals mean nothing, and hundreds of digits are no help.
pub(super) fn json_number(value: f64, decimals: usize) -> String {
    match value.abs() {
        magnitude if magnitude < 1e15 => format!("{value:.decimals$}"),
        magnitude if magnitude.is_finite() => format!("{value:e}"),
        _ => "null".to_owned(),
    }
}

/// With `decimals`, commas between thousands, and never a zero with a minus.
pub(super) fn number(value: f64, decimals: usize) -> String {
    if !value.is_finite() {
        return NONE.to_owned();
    }
    if value.abs() >= 1e15 {
        return format!("{value:.3e}").replace('-', &MINUS.to_string());
    }
    let digits = format!("{:.decimals$}", value.abs());
    let (whole, rest) = digits.split_at(digits.find('.').unwrap_or(digits.len()));
    let mut out = String::new();
    if value < 0.0 && digits.bytes().any(|b| (b'1'..=b'9').contains(&b)) {
        out.push(MINUS);
    }
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out + rest
}

/// 0.1 as `10.00 %`.
pub(super) fn percent(fraction: f64, decimals: usize) -> String {
    let percent = fraction * 100.0;
    if percent.is_finite() { format!("{}{SPACE}%", number(percent, decimals)) } else { NONE.to_owned() }
}

/// How many, as in `1,834 bars` and `1 bar`.
pub(super) fn counted(count: usize, one: &str) -> String {
    format!("{}{SPACE}{one}{}", number(count as f64, 0), if count == 1 { "" } else { "s" })
}

impl Value {
    /// As it is read: not yet escaped.
    #[must_use]
    pub fn written(&self) -> String {
        match self {
            Self::None => NONE.to_owned(),
            Self::Fraction(value) => percent(*value, 2),
            Self::Ratio(value) => number(*value, 3),
            Self::Money(value) => number(*value, 2),
            Self::Count(value) => number(*value as f64, 0),
            Self::Day(day) => day.to_string(),
            Self::Text(text) => plain(text),
        }
    }

    /// The number in it.
    pub(super) fn as_number(&self) -> Option<f64> {
        match self {
            Self::Fraction(value) | Self::Ratio(value) | Self::Money(value) => Some(*value).filter(|v| v.is_finite()),
            Self::Count(value) => Some(*value as f64),
            Self::None | Self::Day(_) | Self::Text(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_a_zero_has_no_sign() {
        let cases = [
            (0.0, 2, "0.00"),
            (-0.001, 2, "0.00"),
            (-1.5, 1, "−1.5"),
            (1234.5, 2, "1,234.50"),
            (-1_234_567.0, 0, "−1,234,567"),
            (999.0, 0, "999"),
            (-1.5e300, 2, "−1.500e300"),
            (f64::NAN, 2, "n/a"),
            (f64::INFINITY, 2, "n/a"),
        ];
        for (value, decimals, expected) in cases {
            assert_eq!(number(value, decimals), expected);
        }
        assert_eq!(percent(18.343, 1), "1,834.3\u{a0}%");
    }

    #[test]
    fn a_text_cannot_end_what_it_stands_in() {
        let hostile = "</script><img src=x onerror='alert(1)'>\"&\u{202e}\u{0}\u{2028}";
        assert_eq!(
            escaped(hostile),
            "&lt;/script&gt;&lt;img src=x onerror=&#39;alert(1)&#39;&gt;&quot;&amp;\u{fffd}\u{fffd}\u{fffd}"
        );
        let json = json_string(hostile);
        assert!(!json.contains(['<', '>', '&']), "{json}");
        let read: String = serde_json::from_str(&json).expect("JSON");
        assert_eq!(read, plain(hostile));
        assert_eq!(plain(&"a".repeat(2000)).chars().count(), TEXT_CHARS_MAX + 1);
    }
}
