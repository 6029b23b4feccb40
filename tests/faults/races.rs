//! Others who act at the same time: PVE, administrators, a second run of ours. What they did
//! between survey and action is noticed, and what they made is not touched.

use crate::common::{Backup, Lab, Restore, VMID, block_on, block_on_real_time};
use crate::situation::{Before, Situation, converges};
use pve_ferry::report::{Failure, GuestStatus, Report};
use pve_ferry::run::{Mode, run};
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn is_freeze(event: &str) -> bool {
    event.starts_with("run qm guest cmd") && event.ends_with("fsfreeze-freeze")
}

/// Lets `act` happen at the first freezes, as often as `times` says.
fn while_freezing(lab: &Lab, times: usize, mut act: impl FnMut(usize) + Send + 'static) {
    let mut seen = 0;
    lab.events.watch(move |event| {
        if is_freeze(event) && seen < times {
            seen += 1;
            act(seen);
        }
    });
}

#[test]
fn a_configuration_that_changes_during_the_freeze_is_taken_again_once() {
    for situation in Situation::ALL {
        let lab = situation.lab();
        let path = lab.config_path("pve1", VMID);
        while_freezing(&lab, 1, move |_| {
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(&path, format!("{text}memory: 4096\n")).unwrap();
        });
        lab.good_backup(&situation.wanted());
        lab.events.unwatch();
        let point = lab.points("repository").pop().unwrap();
        let saved = lab.guest_directories("repository")[0].saved_config(&point).unwrap();
        assert_eq!(saved, lab.config(VMID), "the point holds what the guest is now");
        lab.assert_points_are_whole("changed once");
        lab.assert_tidy(1, "changed once");
        converges(&lab, &situation.wanted(), "changed once");
    }
}

#[test]
fn a_configuration_that_changes_twice_fails_the_guest() {
    for situation in Situation::ALL {
        let lab = situation.lab();
        let before = Before::of(&lab);
        let path = lab.config_path("pve1", VMID);
        while_freezing(&lab, 2, move |time| {
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(&path, format!("{text}memory: {time}\n")).unwrap();
        });
        let report = lab.backup(&situation.wanted());
        lab.events.unwatch();
        let outcome = before.check(&lab, &report, "changed twice");
        assert_eq!(outcome.status, GuestStatus::Failed);
        assert!(outcome.error.unwrap().contains("twice within one run"));
        converges(&lab, &situation.wanted(), "changed twice");
    }
}

#[test]
fn a_guest_that_migrates_between_survey_and_check_is_followed() {
    let lab = Situation::Increment.lab();
    let (from, to) = (lab.config_path("pve1", VMID), lab.config_path("pve2", VMID));
    while_freezing(&lab, 1, move |_| std::fs::rename(&from, &to).unwrap());
    let outcome = lab.good_backup(&Backup::default());
    lab.events.unwatch();
    assert_eq!(outcome.node, "pve2");
    assert_eq!(outcome.consistency.as_deref(), Some("frozen"));
    assert_eq!(lab.points("repository").pop().unwrap().manifest.node, "pve2");
    lab.assert_points_are_whole("migrated");
    lab.assert_tidy(1, "migrated");
    converges(&lab, &Backup::default(), "migrated");
}

#[test]
fn a_guest_that_is_destroyed_meanwhile_fails_and_leaves_nothing() {
    let lab = Situation::Increment.lab();
    let before = Before::of(&lab);
    let path = lab.config_path("pve1", VMID);
    let config = lab.config(VMID);
    while_freezing(&lab, 1, move |_| std::fs::remove_file(&path).unwrap());
    let report = lab.backup(&Backup::default());
    lab.events.unwatch();
    let outcome = before.check(&lab, &report, "destroyed");
    assert!(outcome.error.unwrap().contains("gone from the cluster"));
    std::fs::write(lab.config_path("pve1", VMID), config).unwrap();
    converges(&lab, &Backup::default(), "destroyed and back");
}

