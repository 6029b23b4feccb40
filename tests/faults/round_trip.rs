//! Backup, increments, restore, assemble: every byte comes back. Nothing goes wrong here.

use crate::common::{Backup, Lab, Restore, VMID};
use pve_ferry::assemble::{Watch, assemble};
use pve_ferry::cancel::Cancel;
use pve_ferry::progress::Silent;
use pve_ferry::repository::chain_of;
use pve_ferry::repository::{Consistency, Disk};
use pve_ferry::stall::Pulse;

/// Four points with writes, discards, growth, shrinking and shrinking-then-growing in between.
fn lab_with_four_points() -> Lab {
    let lab = Lab::new();
    lab.good_backup(&Backup::default());
    lab.write_somewhere(2);
    lab.storage.resize("vm-100-disk-0", 131_072).unwrap();
    lab.storage.write("vm-100-disk-0", 120_000, &[9; 10_000]).unwrap();
    lab.good_backup(&Backup::default());
    lab.storage.discard("vm-100-disk-0", 0, 50_000).unwrap();
    lab.storage.resize("vm-100-disk-1", 40_000).unwrap();
    lab.good_backup(&Backup::default());
    lab.storage.resize("vm-100-disk-0", 30_000).unwrap();
    lab.storage.resize("vm-100-disk-0", 98_304).unwrap();
    lab.storage.write("vm-100-disk-1", 39_000, &[7; 1000]).unwrap();
    lab.good_backup(&Backup::default());
    lab
}

#[test]
fn a_base_and_three_increments_come_back_bit_by_bit_f2() {
    let lab = lab_with_four_points();
    let points = lab.points("repository");
    let kinds: Vec<usize> = points
        .iter()
        .map(|point| point.manifest.images.iter().filter(|i| i.parent.is_none()).count())
        .collect();
    assert_eq!(kinds, [2, 0, 0, 0], "one base, then increments");
    assert!(points.iter().all(|p| p.manifest.consistency == Consistency::Frozen));
    lab.assert_points_are_whole("four points");
    lab.assert_tidy(1, "four points");
    lab.assert_foreign_snapshots_stay("four points");

    for (number, point) in (901..).zip(&points) {
        let mut wanted = Restore::to(number);
        wanted.sought.time = Some(point.manifest.time);
        let report = lab.restore(&wanted).unwrap();
        assert_eq!(report.exit_code(), 0, "{report:#?}");
        for disk in 0..2 {
            let restored = lab.storage.read(&format!("vm-{number}-disk-{disk}")).unwrap();
            assert!(restored == lab.expected(point, &format!("scsi{disk}")), "point {number}");
        }
        let config = lab.config(number);
        assert!(config.contains(&format!("scsi1: ceph:vm-{number}-disk-1")), "{config}");
        assert!(!config.contains("000000000100"), "another guest has another uuid: {config}");
        let firewall = lab.etc().join(format!("firewall/{number}.fw"));
        assert_eq!(std::fs::read_to_string(firewall).unwrap(), "[OPTIONS]\n\nenable: 1\n");
    }
    lab.assert_points_are_whole("restored four times");
}

#[test]
fn assembled_files_are_the_volumes() {
    let lab = lab_with_four_points();
    let directory = &lab.guest_directories("repository")[0];
    let history = directory.load().unwrap();
    for (number, point) in history.points.iter().enumerate() {
        for disk in ["scsi0", "scsi1"] {
            let links = chain_of(&history, point, &disk.parse().unwrap()).unwrap();
            let output = lab.repository("files").join(format!("{number}-{disk}.raw"));
            let (file_system, cancel, pulse) = (Disk::real(), Cancel::default(), Pulse::default());
            let watch =
                Watch { disk: &file_system, progress: &Silent, cancel: &cancel, pulse: &pulse };
            let made = assemble(&links.into(), &output, 1, &watch).unwrap();
            let bytes = std::fs::read(&output).unwrap();
            assert_eq!(made.size, bytes.len() as u64);
            assert!(bytes == lab.expected(point, disk), "{disk} of point {number}");
        }
    }
}

#[test]
fn a_dry_run_changes_nothing_f16() {
    let lab = Lab::new();
    let before = (lab.storage.calls().len(), snapshot_of(&lab));
    let wanted = Backup { mode: pve_ferry::run::Mode::DryRun, ..Backup::default() };
    let performed = lab.perform_backup(&wanted).unwrap();
    assert_eq!(performed.plans.len(), 1);
    assert_eq!(before.1, snapshot_of(&lab));
    let changing = ["create", "delete", "export", "import", "protect", "roll"];
    let calls = lab.storage.calls();
    let changed = calls[before.0..].iter().find(|c| changing.iter().any(|w| c.contains(w)));
    assert_eq!(changed, None);

    lab.good_backup(&Backup::default());
    let before = snapshot_of(&lab);
    let mut wanted = Restore::to(901);
    wanted.mode = pve_ferry::run::Mode::DryRun;
    assert_eq!(lab.restore(&wanted).unwrap().exit_code(), 0);
    assert_eq!(before, snapshot_of(&lab));
}

/// Every file of the cluster and of the repository, and every volume's snapshots.
fn snapshot_of(lab: &Lab) -> Vec<String> {
    let mut all = Vec::new();
    let mut open = vec![lab.etc(), lab.repository("repository")];
    while let Some(path) = open.pop() {
        all.push(path.display().to_string());
        match std::fs::read_dir(&path) {
            Ok(entries) if !path.is_symlink() => open.extend(entries.map(|e| e.unwrap().path())),
            _ => all.push(format!("{:?}", std::fs::read(&path).ok())),
        }
    }
    all.sort();
    all.extend(lab.volumes().iter().map(|volume| format!("{volume} {:?}", lab.snapshots(volume))));
    all
}

#[test]
fn a_lost_guest_comes_back_as_itself_with_its_number_f15() {
    let lab = Lab::new();
    lab.good_backup(&Backup::default());
    let config = lab.config(VMID);
    std::fs::remove_file(lab.config_path("pve1", VMID)).unwrap();
    std::fs::remove_file(lab.etc().join("firewall/100.fw")).unwrap();
    lab.node.set(VMID, |guest| guest.running = false);
    lab.volumes_of(VMID).iter().for_each(|volume| lab.storage.remove_volume(volume));

    let mut wanted = Restore::to(VMID);
    wanted.policy.afterwards = pve_ferry::plan::restore::Afterwards::Start;
    let report = lab.restore(&wanted).unwrap();
    assert_eq!(report.exit_code(), 0, "{report:#?}");
    let uuid = |text: &str| text.lines().find(|l| l.starts_with("smbios1")).unwrap().to_owned();
    assert_eq!(uuid(&lab.config(VMID)), uuid(&config), "it is the same guest");
    assert!(lab.node.get(VMID).running);
    let point = &lab.points("repository")[0];
    let restored = lab.storage.read("vm-100-disk-0").unwrap();
    assert!(restored == lab.expected(point, "scsi0"));

    // Its next backup belongs to the same directory, and begins anew, as the volumes are others.
    let outcome = lab.good_backup(&Backup::default());
    assert!(outcome.volumes.iter().all(|volume| volume.kind == "base"));
    assert_eq!(lab.guest_directories("repository").len(), 1);
}
