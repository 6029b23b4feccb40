//! A snapshot's content block by block: what an audit compares exports with. Not for moving data:
//! exports are faster.
//!
//! An export tells what its storage believes to have changed, and storages have been wrong about
//! that. So this way is another one: it uses nothing that exports derive their answers from.

use super::{StorageError, memory, rbd};

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
        let mut bytes = vec![0; usize::try_from(self.length(number)).unwrap_or(usize::MAX)];
        let is_there = match &self.source {
            Source::Rbd(objects) => objects.read(offset, &mut bytes)?,
            Source::Memory(frozen) => frozen.read(offset, &mut bytes),
        };
        Ok(is_there.then_some(bytes))
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
        }
    }
}