#[test]
fn a_base_that_vanishes_before_the_transfer_fails_the_run_and_heals_with_the_next_f5_d1_15() {
    let lab = Situation::Increment.lab();
    let base = lab.own_snapshots("vm-100-disk-0").pop().unwrap();
    let storage = lab.storage.clone();
    let gone = base.clone();
    while_freezing(&lab, 1, move |_| storage.remove_snapshot("vm-100-disk-0", &gone).unwrap());
    let report = lab.backup(&Backup::default());
    lab.events.unwatch();
    let outcome = &report.guests[0];
    assert_eq!(outcome.status, GuestStatus::Failed);
    assert!(
        outcome.error.as_deref().unwrap().contains(&base),
        "the snapshot is named: {outcome:#?}"
    );
    assert_eq!(lab.own_snapshots("vm-100-disk-0"), [""; 0]);
    assert_eq!(lab.own_snapshots("vm-100-disk-1").len(), 1, "the other disk keeps its base");
    converges(&lab, &Backup::default(), "the base vanished");
    let kinds: Vec<bool> = lab
        .points("repository")
        .pop()
        .unwrap()
        .manifest
        .images
        .iter()
        .map(|image| image.parent.is_none())
        .collect();
    assert_eq!(kinds, [true, false], "a base for the one, an increment for the other");
}

/// The name belongs to another volume by now: nothing of that one is saved under the old one's name.
#[test]
fn a_volume_that_is_replaced_during_the_run_fails_the_guest() {
    for situation in [Situation::First, Situation::Increment] {
        let lab = situation.lab();
        let points = lab.points("repository").len();
        let storage = lab.storage.clone();
        while_freezing(&lab, 1, move |_| {
            storage.remove_volume("vm-100-disk-1");
            storage.add_volume("vm-100-disk-1", 65_536).unwrap();
        });
        let report = lab.backup(&Backup::default());
        lab.events.unwatch();
        assert_eq!(report.exit_code(), 1, "{report:#?}");
        let error = report.guests[0].error.as_deref().unwrap();
        assert!(error.contains("ceph:vm-100-disk-1") && error.contains("surveyed"), "{error}");
        assert_eq!(lab.points("repository").len(), points);
        assert_eq!(lab.snapshots("vm-100-disk-1"), [""; 0], "nothing is left on their volume");
        crate::common::FOREIGN.iter().for_each(|name| lab.make_snapshot("vm-100-disk-1", name));
        converges(&lab, &Backup::default(), "replaced");
    }
}

/// A snapshot of the same name, made again by somebody, is another snapshot.
#[test]
fn a_base_that_was_made_again_under_its_name_is_no_base() {
    let lab = Situation::Increment.lab();
    let base = lab.own_snapshots("vm-100-disk-0").pop().unwrap();
    lab.storage.remove_snapshot("vm-100-disk-0", &base).unwrap();
    lab.make_snapshot("vm-100-disk-0", &base);
    let outcome = lab.good_backup(&Backup::default());
    let kinds: Vec<&str> = outcome.volumes.iter().map(|volume| volume.kind.as_str()).collect();
    assert_eq!(kinds, ["base", "increment"]);
    lab.assert_points_are_whole("made again");
    lab.assert_tidy(1, "made again");
}

/// Runs a second backup, as another user would, in the middle of the first one.
fn second_run_during(lab: Lab, first: &Backup, second: Backup) -> (Lab, Report, Report) {
    let lab = Arc::new(lab);
    let (inner, found) = (lab.clone(), Arc::new(Mutex::new(None)));
    let slot = found.clone();
    lab.events.watch(move |event| {
        let mut slot = slot.lock().unwrap();
        // Not earlier: while the first one is frozen its guard stands still with it here, and the
        // second would wait for that in vain. Freezes at the same time: `freezing.rs`.
        if event.starts_with("transfer ") && slot.is_none() {
            let operation = inner.backup_operation(&second).unwrap();
            let (ctx, mode) = (inner.ctx(), second.mode);
            let run = std::thread::spawn(move || block_on(run(ctx, operation, mode)));
            *slot = Some(run.join().unwrap().unwrap().report);
        }
    });
    let report = lab.backup(first);
    lab.events.unwatch();
    let found = found.lock().unwrap().take().expect("the second run took place");
    let lab = Arc::into_inner(lab).expect("the watcher is gone");
    (lab, report, found)
}

