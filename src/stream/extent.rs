//! Extents of a volume, and where their bytes stand. It reads no bytes.

use std::ops::Range;

/// What a part of a volume holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Content {
    /// Bytes that stand in the stream.
    Data,
    /// Zeros, of which nothing stands in the stream.
    Zero,
}

/// A part of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Extent {
    /// Where it begins, in bytes.
    pub offset: u64,
    /// How many bytes it has; never 0.
    pub length: u64,
    /// Data or zeros.
    pub content: Content,
}

impl Extent {
    /// The first byte after it.
    pub fn end(&self) -> u64 {
        self.offset + self.length
    }
}

/// A part of a volume together with the place where its bytes stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<T = ()> {
    /// The part of the volume.
    pub extent: Extent,
    /// Which image of the chain holds it, counted from the oldest.
    pub image: u32,
    /// Where its first byte stands in that image's uncompressed stream; without meaning for zeros.
    pub at: u64,
    /// Whatever else its reader has to know of that place.
    pub of: T,
}

impl<T: Clone> Piece<T> {
    /// The part of the piece that lies inside `range`.
    pub(super) fn clipped(&self, range: &Range<u64>) -> Option<Self> {
        let offset = self.extent.offset.max(range.start);
        let end = self.extent.end().min(range.end);
        if offset >= end {
            return None;
        }
        let extent = Extent { offset, length: end - offset, content: self.extent.content };
        let at = self.at + (offset - self.extent.offset);
        Some(Self { extent, image: self.image, at, of: self.of.clone() })
    }
}
