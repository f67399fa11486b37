//! The engine as [`Sandboxes`]: requests in, answers out. What changes something runs in a task of its own, so that a
//! client that goes away leaves nothing half done.

use std::{collections::BTreeMap, time::Duration};

use ringfence_jail::proto::Rights;
use ringfence_model::{
    ApiError, Code, ExecutionId, Project,
    api::{
        self, AuditLogAnswer, AuditLogRequest, AuditPruneAnswer, AuditPruneRequest, AuditVerifyAnswer,
        AuditVerifyRequest, BuildAnswer, BuildRequest, CloneAnswer, CloneRequest, ConfigureAnswer, ConfigureRequest,
        CreateAnswer, CreateRequest, DeleteAnswer, DownloadAnswer, DownloadRequest, EgressAnswer, EgressRequest,
        ExecuteRequest, ExecutionAnswer, ExecutionCounts, ExecutionRequest, ExportAnswer, ExportRequest, HealthAnswer,
        ImageAnswer, ImageRequest, ImportAnswer, ImportRequest, ListAnswer, ListRequest, LogLine, LogsAnswer,
        LogsRequest, NetworkStatus, PreviewAnswer, PreviewRequest, PruneAnswer, PruneRequest, Resources,
        RunningProcess, SandboxDetail, SandboxRequest, SecretAnswer, SecretListAnswer, SecretRemoveAnswer,
        SecretRequest, SecretSetRequest, StatusAnswer, TemplateAnswer, TemplateDeleteAnswer, TemplateListAnswer,
        TemplateListRequest, TemplateRequest, TransitionAnswer, UploadAnswer, UploadRequest,
    },
    credit::MilliCredits,
};
use ringfence_store::{Actor, AuditFilter, ExecutionStatus, Interpreter, SandboxFilter, SandboxRow, SandboxStatus};

use crate::{
    api::{Answering, Chunks, ProgressSender, Sandboxes},
    engine::{Engine, now_ms},
    error::Failure,
    keys,
    language::Language,
    lookup::Found,
    registry::Warm,
    run::Program,
    sandbox::{Next, Sandbox},
    view,
};

pub(crate) fn actor(actor: api::Actor) -> Actor {
    match actor {
        api::Actor::Operator => Actor::Operator,
        api::Actor::Agent => Actor::Agent,
    }
}

pub(crate) fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// Runs to its end whether or not anybody still waits.
pub(crate) fn tracked<'a, T, F>(work: F) -> Answering<'a, T>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Failure>> + Send + 'static,
{
    Box::pin(async move {
        match tokio::spawn(work).await {
            Ok(result) => result.map_err(Failure::public),
            Err(error) => {
                tracing::error!(%error, "a request panicked");
                Err(ApiError::internal("the request failed inside the daemon; its log says where"))
            }
        }
    })
}

/// Only looks: it may be dropped.
pub(crate) fn looking<'a, T, F>(work: F) -> Answering<'a, T>
where
    F: Future<Output = Result<T, Failure>> + Send + 'a,
{
    Box::pin(async move { work.await.map_err(Failure::public) })
}

impl Engine {
    async fn do_execute(&self, by: Actor, request: ExecuteRequest) -> Result<ExecutionAnswer, Failure> {
        self.admit()?;
        let _active = self.inner.activity.begin();
        let sandbox = self.find_live(&request.sandbox_id).await?;
        request.check()?;
        let language = Language::choose(request.language.as_deref(), &sandbox.template)?;
        let (wait, timeout) = (request.wait_s(), request.timeout_s());
        let exposed = keys::exposed_once(&request.env_vars, request.expose)?;
        let program = Program {
            code: request.code,
            language,
            rights: Rights::Program,
            env: request.env_vars.into_inner().into_iter().collect(),
            exposed,
            working_dir: request.working_dir,
            timeout: Duration::from_secs_f64(timeout),
            stdin: request.stdin.unwrap_or_default().into_bytes(),
            background: request.background,
            tap: None,
        };
        let execution = self.begin(by, &sandbox, program).await?;
        if wait > 0.0 {
            execution.wait(Duration::from_secs_f64(wait)).await;
        }
        let mut answer = view::execution(&execution);
        answer.warnings.extend(self.inner.purse.warning(&sandbox.project));
        Ok(answer)
    }

