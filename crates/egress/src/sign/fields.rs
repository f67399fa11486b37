//! Fields of a query or of a form, changed without touching the others: a signature covers their exact spelling.

use crate::secret::field_text;

fn is(field: &str, name: &str) -> bool {
    field_text(field.split_once('=').map_or(field, |(name, _)| name)) == name.as_bytes()
}

/// How often a field stands there.
pub(super) fn count(raw: &str, name: &str) -> usize {
    raw.split('&').filter(|field| is(field, name)).count()
}

/// All fields but those of this name.
pub(super) fn without(raw: &str, name: &str) -> String {
    let kept: Vec<_> = raw.split('&').filter(|field| !is(field, name)).collect();
    kept.join("&")
}

/// With the value of a field replaced where it stands, or the field put at the end. `value` needs no escaping.
pub(super) fn set(raw: &str, name: &str, value: &str) -> String {
    let new = format!("{name}={value}");
    if count(raw, name) == 0 {
        return if raw.is_empty() { new } else { format!("{raw}&{new}") };
    }
    let fields: Vec<_> = raw.split('&').map(|field| if is(field, name) { new.as_str() } else { field }).collect();
    fields.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_fields_stay_as_they_are() {
        let raw = "a=1+2&%73ignature=x&b=%2f&signature&&c";
        assert_eq!(count(raw, "signature"), 2);
        assert_eq!(without(raw, "signature"), "a=1+2&b=%2f&&c");
        assert_eq!(set("a=%41&t=1&b", "t", "2"), "a=%41&t=2&b");
        assert_eq!(set("a", "t", "2"), "a&t=2");
        assert_eq!(set("", "t", "2"), "t=2");
        assert_eq!(without("t=1", "t"), "");
        assert_eq!(count("", "t"), 0);
    }
}
