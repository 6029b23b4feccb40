//! A part of all blocks, of which several together are everything. Not for parts of the images:
//! those are verify's.

use super::Invalid;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The `n`-th of `of` parts: every `of`-th block, beginning with block `n - 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Share {
    /// Which part, from 1.
    pub n: u64,
    /// Of how many, at least 1.
    pub of: u64,
}

impl Share {
    /// Everything.
    pub const ALL: Self = Self { n: 1, of: 1 };

    /// The part that follows the last one, so that `of` turns see everything. Another number of
    /// parts begins anew.
    pub fn after(last: Option<Self>, of: u64) -> Self {
        let of = of.max(1);
        let n = last.filter(|last| last.of == of).map_or(1, |last| last.n % of + 1);
        Self { n, of }
    }

    /// Whether it is everything.
    pub fn is_all(self) -> bool {
        self.of <= 1
    }

    /// The numbers of its blocks among `count`, ascending.
    pub fn blocks(self, count: u64) -> impl Iterator<Item = u64> {
        let step = usize::try_from(self.of.max(1)).unwrap_or(usize::MAX);
        (self.n.saturating_sub(1)..count).step_by(step)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_all() {
            true => f.write_str("all blocks"),
            false => write!(f, "part {} of {}", self.n, self.of),
        }
    }
}

/// Reads `1/N`, what a person types for "another N-th each time".
///
/// # Errors
/// It has another form, or N is 0.
pub fn parts(text: &str) -> Result<u64, Invalid> {
    let invalid = || Invalid::new(text, "a share of the blocks (1/N, as 1/50; 1/1 is all of them)");
    let parts: u64 = text.strip_prefix("1/").and_then(|n| n.parse().ok()).ok_or_else(invalid)?;
    if parts == 0 { Err(invalid()) } else { Ok(parts) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn as_many_turns_as_parts_see_every_block_once() {
        for of in [1, 2, 7, 50] {
            let (mut last, mut seen) = (None, Vec::new());
            for _ in 0..of {
                let share = Share::after(last, of);
                seen.extend(share.blocks(101));
                last = Some(share);
            }
            assert_eq!(seen.len(), 101, "{of}");
            assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 101, "{of}");
            assert_eq!(Share::after(last, of).n, 1);
        }
        assert_eq!(Share::after(Some(Share { n: 3, of: 7 }), 8), Share { n: 1, of: 8 });
    }

    #[test]
    fn a_share_is_typed_as_one_of_n() {
        assert_eq!(parts("1/50"), Ok(50));
        for text in ["", "50", "2/50", "1/0", "1/", "1/-3", "1/x"] {
            assert!(parts(text).is_err(), "{text}");
        }
    }
}
