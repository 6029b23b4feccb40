//! Diff stream v1 for the memory driver, written a second time on purpose: the reference must not
//! share the mistakes of stream/. Not for anything else.
//!
//! The records are those of Ceph's doc/dev/rbd-diff.rst, integers little endian: `f`, `t` with a
//! counted name, `s` with the size, `w` offset, length and bytes, `z` offset and length, `e`.

use super::content::Content;
use crate::model::SnapshotIdentity;

const BANNER: &[u8] = b"rbd diff v1\n";
const LONGEST_NAME: usize = 4096;

/// A whole stream from one content to another, but for the first `omitted` changes.
pub(super) fn encode(
    own: (&SnapshotIdentity, &Content),
    since: Option<(&SnapshotIdentity, &Content)>,
    omitted: usize,
) -> Vec<u8> {
    let mut stream = BANNER.to_vec();
    if let Some((identity, _)) = since {
        name(&mut stream, b'f', &identity.name);
    }
    name(&mut stream, b't', &own.0.name);
    stream.push(b's');
    stream.extend(own.1.size().to_le_bytes());
    let changes = own.1.changes_since(since.map(|(_, content)| content));
    for change in changes.into_iter().skip(omitted) {
        stream.push(if change.data.is_some() { b'w' } else { b'z' });
        stream.extend(change.offset.to_le_bytes());
        stream.extend(change.length.to_le_bytes());
        stream.extend(change.data.unwrap_or_default());
    }
    stream.push(b'e');
    stream
}

fn name(stream: &mut Vec<u8>, tag: u8, name: &str) {
    stream.push(tag);
    stream.extend(u32::try_from(name.len()).unwrap_or(u32::MAX).to_le_bytes());
    stream.extend(name.as_bytes());
}

/// One record, read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Record {
    From(String),
    To(String),
    Size(u64),
    Write { offset: u64, data: Vec<u8> },
    Zero { offset: u64, length: u64 },
    End,
}

/// Collects bytes until they are records.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    pending: Vec<u8>,
    begun: bool,
}

impl Decoder {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The next record, if it is there whole.
    pub(super) fn next(&mut self) -> Result<Option<Record>, String> {
        if !self.begun {
            let length = self.pending.len().min(BANNER.len());
            if self.pending[..length] != BANNER[..length] {
                return Err("it does not begin with the banner of a diff stream v1".to_owned());
            }
            if length < BANNER.len() {
                return Ok(None);
            }
            self.pending.drain(..length);
            self.begun = true;
        }
        let mut cursor = Cursor { bytes: &self.pending, at: 0 };
        let record = cursor.record()?;
        let used = cursor.at;
        if record.is_some() {
            self.pending.drain(..used);
        }
        Ok(record)
    }
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn record(&mut self) -> Result<Option<Record>, String> {
        let Some(tag) = self.take(1).map(|tag| tag[0]) else { return Ok(None) };
        Ok(match tag {
            b'f' => self.name()?.map(Record::From),
            b't' => self.name()?.map(Record::To),
            b's' => self.number().map(Record::Size),
            b'w' => self.write(),
            b'z' => self.pair().map(|(offset, length)| Record::Zero { offset, length }),
            b'e' => Some(Record::End),
            other => return Err(format!("it holds an unknown record {:?}", char::from(other))),
        })
    }

    fn write(&mut self) -> Option<Record> {
        let (offset, length) = self.pair()?;
        let data = self.take(usize::try_from(length).ok()?)?.to_vec();
        Some(Record::Write { offset, data })
    }

    fn name(&mut self) -> Result<Option<String>, String> {
        let Some(length) = self.take(4).and_then(|b| <[u8; 4]>::try_from(b).ok()) else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        if length > LONGEST_NAME {
            return Err(format!("it holds a name of {length} bytes"));
        }
        let text = self.take(length).map(|name| String::from_utf8(name.to_vec()));
        text.transpose().map_err(|error| error.to_string())
    }

    fn pair(&mut self) -> Option<(u64, u64)> {
        Some((self.number()?, self.number()?))
    }

    fn number(&mut self) -> Option<u64> {
        self.take(8).and_then(|b| <[u8; 8]>::try_from(b).ok()).map(u64::from_le_bytes)
    }

    fn take(&mut self, length: usize) -> Option<&[u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::VolumeIdentity;

    #[test]
    fn streams_come_back_however_they_are_cut_into_pieces() {
        let identity = |name: &str| SnapshotIdentity {
            volume: VolumeIdentity::Memory { id: 1 },
            snapshot: "1".into(),
            name: name.into(),
        };
        let (mut old, mut new) = (Content::new(1 << 20), Content::new(1 << 20));
        old.write(0, &[1; 8192]);
        new.write(4096, &[1; 4096]);
        new.write(20_000, b"x");
        let stream = encode((&identity("b"), &new), Some((&identity("a"), &old)), 0);
        for size in [1, 3, 4096, stream.len()] {
            let (mut decoder, mut records) = (Decoder::default(), Vec::new());
            for piece in stream.chunks(size) {
                decoder.feed(piece);
                while let Some(record) = decoder.next().unwrap() {
                    records.push(record);
                }
            }
            assert_eq!(records[..2], [Record::From("a".into()), Record::To("b".into())]);
            assert_eq!(records[2], Record::Size(1 << 20));
            assert_eq!(records[3], Record::Zero { offset: 0, length: 4096 });
            assert!(
                matches!(&records[4], Record::Write { offset: 16_384, data } if data.len() == 4096)
            );
            assert_eq!(records[5..], [Record::End]);
        }
    }

    #[test]
    fn other_bytes_are_refused() {
        for bytes in
            [&b"rbd diff v2\n"[..], b"\x1f\x8b", b"rbd diff v1\nq", b"rbd diff v1\nf\xff\xff\0\0"]
        {
            let mut decoder = Decoder::default();
            decoder.feed(bytes);
            assert!(decoder.next().is_err(), "{bytes:?}");
        }
    }
}
