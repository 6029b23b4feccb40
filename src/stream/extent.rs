//! Extents of a volume, and which image's bytes are the newest at each place. It reads no bytes.

use std::ops::Range;

/// What a part of a volume holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Content {
    /// Bytes that stand in the stream.
    Data,
    /// Zeros, of which nothing stands in the stream.
    Zero,
}

/// A part of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Extent {
    /// Where it begins, in bytes.
    pub offset: u64,
    /// How many bytes it has; never 0.
    pub length: u64,
    /// Data or zeros.
    pub content: Content,
}

impl Extent {
    /// The first byte after it.
    pub fn end(&self) -> u64 {
        self.offset + self.length
    }
}

/// A part of a volume together with the place where its bytes stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// The part of the volume.
    pub extent: Extent,
    /// Which image of the chain holds it, counted from the oldest.
    pub image: u32,
    /// Where its first byte stands in that image's uncompressed stream; without meaning for zeros.
    pub at: u64,
}

impl Piece {
    /// The part of the piece that lies inside `range`.
    fn clipped(&self, range: &Range<u64>) -> Option<Self> {
        let offset = self.extent.offset.max(range.start);
        let end = self.extent.end().min(range.end);
        if offset >= end {
            return None;
        }
        let extent = Extent { offset, length: end - offset, content: self.extent.content };
        Some(Self { extent, at: self.at + (offset - self.extent.offset), ..*self })
    }
}

/// The data of a chain's end, ascending: for each byte of the volume the newest image that wrote it.
/// What is in no piece reads as zero.
///
/// `images` is oldest first, each with the volume's size at its end and its pieces, ascending and
/// not overlapping. A volume that shrank and grew again lost what lay beyond its smallest size, so
/// an older piece is cut off at the size of every later image.
pub fn newest_pieces(images: Vec<(u64, Vec<Piece>)>) -> Vec<Piece> {
    let mut limit = u64::MAX;
    let mut newest: Vec<Piece> = Vec::new();
    for (size, pieces) in images.into_iter().rev() {
        limit = limit.min(size);
        newest = if newest.is_empty() && pieces.iter().all(|p| p.extent.end() <= limit) {
            pieces
        } else {
            underlay(&newest, &pieces, limit)
        };
    }
    newest.retain(|piece| piece.extent.content == Content::Data);
    newest
}

/// The pieces of one stream that leads as far as all of `images` do: for each byte the newest image
/// that wrote it, zeros too, ascending. Applied to the volume that the oldest image begins at, it
/// gives what applying them one after the other gives.
///
/// `before` is the size of that volume, 0 when the oldest image is a base; `images` as in
/// [`newest_pieces`]. What a shrink cut off and a later image shows again is a piece of zeros: the
/// volume before may hold data there.
pub fn merged_pieces(before: u64, images: Vec<(u64, Vec<Piece>)>) -> Vec<Piece> {
    let Some(limit) = images.last().map(|(size, _)| *size) else { return Vec::new() };
    let sizes: Vec<u64> = images.iter().map(|(size, _)| *size).collect();
    let sizes_before = std::iter::once(before).chain(sizes);
    let mut newest: Vec<Piece> = Vec::new();
    let layers: Vec<_> = images.into_iter().zip(sizes_before).collect();
    for ((size, mut pieces), before) in layers.into_iter().rev() {
        if before > size {
            let content = Content::Zero;
            let extent = Extent { offset: size, length: before - size, content };
            // Zeros stand in no image; the number is never looked at.
            pieces.push(Piece { extent, image: 0, at: 0 });
        }
        newest = underlay(&newest, &pieces, limit);
    }
    join_zeros(newest)
}

/// The same with neighbouring zeros as one piece.
fn join_zeros(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut joined: Vec<Piece> = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let zero = |piece: &Piece| piece.extent.content == Content::Zero;
        match joined.last_mut() {
            Some(last)
                if zero(last) && zero(&piece) && last.extent.end() == piece.extent.offset =>
            {
                last.extent.length += piece.extent.length;
            }
            _ => joined.push(piece),
        }
    }
    joined
}

/// `newer` with the parts of `older` that lie in its gaps and below `limit`.
fn underlay(newer: &[Piece], older: &[Piece], limit: u64) -> Vec<Piece> {
    let mut merged = Vec::with_capacity(newer.len() + older.len());
    let mut older = older.iter().peekable();
    let mut gap_start = 0;
    for piece in newer {
        fill_gap(&mut merged, &mut older, &(gap_start..piece.extent.offset.min(limit)));
        merged.push(*piece);
        gap_start = piece.extent.end();
    }
    fill_gap(&mut merged, &mut older, &(gap_start..limit));
    merged
}

