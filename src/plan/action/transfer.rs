//! Data on its way between a volume and a repository, or compared between the two.

use crate::model::{DiskKey, ImageId, Moment, Share, SnapshotIdentity, SnapshotName, VolumeRef};
use crate::plan::BaseImage;
use crate::plan::compare::Comparison;
use crate::plan::rule::{Broken, Rule};
use crate::plan::tally::{Seen, Tally};

/// Data on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransferAction {
    /// Writes a volume's snapshot into the open restore point.
    Save {
        /// The volume's key in the configuration.
        disk: DiskKey,
        /// The volume.
        volume: VolumeRef,
        /// The snapshot that is read.
        snapshot: SnapshotName,
        /// What the increment follows; `None` makes a base.
        since: Option<BaseImage>,
        /// The id that the image gets.
        image: ImageId,
    },
    /// Makes a base image of what eve4pve-barc saved of a volume, and compares it with the snapshot
    /// that the next increment is to begin at.
    Adopt {
        /// The volume's key in the configuration of that time.
        disk: DiskKey,
        /// The volume.
        volume: VolumeRef,
        /// The old tool's snapshot; another one of that name is refused.
        snapshot: SnapshotIdentity,
        /// The old tool's directory, as a person names it.
        from: String,
        /// The id that the image gets.
        image: ImageId,
    },
    /// Writes a restore point's volume into a volume that this plan made.
    Restore {
        /// The disk key in the restore point.
        disk: DiskKey,
        /// The volume that is written.
        volume: VolumeRef,
    },
    /// Writes a disk of a stored point into a file; the file must not exist.
    Assemble {
        /// The disk as a person names it.
        disk: String,
        /// The point's moment.
        moment: Moment,
        /// The file, as the user typed it.
        file: String,
    },
    /// Compares a volume of the committed restore point with the snapshot that it was made from.
    Audit {
        /// The volume's key in the configuration.
        disk: DiskKey,
        /// The volume.
        volume: VolumeRef,
        /// Which of its blocks.
        share: Share,
    },
    /// Compares a disk of a stored point with the snapshot that it was made from. Changes nothing.
    Compare(Comparison),
}

impl TransferAction {
    pub(super) fn words(&self) -> (&'static str, String) {
        match self {
            Self::Save { volume, since: None, .. } => ("transfer", format!("{volume}  base")),
            Self::Save { volume, since: Some(base), .. } => {
                let since = short_name(&base.snapshot.name);
                ("transfer", format!("{volume}  increment  since {since}"))
            }
            Self::Adopt { volume, snapshot, from, .. } => {
                ("adopt", format!("{volume}@{}  base  from {from}", snapshot.name))
            }
            Self::Restore { disk, volume } => ("transfer", format!("{disk}  to {volume}")),
            Self::Assemble { disk, moment, file } => {
                ("assemble", format!("{disk} of {moment}  into {file}"))
            }
            Self::Audit { volume, share, .. } => ("audit", format!("{volume}  {share}")),
            Self::Compare(comparison) => comparison.words(),
        }
    }

    pub(super) fn count(&self, tally: &mut Tally<'_>) {
        match self {
            Self::Save { .. } => tally.saved += 1,
            Self::Adopt { .. } => tally.adopted += 1,
            Self::Restore { .. } => tally.restored += 1,
            Self::Assemble { .. } | Self::Audit { .. } | Self::Compare(_) => {}
        }
    }

    /// Only what this plan made is read as a guest's present state, or written over.
    pub(super) fn check(&self, seen: &Seen<'_>, broken: &mut Broken) {
        match self {
            Self::Save { volume, snapshot, .. } => {
                let is_made = seen.before.snapshots.contains(&(volume, snapshot));
                broken.ensure(is_made, Rule::SavesOwnSnapshots);
            }
            Self::Restore { volume, .. } => {
                let is_made = seen.before.volumes.contains(volume);
                broken.ensure(is_made, Rule::RestoresIntoOwnVolumes);
            }
            // Others read beside a check: what it finds is noted by another plan, under another lock.
            Self::Compare(_) => broken.ensure(seen.changes_nothing(), Rule::ChecksChangeNothing),
            Self::Adopt { .. } | Self::Assemble { .. } | Self::Audit { .. } => {}
        }
    }

    /// The disk whose data it moves for good, and the volume: none for a comparison.
    pub fn moved(&self) -> Option<(&DiskKey, &VolumeRef)> {
        match self {
            Self::Save { disk, volume, .. }
            | Self::Adopt { disk, volume, .. }
            | Self::Restore { disk, volume } => Some((disk, volume)),
            Self::Assemble { .. } | Self::Audit { .. } | Self::Compare(_) => None,
        }
    }
}

/// The stamp of a snapshot of ours; another name in full.
fn short_name(name: &str) -> String {
    SnapshotName::parse(name).map_or_else(|| name.to_owned(), |n| n.moment.stamp())
}
