//! Everything that a restore calls fails in turn: nothing half is left, and nothing that was there
//! is touched.

use crate::common::{Backup, CommandFault, Lab, Restore, VMID, block_on};
use crate::situation::Situation;
use pve_ferry::plan::restore::{Afterwards, Existing};
use pve_ferry::report::Report;
use pve_ferry::repository::{self, Disk};
use pve_ferry::storage::Memory;
use pve_ferry::storage::memory::{Fault, Operation};
use tokio::sync::Notify;

const TARGET: u32 = 901;

/// Two points of guest 100, and changes since.
fn lab() -> Lab {
    let lab = Situation::Increment.lab();
    lab.good_backup(&Situation::Increment.wanted());
    lab.write_somewhere(30);
    lab
}

/// After a restore that failed: no trace of the target but what the report names; then it works.
fn nothing_half(lab: &Lab, report: &Report, context: &str) {
    let outcome = &report.guests[0];
    let named = |volume: &String| outcome.warnings.iter().any(|w| w.contains(volume.as_str()));
    if report.exit_code() != 0 {
        let left = lab.volumes_of(TARGET);
        assert!(left.iter().all(named), "{context}: {left:?} stay, {outcome:#?}");
        assert!(!lab.config_path("pve1", TARGET).exists(), "{context}");
        assert!(!lab.etc().join("firewall/901.fw").exists(), "{context}");
        // What could not be proven to be the run's own is removed by whoever reads the warning.
        left.iter().for_each(|volume| lab.storage.remove_volume(volume));
        lab.earlier_process_is_dead("repository");
        let again = lab.restore(&Restore::to(TARGET)).unwrap();
        assert_eq!(again.exit_code(), 0, "{context}, second run: {again:#?}");
    }
    is_restored(lab, context);
    lab.assert_points_are_whole(context);
    lab.assert_foreign_snapshots_stay(context);
    lab.assert_tidy(1, context);
}

fn is_restored(lab: &Lab, context: &str) {
    let point = lab.points("repository").pop().unwrap();
    for disk in 0..2 {
        let bytes = lab.storage.read(&format!("vm-{TARGET}-disk-{disk}")).unwrap();
        assert!(bytes == lab.expected(&point, &format!("scsi{disk}")), "{context}: disk {disk}");
    }
    assert!(lab.config(TARGET).contains("vm-901-disk-1"), "{context}");
    assert!(lab.etc().join("firewall/901.fw").exists(), "{context}");
}

fn each_call(operation: Operation, fault: Fault) -> usize {
    let lab = lab();
    let word = format!("{operation} ");
    let calls = |lab: &Lab| lab.storage.calls().iter().filter(|c| c.starts_with(&word)).count();
    for nth in 1.. {
        let called = calls(&lab);
        lab.storage.inject(operation, nth, fault);
        let restored = lab.restore(&Restore::to(TARGET));
        if calls(&lab) < called + nth {
            return nth - 1;
        }
        let context = format!("{operation} {nth} {fault:?}");
        let report = restored.unwrap();
        assert_eq!(report.exit_code(), 1, "{context}: {report:#?}");
        nothing_half(&lab, &report, &context);
        forget_target(&lab);
    }
    unreachable!()
}

fn forget_target(lab: &Lab) {
    lab.volumes_of(TARGET).iter().for_each(|volume| lab.storage.remove_volume(volume));
    std::fs::remove_file(lab.config_path("pve1", TARGET)).unwrap();
    std::fs::remove_file(lab.etc().join("firewall/901.fw")).unwrap();
}

#[test]
fn a_storage_that_fails_anywhere_fails_the_restore_and_nothing_is_left_d1_9() {
    for (operation, cases) in
        [(Operation::Volumes, 1), (Operation::FreeBytes, 1), (Operation::CreateVolume, 2)]
    {
        for fault in [Fault::Before, Fault::After] {
            assert_eq!(each_call(operation, fault), cases, "{operation}");
        }
    }
    for fault in [Fault::Before, Fault::After, Fault::Cut(0), Fault::Cut(50), Fault::Cut(9000)] {
        assert_eq!(each_call(Operation::Import, fault), 2, "{fault:?}");
    }
    assert_eq!(each_call(Operation::Volume, Fault::Before), 2, "each volume is looked at");
}

/// Somebody makes a volume of the name between survey and creation: it is theirs.
#[test]
fn a_volume_that_somebody_makes_meanwhile_is_theirs() {
    let lab = lab();
    let storage = lab.storage.clone();
    lab.events.watch(move |event| {
        if event == "note created volume ceph:vm-901-disk-0" {
            storage.add_volume("vm-901-disk-1", 4096).unwrap();
        }
    });
    let report = lab.restore(&Restore::to(TARGET)).unwrap();
    lab.events.unwatch();
    assert_eq!(report.exit_code(), 1, "{report:#?}");
    assert_eq!(report.guests[0].warnings, [""; 0]);
    assert_eq!(lab.volumes_of(TARGET), ["vm-901-disk-1"], "ours is gone, theirs is there");
    assert_eq!(lab.storage.read("vm-901-disk-1").unwrap(), [0; 4096]);
    lab.storage.remove_volume("vm-901-disk-1");
    nothing_half(&lab, &report, "somebody was faster");
}

