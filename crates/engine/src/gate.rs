//! The engine's end of the socket to the gateway. The supervisor makes a socket with each gateway that it starts; between two
//! of them there is none, and sandboxes' connections are refused.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream as StdStream,
    },
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ringfence_jail::gateway;
use ringfence_model::{
    ApiError, SandboxId,
    net::{
        Denial,
        control::{Call, FromGate, GateAnswer, GateOp, LINE_BYTES_MAX},
    },
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixStream, unix::OwnedReadHalf},
    sync::{broadcast, mpsc, oneshot, watch},
};

/// How long a question waits for a gateway that is being started, and for its answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a program's end waits to hear of its refusals.
const FENCE_PATIENCE: Duration = Duration::from_secs(1);

/// Refusals of one sandbox that are remembered.
const DENIALS_MAX: usize = 256;

/// Sandboxes that wait for being paused.
const MISUSED_MAX: usize = 1024;

type Answer = Result<GateAnswer, ApiError>;

/// Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct GateClient {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    next_id: AtomicU64,
    state: Mutex<State>,
    /// Whether there is a gateway.
    connected: watch::Sender<bool>,
    /// Sandboxes that are to be paused for what they did with a placeholder.
    misused: broadcast::Sender<SandboxId>,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            next_id: AtomicU64::new(1),
            state: Mutex::default(),
            connected: watch::Sender::new(false),
            misused: broadcast::Sender::new(MISUSED_MAX),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    /// Of the gateway that there is, where lines go.
    out: Option<mpsc::UnboundedSender<Vec<u8>>>,
    /// Counts gateways, so that the end of an old one does not end a new one.
    generation: u64,
    waiting: HashMap<u64, oneshot::Sender<Answer>>,
    /// Which sandbox lives in which shell: told to each new gateway.
    attached: HashMap<SandboxId, u32>,
    /// All sandboxes that there were when this began, until a gateway was told.
    to_keep: Option<Vec<SandboxId>>,
    /// Deleted, and no gateway has said yet that it has forgotten them, by the number of the question.
    forgetting: BTreeMap<u64, SandboxId>,
    denials: HashMap<SandboxId, VecDeque<Denial>>,
}

impl GateClient {
    /// Takes each gateway that the supervisor introduces through `door`, until that closes.
    pub(crate) fn listen(&self, door: OwnedFd) {
        let (sender, mut gateways) = mpsc::unbounded_channel();
        // The door is a socket of datagrams with descriptors, which tokio does not read: a thread waits at it.
        let waits = std::thread::Builder::new().name("gate-door".into()).spawn(move || {
            loop {
                let mut poll = [rustix::event::PollFd::new(&door, rustix::event::PollFlags::IN)];
                match rustix::event::poll(&mut poll, None) {
                    Ok(_) | Err(rustix::io::Errno::INTR) => {}
                    Err(_) => return,
                }
                match gateway::introduced(door.as_fd()) {
                    Ok(None) => {}
                    Ok(Some(socket)) => {
                        if sender.send(socket).is_err() {
                            return;
                        }
                    }
                    Err(_) => return,
                }
            }
        });
        if let Err(error) = waits {
            tracing::error!(%error, "no gateway will be reached");
        }
        let client = self.clone();
        tokio::spawn(async move {
            while let Some(socket) = gateways.recv().await {
                let stream = StdStream::from(socket);
                match stream.set_nonblocking(true).and_then(|()| UnixStream::from_std(stream)) {
                    Ok(stream) => client.connect(stream),
                    Err(error) => tracing::error!(%error, "the gateway's socket cannot be used"),
                }
            }
        });
    }

    /// Speaks with a new gateway from now on.
    fn connect(&self, stream: UnixStream) {
        let (read, mut write) = stream.into_split();
        let (out, mut lines) = mpsc::unbounded_channel::<Vec<u8>>();
        let generation = {
            let mut state = self.lock();
            state.generation += 1;
            state.waiting.clear();
            if let Some(keep) = state.to_keep.take().and_then(|keep| keep_line(keep, &state.attached)) {
                let _ = out.send(keep);
            }
            let told = state.attached.iter().map(|(sandbox, shell)| attach(sandbox, *shell));
            for op in told {
                let _ = out.send(line(0, op));
            }
            for (id, sandbox) in &state.forgetting {
                let _ = out.send(line(*id, GateOp::Forget { sandbox: sandbox.clone() }));
            }
            let _ = out.send(line(0, GateOp::Settle { living: state.attached.keys().cloned().collect() }));
            state.out = Some(out);
            state.generation
        };
        self.inner.connected.send_replace(true);
        tokio::spawn(async move {
            while let Some(line) = lines.recv().await {
                if write.write_all(&line).await.is_err() {
                    return;
                }
            }
        });
        let client = self.clone();
        tokio::spawn(async move {
            client.read(read).await;
            let mut state = client.lock();
            if state.generation == generation {
                state.out = None;
                // Whoever waits hears that no answer will come.
                state.waiting.clear();
                client.inner.connected.send_replace(false);
            }
        });
    }

