//! The directory of a guest to which nothing was written: it goes with the lock that made it, whoever else
//! comes at that moment.

use crate::example::key;
use pve_ferry::repository::{Disk, LockMode, LockOptions, Repository};
use std::time::Duration;

#[test]
fn a_place_that_others_take_away_at_the_same_moment_is_made_anew_by_whoever_wants_its_lock() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Repository::open_target(dir.path(), Disk::real()).unwrap();
    open().begin().unwrap();
    let options = LockOptions { wait: Some(Duration::from_secs(60)), what: "backup".into() };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let guest = open().guest(&key());
                for _ in 0..25 {
                    let lock = guest.lock(LockMode::Exclusive, &options).unwrap();
                    assert!(lock.still_held() && guest.exists().unwrap());
                }
            });
        }
    });
    assert!(!open().guest(&key()).exists().unwrap(), "nobody wrote anything");
}

#[test]
fn a_place_in_which_another_lock_or_anything_else_is_stays() {
    let dir = tempfile::tempdir().unwrap();
    let repository = Repository::open_target(dir.path(), Disk::real()).unwrap();
    repository.begin().unwrap();
    let (guest, options) = (repository.guest(&key()), LockOptions::default());
    let lock = guest.lock(LockMode::Exclusive, &options).unwrap();
    // Another host's, which comes between our last look and the end of our lock.
    let theirs = guest.path().join("locks/0123456789abcdef.tmp");
    std::fs::write(&theirs, "").unwrap();
    drop(lock);
    assert!(theirs.exists());
    std::fs::remove_file(&theirs).unwrap();
    let foreign = guest.path().join("@eaDir");
    let lock = guest.lock(LockMode::Exclusive, &options).unwrap();
    std::fs::create_dir(&foreign).unwrap();
    drop(lock);
    assert!(foreign.exists());
    std::fs::remove_dir(&foreign).unwrap();
    drop(guest.lock(LockMode::Exclusive, &options).unwrap());
    assert!(!guest.exists().unwrap());
}
