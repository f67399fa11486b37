//! Strategies run by this host's own Python (in a virtual environment that is made the first time), with the runner of the harness,
//! and without a sandbox: everything about questions and answers. `crates/cli/tests/strategies.rs` has the same tests, and rougher ones, in real sandboxes.

mod answers;
mod built_ins;
mod hostile;
mod look_ahead;
mod plain;
mod scene;

use scene::Scene;
use tokio::sync::RwLock;

/// One whose sets have a second runs while no other does.
static ALONE: RwLock<()> = RwLock::const_new(());
const HURRIED: &str = "a_set_that_hangs_takes_no_other_along";

macro_rules! tests {
    ($($module:ident :: $test:ident),* $(,)?) => {
        $( #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            // Each starts a Python for each of its trials, minutes in all; in real sandboxes, where a trial is a fork, `make test` runs them.
            if std::env::var_os("RINGFENCE_LONG").is_none() {
                println!("SKIPPED: without a sandbox it is a part of the long suites; `make suites` runs it");
                return;
            }
            let (_alone, _beside);
            if stringify!($test) == HURRIED {
                _alone = ALONE.write().await;
            } else {
                _beside = ALONE.read().await;
            }
            let trials = plain::Plain::get();
            $module::$test(&Scene { trials: &trials }).await;
        } )*
    };
}

tests!(
    built_ins::each_wants_something_and_the_same_twice,
    built_ins::the_three_of_the_seed_earn_three_different_things,
    built_ins::a_batch_gives_what_single_runs_give,
    built_ins::point_in_time_gives_what_the_whole_gives,
    built_ins::parameters_are_held_to_their_bounds_in_both_languages,
    answers::positions_come_in_many_forms,
    answers::what_is_no_answer_is_refused_in_a_sentence,
    answers::orders_are_dated,
    answers::a_bar_at_a_time_with_a_memory,
    answers::what_a_program_reports_itself_is_called_so,
    answers::what_is_printed_is_logged_within_bounds,
    answers::a_traceback_shows_the_strategys_own_lines,
    answers::one_set_leaves_nothing_to_the_next,
    answers::rows_without_a_bar_are_not_asked_for,
    answers::minutes_are_named_by_new_yorks_clock,
    hostile::words_of_its_own_are_no_answer,
    hostile::numbers_that_are_none_are_refused,
    hostile::an_end_of_its_own_is_told,
    hostile::a_set_that_hangs_takes_no_other_along,
    hostile::bar_by_bar_it_can_lie_no_better,
    look_ahead::who_looks_ahead_is_caught,
    look_ahead::who_does_not_passes,
    look_ahead::chance_is_not_look_ahead,
    look_ahead::what_cannot_be_told_is_not_called_honest,
    look_ahead::bar_by_bar_nothing_is_missed,
);
