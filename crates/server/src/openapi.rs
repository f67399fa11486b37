//! The description of the REST API, checked in as `docs/reference/openapi.json`.

use utoipa::{
    Modify, OpenApi,
    openapi::{
        Content, RefOr, Required, Schema,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use crate::probe;
use crate::rest::{access, credits, exports, jobs, pipelines, routes, secrets, swarms, sweeps, trading};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "ringfence",
        description = "Sandboxes for code that nobody trusts. Over the Unix socket no token is needed; over TCP every \
            request carries one. A refused request answers `{\"error\": {\"code\", \"message\"}}` with a stable code.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    servers((url = "http://127.0.0.1:7433")),
    security(("token" = [])),
    modifiers(&Tidy),
    paths(
        routes::create, routes::list, routes::status, routes::delete, routes::configure, routes::execute, routes::stop,
        routes::pause, routes::resume, routes::upload, routes::download, routes::logs, routes::preview, routes::execution,
        routes::templates, routes::template, routes::build, routes::audit_log, routes::audit_verify, routes::egress,
        exports::export, exports::delete, exports::archive, exports::import, exports::image, exports::clone, secrets::list, secrets::set,
        secrets::remove, routes::health, probe::alive, probe::ready, routes::prune, routes::audit_prune, routes::stop_daemon, trading::status, trading::set_mode,
        trading::limits, trading::set_limits, trading::tighten, trading::halt, trading::reduce, trading::resume,
        trading::orders, trading::positions, trading::holds, trading::approve, trading::refuse,
        sweeps::start, sweeps::list, sweeps::status, sweeps::cancel, sweeps::results, sweeps::report,
        jobs::delete_sweep, jobs::prune,
        swarms::init, swarms::list, swarms::status, swarms::destroy, swarms::spawn, swarms::scale, swarms::orchestrate,
        swarms::task_status, swarms::task_cancel,
        credits::balance, credits::usage, credits::grant, credits::budget,
        access::create, access::list, access::revoke, access::projects,
        pipelines::run,
        pipelines::list, pipelines::status, pipelines::resume, pipelines::cancel, pipelines::output,
    )
)]
struct Description;

struct Tidy;

impl Modify for Tidy {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        // OpenAPI demands a description of every response.
        for path in api.paths.paths.values_mut() {
            for operation in [&mut path.get, &mut path.put, &mut path.post, &mut path.delete].into_iter().flatten() {
                for (status, response) in &mut operation.responses.responses {
                    if let RefOr::T(response) = response {
                        response.description = if status == "default" { "Refused" } else { "Done" }.into();
                    }
                }
            }
        }
        let Some(components) = &mut api.components else { return };
        components.add_security_scheme(
            "token",
            SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build()),
        );
        // Over REST these stand in the path.
        for (name, argument) in [
            ("ConfigureRequest", "sandbox_id"),
            ("ExecuteRequest", "sandbox_id"),
            ("UploadRequest", "sandbox_id"),
            ("PreviewRequest", "sandbox_id"),
            ("ExportRequest", "sandbox_id"),
            ("CloneRequest", "sandbox_id"),
            ("BuildRequest", "template_name"),
            ("SecretSetRequest", "name"),
            ("AgentSpawnRequest", "swarm_id"),
            ("SwarmScaleRequest", "swarm_id"),
            ("PipelineResumeRequest", "pipeline_id"),
        ] {
            if let Some(RefOr::T(Schema::Object(object))) = components.schemas.get_mut(name) {
                object.required.retain(|required| required != argument);
                object.properties.remove(argument);
            }
        }
        // A body without anything that must be there may itself not be there: nothing at all is an empty object.
        let has_required = |reference: &str| {
            let name = reference.rsplit('/').next().unwrap_or_default();
            matches!(components.schemas.get(name), Some(RefOr::T(Schema::Object(object))) if !object.required.is_empty())
        };
        for path in api.paths.paths.values_mut() {
            let Some(RefOr::T(body)) = path.post.as_mut().and_then(|post| post.request_body.as_mut()) else {
                continue;
            };
            let may_be_empty = |content: &RefOr<Content>| match content {
                RefOr::T(Content { schema: Some(RefOr::Ref(schema)), .. }) => !has_required(&schema.ref_location),
                _ => false,
            };
            if body.content.values().all(may_be_empty) {
                body.required = Some(Required::False);
            }
        }
    }
}

/// The description as JSON, indented.
#[must_use]
pub fn openapi_json() -> String {
    let mut json = Description::openapi().to_pretty_json().expect("the description is plain data");
    json.push('\n');
    json
}
