//! Research, which the fake does not do.

use ringfence_engine::api::{Answering, Chunks, ProgressSender};
use ringfence_model::{
    AgentId, ApiError, Code, JobId,
    api::{
        Actor, AgentAnswer, AgentSpawnRequest, AgentView, CreateRequest, JobPruneAnswer, JobPruneRequest,
        PipelineAnswer, PipelineCancelRequest, PipelineListAnswer, PipelineListRequest, PipelineOutputAnswer,
        PipelineOutputRequest, PipelineRequest, PipelineResumeRequest, PipelineStage, PipelineStageView,
        PipelineStatus, PipelineStatusRequest, StageStatus, SwarmAnswer, SwarmDestroyAnswer, SwarmInitRequest,
        SwarmListAnswer, SwarmListRequest, SwarmRequest, SwarmScaleRequest, SwarmState, SwarmStrategy, SweepAnswer,
        SweepListAnswer, SweepListRequest, SweepOneRequest, SweepRequest, SweepStatusRequest, SweepTableRequest,
        TaskAnswer, TaskCancelRequest, TaskProgress, TaskRequest, TaskState, TaskStatusRequest, TaskStrategy, Topology,
    },
};
use ringfence_research::api::{Jobs, Pipelines, Swarms, Sweeps};

use super::Fake;

fn not_here<T>() -> Answering<'static, T>
where
    T: Send + 'static,
{
    Box::pin(async { Err(ApiError::new(Code::NotSupported, "the fake does no research")) })
}

impl Jobs for Fake {
    fn sweep_delete(&self, _: Actor, _: SweepOneRequest) -> Answering<'_, JobPruneAnswer> {
        not_here()
    }

    fn job_prune(&self, _: Actor, _: JobPruneRequest) -> Answering<'_, JobPruneAnswer> {
        not_here()
    }
}

impl Sweeps for Fake {
    fn sweep(&self, _: Actor, _: SweepRequest, _: Option<ProgressSender>) -> Answering<'_, SweepAnswer> {
        not_here()
    }

    fn sweep_status(&self, _: Actor, _: SweepStatusRequest, _: Option<ProgressSender>) -> Answering<'_, SweepAnswer> {
        not_here()
    }

    fn sweep_list(&self, _: Actor, _: SweepListRequest) -> Answering<'_, SweepListAnswer> {
        not_here()
    }

    fn sweep_cancel(&self, _: Actor, _: SweepOneRequest) -> Answering<'_, SweepAnswer> {
        not_here()
    }

    fn sweep_table(&self, _: Actor, _: SweepTableRequest) -> Answering<'_, Chunks> {
        not_here()
    }

    fn sweep_report(&self, _: Actor, _: SweepOneRequest) -> Answering<'_, Chunks> {
        not_here()
    }
}

/// A pipeline that has ended well, whatever it was asked for: the fake runs nothing.
fn ended(request: &PipelineRequest, status: PipelineStatus) -> PipelineAnswer {
    let stage = |asked: &PipelineStage| PipelineStageView {
        name: asked.name.clone(),
        kind: asked.kind,
        template: asked.template.clone(),
        status: StageStatus::Completed,
        attempts: 1,
        cut_off: 0,
        error: None,
        started_at: None,
        ended_at: None,
        inputs: Vec::new(),
        outputs: Vec::new(),
        sandbox_id: None,
        execution: None,
        trading: None,
    };
    PipelineAnswer {
        success: status.is_success(),
        pipeline_id: JobId::parse(PIPELINE).expect("an id"),
        name: request.name.clone(),
        status,
        error: None,
        created_at: "2026-01-01T00:00:00Z".into(),
        ended_at: Some("2026-01-01T00:00:01Z".into()),
        stages: request.stages.iter().map(stage).collect(),
    }
}

/// The only pipeline that the fake knows.
const PIPELINE: &str = "pipeline_0123456789abcdef";

