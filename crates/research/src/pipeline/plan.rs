//! What a pipeline does next: a pure function of how its stages stand.

use std::collections::BTreeSet;

use ringfence_model::api::{PipelineStage, PipelineStatus, StageStatus};

/// Stages of one pipeline that run side by side.
const AT_ONCE_MAX: usize = 8;

/// How a stage stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) status: StageStatus,
    /// While it waits: not to be begun before, in milliseconds since the Unix epoch.
    pub(crate) not_before_ms: u64,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Begin these stages.
    Begin(Vec<usize>),
    /// Wait for one that runs, or until then.
    Wait(Option<u64>),
    /// The pipeline has ended so; stages that wait are never begun.
    End(PipelineStatus),
}

/// For each stage, the numbers of those that must have ended well before it. Names of stages that there are not are passed over.
pub(crate) fn dependencies(stages: &[PipelineStage]) -> Vec<BTreeSet<usize>> {
    let number = |name: &str| stages.iter().position(|stage| stage.name == name);
    stages.iter().map(|stage| stage.waits_for().filter_map(number).collect()).collect()
}

/// A stage and all that wait for it, also by way of others.
pub(crate) fn dependants(of: usize, dependencies: &[BTreeSet<usize>]) -> BTreeSet<usize> {
    let mut all = BTreeSet::from([of]);
    loop {
        let more: Vec<usize> = (0..dependencies.len())
            .filter(|stage| !all.contains(stage) && !dependencies[*stage].is_disjoint(&all))
            .collect();
        if more.is_empty() {
            return all;
        }
        all.extend(more);
    }
}

/// What to do next. After a stage has failed nothing new is begun, and what runs comes to its own end, so that it need not be run again
/// after a resume; the pipeline ends when nothing runs.
pub(crate) fn next(stages: &[Standing], dependencies: &[BTreeSet<usize>], cancelled: bool, now_ms: u64) -> Step {
    let running = stages.iter().filter(|stage| stage.status == StageStatus::Running).count();
    let has_failed = stages.iter().any(|stage| stage.status == StageStatus::Failed);
    if cancelled || has_failed {
        return match running {
            0 => Step::End(if cancelled { PipelineStatus::Cancelled } else { PipelineStatus::Failed }),
            _ => Step::Wait(None),
        };
    }
    if stages.iter().all(|stage| stage.status == StageStatus::Completed) {
        return Step::End(PipelineStatus::Completed);
    }
    let is_ready = |stage: &usize| {
        stages[*stage].status == StageStatus::Waiting
            && dependencies[*stage].iter().all(|before| stages[*before].status == StageStatus::Completed)
    };
    let ready: Vec<usize> = (0..stages.len()).filter(is_ready).collect();
    let due: Vec<usize> = ready
        .iter()
        .copied()
        .filter(|stage| stages[*stage].not_before_ms <= now_ms)
        .take(AT_ONCE_MAX.saturating_sub(running))
        .collect();
    if !due.is_empty() {
        return Step::Begin(due);
    }
    let later = ready.iter().map(|stage| stages[*stage].not_before_ms).filter(|at| *at > now_ms).min();
    if running == 0 && later.is_none() {
        // Nothing runs, nothing is ready, not everything is done: a stage was ended from outside, or skipped.
        return Step::End(PipelineStatus::Cancelled);
    }
    Step::Wait(later)
}

