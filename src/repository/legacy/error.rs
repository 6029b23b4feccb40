//! Why a point of eve4pve-barc cannot be read as a volume. Damage inside of a file is an image's error.

use std::path::{Path, PathBuf};

/// The files of a chain do not make a volume. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LegacyError {
    /// The point has no such disk.
    #[error("restore point {point} of {} has no disk {disk} (it has {held})", directory.display())]
    NoSuchDisk {
        /// Where the point is.
        directory: PathBuf,
        /// The point's stamp.
        point: String,
        /// What was asked for.
        disk: String,
        /// What it has.
        held: String,
    },
    /// Two files claim to be the same disk at the same moment.
    #[error("{} and {} both are that disk at that moment", first.display(), second.display())]
    Twice {
        /// One of them.
        first: PathBuf,
        /// The other one.
        second: PathBuf,
    },
    /// The file that an increment begins at is missing.
    #[error("{} continues snapshot {from}, and no file of that disk leads to it", file.display())]
    MissingParent {
        /// The increment.
        file: PathBuf,
        /// The snapshot that its stream starts from.
        from: String,
    },
    /// A file needs itself.
    #[error("{} needs itself", file.display())]
    Circle {
        /// The file at which that was noticed.
        file: PathBuf,
    },
    /// A file's beginning already shows that it is damaged.
    #[error("{} is damaged: {why}", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
}

impl LegacyError {
    /// The file that is to blame; the directory when there is no file.
    pub fn file(&self) -> &Path {
        match self {
            Self::NoSuchDisk { directory, .. } => directory,
            Self::Twice { second, .. } => second,
            Self::MissingParent { file, .. }
            | Self::Circle { file }
            | Self::Damaged { file, .. } => file,
        }
    }
}
