//! The client against the server, over a fake of the engine: what goes in at one end comes out at the other.

mod fake;
mod host;

use std::path::Path;

use futures::StreamExt;
use ringfence_engine::api::Sandboxes;
use ringfence_model::{
    Code, Project,
    api::{
        Actor, AuditLogRequest, AuditVerifyRequest, BuildRequest, ConfigureRequest, CreateRequest, DownloadRequest,
        EgressRequest, EnvVars, ExecuteRequest, ExecutionRequest, Hidden, ImageRequest, ListRequest, LogsRequest,
        SandboxRequest, SecretRequest, SecretSetRequest, TemplateListRequest, TemplateRequest, UploadRequest,
    },
};
use ringfence_server::Client;
use tokio::sync::mpsc;

use host::Host;

const ME: Actor = Actor::Agent;

#[tokio::test]
async fn every_method_goes_through() {
    let host = Host::start().await;
    let client = Client::new(&host.socket(), "test");
    let request = CreateRequest {
        template: "python".into(),
        name: Some("my box/ä".into()),
        env_vars: EnvVars::new([("A".into(), "1".into())].into()),
        ..CreateRequest::default()
    };
    let made = client.create(ME, request, None).await.expect("made");
    assert_eq!((made.env_vars_configured, made.name.as_str()), (1, "my box/ä"));
    let id = || SandboxRequest { sandbox_id: "my box/ä".into() };
    let sandbox_id = id().sandbox_id;
    let configure = ConfigureRequest { sandbox_id: sandbox_id.clone(), ..ConfigureRequest::default() };
    client.configure(ME, configure).await.expect("configured");
    let execute = ExecuteRequest { sandbox_id: sandbox_id.clone(), code: "figure".into(), ..ExecuteRequest::default() };
    let ran = client.execute(ME, execute).await.expect("ran");
    assert!(ran.artifacts[0].content_base64.is_some(), "REST keeps what MCP shows as an image");
    let ask = ExecutionRequest { execution_id: ran.execution_id.to_string(), wait: Some(0.5) };
    assert_eq!(client.execution(ME, ask).await.expect("known"), ran);
    client.status(ME, id()).await.expect("status");
    client.stop(ME, id()).await.expect("stop");
    client.pause(ME, id()).await.expect("pause");
    client.resume(ME, id()).await.expect("resume");
    let list = client.list(ME, ListRequest { limit: Some(5), ..ListRequest::default() }).await.expect("list");
    assert_eq!(list.count, 1);
    // Bytes that are not UTF-8, and a name that must be escaped.
    let upload = UploadRequest {
        sandbox_id: sandbox_id.clone(),
        file_path: "a b&c?.bin".into(),
        content_base64: Some("/w==".into()),
        ..UploadRequest::default()
    };
    client.upload(ME, upload).await.expect("upload");
    let download = DownloadRequest { sandbox_id: sandbox_id.clone(), file_path: "a b&c?.bin".into() };
    assert_eq!(client.download(ME, download).await.expect("download").content_base64.as_deref(), Some("/w=="));
    let logs = LogsRequest { sandbox_id, lines: Some(3), source: Some("system".into()) };
    assert_eq!(client.logs(ME, logs).await.expect("logs").count, 1);
    client.templates(ME, TemplateListRequest::default()).await.expect("templates");
    client.template(ME, TemplateRequest { template_name: "python".into() }).await.expect("template");
    let log = AuditLogRequest { event: Some("sandbox.stop".into()), ..AuditLogRequest::default() };
    assert_eq!(client.audit_log(ME, log).await.expect("log").entries[0].event, "sandbox.stop");
    let ask = EgressRequest { after: Some(6), ..EgressRequest::default() };
    assert_eq!(client.egress_list(ME, ask).await.expect("decisions").decisions[0].number, 7);
    client.health(ME).await.expect("health");
    client.delete(ME, id()).await.expect("delete");
    assert_eq!(client.status(ME, id()).await.expect_err("gone").code, Code::SandboxNotFound);
    assert!(host.fake.actors().iter().all(|actor| *actor == ME));
    client.audit_verify(ME, AuditVerifyRequest::default()).await.expect("verify");
}

