//! Freezes that take long, are refused, never answered or never thawed: a guest does not stay frozen,
//! and no run is ok when nobody has seen it thawed.

use crate::common::{Backup, Lab, VMID, block_on};
use crate::situation::{Before, Situation, converges};
use pve_ferry::report::{GuestOutcome, GuestStatus};
use pve_ferry::repository::{Disk, Fault};
use pve_ferry::retention::{Rules, Span};
use pve_ferry::run::{Mode, run};

fn says(outcome: &GuestOutcome, text: &str) -> bool {
    outcome.warnings.iter().any(|warning| warning.contains(text))
}

fn ran(lab: &Lab, word: &str) -> usize {
    let is_it = |event: &&String| event.starts_with("run qm guest cmd") && event.ends_with(word);
    lab.events.log().iter().filter(is_it).count()
}

#[test]
fn a_freeze_that_takes_longer_than_the_guest_may_stay_frozen_is_waited_for() {
    for seconds in [12, 150, 3000] {
        let lab = Situation::Increment.lab();
        lab.node.set(VMID, |guest| guest.freeze_takes = seconds);
        let outcome = lab.good_backup(&Backup::default());
        assert_eq!(outcome.consistency.as_deref(), Some("frozen"), "{outcome:#?}");
        let frozen = outcome.frozen_seconds.unwrap();
        assert!(frozen < 10.0, "it counts from the answer: {frozen}");
        assert!(lab.node.get(VMID).frozen.is_none());
    }
}

#[test]
fn a_freeze_that_is_given_up_is_thawed_by_its_guard_before_the_run_says_ok() {
    let lab = Situation::Increment.lab();
    lab.node.set(VMID, |guest| guest.freeze_takes = 40);
    let outcome = lab.good_backup(&Backup { freeze_timeout: 5, ..Backup::default() });
    assert_eq!(outcome.consistency.as_deref(), Some("crash"));
    assert!(says(&outcome, "no answer within 5 s"), "{outcome:#?}");
    assert!(lab.node.get(VMID).frozen.is_none());
    assert_eq!((ran(&lab, "fsfreeze-freeze"), lab.node.guards()), (2, vec![]));
    assert_eq!(lab.freezes().left(VMID.try_into().unwrap()), []);
}

/// The freeze comes when the run is over, and nobody has seen the guest thawed until then.
#[test]
fn a_run_that_ends_before_its_freeze_is_not_ok_and_its_point_is_there() {
    let lab = Situation::Increment.lab();
    let before = Before::of(&lab);
    lab.node.set(VMID, |guest| guest.freeze_takes = 900);
    let report = lab.backup(&Backup { freeze_timeout: 5, ..Backup::default() });
    assert_eq!(report.exit_code(), 1, "{report:#?}");
    let outcome = &report.guests[0];
    let error = outcome.error.as_deref().unwrap();
    assert!(error.contains("is committed, but guest 100 was not seen thawed"), "{error}");
    assert!(error.contains("pve-ferry-guard-100-") && error.contains("on pve1"), "{error}");
    assert!(before.committed(&lab), "its volumes are saved all the same");
    assert_eq!(lab.node.guards().len(), 1, "the guard goes on");
    // The next run finds the note, and thaws.
    lab.node.set(VMID, |guest| (guest.is_busy, guest.freeze_takes) = (false, 0));
    lab.node.kill_guards();
    lab.node.set(VMID, |guest| guest.frozen = Some(3));
    let outcome = lab.good_backup(&Backup::default());
    assert!(says(&outcome, "ended while the guest was frozen"), "{outcome:#?}");
    assert!(says(&outcome, "thawed by this run"), "{outcome:#?}");
    assert_eq!(outcome.consistency.as_deref(), Some("frozen"));
    assert_eq!(lab.freezes().left(VMID.try_into().unwrap()), []);
}

