//! A chain of images as one volume: a base and the increments on it, the newest bytes win. It only
//! looks things up; reading all of it at speed is in `chain_read`.

use super::digest::Digest;
use super::error::ImageError;
use super::reader::{FrameTool, ImageReader};
use crate::stream::{Content, Extent, Piece, newest_pieces};
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
    pub(super) images: Vec<ImageReader>,
    pub(super) pieces: Vec<Piece>,
    size: u64,
    recent: Mutex<VecDeque<Recent>>,
}

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
        Self::open_after(links, None, newest_pieces)
    }

    /// The same when each image has a good index beside it, so that nothing else is read.
    ///
    /// # Errors
    /// As [`ChainReader::open`].
    pub fn open_indexed(links: &[ChainLink]) -> Result<Option<Self>, ImageError> {
        let mut images = Vec::with_capacity(links.len());
        let mut before = None;
        for link in links {
            let Some(image) = ImageReader::open_indexed(&link.path)? else { return Ok(None) };
            images.push(fitting(link, image, before)?);
            before = Some(link.to.as_str());
        }
        Ok(Some(Self::of(images, newest_pieces)))
    }

    /// Opens neighbours of a chain, the oldest of which starts from `before`.
    pub(super) fn open_after<'a>(
        links: &'a [ChainLink],
        mut before: Option<&'a str>,
        pieces: impl FnOnce(Vec<(u64, Vec<Piece>)>) -> Vec<Piece>,
    ) -> Result<Self, ImageError> {
        let mut images = Vec::with_capacity(links.len());
        for link in links {
            images.push(open_link(link, before)?);
            before = Some(&link.to);
        }
        Ok(Self::of(images, pieces))
    }

    fn of(
        images: Vec<ImageReader>,
        pieces: impl FnOnce(Vec<(u64, Vec<Piece>)>) -> Vec<Piece>,
    ) -> Self {
        let size = images.last().map_or(0, |image: &ImageReader| image.index().header.size);
        let layers = images.iter().zip(0..).map(|(image, number)| {
            let index = image.index();
            (index.header.size, index.pieces(number))
        });
        let pieces = pieces(layers.collect());
        Self { images, pieces, size, recent: Mutex::default() }
    }

    /// The volume's size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The images, oldest first.
    pub fn images(&self) -> &[ImageReader] {
        &self.images
    }

    /// The parts of the volume that hold data, ascending, joined where they touch; all else reads as
    /// zero.
    pub fn extents(&self) -> Vec<Extent> {
        let mut joined: Vec<Extent> = Vec::new();
        for piece in &self.pieces {
            match joined.last_mut() {
                Some(last) if last.end() == piece.extent.offset => {
                    last.length += piece.extent.length;
                }
                _ => joined.push(Extent { content: Content::Data, ..piece.extent }),
            }
        }
        joined
    }

    /// Bytes of the volume that hold data.
    pub fn data_bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.extent.length).sum()
    }

    /// Whether any byte of a part of the volume is data.
    pub fn holds_data(&self, offset: u64, length: u64) -> bool {
        let next = self.pieces.partition_point(|piece| piece.extent.end() <= offset);
        let next = self.pieces.get(next);
        next.is_some_and(|piece| piece.extent.offset < offset.saturating_add(length))
    }

    /// Fills `buffer` with the volume's bytes from `offset` on; beyond its size they are zero.
    ///
    /// # Errors
    /// A file cannot be read or is damaged.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ImageError> {
        buffer.fill(0);
        let wanted = offset..offset.saturating_add(buffer.len() as u64);
        let first = self.pieces.partition_point(|piece| piece.extent.end() <= wanted.start);
        for piece in &self.pieces[first..] {
            let start = piece.extent.offset.max(wanted.start);
            let end = piece.extent.end().min(wanted.end);
            if start >= end {
                break;
            }
            let bytes = self.recent_frame(piece)?;
            let source = self.place(piece, start..end);
            buffer[offset_in(start, offset)..offset_in(end, offset)]
                .copy_from_slice(&bytes[source]);
        }
        Ok(())
    }

    /// Where in its frame's bytes the part `range` of the volume stands that `piece` holds.
    pub(super) fn place(&self, piece: &Piece, range: Range<u64>) -> Range<usize> {
        let index = self.images[piece.image as usize].index();
        let frame = index.frames()[index.frame_at(piece.at)];
        let at = piece.at - frame.stream_offset + (range.start - piece.extent.offset);
        let start = offset_in(at, 0);
        start..start + offset_in(range.end, range.start)
    }

    /// The frame that holds the data of `piece`. A record never goes beyond its frame.
    pub(super) fn frame_of(&self, piece: &Piece) -> usize {
        self.images[piece.image as usize].index().frame_at(piece.at)
    }

    fn recent_frame(&self, piece: &Piece) -> Result<Arc<Vec<u8>>, ImageError> {
        let (image, frame) = (piece.image, self.frame_of(piece));
        let lock = || self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let found = {
            let mut recent = lock();
            let at = recent.iter().position(|known| known.image == image && known.frame == frame);
            let known = at.and_then(|at| recent.remove(at));
            known.map(|known| {
                let bytes = Arc::clone(&known.bytes);
                recent.push_front(known);
                bytes
            })
        };
        if let Some(bytes) = found {
            return Ok(bytes);
        }
        let reader = &self.images[image as usize];
        let mut tool = FrameTool::new().map_err(|source| reader.unreadable(source))?;
        let mut bytes = Vec::new();
        reader.read_frame(frame, &mut tool, &mut bytes)?;
        let bytes = Arc::new(bytes);
        let mut recent = lock();
        recent.truncate(RECENT_FRAMES - 1);
        recent.push_front(Recent { image, frame, bytes: Arc::clone(&bytes) });
        Ok(bytes)
    }
}

/// A distance inside of a buffer, which is as long as memory at most.
fn offset_in(position: u64, start: u64) -> usize {
    usize::try_from(position - start).unwrap_or(usize::MAX)
}

fn open_link(link: &ChainLink, before: Option<&str>) -> Result<ImageReader, ImageError> {
    fitting(link, ImageReader::open(&link.path)?, before)
}

/// The image of a link, when it is the one of its manifest and continues the one before.
fn fitting(
    link: &ChainLink,
    mut image: ImageReader,
    before: Option<&str>,
) -> Result<ImageReader, ImageError> {
    // An index that is whole but belongs to another image says nothing about the image itself.
    if image.index().root_digest() != link.digest && !image.index_was_rebuilt() {
        image = ImageReader::open_scanning(&link.path)?;
    }
    let found = image.index().root_digest();
    if found != link.digest {
        let (path, expected) = (link.path.clone(), link.digest);
        return Err(ImageError::OtherImage { path, expected, found });
    }
    let header = &image.index().header;
    let broken = |why: String| ImageError::BrokenChain { path: link.path.clone(), why };
    if link.from.as_deref() != before {
        let from = link.from.as_deref().unwrap_or("nothing");
        let before = before.unwrap_or("nothing");
        return Err(broken(format!("it starts from {from}, and before it stands {before}")));
    }
    if header.from != link.from || header.to.as_deref() != Some(&link.to) {
        return Err(broken(format!("its stream leads {header}, which its manifest denies")));
    }
    Ok(image)
}
