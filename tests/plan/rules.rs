//! Each rule of the linter is broken by a plan, and it is that rule which is named, and no other. A rule
//! that is taken out of the linter, or that no plan here breaks, fails a test.

use pve_ferry::model::{
    ChainId, Guest, GuestKind, GuestSnapshot, ImageId, Label, Moment, PointId, Share,
    SnapshotIdentity, SnapshotName, VmId, VolumeIdentity, VolumeRef, VolumeShape,
};
use pve_ferry::plan::check::check;
use pve_ferry::plan::compare::Comparison;
use pve_ferry::plan::repair;
use pve_ferry::plan::verify::Marks;
use pve_ferry::plan::{
    Action, ConfigAction, CopiedPoint, GuestAction, Item, OnFailure, Plan, PointAction,
    RemovedPoint, Rule, Scope, Step, TransferAction, VolumeAction,
};
use std::collections::BTreeSet;

fn guest() -> Guest {
    Guest { vmid: vmid(), kind: GuestKind::Qemu, name: String::new(), node: "pve1".into() }
}

fn vmid() -> VmId {
    "100".parse().unwrap()
}

fn volume() -> VolumeRef {
    "ceph:vm-100-disk-0".parse().unwrap()
}

fn label() -> Label {
    "daily".parse().unwrap()
}

fn moment() -> Moment {
    Moment::from_unix(1_767_225_600)
}

fn name() -> SnapshotName {
    SnapshotName { chain: ChainId(0x1a), label: label(), moment: moment() }
}

fn identity(name: &str) -> SnapshotIdentity {
    let volume = VolumeIdentity::Memory { id: 1 };
    SnapshotIdentity { volume, snapshot: "7".into(), name: name.into() }
}

fn create() -> Action {
    let (volume, identity) = (volume(), VolumeIdentity::Memory { id: 1 });
    Action::Volume(VolumeAction::CreateSnapshot { volume, identity, snapshot: name() })
}

fn save() -> Action {
    let disk = "scsi0".parse().unwrap();
    Action::Transfer(TransferAction::Save {
        disk,
        volume: volume(),
        snapshot: name(),
        since: None,
        image: ImageId(7),
    })
}

fn check_config() -> Action {
    Action::Config(ConfigAction::Check { digest: "5f2c".into() })
}

fn audit() -> Action {
    let (disk, share) = ("scsi0".parse().unwrap(), Share { n: 1, of: 10 });
    Action::Transfer(TransferAction::Audit { disk, volume: volume(), share })
}

/// The base that the new point replaces.
fn delete_base() -> Action {
    let old = "ferry.0000001a.daily.20250101T000000Z";
    Action::Volume(VolumeAction::DeleteSnapshot { volume: volume(), snapshot: identity(old) })
}

fn release_base() -> Action {
    let old = "ferry.0000001a.daily.20250101T000000Z";
    Action::Volume(VolumeAction::ReleaseSnapshot { volume: volume(), snapshot: identity(old) })
}

fn make_volume() -> Action {
    let (disk, shape) = ("scsi0".parse().unwrap(), VolumeShape::default());
    Action::Volume(VolumeAction::Create {
        disk,
        volume: volume(),
        made_as: "ferry-new-100-7".into(),
        shape,
    })
}

fn fill_volume() -> Action {
    Action::Transfer(TransferAction::Restore { disk: "scsi0".parse().unwrap(), volume: volume() })
}

fn write_config() -> Action {
    let (kind, node) = (GuestKind::Qemu, "pve1".into());
    Action::Config(ConfigAction::Write {
        vmid: vmid(),
        kind,
        node,
        expected: None,
        text: String::new(),
        changes: Vec::new(),
    })
}

fn reserve() -> Action {
    Action::Guest(GuestAction::Reserve {
        vmid: vmid(),
        node: "pve1".into(),
        text: "lock: create\n".into(),
    })
}

fn delete_volume() -> Action {
    Action::Volume(VolumeAction::Delete {
        volume: volume(),
        identity: VolumeIdentity::Memory { id: 1 },
    })
}

fn adopt() -> Action {
    let (disk, from) = ("scsi0".parse().unwrap(), "barc/100/daily".into());
    Action::Transfer(TransferAction::Adopt {
        disk,
        volume: volume(),
        snapshot: identity("barcdaily"),
        from,
        image: ImageId(7),
    })
}

fn point(id: u64) -> RemovedPoint {
    RemovedPoint {
        directory: format!("daily/{id}"),
        id: PointId(id),
        label: label(),
        moment: moment(),
        is_protected: false,
        is_hidden: false,
        is_newest: false,
        needed_by: Vec::new(),
        is_named: false,
    }
}

