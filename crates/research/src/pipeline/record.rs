//! A pipeline in memory, and as rows: what was asked for, how its stages stand, and what is written of each change.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use ringfence_model::{
    JobId, Project, SandboxId,
    api::{
        EnvVars, PipelineArtefact, PipelineExecution, PipelineHanded, PipelineRequest, PipelineStatus, PipelineTrading,
        StageStatus,
    },
};
use ringfence_store::{Actor, JobPartRow, JobRow, SecretValue, Store, StoreError, View};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What jobs of ours are.
pub(crate) const KIND: &str = "pipeline";

/// A request as it is stored: the values of environments apart, and sealed.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct StoredRequest {
    request: PipelineRequest,
    /// Stage → the JSON of its environment, sealed, in base64.
    #[serde(default)]
    sealed: BTreeMap<String, String>,
}

/// What is known of a stage beside its status: the content of its row.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct StageRecord {
    /// How often it was begun.
    pub(crate) attempts: u32,
    /// How many of those the end of the daemon cut off.
    #[serde(default)]
    pub(crate) cut_off: u32,
    /// Failures since it was asked for, which decide about another attempt.
    #[serde(default)]
    pub(crate) failures: u32,
    /// While it waits: not to be begun before, in milliseconds since the Unix epoch.
    #[serde(default)]
    pub(crate) not_before_ms: u64,
    pub(crate) error: Option<String>,
    pub(crate) started_at_ms: Option<u64>,
    pub(crate) ended_at_ms: Option<u64>,
    #[serde(default)]
    pub(crate) inputs: Vec<PipelineHanded>,
    #[serde(default)]
    pub(crate) outputs: Vec<PipelineArtefact>,
    pub(crate) sandbox: Option<SandboxId>,
    pub(crate) execution: Option<PipelineExecution>,
    pub(crate) trading: Option<PipelineTrading>,
}

/// What is known of a pipeline beside its stages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PipelineState {
    /// Somebody has ended it.
    #[serde(default)]
    pub(crate) cancelled: bool,
    /// What went wrong.
    pub(crate) error: Option<String>,
}

/// A stage as it stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Stage {
    pub(crate) status: StageStatus,
    pub(crate) record: StageRecord,
}

impl Stage {
    pub(crate) fn row(&self, number: usize, now_ms: u64) -> JobPartRow {
        JobPartRow {
            number: number as u64,
            status: self.status.as_str().to_owned(),
            body: serde_json::to_value(&self.record).unwrap_or_default(),
            changed_at_ms: now_ms,
        }
    }
}

/// A pipeline as it stands.
#[derive(Debug, Clone)]
pub(crate) struct Pipeline {
    pub(crate) id: JobId,
    pub(crate) actor: Actor,
    /// Whose it is.
    pub(crate) project: Project,
    /// Without the values of environments.
    pub(crate) request: PipelineRequest,
    /// The request as its row has it.
    stored: Value,
    pub(crate) status: PipelineStatus,
    pub(crate) state: PipelineState,
    pub(crate) created_at_ms: u64,
    pub(crate) ended_at_ms: Option<u64>,
    pub(crate) stages: Vec<Stage>,
}

impl Pipeline {
    /// A new one, on whose behalf and of whose project, before anything of it was begun.
    pub(crate) fn new(
        id: JobId,
        (actor, project): (Actor, Project),
        mut request: PipelineRequest,
        view: &View<'_>,
        now_ms: u64,
    ) -> Self {
        let mut sealed = BTreeMap::new();
        for stage in &mut request.stages {
            let vars = std::mem::take(&mut stage.env_vars);
            if !vars.is_empty() {
                let json = SecretValue::new(serde_json::to_vec(&vars).unwrap_or_default());
                sealed.insert(stage.name.clone(), BASE64.encode(view.seal_for_job(&id, &stage.name, &json)));
            }
        }
        request.wait = None;
        let stages = vec![Stage::default(); request.stages.len()];
        let stored = StoredRequest { request: request.clone(), sealed };
        Self {
            id,
            actor,
            project,
            request,
            stored: serde_json::to_value(stored).unwrap_or_default(),
            status: PipelineStatus::Running,
            state: PipelineState::default(),
            created_at_ms: now_ms,
            ended_at_ms: None,
            stages,
        }
    }

