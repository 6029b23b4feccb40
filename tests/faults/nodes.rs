//! A storage id that is another storage on each node: whatever is done to a guest's volume is done to the
//! one of its node, and never to one of the same name elsewhere.

use crate::common::{Backup, Lab, Restore, block_on};
use pve_ferry::execute::DiskAudit;
use pve_ferry::operation::{AuditRequest, Meant, ResetRequest, ResetTarget};
use pve_ferry::plan::reset::ResetPolicy;
use pve_ferry::report::Report;
use pve_ferry::repository::{Disk, Repository};
use pve_ferry::run::{Mode, run};
use pve_ferry::select::Selection;
use pve_ferry::storage::{Memory, Storage};

const VOLUME: &str = "vm-102-disk-0";
const SIZE: u64 = 65_536;

/// Guest 102 is on pve2; on pve1, where runs are started, a volume of the same storage id and name was
/// left behind.
fn lab() -> Lab {
    let lab = Lab::empty();
    lab.add_local_guest("pve2", 102, SIZE);
    lab.local["pve2"].write(VOLUME, 1000, &[2; 5000]).unwrap();
    lab.local["pve1"].add_volume(VOLUME, SIZE).unwrap();
    lab.local["pve1"].write(VOLUME, 1000, &[1; 5000]).unwrap();
    lab
}

fn backup() -> Backup {
    Backup { selection: "102".into(), audit: Some(1), ..Backup::default() }
}

fn snapshots(storage: &Memory) -> Vec<String> {
    let facts = block_on(Storage::Memory(storage.clone()).volume(VOLUME)).unwrap().unwrap();
    facts.snapshots.into_iter().map(|snapshot| snapshot.identity.name).collect()
}

/// Nothing but questions has come to the volume of the same name on the other node.
fn assert_never_asked(lab: &Lab, node: &str) {
    let calls = lab.local[node].calls();
    let about_it = calls.iter().filter(|call| call.contains(VOLUME));
    assert_eq!(about_it.collect::<Vec<_>>(), Vec::<&String>::new());
}

fn reset(lab: &Lab) -> Report {
    let path = lab.repository("repository");
    let request = ResetRequest {
        target: ResetTarget::Guests(Selection::parse("102").unwrap()),
        repository: Some(Repository::open_target(&path, Disk::real()).unwrap()),
        policy: ResetPolicy::default(),
    };
    block_on(run(lab.ctx(), request, Mode::Execute)).unwrap().report
}

#[test]
fn a_backup_saves_and_compares_the_volume_of_the_guests_own_node() {
    let lab = lab();
    lab.good_backup(&backup());
    lab.local["pve2"].write(VOLUME, 30_000, &[3; 9000]).unwrap();
    let outcome = lab.good_backup(&backup());
    assert_eq!(outcome.volumes[0].kind, "increment");
    lab.assert_points_are_whole("two points of a node-local volume");
    assert_eq!(snapshots(&lab.local["pve2"]).len(), 1);
    assert_never_asked(&lab, "pve1");
}

#[test]
fn a_plan_says_which_nodes_volume_it_means_and_a_report_names_it_as_pve_does() {
    let lab = lab();
    let plans = lab.perform_backup(&Backup { mode: Mode::DryRun, ..backup() }).unwrap().plans;
    let plan = plans.iter().map(ToString::to_string).collect::<String>();
    assert!(plan.contains("/pve2/local-zfs:vm-102-disk-0@ferry."), "{plan}");
    let outcome = lab.good_backup(&backup());
    assert_eq!(outcome.volumes[0].volume, "local-zfs:vm-102-disk-0");
}

#[test]
fn a_point_is_compared_with_the_node_that_it_was_made_on() {
    let lab = lab();
    lab.good_backup(&backup());
    let meant = Meant { vmids: Vec::new(), label: None };
    let request = AuditRequest { path: lab.repository("repository"), meant, parts: 1 };
    let performed = block_on(run(lab.ctx(), request, Mode::Execute)).unwrap();
    let disks = DiskAudit::among(&performed.turns[0].findings);
    assert!(disks[0].result.as_ref().unwrap().is_equal());
    assert_never_asked(&lab, "pve1");
}

#[test]
fn a_reset_deletes_the_snapshots_of_the_guests_own_node() {
    let lab = lab();
    lab.good_backup(&backup());
    let report = reset(&lab);
    assert_eq!(report.exit_code(), 0, "{report:#?}");
    assert_eq!(snapshots(&lab.local["pve2"]), Vec::<String>::new());
    assert_never_asked(&lab, "pve1");
}

#[test]
fn a_restore_makes_the_volume_on_the_node_that_gets_the_guest() {
    let lab = lab();
    lab.good_backup(&backup());
    let before = lab.local["pve2"].calls().len();
    let mut wanted = Restore::to(901);
    wanted.sought.vmid = 102.try_into().unwrap();
    let report = lab.restore(&wanted).unwrap();
    assert_eq!(report.exit_code(), 0, "{report:#?}");
    let restored = lab.local["pve1"].read("vm-901-disk-0").unwrap();
    assert!(restored == lab.local["pve2"].read(VOLUME).unwrap());
    assert!(lab.config(901).contains("scsi0: local-zfs:vm-901-disk-0"));
    assert_eq!(lab.local["pve2"].calls().len(), before, "the other node was not asked");
}

/// What a dead restore noted on one node's storage says nothing of a volume of that name on another's.
#[test]
fn what_an_interrupted_restore_left_is_sought_on_the_node_where_it_was_made() {
    let lab = lab();
    lab.good_backup(&backup());
    let (first, mut wanted) = ("ferry-new-901-0000000000000007", Restore::to(901));
    wanted.sought.vmid = 102.try_into().unwrap();
    for (noted, stays) in [("pve2", true), ("pve1", false)] {
        for node in ["pve1", "pve2"] {
            let _ = lab.local[node].add_volume(first, SIZE);
        }
        let volume = format!("/{noted}/local-zfs:vm-901-disk-0").parse().unwrap();
        let (vmid, at) = (901.try_into().unwrap(), lab.clock.now());
        drop(lab.unfinished().note(vmid, &volume, first, at).unwrap());
        let report = lab.restore(&wanted).unwrap();
        assert_eq!(report.exit_code(), 0, "{report:#?}");
        assert_eq!(lab.local["pve1"].read(first).is_ok(), stays, "noted on {noted}");
        assert!(lab.local["pve2"].read(first).is_ok(), "the other node was asked");
        std::fs::remove_file(lab.config_path("pve1", 901)).unwrap();
        lab.local["pve1"].set_name("vm-901-disk-0", &format!("done-{noted}")).unwrap();
    }
}

#[test]
fn a_volume_that_only_another_node_has_does_not_exist_for_the_guest() {
    let lab = lab();
    lab.good_backup(&backup());
    // The configuration was moved by hand, and the volume was not.
    lab.local["pve1"].set_name(VOLUME, "other").unwrap();
    std::fs::rename(lab.config_path("pve2", 102), lab.config_path("pve1", 102)).unwrap();
    let report = lab.backup(&backup());
    assert_ne!(report.exit_code(), 0, "{report:#?}");
    assert!(format!("{report:?}").contains("volume local-zfs:vm-102-disk-0 does not exist"));
    assert_eq!(snapshots(&lab.local["pve2"]).len(), 1, "its base stays");
}
