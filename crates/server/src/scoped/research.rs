//! Research. Jobs belong to projects, and the research that is asked here is that of the caller's project alone. What a job is handed
//! of the installation's own things is looked at as in `sandbox_create`.

use std::sync::Arc;

use ringfence_engine::api::{Answering, Chunks, ProgressSender};
use ringfence_model::{
    Operation, Project,
    api::{
        Actor, AgentAnswer, AgentSpawnRequest, CreateRequest, JobPruneAnswer, JobPruneRequest, PipelineAnswer,
        PipelineCancelRequest, PipelineListAnswer, PipelineListRequest, PipelineOutputAnswer, PipelineOutputRequest,
        PipelineRequest, PipelineResumeRequest, PipelineStatusRequest, SwarmAnswer, SwarmDestroyAnswer,
        SwarmInitRequest, SwarmListAnswer, SwarmListRequest, SwarmRequest, SwarmScaleRequest, SweepAnswer,
        SweepListAnswer, SweepListRequest, SweepOneRequest, SweepRequest, SweepStatusRequest, SweepTableRequest,
        TaskAnswer, TaskCancelRequest, TaskRequest, TaskStatusRequest,
    },
};
use ringfence_research::api::{Jobs, Pipelines, Research, SharedResearch, Swarms, Sweeps};

use super::Scoped;

macro_rules! job {
    ($method:ident $operation:ident $request:ty => $answer:ty) => {
        fn $method(&self, _: Actor, request: $request) -> Answering<'_, $answer> {
            Box::pin(async move {
                self.check(Operation::$operation)?;
                self.research.$method(self.actor(), request).await
            })
        }
    };
    ($method:ident $operation:ident $request:ty => $answer:ty, progress) => {
        fn $method(&self, _: Actor, request: $request, progress: Option<ProgressSender>) -> Answering<'_, $answer> {
            Box::pin(async move {
                self.check(Operation::$operation)?;
                self.research.$method(self.actor(), request, progress).await
            })
        }
    };
}

impl Sweeps for Scoped {
    job!(sweep Sweep SweepRequest => SweepAnswer, progress);
    job!(sweep_status SweepStatus SweepStatusRequest => SweepAnswer, progress);
    job!(sweep_list SweepList SweepListRequest => SweepListAnswer);
    job!(sweep_cancel SweepCancel SweepOneRequest => SweepAnswer);
    job!(sweep_table SweepTable SweepTableRequest => Chunks);
    job!(sweep_report SweepReport SweepOneRequest => Chunks);
}

impl Pipelines for Scoped {
    fn pipeline(
        &self,
        _: Actor,
        request: PipelineRequest,
        progress: Option<ProgressSender>,
    ) -> Answering<'_, PipelineAnswer> {
        Box::pin(async move {
            self.check(Operation::Pipeline)?;
            for stage in &request.stages {
                self.may_be_made(&stage.template, stage.trading.as_ref()).await?;
            }
            self.research.pipeline(self.actor(), request, progress).await
        })
    }

    job!(pipeline_status PipelineStatus PipelineStatusRequest => PipelineAnswer);
    job!(pipeline_list PipelineList PipelineListRequest => PipelineListAnswer);
    job!(pipeline_resume PipelineResume PipelineResumeRequest => PipelineAnswer, progress);
    job!(pipeline_cancel PipelineCancel PipelineCancelRequest => PipelineAnswer);
    job!(pipeline_output PipelineOutput PipelineOutputRequest => PipelineOutputAnswer);
}

impl Swarms for Scoped {
    job!(swarm_init SwarmInit SwarmInitRequest => SwarmAnswer);
    job!(agent_spawn AgentSpawn AgentSpawnRequest => AgentAnswer);
    job!(swarm_status SwarmStatus SwarmRequest => SwarmAnswer);
    job!(swarm_list SwarmList SwarmListRequest => SwarmListAnswer);
    job!(swarm_scale SwarmScale SwarmScaleRequest => SwarmAnswer);
    job!(swarm_destroy SwarmDestroy SwarmRequest => SwarmDestroyAnswer);
    job!(task_orchestrate TaskOrchestrate TaskRequest => TaskAnswer, progress);
    job!(task_status TaskStatus TaskStatusRequest => TaskAnswer);
    job!(task_cancel TaskCancel TaskCancelRequest => TaskAnswer);

    fn swarm_link(&self, request: CreateRequest) -> Answering<'_, CreateRequest> {
        Box::pin(async move {
            self.check(Operation::Create)?;
            self.research.swarm_link(request).await
        })
    }
}

impl Jobs for Scoped {
    job!(sweep_delete SweepDelete SweepOneRequest => JobPruneAnswer);
    job!(job_prune JobPrune JobPruneRequest => JobPruneAnswer);
}

impl Research for Scoped {
    // It is narrowed to its caller already, and nothing makes it wider again.
    fn of(self: Arc<Self>, _: Option<Project>) -> SharedResearch {
        self
    }
}
