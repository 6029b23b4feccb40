//! Pruning, alone and as part of a backup: what stays is whole, whatever fails, and the next run
//! converges.

use crate::common::{Backup, Lab, VMID, block_on, read_chain};
use pve_ferry::operation::{PointAct, PointRequest, PruneRequest};
use pve_ferry::report::{GuestStatus, Report};
use pve_ferry::repository::image::ChainReader;
use pve_ferry::repository::{
    Attributes, Disk, Fault, FileOperation, LockMode, LockOptions, Repository, chain_of,
};
use pve_ferry::retention::{Rules, Span};
use pve_ferry::run::{Mode, Performed, run};
use pve_ferry::survey::SurveyedPoint;
use std::path::PathBuf;
use std::sync::Arc;

pub fn retain(points: u32) -> Rules {
    Rules { retain: Some(Span::Points(points)), ..Rules::default() }
}

fn renewing() -> Backup {
    Backup { renew: Some(Span::Points(2)), ..Backup::default() }
}

/// Points whose images are base, increment, increment, base, increment, increment.
pub fn two_chains() -> Lab {
    let lab = Lab::new();
    for round in 2..8 {
        lab.good_backup(&renewing());
        lab.write_somewhere(round);
    }
    lab
}

pub fn pruned(lab: &Lab, rules: Rules, disk: Disk, mode: Mode) -> Performed {
    lab.clock.advance(60);
    let request = PruneRequest {
        selection: None,
        label: None,
        repository: Repository::open_target(&lab.repository("repository"), disk).unwrap(),
        rules,
    };
    block_on(run(Arc::new(lab.without_cluster()), request, mode)).unwrap()
}

pub fn visible(lab: &Lab) -> Vec<PathBuf> {
    visible_in(lab, "repository")
}

pub fn visible_in(lab: &Lab, repository: &str) -> Vec<PathBuf> {
    let points = lab.points(repository).into_iter();
    points.filter(|point| !point.manifest.is_hidden()).map(|point| point.dir).collect()
}

/// Every point that is there is bit by bit what its volumes were, hidden ones too.
pub fn assert_whole(lab: &Lab, context: &str) {
    for directory in lab.guest_directories("repository") {
        let history = directory.load().unwrap();
        assert_eq!(history.unreadable, [], "{context}");
        for point in &history.points {
            for image in &point.manifest.images {
                let links = chain_of(&history, point, &image.disk).unwrap();
                let bytes = read_chain(&ChainReader::open(&links).unwrap());
                let expected = lab.expected(point, image.disk.as_str());
                assert!(bytes == expected, "{context}: {} of {}", image.disk, point.dir.display());
            }
        }
    }
}

#[test]
fn a_dry_run_says_keep_or_remove_and_why_and_changes_nothing() {
    let lab = two_chains();
    let before = visible(&lab);
    let performed = pruned(&lab, retain(2), Disk::real(), Mode::DryRun);
    let text = performed.plans[0].to_string();
    assert_eq!(text.matches("\n  remove ").count(), 3, "{text}");
    assert_eq!(text.matches("\n  hide ").count(), 1, "{text}");
    assert_eq!(text.matches("\n  keep ").count(), 2, "{text}");
    assert!(text.contains("because retain 2"), "{text}");
    assert_eq!(visible(&lab), before);
}

#[test]
fn a_prune_removes_the_old_chain_and_hides_the_base_of_the_new_one() {
    let lab = two_chains();
    let before = visible(&lab);
    let report = pruned(&lab, retain(2), Disk::real(), Mode::Execute).report;
    assert_eq!(report.exit_code(), 0, "{report:#?}");
    assert_eq!(report.guests[0].changes.len(), 4, "{report:#?}");
    assert_eq!(visible(&lab), before[4..]);
    assert_eq!(lab.points("repository").len(), 3, "the hidden base stays");
    assert_whole(&lab, "pruned");
    let again = pruned(&lab, retain(2), Disk::real(), Mode::Execute).report;
    assert_eq!(again.guests[0].changes, [""; 0], "a second run has nothing to do");
    let outcome = lab.good_backup(&Backup::default());
    assert!(outcome.volumes.iter().all(|volume| volume.kind == "increment"), "{outcome:#?}");
    assert_whole(&lab, "backed up again");
}

