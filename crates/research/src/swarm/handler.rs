//! What an agent can be asked: the handlers, each a program that runs in the agent's sandbox, and the caller's own code.
//!
//! A handler has three parts: what it makes of its input before anything runs, what its program reads, and how what that printed is
//! read. The program may lie, because whoever can write in the sandbox can have changed what it runs on: what comes back is bounded,
//! parsed strictly, and is that agent's word only.

mod backtest;
mod code;
mod risk;
mod sentiment;
mod technical;

use ringfence_backtest::Curve;
use ringfence_model::api::{AgentResult, Decision, ExecutionAnswer, ExecutionStatus, STDIN_BYTES_MAX};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

pub(crate) use backtest::combined;

use super::bars::Bars;

/// Bytes of an agent's result as JSON.
pub(crate) const RESULT_BYTES_MAX: usize = 8 << 10;
/// Bytes of what a program printed that are shown.
const OUTPUT_BYTES_SHOWN: usize = 2 << 10;

/// What an agent is asked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Handler {
    /// A strategy over bars.
    Backtest,
    /// Indicators over bars.
    TechnicalAnalysis,
    /// Words of texts.
    Sentiment,
    /// What a portfolio may lose.
    Risk,
    /// The caller's own program.
    Code,
}

/// What clients are told when nothing says what is to be done.
pub(crate) const LIST: &str = "`backtest` (as `Run distributed backtest`), `technical_analysis`, `sentiment` (which needs `inputs` with \
    `texts`) and `risk` (which needs `inputs` with `positions`)";

impl Handler {
    /// The handler of a name, or of a task that is called as one.
    pub(crate) fn named(text: &str) -> Option<Self> {
        let words = text.trim().trim_end_matches('.').to_lowercase().replace(['_', '-'], " ");
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
        Some(match words.strip_prefix("run ").unwrap_or(&words) {
            "backtest" | "distributed backtest" | "a distributed backtest" | "backtests" => Self::Backtest,
            "technical analysis" | "technical" => Self::TechnicalAnalysis,
            "sentiment" | "sentiment analysis" | "sentiment scoring" => Self::Sentiment,
            "risk" | "risk calculation" | "risk analysis" => Self::Risk,
            _ => return None,
        })
    }

    /// As clients read it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Backtest => "backtest",
            Self::TechnicalAnalysis => "technical_analysis",
            Self::Sentiment => "sentiment",
            Self::Risk => "risk",
            Self::Code => "code",
        }
    }

    /// The input of the agent at `place`, checked and with what it leaves out. Reads files.
    ///
    /// # Errors
    /// What is wrong with it, a sentence.
    pub(crate) fn complete(
        self,
        input: Map<String, Value>,
        place: usize,
        bars: &Bars,
    ) -> Result<Map<String, Value>, String> {
        let complete = match self {
            Self::Backtest => backtest::complete(input, place),
            Self::TechnicalAnalysis => technical::complete(input, place),
            Self::Sentiment => sentiment::complete(input),
            Self::Risk => risk::complete(input),
            Self::Code => return Ok(input),
        }?;
        let bytes = self.program(&complete, bars)?.1.len();
        if bytes > STDIN_BYTES_MAX {
            return Err(format!(
                "what its program is to read has {bytes} bytes, at most {STDIN_BYTES_MAX} are possible: take fewer symbols, a later \
                 `start`, or shorter texts"
            ));
        }
        Ok(complete)
    }

    /// The program of a handler, and what it reads. Reads files.
    ///
    /// # Errors
    /// The bars are not there any more: a sentence.
    pub(crate) fn program(self, input: &Map<String, Value>, bars: &Bars) -> Result<(&'static str, String), String> {
        match self {
            Self::Backtest => Ok((backtest::PROGRAM, backtest::stdin(input, bars)?)),
            Self::TechnicalAnalysis => Ok((technical::PROGRAM, technical::stdin(input, bars)?)),
            Self::Sentiment => Ok((sentiment::PROGRAM, sentiment::stdin(input))),
            Self::Risk => Ok((risk::PROGRAM, risk::stdin(input, bars)?)),
            Self::Code => Err("the program is the caller's".to_owned()),
        }
    }

    /// What its program found. Reads files.
    ///
    /// # Errors
    /// Why what it printed is no result: a sentence.
    pub(crate) fn read(
        self,
        input: &Map<String, Value>,
        run: &ExecutionAnswer,
        bars: &Bars,
    ) -> Result<Finding, String> {
        if self == Self::Code {
            return code::read(run);
        }
        ended_well(run)?;
        match self {
            Self::Backtest => backtest::read(input, &run.output, bars),
            _ => said(&run.output),
        }
    }
}

