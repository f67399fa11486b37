//! What a trial is given and what it says: its input while it runs, its output as it comes or as a whole, within bounds whatever it
//! does.

use ringfence_jail::proto::Exited;
use tokio::{
    io::AsyncWriteExt,
    net::unix::pipe,
    sync::{mpsc, watch},
    task::JoinSet,
    time::Duration,
};

use super::KEPT_BYTES_MAX;
use crate::{
    api::{Conversation, TRIAL_OUTPUT_MAX},
    execution::{DRAIN_BYTES_MAX, Execution, ending},
    machine::{Machine, Process},
};

/// Bytes that are read at once.
const CHUNK: usize = 64 << 10;

/// Bytes of standard error that are kept: the last.
const STDERR_BYTES_MAX: usize = 64 << 10;

/// How long what a program has written is held for a caller that does not take it, after the program has ended.
const DELIVERY_PATIENCE: Duration = Duration::from_secs(5);

/// How a caller speaks with its program.
pub(super) enum Talk {
    /// It gives all and takes all.
    Whole,
    /// It speaks meanwhile.
    With(Conversation),
}

/// What became of a program, and what it said.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// `None`: its sandbox ended under it.
    pub(super) exited: Option<Exited>,
    /// Standard output, where it was wanted whole.
    pub(super) output: Vec<u8>,
    pub(super) output_seen: u64,
    /// The last of standard error.
    pub(super) stderr: Vec<u8>,
    pub(super) stderr_seen: u64,
    /// It was ended because it wrote more than is read.
    pub(super) is_too_much: bool,
}

/// Hands a program over to its interpreter (`request`), feeds it and listens to it until it is over, or until `stop` says why it
/// must end.
#[allow(clippy::too_many_arguments, reason = "each is one end of what a program is connected to")]
pub(super) async fn attend(
    machine: &Machine,
    execution: &Execution,
    process: Process,
    request: Vec<u8>,
    input: Vec<u8>,
    talk: Talk,
    stop: impl Future<Output = &'static str>,
) -> Heard {
    let Process { stdin, stdout, stderr, mut exit, control, .. } = process;
    let (to, from) = match talk {
        Talk::Whole => (None, None),
        Talk::With(Conversation { to, from }) => (Some(to), Some(from)),
    };
    // Both end with this function: what a program does not read until it is over is its own loss.
    let mut feeding = JoinSet::new();
    let first = match control {
        Some(mut control) => {
            feeding.spawn(async move {
                let _ = control.write_all(&request).await;
            });
            Vec::new()
        }
        // A Node that waited reads its program where the program then reads its input.
        None => request,
    };
    feeding.spawn(feed(stdin, first, input, to));
    let (ended, is_ended) = watch::channel(false);
    let (overflow, mut overflows) = mpsc::channel(1);
    let mut out = match from {
        Some(to) => Sink::Caller(to),
        None => Sink::Whole { bytes: Vec::new(), is_full: false, overflow },
    };
    let mut err = Sink::Last(Vec::new());
    let (mut output_seen, mut stderr_seen) = (0, 0);
    let head = |bytes: &[u8], seen: u64| {
        let room = KEPT_BYTES_MAX.saturating_sub(usize::try_from(seen).unwrap_or(usize::MAX));
        if room > 0 {
            execution.stdout.push(&bytes[..bytes.len().min(room)]);
        }
    };
    let mut is_too_much = false;
    let exited = {
        let listening = async {
            tokio::join!(
                listen(stdout, &mut out, &mut output_seen, head, is_ended.clone()),
                listen(stderr, &mut err, &mut stderr_seen, |_, _| {}, is_ended.clone())
            )
        };
        tokio::pin!(listening, stop);
        let mut stopping = true;
        loop {
            tokio::select! {
                biased;
                exited = &mut exit => {
                    ended.send_replace(true);
                    listening.await;
                    break exited.ok();
                }
                // Nobody writes any more: it has closed its outputs, or is on its way out.
                _ = &mut listening => break match ending(machine, execution).await {
                    Some(account) => Some(account),
                    None => {
                        tokio::select! {
                            exited = &mut exit => exited.ok(),
                            why = &mut stop, if stopping => {
                                execution.end_because(why);
                                kill(machine, execution).await;
                                (&mut exit).await.ok()
                            }
                        }
                    }
                },
                Some(()) = overflows.recv(), if !is_too_much => {
                    is_too_much = true;
                    execution.end_because("it wrote more than 64 MiB to standard output");
                    kill(machine, execution).await;
                }
                why = &mut stop, if stopping => {
                    stopping = false;
                    execution.end_because(why);
                    kill(machine, execution).await;
                }
            }
        }
    };
    drop(feeding);
    Heard { exited, output: out.into_bytes(), output_seen, stderr: err.into_bytes(), stderr_seen, is_too_much }
}

