//! Locks between hosts, dead holders and lost ones. Processes are played by their `Whoami`.

use super::others::ByDate;
use super::*;
use std::fs;
use std::sync::atomic::AtomicU32;
use std::time::SystemTime;

fn quick() -> Timing {
    Timing {
        refresh: Duration::from_secs(300),
        stale: Duration::from_secs(1800),
        poll: Duration::from_millis(10),
    }
}

fn host(name: &str) -> Whoami {
    let host = name.to_owned();
    Whoami { host, boot_id: format!("boot of {name}"), ..Whoami::this_process() }
}

fn take(dir: &Path, mode: LockMode, whoami: Whoami) -> Result<Lock, RepositoryError> {
    take_with(dir, mode, whoami, &Disk::real())
}

fn take_with(
    dir: &Path,
    mode: LockMode,
    whoami: Whoami,
    disk: &Disk,
) -> Result<Lock, RepositoryError> {
    let options = LockOptions { wait: None, what: "backup".into() };
    let dates = Dates::OfServer;
    acquire(dir, &Wanted { disk, mode, options: &options, timing: quick(), whoami, dates })
}

fn lock_files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("locks")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn age(path: &Path, age: Duration) {
    let then = SystemTime::UNIX_EPOCH
        + fs::metadata(path)
            .unwrap()
            .modified()
            .unwrap()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
        - age;
    fs::File::options().write(true).open(path).unwrap().set_modified(then).unwrap();
}

#[test]
fn an_exclusive_lock_excludes_everybody_until_it_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let lock = take(dir.path(), LockMode::Exclusive, host("a")).unwrap();
    for mode in [LockMode::Shared, LockMode::Exclusive] {
        let error = take(dir.path(), mode, host("b")).unwrap_err();
        let RepositoryError::Locked { holder, .. } = &error else { panic!("{error:?}") };
        assert_eq!((holder.host.as_str(), holder.what.as_str()), ("a", "backup"));
        assert!(error.to_string().contains("backup on host a (process"), "{error}");
    }
    drop(lock);
    take(dir.path(), LockMode::Exclusive, host("b")).unwrap();
    assert!(lock_files(dir.path()).is_empty());
}

#[test]
fn shared_locks_exclude_only_exclusive_ones() {
    let dir = tempfile::tempdir().unwrap();
    let one = take(dir.path(), LockMode::Shared, host("a")).unwrap();
    let two = take(dir.path(), LockMode::Shared, host("b")).unwrap();
    assert!(take(dir.path(), LockMode::Exclusive, host("c")).is_err());
    drop(one);
    assert!(take(dir.path(), LockMode::Exclusive, host("c")).is_err());
    drop(two);
    take(dir.path(), LockMode::Exclusive, host("c")).unwrap();
}

