//! The pieces of many images as those of one volume: for each byte the newest image that wrote it. It
//! holds one piece of each image, however many an image has.

use super::extent::{Content, Extent, Piece};
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

/// The pieces of a volume, ascending, as its images give theirs. After an error it is worth nothing.
///
/// Each image's pieces come ascending and do not overlap; the images are given oldest first, each with
/// the volume's size at its end.
pub struct Layers<I, T> {
    layers: Vec<Layer<I, T>>,
    /// Layers whose next piece begins behind the position, by where it begins.
    ahead: BinaryHeap<Reverse<(u64, usize)>>,
    /// Layers whose piece has begun. It may have ended: that counts once no newer one lies over it.
    begun: BTreeSet<usize>,
    position: u64,
    zeros: Zeros,
    /// What was read behind joined zeros.
    held: Option<Piece<T>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Zeros {
    /// What is in no piece reads as zero.
    LeftOut,
    /// They stand for themselves, neighbours as one piece.
    Joined,
}

struct Layer<I, T> {
    pieces: I,
    /// Where the volume ended at this image, or at a newer one that cut it off.
    limit: u64,
    /// What the image cut off, as zeros: the last of its pieces.
    cut_off: Option<Piece<T>>,
    current: Option<Piece<T>>,
}

impl<I, T, E> Layers<I, T>
where
    I: Iterator<Item = Result<Piece<T>, E>>,
    T: Clone + Default,
{
    /// The data of a chain's end. What is in no piece reads as zero. A volume that shrank and grew again
    /// lost what lay beyond its smallest size, so that an older piece is cut off at the size of every
    /// later image.
    pub fn newest(images: Vec<(u64, I)>) -> Self {
        let mut limit = u64::MAX;
        let mut layers: Vec<_> = images
            .into_iter()
            .rev()
            .map(|(size, pieces)| {
                limit = limit.min(size);
                Layer { pieces, limit, cut_off: None, current: None }
            })
            .collect();
        layers.reverse();
        Self::of(layers, Zeros::LeftOut)
    }

    /// The pieces of one stream that leads as far as all of `images` do, zeros too. Applied to the volume
    /// that the oldest image begins at, it gives what applying them one after the other gives.
    ///
    /// `before` is the size of that volume, 0 when the oldest image is a base. What a shrink cut off and
    /// a later image shows again is a piece of zeros: the volume before may hold data there.
    pub fn merged(before: u64, images: Vec<(u64, I)>) -> Self {
        let limit = images.last().map_or(0, |(size, _)| *size);
        let mut before = before;
        let layers = images.into_iter().map(|(size, pieces)| {
            let cut_off = before.checked_sub(size).filter(|length| *length > 0).map(|length| {
                let extent = Extent { offset: size, length, content: Content::Zero };
                // Zeros stand in no image; the number is never looked at.
                Piece { extent, image: 0, at: 0, of: T::default() }
            });
            before = size;
            Layer { pieces, limit, cut_off, current: None }
        });
        let layers = layers.collect();
        Self::of(layers, Zeros::Joined)
    }

    fn of(layers: Vec<Layer<I, T>>, zeros: Zeros) -> Self {
        // None has a piece yet: as ended ones they get their first when it is asked for.
        let begun = (0..layers.len()).collect();
        Self { layers, ahead: BinaryHeap::new(), begun, position: 0, zeros, held: None }
    }

    /// The next part of the volume that one image gives.
    fn part(&mut self) -> Result<Option<Piece<T>>, E> {
        loop {
            self.begin_what_is_due();
            let Some(newest) = self.begun.last().copied() else {
                let Some(Reverse((offset, _))) = self.ahead.peek() else { return Ok(None) };
                self.position = *offset;
                continue;
            };
            let current = self.layers[newest].current.as_ref();
            let Some(piece) = current.filter(|piece| piece.extent.end() > self.position).cloned()
            else {
                self.begun.remove(&newest);
                self.go_on(newest)?;
                continue;
            };
            let end = self.where_newer_begins(newest, piece.extent.end());
            let part = piece.clipped(&(self.position..end));
            self.position = end;
            return Ok(part);
        }
    }

    fn begin_what_is_due(&mut self) {
        while let Some(Reverse((offset, number))) = self.ahead.peek().copied() {
            if offset > self.position {
                return;
            }
            self.ahead.pop();
            self.begun.insert(number);
        }
    }

    /// Takes the next piece of a layer that reaches beyond the position.
    fn go_on(&mut self, number: usize) -> Result<(), E> {
        let layer = &mut self.layers[number];
        layer.current = layer.next_beyond(self.position)?;
        if let Some(piece) = &layer.current {
            self.ahead.push(Reverse((piece.extent.offset, number)));
        }
        Ok(())
    }

    /// Where a piece of this layer ends, or a newer one begins over it.
    fn where_newer_begins(&mut self, layer: usize, end: u64) -> u64 {
        while let Some(Reverse((offset, number))) = self.ahead.peek().copied() {
            if offset >= end {
                break;
            }
            if number > layer {
                return offset;
            }
            // An older one lies under it.
            self.ahead.pop();
            self.begun.insert(number);
        }
        end
    }

    /// Zeros with those that follow at once.
    fn joined(&mut self, mut zeros: Piece<T>) -> Result<Piece<T>, E> {
        while let Some(next) = self.part()? {
            let is_zero = next.extent.content == Content::Zero;
            if !is_zero || next.extent.offset != zeros.extent.end() {
                self.held = Some(next);
                break;
            }
            zeros.extent.length += next.extent.length;
        }
        Ok(zeros)
    }
}

impl<I, T, E> Layer<I, T>
where
    I: Iterator<Item = Result<Piece<T>, E>>,
    T: Clone,
{
    fn next_beyond(&mut self, position: u64) -> Result<Option<Piece<T>>, E> {
        loop {
            let piece = match self.pieces.next() {
                Some(piece) => Some(piece?),
                None => self.cut_off.take(),
            };
            let Some(piece) = piece.filter(|piece| piece.extent.offset < self.limit) else {
                return Ok(None);
            };
            if let Some(rest) = piece.clipped(&(position..self.limit)) {
                return Ok(Some(rest));
            }
        }
    }
}

impl<I, T, E> Iterator for Layers<I, T>
where
    I: Iterator<Item = Result<Piece<T>, E>>,
    T: Clone + Default,
{
    type Item = Result<Piece<T>, E>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let part = match self.held.take() {
                Some(held) => held,
                None => match self.part().transpose()? {
                    Ok(part) => part,
                    error => return Some(error),
                },
            };
            match (part.extent.content, self.zeros) {
                (Content::Data, _) => return Some(Ok(part)),
                (Content::Zero, Zeros::LeftOut) => {}
                (Content::Zero, Zeros::Joined) => return Some(self.joined(part)),
            }
        }
    }
}

/// The data of a chain's end, of images whose pieces are all known: see [`Layers::newest`].
pub fn newest_pieces(images: Vec<(u64, Vec<Piece>)>) -> Vec<Piece> {
    let layers =
        images.into_iter().map(|(size, pieces)| (size, pieces.into_iter().map(never_fails)));
    let Ok(pieces) = Layers::newest(layers.collect()).collect();
    pieces
}

fn never_fails(piece: Piece) -> Result<Piece, std::convert::Infallible> {
    Ok(piece)
}

#[cfg(test)]
mod tests;