    async fn do_execution(&self, request: ExecutionRequest) -> Result<ExecutionAnswer, Failure> {
        let unknown = || unknown_execution(&request.execution_id);
        let id = ExecutionId::parse(&request.execution_id).map_err(|_| unknown())?;
        request.check()?;
        let running = self.running().get(&id).cloned();
        if let Some(execution) = running {
            execution.wait(Duration::from_secs_f64(request.wait_s())).await;
            return Ok(view::execution(&execution));
        }
        let of = id.clone();
        let (row, output) =
            self.inner.store.read(move |view| Ok((view.execution(&of)?, view.execution_output(&of)?))).await?;
        Ok(view::execution_row(row.ok_or_else(unknown)?, output))
    }

    async fn do_status(&self, request: SandboxRequest) -> Result<StatusAnswer, Failure> {
        let found = self.find(&request.sandbox_id).await?;
        let (id, live) = match found {
            Found::Live(sandbox) => (sandbox.id.clone(), Some(sandbox)),
            Found::Ended(row) => (row.id, None),
        };
        let of = id.clone();
        let (row, counts, names, exposed, cost_so_far) = self
            .inner
            .store
            .read(move |view| {
                let (counts, exposed) = (view.execution_counts(&of)?, view.exposed_names(&of)?);
                Ok((view.sandbox(&of)?, counts, view.environment_names(&of)?, exposed, view.sandbox_cost(&of)?))
            })
            .await?;
        let row = row.ok_or_else(|| ApiError::internal("the row of a living sandbox is gone"))?;
        let (resources, processes, isolation, next) = match &live {
            Some(sandbox) => self.seen(sandbox).await,
            None => (None, Vec::new(), None, Interpreter::Fresh),
        };
        let _ = next;
        let ports = match &live {
            Some(sandbox) => self.ports(sandbox).await,
            None => Vec::new(),
        };
        let network = self.network_of(&id).await.ok().map(|network| NetworkStatus { exposed, ..network });
        Ok(StatusAnswer {
            success: true,
            status: view::status(row.status),
            sandbox: SandboxDetail {
                ports,
                cost_so_far,
                ..detail(row, &counts, names, network, resources, processes, isolation, live.as_deref())
            },
        })
    }

    /// What is measured of a sandbox now.
    async fn seen(
        &self,
        sandbox: &Sandbox,
    ) -> (Option<Resources>, Vec<RunningProcess>, Option<api::Isolation>, Interpreter) {
        let (shell, next) = {
            let state = sandbox.state.lock().await;
            let next = match &state.next {
                Next::Parked(_) | Next::Coming(_) => Interpreter::Parked,
                Next::None if matches!(sandbox.template.warm, Warm::Forked(_)) => Interpreter::Forked,
                Next::None => Interpreter::Fresh,
            };
            (state.shell.clone(), next)
        };
        let machine = &self.inner.machine;
        let idle = self.disk_resources(sandbox).await;
        let Some(shell) = shell else { return (Some(idle), Vec::new(), None, next) };
        let isolation = view::isolation(&shell.posture, next, &machine.facts().missing);
        let Ok(usage) = machine.usage(shell.id).await else { return (None, Vec::new(), Some(isolation), next) };
        let mut by_place: BTreeMap<_, _> = self
            .running()
            .values()
            .filter(|e| e.sandbox == sandbox.id)
            .filter_map(|e| Some((e.place()?.1, e.id.clone())))
            .collect();
        let lingering = sandbox.lingering.lock().expect("nothing panics under this lock").clone();
        by_place.extend(lingering.into_iter().map(|left| (left.exec, left.id)));
        let processes = usage
            .running
            .iter()
            .map(|(exec, _, command)| RunningProcess {
                execution_id: by_place.get(exec).cloned(),
                command: command.clone(),
            })
            .collect();
        let resources = Resources {
            cpu_time: Duration::from_micros(usage.cpu_usec).as_secs_f64(),
            memory_bytes: usage.memory_bytes,
            memory_peak_bytes: usage.memory_peak_bytes,
            processes: usage.processes,
            ..idle
        };
        (Some(resources), processes, Some(isolation), next)
    }

