//! Numbers of things in words. Not for bytes: those have units.

use std::fmt::Display;

/// A number and what it counts: `1 point`, `2 points`.
pub fn counted<N: Display + PartialEq + From<u8>>(count: N, what: &str) -> String {
    let plural = if count == N::from(1) { "" } else { "s" };
    format!("{count} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn one_is_one_and_none_are_many() {
        assert_eq!(counted(1_usize, "point"), "1 point");
        assert_eq!(counted(0_u64, "volume"), "0 volumes");
        assert_eq!(counted(2_u32, "image"), "2 images");
    }
}
