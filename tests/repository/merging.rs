//! Merging real images: every remaining point keeps its content, whatever merges and whatever fails.

use crate::example::{self, Change, Changes, Contents};
use proptest::prelude::*;
use pve_ferry::repository::image::*;
use pve_ferry::repository::*;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

fn options() -> MergeOptions<'static> {
    let zeros = ZeroRuns::Aligned;
    let image = ImageOptions { compression: Compression::Zstd(1), threads: 2, zeros };
    MergeOptions { image, progress: &|_| {} }
}

/// Merges the points `from` into point `into`, counted from 0.
fn merge(
    guest: &GuestDir,
    lock: &Lock,
    (from, into): (&[usize], usize),
) -> Result<Committed, RepositoryError> {
    let points = guest.load()?.points;
    let from: Vec<StoredPoint> = from.iter().map(|n| points[*n].clone()).collect();
    guest.merge_points(lock, &points[into], &from, &options())
}

fn content(history: &History, point: &StoredPoint, disk: &str) -> Vec<u8> {
    let chain = chain_of(history, point, &disk.parse().unwrap()).unwrap();
    let chain = ChainReader::open(&chain).unwrap();
    let mut bytes = vec![0; chain.size() as usize];
    chain.read_at(0, &mut bytes).unwrap();
    bytes
}

/// That every point that is still there holds what it held.
fn all_as_before(guest: &GuestDir, contents: &Contents, case: &str) {
    let history = guest.load().unwrap();
    assert_eq!(history.unreadable, [], "{case}");
    for point in &history.points {
        let n = (0..contents.len()).find(|n| point.dir.ends_with(example::point_dir(*n))).unwrap();
        for (disk, expected) in &contents[n] {
            assert!(content(&history, point, disk) == *expected, "{disk} of point {n}: {case}");
        }
    }
    let select = |_: &StoredPoint| true;
    let request =
        VerifyRequest { select: &select, subset: None, threads: 1, progress: &|_| Ok(()) };
    assert_eq!(guest.verify(&request).unwrap().damage, [], "{case}");
}

/// The files of a point, without its manifest and texts.
fn image_files(point: &StoredPoint) -> Vec<String> {
    let names = fs::read_dir(&point.dir).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.contains(".rbd")).collect();
    names.sort();
    names
}

fn named_files(point: &StoredPoint) -> Vec<String> {
    let images = point.manifest.images.iter();
    let mut names: Vec<String> =
        images.flat_map(|i| [i.file.to_string(), format!("{}.idx", i.file)]).collect();
    names.sort();
    names
}

#[test]
fn whatever_merges_every_remaining_point_keeps_its_content() {
    for (from, into) in
        [(vec![1], 2), (vec![2], 3), (vec![1, 2], 3), (vec![0], 1), (vec![0, 1, 2], 3)]
    {
        let dir = tempfile::tempdir().unwrap();
        let contents = example::build(dir.path());
        let guest = example::guest(dir.path());
        let lock = example::exclusive(&guest);
        let before = guest.load().unwrap().points;
        let case = format!("{from:?} into {into}");
        let merged = merge(&guest, &lock, (&from, into)).unwrap();
        assert!(merged.warnings.is_empty(), "{case}");
        all_as_before(&guest, &contents, &case);
        assert_eq!(image_files(&merged.point), named_files(&merged.point), "{case}");
        for image in &merged.point.manifest.images {
            let old = before[into].manifest.image(&image.disk).unwrap();
            let oldest = before[from[0]].manifest.image(&image.disk).unwrap();
            assert_eq!((image.id, &image.to, &image.source), (old.id, &old.to, &old.source));
            let began = (image.parent, &image.from, &image.base_source);
            assert_eq!(began, (oldest.parent, &oldest.from, &oldest.base_source), "{case}");
        }
        // Newest first: each is needed by the one after it only.
        for n in from.iter().rev() {
            guest.delete_point(&lock, &before[*n]).unwrap();
        }
        assert_eq!(guest.load().unwrap().points.len(), 4 - from.len());
        all_as_before(&guest, &contents, &case);
    }
}

