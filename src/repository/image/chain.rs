//! A chain of images as one volume: a base and the increments on it, the newest bytes win. It only
//! looks things up; reading all of it at speed is in `chain_read`.
//!
//! Of the images' indexes nothing is kept in memory: pieces come from the indexes as they are asked for
//! ([`super::linked`]), so that a chain takes some KiB per image, however many records these have.

use super::digest::Digest;
use super::error::ImageError;
use super::index_stream::FrameAt;
use super::linked::{FramePiece, LinkedImage, Pieces};
use super::reader::FrameTool;
use super::window::Window;
use crate::stream::{Content, Layers};
use std::collections::VecDeque;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// One image of a chain, with what its manifest tells of it.
#[derive(Debug, Clone)]
pub struct ChainLink {
    /// The image file.
    pub path: PathBuf,
    /// Its root digest.
    pub digest: Digest,
    /// The snapshot that it starts from; none in the base.
    pub from: Option<String>,
    /// The snapshot that it leads to.
    pub to: String,
}

/// An open chain: the content of a volume at the moment of its last image.
#[derive(Debug)]
pub struct ChainReader {
    images: Vec<Arc<LinkedImage>>,
    reading: Reading,
    data_bytes: u64,
    recent: Mutex<VecDeque<Recent>>,
    window: Mutex<Window>,
}

/// What the pieces of a chain are to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// The content at its end.
    Content,
    /// One stream that does what all images do, from a volume of this size on.
    OneStream { before: u64 },
}

/// The pieces of a chain, ascending.
pub(super) type ChainPieces = Layers<Pieces, Option<Arc<FrameAt>>>;

/// Frames that `read_at` keeps, so that small reads near each other decompress once: 16 MiB or so.
const RECENT_FRAMES: usize = 16;

#[derive(Debug)]
struct Recent {
    image: u32,
    frame: usize,
    bytes: Arc<Vec<u8>>,
}

impl ChainReader {
    /// Opens the images, oldest first, and checks that each is the one of its manifest and continues
    /// the one before. An image without a good index is read whole.
    ///
    /// # Errors
    /// A file cannot be read, is damaged, is another image; the images are no chain.
    pub fn open(links: &[ChainLink]) -> Result<Self, ImageError> {
        Self::open_after(links, None, Reading::Content)
    }

    /// The same when each image has a good index beside it, so that nothing else is read.
    ///
    /// # Errors
    /// As [`ChainReader::open`].
    pub fn open_indexed(links: &[ChainLink]) -> Result<Option<Self>, ImageError> {
        let mut images = Vec::with_capacity(links.len());
        let mut before = None;
        for link in links {
            let Some(image) = LinkedImage::open_indexed(link, before)? else { return Ok(None) };
            images.push(Arc::new(image));
            before = Some(link.to.as_str());
        }
        Self::of(images, Reading::Content).map(Some)
    }

