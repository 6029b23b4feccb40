//! Backup, list, restore, assemble as a user runs them: what is said, and in which order the
//! programs of the node are called.

use crate::env::{Env, content};
use crate::golden::compare;
use serde_json::{Value, json};

const BACKUP: &str = "backup --vmid 100 --label daily --path REPO --jobs 1 --threads 1";

/// A guest with a base and an increment.
fn two_points() -> Env {
    let env = Env::with_guest();
    env.run(BACKUP).exits(0);
    let mut bytes = content(1);
    bytes[50_000..60_000].fill(0xee);
    env.write_head("vm-100-disk-0", &bytes);
    env.run(BACKUP).exits(0);
    // Two runs within one second date the second point one second later: let it become the past.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    env.assert_expected();
    env
}

#[test]
fn a_first_backup_says_what_it_did_and_calls_the_programs_in_this_order() {
    let env = Env::with_guest();
    let said = env.run(BACKUP).exits(0);
    compare("backup-base.txt", &env.redacted(&said.stdout));
    let notes = env.redacted(&said.stderr).replace("saved scsi", "saved disk scsi");
    compare("backup-base.stderr", &beside(&notes));
    compare("backup-base.order", &beside(&env.order()));
    env.assert_expected();
}

/// As PVE takes them in storage.cfg, IPv6 without brackets.
#[test]
fn monitors_reach_every_program_of_ceph_in_its_own_form() {
    let env = Env::with_disks(1);
    let monitors = "fd00::1;fd00::2.6789 [fd00::3]:3300,192.0.2.1";
    let section = format!("rbd: ceph\n\tpool rbd\n\tcontent images\n\tmonhost {monitors}\n");
    std::fs::write(env.path("etc/storage.cfg"), section).unwrap();
    env.run(BACKUP).exits(0);
    let log = std::fs::read_to_string(env.path("state/log")).unwrap();
    let calls = |program: &str| log.lines().filter(|line| line.contains(program)).count();
    let (rbd, ceph) = (calls(" here rbd "), calls(" here ceph "));
    assert!(rbd >= 4 && ceph >= 1, "{log}");
    let right = " -m [fd00::1],[fd00::2]:6789,[fd00::3]:3300,192.0.2.1 ";
    assert_eq!(calls(right), rbd + ceph, "{log}");
    env.assert_expected();
}

/// What happens at the same time has no order: neighbours that begin with the same words are put
/// into one.
pub fn beside(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    let kind = |line: &&str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    let mut begin = 0;
    while begin < lines.len() {
        let first = kind(&lines[begin]);
        let length = lines[begin..].iter().take_while(|line| kind(line) == first).count();
        lines[begin..begin + length].sort_unstable();
        begin += length;
    }
    lines.join("\n") + "\n"
}

#[test]
fn an_increment_exports_since_the_base_and_deletes_it_after_the_commit() {
    let env = Env::with_guest();
    env.run(BACKUP).exits(0);
    env.forget();
    let said = env.run(BACKUP).exits(0);
    compare("backup-increment.txt", &env.redacted(&said.stdout));
    compare("backup-increment.order", &beside(&env.order()));
    for disk in 0..2 {
        assert_eq!(env.snapshots(&format!("vm-100-disk-{disk}")).len(), 1);
    }
    env.assert_expected();
}

#[test]
fn where_no_systemd_runs_the_guard_is_a_session_of_its_own() {
    let env = Env::with_disks(1);
    std::fs::write(env.path("state/no-systemd"), "").unwrap();
    env.run(BACKUP).exits(0).says(&["frozen"]);
    assert!(!env.order().contains("systemd-run"));
    assert!(!env.path("state/100/frozen").exists());
    env.assert_expected();
}

