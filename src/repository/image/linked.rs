//! One image of a chain: its frames can be read, and its pieces come one after the other from its index.
//! Of the index nothing is held in memory but the place at which it is read, so that a chain costs the
//! same however long the indexes of its images are.

use super::chain::ChainLink;
use super::compression::Codec;
use super::error::{Damage, ImageError};
use super::handles::Handle;
use super::index::{ImageIndex, holds, index_path};
use super::index_stream::{FrameAt, IndexStream, Summary, head_of};
use super::reader::{FrameSource, FrameTool};
use crate::stream::{Extent, Piece, RECORD_HEAD};
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

/// A piece of a chain's volume, with the frame that holds its data; zeros stand in none.
pub(super) type FramePiece = Piece<Option<Arc<FrameAt>>>;

/// An open image with what its index says as a whole.
#[derive(Debug)]
pub(super) struct LinkedImage {
    frames: FrameSource,
    index: Arc<IndexBytes>,
    pub(super) summary: Summary,
}

/// The bytes of an index: the file, or what was made in its place by reading the image.
#[derive(Debug)]
enum IndexBytes {
    File(Handle),
    Made(Vec<u8>),
}

impl LinkedImage {
    /// The image of a link when it is the one of its manifest and continues the one before. Without a
    /// good index of this very image it is read whole.
    ///
    /// # Errors
    /// A file cannot be read, is damaged, is another image, or does not follow the one before.
    pub(super) fn open(link: &ChainLink, before: Option<&str>) -> Result<Self, ImageError> {
        match Self::open_indexed(link, before)? {
            Some(image) => Ok(image),
            None => Self::scanned(&link.path)?.fitting(link, before),
        }
    }

