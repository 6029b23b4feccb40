//! The linter of plans: the safety invariants, looked at on every plan before it runs, in
//! production and in tests. It changes no plan and knows no storage.

use super::repair::Mend;
use super::{Action, Item, Plan, RemovedPoint, Step};
use crate::model::{GuestSnapshot, SnapshotName};
use std::collections::BTreeSet;

/// A plan that must not run: a fault of ours, never of the user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the plan breaks the rule {rule:?} with the step {step:?}; nothing was changed, please report this"
)]
pub struct Violation {
    /// The rule.
    pub rule: &'static str,
    /// The step that breaks it.
    pub step: String,
}

/// Looks at a plan.
///
/// # Errors
/// The first rule that the plan breaks.
pub fn check(plan: &Plan) -> Result<(), Violation> {
    for (i, item) in plan.items.iter().enumerate() {
        let before = &plan.items[..i];
        match item {
            Item::Scope(_, steps) => steps.iter().try_for_each(only_snapshots_while_frozen)?,
            Item::Step(step) => check_step(plan, before, step)?,
        }
    }
    Ok(())
}

fn check_step(plan: &Plan, before: &[Item], step: &Step) -> Result<(), Violation> {
    match &step.action {
        Action::DeleteSnapshot { snapshot, .. } | Action::ReleaseSnapshot { snapshot, .. } => {
            if resets(before, &snapshot.name) {
                return Ok(());
            }
            deletes_only_our_own(plan, step, &snapshot.name)?;
            deletes_bases_only_after_commit(before, step)
        }
        Action::DeleteVolume { .. } => {
            let makes = |a: &Action| matches!(a, Action::CreateVolume { .. });
            let first = has(&plan.items, makes) && !has(before, makes);
            ensure(
                first,
                "what an interrupted restore left goes before a restore makes anything",
                step,
            )
        }
        Action::RestoreVolume { volume, .. } => {
            let made = before.iter().any(|item| {
                matches!(item, Item::Step(Step { action: Action::CreateVolume { volume: v, .. }, .. }) if v == volume)
            });
            ensure(made, "a restore writes only to volumes that it made", step)
        }
        Action::WriteConfig { vmid, .. } => {
            let reserves =
                |a: &Action| matches!(a, Action::ReserveGuest { vmid: of, .. } if of == vmid);
            ensure(has(before, reserves), "a vmid is reserved before it gets its guest", step)?;
            configuration_follows_volumes(plan, before, step)
        }
        Action::RescanVolumes { .. } => configuration_follows_volumes(plan, before, step),
        Action::StartGuest { .. } => {
            let written = has(before, |a| matches!(a, Action::WriteConfig { .. }));
            ensure(written, "a guest is started only after its configuration is written", step)
        }
        Action::SaveVolume { volume, snapshot, .. } => {
            let made = has(
                before,
                |a| matches!(a, Action::CreateSnapshot { volume: v, snapshot: s, .. } if v == volume && s == snapshot),
            );
            ensure(made, "a transfer reads a snapshot that this run made", step)
        }
        Action::AuditVolume { .. } => audits_come_first(before, step),
        Action::ResetChain { .. } => {
            let saves = has(&plan.items, |a| {
                matches!(a, Action::BeginRestorePoint { .. } | Action::CreateSnapshot { .. })
            });
            ensure(!saves, "a chain is reset by a plan that saves nothing", step)
        }
        Action::HidePoint(point) => removes_only_what_may_go(plan, before, (step, point)),
        Action::DeleteRestorePoint(point) => {
            removes_only_what_may_go(plan, before, (step, point))?;
            deletes_only_what_nothing_needs(before, step, point)
        }
        Action::MergeImages { from, .. } => {
            let free = from.iter().all(|point| !point.is_protected && !point.is_newest);
            ensure(free, "a protected or newest restore point never merges into another", step)
        }
        Action::HandOverChain { .. } => chain_follows_its_points(plan, before, step),
        Action::RemoveMoved(point) => moves_only_what_was_verified(plan, before, (step, point)),
        Action::DeleteGuestSnapshot(snapshot) => {
            removes_only_automatic_snapshots(plan, before, (step, snapshot))
        }
        Action::RollbackGuest(_) => {
            ensure(plan.steps().count() == 1, "a rollback is a plan of its own", step)
        }
        Action::Mend(mend) if !matches!(mend, Mend::Index { .. }) => {
            let destroys = plan.steps().any(|step| step.action.destroys());
            ensure(!destroys, "a repair takes nothing away", step)
        }
        Action::CommitRestorePoint => commit_follows_all_transfers(plan, before, step),
        _ => Ok(()),
    }
}