#[test]
fn images_merge_again_and_again() {
    let dir = tempfile::tempdir().unwrap();
    let contents = example::build(dir.path());
    let guest = example::guest(dir.path());
    let lock = example::exclusive(&guest);
    for count in (2..=4).rev() {
        let points = guest.load().unwrap().points;
        assert_eq!(points.len(), count);
        merge(&guest, &lock, (&[count - 2], count - 1)).unwrap();
        guest.delete_point(&lock, &points[count - 2]).unwrap();
        all_as_before(&guest, &contents, &format!("{count} points"));
    }
    let points = guest.load().unwrap().points;
    assert!(points[0].manifest.images.iter().all(|image| image.kind() == ImageKind::Base));
}

#[test]
fn a_point_that_is_not_in_line_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let contents = example::build(dir.path());
    let guest = example::guest(dir.path());
    let lock = example::exclusive(&guest);
    let before = guest.load().unwrap().points;
    // Point 1 is not right before point 3, and point 3 is none before point 1.
    for (from, into) in [(vec![1], 3), (vec![3], 1), (vec![], 2), (vec![2], 2)] {
        let same = merge(&guest, &lock, (&from, into)).unwrap().point;
        assert_eq!(same, before[into], "{from:?} {into}");
    }
    assert_eq!(guest.load().unwrap().points, before);
    all_as_before(&guest, &contents, "nothing");
}

fn damage(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(file, &bytes).unwrap();
}

#[test]
fn a_damaged_image_is_not_merged_and_nothing_is_lost_by_the_try() {
    let dir = tempfile::tempdir().unwrap();
    example::build(dir.path());
    let guest = example::guest(dir.path());
    let lock = example::exclusive(&guest);
    let points = guest.load().unwrap().points;
    damage(&points[1].dir.join("efidisk0.increment.rbd.gz"));
    let error = merge(&guest, &lock, (&[1], 2)).unwrap_err();
    assert!(matches!(error, RepositoryError::NotMerged { .. }), "{error}");
    assert_eq!(guest.load().unwrap().points, points);
    assert_eq!(image_files(&points[2]), named_files(&points[2]));
}

#[test]
fn damage_that_a_newer_image_covers_does_not_get_into_the_merged_one() {
    let dir = tempfile::tempdir().unwrap();
    let contents = example::build(dir.path());
    let guest = example::guest(dir.path());
    let lock = example::exclusive(&guest);
    let points = guest.load().unwrap().points;
    // Point 2 is smaller than where point 1 wrote to scsi0.
    damage(&points[1].dir.join("scsi0.increment.rbd.zst"));
    merge(&guest, &lock, (&[1], 2)).unwrap();
    guest.delete_point(&lock, &points[1]).unwrap();
    all_as_before(&guest, &contents, "healed");
}

#[test]
fn leftovers_are_swept_and_foreign_files_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let contents = example::build(dir.path());
    let guest = example::guest(dir.path());
    let lock = example::exclusive(&guest);
    let points = guest.load().unwrap().points;
    let make = |name: &str| fs::write(points[1].dir.join(name), "x").unwrap();
    let ours = ["scsi0.increment.0000abcd.rbd.zst", "scsi0.increment.0000abcd.rbd.zst.idx"];
    let foreign = ["notes.txt", "scsi0.increment.rbd.zst.bak", "scsi0.increment.mine.rbd.zst"];
    ours.into_iter().chain(foreign).for_each(make);
    make("manifest.json.tmp");
    assert_eq!(guest.sweep_leftovers(&lock).unwrap().len(), 3);
    for (names, there) in [(&ours[..], false), (&["manifest.json.tmp"], false), (&foreign, true)] {
        for name in names {
            assert_eq!(points[1].dir.join(name).exists(), there, "{name}");
        }
    }
    assert_eq!(guest.sweep_leftovers(&lock).unwrap(), Vec::<std::path::PathBuf>::new());
    all_as_before(&guest, &contents, "swept");
}