#[tokio::test]
async fn secrets_go_through_for_the_operator_alone() {
    let host = Host::start().await;
    let client = Client::new(&host.socket(), "test");
    let set = |rotate: bool| SecretSetRequest {
        project: Project::default(),
        name: "API.key-1".into(),
        value: Hidden::new("hunter2".into()),
        hosts: if rotate { vec![] } else { vec!["API.example.com".into()] },
        ports: vec![],
        placements: if rotate { vec![] } else { vec!["bearer".into()] },
        sign: None,
        rotate,
    };
    let stored = client.secret_set(Actor::Operator, set(false)).await.expect("stored").secret;
    assert_eq!((stored.version, stored.hosts.as_slice()), (1, &["api.example.com".to_owned()][..]));
    assert_eq!(client.secret_set(Actor::Operator, set(true)).await.expect("rotated").secret.version, 2);
    assert_eq!(client.secret_list(Actor::Operator, None).await.expect("listed").secrets[0].name, "API.key-1");
    let name = || SecretRequest { name: "API.key-1".into(), ..SecretRequest::default() };
    for refused in [
        client.secret_set(Actor::Agent, set(false)).await.map(drop),
        client.secret_list(Actor::Agent, None).await.map(drop),
        client.secret_remove(Actor::Agent, name()).await.map(drop),
    ] {
        assert_eq!(refused.expect_err("not for agents").code, Code::PermissionDenied);
    }
    assert!(host.fake.actors().iter().all(|actor| *actor == Actor::Operator), "an agent's request went no further");
    client.secret_remove(Actor::Operator, name()).await.expect("removed");
    assert_eq!(client.secret_list(Actor::Operator, None).await.expect("listed").count, 0);
}

#[tokio::test]
async fn progress_arrives_before_the_result() {
    let host = Host::start().await;
    let client = Client::new(&host.socket(), "test");
    let (progress, mut steps) = mpsc::channel(16);
    let request = CreateRequest { template: "slow".into(), ..CreateRequest::default() };
    client.create(ME, request, Some(progress)).await.expect("made");
    assert_eq!(steps.recv().await.expect("a step").percent, Some(25.0));
    let (progress, mut steps) = mpsc::channel(16);
    let build = |name: &str| BuildRequest { template_name: name.into(), rebuild: false, recipe: None, image: None };
    assert!(client.build(Actor::Operator, build("python"), Some(progress)).await.expect("built").built);
    assert_eq!(steps.recv().await.expect("a step").message, "installing");
    let error = client.build(Actor::Operator, build("broken"), None).await.expect_err("broken");
    assert_eq!(error.code, Code::PackageInstallFailed);
    assert_eq!(host.fake.actors().last(), Some(&Actor::Operator));
}

#[tokio::test]
async fn an_image_is_sent_piece_by_piece_with_its_tag() {
    let host = Host::start().await;
    let client = Client::new(&host.socket(), "test");
    let pieces = futures::stream::iter(["three", "pieces", "here"]).map(|piece| Ok(piece.into())).boxed();
    let request = ImageRequest { tag: Some("me/app:1 &x".into()) };
    let answer = client.template_image(Actor::Operator, request, pieces).await.expect("it is taken");
    assert_eq!((answer.image.as_str(), answer.digest.as_str()), ("15 bytes", "me/app:1 &x"));
}

#[tokio::test]
async fn a_daemon_of_another_build_is_noticed() {
    let host = Host::start().await;
    for (build, other) in [("test", false), ("newer", true)] {
        let client = Client::new(&host.socket(), build);
        assert_eq!(client.other_build(), None, "nothing is known yet");
        client.health(ME).await.expect("health");
        assert_eq!(client.other_build().is_some(), other, "{build}");
    }
}

#[tokio::test]
async fn a_daemon_that_does_not_run_is_said_to() {
    let client = Client::new(Path::new("/nonexistent/api.sock"), "test");
    let error = client.health(ME).await.expect_err("nobody listens");
    assert!(error.message.contains("ringfence serve"), "{}", error.message);
}

#[tokio::test]
async fn the_operator_ends_the_daemon() {
    let host = Host::start().await;
    let client = Client::new(&host.socket(), "test");
    assert!(client.stop_daemon().await.expect("stopped").success);
    host.ended().await;
}
