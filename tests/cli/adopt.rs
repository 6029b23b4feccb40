//! adopt by the built program: what it says, that the next backup is an increment, that nothing of the
//! old tool's is touched.

use crate::env::{Env, content};
use crate::golden::compare;
use std::fs;

const STAMP: &str = "20200102120000";

/// A guest that eve4pve-barc saved once, to `old`, with its snapshot on each disk.
pub fn saved_by_barc() -> Env {
    let env = Env::with_guest();
    let directory = env.path("old/barc/100/daily");
    fs::create_dir_all(&directory).unwrap();
    for disk in 0..2 {
        let name = format!("vm-100-disk-{disk}");
        let image = env.path("rbd/rbd").join(&name);
        let facts = fs::read_to_string(image.join("facts")).unwrap();
        let mut lines: Vec<&str> = facts.lines().collect();
        lines[2] = "1";
        fs::write(image.join("facts"), lines.join("\n") + "\n").unwrap();
        fs::write(image.join("snaps"), format!("1 barcdaily{STAMP} 262144 true\n")).unwrap();
        fs::write(image.join("snap-1"), env.head(&name)).unwrap();
        fs::write(directory.join(format!("{STAMP}rbd.{name}.img")), env.head(&name)).unwrap();
    }
    let config = fs::read(env.path("etc/nodes/pve1/qemu-server/100.conf")).unwrap();
    fs::write(directory.join(format!("{STAMP}.conf")), config).unwrap();
    env
}

fn old_files(env: &Env) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(env.path("old/barc/100/daily")).unwrap();
    let mut all: Vec<_> =
        entries.map(|e| e.unwrap().path()).map(|p| (p.clone(), fs::read(p).unwrap())).collect();
    all.sort();
    all
}

const ADOPT: &str = "adopt --path DIR/old --to REPO --vmid 100 --label daily --jobs 1";

#[test]
fn a_chain_of_barc_is_gone_on_with() {
    let env = saved_by_barc();
    let before = (env.everything(), old_files(&env));
    let said = env.run(&format!("{ADOPT} --dry-run")).exits(0);
    compare("adopt-dry-run.txt", &env.redacted(&said.stdout));
    assert!(before.0 == env.everything(), "a dry run changes nothing");
    let said = env.run(ADOPT).exits(0);
    compare("adopt.txt", &env.redacted(&said.stdout));
    env.run(ADOPT).exits(0).says(&["skipped because it was adopted already"]);

    let then = [0, 1].map(|disk| env.head(&format!("vm-100-disk-{disk}")));
    env.write_head("vm-100-disk-0", &content(77));
    let said = env.run("backup --vmid 100 --label daily --path REPO").exits(0);
    said.says(&["increment of ceph:vm-100-disk-0", "increment of ceph:vm-100-disk-1"]);
    env.run("restore --path REPO --vmid 100 --time latest --target-vmid 901").exits(0);
    assert!(env.head("vm-901-disk-0") == content(77));
    env.run("restore --path REPO --vmid 100 --time 2020-01-04T00:00:00Z --target-vmid 902")
        .exits(0);
    assert!(env.head("vm-902-disk-0") == then[0] && env.head("vm-902-disk-1") == then[1]);
    env.run("verify --path REPO").exits(0);
    assert!(before.1 == old_files(&env));
    assert_eq!(env.snapshots("vm-100-disk-0")[0], format!("barcdaily{STAMP}"));
    env.assert_expected();
}

#[test]
fn damage_is_exit_12_and_says_what_to_do() {
    let env = saved_by_barc();
    let mut other = env.head("vm-100-disk-1");
    other[5] ^= 1;
    fs::write(env.path("rbd/rbd/vm-100-disk-1/snap-1"), other).unwrap();
    let said = env.run(ADOPT).exits(12);
    // One at a time, in the order of the plan: the whole disk has had its turn, so that none is named as
    // stopped.
    compare("adopt-other-content.txt", &env.redacted(&said.stdout));
    env.run("list --path REPO --vmid 100").exits(4);
}

#[test]
fn words_that_make_no_sense_are_refused() {
    let env = saved_by_barc();
    env.run("adopt --path REPO --vmid 100 --label daily").exits(10).complains(&["barc"]);
    env.run("adopt --path DIR/old --to DIR/none --vmid 100 --label daily").exits(10);
    env.run("adopt --path DIR/old --to REPO --vmid 100").exits(2).complains(&["--label"]);
    env.run("adopt --path DIR/old --to REPO --vmid 100 --label Daily")
        .exits(2)
        .complains(&["--as"]);
    env.run("adopt --path DIR/old --to REPO --vmid 999 --label daily").exits(4);
    env.run("adopt --path DIR/old --to REPO --vmid 100 --label weekly").exits(1);
}

#[test]
fn another_label_and_the_same_directory_do_as_well() {
    let env = saved_by_barc();
    env.run("adopt --path DIR/old --vmid 100 --label daily --as nightly").exits(0);
    let list = env.run("list --path DIR/old --json").exits(0).json();
    let labels: Vec<&str> = list["restore_points"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["label"].as_str().unwrap())
        .collect();
    assert!(labels.contains(&"nightly"), "{labels:?}");
    env.run("backup --vmid 100 --label nightly --path DIR/old").exits(0).says(&["increment of"]);
}
