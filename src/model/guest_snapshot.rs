//! Snapshots of a whole guest, which PVE makes and lists, and the names that automatic ones bear.
//! Not the snapshots on a storage: those are `SnapshotName`'s.
//!
//! A name is `auto`, the label, and the local time in the timestamp format, as cv4pve-autosnap has
//! it; so each recognises the other's. A snapshot is ours when its whole name parses so and its
//! description says so.

use super::{Invalid, Label};
use std::fmt;
use std::str::FromStr;

/// What we write as description: the word by which cv4pve-autosnap knows its own.
pub const DESCRIPTION: &str = "cv4pve-autosnap";

/// What its predecessor wrote.
const OLD_DESCRIPTION: &str = "eve4pve-autosnap";

/// PVE's limit for the name of a snapshot (`pve-configid`, maxLength 40).
pub const LONGEST_NAME: usize = 40;

/// A snapshot as PVE lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestSnapshot {
    /// Its name.
    pub name: String,
    /// When it was made, in seconds since 1970; 0 when PVE does not know.
    pub taken: i64,
    /// Its description as it was written.
    pub description: String,
    /// The snapshot before it.
    pub parent: Option<String>,
    /// Whether the guest's memory is in it.
    pub has_memory: bool,
    /// What PVE has not finished: `prepare` or `delete`.
    pub unfinished: Option<String>,
}

impl GuestSnapshot {
    /// Whether the description is that of an automatic snapshot. PVE appends a newline to it for
    /// some guests.
    pub fn is_described_as_automatic(&self) -> bool {
        let description = self.description.replace(['\r', '\n'], "");
        description == DESCRIPTION || description == OLD_DESCRIPTION
    }
}

/// How the time stands in names: `yyMMddHHmmss` and the like. Only forms that sort as time does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimestampFormat {
    parts: Vec<Part>,
    text: String,
}

/// One piece of a format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Digits of a unit: its rank from the year down, how many, the largest value.
    Unit {
        rank: usize,
        digits: usize,
        range: (u32, u32),
        directive: &'static str,
    },
    Separator(char),
}

const UNITS: [(&str, Part); 7] = [
    ("yyyy", Part::Unit { rank: 0, digits: 4, range: (1970, 9999), directive: "%Y" }),
    ("yy", Part::Unit { rank: 0, digits: 2, range: (0, 99), directive: "%y" }),
    ("MM", Part::Unit { rank: 1, digits: 2, range: (1, 12), directive: "%m" }),
    ("dd", Part::Unit { rank: 2, digits: 2, range: (1, 31), directive: "%d" }),
    ("HH", Part::Unit { rank: 3, digits: 2, range: (0, 23), directive: "%H" }),
    ("mm", Part::Unit { rank: 4, digits: 2, range: (0, 59), directive: "%M" }),
    ("ss", Part::Unit { rank: 5, digits: 2, range: (0, 59), directive: "%S" }),
];

impl Default for TimestampFormat {
    fn default() -> Self {
        let names = ["yy", "MM", "dd", "HH", "mm", "ss"];
        let parts = UNITS.iter().filter(|(name, _)| names.contains(name)).map(|(_, part)| *part);
        Self { parts: parts.collect(), text: names.concat() }
    }
}

impl FromStr for TimestampFormat {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        const FORM: &str = "a timestamp format (yyyy or yy, then MM dd HH mm ss, largest unit first, - and _ between)";
        let wrong = || Invalid::new(text, FORM);
        let (mut parts, mut rest, mut next) = (Vec::new(), text.trim(), 0);
        if rest.is_empty() {
            return Ok(Self::default());
        }
        while let Some(first) = rest.chars().next() {
            if matches!(first, '-' | '_') {
                parts.push(Part::Separator(first));
                rest = &rest[1..];
                continue;
            }
            let (name, part) =
                UNITS.iter().find(|(name, _)| rest.starts_with(name)).ok_or_else(wrong)?;
            let Part::Unit { rank, .. } = part else { return Err(wrong()) };
            if *rank != next {
                return Err(wrong());
            }
            parts.push(*part);
            (rest, next) = (&rest[name.len()..], next + 1);
        }
        // Without a day, names repeat within hours.
        if next < 3 { Err(wrong()) } else { Ok(Self { parts, text: text.trim().to_owned() }) }
    }
}

impl fmt::Display for TimestampFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl TimestampFormat {
    /// The format in strftime's words.
    pub fn strftime(&self) -> String {
        let word = |part: &Part| match part {
            Part::Unit { directive, .. } => (*directive).to_owned(),
            Part::Separator(c) => c.to_string(),
        };
        self.parts.iter().map(word).collect()
    }

