//! Plans: what is to be done for one guest, as data that can be printed. No step is done here.
//!
//! A plan is a list of steps, some of them inside scopes. It is made by a pure function from
//! facts (`backup`, `restore`), looked at by `check`, printed by `display` (the dry run, the debug
//! log and the golden tests are this one text) and carried out by `execute`, which decides
//! nothing. Steps of one kind that stand one after another may run at the same time when the
//! kind says so ([`Action::runs_beside_its_neighbours`]).

mod action;
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

pub use action::Action;

use crate::model::{Guest, ImageId, Label, Moment, PointId, SkippedDisk, SnapshotIdentity};

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

impl Plan {
    /// All steps in order, those inside scopes included.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.items.iter().flat_map(|item| match item {
            Item::Step(step) => std::slice::from_ref(step).iter(),
            Item::Scope(_, steps) => steps.iter(),
        })
    }
}
