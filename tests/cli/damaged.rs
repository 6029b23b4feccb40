//! A point that a check marked as damaged: who asks for the newest one is told and gets nothing, who
//! names it gets it and is told.

use crate::env::Env;
use serde_json::Value;
use std::path::PathBuf;

const BACKUP: &str = "backup --vmid 100 --label daily --path REPO --jobs 1 --threads 1";

/// A guest with two points of two disks, the second one's scsi0 marked as damaged by `verify`; and the
/// moments of both. The file is as it was again, so that only the mark speaks.
fn marked() -> (Env, Vec<String>) {
    let env = Env::with_guest();
    env.run(BACKUP).exits(0);
    env.write_head("vm-100-disk-0", &crate::env::content(9));
    env.run(BACKUP).exits(0);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let list = env.run("list --path REPO --json").exits(0).json();
    let points = list["restore_points"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let file = PathBuf::from(text(&points[1]["path"])).join(text(&points[1]["images"][0]["file"]));
    let good = std::fs::read(&file).unwrap();
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    std::fs::write(&file, bad).unwrap();
    env.run("verify --path REPO --mark").exits(12);
    std::fs::write(&file, good).unwrap();
    let times = points.iter().map(|point| text(&point["time"])).collect();
    (env, times)
}

#[test]
fn a_restore_of_a_marked_point_wants_its_name_and_is_never_ok() {
    let (env, times) = marked();
    let sound = format!("--label daily --time {}", times[0]);
    let named = format!("--label daily --time {}", times[1]);
    let said = env.run("restore --path REPO --vmid 100 --target-vmid 901").exits(13);
    said.says(&["scsi0 is known to be damaged", &sound, &named, "Nothing was changed"]);
    assert_eq!(env.images(), ["vm-100-disk-0", "vm-100-disk-1"]);
    // A moment after it does not name it.
    env.run("restore --path REPO --vmid 100 --target-vmid 901 --time 2099-01-01T00:00:00Z")
        .exits(13);

    let said = env.run(&format!("restore --path REPO --vmid 100 --target-vmid 901 {named}"));
    let said = said.exits(3).says(&["guest 901", "NOT WHOLE: scsi0 is known to be damaged"]);
    assert!(!said.stdout.contains(": ok") && said.stdout.contains("0 of 1 guests ok"), "{said:?}");
    assert!(env.head("vm-901-disk-0") == env.head("vm-100-disk-0"));
    let json = format!("restore --path REPO --vmid 100 --target-vmid 902 --json {named}");
    let report = env.run(&json).exits(3).json();
    assert_eq!(report["status"], "partial");
    assert_eq!(report["guests"][0]["not_whole"].as_array().unwrap().len(), 1, "{report:#}");

    env.run(&format!("restore --path REPO --vmid 100 --target-vmid 903 {sound}")).exits(0);
    env.run("restore --path REPO --vmid 100 --disk scsi1 --to ceph:vm-904-disk-0").exits(0);
    env.run("restore --path REPO --vmid 100 --disk scsi0 --to ceph:vm-904-disk-1").exits(13);
    env.assert_expected();
}

#[test]
fn a_dry_run_of_a_marked_point_says_it_too() {
    let (env, times) = marked();
    let words = format!("restore --path REPO --vmid 100 --target-vmid 901 --time {}", times[1]);
    let said = env.run(&format!("{words} --dry-run")).exits(3);
    said.says(&["NOT WHOLE             scsi0 is known to be damaged"]);
}

#[test]
fn assembling_a_marked_disk_wants_its_points_name_and_is_never_ok() {
    let (env, times) = marked();
    let words = "assemble --path REPO --vmid 100 --disk scsi0 --output DIR/disk.raw";
    let sound = format!("--label daily --time {}", times[0]);
    env.run(words).exits(13).complains(&["scsi0 is known to be damaged", &sound]);
    assert!(!env.path("disk.raw").exists());
    let said = env.run(&format!("{words} --time {}", times[1])).exits(3);
    said.complains(&["NOT WHOLE: scsi0 is known to be damaged"]);
    assert!(std::fs::read(env.path("disk.raw")).unwrap() == env.head("vm-100-disk-0"));
    env.run("assemble --path REPO --vmid 100 --disk scsi1 --output DIR/other.raw").exits(0);
}
