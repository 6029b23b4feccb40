//! The words of retention: `7`, `14d`, `4w`, `6m`, `keep-last=3,keep-daily=7`. Judges nothing.

use super::{Period, Rules, Span};
use crate::model::{Invalid, Moment};
use std::fmt;
use std::str::FromStr;

const SPAN: &str = "a number of points, or an age as 36h, 14d, 4w or 6m";
const AGE: &str = "an age as 36h, 14d, 4w or 6m";
const PRUNE: &str = "a list as keep-last=3,keep-daily=7,keep-weekly=4";
const ALONE: &str =
    "a list that makes sense: keep-all cannot be set together with other options, as in PVE";
const NO_NUMBER: &str = "keep-all, as all numbers of --prune-backups are 0";

/// Names of the rules for periods, from the shortest to the longest.
const PERIODS: [(&str, Period); 5] = [
    ("keep-hourly", Period::Hour),
    ("keep-daily", Period::Day),
    ("keep-weekly", Period::Week),
    ("keep-monthly", Period::Month),
    ("keep-yearly", Period::Year),
];

impl Span {
    /// Reads an age; a number of points is refused.
    ///
    /// # Errors
    /// The text has another form.
    pub fn age(text: &str) -> Result<Self, Invalid> {
        match text.parse() {
            Ok(Self::Points(_)) | Err(_) => Err(Invalid::new(text, AGE)),
            Ok(age) => Ok(age),
        }
    }

    /// The moment that lies so far before `now`; `now` itself for a number of points.
    pub fn before(self, now: Moment) -> Moment {
        match self {
            Self::Points(_) => now,
            Self::Hours(hours) => now.plus_seconds(-3600 * i64::from(hours)),
            Self::Days(days) => now.plus_seconds(-86_400 * i64::from(days)),
            Self::Months(months) => months_before(now, months),
        }
    }
}

impl Span {
    /// Whether it is of no length, so that a rule by it would keep nothing.
    pub fn is_zero(self) -> bool {
        let (Self::Points(n) | Self::Hours(n) | Self::Days(n) | Self::Months(n)) = self;
        n == 0
    }

    /// Its length in seconds at the most, for comparing two.
    pub(super) fn longest_seconds(self) -> i64 {
        match self {
            Self::Points(_) => 0,
            Self::Hours(hours) => 3600 * i64::from(hours),
            Self::Days(days) => 86_400 * i64::from(days),
            Self::Months(months) => 31 * 86_400 * i64::from(months),
        }
    }
}

fn months_before(now: Moment, months: u32) -> Moment {
    let earlier = || {
        let now = jiff::Timestamp::from_second(now.unix()).ok()?.to_zoned(jiff::tz::TimeZone::UTC);
        let span = jiff::Span::new().try_months(i64::from(months)).ok()?;
        Some(Moment::from_unix(now.checked_sub(span).ok()?.timestamp().as_second()))
    };
    // Further back than the calendar reaches: everything stays.
    earlier().unwrap_or(Moment::from_unix(i64::MIN))
}

impl FromStr for Span {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::new(text, SPAN);
        let digits = text.trim_end_matches(['h', 'd', 'w', 'm']);
        let whole = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        let number: u32 = if whole { digits.parse() } else { "".parse() }.map_err(|_| invalid())?;
        match &text[digits.len()..] {
            "" => Ok(Self::Points(number)),
            "h" => Ok(Self::Hours(number)),
            "d" => Ok(Self::Days(number)),
            "w" => number.checked_mul(7).map(Self::Days).ok_or_else(invalid),
            "m" => Ok(Self::Months(number)),
            _ => Err(invalid()),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Points(n) => write!(f, "{n}"),
            Self::Hours(n) => write!(f, "{n}h"),
            Self::Days(n) => write!(f, "{n}d"),
            Self::Months(n) => write!(f, "{n}m"),
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = PERIODS.iter().find(|(_, period)| period == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

impl Rules {
    /// Adds the list of `--prune-backups`, as PVE reads it (pve-storage, `prune-backups` and
    /// `validate_prune_backups` in `Plugin.pm`): a zero is a rule that is not there, and a list without
    /// any other number keeps everything.
    ///
    /// # Errors
    /// A rule is unknown, stands twice, its value is no number, or `keep-all` stands with another.
    pub fn add_prune_backups(&mut self, text: &str) -> Result<(), Invalid> {
        let invalid = || Invalid::new(text, PRUNE);
        let (mut names, mut keeps_all) = (Vec::new(), false);
        for entry in text.split(',').map(str::trim) {
            let (name, value) = entry.split_once('=').ok_or_else(invalid)?;
            if names.contains(&name) {
                return Err(invalid());
            }
            names.push(name);
            match name {
                "keep-all" => keeps_all = boolean(value).ok_or_else(invalid)?,
                name => self.add(name, value).ok_or_else(invalid)?,
            }
        }
        let is_alone = self.last.is_none() && self.periods.is_empty();
        self.all = match (keeps_all, is_alone) {
            (true, false) => return Err(Invalid::new(text, ALONE)),
            (true, true) => Some("keep-all"),
            (false, true) => Some(NO_NUMBER),
            (false, false) => None,
        };
        let rank = |wanted: Period| PERIODS.iter().position(|(_, period)| *period == wanted);
        self.periods.sort_by_key(|(period, _)| rank(*period));
        Ok(())
    }

    fn add(&mut self, name: &str, value: &str) -> Option<()> {
        let number = Some(value.parse::<u32>().ok()?).filter(|number| *number > 0);
        if name == "keep-last" {
            self.last = number;
            return Some(());
        }
        let (_, period) = PERIODS.iter().find(|(known, _)| *known == name)?;
        self.periods.extend(number.map(|number| (*period, number)));
        Some(())
    }
}

/// PVE's words for yes and no (pve-common, `JSONSchema::parse_boolean`).
fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "on" | "yes" | "true" => Some(true),
        "0" | "off" | "no" | "false" => Some(false),
        _ => None,
    }
}
