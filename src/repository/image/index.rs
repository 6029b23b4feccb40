//! The index of an image: where its frames stand, what they hold, and their digests. It is a cache;
//! everything in it follows from the image, and a scan makes it again.

use super::compression::Codec;
use super::digest::{Digest, FrameDigest};
use super::error::{Damage, ImageError};
use crate::stream::{Content, Extent, Header, Piece, RECORD_HEAD, header_bytes, record_head};
use std::path::{Path, PathBuf};

/// Where one frame stands, in the file and in the uncompressed stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Where it begins in the file, in bytes.
    pub stored_offset: u64,
    /// How many bytes of the file it takes.
    pub stored_length: u32,
    /// Where it begins in the uncompressed stream, in bytes.
    pub stream_offset: u64,
    /// How many bytes it has uncompressed.
    pub stream_length: u32,
    /// The digest of its uncompressed bytes.
    pub digest: FrameDigest,
    first_extent: usize,
}

/// The index of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageIndex {
    /// Between which snapshots the image leads, and the volume's size at its end.
    pub header: Header,
    /// What the file is compressed with.
    pub codec: Codec,
    frames: Vec<Frame>,
    extents: Vec<Extent>,
}

/// Where the index of the image at `path` stands: beside it, with `.idx` behind its name.
pub fn index_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".idx");
    PathBuf::from(name)
}

impl ImageIndex {
    /// An index without frames.
    pub(super) fn new(header: Header, codec: Codec) -> Self {
        Self { header, codec, frames: Vec::new(), extents: Vec::new() }
    }

    /// Adds the next frame with its records.
    pub(super) fn push(
        &mut self,
        stored_length: u32,
        stream_length: u32,
        digest: FrameDigest,
        extents: &[Extent],
    ) {
        let frame = Frame {
            stored_offset: self.frames_length(),
            stored_length,
            stream_offset: self.stream_length(),
            stream_length,
            digest,
            first_extent: self.extents.len(),
        };
        self.frames.push(frame);
        self.extents.extend_from_slice(extents);
    }

    /// The frames in order.
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// The records of frame `number`; none when there is no such frame.
    pub fn extents_of(&self, number: usize) -> &[Extent] {
        let Some(frame) = self.frames.get(number) else { return &[] };
        let end = self.frames.get(number + 1).map_or(self.extents.len(), |next| next.first_extent);
        &self.extents[frame.first_extent..end]
    }

    /// All records in order.
    pub fn extents(&self) -> &[Extent] {
        &self.extents
    }

    /// The root digest of the image.
    pub fn root_digest(&self) -> Digest {
        Digest::of_frames(self.frames.iter().map(|frame| &frame.digest))
    }

    /// Bytes of the uncompressed stream.
    pub fn stream_length(&self) -> u64 {
        self.frames.last().map_or(0, |last| last.stream_offset + u64::from(last.stream_length))
    }

    /// Bytes of the image file, with its seek table.
    pub fn file_length(&self) -> u64 {
        self.frames_length() + self.tail().len() as u64
    }

    /// What stands behind the frames in the file: the seek table of zstd's seekable format (zstd,
    /// contrib/seekable_format), which other tools use and we do not.
    pub fn tail(&self) -> Vec<u8> {
        if self.codec != Codec::Zstd {
            return Vec::new();
        }
        // A file with so many frames would have more than 2^29 MiB; the casts keep the low bytes.
        #[allow(clippy::cast_possible_truncation)]
        let length = |bytes: usize| (bytes as u32).to_le_bytes();
        let mut table = 0x184D_2A5E_u32.to_le_bytes().to_vec();
        table.extend(length(self.frames.len() * 8 + 9));
        for frame in &self.frames {
            table.extend(frame.stored_length.to_le_bytes());
            table.extend(frame.stream_length.to_le_bytes());
        }
        table.extend(length(self.frames.len()));
        table.push(0);
        table.extend(0x8F92_EAB1_u32.to_le_bytes());
        table
    }

    /// Bytes of the file that its frames take.
    pub(super) fn frames_length(&self) -> u64 {
        self.frames.last().map_or(0, |last| last.stored_offset + u64::from(last.stored_length))
    }

