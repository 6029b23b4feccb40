//! What tests make go wrong in the memory driver. Not for mistakes that the driver finds itself.

use crate::storage::{Changed, StorageError};
use crate::transport::{Ending, TransportError};
use std::fmt;
use std::time::Duration;

/// An operation of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // Each is the function of `Storage` with its name.
pub enum Operation {
    Volume,
    Volumes,
    FreeBytes,
    UsedBytes,
    CreateSnapshot,
    ProtectSnapshot,
    UnprotectSnapshot,
    DeleteSnapshot,
    CreateVolume,
    RenameVolume,
    DeleteVolume,
    Export,
    Blocks,
    Import,
    Rollback,
}

/// How an operation goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails without having done anything.
    Before,
    /// It does its work and fails nevertheless, as when the answer is lost. For a transfer: all
    /// bytes pass, and its end is an error.
    After,
    /// It never returns.
    Hang,
    /// It does its work and never returns, as when its caller dies of it.
    HangAfter,
    /// It takes so long, and then does its work.
    Late(Duration),
    /// A transfer ends after so many bytes, and its end says so.
    Cut(u64),
    /// An export ends after so many bytes, and its end claims that all is well.
    SilentCut(u64),
    /// A transfer stands still after so many bytes until it is broken off.
    Stalls(u64),
    /// An import takes all bytes, writes nothing, and its end claims that all is well.
    Swallows,
    /// An import writes what comes in its first so many bytes of the volume only, and its end claims that
    /// all is well.
    SwallowsFrom(u64),
    /// An export leaves the first change out, and nothing tells: its stream is whole.
    OmitsAChange,
}

/// What a test means for certain calls.
pub(super) struct Due<T>(Vec<(Operation, usize, T)>);

impl<T> Default for Due<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> fmt::Debug for Due<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(of, nth, _)| (of, nth))).finish()
    }
}

impl<T> Due<T> {
    pub(super) fn add(&mut self, operation: Operation, nth: usize, due: T) {
        self.0.push((operation, nth, due));
    }

    /// What is meant for this call, if it is its turn; all else of the operation comes one nearer.
    pub(super) fn take(&mut self, operation: Operation) -> Option<T> {
        self.0.iter_mut().filter(|(of, ..)| *of == operation).for_each(|(_, nth, _)| {
            *nth = nth.saturating_sub(1);
        });
        let due = self.0.iter().position(|(_, nth, _)| *nth == 0)?;
        Some(self.0.remove(due).2)
    }
}

/// The error of a call that a test made fail.
pub(super) fn error(operation: Operation, object: &str) -> StorageError {
    StorageError::Tool {
        action: operation.words(),
        object: object.to_owned(),
        changed: Changed::Perhaps,
        source: TransportError::Failed {
            command: format!("memory {operation} {object}"),
            ending: Ending::Status(5),
            stderr: "injected by a test".to_owned(),
        },
    }
}

/// What is left of an export's stream, and how it ends.
pub(super) fn torn(
    fault: Option<Fault>,
    mut bytes: Vec<u8>,
    object: &str,
) -> (Vec<u8>, Result<(), StorageError>) {
    let failed = || Err(error(Operation::Export, object));
    let kept = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
    match fault {
        Some(Fault::Cut(at)) => {
            bytes.truncate(kept(at));
            (bytes, failed())
        }
        Some(Fault::SilentCut(at) | Fault::Stalls(at)) => {
            bytes.truncate(kept(at));
            (bytes, Ok(()))
        }
        Some(Fault::After) => (bytes, failed()),
        _ => (bytes, Ok(())),
    }
}

impl Operation {
    fn words(self) -> &'static str {
        match self {
            Self::Volume => "read",
            Self::Volumes => "list",
            Self::FreeBytes => "measure the free space of",
            Self::UsedBytes => "measure",
            Self::CreateSnapshot | Self::CreateVolume => "create",
            Self::RenameVolume => "rename",
            Self::ProtectSnapshot => "protect",
            Self::UnprotectSnapshot => "unprotect",
            Self::DeleteSnapshot | Self::DeleteVolume => "delete",
            Self::Export => "export",
            Self::Blocks => "read",
            Self::Import => "import into",
            Self::Rollback => "roll back to",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Volume => "volume",
            Self::Volumes => "volumes",
            Self::FreeBytes => "free-bytes",
            Self::UsedBytes => "used-bytes",
            Self::CreateSnapshot => "create-snapshot",
            Self::ProtectSnapshot => "protect-snapshot",
            Self::UnprotectSnapshot => "unprotect-snapshot",
            Self::DeleteSnapshot => "delete-snapshot",
            Self::CreateVolume => "create-volume",
            Self::RenameVolume => "rename-volume",
            Self::DeleteVolume => "delete-volume",
            Self::Export => "export",
            Self::Blocks => "blocks",
            Self::Import => "import",
            Self::Rollback => "rollback",
        })
    }
}