#[test]
fn a_guest_that_does_not_thaw_makes_the_run_fail_although_its_point_is_there() {
    for situation in Situation::ALL {
        let lab = situation.lab();
        let before = Before::of(&lab);
        lab.node.set(VMID, |guest| guest.refuse("fsfreeze-thaw", "thaw hook failed"));
        let report = lab.backup(&situation.wanted());
        assert_ne!(report.exit_code(), 0, "{report:#?}");
        let outcome = &report.guests[0];
        assert_eq!(outcome.status, GuestStatus::Failed);
        assert!(outcome.error.as_deref().unwrap().contains("not seen thawed"), "{outcome:#?}");
        assert!(says(outcome, "did not answer the thaw (thaw hook failed)"), "{outcome:#?}");
        assert!(before.committed(&lab) && lab.node.get(VMID).frozen.is_some());
        assert_eq!(lab.node.guards().len(), 1, "the guard goes on");
        lab.node.set(VMID, |guest| guest.refuses.clear());
        converges(&lab, &situation.wanted(), "no thaw");
    }
}

/// A thaw of 0 proves nothing as long as the freeze may still come.
#[test]
fn a_guest_whose_agent_says_that_it_is_frozen_still_is_thawed_again() {
    let lab = Situation::Increment.lab();
    let (node, mut seen) = (lab.node.clone(), 0);
    lab.events.watch(move |event| {
        if event.starts_with("run qm guest cmd") && event.ends_with("fsfreeze-status") {
            seen += 1;
            // The survey's is the first.
            if seen == 2 {
                node.set(VMID, |guest| guest.frozen = Some(3));
            }
        }
    });
    let outcome = lab.good_backup(&Backup::default());
    lab.events.unwatch();
    assert!(lab.node.get(VMID).frozen.is_none(), "{outcome:#?}");
    assert!(ran(&lab, "fsfreeze-thaw") >= 3, "the first run's and two of this one");
}

#[test]
fn a_guard_that_is_killed_is_followed_by_another() {
    let lab = Situation::Increment.lab();
    let (node, mut frozen) = (lab.node.clone(), false);
    lab.node.set(VMID, |guest| guest.refuse("fsfreeze-thaw", "not yet"));
    lab.events.watch(move |event| {
        if event.ends_with("fsfreeze-thaw") && !frozen {
            frozen = true;
            node.kill_guards();
        }
        if event.contains("guard thaw") {
            node.set(VMID, |guest| guest.refuses.clear());
        }
    });
    let outcome = lab.good_backup(&Backup::default());
    lab.events.unwatch();
    assert_eq!(outcome.consistency.as_deref(), Some("crash"), "{outcome:#?}");
    assert!(lab.node.get(VMID).frozen.is_none(), "{outcome:#?}");
    assert_eq!(lab.node.guards(), [""; 0]);
}

#[test]
fn the_reason_why_a_guest_did_not_freeze_is_told() {
    let lab = Situation::Increment.lab();
    let why = "fsfreeze hook has failed with status 1";
    lab.node.set(VMID, |guest| guest.refuse("fsfreeze-freeze", why));
    let outcome = lab.good_backup(&Backup::default());
    assert_eq!(outcome.consistency.as_deref(), Some("crash"));
    let why = "the guest did not freeze (fsfreeze hook has failed with status 1)";
    assert!(says(&outcome, why), "{outcome:#?}");
}

/// An agent that cannot say whether its guest is frozen would never be seen thawed.
#[test]
fn an_agent_without_an_answer_to_the_status_is_not_asked_to_freeze() {
    let lab = Situation::Increment.lab();
    let (before, disabled) = (ran(&lab, "fsfreeze-freeze"), "the command has been disabled");
    lab.node.set(VMID, |guest| guest.refuse("fsfreeze-status", disabled));
    let outcome = lab.good_backup(&Backup::default());
    assert_eq!(outcome.consistency.as_deref(), Some("crash"));
    assert!(says(&outcome, disabled), "{outcome:#?}");
    assert_eq!(ran(&lab, "fsfreeze-freeze"), before);
}