fn copied(id: u64) -> CopiedPoint {
    CopiedPoint {
        directory: format!("daily/{id}"),
        id: PointId(id),
        label: label(),
        moment: moment(),
        is_hidden: false,
        bytes: 0,
    }
}

fn guest_snapshot() -> GuestSnapshot {
    GuestSnapshot {
        name: "autodaily260101000000".into(),
        taken: 0,
        description: "cv4pve-autosnap".into(),
        parent: None,
        has_memory: false,
        unfinished: None,
    }
}

fn new_guest_snapshot() -> Action {
    Action::Guest(GuestAction::CreateSnapshot {
        name: "autodaily260102000000".into(),
        with_memory: false,
    })
}

fn commit() -> Action {
    Action::Point(PointAction::Commit)
}

fn thaw() -> Action {
    Action::Guest(GuestAction::Thaw { after: 0 })
}

fn start() -> Action {
    Action::Guest(GuestAction::Start { vmid: vmid() })
}

fn reset() -> Action {
    Action::Point(PointAction::ResetChain { chain: ChainId(0x1a) })
}

fn check_points() -> Action {
    let directory = "lab-0f1e2d3c/100-00000abc".into();
    Action::Point(PointAction::Verify { directory, label: None, part: None })
}

fn compare() -> Action {
    Action::Transfer(TransferAction::Compare(Comparison {
        point: PointId(1),
        label: label(),
        moment: moment(),
        disk: "scsi0".parse().unwrap(),
        image: ImageId(1),
        volume: volume().id,
        share: Share::ALL,
    }))
}

fn mark() -> Action {
    Action::Point(PointAction::Mark(Marks::Verified { good: vec![], failed: vec![] }))
}

fn hide(point: RemovedPoint) -> Action {
    Action::Point(PointAction::Hide(point))
}

fn delete(point: RemovedPoint) -> Action {
    Action::Point(PointAction::Delete(point))
}

fn merge(from: RemovedPoint) -> Action {
    Action::Point(PointAction::Merge { into: point(2), from: vec![from] })
}

fn copy(id: u64) -> Action {
    Action::Point(PointAction::Copy(copied(id)))
}

fn copy_marks(id: u64) -> Action {
    Action::Point(PointAction::CopyMarks(copied(id)))
}

fn verify_copy(id: u64) -> Action {
    Action::Point(PointAction::VerifyCopy(copied(id)))
}

fn remove_moved(point: RemovedPoint) -> Action {
    Action::Point(PointAction::RemoveMoved(point))
}

fn hand_over() -> Action {
    Action::Point(PointAction::HandOverChain { label: label(), new: ChainId(0x1b) })
}

fn begin_chain() -> Action {
    Action::Point(PointAction::BeginChain { label: label(), chain: ChainId(0x1a) })
}

fn rescan() -> Action {
    Action::Guest(GuestAction::RescanVolumes { vmid: vmid() })
}

fn snapshot_of_guest_goes(snapshot: GuestSnapshot) -> Action {
    Action::Guest(GuestAction::DeleteSnapshot(snapshot))
}

/// What must be there before the last of a backup.
fn saved() -> Vec<Action> {
    vec![create(), save(), check_config()]
}

/// A backup, and what comes after it.
fn committed(after: Vec<Action>) -> Vec<Step> {
    steps(saved().into_iter().chain([commit()]).chain(after).collect())
}

/// Steps in a row; what fails behind the commit undoes nothing.
fn steps(actions: Vec<Action>) -> Vec<Step> {
    let at = actions.iter().position(|action| *action == commit()).unwrap_or(actions.len());
    let step = |(place, action): (usize, Action)| match place > at {
        true => Step { on_failure: OnFailure::WARN, ..action.step() },
        false => action.step(),
    };
    actions.into_iter().enumerate().map(step).collect()
}

fn plan(items: Vec<Item>) -> Plan {
    Plan::new(guest(), items)
}

fn row(steps: Vec<Step>) -> Plan {
    plan(steps.into_iter().map(Item::Step).collect())
}

fn frozen(items: Vec<Item>) -> Item {
    Item::Scope(Scope::Frozen { seconds: 10, answer: 3600 }, items)
}

fn broken(plan: &Plan) -> BTreeSet<Rule> {
    let found = check(plan).err();
    found.iter().flat_map(|found| found.iter()).map(|violation| violation.rule).collect()
}

/// A plan, and the rule that it breaks.
type Case = (Rule, Plan);

