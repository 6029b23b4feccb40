//! Disks that are no longer the guest's: given to another guest, which renames the image, or detached. Our
//! snapshot on them serves nobody, and would pin every block that is overwritten since.

use crate::common::{Backup, Lab, Restore, VMID, block_on};
use pve_ferry::operation::{ResetRequest, ResetTarget};
use pve_ferry::plan::reset::ResetPolicy;
use pve_ferry::report::Report;
use pve_ferry::run::{Mode, run};

const DISK: &str = "scsi1: ceph:vm-100-disk-1,size=64K\n";

/// Guest 126 gets the second disk of guest 100, as `qm disk move 100 scsi1 --target-vmid 126` does it.
fn given_away() -> Lab {
    let lab = Lab::new();
    lab.good_backup(&Backup::default());
    lab.add_guest(126, &[]);
    lab.edit_config(VMID, DISK, "");
    lab.storage.set_name("vm-100-disk-1", "vm-126-disk-0").unwrap();
    let text = lab.config(126) + "scsi0: ceph:vm-126-disk-0,size=64K\n";
    std::fs::write(lab.config_path("pve1", 126), text).unwrap();
    lab
}

fn taker() -> Backup {
    Backup { selection: "126".into(), ..Backup::default() }
}

#[test]
fn a_disk_that_another_guest_got_loses_the_givers_snapshot_with_its_next_whole_point() {
    let lab = given_away();
    lab.good_backup(&taker());
    assert_eq!(lab.own_snapshots("vm-126-disk-0").len(), 2, "the giver was not saved since");
    lab.good_backup(&Backup::default());
    assert_eq!(lab.own_snapshots("vm-126-disk-0").len(), 1);
    let kinds = lab.good_backup(&taker()).volumes.into_iter().map(|volume| volume.kind);
    assert_eq!(kinds.collect::<Vec<_>>(), ["increment"], "the taker's own snapshot stayed");
    let foreign = |name: &String| crate::common::FOREIGN.contains(&name.as_str());
    assert_eq!(lab.snapshots("vm-126-disk-0").into_iter().filter(foreign).count(), 4);
    assert_eq!(lab.restore(&Restore::to(901)).unwrap().exit_code(), 0);
}

#[test]
fn a_detached_disk_loses_our_snapshot_and_begins_anew_when_it_is_attached_again() {
    let lab = Lab::new();
    lab.good_backup(&Backup::default());
    lab.edit_config(VMID, DISK, "unused0: ceph:vm-100-disk-1\n");
    lab.good_backup(&Backup::default());
    assert!(lab.own_snapshots("vm-100-disk-1").is_empty());
    lab.edit_config(VMID, "unused0: ceph:vm-100-disk-1\n", DISK);
    let kinds = lab.good_backup(&Backup::default()).volumes.into_iter().map(|v| v.kind);
    assert_eq!(kinds.collect::<Vec<_>>(), ["increment", "base"]);
    lab.assert_tidy(1, "attached again");
    lab.assert_points_are_whole("attached again");
}

/// Its own runs are over: whoever has the disk now is told, each time, until a person decides.
#[test]
fn a_disk_whose_first_guest_was_destroyed_is_named_with_the_command_that_frees_it() {
    let lab = given_away();
    let named = |report: &Report| -> Vec<String> { report.guests[0].warnings.clone() };
    let report = lab.backup(&taker());
    assert_eq!(named(&report), [""; 0], "its own next run deletes the snapshot");
    std::fs::remove_file(lab.config_path("pve1", VMID)).unwrap();
    let report = lab.backup(&taker());
    assert_eq!(report.exit_code(), 0, "{report:#?}");
    let chain = lab.guest_directories("repository")[0].record().unwrap().chains;
    let chain = chain.values().next().unwrap();
    let command = format!("pve-ferry reset --volume ceph:vm-126-disk-0 --chain {chain}`");
    let [text] = &named(&report)[..] else { panic!("{report:#?}") };
    assert!(text.contains("guest 100 web100") && text.contains(&command), "{text}");
    // Another machine of that vmid is another guest.
    lab.add_guest(100, &[]);
    lab.edit_config(100, "000000000100", "0000000000ff");
    assert_eq!(named(&lab.backup(&taker())).len(), 1);
    // Without its repository a chain may be anybody's.
    let elsewhere = Backup { repository: "second", ..taker() };
    assert_eq!(named(&lab.backup(&elsewhere)), [""; 0]);

    let volumes = vec!["ceph:vm-126-disk-0".parse().unwrap()];
    let policy = ResetPolicy { label: None, chains: [*chain].into() };
    let target = ResetTarget::Volumes(volumes);
    let reset = ResetRequest { target, repository: None, policy };
    let performed = block_on(run(lab.ctx(), reset, Mode::Execute)).unwrap();
    assert_eq!(performed.report.exit_code(), 0, "{:#?}", performed.report);
    let report = lab.backup(&taker());
    assert_eq!(named(&report), [""; 0]);
    assert_eq!(report.guests[0].volumes[0].kind, "increment");
}

/// A disk that cannot be read now may be the very one that seems to have gone.
#[test]
fn while_a_disk_cannot_be_saved_no_departed_one_loses_its_snapshot_and_it_is_named() {
    let lab = given_away();
    let text = lab.config(VMID) + "scsi2: local:100/vm-100-disk-7.raw\n";
    std::fs::write(lab.config_path("pve1", VMID), text).unwrap();
    let report = lab.backup(&Backup::default());
    assert_eq!(report.exit_code(), 3, "{report:#?}");
    assert_eq!(lab.own_snapshots("vm-126-disk-0").len(), 1);
    let named = |w: &String| w.contains("volume ceph:vm-126-disk-0, which was scsi1");
    assert!(report.guests[0].warnings.iter().any(named), "{report:#?}");
}