    async fn do_list(&self, request: ListRequest) -> Result<ListAnswer, Failure> {
        let (status, limit) = request.checked()?;
        let filter = SandboxFilter {
            status: status.map(view::stored_status),
            template: request.template.map(|t| crate::registry::canonical(&t).to_owned()),
            name: None,
            project: request.project,
            limit: Some(limit),
        };
        let read = self.inner.store.read(move |view| Ok((view.sandboxes(&filter)?, view.inherited_bytes()?)));
        let (rows, inherited) = read.await?;
        let sizes = rows.iter().map(|row| async {
            let disk = ringfence_jail::proto::DiskId(row.disk?);
            self.disk_use(disk, inherited.get(&disk.0).copied().unwrap_or(0)).await
        });
        let sizes = futures::future::join_all(sizes).await;
        let sandboxes: Vec<_> = rows.into_iter().zip(sizes).map(|(row, size)| view::summary(row, size)).collect();
        Ok(ListAnswer { success: true, count: count(sandboxes.len()), sandboxes })
    }

    async fn do_stop(&self, by: Actor, request: SandboxRequest) -> Result<TransitionAnswer, Failure> {
        let sandbox = self.find_live(&request.sandbox_id).await?;
        let before = self.stop(&sandbox, by, "the sandbox was stopped").await?;
        let message = match before {
            SandboxStatus::Stopped => "it was stopped already",
            SandboxStatus::Running | SandboxStatus::Paused => "its processes have ended, its files are kept",
            other => return Err(crate::lookup::ended(&sandbox.id, other).into()),
        };
        Ok(self.transition(&sandbox, before, SandboxStatus::Stopped, message))
    }

    async fn do_delete(&self, by: Actor, request: SandboxRequest) -> Result<DeleteAnswer, Failure> {
        let _active = self.inner.activity.begin();
        let (id, name) = match self.find(&request.sandbox_id).await? {
            Found::Live(sandbox) => {
                let name = sandbox.name.clone();
                if self.end(&sandbox, by, SandboxStatus::Deleted, "the sandbox was deleted").await? {
                    return Ok(DeleteAnswer {
                        success: true,
                        sandbox_id: sandbox.id.clone(),
                        name,
                        message: "the sandbox and its files are gone".into(),
                        deleted_at: view::time(now_ms()),
                        total_cost: self.cost_of(&sandbox.id).await?,
                        already_deleted: false,
                    });
                }
                (sandbox.id.clone(), name)
            }
            Found::Ended(row) if row.status == SandboxStatus::Running => {
                return Err(crate::lookup::ended(&row.id, row.status).into());
            }
            Found::Ended(row) if row.status != SandboxStatus::Deleted => return self.delete_ended(by, *row).await,
            Found::Ended(row) => (row.id, row.name),
        };
        let row = self.inner.store.sandbox(&id).await?;
        let deleted_at_ms = row.and_then(|r| r.deleted_at_ms).unwrap_or_else(now_ms);
        let total_cost = self.cost_of(&id).await?;
        Ok(DeleteAnswer {
            success: true,
            sandbox_id: id,
            name,
            message: "it was deleted before".into(),
            deleted_at: view::time(deleted_at_ms),
            total_cost,
            already_deleted: true,
        })
    }

