//! A repository as a stranger might hand it over: whatever stands in the place of a file or of a
//! directory, nothing is followed, nothing waited for, nothing changed elsewhere.

use crate::repository::fixture::*;
use crate::repository::image::ImageReader;
use crate::repository::*;
use nix::sys::stat::Mode;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

/// What a stranger may put where a file of ours is expected.
const IN_PLACE_OF_A_FILE: [&str; 6] =
    ["a FIFO", "a socket", "a link to a FIFO", "a link out", "a loop", "a directory"];

fn put(what: &str, path: &Path, outside: &Path) {
    let fifo = outside.join("fifo");
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    match what {
        "a FIFO" => nix::unistd::mkfifo(path, mode).unwrap(),
        "a socket" => drop(UnixListener::bind(path).unwrap()),
        "a link to a FIFO" => {
            nix::unistd::mkfifo(&fifo, mode).unwrap();
            symlink(&fifo, path).unwrap();
        }
        "a link out" => symlink(outside.join("file"), path).unwrap(),
        "a loop" => symlink(path, path).unwrap(),
        _ => fs::create_dir(path).unwrap(),
    }
}

/// Whatever hangs for so long, waits for somebody who will never come.
fn ends(case: &str, act: impl FnOnce() + Send + 'static) {
    let (done, wait) = mpsc::channel();
    let worker = std::thread::spawn(move || {
        act();
        done.send(()).unwrap();
    });
    if wait.recv_timeout(Duration::from_secs(300)) == Err(mpsc::RecvTimeoutError::Timeout) {
        panic!("{case}: it hangs");
    }
    worker.join().unwrap();
}

fn verified(guest: &GuestDir) -> VerifyReport {
    let select = |_: &StoredPoint| true;
    let progress = |_| Ok(());
    let request = VerifyRequest { select: &select, subset: None, threads: 1, progress: &progress };
    guest.verify(&request).unwrap()
}

#[test]
fn whatever_stands_in_the_place_of_a_file_nobody_waits_and_nothing_outside_is_read() {
    for what in IN_PLACE_OF_A_FILE {
        for name in [
            "guest.json",
            "daily/20260101T120100Z/manifest.json",
            "daily/20260101T120100Z/attributes.json",
            "daily/20260101T120100Z/guest.conf",
            "daily/20260101T120100Z/scsi0.base.rbd.zst",
            "daily/20260101T120100Z/scsi0.base.rbd.zst.idx",
            "RESTORE.txt",
            "index.json",
        ] {
            let case = format!("{what} as {name}");
            let (world, outside) = (World::new(), tempfile::tempdir().unwrap());
            let point = world.point(1, None);
            let guest = world.guest();
            let path = guest.path().join(name);
            fs::write(outside.path().join("file"), "outside").unwrap();
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let _ = fs::remove_file(&path);
            put(what, &path, outside.path());
            ends(&case.clone(), move || {
                let history = guest.load().unwrap();
                let damage = verified(&guest).damage;
                let named = history.unreadable.iter().any(|unreadable| unreadable.path == path)
                    || damage.iter().any(|damage| damage.file == path);
                let is_told =
                    !["RESTORE.txt", "index.json"].iter().any(|silent| path.ends_with(silent));
                assert_eq!(named, is_told, "{case}");
                assert!(ImageReader::open(&point.dir.join("scsi0.base.rbd.zst")).is_err());
                drop(world);
            });
            let file = fs::read(outside.path().join("file")).unwrap();
            assert_eq!(file, b"outside");
        }
    }
}

