//! Cuts a volume's data into frames of records: bounded writes, zero runs apart. No I/O, no threads.
//!
//! The bytes of a write are read once, straight to the place in the frame where they will stand; they
//! move only when a zero run before them was taken out.

use super::codec::FRAME_TARGET;
use super::error::ImageError;
use crate::stream::{Content, Extent, Header, RECORD_HEAD, StreamError, header_bytes, record_head};
use std::ops::Range;

/// A write neither crosses a multiple of this nor is it longer.
const WRITE_LIMIT: u64 = 1 << 20;
/// A zero record neither crosses a multiple of this nor is it longer: one discard stays small.
const ZERO_LIMIT: u64 = 64 << 20;
/// Both ends of a zero record are multiples of this: whoever applies it as a discard loses what is
/// not aligned to `rbd_discard_granularity_bytes` (64 KiB) without a word. `rbd import-diff` of Ceph
/// 16.2.15 writes zeros, exactly (tried); other versions and tools need not.
const GRANULE: u64 = GRANULE_BYTES as u64;
const GRANULE_BYTES: usize = 64 << 10;

/// How zeros stand in increments. In a base they are left out: its target reads as zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ZeroRuns {
    /// Aligned runs of 64 KiB and more become zero records; whatever is not aligned is written.
    #[default]
    Aligned,
    /// Zeros are written like all data. For volumes with their own striping, where even an aligned
    /// run may be made of parts that a discard would drop.
    Written,
}

/// A frame before it is compressed.
pub(super) struct RawFrame {
    /// Its memory, longer than the frame.
    pub(super) memory: Vec<u8>,
    /// How many bytes of the memory are the frame.
    pub(super) used: usize,
    /// Its records.
    pub(super) extents: Vec<Extent>,
}

impl RawFrame {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.memory[..self.used]
    }
}

/// Where finished frames go and where memory for new ones comes from.
pub(super) trait FrameSink {
    /// Takes a frame; an error ends the cutting.
    fn put(&mut self, frame: RawFrame) -> Result<(), Closed>;
    /// Memory to use again, of any length.
    fn memory(&mut self) -> Vec<u8>;
}

/// Whoever took the frames takes no more; it knows why.
#[derive(Debug)]
pub(super) struct Closed;

/// Why the cutting ended early.
#[derive(Debug)]
pub(super) enum CutError {
    Stream(StreamError),
    /// An image that is read for it.
    Image(ImageError),
    Closed,
}

impl From<ImageError> for CutError {
    fn from(error: ImageError) -> Self {
        Self::Image(error)
    }
}

impl From<StreamError> for CutError {
    fn from(error: StreamError) -> Self {
        Self::Stream(error)
    }
}

impl From<Closed> for CutError {
    fn from(_: Closed) -> Self {
        Self::Closed
    }
}

/// A write record whose length is not known yet.
struct OpenWrite {
    head: usize,
    offset: u64,
    end: u64,
}

/// Builds frames out of data and zeros that come in ascending order.
pub(super) struct Cutter<S: FrameSink> {
    sink: S,
    frame: RawFrame,
    /// Bytes in the frame's memory that were read but are no part of a record yet.
    raw: Range<usize>,
    open: Option<OpenWrite>,
    zero: Option<Range<u64>>,
    zeros: ZeroRuns,
    is_base: bool,
    /// Bytes that became writes.
    pub(super) data_bytes: u64,
    /// Bytes that became zero records or were left out.
    pub(super) zero_bytes: u64,
}

impl<S: FrameSink> Cutter<S> {
    pub(super) fn new(header: &Header, zeros: ZeroRuns, mut sink: S) -> Result<Self, CutError> {
        let head = header_bytes(header)?;
        let mut memory = sink.memory();
        grow(&mut memory, head.len());
        memory[..head.len()].copy_from_slice(&head);
        Ok(Self {
            sink,
            frame: RawFrame { memory, used: head.len(), extents: Vec::new() },
            raw: 0..0,
            open: None,
            zero: None,
            zeros,
            is_base: header.from.is_none(),
            data_bytes: 0,
            zero_bytes: 0,
        })
    }

