//! The values of a JSON text, each with where it stands, so that one can be replaced and everything else left byte for byte
//! as it was: order, spaces, spelling of numbers, fields that stand there twice.

use std::ops::Range;

use serde::de::IgnoredAny;

/// A string, number, `true`, `false` or `null` that is a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scalar {
    /// Where it stands, quotes included.
    pub(crate) span: Range<usize>,
    /// The name of the field that it is the value of. `None` in an array, and alone.
    pub(crate) field: Option<String>,
    /// How many objects and arrays are around it.
    pub(crate) depth: usize,
}

/// An object or array that is open.
enum Open {
    Object { field: Option<String> },
    Array,
}

/// The values of a text that is JSON (RFC 8259); `None` when it is not.
pub(crate) fn scalars(text: &[u8]) -> Option<Vec<Scalar>> {
    serde_json::from_slice::<IgnoredAny>(text).ok()?;
    let mut found = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'{' => open.push(Open::Object { field: None }),
            b'[' => open.push(Open::Array),
            b'}' | b']' => {
                open.pop()?;
            }
            b',' => {
                if let Some(Open::Object { field }) = open.last_mut() {
                    *field = None;
                }
            }
            b':' | b' ' | b'\t' | b'\r' | b'\n' => {}
            b'"' => {
                let end = string_end(text, at)?;
                match open.last_mut() {
                    Some(Open::Object { field: field @ None }) => *field = Some(string(text.get(at..end)?)?),
                    within => found.push(Scalar { span: at..end, field: name(within), depth: open.len() }),
                }
                at = end;
                continue;
            }
            _ => {
                let length = text.get(at..)?.iter().take_while(|byte| !b",]} \t\r\n".contains(byte)).count();
                found.push(Scalar { span: at..at + length, field: name(open.last_mut()), depth: open.len() });
                at += length;
                continue;
            }
        }
        at += 1;
    }
    Some(found)
}

/// What a string literal says; `None` when it says nothing that is Unicode.
pub(crate) fn string(literal: &[u8]) -> Option<String> {
    serde_json::from_slice(literal).ok()
}

fn name(within: Option<&mut Open>) -> Option<String> {
    match within {
        Some(Open::Object { field }) => field.clone(),
        _ => None,
    }
}

/// Just after the closing quote of the string that opens at `start`.
fn string_end(text: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_found_with_their_fields() {
        let text = br#" {"a" : "x\"}", "b":[1, true ,"y",{"c":null}],"\u0061":-2.5e1} "#;
        let found = scalars(text).expect("it is JSON");
        let seen: Vec<_> = found
            .iter()
            .map(|scalar| {
                let text = std::str::from_utf8(&text[scalar.span.clone()]).expect("ASCII");
                (text, scalar.field.as_deref(), scalar.depth)
            })
            .collect();
        let wanted = [
            (r#""x\"}""#, Some("a"), 1),
            ("1", None, 2),
            ("true", None, 2),
            (r#""y""#, None, 2),
            ("null", Some("c"), 3),
            ("-2.5e1", Some("a"), 1),
        ];
        assert_eq!(seen, wanted);
    }

    #[test]
    fn what_is_not_json_has_no_values() {
        for text in ["", "{", "{}}", "[1,]", "\"", "{\"a\":1} 2"] {
            assert_eq!(scalars(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[\\[\\]{}\",:\\\\u0a1 ]{0,40}", bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = scalars(text.as_bytes());
            let _ = scalars(&bytes);
        }
    }
}
