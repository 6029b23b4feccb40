//! Programs that hang: ^C is heard, what is waited for and what stays is named, and nothing of a run that
//! was killed goes on.

use crate::env::{Env, Running};
use nix::sys::signal::{Signal, kill};
use std::fs;
use std::os::unix::fs::PermissionsExt;
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

/// Wishes to stop twice, and says what the run said. From the first wish on everything hangs, so that
/// the run cannot be over before the second.
fn stopped_twice(env: &Env, running: Running) -> crate::env::Said {
    env.spoil("hang 300\n");
    kill(running.pid(), Signal::SIGINT).unwrap();
    std::thread::sleep(Duration::from_millis(1200));
    let begun = Instant::now();
    kill(running.pid(), Signal::SIGINT).unwrap();
    let said = running.ends().exits(130);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    said
}

#[test]
fn a_second_wish_to_stop_leaves_at_once_in_every_phase_and_the_next_run_makes_it_good() {
    for (words, hangs, named) in [
        (BACKUP, "match snap\nmatch create\n", "create snapshot ceph:vm-100-disk-0"),
        (BACKUP, "match --snap-id\n", "delete snapshot ceph:vm-100-disk-0"),
        (RESTORE, "match create\n", "create volume ceph:vm-901-disk-0"),
        (RESTORE, "match rename\n", "create volume ceph:vm-901-disk-0"),
        (RESTORE, "match import-diff\n", "ceph:vm-901-disk-0"),
    ] {
        let env = Env::with_disks(1);
        env.run(BACKUP).exits(0);
        env.forget();
        env.spoil(&format!("{hangs}hang 300\n"));
        let running = env.spawn(words);
        env.wait_for("#hanging");
        let said = stopped_twice(&env, running).complains(&["left in the middle of: ", named]);
        assert!(said.stderr.contains("guest "), "{said:#?}");
        env.repair();
        env.run(words).exits(0);
        assert_eq!(env.snapshots("vm-100-disk-0").len(), 1, "{hangs}");
        let images = if words == RESTORE { 2 } else { 1 };
        assert_eq!(env.images().len(), images, "{hangs}: {:?}", env.images());
    }
}

#[test]
fn a_second_wish_to_stop_during_a_freeze_leaves_no_guest_frozen() {
    let env = Env::with_disks(1);
    fs::write(env.path("state/100/freeze-hangs"), "8").unwrap();
    let running = env.spawn(BACKUP);
    env.wait_for("qm guest cmd 100 fsfreeze-freeze");
    kill(running.pid(), Signal::SIGINT).unwrap();
    std::thread::sleep(Duration::from_millis(1200));
    kill(running.pid(), Signal::SIGINT).unwrap();
    running.ends().exits(130);
    env.wait_for("#thawed 100");
    assert!(!env.path("state/100/frozen").exists());
    fs::remove_file(env.path("state/100/freeze-hangs")).unwrap();
    env.run(BACKUP).exits(0);
}

/// Ceph takes a killed one for a user of the image for another half minute, in which the image cannot
/// be deleted.
#[test]
fn a_wish_to_stop_lets_an_import_end_by_itself() {
    let env = Env::with_disks(1);
    env.run(BACKUP).exits(0);
    env.forget();
    let running = env.spawn(&format!("{RESTORE} --bwlimit 4KiB/s"));
    env.wait_for("rbd import-diff");
    let begun = Instant::now();
    kill(running.pid(), Signal::SIGINT).unwrap();
    running.ends().exits(130).says(&["interrupted"]);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert!(env.order().contains("#cut off"), "it was killed: {}", env.order());
    assert_eq!(env.images(), ["vm-100-disk-0"]);
    env.run(RESTORE).exits(0);
}

/// What it printed is whole; only its end does not come.
#[test]
fn a_program_that_closes_its_output_and_goes_on_keeps_nobody() {
    for (words, lingers) in [
        (BACKUP, "match info\n"),
        (BACKUP, "match export-diff\n"),
        (RESTORE, "match create\n"),
        (RESTORE, "match import-diff\n"),
    ] {
        let env = Env::with_disks(1);
        if words == RESTORE {
            env.run(BACKUP).exits(0);
            env.forget();
        }
        env.spoil(&format!("{lingers}linger 300\n"));
        let running = env.spawn(words);
        env.wait_for("#lingering");
        env.repair();
        let begun = Instant::now();
        kill(running.pid(), Signal::SIGINT).unwrap();
        running.ends().exits(130).says(&["interrupted"]);
        assert!(begun.elapsed() < SOON, "{lingers}: {:?}", begun.elapsed());
        env.run(words).exits(0);
    }
}

#[test]
fn an_export_that_closes_its_output_and_goes_on_is_given_up() {
    let env = Env::with_disks(1);
    env.spoil("match export-diff\nlinger 300\n");
    let said = env.run(&format!("{BACKUP} --stall-timeout 1")).exits(1);
    said.says(&["FAILED", "the export of ceph:vm-100-disk-0 stood still for 1 s and was given up"]);
    assert_eq!(env.snapshots("vm-100-disk-0"), [""; 0]);
    env.repair();
    env.run(BACKUP).exits(0);
}

/// The other node takes the connection, and never says a word.
#[test]
fn a_wish_to_stop_is_heard_while_ssh_hangs_at_its_connection() {
    let env = Env::with_disks(1);
    let conf = |node: &str| env.path(&format!("etc/nodes/{node}/qemu-server/100.conf"));
    fs::rename(conf("pve1"), conf("pve2")).unwrap();
    let ssh = env.path("bin/ssh");
    fs::remove_file(&ssh).unwrap();
    let script =
        "#!/bin/sh\necho \"0 here #hanging $$\" >>\"$FAKE_PVE_STATE/log\"\nexec sleep 300\n";
    fs::write(&ssh, script).unwrap();
    fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).unwrap();
    let running = env.spawn(BACKUP);
    env.wait_for("#hanging");
    let begun = Instant::now();
    kill(running.pid(), Signal::SIGINT).unwrap();
    running.ends().exits(130).says(&["interrupted"]);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert_eq!(env.snapshots("vm-100-disk-0"), [""; 0]);
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
