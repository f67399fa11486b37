//! What time it is in an account's replayed market.
//!
//! Pure: the real time is handed in. The clock stands still, runs at a multiple of the real one, or is the real one, and it
//! never goes back: a start in the past is a new clock, and with it a new account.

use jiff::{SignedDuration, Timestamp};
use ringfence_market::calendar;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// Where a replay begins unless something else is said: 2012-01-03 10:00 in New York, a Tuesday with a session, half an hour
/// after its open, for which the built-in bars have data.
pub const START: Timestamp = Timestamp::constant(1_325_602_800, 0);

/// The highest multiple of real time: eleven and a half days a second. With more, the clock would be past the data before
/// an answer had arrived.
pub const SPEED_MAX: Decimal = Decimal::from_parts(1_000_000, 0, 0, false, 0);

/// The most decimal places of a speed.
pub const SPEED_PLACES_MAX: u32 = 6;

/// Seconds of replayed time for one second of real time: above 0, at most [`SPEED_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Decimal", into = "Decimal")]
pub struct Speed(Decimal);

impl Speed {
    /// As quickly as real time.
    pub const ONE: Self = Self(Decimal::ONE);

    /// Checks a speed.
    ///
    /// # Errors
    /// [`ClockError::Speed`] when it is not above 0, above [`SPEED_MAX`], or finer than [`SPEED_PLACES_MAX`] decimal places.
    pub fn new(speed: Decimal) -> Result<Self, ClockError> {
        let speed = speed.normalize();
        if speed > Decimal::ZERO && speed <= SPEED_MAX && speed.scale() <= SPEED_PLACES_MAX {
            Ok(Self(speed))
        } else {
            Err(ClockError::Speed(speed))
        }
    }

    /// The multiple.
    #[must_use]
    pub fn get(self) -> Decimal {
        self.0
    }

    /// Replayed nanoseconds that pass in real ones, rounded down.
    fn stretch(self, real_ns: i128) -> i128 {
        // At most 2^78 (the span of all timestamps) times 10^12: far below 2^127.
        real_ns * self.0.mantissa() / 10_i128.pow(self.0.scale())
    }
}

impl TryFrom<Decimal> for Speed {
    type Error = ClockError;

    fn try_from(speed: Decimal) -> Result<Self, ClockError> {
        Self::new(speed)
    }
}

impl From<Speed> for Decimal {
    fn from(speed: Speed) -> Self {
        speed.0
    }
}

/// How the clock moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// With the real clock, at a multiple of its speed.
    Running {
        /// That multiple.
        speed: Speed,
    },
    /// Only when it is told to.
    Stepped,
    /// It is the real clock.
    Real,
}

/// Why a clock cannot be set so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's sentence is its documentation")]
pub enum ClockError {
    #[error("a speed is above 0, at most 1000000, and has at most 6 decimal places; {0} does not")]
    Speed(Decimal),
    #[error("it is {now} already, and a clock does not go back to {asked}: reset the account to begin again earlier")]
    Backwards { now: Timestamp, asked: Timestamp },
    #[error("the clock is the real one, which cannot be moved")]
    Real,
    #[error("there is no later session in the calendar, which ends with 2030")]
    NoSession,
    #[error("this is beyond the years that a clock can show")]
    TooFar,
}

/// An account's clock. What was once shown ([`Self::show`]) is never gone back behind, even when the real clock is set back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayClock {
    mode: Mode,
    /// What this clock showed …
    anchor_virtual: Timestamp,
    /// … when the real one showed this.
    anchor_real: Timestamp,
    /// The latest time that was shown.
    reached: Timestamp,
}

impl ReplayClock {
    /// A clock that shows `start` while the real one shows `real`.
    #[must_use]
    pub fn new(start: Timestamp, mode: Mode, real: Timestamp) -> Self {
        let start = if mode == Mode::Real { real } else { start };
        Self { mode, anchor_virtual: start, anchor_real: real, reached: start }
    }

    /// Runs from [`START`], as quickly as real time.
    #[must_use]
    pub fn default_at(real: Timestamp) -> Self {
        Self::new(START, Mode::Running { speed: Speed::ONE }, real)
    }

    /// How it moves.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// What it shows while the real clock shows `real`. Beyond the last timestamp it stands still.
    #[must_use]
    pub fn now(&self, real: Timestamp) -> Timestamp {
        let shown = match self.mode {
            Mode::Real => real,
            Mode::Stepped => self.anchor_virtual,
            Mode::Running { speed } => {
                let passed = (real.as_nanosecond() - self.anchor_real.as_nanosecond()).max(0);
                let now = self.anchor_virtual.as_nanosecond() + speed.stretch(passed);
                Timestamp::from_nanosecond(now).unwrap_or(Timestamp::MAX)
            }
        };
        shown.max(self.reached)
    }

    /// [`Self::now`], and nothing earlier from here on.
    pub fn show(&mut self, real: Timestamp) -> Timestamp {
        self.reached = self.now(real);
        self.reached
    }

    /// Moves otherwise from now on. What it shows now does not change, unless it becomes the real clock.
    ///
    /// # Errors
    /// [`ClockError::Backwards`] when it should become the real clock and is ahead of it.
    pub fn set_mode(&mut self, mode: Mode, real: Timestamp) -> Result<(), ClockError> {
        let now = self.now(real);
        if mode == Mode::Real && real < now {
            return Err(ClockError::Backwards { now, asked: real });
        }
        *self = Self::new(now, mode, real);
        Ok(())
    }

