//! How a task is worked: steps begin when what they need is there, within the places that there are.

use std::sync::Arc;

use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{AgentResult, StepState, TaskState, TaskStrategy, Topology, UploadRequest};
use ringfence_store::{Actor, AuditEntry};
use serde_json::json;

use super::{Live, decided, record};
use crate::{
    Desk,
    swarm::{
        bars::Bars,
        decide::{Presence, is_settled},
        handler::{Finding, Handler, ask_code},
        now_ms,
        plan::Kind,
        run::{Ask, Ran, Seat, end, run},
    },
};

impl Desk {
    /// Where handlers find bars.
    pub(crate) fn bars(&self) -> Bars {
        Bars { market: self.inner.settings.market.clone() }
    }
}

/// What became of a step.
enum Outcome {
    Found(Box<Finding>, f64),
    Failed(String, Option<f64>),
    Cancelled,
    Interrupted,
}

/// Works a task to its end, beside whatever else goes on.
pub(crate) fn spawn(desk: &Desk, live: Arc<Live>) {
    desk.inner.floor.tasks().insert(live.id.clone(), Arc::clone(&live));
    let desk = desk.clone();
    tokio::spawn(async move {
        let (worker, task) = (desk.clone(), Arc::clone(&live));
        if let Err(error) = tokio::spawn(async move { work(&worker, &task).await }).await {
            tracing::error!(%error, task = %live.id, "a task panicked; it goes on after the next start");
        }
        desk.inner.floor.tasks().remove(&live.id);
        // Whoever waits for one that could not be brought to its end is told how far it came.
        live.change(|state| state.ended_at_ms.get_or_insert_with(now_ms).to_owned());
    });
}

fn at_once(live: &Live) -> usize {
    match live.asked.strategy {
        TaskStrategy::Sequential => 1,
        TaskStrategy::Parallel => live.asked.request.parallelism() as usize,
        TaskStrategy::Adaptive => {
            let processors = std::thread::available_parallelism().map_or(1, usize::from);
            processors.min(live.asked.request.parallelism() as usize)
        }
    }
}

/// Steps that wait and have what they need.
fn ready(live: &Live) -> Vec<usize> {
    let state = live.state();
    let ended = |number: &usize| state.steps[*number].has_ended();
    // A tree is worked from its leaves, which have the largest numbers.
    let order: Vec<usize> = match live.asked.topology {
        Topology::Hierarchical => (0..live.plan.len()).rev().collect(),
        _ => (0..live.plan.len()).collect(),
    };
    let is_ready = |number: &usize| {
        let step = &live.plan[*number];
        state.steps[*number].view.status == StepState::Pending && step.receives.iter().chain(&step.after).all(ended)
    };
    order.into_iter().filter(is_ready).collect()
}

async fn work(desk: &Desk, live: &Arc<Live>) {
    let mut running: FuturesUnordered<BoxFuture<'static, (usize, Outcome)>> = FuturesUnordered::new();
    loop {
        if *live.cancel.borrow() {
            live.change(|state| leave(&mut state.steps, StepState::Cancelled));
        }
        for number in ready(live) {
            if running.len() >= at_once(live) {
                break;
            }
            live.change(|state| state.steps[number].view.status = StepState::Running);
            let (desk, live) = (desk.clone(), Arc::clone(live));
            running.push(Box::pin(async move { (number, step(&desk, &live, number).await) }));
        }
        let Some((number, outcome)) = running.next().await else { break };
        if matches!(outcome, Outcome::Interrupted) {
            // Nothing more is written: after the next start this task goes on from here.
            return;
        }
        if !note(desk, live, number, outcome).await {
            return;
        }
        if may_stop(live) {
            live.change(|state| leave(&mut state.steps, StepState::Skipped));
        }
    }
    finish(desk, live).await;
}

/// Steps that have not begun never will.
fn leave(steps: &mut [record::StepRecord], status: StepState) {
    for step in steps.iter_mut().filter(|step| step.view.status == StepState::Pending) {
        step.view.status = status;
    }
}