#[test]
fn keep_merges_increments_and_every_disk_stays_whole_f6() {
    let lab = Lab::new();
    let rules = Rules { keep: Some(2), ..Rules::default() };
    let wanted = Backup { retention: rules, ..Backup::default() };
    for round in 2..9 {
        let outcome = lab.good_backup(&wanted);
        assert_eq!(outcome.warnings, [""; 0], "round {round}");
        assert_whole(&lab, &format!("round {round}"));
        assert!(lab.points("repository").len() <= 3, "one base and two increments");
        lab.write_somewhere(round);
    }
    assert_eq!(visible(&lab).len(), 3);
    lab.assert_tidy(1, "keep 2");
}

#[test]
fn keep_1_merges_into_the_point_that_the_run_makes() {
    let lab = Lab::new();
    let keep = Rules { keep: Some(1), ..Rules::default() };
    for round in 2..6 {
        let guest = lab.good_backup(&Backup { retention: keep.clone(), ..Backup::default() });
        assert_eq!(guest.warnings, Vec::<String>::new(), "round {round}");
        let points = lab.points("repository");
        assert!(points.len() <= 2, "round {round}: {} points are stored", points.len());
        assert_whole(&lab, &format!("round {round}"));
        lab.write_somewhere(round);
    }
}

#[test]
fn damage_that_a_prune_meets_while_it_merges_is_damage_and_touches_nothing_f9() {
    let lab = Lab::new();
    for round in 2..7 {
        lab.good_backup(&Backup::default());
        lab.write_somewhere(round);
    }
    let keep = || Rules { keep: Some(1), ..Rules::default() };
    let point = lab.points("repository").remove(2);
    let image = point.dir.join(&point.manifest.image(&"scsi0".parse().unwrap()).unwrap().file);
    let whole = std::fs::read(&image).unwrap();
    let mut bytes = whole.clone();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8].fill(0xee);
    std::fs::write(&image, &bytes).unwrap();
    let report = pruned(&lab, keep(), Disk::real(), Mode::Execute).report;
    assert_eq!(report.exit_code(), 12, "{report:#?}");
    let error = report.guests[0].error.clone().unwrap();
    for part in ["merge", "scsi0.increment.rbd.zst is damaged", "`verify --mark`"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert_eq!(std::fs::read(&image).unwrap(), bytes, "nothing of it was touched");
    assert_eq!(lab.points("repository").len(), 5);
    std::fs::write(&image, &whole).unwrap();
    assert_eq!(pruned(&lab, keep(), Disk::real(), Mode::Execute).report.exit_code(), 0);
    assert_whole(&lab, "mended");
}

/// A point that cannot be read may need any other: nothing goes, and the code says so.
#[test]
fn a_prune_that_may_remove_nothing_is_not_ok() {
    let lab = two_chains();
    let manifest = lab.points("repository").remove(2).dir.join("manifest.json");
    let whole = std::fs::read_to_string(&manifest).unwrap();
    let newer = whole.replacen("\"format\": 1", "\"format\": 2", 1);
    assert_ne!(newer, whole);
    for (text, code, next) in [(&whole[1..], 12, "`verify`"), (&newer[..], 1, "the version")] {
        std::fs::write(&manifest, text).unwrap();
        for mode in [Mode::Execute, Mode::DryRun] {
            let report = pruned(&lab, retain(1), Disk::real(), mode).report;
            assert_eq!(report.exit_code(), code, "{report:#?}");
            assert_eq!(report.guests[0].warnings, [""; 0], "it is said once");
            let error = report.guests[0].error.clone().unwrap();
            for part in ["nothing of this guest is removed", "manifest.json", next] {
                assert!(error.contains(part), "{part}: {error}");
            }
        }
    }
    std::fs::write(&manifest, &whole).unwrap();
    assert_eq!(lab.points("repository").len(), 6, "nothing went");
    assert_eq!(pruned(&lab, retain(1), Disk::real(), Mode::Execute).report.exit_code(), 0);
}

