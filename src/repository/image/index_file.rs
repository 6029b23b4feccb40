//! The `.idx` file: an index as bytes. How it is read stands in `index_stream.rs`.
//!
//! ```text
//! magic "ferry-idx\n", version 1 (1 byte), codec (1 byte: none, zstd, gzip, bzip2)
//! size; from, to: 0 when absent, else length + 1 and the name; number of frames
//! per frame: stored length, stream length, BLAKE3 (32 bytes), number of records, and per record
//!            gap since the end of the record before, length * 2 (+ 1 for zeros)
//! BLAKE3 of all bytes before (32 bytes)
//! ```
//! Numbers are LEB128: 7 bits a byte, the lowest first.

use super::index::ImageIndex;
use super::index_stream::{FrameAt, IndexStream, MAGIC, VERSION};
use crate::stream::Content;
use std::io::{self, BufWriter, Read, Write};

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
            output.number(self.extents_of(number).count() as u64)?;
            for extent in self.extents_of(number) {
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
        let mut stream = IndexStream::begin(input)?;
        let mut index = Self::new(stream.header.clone(), stream.codec);
        let mut extents = Vec::new();
        while let Some(FrameAt { frame, .. }) = stream.next_frame()? {
            extents.clear();
            while let Some(extent) = stream.next_record()? {
                extents.push(extent);
            }
            index.push(frame.stored_length, frame.stream_length, frame.digest, &extents);
        }
        stream.finish()?;
        Ok(index)
    }
}

/// A writer that hashes what passes.
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

#[cfg(test)]
mod tests {
    use super::super::compression::Codec;
    use super::*;
    use crate::stream::{Extent, Header};

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
        assert_eq!(index.extents_of(1).count(), 1);
        assert_eq!(index.extents_of(2).count(), 0);
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
