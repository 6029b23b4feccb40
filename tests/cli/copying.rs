//! `copy` by the built program on a copy of the golden repository. Needs no cluster and no storage:
//! no fake may be called.

use crate::removal::{golden, points};
use std::fs;

#[test]
fn a_copy_verifies_clean_lists_the_same_and_a_second_run_brings_nothing() {
    let env = golden();
    fs::create_dir(env.path("second")).unwrap();
    env.run("copy --from REPO --to DIR/second --dry-run").exits(0).says(&["  copy ", "dry run"]);
    assert_eq!(fs::read_dir(env.path("second")).unwrap().count(), 0, "a dry run made something");
    let report = env.run("copy --from REPO --to DIR/second --json").exits(0).json();
    assert_eq!((&report["operation"], &report["status"]), (&"copy".into(), &"ok".into()));
    assert_eq!(report["guests"][0]["changes"].as_array().unwrap().len(), 4, "{report}");
    env.run("verify --path DIR/second").exits(0);
    let list = |path: &str| {
        let mut list = env.run(&format!("list --path {path} --all --json")).exits(0).json();
        for point in list["restore_points"].as_array_mut().unwrap() {
            point["path"] = 0.into();
        }
        list
    };
    assert_eq!(list("REPO")["restore_points"], list("DIR/second")["restore_points"]);
    let again = env.run("copy --from REPO --to DIR/second").exits(0);
    assert_eq!(again.stderr, "", "{again:?}");
    again.says(&["guest 100", "ok"]);
    env.run("assemble --path DIR/second --vmid 100 --disk scsi0 --output DIR/one.raw").exits(0);
    assert_eq!(env.order(), "\n", "no command was run");
}

#[test]
fn a_move_empties_the_source_and_says_what_it_did() {
    let env = golden();
    let before = points(&env);
    fs::create_dir(env.path("second")).unwrap();
    env.run("copy --from REPO --to DIR/second --move").exits(0).says(&[
        "copied point",
        "verified point",
        "removed point",
    ]);
    assert_eq!(points(&env), [""; 0]);
    let back = env.run("copy --from DIR/second --to REPO --move").exits(0);
    back.says(&["removed point"]);
    assert_eq!(points(&env), before, "there and back");
    env.run("verify --path REPO").exits(0);
}

#[test]
fn what_was_protected_after_the_copy_is_protected_where_it_is_moved_to() {
    let env = golden();
    fs::create_dir(env.path("second")).unwrap();
    env.run("copy --from REPO --to DIR/second").exits(0);
    env.run("protect --path REPO --vmid 100 --time 2026-01-01T12:00:00Z --notes audit").exits(0);
    let moved = env.run("copy --from REPO --to DIR/second --move").exits(0);
    moved.says(&["copied the marks of point", "handed the chain of", "removed point"]);
    let delete =
        env.run("delete --path DIR/second --vmid 100 --time 2026-01-01T12:00:00Z --yes").exits(1);
    delete.complains(&["protected"]);
}

#[test]
fn what_makes_no_sense_is_refused_with_its_code() {
    let env = golden();
    fs::create_dir(env.path("second")).unwrap();
    fs::create_dir(env.path("repository/inside")).unwrap();
    for to in ["REPO", "REPO/../repository", "REPO/inside"] {
        let said = env.run(&format!("copy --from REPO --to {to} --move")).exits(2);
        said.complains(&["not two separate repositories"]);
    }
    env.run("copy --from REPO --to DIR/nowhere")
        .exits(10)
        .complains(&["DIR/nowhere".trim_start_matches("DIR")]);
    env.run("copy --from REPO --to DIR/second --vmid 999").exits(4);
    env.run("copy --from REPO --to DIR/second --label Daily").exits(2).complains(&["daily"]);
    env.run("copy --from REPO").exits(2);
    assert_eq!(fs::read_dir(env.path("second")).unwrap().count(), 0);
}

#[test]
fn a_damaged_point_is_said_and_a_guest_of_which_nothing_is_readable_is_never_ok() {
    let env = golden();
    fs::create_dir(env.path("second")).unwrap();
    let mut found = Vec::new();
    find(&env.path("repository"), "manifest.json", &mut found);
    for manifest in &found {
        fs::write(manifest, "{").unwrap();
    }
    let said = env.run("copy --from REPO --to DIR/second").exits(12);
    said.says(&["FAILED", "cannot be read"]);
}

pub fn find(below: &std::path::Path, name: &str, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find(&path, name, found);
        } else if path.ends_with(name) {
            found.push(path);
        }
    }
}
