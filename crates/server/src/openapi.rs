//! The description of the REST API, checked in as `docs/reference/openapi.json`.

use utoipa::{
    Modify, OpenApi,
    openapi::{
        RefOr, Schema,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use crate::rest::routes;

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
        routes::pause, routes::resume, routes::upload, routes::download, routes::logs, routes::execution,
        routes::templates, routes::template, routes::build, routes::audit_log, routes::audit_verify, routes::health,
        routes::stop_daemon,
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
        // Over REST these stand in the path, and the body may leave them out.
        for (name, argument) in [
            ("ConfigureRequest", "sandbox_id"),
            ("ExecuteRequest", "sandbox_id"),
            ("UploadRequest", "sandbox_id"),
            ("BuildRequest", "template_name"),
        ] {
            if let Some(RefOr::T(Schema::Object(object))) = components.schemas.get_mut(name) {
                object.required.retain(|required| required != argument);
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
