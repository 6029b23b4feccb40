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
    // One failure is tried again: the run itself thaws the guest, not its guard.
    assert!(lab.node.get(VMID).frozen.is_none(), "{context}: {outcome:#?}");
    let disarms = command.starts_with("systemctl") || command.starts_with("kill");
    if disarms {
        // The guest is thawed; a guard that fires on it later does no harm.
        assert!(held, "{context}: {outcome:#?}");
        return;
    }
    assert!(
        lab.node.guards().is_empty() || lab.node.get(VMID).frozen.is_some() || !held,
        "{context}"
    );
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
    for words in ["status", "ping", "systemd-run", "fsfreeze-freeze", "fsfreeze-thaw", "systemctl"]
    {
        assert!(met(&hit, words) >= 5, "{words} was not let fail: {hit:?}");
    }
}

#[test]
fn every_command_of_a_backup_may_fail_where_no_systemd_runs() {
    let hit = each_command(|lab| lab.node.without_systemd());
    for words in ["status", "ping", "setsid", "fsfreeze-freeze", "fsfreeze-thaw", "kill"] {
        assert!(met(&hit, words) >= 5, "{words} was not let fail: {hit:?}");
    }
}

/// Makes every thaw of the run fail; the guard is all that is left.
#[test]
fn a_guest_that_no_thaw_reaches_is_left_to_its_guard_d1_13() {
    for situation in Situation::ALL {
        let lab = situation.lab();
        let before = Before::of(&lab);
        let node = lab.node.clone();
        lab.events.watch(move |event| {
            if event.contains("fsfreeze-thaw") && event.starts_with("run qm") {
                node.fail(0, CommandFault::Fails);
            }
        });
        let report = lab.backup(&situation.wanted());
        lab.events.unwatch();
        let thaws = |event: &&String| event.starts_with("run qm") && event.contains("thaw");
        assert_eq!(lab.events.log().iter().rev().filter(thaws).take(2).count(), 2);
        let outcome = before.check(&lab, &report, "no thaw");
        assert_eq!(outcome.consistency.as_deref(), Some("crash"));
        assert!(outcome.warnings.iter().any(|w| w.contains("guard")), "{outcome:#?}");
        assert!(lab.node.get(VMID).frozen.is_some() && lab.node.guards().len() == 1);
        lab.node.fire_guards();
        assert!(lab.node.get(VMID).frozen.is_none());
        converges(&lab, &situation.wanted(), "no thaw");
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