/// Whether nobody who was not asked yet could change the decision.
fn may_stop(live: &Live) -> bool {
    if live.asked.strategy != TaskStrategy::Adaptive
        || live.asked.topology != Topology::Mesh
        || live.asked.request.rounds() > 1
    {
        return false;
    }
    let state = live.state();
    let ballots = record::ballots(&live.asked, &live.plan, &state.steps);
    let left = ballots.iter().filter(|ballot| ballot.presence == Presence::Skipped).count();
    is_settled(live.asked.request.consensus.unwrap_or_default(), &ballots, u32::try_from(left).unwrap_or(u32::MAX))
}

/// Writes what became of a step; `false` when it could not be written, and the task stands until the next start.
async fn note(desk: &Desk, live: &Live, number: usize, outcome: Outcome) -> bool {
    live.change(|state| {
        let step = &mut state.steps[number];
        match outcome {
            Outcome::Found(finding, seconds) => {
                let Finding { vote, weight, result, output, curve } = *finding;
                let view = &mut step.view;
                (view.status, view.execution_time) = (StepState::Completed, Some(seconds));
                (view.vote, view.weight, view.result, view.output) = (vote, weight, result, output);
                step.curve = curve;
            }
            Outcome::Failed(why, seconds) => {
                step.tries += 1;
                let again = live.asked.strategy == TaskStrategy::Adaptive && step.tries < 2 && !*live.cancel.borrow();
                step.view.status = if again { StepState::Pending } else { StepState::Failed };
                (step.view.reason, step.view.execution_time) = (Some(why), seconds);
            }
            Outcome::Cancelled | Outcome::Interrupted => step.view.status = StepState::Cancelled,
        }
        if step.view.status == StepState::Completed {
            step.view.reason = None;
        }
    });
    let (id, part) = (live.id.clone(), live.part(number));
    match desk.inner.store.write(move |tx| tx.put_job_parts(&id, &[part])).await {
        Ok(()) => true,
        Err(error) => {
            tracing::error!(%error, task = %live.id, "a step of a task could not be written");
            false
        }
    }
}

/// The results that a step is handed.
fn heard(live: &Live, number: usize) -> Vec<AgentResult> {
    let state = live.state();
    live.plan[number].receives.iter().map(|other| state.steps[*other].view.clone()).collect()
}

async fn step(desk: &Desk, live: &Arc<Live>, number: usize) -> Outcome {
    let mut cancelled = live.cancel.subscribe();
    let priority = live.asked.request.priority.unwrap_or_default();
    let _place = tokio::select! {
        biased;
        () = end(&mut cancelled) => return Outcome::Cancelled,
        place = desk.inner.floor.places.take(priority) => place,
    };
    let (handler, input) = {
        let state = live.state();
        (state.steps[number].handler, state.steps[number].input.clone())
    };
    let received = heard(live, number);
    live.change(|state| {
        state.steps[number].view.received_from = received.iter().map(|other| other.agent.clone()).collect();
    });
    let ask = match ask(desk, live, number, handler, &received).await {
        Ok(ask) => ask,
        Err(why) => return Outcome::Failed(why, None),
    };
    let place = |sandbox, execution| {
        live.change(|state| {
            let view = &mut state.steps[number].view;
            (view.sandbox_id, view.execution_id) = (Some(sandbox), Some(execution));
        });
    };
    let run = match run(desk, &ask, cancelled, place).await {
        Ran::Ended(run) => run,
        Ran::Refused(why) => return Outcome::Failed(why, None),
        Ran::Cancelled => return Outcome::Cancelled,
        Ran::Interrupted => return Outcome::Interrupted,
    };
    let (seconds, bars) = (run.execution_time, desk.bars());
    let reading = tokio::task::spawn_blocking(move || handler.read(&input, &run, &bars));
    match reading.await {
        Ok(Ok(finding)) => Outcome::Found(Box::new(finding), seconds),
        Ok(Err(why)) => Outcome::Failed(why, Some(seconds)),
        Err(error) => {
            tracing::error!(%error, task = %live.id, "reading a result failed");
            Outcome::Failed("its result could not be read; the daemon's log says why".to_owned(), Some(seconds))
        }
    }
}

