//! The index of an image: where its frames stand, what they hold, and their digests. It is a cache;
//! everything in it follows from the image, and a scan makes it again.

use super::codec::FRAME_LIMIT;
use super::compression::Codec;
use super::digest::{Digest, FrameDigest};
use super::error::{Damage, ImageError};
use super::index_stream::head_of;
use crate::stream::{Content, Extent, Header, RECORD_HEAD, record_head};
use std::io;
use std::path::{Path, PathBuf};

/// Where one frame stands, in the file and in the uncompressed stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
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
}

impl Frame {
    pub(super) fn stored_end(&self) -> u64 {
        self.stored_offset + u64::from(self.stored_length)
    }

    pub(super) fn stream_end(&self) -> u64 {
        self.stream_offset + u64::from(self.stream_length)
    }
}

/// The index of one image, whole in memory: for whoever writes or checks this image. Chains are read
/// with their indexes as streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageIndex {
    /// Between which snapshots the image leads, and the volume's size at its end.
    pub header: Header,
    /// What the file is compressed with.
    pub codec: Codec,
    frames: Vec<Frame>,
    /// Of each frame, the number of its first record.
    first: Vec<usize>,
    records: Vec<Record>,
}

/// An extent in twelve bytes, as an image may have millions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    offset: [u32; 2],
    /// Its length, twice, and one more for zeros: no record has 2 GiB.
    length: u32,
}

impl From<&Extent> for Record {
    // Both halves are taken.
    #[allow(clippy::cast_possible_truncation)]
    fn from(extent: &Extent) -> Self {
        let is_zero = u32::from(extent.content == Content::Zero);
        let offset = [extent.offset as u32, (extent.offset >> 32) as u32];
        // That of a frame or of a run of zeros, 64 MiB at most: see `fits_the_format`.
        let length = u32::try_from(extent.length).unwrap_or(u32::MAX).min(u32::MAX / 2);
        Self { offset, length: length * 2 + is_zero }
    }
}

impl From<&Record> for Extent {
    fn from(record: &Record) -> Self {
        let [low, high] = record.offset.map(u64::from);
        let content = if record.length & 1 == 1 { Content::Zero } else { Content::Data };
        Self { offset: high << 32 | low, length: u64::from(record.length / 2), content }
    }
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
        Self { header, codec, frames: Vec::new(), first: Vec::new(), records: Vec::new() }
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
        };
        self.first.push(self.records.len());
        self.frames.push(frame);
        self.records.extend(extents.iter().map(Record::from));
    }

    /// The frames in order.
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// The records of frame `number`; none when there is no such frame.
    pub fn extents_of(&self, number: usize) -> impl Iterator<Item = Extent> {
        let first = self.first.get(number).copied().unwrap_or(self.records.len());
        let end = self.first.get(number + 1).copied().unwrap_or(self.records.len());
        self.records[first..end].iter().map(Extent::from)
    }

    /// All records in order.
    pub fn extents(&self) -> impl Iterator<Item = Extent> {
        self.records.iter().map(Extent::from)
    }

    /// The root digest of the image.
    pub fn root_digest(&self) -> Digest {
        Digest::of_frames(self.frames.iter().map(|frame| &frame.digest))
    }

    /// Bytes of the uncompressed stream.
    pub fn stream_length(&self) -> u64 {
        self.frames.last().map_or(0, Frame::stream_end)
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
        self.frames.last().map_or(0, Frame::stored_end)
    }

    /// Whether the uncompressed `bytes` of frame `number` hold the records that the index tells.
    pub(super) fn agrees(&self, number: usize, bytes: &[u8]) -> bool {
        let is_last = number + 1 == self.frames.len();
        let head = head_of(&self.header, number);
        let records = self.extents_of(number).map(Ok);
        holds(bytes, &head, records, is_last).is_ok_and(|holds| holds)
    }

    /// What of the volume is lost with frame `number` of the image at `path`.
    pub(super) fn damage(&self, path: &Path, number: usize, what: String) -> Damage {
        let extents = self.extents_of(number).collect();
        Damage { path: path.to_owned(), frame: Some(number), extents, what }
    }

    /// Whether the lengths of all frames follow from their records.
    pub(super) fn is_consistent(&self) -> bool {
        let lengths_fit = (0..self.frames.len()).all(|number| {
            let records = self.extents_of(number);
            let records: u64 = records.map(|e| RECORD_HEAD as u64 + data_length(&e)).sum();
            let end = u64::from(number + 1 == self.frames.len());
            let length = head_of(&self.header, number).len() as u64 + records + end;
            u64::from(self.frames[number].stream_length) == length
        });
        !self.frames.is_empty() && lengths_fit
    }
}