    /// Deletes what is left of an expired or failed sandbox.
    async fn delete_ended(&self, by: Actor, row: SandboxRow) -> Result<DeleteAnswer, Failure> {
        self.clear_away(by, &row, SandboxStatus::Deleted).await?;
        let now = now_ms();
        let total_cost = self.cost_of(&row.id).await?;
        Ok(DeleteAnswer {
            success: true,
            sandbox_id: row.id,
            name: row.name,
            message: format!("it was {}; what was left of it is gone", row.status),
            deleted_at: view::time(now),
            total_cost,
            already_deleted: false,
        })
    }

    async fn do_logs(&self, request: LogsRequest) -> Result<LogsAnswer, Failure> {
        let id = match self.find(&request.sandbox_id).await? {
            Found::Live(sandbox) => sandbox.id.clone(),
            Found::Ended(row) => row.id,
        };
        request.check()?;
        let lines = request.lines_wanted();
        let logs: Vec<LogLine> = if request.source.as_deref() == Some("audit") {
            let filter = AuditFilter { sandbox: Some(id.clone()), limit: Some(lines), ..AuditFilter::default() };
            let mut records = self.inner.store.audit_records(filter).await?;
            records.reverse();
            records
                .into_iter()
                .map(|record| LogLine {
                    timestamp: view::time(record.at_ms),
                    level: "info".into(),
                    source: "audit".into(),
                    message: format!("#{} {} by {} {}", record.seq, record.event, record.actor.as_str(), record.detail),
                })
                .collect()
        } else {
            let rows = self.inner.store.logs(&id, lines, request.source.as_deref()).await?;
            rows.into_iter()
                .map(|row| LogLine {
                    timestamp: view::time(row.at_ms),
                    level: row.level.as_str().into(),
                    source: row.source,
                    message: row.message,
                })
                .collect()
        };
        Ok(LogsAnswer { success: true, sandbox_id: id, count: count(logs.len()), logs })
    }
}

#[allow(clippy::too_many_arguments, reason = "each is a part of the answer")]
fn detail(
    row: SandboxRow,
    counts: &[(ExecutionStatus, u64)],
    env_vars: Vec<String>,
    network: Option<NetworkStatus>,
    resources: Option<Resources>,
    processes: Vec<RunningProcess>,
    isolation: Option<api::Isolation>,
    live: Option<&Sandbox>,
) -> SandboxDetail {
    let of = |status| counts.iter().find(|(s, _)| *s == status).map_or(0, |(_, n)| *n);
    let expires_at_ms = view::expires_at_ms(&row);
    let expires_in = if row.status.is_live() { expires_at_ms.saturating_sub(now_ms()) / 1000 } else { 0 };
    SandboxDetail {
        sandbox_id: row.id,
        name: row.name,
        template: row.template,
        template_version: live.map_or(0, |s| s.template.row.version),
        status: view::status(row.status),
        created_at: view::time(row.created_at_ms),
        expires_at: view::time(expires_at_ms),
        expires_in,
        timeout: row.lifetime_s,
        metadata: row.metadata,
        network,
        env_vars,
        env_version: row.env_version,
        resources,
        cost_so_far: MilliCredits::default(),
        limits: view::limits(&row.limits),
        executions: ExecutionCounts {
            running: of(ExecutionStatus::Running),
            completed: of(ExecutionStatus::Completed),
            failed: of(ExecutionStatus::Failed),
            timeout: of(ExecutionStatus::Timeout),
            killed: of(ExecutionStatus::Killed),
        },
        processes,
        ports: Vec::new(),
        isolation,
        start: live.and_then(Sandbox::start_status),
        reason: row.failure,
        warnings: crate::disk::warnings(resources.map(|r| (r.disk_bytes, r.disk_limit_bytes))),
    }
}