    /// How much of a write at `offset` to give at once.
    pub(super) fn piece_length(offset: u64, left: u64) -> u64 {
        left.min(WRITE_LIMIT - offset % WRITE_LIMIT)
    }

    /// Takes `length` bytes at `offset`, which `fill` puts where it is told. They must not cross a
    /// multiple of 1 MiB: see [`Cutter::piece_length`].
    pub(super) fn data(
        &mut self,
        offset: u64,
        length: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), StreamError>,
    ) -> Result<(), CutError> {
        let room = self.room(offset, length)?;
        fill(room)?;
        if self.zeros == ZeroRuns::Written && !self.is_base {
            return self.append(offset, length);
        }
        self.sort(offset)
    }

    /// Takes a part of the volume that reads as zero.
    pub(super) fn zeros(&mut self, offset: u64, length: u64) -> Result<(), CutError> {
        let end = offset + length;
        if self.is_base {
            return self.zero_run(offset..end);
        }
        let aligned = offset.div_ceil(GRANULE).saturating_mul(GRANULE)..end - end % GRANULE;
        if self.zeros == ZeroRuns::Written || aligned.is_empty() {
            return self.written_zeros(offset..end);
        }
        self.written_zeros(offset..aligned.start)?;
        self.zero_run(aligned.clone())?;
        self.written_zeros(aligned.end..end)
    }

    /// Writes the end mark and hands out the last frame.
    pub(super) fn finish(mut self) -> Result<(u64, u64), CutError> {
        self.close_write();
        self.flush_zero()?;
        self.cut_if_full()?;
        grow(&mut self.frame.memory, self.frame.used + 1);
        self.frame.memory[self.frame.used] = b'e';
        self.frame.used += 1;
        self.sink.put(self.frame)?;
        Ok((self.data_bytes, self.zero_bytes))
    }

    /// Makes room in the frame for data at `offset`: right behind an open write that it continues,
    /// else behind the record heads that may come before it.
    fn room(&mut self, offset: u64, length: usize) -> Result<&mut [u8], CutError> {
        let heads = if self.continues(offset) {
            0
        } else {
            self.close_write();
            self.cut_if_full()?;
            1 + usize::from(self.zero.is_some())
        };
        let start = self.frame.used + heads * RECORD_HEAD;
        self.raw = start..start + length;
        grow(&mut self.frame.memory, self.raw.end);
        Ok(&mut self.frame.memory[self.raw.clone()])
    }

    /// Splits the raw bytes, which belong at `offset`, into zero runs and data.
    fn sort(&mut self, mut offset: u64) -> Result<(), CutError> {
        while !self.raw.is_empty() {
            let raw = &self.frame.memory[self.raw.clone()];
            let zeros = zero_run_length(offset, raw);
            if zeros > 0 {
                self.raw.start += zeros;
                self.zero_run(offset..offset + zeros as u64)?;
                offset += zeros as u64;
                continue;
            }
            let data = data_run_length(offset, raw);
            self.append(offset, data)?;
            offset += data as u64;
        }
        Ok(())
    }

    /// Makes the first `length` raw bytes a part of a write.
    fn append(&mut self, offset: u64, length: usize) -> Result<(), CutError> {
        if !self.continues(offset) {
            self.close_write();
            self.flush_zero()?;
            self.cut_if_full()?;
            self.open = Some(OpenWrite { head: self.frame.used, offset, end: offset });
            self.frame.used += RECORD_HEAD;
        }
        let used = self.frame.used;
        if self.raw.start != used {
            self.frame.memory.copy_within(self.raw.start..self.raw.start + length, used);
        }
        self.raw.start += length;
        self.frame.used += length;
        self.data_bytes += length as u64;
        if let Some(open) = &mut self.open {
            open.end += length as u64;
        }
        Ok(())
    }

    fn written_zeros(&mut self, mut range: Range<u64>) -> Result<(), CutError> {
        while range.start < range.end {
            let length = Self::piece_length(range.start, range.end - range.start);
            // At most 1 MiB, so that it fits into a usize everywhere.
            #[allow(clippy::cast_possible_truncation)]
            let count = length as usize;
            self.room(range.start, count)?.fill(0);
            self.append(range.start, count)?;
            range.start += length;
        }
        Ok(())
    }

    fn zero_run(&mut self, mut range: Range<u64>) -> Result<(), CutError> {
        self.close_write();
        self.zero_bytes += range.end - range.start;
        while !self.is_base && range.start < range.end {
            let limit = (range.start - range.start % ZERO_LIMIT).saturating_add(ZERO_LIMIT);
            let end = range.end.min(limit);
            let continued = range.start % ZERO_LIMIT != 0;
            match &mut self.zero {
                Some(zero) if continued && zero.end == range.start => zero.end = end,
                _ => {
                    self.flush_zero()?;
                    self.zero = Some(range.start..end);
                }
            }
            range.start = end;
        }
        Ok(())
    }

    fn continues(&self, offset: u64) -> bool {
        offset % WRITE_LIMIT != 0 && self.open.as_ref().is_some_and(|open| open.end == offset)
    }

    fn close_write(&mut self) {
        let Some(open) = self.open.take() else { return };
        let length = open.end - open.offset;
        let head = record_head(b'w', open.offset, length);
        self.frame.memory[open.head..open.head + RECORD_HEAD].copy_from_slice(&head);
        let extent = Extent { offset: open.offset, length, content: Content::Data };
        self.frame.extents.push(extent);
    }

    fn flush_zero(&mut self) -> Result<(), CutError> {
        let Some(zero) = self.zero.take() else { return Ok(()) };
        self.cut_if_full()?;
        let (offset, length) = (zero.start, zero.end - zero.start);
        let used = self.frame.used;
        grow(&mut self.frame.memory, used + RECORD_HEAD);
        self.frame.memory[used..used + RECORD_HEAD]
            .copy_from_slice(&record_head(b'z', offset, length));
        self.frame.used += RECORD_HEAD;
        self.frame.extents.push(Extent { offset, length, content: Content::Zero });
        Ok(())
    }

    /// Hands the frame out when it is full; only between records. Raw bytes go over into the next.
    fn cut_if_full(&mut self) -> Result<(), CutError> {
        if self.frame.used < FRAME_TARGET {
            return Ok(());
        }
        let mut memory = self.sink.memory();
        let start = 2 * RECORD_HEAD;
        grow(&mut memory, start + self.raw.len());
        memory[start..start + self.raw.len()].copy_from_slice(&self.frame.memory[self.raw.clone()]);
        self.raw = start..start + self.raw.len();
        let fresh = RawFrame { memory, used: 0, extents: Vec::new() };
        Ok(self.sink.put(std::mem::replace(&mut self.frame, fresh))?)
    }
}

