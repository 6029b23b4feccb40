//! Volumes and their snapshots, one contract over a closed set of drivers. Knows neither guests
//! nor repositories.
//!
//! Names are what callers give, identities are what the drivers check: whatever destroys or
//! overwrites takes the identity that the survey saw and refuses another object of that name.
//! `tests/storage` runs the same conformance suite over every driver.

mod blocks;
mod error;
mod facts;
pub mod memory;
pub mod rbd;
mod registry;
mod transfer;

pub use blocks::Blocks;
#[cfg(test)]
pub(crate) use blocks::scripted;
pub use error::{Changed, StorageError};
pub use facts::{ObjectMap, Removed, SnapshotFacts, VolumeFacts};
pub use memory::Memory;
pub use rbd::{Rbd, RbdConfig};
pub use registry::{Driver, NoStorage, OfNode, Registry};
pub use transfer::{Export, Finish, Import};

use crate::model::{SnapshotIdentity, VolumeIdentity, VolumeShape};
use facts::refuse_watchers;

type Result<T> = std::result::Result<T, StorageError>;

/// One storage of the cluster. A clone is the same storage.
#[derive(Debug, Clone)]
pub enum Storage {
    /// A Ceph pool.
    Rbd(Rbd),
    /// Volumes in this process: the reference for tests.
    Memory(Memory),
}

/// Where a storage's volumes lie. Several entries of storage.cfg may say the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// Cluster, pool and namespace: entries that agree in it hold the same volumes.
    pub volumes: String,
    /// Cluster and the pool that takes the data: entries that agree in it share their space.
    pub space: String,
}

/// Passes a call to the driver.
macro_rules! driver {
    ($storage:expr, $driver:ident => $call:expr) => {
        match $storage {
            Storage::Rbd($driver) => $call,
            Storage::Memory($driver) => $call,
        }
    };
}

impl Storage {
    /// The storage's id in storage.cfg.
    pub fn id(&self) -> &str {
        driver!(self, d => d.id())
    }

    /// Where the storage has a volume, as its own tools write it: `pool/image`. Asks nobody.
    pub fn place(&self, name: &str) -> String {
        match self {
            Self::Rbd(rbd) => rbd.place(name),
            other => format!("{}/{name}", other.id()),
        }
    }

    /// Where its volumes lie. Reads, at most once the cluster's id.
    ///
    /// # Errors
    /// The storage cannot be asked.
    pub async fn location(&self) -> Result<Location> {
        driver!(self, d => d.location().await)
    }

    /// What there is to know about a volume; none when there is no volume of that name. Reads.
    ///
    /// # Errors
    /// The storage cannot be asked, or answers what we do not understand.
    pub async fn volume(&self, name: &str) -> Result<Option<VolumeFacts>> {
        driver!(self, d => d.volume(name).await)
    }

    /// The volume of this identity, by whatever name it has now; none when this storage has none, or
    /// does not tell. Reads.
    ///
    /// # Errors
    /// As [`Storage::volume`].
    pub async fn volume_of(&self, identity: &VolumeIdentity) -> Result<Option<VolumeFacts>> {
        driver!(self, d => d.volume_of(identity).await)
    }

    /// How many clients have a volume open. Reads.
    ///
    /// # Errors
    /// As [`Storage::volume`], or there is no such volume.
    pub async fn watchers(&self, name: &str) -> Result<usize> {
        driver!(self, d => d.watchers(name).await)
    }

    /// The names of all volumes, sorted. Reads.
    ///
    /// # Errors
    /// As [`Storage::volume`].
    pub async fn volumes(&self) -> Result<Vec<String>> {
        driver!(self, d => d.volumes().await)
    }

    /// Bytes that can still be written, after replication; none when the storage cannot tell. Reads.
    ///
    /// # Errors
    /// As [`Storage::volume`].
    pub async fn free_bytes(&self) -> Result<Option<u64>> {
        driver!(self, d => d.free_bytes().await)
    }

    /// An upper bound of the data bytes of a volume; none where the storage cannot tell. Cheap only where
    /// [`VolumeFacts::tells_used`] says so. Reads.
    ///
    /// # Errors
    /// As [`Storage::volume`].
    pub async fn used_bytes(&self, name: &str) -> Result<Option<u64>> {
        driver!(self, d => d.used_bytes(name).await)
    }

    /// Makes a snapshot, and does nothing else: the guest may stand frozen meanwhile.
    ///
    /// # Errors
    /// There is no such volume, there is such a snapshot already, or the storage failed.
    pub async fn create_snapshot(&self, volume: &str, snapshot: &str) -> Result<()> {
        driver!(self, d => d.create_snapshot(volume, snapshot).await)
    }

