//! The label of a restore point, which is also a directory name and a part of snapshot names.

use super::{Invalid, serde_as_text};
use std::fmt;
use std::str::FromStr;

/// `hourly`, `daily`, or any word of the form `[a-z][a-z0-9_-]{0,23}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(String);

impl Label {
    /// The label as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

const FORM: &str =
    "a label (a lower-case letter, then up to 23 lower-case letters, digits, - or _)";

impl FromStr for Label {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let mut bytes = text.bytes();
        let first_is_letter = bytes.next().is_some_and(|b| b.is_ascii_lowercase());
        let rest_fits =
            bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'));
        if first_is_letter && rest_fits && text.len() <= 24 {
            return Ok(Self(text.to_owned()));
        }
        let upper_case_only = text.bytes().any(|b| b.is_ascii_uppercase())
            && text.to_ascii_lowercase().parse::<Self>().is_ok();
        let expected = if upper_case_only {
            "a label in lower case (labels are directory names and parts of snapshot names)"
        } else {
            FORM
        };
        Err(Invalid::new(text, expected))
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

serde_as_text!(Label, FORM);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_labels_are_accepted() {
        for text in ["daily", "a", "every_2-hours", "abcdefghijklmnopqrstuvwx"] {
            assert_eq!(text.parse::<Label>().map(|l| l.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn others_are_refused_and_upper_case_is_told_the_way_out() {
        for text in ["", "2daily", "-x", "a.b", "a/b", "ü", "abcdefghijklmnopqrstuvwxy", "a b"] {
            assert!(text.parse::<Label>().is_err(), "{text}");
        }
        let error = "Daily".parse::<Label>().unwrap_err();
        assert!(error.to_string().contains("lower case"), "{error}");
    }
}
