//! The fake, with a record of every call that reaches it, and with jobs that belong to projects as at the real desk. Each method of
//! the traits stands here, so that a new one does not compile before its calls are recorded.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ringfence_engine::api::{Access, Answering, Chunks, Credits, ProgressSender, Sandboxes, Trading};
use ringfence_model::{ApiError, Caller, Code, JobId, Project, SandboxId, api::*};
use ringfence_research::api::{Jobs, Pipelines, Research, SharedResearch, Swarms, Sweeps};
use ringfence_server::Services;

/// A job that the fake is told of, and whose it is.
pub(crate) type Owned = (String, Project);

/// The services as their calls are recorded.
#[derive(Clone)]
pub(crate) struct Recorded {
    inner: Services,
    calls: Arc<Mutex<Vec<&'static str>>>,
    jobs: Arc<Vec<Owned>>,
    /// Whose jobs there are; all of them without one.
    project: Option<Project>,
}

impl Recorded {
    pub(crate) fn over(inner: Services, jobs: Vec<Owned>) -> Self {
        Self { inner, calls: Arc::default(), jobs: Arc::new(jobs), project: None }
    }

    fn calls(&self) -> MutexGuard<'_, Vec<&'static str>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was called since this was asked last.
    pub(crate) fn taken(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.calls())
    }

    fn note(&self, method: &'static str) {
        self.calls().push(method);
    }

    /// The refusal, when a request names a job that there is not for whoever asks.
    fn missing(&self, code: Code, named: Option<&str>) -> Result<(), ApiError> {
        let Some(named) = named else { return Ok(()) };
        let is_own = |(id, owner): &Owned| id == named && self.project.as_ref().is_none_or(|own| own == owner);
        if self.jobs.iter().any(is_own) { Ok(()) } else { Err(ApiError::new(code, format!("there is no `{named}`"))) }
    }

    /// Entries about every project's jobs and sandboxes, as the chain of the whole installation has them.
    fn entries(&self) -> Vec<AuditEntryView> {
        let mut number = 1;
        let mut entry = |event: String, sandbox_id: Option<String>, detail: serde_json::Value| {
            number += 1;
            let detail = detail.as_object().cloned().unwrap_or_default();
            AuditEntryView {
                seq: number,
                timestamp: "2026-01-02T03:04:05Z".into(),
                actor: "agent".into(),
                event,
                sandbox_id,
                execution_id: None,
                detail,
                hash: "0".repeat(64),
            }
        };
        let of_jobs = self.jobs.iter().map(|(id, owner)| {
            let kind = id.split('_').next().unwrap_or_default();
            let word = if kind == "sweep" { "sweep_id" } else { kind };
            entry(format!("{kind}.start"), None, serde_json::json!({word: id, "name": format!("{owner}s-{kind}")}))
        });
        of_jobs.collect()
    }
}

macro_rules! recorded {
    ($($method:ident($($name:ident: $argument:ty),*) => $answer:ty;)*) => {
        $(fn $method(&self, $($name: $argument),*) -> Answering<'_, $answer> {
            self.note(stringify!($method));
            self.inner.sandboxes.$method($($name),*)
        })*
    };
}

macro_rules! recorded_job {
    ($($method:ident($($name:ident: $argument:ty),*) => $answer:ty $(, $code:ident of $named:expr)?;)*) => {
        $(fn $method(&self, $($name: $argument),*) -> Answering<'_, $answer> {
            self.note(stringify!($method));
            $(if let Err(error) = self.missing(Code::$code, $named) {
                return Box::pin(async { Err(error) });
            })?
            self.inner.research.$method($($name),*)
        })*
    };
}

