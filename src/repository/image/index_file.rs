//! The `.idx` file: an index as bytes. What it reads is believed only as far as it fits together.
//!
//! ```text
//! magic "ferry-idx\n", version 1 (1 byte), codec (1 byte: none, zstd, gzip, bzip2)
//! size; from, to: 0 when absent, else length + 1 and the name; number of frames
//! per frame: stored length, stream length, BLAKE3 (32 bytes), number of records, and per record
//!            gap since the end of the record before, length * 2 (+ 1 for zeros)
//! BLAKE3 of all bytes before (32 bytes)
//! ```
//! Numbers are LEB128: 7 bits a byte, the lowest first.

use super::codec::{FRAME_LIMIT, STORED_LIMIT};
use super::compression::Codec;
use super::index::{ImageIndex, fits_the_format};
use crate::stream::{Content, Extent, Header, NAME_LIMIT};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};

const MAGIC: &[u8] = b"ferry-idx\n";
const VERSION: u8 = 1;

impl ImageIndex {
    /// Writes the index.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn write(&self, output: &mut dyn Write) -> io::Result<()> {
        let mut output = Hashed::new(BufWriter::with_capacity(256 << 10, output));
        output.write_all(MAGIC)?;
        output.write_all(&[VERSION, self.codec.number()])?;
        output.number(self.header.size)?;
        output.name(self.header.from.as_deref())?;
        output.name(self.header.to.as_deref())?;
        output.number(self.frames().len() as u64)?;
        let mut end = 0;
        for (number, frame) in self.frames().iter().enumerate() {
            output.number(frame.stored_length.into())?;
            output.number(frame.stream_length.into())?;
            output.write_all(&frame.digest)?;
            let extents = self.extents_of(number);
            output.number(extents.len() as u64)?;
            for extent in extents {
                output.number(extent.offset - end)?;
                output.number(extent.length * 2 + u64::from(extent.content == Content::Zero))?;
                end = extent.end();
            }
        }
        output.finish()?.flush()
    }

    /// Reads an index whole. It takes memory only for what is there, whatever the counts say.
    ///
    /// # Errors
    /// The input cannot be read; `InvalidData`: it is no index, of another version, or damaged.
    pub fn read(input: &mut dyn Read) -> io::Result<Self> {
        let mut input = Hashed::new(BufReader::with_capacity(256 << 10, input));
        if input.bytes::<10>()? != MAGIC {
            return Err(invalid("it does not begin as one"));
        }
        let [version, codec] = input.bytes()?;
        if version != VERSION {
            return Err(invalid("its version is unknown"));
        }
        let codec = Codec::from_number(codec).ok_or_else(|| invalid("its codec is unknown"))?;
        let size = input.read_number()?;
        let header = Header { size, from: input.read_name()?, to: input.read_name()? };
        let mut index = Self::new(header, codec);
        let frames = input.read_number()?;
        let mut end = 0;
        let mut extents = Vec::new();
        for _ in 0..frames {
            read_frame(&mut input, &mut index, &mut extents, &mut end)?;
        }
        input.check_end()?;
        if !index.is_consistent() {
            return Err(invalid("its frames do not fit their records"));
        }
        Ok(index)
    }
}

fn read_frame<R: BufRead>(
    input: &mut Hashed<R>,
    index: &mut ImageIndex,
    extents: &mut Vec<Extent>,
    end: &mut u64,
) -> io::Result<()> {
    let stored_length = input.read_length(STORED_LIMIT)?;
    let stream_length = input.read_length(FRAME_LIMIT)?;
    let digest = input.bytes()?;
    extents.clear();
    for _ in 0..input.read_number()? {
        let extent = input.read_extent(*end, index.header.size)?;
        *end = extent.end();
        extents.push(extent);
    }
    index.push(stored_length, stream_length, digest, extents);
    Ok(())
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("this is no image index: {why}"))
}

/// A reader or a writer that hashes what passes.
struct Hashed<T> {
    inner: T,
    hasher: blake3::Hasher,
}

impl<T> Hashed<T> {
    fn new(inner: T) -> Self {
        Self { inner, hasher: blake3::Hasher::new() }
    }
}

impl<W: Write> Hashed<W> {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.inner.write_all(bytes)
    }

    fn number(&mut self, mut number: u64) -> io::Result<()> {
        let mut bytes = [0; 10];
        let mut count = 0;
        loop {
            // The mask leaves 7 bits.
            #[allow(clippy::cast_possible_truncation)]
            let low = (number & 0x7f) as u8;
            number >>= 7;
            bytes[count] = low | if number > 0 { 0x80 } else { 0 };
            count += 1;
            if number == 0 {
                return self.write_all(&bytes[..count]);
            }
        }
    }

    fn name(&mut self, name: Option<&str>) -> io::Result<()> {
        let Some(name) = name else { return self.number(0) };
        self.number(name.len() as u64 + 1)?;
        self.write_all(name.as_bytes())
    }

    fn finish(mut self) -> io::Result<W> {
        let digest = self.hasher.finalize();
        self.inner.write_all(digest.as_bytes())?;
        Ok(self.inner)
    }
}