/// What an execution that there is not answers, for whoever asks.
pub(crate) fn unknown_execution(id: &str) -> ApiError {
    let shown: String = id.chars().take(80).collect();
    ApiError::new(Code::ExecutionNotFound, format!("there is no execution `{}`", shown.escape_debug()))
}

pub(crate) fn operators_only(by: api::Actor, what: &str) -> Result<(), Failure> {
    match by {
        api::Actor::Operator => Ok(()),
        api::Actor::Agent => Err(ApiError::new(
            Code::PermissionDenied,
            format!("{what} is for operators: use the `ringfence` command on the daemon's machine"),
        )
        .into()),
    }
}

impl Sandboxes for Engine {
    fn create(
        &self,
        by: api::Actor,
        request: CreateRequest,
        progress: Option<ProgressSender>,
    ) -> Answering<'_, CreateAnswer> {
        let engine = self.clone();
        tracked(async move { engine.create_counted(actor(by), request, progress).await })
    }

    fn configure(&self, by: api::Actor, request: ConfigureRequest) -> Answering<'_, ConfigureAnswer> {
        let engine = self.clone();
        tracked(async move { engine.do_configure(actor(by), request).await })
    }

    fn execute(&self, by: api::Actor, request: ExecuteRequest) -> Answering<'_, ExecutionAnswer> {
        let engine = self.clone();
        tracked(async move { engine.do_execute(actor(by), request).await })
    }

    fn execution(&self, _: api::Actor, request: ExecutionRequest) -> Answering<'_, ExecutionAnswer> {
        looking(self.do_execution(request))
    }

    fn status(&self, _: api::Actor, request: SandboxRequest) -> Answering<'_, StatusAnswer> {
        looking(self.do_status(request))
    }

    fn list(&self, _: api::Actor, request: ListRequest) -> Answering<'_, ListAnswer> {
        looking(self.do_list(request))
    }

    fn stop(&self, by: api::Actor, request: SandboxRequest) -> Answering<'_, TransitionAnswer> {
        let engine = self.clone();
        tracked(async move { engine.do_stop(actor(by), request).await })
    }

    fn pause(&self, by: api::Actor, request: SandboxRequest) -> Answering<'_, TransitionAnswer> {
        let engine = self.clone();
        tracked(async move { engine.do_pause(actor(by), &request.sandbox_id).await })
    }

    fn resume(&self, by: api::Actor, request: SandboxRequest) -> Answering<'_, TransitionAnswer> {
        let engine = self.clone();
        tracked(async move { engine.do_resume(actor(by), &request.sandbox_id).await })
    }

    fn delete(&self, by: api::Actor, request: SandboxRequest) -> Answering<'_, DeleteAnswer> {
        let engine = self.clone();
        tracked(async move { engine.do_delete(actor(by), request).await })
    }

    fn upload(&self, by: api::Actor, request: UploadRequest) -> Answering<'_, UploadAnswer> {
        let engine = self.clone();
        tracked(async move { engine.do_upload(actor(by), request).await })
    }

    fn download(&self, by: api::Actor, request: DownloadRequest) -> Answering<'_, DownloadAnswer> {
        let engine = self.clone();
        tracked(async move { engine.do_download(actor(by), request).await })
    }

    fn preview(&self, by: api::Actor, request: PreviewRequest) -> Answering<'_, PreviewAnswer> {
        let engine = self.clone();
        tracked(async move { engine.do_preview(by, request).await })
    }

    fn logs(&self, _: api::Actor, request: LogsRequest) -> Answering<'_, LogsAnswer> {
        looking(self.do_logs(request))
    }

    fn templates(&self, _: api::Actor, request: TemplateListRequest) -> Answering<'_, TemplateListAnswer> {
        looking(self.do_templates(request))
    }

    fn template(&self, _: api::Actor, request: TemplateRequest) -> Answering<'_, TemplateAnswer> {
        looking(self.do_template(request))
    }

    fn build(
        &self,
        by: api::Actor,
        request: BuildRequest,
        progress: Option<ProgressSender>,
    ) -> Answering<'_, BuildAnswer> {
        let engine = self.clone();
        tracked(async move {
            operators_only(by, "building a template")?;
            engine.do_build(request, progress).await
        })
    }

    fn template_image(&self, by: api::Actor, request: ImageRequest, archive: Chunks) -> Answering<'_, ImageAnswer> {
        let engine = self.clone();
        tracked(async move {
            operators_only(by, "sending an image")?;
            engine.do_image(request, archive).await
        })
    }

    fn prune(&self, by: api::Actor, request: PruneRequest) -> Answering<'_, PruneAnswer> {
        let engine = self.clone();
        tracked(async move {
            operators_only(by, "pruning")?;
            engine.do_prune(actor(by), request).await
        })
    }

    fn export_template(
        &self,
        by: api::Actor,
        request: ExportRequest,
        progress: Option<ProgressSender>,
    ) -> Answering<'_, ExportAnswer> {
        let engine = self.clone();
        tracked(async move { engine.do_export(actor(by), request, progress).await })
    }

    fn template_delete(&self, by: api::Actor, request: TemplateRequest) -> Answering<'_, TemplateDeleteAnswer> {
        let engine = self.clone();
        tracked(async move { engine.do_template_delete(actor(by), request).await })
    }

    fn template_archive(&self, by: api::Actor, request: TemplateRequest) -> Answering<'_, Chunks> {
        looking(async move {
            operators_only(by, "writing an archive of a template")?;
            self.do_archive(request).await
        })
    }

    fn template_import(&self, by: api::Actor, request: ImportRequest, archive: Chunks) -> Answering<'_, ImportAnswer> {
        let engine = self.clone();
        tracked(async move {
            operators_only(by, "importing a template")?;
            engine.do_import(actor(by), request, archive).await
        })
    }

    fn clone_sandbox(&self, by: api::Actor, request: CloneRequest) -> Answering<'_, CloneAnswer> {
        let engine = self.clone();
        tracked(async move { engine.do_clone(actor(by), request).await })
    }

    fn audit_log(&self, _: api::Actor, request: AuditLogRequest) -> Answering<'_, AuditLogAnswer> {
        looking(self.do_audit_log(request))
    }

    fn audit_prune(&self, by: api::Actor, request: AuditPruneRequest) -> Answering<'_, AuditPruneAnswer> {
        let engine = self.clone();
        tracked(async move { engine.do_audit_prune(by, request).await })
    }

    fn audit_verify(&self, _: api::Actor, request: AuditVerifyRequest) -> Answering<'_, AuditVerifyAnswer> {
        let engine = self.clone();
        // To its end also when nobody waits any more: it keeps its turn until then.
        tracked(async move { engine.do_audit_verify(request).await })
    }

    fn egress_list(&self, _: api::Actor, request: EgressRequest) -> Answering<'_, EgressAnswer> {
        looking(self.do_egress(request))
    }

    fn secret_set(&self, by: api::Actor, request: SecretSetRequest) -> Answering<'_, SecretAnswer> {
        let engine = self.clone();
        tracked(async move {
            operators_only(by, "setting a secret")?;
            engine.do_secret_set(request).await
        })
    }

    fn secret_list(&self, by: api::Actor, project: Option<Project>) -> Answering<'_, SecretListAnswer> {
        looking(async move {
            operators_only(by, "listing secrets")?;
            self.do_secret_list(project).await
        })
    }

    fn secret_remove(&self, by: api::Actor, request: SecretRequest) -> Answering<'_, SecretRemoveAnswer> {
        let engine = self.clone();
        tracked(async move {
            operators_only(by, "removing a secret")?;
            engine.do_secret_remove(request).await
        })
    }

    fn health(&self, _: api::Actor) -> Answering<'_, HealthAnswer> {
        looking(self.do_health())
    }
}