impl Sandboxes for Recorded {
    recorded! {
        create(actor: Actor, request: CreateRequest, progress: Option<ProgressSender>) => CreateAnswer;
        configure(actor: Actor, request: ConfigureRequest) => ConfigureAnswer;
        execute(actor: Actor, request: ExecuteRequest) => ExecutionAnswer;
        execution(actor: Actor, request: ExecutionRequest) => ExecutionAnswer;
        status(actor: Actor, request: SandboxRequest) => StatusAnswer;
        list(actor: Actor, request: ListRequest) => ListAnswer;
        stop(actor: Actor, request: SandboxRequest) => TransitionAnswer;
        pause(actor: Actor, request: SandboxRequest) => TransitionAnswer;
        resume(actor: Actor, request: SandboxRequest) => TransitionAnswer;
        delete(actor: Actor, request: SandboxRequest) => DeleteAnswer;
        upload(actor: Actor, request: UploadRequest) => UploadAnswer;
        download(actor: Actor, request: DownloadRequest) => DownloadAnswer;
        preview(actor: Actor, request: PreviewRequest) => PreviewAnswer;
        logs(actor: Actor, request: LogsRequest) => LogsAnswer;
        templates(actor: Actor, request: TemplateListRequest) => TemplateListAnswer;
        template(actor: Actor, request: TemplateRequest) => TemplateAnswer;
        build(actor: Actor, request: BuildRequest, progress: Option<ProgressSender>) => BuildAnswer;
        template_image(actor: Actor, request: ImageRequest, archive: Chunks) => ImageAnswer;
        prune(actor: Actor, request: PruneRequest) => PruneAnswer;
        export_template(actor: Actor, request: ExportRequest, progress: Option<ProgressSender>) => ExportAnswer;
        template_delete(actor: Actor, request: TemplateRequest) => TemplateDeleteAnswer;
        template_archive(actor: Actor, request: TemplateRequest) => Chunks;
        template_import(actor: Actor, request: ImportRequest, archive: Chunks) => ImportAnswer;
        clone_sandbox(actor: Actor, request: CloneRequest) => CloneAnswer;
        audit_verify(actor: Actor, request: AuditVerifyRequest) => AuditVerifyAnswer;
        audit_prune(actor: Actor, request: AuditPruneRequest) => AuditPruneAnswer;
        egress_list(actor: Actor, request: EgressRequest) => EgressAnswer;
        secret_set(actor: Actor, request: SecretSetRequest) => SecretAnswer;
        secret_list(actor: Actor, project: Option<Project>) => SecretListAnswer;
        secret_remove(actor: Actor, request: SecretRequest) => SecretRemoveAnswer;
        health(actor: Actor) => HealthAnswer;
    }

    fn audit_log(&self, actor: Actor, request: AuditLogRequest) -> Answering<'_, AuditLogAnswer> {
        self.note("audit_log");
        Box::pin(async move {
            let is_of_all = request.sandbox_id.is_none();
            let mut answer = self.inner.sandboxes.audit_log(actor, request).await?;
            if is_of_all {
                answer.entries.extend(self.entries());
            }
            Ok(answer)
        })
    }
}

impl Access for Recorded {
    recorded! {
        sandbox_in(project: Project, reference: String) => String;
        execution_in(project: Project, execution_id: String) => ();
        template_in(project: Project, name: String) => ();
        sandboxes_of(project: Project, ids: Vec<SandboxId>) => Vec<SandboxId>;
        caller(secret: Vec<u8>) => Option<Caller>;
        token_create(actor: Actor, request: TokenCreateRequest) => TokenCreateAnswer;
        token_list(actor: Actor) => TokenListAnswer;
        token_revoke(actor: Actor, request: TokenRequest) => TokenRevokeAnswer;
        project_list(actor: Actor) => ProjectListAnswer;
    }

    fn jobs_of(&self, project: Project, ids: Vec<JobId>) -> Answering<'_, Vec<JobId>> {
        self.note("jobs_of");
        let is_own = |id: &JobId| self.jobs.iter().any(|(known, owner)| *known == id.to_string() && *owner == project);
        let owned = ids.into_iter().filter(is_own).collect();
        Box::pin(async { Ok(owned) })
    }
}

impl Credits for Recorded {
    recorded! {
        check_balance(actor: Actor, request: BalanceRequest) => BalanceAnswer;
        usage(actor: Actor, request: UsageRequest) => UsageAnswer;
        credit_grant(actor: Actor, request: CreditGrantRequest) => BalanceAnswer;
        credit_budget(actor: Actor, request: CreditBudgetRequest) => BalanceAnswer;
    }
}

impl Trading for Recorded {
    recorded! {
        trade_status(actor: Actor, request: TradeStatusRequest) => TradeStatusAnswer;
        trade_mode_set(actor: Actor, request: TradeModeRequest) => TradeModeAnswer;
        trade_limits(actor: Actor, request: TradeLimitsRequest) => TradeLimitsAnswer;
        trade_limits_set(actor: Actor, request: TradeLimitsSetRequest) => TradeLimitsAnswer;
        trade_tighten(actor: Actor, request: TradeTightenRequest) => TradeLimitsAnswer;
        trade_halt(actor: Actor, request: TradeHaltRequest) => TradeStateAnswer;
        trade_reduce(actor: Actor, request: TradeStateRequest) => TradeStateAnswer;
        trade_resume(actor: Actor, request: TradeStateRequest) => TradeStateAnswer;
        trade_orders(actor: Actor, request: TradeOrdersRequest) => TradeOrdersAnswer;
        trade_positions(actor: Actor, request: TradePositionsRequest) => TradePositionsAnswer;
        trade_holds(actor: Actor) => TradeHoldsAnswer;
        trade_hold_answer(actor: Actor, request: TradeHoldRequest) => TradeHoldAnswer;
    }
}

