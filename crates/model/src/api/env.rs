//! Values that must not be printed: environment variables and keys.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, Visitor},
};
use utoipa::ToSchema;

/// Environment variables, name → value. Numbers and booleans are taken as the text that they are in JSON. `Debug` shows
/// names only, and no error of parsing repeats a value.
#[derive(Clone, Default, PartialEq, Eq, ToSchema)]
#[schema(value_type = std::collections::BTreeMap<String, String>)]
pub struct EnvVars(BTreeMap<String, String>);

impl EnvVars {
    /// Variables from a map.
    #[must_use]
    pub fn new(vars: BTreeMap<String, String>) -> Self {
        Self(vars)
    }

    /// Name and value of each, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Their number.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The map itself.
    #[must_use]
    pub fn into_inner(self) -> BTreeMap<String, String> {
        self.0
    }
}

impl fmt::Debug for EnvVars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Serialize for EnvVars {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl JsonSchema for EnvVars {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "EnvVars".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "object", "additionalProperties": {"type": "string"}})
    }
}

impl<'de> Deserialize<'de> for EnvVars {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Vars)
    }
}

struct Vars;

impl<'de> Visitor<'de> for Vars {
    type Value = EnvVars;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of names and values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<EnvVars, A::Error> {
        let mut vars = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            let Scalar(value) = map.next_value()?;
            let Some(value) = value else {
                return Err(de::Error::custom(format!("the value of `{name}` is not a string")));
            };
            if vars.insert(name.clone(), value).is_some() {
                return Err(de::Error::custom(format!("`{name}` stands there twice")));
            }
        }
        Ok(EnvVars(vars))
    }

    fn visit_unit<E>(self) -> Result<EnvVars, E> {
        Ok(EnvVars::default())
    }

    // Serde's own messages for these repeat the value.
    fn visit_str<E: de::Error>(self, _: &str) -> Result<EnvVars, E> {
        Err(E::custom("a string where an object of names and values is expected"))
    }
}

/// A JSON scalar as text; `None` for anything else.
struct Scalar(Option<String>);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde_json::Value;
        Ok(Self(match Value::deserialize(deserializer)? {
            Value::String(text) => Some(text),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(bool) => Some(bool.to_string()),
            _ => None,
        }))
    }
}

/// A text that `Debug` does not show, and that no error of parsing repeats.
#[derive(Clone, PartialEq, Eq, ToSchema)]
#[schema(value_type = String)]
pub struct Hidden(String);

impl Hidden {
    /// Hides a text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The text, taken out without a copy that would stay behind.
    #[must_use]
    pub fn into_inner(self) -> String {
        self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl Serialize for Hidden {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Scalar(text) = Scalar::deserialize(deserializer)?;
        text.map(Self).ok_or_else(|| de::Error::custom("a string is expected"))
    }
}

impl JsonSchema for Hidden {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Hidden".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}