fn case(rule: Rule, actions: Vec<Action>) -> Case {
    (rule, row(steps(actions)))
}

fn volumes() -> Vec<Case> {
    let named = |name: &str| {
        Action::Volume(VolumeAction::DeleteSnapshot { volume: volume(), snapshot: identity(name) })
    };
    let released = |name: &str| {
        Action::Volume(VolumeAction::ReleaseSnapshot { volume: volume(), snapshot: identity(name) })
    };
    let with = |at: usize, action: Action| {
        let mut actions = saved();
        actions.insert(at, action);
        actions.push(commit());
        actions
    };
    let other_chain = "ferry.0000001b.daily.20250101T000000Z";
    let own = Rule::OnlyOwnSnapshotsGo;
    vec![
        (own, row(committed(vec![named("before-the-update")]))),
        (own, row(committed(vec![named(other_chain)]))),
        (own, row(committed(vec![released(other_chain)]))),
        (own, row(committed(vec![named("ferry.0000001a.daily")]))),
        case(Rule::BaseGoesOnceProven, with(3, delete_base())),
        case(Rule::BaseGoesOnceProven, with(1, release_base())),
        case(Rule::BaseGoesOnceProven, vec![create(), save(), delete_base()]),
        case(Rule::LeftVolumesGoFirst, vec![make_volume(), delete_volume()]),
        case(Rule::LeftVolumesGoFirst, vec![delete_volume()]),
    ]
}

fn transfers() -> Vec<Case> {
    let audited_early = vec![create(), save(), audit(), check_config(), commit()];
    let before_audit = |action: Action| row(committed(vec![action, audit()]));
    vec![
        case(Rule::RestoresIntoOwnVolumes, vec![fill_volume()]),
        case(Rule::RestoresIntoOwnVolumes, vec![fill_volume(), make_volume()]),
        case(Rule::SavesOwnSnapshots, vec![save(), create()]),
        case(Rule::SavesOwnSnapshots, vec![save()]),
        case(Rule::AuditFollowsCommit, audited_early),
        (Rule::NothingGoesBeforeAudit, before_audit(delete_base())),
        (Rule::NothingGoesBeforeAudit, before_audit(hide(point(1)))),
        (Rule::NothingGoesBeforeAudit, before_audit(merge(point(1)))),
        (Rule::NothingGoesBeforeAudit, before_audit(delete(point(1)))),
    ]
}

fn commits() -> Vec<Case> {
    let sweep = Action::Point(PointAction::SweepDebris { directory: "daily/x".into() });
    vec![
        case(Rule::ChainIsBegunFirst, vec![create(), begin_chain(), save()]),
        case(Rule::ChainIsBegunFirst, vec![copy(1), begin_chain(), copy(2)]),
        case(Rule::EverySnapshotIsSaved, vec![create(), check_config(), commit()]),
        case(Rule::ConfigIsReadAgain, vec![create(), save(), commit()]),
        case(Rule::ConfigIsReadAgain, vec![create(), save(), commit(), check_config()]),
        case(Rule::AdoptionOnlyAdds, vec![adopt(), commit(), thaw()]),
        case(Rule::AdoptionOnlyAdds, vec![create(), adopt(), save(), check_config(), commit()]),
        case(Rule::AdoptionOnlyAdds, vec![sweep, adopt(), commit()]),
        (Rule::CommitIsNotUndone, row([committed(vec![]), steps(vec![thaw()])].concat())),
    ]
}