#[test]
fn of_many_at_once_never_two_hold_and_every_one_gets_its_turn() {
    let dir = tempfile::tempdir().unwrap();
    let (inside, turns) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for n in 0..6 {
            let (dir, inside, turns) = (dir.path(), &inside, &turns);
            scope.spawn(move || {
                let wait = Some(Duration::from_secs(60));
                let options = LockOptions { wait, what: "backup".into() };
                let whoami = host(&format!("h{n}"));
                let disk = Disk::real();
                let mode = LockMode::Exclusive;
                let (timing, dates) = (quick(), Dates::OfServer);
                let wanted = Wanted { disk: &disk, mode, options: &options, timing, whoami, dates };
                for _ in 0..5 {
                    let lock = acquire(dir, &wanted).unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    std::thread::sleep(Duration::from_millis(3));
                    assert!(lock.still_held());
                    inside.fetch_sub(1, Ordering::SeqCst);
                    turns.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(turns.load(Ordering::SeqCst), 30);
}

#[test]
fn of_two_at_the_same_time_without_waiting_one_gets_it() {
    for _ in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let barrier = std::sync::Barrier::new(2);
        let run = |name: &'static str| {
            barrier.wait();
            take(dir.path(), LockMode::Exclusive, host(name))
        };
        let (one, two) = std::thread::scope(|scope| {
            let (one, two) = (scope.spawn(|| run("a")), scope.spawn(|| run("b")));
            (one.join().unwrap(), two.join().unwrap())
        });
        assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
    }
}

#[test]
fn a_holder_that_did_not_refresh_for_half_an_hour_is_stale_by_the_servers_clock() {
    let dir = tempfile::tempdir().unwrap();
    let slept = take(dir.path(), LockMode::Exclusive, host("a")).unwrap();
    let file = lock_files(dir.path()).remove(0);
    age(&file, Duration::from_secs(29 * 60));
    assert!(take(dir.path(), LockMode::Exclusive, host("b")).is_err());
    age(&file, Duration::from_secs(2 * 60));
    let taken = take(dir.path(), LockMode::Exclusive, host("b")).unwrap();
    assert!(!slept.still_held());
    assert!(matches!(slept.confirm(dir.path()), Err(RepositoryError::LockLost { .. })));
    assert!(taken.still_held());
    drop(slept);
    assert!(taken.still_held(), "releasing a lost lock must not release another's");
}

#[test]
fn a_refresh_makes_an_old_lock_young() {
    let dir = tempfile::tempdir().unwrap();
    let lock = take(dir.path(), LockMode::Exclusive, host("a")).unwrap();
    age(&lock_files(dir.path())[0], Duration::from_secs(25 * 60));
    assert!(lock.still_held());
    age(&lock_files(dir.path())[0], Duration::from_secs(25 * 60));
    assert!(take(dir.path(), LockMode::Exclusive, host("b")).is_err());
}

#[test]
fn the_refresh_happens_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, options) = (Disk::real(), LockOptions::default());
    let timing = Timing { refresh: Duration::from_millis(20), ..quick() };
    let mode = LockMode::Exclusive;
    let (whoami, dates) = (host("a"), Dates::OfServer);
    let wanted = Wanted { disk: &disk, mode, options: &options, timing, whoami, dates };
    let _lock = acquire(dir.path(), &wanted).unwrap();
    let file = lock_files(dir.path()).remove(0);
    age(&file, Duration::from_secs(3600));
    let old = fs::metadata(&file).unwrap().modified().unwrap();
    let refreshed = || fs::metadata(&file).unwrap().modified().unwrap() > old;
    let start = Instant::now();
    while !refreshed() {
        assert!(start.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_dead_process_of_this_boot_is_stale_at_once() {
    let dir = tempfile::tempdir().unwrap();
    // Above the highest possible process id (PID_MAX_LIMIT, 2^22).
    let dead = Whoami { pid: (1 << 22) + 1, ..Whoami::this_process() };
    std::mem::forget(take(dir.path(), LockMode::Exclusive, dead).unwrap());
    take(dir.path(), LockMode::Exclusive, Whoami::this_process()).unwrap();
}

#[test]
fn a_process_id_given_away_again_is_no_holder() {
    let dir = tempfile::tempdir().unwrap();
    let us = Whoami::this_process();
    let earlier = Whoami { started: us.started.wrapping_add(1), ..us.clone() };
    std::mem::forget(take(dir.path(), LockMode::Exclusive, earlier).unwrap());
    take(dir.path(), LockMode::Exclusive, us).unwrap();
}

#[test]
fn a_process_id_that_means_nothing_here_proves_nothing() {
    let us = Whoami::this_process();
    let dead = Whoami { pid: (1 << 22) + 1, ..us.clone() };
    for elsewhere in [
        Whoami { host: "other".into(), ..dead.clone() },
        Whoami { boot_id: "other".into(), machine_id: "other".into(), ..dead.clone() },
        Whoami { boot_id: "other".into(), machine_id: String::new(), ..dead.clone() },
        Whoami { pid_namespace: "other".into(), ..dead.clone() },
    ] {
        let dir = tempfile::tempdir().unwrap();
        std::mem::forget(take(dir.path(), LockMode::Exclusive, elsewhere).unwrap());
        assert!(take(dir.path(), LockMode::Exclusive, us.clone()).is_err());
    }
}

#[test]
fn a_lock_file_that_cannot_be_understood_is_held_until_it_is_old() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("locks")).unwrap();
    let file = dir.path().join("locks/0123456789abcdef.lock");
    fs::write(&file, b"{garbage").unwrap();
    let error = take(dir.path(), LockMode::Shared, host("a")).unwrap_err();
    assert!(error.to_string().contains("cannot be read"), "{error}");
    age(&file, Duration::from_secs(31 * 60));
    take(dir.path(), LockMode::Shared, host("a")).unwrap();
    assert!(!file.exists());
}

#[test]
fn a_lock_whose_server_fails_is_lost_before_it_is_stale_for_others() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::failing_at(5, super::super::Fault::Vanish);
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
fn a_failure_at_any_operation_leaves_no_lock_that_blocks_others() {
    for fault in [super::super::Fault::NoSpace, super::super::Fault::LostReply] {
        for n in 0.. {
            let dir = tempfile::tempdir().unwrap();
            let disk = Disk::failing_at(n, fault);
            let lock = take_with(dir.path(), LockMode::Exclusive, host("a"), &disk);
            let reached = disk.writes() > n;
            drop(lock);
            let after = take(dir.path(), LockMode::Exclusive, host("b"));
            // A lost reply to the removal itself is no harm; a real failure makes it stale later.
            let removal_failed = fault == super::super::Fault::NoSpace && after.is_err();
            assert!(after.is_ok() || removal_failed, "{fault:?} at {n}: {after:?}");
            if !reached {
                break;
            }
        }
    }
}

#[test]
fn an_exclusive_lock_covers_its_own_guest_only() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let shared = take(dir.path(), LockMode::Shared, host("a")).unwrap();
    assert!(matches!(shared.covers(dir.path()), Err(RepositoryError::NotLocked { .. })));
    drop(shared);
    let lock = take(dir.path(), LockMode::Exclusive, host("a")).unwrap();
    assert!(lock.confirm(dir.path()).is_ok());
    assert!(matches!(lock.confirm(other.path()), Err(RepositoryError::NotLocked { .. })));
}