#[test]
fn a_freeze_of_somebody_else_may_end_by_itself_and_one_that_does_not_is_thawed() {
    for ends in [true, false] {
        let lab = Situation::Increment.lab();
        lab.node.set(VMID, |guest| guest.frozen = Some(3));
        let (node, mut asked) = (lab.node.clone(), 0);
        lab.events.watch(move |event| {
            asked += usize::from(event.ends_with("fsfreeze-status"));
            if ends && asked == 5 {
                node.set(VMID, |guest| guest.frozen = None);
            }
        });
        let before = ran(&lab, "fsfreeze-thaw");
        let outcome = lab.good_backup(&Backup::default());
        lab.events.unwatch();
        assert_eq!(outcome.consistency.as_deref(), Some("frozen"), "{outcome:#?}");
        assert!(lab.node.get(VMID).frozen.is_none());
        assert!(ran(&lab, "fsfreeze-thaw") > before);
    }
}

#[test]
fn a_freeze_under_pves_own_lock_is_left_to_pve() {
    let lab = Situation::Increment.lab();
    lab.node.set(VMID, |guest| guest.frozen = Some(3));
    let config = format!("lock: backup\n{}", lab.config(VMID));
    std::fs::write(lab.config_path("pve1", VMID), config).unwrap();
    let before = ran(&lab, "fsfreeze-thaw");
    let report = lab.backup(&Backup::default());
    assert!(report.guests[0].error.as_deref().unwrap().contains("backup"), "{report:#?}");
    assert_eq!((ran(&lab, "fsfreeze-thaw"), lab.node.get(VMID).frozen), (before, Some(3)));
}

/// A disk that does not answer must not hold up the threads that thaw other guests.
#[test]
fn nothing_is_written_to_the_repository_on_a_thread_that_may_have_to_thaw() {
    for situation in Situation::ALL {
        let lab = situation.lab();
        lab.clock.advance(60);
        let (ctx, mode) = (lab.ctx(), Mode::Execute);
        let (disks, disk) = std::sync::mpsc::channel();
        let (operations, operation) = std::sync::mpsc::channel();
        let run = std::thread::spawn(move || {
            disks.send(Disk::failing_at(0, Fault::OwnThread)).unwrap();
            let operation = operation.recv().unwrap();
            block_on(run(ctx, operation, mode)).unwrap().report
        });
        let wanted = Backup {
            disk: disk.recv().unwrap(),
            audit: Some(1),
            retention: Rules { retain: Some(Span::Points(1)), ..Rules::default() },
            ..situation.wanted()
        };
        operations.send(lab.backup_operation(&wanted).unwrap()).unwrap();
        let report = run.join().unwrap();
        assert_eq!(report.exit_code(), 0, "{situation:?}: {report:#?}");
        assert_eq!(report.guests[0].warnings, [""; 0], "{situation:?}");
        for directory in lab.guest_directories("repository") {
            let locks = std::fs::read_dir(directory.path().join("locks")).unwrap();
            assert_eq!(locks.count(), 0, "{situation:?}: the lock is gone");
        }
        lab.learn("repository");
        converges(&lab, &situation.wanted(), "on other threads");
    }
}

/// Both want to freeze the guest at the same time; each gets a freeze of its own.
#[test]
fn two_runs_of_one_guest_freeze_it_one_after_the_other() {
    let lab = Lab::new();
    lab.clock.advance(60);
    let wanted = |repository| Backup { repository, ..Backup::default() };
    let (one, two) = (wanted("one"), wanted("two"));
    let run = |wanted: &Backup| {
        let operation = lab.backup_operation(wanted).unwrap();
        pve_ferry::run::run(lab.ctx(), operation, wanted.mode)
    };
    let (first, second) = (run(&one), run(&two));
    let (first, second) = lab.in_a_runtime(async { tokio::join!(first, second) });
    for report in [first.unwrap().report, second.unwrap().report] {
        assert_eq!(report.exit_code(), 0, "{report:#?}");
        let outcome = &report.guests[0];
        assert_eq!(outcome.consistency.as_deref(), Some("frozen"), "{outcome:#?}");
    }
    assert!(lab.node.get(VMID).frozen.is_none());
}
