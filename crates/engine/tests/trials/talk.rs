//! Trials that are spoken with while they run.

use std::time::{Duration, Instant};

use ringfence_engine::api::{Conversation, TrialAnswer, TrialRequest, Trials};
use ringfence_model::api::{Actor, ExecutionStatus};
use tokio::{sync::mpsc, task::JoinHandle};

use crate::inside::{Place, program};

/// A program that answers each line with its length.
const ECHO: &str = "import sys\nfor line in sys.stdin: print(len(line), flush=True)\nprint('end')";

struct Spoken {
    to: mpsc::Sender<Vec<u8>>,
    from: mpsc::Receiver<Vec<u8>>,
    answer: JoinHandle<TrialAnswer>,
}

fn begin(place: &Place, request: TrialRequest, room: usize) -> Spoken {
    let ((to, theirs), (ours, from)) = (mpsc::channel(room), mpsc::channel(room));
    let engine = place.engine.clone();
    let answer = tokio::spawn(async move {
        let with = Conversation { to: theirs, from: ours };
        engine.converse(Actor::Agent, request, with).await.expect("it is run")
    });
    Spoken { to, from, answer }
}

async fn heard(from: &mut mpsc::Receiver<Vec<u8>>, until: usize) -> String {
    let mut all = Vec::new();
    while all.len() < until {
        let piece = tokio::time::timeout(Duration::from_secs(20), from.recv()).await.expect("it speaks");
        let Some(piece) = piece else { break };
        all.extend(piece);
    }
    String::from_utf8(all).expect("text")
}

pub(crate) async fn it_is_spoken_with(place: Place) {
    let mut spoken = begin(&place, TrialRequest { input: b"first\n".to_vec(), ..program(ECHO) }, 4);
    assert_eq!(heard(&mut spoken.from, 2).await, "6\n");
    for n in [1_usize, 5, 70_000] {
        spoken.to.send(format!("{}\n", "x".repeat(n)).into_bytes()).await.expect("it listens");
        let said = format!("{}\n", n + 1);
        assert_eq!(heard(&mut spoken.from, said.len()).await, said);
    }
    drop(spoken.to);
    assert_eq!(heard(&mut spoken.from, 100).await, "end\n");
    let answer = spoken.answer.await.expect("it is answered");
    assert_eq!((answer.status, answer.output), (ExecutionStatus::Completed, Vec::new()));
}

pub(crate) async fn the_end_of_what_it_is_told_is_the_end_of_its_input(place: Place) {
    let spoken = begin(&place, program("import sys; print(repr(sys.stdin.read()))"), 1);
    let Spoken { to, mut from, answer } = spoken;
    drop(to);
    assert_eq!(heard(&mut from, 100).await, "''\n");
    assert_eq!(answer.await.expect("it is answered").exit_code, 0);
}

pub(crate) async fn nobody_has_to_listen(place: Place) {
    let code = "import sys\nfor n in range(100_000): print('x' * 100)\nprint(sys.stdin.read(), file=sys.stderr)";
    let Spoken { to, from, answer } = begin(&place, program(code), 1);
    drop(from);
    to.send(b"still read".to_vec()).await.expect("it listens");
    drop(to);
    let answer = answer.await.expect("it is answered");
    assert_eq!((answer.status, answer.stderr.as_str()), (ExecutionStatus::Completed, "still read\n"));
}

pub(crate) async fn a_flood_waits_for_its_listener(place: Place) {
    let code = "import sys\nblock = b'z' * 65536\nfor n in range(400):\n    sys.stdout.buffer.write(block)\n    \
        sys.stdout.flush()\n    print(n, file=sys.stderr, flush=True)";
    let Spoken { to, mut from, answer } = begin(&place, program(code), 1);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!answer.is_finished(), "25 MiB were written to nobody");
    assert!(from.len() <= 1, "pieces wait with the program, not here");
    let mut seen = 0;
    while let Some(piece) = from.recv().await {
        assert!(piece.len() <= 64 << 10 && piece.iter().all(|byte| *byte == b'z'));
        seen += piece.len();
    }
    assert_eq!(seen, 400 * 65_536);
    assert_eq!(answer.await.expect("it is answered").status, ExecutionStatus::Completed);
    drop(to);
}

pub(crate) async fn who_does_not_read_is_not_waited_for_longer_than_its_time(place: Place) {
    // It neither reads nor stops writing, and its caller takes nothing.
    let code = "import sys\nwhile True: sys.stdout.buffer.write(b'w' * 65536)";
    let begun = Instant::now();
    let Spoken { to, from, answer } = begin(&place, TrialRequest { timeout: 0.7, ..program(code) }, 1);
    let telling = tokio::spawn(async move {
        let mut told = 0_usize;
        while to.send(vec![b'v'; 1 << 16]).await.is_ok() {
            told += 1 << 16;
        }
        told
    });
    let answer = answer.await.expect("it is answered");
    assert_eq!(answer.status, ExecutionStatus::Timeout, "{answer:?}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let told =
        tokio::time::timeout(Duration::from_secs(5), telling).await.expect("the channel is closed").expect("told");
    assert!(told <= 1 << 20, "{told} bytes were taken for a program that reads nothing");
    drop(from);
    place.until("nothing runs", async |health| health.trials.running == 0).await;
}
