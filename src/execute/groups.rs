//! Which items of a plan belong together or are of one kind. Not for carrying them out.

use crate::plan::{Action, Item, Step};

/// Whether a protected snapshot's removal begins here. Its two steps have one pair of hooks, so that one
/// that says no leaves the protection, too.
pub(super) fn is_removal(items: &[Item]) -> bool {
    let [Item::Step(first), Item::Step(second), ..] = items else { return false };
    match (&first.action, &second.action) {
        (
            Action::ReleaseSnapshot { volume, snapshot },
            Action::DeleteSnapshot { volume: same, snapshot: the_same },
        ) => (volume, snapshot) == (same, the_same),
        _ => false,
    }
}

/// A comparison of a new point with its source.
pub(super) fn is_audit(item: &Item) -> bool {
    matches!(item, Item::Step(Step { action: Action::AuditVolume { .. }, .. }))
}

/// A step that makes the points fewer.
pub(super) fn is_pruning(item: &Item) -> bool {
    let Item::Step(Step { action, .. }) = item else { return false };
    matches!(
        action,
        Action::HidePoint(_) | Action::MergeImages { .. } | Action::DeleteRestorePoint(_)
    )
}

/// Whether two neighbours may run at the same time.
pub(super) fn run_together(first: &Item, other: &Item) -> bool {
    let action = |item: &Item| match item {
        Item::Step(Step { action, .. }) => Some(action.clone()),
        Item::Scope(..) => None,
    };
    match (action(first), action(other)) {
        (Some(a), Some(b)) => {
            a.runs_beside_its_neighbours()
                && std::mem::discriminant::<Action>(&a) == std::mem::discriminant(&b)
        }
        _ => false,
    }
}
