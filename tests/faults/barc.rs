//! Restores from directories of eve4pve-barc, beside ours and without. Nothing of it is changed.

use crate::common::{Backup, Lab, Restore, VMID};
use pve_ferry::assemble::{Watch, assemble};
use pve_ferry::cancel::Cancel;
use pve_ferry::progress::Silent;
use pve_ferry::repository::{Disk, Repository};
use pve_ferry::stall::Pulse;
use pve_ferry::stream::{Header, StreamWriter};
use pve_ferry::survey::{Home, restore_point};
use std::fs;
use std::path::PathBuf;

fn directory(lab: &Lab) -> PathBuf {
    lab.repository("repository").join(format!("barc/{VMID}/daily"))
}

/// A full of both disks, then an increment of both; gives what the disks held at last.
fn saved_by_barc(lab: &Lab) -> [Vec<u8>; 2] {
    let directory = directory(lab);
    fs::create_dir_all(&directory).unwrap();
    let mut disks = [0, 1].map(|disk| lab.storage.read(&format!("vm-100-disk-{disk}")).unwrap());
    for (number, content) in disks.iter_mut().enumerate() {
        let name = |ending: &str| directory.join(format!("{ending}vm-100-disk-{number}"));
        let file = |stamp: &str, ending: &str| {
            let mut name = name(&format!("{stamp}2tb.")).into_os_string();
            name.push(ending);
            PathBuf::from(name)
        };
        fs::write(file("20200101120000", ".img.zz"), &content).unwrap();
        let header = Header {
            from: Some("barcdaily20200101120000".into()),
            to: Some("barcdaily20200102120000".into()),
            size: content.len() as u64,
        };
        let mut writer = StreamWriter::new(Vec::new(), &header).unwrap();
        writer.write(3000, &[0xb5; 9000]).unwrap();
        writer.zero(20_000, 5000).unwrap();
        fs::write(file("20200102120000", ".diff"), writer.finish().unwrap()).unwrap();
        content[3000..12_000].fill(0xb5);
        content[20_000..25_000].fill(0);
    }
    for stamp in ["20200101120000", "20200102120000"] {
        fs::write(directory.join(format!("{stamp}.conf")), lab.config(VMID)).unwrap();
        fs::write(directory.join(format!("{stamp}.fw")), "[OPTIONS]\n\nenable: 1\n").unwrap();
    }
    disks
}

#[test]
fn a_guest_comes_back_from_what_barc_saved() {
    let lab = Lab::new();
    let disks = saved_by_barc(&lab);
    let before = names(&lab);
    let report = lab.restore(&Restore::to(901)).unwrap();
    assert_eq!(report.exit_code(), 0, "{report:#?}");
    for (number, content) in disks.iter().enumerate() {
        let restored = lab.storage.read(&format!("vm-901-disk-{number}")).unwrap();
        assert!(restored == *content, "disk {number}");
    }
    let config = lab.config(901);
    assert!(config.contains("scsi1: ceph:vm-901-disk-1"), "{config}");
    let firewall = fs::read_to_string(lab.etc().join("firewall/901.fw")).unwrap();
    assert_eq!(firewall, "[OPTIONS]\n\nenable: 1\n");
    assert_eq!(before, names(&lab), "nothing of the old tool's is changed");

    // Ours is newer than the old tool's: it is meant, unless the directory is named.
    lab.good_backup(&Backup::default());
    lab.restore(&Restore::to(902)).unwrap();
    let ours = lab.storage.read("vm-902-disk-0").unwrap();
    assert!(ours == lab.expected(&lab.points("repository")[0], "scsi0"));
    let mut wanted = Restore::to(903);
    wanted.sought.directory = Some("barc/100/daily".into());
    wanted.sought.time = Some("2020-01-02T12:00:00Z".parse().unwrap());
    assert_eq!(lab.restore(&wanted).unwrap().exit_code(), 0);
    assert!(lab.storage.read("vm-903-disk-0").unwrap() == disks[0]);
}

fn names(lab: &Lab) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(directory(lab)).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<_> = entries.map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    all.sort();
    all
}

#[test]
fn a_disk_that_barc_left_out_is_named_and_is_not_ok() {
    let lab = Lab::new();
    saved_by_barc(&lab);
    for (file, _) in names(&lab) {
        if file.to_str().unwrap().contains("disk-1") {
            fs::remove_file(file).unwrap();
        }
    }
    let report = lab.restore(&Restore::to(901)).unwrap();
    assert_eq!(report.exit_code(), 3, "{report:#?}");
    let skipped = &report.guests[0].skipped[0];
    assert_eq!((skipped.disk.as_str(), skipped.by_configuration), ("scsi1", false));
}

/// The same of a point of ours.
#[test]
fn a_disk_that_our_own_backup_could_not_save_is_named_and_is_not_ok() {
    let lab = Lab::new();
    lab.edit_config(VMID, "scsi1: ceph:", "scsi1: elsewhere:");
    assert_eq!(lab.backup(&Backup::default()).exit_code(), 3);
    let report = lab.restore(&Restore::to(901)).unwrap();
    assert_eq!(report.exit_code(), 3, "{report:#?}");
    let skipped = &report.guests[0].skipped[0];
    assert_eq!((skipped.disk.as_str(), skipped.by_configuration), ("scsi1", false));

    // What the configuration leaves out is not missed.
    lab.edit_config(
        VMID,
        "scsi1: elsewhere:vm-100-disk-1",
        "scsi1: elsewhere:vm-100-disk-1,backup=0",
    );
    lab.good_backup(&Backup::default());
    let report = lab.restore(&Restore::to(902)).unwrap();
    assert_eq!(report.exit_code(), 0, "{report:#?}");
    assert!(report.guests[0].skipped[0].by_configuration);
}

#[test]
fn a_damaged_file_fails_the_restore_and_nothing_is_left() {
    let lab = Lab::new();
    saved_by_barc(&lab);
    let cut = directory(&lab).join("202001021200002tb.vm-100-disk-1.diff");
    let bytes = fs::read(&cut).unwrap();
    fs::write(&cut, &bytes[..bytes.len() - 1]).unwrap();
    let before = lab.volumes();
    let report = lab.restore(&Restore::to(901)).unwrap();
    assert_eq!(report.exit_code(), 1, "{report:#?}");
    assert_eq!(before, lab.volumes());
    assert!(!lab.config_path("pve1", 901).exists());
}

#[test]
fn a_disk_of_barc_is_assembled_by_its_key_and_by_its_name() {
    let lab = Lab::new();
    let disks = saved_by_barc(&lab);
    let repository = Repository::open_target(&lab.repository("repository"), Disk::real()).unwrap();
    let point = restore_point(&repository, &Restore::to(VMID).sought, &Home::default()).unwrap();
    for name in ["scsi1", "2tb.vm-100-disk-1"] {
        let output = lab.repository("files").join(name);
        let cancel = Cancel::default();
        let (disk, pulse) = (&Disk::real(), &Pulse::default());
        let watch = Watch { disk, progress: &Silent, cancel: &cancel, pulse };
        let chain = point.chain_named(name).unwrap();
        assemble(&chain, &output, 1, &watch).unwrap();
        assert!(fs::read(&output).unwrap() == disks[1]);
    }
    let cancel = Cancel::default();
    cancel.cancel();
    let (disk, pulse) = (&Disk::real(), &Pulse::default());
    let watch = Watch { disk, progress: &Silent, cancel: &cancel, pulse };
    let output = lab.repository("files").join("stopped");
    assert!(assemble(&point.chain_named("scsi0").unwrap(), &output, 1, &watch).is_err());
    assert!(!output.exists());
}
