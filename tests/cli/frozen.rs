//! Freezes with the guard's own program: agents that are slow, runs that are killed at every moment,
//! guards that are killed, ways that break. Not for what a guard's words are worth: `tests/faults`.

use super::env::{Env, Running};
use nix::sys::signal::{Signal, kill};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

const BACKUP: &str = "backup --vmid 100 --label daily --path REPO";

fn frozen(env: &Env) -> bool {
    env.path("state/100/frozen").exists()
}

fn misbehave(env: &Env, how: &str, text: &str) {
    fs::write(env.path("state/100").join(how), text).unwrap();
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it never came: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The units of guards that live, by their directories.
fn guards(env: &Env) -> Vec<std::path::PathBuf> {
    let units = fs::read_dir(env.path("state/units")).into_iter().flatten().flatten();
    units.map(|unit| unit.path()).filter(|unit| unit.join("service.pid").exists()).collect()
}

/// All guards have done their work, and the guest is thawed.
fn thawed(env: &Env) {
    wait_until("the end of the guards", || guards(env).is_empty());
    assert!(!frozen(env), "{}", env.order());
    let order = env.order();
    let last = |what: &str| order.rfind(what);
    assert!(last("#thawed 100") >= last("#frozen 100"), "{order}");
}

fn killed(run: Running) {
    kill(run.pid(), Signal::SIGKILL).unwrap();
    assert_eq!(run.ends().code, None);
}

fn move_to_pve2(env: &Env) {
    let conf = |node: &str| env.path(&format!("etc/nodes/{node}/qemu-server/100.conf"));
    fs::rename(conf("pve1"), conf("pve2")).unwrap();
}

#[test]
fn a_freeze_that_takes_longer_than_the_guest_may_stay_frozen_is_waited_for() {
    let env = Env::with_disks(1);
    misbehave(&env, "freeze-hangs", "12");
    let said = env.run(BACKUP).exits(0).says(&["ok", "frozen for"]);
    assert!(!said.stdout.contains("crash"), "{said:#?}");
    thawed(&env);
    env.assert_expected();
}

#[test]
fn a_freeze_that_is_given_up_still_comes_and_is_thawed() {
    let env = Env::with_disks(1);
    misbehave(&env, "freeze-hangs", "6");
    let said = env.run(&format!("{BACKUP} --freeze-timeout 1")).exits(0);
    said.says(&["crash", "the guest did not freeze (no answer within 1 s"]);
    assert!(env.order().contains("#frozen 100"), "the run waits for it before it says ok");
    thawed(&env);
    env.assert_expected();
}

#[test]
fn a_run_that_is_killed_at_any_moment_of_the_freeze_leaves_no_guest_frozen() {
    for moment in ["systemd-run", "fsfreeze-freeze", "#frozen 100", "rbd snap create"] {
        let env = Env::with_disks(1);
        misbehave(&env, "freeze-hangs", "1");
        env.spoil("match snap\nmatch create\npause 60\n");
        let run = env.spawn(BACKUP);
        // The words of a guard's program are no command.
        env.wait_for(match moment {
            "fsfreeze-freeze" => "pve1 qm guest cmd 100 fsfreeze-freeze",
            other => other,
        });
        killed(run);
        thawed(&env);
        env.repair();
        misbehave(&env, "freeze-hangs", "0");
        let said = env.run(BACKUP).exits(0);
        assert!(said.stdout.contains("frozen for"), "{moment}: {said:#?}");
        if moment.starts_with("rbd") {
            said.says(&["ended while the guest was frozen", "it is thawed now"]);
        }
        assert!(fs::read_dir(env.path("remembered/freezes")).unwrap().next().is_none(), "{moment}");
        thawed(&env);
        env.assert_expected();
    }
}

#[test]
fn where_no_systemd_runs_a_killed_run_leaves_no_guest_frozen_either() {
    let env = Env::with_disks(1);
    fs::write(env.path("state/no-systemd"), "").unwrap();
    env.spoil("match snap\nmatch create\npause 60\n");
    let run = env.spawn(BACKUP);
    env.wait_for("#frozen 100");
    killed(run);
    wait_until("the thaw", || !frozen(&env));
    env.assert_expected();
}

#[test]
fn a_snapshot_that_hangs_does_not_keep_the_guest_frozen() {
    let env = Env::with_disks(1);
    env.spoil("match snap\nmatch create\nonce\npause 14\n");
    let said = env.run(BACKUP).exits(0);
    said.says(&["crash", "the snapshots took longer than 10 s"]);
    thawed(&env);
    env.assert_expected();
}

#[test]
fn a_guard_that_is_killed_while_the_guest_is_frozen_is_followed_by_another() {
    let env = Env::with_disks(1);
    env.spoil("match snap\nmatch create\nonce\npause 4\n");
    let run = env.spawn(BACKUP);
    env.wait_for("#frozen 100");
    let main = fs::read_to_string(guards(&env)[0].join("main.pid")).unwrap();
    kill(nix::unistd::Pid::from_raw(main.trim().parse().unwrap()), Signal::SIGKILL).unwrap();
    let said = run.ends().exits(0);
    said.says(&["crash", "its guard cannot be heard any more"]);
    thawed(&env);
    env.assert_expected();
}

/// The freeze is under way on the other node, and its `qm` has not even sent it.
#[test]
fn a_way_that_breaks_before_the_freeze_is_answered_leaves_no_guest_frozen() {
    let env = Env::with_disks(1);
    move_to_pve2(&env);
    misbehave(&env, "freeze-slow", "4");
    let (ssh, pids) = (env.path("bin/ssh"), env.path("ssh-pids"));
    let fake = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fakes/ssh");
    fs::remove_file(&ssh).unwrap();
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *pve-ferry-guard*) echo $$ >>{} ;; esac\nFAKE_SSH_SESSION=1 exec {fake} \"$@\"\n",
        pids.display()
    );
    fs::write(&ssh, script).unwrap();
    fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).unwrap();
    let run = env.spawn(BACKUP);
    env.wait_for("pve2 qm guest cmd 100 fsfreeze-freeze");
    let pid = fs::read_to_string(&pids).unwrap();
    kill(nix::unistd::Pid::from_raw(pid.trim().parse().unwrap()), Signal::SIGKILL).unwrap();
    let said = run.ends().exits(0);
    assert!(env.order().contains("#frozen 100"), "it was waited for: {said:#?}");
    said.says(&["crash", "its guard cannot be heard any more"]);
    thawed(&env);
    env.assert_expected();
}