/// With all that it has started; its end is told then. The shell is removed by whoever has it, once: its uid range is given back by
/// that, and may be another's a moment later.
async fn kill(machine: &Machine, execution: &Execution) {
    if let Some((shell, exec)) = execution.place() {
        let _ = machine.kill(shell, exec).await;
    }
}

/// Writes what comes first, the input, and what the caller has to say, then closes the program's standard input.
async fn feed(mut pipe: pipe::Sender, first: Vec<u8>, input: Vec<u8>, to: Option<mpsc::Receiver<Vec<u8>>>) {
    // A program that does not read leaves the rest unread; that is its right. The caller then finds its channel closed.
    for bytes in [first, input] {
        if !bytes.is_empty() && pipe.write_all(&bytes).await.is_err() {
            return;
        }
    }
    let Some(mut to) = to else { return };
    while let Some(bytes) = to.recv().await {
        if pipe.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// Where a stream goes.
enum Sink {
    /// All of it, up to the bound; then somebody is told, and the rest is lost.
    Whole { bytes: Vec<u8>, is_full: bool, overflow: mpsc::Sender<()> },
    /// The last of it.
    Last(Vec<u8>),
    /// The caller, who makes the program wait while it does not take it.
    Caller(mpsc::Sender<Vec<u8>>),
    /// Nobody.
    Nowhere,
}

impl Sink {
    async fn take(&mut self, chunk: &[u8], ended: &mut watch::Receiver<bool>) {
        match self {
            Self::Whole { bytes, is_full, overflow } => {
                if *is_full || bytes.len() + chunk.len() > TRIAL_OUTPUT_MAX {
                    *is_full = true;
                    let _ = overflow.try_send(());
                } else {
                    bytes.extend_from_slice(chunk);
                }
            }
            Self::Last(bytes) => {
                bytes.extend_from_slice(chunk);
                if bytes.len() > 2 * STDERR_BYTES_MAX {
                    bytes.drain(..bytes.len() - STDERR_BYTES_MAX);
                }
            }
            Self::Caller(to) => {
                let is_taken = tokio::select! {
                    sent = to.send(chunk.to_vec()) => sent.is_ok(),
                    () = overdue(ended) => false,
                };
                if !is_taken {
                    *self = Self::Nowhere;
                }
            }
            Self::Nowhere => {}
        }
    }

    fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Whole { bytes, .. } => bytes,
            Self::Last(mut bytes) => {
                bytes.drain(..bytes.len().saturating_sub(STDERR_BYTES_MAX));
                bytes
            }
            Self::Caller(_) | Self::Nowhere => Vec::new(),
        }
    }
}

async fn overdue(ended: &mut watch::Receiver<bool>) {
    let _ = ended.wait_for(|ended| *ended).await;
    tokio::time::sleep(DELIVERY_PATIENCE).await;
}

/// Reads a stream to its end; once the program has ended, no more than what is there.
async fn listen(
    stream: pipe::Receiver,
    sink: &mut Sink,
    seen: &mut u64,
    mut heard: impl FnMut(&[u8], u64),
    mut ended: watch::Receiver<bool>,
) {
    let mut buffer = vec![0_u8; CHUNK];
    while !*ended.borrow() {
        tokio::select! {
            _ = stream.readable() => {}
            _ = ended.wait_for(|ended| *ended) => break,
        }
        match stream.try_read(&mut buffer) {
            Ok(0) => return,
            Ok(len) => {
                heard(&buffer[..len], *seen);
                *seen += len as u64;
                sink.take(&buffer[..len], &mut ended).await;
            }
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
        // One that prints without pause must not keep others from their turn.
        tokio::task::consume_budget().await;
    }
    // What it wrote before it ended is there. The kernel is asked itself: see `execution::read`.
    let mut drained = 0;
    while drained <= DRAIN_BYTES_MAX {
        match rustix::io::read(&stream, &mut buffer) {
            Ok(0) => return,
            Ok(len) => {
                heard(&buffer[..len], *seen);
                *seen += len as u64;
                drained += len;
                sink.take(&buffer[..len], &mut ended).await;
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}
