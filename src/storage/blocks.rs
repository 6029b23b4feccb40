//! A snapshot's content block by block: what an audit compares exports with. Not for moving data:
//! exports are faster.
//!
//! An export tells what its storage believes to have changed, and storages have been wrong about
//! that. So this way is another one: it uses nothing that exports derive their answers from.

use super::{StorageError, memory, rbd};
use std::ops::Range;

/// A snapshot, being read in blocks of one size. Reading blocks the thread, and several threads may
/// read at the same time.
#[derive(Debug)]
pub struct Blocks {
    pub(super) size: u64,
    pub(super) block_size: u64,
    pub(super) source: Source,
}

#[derive(Debug)]
pub(super) enum Source {
    Rbd(Box<rbd::Objects>),
    Memory(Box<memory::Frozen>),
    #[cfg(test)]
    Scripted(scripted::Scripted),
}

impl Blocks {
    /// The volume's size in the snapshot, in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of a block: what the storage keeps in one piece.
    pub fn block_size(&self) -> u64 {
        self.block_size
    }

    /// How many blocks there are; the last one may be shorter.
    pub fn count(&self) -> u64 {
        self.size.div_ceil(self.block_size)
    }

    /// The bytes of a block, none beyond the size; `None` where the storage keeps nothing of it, so that
    /// all of it reads as zero. A thin volume is that for the most part.
    ///
    /// # Errors
    /// The storage cannot be read.
    pub fn read(&self, number: u64) -> Result<Option<Vec<u8>>, StorageError> {
        let offset = number.saturating_mul(self.block_size);
        // Where nothing is, no buffer is made for it: a sparse volume is asked for millions of blocks.
        if let Source::Memory(frozen) = &self.source {
            if !frozen.holds(offset, self.length(number)) {
                return Ok(None);
            }
        }
        let mut bytes = vec![0; usize::try_from(self.length(number)).unwrap_or(usize::MAX)];
        let is_there = match &self.source {
            Source::Rbd(objects) => objects.read(offset, &mut bytes)?,
            Source::Memory(frozen) => frozen.read(offset, &mut bytes),
            #[cfg(test)]
            Source::Scripted(scripted) => scripted.read(number, &mut bytes),
        };
        Ok(is_there.then_some(bytes))
    }

    /// The only blocks that the storage can keep anything of, ascending, where it can list them for less
    /// than `asked` blocks cost to ask for, and where the list can be believed. None where each block
    /// has to be asked for, and when `go_on` ended the listing. Blocks the thread.
    pub fn listed(&self, asked: u64, go_on: &dyn Fn() -> bool) -> Option<Vec<u64>> {
        let mut extents = match &self.source {
            Source::Rbd(objects) => objects.listed(asked, go_on)?,
            // It is asked in no time.
            Source::Memory(_) => return None,
            #[cfg(test)]
            Source::Scripted(scripted) => scripted.listed.clone()?,
        };
        extents.sort_unstable_by_key(|extent| (extent.start, extent.end));
        extents.dedup();
        let numbers = |extent: Range<u64>| {
            extent.start / self.block_size..extent.end.div_ceil(self.block_size).min(self.count())
        };
        let mut blocks: Vec<u64> = extents.into_iter().flat_map(numbers).collect();
        blocks.sort_unstable();
        blocks.dedup();
        Some(blocks)
    }

    /// How many bytes a block has.
    pub fn length(&self, number: u64) -> u64 {
        let offset = number.saturating_mul(self.block_size);
        self.size.saturating_sub(offset).min(self.block_size)
    }

    /// Whether what was read counts: the snapshot is still the one that it was at the beginning.
    ///
    /// # Errors
    /// It is gone or another one, or the storage failed.
    pub async fn finish(self) -> Result<(), StorageError> {
        match self.source {
            Source::Rbd(objects) => objects.finish().await,
            Source::Memory(frozen) => frozen.finish(),
            #[cfg(test)]
            Source::Scripted(_) => Ok(()),
        }
    }
}

/// A storage whose answers and whose list are made up, and which notes what it was asked for.
#[cfg(test)]
pub(crate) mod scripted {
    use super::{Blocks, Source};
    use std::collections::{BTreeMap, BTreeSet};
    use std::ops::Range;
    use std::sync::{Mutex, PoisonError};

    #[derive(Debug, Default)]
    pub(crate) struct Scripted {
        /// The blocks that are there, each full of one byte.
        pub(crate) there: BTreeMap<u64, u8>,
        /// What is listed, in bytes.
        pub(crate) listed: Option<Vec<Range<u64>>>,
        pub(crate) asked: Mutex<BTreeSet<u64>>,
    }

    impl Scripted {
        pub(super) fn read(&self, number: u64, bytes: &mut [u8]) -> bool {
            self.asked.lock().unwrap_or_else(PoisonError::into_inner).insert(number);
            let found = self.there.get(&number);
            found.is_some_and(|byte| {
                bytes.fill(*byte);
                true
            })
        }
    }

    impl Blocks {
        pub(crate) fn scripted(size: u64, block_size: u64, scripted: Scripted) -> Self {
            Self { size, block_size, source: Source::Scripted(scripted) }
        }

        /// The numbers of the blocks that were asked for.
        pub(crate) fn asked(&self) -> Vec<u64> {
            let Source::Scripted(scripted) = &self.source else { return Vec::new() };
            scripted.asked.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
        }
    }

    #[test]
    fn what_is_listed_in_bytes_are_the_blocks_that_it_touches_each_once() {
        let listed = Some(vec![50..60, 0..10, 5..25, 50..60, 95..900, 1000..2000]);
        let blocks = Blocks::scripted(100, 10, Scripted { listed, ..Scripted::default() });
        assert_eq!(blocks.listed(10, &|| true).unwrap(), [0, 1, 2, 5, 9]);
        let unlisted = Blocks::scripted(100, 10, Scripted::default());
        assert_eq!(unlisted.listed(10, &|| true), None);
    }
}