fn only_snapshots_while_frozen(step: &Step) -> Result<(), Violation> {
    let fits = matches!(step.action, Action::CreateSnapshot { .. });
    ensure(fits, "a frozen scope contains only snapshot creation", step)
}

/// Whether the plan said before that it resets the chain of this whole name.
fn resets(before: &[Item], name: &str) -> bool {
    SnapshotName::parse(name).is_some_and(|name| {
        has(before, |a| matches!(a, Action::ResetChain { chain } if *chain == name.chain))
    })
}

/// Whole names of the one chain whose snapshots the plan makes; nothing else is ever deleted.
fn deletes_only_our_own(plan: &Plan, step: &Step, name: &str) -> Result<(), Violation> {
    let chains: BTreeSet<_> = plan
        .steps()
        .filter_map(|step| match &step.action {
            Action::CreateSnapshot { snapshot, .. } => Some(snapshot.chain),
            _ => None,
        })
        .collect();
    let ours = SnapshotName::parse(name).is_some_and(|name| chains.contains(&name.chain));
    ensure(ours, "only snapshots of this chain are deleted", step)
}

fn deletes_bases_only_after_commit(before: &[Item], step: &Step) -> Result<(), Violation> {
    let committed = has(before, |a| matches!(a, Action::CommitRestorePoint));
    ensure(committed, "a base is deleted only after its successor is committed", step)
}

/// Whatever a comparison may still need is there until it is over.
fn audits_come_first(before: &[Item], step: &Step) -> Result<(), Violation> {
    let committed = has(before, |a| matches!(a, Action::CommitRestorePoint));
    ensure(committed, "a point is compared with its source after its commit", step)?;
    let removes = |a: &Action| {
        matches!(
            a,
            Action::DeleteSnapshot { .. }
                | Action::HidePoint(_)
                | Action::MergeImages { .. }
                | Action::DeleteRestorePoint(_)
        )
    };
    ensure(!has(before, removes), "nothing goes before the comparison with the source", step)
}

fn configuration_follows_volumes(
    plan: &Plan,
    before: &[Item],
    step: &Step,
) -> Result<(), Violation> {
    let transfers = |items: &[Item]| {
        let is_transfer =
            |i: &&Item| matches!(i, Item::Step(Step { action: Action::RestoreVolume { .. }, .. }));
        items.iter().filter(is_transfer).count()
    };
    let all_before = transfers(before) == transfers(&plan.items);
    ensure(all_before, "configuration comes after all volumes", step)
}

fn commit_follows_all_transfers(
    plan: &Plan,
    before: &[Item],
    step: &Step,
) -> Result<(), Violation> {
    let snapshots =
        plan.steps().filter(|s| matches!(s.action, Action::CreateSnapshot { .. })).count();
    let saved = before
        .iter()
        .filter(|i| matches!(i, Item::Step(Step { action: Action::SaveVolume { .. }, .. })))
        .count();
    let adopts = |a: &Action| matches!(a, Action::AdoptVolume { .. });
    if has(&plan.items, adopts) {
        let alone = snapshots == 0 && !plan.steps().any(|step| step.action.destroys());
        let last = plan.steps().last() == Some(step);
        return ensure(alone && last, "an adoption adds a point and does nothing else", step);
    }
    let checked = has(before, |a| matches!(a, Action::CheckConfig { .. }));
    ensure(snapshots == saved, "a point is committed when every snapshot is saved", step)?;
    ensure(checked, "a point is committed after the configuration was read again", step)
}

fn removes_only_what_may_go(
    plan: &Plan,
    before: &[Item],
    (step, point): (&Step, &RemovedPoint),
) -> Result<(), Violation> {
    ensure(!point.is_protected, "a protected restore point is never removed", step)?;
    ensure(!point.is_newest, "the newest complete restore point is never removed", step)?;
    let is_commit = |a: &Action| matches!(a, Action::CommitRestorePoint);
    let due = !has(&plan.items, is_commit) || has(before, is_commit);
    ensure(due, "points are removed only after the new one is committed", step)
}

/// A point goes from the source when the target's was read whole, and nothing here needs it; one
/// that no user sees needs no copy.
fn moves_only_what_was_verified(
    plan: &Plan,
    before: &[Item],
    (step, point): (&Step, &RemovedPoint),
) -> Result<(), Violation> {
    let is_it = |a: &Action| matches!(a, Action::VerifyCopy(copy) if copy.id == point.id);
    let verified = point.is_hidden || has(before, is_it);
    ensure(verified, "a point is moved only after its copy was verified", step)?;
    ensure(
        all_copied(plan, before),
        "points are moved only after all copies and their marks",
        step,
    )?;
    deletes_only_what_nothing_needs(before, step, point)
}

