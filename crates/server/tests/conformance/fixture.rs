//! What the conformance suite asks a server to have: tools, resources and prompts that do nothing but exercise the
//! protocol. Results are written as they look on the wire.

use std::{sync::Arc, time::Duration};

use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CompleteRequestParams, CompleteResult, GetPromptRequestParams,
        GetPromptResponse, ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult, ListToolsResult,
        PaginatedRequestParams, ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult, ServerConfig,
        ServerRequest, SubscribeRequestParams, SubscriptionFilter, Tool, UnsubscribeRequestParams,
    },
    service::{RequestContext, SubscriptionContext},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::broadcast;

use super::rounds;

/// One transparent pixel.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";
/// A RIFF header and no samples.
const WAV: &str = "UklGRiQAAABXQVZFZm10IBAAAAABAAEARKwAAIhYAQACABAAZGF0YQAAAAA=";
/// Time between two notifications of one call, as the suite asks for.
const PAUSE: Duration = Duration::from_millis(50);
/// Changes that a slow listener may be behind.
const CHANGES: usize = 16;

/// What of the lists has changed.
#[derive(Debug, Clone, Copy)]
enum Change {
    Tools,
    Prompts,
}

/// The suite's own server. Clones are one server.
#[derive(Clone)]
pub(crate) struct Fixture(Arc<Shared>);

struct Shared {
    changes: broadcast::Sender<Change>,
    rounds: rounds::States,
}

impl Default for Fixture {
    fn default() -> Self {
        Self(Arc::new(Shared { changes: broadcast::Sender::new(CHANGES), rounds: rounds::States::default() }))
    }
}

/// A result that is the last one of its request. Peers of older revisions do not get to see that it is said.
pub(crate) fn whole<T: DeserializeOwned>(mut value: Value) -> T {
    value["resultType"] = json!("complete");
    wire(value)
}

/// The type of the wire from the wire's text.
#[track_caller]
pub(crate) fn wire<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value.clone()).unwrap_or_else(|e| panic!("{e}: {value}"))
}

fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

fn image() -> Value {
    json!({"type": "image", "data": PNG, "mimeType": "image/png"})
}

fn resource(uri: &str, mime: &str, text: &str) -> Value {
    json!({"type": "resource", "resource": {"uri": uri, "mimeType": mime, "text": text}})
}

fn said(content: Value) -> CallToolResponse {
    CallToolResponse::Complete(whole(json!({"content": content})))
}

fn tool(name: &str, properties: Value) -> Value {
    let required: Vec<&String> = properties.as_object().expect("written below").keys().collect();
    let schema = json!({"type": "object", "properties": properties, "required": required});
    json!({"name": name, "description": format!("{name} of the conformance suite"), "inputSchema": schema})
}

fn tools() -> Vec<Value> {
    let with_nothing = [
        "test_simple_text",
        "test_image_content",
        "test_audio_content",
        "test_embedded_resource",
        "test_multiple_content_types",
        "test_tool_with_logging",
        "test_error_handling",
        "test_tool_with_progress",
        "test_elicitation_sep1034_defaults",
        "test_elicitation_sep1330_enums",
        "test_missing_capability",
        "test_logging_tool",
        "test_trigger_tool_change",
        "test_trigger_prompt_change",
    ];
    let mut tools: Vec<Value> = with_nothing.iter().chain(&rounds::TOOLS).map(|name| tool(name, json!({}))).collect();
    tools.push(tool("test_sampling", json!({"prompt": {"type": "string"}})));
    tools.push(tool("test_elicitation", json!({"message": {"type": "string"}})));
    tools.push(tool("test_header", json!({"region": {"type": "string", "x-mcp-header": "Region"}})));
    tools.push(json!({
        "name": "json_schema_2020_12_tool",
        "description": "Tool with JSON Schema 2020-12 features",
        "inputSchema": schema_2020_12(),
    }));
    tools
}

/// Keywords that must come through the listing unchanged.
fn schema_2020_12() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {"address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }},
        "properties": {
            "name": {"type": "string"},
            "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
            "phone": {"type": "string"},
            "email": {"type": "string"},
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": false,
    })
}

fn prompts() -> Value {
    let prompt = |name: &str, arguments: &[&str]| {
        let argument = |name: &&str| json!({"name": name, "description": "an argument", "required": true});
        let arguments: Vec<Value> = arguments.iter().map(argument).collect();
        json!({"name": name, "description": format!("{name} of the conformance suite"), "arguments": arguments})
    };
    json!([
        prompt("test_simple_prompt", &[]),
        prompt("test_prompt_with_arguments", &["arg1", "arg2"]),
        prompt("test_prompt_with_embedded_resource", &["resourceUri"]),
        prompt("test_prompt_with_image", &[]),
        prompt(rounds::PROMPT, &[]),
    ])
}

fn unknown(what: &str, name: &str) -> ErrorData {
    ErrorData::invalid_params(format!("there is no {what} `{}`", name.escape_debug()), None)
}

