//! Wrong diffs: the storage leaves a change out of an export and says nothing. The comparison with
//! the source notices it, the backup says so, and the next one is a base.

use crate::common::{Backup, Lab};
use pve_ferry::clock::Clock;
use pve_ferry::execute::DiskAudit;
use pve_ferry::operation::{AuditRequest, Meant};
use pve_ferry::report::{GuestStatus, Report};
use pve_ferry::repository::{Disk, LockMode, LockOptions, Repository, VerifyRequest};
use pve_ferry::retention::{Rules, Span};
use pve_ferry::run::{Mode, Performed, run};
use pve_ferry::storage::ObjectMap;
use pve_ferry::storage::memory::{Fault, Operation};

fn audited(parts: u64) -> Backup {
    Backup { audit: Some(parts), ..Backup::default() }
}

/// A lab whose second backup will get a wrong diff of one disk.
fn with_a_wrong_diff() -> Lab {
    let lab = Lab::new();
    lab.good_backup(&Backup::default());
    lab.write_somewhere(2);
    lab.storage.inject(Operation::Export, 1, Fault::OmitsAChange);
    lab
}

fn kinds(report: &Report) -> Vec<&str> {
    report.guests[0].volumes.iter().map(|volume| volume.kind.as_str()).collect()
}

/// Compares as `verify --source` does.
fn run_compared(lab: &Lab, parts: u64) -> Performed {
    let meant = Meant { vmids: Vec::new(), label: None };
    let request = AuditRequest { path: lab.repository("repository"), meant, parts };
    crate::common::block_on(run(lab.ctx(), request, Mode::Execute)).unwrap()
}

fn compared(lab: &Lab, parts: u64) -> Vec<DiskAudit> {
    let performed = run_compared(lab, parts);
    assert_eq!(performed.turns.len(), 1);
    DiskAudit::among(&performed.turns[0].findings).into_iter().cloned().collect()
}

/// Verifies all that is stored and notes the result, as `verify --mark`.
fn verify_and_mark(lab: &Lab) -> usize {
    let repository = Repository::open_target(&lab.repository("repository"), Disk::real()).unwrap();
    let directory = repository.guests().unwrap().remove(0);
    let request =
        VerifyRequest { select: &|_| true, subset: None, threads: 1, progress: &|_: u64| Ok(()) };
    let report = directory.verify(&request).unwrap();
    let lock = directory.lock(LockMode::Exclusive, &LockOptions::default()).unwrap();
    directory.mark_verified(&lock, &report, Clock::System.now()).unwrap();
    report.damage.len()
}

