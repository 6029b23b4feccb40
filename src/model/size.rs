//! Byte counts, printed in IEC units. Not for rates: those have a time in them.

use std::fmt;

/// A number of bytes; displayed as `4.00 GiB`, in units of 1024.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(transparent)]
pub struct Bytes(pub u64);

const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1024 {
            return f.pad(&format!("{} B", self.0));
        }
        let exponent = (self.0.ilog2() / 10) as usize;
        // Precision is lost above 2^53 bytes, which no reader of two decimals will see.
        #[allow(clippy::cast_precision_loss)]
        let value = self.0 as f64 / (1_u64 << (exponent * 10)) as f64;
        f.pad(&format!("{value:.2} {}", UNITS[exponent]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_change_at_powers_of_1024() {
        let texts = [0, 1023, 1024, 1536, 4 << 30, u64::MAX].map(|n| Bytes(n).to_string());
        assert_eq!(texts, ["0 B", "1023 B", "1.00 KiB", "1.50 KiB", "4.00 GiB", "16.00 EiB"]);
    }
}
