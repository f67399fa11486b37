//! An execution followed to its end: what it prints is shown while it runs.

use std::{io, time::Duration};

use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{Actor, Denial, ExecuteRequest, ExecutionAnswer, ExecutionRequest, ExecutionStatus};

use crate::output;

/// How often a program that runs is asked for what it printed. One that ends sooner is answered at once.
const EVERY: Duration = Duration::from_millis(500);

/// Exit code of a program whose end left none.
const NO_CODE: i32 = 1;

/// Runs code and shows what it prints, as it is. `started` hears of the execution as soon as it has an id.
///
/// # Errors
/// The request was refused, or the output could not be written; the program may then still run.
pub(crate) async fn execute(
    api: &dyn Sandboxes,
    mut request: ExecuteRequest,
    is_shown: bool,
) -> anyhow::Result<ExecutionAnswer> {
    request.wait = Some(EVERY.as_secs_f64());
    let mut answer = api.execute(Actor::Operator, request).await?;
    let (mut shown_out, mut shown_err) = (0, 0);
    loop {
        let is_running = answer.status == ExecutionStatus::Running;
        if is_shown {
            let news = news(&answer.output, shown_out, is_running);
            shown_out += news.len();
            output::raw(news.as_bytes())?;
            let news = news_of_stderr(&answer, shown_err, is_running);
            shown_err += news.len();
            // Whoever closed standard error wants none of it.
            let _: io::Result<()> = output::raw_error(news.as_bytes());
        }
        if !is_running {
            return Ok(answer);
        }
        let id = answer.execution_id.to_string();
        let request = ExecutionRequest { execution_id: id, wait: Some(EVERY.as_secs_f64()) };
        answer = api.execution(Actor::Operator, request).await?;
    }
}

fn news_of_stderr(answer: &ExecutionAnswer, shown: usize, is_running: bool) -> &str {
    news(&answer.stderr, shown, is_running)
}

/// What was not shown yet. While the program runs the text may end in the middle of a character, which is held back.
fn news(text: &str, shown: usize, is_running: bool) -> &str {
    let news = text.get(shown..).unwrap_or_default();
    if is_running { news.trim_end_matches(char::REPLACEMENT_CHARACTER) } else { news }
}

/// What is worth knowing beside the output, on standard error. `stays` is whether the sandbox is there afterwards.
pub(crate) fn remarks(answer: &ExecutionAnswer, stays: bool) {
    if answer.truncated {
        output::note(&format!(
            "ringfence: the output was cut: the program printed {} bytes in all",
            answer.output_bytes
        ));
    }
    for warning in &answer.warnings {
        output::note(&format!("ringfence: {warning}"));
    }
    for denial in &answer.denials {
        output::note(&refusal(denial, stays));
    }
}

/// A refusal, and what would allow it.
fn refusal(denial: &Denial, stays: bool) -> String {
    let what = match (&denial.method, &denial.path) {
        (Some(method), Some(path)) => format!("{method} {path} at {}", denial.destination),
        _ => denial.destination.clone(),
    };
    let times = if denial.count > 1 { format!(", {} times", denial.count) } else { String::new() };
    let mut text = format!("ringfence: the network refused {what}{times}: {}", denial.reason);
    match denial.allow_with.split_once(" --allow ") {
        _ if denial.allow_with.is_empty() => {}
        // A sandbox that is gone cannot be configured.
        Some((_, host)) if !stays => text.push_str(&format!("\n  to allow it, run it again with: --allow {host}")),
        _ => text.push_str(&format!("\n  to allow it: {}", denial.allow_with)),
    }
    text
}

/// The program's own exit code.
pub(crate) fn exit_code(answer: &ExecutionAnswer) -> i32 {
    answer.exit_code.unwrap_or(NO_CODE)
}

#[cfg(test)]
mod tests {
    use ringfence_model::net::{DenialReason, Protocol};

    use super::*;

    #[test]
    fn a_refusal_says_what_would_allow_it() {
        let mut denial = Denial {
            destination: "api.example.com:443".into(),
            protocol: Protocol::Http,
            code: DenialReason::MethodNotAllowed,
            reason: "the host is allowed, but not with this method".into(),
            method: Some("POST".into()),
            path: Some("/v2/orders".into()),
            allow_with: "ringfence sandbox configure ihhh --allow api.example.com:443".into(),
            count: 3,
        };
        assert_eq!(
            refusal(&denial, true),
            "ringfence: the network refused POST /v2/orders at api.example.com:443, 3 times: the host is allowed, but not with \
             this method\n  to allow it: ringfence sandbox configure ihhh --allow api.example.com:443"
        );
        assert!(refusal(&denial, false).ends_with("run it again with: --allow api.example.com:443"));
        denial.allow_with.clear();
        assert!(!refusal(&denial, true).contains("to allow"));
    }

    #[test]
    fn half_a_character_waits_for_the_other_half() {
        assert_eq!(news("ab\u{fffd}", 0, true), "ab");
        assert_eq!(news("abé!", 2, true), "é!");
        assert_eq!(news("ab\u{fffd}", 2, false), "\u{fffd}");
        assert_eq!(news("ab", 2, true), "");
        assert_eq!(news("ab", 9, true), "");
    }
}