    /// The frame that holds byte `at` of the uncompressed stream.
    pub(super) fn frame_at(&self, at: u64) -> usize {
        self.frames.partition_point(|frame| frame.stream_offset <= at).saturating_sub(1)
    }

    /// Where the data of each record stands in the uncompressed stream.
    pub(super) fn pieces(&self, image: u32) -> Vec<Piece> {
        let mut pieces = Vec::with_capacity(self.extents.len());
        for number in 0..self.frames.len() {
            let mut at = self.frames[number].stream_offset + self.head(number).len() as u64;
            for extent in self.extents_of(number) {
                at += RECORD_HEAD as u64;
                pieces.push(Piece { extent: *extent, image, at });
                at += data_length(extent);
            }
        }
        pieces
    }

    /// Whether the uncompressed `bytes` of frame `number` hold the records that the index tells.
    pub(super) fn agrees(&self, number: usize, bytes: &[u8]) -> bool {
        let Some(mut rest) = bytes.strip_prefix(&self.head(number)[..]) else { return false };
        for extent in self.extents_of(number) {
            let tag = if extent.content == Content::Data { b'w' } else { b'z' };
            let head = record_head(tag, extent.offset, extent.length);
            let behind = rest.strip_prefix(&head).zip(usize::try_from(data_length(extent)).ok());
            let Some(behind) = behind.and_then(|(rest, data)| rest.get(data..)) else {
                return false;
            };
            rest = behind;
        }
        let last = number + 1 == self.frames.len();
        rest == if last { b"e".as_slice() } else { b"" }
    }

    /// What of the volume is lost with frame `number` of the image at `path`.
    pub(super) fn damage(&self, path: &Path, number: usize, what: String) -> Damage {
        let extents = self.extents_of(number).to_vec();
        Damage { path: path.to_owned(), frame: Some(number), extents, what }
    }

    /// Whether the lengths of all frames follow from their records.
    pub(super) fn is_consistent(&self) -> bool {
        let lengths_fit = (0..self.frames.len()).all(|number| {
            let records = self.extents_of(number).iter();
            let records: u64 = records.map(|e| RECORD_HEAD as u64 + data_length(e)).sum();
            let end = u64::from(number + 1 == self.frames.len());
            let length = self.head(number).len() as u64 + records + end;
            u64::from(self.frames[number].stream_length) == length
        });
        !self.frames.is_empty() && lengths_fit
    }

    fn head(&self, number: usize) -> Vec<u8> {
        if number > 0 {
            return Vec::new();
        }
        // The names of an index are within the limit: they were read, or written, with it.
        header_bytes(&self.header).unwrap_or_default()
    }
}

/// Why a file is no index, in terms of the file at `path`.
pub(super) fn foreign(path: &Path, why: impl Into<String>) -> ImageError {
    ImageError::Foreign { path: path.to_owned(), why: why.into() }
}

/// Whether a record may stand in an image of ours: runs of zeros lie at multiples of 64 KiB and cross
/// no multiple of 64 MiB. Without that rule a file of a few MiB could hold millions of records.
pub(super) fn fits_the_format(extent: &Extent) -> bool {
    const PART: u64 = 64 << 10;
    const RUN: u64 = 64 << 20;
    extent.content == Content::Data
        || (extent.offset % PART == 0
            && extent.length % PART == 0
            && extent.length > 0
            && extent.offset / RUN == (extent.end() - 1) / RUN)
}

fn data_length(extent: &Extent) -> u64 {
    if extent.content == Content::Data { extent.length } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_zeros_are_those_that_we_write() {
        const PART: u64 = 64 << 10;
        let zero = |offset, length| Extent { offset, length, content: Content::Zero };
        for fits in [zero(0, PART), zero(PART, 3 * PART), zero(0, 64 << 20), zero(64 << 20, PART)] {
            assert!(fits_the_format(&fits), "{fits:?}");
        }
        let across = zero((64 << 20) - PART, 2 * PART);
        for other in [zero(0, 0), zero(1, PART), zero(0, 1), zero(0, 65 << 20), across] {
            assert!(!fits_the_format(&other), "{other:?}");
        }
        assert!(fits_the_format(&Extent { offset: 7, length: 1, content: Content::Data }));
    }
}
