//! The engine's end of the socket to the jailer: requests out, answers and notices in.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use ringfence_jail::{
    proto::{Done, ExecNo, Exited, FromJailer, MESSAGE_BYTES_MAX, Notice, Op, Refusal, Request, ShellId, ZygoteNo},
    wire,
};
use tokio::{
    io::Interest,
    net::UnixDatagram,
    sync::{mpsc, oneshot},
};

/// Why the jailer did not do something.
#[derive(Debug, thiserror::Error)]
pub enum JailerError {
    /// It refused.
    #[error("the jailer: {0}")]
    Refused(#[from] Refusal),
    /// Its socket is gone, and with it every sandbox.
    #[error("the jailer is gone")]
    Gone,
    /// It answered something else than was asked.
    #[error("the jailer answered out of turn")]
    Confused,
    /// What it sent did not fit under this process's limit of descriptors, and was lost (unix(7), `MSG_CTRUNC`).
    #[error("no descriptors were left for what the jailer sent")]
    Descriptors,
}

/// What was done, and the descriptors that came with the answer.
pub(crate) type Answer = Result<(Done, Vec<OwnedFd>), JailerError>;

/// How a build step ended.
#[derive(Debug, Clone, Copy)]
pub struct StepEnd {
    /// Exit code, or 128 + signal.
    pub code: i32,
    /// It was killed at its time limit.
    pub timed_out: bool,
}

/// What happens to shells and zygotes unasked.
#[derive(Debug)]
pub(crate) enum Death {
    /// Init of a shell died, and everything in it.
    Shell(ShellId),
    /// A zygote died.
    Zygote(ZygoteNo, String),
}

/// Clones share the socket.
#[derive(Clone)]
pub(crate) struct Jailer {
    inner: Arc<Inner>,
}

struct Inner {
    socket: UnixDatagram,
    /// Datagrams go out one after the other; a full socket is waited for under this lock.
    sending: tokio::sync::Mutex<()>,
    next_id: AtomicU64,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    gone: bool,
    answers: HashMap<u64, oneshot::Sender<Answer>>,
    exits: HashMap<(ShellId, ExecNo), oneshot::Sender<Exited>>,
    steps: HashMap<u32, oneshot::Sender<StepEnd>>,
}

impl Jailer {
    /// Takes the socket over and starts to read from it. What dies unasked is told to `deaths`; the returned receiver
    /// fires when the jailer is gone.
    ///
    /// # Errors
    /// The descriptor cannot be watched.
    pub(crate) fn new(
        socket: OwnedFd,
        deaths: mpsc::UnboundedSender<Death>,
    ) -> io::Result<(Self, oneshot::Receiver<()>)> {
        // A socket of datagrams to tokio; that it is connected and keeps their order (SOCK_SEQPACKET) is the kernel's affair.
        let socket = std::os::unix::net::UnixDatagram::from(socket);
        socket.set_nonblocking(true)?;
        let socket = UnixDatagram::from_std(socket)?;
        let inner = Arc::new(Inner {
            socket,
            sending: tokio::sync::Mutex::new(()),
            next_id: AtomicU64::new(1),
            waiting: Mutex::new(Waiting::default()),
        });
        let (gone, is_gone) = oneshot::channel();
        let reader = Arc::clone(&inner);
        tokio::spawn(async move {
            if let Err(error) = reader.read(&deaths).await {
                tracing::error!(%error, "the jailer's socket failed");
            }
            let waiting = std::mem::take(&mut *reader.lock());
            reader.lock().gone = true;
            drop(waiting); // whoever waits hears of it
            let _ = gone.send(());
        });
        Ok((Self { inner }, is_gone))
    }

    /// Asks for something and waits for the answer.
    ///
    /// # Errors
    /// The jailer refused, or is gone.
    pub(crate) async fn call(&self, op: Op) -> Answer {
        self.call_with(op, &[]).await
    }

    /// As [`Self::call`], with descriptors.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub(crate) async fn call_with(&self, op: Op, fds: &[BorrowedFd<'_>]) -> Answer {
        let id = self.inner.next_id.fetch_add(1, Ordering::Relaxed);
        let request = Request { id, op };
        let Ok(bytes) = ringfence_jail::proto::encode(&request) else {
            return Err(Refusal::Plan("program arguments and environment are too large together".into()).into());
        };
        let (sender, answer) = oneshot::channel();
        {
            let mut waiting = self.inner.lock();
            if waiting.gone {
                return Err(JailerError::Gone);
            }
            waiting.answers.insert(id, sender);
        }
        if self.inner.send(&bytes, fds).await.is_err() {
            self.inner.lock().answers.remove(&id);
            return Err(JailerError::Gone);
        }
        answer.await.unwrap_or(Err(JailerError::Gone))
    }