/// Milliseconds after which a stage that has failed that often is run again.
pub(crate) fn pause_ms(failures: u32) -> u64 {
    const FIRST_MS: u64 = 1000;
    const LAST_MS: u64 = 60_000;
    FIRST_MS.saturating_mul(1 << failures.saturating_sub(1).min(6)).min(LAST_MS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use StageStatus::{Cancelled, Completed, Failed, Running, Skipped, Waiting};

    fn stage(name: &str, needs: &[&str]) -> PipelineStage {
        PipelineStage {
            name: name.into(),
            needs: needs.iter().map(ToString::to_string).collect(),
            ..PipelineStage::default()
        }
    }

    /// a → b, a → c, (b, c) → d.
    fn diamond() -> Vec<BTreeSet<usize>> {
        dependencies(&[stage("a", &[]), stage("b", &["a"]), stage("c", &["a"]), stage("d", &["b", "c"])])
    }

    #[track_caller]
    fn check(stages: [StageStatus; 4], cancelled: bool, expected: Step) {
        let stages = stages.map(|status| Standing { status, not_before_ms: 0 });
        assert_eq!(next(&stages, &diamond(), cancelled, 10), expected);
    }

    #[test]
    fn what_does_not_depend_on_each_other_runs_side_by_side() {
        check([Waiting; 4], false, Step::Begin(vec![0]));
        check([Running, Waiting, Waiting, Waiting], false, Step::Wait(None));
        check([Completed, Waiting, Waiting, Waiting], false, Step::Begin(vec![1, 2]));
        check([Completed, Running, Completed, Waiting], false, Step::Wait(None));
        check([Completed, Completed, Completed, Waiting], false, Step::Begin(vec![3]));
        check([Completed; 4], false, Step::End(PipelineStatus::Completed));
        let many: Vec<PipelineStage> = (0..20).map(|n| stage(&n.to_string(), &[])).collect();
        let waiting = vec![Standing { status: Waiting, not_before_ms: 0 }; 20];
        assert_eq!(next(&waiting, &dependencies(&many), false, 0), Step::Begin((0..AT_ONCE_MAX).collect()));
    }

    #[test]
    fn after_a_failure_nothing_new_is_begun_and_what_runs_comes_to_its_end() {
        check([Completed, Failed, Running, Waiting], false, Step::Wait(None));
        check([Completed, Failed, Completed, Waiting], false, Step::End(PipelineStatus::Failed));
        check([Completed, Failed, Waiting, Waiting], false, Step::End(PipelineStatus::Failed));
        check([Completed, Running, Waiting, Waiting], true, Step::Wait(None));
        check([Completed, Cancelled, Waiting, Waiting], true, Step::End(PipelineStatus::Cancelled));
        check([Failed, Skipped, Skipped, Skipped], true, Step::End(PipelineStatus::Cancelled));
        check([Completed, Cancelled, Completed, Waiting], false, Step::End(PipelineStatus::Cancelled));
    }

    #[test]
    fn an_attempt_waits_for_its_time() {
        let stages = [Standing { status: Waiting, not_before_ms: 500 }];
        let alone = dependencies(&[stage("a", &[])]);
        assert_eq!(next(&stages, &alone, false, 499), Step::Wait(Some(500)));
        assert_eq!(next(&stages, &alone, false, 500), Step::Begin(vec![0]));
        let pauses: Vec<u64> = (1..=8).map(|n| pause_ms(n) / 1000).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    /// Every graph of five stages without a circle, every way to end: each pipeline ends, and no stage is begun before those that it needs.
    #[test]
    fn every_pipeline_comes_to_an_end() {
        for graph in 0_u32..1 << 10 {
            let mut bit = 0;
            let mut before = vec![BTreeSet::new(); 5];
            for (stage, needs) in before.iter_mut().enumerate() {
                for other in 0..stage {
                    if graph >> bit & 1 == 1 {
                        needs.insert(other);
                    }
                    bit += 1;
                }
            }
            for failing in 0..=5 {
                let mut stages = vec![Standing { status: Waiting, not_before_ms: 0 }; 5];
                let mut steps = 0;
                let end = loop {
                    steps += 1;
                    assert!(steps < 40, "{before:?} does not end");
                    match next(&stages, &before, false, 0) {
                        Step::Begin(begun) => {
                            for stage in begun {
                                assert!(before[stage].iter().all(|b| stages[*b].status == Completed), "{before:?}");
                                stages[stage].status = Running;
                            }
                        }
                        Step::Wait(_) => {
                            let running =
                                stages.iter().position(|s| s.status == Running).expect("else it waits for ever");
                            stages[running].status = if running == failing { Failed } else { Completed };
                        }
                        Step::End(end) => break end,
                    }
                };
                let expected = if failing == 5 { PipelineStatus::Completed } else { PipelineStatus::Failed };
                assert_eq!(end, expected, "{before:?}");
            }
        }
    }

    #[test]
    fn what_depends_on_a_stage_is_found_through_others() {
        assert_eq!(dependants(1, &diamond()), BTreeSet::from([1, 3]));
        assert_eq!(dependants(0, &diamond()), BTreeSet::from([0, 1, 2, 3]));
        assert_eq!(dependants(3, &diamond()), BTreeSet::from([3]));
    }
}
