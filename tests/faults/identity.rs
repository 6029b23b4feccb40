//! Who is who: guests that share a vmid, clusters that share a directory, chains that share a
//! label, versions that share a repository, clocks that jump. Nobody takes another one's things.

use crate::common::{Backup, Lab, Restore, VMID};
use pve_ferry::report::GuestStatus;

fn kinds(outcome: &pve_ferry::report::GuestOutcome) -> Vec<&str> {
    outcome.volumes.iter().map(|volume| volume.kind.as_str()).collect()
}

/// The machine was destroyed, another one got its number, and its volumes have the old names. As
/// the worst case the snapshots of the old chain are still there.
#[test]
fn a_vmid_that_was_given_to_another_guest_begins_anew_in_another_directory() {
    let lab = Lab::new();
    lab.good_backup(&Backup::default());
    let theirs = lab.own_snapshots("vm-100-disk-0");
    lab.edit_config(VMID, "000000000100", "0000000000ff");
    lab.write_somewhere(5);
    let outcome = lab.good_backup(&Backup::default());
    assert_eq!(kinds(&outcome), ["base", "base"]);
    assert_eq!(lab.guest_directories("repository").len(), 2);
    let now = lab.own_snapshots("vm-100-disk-0");
    assert!(theirs.iter().all(|name| now.contains(name)), "{theirs:?} of the old guest are kept");
    lab.write_somewhere(6);
    assert_eq!(kinds(&lab.good_backup(&Backup::default())), ["increment", "increment"]);
    lab.assert_points_are_whole("two guests of one vmid");
    lab.assert_tidy(2, "two guests of one vmid");

    // Without more words the one that was there last is meant.
    assert_eq!(lab.restore(&Restore::to(902)).unwrap().exit_code(), 0);
    let newest = lab.points("repository").pop().unwrap();
    assert!(lab.storage.read("vm-902-disk-0").unwrap() == lab.expected(&newest, "scsi0"));
    let directory = &lab.guest_directories("repository")[0];
    let mut wanted = Restore::to(901);
    wanted.sought.directory = Some(pve_ferry::survey::relative(directory));
    assert_eq!(lab.restore(&wanted).unwrap().exit_code(), 0);
    let point = directory.load().unwrap().points.pop().unwrap();
    assert!(lab.storage.read("vm-901-disk-0").unwrap() == lab.expected(&point, "scsi0"));
}

fn write_container(lab: &Lab, root: &str, address: &str) {
    let text =
        format!("hostname: ct\nnet0: name=eth0,hwaddr={address}\nrootfs: ceph:{root},size=64K\n");
    std::fs::write(lab.etc().join("nodes/pve1/lxc/200.conf"), text).unwrap();
}

/// Its root volume is what tells a container from others; a restore and `pct move-volume` change it.
#[test]
fn a_container_whose_root_volume_is_another_one_goes_on_where_it_was() {
    let lab = Lab::new();
    let wanted = Backup { selection: "200".into(), ..Backup::default() };
    let (address, another) = ("BC:24:11:00:00:aa", "BC:24:11:00:00:bb");
    lab.storage.add_volume("vm-200-disk-0", 65_536).unwrap();
    lab.storage.write("vm-200-disk-0", 0, &[7; 5000]).unwrap();
    write_container(&lab, "vm-200-disk-0", address);
    lab.good_backup(&wanted);
    // Moved.
    lab.storage.add_volume("vm-200-disk-1", 65_536).unwrap();
    lab.storage.write("vm-200-disk-1", 0, &[8; 5000]).unwrap();
    write_container(&lab, "vm-200-disk-1", address);
    assert_eq!(kinds(&lab.good_backup(&wanted)), ["base"]);
    assert_eq!(kinds(&lab.good_backup(&wanted)), ["increment"]);
    // Lost, and restored in its old place.
    std::fs::remove_file(lab.etc().join("nodes/pve1/lxc/200.conf")).unwrap();
    ["vm-200-disk-0", "vm-200-disk-1"].iter().for_each(|name| lab.storage.remove_volume(name));
    let mut restore = Restore::to(200);
    restore.sought.vmid = 200.try_into().unwrap();
    let report = lab.restore(&restore).unwrap();
    assert_eq!(report.exit_code(), 0, "{report:#?}");
    assert_eq!(kinds(&lab.good_backup(&wanted)), ["base"]);
    assert_eq!(kinds(&lab.good_backup(&wanted)), ["increment"]);
    assert_eq!(lab.guest_directories("repository").len(), 1);
    // A container that is made again has another address.
    lab.storage.add_volume("vm-200-disk-5", 65_536).unwrap();
    write_container(&lab, "vm-200-disk-5", another);
    assert_eq!(kinds(&lab.good_backup(&wanted)), ["base"]);
    assert_eq!(lab.guest_directories("repository").len(), 2);
}

