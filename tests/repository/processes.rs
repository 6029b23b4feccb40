//! Two real processes and one lock. The other process is this test itself, run again.

// A second process is what these tests are about.
#![allow(clippy::disallowed_methods)]

use crate::example::*;
use pve_ferry::repository::*;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

const CHILD: &str = "PVE_FERRY_TEST_LOCK_IN";

/// Starts this test again as the process that holds the lock, and waits until it does.
fn holder(test: &str, dir: &std::path::Path) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CHILD, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let said = lines.map_while(Result::ok).any(|line| line.contains("I hold it"));
    assert!(said, "the other process did not get the lock");
    child
}

/// In the second process: holds the lock until it is killed.
fn hold_if_asked() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let _lock = exclusive(&guest(&PathBuf::from(dir)));
    println!("I hold it");
    loop {
        std::thread::park();
    }
}

#[test]
fn a_lock_of_another_process_excludes_until_that_is_killed() {
    hold_if_asked();
    let dir = tempfile::tempdir().unwrap();
    let guest = guest(dir.path());
    let test = "processes::a_lock_of_another_process_excludes_until_that_is_killed";
    let mut child = holder(test, dir.path());
    let options = LockOptions { wait: None, what: "restore".into() };
    let error = guest.lock(LockMode::Shared, &options).unwrap_err();
    let RepositoryError::Locked { holder, .. } = &error else { panic!("{error:?}") };
    assert_eq!((holder.pid, holder.what.as_str()), (child.id(), "test"));
    child.kill().unwrap();
    // Even unreaped it ends, if not in the very moment of the signal.
    let wait = Some(std::time::Duration::from_secs(60));
    let patient = LockOptions { wait, what: "restore".into() };
    let lock = guest.lock(LockMode::Exclusive, &patient).unwrap();
    child.wait().unwrap();
    assert!(lock.still_held());
}

#[test]
fn whoever_waits_gets_the_lock_when_the_holder_is_gone() {
    hold_if_asked();
    let dir = tempfile::tempdir().unwrap();
    let guest = guest(dir.path());
    let test = "processes::whoever_waits_gets_the_lock_when_the_holder_is_gone";
    let mut child = holder(test, dir.path());
    let wait = Some(std::time::Duration::from_secs(60));
    let options = LockOptions { wait, what: "backup".into() };
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| guest.lock(LockMode::Exclusive, &options));
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert!(!waiting.is_finished());
        child.kill().unwrap();
        child.wait().unwrap();
        waiting.join().unwrap().unwrap();
    });
}
