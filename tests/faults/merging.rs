//! Merging and folding under the rules of retention, in runs as users have them: what stays is
//! whole, whatever fails, and the next run converges. How images merge is tested in `repository`.

use crate::common::{Backup, Lab, Restore, block_on};
use crate::prune::{assert_whole, pruned, visible};
use pve_ferry::operation::AssembleRequest;
use pve_ferry::report::GuestStatus;
use pve_ferry::repository::{Disk, Fault};
use pve_ferry::retention::{Rules, Span};
use pve_ferry::run::{Mode, run};

pub fn keep(keep: u32, fold: Option<&str>) -> Rules {
    let fold = fold.map(|share| share.parse().unwrap());
    Rules { keep: Some(keep), fold, ..Rules::default() }
}

/// A base and four increments, of whatever happens to two disks.
pub fn five_points() -> Lab {
    let lab = Lab::new();
    for round in 2..7 {
        lab.good_backup(&Backup::default());
        lab.write_somewhere(round);
    }
    lab
}

/// Whether each image of a point is a base.
fn is_base(lab: &Lab, place: usize) -> bool {
    lab.points("repository")[place].manifest.images.iter().all(|image| image.parent.is_none())
}

#[test]
fn keep_1_merges_into_the_very_point_that_a_backup_makes() {
    let lab = Lab::new();
    let wanted = Backup { retention: keep(1, None), ..Backup::default() };
    for round in 2..8 {
        let outcome = lab.good_backup(&wanted);
        assert_eq!(outcome.warnings, [""; 0], "round {round}");
        assert_whole(&lab, &format!("round {round}"));
        assert!(lab.points("repository").len() <= 2, "one base and one increment");
        lab.write_somewhere(round);
    }
    let merged: Vec<u32> =
        lab.points("repository")[1].manifest.images.iter().map(|image| image.merged).collect();
    assert_eq!(merged, [4, 4], "it stands for five increments");
    lab.assert_tidy(1, "keep 1");
}

#[test]
fn hidden_increments_merge_under_every_rule_and_never_pile_up() {
    let within = Rules { within: Some(Span::Days(3)), ..Rules::default() };
    let mut last = Rules::default();
    last.add_prune_backups("keep-last=2,keep-weekly=2").unwrap();
    let retain = Rules { retain: Some(Span::Points(2)), ..Rules::default() };
    for (rules, most) in [(within, 5), (last, 5), (retain, 3)] {
        let lab = Lab::new();
        let wanted = Backup { retention: rules.clone(), ..Backup::default() };
        for day in 1..=20 {
            let outcome = lab.good_backup(&wanted);
            assert_eq!(outcome.warnings, [""; 0], "{rules:?}, day {day}");
            assert_whole(&lab, &format!("{rules:?}, day {day}"));
            let points = lab.points("repository").len();
            assert!(points <= most, "{rules:?}, day {day}: {points} points, hidden ones pile up");
            lab.write_somewhere(day);
            lab.clock.advance(86_400);
        }
        lab.assert_tidy(1, "three weeks");
    }
}

#[test]
fn a_renewal_comes_when_it_would_have_come_without_merging() {
    let lab = Lab::new();
    let retention = Rules { retain: Some(Span::Points(2)), ..Rules::default() };
    let wanted = Backup { renew: Some(Span::Points(4)), retention, ..Backup::default() };
    let mut kinds = String::new();
    for round in 2..18 {
        let outcome = lab.good_backup(&wanted);
        kinds.push(if outcome.volumes.iter().all(|v| v.kind == "base") { 'B' } else { '.' });
        assert_whole(&lab, &format!("round {round}"));
        lab.write_somewhere(round);
    }
    assert_eq!(kinds, "B....B....B....B");
}

#[test]
fn a_fold_moves_the_base_up_and_all_that_is_listed_stays_whole() {
    let lab = Lab::new();
    let wanted = Backup { retention: keep(2, Some("40%")), ..Backup::default() };
    let mut bases = std::collections::BTreeSet::new();
    for round in 2..14 {
        let outcome = lab.good_backup(&wanted);
        assert_eq!(outcome.warnings, [""; 0], "round {round}");
        assert_whole(&lab, &format!("round {round}"));
        assert_eq!(visible(&lab).len(), 3.min(usize::from(round) - 1), "round {round}");
        assert_eq!(lab.points("repository").len(), visible(&lab).len(), "nothing is hidden");
        assert!(is_base(&lab, 0), "round {round}");
        bases.insert(visible(&lab)[0].clone());
        lab.write_somewhere(round);
    }
    assert!(bases.len() > 1, "no base was folded");
    lab.assert_tidy(1, "keep 2, fold 40%");
}

