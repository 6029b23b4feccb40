//! Programs that break, and signals: what is said, what is left. The text names the object and
//! what to do; the next run is well.

use crate::env::{Env, Said};
use nix::sys::signal::{Signal, kill};

const BACKUP: &str = "backup --vmid 100 --label daily --path REPO --jobs 1 --threads 1";

/// After a run that failed: nothing of it is there, and the next one is well.
fn nothing_is_left(env: &Env, snapshots: usize, points: usize) {
    for image in env.images().iter().filter(|image| image.starts_with("vm-100-")) {
        let names = env.snapshots(image);
        assert_eq!(names.len(), snapshots, "{names:?}");
    }
    let list = env.run("list --path REPO --json").exits(0).json();
    assert_eq!(list["restore_points"].as_array().unwrap().len(), points);
    assert_eq!(point_directories(env), points, "no directory of half a point is left");
    assert!(!env.path("state/100/frozen").exists());
    env.assert_expected();
}

fn point_directories(env: &Env) -> usize {
    let mut open = vec![env.path("repository")];
    let mut found = 0;
    while let Some(path) = open.pop() {
        found += usize::from(
            path.file_name()
                .is_some_and(|n| n.len() == 16 && n.to_str().is_some_and(|n| n.ends_with('Z'))),
        );
        if let Ok(entries) = std::fs::read_dir(path) {
            open.extend(entries.map(|entry| entry.unwrap().path()));
        }
    }
    found
}

/// A first backup breaks, and the next one is well.
fn breaks(fault: &str, words: &[&str]) -> Env {
    let env = Env::with_disks(1);
    env.spoil(fault);
    let said = env.run(BACKUP).exits(1);
    said.says(&["guest 100 web100 on pve1: FAILED", "ceph:vm-100-disk-0"]).says(words);
    env.repair();
    nothing_is_left(&env, 0, 0);
    env.run(BACKUP).exits(0);
    nothing_is_left(&env, 1, 1);
    env
}

#[test]
fn a_killed_export_is_named_f4() {
    let fault = "match export-diff\nmatch vm-100-disk-0\nkill 9\nbytes 60\n";
    let env = breaks(fault, &["killed by signal 9"]);
    env.spoil(fault);
    env.run(BACKUP).exits(1);
    env.repair();
    nothing_is_left(&env, 1, 1);
    env.run(BACKUP).exits(0).says(&["increment of ceph:vm-100-disk-0"]);
    nothing_is_left(&env, 1, 2);
}

#[test]
fn a_truncated_stream_is_named_although_its_program_ended_with_0_f4_d1_2() {
    let fault = "match export-diff\nmatch vm-100-disk-0\ntruncate 70\n";
    breaks(fault, &["end"]);
}

#[test]
fn an_export_that_fails_is_named_with_what_the_program_said() {
    let fault = "match export-diff\nmatch vm-100-disk-0\nfail 5 rbd: error reading: (5) Input/output error\n";
    breaks(fault, &["ended with status 5", "Input/output error"]);
}

#[test]
fn a_snapshot_that_fails_is_named() {
    let fault = "match snap\nmatch create\nmatch vm-100-disk-0\nfail 28 rbd: failed to create snapshot: (28) No space left on device\n";
    breaks(fault, &["No space left on device"]);
}

#[test]
fn an_import_that_fails_leaves_no_guest_and_no_volume_d1_9() {
    let env = Env::with_guest();
    env.run(BACKUP).exits(0);
    env.spoil("match import-diff\nmatch vm-901-disk-1\nfail 33 rbd: import-diff failed: (33) Numerical argument out of domain\n");
    let said = env.run("restore --path REPO --vmid 100 --target-vmid 901").exits(1);
    said.says(&["FAILED", "ceph:vm-901-disk-1", "status 33"]);
    assert_eq!(env.images(), ["vm-100-disk-0", "vm-100-disk-1"]);
    assert!(!env.path("etc/nodes/pve1/qemu-server/901.conf").exists());
    env.repair();
    env.run("restore --path REPO --vmid 100 --target-vmid 901").exits(0);
    env.assert_expected();
}

/// Stops a run that stands in the middle of a transfer.
fn stopped(env: &Env, words: &str, signal: Signal) -> Said {
    let running = env.spawn(words);
    env.wait_for("#paused");
    kill(running.pid(), signal).unwrap();
    running.ends()
}