/// Whether the uncompressed `bytes` of a frame hold these records, and nothing else.
///
/// # Errors
/// That of the records.
pub(super) fn holds(
    bytes: &[u8],
    head: &[u8],
    records: impl Iterator<Item = io::Result<Extent>>,
    is_last: bool,
) -> io::Result<bool> {
    let Some(mut rest) = bytes.strip_prefix(head) else { return Ok(false) };
    for extent in records {
        let extent = extent?;
        let tag = if extent.content == Content::Data { b'w' } else { b'z' };
        let head = record_head(tag, extent.offset, extent.length);
        let behind = rest.strip_prefix(&head).zip(usize::try_from(data_length(&extent)).ok());
        let Some(behind) = behind.and_then(|(rest, data)| rest.get(data..)) else {
            return Ok(false);
        };
        rest = behind;
    }
    Ok(rest == if is_last { b"e".as_slice() } else { b"" })
}

/// Why a file is no index, in terms of the file at `path`.
pub(super) fn foreign(path: &Path, why: impl Into<String>) -> ImageError {
    ImageError::Foreign { path: path.to_owned(), why: why.into() }
}

/// Whether a record may stand in an image of ours: data fits into a frame; runs of zeros lie at multiples
/// of 64 KiB and cross no multiple of 64 MiB. Without that rule a file of a few MiB could hold millions
/// of records.
pub(super) fn fits_the_format(extent: &Extent) -> bool {
    const PART: u64 = 64 << 10;
    const RUN: u64 = 64 << 20;
    match extent.content {
        Content::Data => extent.length <= FRAME_LIMIT as u64,
        Content::Zero => {
            extent.offset % PART == 0
                && extent.length % PART == 0
                && extent.length > 0
                && extent.offset / RUN == (extent.end() - 1) / RUN
        }
    }
}

/// The bytes of a record's data in the stream.
pub(super) fn data_length(extent: &Extent) -> u64 {
    if extent.content == Content::Data { extent.length } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_those_that_we_write() {
        const PART: u64 = 64 << 10;
        let zero = |offset, length| Extent { offset, length, content: Content::Zero };
        for fits in [zero(0, PART), zero(PART, 3 * PART), zero(0, 64 << 20), zero(64 << 20, PART)] {
            assert!(fits_the_format(&fits), "{fits:?}");
        }
        let across = zero((64 << 20) - PART, 2 * PART);
        for other in [zero(0, 0), zero(1, PART), zero(0, 1), zero(0, 65 << 20), across] {
            assert!(!fits_the_format(&other), "{other:?}");
        }
        let data = |length| Extent { offset: 7, length, content: Content::Data };
        assert!(fits_the_format(&data(1)) && fits_the_format(&data(1 << 20)));
        assert!(!fits_the_format(&data(4 << 20)));
    }

    /// An image may have millions.
    #[test]
    fn a_record_takes_twelve_bytes_and_comes_back_as_it_was() {
        assert_eq!(size_of::<Record>(), 12);
        for (offset, length, content) in [
            (0, 1, Content::Data),
            (u64::MAX - (1 << 26), 64 << 20, Content::Zero),
            ((5 << 32) + 7, FRAME_LIMIT as u64, Content::Data),
        ] {
            let extent = Extent { offset, length, content };
            assert_eq!(Extent::from(&Record::from(&extent)), extent);
        }
    }
}
