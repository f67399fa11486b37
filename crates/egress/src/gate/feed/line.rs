//! What waits for one sandbox's socket, with a bound. Whoever takes too little of it is cut off, and nobody else waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::Message;

/// Frames that may wait.
const FRAMES_MAX: usize = 4096;
/// Their bytes.
const BYTES_MAX: usize = 4 << 20;

/// One frame for the program.
#[derive(Debug)]
pub(super) struct Out {
    pub(super) message: Message,
    /// It answers what the program said last.
    pub(super) is_answer: bool,
}

/// The end at which frames are put in.
#[derive(Debug)]
pub(super) struct Line {
    frames: mpsc::Sender<Out>,
    waiting: Arc<AtomicUsize>,
    last: oneshot::Sender<Message>,
}

/// The end at which they are taken out.
#[derive(Debug)]
pub(super) struct LineEnd {
    frames: mpsc::Receiver<Out>,
    waiting: Arc<AtomicUsize>,
}

/// Both ends, and what is said in place of all that waits, after which the socket is closed.
pub(super) fn line() -> (Line, LineEnd, oneshot::Receiver<Message>) {
    let (put, taken) = mpsc::channel(FRAMES_MAX);
    let (last, heard) = oneshot::channel();
    let waiting = Arc::<AtomicUsize>::default();
    (Line { frames: put, waiting: waiting.clone(), last }, LineEnd { frames: taken, waiting }, heard)
}

impl Line {
    /// Whether there was room for it.
    pub(super) fn push(&self, message: Message, is_answer: bool) -> bool {
        let bytes = message.len();
        let before = self.waiting.fetch_add(bytes, Ordering::Relaxed);
        // One frame alone may be longer than what may wait.
        let fits = before == 0 || before.saturating_add(bytes) <= BYTES_MAX;
        fits && self.frames.try_send(Out { message, is_answer }).is_ok()
    }

    /// Says this in place of what waits.
    pub(super) fn end(self, last: Message) {
        // It may have left meanwhile.
        let _ = self.last.send(last);
    }
}

impl LineEnd {
    /// The next frame; none when there is nobody any more who could say one.
    pub(super) async fn next(&mut self) -> Option<Out> {
        let out = self.frames.recv().await?;
        self.waiting.fetch_sub(out.message.len(), Ordering::Relaxed);
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_waits_is_bounded_in_frames_and_bytes() {
        let (put, mut taken, _last) = line();
        let pushed = (0..FRAMES_MAX + 10).take_while(|_| put.push(Message::text("x"), false)).count();
        assert_eq!(pushed, FRAMES_MAX);
        assert!(taken.next().await.is_some_and(|out| !out.is_answer));

        let (put, _taken, last) = line();
        let long = || Message::binary(vec![0; 1 << 20]);
        assert_eq!((0..10).take_while(|_| put.push(long(), false)).count(), 4);
        put.end(Message::text("slow"));
        assert_eq!(last.await.unwrap(), Message::text("slow"));

        let (put, mut taken, _last) = line();
        assert!(put.push(Message::binary(vec![0; BYTES_MAX + 1]), true), "one alone has room");
        assert!(!put.push(Message::text("x"), false));
        assert!(taken.next().await.unwrap().is_answer);
    }
}
