//! What is done to a guest as a whole, by PVE or by its agent.

use super::Ending;
use crate::model::{GuestSnapshot, Moment, VmId};
use crate::plan::rule::{Broken, Rule};
use crate::plan::tally::{Seen, Tally};

/// What is done to a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestAction {
    /// Thaws a guest that is frozen and nobody is known to thaw, until it is seen thawed.
    Thaw {
        /// Seconds that whoever froze it may still have.
        after: u32,
    },
    /// Takes back what an interrupted restore had reserved: its configuration with nothing but PVE's
    /// lock `create`, or that lock in the configuration that it was to replace.
    Release {
        /// The vmid.
        vmid: VmId,
    },
    /// Reserves a vmid for the guest that is restored, with PVE's lock `create`.
    Reserve {
        /// The vmid.
        vmid: VmId,
        /// The node that gets it.
        node: String,
        /// The configuration that reserves it: it holds nothing but the lock and a random number, or it is
        /// the one that is replaced, with the lock.
        text: String,
    },
    /// Lets PVE look for volumes that no configuration names.
    RescanVolumes {
        /// The guest that gets them as unused disks.
        vmid: VmId,
    },
    /// Makes a snapshot of the whole guest through PVE.
    CreateSnapshot {
        /// Its name.
        name: String,
        /// Whether the guest's memory goes into it.
        with_memory: bool,
    },
    /// Deletes a guest snapshot through PVE, never with force.
    DeleteSnapshot(GuestSnapshot),
    /// Puts the whole guest back to one of its snapshots.
    Rollback(GuestSnapshot),
    /// Starts a guest.
    Start {
        /// The guest.
        vmid: VmId,
    },
}

impl GuestAction {
    pub(super) fn words(&self) -> (&'static str, String) {
        match self {
            Self::Thaw { after: 0 } => ("thaw guest", String::new()),
            Self::Thaw { after } => {
                ("thaw guest", format!("after {after} s, if it is not by then"))
            }
            Self::Release { vmid } => ("release vmid", vmid.to_string()),
            Self::Reserve { vmid, node, .. } => ("reserve vmid", format!("{vmid} on {node}")),
            Self::RescanVolumes { vmid } => ("rescan volumes", format!("of {vmid}")),
            Self::CreateSnapshot { name, with_memory } => {
                let memory = if *with_memory { "  with memory" } else { "" };
                ("snapshot guest", format!("{name}{memory}"))
            }
            Self::DeleteSnapshot(snapshot) => ("remove snapshot", taken(snapshot)),
            Self::Rollback(snapshot) => ("roll back guest", format!("to {}", taken(snapshot))),
            Self::Start { vmid } => ("start guest", vmid.to_string()),
        }
    }

    pub(super) fn destroys(&self) -> bool {
        matches!(self, Self::DeleteSnapshot(_) | Self::Rollback(_))
    }

    pub(super) fn count(&self, tally: &mut Tally<'_>) {
        match self {
            Self::Reserve { vmid, .. } => _ = tally.reserved.insert(*vmid),
            Self::CreateSnapshot { .. } => tally.guest_snapshots += 1,
            Self::Thaw { .. }
            | Self::Release { .. }
            | Self::RescanVolumes { .. }
            | Self::DeleteSnapshot(_)
            | Self::Rollback(_)
            | Self::Start { .. } => {}
        }
    }

    /// What a person made is never removed, nor what PVE has not finished, nor anything before the new
    /// snapshot is there.
    pub(super) fn check(&self, seen: &Seen<'_>, broken: &mut Broken) {
        match self {
            Self::DeleteSnapshot(snapshot) => {
                let is_ours =
                    snapshot.is_described_as_automatic() && snapshot.name.starts_with("auto");
                broken.ensure(is_ours, Rule::OnlyAutomaticSnapshotsGo);
                broken.ensure(snapshot.unfinished.is_none(), Rule::UnfinishedSnapshotStays);
                let is_due = seen.all.guest_snapshots == 0 || seen.before.guest_snapshots > 0;
                broken.ensure(is_due, Rule::SnapshotGoesAfterNew);
            }
            Self::Rollback(_) => broken.ensure(seen.all.steps == 1, Rule::RollbackStandsAlone),
            Self::Thaw { .. }
            | Self::Release { .. }
            | Self::Reserve { .. }
            | Self::RescanVolumes { .. }
            | Self::CreateSnapshot { .. }
            | Self::Start { .. } => {}
        }
    }

    pub(super) fn ending(&self) -> Ending {
        match self {
            Self::RescanVolumes { .. } | Self::Start { .. } => Ending::Soon,
            Self::Thaw { .. }
            | Self::Release { .. }
            | Self::Reserve { .. }
            | Self::CreateSnapshot { .. }
            | Self::DeleteSnapshot(_)
            | Self::Rollback(_) => Ending::ByItself,
        }
    }
}

fn taken(snapshot: &GuestSnapshot) -> String {
    format!("{}  of {}", snapshot.name, Moment::from_unix(snapshot.taken))
}
