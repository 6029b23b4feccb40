//! Runs that are stopped, panic or die at every step. Nothing fails by itself here.

use crate::common::{Backup, Lab, Restore, VMID};
use crate::situation::{Before, Situation, converges};
use pve_ferry::report::{GuestStatus, Report};
use pve_ferry::retention::{Rules, Span};
use pve_ferry::run::run;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Does something at the n-th event of a run; tells whether its turn came.
fn at_event(lab: &Lab, nth: usize, act: impl Fn(&str) + Send + 'static) -> Arc<AtomicUsize> {
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = seen.clone();
    lab.events.watch(move |event| {
        if counter.fetch_add(1, Ordering::SeqCst) == nth {
            act(event);
        }
    });
    seen
}

#[test]
fn a_wish_to_stop_at_any_step_ends_cleanly() {
    for situation in [Situation::First, Situation::Increment, Situation::Recreated] {
        let mut kinds = [0, 0];
        for nth in 0.. {
            let lab = situation.lab();
            let before = Before::of(&lab);
            // The wish belongs to the run, which makes its own: it is looked up when its turn comes.
            let wish = lab.wish();
            let seen = at_event(&lab, nth, move |_| wish());
            let report = lab.backup(&situation.wanted());
            lab.events.unwatch();
            if seen.load(Ordering::SeqCst) <= nth {
                break;
            }
            let context = format!("{situation:?}, stopped at event {nth}");
            let outcome = before.check(&lab, &report, &context);
            let interrupted = outcome.status == GuestStatus::Failed;
            assert_eq!(report.exit_code(), if interrupted { 130 } else { 0 }, "{context}");
            assert_eq!(lab.cancel.lock().unwrap().what_stays(), [""; 0], "{context}");
            assert_eq!(lab.node.guards(), [""; 0], "{context}");
            kinds[usize::from(interrupted)] += 1;
            converges(&lab, &situation.wanted(), &context);
        }
        assert!(kinds[0] >= 1 && kinds[1] >= 8, "{kinds:?}");
    }
}

/// What was asked for beside the point is done, or the run does not say that all is well.
#[test]
fn a_wish_to_stop_after_the_commit_tells_what_is_not_done() {
    let retention = Rules { retain: Some(Span::Points(1)), ..Rules::default() };
    let wanted = Backup { audit: Some(1), retention, ..Backup::default() };
    let mut told = [0, 0];
    for nth in 0.. {
        let lab = Situation::Increment.lab();
        let wish = lab.wish();
        let seen = at_event(&lab, nth, move |_| wish());
        let report = lab.backup(&wanted);
        lab.events.unwatch();
        if seen.load(Ordering::SeqCst) <= nth {
            break;
        }
        let context = format!("stopped at event {nth}: {report:#?}");
        let points = lab.points("repository");
        if points.len() == 1 {
            assert_eq!(report.exit_code(), 130, "{context}");
            continue;
        }
        let log = lab.events.log();
        let is_compared =
            log.iter().filter(|event| event.contains("note compared scsi")).count() == 2;
        let error = report.guests[0].error.clone().unwrap_or_default();
        assert_eq!(error.contains("comparison"), !is_compared, "{context}");
        assert_eq!(error.contains("pruning"), !points[0].manifest.is_hidden(), "{context}");
        assert_eq!(report.exit_code(), if error.is_empty() { 0 } else { 130 }, "{context}");
        assert!(error.is_empty() || error.contains("is committed; not done: "), "{context}");
        told[0] += usize::from(!is_compared);
        told[1] += usize::from(is_compared && !error.is_empty());
    }
    assert!(told[0] >= 1 && told[1] >= 1, "{told:?}");
}

#[test]
fn a_panic_inside_a_step_is_a_failure_of_that_guest_alone() {
    for situation in [Situation::First, Situation::Increment] {
        let mut notes = Vec::new();
        for nth in 0.. {
            let lab = situation.lab();
            let before = Before::of(&lab);
            let seen = Arc::new(AtomicUsize::new(0));
            let counter = seen.clone();
            lab.events.watch(move |event| {
                let is_step = event.starts_with("note ") || event.starts_with("transfer ");
                if is_step && counter.fetch_add(1, Ordering::SeqCst) == nth {
                    panic!("a fault of ours");
                }
            });
            let report = lab.backup(&situation.wanted());
            lab.events.unwatch();
            if seen.load(Ordering::SeqCst) <= nth {
                break;
            }
            let context = format!("{situation:?}, panic in step {nth}");
            let outcome = before.check(&lab, &report, &context);
            if outcome.status == GuestStatus::Ok {
                assert!(!outcome.warnings.is_empty(), "{context}: {outcome:#?}");
            }
            notes.push(outcome.status);
            converges(&lab, &situation.wanted(), &context);
        }
        assert!(notes.contains(&GuestStatus::Ok) && notes.contains(&GuestStatus::Failed));
    }
}

