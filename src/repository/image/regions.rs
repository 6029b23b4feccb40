//! Reads a chain of many images region by region, so that it needs the memory of one region and not
//! that of a frame per image. Shorter chains are read by `chain_read` alone, without a copy.

use super::ahead::read_ahead;
use super::chain::{ChainPieces, ChainReader, data_length, place};
use super::chain_read::{Job, TakePiece};
use super::error::ImageError;
use super::linked::FramePiece;
use super::reader::FrameTool;
use crate::stream::Content;
use std::collections::BTreeMap;
use std::iter::Peekable;

/// How many bytes of a volume are put together at once: the frames of all images are needed for
/// them, one after the other.
pub(super) const REGION: u64 = 64 << 20;

/// How many pieces a region has at most, with some hundred bytes each: as many as a region has sectors of
/// 256 bytes, since a frame is decompressed again for each region.
const PIECES: usize = 1 << 18;

impl ChainReader {
    /// Hands all pieces to `take`, as `for_each_piece` does, with the memory of a region of `most` bytes,
    /// whatever the number of images: a frame is decompressed once per region in which it is needed.
    pub(super) fn by_regions<E: From<ImageError>>(
        &self,
        threads: usize,
        most: u64,
        take: &mut TakePiece<'_, E>,
    ) -> Result<(), E> {
        let mut pieces = self.pieces().peekable();
        loop {
            let region = region(&mut pieces, most)?;
            if region.is_empty() {
                return Ok(());
            }
            let bytes = self.data_of(&region, threads)?;
            let mut bytes = &bytes[..];
            for piece in &region {
                let (own, others) = bytes.split_at(length_of(piece));
                take(piece, own)?;
                bytes = others;
            }
        }
    }

    /// The data of some pieces, one after the other.
    fn data_of(&self, pieces: &[FramePiece], threads: usize) -> Result<Vec<u8>, ImageError> {
        let mut needed: BTreeMap<(u32, usize), Vec<(&FramePiece, usize)>> = BTreeMap::new();
        let mut length = 0;
        for piece in pieces.iter().filter(|piece| piece.extent.content == Content::Data) {
            let frame = piece.of.as_ref().map_or(0, |at| at.number);
            needed.entry((piece.image, frame)).or_default().push((piece, length));
            length += length_of(piece);
        }
        let mut bytes = vec![0; length];
        let mut jobs = needed.values().filter_map(|places| Job::of(places.first()?.0));
        let read =
            |job: Job, tool: &mut FrameTool, bytes: &mut Vec<u8>| self.read(&job, tool, bytes);
        read_ahead(threads, read, |ahead| {
            for places in needed.values() {
                while ahead.has_room() {
                    let Some(job) = jobs.next() else { break };
                    ahead.ask(job);
                }
                let frame = ahead.next()?;
                for (piece, at) in places {
                    let place = place(piece, piece.extent.offset..piece.extent.end());
                    bytes[*at..*at + place.len()].copy_from_slice(&frame[place]);
                }
                ahead.give_back(frame);
            }
            Ok::<(), ImageError>(())
        })?;
        Ok(bytes)
    }
}

/// The next pieces, with as much data as a region holds; one at least, when there is one.
fn region(pieces: &mut Peekable<ChainPieces>, most: u64) -> Result<Vec<FramePiece>, ImageError> {
    let (mut region, mut length) = (Vec::new(), 0);
    while let Some(next) = pieces.next_if(|next| match next {
        Ok(piece) => {
            length += data_length(piece);
            region.is_empty() || (length <= most && region.len() < PIECES)
        }
        Err(_) => true,
    }) {
        region.push(next?);
    }
    Ok(region)
}

fn length_of(piece: &FramePiece) -> usize {
    usize::try_from(data_length(piece)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::chain_read::tests::chain;
    use super::*;

    #[test]
    fn regions_of_any_size_give_the_bytes_that_frames_of_all_images_give() {
        let directory = tempfile::tempdir().unwrap();
        let open = ChainReader::open(&chain(directory.path())).unwrap();
        let mut whole = Vec::new();
        open.for_each_piece(2, &mut |piece, bytes| -> Result<(), ImageError> {
            whole.push((piece.extent, bytes.to_vec()));
            Ok(())
        })
        .unwrap();
        for most in [1, 1 << 20, (3 << 20) + 1, 99 << 20] {
            let mut parts = Vec::new();
            open.by_regions(2, most, &mut |piece, bytes| -> Result<(), ImageError> {
                parts.push((piece.extent, bytes.to_vec()));
                Ok(())
            })
            .unwrap();
            assert!(parts == whole, "regions of {most}");
            let mut rest = open.pieces().peekable();
            loop {
                let region = region(&mut rest, most).unwrap();
                let data: u64 = region.iter().map(data_length).sum();
                assert!(region.len() <= 1 || data <= most, "{data} of {most}");
                if region.is_empty() {
                    break;
                }
            }
        }
    }
}