/// A source that keeps its points keeps its chain.
fn chain_follows_its_points(plan: &Plan, before: &[Item], step: &Step) -> Result<(), Violation> {
    let moves = |a: &Action| matches!(a, Action::RemoveMoved(_));
    let first = has(&plan.items, moves) && !has(before, moves) && all_copied(plan, before);
    ensure(first, "a chain is handed over between all copies and the first removal", step)
}

fn all_copied(plan: &Plan, before: &[Item]) -> bool {
    let copies = |items: &[Item]| {
        let copies = |a: &Action| matches!(a, Action::CopyPoint(_) | Action::CopyMarks(_));
        let is_copy = |i: &&Item| matches!(i, Item::Step(s) if copies(&s.action));
        items.iter().filter(is_copy).count()
    };
    copies(before) == copies(&plan.items)
}

/// What a person made is never removed, nor what PVE has not finished, nor anything before the new
/// snapshot is there.
fn removes_only_automatic_snapshots(
    plan: &Plan,
    before: &[Item],
    (step, snapshot): (&Step, &GuestSnapshot),
) -> Result<(), Violation> {
    let ours = snapshot.is_described_as_automatic() && snapshot.name.starts_with("auto");
    ensure(ours, "only automatic snapshots of guests are removed", step)?;
    ensure(snapshot.unfinished.is_none(), "an unfinished snapshot is left to PVE", step)?;
    let is_new = |a: &Action| matches!(a, Action::CreateGuestSnapshot { .. });
    let due = !has(&plan.items, is_new) || has(before, is_new);
    ensure(due, "snapshots are removed only after the new one was made", step)
}

/// Whatever needs the point's images must be deleted before it.
fn deletes_only_what_nothing_needs(
    before: &[Item],
    step: &Step,
    point: &RemovedPoint,
) -> Result<(), Violation> {
    let is_gone = |id: &crate::model::PointId| {
        has(
            before,
            |a| matches!(a, Action::DeleteRestorePoint(gone) | Action::RemoveMoved(gone) if gone.id == *id),
        )
    };
    let is_merged = |id: &crate::model::PointId| {
        has(
            before,
            |a| matches!(a, Action::MergeImages { into, from } if into.id == *id && from.iter().any(|f| f.id == point.id)),
        )
    };
    let free = point.needed_by.iter().all(|id| is_gone(id) || is_merged(id));
    ensure(free, "an image that a restore point needs is never deleted", step)
}

fn has(items: &[Item], is_it: impl Fn(&Action) -> bool) -> bool {
    items.iter().any(|item| match item {
        Item::Step(step) => is_it(&step.action),
        Item::Scope(_, steps) => steps.iter().any(|step| is_it(&step.action)),
    })
}

