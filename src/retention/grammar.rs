//! The words of retention: `7`, `14d`, `4w`, `6m`, `keep-last=3,keep-daily=7`. Judges nothing.

use super::{Period, Rules, Span};
use crate::model::{Invalid, Moment};
use std::fmt;
use std::str::FromStr;

const SPAN: &str = "a number of points, or an age as 14d, 4w or 6m";
const AGE: &str = "an age as 14d, 4w or 6m";
const PRUNE: &str = "a list as keep-last=3,keep-daily=7,keep-weekly=4";

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
            Self::Days(days) => now.plus_seconds(-86_400 * i64::from(days)),
            Self::Months(months) => months_before(now, months),
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
        let digits = text.trim_end_matches(['d', 'w', 'm']);
        let whole = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        let number: u32 = if whole { digits.parse() } else { "".parse() }.map_err(|_| invalid())?;
        match &text[digits.len()..] {
            "" => Ok(Self::Points(number)),
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
            Self::Days(n) => write!(f, "{n}d"),
            Self::Months(n) => write!(f, "{n}m"),
        }
    }
}

impl Period {
    /// The name of the period that a moment lies in, as `2026-W01`, in UTC.
    pub fn name_of(self, moment: Moment) -> String {
        let text = moment.to_string();
        match self {
            Self::Hour => text[..13].to_owned(),
            Self::Day => text[..10].to_owned(),
            Self::Week => week(moment),
            Self::Month => text[..7].to_owned(),
            Self::Year => text[..4].to_owned(),
        }
    }
}

fn week(moment: Moment) -> String {
    let timestamp = jiff::Timestamp::from_second(moment.unix()).unwrap_or_default();
    timestamp.to_zoned(jiff::tz::TimeZone::UTC).strftime("%G-W%V").to_string()
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = PERIODS.iter().find(|(_, period)| period == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

impl Rules {
    /// Adds the list of `--prune-backups`.
    ///
    /// # Errors
    /// A rule is unknown, stands twice, or its value is no number.
    pub fn add_prune_backups(&mut self, text: &str) -> Result<(), Invalid> {
        let invalid = || Invalid::new(text, PRUNE);
        let mut names = Vec::new();
        for entry in text.split(',').map(str::trim) {
            let (name, value) = entry.split_once('=').ok_or_else(invalid)?;
            if names.contains(&name) {
                return Err(invalid());
            }
            names.push(name);
            self.add(name, value).ok_or_else(invalid)?;
        }
        let rank = |wanted: Period| PERIODS.iter().position(|(_, period)| *period == wanted);
        self.periods.sort_by_key(|(period, _)| rank(*period));
        Ok(())
    }

    /// `keep-all=1` keeps everything, which is a rule like others: an age that nothing exceeds.
    fn add(&mut self, name: &str, value: &str) -> Option<()> {
        let number: u32 = value.parse().ok()?;
        if name == "keep-all" {
            self.within = (number > 0).then_some(Span::Months(u32::MAX)).or(self.within);
            return Some(());
        }
        if name == "keep-last" {
            self.last = Some(number);
            return Some(());
        }
        let (_, period) = PERIODS.iter().find(|(known, _)| *known == name)?;
        self.periods.push((*period, number));
        Some(())
    }
}
