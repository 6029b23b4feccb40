//! What can go wrong with a repository, as one enum. Not for damage found by `verify`: that is a result.

use super::chain::BrokenChain;
use super::disk::DOCUMENT_LIMIT;
use super::image::ImageError;
use super::lock::Holder;
use crate::model::DiskKey;
use std::io;
use std::path::{Path, PathBuf};

/// A failure of the repository. The text names the object and, where it matters, what was changed;
/// the source carries the cause.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// The directory given as repository does not exist, or is none.
    #[error("repository {} is missing or no directory; it must exist before (is it mounted?)", path.display())]
    Missing {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The directory given as repository holds none, and nobody asked for a new one.
    #[error("{} holds no repository (pve-ferry/ is missing there): is it mounted? A new repository is begun by `job create`, or by a backup or copy by hand; nothing was changed", path.display())]
    NotBegun {
        /// The path as it was given.
        path: PathBuf,
    },
    /// Somebody else works on this guest.
    #[error("{} is locked by {holder}", path.display())]
    Locked {
        /// The guest's directory.
        path: PathBuf,
        /// Who holds the lock, since when and for what.
        holder: Box<Holder>,
    },
    /// Our lock is gone or could not be refreshed: another run may work there now.
    #[error("the lock on {} was lost; nothing was committed after that", path.display())]
    LockLost {
        /// The guest's directory.
        path: PathBuf,
    },
    /// The lock given is not an exclusive one of this guest.
    #[error("changing {} needs an exclusive lock on it; nothing was changed", path.display())]
    NotLocked {
        /// The guest's directory.
        path: PathBuf,
    },
    /// A system call failed.
    #[error("could not {what}")]
    Io {
        /// What was tried, with the object: `read /x/manifest.json`.
        what: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A value could not be written as JSON.
    #[error("could not write {} as JSON; nothing was changed", path.display())]
    Json {
        /// The file it was for.
        path: PathBuf,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
    /// A document that would not be read again for its length.
    #[error(
        "{} would have {bytes} bytes, and no such file may have more than {DOCUMENT_LIMIT}; it was not written: \
         give it less to hold (as shorter notes)",
        path.display()
    )]
    TooLong {
        /// The file.
        path: PathBuf,
        /// How many bytes it would have.
        bytes: u64,
    },
    /// The guest's directory belongs to a cluster whose id only begins alike.
    #[error("{} belongs to cluster {found}, not to {expected}; nothing was changed", path.display())]
    OtherCluster {
        /// The guest's directory.
        path: PathBuf,
        /// The cluster id in guest.json.
        found: String,
        /// The cluster id that was asked for.
        expected: String,
    },
    /// guest.json holds no chain for the label, so that snapshots of a killed run would be orphans.
    #[error("{} has no chain recorded for label {label}; nothing was changed", path.display())]
    NoChain {
        /// The guest's directory.
        path: PathBuf,
        /// The label.
        label: String,
    },
    /// Points that cannot be read forbid every removal for their guest.
    #[error("nothing is removed from {}: {why}", path.display())]
    RemovalForbidden {
        /// The guest's directory.
        path: PathBuf,
        /// Which point cannot be read, and why.
        why: String,
    },
    /// Another point's images are increments on top of this point's images.
    #[error("{} was not removed: restore point {needed_by} needs its images", path.display())]
    StillNeeded {
        /// The point's directory.
        path: PathBuf,
        /// The directory of the point that needs it.
        needed_by: String,
    },
    /// The directory holds a manifest, so it is a restore point and no debris.
    #[error("{} holds a manifest and is not swept", path.display())]
    NotDebris {
        /// The directory.
        path: PathBuf,
    },
    /// The manifest given does not describe what stands in the point's directory.
    #[error("the manifest of {} does not fit its files ({why}); nothing was committed", path.display())]
    Unfit {
        /// The point's directory.
        path: PathBuf,
        /// What does not fit.
        why: String,
    },
    /// A small file of a point is not what its manifest says.
    #[error("{} is damaged: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The name of a point that is to be copied is not free in the target.
    #[error("{} is taken: {why}; nothing was copied there", path.display())]
    Taken {
        /// The directory in the target.
        path: PathBuf,
        /// By what.
        why: String,
    },
    /// What a point needs is not there, so that a copy of it would be worth nothing.
    #[error("{} was not copied: what it needs is not whole", path.display())]
    Incomplete {
        /// The point's directory.
        path: PathBuf,
        /// What is missing.
        #[source]
        source: BrokenChain,
    },
    /// Two directories that are to be two repositories are one, or one is inside the other.
    #[error("{} and {} are not two separate repositories; nothing was changed", one.display(), other.display())]
    Overlap {
        /// The one as it was given.
        one: PathBuf,
        /// The other.
        other: PathBuf,
    },
    /// The images of a disk are no chain, so that they cannot merge.
    #[error("{disk} of {} was not merged; nothing was changed", path.display())]
    NoChainToMerge {
        /// The point's directory.
        path: PathBuf,
        /// The disk.
        disk: DiskKey,
        /// What is broken.
        #[source]
        source: BrokenChain,
    },
    /// The images of a disk could not be merged.
    #[error("{disk} of {} was not merged; its images are as they were", path.display())]
    NotMerged {
        /// The point's directory.
        path: PathBuf,
        /// The disk.
        disk: DiskKey,
        /// Why.
        #[source]
        source: Box<ImageError>,
    },
    /// The rename that commits failed, and so did reading back what is there.
    #[error("it is not known whether {} was committed: the repository does not answer", path.display())]
    Unknown {
        /// The point's directory.
        path: PathBuf,
        /// Why the rename failed.
        #[source]
        source: io::Error,
    },
}

impl RepositoryError {
    /// An I/O failure of `verb` (as "read") on `path`.
    pub(crate) fn io(verb: &str, path: &Path, source: io::Error) -> Self {
        Self::Io { what: format!("{verb} {}", path.display()), source }
    }
}

/// Gives I/O results the object they were about.
pub(crate) trait About<T> {
    /// Names the verb and the path of a failed call.
    fn about(self, verb: &str, path: &Path) -> Result<T, RepositoryError>;
}

impl<T> About<T> for io::Result<T> {
    fn about(self, verb: &str, path: &Path) -> Result<T, RepositoryError> {
        self.map_err(|source| RepositoryError::io(verb, path, source))
    }
}
