//! The pieces of a chain around the place that is asked for, for whoever looks at one part after the
//! other. Not for reading all of a volume: that is `chain_read`.

use super::chain::ChainPieces;
use super::error::ImageError;
use super::linked::FramePiece;
use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;

/// How many pieces are remembered behind the last place, as several threads ask for neighbouring parts
/// out of order: those of 64 MiB in sectors of 512 bytes. About 80 bytes each.
const REMEMBERED: usize = 1 << 17;

/// What was read of a chain's indexes last.
#[derive(Default)]
pub(super) struct Window {
    rest: Option<ChainPieces>,
    /// What was taken of the rest and is not forgotten, in order.
    pieces: VecDeque<FramePiece>,
    /// Pieces that begin before this place may be forgotten.
    from: u64,
}

impl Window {
    /// The pieces that reach into `wanted`; `all` gives those of the chain from the first on.
    ///
    /// # Errors
    /// An index cannot be read.
    pub(super) fn pieces_in(
        &mut self,
        wanted: &Range<u64>,
        all: impl FnOnce() -> ChainPieces,
    ) -> Result<Vec<FramePiece>, ImageError> {
        if self.rest.is_none() || wanted.start < self.from {
            *self = Self { rest: Some(all()), ..Self::default() };
        }
        if let Err(error) = self.reach(wanted.end) {
            *self = Self::default();
            return Err(error);
        }
        self.forget(wanted.start);
        let first = self.pieces.partition_point(|piece| piece.extent.end() <= wanted.start);
        let inside = self.pieces.range(first..);
        Ok(inside.take_while(|piece| piece.extent.offset < wanted.end).cloned().collect())
    }

    /// Takes pieces until one begins at `end` or behind it.
    fn reach(&mut self, end: u64) -> Result<(), ImageError> {
        let Some(rest) = &mut self.rest else { return Ok(()) };
        while self.pieces.back().is_none_or(|last| last.extent.offset < end) {
            match rest.next().transpose()? {
                Some(piece) => self.pieces.push_back(piece),
                None => return Ok(()),
            }
        }
        Ok(())
    }

    fn forget(&mut self, before: u64) {
        while self.pieces.len() > REMEMBERED {
            match self.pieces.front().map(|first| first.extent.end()) {
                Some(end) if end <= before => self.from = end,
                _ => return,
            }
            self.pieces.pop_front();
        }
    }
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Window").field("from", &self.from).finish_non_exhaustive()
    }
}
