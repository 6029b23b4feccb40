//! Which items of a plan belong together or are of one kind. Not for carrying them out.

use crate::plan::{Action, Item, Step, TransferAction, VolumeAction};

/// Whether a protected snapshot's removal begins here. Its two steps have one pair of hooks, so that one
/// that says no leaves the protection, too.
pub(super) fn is_removal(items: &[Item]) -> bool {
    let [Item::Step(first), Item::Step(second), ..] = items else { return false };
    match (&first.action, &second.action) {
        (
            Action::Volume(VolumeAction::ReleaseSnapshot { volume, snapshot }),
            Action::Volume(VolumeAction::DeleteSnapshot { volume: same, snapshot: the_same }),
        ) => (volume, snapshot) == (same, the_same),
        _ => false,
    }
}

/// A comparison of a new point with its source.
pub(super) fn is_audit(step: &Step) -> bool {
    matches!(step.action, Action::Transfer(TransferAction::Audit { .. }))
}

/// A comparison of a stored disk with its source. Those of a guest are one check: they have one pair of
/// hooks, and are made one after another.
pub(super) fn is_comparison(item: &Item) -> bool {
    match item {
        Item::Step(step) => matches!(step.action, Action::Transfer(TransferAction::Compare(_))),
        Item::Scope(..) => false,
    }
}

/// Whether two neighbours are carried out as one.
pub(super) fn belong_together(first: &Item, other: &Item) -> bool {
    run_together(first, other) || (is_comparison(first) && is_comparison(other))
}

/// Whether two neighbours may run at the same time: what their failure means must be the same, too, and
/// what they need.
fn run_together(first: &Item, other: &Item) -> bool {
    match (first, other) {
        (Item::Step(first), Item::Step(other)) => {
            let judged_alike = first.on_failure == other.on_failure
                && first.needs == other.needs
                && first.despite_damage == other.despite_damage;
            judged_alike && first.action.runs_beside(&other.action)
        }
        _ => false,
    }
}
