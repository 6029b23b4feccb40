//! Why a restore is refused, and what its user can do about it. What leads there stands in `restore` and
//! `placing`.

use super::damage::IsDamaged;
use crate::model::{Bytes, DiskKey, VmId, VolumeId};

/// Why a restore is refused; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoRestore {
    /// The vmid is taken.
    #[error(
        "guest {0} exists on node {1}: choose another --target-vmid, or --force for a stopped guest (its volumes are kept as unused disks); nothing was changed"
    )]
    GuestExists(VmId, String),
    /// A guest of that vmid is just being made.
    #[error(
        "guest {0} is being made on node {1} (its lock is `create`), by another restore or by PVE: wait for its end, or choose another --target-vmid; if nothing makes it any more, `qm unlock {0}` on that node (`pct unlock {0}` for a container) and remove what is left of it; nothing was changed"
    )]
    BeingMade(VmId, String),
    /// The guest that would be replaced is in use.
    #[error("guest {0} {1}, it cannot be replaced; nothing was changed")]
    GuestInUse(VmId, String),
    /// The guest that should get the volumes is not there.
    #[error(
        "guest {0} does not exist, and cannot get the volumes: choose another --attach, or leave it out; nothing was changed"
    )]
    NoGuest(VmId),
    /// A volume of that name is there.
    #[error(
        "volume {0} exists: choose another --target-vmid, --storage or --to; if an interrupted restore on another node left it (look at it first: no guest may need it), remove it with `pvesm free {0}`; nothing was changed"
    )]
    VolumeExists(VolumeId),
    /// A guest has a volume of that name.
    #[error(
        "volume {0} belongs to guest {1}: choose another --target-vmid, --storage or --to; nothing was changed"
    )]
    VolumeOfGuest(VolumeId, VmId),
    /// PVE would not use the storage for the volumes.
    #[error(
        "storage {storage} {why}: choose another with --storage or --map-storage {storage}:OTHER; nothing was changed"
    )]
    StorageUnfit {
        /// The storage.
        storage: String,
        /// Why, with the option of storage.cfg that says so.
        why: String,
    },
    /// The cluster's files are read-only.
    #[error(
        "node {0} has no quorum, and its /etc/pve cannot be written: bring the cluster's nodes back first (`pvecm status`); nothing was changed"
    )]
    NoQuorum(String),
    /// The guest that would be replaced has more volumes than can be kept.
    #[error(
        "guest {0} has {1} volumes, of which 256 could be kept as unused disks: remove some, or choose another --target-vmid; nothing was changed"
    )]
    TooManyUnused(VmId, usize),
    /// A storage is missing or of a kind that cannot hold the volumes.
    #[error(
        "storage {0} does not exist here or cannot hold this volume: choose one with --storage or --map-storage {0}:OTHER; nothing was changed"
    )]
    NoStorage(String),
    /// The point has no such disk.
    #[error("the restore point holds no disk {0} (it holds {1}); nothing was changed")]
    NoDisk(DiskKey, String),
    /// Checks found damage in the point, and it is not clear that just this one is meant.
    #[error(transparent)]
    Damaged(#[from] IsDamaged),
    /// The configuration cannot be made.
    #[error("{0}; nothing was changed")]
    Config(String),
    /// The options exclude each other.
    #[error("{0}; nothing was changed")]
    Usage(String),
    /// The storage would be full.
    #[error(
        "not enough space on storage {storage}: {free} free, {needed} needed; nothing was changed"
    )]
    NoSpace {
        /// The storage.
        storage: String,
        /// What is free.
        free: Bytes,
        /// What the point's data needs.
        needed: Bytes,
    },
}