#[test]
fn each_write_of_a_prune_that_merges_leaves_whole_points() {
    let mut failed = 0;
    for nth in 0.. {
        let lab = Lab::new();
        for round in 2..6 {
            lab.good_backup(&Backup::default());
            lab.write_somewhere(round);
        }
        let before = visible(&lab);
        let rules = Rules { keep: Some(1), ..Rules::default() };
        let context = format!("write {nth}");
        let disk = Disk::failing_at(nth, Fault::NoSpace);
        let report = pruned(&lab, rules.clone(), disk.clone(), Mode::Execute).report;
        if disk.writes() <= nth {
            break;
        }
        failed += usize::from(report.guests[0].status == GuestStatus::Failed);
        assert!([0, 1].contains(&report.exit_code()), "{context}: no damage: {report:#?}");
        assert_whole(&lab, &context);
        lab.earlier_process_is_dead("repository");
        let report = pruned(&lab, rules, Disk::real(), Mode::Execute).report;
        assert_eq!(report.exit_code(), 0, "{context}: {report:#?}");
        assert_eq!(visible(&lab), [before[0].clone(), before[3].clone()], "{context}");
        assert_whole(&lab, &context);
    }
    assert!(failed > 10, "{failed} writes were let fail");
}

#[test]
fn a_protected_point_stays_through_every_rule() {
    let lab = two_chains();
    let directory = lab.guest_directories("repository").remove(0);
    let first = directory.load().unwrap().points.remove(0);
    let options = LockOptions { wait: None, what: "test".into() };
    let lock = directory.lock(LockMode::Exclusive, &options).unwrap();
    let attributes = Attributes { protected: true, ..first.attributes.clone() };
    directory.set_attributes(&lock, &first, &attributes).unwrap();
    drop(lock);
    pruned(&lab, retain(1), Disk::real(), Mode::Execute);
    let visible = visible(&lab);
    assert_eq!(visible.len(), 2);
    assert_eq!(visible[0], first.dir);
    assert_whole(&lab, "protected");
}

#[test]
fn a_wish_to_stop_that_came_before_the_point_is_touched_keeps_it() {
    let lab = two_chains();
    let before = visible(&lab);
    let directory = lab.guest_directories("repository").remove(0);
    let notes = None;
    for act in [PointAct::Delete, PointAct::Protect { notes }] {
        let history = directory.load().unwrap();
        let point = history.points.last().unwrap().clone();
        let found = SurveyedPoint { directory: directory.clone(), history, point };
        let ctx = lab.without_cluster();
        ctx.cancel.cancel();
        let request = PointRequest { act, found };
        let report = block_on(run(Arc::new(ctx), request, Mode::Execute)).unwrap().report;
        assert_eq!(report.exit_code(), 130, "{report:#?}");
        assert!(report.guests[0].changes.is_empty(), "{report:#?}");
    }
    assert_eq!(visible(&lab), before);
    assert!(!directory.load().unwrap().points.last().unwrap().is_protected());
}

#[test]
fn a_locked_guest_is_not_pruned_and_the_code_says_so() {
    let lab = two_chains();
    let options = LockOptions { wait: None, what: "test".into() };
    let directory = lab.guest_directories("repository").remove(0);
    let lock = directory.lock(LockMode::Shared, &options).unwrap();
    let before = visible(&lab);
    let report = pruned(&lab, retain(1), Disk::real(), Mode::Execute).report;
    assert_eq!(report.exit_code(), 11, "{report:#?}");
    assert_eq!(visible(&lab), before);
    drop(lock);
}

