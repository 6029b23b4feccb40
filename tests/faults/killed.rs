//! Restores whose process dies at every moment: what it leaves is known, and the next one makes it
//! good. Nothing fails by itself here.

use crate::common::{Lab, Restore, VMID};
use crate::situation::Situation;
use pve_ferry::model::VmId;
use pve_ferry::plan::restore::Existing;
use pve_ferry::storage::memory::{Fault, Operation};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;

const TARGET: u32 = 901;

fn lab() -> Lab {
    let lab = Situation::Increment.lab();
    lab.good_backup(&Situation::Increment.wanted());
    lab
}

/// The next restore is as if there had been none before.
fn made_good(lab: &Lab, wanted: &Restore, context: &str) {
    let report = lab.restore(wanted).unwrap();
    assert_eq!(report.exit_code(), 0, "{context}: {report:#?}");
    nothing_left(lab, wanted.policy.target.unwrap(), context);
}

fn nothing_left(lab: &Lab, target: VmId, context: &str) {
    let config = lab.config(target.number());
    assert!(!config.contains("lock:"), "{context}: {config}");
    let point = lab.points("repository").pop().unwrap();
    for disk in ["scsi0", "scsi1"] {
        let line = config.lines().find(|line| line.starts_with(disk)).unwrap();
        let volume = line.split([':', ',']).nth(2).unwrap();
        let bytes = lab.storage.read(volume).unwrap();
        assert!(bytes == lab.expected(&point, disk), "{context}: {line}");
    }
    let volumes = lab.volumes();
    let of_target = format!("vm-{target}-");
    for volume in volumes.iter().filter(|v| v.starts_with(&of_target) || v.contains("ferry")) {
        assert!(config.contains(volume.as_str()), "{context}: {volume} is nobody's: {config}");
    }
    assert_eq!(lab.unfinished().left(target), [], "{context}");
    assert_eq!(lab.unfinished().reserved(target), [], "{context}");
}

#[test]
fn a_restore_that_dies_in_any_call_of_its_storage_is_made_good_by_the_next_one() {
    let mut deaths = 0;
    for operation in [
        Operation::CreateVolume,
        Operation::RenameVolume,
        Operation::Import,
        Operation::Volume,
        Operation::Volumes,
    ] {
        for fault in [Fault::Hang, Fault::HangAfter] {
            for nth in 1..=2 {
                let lab = lab();
                lab.storage.inject(operation, nth, fault);
                if !lab.killed_restore(&Restore::to(TARGET), &Notify::new()) {
                    continue;
                }
                deaths += 1;
                let context = format!("{operation} {nth} {fault:?}");
                // A creation whose end nobody saw may still come.
                lab.clock.advance(3600);
                made_good(&lab, &Restore::to(TARGET), &context);
            }
        }
    }
    assert!(deaths >= 14, "{deaths}");
}

/// Tells of the n-th event of a run.
fn at_event(lab: &Lab, nth: usize) -> (Arc<Notify>, Arc<AtomicUsize>) {
    let (dies, seen) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let (tells, counter) = (dies.clone(), seen.clone());
    lab.events.watch(move |_| {
        if counter.fetch_add(1, Ordering::SeqCst) == nth {
            tells.notify_one();
        }
    });
    (dies, seen)
}

#[test]
fn a_restore_that_dies_at_any_event_is_made_good_by_the_next_one() {
    let mut deaths = 0;
    for nth in 0.. {
        let lab = lab();
        let (dies, seen) = at_event(&lab, nth);
        let died = lab.killed_restore(&Restore::to(TARGET), &dies);
        lab.events.unwatch();
        if seen.load(Ordering::SeqCst) <= nth {
            break;
        }
        let context = format!("died at event {nth}");
        deaths += usize::from(died);
        let is_there = lab.config_path("pve1", TARGET).exists();
        if is_there && !lab.config(TARGET).contains("lock: create") {
            continue;
        }
        made_good(&lab, &Restore::to(TARGET), &context);
    }
    assert!(deaths >= 5, "{deaths}");
}

#[test]
fn a_restore_with_force_that_dies_leaves_the_present_guest_whole() {
    let mut deaths = 0;
    for nth in 0.. {
        let lab = lab();
        lab.node.set(VMID, |guest| guest.running = false);
        let before = lab.config(VMID);
        let mut wanted = Restore::to(VMID);
        wanted.policy.existing = Existing::Replace;
        let (dies, seen) = at_event(&lab, nth);
        let died = lab.killed_restore(&wanted, &dies);
        lab.events.unwatch();
        if seen.load(Ordering::SeqCst) <= nth {
            break;
        }
        deaths += usize::from(died);
        let context = format!("died at event {nth}");
        let left = lab.config(VMID);
        let is_old = left.replace("lock: create\n", "") == before;
        assert!(is_old || left.contains("unused0: ceph:vm-100-disk-0"), "{context}: {left}");
        made_good(&lab, &wanted, &context);
        assert!(lab.config(VMID).contains("unused0: ceph:vm-100-disk-0"), "{context}");
    }
    assert!(deaths >= 5, "{deaths}");
}

/// Two nodes restore one guest: the second finds the vmid taken, and takes nothing away.
#[test]
fn a_vmid_that_is_being_restored_is_reserved_for_others_to_see() {
    let lab = Arc::new(lab());
    let (second, path) = (lab.clone(), lab.config_path("pve1", TARGET));
    let said = Arc::new(std::sync::Mutex::new(String::new()));
    let answer = said.clone();
    lab.events.watch(move |event| {
        if event == "note created volume ceph:vm-901-disk-0" {
            let config = std::fs::read_to_string(&path).unwrap();
            assert!(config.contains("lock: create"), "{config}");
            let again = std::thread::scope(|scope| {
                scope.spawn(|| second.restore(&Restore::to(TARGET)).unwrap()).join().unwrap()
            });
            assert_eq!(again.exit_code(), 13, "{again:#?}");
            *answer.lock().unwrap() = again.guests[0].error.clone().unwrap();
        }
    });
    let report = lab.restore(&Restore::to(TARGET)).unwrap();
    lab.events.unwatch();
    assert_eq!(report.exit_code(), 0, "{report:#?}");
    assert!(said.lock().unwrap().contains("is being made on node pve1"), "{said:?}");
    nothing_left(&lab, TARGET.try_into().unwrap(), "two at once");
}

/// What PVE itself locks so is not ours, whatever notes stand here.
#[test]
fn a_guest_that_pve_is_making_is_left_alone() {
    let lab = lab();
    std::fs::write(lab.config_path("pve1", TARGET), "lock: create\n").unwrap();
    let mut wanted = Restore::to(TARGET);
    wanted.policy.existing = Existing::Replace;
    let report = lab.restore(&wanted).unwrap();
    assert_eq!(report.exit_code(), 13, "{report:#?}");
    assert_eq!(lab.config(TARGET), "lock: create\n");
}
