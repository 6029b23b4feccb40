//! Every write to the repository fails in turn, in every way, in every situation of a backup.

use crate::common::{Backup, Lab};
use crate::situation::{Before, Situation, converges};
use pve_ferry::report::GuestStatus;
use pve_ferry::repository::{Disk, Fault};

/// The first write at which the point exists is the rename; whatever fails after it is a warning.
fn each_write(situation: Situation, fault: Fault) {
    let (mut failed, mut ok) = (0, 0);
    for nth in 0.. {
        let lab = situation.lab();
        let before = Before::of(&lab);
        let disk = Disk::failing_at(nth, fault);
        let wanted = Backup { disk: disk.clone(), ..situation.wanted() };
        let context = format!("{situation:?}, write {nth}, {fault:?}");
        let report = match lab.perform_backup(&wanted) {
            Ok(performed) => performed.report,
            Err(error) => panic!("{context}: {error:#}"),
        };
        if disk.writes() <= nth {
            break;
        }
        let outcome = before.check(&lab, &report, &context);
        match outcome.status {
            GuestStatus::Ok => ok += 1,
            _ => failed += 1,
        }
        converges(&lab, &situation.wanted(), &context);
    }
    assert!(failed > 30, "{situation:?} {fault:?}: {failed} writes were let fail");
    assert!(ok > 5, "{situation:?} {fault:?}: {ok} failures came after the commit");
}

#[test]
fn a_full_repository_fails_the_guest_and_the_next_run_is_an_increment_f3() {
    each_write(Situation::First, Fault::NoSpace);
    each_write(Situation::Increment, Fault::NoSpace);
}

#[test]
fn a_full_repository_leaves_the_base_of_the_one_disk_and_none_of_the_other() {
    each_write(Situation::Recreated, Fault::NoSpace);
}

#[test]
fn a_repository_with_errors_fails_the_guest() {
    each_write(Situation::Increment, Fault::Io);
}

#[test]
fn a_repository_whose_server_goes_away_fails_the_guest_f3() {
    each_write(Situation::First, Fault::Vanish);
    each_write(Situation::Increment, Fault::Vanish);
}

#[test]
fn a_repository_whose_answer_is_lost_is_asked_again() {
    each_write(Situation::First, Fault::LostReply);
    each_write(Situation::Increment, Fault::LostReply);
}

/// What an interrupted run left costs room and nothing else (data-path A3, reports 37 and 42).
#[test]
fn debris_that_cannot_be_removed_is_a_warning_and_the_backup_goes_on() {
    let mut warned = 0;
    for n in 0..24 {
        let lab = Lab::new();
        lab.good_backup(&Backup::default());
        let directory = lab.guest_directories("repository").remove(0);
        let debris = directory.path().join("daily/20200101T000000Z");
        std::fs::create_dir(&debris).unwrap();
        std::fs::write(debris.join("guest.conf"), "cores: 1\n").unwrap();
        let disk = Disk::failing_at(n, Fault::Io);
        let report = lab.backup(&Backup { disk, ..Backup::default() });
        let outcome = &report.guests[0];
        let error = outcome.error.clone().unwrap_or_default();
        assert!(!error.contains("sweep"), "write {n}: {error}");
        let is_told = |text: &String| text.contains("what an interrupted run left stays");
        if outcome.warnings.iter().any(is_told) {
            assert_eq!(outcome.status, GuestStatus::Ok, "write {n}: {outcome:#?}");
            warned += 1;
        }
    }
    assert!(warned >= 2, "a file and its directory are removed: {warned}");
}
