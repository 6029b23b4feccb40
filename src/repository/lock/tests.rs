//! Locks between hosts: who holds, who has to wait. Processes are played by their `Whoami`.

mod disk;
mod stale;

use super::*;
use crate::repository::FileOperation;
use std::fs;
use std::sync::Barrier;
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

/// Both have seen nobody, and both put their files there before either looks again.
#[test]
fn of_two_whose_locks_come_to_stand_at_the_same_moment_one_holds() {
    let dir = tempfile::tempdir().unwrap();
    let both_stand = Arc::new(Barrier::new(2));
    let run = |name: &'static str| {
        let (both_stand, is_first) = (Arc::clone(&both_stand), AtomicBool::new(true));
        let disk = Disk::watched(move |change| {
            let stands = matches!(change, FileOperation::Rename(..));
            if stands && is_first.swap(false, Ordering::SeqCst) {
                both_stand.wait();
            }
        });
        take_with(dir.path(), LockMode::Exclusive, host(name), &disk)
    };
    let (one, two) = std::thread::scope(|scope| {
        let (one, two) = (scope.spawn(|| run("a")), scope.spawn(|| run("b")));
        (one.join().unwrap(), two.join().unwrap())
    });
    assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
}

/// Whoever comes right before any step of somebody else.
#[test]
fn whoever_comes_between_two_steps_of_another_one_of_them_holds() {
    let mut came = 0;
    for nth in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let (path, steps) = (dir.path().to_owned(), AtomicU32::new(0));
        let second = Arc::new(Mutex::new(None));
        let other = Arc::clone(&second);
        let disk = Disk::watched(move |_| {
            if steps.fetch_add(1, Ordering::SeqCst) == nth {
                *guard(&other) = Some(take(&path, LockMode::Exclusive, host("b")));
            }
        });
        let first = take_with(dir.path(), LockMode::Exclusive, host("a"), &disk);
        let Some(second) = guard(&second).take() else { break };
        came += 1;
        assert!(first.is_ok() != second.is_ok(), "step {nth}: {first:?} {second:?}");
    }
    assert!(came >= 4, "{came}");
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
