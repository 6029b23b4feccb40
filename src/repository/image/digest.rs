//! The digest of an image: BLAKE3 over the digests of its frames. No file is read here.

use crate::model::{Invalid, serde_as_text};
use std::fmt;
use std::str::FromStr;

/// The digest of one frame: BLAKE3 over its uncompressed bytes.
pub type FrameDigest = [u8; 32];

/// The root digest of an image; as text `blake3:` and 64 hexadecimal digits. It does not depend on
/// the compression, so that two images with one digest hold the same stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

/// Keeps a root digest from being the digest of anything else.
const LABEL: &[u8] = b"pve-ferry image 1\n";

impl Digest {
    /// The root digest of frames with these digests.
    pub fn of_frames<'a>(frames: impl Iterator<Item = &'a FrameDigest>) -> Self {
        let mut root = RootDigest::default();
        frames.for_each(|digest| root.add(digest));
        root.finish()
    }
}

/// A root digest whose frames come one after the other.
pub(super) struct RootDigest(blake3::Hasher);

impl Default for RootDigest {
    fn default() -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(LABEL);
        Self(hasher)
    }
}

impl RootDigest {
    pub(super) fn add(&mut self, frame: &FrameDigest) {
        self.0.update(frame);
    }

    pub(super) fn finish(&self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

/// The digest of one frame's uncompressed bytes.
pub(super) fn frame_digest(bytes: &[u8]) -> FrameDigest {
    blake3::hash(bytes).into()
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("blake3:{}", blake3::Hash::from(self.0).to_hex()))
    }
}

const FORM: &str = "a digest (blake3: and 64 hexadecimal digits)";

impl FromStr for Digest {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::new(text, FORM);
        let digits = text.strip_prefix("blake3:").ok_or_else(invalid)?;
        if digits.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(invalid());
        }
        blake3::Hash::from_hex(digits).map(|hash| Self(hash.into())).map_err(|_| invalid())
    }
}

serde_as_text!(Digest, FORM);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_round_trip_as_text() {
        let digest = Digest::of_frames([frame_digest(b"a"), frame_digest(b"b")].iter());
        let text = digest.to_string();
        assert_eq!(text.len(), "blake3:".len() + 64);
        assert_eq!(text.parse(), Ok(digest));
        for bad in [&text[7..], &text[..70], &text.to_uppercase(), "sha256:00"] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_order_of_frames_counts() {
        let (a, b) = (frame_digest(b"a"), frame_digest(b"b"));
        assert_ne!(Digest::of_frames([a, b].iter()), Digest::of_frames([b, a].iter()));
    }
}
