//! What is missing in a repository: every command names it, none removes anything, and `repair` puts
//! back what can be. How single files are lost is in `tests/repository/missing.rs`.

use crate::env::Env;
use crate::removal;
use std::fs;
use std::path::PathBuf;

const BACKUP: &str = "backup --vmid 100 --label daily --path REPO --jobs 1 --threads 1";

/// A guest with three points, and their directories and moments.
fn three() -> (Env, Vec<(PathBuf, String)>) {
    let env = Env::with_guest();
    for n in 1..4 {
        env.run(BACKUP).exits(0);
        env.write_head("vm-100-disk-0", &crate::env::content(n));
    }
    let list = env.run("list --path REPO --json").exits(0).json();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let points = list["restore_points"].as_array().unwrap().iter();
    let points = points.map(|p| (PathBuf::from(text(&p["path"])), text(&p["time"]))).collect();
    (env, points)
}

#[test]
fn a_lost_manifest_is_named_everywhere_and_comes_back_by_repair() {
    let (env, points) = three();
    let (lost, time) = &points[1];
    let manifest = fs::read(lost.join("manifest.json")).unwrap();
    fs::remove_file(lost.join("manifest.json")).unwrap();
    let images = || fs::read_dir(lost).unwrap().count();
    let before = images();
    env.run("list --path REPO")
        .exits(0)
        .says(&["unreadable (kept", "although the point was committed"]);
    env.run("verify --path REPO").exits(12).says(&["manifest.json: it is missing", time]);
    let assemble = "assemble --path REPO --vmid 100 --disk scsi0 --output DIR/disk.raw --time";
    env.run(&format!("{assemble} {time}")).exits(13).complains(&["cannot be read", &points[0].1]);
    env.run("prune --path REPO --retain 1").exits(12).says(&["nothing of this guest is removed"]);
    let said = env.run(&format!("{BACKUP} --retain 1")).exits(3);
    said.says(&["NOT WHOLE: something stored of this guest is damaged or missing", "`repair`"]);
    assert_eq!(images(), before, "nothing went");

    let said = env.run("repair --path REPO --dry-run").exits(0);
    said.says(&["put manifest back"]);
    assert!(!lost.join("manifest.json").exists(), "a dry run changes nothing");
    env.run("repair --path REPO").exits(0).says(&["put the manifest of"]);
    assert_eq!(fs::read(lost.join("manifest.json")).unwrap(), manifest);
    env.run("verify --path REPO").exits(0);
    env.run(&format!("{assemble} {time}")).exits(0);
    env.run(&format!("{BACKUP} --retain 1")).exits(0);
    env.assert_expected();
}

#[test]
fn who_asks_for_the_newest_point_is_not_given_an_older_one_because_a_manifest_is_gone() {
    let (env, points) = three();
    fs::remove_file(points[2].0.join("manifest.json")).unwrap();
    let assemble = "assemble --path REPO --vmid 100 --disk scsi0 --output DIR/disk.raw";
    for time in ["", &format!(" --time {}", points[2].1)] {
        env.run(&format!("{assemble}{time}")).exits(13).complains(&["a newer restore point"]);
    }
    fs::remove_dir_all(&points[2].0).unwrap();
    env.run(assemble).exits(13).complains(&["its directory is gone"]);
    env.run(&format!("{assemble} --time {}", points[1].1)).exits(0);
}

/// In a repository of an early version a newest point that lost its manifest looks as what a killed
/// run leaves; whoever names it was shown it once.
#[test]
fn a_point_that_is_named_and_has_no_manifest_is_refused_in_old_repositories_too() {
    let (env, points) = three();
    let guest = points[2].0.parent().unwrap().parent().unwrap();
    fs::remove_dir_all(guest.join("manifests")).unwrap();
    fs::remove_file(points[2].0.join("manifest.json")).unwrap();
    let assemble = "assemble --path REPO --vmid 100 --disk scsi0 --output DIR/disk.raw";
    let named = format!("{assemble} --time {}", points[2].1);
    env.run(&named).exits(13).complains(&["it holds no manifest"]);
    env.run(assemble).exits(0);
}