#[test]
fn a_polite_signal_in_a_transfer_ends_with_130_and_leaves_nothing_f10() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let env = Env::with_disks(1);
        env.spoil("match export-diff\nmatch vm-100-disk-0\npause 60\nbytes 60\n");
        let said = stopped(&env, BACKUP, signal).exits(130);
        said.complains(&["stopping cleanly"]).says(&["interrupted; nothing half is left"]);
        env.repair();
        nothing_is_left(&env, 0, 0);
        env.run(BACKUP).exits(0);
        nothing_is_left(&env, 1, 1);
    }
}

/// `nohup pve-ferry ...` outlives its connection, `pve-ferry ... &` in a script a ^C; both still end
/// when they are asked to.
#[test]
fn a_signal_that_was_set_aside_before_the_start_does_not_stop_a_run() {
    for (signal, name) in [(Signal::SIGHUP, "HUP"), (Signal::SIGINT, "INT")] {
        let env = Env::with_disks(1);
        env.spoil("match export-diff\nmatch vm-100-disk-0\nonce\npause 1\nbytes 60\n");
        let running = env.spawn_ignoring(name, BACKUP);
        env.wait_for("#paused");
        kill(running.pid(), signal).unwrap();
        let said = running.ends().exits(0);
        assert!(!said.stderr.contains("stopping"), "{said:?}");
        nothing_is_left(&env, 1, 1);

        env.forget();
        env.spoil("match export-diff\nmatch vm-100-disk-0\npause 60\nbytes 60\n");
        let running = env.spawn_ignoring(name, BACKUP);
        env.wait_for("#paused");
        kill(running.pid(), Signal::SIGTERM).unwrap();
        running.ends().exits(130);
        env.repair();
        nothing_is_left(&env, 1, 1);
    }
}

#[test]
fn a_killed_run_is_cleaned_up_by_the_next_one_f10() {
    let env = Env::with_disks(1);
    env.run(BACKUP).exits(0);
    env.forget();
    env.spoil("match export-diff\nmatch vm-100-disk-0\npause 5\nbytes 60\n");
    let said = stopped(&env, BACKUP, Signal::SIGKILL);
    assert_eq!(said.code, None, "{said:?}");
    assert_eq!(env.snapshots("vm-100-disk-0").len(), 2);
    let list = env.run("list --path REPO --json").exits(0).json();
    assert_eq!(list["restore_points"].as_array().unwrap().len(), 1, "half a point is not listed");
    env.repair();
    // The lock of a process that is dead is nobody's.
    env.run(BACKUP).exits(0).says(&["increment of ceph:vm-100-disk-0"]);
    nothing_is_left(&env, 1, 2);
}

const RESTORE: &str = "restore --path REPO --vmid 100 --target-vmid 901 --jobs 1";

/// A restore that was killed, and its programs with it, while it wrote its first volume.
fn killed_restore() -> Env {
    let env = Env::with_guest();
    env.run(BACKUP).exits(0);
    env.forget();
    env.spoil("match import-diff\nmatch vm-901-disk-0\npause 2\nkill 9\n");
    let said = stopped(&env, RESTORE, Signal::SIGKILL);
    assert_eq!(said.code, None, "{said:?}");
    env.repair();
    assert_eq!(env.images().len(), 4, "{:?}", env.images());
    env
}

fn notes(env: &Env) -> usize {
    std::fs::read_dir(env.path("remembered/restores")).unwrap().count()
}

#[test]
fn what_a_killed_restore_left_is_removed_by_the_next_one() {
    let env = killed_restore();
    let before = env.everything();
    let because = "because an interrupted restore left it";
    env.run(&format!("{RESTORE} --dry-run")).exits(0).says(&[
        "delete volume         ceph:vm-901-disk-0",
        "ceph:vm-901-disk-1",
        because,
    ]);
    assert!(env.everything() == before, "a dry run changes nothing");
    env.run(RESTORE).exits(0).says(&[
        "deleted volume ceph:vm-901-disk-0, which an interrupted restore had left",
        "deleted volume ceph:vm-901-disk-1, which an interrupted restore had left",
    ]);
    for disk in 0..2 {
        let head = |vmid| env.head(&format!("vm-{vmid}-disk-{disk}"));
        assert!(head(901) == head(100), "disk {disk}");
    }
    assert_eq!(notes(&env), 0);
    // What is finished is no debris, whatever becomes of its configuration.
    std::fs::remove_file(env.path("etc/nodes/pve1/qemu-server/901.conf")).unwrap();
    let free = "`pvesm free ceph:vm-901-disk-0`";
    env.run(RESTORE).exits(13).says(&["volume ceph:vm-901-disk-0 exists", free]);
    env.assert_expected();
}