#[test]
fn a_second_run_of_one_guest_is_told_that_it_is_locked_f11() {
    for situation in Situation::ALL {
        let wanted = situation.wanted();
        let lab = situation.lab();
        let (lab, first, second) = second_run_during(lab, &wanted, wanted.clone());
        assert_eq!(first.exit_code(), 0, "{first:#?}");
        assert_eq!(second.exit_code(), 11, "{second:#?}");
        assert_eq!(second.guests[0].failure, Some(Failure::Locked));
        let error = second.guests[0].error.as_deref().unwrap();
        assert!(error.contains("backup") && error.contains("process"), "who holds it: {error}");
        lab.assert_points_are_whole("two runs");
        lab.assert_tidy(1, "two runs");
        converges(&lab, &wanted, "two runs");
    }
}

/// What it knew of snapshots before it waited is not what it finds then: the first run has replaced
/// the base that both would have taken.
#[test]
fn a_second_run_that_waits_goes_on_with_what_the_first_one_left() {
    let lab = Arc::new(Situation::Increment.lab());
    lab.write_somewhere(9);
    let (inner, found) = (lab.clone(), Arc::new(Mutex::new(None)));
    let slot = found.clone();
    lab.events.watch(move |event| {
        let mut slot = slot.lock().unwrap();
        if event.starts_with("note created snapshot") && slot.is_none() {
            let operation = inner.backup_operation(&Backup::default()).unwrap();
            let mut ctx = Arc::into_inner(inner.ctx()).unwrap();
            ctx.limits.lock_wait = Some(Duration::from_secs(60));
            let run = run(Arc::new(ctx), operation, Mode::Execute);
            *slot = Some(std::thread::spawn(move || block_on_real_time(run).unwrap().report));
            // It has read all that it reads before it has the lock, and asks for that again and again.
            std::thread::sleep(Duration::from_millis(700));
        }
    });
    let first = lab.backup(&Backup::default());
    lab.events.unwatch();
    let second = found.lock().unwrap().take().expect("the second run began").join().unwrap();
    assert_eq!((first.exit_code(), second.exit_code()), (0, 0), "{first:#?}{second:#?}");
    let kinds: Vec<&str> = second.guests[0].volumes.iter().map(|v| v.kind.as_str()).collect();
    assert_eq!(kinds, ["increment", "increment"]);
    lab.learn("repository");
    lab.assert_points_are_whole("waited");
    lab.assert_tidy(1, "waited");
}

/// Another repository has locks of its own: both runs get their points.
#[test]
fn two_runs_into_two_repositories_do_not_disturb_each_other() {
    let lab = Lab::new();
    let second = Backup { repository: "second", ..Backup::default() };
    lab.good_backup(&Backup::default());
    lab.good_backup(&second);
    lab.write_somewhere(3);
    let (lab, first, second) = second_run_during(lab, &Backup::default(), second);
    assert_eq!((first.exit_code(), second.exit_code()), (0, 0), "{first:#?}{second:#?}");
    lab.learn("second");
    lab.assert_points_are_whole("two repositories");
    lab.assert_tidy(2, "two repositories");
    let increments =
        |report: &Report| report.guests[0].volumes.iter().all(|v| v.kind == "increment");
    assert!(increments(&first) && increments(&second));
}

#[test]
fn a_restore_meanwhile_keeps_a_backup_out_and_ends_well_d1_10() {
    let lab = Arc::new(Situation::Increment.lab());
    let (inner, found) = (lab.clone(), Arc::new(Mutex::new(None)));
    let slot = found.clone();
    lab.events.watch(move |event| {
        if event.starts_with("note created volume") {
            let operation = inner.backup_operation(&Backup::default()).unwrap();
            let ctx = inner.ctx();
            let run = std::thread::spawn(move || {
                block_on(run(ctx, operation, pve_ferry::run::Mode::Execute))
            });
            slot.lock().unwrap().get_or_insert(run.join().unwrap().unwrap().report);
        }
    });
    let restored = lab.restore(&Restore::to(901)).unwrap();
    lab.events.unwatch();
    assert_eq!(restored.exit_code(), 0, "{restored:#?}");
    assert_eq!(found.lock().unwrap().as_ref().unwrap().exit_code(), 11);
    lab.assert_points_are_whole("a restore meanwhile");
}

