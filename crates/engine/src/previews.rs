//! Visits from outside to programs that listen in a sandbox: who is let in, where to, and for how long.
//!
//! A visit needs the sandbox's token, unless the operator has made the port public. It is admitted before anything is
//! connected, and what it has opened ends with the sandbox, with the port's being public, or with the token.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc};

use futures::future::BoxFuture;
use ringfence_model::{
    ApiError, Code, SandboxId,
    api::{self, PUBLIC_PORTS_MAX, PortView, PreviewAnswer, PreviewRequest},
};
use ringfence_store::{Actor, SandboxStatus};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};

use crate::{
    engine::Engine,
    error::Failure,
    lookup,
    machine::SharedShell,
    ports::{DialError, Listening},
    sandbox::Sandbox,
    service::actor,
};

/// Requests and streams of one sandbox at once.
const VISITS_MAX: usize = 64;

/// Ports of one sandbox whose first visit is audited: a program may listen on all there are.
const AUDITED_PORTS_MAX: usize = 256;

/// Name of the query's field that holds a token.
pub const TOKEN_FIELD: &str = "ringfence_token";

/// What a sandbox keeps for it.
#[derive(Debug)]
pub(crate) struct Visits {
    /// Ports that need no token.
    public: watch::Sender<BTreeSet<u16>>,
    /// How often its token was replaced.
    generation: watch::Sender<u32>,
    /// Ports whose first visit is on disk, and whether it needed no token.
    audited: tokio::sync::Mutex<BTreeSet<(u16, bool)>>,
    permits: Arc<Semaphore>,
}

impl Visits {
    /// Of a sandbox with these public ports, whose token was replaced so often.
    pub(crate) fn new(public: impl IntoIterator<Item = u16>, generation: u32) -> Self {
        Self {
            public: watch::Sender::new(public.into_iter().collect()),
            generation: watch::Sender::new(generation),
            audited: tokio::sync::Mutex::default(),
            permits: Arc::new(Semaphore::new(VISITS_MAX)),
        }
    }
}

/// Why a visitor is turned away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turned {
    /// No token of that sandbox, whether or not there is such a sandbox.
    NoToken,
    /// There is no such sandbox.
    Unknown(String),
    /// It has ended.
    Gone(String),
    /// It does not run now.
    NotRunning(String),
    /// Nobody listens on the port.
    Nobody,
    /// Somebody does, and takes no connection.
    Busy,
    /// It has too many visitors.
    TooMany,
    /// A fault of ours.
    Failed,
}

/// A visit that was let in.
pub struct Admission {
    engine: Engine,
    sandbox: Arc<Sandbox>,
    shell: SharedShell,
    port: u16,
    /// Which token let it in, and of which generation it is.
    by: Option<(usize, u32)>,
    _permit: OwnedSemaphorePermit,
}

impl std::fmt::Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admission").field("sandbox", &self.sandbox.id).field("port", &self.port).finish_non_exhaustive()
    }
}

impl Engine {
    /// Lets a visitor of a port in who offers these tokens.
    ///
    /// # Errors
    /// See [`Turned`]. Without a token, nobody is told whether there is such a sandbox, or how it stands.
    pub async fn admit_visit(&self, id: &SandboxId, port: u16, offered: &[Vec<u8>]) -> Result<Admission, Turned> {
        let key = &self.inner.preview_key;
        let shown: Vec<_> = offered
            .iter()
            .enumerate()
            .filter_map(|(index, token)| key.generation(id, token).map(|generation| (index, generation)))
            .collect();
        let live = self.live(id);
        let valid = match &live {
            Some(sandbox) => *sandbox.visits.generation.borrow(),
            // The database is asked for nobody who has never had a token of it.
            None if shown.is_empty() => return Err(Turned::NoToken),
            None => {
                let id = id.clone();
                let read = self.inner.store.read(move |view| view.preview_generation(&id)).await;
                read.map_err(|error| failed(error.into()))?
            }
        };
        let by = shown.into_iter().find(|(_, generation)| *generation == valid);
        let is_public = live.as_ref().is_some_and(|sandbox| sandbox.visits.public.borrow().contains(&port));
        if by.is_none() && !is_public {
            return Err(Turned::NoToken);
        }
        let Some(sandbox) = live else {
            return Err(match self.inner.store.sandbox(id).await {
                Ok(Some(row)) => Turned::Gone(lookup::ended(id, row.status).message),
                Ok(None) => Turned::Unknown(format!("there is no sandbox {id}")),
                Err(error) => failed(error.into()),
            });
        };
        let shell = {
            let state = sandbox.state.lock().await;
            match (state.status, &state.shell) {
                (SandboxStatus::Running, Some(shell)) => Arc::clone(shell),
                (status, _) if status.is_live() => {
                    return Err(Turned::NotRunning(lookup::not_running(id, status).message));
                }
                (status, _) => return Err(Turned::Gone(lookup::ended(id, status).message)),
            }
        };
        let permit = Arc::clone(&sandbox.visits.permits).try_acquire_owned().map_err(|_| Turned::TooMany)?;
        Ok(Admission { engine: self.clone(), sandbox, shell, port, by, _permit: permit })
    }

