//! The commit protocol when every single write fails in every way.

use crate::repository::fixture::*;
use crate::repository::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const FAULTS: [Fault; 4] = [Fault::NoSpace, Fault::Io, Fault::Vanish, Fault::LostReply];

/// Whatever fails while the second point is made: the first is untouched, the second is whole or
/// not there, nothing is unreadable, and the next run makes its point.
#[test]
fn a_point_exists_whole_or_not_at_all_whichever_write_fails() {
    let mut failures = 0;
    for fault in FAULTS {
        for n in 0.. {
            let world = World::new();
            let first = world.point(1, None);
            let disk = Disk::failing_at(n, fault);
            let options = LockOptions { wait: None, what: "failing".into() };
            let moment = noon().plus_seconds(120);
            let result = make_point(&world.guest_on(disk.clone()), image(2, Some(1)), moment);
            if disk.writes() <= n {
                result.unwrap();
                break;
            }
            failures += 1;
            let case = format!("{fault:?} at {n}: {result:?}");
            clear_locks(world.guest().path());
            let history = world.guest().load().unwrap();
            assert_eq!(history.unreadable, [], "{case}");
            assert_eq!(history.points[0], first, "{case}");
            assert!(history.points.len() <= 2, "{case}");
            let second = history.points.get(1);
            match &result {
                Ok(point) => assert_eq!(second, Some(point), "{case}"),
                Err(RepositoryError::Unknown { .. }) => {}
                Err(_) => assert_eq!(second, None, "{case}"),
            }
            if let Some(second) = second {
                assert_eq!(
                    fs::read(second.dir.join("scsi0.increment.rbd.zst")).unwrap(),
                    b"image 2"
                );
                assert_eq!(second.manifest.seq, 2, "{case}");
            }
            let third = make_point(&world.guest(), image(3, Some(1)), moment).unwrap();
            let after = world.guest().load().unwrap();
            assert_eq!((after.debris.len(), after.unreadable.len()), (0, 0), "{case}");
            assert_eq!(after.points.last(), Some(&third), "{case}");
            assert_eq!(after.record, Some(record()), "{case}");
            drop(world.guest().lock(LockMode::Exclusive, &options).unwrap());
        }
    }
    assert!(failures > 4 * 25, "only {failures} writes failed: is the disk asked at all?");
}

/// A run that was killed leaves its lock, which its host knows as dead; here it is taken away.
fn clear_locks(guest: &Path) {
    for entry in fs::read_dir(guest.join("locks")).into_iter().flatten() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
}

#[test]
fn deleting_a_point_never_leaves_half_of_it() {
    for fault in FAULTS {
        for n in 0.. {
            let world = World::new();
            world.point(1, None);
            let second = world.point(2, Some(1));
            let disk = Disk::failing_at(n, fault);
            let guest = world.guest_on(disk.clone());
            let lock = world.lock();
            let result = guest.delete_point(&lock, &second);
            let case = format!("{fault:?} at {n}: {result:?}");
            let history = world.guest().load().unwrap();
            assert_eq!(history.unreadable, [], "{case}");
            let there = history.points.len() == 2;
            assert!(!there || result.is_err(), "{case}");
            if there {
                assert_eq!(fs::read_dir(&second.dir).unwrap().count(), 4, "{case}");
            }
            for debris in &history.debris {
                world.guest().sweep(&lock, debris).unwrap();
            }
            let after = world.guest().load().unwrap();
            assert_eq!((&after.debris[..], after.next_seq()), (&[][..], 3), "{case}");
            if disk.writes() <= n {
                result.unwrap();
                break;
            }
        }
    }
}

#[test]
fn hiding_a_point_and_setting_attributes_leave_the_old_or_the_new_state() {
    for fault in FAULTS {
        for n in 0.. {
            let world = World::new();
            let point = world.point(1, None);
            let disk = Disk::failing_at(n, fault);
            let guest = world.guest_on(disk.clone());
            let lock = world.lock();
            let attributes = Attributes { protected: true, ..Attributes::default() };
            let one = guest.set_attributes(&lock, &point, &attributes);
            let two = guest.hide_point(&lock, &point);
            let history = world.guest().load().unwrap();
            let case = format!("{fault:?} at {n}: {one:?} {two:?}");
            assert_eq!((history.points.len(), history.unreadable.len()), (1, 0), "{case}");
            assert!(history.points[0].attributes.protected || one.is_err(), "{case}");
            assert!(history.points[0].manifest.is_hidden() || two.is_err(), "{case}");
            if disk.writes() <= n {
                assert!(one.is_ok() && two.is_ok());
                break;
            }
        }
    }
}

/// Another repository may hold a copy of the point that went: the next one comes after it.
#[test]
fn an_order_is_never_given_again() {
    let world = World::new();
    let (first, second) = (world.point(1, None), world.point(2, Some(1)));
    let delete = |point: &StoredPoint| world.guest().delete_point(&world.lock(), point).unwrap();
    delete(&second);
    let third = world.point(3, Some(1));
    assert_eq!(third.manifest.seq, 3);
    delete(&third);
    delete(&first);
    assert_eq!(world.guest().load().unwrap().points, []);
    assert_eq!(world.point(4, None).manifest.seq, 4);
    // Where a newer one stays there is nothing to note, so that a full file system is no obstacle.
    let (older, newer) = (world.point(5, None), world.point(6, None));
    delete(&older);
    assert_eq!(world.guest().load().unwrap().record.unwrap().last_seq, 3);
    assert_eq!(newer.manifest.seq, 6);
}

