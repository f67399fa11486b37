//! Point in time: a conversation in which each bar is sent after the strategy has answered the one before.

use std::pin::pin;

use ringfence_backtest::Targets;
use ringfence_engine::api::Conversation;
use ringfence_model::{ApiError, api::ExecutionStatus};
use tokio::sync::mpsc;

use super::{
    Outcome, Parameters, Proposal, Run, Spent,
    answer::{self, Text},
    ask::Asked,
    said::{self, Failure},
};

/// What may be printed before the first answer.
const EARLY_BYTES_MAX: usize = 64 << 10;
const WORD: usize = 4;

/// What came of a conversation, besides how its trial ended.
#[derive(Default)]
struct Said {
    /// A weight for each row and symbol; empty until every bar is answered for.
    weights: Vec<f64>,
    early: Vec<String>,
    text: Option<Text>,
    /// What it wrote that is no answer.
    fault: Option<String>,
}

impl Run<'_> {
    pub(super) async fn stepwise(&self, set: &Parameters) -> Result<Outcome, ApiError> {
        let asked = Asked::of(self.panel);
        let request = self.request(asked.stepwise(set, self.options.timeout)?, self.options.timeout);
        let (to, read) = mpsc::channel(1);
        let (write, from) = mpsc::channel(4);
        let mut trial = pin!(self.trials.converse(self.actor, request, Conversation { to: read, from: write }));
        let mut talk = pin!(talk(&asked, to, Heard { from, bytes: Vec::new() }));
        let (ended, mut said) = tokio::select! {
            said = &mut talk => {
                if let Some(fault) = &said.fault {
                    // The trial is given up, which ends its sandbox.
                    let failure = Failure::new(fault.clone());
                    return Ok(outcome(Proposal::Failed(failure), said, None));
                }
                (trial.await?, said)
            }
            // It ended by itself; what it had written before is still in the channel.
            ended = &mut trial => (ended?, talk.await),
        };
        let spent = Some(Spent::of(&ended, 1));
        let failure = match (&said.fault, &said.text) {
            (Some(fault), _) => Some(Failure::new(fault.clone())),
            (None, Some(text)) if text.error.is_some() => Some(text.failure()),
            (None, Some(_)) if !said.weights.is_empty() && ended.status == ExecutionStatus::Completed => None,
            (None, _) => Some(said::ended(&ended, self.options.timeout, None)),
        };
        let proposal = match failure {
            Some(failure) => Proposal::Failed(failure),
            None => match Targets::new(self.panel, std::mem::take(&mut said.weights)) {
                Ok(targets) => Proposal::Targets(targets),
                Err(why) => Proposal::Failed(Failure::new(why.to_string())),
            },
        };
        Ok(outcome(proposal, said, spent))
    }
}

fn outcome(proposal: Proposal, said: Said, spent: Option<Spent>) -> Outcome {
    let mut log = said.early;
    let (lines, log_dropped) = said.text.map(|mut text| text.log()).unwrap_or_default();
    log.extend(lines);
    Outcome { proposal, log, log_dropped, spent }
}

/// What the program has written and nobody has read.
struct Heard {
    from: mpsc::Receiver<Vec<u8>>,
    bytes: Vec<u8>,
}

impl Heard {
    /// So many bytes; `None` when it ends before them.
    async fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.bytes.len() < count {
            self.bytes.extend(self.from.recv().await?);
        }
        let rest = self.bytes.split_off(count);
        Some(std::mem::replace(&mut self.bytes, rest))
    }
}

/// Sends bar after bar, until the program has said its last word, has ended without one, or has written something else.
async fn talk(asked: &Asked<'_>, to: mpsc::Sender<Vec<u8>>, mut heard: Heard) -> Said {
    let mut said = Said::default();
    if let Err(fault) = bar_by_bar(asked, to, &mut heard, &mut said).await {
        said.fault = Some(fault);
        said.weights.clear();
    }
    said
}

async fn bar_by_bar(
    asked: &Asked<'_>,
    to: mpsc::Sender<Vec<u8>>,
    heard: &mut Heard,
    said: &mut Said,
) -> Result<(), String> {
    loop {
        let found = answer::find(&heard.bytes, answer::MAGIC);
        // Also where what follows has come along already: what is too much does not depend on how it arrived.
        if found.unwrap_or(heard.bytes.len()) > EARLY_BYTES_MAX {
            return Err("it printed too much before it came to its end".to_owned());
        }
        if let Some(at) = found {
            said.early = answer::early(&heard.bytes[..at]);
            heard.bytes.drain(..at + answer::MAGIC.len());
            break;
        }
        match heard.from.recv().await {
            Some(bytes) => heard.bytes.extend(bytes),
            None => {
                said.early = answer::early(&heard.bytes);
                return Ok(());
            }
        }
    }
    let symbols = asked.panel.columns().len();
    said.weights = vec![f64::NAN; asked.panel.len() * symbols];
    for (number, row) in asked.rows.iter().enumerate() {
        if to.send(asked.step(number)).await.is_err() {
            break;
        }
        let Some(word) = heard.take(WORD).await else { return gone(said) };
        if word != b"STEP" {
            said.weights.clear();
            return last(&word, heard, said).await;
        }
        let Some(weights) = heard.take(8 * symbols).await else { return gone(said) };
        for (place, chunk) in weights.chunks_exact(8).enumerate() {
            said.weights[row * symbols + place] = f64::from_le_bytes(chunk.try_into().expect("eight bytes"));
        }
        answer::check(&said.weights[row * symbols..(row + 1) * symbols], *row, asked.panel)?;
        if !heard.bytes.is_empty() {
            return Err("it answered a bar before it was sent".to_owned());
        }
    }
    drop(to);
    match heard.take(WORD).await {
        Some(word) => last(&word, heard, said).await,
        None => gone(said),
    }
}

/// It ended without a last word.
fn gone(said: &mut Said) -> Result<(), String> {
    said.weights.clear();
    Ok(())
}

/// The last word, and that nothing follows it.
async fn last(word: &[u8], heard: &mut Heard, said: &mut Said) -> Result<(), String> {
    let done = match word {
        b"DONE" => true,
        b"FAIL" => false,
        _ => return Err("it wrote something that is no answer".to_owned()),
    };
    let Some(length) = heard.take(4).await else { return gone(said) };
    let length = u32::from_le_bytes(length.try_into().expect("four bytes")) as usize;
    if length > answer::TEXT_BYTES_MAX {
        return Err("it wrote an answer that is too large".to_owned());
    }
    let Some(text) = heard.take(length).await else { return gone(said) };
    let text = Text::parse(&text)?;
    if done == text.error.is_some() || heard.take(1).await.is_some() {
        return Err("it wrote something that is no answer".to_owned());
    }
    said.text = Some(text);
    Ok(())
}
