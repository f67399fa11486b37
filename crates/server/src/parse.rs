//! From JSON to a request, with an error that says which argument is wrong and repeats no value.

use ringfence_model::{ApiError, Code};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _, MapAccess, Visitor},
};
use serde_json::{Map, Value};

/// The arguments of a request as they came.
pub(crate) type Arguments = Map<String, Value>;

/// Reads a body. Nothing at all is an empty object.
///
/// # Errors
/// INVALID_ARGUMENT for what is not one JSON object in UTF-8, or names an argument twice.
pub(crate) fn object(body: &[u8]) -> Result<Arguments, ApiError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    let text = std::str::from_utf8(body)
        .map_err(|e| invalid(format!("the body is not UTF-8: byte {} is wrong", e.valid_up_to())))?;
    let Unique(object) = serde_json::from_str(text).map_err(|e| invalid(format!("the body: {}", plain(&e))))?;
    Ok(object)
}

/// Turns arguments into a request.
///
/// # Errors
/// INVALID_ARGUMENT naming the argument that is unknown, missing or of another type.
pub(crate) fn request<T: DeserializeOwned>(mut arguments: Arguments) -> Result<T, ApiError> {
    for (name, value) in &mut arguments {
        match value {
            Value::Object(limits) if name == "limits" => limits.values_mut().for_each(make_whole),
            value => make_whole(value),
        }
    }
    serde_path_to_error::deserialize(Value::Object(arguments)).map_err(|e| {
        let path = e.path().to_string();
        let message = plain(e.inner());
        // Serde puts an unknown field's own name into the path too, and the message says it already.
        let named = message.starts_with("unknown argument") || message.starts_with("missing argument");
        if path == "." || named { invalid(message) } else { invalid(format!("`{path}`: {message}")) }
    })
}

/// `3600.0` is the whole number 3600, as JSON schema has it; Python writes it so after a division.
fn make_whole(value: &mut Value) {
    const EXACT_MAX: f64 = (1_u64 << 53) as f64;
    if let Some(number) = value.as_f64().filter(|n| value.is_f64() && n.fract() == 0.0 && (0.0..=EXACT_MAX).contains(n))
    {
        *value = Value::from(number as u64);
    }
}

pub(crate) fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(Code::InvalidArgument, message)
}

/// Serde's message in our words. A text that stood in the wrong place may be a secret: it is left out.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text =
        match text.strip_prefix("invalid type: string \"").or_else(|| text.strip_prefix("invalid value: string \"")) {
            Some(rest) => {
                format!("a string, {}", rest.rfind("expected ").map_or("which is not expected", |at| &rest[at..]))
            }
            None => text,
        };
    let text = ["f64", "u64", "u32", "u16"].into_iter().fold(text, |text, kind| {
        let word = if kind == "f64" { "a number" } else { "a whole number, 0 or more" };
        match text.strip_suffix(kind) {
            Some(start) => format!("{start}{word}"),
            None => text,
        }
    });
    text.replacen("invalid type: ", "", 1)
        .replacen("unknown field", "unknown argument", 1)
        .replacen("missing field", "missing argument", 1)
        .replacen(", expected one of", "; accepted are", 1)
        .replacen(", there are no fields", "; there are no arguments", 1)
}

/// A JSON object without duplicates at its top.
struct Unique(Arguments);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Unique;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unique, A::Error> {
                let mut object = Map::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if object.contains_key(&name) {
                        return Err(A::Error::custom(format!("`{name}` stands there twice")));
                    }
                    object.insert(name, value);
                }
                Ok(Unique(object))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use ringfence_model::api::{CreateRequest, ExecuteRequest};
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check<T: DeserializeOwned>(arguments: Value, words: &[&str]) {
        let Value::Object(arguments) = arguments else { panic!("an object") };
        let Err(error) = request::<T>(arguments) else { panic!("accepted") };
        assert_eq!(error.code, Code::InvalidArgument);
        for word in words {
            assert!(error.message.contains(word), "{}: {word}", error.message);
        }
        assert!(!error.message.contains("hunter2"), "{}", error.message);
    }

    #[test]
    fn the_argument_that_is_wrong_is_named() {
        check::<ExecuteRequest>(json!({"sandbox_id": "x"}), &["missing argument `code`"]);
        check::<ExecuteRequest>(json!({"sandbox_id": "x", "code": 5}), &["`code`", "expected a string"]);
        check::<ExecuteRequest>(
            json!({"sandbox_id": "x", "code": "", "kernel": 1}),
            &["unknown argument `kernel`; accepted are", "`working_dir`"],
        );
        check::<CreateRequest>(
            json!({"template": "x", "timeout": "hunter2"}),
            &["`timeout`", "a string, expected a whole number"],
        );
        check::<CreateRequest>(json!({"template": "x", "secrets": "hunter2"}), &["`secrets`"]);
        check::<CreateRequest>(json!({"template": "x", "env_vars": "hunter2"}), &["`env_vars`"]);
        check::<CreateRequest>(json!({"template": "x", "env_vars": {"KEY": ["hunter2"]}}), &["`env_vars", "KEY"]);
        check::<CreateRequest>(json!({"template": "x", "limits": {"cpu": "hunter2"}}), &["`limits.cpu`"]);
        check::<CreateRequest>(json!({"template": "x", "network": 5}), &["`network`", "\"none\""]);
    }

    #[test]
    fn a_whole_number_may_have_a_point() {
        let arguments = json!({"template": "x", "timeout": 3600.0, "limits": {"memory_mb": 64.0, "cpu": 1.0}});
        let Value::Object(arguments) = arguments else { panic!("an object") };
        let request: CreateRequest = request(arguments).expect("accepted");
        let limits = request.limits.expect("given");
        assert_eq!((request.timeout, limits.memory_mb, limits.cpu), (Some(3600), Some(64), Some(1.0)));
        check::<CreateRequest>(json!({"template": "x", "timeout": 0.5}), &["`timeout`", "a whole number"]);
        check::<CreateRequest>(json!({"template": "x", "timeout": -1.0}), &["`timeout`", "a whole number"]);
        check::<CreateRequest>(json!({"template": "x", "timeout": 1e300}), &["`timeout`", "a whole number"]);
    }

    #[test]
    fn a_body_is_one_object() {
        assert_eq!(object(b" \n").expect("nothing is an empty object").len(), 0);
        for body in [&b"[]"[..], b"{", b"null", b"{} {}", b"{\"a\": 1, \"a\": 2}", b"{\"a\": \"\xff\"}"] {
            assert_eq!(object(body).expect_err("refused").code, Code::InvalidArgument);
        }
    }
}
