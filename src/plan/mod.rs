//! Plans: what is to be done for one guest, as data that can be printed. No step is done here.
//!
//! A plan is a list of steps, some of them inside scopes. It is made by a pure function from
//! facts (`backup`, `restore`), looked at by `check`, printed by `display` (the dry run, the debug
//! log and the golden tests are this one text) and carried out by `execute`, which decides
//! nothing. Steps of one kind that stand one after another may run at the same time when the
//! kind says so ([`Action::runs_beside_its_neighbours`]).

pub mod adopt;
pub mod backup;
pub mod check;
pub mod copy;
pub mod damage;
mod display;
mod drives;
pub mod facts;
mod freeze;
pub mod left;
mod links;
mod old_snapshots;
mod placing;
pub mod prune;
pub mod repair;
mod replaced;
pub mod reset;
pub mod restore;
mod restore_policy;
mod shape;
pub mod snapshot;
pub mod snapshot_feature;
mod stored_damage;
pub mod vmstate;

use crate::model::{
    ChainId, DiskKey, Guest, GuestKind, GuestSnapshot, ImageId, Label, Moment, PointId, Share,
    SkippedDisk, SnapshotIdentity, SnapshotName, VmId, VolumeId, VolumeIdentity, VolumeShape,
};

/// Why no snapshot of a volume goes for the time being. Ceph aborts the client that next writes to a
/// part which was not copied yet (its issue 15831), and that client is the guest.
pub(crate) const MIGRATING: &str = "is being migrated (rbd migration), and until `rbd migration commit` a deleted snapshot would make the guest's writes fail";

/// Seconds that a guest may stay frozen, from its agent's answer on. Windows' VSS gives up by itself
/// after ten.
pub const FREEZE_SECONDS: u32 = 10;

/// Seconds that a guest's agent may take to answer a freeze: PVE waits an hour, as a freeze writes all
/// that the guest has not written yet, and one that is given up may still come (`QMPClient.pm`,
/// `Agent.pm`).
pub const FREEZE_TIMEOUT: u32 = 3600;

/// Seconds that a freeze which no run of this node has noted may go on: another node's, or somebody
/// else's, who will thaw.
const OTHERS_FREEZE_SECONDS: u32 = 15;

/// What is to be done for one guest, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The guest that the plan is for, as the survey saw it.
    pub guest: Guest,
    /// Steps and scopes in the order of execution.
    pub items: Vec<Item>,
    /// Volumes that the plan leaves out, each with its reason.
    pub skipped: Vec<SkippedDisk>,
    /// What the user should look at although the plan can be carried out.
    pub warnings: Vec<String>,
    /// Restore points that retention keeps, each with the rule that decided.
    pub kept: Vec<KeptPoint>,
    /// What will be done, but is not whole, in words: the user is told, and the run is not ok.
    pub not_whole: Vec<String>,
}

/// A restore point that stays although points are pruned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptPoint {
    /// Label and moment.
    pub point: String,
    /// The rule.
    pub because: String,
}

/// A restore point that goes, with what `check` judges that by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovedPoint {
    /// Its directory, relative to the guest's.
    pub directory: String,
    /// Its id; another point in that directory is refused.
    pub id: PointId,
    /// Its label.
    pub label: Label,
    /// Its moment.
    pub moment: Moment,
    /// Whether a person protected it.
    pub is_protected: bool,
    /// Whether the user does not see it any more.
    pub is_hidden: bool,
    /// Whether it is its label's newest point that is not hidden and not damaged, or the newest of
    /// those that lack no disk either.
    pub is_newest: bool,
    /// The points with increments on top of its images.
    pub needed_by: Vec<PointId>,
}

/// A restore point that goes into another repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopiedPoint {
    /// Its directory, relative to the guest's, in both repositories.
    pub directory: String,
    /// Its id; another point in that directory is refused.
    pub id: PointId,
    /// Its label.
    pub label: Label,
    /// Its moment.
    pub moment: Moment,
    /// Whether only other points need it.
    pub is_hidden: bool,
    /// Bytes of its images.
    pub bytes: u64,
}

/// A step, or a scope with steps.
// A plan has some dozens of items: their size in memory does not matter.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// One change to the world, or one check of it.
    Step(Step),
    /// Steps between an opening and a closing that happens on every path.
    Scope(Scope, Vec<Step>),
}

