//! Facts: what the survey saw just before a guest's turn, in the words that decisions need.
//!
//! Facts are plain data without handles, so that a golden test can write them down.

use crate::model::{
    ChainId, DiskKey, Guest, ImageId, Label, Moment, PointId, Share, SnapshotIdentity,
    VolumeIdentity, VolumeRef,
};
use crate::retention::{Rules, Span};

/// Whether a guest runs, and what its agent can do for a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// Not running: its disks are at rest.
    Stopped,
    /// Running, with an agent that answered: it can be frozen.
    RunningWithAgent,
    /// Running, and its configuration promises an agent that did not answer.
    RunningAgentSilent,
    /// Running without an agent, or with one that must not freeze.
    RunningWithoutAgent,
}

/// A snapshot as it stands on a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotFact {
    /// What it is.
    pub identity: SnapshotIdentity,
    /// Whether it is protected from deletion.
    pub protected: bool,
}

/// A volume of the guest that belongs into a restore point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeFact {
    /// Its key in the configuration.
    pub disk: DiskKey,
    /// Its id.
    pub volume: VolumeRef,
    /// What it is.
    pub identity: VolumeIdentity,
    /// Its size in bytes.
    pub size: u64,
    /// Whether the storage can tell cheaply how many bytes are in use.
    pub tells_used: bool,
    /// Bytes in use, where that was asked for.
    pub used: Option<u64>,
    /// Its snapshots, oldest first.
    pub snapshots: Vec<SnapshotFact>,
    /// Whether the storage's own record of changed blocks is flagged invalid.
    pub change_record_invalid: bool,
    /// Whether its content is being migrated, so that none of its snapshots may be deleted now.
    pub migrating: bool,
}

/// A volume that points of this chain hold and the guest does not give to its backup any more: it was
/// detached, switched off with `backup=0`, or given to another guest, which renames it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DepartedFact {
    /// The key that it had in the newest point that holds it.
    pub disk: DiskKey,
    /// Its id now.
    pub volume: VolumeRef,
    /// Its snapshots, oldest first.
    pub snapshots: Vec<SnapshotFact>,
    /// Whether its content is being migrated, so that none of its snapshots may be deleted now.
    pub migrating: bool,
}

/// Snapshots on a volume of the guest that belong to backups of a guest which is gone: it had the disk
/// before, and no run of its own will delete them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrphanFact {
    /// The volume that bears them.
    pub volume: VolumeRef,
    /// The chain that they belong to.
    pub chain: ChainId,
    /// The guest that had it, in words.
    pub guest: String,
}

/// One image of an earlier restore point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFact {
    /// Its id.
    pub image: ImageId,
    /// The snapshot that it was made from.
    pub source: SnapshotIdentity,
    /// Bytes of its diff stream and bytes on disk, which tell how well the guest compresses.
    pub bytes: (u64, u64),
    /// Whether it needs no other image.
    pub is_base: bool,
    /// How many increments it stands for: itself, and those that were merged into it.
    pub increments: u32,
    /// Why no increment may follow it; `None` when one may.
    pub unusable: Option<String>,
    /// Image files of its chain whose indexes are lost, relative to the guest's directory: they are
    /// made again before an increment follows.
    pub lost_indexes: Vec<String>,
}

/// An earlier restore point of the same guest, label and chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PointFact {
    /// Its place in the order of points.
    pub seq: u64,
    /// Its date, for reasons and warnings only.
    pub moment: Moment,
    /// Its images.
    pub images: Vec<ImageFact>,
}

/// A directory without a manifest: what an interrupted run left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DebrisFact {
    /// The directory, relative to the guest's.
    pub directory: String,
}

/// All that the decision on a backup depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupFacts {
    /// The guest.
    pub guest: Guest,
    /// PVE's lock on the guest, in PVE's word.
    pub lock: Option<String>,
    /// Whether the guest is a template.
    pub template: bool,
    /// Whether it runs.
    pub run_state: RunState,
    /// What the agent said instead of answering, where that is more than nothing.
    pub agent_said: Option<String>,
    /// Whether the guest is frozen now.
    pub found_frozen: bool,
    /// The freezes of dead runs of this node whose thaw nobody has seen, in words.
    pub freezes: Vec<String>,
    /// Digest of its configuration.
    pub config_digest: String,
    /// Volumes that belong into the point.
    pub volumes: Vec<VolumeFact>,
    /// Volumes that do not, or cannot.
    pub skipped: Vec<crate::model::SkippedDisk>,
    /// Volumes that earlier points hold and this one will not; they still exist.
    pub departed: Vec<DepartedFact>,
    /// Snapshots of guests that are gone, on the volumes of this one.
    pub orphans: Vec<OrphanFact>,
    /// The chain that the label has; none before its first run.
    pub chain: Option<ChainId>,
    /// Points of that chain, oldest first by `seq`.
    pub points: Vec<PointFact>,
    /// The blocks of this chain's points that were compared with the source, newest first.
    pub audited: Vec<Share>,
    /// What interrupted runs of this guest left in the repository.
    pub debris: Vec<DebrisFact>,
    /// Why nothing of this guest may be removed from the repository; `None` when it may.
    pub frozen_repository: Option<String>,
    /// Whether that is because something is damaged or missing; if not, a later version wrote there.
    pub is_damaged: bool,
    /// The points, by their directories relative to the guest's, in which an interrupted merge left
    /// files.
    pub leftovers: Vec<String>,
    /// All points of the guest, of whatever label and chain: what retention judges.
    pub stored: Vec<super::prune::StoredFact>,
    /// Free bytes where the repository is.
    pub free_bytes: u64,
    /// Why the guest's firewall file cannot be saved; `None` when it can, or there is none.
    pub unread_firewall: Option<String>,
}

/// What the user wants of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupPolicy {
    /// The label of the point.
    pub label: Label,
    /// The moment of the run, from the wall clock.
    pub now: Moment,
    /// The id that the new point gets, from the random source.
    pub point: PointId,
    /// The chain that the label gets where it has none, from the random source.
    pub new_chain: ChainId,
    /// The id that the first new image gets, from the random source; it leads to those of the others.
    pub new_image: ImageId,
    /// What happens to the snapshot that stays on each volume.
    pub snapshots: SnapshotProtection,
    /// When an image is a base although an increment would be possible.
    pub renew: Option<Span>,
    /// Of how many parts of the blocks one is compared with the source after the commit.
    pub audit: Option<u64>,
    /// Which older points of the label go after the commit; none without a rule.
    pub retention: Rules,
    /// Seconds that the guest's agent may take to answer the freeze.
    pub freeze_timeout: u32,
}

/// Whether the snapshot that stays on a volume is protected: from `rbd snap rm` and `rbd snap purge` by
/// hand. It does not keep PVE from deleting the guest, which unprotects all snapshots of its volumes
/// first (`PVE::Storage::RBDPlugin::free_image`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotProtection {
    /// Whoever may write to the pool deletes the snapshot with one command.
    Unprotected,
    /// It has to be unprotected first.
    Protected,
}
