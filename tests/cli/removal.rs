//! protect, unprotect, delete and prune on a copy of the golden repository. Needs no cluster and
//! no storage: no fake may be called.

use crate::env::Env;
use std::fs;
use std::path::Path;

const FIRST: &str = "2026-01-01T12:00:00Z";
const THIRD: &str = "2026-01-03T12:00:00Z";
const NEWEST: &str = "2026-01-04T12:00:00Z";

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

pub fn golden() -> Env {
    let env = Env::new();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/repository/v1");
    copy(&golden, &env.path("repository"));
    env
}

/// The moments of the points that a user sees, with a mark on the protected ones.
pub fn points(env: &Env) -> Vec<String> {
    let list = env.run("list --path REPO --json").exits(0).json();
    let point = |point: &serde_json::Value| {
        let mark = if point["protected"] == true { " protected" } else { "" };
        format!("{}{mark}", point["time"].as_str().unwrap())
    };
    list["restore_points"].as_array().unwrap().iter().map(point).collect()
}

#[test]
fn a_point_is_protected_and_unprotected_and_says_why() {
    let env = golden();
    env.run(&format!("protect --path REPO --vmid 100 --time {FIRST} --notes audit")).exits(0);
    let newest = format!("{NEWEST} protected");
    assert_eq!(points(&env), [format!("{FIRST} protected"), THIRD.into(), newest.clone()]);
    let list = env.run("list --path REPO --json").json();
    assert_eq!(list["restore_points"][0]["notes"], "audit");
    env.run(&format!("delete --path REPO --vmid 100 --time {FIRST} --yes"))
        .exits(1)
        .complains(&["protected"]);
    env.run(&format!("unprotect --path REPO --vmid 100 --time {FIRST}")).exits(0);
    assert_eq!(points(&env), [FIRST.to_owned(), THIRD.into(), newest]);
    env.run("verify --path REPO").exits(0);
    assert_eq!(env.order(), "\n", "no command was run");
}

#[test]
fn a_dry_run_of_a_removal_shows_what_would_go_and_removes_nothing() {
    let env = golden();
    let before = env.everything();
    let delete = format!("delete --path REPO --vmid 100 --time {FIRST} --dry-run");
    env.run(&delete).exits(0).says(&["hide", FIRST]);
    assert!(env.everything() == before);
}

#[test]
fn a_point_in_the_middle_is_hidden_and_the_others_stay_whole() {
    let env = golden();
    let refused = env.run(&format!("delete --path REPO --vmid 100 --time {FIRST}")).exits(2);
    refused.complains(&["--yes"]);
    let said = env.run(&format!("delete --path REPO --vmid 100 --time {FIRST} --yes")).exits(0);
    said.says(&["hidden"]);
    assert_eq!(points(&env), [THIRD.to_owned(), format!("{NEWEST} protected")]);
    env.run("verify --path REPO").exits(0);
    let raw = "assemble --path REPO --vmid 100 --disk scsi0 --output DIR/newest.raw";
    env.run(raw).exits(0);
}

#[test]
fn a_person_may_delete_the_newest_point_when_it_is_not_protected() {
    let env = golden();
    let delete = format!("delete --path REPO --vmid 100 --time {NEWEST} --yes");
    env.run(&delete).exits(1).complains(&["protected"]);
    env.run(&format!("unprotect --path REPO --vmid 100 --time {NEWEST}")).exits(0);
    env.run(&delete).exits(0);
    assert_eq!(points(&env), [FIRST, THIRD]);
    env.run("verify --path REPO").exits(0);
}

#[test]
fn pruning_keeps_the_protected_and_a_dry_run_keeps_everything() {
    let env = golden();
    let before = env.everything();
    let dry = env.run("prune --path REPO --prune-backups keep-daily=1 --dry-run").exits(0);
    dry.says(&[FIRST, THIRD, "because protected", "nothing was changed"]);
    assert_eq!(env.everything(), before);
    env.run("prune --path REPO --prune-backups keep-daily=1").exits(0);
    assert_eq!(points(&env), [format!("{NEWEST} protected")]);
    env.run("verify --path REPO").exits(0);
    env.run("assemble --path REPO --vmid 100 --disk scsi0 --output DIR/kept.raw").exits(0);
}

#[test]
fn a_point_that_is_not_there_is_said_and_nothing_changes() {
    let env = golden();
    let before = env.everything();
    let delete = "delete --path REPO --vmid 100 --time 2026-01-02T12:00:00Z --yes";
    env.run(delete).exits(4).complains(&["no restore point"]);
    env.run("protect --path REPO --vmid 999 --time latest").exits(4);
    assert_eq!(env.everything(), before);
}

/// A run that was killed between making its guest's directory and locking it.
#[test]
fn an_empty_directory_of_a_guest_is_no_damage_and_stops_nothing() {
    let env = golden();
    let of_cluster = fs::read_dir(env.path("repository/pve-ferry")).unwrap().next().unwrap();
    let empty = of_cluster.unwrap().path().join("999-0000abcd");
    fs::create_dir(&empty).unwrap();
    fs::create_dir(env.path("second")).unwrap();
    let list = env.run("list --path REPO --json").exits(0).json();
    assert_eq!(list["restore_points"].as_array().unwrap().len(), 3, "{list:#}");
    env.run("verify --path REPO").exits(0);
    env.run("prune --path REPO --keep 9 --dry-run").exits(0);
    env.run("copy --from REPO --to DIR/second").exits(0);
    env.run("prune --path REPO --keep 9").exits(0);
    env.run("verify --path DIR/second").exits(0);
}
