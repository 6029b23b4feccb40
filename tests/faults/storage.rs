//! Every operation of the storage fails in turn, in every way, in every situation of a backup.

use crate::common::Lab;
use crate::situation::{Before, Situation, converges};
use pve_ferry::report::{GuestStatus, Report, Status};
use pve_ferry::storage::memory::{Fault, Operation};

/// Lets the n-th call of an operation fail for every n that a run reaches; `judge` says whether the
/// outcome is right.
fn each_call(operation: Operation, fault: Fault, judge: impl Fn(&Lab, &Report, &str)) -> usize {
    let mut cases = 0;
    for situation in Situation::ALL {
        for nth in 1.. {
            let lab = situation.lab();
            let before = Before::of(&lab);
            let called = calls(&lab, operation);
            lab.storage.inject(operation, nth, fault);
            let report = lab.backup(&situation.wanted());
            // What the test itself asks for counts, too, but comes afterwards.
            if calls(&lab, operation) < called + nth {
                break;
            }
            let context = format!("{situation:?}, {operation} {nth} {fault:?}");
            before.check(&lab, &report, &context);
            judge(&lab, &report, &context);
            converges(&lab, &situation.wanted(), &context);
            cases += 1;
        }
    }
    cases
}

fn calls(lab: &Lab, operation: Operation) -> usize {
    let word = format!("{operation} ");
    lab.storage.calls().iter().filter(|call| call.starts_with(&word)).count()
}

fn failed(_: &Lab, report: &Report, context: &str) {
    assert_eq!(report.status, Status::Failed, "{context}: {report:#?}");
    assert_eq!(report.exit_code(), 1, "{context}");
}

/// The point is there, but not all that was asked for: a warning, or a volume that is missing.
fn failed_or_said(_: &Lab, report: &Report, context: &str) {
    let outcome = &report.guests[0];
    if outcome.status == GuestStatus::Ok {
        let missing = outcome.skipped.iter().any(|skipped| !skipped.by_configuration);
        assert!(missing || !outcome.warnings.is_empty(), "{context}: silent: {outcome:#?}");
        assert_eq!(missing, report.exit_code() == 3, "{context}");
    }
}

#[test]
fn a_snapshot_that_cannot_be_made_fails_the_guest_and_leaves_none_d1_14() {
    assert_eq!(each_call(Operation::CreateSnapshot, Fault::Before, failed), 8);
    assert_eq!(each_call(Operation::CreateSnapshot, Fault::After, failed), 8);
}

#[test]
fn a_transfer_that_breaks_fails_the_guest_and_keeps_its_bases_f3_f4_d1_2() {
    for fault in [Fault::Before, Fault::After, Fault::Cut(0), Fault::Cut(40), Fault::Cut(7000)] {
        assert_eq!(each_call(Operation::Export, fault, failed), 8, "{fault:?}");
    }
}

#[test]
fn a_truncated_stream_whose_process_ends_well_fails_the_guest_d1_2() {
    for at in [0, 5, 12, 40, 4000, 5000] {
        let fault = Fault::SilentCut(at);
        assert_eq!(each_call(Operation::Export, fault, failed), 8, "{fault:?}");
    }
}

/// A volume that cannot be read is missing in the point and named; the others are saved. Where it
/// cannot be read later, the guest fails.
#[test]
fn a_volume_that_cannot_be_looked_at_is_named_and_never_ok() {
    let cases = each_call(Operation::Volume, Fault::Before, |_, report, context| {
        assert_ne!(report.status, Status::Ok, "{context}: {report:#?}");
    });
    assert!(cases >= 16, "{cases}");
}

/// Without the used bytes only the free space is not judged beforehand.
#[test]
fn a_size_that_cannot_be_measured_costs_no_backup() {
    let cases = each_call(Operation::UsedBytes, Fault::Before, |_, report, context| {
        assert_eq!(report.status, Status::Ok, "{context}");
    });
    assert_eq!(cases, 3, "two disks the first time, the one that was made again");
}

/// The point is there; the old snapshot is removed by the next run.
#[test]
fn an_old_snapshot_that_cannot_be_deleted_is_a_warning() {
    for fault in [Fault::Before, Fault::After] {
        let cases = each_call(Operation::DeleteSnapshot, fault, |lab, report, context| {
            assert_eq!(report.status, Status::Ok, "{context}");
            failed_or_said(lab, report, context);
        });
        assert_eq!(cases, 5, "two and one and two old snapshots");
        let cases = each_call(Operation::UnprotectSnapshot, fault, failed_or_said);
        assert_eq!(cases, 2);
    }
}

#[test]
fn a_snapshot_that_cannot_be_protected_fails_the_guest_before_the_commit() {
    for fault in [Fault::Before, Fault::After] {
        assert_eq!(each_call(Operation::ProtectSnapshot, fault, failed), 2, "{fault:?}");
    }
}

/// When taking back fails, too, what stays is named, and the next run removes it.
#[test]
fn what_cannot_be_taken_back_is_named_and_goes_with_the_next_run() {
    for situation in Situation::ALL {
        let lab = situation.lab();
        let before = lab.own_snapshots("vm-100-disk-0");
        lab.storage.inject(Operation::Export, 1, Fault::Cut(40));
        lab.storage.inject(Operation::DeleteSnapshot, 1, Fault::Before);
        lab.storage.inject(Operation::DeleteSnapshot, 1, Fault::Before);
        let report = lab.backup(&situation.wanted());
        failed(&lab, &report, "taking back fails");
        let now = lab.own_snapshots("vm-100-disk-0");
        assert!(before.iter().all(|base| now.contains(base)), "{before:?} in {now:?}");
        let warnings = &report.guests[0].warnings;
        assert_eq!(warnings.len(), 2, "{report:#?}");
        let stays = now.last().unwrap();
        assert!(warnings.iter().all(|w| w.contains(stays.as_str())), "{stays}: {warnings:#?}");
        lab.assert_points_are_whole("taking back fails");
        lab.assert_foreign_snapshots_stay("taking back fails");
        converges(&lab, &situation.wanted(), "taking back failed");
    }
}

#[test]
fn the_only_volume_that_cannot_be_read_fails_the_guest_d1_16() {
    let lab = Lab::empty();
    lab.add_guest(100, &[65_536]);
    lab.storage.inject(Operation::Volume, 1, Fault::Before);
    let report = lab.backup(&crate::common::Backup::default());
    assert_eq!(report.exit_code(), 1, "{report:#?}");
    let error = report.guests[0].error.clone().unwrap();
    assert!(error.contains("ceph:vm-100-disk-0") && error.contains("scsi0"), "{error}");
}

/// A machine without a uuid is told from others by its first disk; the second must not stand in.
#[test]
fn an_unreadable_first_volume_gives_a_guest_no_other_identity() {
    let lab = Lab::empty();
    lab.add_guest(100, &[65_536, 65_536]);
    let config = lab.config(100);
    let uuid = config.lines().find(|line| line.starts_with("smbios1")).unwrap();
    lab.edit_config(100, &format!("{uuid}\n"), "");
    lab.good_backup(&crate::common::Backup::default());
    lab.storage.inject(Operation::Volume, 1, Fault::Before);
    let report = lab.backup(&crate::common::Backup::default());
    assert_eq!(report.exit_code(), 1, "{report:#?}");
    assert_eq!(lab.guest_directories("repository").len(), 1);
    lab.good_backup(&crate::common::Backup::default());
    assert_eq!(lab.guest_directories("repository").len(), 1);
}
