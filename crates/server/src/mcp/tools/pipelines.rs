//! Pipelines.

use ringfence_model::api::{
    PipelineCancelRequest, PipelineOutputRequest, PipelineRequest, PipelineResumeRequest, PipelineStatusRequest,
};

use super::{AGENT, Effect, Entry, entry};

pub(super) fn table() -> Vec<Entry> {
    vec![
        entry(
            "pipeline_run",
            "Run a pipeline",
            Effect::AddsOpen,
            "Runs stages in order, each in a sandbox of its own that is deleted afterwards: `inputs` of a stage are files that \
             another one names in `outputs`, handed on by their SHA-256 and kept. Stages that do not depend on each other run side by \
             side. A stage that fails, or does not make what it has in `outputs`, stops what comes after it; `error` says which one, \
             and why. A stage that sends orders has kind=trade and the mode that it is for; it is run once. Waits 50 s at most: a \
             longer pipeline is answered with status=running and read with pipeline_status.",
            |services, request: PipelineRequest, progress| {
                Box::pin(async move { services.research.pipeline(AGENT, request, progress).await })
            },
        ),
        entry(
            "pipeline_status",
            "Read a pipeline",
            Effect::Reads,
            "Answers how a pipeline and each of its stages stand: status, attempts, the program's run with the end of its output, the \
             SHA-256 of every file that was handed on, where orders went. With `wait` it waits for the end.",
            |services, request: PipelineStatusRequest, _| {
                Box::pin(async move { services.research.pipeline_status(AGENT, request).await })
            },
        ),
        entry(
            "pipeline_output",
            "Read a file of a pipeline",
            Effect::Reads,
            "Answers a file that a stage has handed on, at most 32 MiB: as text when it is UTF-8, else in base64.",
            |services, request: PipelineOutputRequest, _| {
                Box::pin(async move { services.research.pipeline_output(AGENT, request).await })
            },
        ),
        entry(
            "pipeline_resume",
            "Run stages of a pipeline again",
            Effect::AddsOpen,
            "Runs an ended pipeline on: what has not ended well, or with `from` that stage and all that depend on it, with the inputs \
             that are stored. A trade stage among them sends its orders again.",
            |services, request: PipelineResumeRequest, progress| {
                Box::pin(async move { services.research.pipeline_resume(AGENT, request, progress).await })
            },
        ),
        entry(
            "pipeline_cancel",
            "Cancel a pipeline",
            Effect::ChangesOnce,
            "Ends a pipeline: programs that run are ended, stages that wait are never begun. One that has ended stays as it is.",
            |services, request: PipelineCancelRequest, _| {
                Box::pin(async move { services.research.pipeline_cancel(AGENT, request).await })
            },
        ),
    ]
}
