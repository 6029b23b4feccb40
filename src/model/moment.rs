//! A moment in UTC with the precision of a second: what a restore point is dated with.

use super::{Invalid, serde_as_text};
use std::fmt;
use std::str::FromStr;

/// Seconds since 1970-01-01T00:00:00Z; printed as RFC 3339. It is never used for order: `seq` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(jiff::Timestamp);

/// Seconds by which a point may be dated after its run: a second run within one second takes the next
/// second that is free, and so on up to an hour.
pub const MOVED_ON_AT_MOST: i64 = 3600;

const RFC3339: &str = "a moment (RFC 3339, as 2026-01-01T00:00:00Z)";
const STAMP: &str = "a stamp (YYYYMMDDTHHMMSSZ)";

impl Moment {
    /// The moment `seconds` after 1970; out of range values become the nearest valid one.
    pub fn from_unix(seconds: i64) -> Self {
        let limits = (jiff::Timestamp::MIN.as_second() + 1, jiff::Timestamp::MAX.as_second() - 1);
        let inside = seconds.clamp(limits.0, limits.1);
        Self(jiff::Timestamp::from_second(inside).unwrap_or(jiff::Timestamp::UNIX_EPOCH))
    }

    /// Seconds since 1970.
    pub fn unix(self) -> i64 {
        self.0.as_second()
    }

    /// The form that stands in names: `20260101T000000Z`.
    pub fn stamp(self) -> String {
        self.0.strftime("%Y%m%dT%H%M%SZ").to_string()
    }

    /// Reads the form that stands in names, whole.
    ///
    /// # Errors
    /// The text has another form or names no moment.
    pub fn from_stamp(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::new(text, STAMP);
        let form_fits = text.len() == 16
            && text.bytes().enumerate().all(|(i, b)| match i {
                8 => b == b'T',
                15 => b == b'Z',
                _ => b.is_ascii_digit(),
            });
        if !form_fits {
            return Err(invalid());
        }
        let civil =
            jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text).map_err(|_| invalid())?;
        let zoned = civil.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| invalid())?;
        Ok(Self(zoned.timestamp()))
    }

    /// Whether a point of this moment was dated by a clock that was wrong: it lies after `now` by more
    /// than [`MOVED_ON_AT_MOST`], which is what finding a free name may add to a right clock's time.
    pub fn is_in_the_future(self, now: Self) -> bool {
        self > now.plus_seconds(MOVED_ON_AT_MOST)
    }

    /// The moment so many seconds later (or earlier, when negative).
    #[must_use]
    pub fn plus_seconds(self, seconds: i64) -> Self {
        Self::from_unix(self.unix().saturating_add(seconds))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
    }
}

impl FromStr for Moment {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let parsed: jiff::Timestamp = text.parse().map_err(|_| Invalid::new(text, RFC3339))?;
        Ok(Self::from_unix(parsed.as_second()))
    }
}

serde_as_text!(Moment, RFC3339);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_round_trip() {
        let moment = Moment::from_unix(1_767_225_600);
        assert_eq!(moment.to_string(), "2026-01-01T00:00:00Z");
        assert_eq!(moment.stamp(), "20260101T000000Z");
        assert_eq!(Moment::from_stamp("20260101T000000Z"), Ok(moment));
        assert_eq!("2026-01-01T00:00:00Z".parse(), Ok(moment));
        assert_eq!("2026-01-01T01:00:00+01:00".parse(), Ok(moment));
    }

    #[test]
    fn names_that_are_no_moment_are_refused() {
        for text in [
            "",
            "20260101T000000",
            "20261301T000000Z",
            "2026-01-01T00:00Z",
            "20260101t000000z",
            "20260101T0000000",
        ] {
            assert!(Moment::from_stamp(text).is_err(), "{text}");
        }
    }
}
