//! Guests as PVE lets them be: bytes that are no UTF-8 in their files, drives that no backup can take, disks
//! on storages of other kinds. None of these costs the other disks, and what is missing is named.

use crate::common::{Backup, Lab, Restore, VMID};
use pve_ferry::report::{GuestOutcome, Report};

fn one(report: &Report) -> &GuestOutcome {
    let [guest] = &report.guests[..] else { panic!("{report:#?}") };
    guest
}

fn add_line(lab: &Lab, line: &str) {
    let text = lab.config(VMID);
    std::fs::write(lab.config_path("pve1", VMID), format!("{text}{line}\n")).unwrap();
}

fn reason(guest: &GuestOutcome, disk: &str) -> String {
    guest.skipped.iter().find(|skip| skip.disk == disk).unwrap().reason.clone()
}

#[test]
fn bytes_that_are_no_utf8_cost_no_backup_and_come_back_as_they_were() {
    let lab = Lab::new();
    let mut config = b"#caf\xe9 \xff\n".to_vec();
    config.extend(lab.config(VMID).bytes());
    std::fs::write(lab.config_path("pve1", VMID), &config).unwrap();
    let firewall = b"[OPTIONS]\n# f\xfcr\nenable: 1\n".as_slice();
    std::fs::write(lab.etc().join("firewall/100.fw"), firewall).unwrap();
    std::fs::write(lab.etc().join("user.cfg"), b"pool:web:caf\xe9:100::\n").unwrap();
    let report = lab.backup(&Backup { selection: "@pool-web".into(), ..Backup::default() });
    assert_eq!(report.exit_code(), 0, "{report:#?}");
    let point = lab.points("repository").pop().unwrap();
    assert_eq!(std::fs::read(point.dir.join("guest.conf")).unwrap(), config);
    assert_eq!(std::fs::read(point.dir.join("guest.fw")).unwrap(), firewall);
    lab.assert_points_are_whole("no UTF-8");

    assert_eq!(lab.restore(&Restore::to(901)).unwrap().exit_code(), 0);
    let restored = std::fs::read(lab.config_path("pve1", 901)).unwrap();
    assert!(restored.starts_with(b"#caf\xe9 \xff\n"), "{}", restored.escape_ascii());
    assert_eq!(std::fs::read(lab.etc().join("firewall/901.fw")).unwrap(), firewall);
}

#[test]
fn a_firewall_file_that_cannot_be_read_costs_no_disk_and_is_named() {
    let lab = Lab::new();
    let path = lab.etc().join("firewall/100.fw");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let report = lab.backup(&Backup::default());
    assert_eq!(report.exit_code(), 3, "{report:#?}");
    assert_eq!(one(&report).volumes.len(), 2, "{report:#?}");
    assert!(one(&report).not_whole[0].contains("firewall file is not in the point"), "{report:#?}");
    lab.assert_points_are_whole("without its firewall file");
}

#[test]
fn a_cloud_init_drive_where_nothing_is_saved_is_left_out_by_the_configuration() {
    let lab = Lab::new();
    add_line(&lab, "ide2: local:100/vm-100-cloudinit.qcow2,media=cdrom");
    let report = lab.backup(&Backup::default());
    assert_eq!(report.exit_code(), 0, "{report:#?}");
    let why = reason(one(&report), "ide2");
    assert!(why.starts_with("it is a cloud-init drive, which PVE makes"), "{why}");
    let [point] = &lab.points("repository")[..] else { panic!("one point") };
    assert!(pve_ferry::survey::missing_disks(&point.manifest).is_empty(), "{point:#?}");
}

#[test]
fn an_efi_disk_that_the_machine_does_not_use_makes_no_point_incomplete() {
    let lab = Lab::new();
    add_line(&lab, "efidisk0: local:100/vm-100-disk-9.raw,size=4M");
    let report = lab.backup(&Backup::default());
    assert_eq!(report.exit_code(), 0, "{report:#?}");
    assert!(reason(one(&report), "efidisk0").contains("without bios: ovmf"));
    add_line(&lab, "bios: ovmf");
    assert_eq!(lab.backup(&Backup::default()).exit_code(), 3, "now it is used");
}

#[test]
fn a_passed_through_disk_that_is_not_saved_is_not_ok_unless_backup_0() {
    let lab = Lab::new();
    add_line(&lab, "scsi7: /dev/disk/by-id/wwn-0x1,size=64M");
    let report = lab.backup(&Backup::default());
    assert_eq!(report.exit_code(), 3, "{report:#?}");
    let why = reason(one(&report), "scsi7");
    assert!(why.contains("passed through from the node") && why.contains("backup=0"), "{why}");
    lab.edit_config(VMID, "wwn-0x1,size=64M", "wwn-0x1,size=64M,backup=0");
    let report = lab.backup(&Backup::default());
    assert_eq!((report.exit_code(), reason(one(&report), "scsi7").as_str()), (0, "backup=0"));
}

/// Every cluster with guests on local disks has such ones.
#[test]
fn a_guest_on_local_storage_is_refused_in_a_plain_sentence() {
    let lab = Lab::empty();
    let path = lab.etc().join("nodes/pve1/lxc/100.conf");
    std::fs::write(path, "hostname: ct\nrootfs: local:100/vm-100-disk-0.raw,size=8G\n").unwrap();
    let report = lab.backup(&Backup::default());
    assert_eq!(report.exit_code(), 1, "{report:#?}");
    let error = one(&report).error.clone().unwrap();
    let expected = "no volume can be backed up (rootfs: storage local is of the kind dir, which cannot be backed up incrementally yet); nothing was changed";
    assert_eq!(error, expected);
}

/// Neither a drive without a disk nor one that is not ours to read tells a machine from another.
#[test]
fn a_machine_without_a_uuid_is_told_by_its_first_disk_that_can_be_saved() {
    let lab = Lab::new();
    let line = format!("smbios1: uuid=00000000-0000-4000-8000-{VMID:012}\n");
    lab.edit_config(VMID, &line, "");
    lab.good_backup(&Backup::default());
    add_line(&lab, "ide0: local:100/vm-100-cloudinit.qcow2,media=cdrom");
    lab.good_backup(&Backup::default());
    assert_eq!(lab.guest_directories("repository").len(), 1);
    assert_eq!(lab.points("repository").len(), 2);
}

#[test]
fn the_directory_of_a_removed_node_is_named_as_such_and_the_others_are_saved() {
    let lab = Lab::new();
    let members = r#"{"nodename": "pve1", "cluster": {"name": "lab", "quorate": 1, "nodes": 2},
        "nodelist": {"pve1": {"id": 1, "online": 1}, "pve2": {"id": 2, "online": 1}}}"#;
    std::fs::write(lab.etc().join(".members"), members).unwrap();
    let left = lab.etc().join("nodes/oldnode/qemu-server");
    std::fs::create_dir_all(&left).unwrap();
    std::fs::write(left.join("107.conf"), "name: old\nscsi0: local:107/vm-107-disk-0.raw\n")
        .unwrap();
    let report = lab.backup(&Backup { selection: "all".into(), ..Backup::default() });
    assert_eq!(report.exit_code(), 3, "{report:#?}");
    let old = report.guests.iter().find(|guest| guest.node == "oldnode").unwrap();
    let error = old.error.clone().unwrap();
    assert!(error.contains("node oldnode is no member of the cluster"), "{error}");
    assert_eq!(lab.points("repository").len(), 1);
}
