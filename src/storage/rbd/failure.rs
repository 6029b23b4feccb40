//! What the failures of `rbd` mean. Not for streams: transfer.rs tells those.

use super::Rbd;
use crate::storage::{Changed, StorageError};
use crate::transport::{Effect, TransportError};

/// What a command was to do, for the error when it does not.
#[derive(Debug, Clone)]
pub(super) struct Deed {
    action: &'static str,
    storage: String,
    object: String,
    effect: Effect,
    status_2: Missing,
}

/// What status 2 (ENOENT) speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    /// The object of the command.
    Object,
    /// Something else, as the pool: the object is not known to be gone.
    SomethingElse,
}

impl Deed {
    /// A change of `name`, which is part of the storage.
    pub(super) fn new(action: &'static str, storage: &Rbd, name: &str) -> Self {
        let (storage, object) = (storage.id().to_owned(), storage.object(name));
        Self { action, storage, object, effect: Effect::Writes, status_2: Missing::Object }
    }

    /// A look at `name`.
    pub(super) fn reading(storage: &Rbd, name: &str) -> Self {
        Self { effect: Effect::Reads, ..Self::new("read", storage, name) }
    }

    /// For commands that do not presuppose an object of their own.
    pub(super) fn on_the_pool(self) -> Self {
        Self { status_2: Missing::SomethingElse, ..self }
    }

    /// The error in a caller's words.
    pub(super) fn failed(self, source: TransportError) -> StorageError {
        let Self { action, storage, object, status_2, .. } = self;
        let changed = match self.effect {
            Effect::Reads => Changed::Nothing,
            Effect::Writes if source.did_not_run() => Changed::Nothing,
            Effect::Writes => Changed::Perhaps,
        };
        match (source.status(), &source) {
            (Some(2), _) if status_2 == Missing::Object => StorageError::NotFound { object },
            (Some(17), _) => StorageError::Exists { object },
            (Some(16), _) => StorageError::Busy { object, why: said(&source) },
            (Some(30), _) => StorageError::Busy { object, why: READ_ONLY.into() },
            (Some(39), _) => StorageError::Busy { object, why: "it has snapshots".into() },
            (Some(110), _)
            | (_, TransportError::Deadline { .. } | TransportError::Unreachable { .. }) => {
                StorageError::Unreachable { storage, object, changed, source }
            }
            _ => StorageError::Tool { action, object, changed, source },
        }
    }
}

/// EROFS has two reasons, and the tool does not say which; the survey knows a mirror's target.
const READ_ONLY: &str =
    "another client locks it, or it is written by another cluster's mirroring (rbd info: primary)";

/// The tool's own last line; librbd's have a time and a thread before them.
fn said(error: &TransportError) -> String {
    let own = error.stderr().lines().rev().find_map(|line| line.strip_prefix("rbd: "));
    own.or(error.stderr().lines().last()).unwrap_or("it is busy").to_owned()
}
