//! Swarms and their agents as rows: a job of the kind `swarm`, whose parts are the agents.

use ringfence_model::{
    AgentId, ApiError, Code, JobId, Project,
    api::{AgentView, SwarmState, SwarmStrategy, Topology},
};
use ringfence_store::{Actor, JobPartRow, JobRow, SandboxRow, SandboxStatus, StoreError, View};
use serde::{Deserialize, Serialize};

use super::plan::role;

/// The kind of the job.
pub(crate) const SWARM: &str = "swarm";
/// Swarms that may be active at once.
pub(crate) const ACTIVE_MAX: usize = 100;

const PRESENT: &str = "present";
const REMOVED: &str = "removed";

/// An agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Agent {
    pub(crate) id: AgentId,
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
}

/// What was asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Asked {
    topology: Topology,
    strategy: SwarmStrategy,
}

/// A swarm.
#[derive(Debug, Clone)]
pub(crate) struct Swarm {
    pub(crate) id: JobId,
    pub(crate) name: String,
    pub(crate) actor: Actor,
    /// Whose it is.
    pub(crate) project: Project,
    pub(crate) topology: Topology,
    pub(crate) strategy: SwarmStrategy,
    /// Those that were not removed, with their numbers among the job's parts.
    pub(crate) agents: Vec<(u64, Agent)>,
    /// Number of the next agent's part.
    next: u64,
    pub(crate) created_at_ms: u64,
    pub(crate) ended_at_ms: Option<u64>,
}

/// Names for an agent without one: the first of `agent-1`, `agent-2`, … that is free.
fn free_name(taken: &[(u64, Agent)]) -> String {
    (1..)
        .map(|n| format!("agent-{n}"))
        .find(|name| taken.iter().all(|(_, agent)| agent.name != *name))
        .expect("numbers do not end")
}

impl Swarm {
    /// One without agents, that is not written yet.
    pub(crate) fn new(
        id: JobId,
        name: Option<String>,
        (actor, project): (Actor, Project),
        topology: Topology,
        strategy: SwarmStrategy,
        now_ms: u64,
    ) -> Self {
        let name = name.unwrap_or_else(|| id.to_string());
        Self {
            id,
            name,
            actor,
            project,
            topology,
            strategy,
            agents: Vec::new(),
            next: 0,
            created_at_ms: now_ms,
            ended_at_ms: None,
        }
    }

    /// Adds an agent, and answers its part.
    ///
    /// # Errors
    /// Its name is taken: a sentence.
    pub(crate) fn add(&mut self, kind: Option<&str>, name: Option<&str>, now_ms: u64) -> Result<JobPartRow, String> {
        let name = name.map_or_else(|| free_name(&self.agents), str::to_owned);
        if self.agents.iter().any(|(_, agent)| agent.name == name) {
            return Err(format!(
                "an agent of the swarm is named `{}` already; choose another name",
                name.escape_debug()
            ));
        }
        let agent = Agent { id: AgentId::from_random(rand::random()), name, kind: kind.unwrap_or("worker").to_owned() };
        let number = self.next;
        self.next += 1;
        let part = part(number, &agent, PRESENT, now_ms);
        self.agents.push((number, agent));
        Ok(part)
    }

    /// Takes away the newest agents beyond `keep`, and answers them and their parts.
    pub(crate) fn cut(&mut self, keep: usize, now_ms: u64) -> (Vec<Agent>, Vec<JobPartRow>) {
        let gone = self.agents.split_off(keep.min(self.agents.len()));
        let parts = gone.iter().map(|(number, agent)| part(*number, agent, REMOVED, now_ms)).collect();
        (gone.into_iter().map(|(_, agent)| agent).collect(), parts)
    }

    /// As it is written.
    pub(crate) fn row(&self, now_ms: u64) -> JobRow {
        let asked = Asked { topology: self.topology, strategy: self.strategy };
        JobRow {
            id: self.id.clone(),
            kind: SWARM.to_owned(),
            name: Some(self.name.clone()),
            actor: self.actor,
            project: self.project.clone(),
            status: self.state().as_str().to_owned(),
            request: serde_json::to_value(asked).expect("words are JSON"),
            state: serde_json::json!({}),
            created_at_ms: self.created_at_ms,
            changed_at_ms: now_ms,
            ended_at_ms: self.ended_at_ms,
        }
    }

    pub(crate) fn state(&self) -> SwarmState {
        if self.ended_at_ms.is_some() { SwarmState::Destroyed } else { SwarmState::Active }
    }

    /// What clients see of its agents. `sandboxes` are the swarm's, oldest first; `is_busy` tells whose program runs.
    pub(crate) fn views(&self, sandboxes: &[SandboxRow], is_busy: impl Fn(&AgentId) -> bool) -> Vec<AgentView> {
        let of = |(place, (_, agent)): (usize, &(u64, Agent))| self.view(place, agent, sandboxes, &is_busy);
        self.agents.iter().enumerate().map(of).collect()
    }

    fn view(
        &self,
        place: usize,
        agent: &Agent,
        sandboxes: &[SandboxRow],
        is_busy: &impl Fn(&AgentId) -> bool,
    ) -> AgentView {
        let own = linked(sandboxes, &agent.id);
        AgentView {
            id: agent.id.clone(),
            name: agent.name.clone(),
            kind: agent.kind.clone(),
            role: role(self.topology, place, self.agents.len()).to_owned(),
            status: if is_busy(&agent.id) { "busy" } else { "idle" }.to_owned(),
            sandbox_id: own.map(|row| row.id.clone()),
            sandbox_status: own.and_then(|row| ringfence_model::api::SandboxStatus::parse(row.status.as_str())),
        }
    }