/// After each fault the points that are kept are whole, and a run without a fault ends the work.
fn each_write_of_prune(fault: Fault) {
    let mut failed = 0;
    for nth in 0.. {
        let lab = two_chains();
        let kept = visible(&lab)[4..].to_vec();
        let context = format!("write {nth}, {fault:?}");
        let disk = Disk::failing_at(nth, fault);
        let report = pruned(&lab, retain(2), disk.clone(), Mode::Execute).report;
        if disk.writes() <= nth {
            break;
        }
        failed += usize::from(report.guests[0].status == GuestStatus::Failed);
        let now = visible(&lab);
        assert!(kept.iter().all(|dir| now.contains(dir)), "{context}: a kept point is gone");
        assert_whole(&lab, &context);
        lab.earlier_process_is_dead("repository");
        let report = pruned(&lab, retain(2), Disk::real(), Mode::Execute).report;
        assert_eq!(report.exit_code(), 0, "{context}: {report:#?}");
        assert_eq!(visible(&lab), kept, "{context}");
        assert_whole(&lab, &context);
        lab.good_backup(&Backup::default());
        lab.assert_tidy(1, &context);
    }
    assert!(failed > 10, "{fault:?}: {failed} writes were let fail");
}

#[test]
fn a_full_repository_never_costs_a_kept_point() {
    each_write_of_prune(Fault::NoSpace);
}

#[test]
fn a_repository_with_errors_never_costs_a_kept_point() {
    each_write_of_prune(Fault::Io);
}

#[test]
fn a_repository_that_vanishes_while_it_is_pruned_never_costs_a_kept_point() {
    each_write_of_prune(Fault::Vanish);
}

#[test]
fn a_backup_with_retention_prunes_only_what_a_whole_new_point_replaces() {
    let lab = two_chains();
    let wanted = Backup { retention: retain(2), ..renewing() };
    let outcome = lab.good_backup(&wanted);
    assert_eq!(outcome.changes.len(), 7, "{outcome:#?}");
    assert_eq!(visible(&lab).len(), 2);
    assert_whole(&lab, "pruned by a backup");

    // A disk that cannot be read: the run is no success, and the older points stay.
    lab.write_somewhere(40);
    lab.edit_config(VMID, "scsi1: ceph:", "scsi1: elsewhere:");
    let report = lab.backup(&Backup { retention: retain(1), ..Backup::default() });
    assert_eq!(report.exit_code(), 3, "{report:#?}");
    assert_eq!(report.guests[0].changes, [""; 0]);
    assert_eq!(visible(&lab).len(), 3);
}

/// The storage of one disk is lost, and every night's point lacks it.
#[test]
fn the_last_point_that_holds_a_lost_disk_stays_however_many_nights_it_lasts() {
    let lab = Lab::new();
    lab.good_backup(&Backup::default());
    let last_whole = visible(&lab).remove(0);
    lab.edit_config(VMID, "scsi1: ceph:", "scsi1: elsewhere:");
    for night in 2..6 {
        lab.write_somewhere(night);
        assert_eq!(lab.backup(&Backup::default()).exit_code(), 3);
        let report = pruned(&lab, retain(1), Disk::real(), Mode::Execute).report;
        assert_eq!(report.exit_code(), 0, "{report:#?}");
        let said = report.guests[0].warnings.iter().any(|text| text.contains("lacks scsi1"));
        assert!(said, "{report:#?}");
        assert_eq!(visible(&lab)[0], last_whole, "night {night}");
    }
    // Ages count from the last that is whole: nothing of what is newer goes, however long it lasts.
    let all = visible(&lab);
    lab.clock.advance(9 * 86_400);
    let week = Rules { retain: Some(Span::Days(7)), ..Rules::default() };
    pruned(&lab, week, Disk::real(), Mode::Execute);
    assert_eq!(visible(&lab), all);
    assert_whole(&lab, "scsi1 is lost");

    // The disk is back: the pruning of a backup does not count those points either.
    lab.edit_config(VMID, "scsi1: elsewhere:", "scsi1: ceph:");
    let outcome = lab.good_backup(&Backup { retention: retain(2), ..Backup::default() });
    assert_eq!(visible(&lab).len(), all.len() + 1, "{outcome:#?}");
    lab.write_somewhere(9);
    let outcome = lab.good_backup(&Backup { retention: retain(2), ..Backup::default() });
    assert!(!visible(&lab).contains(&last_whole), "two newer ones are whole: {outcome:#?}");
    assert_whole(&lab, "scsi1 is back");
}