    pub(crate) async fn do_preview(&self, by: api::Actor, request: PreviewRequest) -> Result<PreviewAnswer, Failure> {
        let sandbox = self.find_live(&request.sandbox_id).await?;
        let port = request.port()?;
        if let Some(public) = request.public {
            self.set_public(by, &sandbox, port, public).await?;
        }
        if request.rotate {
            self.rotate_token(by, &sandbox).await?;
        }
        let public = sandbox.visits.public.borrow().contains(&port);
        let (url, path_url) = self.addresses(&sandbox, port, public).unzip();
        let listening = self.listening(&sandbox).await.iter().any(|found| found.port == port && found.is_reached());
        Ok(PreviewAnswer { success: true, sandbox_id: sandbox.id.clone(), port, public, listening, url, path_url })
    }

    async fn set_public(&self, by: api::Actor, sandbox: &Sandbox, port: u16, public: bool) -> Result<(), Failure> {
        if by != api::Actor::Operator {
            let text = "making a port public is for operators: use `ringfence preview public` on the daemon's machine";
            return Err(ApiError::new(Code::PermissionDenied, text).into());
        }
        // The state's lock: the sandbox does not end meanwhile, and changes come one after the other.
        let state = sandbox.state.lock().await;
        if !state.status.is_live() {
            return Err(lookup::ended(&sandbox.id, state.status).into());
        }
        let now = sandbox.visits.public.borrow().clone();
        if now.contains(&port) == public {
            return Ok(());
        }
        if public && now.len() >= PUBLIC_PORTS_MAX {
            let text = format!("{PUBLIC_PORTS_MAX} ports of this sandbox are public already; close one first");
            return Err(ApiError::new(Code::QuotaExceeded, text).into());
        }
        let event = if public { "preview.public" } else { "preview.private" };
        let entry = Self::entry(Actor::Operator, event).sandbox(&sandbox.id).detail(serde_json::json!({"port": port}));
        let id = sandbox.id.clone();
        let written = self.inner.store.write_with_audit(entry, move |tx| tx.set_port_public(&id, port, public));
        let (_, receipt) = written.await?;
        drop(receipt);
        sandbox.visits.public.send_modify(|ports| {
            if public {
                ports.insert(port);
            } else {
                ports.remove(&port);
            }
        });
        Ok(())
    }

    /// Replaces a sandbox's token. It shuts out and lets nobody in, so that it is for whoever may see the token.
    async fn rotate_token(&self, by: api::Actor, sandbox: &Sandbox) -> Result<(), Failure> {
        // As in `set_public`.
        let state = sandbox.state.lock().await;
        if !state.status.is_live() {
            return Err(lookup::ended(&sandbox.id, state.status).into());
        }
        let entry = Self::entry(actor(by), "preview.rotate").sandbox(&sandbox.id);
        let id = sandbox.id.clone();
        let (generation, receipt) = self.inner.store.write_with_audit(entry, move |tx| tx.rotate_preview(&id)).await?;
        drop(receipt);
        sandbox.visits.generation.send_replace(generation);
        Ok(())
    }

