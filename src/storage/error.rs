//! How storage operations fail, in the words in which a caller decides. Not for exit statuses.

use crate::transport::TransportError;
use std::fmt;

/// A storage operation that was refused or failed. Objects are named
/// `storage:volume@snapshot`.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// There is no such volume or snapshot (any more).
    #[error("{object} does not exist; nothing was changed")]
    NotFound {
        /// What was asked for.
        object: String,
    },
    /// The name is taken.
    #[error("{object} exists already; nothing was changed")]
    Exists {
        /// What was to be made.
        object: String,
    },
    /// Someone or something else holds it.
    #[error("{object} is in use ({why}); nothing was changed")]
    Busy {
        /// What was to be changed.
        object: String,
        /// Who holds it.
        why: String,
    },
    /// The name belongs to another volume or snapshot than the one that was surveyed.
    #[error("{object} is another one now: {found} instead of {expected}; nothing was changed")]
    Identity {
        /// What was to be used.
        object: String,
        /// What the survey saw.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The storage does not answer.
    #[error("storage {storage} does not answer; {object}: {changed}")]
    Unreachable {
        /// The storage's id.
        storage: String,
        /// What was to be used.
        object: String,
        /// Whether the command may have done something.
        changed: Changed,
        /// The command that failed.
        #[source]
        source: TransportError,
    },
    /// The storage's tool failed.
    #[error("cannot {action} {object}; {changed}")]
    Tool {
        /// What was to be done, as a verb.
        action: &'static str,
        /// To what.
        object: String,
        /// Whether it did something.
        changed: Changed,
        /// The command that failed.
        #[source]
        source: TransportError,
    },
    /// A snapshot cannot be read block by block.
    #[error("cannot read {object} block by block; nothing was changed")]
    Read {
        /// What was read.
        object: String,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The storage's tool answered something else than we know.
    #[error("cannot understand what {tool} says about {object}; nothing was changed")]
    Answer {
        /// The tool and its command.
        tool: &'static str,
        /// What it was asked about.
        object: String,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A diff stream was not right.
    #[error("the diff stream of {object} is not right: {why}; {changed}")]
    Stream {
        /// The volume.
        object: String,
        /// What is wrong.
        why: String,
        /// Whether part of it was applied.
        changed: Changed,
    },
    /// The driver cannot do this, and will not pretend.
    #[error("{object} cannot be made: {why}; nothing was changed")]
    Unsupported {
        /// What was to be made.
        object: String,
        /// What stands in the way.
        why: String,
    },
}

/// What a failed operation did to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// Nothing.
    Nothing,
    /// Nobody knows: look before you go on.
    Perhaps,
    /// Part of the data was written: the content is not to be trusted.
    Partly,
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "nothing was changed",
            Self::Perhaps => "it may have been changed",
            Self::Partly => "part of the data may have been written, so its content is not usable",
        })
    }
}