#[test]
fn a_guest_on_another_node_is_asked_and_frozen_there_d1_25() {
    let env = Env::with_disks(1);
    let conf = |node: &str| env.path(&format!("etc/nodes/{node}/qemu-server/100.conf"));
    std::fs::rename(conf("pve1"), conf("pve2")).unwrap();
    env.run(BACKUP).exits(0).says(&["guest 100 web100 on pve2: ok", "frozen"]);
    let log = std::fs::read_to_string(env.path("state/log")).unwrap();
    let on = |node: &str, word: &str| {
        log.lines().filter(|l| l.contains(&format!(" {node} {word}"))).count()
    };
    assert!(
        on("pve2", "qm guest cmd 100 fsfreeze-freeze") == 1 && on("pve2", "systemd-run") == 1,
        "{log}"
    );
    assert_eq!(on("pve1", "qm"), 0, "{log}");
    env.assert_expected();
}

#[test]
fn the_report_as_json_has_the_documented_fields() {
    let env = Env::with_guest();
    let report = env.run(&format!("{BACKUP} --json")).exits(0).json();
    assert_eq!((&report["operation"], &report["status"]), (&json!("backup"), &json!("ok")));
    keys(&report, &["operation", "status", "started", "finished", "guests", "totals", "warnings"]);
    let guest = &report["guests"][0];
    let fields =
        ["vmid", "name", "node", "status", "error", "frozen_seconds", "volumes", "skipped"];
    keys(guest, &fields);
    assert_eq!((&guest["vmid"], &guest["error"]), (&json!(100), &Value::Null));
    let volume = &guest["volumes"][0];
    let fields =
        ["disk", "volume", "kind", "logical_bytes", "stream_bytes", "stored_bytes", "seconds"];
    keys(volume, &fields);
    assert_eq!(volume["logical_bytes"], json!(262_144));
}

/// The document has all these fields.
fn keys(document: &Value, fields: &[&str]) {
    for field in fields {
        assert!(document.get(field).is_some(), "{field} in {document:#}");
    }
}

/// A table whose widths do not count: an age may be longer on a busy machine.
fn in_words(env: &Env, text: &str) -> String {
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n";
    env.redacted(&text.lines().map(words).collect::<String>())
}

#[test]
fn the_list_is_a_table_or_the_documented_document() {
    let env = two_points();
    let said = env.run("list --path REPO").exits(0);
    compare("list.txt", &in_words(&env, &said.stdout));
    let said = env.run("list --path REPO --images").exits(0);
    compare("list-images.txt", &in_words(&env, &said.stdout));

    let list = env.run("list --path REPO --json").exits(0).json();
    let points = list["restore_points"].as_array().unwrap();
    assert_eq!(points.len(), 2);
    let fields = [
        "id",
        "seq",
        "vmid",
        "kind",
        "name",
        "cluster",
        "label",
        "time",
        "consistency",
        "verified",
        "verified_at",
        "protected",
        "notes",
        "path",
        "images",
        "skipped",
    ];
    points.iter().for_each(|point| keys(point, &fields));
    assert_eq!(points[0]["kind"], json!("qemu"));
    assert_eq!(points[0]["consistency"], json!("frozen"));
    assert_eq!(points[0]["verified"], Value::Null);
    assert_eq!((&points[0]["seq"], &points[1]["seq"]), (&json!(1), &json!(2)));
    let (base, increment) = (&points[0]["images"][0], &points[1]["images"][0]);
    let fields = [
        "disk",
        "volume",
        "kind",
        "size",
        "stream_bytes",
        "stored_bytes",
        "compression",
        "digest",
        "base",
        "file",
    ];
    keys(base, &fields);
    assert_eq!((&base["kind"], &base["base"]), (&json!("base"), &Value::Null));
    assert_eq!((&increment["kind"], &increment["base"]), (&json!("increment"), &base["id"]));
    assert!(base["digest"].as_str().unwrap().starts_with("blake3:"));
    assert!(increment["stream_bytes"].as_u64() < base["stream_bytes"].as_u64());
}

/// No driver makes striped images: the guest comes back all the same, and is told what differs.
#[test]
fn a_guest_with_a_striped_volume_comes_back_without_its_striping() {
    let env = Env::with_disks(1);
    std::fs::write(env.path("rbd/rbd/vm-100-disk-0/stripes"), "65536 4\n").unwrap();
    env.run("backup --vmid 100 --label daily --path REPO").exits(0);
    env.run("restore --path REPO --vmid 100 --target-vmid 901").exits(0).says(&[
        "warning: striping of scsi0 (ceph:vm-100-disk-0: 4 times 64.00 KiB) is not kept",
        "guest 901 web100 on pve1: ok",
    ]);
    assert!(env.head("vm-901-disk-0") == env.head("vm-100-disk-0"));
    env.assert_expected();
}

