//! What is missing or damaged stops every removal until it is put back: each file of a repository is
//! taken away, cut or swapped, alone and together with a manifest, and then everything runs.

use crate::example::{self, Contents};
use pve_ferry::cancel::Cancel;
use pve_ferry::clock::Clock;
use pve_ferry::context::{Context, Limits};
use pve_ferry::node::freezes::Freezes;
use pve_ferry::node::unfinished::UnfinishedRestores;
use pve_ferry::operation::{Operation, PruneRequest, RepairRequest};
use pve_ferry::progress::Silent;
use pve_ferry::report::{GuestStatus, Report};
use pve_ferry::repository::image::*;
use pve_ferry::repository::*;
use pve_ferry::retention::{Rules, Span};
use pve_ferry::run::{Mode, run};
use pve_ferry::stream::{Header, StreamWriter};
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The example with a protected point and a hidden one.
fn built() -> (tempfile::TempDir, Contents) {
    let dir = tempfile::tempdir().unwrap();
    let contents = example::build(dir.path());
    let guest = example::guest(dir.path());
    let lock = example::exclusive(&guest);
    let points = guest.load().unwrap().points;
    let marks = Attributes { protected: true, notes: "kept".into(), ..Attributes::default() };
    guest.set_attributes(&lock, &points[0], &marks).unwrap();
    guest.hide_point(&lock, &points[1]).unwrap();
    (dir, contents)
}

/// A copy of a repository, to be harmed.
fn copied(from: &Path) -> (tempfile::TempDir, GuestDir) {
    let dir = tempfile::tempdir().unwrap();
    example::copy(from, dir.path());
    let guest = example::guest(dir.path());
    (dir, guest)
}

/// All files below a guest's directory, relative to it.
fn files(guest: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![guest.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => open.push(path),
                false => found.push(path.strip_prefix(guest).unwrap().to_owned()),
            }
        }
    }
    found.retain(|path| !path.starts_with("locks"));
    found.sort();
    found
}

fn is_image(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_str().unwrap();
    name.contains(".rbd") && !name.ends_with(".idx")
}

fn images(guest: &Path) -> BTreeSet<PathBuf> {
    files(guest).into_iter().filter(|path| is_image(path)).collect()
}

/// What a backup does: sweeps, and makes a point.
fn backs_up(guest: &GuestDir, case: &str) {
    let lock = example::exclusive(guest);
    for debris in guest.load().unwrap().debris {
        guest.sweep(&lock, &debris).unwrap();
    }
    let _ = guest.sweep_leftovers(&lock);
    let draft = guest.begin(&lock, &example::label(), example::day(8)).unwrap();
    draft.save_config("cores: 9\n").unwrap();
    let disk: pve_ferry::model::DiskKey = "scsi0".parse().unwrap();
    let (data, index) = draft.image_files(&disk, ImageKind::Base, Compression::Zstd(1)).unwrap();
    let header = Header { from: None, to: Some("s9".into()), size: 4096 };
    let mut stream = StreamWriter::new(Vec::new(), &header).unwrap();
    stream.write(0, &[7; 4096]).unwrap();
    let stream = stream.finish().unwrap();
    let options =
        ImageOptions { compression: Compression::Zstd(1), threads: 1, zeros: ZeroRuns::Aligned };
    let sink = ImageSink { data, index };
    let made = write_image(&mut &stream[..], &header, sink, options, &|_| {}).unwrap();
    let image = ImageEntry {
        id: pve_ferry::model::ImageId(0x9999),
        size: made.size,
        to: made.to.unwrap(),
        stream_bytes: made.stream_bytes,
        stored_bytes: made.stored_bytes,
        data_bytes: made.data_bytes,
        digest: made.digest,
        ..example::base_entry("scsi0")
    };
    let manifest = example::manifest(8, vec![image]);
    draft.commit(&lock, manifest).unwrap_or_else(|error| panic!("{case}: {error:?}"));
}

fn prunes(path: &Path) -> Report {
    runs(PruneRequest {
        selection: None,
        label: None,
        repository: Repository::open(path, Disk::real()).unwrap(),
        rules: Rules { retain: Some(Span::Points(1)), ..Rules::default() },
    })
}