/// Asks the client something over its session.
async fn ask(context: &RequestContext<RoleServer>, request: Value) -> Result<Value, ErrorData> {
    let request: ServerRequest = wire(request);
    let answer = context.peer.send_request(request).await;
    let answer = answer.map_err(|e| ErrorData::internal_error(format!("the client was asked: {e}"), None))?;
    serde_json::to_value(answer).map_err(|e| ErrorData::internal_error(e.to_string(), None))
}

async fn elicit(
    context: &RequestContext<RoleServer>,
    message: &str,
    properties: Value,
) -> Result<CallToolResponse, ErrorData> {
    let schema = json!({"type": "object", "properties": properties, "required": []});
    let params = json!({"mode": "form", "message": message, "requestedSchema": schema});
    let answer = ask(context, json!({"method": "elicitation/create", "params": params})).await?;
    let done = format!("Elicitation completed: action={}, content={}", answer["action"], answer["content"]);
    Ok(said(json!([text(&done)])))
}

impl Fixture {
    async fn log(&self, context: &RequestContext<RoleServer>, what: &str) {
        let param = wire(json!({"level": "info", "logger": "conformance", "data": what}));
        #[allow(deprecated, reason = "2025-11-25 requires it")]
        let _ = context.peer.notify_logging_message(param).await;
    }

