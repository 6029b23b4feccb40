//! The share of `--fold`: `25%` or `0.25`. Not for sizes: it compares two of them.

use crate::model::Invalid;
use std::fmt;
use std::str::FromStr;

const FORM: &str = "a share as 25% or 0.25";

/// A part of something, in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share(u32);

impl Share {
    /// Whether `part` is more than this share of `whole`.
    pub fn is_exceeded(self, part: u64, whole: u64) -> bool {
        u128::from(part) * 1000 > u128::from(whole) * u128::from(self.0)
    }
}

impl FromStr for Share {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::new(text, FORM);
        let (number, places) = match text.strip_suffix('%') {
            Some(percent) => (percent, 1),
            None => (text, 3),
        };
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let fits = digits(whole) && digits(part) && !whole.is_empty() && part.len() <= places;
        if !fits || number.ends_with('.') {
            return Err(invalid());
        }
        format!("{whole}{part:0<places$}").parse().map(Self).map_err(|_| invalid())
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 % 10 {
            0 => write!(f, "{}%", self.0 / 10),
            tenths => write!(f, "{}.{tenths}%", self.0 / 10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_and_printed() {
        for (text, printed) in
            [("25%", "25%"), ("0.25", "25%"), ("12.5%", "12.5%"), ("1", "100%"), ("0", "0%")]
        {
            assert_eq!(text.parse::<Share>().unwrap().to_string(), printed);
        }
        for wrong in
            ["", "%", "-1", "0.2.5", "1,5", "0.2555", "3.25%", "5.", ".5", "x", "9999999999%"]
        {
            assert!(wrong.parse::<Share>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_share_is_exceeded_by_more_than_itself() {
        let half: Share = "50%".parse().unwrap();
        assert!(half.is_exceeded(51, 100) && !half.is_exceeded(50, 100));
        assert!(half.is_exceeded(u64::MAX, u64::MAX) && half.is_exceeded(1, 0));
        assert!(!half.is_exceeded(0, 0));
    }
}