#[test]
fn a_guests_directory_that_is_a_link_is_named_and_what_it_leads_to_is_left_alone() {
    let (own, stranger) = (World::new(), World::new());
    own.point(1, None);
    let link = stranger.guest().path().to_owned();
    fs::create_dir_all(link.parent().unwrap()).unwrap();
    symlink(own.guest().path(), &link).unwrap();
    let repository = Repository::open(stranger.dir.path(), Disk::real()).unwrap();
    let found = repository.guests().unwrap();
    let [guest] = &found[..] else { panic!("{found:?}") };
    let history = guest.load().unwrap();
    assert_eq!(history.points, []);
    let [unreadable] = &history.unreadable[..] else { panic!("{history:?}") };
    assert_eq!(unreadable.path, link);
    assert!(unreadable.why.contains("symbolic link"), "{unreadable}");
    assert!(history.forbids_removal().is_some());
    let options = LockOptions { wait: None, what: "prune".into() };
    for mode in [LockMode::Exclusive, LockMode::Shared] {
        let error = guest.lock(mode, &options).unwrap_err();
        let text = format!("{error}: {:?}", std::error::Error::source(&error));
        assert!(text.contains("symbolic link"), "{text}");
    }
    assert_eq!(fs::read_dir(own.guest().path().join("locks")).unwrap().count(), 0);
    assert_eq!(own.guest().load().unwrap().points.len(), 1);
}

/// The owner of the disk acts while we do: what was a directory when we looked is a link now.
#[test]
fn a_directory_that_becomes_a_link_while_we_run_leads_no_removal_elsewhere() {
    let (world, outside) = (World::new(), tempfile::tempdir().unwrap());
    let (guest, lock) = (world.guest(), world.lock());
    let draft = guest.begin(&lock, &label(), noon());
    assert!(draft.is_err(), "no chain yet");
    guest.save_record(&lock, &record()).unwrap();
    let draft = guest.begin(&lock, &label(), noon()).unwrap();
    let debris = guest.load().unwrap().debris.remove(0);
    let stamp = debris.path.file_name().unwrap().to_owned();
    fs::create_dir(outside.path().join(&stamp)).unwrap();
    for name in ["scsi0.base.rbd.zst", "manifest.json.tmp", "guest.conf"] {
        fs::write(outside.path().join(&stamp).join(name), "precious").unwrap();
    }
    fs::rename(guest.path().join("daily"), guest.path().join("moved")).unwrap();
    symlink(outside.path(), guest.path().join("daily")).unwrap();
    assert!(guest.sweep(&lock, &debris).is_err());
    assert!(draft.save_config("cores: 1\n").is_err());
    let disk = "scsi0".parse().unwrap();
    assert!(draft.image_files(&disk, ImageKind::Base, image::Compression::None).is_err());
    assert!(draft.commit(&lock, manifest(vec![])).is_err());
    let names = fs::read_dir(outside.path().join(&stamp)).unwrap().count();
    assert_eq!(names, 3);
}

/// Names that lead to the same file are no way out either: what goes is a name.
#[test]
fn a_hard_link_to_a_file_of_somebody_else_loses_nothing_but_its_name() {
    let (world, outside) = (World::new(), tempfile::tempdir().unwrap());
    let point = world.point(1, None);
    let victim = outside.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    for name in ["attributes.json.tmp", "manifest.json.tmp", "scsi0.base.00000001.rbd.zst"] {
        fs::hard_link(&victim, point.dir.join(name)).unwrap();
    }
    fs::hard_link(&victim, world.guest().path().join("RESTORE.txt.tmp")).unwrap();
    let attributes = Attributes { notes: "n".into(), ..Attributes::default() };
    world.guest().set_attributes(&world.lock(), &point, &attributes).unwrap();
    world.guest().refresh_derived(&world.lock()).unwrap();
    world.guest().delete_point(&world.lock(), &point).unwrap();
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
}

#[test]
fn a_begun_repository_is_a_directory_and_no_link_to_one() {
    let (own, stranger) = (World::new(), tempfile::tempdir().unwrap());
    own.point(1, None);
    symlink(own.dir.path().join("pve-ferry"), stranger.path().join("pve-ferry")).unwrap();
    let repository = Repository::open(stranger.path(), Disk::real()).unwrap();
    assert!(repository.guests().is_err());
    // The path that a person gives may be a link, as ever.
    let given = stranger.path().join("given");
    symlink(own.dir.path(), &given).unwrap();
    assert_eq!(Repository::open(&given, Disk::real()).unwrap().guests().unwrap().len(), 1);
}