#[test]
fn each_write_of_a_backup_with_retention_leaves_whole_points_and_a_newest_one() {
    let plain = Disk::failing_at(u64::MAX, Fault::NoSpace);
    two_chains().good_backup(&Backup { disk: plain.clone(), ..Backup::default() });
    // What fails before the commit is the same without retention, and tested there.
    for nth in plain.writes() - 12.. {
        let lab = two_chains();
        let before = visible(&lab);
        let context = format!("write {nth}");
        let disk = Disk::failing_at(nth, Fault::NoSpace);
        let wanted = Backup { retention: retain(2), disk: disk.clone(), ..Backup::default() };
        let report: Report = lab.backup(&wanted);
        if disk.writes() <= nth {
            break;
        }
        let now = visible(&lab);
        assert_whole(&lab, &context);
        assert!(now.contains(before.last().unwrap()), "{context}: {now:?}");
        if report.guests[0].status == GuestStatus::Failed {
            assert_eq!(now, before, "{context}: a run that failed removed something");
        }
        lab.earlier_process_is_dead("repository");
        lab.node.fire_guards();
        lab.write_somewhere(90);
        lab.good_backup(&Backup { retention: retain(2), ..Backup::default() });
        assert_eq!(visible(&lab).len(), 2, "{context}");
        assert_whole(&lab, &context);
        lab.assert_tidy(1, &context);
    }
}

/// A daily run for three weeks, two disks of which one is made again, `retain 2d`, `renew 3`:
/// after every run each point that is listed can be restored, both disks of it.
#[test]
fn every_listed_point_of_three_weeks_is_whole_for_both_disks_f8() {
    let lab = Lab::new();
    let retention = Rules { retain: Some(Span::Days(2)), ..Rules::default() };
    let wanted = Backup { renew: Some(Span::Points(3)), retention, ..Backup::default() };
    for day in 1..=21 {
        if day == 9 {
            lab.storage.remove_volume("vm-100-disk-1");
            lab.storage.add_volume("vm-100-disk-1", 65_536).unwrap();
        }
        lab.good_backup(&wanted);
        let context = format!("day {day}");
        assert_whole(&lab, &context);
        // A run comes a minute after its predecessor's day: two days before the last one hold two
        // points, and the new one is there beside them.
        assert_eq!(visible(&lab).len(), day.min(3), "{context}");
        assert!(lab.points("repository").len() <= 9, "{context}: hidden points pile up");
        lab.write_somewhere(u8::try_from(day).unwrap());
        lab.clock.advance(86_400);
    }
}

/// A lab with six points, each of them a base that nothing else needs.
fn six_bases() -> Lab {
    let lab = Lab::new();
    for round in 2..8 {
        lab.good_backup(&Backup { renew: Some(Span::Points(0)), ..Backup::default() });
        lab.write_somewhere(round);
    }
    lab
}

/// The writes of a run are those of its removals and of one RESTORE.txt, however many points go.
#[test]
fn what_follows_from_the_points_is_written_once_per_run() {
    let counting = || Disk::failing_at(u64::MAX, Fault::NoSpace);
    let lab = six_bases();
    let (run, idle) = (counting(), counting());
    let report = pruned(&lab, retain(1), run.clone(), Mode::Execute).report;
    assert_eq!(report.guests[0].changes.len(), 5, "{report:#?}");
    pruned(&lab, retain(1), idle.clone(), Mode::Execute);

    let alone = counting();
    let other = six_bases();
    let repository = Repository::open(&other.repository("repository"), alone.clone()).unwrap();
    let directory = repository.guests().unwrap().remove(0);
    let lock = directory.lock(LockMode::Exclusive, &LockOptions::default()).unwrap();
    let before = alone.writes();
    let points = directory.load().unwrap().points;
    for point in points[..5].iter().rev() {
        directory.delete_point(&lock, point).unwrap();
    }
    directory.refresh_derived(&lock).unwrap();
    let removals_and_one_text = alone.writes() - before;
    // A run asks less often whether the lock is its own still, which counts as a write.
    let writes = run.writes() - idle.writes();
    assert!(writes <= removals_and_one_text, "{writes} and {removals_and_one_text}");
}

