//! Makes the index of an image again, from nothing but the image. It does not read a damaged one:
//! what is lost in it, only an index can tell.

use super::codec::{Decoder, FRAME_TARGET, STORED_LIMIT};
use super::compression::Codec;
use super::digest::{FrameDigest, frame_digest};
use super::error::{Damage, ImageError};
use super::index::{ImageIndex, Record as Packed, data_length, fits_the_format, foreign};
use crate::repository::disk::open_file;
use crate::stream::{Content, Extent, Header, Record, StreamError, StreamReader};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// How much of the file is read at once: so much that a frame is always inside.
const WINDOW: usize = 4 * STORED_LIMIT;

impl ImageIndex {
    /// Reads the whole image at `path` and makes its index.
    ///
    /// # Errors
    /// The file cannot be read, is damaged, or is no image that we wrote.
    pub fn scan(path: &Path) -> Result<Self, ImageError> {
        let unreadable = |source| ImageError::Read { path: path.to_owned(), source };
        let file = open_file(path).map_err(unreadable)?;
        let mut beginning = [0; 12];
        let count = read_at_most(&file, &mut beginning, 0).map_err(unreadable)?;
        let codec = Codec::recognise(&beginning[..count])
            .ok_or_else(|| foreign(path, "it begins with no known compression and no stream"))?;
        let index = match codec {
            Codec::None => scan_plain(&file),
            _ => scan_frames(&file, codec),
        };
        index.map_err(|fault| fault.at(path))
    }
}

/// Why a scan failed, without the path.
enum Fault {
    Io(io::Error),
    Foreign(String),
    Damaged(Option<usize>, String),
    Stream(StreamError),
}

impl Fault {
    fn at(self, path: &Path) -> ImageError {
        match self {
            Self::Io(source) => ImageError::Read { path: path.to_owned(), source },
            Self::Foreign(why) => foreign(path, why),
            Self::Damaged(frame, what) => {
                let what = format!("{what}; without its index nobody knows what is lost");
                let (path, extents) = (path.to_owned(), Vec::new());
                ImageError::Damaged(Damage { path, frame, extents, what })
            }
            Self::Stream(error @ StreamError::Truncated { .. }) => {
                Self::Damaged(None, error.to_string()).at(path)
            }
            Self::Stream(StreamError::Read { source, .. }) => {
                ImageError::Read { path: path.to_owned(), source }
            }
            Self::Stream(error) => foreign(path, error.to_string()),
        }
    }
}

impl From<StreamError> for Fault {
    fn from(error: StreamError) -> Self {
        Self::Stream(error)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The records of a stream.
struct Records {
    header: Header,
    /// Where the first one begins, or the end mark where there is none.
    first: u64,
    records: Vec<Packed>,
    /// Where the end mark stands.
    end: u64,
}

impl Records {
    /// The records, each with where it begins: right behind the one before.
    fn placed(&self) -> impl Iterator<Item = (u64, Extent)> {
        let mut next = self.first;
        self.records.iter().map(move |record| {
            let (start, extent) = (next, Extent::from(record));
            next += crate::stream::RECORD_HEAD as u64 + data_length(&extent);
            (start, extent)
        })
    }
}

fn read_records(input: impl Read) -> Result<Records, Fault> {
    let mut reader = StreamReader::new(input)?;
    let header = reader.read_header()?;
    let (mut records, mut first) = (Vec::new(), None);
    loop {
        let record = reader.next_record()?;
        let (offset, length, content) = match record {
            Record::Write { offset, length } => (offset, length, Content::Data),
            Record::Zero { offset, length } => (offset, length, Content::Zero),
            _ => break,
        };
        let start = reader.position() - crate::stream::RECORD_HEAD as u64;
        let extent = Extent { offset, length, content };
        if !fits_the_format(&extent) {
            return Err(Fault::Foreign("it has a record that we do not write".to_owned()));
        }
        first.get_or_insert(start);
        records.push(Packed::from(&extent));
    }
    let end = reader.finish()? - 1;
    Ok(Records { header, first: first.unwrap_or(end), records, end })
}

fn scan_frames(file: &File, codec: Codec) -> Result<ImageIndex, Fault> {
    let mut members = Members::new(file, codec)?;
    let records = match read_records(&mut members) {
        Ok(records) => records,
        Err(error) => return Err(members.fault.take().unwrap_or(error)),
    };
    let mut index = ImageIndex::new(records.header.clone(), codec);
    let mut extents = records.placed().peekable();
    let mut of_frame = Vec::new();
    for (stored_length, stream_length, digest) in &members.found {
        let end = index.stream_length() + u64::from(*stream_length);
        of_frame.clear();
        while let Some((_, extent)) = extents.next_if(|(start, _)| *start < end) {
            of_frame.push(extent);
        }
        index.push(*stored_length, *stream_length, *digest, &of_frame);
    }
    if !index.is_consistent() {
        return Err(Fault::Foreign("its frames do not begin at records".to_owned()));
    }
    if index.tail() != members.tail {
        return Err(Fault::Foreign("its seek table does not fit its frames".to_owned()));
    }
    Ok(index)
}

/// A bare stream has no frames of its own: they are cut by the rule that the writer follows.
fn scan_plain(file: &File) -> Result<ImageIndex, Fault> {
    let records = read_records(file)?;
    let mut index = ImageIndex::new(records.header.clone(), Codec::None);
    let mut memory = Vec::new();
    let mut of_frame = Vec::new();
    let mut start = 0;
    let starts = records.placed().skip(1).map(|(start, _)| start).chain([records.end]);
    for ((_, extent), next) in records.placed().zip(starts) {
        of_frame.push(extent);
        if next - start >= FRAME_TARGET as u64 {
            push_plain(file, &mut index, next, (&of_frame, &mut memory))?;
            of_frame.clear();
            start = next;
        }
    }
    push_plain(file, &mut index, records.end + 1, (&of_frame, &mut memory))?;
    Ok(index)
}

fn push_plain(
    file: &File,
    index: &mut ImageIndex,
    end: u64,
    (extents, memory): (&[Extent], &mut Vec<u8>),
) -> Result<(), Fault> {
    let start = index.stream_length();
    let length = usize::try_from(end - start).ok().filter(|n| *n <= super::codec::FRAME_LIMIT);
    let length = length.ok_or_else(|| Fault::Foreign("it has a record over 1 MiB".to_owned()))?;
    memory.resize(length, 0);
    file.read_exact_at(memory, start)?;
    let short = u32::try_from(length).unwrap_or(u32::MAX);
    index.push(short, short, frame_digest(memory), extents);
    Ok(())
}

/// Decompresses an image frame by frame, as one stream, and notes the frames on the way.
struct Members<'a> {
    file: &'a File,
    codec: Codec,
    decoder: Decoder,
    window: Vec<u8>,
    /// How much of the window was decompressed.
    taken: usize,
    /// Where in the file the window ends.
    offset: u64,
    frame: Vec<u8>,
    given: usize,
    found: Vec<(u32, u32, FrameDigest)>,
    tail: Vec<u8>,
    fault: Option<Fault>,
}

impl<'a> Members<'a> {
    fn new(file: &'a File, codec: Codec) -> io::Result<Self> {
        let decoder = Decoder::new()?;
        let (window, frame, found, tail) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (taken, offset, given, fault) = (0, 0, 0, None);
        Ok(Self { file, codec, decoder, window, taken, offset, frame, given, found, tail, fault })
    }