#[test]
fn a_guest_that_pve_has_locked_is_left_alone_f24() {
    let lab = Situation::Increment.lab();
    lab.add_guest(200, &[4096]);
    let config = format!("lock: migrate\n{}", lab.config(VMID));
    std::fs::write(lab.config_path("pve1", VMID), &config).unwrap();
    let before = lab.own_snapshots("vm-100-disk-0");
    let report = lab.backup(&Backup { selection: "100,200".into(), ..Backup::default() });
    assert_eq!(report.exit_code(), 3, "{report:#?}");
    assert!(report.guests[0].error.as_deref().unwrap().contains("migrate"), "{report:#?}");
    assert_eq!(report.guests[1].status, GuestStatus::Ok, "the other guest is done");
    assert_eq!(lab.config(VMID), config, "the lock is not ours to remove");
    assert_eq!(lab.own_snapshots("vm-100-disk-0"), before);
    let log = lab.events.log();
    assert_eq!(log.iter().filter(|event| is_freeze(event)).count(), 1, "the first run's only");
}

/// A live migration that begins after the survey and switches over in the freeze.
fn migrates_in_the_freeze(lab: &Lab, thaws_until_it_moves: usize, runs_on: &'static str) {
    let (from, to) = (lab.config_path("pve1", VMID), lab.config_path("pve2", VMID));
    let (node, mut frozen, mut thaws, mut surveys) = (lab.node.clone(), false, 0, 0);
    lab.events.watch(move |event| {
        if is_freeze(event) && !frozen {
            frozen = true;
            let text = std::fs::read_to_string(&from).unwrap();
            std::fs::write(&from, format!("lock: migrate\n{text}")).unwrap();
        }
        if event.starts_with("note created snapshot") {
            // What was frozen goes on on the other node as it is; nobody answers for it until then.
            node.set(VMID, |guest| guest.place = Some("nowhere"));
        }
        surveys += usize::from(event == "run qm status 100");
        if surveys == 2 {
            node.set(VMID, |guest| guest.place = Some("pve2"));
        }
        if event.starts_with("run qm") && event.ends_with("fsfreeze-thaw") {
            thaws += 1;
            if thaws == thaws_until_it_moves {
                std::fs::rename(&from, &to).unwrap();
                node.set(VMID, |guest| guest.place = Some(runs_on));
            }
        }
    });
}

/// The migration is over: the next backup is well.
fn migrated(lab: &Lab, context: &str) {
    lab.events.unwatch();
    let path = lab.config_path("pve2", VMID);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("lock: migrate\n", "")).unwrap();
    let outcome = lab.good_backup(&Backup::default());
    assert_eq!(outcome.node, "pve2", "{context}");
    assert_eq!(outcome.consistency.as_deref(), Some("frozen"), "{context}");
    lab.assert_points_are_whole(context);
    lab.assert_tidy(1, context);
}

#[test]
fn a_guest_that_migrates_while_it_is_frozen_is_thawed_where_it_goes_on() {
    // The configuration is on the other node at the first try, or only when some were in vain.
    for thaws in [1, 3] {
        let context = format!("moved at thaw {thaws}");
        let lab = Situation::Increment.lab();
        let before = Before::of(&lab);
        migrates_in_the_freeze(&lab, thaws, "pve2");
        let report = lab.backup(&Backup::default());
        let outcome = before.check(&lab, &report, &context);
        assert!(outcome.error.as_deref().unwrap().contains("migrate"), "{context}: {outcome:#?}");
        assert!(lab.node.get(VMID).frozen.is_none(), "{context}: {outcome:#?}");
        assert_eq!(outcome.warnings, [""; 0], "{context}: nothing is left to look at");
        migrated(&lab, &context);
    }
}

/// Nobody answers for the guest as long as the first try lasts; the next look at it finds it frozen,
/// and a lock of PVE is no reason to leave it so.
#[test]
fn a_guest_that_a_first_try_left_frozen_is_thawed_although_it_is_locked() {
    let lab = Situation::Increment.lab();
    let before = Before::of(&lab);
    migrates_in_the_freeze(&lab, 1, "nowhere");
    let report = lab.backup(&Backup::default());
    let outcome = before.check(&lab, &report, "frozen until the second survey");
    let told = |text: &str| outcome.warnings.iter().any(|warning| warning.contains(text));
    assert!(outcome.error.as_deref().unwrap().contains("migrate"), "{outcome:#?}");
    assert!(lab.node.get(VMID).frozen.is_none(), "{outcome:#?}");
    assert!(told("in the first try: guest 100 was not seen thawed"), "{outcome:#?}");
    assert!(told("fsfreeze-status, on pve2"), "{outcome:#?}");
    assert!(told("thawed by this run"), "{outcome:#?}");
    migrated(&lab, "frozen until the second survey");
}
