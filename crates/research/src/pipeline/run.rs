//! A pipeline from where it stands to its end: what [`plan`](super::plan) says is done, and written down before and after.

use std::{collections::HashMap, sync::Arc, time::Duration};

use ringfence_model::api::{self, PipelineHanded, StageKind, StageStatus};
use ringfence_store::{Actor, AuditEntry, StoreError};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;

use super::{
    live::{Live, now_ms},
    plan::{self, Step},
    stage::{Attempt, Failed, Outcome},
};
use crate::desk::Desk;

/// Bytes of a path in an audit entry, which is bounded; its hash is there in full.
const AUDITED_PATH_BYTES: usize = 80;
/// Characters of a reason in an audit entry.
const AUDITED_REASON_CHARS: usize = 400;

/// Runs a pipeline to its end.
pub(crate) async fn run(desk: Desk, live: Arc<Live>) {
    match drive(&desk, &live).await {
        Ok(()) => {}
        Err(_) if desk.inner.engine.is_ending() => {}
        Err(error) => {
            tracing::error!(pipeline = %live.id, %error, "a pipeline stands still until the daemon starts anew");
        }
    }
    desk.inner.pipelines.leave(&live);
}

async fn drive(desk: &Desk, live: &Arc<Live>) -> Result<(), StoreError> {
    let mut attempts: JoinSet<Outcome> = JoinSet::new();
    let mut numbers = HashMap::new();
    let mut cancelled = live.cancelled.subscribe();
    loop {
        match live.step() {
            Step::Begin(stages) => {
                for number in stages {
                    match desk.begin_attempt(live, number).await? {
                        Ok(attempt) => {
                            numbers.insert(attempts.spawn(attempt.make()).id(), number);
                        }
                        Err(failed) => desk.conclude(live, number, Outcome::Failed(failed)).await?,
                    }
                }
            }
            Step::Wait(until) => {
                let due = async {
                    match until {
                        Some(at) => tokio::time::sleep(Duration::from_millis(at.saturating_sub(now_ms()).max(1))).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    Some(ended) = attempts.join_next_with_id() => {
                        let (id, outcome) = match ended {
                            Ok(ended) => ended,
                            Err(error) => {
                                tracing::error!(pipeline = %live.id, %error, "a stage panicked");
                                let failed = Failed::new("it failed inside the daemon; its log says where", false);
                                (error.id(), Outcome::Failed(failed))
                            }
                        };
                        let Some(number) = numbers.remove(&id) else { continue };
                        match outcome {
                            // The next start finds it as one that runs.
                            Outcome::CutOff => return Ok(()),
                            Outcome::Store(error) => return Err(error),
                            outcome => desk.conclude(live, number, outcome).await?,
                        }
                    }
                    () = due => {}
                    Ok(()) = cancelled.changed() => {}
                }
            }
            Step::End(status) => return desk.end(live, status).await,
        }
    }
}

impl Desk {
    /// Writes down that a stage is begun, with the hash of everything that it takes over.
    async fn begin_attempt(&self, live: &Arc<Live>, number: usize) -> Result<Result<Attempt, Failed>, StoreError> {
        let (attempt, inputs, asked, actor, name) = {
            let pipeline = live.pipeline();
            let attempt = pipeline.stages[number].record.attempts + 1;
            let inputs = match pipeline.inputs_of(number) {
                Ok(inputs) => inputs,
                Err(why) => return Ok(Err(Failed::new(why, false))),
            };
            let asked = pipeline.request.stages[number].clone();
            (attempt, inputs, asked, pipeline.actor, pipeline.sandbox_name(number, attempt))
        };
        let mut detail = json!({
            "pipeline": live.id.as_str(), "stage": asked.name, "attempt": attempt, "sandbox_name": name,
            "code_sha256": hex::encode(Sha256::digest(&asked.code)),
            "inputs": inputs.iter().map(audited_input).collect::<Vec<_>>(),
        });
        if asked.kind == StageKind::Trade {
            detail["mode"] = Value::from(asked.mode.clone());
        }
        let now = now_ms();
        let entry = AuditEntry::new(now, actor, "pipeline.stage.start").detail(detail);
        let handed = inputs.clone();
        self.change(live, number, Some(entry), move |stage| {
            stage.status = StageStatus::Running;
            let record = &mut stage.record;
            record.attempts = attempt;
            record.error = None;
            record.started_at_ms = Some(now);
            record.ended_at_ms = None;
            record.inputs = handed;
            record.outputs = Vec::new();
            (record.sandbox, record.execution, record.trading) = (None, None, None);
        })
        .await?;
        let actor = match actor {
            Actor::Operator => api::Actor::Operator,
            Actor::Agent | Actor::System => api::Actor::Agent,
        };
        Ok(Ok(Attempt { desk: self.clone(), live: live.clone(), number, actor, asked, name, inputs }))
    }

    /// Writes down how an attempt ended, with the hash of everything that it hands on.
    async fn conclude(&self, live: &Live, number: usize, outcome: Outcome) -> Result<(), StoreError> {
        let _writing = live.writing.lock().await;
        let now = now_ms();
        let (asked, mut stage, retries) = {
            let pipeline = live.pipeline();
            let asked = &pipeline.request.stages[number];
            (asked.name.clone(), pipeline.stages[number].clone(), asked.retries.unwrap_or(0))
        };
        let record = &mut stage.record;
        record.ended_at_ms = Some(now);
        let mut reason = None;
        stage.status = match outcome {
            Outcome::Done { outputs, trading } => {
                record.outputs = outputs;
                record.trading = trading.or(record.trading.take());
                record.failures = 0;
                StageStatus::Completed
            }
            Outcome::Failed(failed) => {
                let said =
                    if failed.said.is_empty() { String::new() } else { format!("; it said last: {}", failed.said) };
                let mut error = format!("{}{said}", failed.why);
                record.trading = failed.trading.or(record.trading.take());
                record.failures += 1;
                reason = Some(failed.why);
                let again = failed.again && record.failures <= retries && !live.is_cancelled();
                if again {
                    let pause_ms = plan::pause_ms(record.failures);
                    record.not_before_ms = now + pause_ms;
                    let left = retries - record.failures;
                    error = format!("{error} (it is run again after {} s; {left} more after that)", pause_ms / 1000);
                }
                record.error = Some(error);
                if again { StageStatus::Waiting } else { StageStatus::Failed }
            }
            Outcome::Cancelled => {
                record.error = Some("it was ended, because the pipeline was cancelled".to_owned());
                StageStatus::Cancelled
            }
            Outcome::CutOff | Outcome::Store(_) => return Ok(()),
        };
        let mut detail = json!({
            "pipeline": live.id.as_str(), "stage": asked, "attempt": record.attempts, "status": stage.status.as_str(),
            "outputs": record.outputs.iter().map(|o| {
                json!({"path": cut(&o.path), "bytes": o.size, "sha256": o.sha256})
            }).collect::<Vec<_>>(),
        });
        if let Some(why) = reason {
            detail["reason"] = Value::from(why.chars().take(AUDITED_REASON_CHARS).collect::<String>());
        }
        if let Some(trading) = &record.trading {
            detail["mode"] = Value::from(trading.mode.clone());
        }
        let mut entry = AuditEntry::new(now, Actor::System, "pipeline.stage.end").detail(detail);
        if let Some(sandbox) = &record.sandbox {
            entry = entry.sandbox(sandbox);
        }
        if let Some(execution) = &record.execution {
            entry = entry.execution(&execution.execution_id);
        }
        if stage.status == StageStatus::Failed {
            let mut pipeline = live.pipeline();
            if pipeline.state.error.is_none() {
                let error = stage.record.error.clone().unwrap_or_default();
                pipeline.state.error = Some(format!("stage `{asked}` failed: {error}"));
            }
        }
        let job = live.pipeline().row(now);
        let row = stage.row(number, now);
        live.pipeline().stages[number] = stage;
        self.write(Some(entry), live.id.clone(), Some(job), vec![row]).await?;
        live.changed.send_modify(|count| *count += 1);
        Ok(())
    }
}

fn audited_input(input: &PipelineHanded) -> Value {
    json!({
        "from": input.from, "path": cut(&input.path), "to": cut(&input.to), "bytes": input.size, "sha256": input.sha256,
    })
}

fn cut(path: &str) -> &str {
    let mut end = path.len().min(AUDITED_PATH_BYTES);
    while !path.is_char_boundary(end) {
        end -= 1;
    }
    &path[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest entry that a request can lead to is within what the chain takes: 16 KiB.
    #[test]
    fn the_entry_of_the_largest_stage_fits() {
        let input = PipelineHanded {
            from: "f".repeat(api::STAGE_NAME_MAX),
            path: "\"".repeat(api::HANDED_PATH_MAX),
            to: "\\".repeat(api::HANDED_PATH_MAX),
            size: u64::MAX,
            sha256: "a".repeat(64),
        };
        let inputs = vec![audited_input(&input); api::HANDED_MAX];
        let detail = json!({
            "pipeline": "pipeline_0123456789abcdef", "stage": "s".repeat(api::STAGE_NAME_MAX), "attempt": u32::MAX,
            "sandbox_name": "x".repeat(80), "code_sha256": "a".repeat(64), "inputs": inputs, "mode": "simulated",
        });
        let bytes = detail.to_string().len();
        assert!(bytes <= 16 << 10, "{bytes}");
    }
}
