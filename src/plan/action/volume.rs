//! What is done to a volume, or to a snapshot on its storage. No data moves: that is a transfer.

use crate::model::{
    Bytes, DiskKey, SnapshotIdentity, SnapshotName, VolumeIdentity, VolumeRef, VolumeShape,
};
use crate::plan::rule::{Broken, Rule};
use crate::plan::tally::{Seen, Tally};

/// What is done to a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeAction {
    /// Makes a snapshot on a volume.
    CreateSnapshot {
        /// The volume.
        volume: VolumeRef,
        /// What the volume is; another volume of that name is refused.
        identity: VolumeIdentity,
        /// The snapshot's name.
        snapshot: SnapshotName,
    },
    /// Protects a snapshot of ours from deletion.
    HoldSnapshot {
        /// The volume.
        volume: VolumeRef,
        /// The snapshot's name.
        snapshot: SnapshotName,
    },
    /// Takes the protection from a snapshot of ours, so that it can be deleted.
    ReleaseSnapshot {
        /// The volume.
        volume: VolumeRef,
        /// What the snapshot is.
        snapshot: SnapshotIdentity,
    },
    /// Deletes a snapshot of ours.
    DeleteSnapshot {
        /// The volume.
        volume: VolumeRef,
        /// What the snapshot is; another snapshot of that name is refused.
        snapshot: SnapshotIdentity,
    },
    /// Makes a new volume.
    Create {
        /// The volume's key in the restored configuration.
        disk: DiskKey,
        /// Its id; a volume of that name must not exist.
        volume: VolumeRef,
        /// The name under which it is made, and bears until it is noted what it is: nobody else can have
        /// thought of it.
        made_as: String,
        /// What it is made like.
        shape: VolumeShape,
    },
    /// Deletes a volume that an interrupted restore made and did not finish.
    Delete {
        /// Its id.
        volume: VolumeRef,
        /// What it is; another volume of that name is refused.
        identity: VolumeIdentity,
    },
}

impl VolumeAction {
    pub(super) fn words(&self) -> (&'static str, String) {
        match self {
            Self::CreateSnapshot { volume, snapshot, .. } => {
                ("create snapshot", format!("{volume}@{snapshot}"))
            }
            Self::HoldSnapshot { volume, snapshot } => {
                ("hold snapshot", format!("{volume}@{snapshot}"))
            }
            Self::ReleaseSnapshot { volume, snapshot } => {
                ("release snapshot", format!("{volume}@{}", snapshot.name))
            }
            Self::DeleteSnapshot { volume, snapshot } => {
                ("delete snapshot", format!("{volume}@{}", snapshot.name))
            }
            Self::Create { disk, volume, shape, .. } => {
                ("create volume", format!("{volume}  for {disk}, {}", Bytes(shape.size)))
            }
            Self::Delete { volume, .. } => ("delete volume", volume.to_string()),
        }
    }

    pub(super) fn destroys(&self) -> bool {
        matches!(self, Self::DeleteSnapshot { .. } | Self::Delete { .. })
    }

    pub(super) fn count<'a>(&'a self, tally: &mut Tally<'a>) {
        match self {
            Self::CreateSnapshot { volume, snapshot, .. } => {
                tally.snapshots_made += 1;
                tally.snapshots.insert((volume, snapshot));
                tally.chains.insert(snapshot.chain);
            }
            Self::DeleteSnapshot { .. } => tally.removing += 1,
            Self::Create { volume, .. } => _ = tally.volumes.insert(volume),
            Self::HoldSnapshot { .. } | Self::ReleaseSnapshot { .. } | Self::Delete { .. } => {}
        }
    }

    /// Whole names of the one chain whose snapshots the plan makes, or that it gives up: nothing else is
    /// ever deleted on a storage, but volumes that were left half.
    pub(super) fn check(&self, seen: &Seen<'_>, broken: &mut Broken) {
        match self {
            Self::DeleteSnapshot { snapshot, .. } | Self::ReleaseSnapshot { snapshot, .. } => {
                let name = SnapshotName::parse(&snapshot.name);
                let is_own = name.is_some_and(|name| seen.all.chains.contains(&name.chain));
                let may_go = is_own || seen.is_reset(&snapshot.name);
                broken.ensure(may_go, Rule::OnlyOwnSnapshotsGo);
            }
            Self::Delete { .. } => {
                let is_first = !seen.all.volumes.is_empty() && seen.before.volumes.is_empty();
                broken.ensure(is_first, Rule::LeftVolumesGoFirst);
            }
            Self::CreateSnapshot { .. } | Self::HoldSnapshot { .. } | Self::Create { .. } => {}
        }
    }

    /// Whether what it makes stands on the list of what is taken back, before it is begun.
    pub fn is_undone(&self) -> bool {
        matches!(self, Self::CreateSnapshot { .. } | Self::HoldSnapshot { .. })
    }
}
