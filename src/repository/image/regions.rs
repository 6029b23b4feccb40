//! Reads a chain of many images region by region, so that it needs the memory of one region and not
//! that of a frame per image. Shorter chains are read by `chain_read` alone, without a copy.

use super::chain::ChainReader;
use super::chain_read::{TakePiece, Task, decode};
use super::error::ImageError;
use crate::stream::{Content, Piece};
use std::collections::BTreeMap;

/// How many bytes of a volume are put together at once: the frames of all images are needed for
/// them, one after the other.
pub(super) const REGION: u64 = 64 << 20;

impl ChainReader {
    /// Hands all pieces to `take`, as `for_each_piece` does, with the memory of a region of `most` bytes,
    /// whatever the number of images: a frame is decompressed once per region in which it is needed.
    pub(super) fn by_regions<E: From<ImageError>>(
        &self,
        threads: usize,
        most: u64,
        take: &mut TakePiece<'_, E>,
    ) -> Result<(), E> {
        let mut rest = &self.pieces[..];
        while !rest.is_empty() {
            let (region, later) = rest.split_at(pieces_of_region(rest, most));
            let bytes = self.region(region, threads)?;
            let mut bytes = &bytes[..];
            for piece in region {
                let (own, others) = bytes.split_at(data_of(piece));
                take(piece, own)?;
                bytes = others;
            }
            rest = later;
        }
        Ok(())
    }

    /// The data of some pieces, one after the other.
    fn region(&self, pieces: &[Piece], threads: usize) -> Result<Vec<u8>, ImageError> {
        let mut needed: BTreeMap<(u32, usize), Vec<(&Piece, usize)>> = BTreeMap::new();
        let mut length = 0;
        for piece in pieces.iter().filter(|piece| piece.extent.content == Content::Data) {
            let frame = (piece.image, self.frame_of(piece));
            needed.entry(frame).or_default().push((piece, length));
            length += data_of(piece);
        }
        let tasks: Vec<Task> =
            needed.keys().map(|(image, frame)| Task { image: *image, frame: *frame }).collect();
        let mut bytes = vec![0; length];
        decode(&self.images, (&tasks, threads), |decoder| {
            for places in needed.values() {
                let frame = decoder.next()?;
                for (piece, at) in places {
                    let place = self.place(piece, piece.extent.offset..piece.extent.end());
                    bytes[*at..*at + place.len()].copy_from_slice(&frame[place]);
                }
                decoder.pool.give(frame);
            }
            Ok::<(), ImageError>(())
        })?;
        Ok(bytes)
    }
}

/// How many of the pieces, from the first on, hold as much data as a region; one at least.
fn pieces_of_region(pieces: &[Piece], most: u64) -> usize {
    let mut length = 0;
    let fits = |piece: &&Piece| {
        length += data_of(piece) as u64;
        length <= most
    };
    pieces.iter().take_while(fits).count().max(1)
}

/// The bytes of data of a piece: none when it is of zeros.
fn data_of(piece: &Piece) -> usize {
    match piece.extent.content {
        Content::Data => usize::try_from(piece.extent.length).unwrap_or(usize::MAX),
        Content::Zero => 0,
    }
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
            let mut rest = &open.pieces[..];
            while !rest.is_empty() {
                let count = pieces_of_region(rest, most);
                let data: usize = rest[..count].iter().map(data_of).sum();
                assert!(count == 1 || data as u64 <= most, "{data} of {most}");
                rest = &rest[count..];
            }
        }
    }
}
