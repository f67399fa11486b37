//! A verdict in words.

use super::{Answer, Shape, UNLIKELY, Verdict};
use crate::metrics::Unit;

/// What the figures say, the answer first.
pub(super) fn sentence(verdict: &Verdict, excess_return: Option<f64>) -> String {
    let Some(luck) = verdict.luck else {
        return String::from(
            "There is nothing to judge: the best has no Sharpe ratio, because its returns do not differ or are too few.",
        );
    };
    let ratio = |value: Option<f64>| Unit::Ratio.text(value);
    let (tried, best) = (verdict.trials, ratio(verdict.sharpe));
    let answer = match verdict.answer {
        Answer::Likely => "is no better than luck would make it",
        Answer::Possible => "may be luck",
        Answer::Unlikely => "is unlikely to be luck",
        Answer::Unknown => "cannot be judged",
    };
    let mut text = if verdict.answer == Answer::Possible && luck <= UNLIKELY {
        // Little by itself, so the halves have made it so.
        format!(
            "The best {answer}. By its Sharpe ratio alone the probability of that is {}, but what was chosen on one half of the time did \
             not reliably carry over to the other.",
            probability(luck)
        )
    } else {
        format!("The best {answer}: the probability that it is luck is {}.", probability(luck))
    };
    if tried > 1 {
        text += &format!(
            " Its Sharpe ratio is {best}, and the best of {tried} combinations without any merit would be expected to have {}.",
            ratio(verdict.expected_maximum_sharpe)
        );
    } else {
        text += &format!(" Its Sharpe ratio is {best}, and nothing else was counted as tried.");
    }
    if let Some(share) = verdict.overfitting {
        text += &format!(
            " When the best is chosen on half of the time, it is in the worse half of all combinations on the rest in {} of the splits.",
            percent(share)
        );
    }
    if let Some(around) = &verdict.surroundings {
        text += match around.shape {
            Shape::Plateau => " The combinations beside it are nearly as good.",
            Shape::Slope => " The combinations beside it keep a part of its lead.",
            Shape::Spike => {
                " The combinations beside it are hardly better than any others: it hangs on the exact parameters."
            }
            Shape::Unknown => "",
        };
    }
    if excess_return.is_some_and(|excess| excess <= 0.0) {
        text += " It earned less than buying and holding.";
    }
    text
}

/// A share of what was counted, in whole percent. What is not quite nothing, or not quite everything, is not written as that.
fn percent(share: f64) -> String {
    if share == 0.0 || share == 1.0 { format!("{:.0} %", share * 100.0) } else { probability(share) }
}

/// A probability in whole percent, which is never nothing nor everything.
fn probability(value: f64) -> String {
    match value * 100.0 {
        little if little < 1.0 => String::from("less than 1 %"),
        much if much > 99.0 => String::from("more than 99 %"),
        between => format!("{between:.0} %"),
    }
}
