//! Each rule of the linter is broken by a plan, and it is that rule which is named. A rule that is
//! taken out of the linter, or that no plan here breaks, fails a test.

use pve_ferry::model::{
    ChainId, Guest, GuestKind, GuestSnapshot, Label, Moment, PointId, Share, SnapshotIdentity,
    SnapshotName, VmId, VolumeId, VolumeIdentity, VolumeShape,
};
use pve_ferry::plan::check::check;
use pve_ferry::plan::repair;
use pve_ferry::plan::{Action, CopiedPoint, Item, Plan, RemovedPoint, Scope};

/// The rules, as they stand in the linter's own text.
const LINTER: &str = include_str!("../../src/plan/check.rs");

fn guest() -> Guest {
    Guest { vmid: vmid(), kind: GuestKind::Qemu, name: String::new(), node: "pve1".into() }
}

fn vmid() -> VmId {
    "100".parse().unwrap()
}

fn volume() -> VolumeId {
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
    Action::CreateSnapshot { volume, identity, snapshot: name() }
}

fn save() -> Action {
    let disk = "scsi0".parse().unwrap();
    Action::SaveVolume { disk, volume: volume(), snapshot: name(), since: None }
}

fn check_config() -> Action {
    Action::CheckConfig { digest: "5f2c".into() }
}

fn audit() -> Action {
    let (disk, share) = ("scsi0".parse().unwrap(), Share { n: 1, of: 10 });
    Action::AuditVolume { disk, volume: volume(), share }
}

/// The base that the new point replaces.
fn delete_base() -> Action {
    let old = "ferry.0000001a.daily.20250101T000000Z";
    Action::DeleteSnapshot { volume: volume(), snapshot: identity(old) }
}

fn release_base() -> Action {
    let old = "ferry.0000001a.daily.20250101T000000Z";
    Action::ReleaseSnapshot { volume: volume(), snapshot: identity(old) }
}

fn make_volume() -> Action {
    let (disk, shape) = ("scsi0".parse().unwrap(), VolumeShape::default());
    Action::CreateVolume { disk, volume: volume(), shape }
}

fn fill_volume() -> Action {
    Action::RestoreVolume { disk: "scsi0".parse().unwrap(), volume: volume() }
}

fn write_config() -> Action {
    let (kind, node) = (GuestKind::Qemu, "pve1".into());
    Action::WriteConfig { vmid: vmid(), kind, node, replaces: None }
}

fn delete_volume() -> Action {
    Action::DeleteVolume { volume: volume(), identity: VolumeIdentity::Memory { id: 1 } }
}

fn adopt() -> Action {
    let (disk, from) = ("scsi0".parse().unwrap(), "barc/100/daily".into());
    Action::AdoptVolume { disk, volume: volume(), snapshot: identity("barcdaily"), from }
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
    Action::CreateGuestSnapshot { name: "autodaily260102000000".into(), with_memory: false }
}

fn plan(items: Vec<Item>) -> Plan {
    let (skipped, warnings, kept) = (Vec::new(), Vec::new(), Vec::new());
    Plan { guest: guest(), items, skipped, warnings, kept, not_whole: Vec::new() }
}

fn broken(actions: Vec<Action>) -> Option<&'static str> {
    let items = actions.into_iter().map(|action| Item::Step(action.step())).collect();
    check(&plan(items)).err().map(|violation| violation.rule)
}

fn frozen(action: Action) -> Option<&'static str> {
    let scope = Scope::Frozen { seconds: 10, answer: 3600 };
    check(&plan(vec![Item::Scope(scope, vec![action.step()])])).err().map(|found| found.rule)
}