fn fill_gap<'a>(
    merged: &mut Vec<Piece>,
    older: &mut std::iter::Peekable<impl Iterator<Item = &'a Piece>>,
    gap: &Range<u64>,
) {
    while let Some(piece) = older.peek() {
        if piece.extent.offset >= gap.end {
            return;
        }
        merged.extend(piece.clipped(gap));
        // A piece that reaches beyond this gap may have a part in the next one, too.
        if piece.extent.end() > gap.end {
            return;
        }
        older.next();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn piece(image: u32, offset: u64, length: u64, content: Content) -> Piece {
        Piece { extent: Extent { offset, length, content }, image, at: 1000 + offset }
    }

    fn newest(images: Vec<(u64, Vec<Piece>)>) -> Vec<(u64, u64, u32, u64)> {
        let pieces = newest_pieces(images).into_iter();
        pieces.map(|p| (p.extent.offset, p.extent.length, p.image, p.at)).collect()
    }

    #[test]
    fn the_newest_image_wins_and_the_older_shows_in_its_gaps() {
        let base = vec![piece(0, 0, 100, Content::Data)];
        let increment = vec![piece(1, 10, 5, Content::Data), piece(1, 50, 10, Content::Zero)];
        let expected =
            vec![(0, 10, 0, 1000), (10, 5, 1, 1010), (15, 35, 0, 1015), (60, 40, 0, 1060)];
        assert_eq!(newest(vec![(100, base), (100, increment)]), expected);
    }

    #[test]
    fn what_a_shrink_cut_off_stays_zero_when_the_volume_grows_again() {
        let base = vec![piece(0, 0, 100, Content::Data)];
        let chain = vec![(100, base), (40, vec![]), (100, vec![piece(2, 90, 5, Content::Data)])];
        assert_eq!(newest(chain), vec![(0, 40, 0, 1000), (90, 5, 2, 1090)]);
    }

    #[test]
    fn what_a_shrink_cut_off_is_zeros_in_the_merged_stream_and_growth_is_nothing() {
        let images = || vec![(40, vec![]), (70, vec![piece(1, 50, 5, Content::Data)])];
        let merged = |before| -> Vec<(u64, u64, Content)> {
            let pieces = merged_pieces(before, images()).into_iter();
            pieces.map(|p| (p.extent.offset, p.extent.length, p.extent.content)).collect()
        };
        use Content::{Data, Zero};
        assert_eq!(merged(100), [(40, 10, Zero), (50, 5, Data), (55, 15, Zero)]);
        assert_eq!(merged(45), [(40, 5, Zero), (50, 5, Data)]);
        assert_eq!(merged(40), [(50, 5, Data)]);
    }

    /// A gap, a length, and whether it is zeros.
    type Run = (u64, u64, bool);

    /// Images over a volume of up to 40 bytes.
    fn images() -> impl Strategy<Value = Vec<(u64, Vec<Piece>)>> {
        let runs = proptest::collection::vec((0_u64..6, 1_u64..8, any::<bool>()), 0..8);
        let image = (1_u64..40, runs);
        proptest::collection::vec(image, 1..6).prop_map(|images| {
            let place = |(number, (size, runs)): (u32, (u64, Vec<Run>))| {
                let mut pieces = Vec::new();
                let mut offset = 0;
                for (gap, length, zero) in runs {
                    offset += gap;
                    let content = if zero { Content::Zero } else { Content::Data };
                    if offset + length <= size {
                        pieces.push(piece(number, offset, length, content));
                    }
                    offset += length;
                }
                (size, pieces)
            };
            (0..).zip(images).map(place).collect()
        })
    }

    proptest! {
        #[test]
        fn merging_equals_a_volume_of_single_bytes(images in images()) {
            // Each byte of the model is the image and the place that wrote it.
            let mut model: Vec<Option<(u32, u64)>> = Vec::new();
            for (size, pieces) in &images {
                model.resize(usize::try_from(*size).unwrap(), None);
                for p in pieces {
                    for i in 0..p.extent.length {
                        let data = p.extent.content == Content::Data;
                        let at = usize::try_from(p.extent.offset + i).unwrap();
                        model[at] = data.then_some((p.image, p.at + i));
                    }
                }
            }
            let mut merged = vec![None; model.len()];
            let mut last_end = 0;
            for p in newest_pieces(images) {
                prop_assert!(p.extent.offset >= last_end);
                last_end = p.extent.end();
                for i in 0..p.extent.length {
                    let at = usize::try_from(p.extent.offset + i).unwrap();
                    merged[at] = Some((p.image, p.at + i));
                }
            }
            prop_assert_eq!(merged, model);
        }

        #[test]
        fn one_merged_stream_does_what_its_parts_do(before in 0_u64..40, images in images()) {
            // The volume before is full of bytes that no image wrote.
            let full = vec![Some((u32::MAX, 0)); usize::try_from(before).unwrap()];
            let apply = |volume: &mut Vec<Option<(u32, u64)>>, size: u64, pieces: &[Piece]| {
                volume.resize(usize::try_from(size).unwrap(), None);
                for p in pieces {
                    for i in 0..p.extent.length {
                        let data = p.extent.content == Content::Data;
                        let at = usize::try_from(p.extent.offset + i).unwrap();
                        volume[at] = data.then_some((p.image, p.at + i));
                    }
                }
            };
            let mut one_by_one = full.clone();
            for (size, pieces) in &images {
                apply(&mut one_by_one, *size, pieces);
            }
            let size = images.last().unwrap().0;
            let merged = merged_pieces(before, images);
            prop_assert!(merged.windows(2).all(|p| p[0].extent.end() <= p[1].extent.offset));
            let mut at_once = full;
            apply(&mut at_once, size, &merged);
            prop_assert_eq!(at_once, one_by_one);
        }
    }
}
