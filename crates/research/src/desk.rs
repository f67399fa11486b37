//! The desk: whoever runs sweeps, pipelines and swarms in this process.

use std::{path::PathBuf, sync::Arc};

use ringfence_engine::Engine;
use ringfence_model::Project;
use ringfence_store::{JobRow, Store};

use crate::{pipeline, swarm, sweep};

/// Where the desk finds and keeps things.
#[derive(Debug, Clone)]
pub struct Settings {
    /// A directory of its own, for artefacts and reports; it is made where it is missing.
    pub dir: PathBuf,
    /// The directory of the imported bars (`ringfence_market::Library`), which may not exist.
    pub market: PathBuf,
}

/// Runs sweeps, pipelines and swarms. Clones share it.
#[derive(Clone)]
pub struct Desk {
    pub(crate) inner: Arc<Inner>,
    /// Whose jobs there are; all of them without one.
    pub(crate) project: Option<Project>,
}

pub(crate) struct Inner {
    pub(crate) engine: Engine,
    pub(crate) store: Store,
    pub(crate) settings: Settings,
    pub(crate) sweeps: sweep::Running,
    /// Held for reading by a sweep that is begun, from its first file to its row; for writing by whoever removes files.
    pub(crate) sweep_files: tokio::sync::RwLock<()>,
    pub(crate) pipelines: pipeline::Room,
    /// Tasks of swarms that run.
    pub(crate) floor: swarm::Floor,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

impl Desk {
    /// Takes up what an earlier run of the daemon left unfinished.
    ///
    /// # Errors
    /// Its directory cannot be made, or the database cannot be read.
    pub async fn start(engine: Engine, settings: Settings) -> std::io::Result<Self> {
        std::fs::create_dir_all(&settings.dir)?;
        let store = engine.store();
        let pipelines = pipeline::Room::open(&settings.dir)?;
        let inner = Inner {
            engine,
            store,
            settings,
            sweeps: Default::default(),
            sweep_files: Default::default(),
            pipelines,
            floor: swarm::Floor::default(),
        };
        let desk = Self { inner: Arc::new(inner), project: None };
        desk.take_up_sweeps().await;
        desk.take_up_pipelines().await.map_err(std::io::Error::other)?;
        swarm::resume(&desk).await.map_err(std::io::Error::other)?;
        Ok(desk)
    }

    /// The same desk, for the jobs of one project alone, or for all.
    pub(crate) fn for_project(&self, project: Option<Project>) -> Self {
        Self { inner: self.inner.clone(), project }
    }

    /// Whether a job is one of those that there are for whoever stands here.
    pub(crate) fn has(&self, row: &JobRow) -> bool {
        self.is_of(&row.project)
    }

    /// As [`Desk::has`], of a job of that project.
    pub(crate) fn is_of(&self, project: &Project) -> bool {
        self.project.as_ref().is_none_or(|own| own == project)
    }

    /// Whose becomes what is begun here.
    pub(crate) fn makes_for(&self) -> Project {
        self.project.clone().unwrap_or_default()
    }
}