#[test]
fn a_wrong_diff_is_noticed_said_and_followed_by_a_base() {
    let lab = with_a_wrong_diff();
    let retention = Rules { retain: Some(Span::Points(1)), ..Rules::default() };
    let report = lab.backup(&Backup { retention, ..audited(1) });
    assert_eq!(report.exit_code(), 12, "{report:#?}");
    let guest = &report.guests[0];
    assert_eq!(guest.status, GuestStatus::Failed);
    let error = guest.error.as_deref().unwrap();
    for part in ["scsi", "bytes ", "blake3:", "committed", "new base"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert_eq!(guest.changes, Vec::<String>::new(), "nothing is pruned");
    let points = lab.points("repository");
    assert_eq!(points.len(), 2);
    assert!(!points[0].attributes.has_failed() && points[1].attributes.has_failed());
    assert_eq!(lab.own_snapshots("vm-100-disk-0").len(), 2, "nothing is deleted");
    lab.assert_foreign_snapshots_stay("after the difference");

    lab.write_somewhere(3);
    let report = lab.backup(&audited(1));
    assert_eq!(report.exit_code(), 0, "{report:#?}");
    assert!(kinds(&report).contains(&"base"), "{report:#?}");
    assert_eq!(lab.own_snapshots("vm-100-disk-0").len(), 1);
    assert!(!lab.points("repository")[2].attributes.has_failed());
}

#[test]
fn only_the_disk_that_differs_gets_a_base() {
    let lab = with_a_wrong_diff();
    assert_eq!(lab.backup(&audited(1)).exit_code(), 12);
    lab.write_somewhere(3);
    let mut found = kinds(&lab.backup(&audited(1))).join(" ");
    if found == "increment base" {
        found = "base increment".to_owned();
    }
    assert_eq!(found, "base increment");
}

#[test]
fn all_disks_that_differ_are_named() {
    let lab = with_a_wrong_diff();
    lab.storage.inject(Operation::Export, 2, Fault::OmitsAChange);
    let report = lab.backup(&audited(1));
    let error = report.guests[0].error.as_deref().unwrap();
    assert!(error.contains("scsi0 is not") && error.contains("scsi1 is not"), "{error}");
}

#[test]
fn a_failed_comparison_outlives_a_verification_that_finds_every_digest_right() {
    let lab = with_a_wrong_diff();
    assert_eq!(lab.backup(&audited(1)).exit_code(), 12);
    assert_eq!(verify_and_mark(&lab), 0, "the image is whole, only wrong");
    assert!(lab.points("repository")[1].attributes.has_failed());
    let report = lab.backup(&Backup::default());
    assert!(kinds(&report).contains(&"base"), "{report:#?}");
}

/// A volume that is empty for the most part: what is read is what it or the point holds, whatever its
/// size is.
#[test]
fn of_a_thin_volume_only_what_is_there_is_read() {
    let lab = Lab::new();
    let (volume, size, block) = ("vm-100-disk-0", 64 << 20, 16 << 10);
    lab.storage.resize(volume, size).unwrap();
    lab.storage.write(volume, 40 << 20, &[7; 40_000]).unwrap();
    lab.good_backup(&Backup::default());
    let found = compared(&lab, 1);
    let audited = found[0].result.as_ref().unwrap();
    assert!(audited.is_equal(), "{audited:?}");
    assert_eq!(audited.blocks, size / block, "each was asked for");
    let most = (40_000 / block + 2) * block + 256 * 1024;
    assert!(audited.bytes <= most, "{} bytes were read", audited.bytes);
}

#[test]
fn what_the_point_holds_and_the_source_has_not_is_a_difference() {
    let lab = Lab::new();
    let volume = "vm-100-disk-0";
    lab.storage.write(volume, 0, &[9; 32_768]).unwrap();
    lab.good_backup(&Backup::default());
    lab.storage.discard(volume, 0, 32_768).unwrap();
    lab.storage.inject(Operation::Export, 1, Fault::OmitsAChange);
    lab.storage.inject(Operation::Export, 2, Fault::OmitsAChange);
    let report = lab.backup(&audited(1));
    assert_eq!(report.exit_code(), 12, "{report:#?}");
}

#[test]
fn without_a_comparison_nobody_notices() {
    let lab = with_a_wrong_diff();
    assert_eq!(lab.backup(&Backup::default()).exit_code(), 0);
    assert_eq!(verify_and_mark(&lab), 0);
    let found = compared(&lab, 1);
    let differing = found.iter().filter(|d| !d.result.as_ref().unwrap().is_equal());
    assert_eq!(differing.count(), 1);
    assert!(lab.points("repository")[1].attributes.has_failed());
}

#[test]
fn a_difference_that_cannot_be_noted_is_said_all_the_same() {
    let lab = with_a_wrong_diff();
    assert_eq!(lab.backup(&Backup::default()).exit_code(), 0);
    let directory = lab.guest_directories("repository").remove(0);
    let reader = directory.lock(LockMode::Shared, &LockOptions::default()).unwrap();
    let found = run_compared(&lab, 1);
    assert_eq!(found.report.exit_code(), 12);
    let unnoted = &found.report.guests[0].warnings[0];
    assert!(unnoted.starts_with("what was found could not be noted: "), "{unnoted}");
    let disks = DiskAudit::among(&found.turns[0].findings).into_iter();
    let differing: Vec<String> = disks.filter_map(DiskAudit::what_differs).collect();
    assert!(differing.len() == 1 && differing[0].contains("blake3:"), "{differing:?}");
    drop(reader);
    assert!(!lab.points("repository")[1].attributes.has_failed());
    compared(&lab, 1);
    assert!(lab.points("repository")[1].attributes.has_failed());
}

#[test]
fn as_many_runs_as_parts_compare_everything() {
    const PARTS: u64 = 4;
    let lab = Lab::empty();
    lab.add_guest(crate::common::VMID, &[9 * 16_384]);
    lab.good_backup(&Backup::default());
    // The lost change lies in the block that the last part holds.
    lab.storage.write("vm-100-disk-0", 3 * 16_384 + 77, b"lost").unwrap();
    lab.storage.inject(Operation::Export, 1, Fault::OmitsAChange);
    let codes: Vec<u8> = (0..PARTS).map(|_| lab.backup(&audited(PARTS)).exit_code()).collect();
    assert_eq!(codes, [0, 0, 0, 12]);
}

#[test]
fn a_comparison_that_cannot_be_made_is_never_ok() {
    for fault in [Fault::Before, Fault::After] {
        let lab = Lab::new();
        lab.good_backup(&Backup::default());
        lab.write_somewhere(2);
        lab.storage.inject(Operation::Blocks, 2, fault);
        let retention = Rules { retain: Some(Span::Points(1)), ..Rules::default() };
        let report = lab.backup(&Backup { retention, ..audited(3) });
        assert_eq!(report.exit_code(), 1, "{report:#?}");
        let guest = &report.guests[0];
        let error = guest.error.as_deref().unwrap();
        assert!(error.contains("committed") && error.contains("nothing was pruned"), "{error}");
        assert_eq!(guest.changes, Vec::<String>::new());
        assert_eq!(lab.points("repository").len(), 2);
        // The snapshots that were replaced are gone all the same: they would pile up.
        assert_eq!(lab.own_snapshots("vm-100-disk-0").len(), 1);
        lab.assert_points_are_whole("after a comparison that was not made");
        lab.write_somewhere(3);
        let report = lab.backup(&audited(3));
        assert_eq!((report.exit_code(), kinds(&report)), (0, vec!["increment"; 2]));
    }
}

#[test]
fn an_interrupted_comparison_leaves_a_whole_point() {
    let lab = Lab::new();
    lab.good_backup(&Backup::default());
    lab.write_somewhere(2);
    let wish = lab.wish();
    lab.events.watch(move |event| {
        if event.contains("committed") {
            wish();
        }
    });
    let report = lab.backup(&audited(1));
    lab.events.unwatch();
    assert_eq!(report.exit_code(), 130, "{report:#?}");
    lab.good_backup(&audited(1));
    lab.assert_points_are_whole("after the next run");
    lab.assert_tidy(1, "after the next run");
}

#[test]
fn an_invalid_object_map_makes_a_base_that_equals_its_source() {
    let lab = Lab::new();
    lab.good_backup(&Backup::default());
    lab.write_somewhere(2);
    lab.storage.set_object_map("vm-100-disk-0", ObjectMap::Invalid).unwrap();
    let report = lab.backup(&audited(1));
    assert_eq!((report.exit_code(), kinds(&report)), (0, vec!["base", "increment"]), "{report:#?}");
    lab.assert_points_are_whole("after an invalid object map");
}

#[test]
fn damage_that_a_merge_meets_fails_the_backup_and_the_next_one_is_a_base_f9() {
    let lab = Lab::new();
    for round in 2..7 {
        lab.good_backup(&Backup::default());
        lab.write_somewhere(round);
    }
    let point = lab.points("repository").remove(2);
    let image = point.manifest.image(&"scsi0".parse().unwrap()).unwrap();
    let file = point.dir.join(&image.file);
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8].fill(0xee);
    std::fs::write(&file, &bytes).unwrap();
    let retention = Rules { keep: Some(1), ..Rules::default() };
    let merging = Backup { retention, ..Backup::default() };
    let report = lab.backup(&merging);
    let error = report.guests[0].error.clone().unwrap_or_default();
    assert_eq!(report.exit_code(), 12, "{report:#?}");
    assert!(error.contains("damaged") && error.contains("committed"), "{error}");
    let points = lab.points("repository");
    let visible = points.iter().filter(|point| !point.manifest.is_hidden());
    let failed: Vec<bool> = visible.map(|point| point.attributes.has_failed()).collect();
    assert_eq!(failed, [false, true], "the base needs nothing, the newest point needs it");
    assert_eq!(std::fs::read(&file).unwrap(), bytes, "nothing of it was touched");
    let report = lab.backup(&Backup::default());
    assert_eq!(report.exit_code(), 0, "{report:#?}");
    assert!(kinds(&report).contains(&"base"), "{report:#?}");
}

#[test]
fn what_cannot_be_compared_is_named_and_what_differed_is_cleared_by_a_whole_comparison_only() {
    let lab = with_a_wrong_diff();
    assert_eq!(lab.backup(&audited(1)).exit_code(), 12);
    // Half of the blocks being equal proves nothing about those that were not.
    compared(&lab, 1000);
    assert!(lab.points("repository")[1].attributes.has_failed());
    for volume in ["vm-100-disk-0", "vm-100-disk-1"] {
        let newest = lab.own_snapshots(volume).pop().unwrap();
        lab.storage.remove_snapshot(volume, &newest).unwrap();
    }
    let found = compared(&lab, 1);
    assert!(found.iter().all(|disk| disk.result.is_err()));
    assert!(lab.points("repository")[1].attributes.has_failed());
}
