//! Errors at the edge: the whole chain on one line, the exit code of the table in the help.

use super::agree::Declined;
use crate::operation::NoLock;
use crate::report::Failure;
use crate::repository::RepositoryError;
use crate::run::failure_of;
use crate::survey::NoPoint;

/// An error that ends the program.
#[derive(Debug)]
pub enum CliError {
    /// clap's own: a wrong option, or the help that was asked for.
    Clap(clap::Error),
    /// Wrong words or configuration, found by us.
    Usage(String),
    /// A decision or something else that has a code of its own.
    Coded(u8, String),
    /// Everything else, with its chain.
    Other(anyhow::Error),
}

impl CliError {
    /// Words or configuration that make no sense.
    pub fn usage(text: impl Into<String>) -> Self {
        Self::Usage(text.into())
    }

    /// The exit code (see the table in the help text).
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Clap(error) if error.use_stderr() => Failure::Usage.code(),
            Self::Clap(_) => 0,
            Self::Usage(_) => Failure::Usage.code(),
            Self::Coded(code, _) => *code,
            Self::Other(error) => code_of(error),
        }
    }
}

/// The exit code of an error's kind.
pub fn code_of(error: &anyhow::Error) -> u8 {
    if let Some(declined) = error.downcast_ref::<Declined>() {
        return declined.code();
    }
    if failure_of(error) == Failure::Interrupted {
        return Failure::Interrupted.code();
    }
    let no_lock = error.chain().find_map(|e| e.downcast_ref::<NoLock>());
    let repository = match no_lock {
        Some(NoLock::Repository(error)) => Some(error),
        Some(NoLock::Stopped(_)) | None => {
            error.chain().find_map(|e| e.downcast_ref::<RepositoryError>())
        }
    };
    if let Some(error) = repository {
        return match error {
            RepositoryError::Missing { .. } | RepositoryError::NotBegun { .. } => 10,
            RepositoryError::Overlap { .. } => Failure::Usage.code(),
            RepositoryError::Taken { .. } => Failure::Conflict.code(),
            RepositoryError::Locked { .. } => Failure::Locked.code(),
            _ => Failure::Other.code(),
        };
    }
    match error.chain().find_map(|e| e.downcast_ref::<NoPoint>()) {
        Some(NoPoint::None(_)) => 4,
        Some(NoPoint::Several(..) | NoPoint::Unreadable { .. }) => Failure::Conflict.code(),
        Some(NoPoint::Gone { .. }) | None => Failure::Other.code(),
    }
}

impl std::fmt::Display for CliError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Clap(error) => write!(f, "{error}"),
            Self::Usage(text) | Self::Coded(_, text) => f.write_str(text),
            Self::Other(error) => write!(f, "{error:#}"),
        }
    }
}

impl From<clap::Error> for CliError {
    fn from(error: clap::Error) -> Self {
        Self::Clap(error)
    }
}

impl From<anyhow::Error> for CliError {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

impl From<crate::model::Invalid> for CliError {
    fn from(error: crate::model::Invalid) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<RepositoryError> for CliError {
    fn from(error: RepositoryError) -> Self {
        Self::Other(error.into())
    }
}