    /// Shows `to` from now on, and goes on from there as before.
    ///
    /// # Errors
    /// `to` is in the past, or the clock is the real one.
    pub fn step_to(&mut self, to: Timestamp, real: Timestamp) -> Result<(), ClockError> {
        let now = self.now(real);
        if self.mode == Mode::Real {
            return Err(ClockError::Real);
        }
        if to < now {
            return Err(ClockError::Backwards { now, asked: to });
        }
        *self = Self::new(to, self.mode, real);
        Ok(())
    }

    /// Moves ahead by `by`; the new time.
    ///
    /// # Errors
    /// As [`Self::step_to`], and beyond the last timestamp.
    pub fn step_by(&mut self, by: SignedDuration, real: Timestamp) -> Result<Timestamp, ClockError> {
        let to = self.now(real).checked_add(by).map_err(|_| ClockError::TooFar)?;
        self.step_to(to, real)?;
        Ok(to)
    }

    /// Moves ahead to the next open; the new time.
    ///
    /// # Errors
    /// As [`Self::step_to`], and when the calendar has no later session.
    pub fn next_session(&mut self, real: Timestamp) -> Result<Timestamp, ClockError> {
        let to = calendar::next_open(self.now(real)).ok_or(ClockError::NoSession)?;
        self.step_to(to, real)?;
        Ok(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::new(1_700_000_000 + seconds, 0).expect("an instant")
    }

    fn running(speed: &str) -> ReplayClock {
        let speed = Speed::new(speed.parse().expect("a decimal")).expect("a speed");
        ReplayClock::new(START, Mode::Running { speed }, at(0))
    }

    fn shown(clock: &ReplayClock, real: Timestamp) -> i64 {
        clock.now(real).as_second() - START.as_second()
    }

    #[test]
    fn the_default_is_a_tuesday_morning_in_2012() {
        let clock = ReplayClock::default_at(at(0));
        assert_eq!(ringfence_market::new_york::civil(clock.now(at(0))).to_string(), "2012-01-03T10:00:00");
        assert_eq!(shown(&clock, at(7)), 7);
    }

    #[test]
    fn a_running_clock_is_a_multiple_of_the_real_one() {
        assert_eq!(shown(&running("60"), at(10)), 600);
        assert_eq!(shown(&running("0.25"), at(8)), 2);
        assert_eq!(shown(&running("1000000"), at(3600)), 3_600_000_000);
        assert_eq!(running("1000000").now(Timestamp::MAX), Timestamp::MAX);
    }

    #[test]
    fn a_stepped_clock_moves_when_it_is_told_to() {
        let mut clock = ReplayClock::new(START, Mode::Stepped, at(0));
        assert_eq!(shown(&clock, at(1000)), 0);
        clock.step_by(SignedDuration::from_mins(1), at(1000)).expect("ahead");
        assert_eq!(shown(&clock, at(2000)), 60);
        assert_eq!(clock.next_session(at(0)).expect("a session").to_string(), "2012-01-04T14:30:00Z");
    }

    #[test]
    fn a_clock_never_goes_back() {
        let mut clock = running("2");
        assert_eq!(clock.show(at(10)), clock.now(at(10)));
        assert_eq!(shown(&clock, at(5)), 20, "the real clock was set back");
        let error = clock.step_to(START, at(10)).expect_err("the past");
        assert!(error.to_string().contains("reset the account"), "{error}");
        clock.set_mode(Mode::Stepped, at(10)).expect("it can be stopped");
        assert_eq!(shown(&clock, at(99)), 20);
        clock.set_mode(Mode::Running { speed: Speed::ONE }, at(99)).expect("it can go on");
        assert_eq!(shown(&clock, at(100)), 21);
        clock.step_by(-SignedDuration::from_secs(1), at(100)).expect_err("the past");
    }

    #[test]
    fn the_real_clock_is_entered_from_the_past_and_is_not_moved() {
        let mut clock = running("1");
        clock.set_mode(Mode::Real, at(50)).expect("2023 is after 2012");
        assert_eq!(clock.now(at(60)), at(60));
        assert_eq!(clock.step_to(at(70), at(60)), Err(ClockError::Real));
        let mut ahead = ReplayClock::new(at(1000), Mode::Stepped, at(0));
        assert!(matches!(ahead.set_mode(Mode::Real, at(0)), Err(ClockError::Backwards { .. })));
    }

    #[test]
    fn a_clock_comes_back_from_json_as_it_was_and_a_bad_speed_does_not() {
        let clock = running("2.5");
        let text = serde_json::to_string(&clock).expect("plain data");
        assert!(text.contains(r#""mode":{"running":{"speed":"2.5"}}"#), "{text}");
        assert_eq!(serde_json::from_str::<ReplayClock>(&text).expect("a clock"), clock);
        serde_json::from_str::<ReplayClock>(&text.replace("2.5", "0")).expect_err("a speed of nothing");
        for speed in ["0", "-1", "1000000.1", "0.0000001"] {
            Speed::new(speed.parse().expect("a decimal")).expect_err(speed);
        }
    }
}
