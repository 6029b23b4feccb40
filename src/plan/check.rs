//! The linter of plans: the safety invariants, looked at on every plan before it runs, in production and in
//! tests. It changes no plan and knows no storage. What a rule asks of one noun stands beside the noun
//! (`action`); here stand the rules about the order of several, about scopes and about failures.

use super::repair::Mend;
use super::rule::Broken;
use super::tally::Seen;
use super::{
    Action, ConfigAction, GuestAction, Item, Plan, PointAction, Rule, Scope, Step, StepId, Then,
    TransferAction, VolumeAction,
};
use std::fmt;

/// A rule that a plan breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// The step that breaks it, as a printed plan names it.
    pub step: String,
}

/// Every rule that a plan breaks, step by step; never none. Such a plan must not run: it is a fault of
/// ours, never of the user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Violations(Vec<Violation>);

/// So many are named; a plan may have thousands of steps that are all wrong for one reason.
const NAMED: usize = 5;

impl Violations {
    /// One after the other, in the order of the steps.
    pub fn iter(&self) -> impl Iterator<Item = &Violation> {
        self.0.iter()
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = self.0.iter().take(NAMED);
        let named = named
            .map(|found| format!("the rule \"{}\" with the step {:?}", found.rule, found.step));
        write!(f, "the plan breaks {}", named.collect::<Vec<_>>().join(", "))?;
        if self.0.len() > NAMED {
            write!(f, ", and {} more", self.0.len() - NAMED)?;
        }
        f.write_str("; nothing was changed, please report this")
    }
}

/// Looks at a plan, with one look at each of its steps.
///
/// # Errors
/// All rules that it breaks.
pub fn check(plan: &Plan) -> Result<(), Violations> {
    let mut linter = Linter::default();
    plan.steps().for_each(|step| step.action.count(&mut linter.seen.all));
    plan.items.iter().for_each(|item| linter.look_at(item, &[]));
    if linter.found.is_empty() { Ok(()) } else { Err(Violations(linter.found)) }
}

#[derive(Default)]
struct Linter<'a> {
    seen: Seen<'a>,
    found: Vec<Violation>,
}

impl<'a> Linter<'a> {
    /// Looks at an item that stands in these scopes, the outermost first.
    fn look_at(&mut self, item: &'a Item, scopes: &[Scope]) {
        let mut broken = Broken::default();
        match item {
            Item::Scope(scope, items) => {
                check_scopes(None, scopes, &mut broken);
                self.note(broken, || scope.to_string());
                let scopes: Vec<Scope> = scopes.iter().copied().chain([*scope]).collect();
                items.iter().for_each(|item| self.look_at(item, &scopes));
            }
            Item::Step(step) => {
                check_scopes(Some(&step.action), scopes, &mut broken);
                step.action.check(&self.seen, &mut broken);
                check_order(&step.action, &self.seen, &mut broken);
                check_failure(step, &self.seen, &mut broken);
                self.note(broken, || step.to_string());
                step.action.count(&mut self.seen.before);
            }
        }
    }

    fn note(&mut self, broken: Broken, step: impl Fn() -> String) {
        let violation = |rule| Violation { rule, step: step() };
        self.found.extend(broken.rules().into_iter().map(violation));
    }
}

/// What stands in a scope, or another scope in it.
fn check_scopes(action: Option<&Action>, scopes: &[Scope], broken: &mut Broken) {
    for scope in scopes {
        match scope {
            Scope::Frozen { .. } => {
                let fits =
                    matches!(action, Some(Action::Volume(VolumeAction::CreateSnapshot { .. })));
                broken.ensure(fits, Rule::FrozenOnlyForSnapshots);
            }
        }
    }
}