    /// The swarm of a job.
    fn read(view: &View<'_>, job: JobRow) -> Result<Self, StoreError> {
        let unreadable = |column| StoreError::Unreadable { column, row: format!("job {}", job.id) };
        let asked: Asked = serde_json::from_value(job.request.clone()).map_err(|_| unreadable("request"))?;
        let parts = view.job_parts(&job.id, 0)?;
        let next = parts.last().map_or(0, |part| part.number + 1);
        let agents = parts.into_iter().filter(|part| part.status == PRESENT).map(|part| {
            let agent: Agent = serde_json::from_value(part.body).map_err(|_| unreadable("body"))?;
            Ok((part.number, agent))
        });
        Ok(Self {
            agents: agents.collect::<Result<_, StoreError>>()?,
            name: job.name.unwrap_or_else(|| job.id.to_string()),
            id: job.id,
            actor: job.actor,
            project: job.project,
            topology: asked.topology,
            strategy: asked.strategy,
            next,
            created_at_ms: job.created_at_ms,
            ended_at_ms: job.ended_at_ms,
        })
    }
}

fn part(number: u64, agent: &Agent, status: &str, now_ms: u64) -> JobPartRow {
    let body = serde_json::to_value(agent).expect("an agent is plain data");
    JobPartRow { number, status: status.to_owned(), body, changed_at_ms: now_ms }
}

/// The sandbox of an agent: the newest that lives. `sandboxes` are its swarm's, oldest first.
pub(crate) fn linked<'a>(sandboxes: &'a [SandboxRow], agent: &AgentId) -> Option<&'a SandboxRow> {
    let own = |row: &&SandboxRow| row.agent_id.as_deref() == Some(agent.as_str()) && row.status.is_live();
    sandboxes.iter().rev().find(|row| own(row) && row.status != SandboxStatus::Creating)
}

/// The swarm that is meant, of those of a project or of all: by id, by the name of an active one, or the newest active one.
///
/// # Errors
/// The database.
pub(crate) fn find(
    view: &View<'_>,
    of: Option<&Project>,
    reference: Option<&str>,
) -> Result<Option<Swarm>, StoreError> {
    let active = || view.unended_jobs(SWARM, of);
    let job = match reference {
        None => active()?.pop(),
        Some(reference) => match JobId::parse(reference) {
            Ok(id) => view.job(&id)?.filter(|job| job.kind == SWARM && of.is_none_or(|own| *own == job.project)),
            Err(_) => active()?.into_iter().rev().find(|job| job.name.as_deref() == Some(reference)),
        },
    };
    job.map(|job| Swarm::read(view, job)).transpose()
}

/// Swarms of a project, or all, newest first.
///
/// # Errors
/// The database.
pub(crate) fn list(view: &View<'_>, of: Option<&Project>, limit: u32) -> Result<Vec<Swarm>, StoreError> {
    view.jobs(SWARM, of, limit)?.into_iter().map(|job| Swarm::read(view, job)).collect()
}

/// Active swarms of a project, or all, oldest first.
///
/// # Errors
/// The database.
pub(crate) fn active(view: &View<'_>, of: Option<&Project>) -> Result<Vec<Swarm>, StoreError> {
    view.unended_jobs(SWARM, of)?.into_iter().map(|job| Swarm::read(view, job)).collect()
}

/// What is answered for a swarm that there is not, or not any more.
pub(crate) fn unknown(reference: Option<&str>, was_there: bool) -> ApiError {
    let text = match reference {
        None => "there is no active swarm; make one with `swarm_init`".to_owned(),
        Some(reference) => {
            let shown = reference.chars().take(80).collect::<String>().escape_debug().to_string();
            match was_there {
                true => format!("the swarm `{shown}` is destroyed; make another with `swarm_init`"),
                false => format!("there is no swarm `{shown}`; `swarm_list` shows those that exist"),
            }
        }
    };
    ApiError::new(Code::SwarmNotFound, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_free_ones_are_found() {
        let id = JobId::from_random(SWARM, [1; 16]);
        let mut swarm =
            Swarm::new(id, None, (Actor::Agent, Project::default()), Topology::Mesh, SwarmStrategy::Balanced, 5);
        swarm.add(None, None, 5).expect("added");
        swarm.add(Some("risk"), Some("agent-3"), 5).expect("added");
        swarm.add(None, None, 5).expect("added");
        swarm.add(None, None, 5).expect("added");
        let names: Vec<&str> = swarm.agents.iter().map(|(_, agent)| agent.name.as_str()).collect();
        assert_eq!(names, ["agent-1", "agent-3", "agent-2", "agent-4"]);
        assert!(swarm.add(None, Some("agent-3"), 5).is_err_and(|why| why.contains("agent-3")));
        let (gone, parts) = swarm.cut(1, 6);
        assert_eq!((gone.len(), parts.len(), parts[0].number, parts[0].status.as_str()), (3, 3, 1, REMOVED));
        // A number is never given twice.
        assert_eq!(swarm.add(None, None, 7).expect("added").number, 4);
    }
}