/// Whatever fails, every point keeps its content, and the next merge does the work and cleans up.
#[test]
fn a_merge_that_fails_anywhere_leaves_the_old_or_the_new_chain() {
    let mut failures = 0;
    for fault in [Fault::NoSpace, Fault::Io, Fault::Vanish, Fault::ReadOnly, Fault::LostReply] {
        for n in 0.. {
            let dir = tempfile::tempdir().unwrap();
            let contents = example::build(dir.path());
            let real = example::guest(dir.path());
            let lock = example::exclusive(&real);
            let before = real.load().unwrap().points;
            let disk = Disk::failing_at(n, fault);
            let failing = Repository::open_target(dir.path(), disk.clone()).unwrap();
            let failing = failing.guest(&example::key());
            let result = merge(&failing, &lock, (&[1, 2], 3));
            let case = format!("{fault:?} at {n}: {result:?}");
            all_as_before(&real, &contents, &case);
            let after = real.load().unwrap().points;
            match &result {
                Ok(committed) => assert_eq!(after[3], committed.point, "{case}"),
                Err(RepositoryError::Unknown { .. }) => {}
                Err(_) => assert_eq!(after, before, "{case}"),
            }
            if disk.writes() <= n {
                assert!(result.unwrap().warnings.is_empty());
                break;
            }
            failures += 1;
            merge(&real, &lock, (&[1, 2], 3)).unwrap();
            all_as_before(&real, &contents, &case);
            let after = real.load().unwrap().points;
            assert_eq!(after[3].manifest.images[0].parent, before[1].manifest.images[0].parent);
            assert_eq!(image_files(&after[3]), named_files(&after[3]), "{case}");
            for n in [2, 1] {
                real.delete_point(&lock, &before[n]).unwrap();
            }
            all_as_before(&real, &contents, &case);
        }
    }
    assert!(failures > 5 * 20, "only {failures} writes failed: is the disk asked at all?");
}

/// What was written is read back from the medium before anything else may go.
#[test]
fn a_merge_counts_only_when_its_image_reads_back_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let contents = example::build(dir.path());
    let guest = example::guest(dir.path());
    let lock = example::exclusive(&guest);
    let before = guest.load().unwrap().points;
    let (into, old) = (&before[3], image_files(&before[3]));
    let is_new = |name: &String| !old.contains(name) && !name.ends_with(".idx");
    let spoil = |_: u64| {
        for name in image_files(into).iter().filter(|name| is_new(name)) {
            fs::remove_file(into.dir.join(name)).unwrap();
            fs::write(into.dir.join(name), "other bytes").unwrap();
        }
    };
    let spoiled = MergeOptions { progress: &spoil, ..options() };
    let result = guest.merge_points(&lock, into, &before[1..3], &spoiled);
    assert!(matches!(result, Err(RepositoryError::NotMerged { .. })), "{result:?}");
    assert_eq!(guest.load().unwrap().points, before);
    assert_eq!(image_files(into), old, "what was made is taken away");
    all_as_before(&guest, &contents, "spoiled");
    merge(&guest, &lock, (&[1, 2], 3)).unwrap();
    all_as_before(&guest, &contents, "merged");
}

/// The images that it was made of go then.
#[test]
fn what_a_merge_reads_back_comes_from_the_medium() {
    let dir = tempfile::tempdir().unwrap();
    let contents = example::build(dir.path());
    let real = example::guest(dir.path());
    let lock = example::exclusive(&real);
    let (disk, recording) = Disk::recorded();
    let guest = Repository::open_target(dir.path(), disk).unwrap().guest(&example::key());
    let merged = merge(&guest, &lock, (&[1, 2], 3)).unwrap().point;
    example::assert_read_from_the_medium(&recording.operations(), &named_files(&merged));
    all_as_before(&real, &contents, "merged");
}