/// What must come before what, where it concerns more than one noun.
fn check_order(action: &Action, seen: &Seen<'_>, broken: &mut Broken) {
    let Seen { all, before } = seen;
    match action {
        Action::Volume(
            VolumeAction::DeleteSnapshot { snapshot, .. }
            | VolumeAction::ReleaseSnapshot { snapshot, .. },
        ) => {
            let may_go = seen.is_proven() || seen.is_reset(&snapshot.name);
            broken.ensure(may_go, Rule::BaseGoesOnceProven);
        }
        // Whatever a comparison may still need is there until it is over.
        Action::Transfer(TransferAction::Audit { .. }) => {
            broken.ensure(before.committed > 0, Rule::AuditFollowsCommit);
            broken.ensure(before.removing == 0, Rule::NothingGoesBeforeAudit);
        }
        Action::Config(ConfigAction::Write { .. })
        | Action::Guest(GuestAction::RescanVolumes { .. }) => {
            broken.ensure(seen.is_restored(), Rule::ConfigFollowsVolumes);
        }
        Action::Guest(GuestAction::Start { .. }) => {
            broken.ensure(before.configs_written > 0, Rule::StartFollowsConfig);
        }
        Action::Point(PointAction::ResetChain { .. }) => {
            broken.ensure(all.begun + all.snapshots_made == 0, Rule::ResetSavesNothing);
        }
        // A lost index is made again by backups, too.
        Action::Point(PointAction::Mend(mend)) if !matches!(mend, Mend::Index { .. }) => {
            broken.ensure(all.destroying == 0, Rule::RepairTakesNothing);
        }
        Action::Point(PointAction::Hide(_) | PointAction::Delete(_)) => {
            let is_due = all.committed == 0 || before.committed > 0;
            broken.ensure(is_due, Rule::RemovalFollowsCommit);
        }
        Action::Point(PointAction::Commit) => check_commit(seen, broken),
        _ => {}
    }
}

fn check_commit(seen: &Seen<'_>, broken: &mut Broken) {
    let Seen { all, before } = seen;
    if all.adopted > 0 {
        let is_alone = all.snapshots_made == 0 && all.destroying == 0;
        let is_last = before.steps + 1 == all.steps;
        return broken.ensure(is_alone && is_last, Rule::AdoptionOnlyAdds);
    }
    broken.ensure(all.snapshots_made == before.saved, Rule::EverySnapshotIsSaved);
    broken.ensure(before.configs_checked > 0, Rule::ConfigIsReadAgain);
}