    async fn read(&self, stream: OwnedReadHalf) {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        loop {
            line.clear();
            let most = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
            match (&mut stream).take(most).read_until(b'\n', &mut line).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            match serde_json::from_slice(&line) {
                Ok(FromGate::Answer { id, result }) => {
                    if result.is_ok() {
                        self.lock().forgetting.remove(&id);
                    }
                    if let Some(waiting) = self.lock().waiting.remove(&id) {
                        let _ = waiting.send(result);
                    }
                }
                Ok(FromGate::Denied { sandbox, denial, pause }) => {
                    if pause {
                        let _ = self.inner.misused.send(sandbox.clone());
                    }
                    let mut state = self.lock();
                    let denials = state.denials.entry(sandbox).or_default();
                    if denials.len() == DENIALS_MAX {
                        denials.pop_front();
                    }
                    denials.push_back(denial);
                }
                Err(error) => {
                    tracing::error!(%error, "the gateway said something that is not understood");
                    return;
                }
            }
        }
    }

    /// Asks the gateway, waiting for one that is being started.
    ///
    /// # Errors
    /// What it refused; or there is none.
    pub(crate) async fn call(&self, op: GateOp) -> Answer {
        let gone = || ApiError::internal("the gateway is being started; try again in a moment");
        let mut connected = self.inner.connected.subscribe();
        tokio::time::timeout(PATIENCE, async {
            connected.wait_for(|connected| *connected).await.map_err(|_| gone())?;
            let id = self.inner.next_id.fetch_add(1, Ordering::Relaxed);
            let (sender, answer) = oneshot::channel();
            {
                let mut state = self.lock();
                let Some(out) = &state.out else { return Err(gone()) };
                out.send(line(id, op)).map_err(|_| gone())?;
                state.waiting.insert(id, sender);
            }
            answer.await.unwrap_or_else(|_| Err(gone()))
        })
        .await
        .unwrap_or_else(|_| Err(gone()))
    }

    /// Sandboxes that the operator wants paused, as they are told.
    pub(crate) fn misused(&self) -> broadcast::Receiver<SandboxId> {
        self.inner.misused.subscribe()
    }

    /// A sandbox lives in that shell now.
    pub(crate) fn attach(&self, sandbox: &SandboxId, shell: u32) {
        let mut state = self.lock();
        state.attached.insert(sandbox.clone(), shell);
        tell(&state, 0, attach(sandbox, shell));
    }

    /// It lives in none any more.
    pub(crate) fn detach(&self, sandbox: &SandboxId) {
        let mut state = self.lock();
        state.attached.remove(sandbox);
        // A gateway that does not hear it is followed by one that is told who lives.
        tell(&state, 0, GateOp::Detach { sandbox: sandbox.clone() });
    }

    /// These are all sandboxes that there are: called once, before there are more.
    pub(crate) fn keep(&self, sandboxes: Vec<SandboxId>) {
        let mut state = self.lock();
        match &state.out {
            Some(out) => {
                let _ = keep_line(sandboxes, &state.attached).map(|line| out.send(line));
            }
            None => state.to_keep = Some(sandboxes),
        }
    }

    /// It is deleted.
    pub(crate) fn forget(&self, sandbox: &SandboxId) {
        let mut state = self.lock();
        state.attached.remove(sandbox);
        state.denials.remove(sandbox);
        let id = self.inner.next_id.fetch_add(1, Ordering::Relaxed);
        state.forgetting.insert(id, sandbox.clone());
        tell(&state, id, GateOp::Forget { sandbox: sandbox.clone() });
    }

    /// Waits until every refusal that has happened is known here.
    pub(crate) async fn fence(&self) {
        if self.lock().out.is_some() {
            let _ = tokio::time::timeout(FENCE_PATIENCE, self.call(GateOp::Fence)).await;
        }
    }

    /// What a sandbox was refused since then, in milliseconds since 1970, as far as it is known ([`GateClient::fence`]).
    pub(crate) fn denials(&self, sandbox: &SandboxId, since_ms: u64) -> Vec<Denial> {
        let state = self.lock();
        let denials = state.denials.get(sandbox).into_iter().flatten();
        denials.filter(|denial| denial.at_ms >= since_ms).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().expect("nothing panics under this lock")
    }
}

/// Nothing when there are more than a line holds: then what is gone is kept a while longer.
fn keep_line(mut sandboxes: Vec<SandboxId>, attached: &HashMap<SandboxId, u32>) -> Option<Vec<u8>> {
    sandboxes.extend(attached.keys().cloned());
    let line = line(0, GateOp::Keep { sandboxes });
    (line.len() <= LINE_BYTES_MAX).then_some(line)
}

fn attach(sandbox: &SandboxId, shell: u32) -> GateOp {
    GateOp::Attach { sandbox: sandbox.clone(), shell }
}

/// Says it to the gateway that there is, if there is one.
fn tell(state: &State, id: u64, op: GateOp) {
    if let Some(out) = &state.out {
        let _ = out.send(line(id, op));
    }
}

fn line(id: u64, op: GateOp) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(&Call { id, op }).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

mod wiring;

#[cfg(test)]
mod tests;