    /// The same only when a good index of this very image is beside it, so that nothing else is read.
    ///
    /// # Errors
    /// As [`LinkedImage::open`].
    pub(super) fn open_indexed(
        link: &ChainLink,
        before: Option<&str>,
    ) -> Result<Option<Self>, ImageError> {
        let frames = FrameSource::open(&link.path)?;
        let opened = Handle::open(&index_path(&link.path)).map(IndexBytes::File);
        let summary = opened.and_then(|index| {
            let index = Arc::new(index);
            let summary = IndexStream::begin(Tail::of(&index, 0))?.finish()?;
            Ok((index, summary))
        });
        match summary {
            // An index that is whole but belongs to another image says nothing about this one.
            Ok((index, summary)) if summary.root == link.digest => {
                Self { frames, index, summary }.fitting(link, before).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn scanned(path: &Path) -> Result<Self, ImageError> {
        let made = ImageIndex::scan(path)?;
        let frames = FrameSource::open(path)?;
        let mut bytes = Vec::new();
        let written = made.write(&mut bytes);
        drop(made);
        let index = Arc::new(IndexBytes::Made(bytes));
        let summary = written.and_then(|()| IndexStream::begin(Tail::of(&index, 0))?.finish());
        let summary = summary.map_err(|source| frames.unreadable(source))?;
        Ok(Self { frames, index, summary })
    }

    fn fitting(self, link: &ChainLink, before: Option<&str>) -> Result<Self, ImageError> {
        let path = || link.path.clone();
        if self.summary.root != link.digest {
            let (expected, found) = (link.digest, self.summary.root);
            return Err(ImageError::OtherImage { path: path(), expected, found });
        }
        let broken = |why: String| ImageError::BrokenChain { path: path(), why };
        if link.from.as_deref() != before {
            let from = link.from.as_deref().unwrap_or("nothing");
            let before = before.unwrap_or("nothing");
            return Err(broken(format!("it starts from {from}, and before it stands {before}")));
        }
        let header = &self.summary.header;
        if header.from != link.from || header.to.as_deref() != Some(&link.to) {
            return Err(broken(format!("its stream leads {header}, which its manifest denies")));
        }
        Ok(self)
    }

    /// The volume's size at the image's end.
    pub(super) fn size(&self) -> u64 {
        self.summary.header.size
    }

    /// The uncompressed bytes of a frame, which fit its digest and its records.
    ///
    /// # Errors
    /// A file cannot be read; the frame is damaged.
    pub(super) fn read_frame(
        &self,
        at: &FrameAt,
        tool: &mut FrameTool,
        bytes: &mut Vec<u8>,
    ) -> Result<(), ImageError> {
        let codec: Codec = self.summary.codec;
        let read = self.frames.read(codec, &at.frame, tool, bytes)?;
        let read = match read {
            Ok(()) => {
                let head = head_of(&self.summary.header, at.number);
                let fits = holds(bytes, &head, self.records(at), at.is_last);
                match fits.map_err(|source| self.unreadable(source))? {
                    true => Ok(()),
                    false => Err("its records do not fit the index".to_owned()),
                }
            }
            lost => lost,
        };
        read.map_err(|what| {
            let extents = self.records(at).map_while(Result::ok).collect();
            let (path, frame) = (self.frames.path().to_owned(), Some(at.number));
            ImageError::Damaged(Damage { path, frame, extents, what })
        })
    }

    fn records(&self, at: &FrameAt) -> impl Iterator<Item = io::Result<Extent>> {
        at.records_of(Tail::of(&self.index, at.records_at()), self.size())
    }

    /// An error of reading the index.
    fn unreadable(&self, source: io::Error) -> ImageError {
        ImageError::Read { path: index_path(self.frames.path()), source }
    }

    #[cfg(test)]
    pub(super) fn has_its_index(&self) -> bool {
        matches!(*self.index, IndexBytes::File(_))
    }
}

/// The bytes of an index from some byte on.
struct Tail {
    bytes: Arc<IndexBytes>,
    at: u64,
}

impl Tail {
    fn of(bytes: &Arc<IndexBytes>, at: u64) -> Self {
        Self { bytes: Arc::clone(bytes), at }
    }
}

impl Read for Tail {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match &*self.bytes {
            IndexBytes::File(handle) => handle.file()?.read_at(buffer, self.at)?,
            IndexBytes::Made(bytes) => {
                let begin = usize::try_from(self.at).unwrap_or(usize::MAX).min(bytes.len());
                (&bytes[begin..]).read(buffer)?
            }
        };
        self.at += count as u64;
        Ok(count)
    }
}

/// The pieces of an image, as its index is read.
pub(super) struct Pieces {
    image: Arc<LinkedImage>,
    number: u32,
    stream: Option<IndexStream<Tail>>,
    frame: Option<Arc<FrameAt>>,
    /// Where in the uncompressed stream the next record begins.
    at: u64,
    has_ended: bool,
}

impl Pieces {
    /// The pieces from the first on; `number` is the image's place in its chain.
    pub(super) fn of(image: &Arc<LinkedImage>, number: u32) -> Self {
        let image = Arc::clone(image);
        Self { image, number, stream: None, frame: None, at: 0, has_ended: false }
    }

    fn read(&mut self) -> io::Result<Option<FramePiece>> {
        loop {
            let stream = match &mut self.stream {
                Some(stream) => stream,
                none => none.insert(IndexStream::begin(Tail::of(&self.image.index, 0))?),
            };
            if let Some(extent) = stream.next_record()? {
                let at = self.at + RECORD_HEAD as u64;
                self.at = at + super::index::data_length(&extent);
                let (image, of) = (self.number, self.frame.clone());
                return Ok(Some(Piece { extent, image, at, of }));
            }
            let Some(frame) = stream.next_frame()? else { return Ok(None) };
            let head = head_of(&stream.header, frame.number).len() as u64;
            self.at = frame.frame.stream_offset + head;
            self.frame = Some(Arc::new(frame));
        }
    }

    /// The index is still what it was when it was opened.
    fn end(&mut self) -> io::Result<()> {
        let Some(stream) = self.stream.take() else { return Ok(()) };
        match stream.finish()? == self.image.summary {
            true => Ok(()),
            false => Err(io::Error::other("it changed while it was read")),
        }
    }
}

impl Iterator for Pieces {
    type Item = Result<FramePiece, ImageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_ended {
            return None;
        }
        let piece = match self.read() {
            Ok(None) => self.end().map(|()| None),
            other => other,
        };
        self.has_ended = !matches!(piece, Ok(Some(_)));
        piece.map_err(|source| self.image.unreadable(source)).transpose()
    }
}