fn known<T: Send + 'static>(id: &str, answer: T) -> Answering<'static, T> {
    let answer = match id == PIPELINE {
        true => Ok(answer),
        false => Err(ApiError::new(Code::PipelineNotFound, "there is no such pipeline")),
    };
    Box::pin(async move { answer })
}

impl Pipelines for Fake {
    fn pipeline(
        &self,
        actor: Actor,
        request: PipelineRequest,
        _: Option<ProgressSender>,
    ) -> Answering<'_, PipelineAnswer> {
        let answer = request.check(actor).map(|()| ended(&request, PipelineStatus::Completed));
        Box::pin(async move { answer })
    }

    fn pipeline_status(&self, _: Actor, request: PipelineStatusRequest) -> Answering<'_, PipelineAnswer> {
        known(&request.pipeline_id, ended(&PipelineRequest::default(), PipelineStatus::Completed))
    }

    fn pipeline_list(&self, _: Actor, _: PipelineListRequest) -> Answering<'_, PipelineListAnswer> {
        Box::pin(async { Ok(PipelineListAnswer { success: true, pipelines: Vec::new(), count: 0 }) })
    }

    fn pipeline_resume(
        &self,
        _: Actor,
        request: PipelineResumeRequest,
        _: Option<ProgressSender>,
    ) -> Answering<'_, PipelineAnswer> {
        known(&request.pipeline_id, ended(&PipelineRequest::default(), PipelineStatus::Running))
    }

    fn pipeline_cancel(&self, _: Actor, request: PipelineCancelRequest) -> Answering<'_, PipelineAnswer> {
        known(&request.pipeline_id, ended(&PipelineRequest::default(), PipelineStatus::Cancelled))
    }

    fn pipeline_output(&self, _: Actor, request: PipelineOutputRequest) -> Answering<'_, PipelineOutputAnswer> {
        let answer = PipelineOutputAnswer {
            success: true,
            pipeline_id: JobId::parse(PIPELINE).expect("an id"),
            stage: request.stage,
            path: request.path,
            size: 2,
            sha256: "0".repeat(64),
            content: Some("{}".into()),
            content_base64: None,
        };
        known(&request.pipeline_id, answer)
    }
}

/// A swarm of one agent, as it always is here.
fn swarm(id: Option<&str>) -> Result<SwarmAnswer, ApiError> {
    let id = id.unwrap_or("swarm_newest0000000000");
    let swarm_id =
        JobId::parse(id).map_err(|_| ApiError::new(Code::SwarmNotFound, format!("there is no swarm `{id}`")))?;
    Ok(SwarmAnswer {
        success: true,
        name: swarm_id.to_string(),
        swarm_id,
        topology: Topology::Mesh,
        strategy: SwarmStrategy::Balanced,
        status: SwarmState::Active,
        agents: vec![agent("agent-1", "worker")],
        tasks_running: 0,
        cost_so_far: ringfence_model::credit::MilliCredits(0),
        created_at: TIME.into(),
        message: String::new(),
    })
}

const TIME: &str = "2026-01-02T03:04:05Z";

fn agent(name: &str, kind: &str) -> AgentView {
    AgentView {
        id: AgentId::from_random([1; 11]),
        name: name.into(),
        kind: kind.into(),
        role: "peer".into(),
        status: "idle".into(),
        sandbox_id: None,
        sandbox_status: None,
    }
}

/// A task that waits as long as it is told to.
fn task(id: &str, request: TaskRequest, wait: Option<f64>) -> Result<TaskAnswer, ApiError> {
    let task_id =
        JobId::parse(id).map_err(|_| ApiError::new(Code::TaskNotFound, format!("there is no task `{id}`")))?;
    Ok(TaskAnswer {
        success: true,
        task_id,
        swarm_id: swarm(request.swarm_id.as_deref())?.swarm_id,
        task: request.task,
        status: if wait.is_some() { TaskState::Completed } else { TaskState::Running },
        handler: request.handler.unwrap_or_else(|| "code".into()),
        topology: Topology::Mesh,
        strategy: request.strategy.unwrap_or(TaskStrategy::Parallel),
        priority: request.priority.unwrap_or_default(),
        progress: TaskProgress::default(),
        results: Vec::new(),
        aggregate: None,
        created_at: TIME.into(),
        finished_at: None,
        warnings: Vec::new(),
    })
}