fn points() -> Vec<Case> {
    let protected = || RemovedPoint { is_protected: true, ..point(1) };
    let newest = || RemovedPoint { is_newest: true, ..point(1) };
    let named = || RemovedPoint { is_named: true, ..newest() };
    let needed = || RemovedPoint { needed_by: vec![PointId(2)], ..point(1) };
    let begin = Action::Point(PointAction::Begin { label: label(), moment: moment() });
    let mend = || Action::Point(PointAction::Mend(repair::Mend::GuestRecord));
    let before_commit = |action: Action| {
        let mut actions = saved();
        actions.extend([action, commit()]);
        actions
    };
    let (between, late) = (Rule::ChainGoesBetween, Rule::MovedAfterAllCopies);
    vec![
        case(Rule::ResetSavesNothing, vec![reset(), create()]),
        case(Rule::ResetSavesNothing, vec![reset(), begin]),
        case(Rule::RepairTakesNothing, vec![mend(), hide(point(1))]),
        case(Rule::RepairTakesNothing, vec![delete(point(1)), mend()]),
        case(Rule::ChecksChangeNothing, vec![check_points(), mark()]),
        case(Rule::ChecksChangeNothing, vec![compare(), mark()]),
        case(Rule::ChecksChangeNothing, vec![check_points(), hide(point(1))]),
        case(Rule::ProtectedStays, vec![hide(protected())]),
        case(Rule::ProtectedStays, vec![delete(protected())]),
        case(Rule::NewestStays, vec![delete(newest())]),
        case(Rule::NewestStays, vec![hide(newest())]),
        case(Rule::NamedGoesAlone, vec![delete(named()), delete(point(2))]),
        case(Rule::ProtectedStays, vec![delete(RemovedPoint { is_protected: true, ..named() })]),
        case(Rule::RemovalFollowsCommit, before_commit(hide(point(1)))),
        case(Rule::RemovalFollowsCommit, before_commit(delete(point(1)))),
        case(Rule::NeededImageStays, vec![delete(needed())]),
        case(Rule::NeededImageStays, vec![delete(needed()), delete(point(2))]),
        case(Rule::NeededImageStays, vec![verify_copy(1), remove_moved(needed())]),
        case(Rule::OnlyFreePointsMerge, vec![merge(protected())]),
        case(Rule::OnlyFreePointsMerge, vec![merge(newest())]),
        case(Rule::MovedOnceVerified, vec![copy(1), remove_moved(point(1))]),
        case(Rule::MovedOnceVerified, vec![verify_copy(2), remove_moved(point(1))]),
        case(late, vec![verify_copy(1), remove_moved(point(1)), copy(2)]),
        case(late, vec![verify_copy(1), remove_moved(point(1)), copy_marks(1)]),
        case(between, vec![hand_over()]),
        case(between, vec![copy(1), verify_copy(1), remove_moved(point(1)), hand_over()]),
        case(between, vec![hand_over(), copy(1), verify_copy(1), remove_moved(point(1))]),
    ]
}

fn guests() -> Vec<Case> {
    let by_hand = GuestSnapshot { description: "before the update".into(), ..guest_snapshot() };
    let renamed = GuestSnapshot { name: "before-the-update".into(), ..guest_snapshot() };
    let unfinished = GuestSnapshot { unfinished: Some("delete".into()), ..guest_snapshot() };
    let early = vec![snapshot_of_guest_goes(guest_snapshot()), new_guest_snapshot()];
    let roll_back = || Action::Guest(GuestAction::Rollback(guest_snapshot()));
    let written_early = vec![reserve(), make_volume(), write_config(), fill_volume()];
    vec![
        case(Rule::ConfigFollowsVolumes, written_early),
        case(Rule::ConfigFollowsVolumes, vec![make_volume(), rescan(), fill_volume()]),
        case(Rule::VmidIsReserved, vec![make_volume(), fill_volume(), write_config()]),
        case(Rule::VmidIsReserved, vec![write_config(), reserve()]),
        case(Rule::StartFollowsConfig, vec![reserve(), start(), write_config()]),
        case(Rule::StartFollowsConfig, vec![start()]),
        case(Rule::OnlyAutomaticSnapshotsGo, vec![snapshot_of_guest_goes(by_hand)]),
        case(Rule::OnlyAutomaticSnapshotsGo, vec![snapshot_of_guest_goes(renamed)]),
        case(Rule::UnfinishedSnapshotStays, vec![snapshot_of_guest_goes(unfinished)]),
        case(Rule::SnapshotGoesAfterNew, early),
        case(Rule::RollbackStandsAlone, vec![roll_back(), thaw()]),
        case(Rule::RollbackStandsAlone, vec![new_guest_snapshot(), roll_back()]),
    ]
}

fn scopes() -> Vec<Case> {
    let quiet = Rule::FrozenOnlyForSnapshots;
    let of = |action: Action| Item::Step(action.step());
    let needing = |needs: Vec<usize>| Step { needs, ..thaw().step() };
    vec![
        (quiet, plan(vec![of(create()), frozen(vec![of(save())])])),
        (
            quiet,
            plan(
                [
                    steps(saved()).into_iter().map(Item::Step).collect(),
                    vec![frozen(vec![of(commit())])],
                ]
                .concat(),
            ),
        ),
        (quiet, plan(vec![frozen(vec![of(create()), frozen(vec![])])])),
        (quiet, plan(vec![frozen(vec![frozen(vec![of(thaw())])])])),
        (Rule::NeedsWhatIsBefore, row(vec![thaw().step(), needing(vec![0, 1])])),
        (
            Rule::NeedsWhatIsBefore,
            plan(vec![frozen(vec![of(create())]), Item::Step(needing(vec![2]))]),
        ),
    ]
}

