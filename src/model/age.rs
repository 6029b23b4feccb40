//! How long ago something was, for people. Not for durations of a run: those are seconds in a report.

use super::{MOVED_ON_AT_MOST, Moment};
use std::fmt;

/// Seconds between then and now, displayed in the largest unit that says enough, as `26 h`. What is
/// dated in the future ([`Moment::is_in_the_future`]) has no age and says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Age(pub i64);

/// What is younger was dated by a wrong clock, and not moved on to a free name.
const NOT_YET: i64 = -MOVED_ON_AT_MOST;

impl Age {
    /// The age of what happened at that moment.
    pub fn of(then: Moment, now: Moment) -> Self {
        Self(now.unix() - then.unix())
    }

    /// Whether it was dated by a wrong clock, as [`Moment::is_in_the_future`].
    pub fn is_in_the_future(self) -> bool {
        self.0 < NOT_YET
    }
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(seconds) = *self;
        match seconds {
            i64::MIN..NOT_YET => f.pad("future"),
            NOT_YET..0 => f.pad("0 s"),
            0..120 => f.pad(&format!("{seconds} s")),
            120..7200 => f.pad(&format!("{} min", seconds / 60)),
            7200..172_800 => f.pad(&format!("{} h", seconds / 3600)),
            _ => f.pad(&format!("{} d", seconds / 86_400)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short_and_a_future_is_no_age() {
        let ages = [-3601, -3600, 119, 120, 7199, 7200, 172_800].map(|age| Age(age).to_string());
        assert_eq!(ages, ["future", "0 s", "119 s", "2 min", "119 min", "2 h", "2 d"]);
        let (then, now) = (Moment::from_unix(1000), Moment::from_unix(1060));
        assert_eq!(Age::of(then, now).to_string(), "60 s");
    }
}