    /// Opens neighbours of a chain, the oldest of which starts from `before`.
    pub(super) fn open_after<'a>(
        links: &'a [ChainLink],
        mut before: Option<&'a str>,
        reading: Reading,
    ) -> Result<Self, ImageError> {
        let mut images = Vec::with_capacity(links.len());
        for link in links {
            images.push(Arc::new(LinkedImage::open(link, before)?));
            before = Some(&link.to);
        }
        Self::of(images, reading)
    }

    fn of(images: Vec<Arc<LinkedImage>>, reading: Reading) -> Result<Self, ImageError> {
        let (recent, window) = (Mutex::default(), Mutex::default());
        let mut chain = Self { images, reading, data_bytes: 0, recent, window };
        let mut data_bytes = 0;
        for piece in chain.pieces() {
            data_bytes += data_length(&piece?);
        }
        chain.data_bytes = data_bytes;
        Ok(chain)
    }

    /// The pieces of the volume from its beginning on.
    pub(super) fn pieces(&self) -> ChainPieces {
        let images = self.images.iter().zip(0..);
        let images = images.map(|(image, number)| (image.size(), Pieces::of(image, number)));
        let images = images.collect();
        match self.reading {
            Reading::Content => Layers::newest(images),
            Reading::OneStream { before } => Layers::merged(before, images),
        }
    }

    /// How many images it has.
    pub(super) fn length(&self) -> usize {
        self.images.len()
    }

    /// The image with a number, which is that of a piece.
    pub(super) fn image(&self, number: u32) -> &LinkedImage {
        &self.images[number as usize]
    }

    /// The volume's size in bytes.
    pub fn size(&self) -> u64 {
        self.images.last().map_or(0, |image| image.size())
    }

    /// Bytes of the volume that hold data.
    pub fn data_bytes(&self) -> u64 {
        self.data_bytes
    }

    /// Whether any byte of a part of the volume is data. To be asked of ascending parts: for one that
    /// lies far before another the indexes are read again from their beginning.
    ///
    /// # Errors
    /// An index cannot be read.
    pub fn holds_data(&self, offset: u64, length: u64) -> Result<bool, ImageError> {
        let wanted = offset..offset.saturating_add(length);
        Ok(!self.pieces_in(&wanted)?.is_empty())
    }

    /// Fills `buffer` with the volume's bytes from `offset` on; beyond its size they are zero. As
    /// [`ChainReader::holds_data`], for parts that ascend.
    ///
    /// # Errors
    /// A file cannot be read or is damaged.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ImageError> {
        buffer.fill(0);
        let wanted = offset..offset.saturating_add(buffer.len() as u64);
        for piece in self.pieces_in(&wanted)? {
            let start = piece.extent.offset.max(wanted.start);
            let end = piece.extent.end().min(wanted.end);
            let bytes = self.recent_frame(&piece)?;
            buffer[offset_in(start, offset)..offset_in(end, offset)]
                .copy_from_slice(&bytes[place(&piece, start..end)]);
        }
        Ok(())
    }

    fn pieces_in(&self, wanted: &Range<u64>) -> Result<Vec<FramePiece>, ImageError> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        window.pieces_in(wanted, || self.pieces())
    }

    fn recent_frame(&self, piece: &FramePiece) -> Result<Arc<Vec<u8>>, ImageError> {
        // Only zeros stand in no frame, and they are in no piece of a volume's content.
        let Some(at) = piece.of.as_deref() else { return Ok(Arc::default()) };
        let (image, frame) = (piece.image, at.number);
        let lock = || self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let found = {
            let mut recent = lock();
            let known =
                recent.iter().position(|known| known.image == image && known.frame == frame);
            let known = known.and_then(|at| recent.remove(at));
            known.map(|known| {
                let bytes = Arc::clone(&known.bytes);
                recent.push_front(known);
                bytes
            })
        };
        if let Some(bytes) = found {
            return Ok(bytes);
        }
        let mut tool = FrameTool::new().map_err(ImageError::Thread)?;
        let mut bytes = Vec::new();
        self.image(image).read_frame(at, &mut tool, &mut bytes)?;
        let bytes = Arc::new(bytes);
        let mut recent = lock();
        recent.truncate(RECENT_FRAMES - 1);
        recent.push_front(Recent { image, frame, bytes: Arc::clone(&bytes) });
        Ok(bytes)
    }
}

/// Where in its frame's bytes the part `range` of the volume stands that `piece` holds. A record never
/// goes beyond its frame.
pub(super) fn place(piece: &FramePiece, range: Range<u64>) -> Range<usize> {
    let frame = piece.of.as_ref().map_or(0, |at| at.frame.stream_offset);
    let start = offset_in(piece.at + (range.start - piece.extent.offset), frame);
    start..start + offset_in(range.end, range.start)
}

/// The bytes of data of a piece: none when it is of zeros.
pub(super) fn data_length(piece: &FramePiece) -> u64 {
    if piece.extent.content == Content::Data { piece.extent.length } else { 0 }
}

/// A distance inside of a buffer, which is as long as memory at most.
fn offset_in(position: u64, start: u64) -> usize {
    usize::try_from(position - start).unwrap_or(usize::MAX)
}
