//! The calendar of the rules for periods: when an hour, a day, a week, a month and a year begin, in
//! one time zone. Reads no zone by itself: that is `clock`'s.

use super::Period;
use crate::model::Moment;
use jiff::tz::TimeZone;

/// A calendar in one time zone. PVE and Proxmox Backup Server count in the local time of the machine
/// (`localtime`), so that the hour which the end of summer time brings twice is one hour, and the
/// day has 25 of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar(TimeZone);

impl Default for Calendar {
    /// That of UTC.
    fn default() -> Self {
        Self(TimeZone::UTC)
    }
}

impl Calendar {
    /// That of a time zone.
    pub fn of(zone: TimeZone) -> Self {
        Self(zone)
    }

    /// The name of the period that a moment lies in, as `2026-W01`: weeks are those of ISO 8601, which
    /// begin on Monday.
    pub fn name_of(&self, period: Period, moment: Moment) -> String {
        let form = match period {
            Period::Hour => "%Y-%m-%dT%H",
            Period::Day => "%Y-%m-%d",
            Period::Week => "%G-W%V",
            Period::Month => "%Y-%m",
            Period::Year => "%Y",
        };
        let timestamp = jiff::Timestamp::from_second(moment.unix()).unwrap_or_default();
        timestamp.to_zoned(self.0.clone()).strftime(form).to_string()
    }
}