/// Plans that each break one rule, with what is broken.
fn breaking() -> Vec<(Option<&'static str>, &'static str)> {
    use Action::*;
    let protected = RemovedPoint { is_protected: true, ..point(1) };
    let newest = RemovedPoint { is_newest: true, ..point(1) };
    let needed = RemovedPoint { needed_by: vec![PointId(2)], ..point(1) };
    let by_hand = GuestSnapshot { description: "before the update".into(), ..guest_snapshot() };
    let unfinished = GuestSnapshot { unfinished: Some("delete".into()), ..guest_snapshot() };
    let foreign = DeleteSnapshot { volume: volume(), snapshot: identity("before-the-update") };
    let reset = || ResetChain { chain: ChainId(0x1a) };
    vec![
        (frozen(save()), "a frozen scope contains only snapshot creation"),
        (frozen(Action::CommitRestorePoint), "a frozen scope contains only snapshot creation"),
        (
            broken(vec![create(), save(), check_config(), CommitRestorePoint, foreign]),
            "only snapshots of this chain are deleted",
        ),
        (
            broken(vec![create(), save(), check_config(), delete_base(), CommitRestorePoint]),
            "a base is deleted only after its successor is committed",
        ),
        (
            broken(vec![create(), release_base(), save(), check_config(), CommitRestorePoint]),
            "a base is deleted only after its successor is committed",
        ),
        (
            broken(vec![make_volume(), delete_volume()]),
            "what an interrupted restore left goes before a restore makes anything",
        ),
        (broken(vec![fill_volume()]), "a restore writes only to volumes that it made"),
        (
            broken(vec![make_volume(), write_config(), fill_volume()]),
            "configuration comes after all volumes",
        ),
        (
            broken(vec![StartGuest { vmid: vmid() }, write_config()]),
            "a guest is started only after its configuration is written",
        ),
        (broken(vec![save(), create()]), "a transfer reads a snapshot that this run made"),
        (
            broken(vec![create(), save(), audit(), check_config(), CommitRestorePoint]),
            "a point is compared with its source after its commit",
        ),
        (
            broken(vec![
                create(),
                save(),
                check_config(),
                CommitRestorePoint,
                delete_base(),
                audit(),
            ]),
            "nothing goes before the comparison with the source",
        ),
        (broken(vec![reset(), create()]), "a chain is reset by a plan that saves nothing"),
        (
            broken(vec![Mend(repair::Mend::GuestRecord), HidePoint(point(1))]),
            "a repair takes nothing away",
        ),
        (broken(vec![HidePoint(protected.clone())]), "a protected restore point is never removed"),
        (
            broken(vec![DeleteRestorePoint(newest.clone())]),
            "the newest complete restore point is never removed",
        ),
        (
            broken(vec![create(), save(), check_config(), HidePoint(point(1)), CommitRestorePoint]),
            "points are removed only after the new one is committed",
        ),
        (
            broken(vec![CopyPoint(copied(1)), RemoveMoved(point(1))]),
            "a point is moved only after its copy was verified",
        ),
        (
            broken(vec![VerifyCopy(copied(1)), RemoveMoved(point(1)), CopyPoint(copied(2))]),
            "points are moved only after all copies and their marks",
        ),
        (
            broken(vec![HandOverChain { label: label() }]),
            "a chain is handed over between all copies and the first removal",
        ),
        (
            broken(vec![DeleteGuestSnapshot(by_hand)]),
            "only automatic snapshots of guests are removed",
        ),
        (broken(vec![DeleteGuestSnapshot(unfinished)]), "an unfinished snapshot is left to PVE"),
        (
            broken(vec![DeleteGuestSnapshot(guest_snapshot()), new_guest_snapshot()]),
            "snapshots are removed only after the new one was made",
        ),
        (
            broken(vec![RollbackGuest(guest_snapshot()), StartGuest { vmid: vmid() }]),
            "a rollback is a plan of its own",
        ),
        (
            broken(vec![MergeImages { into: point(2), from: vec![protected] }]),
            "a protected or newest restore point never merges into another",
        ),
        (
            broken(vec![MergeImages { into: point(2), from: vec![newest] }]),
            "a protected or newest restore point never merges into another",
        ),
        (
            broken(vec![adopt(), CommitRestorePoint, ThawGuest { after: 0 }]),
            "an adoption adds a point and does nothing else",
        ),
        (
            broken(vec![create(), check_config(), CommitRestorePoint]),
            "a point is committed when every snapshot is saved",
        ),
        (
            broken(vec![create(), save(), CommitRestorePoint]),
            "a point is committed after the configuration was read again",
        ),
        (
            broken(vec![DeleteRestorePoint(needed)]),
            "an image that a restore point needs is never deleted",
        ),
    ]
}

#[test]
fn a_plan_that_breaks_a_rule_is_refused_with_that_rule() {
    for (found, rule) in breaking() {
        assert_eq!(found, Some(rule));
    }
}

#[test]
fn every_rule_of_the_linter_is_broken_by_a_plan_here() {
    let known: Vec<&str> = breaking().into_iter().map(|(_, rule)| rule).collect();
    let code = LINTER.split("#[cfg(test)]").next().unwrap();
    let rules: Vec<&str> = code.split("ensure(").skip(1).filter_map(rule_of).collect();
    assert!(rules.len() >= 24, "the linter's rules were not found: {rules:?}");
    for rule in rules {
        assert!(known.contains(&rule), "no plan breaks the rule {rule:?}");
    }
}

/// The text between the first two quotes of a call of `ensure`.
fn rule_of(call: &str) -> Option<&str> {
    let arguments = call.split(';').next()?;
    let mut quoted = arguments.split('"').skip(1);
    quoted.next()
}

/// The plan that breaks no rule, so that it is the fault in each that is found.
#[test]
fn a_backup_that_keeps_the_rules_is_carried_out() {
    let actions = vec![create(), save(), check_config(), Action::CommitRestorePoint];
    let rest = vec![audit(), release_base(), delete_base(), Action::HidePoint(point(1))];
    assert_eq!(broken(actions.into_iter().chain(rest).collect()), None);
    let restore = vec![delete_volume(), make_volume(), fill_volume(), write_config()];
    let start = Action::StartGuest { vmid: vmid() };
    assert_eq!(broken(restore.into_iter().chain([start]).collect()), None);
}