fn ensure(holds: bool, rule: &'static str, step: &Step) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation { rule, step: step.to_string() }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        Guest, GuestKind, Label, Moment, PointId, SnapshotIdentity, VolumeIdentity,
    };
    use crate::plan::CopiedPoint;

    fn snapshot(name: &str) -> SnapshotIdentity {
        let volume = VolumeIdentity::Memory { id: 1 };
        SnapshotIdentity { volume, snapshot: "7".into(), name: name.into() }
    }

    fn delete(name: &str) -> Action {
        let volume = "ceph:vm-100-disk-0".parse().unwrap();
        Action::DeleteSnapshot { volume, snapshot: snapshot(name) }
    }

    fn begin() -> Action {
        let label = "daily".parse().unwrap();
        Action::BeginRestorePoint { label, moment: crate::model::Moment::from_unix(0) }
    }

    fn adopt() -> Action {
        Action::AdoptVolume {
            disk: "scsi0".parse().unwrap(),
            volume: "ceph:vm-100-disk-0".parse().unwrap(),
            snapshot: snapshot("barcdaily20200102120000"),
            from: "barc/100/daily".into(),
        }
    }

    fn reset(chain: u32) -> Action {
        Action::ResetChain { chain: crate::model::ChainId(chain) }
    }

    fn rule(actions: Vec<Action>) -> Option<&'static str> {
        let guest = Guest {
            vmid: "100".parse().unwrap(),
            kind: GuestKind::Qemu,
            name: String::new(),
            node: "pve1".into(),
        };
        let items = actions.into_iter().map(|action| Item::Step(action.step())).collect();
        let (skipped, warnings, kept) = (Vec::new(), Vec::new(), Vec::new());
        let plan = Plan { guest, items, skipped, warnings, kept, not_whole: Vec::new() };
        check(&plan).err().map(|found| found.rule)
    }

    const OURS: &str = "ferry.0000001a.daily.20260101T000000Z";

    #[test]
    fn only_a_chain_that_is_reset_loses_its_snapshots() {
        assert_eq!(rule(vec![reset(0x1a), delete(OURS)]), None);
        let foreign = Some("only snapshots of this chain are deleted");
        assert_eq!(rule(vec![delete(OURS)]), foreign);
        assert_eq!(rule(vec![delete(OURS), reset(0x1a)]), foreign);
        assert_eq!(rule(vec![reset(0x1b), delete(OURS)]), foreign);
        assert_eq!(rule(vec![reset(0x1a), delete("ferry.0000001a.daily")]), foreign);
        let saves = Some("a chain is reset by a plan that saves nothing");
        assert_eq!(rule(vec![begin(), reset(0x1a), delete(OURS)]), saves);
    }

    #[test]
    fn a_chain_goes_after_all_copies_and_before_the_first_removal() {
        let (label, moment) = ("daily".parse::<Label>().unwrap(), Moment::from_unix(0));
        let (directory, id) = ("daily/x".to_owned(), PointId(1));
        let copied = CopiedPoint {
            directory: directory.clone(),
            id,
            label: label.clone(),
            moment,
            is_hidden: false,
            bytes: 0,
        };
        let removed = RemovedPoint {
            directory,
            id,
            label: label.clone(),
            moment,
            is_protected: false,
            is_hidden: false,
            is_newest: true,
            needed_by: Vec::new(),
        };
        let marks = || Action::CopyMarks(copied.clone());
        let verify = || Action::VerifyCopy(copied.clone());
        let hand_over = || Action::HandOverChain { label: label.clone() };
        let remove = || Action::RemoveMoved(removed.clone());
        assert_eq!(rule(vec![marks(), verify(), hand_over(), remove()]), None);
        let chain = Some("a chain is handed over between all copies and the first removal");
        assert_eq!(rule(vec![marks(), hand_over()]), chain, "the source stays");
        assert_eq!(rule(vec![hand_over(), marks(), verify(), remove()]), chain);
        assert_eq!(rule(vec![marks(), verify(), remove(), hand_over()]), chain);
        let late = Some("points are moved only after all copies and their marks");
        assert_eq!(rule(vec![verify(), remove(), marks()]), late);
    }

    #[test]
    fn what_was_left_goes_before_a_restore_makes_anything() {
        let volume: crate::model::VolumeId = "ceph:vm-100-disk-0".parse().unwrap();
        let left = || Action::DeleteVolume {
            volume: volume.clone(),
            identity: VolumeIdentity::Memory { id: 1 },
        };
        let make = || Action::CreateVolume {
            disk: "scsi0".parse().unwrap(),
            volume: volume.clone(),
            shape: crate::model::VolumeShape::default(),
        };
        assert_eq!(rule(vec![left(), make()]), None);
        let first = Some("what an interrupted restore left goes before a restore makes anything");
        assert_eq!(rule(vec![make(), left()]), first);
        assert_eq!(rule(vec![left(), begin()]), first, "only a restore removes volumes");
    }

    #[test]
    fn an_adoption_only_adds_a_point() {
        assert_eq!(rule(vec![begin(), adopt(), Action::CommitRestorePoint]), None);
        let alone = Some("an adoption adds a point and does nothing else");
        let after =
            vec![begin(), adopt(), Action::CommitRestorePoint, Action::ThawGuest { after: 0 }];
        assert_eq!(rule(after), alone);
        let sweep = Action::SweepDebris { directory: "daily/x".into() };
        assert_eq!(rule(vec![sweep, begin(), adopt(), Action::CommitRestorePoint]), alone);
    }

    /// Two points may not go: the newest, and the newest that lacks no disk.
    #[test]
    fn neither_the_newest_point_nor_the_newest_whole_one_is_removed() {
        use crate::model::{Moment, PointId};
        use crate::plan::prune::{StoredFact, removed};
        let point = |seq: i64, missing: &[&str]| StoredFact {
            directory: format!("daily/{seq}"),
            id: PointId(seq.unsigned_abs()),
            label: "daily".parse().unwrap(),
            seq: seq.unsigned_abs(),
            moment: Moment::from_unix(seq),
            hidden: false,
            protected: false,
            failed: false,
            missing: missing.iter().map(ToString::to_string).collect(),
            images: Vec::new(),
        };
        let lost = &["scsi1"];
        let points = [point(1, &[]), point(2, &[]), point(3, lost), point(4, lost)];
        let goes = |n: usize| rule(vec![Action::DeleteRestorePoint(removed(&points, &points[n]))]);
        let newest = Some("the newest complete restore point is never removed");
        assert_eq!([0, 1, 2, 3].map(goes), [None, newest, None, newest]);
    }
}