    /// How many characters a time has.
    pub fn length(&self) -> usize {
        let length = |part: &Part| match part {
            Part::Unit { digits, .. } => *digits,
            Part::Separator(_) => 1,
        };
        self.parts.iter().map(length).sum()
    }

    /// Whether the text is a time in this format, whole.
    pub fn fits(&self, text: &str) -> bool {
        let mut rest = text;
        for part in &self.parts {
            let after = match part {
                Part::Separator(c) => rest.strip_prefix(*c),
                Part::Unit { digits, range, .. } => rest
                    .split_at_checked(*digits)
                    .filter(|(head, _)| head.bytes().all(|b| b.is_ascii_digit()))
                    .filter(|(head, _)| {
                        head.parse().is_ok_and(|n: u32| (range.0..=range.1).contains(&n))
                    })
                    .map(|(_, rest)| rest),
            };
            let Some(after) = after else { return false };
            rest = after;
        }
        rest.is_empty()
    }
}

/// The name of a new snapshot of a label, with its time already in the format.
///
/// # Errors
/// It would be longer than PVE allows.
pub fn automatic_name(label: &Label, time: &str) -> Result<String, Invalid> {
    let name = format!("auto{label}{time}");
    match name.len() <= LONGEST_NAME {
        true => Ok(name),
        false => Err(Invalid::new(
            &name,
            "a snapshot name (40 characters at most): shorten the label or the timestamp format",
        )),
    }
}

/// The label in the name of an automatic snapshot; none when the name is no such one.
pub fn label_in<'a>(name: &'a str, format: &TimestampFormat) -> Option<&'a str> {
    let rest = name.strip_prefix("auto")?;
    let (label, time) = rest.split_at_checked(rest.len().checked_sub(format.length())?)?;
    (!label.is_empty() && format.fits(time)).then_some(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_that_do_not_sort_as_time_does_are_refused() {
        let default = TimestampFormat::default();
        assert_eq!((default.strftime().as_str(), default.length()), ("%y%m%d%H%M%S", 12));
        let long: TimestampFormat = "yyyy-MM-dd_HH-mm-ss".parse().unwrap();
        assert_eq!((long.strftime().as_str(), long.length()), ("%Y-%m-%d_%H-%M-%S", 19));
        assert_eq!("".parse::<TimestampFormat>().unwrap(), default);
        for text in [
            "ddMMyy",
            "yyMMddhhmmss",
            "MMddHHmmss",
            "yyMM",
            "yyMMddmm",
            "yyMMdd HH",
            "'x'",
            "yyMMMdd",
        ] {
            assert!(text.parse::<TimestampFormat>().is_err(), "{text}");
        }
    }

    #[test]
    fn whole_names_are_parsed_and_labels_do_not_run_into_each_other() {
        let format = TimestampFormat::default();
        assert_eq!(label_in("autodaily260929020000", &format), Some("daily"));
        assert_eq!(label_in("autodaily261329020000", &format), None, "no month 13");
        assert_eq!(label_in("autodaily", &format), None);
        assert_eq!(label_in("auto260929020000", &format), None);
        assert_eq!(label_in("auto_x", &format), None);
        let short: TimestampFormat = "yyMMddHHmm".parse().unwrap();
        assert_eq!(
            label_in("autodaily260929020000", &short),
            None,
            "26 is no part of a label: 09290200 is no time"
        );
        assert_eq!(label_in("äuto260929020000", &format), None);
    }

    #[test]
    fn names_are_never_longer_than_pve_allows() {
        let label: Label = "abcdefghijklmnopqrstuvwx".parse().unwrap();
        assert_eq!(automatic_name(&label, "260929020000").unwrap().len(), 40);
        assert!(automatic_name(&label, "2026-09-29").is_ok());
        assert!(automatic_name(&label, "2026-09-29_02-00-00").is_err());
    }

    #[test]
    fn both_descriptions_are_known_with_and_without_a_newline() {
        let snapshot = |description: &str| GuestSnapshot {
            name: "a".into(),
            taken: 1,
            description: description.into(),
            parent: None,
            has_memory: false,
            unfinished: None,
        };
        assert!(snapshot("cv4pve-autosnap\n").is_described_as_automatic());
        assert!(snapshot("eve4pve-autosnap").is_described_as_automatic());
        assert!(!snapshot("before cv4pve-autosnap").is_described_as_automatic());
    }
}