    /// As its rows have it.
    ///
    /// # Errors
    /// The database refuses, or holds something unreadable.
    pub(crate) fn read(view: &View<'_>, row: JobRow) -> Result<Self, StoreError> {
        let unreadable = |column: &'static str| StoreError::Unreadable { column, row: format!("job {}", row.id) };
        let stored: StoredRequest = serde_json::from_value(row.request.clone()).map_err(|_| unreadable("request"))?;
        let state = serde_json::from_value(row.state.clone()).map_err(|_| unreadable("state"))?;
        let mut stages = vec![Stage::default(); stored.request.stages.len()];
        for part in view.job_parts(&row.id, 0)? {
            let place = usize::try_from(part.number).ok().and_then(|number| stages.get_mut(number));
            let status = StageStatus::parse(&part.status).ok_or_else(|| unreadable("status of a stage"))?;
            let record = serde_json::from_value(part.body).map_err(|_| unreadable("body of a stage"))?;
            *place.ok_or_else(|| unreadable("number of a stage"))? = Stage { status, record };
        }
        Ok(Self {
            status: PipelineStatus::parse(&row.status).ok_or_else(|| unreadable("status"))?,
            id: row.id,
            actor: row.actor,
            project: row.project,
            request: stored.request,
            stored: row.request,
            state,
            created_at_ms: row.created_at_ms,
            ended_at_ms: row.ended_at_ms,
            stages,
        })
    }

    pub(crate) fn row(&self, now_ms: u64) -> JobRow {
        JobRow {
            id: self.id.clone(),
            kind: KIND.to_owned(),
            name: self.request.name.clone(),
            actor: self.actor,
            project: self.project.clone(),
            status: self.status.as_str().to_owned(),
            request: self.stored.clone(),
            state: serde_json::to_value(&self.state).unwrap_or_default(),
            created_at_ms: self.created_at_ms,
            changed_at_ms: now_ms,
            ended_at_ms: self.ended_at_ms,
        }
    }

    /// The name of the sandbox of a stage's attempt: found again by whoever clears up after a crash.
    pub(crate) fn sandbox_name(&self, stage: usize, attempt: u32) -> String {
        format!("{}.{}.{attempt}", self.id, self.request.stages[stage].name)
    }

    /// What a stage takes over, from how the stages before it stand; the first that is missing otherwise.
    pub(crate) fn inputs_of(&self, stage: usize) -> Result<Vec<PipelineHanded>, String> {
        let handed = self.request.stages[stage].inputs.iter().map(|input| {
            let from = self.request.stages.iter().position(|other| other.name == input.from);
            let made = from.and_then(|from| self.stages[from].record.outputs.iter().find(|o| o.path == input.path));
            let made = made.ok_or_else(|| {
                format!("`{}` of stage `{}` is not there; resume from that stage", input.path, input.from)
            })?;
            Ok(PipelineHanded {
                from: input.from.clone(),
                path: input.path.clone(),
                to: input.to().to_owned(),
                size: made.size,
                sha256: made.sha256.clone(),
            })
        });
        handed.collect()
    }

    /// The values of a stage's environment, opened.
    ///
    /// # Errors
    /// They were tampered with, or the database refuses.
    pub(crate) async fn environment_of(&self, store: &Store, stage: usize) -> Result<EnvVars, StoreError> {
        let name = self.request.stages[stage].name.clone();
        let Some(sealed) = self.stored.get("sealed").and_then(|all| all.get(&name)).and_then(Value::as_str) else {
            return Ok(EnvVars::default());
        };
        let unreadable = || StoreError::Unreadable { column: "request", row: format!("job {}", self.id) };
        let sealed = BASE64.decode(sealed).map_err(|_| unreadable())?;
        let (id, of) = (self.id.clone(), name);
        let opened = store.read(move |view| view.open_for_job(&id, &of, &sealed)).await?;
        serde_json::from_slice(opened.expose()).map_err(|_| unreadable())
    }
}
