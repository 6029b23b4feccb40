//! Reads a diff stream record by record and believes nothing that it says. It keeps no data.

use super::record::{BANNER, Header, NAME_LIMIT, Record, StreamError};
use std::io::{BufRead, BufReader, ErrorKind, Read};

/// Big reads go past this buffer straight into the caller's; it only gathers small records.
const BUFFER: usize = 64 << 10;

/// Reads records in order; the bytes of a write are taken with [`StreamReader::read_data`].
#[derive(Debug)]
pub struct StreamReader<R: Read> {
    input: BufReader<R>,
    position: u64,
    pending: u64,
    next_offset: u64,
    from_seen: bool,
    to_seen: bool,
    size: Option<u64>,
    data_seen: bool,
    ended: bool,
}

impl<R: Read> StreamReader<R> {
    /// Reads the banner.
    ///
    /// # Errors
    /// The input cannot be read, or is no stream of version 1.
    pub fn new(input: R) -> Result<Self, StreamError> {
        let mut reader = Self {
            input: BufReader::with_capacity(BUFFER, input),
            position: 0,
            pending: 0,
            next_offset: 0,
            from_seen: false,
            to_seen: false,
            size: None,
            data_seen: false,
            ended: false,
        };
        let mut banner = [0; BANNER.len()];
        reader.fill(&mut banner)?;
        if &banner != BANNER {
            return Err(StreamError::Banner);
        }
        Ok(reader)
    }

    /// The next record. Bytes of a write that nobody took are skipped. After the end mark it is
    /// always [`Record::End`].
    ///
    /// # Errors
    /// The input cannot be read, is cut off, or breaks a rule of the format; see [`StreamError`].
    pub fn next_record(&mut self) -> Result<Record, StreamError> {
        self.skip_pending()?;
        if self.ended {
            return Ok(Record::End);
        }
        let position = self.position;
        let [tag] = self.array()?;
        match tag {
            b'f' => {
                self.place_name(self.from_seen, position)?;
                self.from_seen = true;
                Ok(Record::From(self.name(position)?))
            }
            b't' => {
                self.place_name(self.to_seen, position)?;
                self.to_seen = true;
                Ok(Record::To(self.name(position)?))
            }
            b's' => self.size_record(position),
            b'w' => {
                let (offset, length) = self.extent(position)?;
                self.pending = length;
                Ok(Record::Write { offset, length })
            }
            b'z' => {
                let (offset, length) = self.extent(position)?;
                Ok(Record::Zero { offset, length })
            }
            b'e' if self.size.is_none() => Err(StreamError::OutOfPlace { position }),
            b'e' => {
                self.ended = true;
                Ok(Record::End)
            }
            tag => Err(StreamError::UnknownRecord { tag, position }),
        }
    }

    /// Reads the records before the data, up to and with the size.
    ///
    /// # Errors
    /// As [`StreamReader::next_record`]; the data begins before the size was told.
    pub fn read_header(&mut self) -> Result<Header, StreamError> {
        let mut header = Header::default();
        loop {
            match self.next_record()? {
                Record::From(name) => header.from = Some(name),
                Record::To(name) => header.to = Some(name),
                Record::Size(size) => {
                    header.size = size;
                    return Ok(header);
                }
                _ => return Err(StreamError::OutOfPlace { position: self.position }),
            }
        }
    }

    /// Fills `buffer` with the next bytes of the last write and says how many there were: the whole
    /// buffer, or less when the write has no more; 0 when there is nothing left of it.
    ///
    /// # Errors
    /// The input cannot be read or is cut off.
    pub fn read_data(&mut self, buffer: &mut [u8]) -> Result<usize, StreamError> {
        let wanted = usize::try_from(self.pending).unwrap_or(usize::MAX).min(buffer.len());
        self.fill(&mut buffer[..wanted])?;
        self.pending -= wanted as u64;
        Ok(wanted)
    }

    /// How many bytes of the stream were read.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Checks that the stream ended with its end mark and that nothing follows it.
    ///
    /// # Errors
    /// The end mark was not read yet; bytes follow it; the input cannot be read.
    pub fn finish(mut self) -> Result<u64, StreamError> {
        let position = self.position;
        if !self.ended {
            return Err(StreamError::Truncated { position });
        }
        loop {
            match self.input.fill_buf() {
                Ok([]) => return Ok(position),
                Ok(_) => return Err(StreamError::Trailing { position }),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => return Err(StreamError::Read { position, source }),
            }
        }
    }

    fn place_name(&self, seen: bool, position: u64) -> Result<(), StreamError> {
        if seen || self.data_seen {
            return Err(StreamError::OutOfPlace { position });
        }
        Ok(())
    }

    fn name(&mut self, position: u64) -> Result<String, StreamError> {
        let length = u32::from_le_bytes(self.array()?);
        if length > NAME_LIMIT {
            return Err(StreamError::Name { position });
        }
        let mut name = vec![0; length as usize];
        self.fill(&mut name)?;
        String::from_utf8(name).map_err(|_| StreamError::Name { position })
    }

    fn size_record(&mut self, position: u64) -> Result<Record, StreamError> {
        if self.size.is_some() {
            return Err(StreamError::OutOfPlace { position });
        }
        let size = u64::from_le_bytes(self.array()?);
        self.size = Some(size);
        Ok(Record::Size(size))
    }

    fn extent(&mut self, position: u64) -> Result<(u64, u64), StreamError> {
        let offset = u64::from_le_bytes(self.array()?);
        let length = u64::from_le_bytes(self.array()?);
        let Some(size) = self.size else {
            return Err(StreamError::OutOfPlace { position });
        };
        let end = offset.checked_add(length).filter(|end| *end <= size);
        let Some(end) = end else {
            return Err(StreamError::BeyondSize { offset, length, size, position });
        };
        if offset < self.next_offset {
            return Err(StreamError::GoesBack { offset, length, position });
        }
        self.next_offset = end;
        self.data_seen = true;
        Ok((offset, length))
    }

