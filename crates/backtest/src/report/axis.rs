//! Where the lines of a chart's axes are, and what stands beside them.

use jiff::civil::{Date, date};

use super::write::number;

/// From values to places between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    /// Equal ratios are equal distances.
    pub(super) logarithmic: bool,
}

/// Beyond this ratio of highest to lowest a scale of amounts is logarithmic: a year's growth would be as high as the page otherwise.
const LINEAR_RATIO_MAX: f64 = 4.0;

impl Scale {
    /// Holds all of `values`, with some room above and below.
    pub(super) fn of_amounts(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = span(values);
        if low > 0.0 && high / low > LINEAR_RATIO_MAX {
            return Self { low: low / 1.08, high: high * 1.08, logarithmic: true };
        }
        let room = if high > low { (high - low) * 0.05 } else { high.abs().max(1.0) * 0.05 };
        Self { low: low - room, high: high + room, logarithmic: false }
    }

    /// From the lowest of `values` to zero.
    pub(super) fn below_zero(values: impl Iterator<Item = f64>) -> Self {
        let (low, _) = span(values);
        Self { low: (low * 1.1).min(-0.01), high: 0.0, logarithmic: false }
    }

    /// From the first to the last of them, without room.
    pub(super) fn exactly(low: f64, high: f64) -> Self {
        Self { low, high: if high > low { high } else { low + 1.0 }, logarithmic: false }
    }

    /// 0 is the lowest, 1 the highest.
    pub(super) fn place(&self, value: f64) -> f64 {
        if self.logarithmic {
            (libm::log(value.max(self.low)) - libm::log(self.low)) / (libm::log(self.high) - libm::log(self.low))
        } else {
            (value - self.low) / (self.high - self.low)
        }
    }

    /// Round values within it, about `count`.
    pub(super) fn ticks(&self, count: usize) -> Vec<f64> {
        if self.logarithmic { self.ticks_of_ratios(count) } else { self.ticks_of_steps(count) }
    }

    fn ticks_of_steps(&self, count: usize) -> Vec<f64> {
        let most = count.max(1) as f64 + 0.5;
        let power = libm::pow(10.0, libm::floor(libm::log10((self.high - self.low) / most)));
        let mut steps = [1.0, 2.0, 5.0].into_iter().map(|m| m * power);
        let step = steps.find(|step| (self.high - self.low) / step <= most).unwrap_or(10.0 * power);
        let first = libm::ceil(self.low / step);
        let ticks = (0..64).map(|at| (first + f64::from(at)) * step);
        ticks.take_while(|tick| *tick <= self.high + step * 1e-9).collect()
    }

    fn ticks_of_ratios(&self, count: usize) -> Vec<f64> {
        let decades: Vec<f64> = (-12..=18)
            .map(|p| libm::pow(10.0, f64::from(p)))
            .filter(|d| d * 10.0 >= self.low && *d <= self.high)
            .collect();
        let steps: [&[f64]; 4] =
            [&[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0], &[1.0, 2.0, 3.0, 5.0], &[1.0, 2.0, 5.0], &[1.0, 3.0]];
        let within = |steps: &[f64]| -> Vec<f64> {
            decades
                .iter()
                .flat_map(|decade| steps.iter().map(move |step| step * decade))
                .filter(|tick| (self.low..=self.high).contains(tick))
                .collect()
        };
        steps.into_iter().map(within).find(|ticks| ticks.len() <= count).unwrap_or_else(|| within(&[1.0]))
    }
}

fn span(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let finite = values.filter(|value| value.is_finite());
    let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    if low <= high { (low, high) } else { (0.0, 1.0) }
}