/// What an agent found.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Finding {
    pub(crate) vote: Option<Decision>,
    pub(crate) weight: Option<f64>,
    pub(crate) result: Map<String, Value>,
    pub(crate) output: Option<String>,
    /// Of a backtest.
    pub(crate) curve: Option<Curve>,
}

/// What the caller's own program reads.
pub(crate) fn ask_code(
    task: &str,
    agent: &Value,
    round: u32,
    input: &Map<String, Value>,
    heard: &[&AgentResult],
) -> String {
    let received: Vec<Value> = heard
        .iter()
        .map(|other| {
            json!({"agent": other.agent, "status": other.status, "vote": other.vote, "weight": other.weight,
                "result": other.result, "output": other.output})
        })
        .collect();
    json!({"task": task, "agent": agent, "round": round, "input": input, "received": received}).to_string()
}

/// Reads an input strictly.
fn parsed<T: DeserializeOwned>(input: Map<String, Value>) -> Result<T, String> {
    serde_json::from_value(Value::Object(input)).map_err(|error| {
        error.to_string().replacen("unknown field", "unknown argument", 1).replacen(
            "missing field",
            "missing argument",
            1,
        )
    })
}

/// As it is kept and handed on.
fn plain(input: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(input) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

/// The last bytes of a text, at a character's beginning.
fn tail(text: &str, bytes: usize) -> &str {
    let start = (text.len().saturating_sub(bytes)..=text.len()).find(|at| text.is_char_boundary(*at));
    &text[start.unwrap_or(0)..]
}

/// # Errors
/// The program did not succeed, or printed more than is kept: why.
fn ended_well(run: &ExecutionAnswer) -> Result<(), String> {
    let last = || {
        let text = run
            .stderr
            .trim_end()
            .lines()
            .last()
            .or(run.warnings.first().map(String::as_str))
            .unwrap_or("it printed nothing");
        text.chars().take(300).collect::<String>()
    };
    match run.status {
        ExecutionStatus::Completed if run.truncated => Err("it printed more than 1 MiB, and was not read".to_owned()),
        ExecutionStatus::Completed => Ok(()),
        ExecutionStatus::Timeout => Err("its time was over before it had ended".to_owned()),
        ExecutionStatus::Killed => Err(format!("it was killed: {}", last())),
        _ => Err(format!("it ended with exit code {}: {}", run.exit_code.unwrap_or(-1), last())),
    }
}

fn last_line(output: &str) -> &str {
    output.trim_end().lines().next_back().unwrap_or("").trim()
}

/// What the programs of handlers print.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    vote: Decision,
    weight: f64,
    figures: Map<String, Value>,
}

/// Reads the last line of a handler's program.
fn said(output: &str) -> Result<Finding, String> {
    let line = last_line(output);
    if line.len() > RESULT_BYTES_MAX {
        return Err(format!("its result has {} bytes; at most {RESULT_BYTES_MAX} are taken", line.len()));
    }
    let Said { vote, weight, figures } =
        serde_json::from_str(line).map_err(|error| format!("its last line is not a result: {error}"))?;
    if !(0.0..=1.0).contains(&weight) {
        return Err(format!("its weight is {weight}; it must be between 0 and 1"));
    }
    Ok(Finding { vote: Some(vote), weight: Some(weight), result: figures, ..Finding::default() })
}

#[cfg(test)]
mod tests;