#[test]
fn a_lost_index_is_made_again_by_the_next_backup_which_stays_an_increment() {
    let (env, points) = three();
    let index = points[0].0.join("scsi0.base.rbd.zst.idx");
    let good = fs::read(&index).unwrap();
    fs::remove_file(&index).unwrap();
    env.run("verify --path REPO").exits(12).says(&["`repair` makes it again from the image"]);
    env.run(&format!("{BACKUP} --json")).exits(0);
    assert_eq!(fs::read(&index).unwrap(), good);
    let list = env.run("list --path REPO --json").json();
    let newest = &list["restore_points"][3]["images"][0];
    assert_eq!(
        (newest["disk"].as_str(), newest["kind"].as_str()),
        (Some("scsi0"), Some("increment"))
    );
    env.run("verify --path REPO").exits(0);
}

/// The image whose index was lost turns out to be damaged: this very run makes a base, and the
/// damage is noted.
#[test]
fn a_damaged_image_without_its_index_is_no_base_for_increments() {
    let (env, points) = three();
    let image = points[0].0.join("scsi0.base.rbd.zst");
    fs::remove_file(points[0].0.join("scsi0.base.rbd.zst.idx")).unwrap();
    let mut bytes = fs::read(&image).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&image, bytes).unwrap();
    env.run(BACKUP);
    let list = env.run("list --path REPO --json").json();
    let newest = &list["restore_points"][3]["images"][0];
    assert_eq!((newest["disk"].as_str(), newest["kind"].as_str()), (Some("scsi0"), Some("base")));
    assert_eq!(list["restore_points"][2]["verified"], "failed");
}

#[test]
fn repair_makes_an_index_again_and_says_what_cannot_be_mended() {
    let env = removal::golden();
    let guest = env.path("repository/pve-ferry/lab-0f1e2d3c/100-00000abc");
    let index = guest.join("daily/20260101T120000Z/scsi0.base.rbd.zst.idx");
    fs::remove_file(&index).unwrap();
    env.run("verify --path REPO").exits(12);
    let report = env.run("repair --path REPO --json").exits(0).json();
    assert!(report["guests"][0]["changes"][0].as_str().unwrap().contains("made the index of"));
    env.run("verify --path REPO").exits(0);
    env.run("repair --path REPO --vmid 4711").exits(4);

    fs::remove_file(guest.join("daily/20260101T120000Z/scsi0.base.rbd.zst")).unwrap();
    let said = env.run("repair --path REPO").exits(12);
    said.says(&["cannot be mended", "scsi0.base.rbd.zst", "`delete`"]);
    env.run("list --path REPO").exits(0).says(&["missing (protects this guest)"]);
    env.run("prune --path REPO --retain 1").exits(12).says(&["scsi0.base.rbd.zst is missing"]);
    assert_eq!(env.order(), "\n", "no command was run");
}

/// data-path E3: one guest's odd file says nothing of the others.
#[test]
fn a_guest_record_that_is_a_directory_stops_no_other_guest() {
    let env = removal::golden();
    let cluster = env.path("repository/pve-ferry/lab-0f1e2d3c");
    let odd = cluster.join("101-00000abd");
    fs::create_dir_all(odd.join("guest.json")).unwrap();
    fs::create_dir_all(odd.join("daily/20260101T120000Z/manifest.json")).unwrap();
    env.run("list --path REPO").exits(0).says(&["guest 100", "guest 101", "it is a directory"]);
    env.run("verify --path REPO").exits(12).says(&["(lab-0f1e2d3c/100-00000abc): ok"]);
    let said = env.run("prune --path REPO --retain 2").exits(12);
    said.says(&["guest 100 web on pve1: ok", "guest 101"]);
}
