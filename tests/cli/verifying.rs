//! `verify` as a person or a job runs it: what it found is told whatever comes in between.

use crate::env::{Env, Running};
use crate::hooks::put;
use nix::sys::signal::{Signal, kill};
use serde_json::json;
use std::fs;
use std::path::PathBuf;

const BACKUP: &str = "backup --vmid 100 --label daily --path REPO --jobs 1 --threads 1";

/// One point of one guest.
fn one_point() -> Env {
    let env = Env::with_disks(1);
    env.run(BACKUP).exits(0);
    env
}

/// The only image of the newest point.
fn image(env: &Env) -> PathBuf {
    let list = env.run("list --path REPO --json").exits(0).json();
    let point = list["restore_points"].as_array().unwrap().last().unwrap();
    let directory = PathBuf::from(point["path"].as_str().unwrap());
    directory.join(point["images"][0]["file"].as_str().unwrap())
}

fn damage(env: &Env) {
    let file = image(env);
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
}

/// Something that reads guest 100 until the file `go` is there.
fn reader(env: &Env) -> Running {
    let wait = format!(
        "[ \"$1\" != restore-pre ] || while ! [ -e {} ]; do sleep 0.05; done",
        env.path("go").display()
    );
    put(env, "slow", &wait);
    let words = "assemble --path REPO --vmid 100 --disk scsi0 --output DIR/image --script DIR/slow";
    let reader = env.spawn(words);
    env.wait_for("hook restore-pre");
    reader
}

#[test]
fn damage_that_cannot_be_noted_is_told_and_is_still_exit_12() {
    let env = one_point();
    damage(&env);
    let reader = reader(&env);
    let words = "verify --path REPO --mark --mail a@b.example";
    let said = env.run(words).exits(12);
    said.says(&["DAMAGED", "scsi0", "costs: daily", "warning: the damage could not be noted"]);
    let mail = fs::read_to_string(env.path("state/mails")).unwrap();
    assert!(mail.contains("DAMAGED") && mail.contains("could not be noted"), "{mail}");
    let found = env.run("verify --path REPO --mark --json").exits(12).json();
    let guest = &found["guests"][0];
    assert_eq!(guest["status"], "damaged", "{found}");
    assert_eq!(guest["damage"].as_array().unwrap().len(), 1, "{found}");
    assert!(guest["unnoted"].as_str().unwrap().contains("assemble"), "{found}");
    fs::write(env.path("go"), "").unwrap();
    reader.ends().exits(1);
    env.run("verify --path REPO --mark").exits(12);
    let list = env.run("list --path REPO --json").json();
    assert_eq!(list["restore_points"][0]["verified"], "failed");
}

#[test]
fn a_whole_guest_that_cannot_be_noted_as_such_has_the_code_of_the_lock() {
    let env = one_point();
    let reader = reader(&env);
    let said = env.run("verify --path REPO --mark").exits(11);
    said.says(&["FAILED", "no damage was found, but that could not be noted"]);
    env.run("verify --path REPO").exits(0);
    fs::write(env.path("go"), "").unwrap();
    reader.ends().exits(0);
}

#[test]
fn a_wish_to_stop_ends_it_with_130_its_hooks_and_no_lock() {
    let env = one_point();
    let wait = "[ \"$1\" != verify-pre ] || { trap '' TERM; sleep 2; }";
    put(&env, "slow", wait);
    let words = "verify --path REPO --mark --script DIR/slow --mail a@b.example";
    let running = env.spawn(words);
    env.wait_for("hook verify-pre");
    kill(running.pid(), Signal::SIGTERM).unwrap();
    let said = running.ends().exits(130).complains(&["stopping cleanly"]);
    said.says(&["guest 100", "FAILED", "interrupted"]);
    let log = env.order();
    for phase in ["verify-abort", "guest-abort", "job-end"] {
        assert!(log.contains(&format!("hook {phase}")), "{log}");
    }
    let mail = fs::read_to_string(env.path("state/mails")).unwrap();
    assert!(mail.contains("[FAILED] pve-ferry verify"), "{mail}");
    let list = env.run("list --path REPO --json").json();
    assert!(list["restore_points"][0]["verified"].is_null(), "{list}");
    env.run("prune --path REPO --retain 5").exits(0);
}

#[test]
fn a_wish_to_stop_is_heard_while_it_waits_for_a_lock() {
    let env = one_point();
    let reader = reader(&env);
    let waiting = env.spawn("verify --path REPO --mark --lock-wait 60");
    std::thread::sleep(std::time::Duration::from_millis(1500));
    kill(waiting.pid(), Signal::SIGTERM).unwrap();
    waiting.ends().exits(130).says(&["guest 100", "stopped while it waited for assemble"]);
    fs::write(env.path("go"), "").unwrap();
    reader.ends().exits(0);
}

#[test]
fn what_is_named_and_not_there_is_not_verified() {
    let env = one_point();
    for source in ["", " --source"] {
        let nothing = [
            ("--vmid 999", "nothing selected by 999"),
            ("--label dayly", "nothing selected by label dayly"),
            ("--vmid 100 --label dayly", "nothing selected by 100 with label dayly"),
        ];
        for (words, said) in nothing {
            env.run(&format!("verify --path REPO {words}{source}")).exits(4).says(&[said]);
        }
        let words = format!("verify --path REPO --vmid 100,999{source}");
        let text = env.run(&words).exits(3).stdout;
        assert!(text.contains("guest 100") && text.contains("nothing selected by 999"), "{text}");
        let found = env.run(&format!("{words} --json")).exits(3).json();
        assert_eq!(found["not_found"], json!(["999"]), "{found}");
    }
    let document = env.run("verify --path REPO --vmid 100,999 --json").exits(3).json();
    assert_eq!(document["status"], "partial");
    let document = env.run("verify --path REPO --label daily --json").exits(0).json();
    assert_eq!((&document["status"], document.get("not_found")), (&json!("ok"), None));
    fs::create_dir_all(env.path("empty/pve-ferry")).unwrap();
    env.run("verify --path DIR/empty").exits(4).says(&["no restore points"]);
    damage(&env);
    env.run("verify --path REPO --vmid 100,999").exits(12).says(&["nothing selected by 999"]);
}

#[test]
fn a_label_of_which_a_manifest_cannot_be_read_is_not_taken_for_empty() {
    let env = one_point();
    let manifest = image(&env).with_file_name("manifest.json");
    fs::write(&manifest, "{").unwrap();
    env.run("verify --path REPO --label daily").exits(12).says(&["manifest.json"]);
}

#[test]
fn files_of_barc_without_a_checksum_beside_them_are_counted_and_said() {
    let env = Env::with_disks(1);
    let daily = env.path("old/barc/100/daily");
    fs::create_dir_all(&daily).unwrap();
    for stamp in ["20200101120000", "20200102120000"] {
        fs::write(daily.join(format!("{stamp}rbd.vm-100-disk-0.img")), [7; 65_536]).unwrap();
        fs::write(daily.join(format!("{stamp}.conf")), "scsi0: ceph:vm-100-disk-0\n").unwrap();
    }
    let words = "verify --path DIR/old";
    let said = ["ok, 2 points, 2 images", "no checksum stands beside 2 images"];
    env.run(words).exits(0).says(&said);
    let found = env.run(&format!("{words} --json")).exits(0).json();
    assert_eq!(found["guests"][0]["without_checksum"], 2);
    env.run(&format!("{words} --mail a@b.example")).exits(0);
    let mail = crate::told::mails(&env).pop().unwrap();
    assert!(mail.contains("[OK, WARNINGS]") && mail.contains("beside 2 images"), "{mail}");
}
