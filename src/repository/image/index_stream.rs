//! Reads the bytes of an index, frame by frame and record by record, and believes them only as far as
//! they fit together. It keeps no more than the frame at which it is, however long the index is.

use super::codec::{FRAME_LIMIT, STORED_LIMIT};
use super::compression::Codec;
use super::digest::{Digest, FrameDigest, RootDigest};
use super::index::{Frame, data_length, fits_the_format};
use crate::stream::{Content, Extent, Header, NAME_LIMIT, RECORD_HEAD, header_bytes};
use std::io::{self, Read};

pub(super) const MAGIC: &[u8] = b"ferry-idx\n";
pub(super) const VERSION: u8 = 1;

/// How much of an index is read at once: a chain may have a thousand of them under way.
const WINDOW: usize = 8 << 10;

/// A frame, and where its records stand in the index.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct FrameAt {
    pub(super) number: usize,
    pub(super) frame: Frame,
    pub(super) is_last: bool,
    /// How many records it has.
    pub(super) records: u64,
    /// At which byte of the index they begin.
    records_at: u64,
    /// Where the record before them ends in the volume.
    after: u64,
}

/// What an index says of its image as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) header: Header,
    pub(super) codec: Codec,
    pub(super) root: Digest,
    /// The digest at its end, which another content of the same file would not have.
    pub(super) seal: [u8; 32],
}

/// An index that is being read.
pub(super) struct IndexStream<R> {
    input: Hashed<R>,
    pub(super) header: Header,
    pub(super) codec: Codec,
    frames_left: u64,
    records_left: u64,
    frame: Option<FrameAt>,
    /// Bytes of the frame that its records account for.
    accounted: u64,
    /// Where the last record ends in the volume.
    end: u64,
    root: RootDigest,
}

impl<R: Read> IndexStream<R> {
    /// Reads what stands before the frames.
    ///
    /// # Errors
    /// The input cannot be read; `InvalidData`: it is no index, or of another version.
    pub(super) fn begin(input: R) -> io::Result<Self> {
        let mut input = Hashed::new(input);
        if input.bytes::<10>()? != MAGIC {
            return Err(invalid("it does not begin as one"));
        }
        let [version, codec] = input.bytes()?;
        if version != VERSION {
            return Err(invalid("its version is unknown"));
        }
        let codec = Codec::from_number(codec).ok_or_else(|| invalid("its codec is unknown"))?;
        let size = input.number()?;
        let header = Header { size, from: input.name()?, to: input.name()? };
        let frames_left = input.number()?;
        let (frame, root) = (None, RootDigest::default());
        let (records_left, accounted, end) = (0, 0, 0);
        Ok(Self { input, header, codec, frames_left, records_left, frame, accounted, end, root })
    }

    /// The next frame; what was not asked for of the one before is passed over.
    ///
    /// # Errors
    /// As [`IndexStream::begin`]; or the records of the frame before do not fit its length.
    pub(super) fn next_frame(&mut self) -> io::Result<Option<FrameAt>> {
        while self.next_record()?.is_some() {}
        let before = self.frame;
        if before.is_some_and(|at| u64::from(at.frame.stream_length) != self.accounted) {
            return Err(invalid("its frames do not fit their records"));
        }
        let Some(left) = self.frames_left.checked_sub(1) else { return Ok(None) };
        let stored_length = self.input.length(STORED_LIMIT)?;
        let stream_length = self.input.length(FRAME_LIMIT)?;
        let digest: FrameDigest = self.input.bytes()?;
        let records = self.input.number()?;
        let (number, stored_offset, stream_offset) = match before {
            None => (0, 0, 0),
            Some(at) => (at.number + 1, at.frame.stored_end(), at.frame.stream_end()),
        };
        let frame = Frame { stored_offset, stored_length, stream_offset, stream_length, digest };
        let (is_last, records_at, after) = (left == 0, self.input.position(), self.end);
        let at = FrameAt { number, frame, is_last, records, records_at, after };
        self.root.add(&digest);
        (self.frames_left, self.records_left) = (left, records);
        self.accounted = head_of(&self.header, number).len() as u64 + u64::from(is_last);
        self.frame = Some(at);
        Ok(Some(at))
    }

    /// The next record of this frame.
    ///
    /// # Errors
    /// As [`IndexStream::begin`].
    pub(super) fn next_record(&mut self) -> io::Result<Option<Extent>> {
        let Some(left) = self.records_left.checked_sub(1) else { return Ok(None) };
        let extent = self.input.extent(self.end, self.header.size)?;
        self.records_left = left;
        self.end = extent.end();
        self.accounted += RECORD_HEAD as u64 + data_length(&extent);
        Ok(Some(extent))
    }

    /// Reads the rest, and says what the index as a whole is.
    ///
    /// # Errors
    /// As [`IndexStream::next_frame`]; or the digest at its end does not fit, or something follows it.
    pub(super) fn finish(mut self) -> io::Result<Summary> {
        while self.next_frame()?.is_some() {}
        let seal = self.input.end()?;
        if self.frame.is_none() {
            return Err(invalid("it has no frames"));
        }
        Ok(Summary { header: self.header, codec: self.codec, root: self.root.finish(), seal })
    }
}