/// After each fault what is there is whole, and a run without a fault does all that was left.
fn each_write_of_a_fold(fault: Fault) {
    let mut failed = 0;
    for nth in 0.. {
        let lab = five_points();
        let before = visible(&lab);
        let context = format!("write {nth}, {fault:?}");
        let disk = Disk::failing_at(nth, fault);
        let rules = keep(2, Some("0"));
        let report = pruned(&lab, rules.clone(), disk.clone(), Mode::Execute).report;
        if disk.writes() <= nth {
            break;
        }
        failed += usize::from(report.guests[0].status == GuestStatus::Failed);
        let now = visible(&lab);
        assert!(before[2..].iter().all(|dir| now.contains(dir)), "{context}: {now:?}");
        assert!(now.contains(&before[0]) || is_base(&lab, 0), "{context}: without a base");
        assert_whole(&lab, &context);
        lab.earlier_process_is_dead("repository");
        let report = pruned(&lab, rules, Disk::real(), Mode::Execute).report;
        assert_eq!(report.exit_code(), 0, "{context}: {report:#?}");
        let now = visible(&lab);
        // A crash between hiding and merging leaves less to fold than the share asks for.
        assert!(before[2..].iter().all(|dir| now.contains(dir)) || now == before[3..], "{context}");
        assert_eq!(lab.points("repository").len(), now.len(), "{context}: something stays hidden");
        assert_whole(&lab, &context);
        lab.good_backup(&Backup::default());
        lab.assert_tidy(1, &context);
    }
    assert!(failed > 20, "{fault:?}: {failed} writes were let fail");
}

#[test]
fn a_full_repository_never_costs_a_point_when_a_base_is_folded() {
    each_write_of_a_fold(Fault::NoSpace);
}

#[test]
fn a_repository_that_vanishes_never_costs_a_point_when_a_base_is_folded() {
    each_write_of_a_fold(Fault::Vanish);
}

#[test]
fn a_repository_with_errors_never_costs_a_point_when_a_base_is_folded() {
    each_write_of_a_fold(Fault::Io);
    each_write_of_a_fold(Fault::LostReply);
}

/// A restore with --lock-wait finds its point, waits for a prune, and then reads.
#[test]
fn a_point_whose_chain_is_merged_before_the_lock_is_restored_whole() {
    let lab = five_points();
    let wanted = Restore::to(901);
    let found = lab.found(&wanted).unwrap();
    pruned(&lab, keep(1, None), Disk::real(), Mode::Execute);
    assert_eq!(lab.points("repository").len(), 2, "files of the chain are gone");
    let report = lab.restore_found(found.clone(), &wanted).unwrap();
    assert_eq!(report.exit_code(), 0, "{report:#?}");
    let point = lab.points("repository").pop().unwrap();
    let expected = lab.expected(&point, "scsi0");
    assert!(lab.storage.read("vm-901-disk-0").unwrap() == expected);

    let output = lab.repository("files").join("disk.raw");
    let (disk, sought) = ("scsi0".to_owned(), wanted.sought);
    let request = AssembleRequest { point: found, sought, disk, output: output.clone() };
    let report = block_on(run(lab.ctx(), request, Mode::Execute)).unwrap().report;
    assert_eq!(report.exit_code(), 0, "{report:#?}");
    assert!(std::fs::read(&output).unwrap() == expected);
}

#[test]
fn a_point_that_is_merged_away_before_the_lock_is_said_to_be_gone() {
    let lab = five_points();
    let mut wanted = Restore::to(901);
    wanted.sought.time = Some(lab.points("repository")[2].manifest.time);
    let found = lab.found(&wanted).unwrap();
    pruned(&lab, keep(1, None), Disk::real(), Mode::Execute);
    let report = lab.restore_found(found, &wanted).unwrap();
    assert_eq!(report.exit_code(), 1, "{report:#?}");
    let error = report.guests[0].error.as_deref().unwrap();
    let newest = format!("daily {}", lab.points("repository")[1].manifest.time);
    assert!(error.contains("merged into a newer one") && error.contains(&newest), "{error}");
    assert!(!error.contains("No such file"), "{error}");
    assert_eq!(lab.volumes_of(901), [""; 0]);
}