/// What a scope opens; the executor closes it on every path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The guest's file systems are frozen through its agent by a guard, which thaws them at the
    /// deadline.
    Frozen {
        /// Seconds until the guard thaws, from the agent's answer on.
        seconds: u32,
        /// Seconds that the agent may take to answer; after that the guest is saved without a freeze.
        answer: u32,
    },
}

/// One action and why it is in the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What is to be done.
    pub action: Action,
    /// Why; empty when the action speaks for itself.
    pub because: String,
}

/// What an image of a restore point is based on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseImage {
    /// The image in the repository that the increment follows.
    pub image: ImageId,
    /// The snapshot that it was made from, still on the volume.
    pub snapshot: SnapshotIdentity,
}

/// The closed set of things that a plan can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Thaws a guest that is frozen and nobody is known to thaw, until it is seen thawed.
    ThawGuest {
        /// Seconds that whoever froze it may still have.
        after: u32,
    },
    /// Removes what an interrupted run left in the repository: a directory without a manifest.
    SweepDebris {
        /// The directory, relative to the guest's.
        directory: String,
    },
    /// Removes files that an interrupted merge left beside images that count.
    SweepLeftovers {
        /// The points, by their directories relative to the guest's.
        points: Vec<String>,
    },
    /// Puts back or makes again what is missing or damaged of stored points.
    Mend(repair::Mend),
    /// Opens a new restore point that nobody sees until its commit.
    BeginRestorePoint {
        /// Its label.
        label: Label,
        /// Its moment.
        moment: Moment,
    },
    /// Saves configuration and firewall as they are before the snapshots.
    SaveConfig {
        /// Digest of the configuration that the survey saw.
        digest: String,
    },
    /// Reads the configuration again and fails when it changed since the survey.
    CheckConfig {
        /// Digest of the configuration that the survey saw.
        digest: String,
    },
    /// Makes a snapshot on a volume.
    CreateSnapshot {
        /// The volume.
        volume: VolumeId,
        /// What the volume is; another volume of that name is refused.
        identity: VolumeIdentity,
        /// The snapshot's name.
        snapshot: SnapshotName,
    },
    /// Protects a snapshot of ours from deletion.
    HoldSnapshot {
        /// The volume.
        volume: VolumeId,
        /// The snapshot's name.
        snapshot: SnapshotName,
    },
    /// Takes the protection from a snapshot of ours, so that it can be deleted.
    ReleaseSnapshot {
        /// The volume.
        volume: VolumeId,
        /// What the snapshot is.
        snapshot: SnapshotIdentity,
    },
    /// Deletes a snapshot of ours.
    DeleteSnapshot {
        /// The volume.
        volume: VolumeId,
        /// What the snapshot is; another snapshot of that name is refused.
        snapshot: SnapshotIdentity,
    },
    /// Says that snapshots of this chain are to go although no newer ones replace them, and makes
    /// sure that no run of the chain is under way.
    ResetChain {
        /// The chain.
        chain: ChainId,
    },
    /// Writes a volume's snapshot into the open restore point.
    SaveVolume {
        /// The volume's key in the configuration.
        disk: DiskKey,
        /// The volume.
        volume: VolumeId,
        /// The snapshot that is read.
        snapshot: SnapshotName,
        /// What the increment follows; `None` makes a base.
        since: Option<BaseImage>,
    },
    /// Makes a base image of what eve4pve-barc saved of a volume, and compares it with the snapshot
    /// that the next increment is to begin at.
    AdoptVolume {
        /// The volume's key in the configuration of that time.
        disk: DiskKey,
        /// The volume.
        volume: VolumeId,
        /// The old tool's snapshot; another one of that name is refused.
        snapshot: SnapshotIdentity,
        /// The old tool's directory, as a person names it.
        from: String,
    },
    /// Makes the restore point exist.
    CommitRestorePoint,
    /// Compares a volume of the committed restore point with the snapshot that it was made from.
    AuditVolume {
        /// The volume's key in the configuration.
        disk: DiskKey,
        /// The volume.
        volume: VolumeId,
        /// Which of its blocks.
        share: Share,
    },
    /// Takes a point from the user and leaves its images to the points that need them.
    HidePoint(RemovedPoint),
    /// Merges the images of older points, which go, into those of the point that follows them; it
    /// does not need them then.
    MergeImages {
        /// The point that stays.
        into: RemovedPoint,
        /// The older points, oldest first.
        from: Vec<RemovedPoint>,
    },
    /// Gives the other repository's copy of a point the marks that the point has got since:
    /// protection, notes, damage.
    CopyMarks(CopiedPoint),
    /// Copies a point into another repository, and reads there what arrived.
    CopyPoint(CopiedPoint),
    /// Reads in the other repository all that a point needs there.
    VerifyCopy(CopiedPoint),
    /// Gives the source's chain of a label to the other repository, so that its next backup there
    /// can be an increment, and the source a new one.
    HandOverChain {
        /// The label.
        label: Label,
    },
    /// Removes a point that the other repository holds, whole; newest and protected ones, too.
    RemoveMoved(RemovedPoint),
    /// Removes a point.
    DeleteRestorePoint(RemovedPoint),
    /// Deletes a volume that an interrupted restore made and did not finish.
    DeleteVolume {
        /// Its id.
        volume: VolumeId,
        /// What it is; another volume of that name is refused.
        identity: VolumeIdentity,
    },
    /// Makes a new volume.
    CreateVolume {
        /// The volume's key in the restored configuration.
        disk: DiskKey,
        /// Its id; a volume of that name must not exist.
        volume: VolumeId,
        /// What it is made like.
        shape: VolumeShape,
    },
    /// Writes a restore point's volume into a volume that this plan made.
    RestoreVolume {
        /// The disk key in the restore point.
        disk: DiskKey,
        /// The volume that is written.
        volume: VolumeId,
    },
    /// Takes back what an interrupted restore had reserved: its configuration with nothing but PVE's
    /// lock `create`, or that lock in the configuration that it was to replace.
    ReleaseGuest {
        /// The vmid.
        vmid: VmId,
    },
    /// Reserves a vmid for the guest that is restored, with PVE's lock `create`.
    ReserveGuest {
        /// The vmid.
        vmid: VmId,
        /// The node that gets it.
        node: String,
    },
    /// Writes a guest's configuration and firewall, in place of what reserves its vmid.
    WriteConfig {
        /// The guest that is made.
        vmid: VmId,
        /// Virtual machine or container.
        kind: GuestKind,
        /// The node that gets it.
        node: String,
        /// Whether a configuration is replaced, and which.
        replaces: Option<String>,
    },
    /// Lets PVE look for volumes that no configuration names.
    RescanVolumes {
        /// The guest that gets them as unused disks.
        vmid: VmId,
    },
    /// Makes a snapshot of the whole guest through PVE.
    CreateGuestSnapshot {
        /// Its name.
        name: String,
        /// Whether the guest's memory goes into it.
        with_memory: bool,
    },
    /// Deletes a guest snapshot through PVE, never with force.
    DeleteGuestSnapshot(GuestSnapshot),
    /// Puts the whole guest back to one of its snapshots.
    RollbackGuest(GuestSnapshot),
    /// Starts a guest.
    StartGuest {
        /// The guest.
        vmid: VmId,
    },
}