#[test]
fn a_volume_that_cannot_be_taken_back_is_named() {
    for fault in [Fault::Before, Fault::After] {
        let lab = lab();
        lab.storage.inject(Operation::Import, 2, Fault::Cut(50));
        lab.storage.inject(Operation::DeleteVolume, 1, fault);
        let report = lab.restore(&Restore::to(TARGET)).unwrap();
        assert_eq!(report.exit_code(), 1);
        assert!(!report.guests[0].warnings.is_empty(), "{report:#?}");
        nothing_half(&lab, &report, "a volume cannot be deleted");
    }
}

/// What a restore could not take back, the next one removes.
#[test]
fn a_volume_that_cannot_be_taken_back_goes_with_the_next_restore() {
    let lab = lab();
    lab.storage.inject(Operation::Import, 2, Fault::Cut(50));
    lab.storage.inject(Operation::DeleteVolume, 1, Fault::Before);
    assert_eq!(lab.restore(&Restore::to(TARGET)).unwrap().exit_code(), 1);
    let left = lab.volumes_of(TARGET);
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(lab.unfinished().left(TARGET.try_into().unwrap()).len(), 1);
    let report = lab.restore(&Restore::to(TARGET)).unwrap();
    assert_eq!(report.exit_code(), 0, "{report:#?}");
    assert!(report.guests[0].changes[0].contains(&left[0]), "{report:#?}");
    assert_eq!(lab.unfinished().left(TARGET.try_into().unwrap()), []);
    is_restored(&lab, "taken back later");
}

/// A restore does not wait for a place where it could be noted, but says so.
#[test]
fn a_node_that_can_note_nothing_restores_all_the_same() {
    let lab = lab();
    let state = lab.etc().parent().unwrap().join("state");
    std::fs::create_dir_all(&state).unwrap();
    std::fs::write(state.join("restores"), "no directory").unwrap();
    let report = lab.restore(&Restore::to(TARGET)).unwrap();
    assert_eq!(report.exit_code(), 0, "{report:#?}");
    let warnings = &report.guests[0].warnings;
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    assert!(warnings[0].starts_with("vmid 901 could not be noted"), "{warnings:?}");
    assert!(warnings[1].starts_with("ceph:vm-901-disk-0 could not be noted"), "{warnings:?}");
    is_restored(&lab, "without a note");
}

#[test]
fn a_repository_that_fails_anywhere_fails_the_restore() {
    let faults =
        [repository::Fault::NoSpace, repository::Fault::Vanish, repository::Fault::LostReply];
    for fault in faults {
        let lab = lab();
        let mut reached = 0;
        for nth in 0.. {
            let disk = Disk::failing_at(nth, fault);
            let wanted = Restore { disk: disk.clone(), ..Restore::to(TARGET) };
            let report = lab.restore(&wanted).unwrap();
            if disk.writes() <= nth {
                break;
            }
            reached += 1;
            lab.earlier_process_is_dead("repository");
            nothing_half(&lab, &report, &format!("write {nth} {fault:?}"));
            forget_target(&lab);
        }
        assert!(reached >= 4, "{fault:?}: {reached} writes");
    }
}

#[test]
fn a_configuration_that_cannot_be_written_takes_everything_back() {
    let lab = lab();
    // Something stands where the new text is put before it takes the place of the reserving one.
    let pid = std::process::id();
    let aside = lab.config_path("pve1", TARGET).with_extension(format!("conf.tmp.{pid}"));
    let theirs = aside.clone();
    lab.events.watch(move |event| {
        if event.starts_with("note restored") {
            std::fs::write(&theirs, "").unwrap();
        }
    });
    let report = lab.restore(&Restore::to(TARGET)).unwrap();
    lab.events.unwatch();
    std::fs::remove_file(&aside).unwrap();
    assert_eq!(report.exit_code(), 1, "{report:#?}");
    nothing_half(&lab, &report, "no place for the configuration");
}

