//! Makes one image of neighbours in a chain, streaming, and proves that it does what they do. Which
//! images those are, and what becomes of the files, it does not know.

use super::chain::{ChainLink, ChainReader, Reading};
use super::content::ContentDigest;
use super::cut::CutError;
use super::error::ImageError;
use super::linked::FramePiece;
use super::write::{ImageOptions, ImageSink, ImageSummary, write_frames_of};
use crate::stream::{Content, Header};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Neighbouring images of a chain, oldest first, and the size of the volume that they begin at: 0
/// when the oldest is a base.
#[derive(Debug)]
pub(in crate::repository) struct MergeSource {
    pub(in crate::repository) links: Vec<ChainLink>,
    pub(in crate::repository) size_before: u64,
}

/// A merged image that was written, and the digest of what it has to do.
pub(in crate::repository) struct Merged {
    pub(in crate::repository) summary: ImageSummary,
    content: [u8; 32],
}

/// Writes one image that does what all images of `source` do. `progress` is told bytes of data as
/// they are taken. Memory: as [`ChainReader::for_each_block`].
///
/// # Errors
/// An image cannot be read, is damaged or is not its manifest's; the new one cannot be written.
pub(in crate::repository) fn merge_images<D: Write + Send, I: Write>(
    source: &MergeSource,
    files: ImageSink<D, I>,
    options: ImageOptions,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Merged, ImageError> {
    let images = open(&source.links, source.size_before)?;
    let header = Header {
        from: source.links.first().and_then(|oldest| oldest.from.clone()),
        to: source.links.last().map(|newest| newest.to.clone()),
        size: images.size(),
    };
    let mut content = ContentDigest::new(header.from.is_none());
    let summary = write_frames_of(&header, files, options, |cutter| {
        images.for_each_piece::<CutError>(options.threads, &mut |piece, mut bytes| {
            add(&mut content, piece, bytes);
            let (mut offset, length) = (piece.extent.offset, piece.extent.length);
            if piece.extent.content == Content::Zero {
                return cutter.zeros(offset, length);
            }
            progress(length);
            while !bytes.is_empty() {
                // A write of an image of ours does not cross a multiple of 1 MiB; another's may.
                let limit = (1 << 20) - offset % (1 << 20);
                let count = usize::try_from(limit).unwrap_or(usize::MAX).min(bytes.len());
                let (now, rest) = bytes.split_at(count);
                cutter.data(offset, count, |room| {
                    room.copy_from_slice(now);
                    Ok(())
                })?;
                offset += count as u64;
                bytes = rest;
            }
            Ok(())
        })
    })?;
    Ok(Merged { summary, content: content.finish() })
}

impl Merged {
    /// Reads the image at `path` whole and compares what it does with what it has to do.
    ///
    /// # Errors
    /// It cannot be read, is damaged, or does something else.
    pub(in crate::repository) fn verify(
        &self,
        path: &Path,
        threads: usize,
    ) -> Result<(), ImageError> {
        let ImageSummary { from, to, digest, .. } = &self.summary;
        let link = ChainLink {
            path: path.to_owned(),
            digest: *digest,
            from: from.clone(),
            to: to.clone().unwrap_or_default(),
        };
        let image = open(&[link], 0)?;
        let mut content = ContentDigest::new(from.is_none());
        image.for_each_piece::<ImageError>(threads, &mut |piece, bytes| {
            add(&mut content, piece, bytes);
            Ok(())
        })?;
        if content.finish() == self.content {
            return Ok(());
        }
        let why = "it does not do what the images do that it was made of".to_owned();
        Err(ImageError::Foreign { path: PathBuf::from(path), why })
    }
}

fn open(links: &[ChainLink], size_before: u64) -> Result<ChainReader, ImageError> {
    let before = links.first().and_then(|oldest| oldest.from.as_deref());
    ChainReader::open_after(links, before, Reading::OneStream { before: size_before })
}

fn add(content: &mut ContentDigest, piece: &FramePiece, bytes: &[u8]) {
    match piece.extent.content {
        Content::Data => content.data(piece.extent.offset, bytes),
        Content::Zero => content.zeros(piece.extent.offset, piece.extent.length),
    }
}
