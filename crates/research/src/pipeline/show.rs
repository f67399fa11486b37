//! Pipelines as answers.

use jiff::Timestamp;
use ringfence_model::api::{PipelineAnswer, PipelineStageView, PipelineSummary, StageStatus};

use super::record::Pipeline;

/// A time as clients read it.
fn time(ms: u64) -> String {
    let ms = i64::try_from(ms).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(ms).map_or_else(|_| String::new(), |time| time.to_string())
}

impl Pipeline {
    pub(crate) fn answer(&self) -> PipelineAnswer {
        let stages = self.request.stages.iter().zip(&self.stages).map(|(asked, stage)| {
            let record = stage.record.clone();
            PipelineStageView {
                name: asked.name.clone(),
                kind: asked.kind,
                template: asked.template.clone(),
                status: stage.status,
                attempts: record.attempts,
                cut_off: record.cut_off,
                error: record.error,
                started_at: record.started_at_ms.map(time),
                ended_at: record.ended_at_ms.map(time),
                inputs: record.inputs,
                outputs: record.outputs,
                sandbox_id: record.sandbox,
                execution: record.execution,
                trading: record.trading,
            }
        });
        PipelineAnswer {
            success: self.status.is_success(),
            pipeline_id: self.id.clone(),
            name: self.request.name.clone(),
            status: self.status,
            error: self.state.error.clone(),
            created_at: time(self.created_at_ms),
            ended_at: self.ended_at_ms.map(time),
            stages: stages.collect(),
        }
    }

    pub(crate) fn summary(&self) -> PipelineSummary {
        let count = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        PipelineSummary {
            pipeline_id: self.id.clone(),
            name: self.request.name.clone(),
            status: self.status,
            stages: count(self.stages.len()),
            completed: count(self.stages.iter().filter(|stage| stage.status == StageStatus::Completed).count()),
            error: self.state.error.clone(),
            created_at: time(self.created_at_ms),
            ended_at: self.ended_at_ms.map(time),
        }
    }
}

/// The end of a text of a program's: at most so many bytes, from the beginning of a line where that is possible.
pub(crate) fn tail(text: &str, bytes_max: usize) -> &str {
    if text.len() <= bytes_max {
        return text;
    }
    let mut from = text.len() - bytes_max;
    while !text.is_char_boundary(from) {
        from += 1;
    }
    let rest = &text[from..];
    match rest.find('\n') {
        Some(at) if at + 1 < rest.len() => &rest[at + 1..],
        _ => rest,
    }
}

/// The last lines of a text, in one line, for a sentence.
pub(crate) fn last_lines(text: &str) -> String {
    const LINES: usize = 3;
    const BYTES_MAX: usize = 400;
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines[lines.len().saturating_sub(LINES)..].join(" | ");
    let shown = tail(&last, BYTES_MAX);
    shown.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_text_is_whole_lines_and_whole_characters() {
        assert_eq!(tail("a\nb", 10), "a\nb");
        assert_eq!(tail("first\nsecond\n", 9), "second\n");
        assert_eq!(tail("ää", 3), "ä");
        assert_eq!(tail("one long line", 4), "line");
        assert_eq!(
            last_lines("Traceback:\n  File\n\n  x = 1\nValueError: no\u{1b}[31m\n"),
            "File | x = 1 | ValueError: no [31m"
        );
        assert_eq!(last_lines(""), "");
    }
}
