//! Data on its way out of or into a volume. Not for what is in the stream: that is stream/'s.

use super::{StorageError, VolumeFacts, memory, rbd};
use std::fmt;
use std::io::{Read, Write};

/// A snapshot's content, or what changed since an older one, being read.
pub struct Export {
    /// The diff stream v1. Its end alone proves nothing.
    pub reader: Box<dyn Read + Send>,
    /// Tells whether it was all.
    pub exit: Finish,
}

/// A volume that takes a diff stream.
pub struct Import {
    /// The volume as it was looked at right before.
    pub into: VolumeFacts,
    /// Takes the diff stream v1; to be dropped after its last byte.
    pub writer: Box<dyn Write + Send>,
    /// Tells whether it was applied.
    pub exit: Finish,
}

/// The end of a transfer, to be asked for after the reader or writer is done. Dropped before, it
/// breaks the transfer off.
#[derive(Debug)]
pub struct Finish(pub(super) End);

#[derive(Debug)]
pub(super) enum End {
    Rbd(Box<rbd::Transfer>),
    Memory(memory::Transfer),
}

impl Finish {
    /// Whether the transfer counts.
    ///
    /// # Errors
    /// The tool failed or was killed, or the objects are not those any more that they were at the
    /// beginning.
    pub async fn wait(self) -> Result<(), StorageError> {
        match self.0 {
            End::Rbd(transfer) => transfer.wait().await,
            End::Memory(transfer) => transfer.wait().await,
        }
    }

    /// Breaks the transfer off; a wait afterwards is an error. To give up an import, rather drop its
    /// writer and wait: a killed `rbd` keeps the image open in Ceph's eyes for another 30 s.
    pub fn kill(&mut self) {
        match &mut self.0 {
            End::Rbd(transfer) => transfer.kill(),
            End::Memory(transfer) => transfer.kill(),
        }
    }
}

impl fmt::Debug for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Export").field("exit", &self.exit).finish_non_exhaustive()
    }
}

impl fmt::Debug for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Import").field("exit", &self.exit).finish_non_exhaustive()
    }
}