/// Plans that each break one rule.
fn breaking() -> Vec<Case> {
    [volumes(), transfers(), commits(), points(), guests(), scopes()].concat()
}

#[test]
fn a_plan_that_breaks_a_rule_is_refused_with_that_rule_and_no_other() {
    for (rule, plan) in breaking() {
        assert_eq!(broken(&plan), BTreeSet::from([rule]), "{plan}");
    }
}

#[test]
fn every_rule_of_the_linter_is_broken_by_a_plan_here() {
    let broken: BTreeSet<Rule> = breaking().into_iter().map(|(rule, _)| rule).collect();
    let all: BTreeSet<Rule> = Rule::ALL.iter().copied().collect();
    assert!(all.len() >= 30, "rules are missing: {all:?}");
    let never: Vec<String> = all.difference(&broken).map(ToString::to_string).collect();
    assert!(never.is_empty(), "no plan breaks {never:?}");
}

#[test]
fn every_rule_that_a_plan_breaks_is_named_with_its_step() {
    let protected = RemovedPoint { is_protected: true, is_newest: true, ..point(1) };
    let violations = check(&row(steps(vec![save(), thaw(), hide(protected)]))).unwrap_err();
    let found: Vec<(Rule, &str)> =
        violations.iter().map(|found| (found.rule, found.step.as_str())).collect();
    let hide = "hide daily 2026-01-01T00:00:00Z";
    let transfer = "transfer ceph:vm-100-disk-0 base";
    assert_eq!(
        found,
        [
            (Rule::SavesOwnSnapshots, transfer),
            (Rule::ProtectedStays, hide),
            (Rule::NewestStays, hide)
        ]
    );
    assert_eq!(
        violations.to_string(),
        "the plan breaks the rule \"a transfer reads a snapshot that this run made\" with the step \
         \"transfer ceph:vm-100-disk-0 base\", the rule \"a protected restore point is never removed\" \
         with the step \"hide daily 2026-01-01T00:00:00Z\", the rule \"the newest complete restore point \
         is never removed\" with the step \"hide daily 2026-01-01T00:00:00Z\"; nothing was changed, please \
         report this"
    );
    let many = check(&row(steps(vec![save(); 9]))).unwrap_err().to_string();
    assert!(many.contains(", and 4 more; nothing was changed"), "{many}");
}

/// The plan that breaks no rule, so that it is the fault in each that is found.
#[test]
fn a_plan_that_keeps_the_rules_is_carried_out() {
    let rest = vec![audit(), release_base(), delete_base(), hide(point(1))];
    let needed = RemovedPoint { needed_by: vec![PointId(2)], ..point(1) };
    let hidden = RemovedPoint { is_hidden: true, ..point(3) };
    let moved = vec![copy(1), copy_marks(2), verify_copy(1), hand_over()];
    let moved = [moved, vec![remove_moved(point(1)), remove_moved(hidden)]].concat();
    let restore = vec![reserve(), delete_volume(), make_volume(), fill_volume(), write_config()];
    let snapshots = [steps(vec![create()]), steps(saved().split_off(1))];
    let [snapshots, rest_of_it] =
        snapshots.map(|steps| steps.into_iter().map(Item::Step).collect::<Vec<_>>());
    for plan in [
        row(committed(rest)),
        row(steps(vec![delete(point(2)), delete(needed.clone())])),
        row(steps(vec![merge(needed.clone()), delete(needed)])),
        row(steps(moved)),
        row(steps([restore, vec![start()]].concat())),
        row(steps(vec![reset(), release_base(), delete_base()])),
        row(steps(vec![new_guest_snapshot(), snapshot_of_guest_goes(guest_snapshot())])),
        row(steps(vec![adopt(), commit()])),
        plan([vec![frozen(snapshots)], rest_of_it, vec![Item::Step(commit().step())]].concat()),
        row(vec![thaw().step(), Step { needs: vec![0], ..thaw().step() }]),
    ] {
        assert_eq!(broken(&plan), BTreeSet::new(), "{plan}");
    }
}

#[test]
fn a_person_may_remove_the_newest_point_and_nobody_else() {
    let newest = RemovedPoint { is_newest: true, ..point(1) };
    let named = RemovedPoint { is_named: true, ..newest.clone() };
    let rules = |point| broken(&row(steps(vec![delete(point)])));
    assert_eq!(rules(named), BTreeSet::new());
    assert_eq!(rules(newest), BTreeSet::from([Rule::NewestStays]));
}