#[test]
fn a_lost_lock_stops_the_commit() {
    let world = World::new();
    world.point(1, None);
    let (guest, lock) = (world.guest(), world.lock());
    let draft = guest.begin(&lock, &label(), noon()).unwrap();
    clear_locks(guest.path());
    let error = draft.commit(&lock, manifest(vec![])).unwrap_err();
    assert!(matches!(error, RepositoryError::LockLost { .. }), "{error:?}");
    assert_eq!(guest.load().unwrap().points.len(), 1);
}

/// The copy of its manifest stood already: without its point it would tell of one that was lost.
#[test]
fn a_commit_that_failed_and_is_taken_back_leaves_no_copy_of_its_manifest() {
    let world = World::new();
    world.point(1, None);
    let (guest, lock) = (world.guest(), world.lock());
    let copies = || fs::read_dir(guest.path().join("manifests")).unwrap().count();
    let before = copies();
    let draft = guest.begin(&lock, &label(), noon()).unwrap();
    clear_locks(guest.path());
    draft.commit(&lock, manifest(vec![])).unwrap_err();
    assert_eq!(copies(), before + 1, "it stands before the point does");
    draft.abandon().unwrap();
    assert_eq!(copies(), before);
    let history = guest.load().unwrap();
    assert_eq!((history.points.len(), history.debris.len(), history.gone.len()), (1, 0, 0));
}

#[test]
fn changes_need_an_exclusive_lock() {
    let world = World::new();
    let point = world.point(1, None);
    let options = LockOptions { wait: None, what: "restore".into() };
    let shared = world.guest().lock(LockMode::Shared, &options).unwrap();
    let guest = world.guest();
    let not_locked = |result: Result<(), RepositoryError>| {
        assert!(matches!(result, Err(RepositoryError::NotLocked { .. })), "{result:?}");
    };
    not_locked(guest.begin(&shared, &label(), noon()).map(drop));
    not_locked(guest.delete_point(&shared, &point).map(drop));
    not_locked(guest.hide_point(&shared, &point).map(drop));
    not_locked(guest.set_attributes(&shared, &point, &Attributes::default()));
    not_locked(guest.save_record(&shared, &record()));
    let path = point.dir.clone();
    let debris = Debris { path, holds_images: true };
    not_locked(guest.sweep(&shared, &debris).map(drop));
    assert_eq!(guest.load().unwrap().points, [point]);
}

#[test]
fn a_manifest_that_does_not_fit_its_files_is_not_committed() {
    let world = World::new();
    world.point(1, None);
    let (guest, lock) = (world.guest(), world.lock());
    let draft = guest.begin(&lock, &label(), noon()).unwrap();
    let error = draft.commit(&lock, manifest(vec![image(2, None)])).unwrap_err();
    assert!(matches!(error, RepositoryError::Unfit { .. }), "{error:?}");
    draft.abandon().unwrap();
    let history = guest.load().unwrap();
    assert_eq!((history.points.len(), history.debris.len()), (1, 0));
}

#[test]
fn an_abandoned_draft_leaves_nothing_where_open_files_stay() {
    let world = World::new();
    world.point(1, None);
    let (guest, lock) = (world.guest_on(Disk::failing_at(0, Fault::OpenFilesStay)), world.lock());
    let draft = guest.begin(&lock, &label(), noon()).unwrap();
    let dir = draft.path().to_owned();
    let entry = image(2, None);
    drop(draft.image_files(&entry.disk, entry.kind(), entry.compression).unwrap());
    draft.abandon().unwrap();
    assert!(!dir.exists());
}

#[test]
fn two_points_of_one_second_get_two_names() {
    let world = World::new();
    let one = make_point(&world.guest(), image(1, None), noon()).unwrap();
    let two = make_point(&world.guest(), image(2, Some(1)), noon()).unwrap();
    assert_eq!(one.manifest.time, noon());
    assert_eq!(two.manifest.time, noon().plus_seconds(1));
    assert_eq!((one.manifest.seq, two.manifest.seq), (1, 2));
}

#[test]
fn a_clock_that_jumps_back_does_not_change_the_order() {
    let world = World::new();
    for (id, minutes) in [(1, 0), (2, -600), (3, 30), (4, -10)] {
        let parent = (id > 1).then(|| id - 1);
        make_point(&world.guest(), image(id, parent), noon().plus_seconds(minutes * 60)).unwrap();
    }
    let history = world.guest().load().unwrap();
    let ids: Vec<u64> = history.points.iter().map(|p| p.manifest.point.0).collect();
    assert_eq!(ids, [1, 2, 3, 4]);
    assert_eq!(history.newest(&label()).unwrap().manifest.point.0, 4);
}