#[test]
fn a_guest_with_one_disk_survives_a_panic_too() {
    for nth in 0..3 {
        let lab = Lab::empty();
        lab.add_guest(VMID, &[65_536]);
        lab.good_backup(&Backup::default());
        let seen = Arc::new(AtomicUsize::new(0));
        let counter = seen.clone();
        lab.events.watch(move |event| {
            let is_step = event.starts_with("note ") || event.starts_with("transfer ");
            if is_step && counter.fetch_add(1, Ordering::SeqCst) == nth {
                panic!("a fault of ours");
            }
        });
        let report = lab.backup(&Backup::default());
        lab.events.unwatch();
        assert_eq!(report.guests[0].status, GuestStatus::Failed, "{report:#?}");
        assert_eq!(lab.own_snapshots("vm-100-disk-0").len(), 1, "only the base is there");
        lab.good_backup(&Backup::default());
        lab.assert_tidy(1, "a panic");
    }
}

/// A run whose process is killed at its n-th event: from then on it does nothing, and nothing is
/// taken back or released. Its thread stands still until the tests end.
fn die_at(lab: &Lab, wanted: &Backup, nth: usize) -> bool {
    lab.clock.advance(60);
    let (sender, ended) = std::sync::mpsc::channel();
    let killed = sender.clone();
    at_event(lab, nth, move |_| {
        killed.send(true).unwrap();
        loop {
            std::thread::park();
        }
    });
    let operation = lab.backup_operation(wanted).unwrap();
    let (ctx, mode) = (lab.ctx(), wanted.mode);
    std::thread::spawn(move || {
        let performed = crate::common::block_on(run(ctx, operation, mode));
        sender.send(performed.is_err()).unwrap();
    });
    let died = ended.recv().unwrap();
    lab.events.unwatch();
    lab.learn(wanted.repository);
    died
}

#[test]
fn a_run_that_dies_anywhere_leaves_what_the_next_one_cleans_up_d1_13_f10() {
    let mut frozen = 0;
    for situation in [Situation::First, Situation::Increment, Situation::Protected] {
        for nth in 0.. {
            let lab = situation.lab();
            if !die_at(&lab, &situation.wanted(), nth) {
                break;
            }
            let context = format!("{situation:?}, dead at event {nth}");
            lab.assert_points_are_whole(&context);
            lab.assert_foreign_snapshots_stay(&context);
            if lab.node.get(VMID).frozen.is_some() {
                frozen += 1;
                assert_eq!(lab.node.guards().len(), 1, "{context}: its guard waits");
            }
            converges(&lab, &situation.wanted(), &context);
        }
    }
    assert!(frozen >= 3, "the run died {frozen} times in a freeze");
}

/// The process died in the freeze, and its guard with the node: the next run thaws and says so.
#[test]
fn the_next_run_thaws_a_guest_that_a_dead_one_left_frozen_and_says_so_f10() {
    for nth in 0.. {
        let lab = Situation::Increment.lab();
        assert!(die_at(&lab, &Backup::default(), nth), "no run died in the freeze");
        if lab.node.get(VMID).frozen.is_none() {
            continue;
        }
        lab.node.kill_guards();
        lab.earlier_process_is_dead("repository");
        let outcome = lab.good_backup(&Backup::default());
        assert_eq!(outcome.consistency.as_deref(), Some("frozen"));
        let said = outcome.warnings.iter().find(|w| w.contains("ended while the guest was frozen"));
        assert!(said.is_some_and(|w| w.contains("thawed by this run")), "{outcome:#?}");
        lab.assert_tidy(1, "after a freeze without an end");
        return;
    }
}

/// The same after its guard has done its work.
#[test]
fn the_next_run_says_that_a_guest_had_been_frozen_f10() {
    for nth in 0.. {
        let lab = Situation::Increment.lab();
        assert!(die_at(&lab, &Backup::default(), nth), "no run died in the freeze");
        if lab.node.get(VMID).frozen.is_none() {
            continue;
        }
        lab.node.fire_guards();
        lab.earlier_process_is_dead("repository");
        let outcome = lab.good_backup(&Backup::default());
        let said = outcome.warnings.iter().find(|w| w.contains("ended while the guest was frozen"));
        assert!(said.is_some_and(|w| w.contains("it is thawed now")), "{outcome:#?}");
        return;
    }
}

fn restored_nothing(lab: &Lab, context: &str) {
    assert_eq!(lab.volumes_of(901), [""; 0], "{context}");
    assert!(!lab.config_path("pve1", 901).exists(), "{context}");
    assert!(!lab.etc().join("firewall/901.fw").exists(), "{context}");
}

#[test]
fn a_restore_that_is_stopped_anywhere_leaves_nothing() {
    let mut stopped = 0;
    for nth in 0.. {
        let lab = Situation::Increment.lab();
        let wish = lab.wish();
        let seen = at_event(&lab, nth, move |_| wish());
        let report: Report = lab.restore(&Restore::to(901)).unwrap();
        lab.events.unwatch();
        if seen.load(Ordering::SeqCst) <= nth {
            break;
        }
        let context = format!("stopped at event {nth}: {report:#?}");
        if report.exit_code() == 130 {
            stopped += 1;
            restored_nothing(&lab, &context);
            assert_eq!(lab.restore(&Restore::to(901)).unwrap().exit_code(), 0, "{context}");
        }
        let restored = lab.storage.read("vm-901-disk-1").unwrap();
        let point = lab.points("repository").pop().unwrap();
        assert!(restored == lab.expected(&point, "scsi1"), "{context}");
        assert!(lab.config_path("pve1", 901).exists(), "{context}");
    }
    assert!(stopped >= 4, "{stopped}");
}