/// An amount beside an axis, short: `1.5M`, `20k`, `0.25`.
pub(super) fn amount(value: f64) -> String {
    let magnitude = value.abs();
    let (scaled, unit) = match magnitude {
        m if m >= 1e9 => (value / 1e9, "B"),
        m if m >= 1e6 => (value / 1e6, "M"),
        m if m >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = if (1e3..1e4).contains(&magnitude) { 0 } else { 3 };
    let text = number(scaled, digits);
    let text = if text.contains('.') && !text.contains('e') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    format!("{text}{unit}")
}

/// Days since 1970.
pub(super) fn day_number(day: Date) -> f64 {
    f64::from((day - date(1970, 1, 1)).get_days())
}

/// Days between `first` and `last` at which a year, a month or a day begins, about `count`, and what is written there.
pub(super) fn days(first: Date, last: Date, count: usize) -> Vec<(Date, String)> {
    let months =
        (i32::from(last.year()) - i32::from(first.year())) * 12 + i32::from(last.month()) - i32::from(first.month());
    let count = i32::try_from(count.max(1)).unwrap_or(8);
    if months < 2 {
        return weeks(first, last, count);
    }
    let step = [1, 2, 3, 6, 12, 24, 60, 120, 240].into_iter().find(|step| months / step <= count).unwrap_or(600);
    let begin = i32::from(first.year()) * 12 + i32::from(first.month()) - 1;
    let from = begin.div_euclid(step) * step;
    (0..=64)
        .map(|at| from + at * step)
        .filter_map(|month| {
            let year = i16::try_from(month.div_euclid(12)).ok()?;
            let day = Date::new(year, i8::try_from(month.rem_euclid(12)).ok()? + 1, 1).ok()?;
            let text = if step >= 12 { year.to_string() } else { day.strftime("%b %Y").to_string() };
            (first..=last).contains(&day).then_some((day, text))
        })
        .collect()
}

fn weeks(first: Date, last: Date, count: i32) -> Vec<(Date, String)> {
    let length = (last - first).get_days();
    let step = usize::try_from((length / count).max(1)).unwrap_or(1);
    first
        .series(jiff::Span::new().days(1))
        .take_while(|day| *day <= last)
        .step_by(step)
        .map(|day| (day, day.strftime("%b %-d").to_string()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        let scale = Scale::of_amounts([98_000.0, 131_000.0].into_iter());
        assert_eq!(scale.ticks(5), [100_000.0, 110_000.0, 120_000.0, 130_000.0]);
        let wide = Scale::of_amounts([90_000.0, 2_000_000.0].into_iter());
        assert!(wide.logarithmic);
        assert_eq!(wide.ticks(5), [100_000.0, 200_000.0, 500_000.0, 1_000_000.0, 2_000_000.0]);
        assert_eq!(Scale::below_zero([-0.3, 0.0].into_iter()).ticks(3).len(), 4);
        assert!(!Scale::of_amounts([f64::NAN].into_iter()).ticks(4).is_empty());
    }

    #[test]
    fn amounts_are_short() {
        let cases = [
            (1_500_000.0, "1.5M"),
            (20_000.0, "20k"),
            (0.25, "0.25"),
            (1_500.0, "1,500"),
            (100.0, "100"),
            (-2e9, "−2B"),
        ];
        for (value, text) in cases {
            assert_eq!(amount(value), text);
        }
    }

    #[test]
    fn a_long_time_has_years_and_a_short_one_days() {
        let texts = |first, last| days(first, last, 8).into_iter().map(|(_, text)| text).collect::<Vec<_>>();
        assert_eq!(texts(date(2000, 3, 1), date(2013, 3, 1)), ["2002", "2004", "2006", "2008", "2010", "2012"]);
        assert_eq!(texts(date(2012, 5, 18), date(2013, 3, 1)).first().map(String::as_str), Some("Jul 2012"));
        assert_eq!(texts(date(2012, 5, 1), date(2012, 5, 3)), ["May 1", "May 2", "May 3"]);
        assert_eq!(texts(date(2012, 5, 1), date(2012, 5, 1)), ["May 1"]);
    }
}