    fn skip_pending(&mut self) -> Result<(), StreamError> {
        let mut waste = [0; 8192];
        while self.pending > 0 {
            self.read_data(&mut waste)?;
        }
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], StreamError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, mut buffer: &mut [u8]) -> Result<(), StreamError> {
        while !buffer.is_empty() {
            match self.input.read(buffer) {
                Ok(0) => return Err(StreamError::Truncated { position: self.position }),
                Ok(count) => {
                    self.position += count as u64;
                    buffer = &mut buffer[count..];
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => return Err(StreamError::Read { position: self.position, source }),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{Header, StreamWriter};

    fn sample() -> Vec<u8> {
        let header = Header { from: Some("s1".into()), to: Some("s2".into()), size: 100 };
        let mut writer = StreamWriter::new(Vec::new(), &header).unwrap();
        writer.write(10, b"abc").unwrap();
        writer.zero(13, 7).unwrap();
        writer.finish().unwrap()
    }

    fn all(bytes: &[u8]) -> Result<Vec<Record>, StreamError> {
        let mut reader = StreamReader::new(bytes)?;
        let mut records = Vec::new();
        loop {
            records.push(reader.next_record()?);
            if records.last() == Some(&Record::End) {
                reader.finish()?;
                return Ok(records);
            }
        }
    }

    #[test]
    fn records_come_in_order_with_their_bytes() {
        let bytes = sample();
        let mut reader = StreamReader::new(&bytes[..]).unwrap();
        let header = reader.read_header().unwrap();
        assert_eq!((header.from.as_deref(), header.size), (Some("s1"), 100));
        assert_eq!(reader.next_record().unwrap(), Record::Write { offset: 10, length: 3 });
        let mut buffer = [0; 8];
        assert_eq!(reader.read_data(&mut buffer).unwrap(), 3);
        assert_eq!(&buffer[..3], b"abc");
        assert_eq!(reader.read_data(&mut buffer).unwrap(), 0);
        assert_eq!(reader.next_record().unwrap(), Record::Zero { offset: 13, length: 7 });
        assert_eq!(reader.next_record().unwrap(), Record::End);
        assert_eq!(reader.finish().unwrap(), bytes.len() as u64);
    }

    #[test]
    fn every_truncation_is_an_error() {
        let bytes = sample();
        for length in 0..bytes.len() {
            let error = all(&bytes[..length]).unwrap_err();
            assert!(
                matches!(error, StreamError::Truncated { position } if position == length as u64),
                "{length}: {error}"
            );
        }
        assert!(all(&bytes).is_ok());
    }

    #[test]
    fn bytes_after_the_end_are_an_error() {
        let mut bytes = sample();
        bytes.push(b'e');
        assert!(matches!(all(&bytes), Err(StreamError::Trailing { .. })));
    }

    /// A stream of size 100 with these records after the size.
    fn stream(records: &[(u8, u64, u64)]) -> Vec<u8> {
        let mut bytes = BANNER.to_vec();
        bytes.push(b's');
        bytes.extend(100_u64.to_le_bytes());
        for (tag, offset, length) in records {
            bytes.push(*tag);
            bytes.extend(offset.to_le_bytes());
            bytes.extend(length.to_le_bytes());
            if *tag == b'w' {
                bytes.extend(vec![1; usize::try_from(*length).unwrap()]);
            }
        }
        bytes.push(b'e');
        bytes
    }

    #[test]
    fn extents_that_go_back_or_overlap_or_leave_the_volume_are_errors() {
        assert!(all(&stream(&[(b'w', 0, 10), (b'z', 10, 90)])).is_ok());
        for second in [(b'w', 9, 1), (b'z', 0, 1), (b'z', 9, 5)] {
            let error = all(&stream(&[(b'w', 0, 10), second])).unwrap_err();
            assert!(matches!(error, StreamError::GoesBack { .. }), "{error}");
        }
        for extent in [(b'z', 100, 1), (b'w', 0, 101), (b'z', u64::MAX, 2)] {
            let error = all(&stream(&[extent])).unwrap_err();
            assert!(matches!(error, StreamError::BeyondSize { .. }), "{error}");
        }
    }

    #[test]
    fn misplaced_records_are_errors() {
        let size = [b"s".as_slice(), &100_u64.to_le_bytes()].concat();
        let zero = [b"z".as_slice(), &[0; 16]].concat();
        let name = b"f\x02\0\0\0s1".to_vec();
        for parts in [
            vec![zero.clone()],
            vec![b"e".to_vec()],
            vec![size.clone(), size.clone()],
            vec![name.clone(), name.clone()],
            vec![size.clone(), zero, name],
        ] {
            let bytes = [BANNER.to_vec(), parts.concat()].concat();
            let error = all(&bytes).unwrap_err();
            assert!(matches!(error, StreamError::OutOfPlace { .. }), "{error}");
        }
    }

    #[test]
    fn a_name_that_is_too_long_takes_no_memory() {
        let mut bytes = BANNER.to_vec();
        bytes.extend(b"t\xff\xff\xff\xff");
        assert!(matches!(all(&bytes), Err(StreamError::Name { position: 12 })));
    }

    #[test]
    fn other_banners_are_refused() {
        assert!(matches!(all(b"rbd diff v2\nxxxx"), Err(StreamError::Banner)));
        assert!(matches!(all(b"rbd di"), Err(StreamError::Truncated { .. })));
    }
}