/// The name proves nothing, nor does the note alone.
#[test]
fn what_somebody_made_or_took_up_since_a_killed_restore_stays() {
    let env = killed_restore();
    // Another volume of that name, as after somebody cleaned up by hand and used the name.
    let facts = env.path("rbd/rbd/vm-901-disk-0/facts");
    let text = std::fs::read_to_string(&facts).unwrap();
    let (_, rest) = text.split_once('\n').unwrap();
    std::fs::write(&facts, format!("90100abcdef\n{rest}")).unwrap();
    env.run(RESTORE).exits(13).says(&["volume ceph:vm-901-disk-0 exists"]);
    std::fs::write(&facts, &text).unwrap();
    // A guest has it.
    let config = env.path("etc/nodes/pve2/qemu-server/200.conf");
    std::fs::write(&config, "name: db\nunused0: ceph:vm-901-disk-0\n").unwrap();
    env.run(RESTORE).exits(13).says(&["volume ceph:vm-901-disk-0 belongs to guest 200"]);
    assert_eq!(env.images().len(), 4);
    std::fs::remove_file(config).unwrap();
    env.run(RESTORE).exits(0);
    env.assert_expected();
}

#[test]
fn what_a_restore_is_writing_is_not_taken_for_debris() {
    let env = Env::with_guest();
    env.run(BACKUP).exits(0);
    env.forget();
    env.spoil("match import-diff\nmatch vm-901-disk-0\nonce\npause 3\n");
    let first = env.spawn(RESTORE);
    env.wait_for("#paused");
    env.run(RESTORE).exits(13).says(&["guest 901 is being made on node pve1"]);
    first.ends().exits(0);
    assert_eq!(notes(&env), 0);
    env.assert_expected();
}

#[test]
fn a_second_run_meanwhile_is_exit_11_and_says_who_is_first_f11() {
    let env = Env::with_disks(1);
    env.spoil("match export-diff\nmatch vm-100-disk-0\npause 60\nbytes 60\n");
    let first = env.spawn(BACKUP);
    env.wait_for("#paused");
    let pid = first.pid().to_string();
    env.run(BACKUP).exits(11).says(&["is locked by backup", &pid]);
    env.run("restore --path REPO --vmid 100 --target-vmid 901").exits(4);
    kill(first.pid(), Signal::SIGTERM).unwrap();
    first.ends().exits(130);
    env.repair();
    nothing_is_left(&env, 0, 0);
}

#[test]
fn a_run_that_waits_gets_its_turn_f11() {
    let env = Env::with_disks(1);
    env.spoil("match export-diff\nmatch vm-100-disk-0\nonce\npause 2\nbytes 60\n");
    let first = env.spawn(BACKUP);
    env.wait_for("#paused");
    env.run(&format!("{BACKUP} --lock-wait 60")).exits(0);
    first.ends().exits(0);
    nothing_is_left(&env, 1, 2);
}

#[test]
fn a_guest_that_refuses_the_freeze_is_saved_and_said() {
    let env = Env::with_disks(1);
    std::fs::write(env.path("state/100/freeze-fails"), "disk on fire").unwrap();
    let said = env.run(BACKUP).exits(0);
    said.says(&[
        "crash",
        "warning: crash-consistent only: the guest did not freeze",
        "disk on fire",
    ]);
    nothing_is_left(&env, 1, 1);
}

#[test]
fn a_dead_node_fails_its_guest_quickly_and_no_other_d1_25() {
    let env = Env::with_disks(1);
    env.add_guest(200, 1);
    let conf = |node: &str| env.path(&format!("etc/nodes/{node}/qemu-server/200.conf"));
    std::fs::rename(conf("pve1"), conf("pve2")).unwrap();
    // The fake of ssh takes its facts from the environment, which this program passes on.
    std::fs::remove_file(env.path("bin/ssh")).unwrap();
    std::fs::write(
        env.path("bin/ssh"),
        "#!/bin/sh\necho 'ssh: connect to host pve2 port 22: Connection timed out' >&2\nexit 255\n",
    )
    .unwrap();
    std::fs::set_permissions(
        env.path("bin/ssh"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let said = env.run("backup --vmid all --label daily --path REPO").exits(3);
    said.says(&[
        "guest 200 web200 on pve2: FAILED",
        "pve2",
        "Connection timed out",
        "guest 100 web100 on pve1: ok",
    ]);
    assert_eq!(env.snapshots("vm-200-disk-0").len(), 0);
    env.assert_expected();
}
