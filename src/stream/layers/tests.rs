//! Which image wins where, in examples and compared with a volume of single bytes.

use super::*;
use proptest::prelude::*;

fn merged_pieces(before: u64, images: Vec<(u64, Vec<Piece>)>) -> Vec<Piece> {
    let layers =
        images.into_iter().map(|(size, pieces)| (size, pieces.into_iter().map(never_fails)));
    let Ok(pieces) = Layers::merged(before, layers.collect()).collect();
    pieces
}

/// A layer whose pieces are counted as they are taken.
#[test]
fn no_more_than_one_piece_of_each_image_is_taken_ahead() {
    let taken = std::cell::Cell::new(0_u64);
    let layer = |image: u32| {
        let taken = &taken;
        (0..1000_u64).map(move |n| {
            taken.set(taken.get() + 1);
            never_fails(piece(image, n * 100, 50, Content::Data))
        })
    };
    let layers = (0..20).map(|image| (100_000, layer(image))).collect();
    for (number, piece) in (1..).zip(Layers::newest(layers)) {
        let Ok(piece) = piece;
        assert_eq!(piece.image, 19, "the newest lies over all others");
        assert!(taken.get() <= number * 20 + 20, "{} pieces before part {number}", taken.get());
    }
    assert_eq!(taken.get(), 20_000);
}

fn piece(image: u32, offset: u64, length: u64, content: Content) -> Piece {
    Piece { extent: Extent { offset, length, content }, image, at: 1000 + offset, of: () }
}

fn newest(images: Vec<(u64, Vec<Piece>)>) -> Vec<(u64, u64, u32, u64)> {
    let pieces = newest_pieces(images).into_iter();
    pieces.map(|p| (p.extent.offset, p.extent.length, p.image, p.at)).collect()
}

#[test]
fn the_newest_image_wins_and_the_older_shows_in_its_gaps() {
    let base = vec![piece(0, 0, 100, Content::Data)];
    let increment = vec![piece(1, 10, 5, Content::Data), piece(1, 50, 10, Content::Zero)];
    let expected = vec![(0, 10, 0, 1000), (10, 5, 1, 1010), (15, 35, 0, 1015), (60, 40, 0, 1060)];
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