    /// As [`Self::call`], for what answers with nothing but that it is done.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub(crate) async fn done(&self, op: Op) -> Result<(), JailerError> {
        match self.call(op).await?.0 {
            Done::Ok => Ok(()),
            _ => Err(JailerError::Confused),
        }
    }

    /// Asks for something and does not want to know.
    ///
    /// # Errors
    /// The jailer is gone.
    pub(crate) async fn tell(&self, op: Op) -> Result<(), JailerError> {
        let bytes = ringfence_jail::proto::encode(&Request { id: 0, op }).map_err(|_| JailerError::Confused)?;
        self.inner.send(&bytes, &[]).await.map_err(|_| JailerError::Gone)
    }

    /// Fires when that execution's first process ends. To be called before the execution is asked for.
    #[must_use]
    pub(crate) fn on_exit(&self, shell: ShellId, exec: ExecNo) -> oneshot::Receiver<Exited> {
        let (sender, receiver) = oneshot::channel();
        self.inner.lock().exits.insert((shell, exec), sender);
        receiver
    }

    /// Nobody waits for the end of that execution any more: it never began.
    pub(crate) fn forget_exit(&self, shell: ShellId, exec: ExecNo) {
        self.inner.lock().exits.remove(&(shell, exec));
    }

    /// Nobody waits for the end of that shell's executions any more.
    pub(crate) fn forget_exits(&self, shell: ShellId) {
        self.inner.lock().exits.retain(|(of, _), _| *of != shell);
    }

    /// Fires when that build step ends. To be called before it is asked for.
    #[must_use]
    pub(crate) fn on_step_end(&self, step: u32) -> oneshot::Receiver<StepEnd> {
        let (sender, receiver) = oneshot::channel();
        self.inner.lock().steps.insert(step, sender);
        receiver
    }
}

impl Inner {
    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("nothing panics under this lock")
    }

    async fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let _turn = self.sending.lock().await;
        self.socket.async_io(Interest::WRITABLE, || wire::send(self.socket.as_fd(), bytes, fds)).await
    }

    async fn read(&self, deaths: &mpsc::UnboundedSender<Death>) -> io::Result<()> {
        let mut buffer = vec![0_u8; MESSAGE_BYTES_MAX];
        loop {
            let received = self
                .socket
                .async_io(Interest::READABLE, || {
                    wire::receive(self.socket.as_fd(), &mut buffer)?.ok_or_else(|| io::ErrorKind::WouldBlock.into())
                })
                .await?;
            if received.len == 0 {
                return Ok(());
            }
            match ringfence_jail::proto::decode::<FromJailer>(&buffer[..received.len])? {
                FromJailer::Reply(reply) => {
                    let waiting = self.lock().answers.remove(&reply.id);
                    if let Some(waiting) = waiting {
                        // Whoever asked may have gone away; the descriptors are closed then.
                        let _ = waiting.send(reply.result.map(|done| (done, received.fds)).map_err(JailerError::from));
                    }
                }
                FromJailer::Notice(notice) => self.on_notice(notice, deaths),
            }
        }
    }

    fn on_notice(&self, notice: Notice, deaths: &mpsc::UnboundedSender<Death>) {
        match notice {
            Notice::Exited(exited) => {
                let waiting = self.lock().exits.remove(&(exited.shell, exited.exec));
                if let Some(waiting) = waiting {
                    let _ = waiting.send(exited);
                }
            }
            Notice::ShellDied { shell } => {
                self.lock().exits.retain(|(of, _), _| *of != shell);
                let _ = deaths.send(Death::Shell(shell));
            }
            Notice::ZygoteDied { zygote, reason } => {
                let _ = deaths.send(Death::Zygote(zygote, reason));
            }
            Notice::StepExited { step, code, timed_out } => {
                let waiting = self.lock().steps.remove(&step);
                if let Some(waiting) = waiting {
                    let _ = waiting.send(StepEnd { code, timed_out });
                }
            }
        }
    }
}

impl std::fmt::Debug for Jailer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jailer").finish_non_exhaustive()
    }
}