/// Runs an operation on a machine without a cluster.
fn runs(operation: impl Operation) -> Report {
    let state = tempfile::tempdir().unwrap();
    let ctx = Context {
        remotes: BTreeMap::new(),
        api: None,
        home: None,
        clock: Clock::System,
        progress: Arc::new(Silent),
        cancel: Cancel::default(),
        limits: Limits::of_a_repository(Some(1), 0),
        hooks: Arc::default(),
        unfinished: UnfinishedRestores::new(state.path()),
        freezes: Freezes::new(state.path()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run(Arc::new(ctx), operation, Mode::Execute)).unwrap().report
}

fn repairs(path: &Path) -> Report {
    runs(RepairRequest {
        selection: None,
        label: None,
        repository: Repository::open(path, Disk::real()).unwrap(),
    })
}

fn damage(guest: &GuestDir) -> Vec<DamageFound> {
    let select = |_: &StoredPoint| true;
    let request =
        VerifyRequest { select: &select, subset: None, threads: 1, progress: &|_| Ok(()) };
    guest.verify(&request).unwrap().damage
}

/// That nothing is damaged, and that every point of the example holds what it held.
fn is_as_before(guest: &GuestDir, contents: &Contents, case: &str) {
    assert_eq!(damage(guest), [], "{case}");
    let history = guest.load().unwrap();
    assert_eq!(history.forbids_removal(), None, "{case}");
    for (n, disks) in contents.iter().enumerate() {
        let is_it = |point: &&StoredPoint| point.dir.ends_with(example::point_dir(n));
        let point = history.points.iter().find(is_it);
        let point = point.unwrap_or_else(|| panic!("{case}: point {n} is gone"));
        assert_eq!((point.is_protected(), point.manifest.is_hidden()), (n == 0, n == 1), "{case}");
        for (disk, expected) in disks {
            let chain = chain_of(&history, point, &disk.parse().unwrap()).unwrap();
            let chain = ChainReader::open(&chain).unwrap();
            let mut bytes = vec![0; chain.size() as usize];
            chain.read_at(0, &mut bytes).unwrap();
            assert!(bytes == *expected, "{case}: {disk} of point {n}");
        }
    }
}

fn cut(path: &Path) {
    let length = fs::metadata(path).unwrap().len();
    fs::File::options().write(true).open(path).unwrap().set_len(length / 2).unwrap();
}

fn swap(one: &Path, two: &Path) {
    let away = one.with_extension("away");
    fs::rename(one, &away).unwrap();
    fs::rename(two, one).unwrap();
    fs::rename(&away, two).unwrap();
}

/// Whether it is a text of the hidden point, which nobody restores any more.
fn is_of_nobody(file: &Path) -> bool {
    file.starts_with(example::point_dir(1))
        && (file.ends_with("guest.conf") || file.ends_with("guest.fw"))
}

/// Whether a file of the example can be made again, or is no part of any point.
fn is_repairable(file: &Path) -> bool {
    let name = file.file_name().unwrap().to_str().unwrap();
    !is_image(file) && !["guest.conf", "guest.fw"].contains(&name)
}

/// Whether its loss stops removals: what others may need is not known then.
fn stops_removal(file: &Path) -> bool {
    let name = file.file_name().unwrap().to_str().unwrap();
    let is_own = !file.starts_with("manifests");
    is_own && (is_image(file) || ["manifest.json", "attributes.json", "guest.json"].contains(&name))
}

#[test]
fn whatever_single_file_is_missing_no_image_goes_and_repair_brings_all_back() {
    let (built, contents) = built();
    let all = files(example::guest(built.path()).path());
    assert!(all.len() > 35, "{all:?}");
    for file in &all {
        let case = format!("without {}", file.display());
        let (dir, guest) = copied(built.path());
        fs::remove_file(guest.path().join(file)).unwrap();
        let before = images(guest.path());
        backs_up(&guest, &case);
        let pruned = prunes(dir.path());
        if stops_removal(file) && !file.ends_with("guest.json") {
            assert_eq!(pruned.guests[0].status, GuestStatus::Failed, "{case}: {pruned:#?}");
            let after = images(guest.path());
            assert!(before.is_subset(&after), "{case}: {before:?} {after:?}");
        }
        let (dir, guest) = copied(built.path());
        fs::remove_file(guest.path().join(file)).unwrap();
        let repaired = repairs(dir.path());
        match is_repairable(file) {
            true => {
                assert_eq!(repaired.exit_code(), 0, "{case}: {repaired:#?}");
                is_as_before(&guest, &contents, &case);
            }
            false if is_image(file) => {
                assert_eq!(repaired.exit_code(), 12, "{case}: {repaired:#?}")
            }
            false if is_of_nobody(file) => {}
            false => assert_ne!(damage(&guest), [], "{case}"),
        }
    }
}

#[test]
fn whatever_is_missing_with_a_manifest_no_image_goes() {
    let (built, contents) = built();
    let all = files(example::guest(built.path()).path());
    for n in [1, 3] {
        let manifest = PathBuf::from(example::point_dir(n)).join("manifest.json");
        let copy = PathBuf::from(format!("manifests/000000000000100{n}.json"));
        assert!(all.contains(&copy), "{all:?}");
        for file in all.iter().filter(|file| **file != manifest) {
            let case = format!("without {} and {}", manifest.display(), file.display());
            let (dir, guest) = copied(built.path());
            fs::remove_file(guest.path().join(&manifest)).unwrap();
            fs::remove_file(guest.path().join(file)).unwrap();
            let before = images(guest.path());
            // The newest point without any trace of its manifest is what an interrupted run leaves.
            let is_traceless = n == 3 && *file == copy;
            backs_up(&guest, &case);
            let pruned = prunes(dir.path());
            if !is_traceless {
                assert_eq!(pruned.guests[0].status, GuestStatus::Failed, "{case}: {pruned:#?}");
                assert!(before.is_subset(&images(guest.path())), "{case}");
            }
            let (dir, guest) = copied(built.path());
            fs::remove_file(guest.path().join(&manifest)).unwrap();
            fs::remove_file(guest.path().join(file)).unwrap();
            let repaired = repairs(dir.path());
            if is_repairable(file) && *file != copy {
                assert_eq!(repaired.exit_code(), 0, "{case}: {repaired:#?}");
                is_as_before(&guest, &contents, &case);
            }
        }
    }
}

#[test]
fn what_is_cut_or_swapped_is_put_back_or_named() {
    let (built, contents) = built();
    let all = files(example::guest(built.path()).path());
    for file in all.iter().filter(|file| !file.ends_with("RESTORE.txt") && !is_of_nobody(file)) {
        let case = format!("{} is cut", file.display());
        let (dir, guest) = copied(built.path());
        cut(&guest.path().join(file));
        let is_attribute_copy = file.to_string_lossy().contains(".attributes.");
        let is_record_copy = *file == *Path::new("manifests/guest.json");
        if !is_attribute_copy && !is_record_copy {
            assert_ne!(damage(&guest), [], "{case}");
        }
        let repaired = repairs(dir.path());
        if is_repairable(file) {
            assert_eq!(repaired.exit_code(), 0, "{case}: {repaired:#?}");
            is_as_before(&guest, &contents, &case);
        } else {
            assert_ne!(damage(&guest), [], "{case}");
        }
    }
    let same_name = |a: &Path, b: &Path| a.file_name() == b.file_name() && a != b;
    for (n, one) in all.iter().enumerate() {
        for two in all[n..].iter().filter(|two| same_name(one, two)) {
            let case = format!("{} and {} are swapped", one.display(), two.display());
            let (dir, guest) = copied(built.path());
            swap(&guest.path().join(one), &guest.path().join(two));
            let repaired = repairs(dir.path());
            if is_repairable(one) {
                assert_eq!(repaired.exit_code(), 0, "{case}: {repaired:#?}");
                is_as_before(&guest, &contents, &case);
            }
        }
    }
}

/// data-path A1: one lost manifest must not cost the points that need its images.
#[test]
fn a_lost_manifest_makes_a_damaged_point_and_no_debris() {
    let (built, contents) = built();
    let guest = example::guest(built.path());
    let dir = guest.path().join(example::point_dir(2));
    fs::remove_file(dir.join("manifest.json")).unwrap();
    let history = guest.load().unwrap();
    assert_eq!((history.debris.len(), history.points.len()), (0, 3));
    assert_eq!(history.unreadable[0].path, dir.join("manifest.json"));
    let lost = damage(&guest);
    assert!(lost.iter().any(|damage| damage.file == dir.join("manifest.json")), "{lost:#?}");
    let lock = example::exclusive(&guest);
    let newest = history.points.last().unwrap();
    assert!(guest.delete_point(&lock, newest).is_err());
    assert!(guest.hide_point(&lock, newest).is_err());
    assert!(guest.sweep_leftovers(&lock).is_err());
    let debris = Debris { path: dir.clone(), holds_images: true };
    assert!(guest.sweep(&lock, &debris).is_err());
    drop(lock);
    let repaired = repairs(built.path());
    assert_eq!(repaired.exit_code(), 0, "{repaired:#?}");
    assert!(repaired.guests[0].changes[0].starts_with("put the manifest of"), "{repaired:#?}");
    is_as_before(&guest, &contents, "repaired");
    assert_eq!(repairs(built.path()).guests[0].changes, [""; 0], "once is enough");
}

/// A repository of an early version has no sealed copies: what others need is kept all the same, and
/// the next commit makes the copies of what is there.
#[test]
fn without_sealed_copies_a_point_that_others_need_is_kept_and_told() {
    let (built, _) = built();
    let guest = example::guest(built.path());
    fs::remove_dir_all(guest.path().join("manifests")).unwrap();
    let (kept, other) = copied(built.path());
    let dir = guest.path().join(example::point_dir(1));
    fs::remove_file(dir.join("manifest.json")).unwrap();
    let history = guest.load().unwrap();
    assert_eq!((history.debris.len(), history.unreadable.len()), (0, 1));
    let before = images(guest.path());
    backs_up(&guest, "no copies");
    prunes(built.path());
    assert!(before.is_subset(&images(guest.path())));
    let repaired = repairs(built.path());
    assert_eq!(repaired.exit_code(), 12, "{repaired:#?}");
    let error = repaired.guests[0].error.clone().unwrap();
    assert!(error.contains("there is no whole sealed copy of it"), "{error}");

    backs_up(&other, "copies are made");
    let copies = fs::read_dir(other.path().join("manifests")).unwrap().count();
    assert!(copies >= 5, "{copies}");
    drop(kept);
}

/// The copy is written before the rename that makes the point exist, and never makes it exist itself.
#[test]
fn a_commit_that_was_cut_off_behind_its_copy_is_debris() {
    let (built, contents) = built();
    let guest = example::guest(built.path());
    let dir = guest.path().join(example::point_dir(3));
    fs::rename(dir.join("manifest.json"), dir.join("manifest.json.tmp")).unwrap();
    let history = guest.load().unwrap();
    assert_eq!((history.debris.len(), history.unreadable.len(), history.gone.len()), (1, 0, 0));
    let lock = example::exclusive(&guest);
    guest.sweep(&lock, &history.debris[0]).unwrap();
    let history = guest.load().unwrap();
    assert_eq!((history.points.len(), history.gone.len(), dir.exists()), (3, 0, false));
    drop(lock);
    is_as_before(&guest, &contents[..3].to_vec(), "swept");
}

/// A rename that is not atomic (FAT, some servers) loses the old manifest and leaves the new draft.
#[test]
fn a_rewrite_that_was_cut_off_between_unlink_and_rename_is_put_back() {
    let (built, contents) = built();
    let guest = example::guest(built.path());
    let dir = guest.path().join(example::point_dir(3));
    let history = guest.load().unwrap();
    let hidden = Manifest { state: State::Hidden, ..history.points[3].manifest.clone() };
    let lock = example::exclusive(&guest);
    let committed = fs::read(dir.join("manifest.json")).unwrap();
    guest.hide_point(&lock, &history.points[3]).unwrap();
    let text = fs::read(dir.join("manifest.json")).unwrap();
    fs::write(guest.path().join(format!("manifests/{}.json", hidden.point)), committed).unwrap();
    fs::remove_file(dir.join("manifest.json")).unwrap();
    fs::write(dir.join("manifest.json.tmp"), text).unwrap();
    drop(lock);
    assert_eq!(guest.load().unwrap().debris, []);
    assert_eq!(repairs(built.path()).exit_code(), 0);
    assert_eq!(damage(&guest), []);
    assert!(guest.load().unwrap().points[3].manifest.is_hidden());
    drop(contents);
}

/// Who removes a whole directory by hand has removed a point, and the rest goes on.
#[test]
fn a_point_that_is_gone_with_its_directory_is_told_until_repair_forgets_it() {
    let (built, contents) = built();
    let guest = example::guest(built.path());
    fs::remove_dir_all(guest.path().join(example::point_dir(3))).unwrap();
    let history = guest.load().unwrap();
    assert_eq!((history.gone.len(), history.forbids_removal()), (1, None));
    assert_eq!(history.next_seq(), 5, "its order is not given again");
    assert_eq!(damage(&guest).len(), 1);
    assert_eq!(repairs(built.path()).exit_code(), 0);
    is_as_before(&guest, &contents[..3].to_vec(), "forgotten");
    fs::remove_dir_all(guest.path().join(example::point_dir(0))).unwrap();
    let repaired = repairs(built.path());
    assert_eq!(repaired.exit_code(), 12, "{repaired:#?}");
    assert_eq!(guest.load().unwrap().gone.len(), 1, "what is needed is not forgotten");
}

/// data-path A5: a flipped bit, or a removed file, takes no protection away.
#[test]
fn no_flipped_bit_and_no_removal_of_attributes_takes_a_protection_away() {
    let (built, contents) = built();
    let guest = example::guest(built.path());
    let path = guest.path().join(example::point_dir(0)).join("attributes.json");
    let good = fs::read(&path).unwrap();
    for position in 0..good.len() {
        for bit in 0..8 {
            let mut bytes = good.clone();
            bytes[position] ^= 1 << bit;
            fs::write(&path, bytes).unwrap();
            let history = guest.load().unwrap();
            assert!(history.points[0].is_protected(), "bit {bit} of byte {position}");
            assert!(history.forbids_removal().is_some(), "bit {bit} of byte {position}");
        }
    }
    fs::remove_file(&path).unwrap();
    let history = guest.load().unwrap();
    assert!(history.points[0].is_protected() && history.forbids_removal().is_some());
    assert_eq!(damage(&guest).len(), 1, "verify names it");
    assert_eq!(repairs(built.path()).exit_code(), 0);
    assert_eq!(fs::read(&path).unwrap(), good);
    is_as_before(&guest, &contents, "attributes are back");
}

#[test]
fn what_an_early_version_wrote_unsealed_is_read_and_sealed_with_the_next_write() {
    let (built, _) = built();
    let guest = example::guest(built.path());
    fs::remove_dir_all(guest.path().join("manifests")).unwrap();
    let history = guest.load().unwrap();
    let (point, record) = (&history.points[0], history.record.clone().unwrap());
    let attributes = point.dir.join("attributes.json");
    fs::write(&attributes, serde_json::to_string_pretty(&point.attributes).unwrap()).unwrap();
    fs::write(guest.path().join("guest.json"), serde_json::to_string_pretty(&record).unwrap())
        .unwrap();
    assert_eq!(guest.load().unwrap(), history);
    let lock = example::exclusive(&guest);
    guest.set_attributes(&lock, point, &point.attributes).unwrap();
    guest.save_record(&lock, &record).unwrap();
    for path in [attributes, guest.path().join("guest.json")] {
        assert!(fs::read_to_string(path).unwrap().contains("\"seal\": \"blake3:"));
    }
    assert_eq!(guest.load().unwrap(), history);
}

/// data-path E3: one odd file is damage of that file; the rest is looked at all the same.
#[test]
fn a_directory_or_a_loop_in_place_of_a_file_is_damage_of_that_file() {
    let (built, _) = built();
    let all = files(example::guest(built.path()).path());
    let is_meant = |file: &&PathBuf| {
        !file.starts_with("manifests") && !file.ends_with("RESTORE.txt") && !is_of_nobody(file)
    };
    for file in all.iter().filter(is_meant) {
        for is_loop in [false, true] {
            let case = format!("{} {is_loop}", file.display());
            let (_dir, guest) = copied(built.path());
            let (path, flipped) =
                (guest.path().join(file), guest.path().join(example::point_dir(2)));
            fs::remove_file(&path).unwrap();
            match is_loop {
                true => std::os::unix::fs::symlink(&path, &path).unwrap(),
                false => fs::create_dir(&path).unwrap(),
            }
            let other = flipped.join("scsi0.increment.rbd.zst");
            if other != path && !file.starts_with(example::point_dir(2)) {
                let mut bytes = fs::read(&other).unwrap();
                bytes[60] ^= 0x10;
                fs::write(&other, bytes).unwrap();
                let found = damage(&guest);
                assert!(found.iter().any(|damage| damage.file == other), "{case}: {found:#?}");
            }
            let found = damage(&guest);
            assert!(found.iter().any(|damage| damage.file == path), "{case}: {found:#?}");
        }
    }
}

/// data-path E6.
#[test]
fn a_broken_chain_is_named_once_with_all_that_it_costs() {
    let (built, _) = built();
    let guest = example::guest(built.path());
    fs::remove_dir_all(guest.path().join(example::point_dir(0))).unwrap();
    let found = damage(&guest);
    let broken: Vec<_> = found.iter().filter(|d| d.what.contains("no readable")).collect();
    assert_eq!(broken.len(), 2, "one for each disk: {broken:#?}");
    assert!(broken.iter().all(|damage| damage.points_lost.len() == 2), "{broken:#?}");
}

/// The way out where nothing mends: what cannot be restored any more goes by a person's own hand, what
/// can be does not.
#[test]
fn a_person_may_delete_points_that_nothing_can_restore_and_only_those() {
    let (built, _) = built();
    let guest = example::guest(built.path());
    let (_whole, other) = copied(built.path());
    fs::remove_dir_all(guest.path().join("manifests")).unwrap();
    fs::remove_file(guest.path().join(example::point_dir(1)).join("manifest.json")).unwrap();
    let lock = example::exclusive(&guest);
    let points = guest.load().unwrap().points;
    let [base, second, newest] = &points[..] else { panic!("{points:#?}") };
    assert!(guest.delete_point(&lock, base).is_err(), "it is whole");
    assert!(guest.delete_point(&lock, second).is_err(), "another one needs it");
    guest.delete_point(&lock, newest).unwrap();
    guest.delete_point(&lock, second).unwrap();
    let history = guest.load().unwrap();
    assert_eq!((history.forbids_removal(), history.debris.len()), (None, 1));
    drop(lock);
    assert_eq!(damage(&guest), []);

    // Point 3 comes back by repair, and needs what point 2 holds.
    for n in [1, 3] {
        fs::remove_file(other.path().join(example::point_dir(n)).join("manifest.json")).unwrap();
    }
    let lock = example::exclusive(&other);
    let second = other.load().unwrap().points.pop().unwrap();
    assert!(second.dir.ends_with(example::point_dir(2)));
    assert!(other.delete_point(&lock, &second).is_err());
}

/// Takes the newest point's manifest away; its directory.
fn without_a_manifest(guest: &GuestDir) -> PathBuf {
    let newest = guest.load().unwrap().points.pop().unwrap().dir;
    fs::remove_file(newest.join("manifest.json")).unwrap();
    newest
}

#[test]
fn a_manifest_is_put_back_only_beside_the_images_that_it_names() {
    let (dir, contents) = built();
    let (_copy, guest) = copied(dir.path());
    let newest = without_a_manifest(&guest);
    let image = images(guest.path()).into_iter().map(|image| guest.path().join(image));
    let image = image.into_iter().find(|image| image.starts_with(&newest)).unwrap();
    let whole = fs::read(&image).unwrap();
    fs::write(&image, vec![7; whole.len()]).unwrap();
    let lock = example::exclusive(&guest);
    let mending = Mending { threads: 1, progress: &|_| Ok(()) };
    let result = guest.put_manifest_back(&lock, &newest, &mending);
    assert!(matches!(result, Err(RepositoryError::Damaged { .. })), "{result:?}");
    assert!(!newest.join("manifest.json").exists());
    fs::write(&image, whole).unwrap();
    guest.put_manifest_back(&lock, &newest, &mending).unwrap();
    is_as_before(&guest, &contents, "put back");
}

#[test]
fn a_manifest_is_put_back_only_while_the_lock_is_held() {
    let (dir, _) = built();
    let (_copy, guest) = copied(dir.path());
    let newest = without_a_manifest(&guest);
    let lock = example::exclusive(&guest);
    let lose = |_: u64| {
        example::lose_locks(&guest);
        Ok(())
    };
    let mending = Mending { threads: 1, progress: &lose };
    let result = guest.put_manifest_back(&lock, &newest, &mending);
    assert!(matches!(result, Err(RepositoryError::LockLost { .. })), "{result:?}");
    assert!(!newest.join("manifest.json").exists());
}