/// Somebody takes the vmid while the volumes are written: what they made stays as it is.
#[test]
fn a_vmid_that_is_taken_meanwhile_is_not_overwritten() {
    let lab = lab();
    let path = lab.config_path("pve2", TARGET);
    let theirs = path.clone();
    lab.events.watch(move |event| {
        if event.starts_with("note restored") {
            std::fs::write(&theirs, "name: theirs\n").unwrap();
        }
    });
    let report = lab.restore(&Restore::to(TARGET)).unwrap();
    lab.events.unwatch();
    assert_eq!(report.exit_code(), 1, "{report:#?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "name: theirs\n");
    std::fs::remove_file(path).unwrap();
    nothing_half(&lab, &report, "the vmid was taken");
}

#[test]
fn an_existing_guest_or_volume_is_refused_untouched_d1_26() {
    let lab = lab();
    let (config, bytes) = (lab.config(VMID), lab.storage.read("vm-100-disk-0").unwrap());
    let report = lab.restore(&Restore::to(VMID)).unwrap();
    assert_eq!(report.exit_code(), 13, "{report:#?}");
    assert_eq!((lab.config(VMID), lab.storage.read("vm-100-disk-0").unwrap()), (config, bytes));

    // Only the exact name is in the way: disk-1 is not disk-10.
    lab.storage.add_volume("vm-901-disk-10", 4096).unwrap();
    assert_eq!(lab.restore(&Restore::to(TARGET)).unwrap().exit_code(), 0);
    forget_target(&lab);
    lab.storage.add_volume("vm-901-disk-1", 4096).unwrap();
    let report = lab.restore(&Restore::to(TARGET)).unwrap();
    assert_eq!(report.exit_code(), 13, "{report:#?}");
    assert_eq!(lab.volumes_of(TARGET), ["vm-901-disk-1"], "nothing was made, nothing was deleted");
    assert_eq!(lab.storage.read("vm-901-disk-1").unwrap(), [0; 4096]);
}

#[test]
fn force_keeps_the_old_volumes_of_a_stopped_guest() {
    let lab = lab();
    lab.node.set(VMID, |guest| guest.running = false);
    let old = lab.storage.read("vm-100-disk-0").unwrap();
    let mut wanted = Restore::to(VMID);
    wanted.policy.existing = Existing::Replace;
    let report = lab.restore(&wanted).unwrap();
    assert_eq!(report.exit_code(), 0, "{report:#?}");
    let config = lab.config(VMID);
    for kept in
        ["unused0: ceph:vm-100-disk-0", "unused1: ceph:vm-100-disk-1", "scsi0: ceph:vm-100-disk-2"]
    {
        assert!(config.contains(kept), "{kept} in {config}");
    }
    assert!(lab.storage.read("vm-100-disk-0").unwrap() == old);
    let point = lab.points("repository").pop().unwrap();
    assert!(lab.storage.read("vm-100-disk-2").unwrap() == lab.expected(&point, "scsi0"));
}

#[test]
fn force_leaves_a_guest_that_was_started_during_the_transfers_as_it_is() {
    let lab = lab();
    lab.node.set(VMID, |guest| guest.running = false);
    let (config, volumes) = (lab.config(VMID), lab.volumes_of(VMID));
    let node = lab.node.clone();
    lab.events.watch(move |event| {
        if event.starts_with("note restored ") {
            node.set(VMID, |guest| guest.running = true);
        }
    });
    let mut wanted = Restore::to(VMID);
    wanted.policy.existing = Existing::Replace;
    let report = lab.restore(&wanted).unwrap();
    lab.events.unwatch();
    assert_ne!(report.exit_code(), 0, "{report:#?}");
    let error = report.guests[0].error.clone().unwrap();
    assert!(error.contains("was started meanwhile"), "{error}");
    assert_eq!(lab.config(VMID), config);
    assert_eq!(lab.volumes_of(VMID), volumes, "the new volumes were removed");
    assert!(lab.node.get(VMID).running);
}

#[test]
fn a_guest_that_does_not_start_is_restored_all_the_same() {
    let lab = lab();
    let mut wanted = Restore::to(TARGET);
    wanted.policy.afterwards = Afterwards::Start;
    lab.node.fail(0, CommandFault::Fails);
    let report = lab.restore(&wanted).unwrap();
    assert_eq!(lab.node.hit().as_deref(), Some("qm start 901"));
    assert_eq!(report.exit_code(), 1, "{report:#?}");
    let error = report.guests[0].error.as_deref().unwrap();
    assert!(error.starts_with("restored, but not started: start guest 901"), "{error}");
    assert_eq!(report.guests[0].warnings, [""; 0], "no next run tries that again");
    is_restored(&lab, "it does not start");
}

/// Single volumes, which PVE finds as unused disks of another guest.
#[test]
fn single_disks_come_back_beside_a_guest() {
    let lab = lab();
    lab.add_guest(200, &[4096]);
    let mut wanted = Restore::to(VMID);
    wanted.policy.target = None;
    wanted.policy.disks = vec!["scsi1".parse().unwrap()];
    wanted.policy.attach = Some(200.try_into().unwrap());
    let report = lab.restore(&wanted).unwrap();
    assert_eq!(report.exit_code(), 0, "{report:#?}");
    let point = lab.points("repository").pop().unwrap();
    let made = lab.volumes_of(200);
    assert_eq!(made.len(), 2, "{made:?}");
    let restored = made.iter().find(|name| *name != "vm-200-disk-0").unwrap();
    assert!(lab.storage.read(restored).unwrap() == lab.expected(&point, "scsi1"));
    assert!(lab.events.log().iter().any(|e| e == "run qm disk rescan --vmid 200"));
}

/// A wrong diff that the comparison with the source found: it reads well, and is wrong. So is what
/// was put on top of it before anybody compared.
#[test]
fn what_differs_from_its_source_is_not_restored_as_the_newest() {
    let lab = Lab::new();
    let audited = Backup { audit: Some(1), ..Backup::default() };
    lab.good_backup(&audited);
    lab.write_somewhere(2);
    lab.storage.inject(Operation::Export, 1, Fault::OmitsAChange);
    assert_eq!(lab.backup(&audited).exit_code(), 12);
    let points = lab.points("repository");
    let report = lab.restore(&Restore::to(TARGET)).unwrap();
    assert_eq!(report.exit_code(), 13, "{report:#?}");
    let error = report.guests[0].error.as_deref().unwrap();
    let sound = format!("--label daily --time {};", points[0].manifest.time);
    assert!(error.contains("differ from its source") && error.contains(&sound), "{error}");
    assert_eq!(lab.volumes_of(TARGET), [""; 0]);

    let mut named = Restore::to(TARGET);
    named.sought.time = Some(points[1].manifest.time);
    let report = lab.restore(&named).unwrap();
    assert_eq!(report.exit_code(), 3, "{report:#?}");
    assert_eq!(report.guests[0].not_whole.len(), 1, "{report:#?}");
    named.policy.target = Some(902.try_into().unwrap());
    named.sought.time = Some(points[0].manifest.time);
    assert_eq!(lab.restore(&named).unwrap().exit_code(), 0);
}

/// Damage in a base is damage of every increment on it, whose own attributes say nothing.
#[test]
fn an_increment_on_a_damaged_base_is_damaged() {
    let lab = lab();
    let directory = lab.guest_directories("repository").remove(0);
    let base = lab.points("repository").remove(0);
    let failed_images = vec![base.manifest.images[0].id];
    let marked = repository::Attributes { failed_images, ..base.attributes.clone() };
    let options = repository::LockOptions::default();
    let lock = directory.lock(repository::LockMode::Exclusive, &options).unwrap();
    directory.set_attributes(&lock, &base, &marked).unwrap();
    drop(lock);
    let report = lab.restore(&Restore::to(TARGET)).unwrap();
    assert_eq!(report.exit_code(), 13, "{report:#?}");
    let error = report.guests[0].error.as_deref().unwrap();
    assert!(error.contains("No other point that fits is sound"), "{error}");
    let mut wanted = Restore::to(TARGET);
    let sound = base.manifest.images[1].disk.clone();
    (wanted.policy.disks, wanted.policy.target) = (vec![sound], None);
    assert_eq!(lab.restore(&wanted).unwrap().exit_code(), 0);
}

/// What an increment needs is what its whole chain writes, each block once.
#[test]
fn a_restore_of_an_increment_needs_room_for_its_base_too() {
    let lab = lab();
    let point = lab.points("repository").pop().unwrap();
    let increments: u64 = point.manifest.images.iter().map(|image| image.data_bytes).sum();
    let unlimited = lab.restore(&Restore::to(TARGET)).unwrap();
    let whole: u64 = unlimited.guests[0].volumes.iter().map(|volume| volume.stream_bytes).sum();
    forget_target(&lab);
    assert!(point.manifest.images.iter().all(|image| image.parent.is_some()));
    assert!(increments < whole, "{increments} of {whole}");
    for (free, code) in [(whole - 1, 13), (increments, 13), (whole, 0)] {
        lab.storage.set_free_bytes(Some(free));
        let report = lab.restore(&Restore::to(TARGET)).unwrap();
        assert_eq!(report.exit_code(), code, "{free} free: {report:#?}");
        assert_eq!(lab.volumes_of(TARGET).is_empty(), code != 0);
    }

    // Without an index the images' own numbers have to do: they say more rather than less.
    forget_target(&lab);
    for image in &point.manifest.images {
        std::fs::remove_file(point.dir.join(format!("{}.idx", image.file))).unwrap();
    }
    lab.storage.set_free_bytes(Some(whole - 1));
    assert_eq!(lab.restore(&Restore::to(TARGET)).unwrap().exit_code(), 13);
}

/// The very case for which one maps: the storage of the point is dead.
#[test]
fn a_dead_storage_is_not_asked_when_nothing_goes_there() {
    let lab = lab();
    let dead = || {
        for operation in [Operation::Volumes, Operation::FreeBytes] {
            lab.storage.inject(operation, 1, Fault::Before);
        }
    };
    let mut mapped = Restore::to(TARGET);
    mapped.policy.storage_map.insert("ceph".into(), "spare".into());
    let mut moved = Restore::to(902);
    moved.policy.storage = Some("spare".into());
    for wanted in [&mapped, &moved] {
        dead();
        let report = lab.restore(wanted).unwrap();
        assert_eq!(report.exit_code(), 0, "{report:#?}");
    }
    let point = lab.points("repository").pop().unwrap();
    assert!(lab.spare.read("vm-901-disk-0").unwrap() == lab.expected(&point, "scsi0"));
    // A storage that nothing goes to is not asked either.
    let mut elsewhere = Restore::to(903);
    elsewhere.policy.storage = Some("ceph".into());
    elsewhere.policy.storage_map.insert("ceph".into(), "spare".into());
    dead();
    assert_eq!(lab.restore(&elsewhere).unwrap().exit_code(), 0);
}

/// The node of the guest whose disk is wanted is down.
#[test]
fn a_single_disk_comes_back_although_its_guest_does_not_answer() {
    let lab = lab();
    let mut wanted = Restore::to(VMID);
    wanted.policy.target = None;
    wanted.policy.disks = vec!["scsi1".parse().unwrap()];
    lab.node.fail(0, CommandFault::Fails);
    let report = lab.restore(&wanted).unwrap();
    assert_eq!(report.exit_code(), 0, "{report:#?}");
    assert_eq!(lab.node.hit(), None, "nobody was asked");
    assert_eq!(report.guests[0].warnings, [""; 0], "the guest was not touched");
}

#[test]
fn a_damaged_firewall_file_keeps_no_guest_from_coming_back() {
    let lab = lab();
    let point = lab.points("repository").pop().unwrap();
    std::fs::write(point.dir.join("guest.fw"), "[OPTIONS]\n\nenable: 2\n").unwrap();
    let mut wanted = Restore::to(TARGET);
    wanted.policy.afterwards = Afterwards::Start;
    let report = lab.restore(&wanted).unwrap();
    assert_eq!(report.exit_code(), 3, "{report:#?}");
    let told = &report.guests[0].not_whole;
    assert!(told.len() == 1 && told[0].contains("guest.fw"), "{told:?}");
    assert!(lab.config_path("pve1", TARGET).exists());
    assert!(!lab.etc().join("firewall/901.fw").exists());
    assert!(!lab.node.get(TARGET).running, "no guest is started without its rules");

    // Who wants a disk does not need it.
    let mut disk = Restore::to(VMID);
    (disk.policy.target, disk.policy.disks) = (None, vec!["scsi1".parse().unwrap()]);
    assert_eq!(lab.restore(&disk).unwrap().exit_code(), 0);
}

/// What took hours is not thrown away because somebody's node is down.
#[test]
fn volumes_that_could_not_be_attached_stay_and_the_report_says_so() {
    let lab = lab();
    lab.add_guest(200, &[4096]);
    let mut wanted = Restore::to(VMID);
    wanted.policy.target = None;
    wanted.policy.disks = vec!["scsi0".parse().unwrap(), "scsi1".parse().unwrap()];
    wanted.policy.attach = Some(200.try_into().unwrap());
    for fault in [CommandFault::Fails, CommandFault::Hangs, CommandFault::Late] {
        lab.node.fail(0, fault);
        let report = lab.restore(&wanted).unwrap();
        assert_eq!(lab.node.hit().as_deref(), Some("qm disk rescan --vmid 200"));
        assert_eq!(report.exit_code(), 1, "{fault:?}: {report:#?}");
        let guest = &report.guests[0];
        let error = guest.error.as_deref().unwrap();
        assert!(error.starts_with("restored as ceph:vm-200-disk-"), "{error}");
        assert!(error.contains("but not attached: ") && error.contains("stay"), "{error}");
        assert_eq!(guest.volumes.len(), 2, "{guest:#?}");
        let point = lab.points("repository").pop().unwrap();
        for volume in &guest.volumes {
            let name = volume.volume.strip_prefix("ceph:").unwrap();
            assert!(lab.storage.read(name).unwrap() == lab.expected(&point, &volume.disk));
        }
    }
}

#[test]
fn a_wish_to_stop_after_the_last_volume_keeps_what_is_restored() {
    let lab = lab();
    lab.add_guest(200, &[4096]);
    let mut wanted = Restore::to(VMID);
    (wanted.policy.target, wanted.policy.disks) = (None, vec!["scsi1".parse().unwrap()]);
    wanted.policy.attach = Some(200.try_into().unwrap());
    let stop = lab.wish();
    lab.events.watch(move |event| {
        if event == "note all volumes are restored" {
            stop();
        }
    });
    let report = lab.restore(&wanted).unwrap();
    lab.events.unwatch();
    assert_eq!(report.exit_code(), 130, "{report:#?}");
    let error = report.guests[0].error.as_deref().unwrap();
    assert!(error.contains("the volumes are restored; not done: attaching"), "{error}");
    assert_eq!(lab.volumes_of(200).len(), 2);
}

#[test]
fn disks_for_a_guest_that_does_not_exist_are_refused_before_anything_is_made() {
    let lab = lab();
    let before = lab.volumes();
    let mut wanted = Restore::to(VMID);
    (wanted.policy.target, wanted.policy.disks) = (None, vec!["scsi1".parse().unwrap()]);
    wanted.policy.attach = Some(999.try_into().unwrap());
    let report = lab.restore(&wanted).unwrap();
    assert_eq!(report.exit_code(), 13, "{report:#?}");
    assert_eq!(lab.volumes(), before);
}

/// What was taken back is none of what a report lists.
#[test]
fn a_volume_that_was_undone_is_not_reported_as_restored() {
    let lab = lab();
    lab.storage.inject(Operation::Import, 2, Fault::Cut(50));
    let report = lab.restore(&Restore::to(TARGET)).unwrap();
    assert_eq!(report.exit_code(), 1, "{report:#?}");
    assert!(report.guests[0].volumes.is_empty(), "{report:#?}");
    assert_eq!(lab.volumes_of(TARGET), [""; 0]);
}

/// Neither what PVE's snapshots hold nor what waits for a restart is forgotten.
#[test]
fn force_keeps_volumes_of_snapshots_and_of_pending_changes_too() {
    let lab = lab();
    lab.node.set(VMID, |guest| guest.running = false);
    let path = lab.config_path("pve1", VMID);
    let more = "\n[PENDING]\nscsi5: ceph:vm-100-disk-9\n\n[pre]\nscsi0: ceph:vm-100-disk-0\nvmstate: ceph:vm-100-state-pre\n";
    std::fs::write(&path, lab.config(VMID) + more).unwrap();
    let mut wanted = Restore::to(VMID);
    wanted.policy.existing = Existing::Replace;
    let dry = Restore { mode: pve_ferry::run::Mode::DryRun, ..wanted.clone() };
    assert_eq!(lab.restore(&dry).unwrap().exit_code(), 0);
    let report = lab.restore(&wanted).unwrap();
    assert_eq!(report.exit_code(), 0, "{report:#?}");
    let config = lab.config(VMID);
    for kept in ["unused2: ceph:vm-100-disk-9", "unused3: ceph:vm-100-state-pre"] {
        assert!(config.contains(kept), "{kept} in {config}");
    }
    let warnings = &report.guests[0].warnings;
    assert!(warnings.iter().any(|w| w.contains("snapshots of guest 100 (pre)")), "{warnings:?}");
}

/// Two entries of storage.cfg for one pool: names and space are there once.
#[test]
fn two_storage_entries_of_one_pool_restore_well() {
    let lab = lab();
    lab.edit_config(VMID, "scsi1: ceph:", "scsi1: ceph2:");
    lab.also_as("ceph2");
    lab.good_backup(&Situation::Increment.wanted());
    lab.node.set(VMID, |guest| guest.running = false);
    let mut wanted = Restore::to(VMID);
    wanted.policy.existing = Existing::Replace;
    let report = lab.restore(&wanted).unwrap();
    assert_eq!(report.exit_code(), 0, "{report:#?}");
    let config = lab.config(VMID);
    assert!(config.contains("scsi0: ceph:vm-100-disk-2"), "{config}");
    assert!(config.contains("scsi1: ceph2:vm-100-disk-3"), "{config}");
}

/// A disk that PVE gave this guest from another one, whose number its name bears still.
#[test]
fn a_disk_named_after_another_guest_is_restored_beside_its_original() {
    let lab = lab();
    lab.edit_config(VMID, "vm-100-disk-1", "vm-777-disk-5");
    lab.rename_volume("vm-100-disk-1", "vm-777-disk-5");
    lab.good_backup(&Situation::Increment.wanted());
    let report = lab.restore(&Restore::to(TARGET)).unwrap();
    assert_eq!(report.exit_code(), 0, "{report:#?}");
    assert_eq!(lab.volumes_of(TARGET), ["vm-901-disk-0", "vm-901-disk-1"]);
}

/// Hours of copying for a guest that cannot be written at its end.
#[test]
fn without_quorum_nothing_is_made() {
    let lab = lab();
    let members = r#"{"nodename":"pve1","cluster":{"name":"lab","quorate":0},"nodelist":{}}"#;
    std::fs::write(lab.etc().join(".members"), members).unwrap();
    let report = lab.restore(&Restore::to(TARGET)).unwrap();
    assert_eq!(report.exit_code(), 13, "{report:#?}");
    let error = report.guests[0].error.as_deref().unwrap();
    assert!(error.contains("no quorum"), "{error}");
    assert!(!lab.storage.calls().iter().any(|call| call.starts_with("create-volume")));
}

/// What PVE would not start a guest from is not filled, nor even asked.
#[test]
fn a_storage_that_pve_would_not_use_gets_no_guest() {
    let lab = lab();
    for (options, said) in [
        ("content images\n\tdisable 1", "is disabled (`disable` in storage.cfg)"),
        ("content images\n\tnodes pve7", "is not available on node pve1 (`nodes pve7`)"),
        ("content rootdir", "takes no images (`content rootdir`)"),
    ] {
        let section = format!("rbd: spare\n\tpool spare\n\t{options}\n");
        std::fs::write(lab.etc().join("storage.cfg"), section).unwrap();
        let before = lab.spare.calls().len();
        let mut wanted = Restore::to(TARGET);
        wanted.policy.storage = Some("spare".into());
        let report = lab.restore(&wanted).unwrap();
        assert_eq!(report.exit_code(), 13, "{report:#?}");
        let error = report.guests[0].error.as_deref().unwrap();
        assert!(error.contains(said), "{error}");
        assert_eq!(lab.spare.calls().len(), before, "{options}");
    }
}

/// Rules of somebody else are not those under which the guest ran.
#[test]
fn a_guest_that_finds_another_firewall_file_is_not_started() {
    let lab = lab();
    let theirs = lab.etc().join("firewall/901.fw");
    std::fs::write(&theirs, "[OPTIONS]\n\nenable: 0\n").unwrap();
    let mut wanted = Restore::to(TARGET);
    wanted.policy.afterwards = Afterwards::Start;
    let report = lab.restore(&wanted).unwrap();
    assert_eq!(report.exit_code(), 3, "{report:#?}");
    let said = &report.guests[0].not_whole;
    assert!(said.len() == 1 && said[0].contains("another firewall file"), "{said:?}");
    assert!(!lab.node.get(TARGET).running);
    assert_eq!(std::fs::read_to_string(theirs).unwrap(), "[OPTIONS]\n\nenable: 0\n");
}

/// A program that takes everything, writes nothing and ends well.
#[test]
fn a_volume_into_which_nothing_was_written_is_not_restored() {
    let lab = lab();
    lab.storage.inject(Operation::Import, 2, Fault::Swallows);
    let report = lab.restore(&Restore::to(TARGET)).unwrap();
    assert_eq!(report.exit_code(), 1, "{report:#?}");
    let error = report.guests[0].error.as_deref().unwrap();
    assert!(error.contains("holds nothing"), "{error}");
    nothing_half(&lab, &report, "swallowed");
}

/// Somebody puts a volume of another content in the place of one.
fn replace(storage: &Memory, name: &str) {
    let size = storage.read(name).unwrap().len() as u64;
    storage.remove_volume(name);
    storage.add_volume(name, size).unwrap();
    storage.write(name, 0, b"theirs").unwrap();
}

fn is_theirs(lab: &Lab, name: &str) -> bool {
    lab.storage.read(name).is_ok_and(|bytes| bytes.starts_with(b"theirs"))
}

/// Between the making of a volume and its import.
#[test]
fn a_restore_writes_into_no_volume_that_took_the_place_of_its_own() {
    let lab = lab();
    let storage = lab.storage.clone();
    lab.storage.meanwhile(Operation::Import, 1, move || replace(&storage, "vm-901-disk-0"));
    let report = lab.restore(&Restore::to(TARGET)).unwrap();
    assert_eq!(report.exit_code(), 1, "{report:#?}");
    let error = report.guests[0].error.as_deref().unwrap();
    assert!(error.contains("ceph:vm-901-disk-0 is another one now"), "{error}");
    assert!(is_theirs(&lab, "vm-901-disk-0"), "{report:#?}");
    nothing_half(&lab, &report, "replaced before the import");
}

/// Nobody knows what became of a volume that is another one, or has another size, when all was written.
#[test]
fn a_volume_that_is_not_as_it_was_written_is_not_restored() {
    // One disk: of two that come back at the same time nobody knows which is looked at first.
    let lab = Lab::empty();
    lab.add_guest(100, &[65_536]);
    lab.storage.write("vm-100-disk-0", 0, &[7; 65_536]).unwrap();
    lab.good_backup(&Backup::default());
    let storage = lab.storage.clone();
    let grow = move || storage.resize("vm-901-disk-0", 131_072).unwrap();
    lab.storage.meanwhile(Operation::Volume, 1, grow);
    let report = lab.restore(&Restore::to(TARGET)).unwrap();
    assert_eq!(report.exit_code(), 1, "{report:#?}");
    let error = report.guests[0].error.as_deref().unwrap();
    assert!(error.contains("has another size or identity"), "{error}");
    taken_back(&lab, &report);

    let storage = lab.storage.clone();
    lab.storage.meanwhile(Operation::Volume, 1, move || replace(&storage, "vm-901-disk-0"));
    let report = lab.restore(&Restore::to(TARGET)).unwrap();
    assert_eq!(report.exit_code(), 1, "{report:#?}");
    let error = report.guests[0].error.as_deref().unwrap();
    assert!(error.contains("has another size or identity"), "{error}");
    assert!(is_theirs(&lab, "vm-901-disk-0"), "{report:#?}");
    taken_back(&lab, &report);
}

/// Of a guest with one disk that was not restored: nothing stays but what the report names; then it works,
/// and goes again.
fn taken_back(lab: &Lab, report: &Report) {
    let warnings = &report.guests[0].warnings;
    let named = |volume: &String| warnings.iter().any(|w| w.contains(volume.as_str()));
    let left = lab.volumes_of(TARGET);
    assert!(left.iter().all(named), "{left:?} stay, {report:#?}");
    assert!(!lab.config_path("pve1", TARGET).exists());
    left.iter().for_each(|volume| lab.storage.remove_volume(volume));
    lab.earlier_process_is_dead("repository");
    let again = lab.restore(&Restore::to(TARGET)).unwrap();
    assert_eq!(again.exit_code(), 0, "{again:#?}");
    lab.volumes_of(TARGET).iter().for_each(|volume| lab.storage.remove_volume(volume));
    std::fs::remove_file(lab.config_path("pve1", TARGET)).unwrap();
}

/// Two volumes that a restore left which died.
fn left_by_a_dead_restore() -> Lab {
    let lab = lab();
    lab.add_guest(200, &[4096]);
    lab.storage.inject(Operation::Import, 1, Fault::Hang);
    assert!(lab.killed_restore(&Restore::to(TARGET), &Notify::new()));
    assert_eq!(lab.volumes_of(TARGET), ["vm-901-disk-0", "vm-901-disk-1"]);
    lab
}

#[test]
fn a_volume_that_took_the_place_of_one_that_a_dead_restore_left_is_not_deleted() {
    let lab = left_by_a_dead_restore();
    let storage = lab.storage.clone();
    lab.storage.meanwhile(Operation::DeleteVolume, 1, move || replace(&storage, "vm-901-disk-0"));
    let report = lab.restore(&Restore::to(TARGET)).unwrap();
    assert_ne!(report.exit_code(), 0, "{report:#?}");
    assert!(is_theirs(&lab, "vm-901-disk-0"), "{report:#?}");
}

/// It bears the name then that it got for its deletion.
#[test]
fn a_volume_whose_deletion_was_cut_off_goes_with_the_next_restore() {
    let lab = left_by_a_dead_restore();
    let facts = block_on(lab.driver().volume("vm-901-disk-0")).unwrap().unwrap();
    let last = pve_ferry::storage::name_while_deleted(&facts.identity);
    lab.storage.set_name("vm-901-disk-0", &last).unwrap();
    let report = lab.restore(&Restore::to(TARGET)).unwrap();
    assert_eq!(report.exit_code(), 0, "{report:#?}");
    assert!(!lab.volumes().contains(&last), "{:?}", lab.volumes());
    is_restored(&lab, "cut off");
    assert_eq!(lab.unfinished().left(TARGET.try_into().unwrap()), []);
}

/// The survey saw it free; by the time it is to go, a guest has it.
#[test]
fn a_left_volume_that_a_guest_takes_up_meanwhile_is_not_deleted() {
    let lab = left_by_a_dead_restore();
    let path = lab.config_path("pve1", 200);
    lab.storage.write("vm-901-disk-1", 0, b"theirs").unwrap();
    lab.storage.meanwhile(Operation::DeleteVolume, 1, move || {
        let config = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{config}scsi5: ceph:vm-901-disk-1,size=64K\n")).unwrap();
    });
    let report = lab.restore(&Restore::to(TARGET)).unwrap();
    assert!(is_theirs(&lab, "vm-901-disk-1"), "{report:#?}");
}

/// What they wrote stays, and nobody is told that something of ours could not be removed.
#[test]
fn a_vmid_that_is_taken_right_before_it_is_reserved_is_theirs() {
    let lab = lab();
    let path = lab.config_path("pve1", TARGET);
    let theirs = path.clone();
    lab.storage.meanwhile(Operation::FreeBytes, 1, move || {
        std::fs::write(&theirs, "name: theirs\n").unwrap();
    });
    let report = lab.restore(&Restore::to(TARGET)).unwrap();
    assert_ne!(report.exit_code(), 0, "{report:#?}");
    assert_eq!(report.guests[0].warnings, [""; 0], "{report:#?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "name: theirs\n");
    assert_eq!(lab.volumes_of(TARGET), [""; 0]);
}

/// Another restore reserves the same guest with the very text that this one would have written.
#[test]
fn a_reservation_of_the_same_text_that_another_restore_made_stays() {
    let lab = lab();
    lab.node.set(VMID, |guest| guest.running = false);
    let path = lab.config_path("pve1", VMID);
    let locked = format!("{}lock: create\n", lab.config(VMID));
    let (theirs, text) = (path.clone(), locked.clone());
    lab.storage.meanwhile(Operation::FreeBytes, 1, move || std::fs::write(theirs, text).unwrap());
    let mut wanted = Restore::to(VMID);
    wanted.policy.existing = Existing::Replace;
    let report = lab.restore(&wanted).unwrap();
    assert_ne!(report.exit_code(), 0, "{report:#?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), locked);
}

/// It is equal to the restored guest's own, and was there first.
#[test]
fn a_firewall_file_of_the_same_text_that_somebody_wrote_meanwhile_stays() {
    let lab = lab();
    let theirs = lab.etc().join("firewall/901.fw");
    let text = std::fs::read_to_string(lab.etc().join("firewall/100.fw")).unwrap();
    let pid = std::process::id();
    let aside = lab.config_path("pve1", TARGET).with_extension(format!("conf.tmp.{pid}"));
    let (path, written, in_the_way) = (theirs.clone(), text.clone(), aside.clone());
    lab.events.watch(move |event| {
        if event.starts_with("note restored") {
            std::fs::write(&path, &written).unwrap();
            // What comes after it fails.
            std::fs::write(&in_the_way, "").unwrap();
        }
    });
    let report = lab.restore(&Restore::to(TARGET)).unwrap();
    lab.events.unwatch();
    std::fs::remove_file(&aside).unwrap();
    assert_eq!(report.exit_code(), 1, "{report:#?}");
    assert_eq!(std::fs::read_to_string(&theirs).unwrap(), text);
    assert!(!lab.config_path("pve1", TARGET).exists());
}

/// The storage tells for nothing how much a volume uses at most.
#[test]
fn a_volume_that_uses_less_than_was_written_to_it_is_not_restored() {
    let lab = Lab::empty();
    lab.add_guest(100, &[1 << 20]);
    lab.storage.write("vm-100-disk-0", 0, &[7; 256 << 10]).unwrap();
    lab.storage.write("vm-100-disk-0", 768 << 10, &[7; 256 << 10]).unwrap();
    lab.good_backup(&Backup::default());
    lab.storage.inject(Operation::Import, 1, Fault::SwallowsFrom(512 << 10));
    let report = lab.restore(&Restore::to(TARGET)).unwrap();
    assert_eq!(report.exit_code(), 1, "{report:#?}");
    let error = report.guests[0].error.as_deref().unwrap();
    assert!(error.contains("of 524288 bytes that are no zeros"), "{error}");
    assert_eq!(lab.volumes_of(TARGET), [""; 0]);
    assert_eq!(lab.restore(&Restore::to(TARGET)).unwrap().exit_code(), 0);
}
