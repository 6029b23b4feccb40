//! Hooks as a user writes them: their order among the commands of the run, and what they stop.

use crate::env::Env;
use crate::golden::compare;
use crate::work::beside;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

const BACKUP: &str =
    "backup --vmid 100 --label daily --path REPO --jobs 1 --threads 1 --script DIR/hook";

/// A hook that writes its phases between the commands of the run.
pub fn with_hook(more: &str) -> Env {
    let env = Env::with_guest();
    put(&env, "hook", more);
    env
}

pub fn put(env: &Env, name: &str, more: &str) {
    let log = "echo \"x x hook $* ${PVE_FERRY_DISK}${PVE_FERRY_STATUS:+ $PVE_FERRY_STATUS}\" >>\"$FAKE_PVE_STATE/log\"";
    fs::write(env.path(name), format!("#!/bin/sh\nset -u\n{log}\n{more}\n")).unwrap();
    fs::set_permissions(env.path(name), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn hooks_stand_before_the_freeze_and_after_the_thaw() {
    let env = with_hook(":");
    env.run(BACKUP).exits(0);
    env.forget();
    env.run(BACKUP).exits(0);
    let order = env.order();
    // Two volumes are exported at the same time.
    let lines: Vec<&str> = order.lines().filter(|l| !l.contains("export")).collect();
    compare("hooks.order", &beside(&lines.join("\n")));
    let at = |text: &str| order.find(text).unwrap_or_else(|| panic!("{text} in {order}"));
    let last = |text: &str| order.rfind(text).unwrap_or_else(|| panic!("{text} in {order}"));
    assert!(last("hook snap-create-pre") < at("#frozen 100"), "{order}");
    assert!(at("#thawed 100") < at("hook snap-create-post"), "{order}");
    let frozen = &order[at("#frozen 100")..at("#thawed 100")];
    assert!(!frozen.contains("hook "), "{frozen}");
    assert!(last("hook export-post") < at("hook snap-remove-pre"), "{order}");
    env.assert_expected();
}

#[test]
fn a_hook_that_says_no_leaves_everything_as_it_was() {
    for phase in ["job-start", "guest-start", "snap-create-pre", "export-pre"] {
        let env = with_hook(&format!("[ \"$1\" != {phase} ] || {{ echo no; exit 3; }}"));
        let before = env.images();
        let said = env.run(BACKUP).exits(1);
        let text = format!("{}{}", said.stdout, said.stderr);
        assert!(text.contains(&format!("stopped it in phase {phase}")), "{text}");
        assert!(text.contains("hook hook: no"), "{text}");
        for disk in 0..2 {
            assert_eq!(env.snapshots(&format!("vm-100-disk-{disk}")), [""; 0], "{phase}");
        }
        assert_eq!(env.images(), before);
        let listed = env.run("list --path REPO --json").exits(0).json();
        assert_eq!(listed["restore_points"].as_array().unwrap().len(), 0, "{phase}");
        assert!(!env.path("state/100/frozen").exists(), "{phase}");
        let order = env.order();
        if phase != "export-pre" {
            assert!(!order.contains("fsfreeze-freeze"), "{phase}: {order}");
        }
        let abort = if phase == "job-start" { "hook job-abort" } else { "hook guest-abort" };
        assert!(order.contains(abort), "{phase}: {order}");
        // And the next run, in which it does not, is a good one.
        put(&env, "hook", ":");
        env.run(BACKUP).exits(0);
    }
}

#[test]
fn a_hook_that_fails_afterwards_is_a_warning_and_one_of_an_older_tool_stops_nothing() {
    let env = with_hook("case $1 in *-post | *-end) exit 5 ;; esac");
    let said = env.run(BACKUP).exits(0);
    said.says(&["hook ", "in phase snap-create-post", "ended with status 5", "in phase job-end"]);
    put(&env, "hook", "echo \"$EVE4PVE_BARC_PHASE $EVE4PVE_BARC_SNAP_NAME\"; exit 5");
    let said = env.run(&format!("{BACKUP} --hook-compat barc")).exits(0);
    said.complains(&[
        "hook hook: backup-job-start -",
        "hook hook: snap-create-pre rbd/vm-100-disk-0@ferry.",
    ]);
}

#[test]
fn restore_prune_and_verify_call_them_too_and_a_dry_run_does_not() {
    let env = with_hook(":");
    (0..3).for_each(|_| drop(env.run(&format!("{BACKUP} --renew 0")).exits(0)));
    env.forget();
    let phases = |env: &Env| {
        let order = env.order();
        let hooks = order.lines().filter(|line| line.starts_with("hook "));
        let lines = hooks.map(|line| line.trim_end().to_owned()).collect::<Vec<_>>();
        env.forget();
        lines
    };
    env.run(&format!("{BACKUP} --dry-run")).exits(0);
    env.run("prune --path REPO --retain 1 --dry-run --script DIR/hook").exits(0);
    assert_eq!(phases(&env), [""; 0]);
    env.run("prune --path REPO --retain 2 --script DIR/hook").exits(0);
    assert_eq!(
        phases(&env),
        [
            "hook job-start",
            "hook guest-start prune 100",
            "hook prune-pre prune 100",
            "hook prune-post prune 100  ok",
            "hook guest-end prune 100  ok",
            "hook job-end  ok"
        ]
    );
    env.run("verify --path REPO --script DIR/hook").exits(0);
    assert_eq!(
        phases(&env),
        [
            "hook job-start",
            "hook guest-start verify 100",
            "hook verify-pre verify 100",
            "hook verify-post verify 100  ok",
            "hook guest-end verify 100  ok",
            "hook job-end  ok"
        ]
    );
    env.run("restore --path REPO --vmid 100 --target-vmid 900 --disk scsi0 --to ceph:vm-900-disk-7 --script DIR/hook");
    let restored = phases(&env);
    assert!(restored.contains(&"hook restore-pre restore 900 scsi0".to_owned()), "{restored:?}");
    put(&env, "hook", "[ \"$1\" != prune-pre ]");
    env.run("prune --path REPO --retain 1 --script DIR/hook").exits(1);
    let listed = env.run("list --path REPO --json").json();
    assert_eq!(listed["restore_points"].as_array().unwrap().len(), 2);
}

#[test]
fn the_nodes_own_hooks_are_called_and_a_script_that_is_missing_is_refused() {
    let env = Env::with_guest();
    fs::create_dir(env.path("hooks.d")).unwrap();
    put(&env, "hooks.d/10-log", ":");
    env.run("backup --vmid 100 --label daily --path REPO").exits(0);
    assert!(env.order().contains("hook guest-start snapshot 100"), "{}", env.order());
    let before = env.everything();
    env.run(BACKUP).exits(2).complains(&["hook", "nothing was changed"]);
    assert!(env.everything() == before);
}
