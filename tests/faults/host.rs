//! Every command on a node fails in turn, in every way, and every way in which a freeze goes wrong.

use crate::common::{Backup, CommandFault, Lab, VMID};
use crate::situation::{Before, Situation, converges};
use pve_ferry::report::GuestStatus;
use pve_ferry::storage::memory::{Fault, Operation};
use std::time::Duration;

/// What the report says of a run whose `command` went wrong.
fn judge(lab: &Lab, command: &str, outcome: &pve_ferry::report::GuestOutcome, context: &str) {
    let shows = |text: &str| outcome.warnings.iter().any(|warning| warning.contains(text));
    let held = outcome.consistency.as_deref() == Some("frozen");
    if command.starts_with("qm status") {
        assert_eq!(outcome.status, GuestStatus::Failed, "{context}: nobody knows whether it runs");
        return;
    }
    assert_eq!(outcome.status, GuestStatus::Ok, "{context}: {outcome:#?}");
    // One failure is tried again by the guard, and the run waits until that has seen it thawed.
    assert!(lab.node.get(VMID).frozen.is_none(), "{context}: {outcome:#?}");
    assert_eq!(lab.node.guards(), [""; 0], "{context}: the guard has seen it thawed and ended");
    if !held {
        let said = shows("crash-consistent") || shows("not frozen");
        assert!(said, "{context}: a point that is worth less says so: {outcome:#?}");
    }
}

fn each_command(prepare: impl Fn(&Lab)) -> Vec<String> {
    let mut hit = Vec::new();
    for fault in CommandFault::ALL {
        for nth in 0.. {
            let lab = Situation::Increment.lab();
            prepare(&lab);
            let before = Before::of(&lab);
            lab.node.fail(nth, fault);
            let report = lab.backup(&Backup::default());
            let Some(command) = lab.node.hit() else { break };
            let context = format!("{fault:?} of {command}");
            let outcome = before.check(&lab, &report, &context);
            judge(&lab, &command, &outcome, &context);
            converges(&lab, &Backup::default(), &context);
            hit.push(command);
        }
    }
    hit
}

/// How many faults met a command with these words.
fn met(hit: &[String], words: &str) -> usize {
    hit.iter().filter(|command| command.contains(words)).count()
}

#[test]
fn every_command_of_a_backup_may_fail_where_systemd_runs() {
    let hit = each_command(|_| {});
    for words in ["qm status", "fsfreeze-status", "systemd-run", "fsfreeze-freeze", "fsfreeze-thaw"]
    {
        assert!(met(&hit, words) >= 5, "{words} was not let fail: {hit:?}");
    }
}

#[test]
fn every_command_of_a_backup_may_fail_where_no_systemd_runs() {
    let hit = each_command(|lab| lab.node.without_systemd());
    for words in ["qm status", "fsfreeze-status", "setsid", "fsfreeze-freeze", "fsfreeze-thaw"] {
        assert!(met(&hit, words) >= 5, "{words} was not let fail: {hit:?}");
    }
}

fn crash_because(lab: &Lab, reason: &str) {
    let outcome = lab.good_backup(&Backup::default());
    assert_eq!(outcome.consistency.as_deref(), Some("crash"), "{outcome:#?}");
    assert!(outcome.warnings.iter().any(|w| w.contains(reason)), "{outcome:#?}");
    assert!(lab.node.get(VMID).frozen.is_none());
    lab.assert_tidy(1, reason);
    lab.node.set(VMID, |guest| (guest.running, guest.agent) = (true, Some(3)));
    converges(lab, &Backup::default(), reason);
}

#[test]
fn fewer_file_systems_thawed_than_frozen_make_it_crash_consistent() {
    let lab = Lab::new();
    lab.node.set(VMID, |guest| guest.thaw_tells = Some(2));
    crash_because(&lab, "3 file systems were frozen, 2 were still so");
}

#[test]
fn snapshots_that_come_after_the_deadline_make_it_crash_consistent() {
    let lab = Lab::new();
    lab.storage.inject(Operation::CreateSnapshot, 2, Fault::Late(Duration::from_secs(11)));
    crash_because(&lab, "took longer than 10 s");
}

#[test]
fn an_agent_that_is_silent_is_not_waited_for_d1_25() {
    let lab = Lab::new();
    lab.node.set(VMID, |guest| guest.agent = None);
    crash_because(&lab, "agent does not answer");
    let freezes = lab.events.log().iter().filter(|e| e.contains("fsfreeze-freeze")).count();
    assert_eq!(freezes, 1, "only the second run froze");
}

#[test]
fn a_guest_that_is_started_during_the_backup_of_a_stopped_one_makes_it_crash_consistent() {
    let lab = Lab::new();
    lab.node.set(VMID, |guest| guest.running = false);
    let outcome = lab.good_backup(&Backup::default());
    assert_eq!(outcome.consistency.as_deref(), Some("stopped"));
    let node = lab.node.clone();
    lab.events.watch(move |event| {
        if event.starts_with("note created snapshot") {
            node.set(VMID, |guest| guest.running = true);
        }
    });
    crash_because(&lab, "was started meanwhile");
}

/// The freeze is the scope that must not hold anything else: what runs between freeze and thaw.
#[test]
fn nothing_but_snapshots_happens_while_the_guest_is_frozen_d1_13() {
    let lab = Lab::new();
    lab.good_backup(&Backup::default());
    let events = lab.events.log();
    let at = |word: &str| {
        events.iter().position(|e| e.starts_with("run qm") && e.contains(word)).unwrap()
    };
    let between = &events[at("fsfreeze-freeze") + 1..at("fsfreeze-thaw")];
    assert_eq!(between.len(), 2, "{between:?}");
    assert!(between.iter().all(|event| event.starts_with("note created snapshot")), "{between:?}");
}