#[test]
fn a_guest_that_moves_while_it_is_frozen_is_thawed_there_although_its_run_is_dead() {
    let env = Env::with_disks(1);
    env.spoil("match snap\nmatch create\npause 60\n");
    let run = env.spawn(BACKUP);
    env.wait_for("#frozen 100");
    move_to_pve2(&env);
    killed(run);
    thawed(&env);
    assert!(env.order().contains("pvesh create /nodes/pve2/qemu/100/agent/fsfreeze-thaw"));
    env.assert_expected();
}

#[test]
fn two_runs_of_one_guest_freeze_it_one_after_the_other() {
    let env = Env::with_disks(1);
    fs::create_dir_all(env.path("second/pve-ferry")).unwrap();
    misbehave(&env, "freeze-hangs", "1");
    let first = env.spawn(BACKUP);
    env.wait_for("fsfreeze-freeze");
    let second = env.run("backup --vmid 100 --label daily --path DIR/second").exits(0);
    let first = first.ends().exits(0);
    for said in [first, second] {
        assert!(said.stdout.contains("frozen for") && !said.stdout.contains("crash"), "{said:#?}");
    }
    thawed(&env);
    env.assert_expected();
}

#[test]
fn a_run_that_does_not_see_its_guest_thawed_is_not_ok_and_the_guard_goes_on_after_it() {
    let env = Env::with_disks(1);
    misbehave(&env, "thaw-fails", "thaw hook failed");
    env.spoil("match export-diff\nonce\npause 60\n");
    let run = env.spawn(BACKUP);
    // The run goes on when it has waited for the thaw for half a minute.
    wait_until("the transfer", || env.order().contains("#paused"));
    kill(run.pid(), Signal::SIGINT).unwrap();
    let said = run.ends().exits(130);
    said.says(&["guest 100 was not seen thawed; its guard (unit pve-ferry-guard-100-"]);
    assert!(frozen(&env) && guards(&env).len() == 1);
    fs::remove_file(env.path("state/100/thaw-fails")).unwrap();
    thawed(&env);
    env.assert_expected();
}

#[test]
fn the_reason_why_a_guest_did_not_freeze_reaches_whoever_reads_the_report() {
    let env = Env::with_disks(1);
    misbehave(&env, "freeze-fails", "fsfreeze hook failed");
    let why = "the guest did not freeze (fsfreeze hook failed)";
    env.run(BACKUP).exits(0).says(&[why]);
    let report = env.run(&format!("{BACKUP} --json")).exits(0).json();
    let warnings = report["guests"][0]["warnings"].to_string();
    assert!(warnings.contains(why), "{report:#}");
    env.assert_expected();
}