impl Sweeps for Recorded {
    recorded_job! {
        sweep(actor: Actor, request: SweepRequest, progress: Option<ProgressSender>) => SweepAnswer;
        sweep_status(actor: Actor, request: SweepStatusRequest, progress: Option<ProgressSender>) => SweepAnswer,
            SweepNotFound of Some(request.sweep_id.as_str());
        sweep_list(actor: Actor, request: SweepListRequest) => SweepListAnswer;
        sweep_cancel(actor: Actor, request: SweepOneRequest) => SweepAnswer,
            SweepNotFound of Some(request.sweep_id.as_str());
        sweep_table(actor: Actor, request: SweepTableRequest) => Chunks,
            SweepNotFound of Some(request.sweep_id.as_str());
        sweep_report(actor: Actor, request: SweepOneRequest) => Chunks,
            SweepNotFound of Some(request.sweep_id.as_str());
    }
}

impl Jobs for Recorded {
    recorded_job! {
        sweep_delete(actor: Actor, request: SweepOneRequest) => JobPruneAnswer,
            SweepNotFound of Some(request.sweep_id.as_str());
        job_prune(actor: Actor, request: JobPruneRequest) => JobPruneAnswer;
    }
}

impl Pipelines for Recorded {
    recorded_job! {
        pipeline(actor: Actor, request: PipelineRequest, progress: Option<ProgressSender>) => PipelineAnswer;
        pipeline_status(actor: Actor, request: PipelineStatusRequest) => PipelineAnswer,
            PipelineNotFound of Some(request.pipeline_id.as_str());
        pipeline_list(actor: Actor, request: PipelineListRequest) => PipelineListAnswer;
        pipeline_resume(actor: Actor, request: PipelineResumeRequest, progress: Option<ProgressSender>) => PipelineAnswer,
            PipelineNotFound of Some(request.pipeline_id.as_str());
        pipeline_cancel(actor: Actor, request: PipelineCancelRequest) => PipelineAnswer,
            PipelineNotFound of Some(request.pipeline_id.as_str());
        pipeline_output(actor: Actor, request: PipelineOutputRequest) => PipelineOutputAnswer,
            PipelineNotFound of Some(request.pipeline_id.as_str());
    }
}

impl Swarms for Recorded {
    recorded_job! {
        swarm_init(actor: Actor, request: SwarmInitRequest) => SwarmAnswer;
        agent_spawn(actor: Actor, request: AgentSpawnRequest) => AgentAnswer,
            SwarmNotFound of request.swarm_id.as_deref();
        swarm_status(actor: Actor, request: SwarmRequest) => SwarmAnswer,
            SwarmNotFound of request.swarm_id.as_deref();
        swarm_list(actor: Actor, request: SwarmListRequest) => SwarmListAnswer;
        swarm_scale(actor: Actor, request: SwarmScaleRequest) => SwarmAnswer,
            SwarmNotFound of request.swarm_id.as_deref();
        swarm_destroy(actor: Actor, request: SwarmRequest) => SwarmDestroyAnswer,
            SwarmNotFound of request.swarm_id.as_deref();
        task_orchestrate(actor: Actor, request: TaskRequest, progress: Option<ProgressSender>) => TaskAnswer,
            SwarmNotFound of request.swarm_id.as_deref();
        task_status(actor: Actor, request: TaskStatusRequest) => TaskAnswer,
            TaskNotFound of Some(request.task_id.as_str());
        task_cancel(actor: Actor, request: TaskCancelRequest) => TaskAnswer,
            TaskNotFound of Some(request.task_id.as_str());
    }

    /// It is not the fake that knows which swarms there are: one that is of the project is left out, as if its agent had been found.
    fn swarm_link(&self, request: CreateRequest) -> Answering<'_, CreateRequest> {
        self.note("swarm_link");
        let named = request.swarm_id.clone();
        let answer = self.missing(Code::SwarmNotFound, named.as_deref());
        Box::pin(async move { answer.map(|()| CreateRequest { swarm_id: None, ..request }) })
    }
}

impl Research for Recorded {
    fn of(self: Arc<Self>, project: Option<Project>) -> SharedResearch {
        Arc::new(Self { project, ..(*self).clone() })
    }
}
