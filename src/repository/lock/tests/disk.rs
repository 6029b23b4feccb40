//! File systems that are full, read-only or fail, and what is found among the locks that is none of ours.

use super::*;
use crate::repository::Fault;

#[test]
fn a_failure_at_any_operation_leaves_no_lock_that_blocks_others() {
    for fault in [Fault::NoSpace, Fault::LostReply] {
        for n in 0.. {
            let dir = tempfile::tempdir().unwrap();
            let disk = Disk::failing_at(n, fault);
            let lock = take_with(dir.path(), LockMode::Exclusive, host("a"), &disk);
            let reached = disk.writes() > n;
            drop(lock);
            let after = take(dir.path(), LockMode::Exclusive, host("b"));
            // A lost reply to the removal itself is no harm; a real failure makes it stale later.
            let removal_failed = fault == Fault::NoSpace && after.is_err();
            assert!(after.is_ok() || removal_failed, "{fault:?} at {n}: {after:?}");
            if !reached {
                break;
            }
        }
    }
}

#[test]
fn a_read_only_repository_can_be_read_under_a_shared_lock() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::failing_at(0, Fault::ReadOnly);
    let lock = take_with(dir.path(), LockMode::Shared, host("a"), &disk).unwrap();
    assert!(lock.still_held());
    assert!(take_with(dir.path(), LockMode::Exclusive, host("a"), &disk).is_err());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

/// Whoever cannot make room, nor restore, because the lock that this needs has no room: that must
/// not be.
#[test]
fn a_full_file_system_is_locked_by_a_file_without_its_content() {
    for mode in [LockMode::Exclusive, LockMode::Shared] {
        let dir = tempfile::tempdir().unwrap();
        // Made are the directory and the file; its content has no room.
        let disk = Disk::failing_at(2, Fault::NoSpace);
        let lock = take_with(dir.path(), mode, host("a"), &disk).unwrap();
        assert!(lock.still_held());
        for other in [LockMode::Exclusive, LockMode::Shared] {
            let error = take(dir.path(), other, host("b")).unwrap_err();
            assert!(matches!(error, RepositoryError::Locked { .. }), "{error}");
        }
        drop(lock);
        assert!(lock_files(dir.path()).is_empty());
        drop(take(dir.path(), LockMode::Exclusive, host("b")).unwrap());
    }
}

#[test]
fn a_file_system_without_room_for_a_name_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("locks")).unwrap();
    let disk = || Disk::failing_at(0, Fault::NoSpace);
    assert!(take_with(dir.path(), LockMode::Shared, host("a"), &disk()).unwrap().still_held());
    assert!(take_with(dir.path(), LockMode::Exclusive, host("a"), &disk()).is_err());
    assert!(lock_files(dir.path()).is_empty());
}

#[test]
fn a_lock_whose_server_fails_is_lost_before_it_is_stale_for_others() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::failing_at(5, Fault::Vanish);
    let (mode, options) = (LockMode::Exclusive, LockOptions::default());
    let (refresh, stale) = (Duration::from_millis(25), Duration::from_millis(50));
    let timing = Timing { refresh, stale, ..quick() };
    let (whoami, dates) = (host("a"), Dates::OfServer);
    let wanted = Wanted { disk: &disk, mode, options: &options, timing, whoami, dates };
    let lock = acquire(dir.path(), &wanted).unwrap();
    std::thread::sleep(Duration::from_millis(60));
    assert!(!lock.still_held());
}

#[test]
fn only_our_own_names_are_ever_removed_and_unfinished_ones_of_ours_are() {
    let dir = tempfile::tempdir().unwrap();
    let locks = dir.path().join("locks");
    fs::create_dir(&locks).unwrap();
    let foreign = [".pwd.lock", "x.lock", "notes.tmp", "0123456789ABCDEF.lock", "0123.tmp"];
    for name in foreign.iter().chain(&["0123456789abcdef.tmp", "fedcba9876543210.tmp"]) {
        fs::write(locks.join(name), "").unwrap();
        age(&locks.join(name), Duration::from_secs(3600));
    }
    fs::write(locks.join("0000000000000001.tmp"), "young").unwrap();
    drop(take(dir.path(), LockMode::Exclusive, host("a")).unwrap());
    for name in foreign.iter().chain(&["0000000000000001.tmp"]) {
        assert!(locks.join(name).exists(), "{name}");
    }
    assert!(!locks.join("0123456789abcdef.tmp").exists());
    assert!(!locks.join("fedcba9876543210.tmp").exists());
}

#[test]
fn a_directory_of_locks_that_is_a_link_is_not_entered() {
    let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let victim = outside.path().join("0123456789abcdef.lock");
    fs::write(&victim, "").unwrap();
    age(&victim, Duration::from_secs(3600));
    std::os::unix::fs::symlink(outside.path(), dir.path().join("locks")).unwrap();
    for mode in [LockMode::Shared, LockMode::Exclusive] {
        assert!(take(dir.path(), mode, host("a")).is_err());
    }
    assert!(victim.exists());
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
}

/// A share's or a person's own, of whatever age and however it is named.
#[test]
fn what_is_no_file_among_the_locks_stops_nobody_and_stays() {
    let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let locks = dir.path().join("locks");
    fs::create_dir(&locks).unwrap();
    let (young, old) = (locks.join("0123456789abcdef.lock"), locks.join("fedcba9876543210.lock"));
    let (draft, link) = (locks.join("00000000000000aa.tmp"), locks.join("00000000000000bb.lock"));
    for path in [&young, &old, &draft] {
        fs::create_dir(path).unwrap();
        fs::write(path.join("theirs"), "").unwrap();
    }
    for path in [&old, &draft] {
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        fs::File::open(path).unwrap().set_modified(long_ago).unwrap();
    }
    std::os::unix::fs::symlink(outside.path(), &link).unwrap();
    for mode in [LockMode::Shared, LockMode::Exclusive] {
        let lock = take(dir.path(), mode, host("a")).unwrap();
        assert!(lock.still_held());
    }
    for path in [&young, &old, &draft] {
        assert!(path.join("theirs").exists(), "{}", path.display());
    }
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
}