/// Whatever write fails, and whichever manifest is there: it may be lost as any other one.
#[test]
fn a_merged_point_whose_manifest_is_lost_is_put_back_whole() {
    for fault in [Fault::NoSpace, Fault::LostReply] {
        for n in 0.. {
            let dir = tempfile::tempdir().unwrap();
            let contents = example::build(dir.path());
            let real = example::guest(dir.path());
            let lock = example::exclusive(&real);
            let disk = Disk::failing_at(n, fault);
            let failing = Repository::open_target(dir.path(), disk.clone()).unwrap();
            let result = merge(&failing.guest(&example::key()), &lock, (&[1, 2], 3));
            let case = format!("{fault:?} at {n}: {result:?}");
            let point = real.load().unwrap().points.remove(3).dir;
            fs::remove_file(point.join("manifest.json")).unwrap();
            let mending = Mending { threads: 1, progress: &|_| Ok(()) };
            let put_back = real.put_manifest_back(&lock, &point, &mending);
            assert!(put_back.is_ok(), "{case}: {put_back:?}");
            all_as_before(&real, &contents, &case);
            if disk.writes() <= n {
                assert!(result.unwrap().warnings.is_empty());
                break;
            }
        }
    }
}

/// Whoever has slept over the end of a lock replaces nothing that another run may have changed.
#[test]
fn a_merge_whose_lock_is_lost_on_the_way_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let contents = example::build(dir.path());
    let guest = example::guest(dir.path());
    let lock = example::exclusive(&guest);
    let before = guest.load().unwrap().points;
    let lose = |_: u64| example::lose_locks(&guest);
    let options = MergeOptions { progress: &lose, ..options() };
    let result = guest.merge_points(&lock, &before[3], &before[1..3], &options);
    assert!(matches!(result, Err(RepositoryError::LockLost { .. })), "{result:?}");
    assert_eq!(guest.load().unwrap().points, before);
    all_as_before(&guest, &contents, "the lock was lost");
}

/// A death, as opposed to an error: the files stay as they are at that moment.
#[test]
fn a_merge_that_is_killed_between_commit_and_cleaning_is_swept() {
    let dir = tempfile::tempdir().unwrap();
    let contents = example::build(dir.path());
    let guest = example::guest(dir.path());
    let lock = example::exclusive(&guest);
    let saved = tempfile::tempdir().unwrap();
    let point = guest.load().unwrap().points[3].dir.clone();
    example::copy(&point, saved.path());
    let merged = merge(&guest, &lock, (&[1, 2], 3)).unwrap().point;
    restore_unless_there(saved.path(), &point);
    all_as_before(&guest, &contents, "new manifest, both files");
    assert_eq!(guest.sweep_leftovers(&lock).unwrap().len(), 4);
    assert_eq!(image_files(&merged), named_files(&merged));
    all_as_before(&guest, &contents, "swept");
}

fn restore_unless_there(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if !target.exists() {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A disk's life: sizes that go up and down, writes and discards of any alignment.
fn life() -> impl Strategy<Value = Vec<Change>> {
    let length = prop_oneof![1_u64..2000, Just(4096), Just(64 << 10), Just(200 << 10)];
    let gap = prop_oneof![0_u64..2000, Just(0), Just(64 << 10)];
    let seed = prop_oneof![Just(None), (1_u8..50).prop_map(Some)];
    let runs = proptest::collection::vec((gap, length, seed), 0..6);
    let size = prop_oneof![1_u64..(700 << 10), Just(320 << 10), Just(512 << 10)];
    proptest::collection::vec((size, runs), 4).prop_map(|points| {
        let place = |(size, runs): (u64, Vec<(u64, u64, Option<u8>)>)| {
            let mut places = Vec::new();
            let mut offset = 0;
            for (gap, length, seed) in runs {
                offset += gap;
                if offset + length <= size {
                    places.push((offset, length, seed));
                }
                offset += length;
            }
            (size, places)
        };
        points.into_iter().map(place).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn merging_equals_the_model_through_every_life(life in life(), first in 0_usize..3) {
        let dir = tempfile::tempdir().unwrap();
        let changes: Changes = BTreeMap::from([("scsi0", life)]);
        let contents = example::make(dir.path(), &changes);
        let guest = example::guest(dir.path());
        let lock = example::exclusive(&guest);
        let points = guest.load().unwrap().points;
        let from: Vec<usize> = (first..3).collect();
        merge(&guest, &lock, (&from, 3)).unwrap();
        for n in from.iter().rev() {
            guest.delete_point(&lock, &points[*n]).unwrap();
        }
        all_as_before(&guest, &contents, &format!("from {first}"));
    }
}
