//! What the failure of a step means, as data: the planners decide it, the engine does it. Not how a
//! failure is worded.

use super::{Action, Item, PointAction, Step, TransferAction};

/// What becomes of the guest's outcome when a step fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Means {
    /// The guest fails.
    Failure,
    /// It costs no data, and the next run finds it and tries again: a warning.
    Warning,
    /// What the operation makes of it when nothing is left to do: its next plan may do without.
    Judged,
    /// What came of it is a result, and the operation judges the guest by it.
    Finding,
}

/// What becomes of the rest of the plan when a step fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The plan fails as a whole: its other steps are stopped, and all that it made is taken back.
    UndoAll,
    /// Nothing more is done; what was done stays.
    Stop,
    /// The steps that do not need it are done all the same.
    GoOn,
    /// As `GoOn` where the step found damage, as `Stop` where it failed for another reason.
    GoOnPastDamage,
}

/// What the failure of a step means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnFailure {
    /// For the guest.
    pub means: Means,
    /// For the rest of the plan.
    pub then: Then,
}

impl OnFailure {
    /// Nothing of the plan is kept.
    pub const UNDO: Self = Self { means: Means::Failure, then: Then::UndoAll };
    /// What was done stays, and no more is done.
    pub const STOP: Self = Self { means: Means::Failure, then: Then::Stop };
    /// The guest fails in the end; what does not need the step is done.
    pub const GO_ON: Self = Self { means: Means::Failure, then: Then::GoOn };
    /// What is damaged is left out; any other failure ends the plan.
    pub const PAST_DAMAGE: Self = Self { means: Means::Failure, then: Then::GoOnPastDamage };
    /// It is tried: what does not need it is done all the same, and the operation judges in the end.
    pub const TRY: Self = Self { means: Means::Judged, then: Then::GoOn };
    /// What a check finds is a result; that it cannot look ends the plan.
    pub const FINDING: Self = Self { means: Means::Finding, then: Then::Stop };
    /// Why it was not done is a result.
    pub const NOT_DONE: Self = Self { means: Means::Finding, then: Then::GoOn };
    /// The next run tries again.
    pub const WARN: Self = Self { means: Means::Warning, then: Then::GoOn };
}

/// The place of a step among all steps of its plan, in the order of execution.
pub type StepId = usize;

/// Gives every step the same meaning of its failure.
pub(super) fn all(items: &mut [Item], on_failure: OnFailure) {
    steps_mut(items).for_each(|step| step.on_failure = on_failure);
}

/// A plan with a commit: until then it is undone as a whole; then the point is there, and the next run
/// repeats what failed. But a comparison with the source that cannot be made fails the guest, and then
/// nothing is pruned: what is older is all that there is to look at.
pub(super) fn around_commit(items: &mut [Item]) {
    let is_commit = |step: &Step| matches!(step.action, Action::Point(PointAction::Commit));
    let is_audit =
        |step: &Step| matches!(step.action, Action::Transfer(TransferAction::Audit { .. }));
    let audits: Vec<StepId> = (0..)
        .zip(items.iter().flat_map(Item::steps))
        .filter(|(_, step)| is_audit(step))
        .map(|(id, _)| id)
        .collect();
    let mut committed = false;
    for step in steps_mut(items) {
        if !committed {
            committed = is_commit(step);
            if is_sweep(step) {
                step.on_failure = OnFailure::WARN;
            }
            continue;
        }
        step.on_failure = OnFailure::WARN;
        if is_audit(step) {
            step.on_failure = OnFailure::GO_ON;
            step.despite_damage = true;
            step.asked = Some("the comparison with its source");
        }
        if matches!(&step.action, Action::Point(point) if point.is_pruning()) {
            step.needs.clone_from(&audits);
            step.asked = Some("pruning");
        }
    }
}

pub(super) fn steps_mut(items: &mut [Item]) -> Box<dyn Iterator<Item = &mut Step> + Send + '_> {
    Box::new(items.iter_mut().flat_map(|item| match item {
        Item::Step(step) => Box::new(std::iter::once(step)),
        Item::Scope(_, items) => steps_mut(items),
    }))
}

/// What an interrupted run left costs room and nothing else: that it cannot be removed must not cost the
/// guest its backup. A lost lock stops the next step.
fn is_sweep(step: &Step) -> bool {
    matches!(
        step.action,
        Action::Point(PointAction::SweepDebris { .. } | PointAction::SweepLeftovers { .. })
    )
}
