//! What is hashed. The encoding is a contract: a verifier in another language needs this page and nothing else.
//!
//! ```text
//! hash = SHA-256( "ringfence audit 1\0"
//!               ‖ number(seq) ‖ number(at_ms) ‖ text(actor) ‖ text(event)
//!               ‖ maybe(sandbox_id) ‖ maybe(execution_id) ‖ text(detail) ‖ prev_hash )
//!
//! number(n)   8 bytes, big-endian
//! text(t)     number(length of t in bytes) ‖ t in UTF-8
//! maybe(t)    0x00 when absent, else 0x01 ‖ text(t)
//! prev_hash   32 bytes; of the first entry, 32 zero bytes
//! ```
//!
//! `detail` is hashed as it is stored. What is stored is canonical JSON: no spaces, and the keys of every object in the
//! order of their UTF-8 bytes.

use std::fmt::Write;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::AuditHash;

/// The columns of a row, as they are hashed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    pub(super) seq: u64,
    pub(super) at_ms: u64,
    pub(super) actor: &'a str,
    pub(super) event: &'a str,
    pub(super) sandbox_id: Option<&'a str>,
    pub(super) execution_id: Option<&'a str>,
    pub(super) detail: &'a str,
    pub(super) prev_hash: AuditHash,
}

impl Fields<'_> {
    pub(super) fn hash(&self) -> AuditHash {
        let mut hasher = Sha256::new();
        hasher.update(b"ringfence audit 1\0");
        hasher.update(self.seq.to_be_bytes());
        hasher.update(self.at_ms.to_be_bytes());
        text(&mut hasher, self.actor);
        text(&mut hasher, self.event);
        for id in [self.sandbox_id, self.execution_id] {
            match id {
                None => hasher.update([0]),
                Some(id) => {
                    hasher.update([1]);
                    text(&mut hasher, id);
                }
            }
        }
        text(&mut hasher, self.detail);
        hasher.update(self.prev_hash.0);
        AuditHash(hasher.finalize().into())
    }
}

fn text(hasher: &mut Sha256, text: &str) {
    hasher.update((text.len() as u64).to_be_bytes());
    hasher.update(text);
}

/// JSON without spaces and with sorted keys. `Value::to_string` would do while serde_json sorts its maps, which any
/// crate of the build can change by asking for its `preserve_order`.
pub(super) fn canonical_json(value: &Value) -> String {
    let mut out = String::new();
    write_canonical(value, &mut out);
    out
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| key.as_bytes());
            out.push('{');
            for (i, (key, value)) in entries.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_scalar(&Value::from(key.as_str()), out);
                out.push(':');
                write_canonical(value, out);
            }
            out.push('}');
        }
        Value::Array(values) => {
            out.push('[');
            for (i, value) in values.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_canonical(value, out);
            }
            out.push(']');
        }
        scalar => write_scalar(scalar, out),
    }
}

fn write_scalar(value: &Value, out: &mut String) {
    write!(out, "{value}").expect("a String takes any text");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields() -> Fields<'static> {
        Fields {
            seq: 7,
            at_ms: 1_757_371_623_056,
            actor: "agent",
            event: "sandbox.execute",
            sandbox_id: Some("ifxkb9zwglaz0pk5dc3zb"),
            execution_id: None,
            detail: "{\"names\":[\"API_KEY\"]}",
            prev_hash: AuditHash([0x11; 32]),
        }
    }

    /// The expected digest was computed from the page above in Python, not by this code.
    #[test]
    fn the_encoding_is_the_documented_one() {
        assert_eq!(fields().hash().to_string(), "0913601dbaeac6f4cbb3d891a457799231cf07e0723ead2868d6286e2f7983f6");
    }

    #[test]
    fn every_field_is_covered_and_none_can_shift_into_the_next() {
        let base = fields();
        let others = [
            Fields { seq: 8, ..base },
            Fields { at_ms: 0, ..base },
            Fields { actor: "system", ..base },
            Fields { event: "sandbox.executed", ..base },
            Fields { sandbox_id: None, execution_id: base.sandbox_id, ..base },
            Fields { sandbox_id: None, ..base },
            Fields { execution_id: Some(""), ..base },
            Fields { actor: "agents", event: "andbox.execute", ..base },
            Fields { detail: "{}", ..base },
            Fields { prev_hash: AuditHash::ZERO, ..base },
        ];
        for other in others {
            assert_ne!(other.hash(), base.hash(), "{other:?}");
        }
    }

    #[test]
    fn canonical_json_sorts_at_every_depth_and_keeps_arrays() {
        let value = json!({"b": [{"z": 1, "a": "\u{1f980}\n"}, null, 2.5], "a": {"y": {}, "x": []}, "B": true});
        let expected = "{\"B\":true,\"a\":{\"x\":[],\"y\":{}},\"b\":[{\"a\":\"\u{1f980}\\n\",\"z\":1},null,2.5]}";
        assert_eq!(canonical_json(&value), expected);
    }
}