/// What the failure of a step means must be what the engine can do.
fn check_failure(step: &Step, seen: &Seen<'_>, broken: &mut Broken) {
    let own: StepId = seen.before.steps;
    broken.ensure(step.needs.iter().all(|needed| *needed < own), Rule::NeedsWhatIsBefore);
    let is_undoing = step.on_failure.then == Then::UndoAll;
    broken.ensure(seen.before.committed == 0 || !is_undoing, Rule::CommitIsNotUndone);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        ChainId, Guest, GuestKind, Label, Moment, PointId, SnapshotIdentity, VolumeIdentity,
    };
    use crate::plan::{CopiedPoint, RemovedPoint};

    fn snapshot(name: &str) -> SnapshotIdentity {
        let volume = VolumeIdentity::Memory { id: 1 };
        SnapshotIdentity { volume, snapshot: "7".into(), name: name.into() }
    }

    fn delete(name: &str) -> Action {
        let volume = "ceph:vm-100-disk-0".parse().unwrap();
        Action::Volume(VolumeAction::DeleteSnapshot { volume, snapshot: snapshot(name) })
    }

    fn begin() -> Action {
        let label = "daily".parse().unwrap();
        Action::Point(PointAction::Begin { label, moment: crate::model::Moment::from_unix(0) })
    }

    fn adopt() -> Action {
        Action::Transfer(TransferAction::Adopt {
            disk: "scsi0".parse().unwrap(),
            volume: "ceph:vm-100-disk-0".parse().unwrap(),
            snapshot: snapshot("barcdaily20200102120000"),
            from: "barc/100/daily".into(),
            image: crate::model::ImageId(7),
        })
    }

    fn reset(chain: u32) -> Action {
        Action::Point(PointAction::ResetChain { chain: crate::model::ChainId(chain) })
    }

    fn rules(actions: Vec<Action>) -> Vec<Rule> {
        let guest = Guest {
            vmid: "100".parse().unwrap(),
            kind: GuestKind::Qemu,
            name: String::new(),
            node: "pve1".into(),
        };
        let is_commit = |action: &Action| matches!(action, Action::Point(PointAction::Commit));
        let commit = actions.iter().position(is_commit).unwrap_or(actions.len());
        let mut items: Vec<Item> =
            actions.into_iter().map(|action| Item::Step(action.step())).collect();
        crate::plan::failure::all(&mut items[commit..], crate::plan::OnFailure::WARN);
        let (skipped, warnings, kept) = (Vec::new(), Vec::new(), Vec::new());
        let plan = Plan { skipped, warnings, kept, ..Plan::new(guest, items) };
        check(&plan).err().map_or_else(Vec::new, |found| found.iter().map(|v| v.rule).collect())
    }

    const OURS: &str = "ferry.0000001a.daily.20260101T000000Z";

    #[test]
    fn only_a_chain_that_is_reset_loses_its_snapshots() {
        assert_eq!(rules(vec![reset(0x1a), delete(OURS)]), []);
        let foreign = [Rule::OnlyOwnSnapshotsGo, Rule::BaseGoesOnceProven];
        assert_eq!(rules(vec![delete(OURS)]), foreign);
        assert_eq!(rules(vec![delete(OURS), reset(0x1a)]), foreign);
        assert_eq!(rules(vec![reset(0x1b), delete(OURS)]), foreign);
        assert_eq!(rules(vec![reset(0x1a), delete("ferry.0000001a.daily")]), foreign);
        let saves = [Rule::ResetSavesNothing];
        assert_eq!(rules(vec![begin(), reset(0x1a), delete(OURS)]), saves);
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
            is_named: false,
        };
        let marks = || Action::Point(PointAction::CopyMarks(copied.clone()));
        let verify = || Action::Point(PointAction::VerifyCopy(copied.clone()));
        let hand_over =
            || Action::Point(PointAction::HandOverChain { label: label.clone(), new: ChainId(1) });
        let remove = || Action::Point(PointAction::RemoveMoved(removed.clone()));
        assert_eq!(rules(vec![marks(), verify(), hand_over(), remove()]), []);
        let chain = [Rule::ChainGoesBetween];
        assert_eq!(rules(vec![marks(), hand_over()]), chain, "the source stays");
        assert_eq!(rules(vec![hand_over(), marks(), verify(), remove()]), chain);
        assert_eq!(rules(vec![marks(), verify(), remove(), hand_over()]), chain);
        let late = [Rule::MovedAfterAllCopies];
        assert_eq!(rules(vec![verify(), remove(), marks()]), late);
    }

    #[test]
    fn what_was_left_goes_before_a_restore_makes_anything() {
        let volume: crate::model::VolumeRef = "ceph:vm-100-disk-0".parse().unwrap();
        let left = || {
            Action::Volume(VolumeAction::Delete {
                volume: volume.clone(),
                identity: VolumeIdentity::Memory { id: 1 },
            })
        };
        let make = || {
            Action::Volume(VolumeAction::Create {
                disk: "scsi0".parse().unwrap(),
                volume: volume.clone(),
                made_as: "ferry-new-100-0000000000000007".into(),
                shape: crate::model::VolumeShape::default(),
            })
        };
        assert_eq!(rules(vec![left(), make()]), []);
        let first = [Rule::LeftVolumesGoFirst];
        assert_eq!(rules(vec![make(), left()]), first);
        assert_eq!(rules(vec![left(), begin()]), first, "only a restore removes volumes");
    }

    #[test]
    fn an_adoption_only_adds_a_point() {
        assert_eq!(rules(vec![begin(), adopt(), Action::Point(PointAction::Commit)]), []);
        let alone = [Rule::AdoptionOnlyAdds];
        let after = vec![
            begin(),
            adopt(),
            Action::Point(PointAction::Commit),
            Action::Guest(GuestAction::Thaw { after: 0 }),
        ];
        assert_eq!(rules(after), alone);
        let sweep = Action::Point(PointAction::SweepDebris { directory: "daily/x".into() });
        assert_eq!(rules(vec![sweep, begin(), adopt(), Action::Point(PointAction::Commit)]), alone);
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
        let goes = |n: usize| {
            rules(vec![Action::Point(PointAction::Delete(removed(&points, &points[n])))])
        };
        let newest = || vec![Rule::NewestStays];
        assert_eq!([0, 1, 2, 3].map(goes), [vec![], newest(), vec![], newest()]);
    }

    /// As many as a repository has that nobody pruned for years: a rule that went through the steps
    /// before each step would take hours here.
    #[test]
    fn a_plan_of_a_hundred_thousand_deletions_is_judged_with_one_look_at_each_step() {
        const MANY: u64 = 100_000;
        let point = |n: u64| RemovedPoint {
            directory: String::new(),
            id: PointId(n),
            label: "hourly".parse().unwrap(),
            moment: Moment::from_unix(0),
            is_protected: false,
            is_hidden: true,
            is_newest: false,
            is_named: false,
            needed_by: (n > 0).then(|| PointId(n - 1)).into_iter().collect(),
        };
        let delete = |n| Action::Point(PointAction::Delete(point(n)));
        assert_eq!(rules((0..MANY).map(delete).collect()), []);
        let lacking = (0..MANY).filter(|n| *n != MANY - 9).map(delete).collect();
        assert_eq!(rules(lacking), [Rule::NeededImageStays]);
        let merge =
            |n| Action::Point(PointAction::Merge { into: point(n - 1), from: vec![point(n)] });
        assert_eq!(rules((1..MANY).flat_map(|n| [merge(n), delete(n)]).collect()), []);
    }
}