impl<R: BufRead> Hashed<R> {
    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.inner.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => invalid("it is cut off"),
            _ => error,
        })?;
        self.hasher.update(bytes);
        Ok(())
    }

    fn read_number(&mut self) -> io::Result<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.bytes()?;
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

    fn read_length(&mut self, limit: usize) -> io::Result<u32> {
        let length = u32::try_from(self.read_number()?).ok();
        let length = length.filter(|length| *length as usize <= limit && *length > 0);
        length.ok_or_else(|| invalid("a frame is too long"))
    }

    fn read_name(&mut self) -> io::Result<Option<String>> {
        let length = self.read_number()?;
        if length == 0 {
            return Ok(None);
        }
        let length = u32::try_from(length - 1).ok().filter(|length| *length <= NAME_LIMIT);
        let mut name = vec![0; length.ok_or_else(|| invalid("a name is too long"))? as usize];
        self.fill(&mut name)?;
        String::from_utf8(name).map(Some).map_err(|_| invalid("a name is no text"))
    }

    fn read_extent(&mut self, after: u64, size: u64) -> io::Result<Extent> {
        let offset = after.checked_add(self.read_number()?);
        let length = self.read_number()?;
        let content = if length & 1 == 1 { Content::Zero } else { Content::Data };
        let length = length / 2;
        let end = offset.and_then(|offset| offset.checked_add(length));
        // The bytes of a write stand in its frame; zeros take no room.
        let limit = if content == Content::Data { FRAME_LIMIT as u64 } else { u64::MAX };
        match (offset, end) {
            (Some(offset), Some(end)) if end <= size && length > 0 && length <= limit => {
                let extent = Extent { offset, length, content };
                let fits = || invalid("a run of zeros is none that we write");
                fits_the_format(&extent).then_some(extent).ok_or_else(fits)
            }
            _ => Err(invalid("a record lies outside of the volume")),
        }
    }

    fn check_end(mut self) -> io::Result<()> {
        let expected = self.hasher.finalize();
        let found: [u8; 32] = self.bytes()?;
        if expected != blake3::Hash::from(found) {
            return Err(invalid("its digest does not fit"));
        }
        if !self.inner.fill_buf()?.is_empty() {
            return Err(invalid("bytes follow it"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn sample() -> ImageIndex {
        let header = Header { from: Some("a".into()), to: Some("b".into()), size: 1 << 40 };
        let mut index = ImageIndex::new(header, Codec::Zstd);
        let data = |offset, length| Extent { offset, length, content: Content::Data };
        let zero = Extent { offset: 1 << 20, length: 63 << 20, content: Content::Zero };
        // The header has 12 + 6 + 6 + 9 bytes.
        index.push(50, 33 + 17 + 100 + 17, [7; 32], &[data(5, 100), zero]);
        index.push(1, 17 + 4096 + 1, [9; 32], &[data(1 << 35, 4096)]);
        index
    }

    fn bytes(index: &ImageIndex) -> Vec<u8> {
        let mut bytes = Vec::new();
        index.write(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn an_index_round_trips() {
        let index = sample();
        assert_eq!(ImageIndex::read(&mut &bytes(&index)[..]).unwrap(), index);
        assert_eq!(index.frames()[1].stored_offset, 50);
        assert_eq!(index.extents_of(1).len(), 1);
        assert_eq!(index.extents_of(2).len(), 0);
    }

    #[test]
    fn every_cut_and_every_flipped_byte_is_noticed() {
        let bytes = bytes(&sample());
        for length in 0..bytes.len() {
            assert!(ImageIndex::read(&mut &bytes[..length]).is_err(), "cut at {length}");
        }
        for position in 0..bytes.len() {
            for bit in [1, 0x80] {
                let mut bytes = bytes.clone();
                bytes[position] ^= bit;
                assert!(ImageIndex::read(&mut &bytes[..]).is_err(), "flipped at {position}");
            }
        }
        let longer = [bytes, vec![0]].concat();
        assert!(ImageIndex::read(&mut &longer[..]).is_err());
    }

    #[test]
    fn counts_that_promise_more_than_there_is_take_no_memory() {
        let mut bytes = [MAGIC, &[VERSION, 1]].concat();
        bytes.extend([0x10, 0, 0]);
        bytes.extend([0xff; 9]);
        bytes.push(1);
        let error = ImageIndex::read(&mut &bytes[..]).unwrap_err();
        assert!(error.to_string().contains("cut off"), "{error}");
        let error = ImageIndex::read(&mut &[bytes, vec![0xff; 20]].concat()[..]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