fn grow(memory: &mut Vec<u8>, length: usize) {
    if memory.len() < length {
        memory.resize(length.max(FRAME_TARGET + (64 << 10)), 0);
    }
}

/// How many bytes at the front are whole granules of zeros.
fn zero_run_length(offset: u64, bytes: &[u8]) -> usize {
    if offset % GRANULE != 0 {
        return 0;
    }
    let granules = bytes.chunks_exact(GRANULE_BYTES);
    granules.take_while(|granule| is_zero(granule)).count() * GRANULE_BYTES
}

/// How many bytes at the front come before the next whole granule of zeros.
fn data_run_length(offset: u64, bytes: &[u8]) -> usize {
    // Less than a granule, so that it fits into a usize everywhere.
    #[allow(clippy::cast_possible_truncation)]
    let misaligned = (offset % GRANULE) as usize;
    let mut length = (GRANULE_BYTES - misaligned).min(bytes.len());
    while length < bytes.len() {
        let rest = &bytes[length..];
        if rest.len() >= GRANULE_BYTES && is_zero(&rest[..GRANULE_BYTES]) {
            break;
        }
        length += rest.len().min(GRANULE_BYTES);
    }
    length
}

/// Compared with zeros that stay in the nearest cache; the comparison is the libc's.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    static ZEROS: [u8; 4096] = [0; 4096];
    bytes.chunks(ZEROS.len()).all(|chunk| chunk == &ZEROS[..chunk.len()])
}