/// A directory below which nothing is mounted now must not be filled: only who begins a repository
/// begins one.
#[test]
fn no_lock_begins_a_repository() {
    let dir = tempfile::tempdir().unwrap();
    let repository = Repository::open_target(dir.path(), Disk::real()).unwrap();
    let options = LockOptions { wait: None, what: "test".into() };
    let error = repository.guest(&key()).lock(LockMode::Exclusive, &options).unwrap_err();
    assert!(matches!(error, RepositoryError::NotBegun { .. }), "{error:?}");
    assert!(!repository.is_begun().unwrap());
    repository.must_be_begun().unwrap_err();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    repository.begin().unwrap();
    repository.must_be_begun().unwrap();
    repository.begin().unwrap();
    repository.guest(&key()).lock(LockMode::Exclusive, &options).unwrap();
}

#[test]
fn everything_is_for_the_owner_only() {
    let world = World::new();
    let point = world.point(1, None);
    let guest = world.guest();
    let attributes = Attributes { notes: "n".into(), ..Attributes::default() };
    guest.set_attributes(&world.lock(), &point, &attributes).unwrap();
    let (mut directories, mut files) = (0, 0);
    let mut todo = vec![world.dir.path().join("pve-ferry")];
    while let Some(path) = todo.pop() {
        let facts = fs::symlink_metadata(&path).unwrap();
        let mode = facts.permissions().mode() & 0o7777;
        if facts.is_dir() {
            directories += 1;
            assert_eq!(mode, 0o700, "{}", path.display());
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            files += 1;
            assert_eq!(mode, 0o600, "{}", path.display());
        }
        assert!(!path.to_string_lossy().contains("web"), "no guest name in a path");
    }
    assert_eq!((directories, files), (7, 10));
}

#[test]
fn nothing_is_written_by_opening_and_looking() {
    let world = World { dir: tempfile::tempdir().unwrap() };
    let guest = world.guest();
    assert!(!guest.exists().unwrap());
    assert_eq!(guest.load().unwrap(), History::default());
    let target = Repository::open_target(world.dir.path(), Disk::real()).unwrap();
    assert!(target.guests().unwrap().is_empty());
    let unmounted = Repository::open(world.dir.path(), Disk::real()).unwrap_err();
    assert!(matches!(unmounted, RepositoryError::NotBegun { .. }));
    assert_eq!(fs::read_dir(world.dir.path()).unwrap().count(), 0);
    let missing = Repository::open(&world.dir.path().join("x"), Disk::real()).unwrap_err();
    assert!(matches!(missing, RepositoryError::Missing { .. }));
    fs::write(world.dir.path().join("f"), "").unwrap();
    let file = Repository::open(&world.dir.path().join("f"), Disk::real()).unwrap_err();
    assert!(matches!(file, RepositoryError::Missing { .. }));
}

#[test]
fn a_chain_is_recorded_before_its_first_point_begins() {
    let world = World::new();
    let lock = world.lock();
    let error = world.guest().begin(&lock, &label(), noon()).unwrap_err();
    assert!(matches!(error, RepositoryError::NoChain { .. }), "{error:?}");
}

/// What a share or a desktop puts into every directory, and a name that is no UTF-8.
fn put_foreign(dir: &Path) {
    use std::os::unix::ffi::OsStrExt as _;
    fs::create_dir(dir.join("@eaDir")).unwrap();
    fs::write(dir.join("@eaDir/x"), "x").unwrap();
    fs::write(dir.join(".AppleDouble"), "x").unwrap();
    fs::write(dir.join(std::ffi::OsStr::from_bytes(b"caf\xe9")), "x").unwrap();
}

/// data-path A3, reports 37 and 42.
#[test]
fn foreign_files_in_a_points_directory_are_left_alone_and_stop_nothing() {
    let world = World::new();
    world.point(1, None);
    let second = world.point(2, Some(1));
    put_foreign(&second.dir);
    let stays = world.guest().delete_point(&world.lock(), &second).unwrap().unwrap();
    assert!(stays.to_string().contains("@eaDir"), "{stays}");
    assert_eq!(fs::read_dir(&second.dir).unwrap().count(), 3, "only what is foreign");
    assert_eq!(world.guest().load().unwrap().debris, [], "which is no debris");
    let draft = world.guest().begin(&world.lock(), &label(), noon()).unwrap();
    draft.save_config("cores: 1\n").unwrap();
    put_foreign(draft.path());
    let debris = world.guest().load().unwrap().debris;
    let stays = world.guest().sweep(&world.lock(), &debris[0]).unwrap();
    assert!(stays.is_some() && !draft.path().join("guest.conf").exists());
    assert_eq!(world.guest().load().unwrap().debris, []);
    world.point(3, Some(1));
    // A directory that bears one of our names is none of our files.
    let draft = world.guest().begin(&world.lock(), &label(), noon()).unwrap();
    fs::create_dir(draft.path().join("guest.conf")).unwrap();
    let debris = world.guest().load().unwrap().debris;
    assert!(world.guest().sweep(&world.lock(), &debris[0]).unwrap().is_some());
    world.point(4, Some(3));
}
