//! JSON schemas that every client accepts: no references, no formats that validators do not know, one word for choices.

use std::sync::Arc;

use ringfence_model::{ApiError, Code};
use rmcp::model::JsonObject;
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Value, json};

/// The schema of a tool's arguments.
pub(super) fn input<T: JsonSchema>() -> Arc<JsonObject> {
    let settings = SchemaSettings::draft2020_12().for_deserialize();
    let mut schema = generate::<T>(settings);
    // An argument that may be left out is not described as nullable too: that doubles every type for no gain.
    walk(&mut Value::Object(std::mem::take(&mut schema)), &mut |object| drop_null(object)).into()
}

/// The schema of a tool's result, which also fits a refusal: some clients check those as well.
pub(super) fn output<T: JsonSchema>() -> Arc<JsonObject> {
    let mut schema = generate::<T>(SchemaSettings::draft2020_12().for_serialize());
    let mut schema = walk(&mut Value::Object(std::mem::take(&mut schema)), &mut |object| split_null(object));
    let code = json!({"type": "string", "description": "Only in a refusal: its stable code."});
    let message = json!({"type": "string", "description": "Only in a refusal: what is wrong, and what to do."});
    let refusal = json!({"required": ["success", "code", "message"]});
    let required = schema.remove("required").unwrap_or_else(|| json!([]));
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.entry("code").or_insert(code);
        properties.entry("message").or_insert(message);
    }
    schema.insert("required".into(), json!(["success"]));
    schema.insert("anyOf".into(), json!([{"required": required}, refusal]));
    schema.into()
}

/// A refusal as a result.
pub(super) fn refusal(error: &ApiError) -> Value {
    let code: Code = error.code;
    json!({"success": false, "code": code.as_str(), "message": error.message})
}

fn generate<T: JsonSchema>(mut settings: SchemaSettings) -> JsonObject {
    settings.inline_subschemas = true;
    settings.meta_schema = None;
    let schema = settings.into_generator().into_root_schema_for::<T>();
    let mut schema = walk(&mut schema.to_value(), &mut |object| {
        object.remove("format");
        one_choice(object);
    });
    schema.remove("title");
    schema.remove("description");
    // A tool without arguments still needs them described.
    schema.entry("properties").or_insert_with(|| json!({}));
    schema
}

/// Applies `change` to every object of a schema, innermost first.
fn walk(value: &mut Value, change: &mut dyn FnMut(&mut JsonObject)) -> JsonObject {
    fn visit(value: &mut Value, change: &mut dyn FnMut(&mut JsonObject)) {
        match value {
            Value::Array(values) => values.iter_mut().for_each(|value| visit(value, change)),
            Value::Object(object) => {
                for (name, value) in object.iter_mut() {
                    match (name.as_str(), value) {
                        // The names in there are arguments, not keywords.
                        ("properties", Value::Object(properties)) => {
                            properties.values_mut().for_each(|value| visit(value, change));
                        }
                        ("default" | "enum" | "const", _) => {}
                        (_, value) => visit(value, change),
                    }
                }
                change(object);
            }
            _ => {}
        }
    }
    visit(value, change);
    match value.take() {
        Value::Object(object) => object,
        other => unreachable!("schemas of our types are objects, not {other}"),
    }
}

/// `oneOf` constants, each with its own description, becomes `enum`.
fn one_choice(object: &mut JsonObject) {
    let Some(Value::Array(choices)) = object.get("oneOf") else { return };
    let words: Option<Vec<Value>> = choices.iter().map(|choice| choice.get("const").cloned()).collect();
    if let Some(words) = words {
        object.remove("oneOf");
        object.insert("type".into(), json!("string"));
        object.insert("enum".into(), Value::Array(words));
    }
}

/// A list of types becomes a choice of types, which translators of schemas understand more often. What is said about the one that is
/// not null goes into its choice: beside it, a translator takes null for refused.
fn split_null(object: &mut JsonObject) {
    const OF_BOTH: [&str; 3] = ["description", "default", "title"];
    let Some(Value::Array(types)) = object.get("type") else { return };
    let mut choices: Vec<JsonObject> =
        types.iter().map(|kind| [("type".into(), kind.clone())].into_iter().collect()).collect();
    object.remove("type");
    if let [one, null] = &mut choices[..]
        && null["type"] == "null"
    {
        let (both, of_one) = std::mem::take(object).into_iter().partition(|(name, _)| OF_BOTH.contains(&name.as_str()));
        *object = both;
        one.extend::<JsonObject>(of_one);
        if let Some(Value::Array(words)) = one.get_mut("enum") {
            words.retain(|word| !word.is_null());
        }
    }
    object.insert("anyOf".into(), Value::Array(choices.into_iter().map(Value::Object).collect()));
}

fn drop_null(object: &mut JsonObject) {
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".into(), only);
        }
    }
    if let Some(Value::Array(words)) = object.get_mut("enum") {
        words.retain(|word| !word.is_null());
    }
    let Some(Value::Array(choices)) = object.get_mut("anyOf") else { return };
    choices.retain(|choice| choice.get("type") != Some(&json!("null")));
    if choices.len() == 1
        && let Some(Value::Object(only)) = choices.pop()
    {
        object.remove("anyOf");
        for (name, value) in only {
            object.entry(name).or_insert(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(given: Value, wanted: Value) {
        let Value::Object(mut object) = given else { panic!("schemas are objects") };
        split_null(&mut object);
        assert_eq!(Value::Object(object), wanted);
    }

    #[test]
    fn what_is_said_of_a_type_stands_with_it() {
        check(
            json!({"type": ["object", "null"], "properties": {"a": {}}, "required": ["a"], "default": null}),
            json!({"anyOf": [{"type": "object", "properties": {"a": {}}, "required": ["a"]}, {"type": "null"}], "default": null}),
        );
        check(
            json!({"type": ["string", "null"], "enum": ["x", null], "description": "d"}),
            json!({"anyOf": [{"type": "string", "enum": ["x"]}, {"type": "null"}], "description": "d"}),
        );
        check(json!({"type": "integer", "minimum": 0}), json!({"type": "integer", "minimum": 0}));
        // Two that are not null share what is said.
        check(
            json!({"type": ["string", "number"], "maxLength": 3}),
            json!({"anyOf": [{"type": "string"}, {"type": "number"}], "maxLength": 3}),
        );
    }
}
