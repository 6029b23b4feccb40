//! Reading a memory snapshot block by block. Injects nothing: opening it does.

use super::content::Content;
use super::{Memory, Result};
use crate::model::SnapshotIdentity;

/// Unless told otherwise: smaller than an RBD object, as a test's volumes are smaller than anybody
/// else's.
pub(super) const BLOCK_SIZE: u64 = 16 << 10;

/// The content of a snapshot.
#[derive(Debug)]
pub(in crate::storage) struct Frozen {
    pub(super) memory: Memory,
    pub(super) volume: String,
    pub(super) own: SnapshotIdentity,
    pub(super) content: Content,
}

impl Frozen {
    /// Whether anything was ever written there.
    pub(in crate::storage) fn holds(&self, offset: u64, length: u64) -> bool {
        self.content.holds(offset, length)
    }

    /// Fills a buffer of zeros, and says whether anything was ever written there.
    pub(in crate::storage) fn read(&self, offset: u64, buffer: &mut [u8]) -> bool {
        let is_there = self.holds(offset, buffer.len() as u64);
        if is_there {
            self.content.read(offset, buffer);
        }
        is_there
    }

    pub(in crate::storage) fn finish(&self) -> Result<()> {
        self.memory.shared().world.snapshot(&self.volume, &self.own).map(drop)
    }
}
