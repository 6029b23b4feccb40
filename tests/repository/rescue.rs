//! RESTORE.txt is done to the letter, with nothing of ours: its lines are run by sh.

// The point of these tests is what stock tools do; nothing of the product starts a process here.
#![allow(clippy::disallowed_methods)]

use crate::example::*;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output};

/// The commands of one section, with one variable set otherwise.
fn commands(guest: &Path, section: &str, variable: &str, value: &str) -> String {
    let text = fs::read_to_string(guest.join("RESTORE.txt")).unwrap();
    let (_, rest) = text.split_once(&format!("\n{section}\n---")).unwrap();
    let lines = rest.lines().take_while(|line| *line != "Configuration" && *line != "The program");
    let lines = lines.take_while(|line| section == "Without Ceph" || *line != "Without Ceph");
    let mut script = String::from("set -e\n");
    for line in lines.filter_map(|line| line.strip_prefix("    ")) {
        match line.split_once('=') {
            Some((name, _)) if name == variable => script += &format!("{name}='{value}'\n"),
            _ => script += &format!("{line}\n"),
        }
    }
    script
}

fn sh(guest: &Path, script: &str, path: &str) -> Output {
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).current_dir(guest).env_clear().env("PATH", path);
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}\n{errors}");
    output
}

fn path() -> String {
    std::env::var("PATH").unwrap()
}

fn python(guest: &Path, program: &Path, arguments: &[&str]) -> Output {
    Command::new("python3").arg(program).args(arguments).current_dir(guest).output().unwrap()
}

#[test]
fn without_ceph_every_disk_comes_back_as_a_sparse_raw_file() {
    let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let contents = build(dir.path());
    let guest = guest(dir.path()).path().to_owned();
    sh(&guest, &commands(&guest, "Without Ceph", "OUT", out.path().to_str().unwrap()), &path());
    for (disk, expected) in &contents[3] {
        let raw = out.path().join(format!("{disk}.raw"));
        assert!(fs::read(&raw).unwrap() == *expected, "{disk} differs");
        assert!(fs::metadata(&raw).unwrap().blocks() * 512 < 2 << 20, "{disk} is not sparse");
    }
    // The other points, through the program that was cut out.
    let program = out.path().join("restore.py");
    for (n, disks) in contents.iter().enumerate() {
        for (disk, expected) in disks {
            let raw = out.path().join(format!("{disk}.{n}"));
            let output = python(&guest, &program, &[&point_dir(n), disk, raw.to_str().unwrap()]);
            assert!(output.status.success(), "{output:?}");
            assert!(fs::read(&raw).unwrap() == *expected, "{disk} of point {n} differs");
        }
    }
    let listed = python(&guest, &program, &[]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert_eq!(listed.lines().count(), 4);
    assert_eq!(listed.lines().next(), Some(&*format!("{}: efidisk0 scsi0", point_dir(0))));
    let files = python(&guest, &program, &[&point_dir(1), "scsi0"]);
    let expected =
        format!("{}/scsi0.base.rbd.zst\n{}/scsi0.increment.rbd.zst\n", point_dir(0), point_dir(1));
    assert_eq!(String::from_utf8(files.stdout).unwrap(), expected);
}

#[test]
fn the_program_refuses_what_is_damaged_and_overwrites_nothing() {
    let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    build(dir.path());
    let guest = guest(dir.path()).path().to_owned();
    sh(&guest, &commands(&guest, "Without Ceph", "OUT", out.path().to_str().unwrap()), &path());
    let program = out.path().join("restore.py");
    let raw = out.path().join("scsi0.raw");
    let run = |disk: &str, name: &str| {
        let target = out.path().join(name);
        python(&guest, &program, &[&point_dir(3), disk, target.to_str().unwrap()]).status.success()
    };
    let before = fs::read(&raw).unwrap();
    assert!(!run("scsi0", "scsi0.raw"));
    assert_eq!(fs::read(&raw).unwrap(), before);
    assert!(!run("scsi7", "x"));
    let increment = guest.join(point_dir(2)).join("scsi0.increment.rbd.zst");
    let good = fs::read(&increment).unwrap();
    fs::write(&increment, &good[..good.len() / 2]).unwrap();
    assert!(!run("scsi0", "truncated"));
    let mut flipped = good.clone();
    flipped[60] ^= 1;
    fs::write(&increment, flipped).unwrap();
    assert!(!run("scsi0", "flipped"));
    fs::copy(guest.join(point_dir(3)).join("scsi0.increment.rbd.zst"), &increment).unwrap();
    assert!(!run("scsi0", "swapped"));
    fs::write(&increment, good).unwrap();
    assert!(run("scsi0", "whole"));
    fs::remove_file(guest.join(point_dir(1)).join("manifest.json")).unwrap();
    assert!(!run("scsi0", "missing"));
}

/// A stand-in for rbd that notes its arguments and keeps every stream.
const RBD: &str = r#"#!/bin/sh
echo "$@" >> "$LOG"
case "$1" in import-diff) cat > "$LOG.$(wc -l < "$LOG")";; esac
"#;

