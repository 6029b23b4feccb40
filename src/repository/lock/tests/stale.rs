//! Whose lock is stale: dead processes, earlier boots, old dates and dates ahead.

use super::super::others::ByDate;
use super::*;

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