    async fn progress(&self, context: &RequestContext<RoleServer>) {
        let token = context.meta.get_progress_token();
        for progress in [0, 50, 100] {
            if let Some(token) = &token {
                let param = wire(json!({"progressToken": token, "progress": progress, "total": 100}));
                let _ = context.peer.notify_progress(param).await;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl ServerHandler for Fixture {
    fn get_info(&self) -> ServerConfig {
        let capabilities = json!({
            "tools": {"listChanged": true}, "prompts": {"listChanged": true},
            "resources": {"subscribe": true, "listChanged": true}, "logging": {}, "completions": {},
        });
        ServerConfig::new(wire(capabilities)).with_server_info(wire(json!({"name": "fixture", "version": "1"})))
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(whole(json!({"tools": tools()})))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        tools().into_iter().find(|tool| tool["name"] == name).map(wire)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if rounds::TOOLS.contains(&&*request.name) {
            return self.0.rounds.call(request, &context);
        }
        let argument = |name: &str| {
            let value = request.arguments.as_ref().and_then(|all| all.get(name)).and_then(Value::as_str);
            value.map(str::to_owned).ok_or_else(|| unknown("argument", name))
        };
        Ok(match &*request.name {
            "test_simple_text" => said(json!([text("This is a simple text response for testing.")])),
            "test_image_content" => said(json!([image()])),
            "test_audio_content" => said(json!([{"type": "audio", "data": WAV, "mimeType": "audio/wav"}])),
            "test_embedded_resource" => said(json!([resource(
                "test://embedded-resource",
                "text/plain",
                "This is an embedded resource content."
            )])),
            "test_multiple_content_types" => said(json!([
                text("Multiple content types test:"),
                image(),
                resource("test://mixed-content-resource", "application/json", r#"{"test":"data","value":123}"#),
            ])),
            "test_error_handling" => CallToolResponse::Complete(whole(json!({
                "isError": true, "content": [text("This tool intentionally returns an error for testing")],
            }))),
            "test_tool_with_logging" => {
                for what in ["Tool execution started", "Tool processing data", "Tool execution completed"] {
                    self.log(&context, what).await;
                    tokio::time::sleep(PAUSE).await;
                }
                said(json!([text("logged")]))
            }
            "test_logging_tool" => {
                if context.meta.log_level().is_some() {
                    self.log(&context, "asked for").await;
                }
                said(json!([text("logged where it was asked for")]))
            }
            "test_tool_with_progress" => {
                self.progress(&context).await;
                said(json!([text("done")]))
            }
            "test_sampling" => {
                let messages = json!([{"role": "user", "content": text(&argument("prompt")?)}]);
                let params = json!({"messages": messages, "maxTokens": 100});
                let answer = ask(&context, json!({"method": "sampling/createMessage", "params": params})).await?;
                said(json!([text(&format!("LLM response: {}", answer["content"]["text"]))]))
            }
            "test_elicitation" => {
                let field = |what: &str| json!({"type": "string", "description": what});
                let fields = json!({"username": field("User's response"), "email": field("User's email address")});
                elicit(&context, &argument("message")?, fields).await?
            }
            "test_elicitation_sep1034_defaults" => {
                let fields = json!({
                    "name": {"type": "string", "default": "John Doe"},
                    "age": {"type": "integer", "default": 30},
                    "score": {"type": "number", "default": 95.5},
                    "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
                    "verified": {"type": "boolean", "default": true},
                });
                elicit(&context, "Please check the defaults", fields).await?
            }
            "test_elicitation_sep1330_enums" => elicit(&context, "Please choose", enums()).await?,
            "test_missing_capability" => {
                if context.client_capabilities().is_none_or(|client| client.sampling.is_none()) {
                    return Err(ErrorData::missing_required_client_capability(wire(json!({"sampling": {}}))));
                }
                said(json!([text("the client can sample")]))
            }
            "test_trigger_tool_change" => self.change(Change::Tools),
            "test_trigger_prompt_change" => self.change(Change::Prompts),
            "test_header" => said(json!([text(&argument("region")?)])),
            "json_schema_2020_12_tool" => said(json!([text("called")])),
            name => return Err(unknown("tool", name)),
        })
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let all = ["static-text", "static-binary", "watched-resource"].map(
            |name| json!({"uri": format!("test://{name}"), "name": name, "description": "of the conformance suite"}),
        );
        Ok(whole(json!({"resources": all})))
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let one = json!({"uriTemplate": "test://template/{id}/data", "name": "template", "description": "data by id"});
        Ok(whole(json!({"resourceTemplates": [one]})))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let uri = request.uri.as_str();
        let id = uri.strip_prefix("test://template/").and_then(|rest| rest.strip_suffix("/data"));
        let content = match (uri, id) {
            (_, Some(id)) => {
                let data = json!({"id": id, "templateTest": true, "data": format!("Data for ID: {id}")});
                json!({"uri": uri, "mimeType": "application/json", "text": data.to_string()})
            }
            ("test://static-text", _) => {
                json!({"uri": uri, "mimeType": "text/plain", "text": "This is the content of the static text resource."})
            }
            ("test://static-binary", _) => json!({"uri": uri, "mimeType": "image/png", "blob": PNG}),
            ("test://watched-resource", _) => json!({"uri": uri, "mimeType": "text/plain", "text": "unchanged"}),
            _ => return Err(ErrorData::resource_not_found("Resource not found", Some(json!({"uri": uri})))),
        };
        Ok(ReadResourceResponse::Complete(whole::<ReadResourceResult>(json!({"contents": [content]}))))
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Ok(whole(json!({"prompts": prompts()})))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        if request.name == rounds::PROMPT {
            return Ok(rounds::prompt(&request));
        }
        let argument = |name: &str| {
            let value = request.arguments.as_ref().and_then(|all| all.get(name)).and_then(Value::as_str);
            value.map(str::to_owned).ok_or_else(|| unknown("argument", name))
        };
        let contents = match request.name.as_str() {
            "test_simple_prompt" => vec![text("This is a simple prompt for testing.")],
            "test_prompt_with_arguments" => {
                let (first, second) = (argument("arg1")?, argument("arg2")?);
                vec![text(&format!("Prompt with arguments: arg1='{first}', arg2='{second}'"))]
            }
            "test_prompt_with_embedded_resource" => vec![
                resource(&argument("resourceUri")?, "text/plain", "Embedded resource content for testing."),
                text("Please process the embedded resource above."),
            ],
            "test_prompt_with_image" => vec![image(), text("Please analyze the image above.")],
            name => return Err(unknown("prompt", name)),
        };
        let messages: Vec<Value> =
            contents.into_iter().map(|content| json!({"role": "user", "content": content})).collect();
        Ok(GetPromptResponse::Complete(whole(json!({"messages": messages}))))
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        let begun = request.argument.value;
        let values: Vec<&str> = ["paris", "park", "test"].into_iter().filter(|word| word.starts_with(&begun)).collect();
        Ok(whole(json!({"completion": {"values": values, "total": values.len(), "hasMore": false}})))
    }

    #[allow(deprecated, reason = "2025-11-25 requires it")]
    async fn set_level(
        &self,
        _: rmcp::model::SetLevelRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn subscribe(&self, _: SubscribeRequestParams, _: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn unsubscribe(&self, _: UnsubscribeRequestParams, _: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        Ok(())
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(requested.clone())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let mut changes = self.0.changes.subscribe();
        loop {
            let change = tokio::select! {
                change = changes.recv() => change,
                () = context.cancelled() => return Ok(()),
            };
            // The sink holds the client's filter: what was not asked for is refused there.
            let sent = match change {
                Ok(Change::Tools) => context.sink().notify_tool_list_changed().await,
                Ok(Change::Prompts) => context.sink().notify_prompt_list_changed().await,
                Err(broadcast::error::RecvError::Lagged(_)) => continue,
                Err(broadcast::error::RecvError::Closed) => return Ok(()),
            };
            let _ = sent;
        }
    }
}

impl Fixture {
    fn change(&self, change: Change) -> CallToolResponse {
        // Nobody may listen.
        let _ = self.0.changes.send(change);
        said(json!([text("changed")]))
    }
}

/// The five ways to offer a choice.
fn enums() -> Value {
    let titled = |values: [(&str, &str); 3]| values.map(|(value, title)| json!({"const": value, "title": title}));
    let options = ["option1", "option2", "option3"];
    let first = [("value1", "First Option"), ("value2", "Second Option"), ("value3", "Third Option")];
    json!({
        "untitledSingle": {"type": "string", "enum": options},
        "titledSingle": {"type": "string", "oneOf": titled(first)},
        "legacyEnum": {
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled(first)}},
    })
}