#[test]
fn a_read_only_repository_can_be_read_under_a_shared_lock() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::failing_at(0, super::super::Fault::ReadOnly);
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
        let disk = Disk::failing_at(2, super::super::Fault::NoSpace);
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
    let disk = || Disk::failing_at(0, super::super::Fault::NoSpace);
    assert!(take_with(dir.path(), LockMode::Shared, host("a"), &disk()).unwrap().still_held());
    assert!(take_with(dir.path(), LockMode::Exclusive, host("a"), &disk()).is_err());
    assert!(lock_files(dir.path()).is_empty());
}

/// A process of this host, which its lock's date makes look old, or young: it can be seen.
#[test]
fn a_live_holder_of_this_boot_is_never_stale_however_the_clock_was_set() {
    let dir = tempfile::tempdir().unwrap();
    let held = take(dir.path(), LockMode::Exclusive, Whoami::this_process()).unwrap();
    age(&lock_files(dir.path())[0], Duration::from_secs(30 * 24 * 3600));
    assert!(take(dir.path(), LockMode::Exclusive, Whoami::this_process()).is_err());
    assert_eq!(lock_files(dir.path()).len(), 1);
    assert!(held.confirm(dir.path()).is_ok());
}

#[test]
fn what_an_earlier_boot_of_this_machine_held_is_free_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let us = Whoami { machine_id: "m".into(), ..Whoami::this_process() };
    let earlier = Whoami { boot_id: "before".into(), ..us.clone() };
    std::mem::forget(take(dir.path(), LockMode::Exclusive, earlier.clone()).unwrap());
    // A clone has the same id and another name: it may well live.
    let clone = Whoami { host: "clone".into(), ..us.clone() };
    assert!(take(dir.path(), LockMode::Exclusive, clone).is_err());
    take(dir.path(), LockMode::Exclusive, us).unwrap();
}

fn date_ahead(path: &Path, ahead: Duration) {
    let then = fs::metadata(path).unwrap().modified().unwrap() + ahead;
    fs::File::options().write(true).open(path).unwrap().set_modified(then).unwrap();
}

#[test]
fn a_lock_that_is_dated_in_the_future_is_not_eternal() {
    let dir = tempfile::tempdir().unwrap();
    std::mem::forget(take(dir.path(), LockMode::Exclusive, host("a")).unwrap());
    let file = lock_files(dir.path()).remove(0);
    date_ahead(&file, Duration::from_secs(3600));
    // It may be a living one: whoever does not wait does not get it, whoever does sees whether it
    // is refreshed.
    assert!(take(dir.path(), LockMode::Exclusive, host("b")).is_err());
    let wait = Some(Duration::from_secs(600));
    let (disk, options) = (Disk::real(), LockOptions { wait, what: "backup".into() });
    let timing = Timing { refresh: Duration::from_millis(20), ..quick() };
    let (mode, whoami, dates) = (LockMode::Exclusive, host("b"), Dates::OfServer);
    let wanted = Wanted { disk: &disk, mode, options: &options, timing, whoami, dates };
    drop(acquire(dir.path(), &wanted).unwrap());
    assert!(!file.exists());
    // Ten years ahead, nobody has to wait at all.
    std::mem::forget(take(dir.path(), LockMode::Exclusive, host("a")).unwrap());
    date_ahead(&lock_files(dir.path())[0], Duration::from_secs(3650 * 24 * 3600));
    take(dir.path(), LockMode::Exclusive, host("b")).unwrap();
}

#[test]
fn a_date_is_believed_as_far_as_one_clock_gave_it() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
    let minutes = |n: u64| Duration::from_secs(n * 60);
    let judge = |date, dates| others::by_date(now, date, dates, &TIMING);
    for dates in [Dates::OfServer, Dates::OfClients] {
        for near in [now, now - minutes(29), now + minutes(29)] {
            assert_eq!(judge(near, dates), ByDate::Held);
        }
        for far in [now - minutes(25 * 60), now + minutes(25 * 60)] {
            assert_eq!(judge(far, dates), ByDate::Stale);
        }
        assert_eq!(judge(now + minutes(31), dates), ByDate::Watch);
    }
    assert_eq!(judge(now - minutes(31), Dates::OfServer), ByDate::Stale);
    // Two hosts whose clocks differ must not take each other's locks.
    assert_eq!(judge(now - minutes(31), Dates::OfClients), ByDate::Watch);
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