/// In a backup, too: one text at its commit, and one behind all that goes then.
#[test]
fn a_backup_writes_what_follows_from_the_points_once_for_all_that_it_prunes() {
    let lab = six_bases();
    let (disk, recording) = Disk::recorded();
    let renew = Some(Span::Points(0));
    let outcome =
        lab.good_backup(&Backup { disk, renew, retention: retain(1), ..Backup::default() });
    let pruned = outcome.changes.iter().filter(|change| change.starts_with("removed point"));
    assert_eq!(pruned.count(), 6, "{outcome:#?}");
    let is_text = |operation: &FileOperation| matches!(operation, FileOperation::Rename(_, to) if to.ends_with("RESTORE.txt"));
    let texts = recording.operations().into_iter().filter(is_text);
    assert_eq!(texts.count(), 2);
}

/// A node that boots with a clock ten years ahead backs up every hour, and prunes, until somebody
/// looks.
#[test]
fn a_clock_that_is_years_ahead_costs_no_point_and_the_runs_are_not_ok() {
    let lab = Lab::new();
    let two_weeks = Rules { retain: Some(Span::Days(14)), ..Rules::default() };
    let wanted = Backup { retention: two_weeks.clone(), ..Backup::default() };
    for day in 1..=5 {
        lab.good_backup(&wanted);
        lab.write_somewhere(day);
        lab.clock.advance(86_400);
    }
    let history = visible(&lab);
    lab.clock.advance(3650 * 86_400);
    lab.good_backup(&wanted);
    for hour in 1..4 {
        lab.clock.advance(3600);
        let report = lab.backup(&wanted);
        assert_eq!(report.exit_code(), 3, "hour {hour}: {report:#?}");
        let told = report.guests[0].not_removed.join("");
        assert!(told.contains("retention of daily: retain 14d would remove 5 points"), "{told}");
        let report = pruned(&lab, two_weeks.clone(), Disk::real(), Mode::Execute).report;
        assert_eq!(report.exit_code(), 3, "hour {hour}: {report:#?}");
        assert_eq!(report.guests[0].changes, [""; 0]);
    }
    assert_eq!(visible(&lab)[..5], history);
    assert_eq!(visible(&lab).len(), 9);
    assert_whole(&lab, "the clock is ahead");
    // The clock is right again, and so is the next run.
    lab.clock.advance(-3650 * 86_400 - 4 * 3600);
    let outcome = lab.good_backup(&wanted);
    assert_eq!((outcome.not_whole.len(), outcome.not_removed.len()), (0, 0));
    assert_eq!(visible(&lab).len(), 10);
}

#[test]
fn points_that_were_moved_on_to_a_free_second_are_none_of_the_future() {
    let lab = Lab::new();
    for byte in 0..4 {
        lab.write_somewhere(byte);
        // Each run is a minute after the one before, on this lab's clock.
        lab.clock.advance(-60);
        let outcome = lab.good_backup(&Backup::default());
        assert!(outcome.warnings.is_empty(), "{outcome:#?}");
    }
    let moments: Vec<_> = lab.points("repository").iter().map(|p| p.manifest.time.unix()).collect();
    let first = moments[0];
    assert_eq!(moments, [first, first + 1, first + 2, first + 3], "all within one second");
    lab.clock.advance(-60);
    let report = pruned(&lab, retain(2), Disk::real(), Mode::Execute).report;
    assert!(report.warnings.is_empty(), "{report:#?}");
    assert_eq!(visible(&lab).len(), 2, "they count, as points of the past do");
}
