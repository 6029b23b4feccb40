//! Plans: what is to be done for one guest, as data that can be printed. No step is done here.
//!
//! A plan is a list of steps, some of them inside scopes. It is made by a pure function from
//! facts (`backup`, `restore`), looked at by `check`, printed by `display` (the dry run, the debug
//! log and the golden tests are this one text) and carried out by `execute`, which decides
//! nothing. Steps of one kind that stand one after another may run at the same time when the
//! kind says so ([`Action::runs_beside_its_neighbours`]).

mod action;
pub mod adopt;
pub mod assemble;
pub mod backup;
mod base;
pub mod check;
pub mod compare;
pub mod copy;
pub mod damage;
mod display;
mod drives;
pub mod facts;
pub mod failure;
mod freeze;
pub mod guest_config;
pub mod left;
mod links;
mod old_snapshots;
mod placing;
pub mod point;
pub mod prepare;
pub mod prune;
pub mod repair;
mod replaced;
pub mod reset;
pub mod restore;
mod restore_policy;
mod restore_refusal;
mod rule;
mod shape;
pub mod snapshot;
pub mod snapshot_feature;
mod stored_damage;
mod tally;
pub mod verify;
pub mod vmstate;

pub use action::{
    Action, ConfigAction, Ending, GuestAction, PointAction, TransferAction, VolumeAction,
};

pub use failure::{Means, OnFailure, StepId, Then};
pub use rule::Rule;

use crate::model::{Guest, ImageId, Label, Moment, PointId, SkippedDisk, SnapshotIdentity};
use crate::report::Failure;

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
    /// What it is for.
    pub kind: PlanKind,
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
    /// Rules of retention that remove nothing, as they would take what nothing makes up for, each with
    /// its label and the reason: the user is told, and the run is not ok. No point is less whole for it.
    pub not_removed: Vec<String>,
    /// What stands there, in words, as soon as nothing of the plan is undone any more.
    pub lasting: &'static str,
    /// What stands there when the user stops it before its end, in words.
    pub if_interrupted: &'static str,
    /// What is to be done where a step finds damage and ends the plan, in words; mostly nothing is said.
    pub if_damaged: &'static str,
    /// Why the guest is not well served although all steps are done.
    pub falls_short: Option<(Failure, String)>,
    /// The step after which nothing is undone any more, where no step says so by what it does, and what
    /// is noted then.
    pub whole_after: Option<(StepId, &'static str)>,
    /// What stays although one might expect it to go, told in the report and not only in the plan.
    pub stays: Vec<KeptPoint>,
}

/// What a plan is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanKind {
    /// It makes the places in which the work is done.
    Prepare,
    /// It puts right what an interrupted run left, whatever becomes of the work.
    Recovery,
    /// What was asked for.
    Work,
    /// It notes what a check found, also once the user wishes to stop: it takes a moment, and what is
    /// not noted may be built upon.
    Findings,
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
    /// Whether a person named this very point: then it goes although it is the newest, and nothing else
    /// goes with it.
    pub is_named: bool,
}

/// A restore point that a person named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPoint {
    /// Its directory, relative to the guest's.
    pub directory: String,
    /// Its id; another point in that directory is refused.
    pub id: PointId,
    /// Its label.
    pub label: Label,
    /// Its moment.
    pub moment: Moment,
}

impl std::fmt::Display for NamedPoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.label, self.moment)
    }
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
    /// Items between an opening and a closing that happens on every path. Scopes nest.
    Scope(Scope, Vec<Item>),
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
    /// What its failure means.
    pub on_failure: OnFailure,
    /// The steps without whose success it is not done.
    pub needs: Vec<StepId>,
    /// Whether it is done although a step before it has found damage.
    pub despite_damage: bool,
    /// What the user asked for with it, in words: who stops the run is told that it was not done.
    pub asked: Option<&'static str>,
    /// When the hooks that come after it are called.
    pub hooks_after: HooksAfter,
}

/// When the hooks that come after a step are called, where nothing fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HooksAfter {
    /// As soon as it is done.
    TheStep,
    /// When the whole plan is done, and not at all if it is not: what they do with the step's result
    /// counts on the rest.
    ThePlan,
}

/// What an image of a restore point is based on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseImage {
    /// The image in the repository that the increment follows.
    pub image: ImageId,
    /// The snapshot that it was made from, still on the volume.
    pub snapshot: SnapshotIdentity,
}

impl Item {
    /// Its steps in order, those of inner scopes included.
    pub fn steps(&self) -> Box<dyn Iterator<Item = &Step> + Send + '_> {
        match self {
            Self::Step(step) => Box::new(std::iter::once(step)),
            Self::Scope(_, items) => Box::new(items.iter().flat_map(Self::steps)),
        }
    }
}

impl Scope {
    /// Whether nothing but its own steps may happen while it is open: no hook is called then, but before
    /// it opens and after it has closed.
    pub fn is_quiet(self) -> bool {
        match self {
            Self::Frozen { .. } => true,
        }
    }
}

impl Step {
    /// A step that nothing is said of but what it does: its failure undoes the plan.
    pub fn new(action: Action, because: String) -> Self {
        Self {
            action,
            because,
            on_failure: OnFailure::UNDO,
            needs: Vec::new(),
            despite_damage: false,
            asked: None,
            hooks_after: HooksAfter::TheStep,
        }
    }
}

impl Plan {
    /// A plan of these items for a guest, of which nothing else is to be said yet.
    pub fn new(guest: Guest, items: Vec<Item>) -> Self {
        Self {
            guest,
            kind: PlanKind::Work,
            items,
            skipped: Vec::new(),
            warnings: Vec::new(),
            kept: Vec::new(),
            not_whole: Vec::new(),
            not_removed: Vec::new(),
            lasting: "what was done is done",
            if_interrupted: "nothing half is left",
            if_damaged: "",
            falls_short: None,
            whole_after: None,
            stays: Vec::new(),
        }
    }

    /// All steps in order, those inside scopes included.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.items.iter().flat_map(Item::steps)
    }
}
