//! Writes a diff stream. It keeps the same rules that the reader enforces and buffers nothing.

use super::record::{BANNER, Header, NAME_LIMIT, StreamError};
use std::io::Write;

/// Bytes of a `w` or `z` record before the data: tag, offset, length.
pub const RECORD_HEAD: usize = 17;

/// The banner and the records before the data.
///
/// # Errors
/// A name is longer than [`NAME_LIMIT`].
pub fn header_bytes(header: &Header) -> Result<Vec<u8>, StreamError> {
    let mut bytes = BANNER.to_vec();
    for (tag, name) in [(b'f', &header.from), (b't', &header.to)] {
        let Some(name) = name else { continue };
        let length = u32::try_from(name.len()).ok().filter(|length| *length <= NAME_LIMIT);
        let length = length.ok_or(StreamError::Misuse("a snapshot name that is too long"))?;
        bytes.push(tag);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(name.as_bytes());
    }
    bytes.push(b's');
    bytes.extend_from_slice(&header.size.to_le_bytes());
    Ok(bytes)
}

/// The beginning of a `w` or `z` record.
pub fn record_head(tag: u8, offset: u64, length: u64) -> [u8; RECORD_HEAD] {
    let mut head = [tag; RECORD_HEAD];
    head[1..9].copy_from_slice(&offset.to_le_bytes());
    head[9..].copy_from_slice(&length.to_le_bytes());
    head
}

/// Writes records in order; the extents must ascend.
#[derive(Debug)]
pub struct StreamWriter<W: Write> {
    output: W,
    size: u64,
    next_offset: u64,
    /// Bytes that a begun write still lacks.
    pending: u64,
}

impl<W: Write> StreamWriter<W> {
    /// Writes banner, names and size.
    ///
    /// # Errors
    /// A name is too long; the output cannot be written.
    pub fn new(mut output: W, header: &Header) -> Result<Self, StreamError> {
        output.write_all(&header_bytes(header)?).map_err(StreamError::Write)?;
        Ok(Self { output, size: header.size, next_offset: 0, pending: 0 })
    }

    /// Writes one `w` record with its bytes; nothing when there are none.
    ///
    /// # Errors
    /// The extent goes back or ends beyond the size; the output cannot be written.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), StreamError> {
        self.begin_write(offset, data.len() as u64)?;
        self.data(data)
    }

    /// Begins a `w` record whose bytes are then given in parts with [`StreamWriter::data`].
    ///
    /// # Errors
    /// The extent goes back or ends beyond the size; the output cannot be written.
    pub fn begin_write(&mut self, offset: u64, length: u64) -> Result<(), StreamError> {
        self.record(b'w', offset, length)?;
        self.pending = length;
        Ok(())
    }

    /// Gives the next bytes of the write that was begun.
    ///
    /// # Errors
    /// There are more of them than were announced; the output cannot be written.
    pub fn data(&mut self, data: &[u8]) -> Result<(), StreamError> {
        let left = self.pending.checked_sub(data.len() as u64);
        self.pending = left.ok_or(StreamError::Misuse("more data than announced"))?;
        self.output.write_all(data).map_err(StreamError::Write)
    }

    /// Writes one `z` record; nothing when the length is 0.
    ///
    /// # Errors
    /// The extent goes back or ends beyond the size; the output cannot be written.
    pub fn zero(&mut self, offset: u64, length: u64) -> Result<(), StreamError> {
        self.record(b'z', offset, length)
    }

    /// Writes the end mark, flushes, and gives the output back.
    ///
    /// # Errors
    /// Announced data is missing; the output cannot be written.
    pub fn finish(mut self) -> Result<W, StreamError> {
        if self.pending > 0 {
            return Err(StreamError::Misuse("an end mark inside a write"));
        }
        self.output.write_all(b"e").map_err(StreamError::Write)?;
        self.output.flush().map_err(StreamError::Write)?;
        Ok(self.output)
    }

    fn record(&mut self, tag: u8, offset: u64, length: u64) -> Result<(), StreamError> {
        if length == 0 {
            return Ok(());
        }
        if self.pending > 0 {
            return Err(StreamError::Misuse("a record inside a write"));
        }
        if offset < self.next_offset {
            return Err(StreamError::Misuse("an extent that goes back"));
        }
        let end = offset.checked_add(length).filter(|end| *end <= self.size);
        self.next_offset = end.ok_or(StreamError::Misuse("an extent beyond the size"))?;
        self.output.write_all(&record_head(tag, offset, length)).map_err(StreamError::Write)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_of_rbd() {
        let header = Header { from: Some("s1".into()), to: Some("s2".into()), size: 67_108_864 };
        let writer = StreamWriter::new(Vec::new(), &header).unwrap();
        let bytes = writer.finish().unwrap();
        let expected = b"rbd diff v1\nf\x02\0\0\0s1t\x02\0\0\0s2s\0\0\0\x04\0\0\0\0e";
        assert_eq!(bytes, expected);
    }

    #[test]
    fn wrong_orders_are_refused_before_anything_is_written() {
        let mut writer =
            StreamWriter::new(Vec::new(), &Header { size: 10, ..Header::default() }).unwrap();
        writer.write(4, b"x").unwrap();
        assert!(writer.write(4, b"x").is_err());
        assert!(writer.zero(9, 2).is_err());
        writer.begin_write(5, 2).unwrap();
        assert!(writer.data(b"abc").is_err());
        assert!(writer.zero(8, 1).is_err());
        assert!(writer.finish().is_err());
    }
}