/// Two clusters' guests of one vmid: nobody can tell which is meant.
#[test]
fn guests_of_several_clusters_are_named_with_their_newest_points() {
    let (one, two) = (Lab::new(), Lab::new());
    let shared = one.repository("repository");
    std::os::unix::fs::symlink(&shared, two.etc().parent().unwrap().join("repository")).unwrap();
    one.good_backup(&Backup::default());
    two.good_backup(&Backup::default());
    let refused = one.restore(&Restore::to(901)).unwrap_err().to_string();
    assert!(refused.contains("--guest"), "{refused}");
    let newest = one.points("repository").pop().unwrap().manifest.time;
    assert_eq!(refused.matches(&format!("(newest daily {newest})")).count(), 2, "{refused}");
}

/// Two clusters that look alike in everything but their id: names, vmid, uuid, volume identities.
#[test]
fn two_clusters_into_one_directory_do_not_meet() {
    let (one, two) = (Lab::new(), Lab::new());
    let shared = one.repository("repository");
    std::os::unix::fs::symlink(&shared, two.etc().parent().unwrap().join("repository")).unwrap();
    one.good_backup(&Backup::default());
    two.clock.advance(30);
    two.write_somewhere(9);
    two.good_backup(&Backup::default());
    one.write_somewhere(10);
    assert_eq!(kinds(&one.good_backup(&Backup::default())), ["increment", "increment"]);
    two.write_somewhere(11);
    assert_eq!(kinds(&two.good_backup(&Backup::default())), ["increment", "increment"]);
    assert_eq!(one.guest_directories("repository").len(), 2);
    assert_eq!(one.points("repository").len(), 4);
    one.assert_tidy(1, "two clusters");
    two.assert_tidy(1, "two clusters");
    for (lab, number) in [(&one, 0), (&two, 1)] {
        let mine = std::fs::read_to_string(lab.etc().join("pve-ferry/cluster-id")).unwrap();
        let mut directories = lab.guest_directories("repository");
        directories.retain(|directory| {
            let record = directory.load().unwrap().record.unwrap();
            record.guest.cluster.to_string() == mine.trim()
        });
        let [directory] = &directories[..] else { panic!("one directory is cluster {number}'s") };
        let newest = directory.load().unwrap().points.pop().unwrap();
        let mut wanted = Restore::to(901);
        wanted.sought.directory = Some(pve_ferry::survey::relative(directory));
        assert_eq!(lab.restore(&wanted).unwrap().exit_code(), 0);
        for disk in 0..2 {
            let restored = lab.storage.read(&format!("vm-901-disk-{disk}")).unwrap();
            let present = lab.storage.read(&format!("vm-100-disk-{disk}")).unwrap();
            assert!(restored == present, "disk {disk} of cluster {number}, {newest:?}");
        }
    }
}

#[test]
fn two_chains_with_one_label_into_two_repositories_keep_their_bases() {
    let lab = Lab::new();
    let second = Backup { repository: "second", ..Backup::default() };
    for round in 0..4 {
        for wanted in [&Backup::default(), &second] {
            let expected = if round == 0 { "base" } else { "increment" };
            assert_eq!(kinds(&lab.good_backup(wanted)), [expected, expected], "round {round}");
            lab.assert_foreign_snapshots_stay("two repositories");
            lab.write_somewhere(40 + round);
        }
    }
    lab.assert_points_are_whole("two repositories");
    lab.assert_tidy(2, "two repositories");
}

#[test]
fn labels_are_chains_of_their_own_f7_d1_5() {
    let lab = Lab::new();
    let labels = ["daily", "daily2", "dail"];
    for round in 0..3 {
        for label in labels {
            let wanted = Backup { label, ..Backup::default() };
            let expected = if round == 0 { "base" } else { "increment" };
            assert_eq!(kinds(&lab.good_backup(&wanted)), [expected, expected], "{label} {round}");
            lab.write_somewhere(round + 60);
        }
    }
    lab.assert_foreign_snapshots_stay("three labels");
    lab.assert_points_are_whole("three labels");
    lab.assert_tidy(3, "three labels");
}

/// A later version wrote a point: nothing is removed, nothing is based on it, and it is said.
#[test]
fn a_point_with_an_unknown_feature_stops_removal_and_increments_until_it_is_known_f22() {
    let lab = Lab::new();
    lab.good_backup(&Backup::default());
    lab.write_somewhere(2);
    lab.good_backup(&Backup::default());
    let newest = lab.points("repository").pop().unwrap();
    let path = newest.dir.join("manifest.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let newer = text.replacen("\"requires\": []", "\"requires\": [\"time-travel\"]", 1);
    assert_ne!(text, newer);
    std::fs::write(&path, newer).unwrap();
    let debris = newest.dir.with_file_name("20200101T000000Z");
    std::fs::create_dir(&debris).unwrap();
    let before = lab.own_snapshots("vm-100-disk-0");

    lab.write_somewhere(3);
    let outcome = lab.good_backup(&Backup::default());
    assert_eq!(kinds(&outcome), ["base", "base"]);
    let said = outcome
        .warnings
        .iter()
        .any(|w| w.contains("nothing of this guest is removed") && w.contains("time-travel"));
    assert!(said, "{outcome:#?}");
    let now = lab.own_snapshots("vm-100-disk-0");
    assert!(before.iter().all(|name| now.contains(name)), "{before:?} may be needed");
    assert!(debris.exists() && path.exists(), "nothing is swept");

    std::fs::write(&path, text).unwrap();
    lab.write_somewhere(4);
    assert_eq!(kinds(&lab.good_backup(&Backup::default())), ["increment", "increment"]);
    assert!(!debris.exists());
    lab.assert_points_are_whole("the feature is known again");
    lab.assert_tidy(1, "the feature is known again");
}

