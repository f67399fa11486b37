//! Sandboxes that live through a daemon's death, and the calls that make and check them.

use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{
    Actor, CreateRequest, ExecuteRequest, ExecutionRequest, ExecutionStatus, SandboxRequest, SandboxStatus,
};
use ringfence_server::Client;

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

pub(crate) fn named(id: &str) -> SandboxRequest {
    SandboxRequest { sandbox_id: id.to_owned() }
}

pub(crate) fn bash(id: &str, code: &str) -> ExecuteRequest {
    ExecuteRequest {
        sandbox_id: id.to_owned(),
        code: code.to_owned(),
        language: Some("bash".into()),
        ..ExecuteRequest::default()
    }
}

pub(crate) async fn create(api: &Client) -> String {
    let request = CreateRequest { template: "python".into(), ..CreateRequest::default() };
    api.create(Actor::Operator, request, None).await.expect("a sandbox").sandbox_id.to_string()
}

/// Sandboxes in every state that a killed daemon can leave.
pub(crate) struct Scene {
    pub(crate) running: String,
    pub(crate) paused: String,
    pub(crate) stopped: String,
    /// Runs in `running` in the background.
    pub(crate) execution: String,
    /// What only that execution has in its command line.
    pub(crate) mark: String,
}

impl Scene {
    pub(crate) async fn set(api: &Client, mark: &str) -> Self {
        let (running, paused, stopped) = (create(api).await, create(api).await, create(api).await);
        for id in [&running, &paused, &stopped] {
            let wrote = api
                .execute(Actor::Operator, bash(id, &format!("echo {id} > kept; mkdir -p d; ln -s ../kept d/l")))
                .await;
            assert!(wrote.expect("run").success);
        }
        let request = ExecuteRequest {
            background: true,
            timeout: Some(3600.0),
            ..bash(&running, &format!("echo begun; sleep {mark}"))
        };
        let execution = api.execute(Actor::Operator, request).await.expect("begun").execution_id.to_string();
        api.pause(Actor::Operator, named(&paused)).await.expect("paused");
        api.stop(Actor::Operator, named(&stopped)).await.expect("stopped");
        Self { running, paused, stopped, execution, mark: mark.to_owned() }
    }

    pub(crate) fn all(&self) -> [&String; 3] {
        [&self.running, &self.paused, &self.stopped]
    }

    /// After the whole daemon went: stopped, killed, and all files there.
    pub(crate) async fn is_stopped_and_whole(&self, api: &Client) {
        for id in self.all() {
            let status = api.status(Actor::Operator, named(id)).await.expect("known");
            assert_eq!(status.status, SandboxStatus::Stopped, "{id}");
        }
        let request = ExecutionRequest { execution_id: self.execution.clone(), wait: None };
        let execution = api.execution(Actor::Operator, request).await.expect("known");
        assert_eq!((execution.status, execution.exit_code), (ExecutionStatus::Killed, Some(137)), "{execution:?}");
        for id in self.all() {
            api.resume(Actor::Operator, named(id)).await.expect("resumed");
            self.has_its_files(api, id).await;
        }
    }

    pub(crate) async fn has_its_files(&self, api: &Client, id: &str) {
        let read = api
            .execute(Actor::Operator, bash(id, "cat kept d/l; echo more >> kept2; pgrep -c sleep"))
            .await
            .expect("run");
        assert_eq!(read.output, format!("{id}\n{id}\n0\n"), "{read:?}");
    }

    /// After a part died whose death no sandbox should notice.
    pub(crate) async fn went_on(&self, api: &Client) {
        let states = [
            (&self.running, SandboxStatus::Running),
            (&self.paused, SandboxStatus::Paused),
            (&self.stopped, SandboxStatus::Stopped),
        ];
        for (id, state) in states {
            assert_eq!(api.status(Actor::Operator, named(id)).await.expect("known").status, state, "{id}");
        }
        let read = api
            .execute(Actor::Operator, bash(&self.running, &format!("cat kept; pgrep -fc 'sleep {}'", self.mark)))
            .await;
        assert!(read.expect("run").output.starts_with(&format!("{}\n", self.running)));
        let request = ExecutionRequest { execution_id: self.execution.clone(), wait: None };
        assert_eq!(api.execution(Actor::Operator, request).await.expect("known").status, ExecutionStatus::Running);
        let code = ExecuteRequest {
            sandbox_id: self.running.clone(),
            code: "print(6 * 7)".into(),
            ..ExecuteRequest::default()
        };
        assert_eq!(api.execute(Actor::Operator, code).await.expect("run").output, "42\n");
    }

    pub(crate) async fn clear(&self, api: &Client) {
        for id in self.all() {
            api.delete(Actor::Operator, named(id)).await.expect("deleted");
        }
    }
}
