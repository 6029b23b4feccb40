//! Random ids that outlive names: chains, restore points, images. They carry no meaning and no order.

use super::{Invalid, VmId, serde_as_text};
use std::fmt;
use std::str::FromStr;

/// An id whose text is not the right number of hexadecimal digits.
pub type InvalidId = Invalid;

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $inner:ty, $digits:literal, $stride:literal, $expected:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl $name {
            /// This one, which is random, and others to which it leads; none comes twice.
            pub fn and_others(self) -> impl Iterator<Item = Self> {
                // An odd number's multiples meet each of the ids once.
                let numbers = std::iter::successors(Some(self.0), |n| Some(n.wrapping_add($stride)));
                numbers.map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!("{:0", $digits, "x}"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
                if text.len() != $digits || !text.bytes().all(lower_hex) {
                    return Err(Invalid::new(text, $expected));
                }
                let number = <$inner>::from_str_radix(text, 16);
                number.map(Self).map_err(|_| Invalid::new(text, $expected))
            }
        }

        serde_as_text!($name, $expected);
    };
}

hex_id!(
    /// Names one chain: the points of one guest, one label and one repository. It stands in the
    /// names of our snapshots, so that only a run of that chain deletes them.
    ChainId, u32, 8, 0x9e37_79b9, "a chain id (8 hexadecimal digits)"
);
hex_id!(
    /// Names one restore point for ever.
    PointId, u64, 16, 0x9e37_79b9_7f4a_7c15, "a restore point id (16 hexadecimal digits)"
);
hex_id!(
    /// Names one volume's content at one moment; it does not change when images merge.
    ImageId, u64, 16, 0x9e37_79b9_7f4a_7c15, "an image id (16 hexadecimal digits)"
);
hex_id!(
    /// A number that nobody else can have thought of: what a restore has under way is known by it.
    #[derive(Default)]
    Mark, u64, 16, 0x9e37_79b9_7f4a_7c15, "a mark (16 hexadecimal digits)"
);

impl Mark {
    /// The name of a volume that a restore of this guest makes, until it is noted what it is.
    pub fn first_name(self, vmid: VmId) -> String {
        format!("ferry-new-{vmid}-{self}")
    }
}

/// The text form of 16 bytes: `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`.
pub fn uuid_text(bytes: [u8; 16]) -> String {
    let digits = format!("{:032x}", u128::from_be_bytes(bytes));
    let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
    parts.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn ids_round_trip_and_keep_leading_zeros() {
        assert_eq!(ChainId(0x1a).to_string(), "0000001a");
        assert_eq!("0000001a".parse(), Ok(ChainId(0x1a)));
        assert_eq!("00000000000000ff".parse(), Ok(PointId(255)));
    }

    #[test]
    fn one_random_id_leads_to_as_many_as_are_needed() {
        let many: BTreeSet<ChainId> = ChainId(0xcafe).and_others().take(100_000).collect();
        assert_eq!(many.len(), 100_000);
        assert_eq!(ChainId(0xcafe).and_others().next(), Some(ChainId(0xcafe)));
        let images: BTreeSet<ImageId> = ImageId(u64::MAX).and_others().take(1_000).collect();
        assert_eq!(images.len(), 1_000);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "1a2b3c4", "1A2B3C4D", "1a2b3c4d5", "+a2b3c4d", "1a2b3c4g"] {
            assert!(text.parse::<ChainId>().is_err(), "{text}");
        }
    }
}