#[test]
fn a_clock_that_jumps_back_changes_no_order_d1_22() {
    let lab = Lab::new();
    lab.good_backup(&Backup::default());
    for jump in [-86_400_i64, -60, -60, 3 * 86_400] {
        lab.write_somewhere(u8::try_from(jump.rem_euclid(251)).unwrap());
        lab.clock.advance(jump);
        let outcome = lab.good_backup(&Backup::default());
        assert_eq!(kinds(&outcome), ["increment", "increment"], "{jump}");
        let warned = outcome.warnings.iter().any(|w| w.contains("dated in the future"));
        assert_eq!(warned, jump < 0, "{jump}: {outcome:#?}");
        lab.assert_points_are_whole("clock");
        lab.assert_tidy(1, "clock");
    }
    let points = lab.points("repository");
    assert_eq!(points.iter().map(|p| p.manifest.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    let mut moments: Vec<_> = points.iter().map(|p| p.manifest.time).collect();
    moments.sort();
    moments.dedup();
    assert_eq!(moments.len(), 5, "no two points bear one moment");
    // `latest` is the last one made, whatever the clocks said.
    assert_eq!(lab.restore(&Restore::to(901)).unwrap().exit_code(), 0);
    let newest = points.last().unwrap();
    assert!(lab.storage.read("vm-901-disk-0").unwrap() == lab.expected(newest, "scsi0"));
}

#[test]
fn a_volume_that_is_rolled_back_or_made_again_heals_by_itself_d1_15() {
    let lab = Lab::new();
    lab.good_backup(&Backup::default());
    let base = lab.own_snapshots("vm-100-disk-0").pop().unwrap();
    lab.write_somewhere(2);
    // PVE can roll back to its own snapshot only when no newer one is in the way: ours goes.
    lab.storage.remove_snapshot("vm-100-disk-0", &base).unwrap();
    lab.storage.write("vm-100-disk-0", 0, &[3; 4096]).unwrap();
    assert_eq!(kinds(&lab.good_backup(&Backup::default())), ["base", "increment"]);
    lab.storage.remove_volume("vm-100-disk-1");
    lab.storage.add_volume("vm-100-disk-1", 65_536).unwrap();
    crate::common::FOREIGN.iter().for_each(|name| lab.make_snapshot("vm-100-disk-1", name));
    lab.write_somewhere(3);
    assert_eq!(kinds(&lab.good_backup(&Backup::default())), ["increment", "base"]);
    lab.write_somewhere(4);
    assert_eq!(kinds(&lab.good_backup(&Backup::default())), ["increment", "increment"]);
    lab.assert_points_are_whole("healed");
    lab.assert_tidy(1, "healed");
}

#[test]
fn a_template_and_excluded_disks_are_named_and_fine() {
    let lab = Lab::new();
    lab.edit_config(VMID, "vm-100-disk-1,size", "vm-100-disk-1,backup=0,size");
    let outcome = lab.good_backup(&Backup::default());
    assert_eq!(kinds(&outcome), ["base"]);
    assert_eq!(outcome.skipped.len(), 1);
    assert_eq!(outcome.skipped[0].disk, "scsi1");
    lab.add_guest(300, &[4096]);
    lab.edit_config(300, "agent: 1", "template: 1");
    let report = lab.backup(&Backup { selection: "all".into(), ..Backup::default() });
    assert_eq!(report.exit_code(), 0, "{report:#?}");
    let template = report.guests.iter().find(|guest| guest.vmid.number() == 300).unwrap();
    assert_eq!(template.status, GuestStatus::Skipped);
}

/// One guest's failure is its own (D.1 12): the exit code says so, and the others are done.
#[test]
fn one_failed_guest_among_many_is_exit_3_d1_12() {
    let lab = Lab::new();
    lab.add_guest(200, &[4096]);
    lab.edit_config(200, "ceph:vm-200", "nowhere:vm-200");
    lab.add_guest(300, &[4096]);
    let report = lab.backup(&Backup { selection: "all".into(), ..Backup::default() });
    assert_eq!(report.exit_code(), 3, "{report:#?}");
    let of = |vmid: u32| report.guests.iter().find(|g| g.vmid.number() == vmid).unwrap();
    assert_eq!(of(100).status, GuestStatus::Ok);
    assert_eq!(of(300).status, GuestStatus::Ok);
    let error = of(200).error.as_deref().unwrap();
    assert_eq!(of(200).status, GuestStatus::Failed);
    assert!(error.contains("nowhere"), "{error}");
}