    /// Decompresses the next frame; nothing when the frames are over.
    fn next(&mut self) -> io::Result<()> {
        self.given = 0;
        self.frame.clear();
        self.refill()?;
        let input = &self.window[self.taken..];
        if input.is_empty() {
            return Ok(());
        }
        if self.codec == Codec::Zstd && input.starts_with(&0x184D_2A5E_u32.to_le_bytes()) {
            return self.read_tail();
        }
        match self.decoder.decode(self.codec, input, &mut self.frame) {
            Ok(count) if count > STORED_LIMIT => self.fail("it is too long".to_owned()),
            Ok(count) => {
                self.taken += count;
                let length = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
                let digest = frame_digest(&self.frame);
                self.found.push((length(count), length(self.frame.len()), digest));
                Ok(())
            }
            Err(error) => self.fail(error.to_string()),
        }
    }

    fn refill(&mut self) -> io::Result<()> {
        if self.window.len() - self.taken >= STORED_LIMIT {
            return Ok(());
        }
        self.window.drain(..self.taken);
        self.taken = 0;
        let kept = self.window.len();
        self.window.resize(WINDOW, 0);
        let count = read_at_most(self.file, &mut self.window[kept..], self.offset)?;
        self.window.truncate(kept + count);
        self.offset += count as u64;
        Ok(())
    }

    fn read_tail(&mut self) -> io::Result<()> {
        // A table longer than that is not the one that these frames have.
        let limit = self.found.len() as u64 * 8 + 17 + 1;
        self.tail = self.window.split_off(self.taken);
        let rest = TailReader { file: self.file, offset: self.offset };
        let missing = limit.saturating_sub(self.tail.len() as u64);
        rest.take(missing).read_to_end(&mut self.tail)?;
        Ok(())
    }

    fn fail(&mut self, why: String) -> io::Result<()> {
        let number = self.found.len();
        self.fault = Some(Fault::Damaged(Some(number), format!("not decompressible ({why})")));
        Err(io::Error::other("a frame cannot be decompressed"))
    }
}

impl Read for Members<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given == self.frame.len() && self.tail.is_empty() {
            self.next()?;
        }
        let count = buffer.len().min(self.frame.len() - self.given);
        buffer[..count].copy_from_slice(&self.frame[self.given..self.given + count]);
        self.given += count;
        Ok(count)
    }
}

struct TailReader<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for TailReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

/// Fills `buffer` as far as the file reaches.
fn read_at_most(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut reader = TailReader { file, offset };
    let mut count = 0;
    while count < buffer.len() {
        match reader.read(&mut buffer[count..]) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}
