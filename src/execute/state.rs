//! What an execution knows so far: filled by the steps, read at the commit. Not the plan.

use super::findings::Finding;
use super::hooked::LateHooks;
use super::thaw::Watched;
use super::undo::Undo;
use crate::cancel::Open;
use crate::model::{VolumeIdentity, VolumeRef};
use crate::node::unfinished::Note;
use crate::plan::StepId;
use crate::plan::facts::RunState;
use crate::report::{Failure, GuestOutcome};
use crate::repository::{Consistency, ImageEntry};
use std::collections::{BTreeMap, BTreeSet};

/// What became of the freeze.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Frozen {
    /// The plan has no frozen scope.
    #[default]
    NotPlanned,
    /// Every snapshot was made between a whole freeze and a whole thaw, before the deadline.
    Held,
    /// The guest was not frozen, or not for all of it.
    Broken,
}

/// What came of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepResult {
    /// It was done.
    Done,
    /// It failed, and why, in words.
    Failed(String),
}

pub(super) struct State {
    pub outcome: GuestOutcome,
    /// What came of the steps so far.
    pub results: BTreeMap<StepId, StepResult>,
    /// What is to be undone after a failure, oldest first, with the note that it would stay.
    pub undo: Vec<(Undo, Open)>,
    pub committed: bool,
    /// Steps that failed, or were not done as what they need was not.
    pub not_well: BTreeSet<StepId>,
    /// What failed although the plan went on, in words.
    pub failures: Vec<(Failure, String)>,
    /// Whether a volume could not be compared with its source.
    pub is_unaudited: bool,
    /// What a user asked for and is not done, as the user wished to stop after the commit.
    pub not_done: BTreeSet<&'static str>,
    /// What in the committed point is not what its source is.
    pub damage: Vec<String>,
    /// Disks that were stopped, or not begun, because another one failed.
    pub stopped_disks: Vec<String>,
    /// Whether something is left that the run did not mean to leave; the warnings name it.
    pub is_left: bool,
    /// Whether a thread hangs in the file system of the repository.
    pub is_stuck: bool,
    pub frozen: Frozen,
    /// The thaw that is being watched.
    pub watched: Option<Watched>,
    /// That the guest was not seen thawed, and what to do.
    pub unthawed: Option<String>,
    /// Whether the guest was seen running before or after the snapshots.
    pub seen_running: bool,
    /// What each snapshotted or created volume is.
    pub volumes: BTreeMap<VolumeRef, VolumeIdentity>,
    pub images: Vec<ImageEntry>,
    /// What steps gave that others need.
    pub findings: Vec<Finding>,
    /// The notes of volumes that are made and not finished.
    pub notes: BTreeMap<VolumeRef, Note>,
    /// The configuration that reserves the restored guest's vmid, and the note of it.
    pub reserved: Option<String>,
    pub reservation: Option<Note>,
    /// Whether other firewall rules stand where the restored guest's belong.
    pub other_firewall: bool,
    /// The hooks that come after steps, and are called when the whole plan is done.
    pub late_hooks: Vec<LateHooks>,
    /// The node to which the guest was seen to have moved since it was surveyed.
    pub moved_to: Option<String>,
}

impl State {
    pub fn new(outcome: GuestOutcome) -> Self {
        Self {
            outcome,
            results: BTreeMap::new(),
            undo: Vec::new(),
            committed: false,
            not_well: BTreeSet::new(),
            failures: Vec::new(),
            is_unaudited: false,
            not_done: BTreeSet::new(),
            damage: Vec::new(),
            stopped_disks: Vec::new(),
            is_left: false,
            is_stuck: false,
            frozen: Frozen::default(),
            watched: None,
            unthawed: None,
            seen_running: false,
            volumes: BTreeMap::new(),
            images: Vec::new(),
            findings: Vec::new(),
            notes: BTreeMap::new(),
            reserved: None,
            reservation: None,
            other_firewall: false,
            late_hooks: Vec::new(),
            moved_to: None,
        }
    }
}

/// What a restore point is worth, by what the run saw.
pub(super) fn consistency(state: &State, before: RunState) -> Consistency {
    match (state.frozen, before) {
        (Frozen::Held, _) => Consistency::Frozen,
        (Frozen::NotPlanned, RunState::Stopped) if !state.seen_running => Consistency::Stopped,
        _ => Consistency::Crash,
    }
}