async fn ask(
    desk: &Desk,
    live: &Live,
    number: usize,
    handler: Handler,
    received: &[AgentResult],
) -> Result<Ask, String> {
    let (step, asked) = (&live.plan[number], &live.asked);
    let agent = asked.agents[step.agent].clone();
    let record = live.state().steps[number].clone();
    let (code, language, working_dir, stdin) = match (&asked.request.code, handler) {
        (Some(code), Handler::Code) => {
            let me = json!({"id": agent.id, "name": agent.name, "type": agent.kind, "role": record.view.role});
            let round = if step.kind == Kind::Work { 1 } else { 2 };
            let heard: Vec<&AgentResult> = received.iter().collect();
            let stdin = ask_code(&asked.request.task, &me, round, &record.input, &heard);
            (code.clone(), asked.request.language.clone(), None, stdin)
        }
        _ => {
            let (bars, input) = (desk.bars(), record.input);
            let reading = tokio::task::spawn_blocking(move || handler.program(&input, &bars));
            let (code, stdin) = reading.await.map_err(|_| "the bars could not be read".to_owned())??;
            // Modules that somebody left in the agent's home must not take the place of Python's own.
            (code.to_owned(), Some("python".to_owned()), Some("/".to_owned()), stdin)
        }
    };
    let seat = Seat {
        actor: live.actor,
        project: live.project.clone(),
        swarm: asked.swarm.clone(),
        agent,
        timeout_s: asked.request.timeout_s(),
    };
    Ok(Ask { seat, code, language, working_dir, stdin })
}

/// In a mesh every agent sees all results: they are put into each sandbox that took part, as a file.
async fn share(desk: &Desk, live: &Live) {
    if live.asked.topology != Topology::Mesh {
        return;
    }
    let answer = live.answer();
    let results: Vec<_> = answer
        .results
        .iter()
        .map(|r| json!({"agent": r.agent, "step": r.step, "status": r.status, "vote": r.vote, "weight": r.weight, "result": r.result}))
        .collect();
    let content = json!({"task_id": live.id, "task": answer.task, "results": results}).to_string();
    let mut sandboxes: Vec<_> = answer.results.iter().filter_map(|result| result.sandbox_id.clone()).collect();
    sandboxes.sort();
    sandboxes.dedup();
    let shared = futures::stream::iter(sandboxes).for_each_concurrent(8, |sandbox| {
        let request = UploadRequest {
            sandbox_id: sandbox.to_string(),
            file_path: format!("/home/user/swarm/{}.json", live.id),
            content: Some(content.clone()),
            ..UploadRequest::default()
        };
        async move {
            if let Err(error) = desk.inner.engine.upload(live.actor, request).await {
                tracing::debug!(error = %error.message, %sandbox, "an agent's sandbox did not take the results");
            }
        }
    });
    shared.await;
}

async fn finish(desk: &Desk, live: &Live) {
    let was_cancelled = *live.cancel.borrow();
    if !was_cancelled {
        share(desk, live).await;
    }
    let aggregate = decided(live);
    // The combined figures are made of them, and nobody asks for them again.
    live.change(|state| state.steps.iter_mut().for_each(|step| step.curve = None));
    let status = match aggregate.quorum.answered {
        _ if was_cancelled => TaskState::Cancelled,
        0 => TaskState::Failed,
        _ => TaskState::Completed,
    };
    let now = now_ms();
    let entry = AuditEntry::new(now, Actor::System, "task.end").detail(json!({
        "task": live.id, "status": status, "decision": aggregate.decision, "decided_by": aggregate.decided_by,
        "asked": aggregate.quorum.asked, "answered": aggregate.quorum.answered, "absent": aggregate.quorum.absent,
    }));
    // Written before it is told: what a client has read of an end outlasts a crash.
    let mut row = live.row();
    row.status = status.as_str().to_owned();
    row.ended_at_ms = Some(now);
    let end =
        record::End { aggregate: (!was_cancelled).then_some(aggregate), cancelled: live.state().end.cancelled.clone() };
    row.state = serde_json::to_value(&end).expect("an end is plain data");
    let parts: Vec<_> = (0..live.plan.len()).map(|number| live.part(number)).collect();
    let written = desk.inner.store.write_with_audit(entry, move |tx| {
        tx.put_job(&row)?;
        tx.put_job_parts(&row.id, &parts)
    });
    match written.await {
        Ok(((), receipt)) => drop(receipt),
        Err(error) => {
            tracing::error!(%error, task = %live.id, "the end of a task could not be written");
            return;
        }
    }
    live.change(|state| {
        state.end = end;
        state.status = status;
        state.ended_at_ms = Some(now);
    });
}