fn at_once<T: Send + 'static>(answer: Result<T, ApiError>) -> Answering<'static, T> {
    Box::pin(async move { answer })
}

impl Swarms for Fake {
    fn swarm_init(&self, _: Actor, request: SwarmInitRequest) -> Answering<'_, SwarmAnswer> {
        at_once(swarm(None).map(|swarm| SwarmAnswer { topology: request.topology, ..swarm }))
    }

    fn agent_spawn(&self, _: Actor, request: AgentSpawnRequest) -> Answering<'_, AgentAnswer> {
        let agent = agent(&request.name.unwrap_or_default(), &request.kind.unwrap_or_default());
        at_once(swarm(request.swarm_id.as_deref()).map(|swarm| AgentAnswer {
            success: true,
            swarm_id: swarm.swarm_id,
            agent_id: agent.id.clone(),
            agent,
        }))
    }

    fn swarm_status(&self, _: Actor, request: SwarmRequest) -> Answering<'_, SwarmAnswer> {
        at_once(swarm(request.swarm_id.as_deref()))
    }

    fn swarm_list(&self, _: Actor, _: SwarmListRequest) -> Answering<'_, SwarmListAnswer> {
        at_once(Ok(SwarmListAnswer { success: true, swarms: Vec::new(), count: 0 }))
    }

    fn swarm_scale(&self, _: Actor, request: SwarmScaleRequest) -> Answering<'_, SwarmAnswer> {
        at_once(
            swarm(request.swarm_id.as_deref())
                .map(|swarm| SwarmAnswer { message: request.max_agents.to_string(), ..swarm }),
        )
    }

    fn swarm_destroy(&self, _: Actor, request: SwarmRequest) -> Answering<'_, SwarmDestroyAnswer> {
        at_once(swarm(request.swarm_id.as_deref()).map(|swarm| SwarmDestroyAnswer {
            success: true,
            swarm_id: swarm.swarm_id,
            status: SwarmState::Destroyed,
            message: "gone".into(),
            tasks_cancelled: 0,
            sandboxes: Vec::new(),
            total_cost: ringfence_model::credit::MilliCredits(0),
            destroyed_at: TIME.into(),
            already_destroyed: false,
        }))
    }

    /// It knows no swarm: what names one is refused, and what does not is handed on.
    fn swarm_link(&self, request: CreateRequest) -> Answering<'_, CreateRequest> {
        at_once(match request.swarm_id.as_ref().or(request.agent_id.as_ref()) {
            Some(_) => Err(ApiError::new(Code::SwarmNotFound, "there is no such swarm_id or agent_id here")),
            None => Ok(request),
        })
    }

    fn task_orchestrate(&self, _: Actor, request: TaskRequest, _: Option<ProgressSender>) -> Answering<'_, TaskAnswer> {
        let wait = request.wait;
        at_once(task("task_made000000000000", request, wait))
    }

    fn task_status(&self, _: Actor, request: TaskStatusRequest) -> Answering<'_, TaskAnswer> {
        at_once(task(&request.task_id, TaskRequest::default(), request.wait))
    }

    fn task_cancel(&self, _: Actor, request: TaskCancelRequest) -> Answering<'_, TaskAnswer> {
        let cancelled = task(&request.task_id, TaskRequest::default(), None);
        at_once(cancelled.map(|task| TaskAnswer { status: TaskState::Cancelled, ..task }))
    }
}