impl Action {
    /// Whether consecutive actions of this kind are carried out at the same time.
    pub fn runs_beside_its_neighbours(&self) -> bool {
        matches!(
            self,
            Self::CreateSnapshot { .. }
                | Self::SaveVolume { .. }
                | Self::RestoreVolume { .. }
                | Self::AdoptVolume { .. }
        )
    }

    /// Whether the action takes something away that was there before the run.
    pub fn destroys(&self) -> bool {
        match self {
            Self::DeleteSnapshot { .. }
            | Self::DeleteVolume { .. }
            | Self::SweepDebris { .. }
            | Self::SweepLeftovers { .. }
            | Self::HidePoint(_)
            | Self::RemoveMoved(_)
            | Self::DeleteGuestSnapshot(_)
            | Self::RollbackGuest(_)
            | Self::DeleteRestorePoint(_) => true,
            Self::WriteConfig { replaces, .. } => replaces.is_some(),
            _ => false,
        }
    }

    /// The action as a step that needs no reason.
    pub fn step(self) -> Step {
        Step { action: self, because: String::new() }
    }

    /// The action as a step with its reason.
    pub fn because(self, reason: impl Into<String>) -> Step {
        Step { action: self, because: reason.into() }
    }
}

impl Plan {
    /// All steps in order, those inside scopes included.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.items.iter().flat_map(|item| match item {
            Item::Step(step) => std::slice::from_ref(step).iter(),
            Item::Scope(_, steps) => steps.iter(),
        })
    }
}