impl FrameAt {
    /// Its records, from an index that begins at the byte of [`FrameAt::records_at`].
    ///
    /// # Errors
    /// The input cannot be read, or holds something else there.
    pub(super) fn records_of(
        &self,
        input: impl Read,
        size: u64,
    ) -> impl Iterator<Item = io::Result<Extent>> {
        let (mut input, mut end) = (Hashed::new(input), self.after);
        (0..self.records).map(move |_| {
            let extent = input.extent(end, size)?;
            end = extent.end();
            Ok(extent)
        })
    }

    /// At which byte of the index its records begin.
    pub(super) fn records_at(&self) -> u64 {
        self.records_at
    }
}

/// What stands before the records of a frame.
pub(super) fn head_of(header: &Header, number: usize) -> Vec<u8> {
    if number > 0 {
        return Vec::new();
    }
    // The names of an index are within the limit: they were read, or written, with it.
    header_bytes(header).unwrap_or_default()
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("this is no image index: {why}"))
}

/// A reader that hashes what was taken of it, many bytes at once.
struct Hashed<R> {
    inner: R,
    window: Box<[u8]>,
    /// What of the window is still to be taken.
    taken: usize,
    filled: usize,
    /// What of the window is hashed already.
    hashed: usize,
    /// Bytes before the window.
    before: u64,
    hasher: blake3::Hasher,
}

impl<R: Read> Hashed<R> {
    fn new(inner: R) -> Self {
        let (taken, filled, hashed, before) = (0, 0, 0, 0);
        let (window, hasher) = (vec![0; WINDOW].into_boxed_slice(), blake3::Hasher::new());
        Self { inner, window, taken, filled, hashed, before, hasher }
    }

    /// How many bytes were taken.
    fn position(&self) -> u64 {
        self.before + self.taken as u64
    }

    /// Whether another byte is there.
    fn refill(&mut self) -> io::Result<bool> {
        if self.taken < self.filled {
            return Ok(true);
        }
        self.hash();
        self.before += self.filled as u64;
        (self.taken, self.filled, self.hashed) = (0, 0, 0);
        loop {
            match self.inner.read(&mut self.window) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => {
                    self.filled = read?;
                    return Ok(self.filled > 0);
                }
            }
        }
    }

    fn hash(&mut self) {
        self.hasher.update(&self.window[self.hashed..self.taken]);
        self.hashed = self.taken;
    }

    fn byte(&mut self) -> io::Result<u8> {
        if !self.refill()? {
            return Err(invalid("it is cut off"));
        }
        self.taken += 1;
        Ok(self.window[self.taken - 1])
    }

    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        bytes.iter_mut().try_for_each(|byte| {
            *byte = self.byte()?;
            Ok(())
        })
    }

    fn number(&mut self) -> io::Result<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            let shifted = bits << shift;
            if shifted >> shift != bits {
                break;
            }
            number |= shifted;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(invalid("a number is too long"))
    }

    fn length(&mut self, limit: usize) -> io::Result<u32> {
        let length = u32::try_from(self.number()?).ok();
        let length = length.filter(|length| *length as usize <= limit && *length > 0);
        length.ok_or_else(|| invalid("a frame is too long"))
    }

    fn name(&mut self) -> io::Result<Option<String>> {
        let length = self.number()?;
        if length == 0 {
            return Ok(None);
        }
        let length = u32::try_from(length - 1).ok().filter(|length| *length <= NAME_LIMIT);
        let mut name = vec![0; length.ok_or_else(|| invalid("a name is too long"))? as usize];
        self.fill(&mut name)?;
        String::from_utf8(name).map(Some).map_err(|_| invalid("a name is no text"))
    }

    fn extent(&mut self, after: u64, size: u64) -> io::Result<Extent> {
        let offset = after.checked_add(self.number()?);
        let length = self.number()?;
        let content = if length & 1 == 1 { Content::Zero } else { Content::Data };
        let length = length / 2;
        let end = offset.and_then(|offset| offset.checked_add(length));
        match (offset, end) {
            (Some(offset), Some(end)) if end <= size && length > 0 => {
                let extent = Extent { offset, length, content };
                let fits = || invalid("a record is none that we write");
                fits_the_format(&extent).then_some(extent).ok_or_else(fits)
            }
            _ => Err(invalid("a record lies outside of the volume")),
        }
    }

    /// The digest at the end, which must be that of everything before it.
    fn end(mut self) -> io::Result<[u8; 32]> {
        self.hash();
        let expected = self.hasher.finalize();
        let found: [u8; 32] = self.bytes()?;
        if expected != blake3::Hash::from(found) {
            return Err(invalid("its digest does not fit"));
        }
        if self.refill()? {
            return Err(invalid("bytes follow it"));
        }
        Ok(found)
    }
}