    /// Forbids deleting the snapshot. Doing it twice is no error.
    ///
    /// # Errors
    /// It is not the surveyed snapshot, or the storage failed.
    pub async fn protect_snapshot(&self, volume: &str, expected: &SnapshotIdentity) -> Result<()> {
        driver!(self, d => d.protect_snapshot(volume, expected).await)
    }

    /// Permits deleting the snapshot. Doing it twice is no error.
    ///
    /// # Errors
    /// It is not the surveyed snapshot, clones depend on it, or the storage failed.
    pub async fn unprotect_snapshot(
        &self,
        volume: &str,
        expected: &SnapshotIdentity,
    ) -> Result<()> {
        driver!(self, d => d.unprotect_snapshot(volume, expected).await)
    }

    /// Deletes exactly this snapshot. A protected one is refused: whoever may, unprotects first.
    ///
    /// # Errors
    /// Another volume or snapshot bears the name now, it is protected, or the storage failed.
    pub async fn delete_snapshot(
        &self,
        volume: &str,
        expected: &SnapshotIdentity,
    ) -> Result<Removed> {
        driver!(self, d => d.delete_snapshot(volume, expected).await)
    }

    /// Makes a volume that reads as zero. Never takes over an existing one.
    ///
    /// # Errors
    /// The name is taken, the shape cannot be made, or the storage failed.
    pub async fn create_volume(&self, name: &str, shape: &VolumeShape) -> Result<VolumeFacts> {
        driver!(self, d => d.create_volume(name, shape).await)
    }

    /// Gives a volume another name, which must be free. Its identity stays, by which whatever is done to
    /// it under the new name knows it.
    ///
    /// # Errors
    /// There is no volume of the old name, the new one is taken, or the storage failed.
    pub async fn rename_volume(&self, name: &str, to: &str) -> Result<()> {
        driver!(self, d => d.rename_volume(name, to).await)
    }

    /// Deletes exactly this volume, which must have no snapshots and no users. May wait for half a
    /// minute until the storage has forgotten users that died.
    ///
    /// # Errors
    /// Another volume bears the name now, it is in use, or the storage failed.
    pub async fn delete_volume(&self, name: &str, expected: &VolumeIdentity) -> Result<Removed> {
        driver!(self, d => d.delete_volume(name, expected).await)
    }

    /// Reads a snapshot, or what changed in it since an older one, as a diff stream v1. The volume is
    /// given as it was just looked at. It counts only when [`Finish::wait`] said so after the last byte,
    /// which looks once more.
    ///
    /// # Errors
    /// A snapshot is not the surveyed one or is gone, or the storage failed.
    pub async fn export(
        &self,
        volume: &VolumeFacts,
        own: &SnapshotIdentity,
        since: Option<&SnapshotIdentity>,
    ) -> Result<Export> {
        driver!(self, d => d.export(volume, own, since).await)
    }

    /// Opens a snapshot for reading block by block, by means that have nothing in common with how
    /// exports find out what changed.
    ///
    /// # Errors
    /// It is not the surveyed snapshot or is gone, this driver cannot read it so, or the storage
    /// failed.
    pub async fn blocks(&self, volume: &str, own: &SnapshotIdentity) -> Result<Blocks> {
        driver!(self, d => d.blocks(volume, own).await)
    }

    /// Applies a diff stream v1 to the volume's present content (not to a snapshot). It counts only
    /// when [`Finish::wait`] said so after the writer was dropped; if not, what came so far was
    /// written. A base may be imported only into a volume that was just created.
    ///
    /// # Errors
    /// Another volume bears the name now, someone uses it, or the storage failed.
    pub async fn import(&self, volume: &str, expected: &VolumeIdentity) -> Result<Import> {
        driver!(self, d => d.import(volume, expected).await)
    }

    /// Sets the volume's content and size back to what they were in the snapshot.
    ///
    /// # Errors
    /// It is not the surveyed snapshot, someone uses the volume, or the storage failed.
    pub async fn rollback(&self, volume: &str, to: &SnapshotIdentity) -> Result<()> {
        driver!(self, d => d.rollback(volume, to).await)
    }
}

/// The name that a volume bears while it is deleted, where a storage deletes by name: it says which
/// volume it is, so that none that came to bear the old name meanwhile is meant. A deletion that was cut
/// off leaves it.
pub fn name_while_deleted(volume: &VolumeIdentity) -> String {
    match volume {
        VolumeIdentity::Rbd { image, .. } => format!("ferry-gone-{image}"),
        VolumeIdentity::Memory { id } => format!("ferry-gone-{id}"),
    }
}

/// What the volume is called on the storage: for a linked clone PVE puts the base before it
/// (`base-9000-disk-0/vm-100-disk-0`).
fn own_name(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}