    /// What programs of a sandbox listen on; nothing where that cannot be known.
    async fn listening(&self, sandbox: &Sandbox) -> Vec<Listening> {
        let Some(shell) = sandbox.state.lock().await.shell.clone() else { return Vec::new() };
        match self.inner.machine.listening(&shell).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(error = %Failure::from(error).chain(), sandbox = %sandbox.id, "ports could not be listed");
                Vec::new()
            }
        }
    }

    /// The ports of a sandbox as `sandbox_status` shows them.
    pub(crate) async fn ports(&self, sandbox: &Sandbox) -> Vec<PortView> {
        let found = self.listening(sandbox).await;
        let public = sandbox.visits.public.borrow().clone();
        let view = |listening: Listening| {
            let port = listening.port;
            let is_public = public.contains(&port);
            let reached = listening.is_reached().then(|| self.addresses(sandbox, port, is_public)).flatten();
            let (url, path_url) = reached.unzip();
            PortView { port, address: listening.ip.to_string(), url, path_url, public: is_public }
        };
        found.into_iter().map(view).collect()
    }

    /// Where a port can be visited: by name, and below a path.
    fn addresses(&self, sandbox: &Sandbox, port: u16, public: bool) -> Option<(String, String)> {
        let tcp: SocketAddr = self.inner.tcp?;
        let id = &sandbox.id;
        let token = || self.inner.preview_key.token(id, *sandbox.visits.generation.borrow());
        let query = if public { String::new() } else { format!("?{TOKEN_FIELD}={}", token()) };
        Some((
            format!("http://{port}-{id}.localhost:{}/{query}", tcp.port()),
            format!("http://{tcp}/preview/{id}/{port}/{query}"),
        ))
    }
}

fn failed(error: Failure) -> Turned {
    tracing::error!(error = %error.chain(), "a visit failed");
    Turned::Failed
}

impl Admission {
    /// Which of the offered tokens was the right one; `None` when the port is public and none was needed.
    #[must_use]
    pub fn by(&self) -> Option<usize> {
        self.by.map(|(index, _)| index)
    }

    /// A connection to the program. The first one of a port is in the audit chain before it is handed out.
    ///
    /// # Errors
    /// See [`Turned`].
    pub async fn connect(&self) -> Result<TcpStream, Turned> {
        let stream = match self.engine.inner.machine.dial(&self.shell, self.port).await {
            Ok(stream) => stream,
            Err(DialError::Nobody) => return Err(Turned::Nobody),
            Err(DialError::Busy) => return Err(Turned::Busy),
            Err(DialError::Machine(error)) if error.is_unknown() => {
                return Err(Turned::NotRunning(format!("sandbox {} has just ended", self.sandbox.id)));
            }
            Err(DialError::Machine(error)) => return Err(failed(error.into())),
        };
        self.note().await.map_err(failed)?;
        Ok(stream)
    }

    async fn note(&self) -> Result<(), Failure> {
        let visit = (self.port, self.by.is_none());
        let mut audited = self.sandbox.visits.audited.lock().await;
        if audited.contains(&visit) || audited.len() >= AUDITED_PORTS_MAX {
            return Ok(());
        }
        let by = if self.by.is_some() { "token" } else { "public" };
        let entry = Engine::entry(Actor::Agent, "preview.visit")
            .sandbox(&self.sandbox.id)
            .detail(serde_json::json!({"port": self.port, "by": by}));
        let receipt = self.engine.inner.store.append(entry).await?;
        drop(receipt);
        audited.insert(visit);
        Ok(())
    }

    /// Comes when what the visit has opened must end.
    #[must_use]
    pub fn ended(&self) -> BoxFuture<'static, ()> {
        let mut shell = self.shell.ports.ended();
        let (mut public, mut generation) =
            (self.sandbox.visits.public.subscribe(), self.sandbox.visits.generation.subscribe());
        let (port, by) = (self.port, self.by);
        Box::pin(async move {
            let closed = async {
                match by {
                    Some((_, shown)) => drop(generation.wait_for(|valid| *valid != shown).await),
                    None => drop(public.wait_for(|ports| !ports.contains(&port)).await),
                }
            };
            tokio::select! {
                _ = shell.wait_for(|ended| *ended) => {}
                () = closed => {}
            }
        })
    }
}
