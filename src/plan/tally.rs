//! What the steps of a plan do, as far as rules ask for it: of the whole plan, and of the steps before the
//! one that is judged. Each noun counts its own steps, once each, however many rules there are. It judges
//! nothing.

use crate::model::{ChainId, PointId, SnapshotName, VmId, VolumeRef};
use std::collections::{BTreeSet, HashSet};

/// What a step is judged by. No rule goes through the steps itself, as a plan may have many thousands.
#[derive(Debug, Default)]
pub(super) struct Seen<'a> {
    /// The whole plan.
    pub(super) all: Tally<'a>,
    /// What stands before the step.
    pub(super) before: Tally<'a>,
}

/// What some steps do together.
#[derive(Debug, Default)]
pub(super) struct Tally<'a> {
    /// How many steps there are.
    pub(super) steps: usize,
    /// How many take away something that was there before the run.
    pub(super) destroying: usize,
    /// How many take away what a comparison with the source may need.
    pub(super) removing: usize,
    /// How many prove that what follows a base stands.
    pub(super) proofs: usize,
    /// Snapshots that are made, each with its volume.
    pub(super) snapshots: HashSet<(&'a VolumeRef, &'a SnapshotName)>,
    /// The chains that these are of.
    pub(super) chains: BTreeSet<ChainId>,
    /// How many steps make snapshots.
    pub(super) snapshots_made: usize,
    /// How many steps save a volume.
    pub(super) saved: usize,
    /// How many points are opened.
    pub(super) begun: usize,
    /// How many steps adopt a volume.
    pub(super) adopted: usize,
    /// How often what was found is noted with points.
    pub(super) marks: usize,
    /// How many points are committed.
    pub(super) committed: usize,
    /// How often the configuration is read again.
    pub(super) configs_checked: usize,
    /// Chains that are given up.
    pub(super) reset: BTreeSet<ChainId>,
    /// Volumes that are made.
    pub(super) volumes: HashSet<&'a VolumeRef>,
    /// How many volumes are written from a restore point.
    pub(super) restored: usize,
    /// Vmids that are reserved.
    pub(super) reserved: BTreeSet<VmId>,
    /// How many configurations of guests are written.
    pub(super) configs_written: usize,
    /// How many snapshots of whole guests are made.
    pub(super) guest_snapshots: usize,
    /// How many steps copy points or their marks.
    pub(super) copies: usize,
    /// Points whose copy is read whole.
    pub(super) verified: HashSet<PointId>,
    /// How many points go because another repository holds them.
    pub(super) moved: usize,
    /// Points that are deleted, moved ones among them.
    pub(super) gone: HashSet<PointId>,
    /// Points that stay, each with one that is merged into it.
    pub(super) merged: HashSet<(PointId, PointId)>,
}

impl Seen<'_> {
    /// Whether a snapshot of this whole name is of a chain that the plan gave up before.
    pub(super) fn is_reset(&self, snapshot: &str) -> bool {
        SnapshotName::parse(snapshot).is_some_and(|name| self.before.reset.contains(&name.chain))
    }

    /// Whether all that the plan proves of the successors of its bases is proven by now.
    pub(super) fn is_proven(&self) -> bool {
        self.all.proofs > 0 && self.before.proofs == self.all.proofs
    }

    /// Whether the plan notes nothing and takes nothing away.
    pub(super) fn changes_nothing(&self) -> bool {
        self.all.marks == 0 && self.all.destroying == 0
    }

    /// Whether all points and marks that the plan copies are copied by now.
    pub(super) fn is_copied(&self) -> bool {
        self.before.copies == self.all.copies
    }

    /// Whether all volumes that the plan restores are written by now.
    pub(super) fn is_restored(&self) -> bool {
        self.before.restored == self.all.restored
    }
}