#[test]
fn with_ceph_rbd_gets_each_chain_in_order() {
    let (dir, bin) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    build(dir.path());
    let guest = guest(dir.path()).path().to_owned();
    let rbd = bin.path().join("rbd");
    fs::write(&rbd, RBD).unwrap();
    fs::set_permissions(&rbd, fs::Permissions::from_mode(0o755)).unwrap();
    let log = bin.path().join("log");
    let script = commands(&guest, "With Ceph", "POOL", "other");
    let script = format!("LOG={}; export LOG\n{script}", log.display());
    sh(&guest, &script, &format!("{}:{}", bin.path().display(), path()));
    let create = |size: u64, name: &str| {
        format!(
            "create --size {size}B --object-size 4194304B \
             --image-feature layering,exclusive-lock other/{name}"
        )
    };
    let import = |name: &str| format!("import-diff --no-progress - other/{name}");
    let purge = |name: &str| format!("snap purge --no-progress other/{name}");
    let mut expected = Vec::new();
    for (name, size) in [("vm-100-disk-0", 528 << 10), ("vm-100-disk-1", 4 << 20)] {
        expected.push(create(size, name));
        expected.extend(std::iter::repeat_n(import(name), 4));
        expected.push(purge(name));
    }
    let log_text = fs::read_to_string(&log).unwrap();
    assert_eq!(log_text.lines().collect::<Vec<_>>(), expected);
    for line in [2, 3, 4, 5, 8, 9, 10, 11] {
        let stream = fs::read(format!("{}.{line}", log.display())).unwrap();
        assert!(stream.starts_with(b"rbd diff v1\n") && stream.ends_with(b"e"), "{line}");
    }
}

#[test]
fn the_configuration_goes_where_none_is() {
    let (dir, etc) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    build(dir.path());
    let guest = guest(dir.path()).path().to_owned();
    for name in ["qemu-server", "firewall"] {
        fs::create_dir(etc.path().join(name)).unwrap();
    }
    let text = fs::read_to_string(guest.join("RESTORE.txt")).unwrap();
    let (_, section) = text.split_once("\nConfiguration\n---").unwrap();
    let (section, _) = section.split_once("\nThe program\n").unwrap();
    let lines = section.lines().filter_map(|line| line.strip_prefix("    "));
    let script: Vec<&str> = lines.filter(|line| !line.starts_with("ETC_PVE=")).collect();
    let script = format!("ETC_PVE='{}'\n{}", etc.path().display(), script.join("\n"));
    sh(&guest, &format!("set -e\n{script}"), &path());
    let conf = fs::read_to_string(etc.path().join("qemu-server/100.conf")).unwrap();
    assert!(conf.starts_with("cores: 4\n"));
    assert!(etc.path().join("firewall/100.fw").exists());
    let again = Command::new("sh").arg("-c").arg(&script).current_dir(&guest).status().unwrap();
    assert!(!again.success(), "an existing configuration must stay");
}
