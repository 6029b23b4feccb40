//! Rates of transfers. A rate has a unit, as a bare number means something else in every tool.

use super::{Invalid, serde_as_text};
use std::fmt;
use std::str::FromStr;

/// Bytes per second, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(u64);

impl Rate {
    /// Bytes per second.
    pub fn bytes_per_second(self) -> u64 {
        self.0
    }
}

const FORM: &str = "a rate with its unit (as 50MiB/s, 200MB/s or 400Mbit/s)";

/// Units and how many bits per second they are.
const UNITS: [(&str, u64); 10] = [
    ("Kbit/s", 1_000),
    ("Mbit/s", 1_000_000),
    ("Gbit/s", 1_000_000_000),
    ("KiB/s", 8 << 10),
    ("MiB/s", 8 << 20),
    ("GiB/s", 8 << 30),
    ("KB/s", 8_000),
    ("MB/s", 8_000_000),
    ("GB/s", 8_000_000_000),
    ("B/s", 8),
];

impl FromStr for Rate {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::new(text, FORM);
        let unit = |&(unit, bits): &(&str, u64)| Some((text.strip_suffix(unit)?, bits));
        let (number, bits) = UNITS.iter().find_map(unit).ok_or_else(invalid)?;
        let number: u64 = number.trim_end().parse().map_err(|_| invalid())?;
        let bytes = number.checked_mul(bits).ok_or_else(invalid)? / 8;
        if bytes == 0 { Err(invalid()) } else { Ok(Self(bytes)) }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}B/s", self.0)
    }
}

serde_as_text!(Rate, FORM);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_units() {
        let bytes = |text: &str| text.parse::<Rate>().map(Rate::bytes_per_second);
        assert_eq!(bytes("50MiB/s"), Ok(50 << 20));
        assert_eq!(bytes("400Mbit/s"), Ok(50_000_000));
        assert_eq!(bytes("200 MB/s"), Ok(200_000_000));
        assert_eq!(bytes("7B/s"), Ok(7));
        for text in
            ["", "50", "50MiB", "0MiB/s", "-1MiB/s", "1Bit/s", "99999999999GiB/s", "5mbit/s"]
        {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }
}
