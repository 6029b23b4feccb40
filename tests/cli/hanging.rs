//! Programs that hang: ^C is heard, what is waited for and what stays is named, and nothing of a run that
//! was killed goes on.

use crate::env::Env;
use nix::sys::signal::{Signal, kill};
use std::time::{Duration, Instant};

const BACKUP: &str = "backup --vmid 100 --label daily --path REPO --jobs 1 --threads 1";
const RESTORE: &str = "restore --path REPO --vmid 100 --target-vmid 901 --jobs 1";

/// Far less than any of these programs hangs, and far more than a loaded machine needs.
const SOON: Duration = Duration::from_secs(30);

#[test]
fn a_wish_to_stop_is_heard_while_a_program_hangs_that_only_reads() {
    let env = Env::with_disks(1);
    env.spoil("match info\nhang 55\n");
    let running = env.spawn(BACKUP);
    env.wait_for("#hanging");
    let begun = Instant::now();
    kill(running.pid(), Signal::SIGINT).unwrap();
    running.ends().exits(130).says(&["interrupted"]);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    env.repair();
    env.run(BACKUP).exits(0);
}

#[test]
fn a_deletion_that_hangs_is_waited_for_by_name_and_not_for_long() {
    let env = Env::with_disks(1);
    env.run(BACKUP).exits(0);
    env.forget();
    env.spoil("match --snap-id\nhang 300\n");
    let running = env.spawn(BACKUP);
    env.wait_for("#hanging");
    let begun = Instant::now();
    kill(running.pid(), Signal::SIGINT).unwrap();
    // The point is committed and all that was asked for is done.
    let said =
        running.ends().exits(0).complains(&["waits for its end: guest 100: delete snapshot"]);
    said.says(&["broken off, as it did not end within 5 s"]);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    env.repair();
    env.run(BACKUP).exits(0);
    assert_eq!(env.snapshots("vm-100-disk-0").len(), 1);
}

#[test]
fn a_second_wish_to_stop_leaves_at_once_and_says_by_name_what_stays() {
    let env = Env::with_disks(1);
    env.spoil("match export-diff\npause 300\nbytes 60\n");
    let running = env.spawn(BACKUP);
    env.wait_for("#paused");
    // What the run made cannot be taken back.
    env.spoil("match --snap-id\nhang 300\n");
    kill(running.pid(), Signal::SIGINT).unwrap();
    env.wait_for("#hanging");
    // Sooner it would be taken for the same wish.
    std::thread::sleep(Duration::from_millis(1200));
    kill(running.pid(), Signal::SIGINT).unwrap();
    running.ends().exits(130).complains(&[
        "left in the middle of: guest 100: take back snapshot ceph:vm-100-disk-0@ferry.",
        "stays: the open restore point",
    ]);
    env.repair();
    env.run(BACKUP).exits(0);
    assert_eq!(env.snapshots("vm-100-disk-0").len(), 1);
}

/// Whether a process is there and is no zombie.
fn lives(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

#[test]
fn no_program_of_a_killed_run_goes_on() {
    for (words, fault) in [(BACKUP, "match snap\nmatch create\n"), (RESTORE, "match import-diff\n")]
    {
        let env = Env::with_disks(1);
        env.run(BACKUP).exits(0);
        env.forget();
        env.spoil(&format!("{fault}hang 300\n"));
        let running = env.spawn(words);
        env.wait_for("#hanging");
        let log = std::fs::read_to_string(env.path("state/log")).unwrap();
        let (_, rest) = log.split_once("#hanging ").unwrap();
        let pid = rest.lines().next().unwrap().to_owned();
        assert!(lives(&pid));
        kill(running.pid(), Signal::SIGKILL).unwrap();
        assert_eq!(running.ends().code, None);
        let begun = Instant::now();
        while lives(&pid) {
            assert!(begun.elapsed() < SOON, "{words}: its rbd goes on");
            std::thread::sleep(Duration::from_millis(20));
        }
        env.repair();
        env.run(words).exits(0);
    }
}

#[test]
fn a_stream_that_stands_still_fails_with_the_name_of_its_volume() {
    let env = Env::with_disks(1);
    env.spoil("match export-diff\npause 300\nbytes 60\n");
    let said = env.run(&format!("{BACKUP} --stall-timeout 1")).exits(1);
    said.complains(&["no byte for 0.5 s"])
        .says(&["FAILED", "the export of ceph:vm-100-disk-0 stood still for 1 s and was given up"]);
    assert_eq!(env.snapshots("vm-100-disk-0"), [""; 0]);
    env.repair();
    env.run(BACKUP).exits(0);
    // All of it fits into the pipe: the program takes it, and does not end.
    env.spoil("match import-diff\nhang 300\n");
    let said = env.run(&format!("{RESTORE} --stall-timeout 1")).exits(1);
    said.says(&["the import into ceph:vm-901-disk-0 stood still for 1 s and was given up"]);
    assert_eq!(env.images(), ["vm-100-disk-0"]);
    env.repair();
    env.run(RESTORE).exits(0);
    env.run(&format!("{BACKUP} --stall-timeout 0")).exits(2).complains(&["--stall-timeout"]);
}