#[test]
fn a_restore_to_another_vmid_brings_every_byte_and_says_so() {
    let env = two_points();
    env.forget();
    let said =
        env.run("restore --path REPO --vmid 100 --target-vmid 901 --start --jobs 1").exits(0);
    compare("restore.txt", &env.redacted(&said.stdout));
    compare("restore.order", &beside(&env.order()));
    for disk in 0..2 {
        let restored = env.head(&format!("vm-901-disk-{disk}"));
        assert!(restored == env.head(&format!("vm-100-disk-{disk}")), "disk {disk}");
    }
    assert!(env.path("state/901/running").exists());
    env.assert_expected();
}

#[test]
fn a_restore_of_an_older_moment_takes_the_newest_point_not_after_it() {
    let env = two_points();
    let list = env.run("list --path REPO --json").json();
    let first = list["restore_points"][0]["time"].as_str().unwrap().to_owned();
    env.run(&format!("restore --path=REPO --vmid=100 --target-vmid=901 --time={first}")).exits(0);
    assert!(env.head("vm-901-disk-0") == content(1));
    env.run("restore --path REPO --vmid 100 --target-vmid 902 --time latest").exits(0);
    assert!(env.head("vm-902-disk-0") == env.head("vm-100-disk-0"));
    env.run("restore --path REPO --vmid 100 --target-vmid 903 --time 2020-01-01T00:00:00Z")
        .exits(4);
}

#[test]
fn an_assembled_file_is_the_volume_and_is_never_written_over() {
    let env = two_points();
    let words = "assemble --path REPO --vmid 100 --disk scsi0 --time latest --output DIR/disk.raw";
    let said = env.run(words).exits(0);
    compare("assemble.txt", &env.redacted(&said.stdout));
    assert!(std::fs::read(env.path("disk.raw")).unwrap() == env.head("vm-100-disk-0"));
    std::fs::write(env.path("disk.raw"), "mine").unwrap();
    env.run(words).exits(1).complains(&["disk.raw", "exists"]);
    assert_eq!(std::fs::read_to_string(env.path("disk.raw")).unwrap(), "mine");
}

#[test]
fn a_dry_run_prints_the_plan_and_changes_nothing_f16() {
    let env = two_points();
    let before = env.everything();
    let said = env.run(&format!("{BACKUP} --dry-run")).exits(0);
    compare("backup-dry-run.txt", &env.redacted(&said.stdout));
    let plans = env.run(&format!("{BACKUP} -n --json")).exits(0).json();
    assert_eq!(plans["dry_run"], json!(true));
    assert!(plans["plans"][0]["steps"].as_array().unwrap().len() > 6);
    let said = env.run("restore --path REPO --vmid 100 --target-vmid 901 --dry-run").exits(0);
    compare("restore-dry-run.txt", &env.redacted(&said.stdout));
    assert!(before == env.everything(), "a dry run changed something");

    // In a repository and a cluster that hold nothing yet, too.
    let env = Env::with_guest();
    let before = env.everything();
    env.run(&format!("{BACKUP} --dry-run")).exits(0);
    assert!(before == env.everything(), "a dry run changed something");
}

#[test]
fn quiet_says_nothing_on_stderr_when_all_is_well() {
    let env = Env::with_disks(1);
    let said = env.run(&format!("{BACKUP} --quiet")).exits(0);
    assert_eq!(said.stderr, "");
}

#[test]
fn what_is_verified_is_whole_and_damage_is_exit_12() {
    let env = two_points();
    env.run("verify --path REPO").exits(0);
    let list = env.run("list --path REPO --json").json();
    let point = &list["restore_points"][1];
    let file = format!(
        "{}/{}",
        point["path"].as_str().unwrap(),
        point["images"][0]["file"].as_str().unwrap()
    );
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let said = env.run("verify --path REPO").exits(12);
    let text = said.stdout + &said.stderr;
    assert!(text.contains("scsi0"), "{text}");
}
