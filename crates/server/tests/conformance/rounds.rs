//! Requests that are answered with a question first: multi round-trip requests, SEP-2322. What was asked is kept here
//! under a number that nobody can guess, and the client carries the number.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hasher, RandomState},
    sync::{Mutex, PoisonError},
};

use rmcp::{
    ErrorData, RoleServer,
    model::{CallToolRequestParams, CallToolResponse, GetPromptRequestParams, GetPromptResponse, InputResponses},
    service::RequestContext,
};
use serde_json::{Value, json};

use super::fixture::{whole, wire};

pub(crate) const TOOLS: [&str; 9] = [
    "test_input_required_result_elicitation",
    "test_input_required_result_sampling",
    "test_input_required_result_list_roots",
    "test_input_required_result_request_state",
    "test_input_required_result_multiple_inputs",
    "test_input_required_result_multi_round",
    "test_input_required_result_tampered_state",
    "test_input_required_result_capabilities",
    "test_streaming_elicitation",
];

pub(crate) const PROMPT: &str = "test_input_required_result_prompt";

/// Rounds that were begun: which tool, and how many of its questions were asked.
#[derive(Default)]
pub(crate) struct States(Mutex<HashMap<String, (String, usize)>>);

fn elicit(message: &str, field: &str, kind: &str) -> Value {
    let schema = json!({"type": "object", "properties": {field: {"type": kind}}, "required": [field]});
    json!({"method": "elicitation/create", "params": {"mode": "form", "message": message, "requestedSchema": schema}})
}

fn sample(prompt: &str, tokens: u32) -> Value {
    let message = json!({"role": "user", "content": {"type": "text", "text": prompt}});
    json!({"method": "sampling/createMessage", "params": {"messages": [message], "maxTokens": tokens}})
}

fn roots() -> Value {
    json!({"method": "roots/list", "params": {}})
}

/// A tool's rounds, and whether it keeps a state between them.
fn rounds(tool: &str, can: impl Fn(&str) -> bool) -> (Vec<Value>, bool) {
    let name = || elicit("What is your name?", "name", "string");
    match tool {
        "test_input_required_result_sampling" => {
            (vec![json!({"capital_question": sample("What is the capital of France?", 100)})], false)
        }
        "test_input_required_result_list_roots" => (vec![json!({"client_roots": roots()})], false),
        "test_input_required_result_request_state" | "test_input_required_result_tampered_state" => {
            (vec![json!({"confirm": elicit("Please confirm", "ok", "boolean")})], true)
        }
        "test_input_required_result_multiple_inputs" => {
            let greeting = sample("Generate a greeting", 50);
            (vec![json!({"user_name": name(), "greeting": greeting, "client_roots": roots()})], true)
        }
        "test_input_required_result_multi_round" => {
            let first = elicit("Step 1: What is your name?", "name", "string");
            let second = elicit("Step 2: What is your favorite color?", "color", "string");
            (vec![json!({"step1": first}), json!({"step2": second})], true)
        }
        "test_input_required_result_capabilities" => {
            let mut asked = json!({});
            if can("elicitation") {
                asked["user_name"] = name();
            }
            if can("sampling") {
                asked["greeting"] = sample("Generate a greeting", 50);
            }
            (vec![asked], false)
        }
        _ => (vec![json!({"user_name": name()})], false),
    }
}

/// Whether every question has an answer that is an object. What was not asked is ignored.
fn is_answered(asked: &Value, answers: Option<&InputResponses>) -> bool {
    let answers = |key: &String| answers.and_then(|all| all.get(key)).is_some_and(Value::is_object);
    asked.as_object().is_some_and(|asked| !asked.is_empty() && asked.keys().all(answers))
}

impl States {
    fn keep(&self, tool: &str, asked: usize) -> String {
        let id = format!("{:016x}{:016x}", random(), random());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), (tool.to_owned(), asked));
        id
    }

    /// The round whose answers are to come now.
    fn round(&self, tool: &str, state: Option<&String>) -> Result<usize, ErrorData> {
        let Some(state) = state else { return Ok(0) };
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, asked) = known
            .get(state)
            .filter(|(of, _)| of == tool)
            .ok_or_else(|| ErrorData::invalid_params("requestState is none that this server gave", None))?;
        Ok(*asked)
    }

    pub(crate) fn call(
        &self,
        request: CallToolRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let client = serde_json::to_value(context.client_capabilities()).unwrap_or_default();
        let (rounds, has_state) = rounds(&request.name, |what| client.get(what).is_some_and(|value| !value.is_null()));
        let at = self.round(&request.name, request.request_state.as_ref())?;
        let is_answered = is_answered(&rounds[at], request.input_responses.as_ref());
        let next = if is_answered { at + 1 } else { at };
        let Some(asked) = rounds.get(next) else {
            let content = json!([{"type": "text", "text": "all was answered, state-ok"}]);
            return Ok(CallToolResponse::Complete(whole(json!({"content": content}))));
        };
        let mut result = json!({"resultType": "input_required", "inputRequests": asked});
        if has_state {
            result["requestState"] = json!(self.keep(&request.name, next));
        }
        Ok(CallToolResponse::InputRequired(wire(result)))
    }
}

fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// The one prompt that asks.
pub(crate) fn prompt(request: &GetPromptRequestParams) -> GetPromptResponse {
    let asked = json!({"user_context": elicit("What context should the prompt use?", "context", "string")});
    if !is_answered(&asked, request.input_responses.as_ref()) {
        return GetPromptResponse::InputRequired(wire(json!({"resultType": "input_required", "inputRequests": asked})));
    }
    let answers = request.input_responses.as_ref().and_then(|all| all.get("user_context"));
    let context = answers.map(|answer| answer["content"]["context"].to_string()).unwrap_or_default();
    let content = json!({"type": "text", "text": format!("In the context {context}")});
    GetPromptResponse::Complete(whole(json!({"messages": [{"role": "user", "content": content}]})))
}
