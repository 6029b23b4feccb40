//! Every file class damaged in every way: what is named, and exactly which points it costs.

use crate::example::*;
use pve_ferry::model::*;
use pve_ferry::repository::*;
use std::fs;
use std::path::{Path, PathBuf};

const SCSI: &str = "scsi0.increment.rbd.zst";
const EFI: &str = "efidisk0.increment.rbd";

fn check(guest: &GuestDir, subset: Option<Subset>) -> VerifyReport {
    let select = |_: &StoredPoint| true;
    let request = VerifyRequest { select: &select, subset, threads: 2, progress: &|_| Ok(()) };
    guest.verify(&request).unwrap()
}

/// The numbers of the points that a report says are lost.
fn lost(guest: &GuestDir, report: &VerifyReport) -> Vec<usize> {
    let is_lost = |n: &usize| report.points_lost().contains(&*guest.path().join(point_dir(*n)));
    (0..4).filter(is_lost).collect()
}

type Harm = fn(&Path);

fn flip(path: &Path, position: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[position] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

fn swap(one: &Path, two: &Path) {
    let away = one.with_extension("away");
    fs::rename(one, &away).unwrap();
    fs::rename(two, one).unwrap();
    fs::rename(&away, two).unwrap();
}

/// What is done below the guest's directory, the file that must be named, the points that it costs.
fn harms() -> Vec<(&'static str, Harm, String, Vec<usize>)> {
    let file = |n: usize, name: &str| format!("{}/{name}", point_dir(n));
    vec![
        (
            "a flipped bit in a base",
            |g| flip(&g.join(point_dir(0)).join("scsi0.base.rbd.zst"), 60),
            file(0, "scsi0.base.rbd.zst"),
            vec![0, 1, 2, 3],
        ),
        (
            "a flipped bit in an increment",
            |g| flip(&g.join(point_dir(2)).join(SCSI), 60),
            file(2, SCSI),
            vec![2, 3],
        ),
        (
            "a flipped bit in a bzip2 file",
            |g| flip(&g.join(point_dir(0)).join("efidisk0.base.rbd.bz2"), 100),
            file(0, "efidisk0.base.rbd.bz2"),
            vec![0, 1, 2, 3],
        ),
        (
            "a flipped bit in a gzip file",
            |g| flip(&g.join(point_dir(1)).join("efidisk0.increment.rbd.gz"), 30),
            file(1, "efidisk0.increment.rbd.gz"),
            vec![1, 2, 3],
        ),
        (
            "a flipped bit in a plain file",
            |g| flip(&g.join(point_dir(3)).join(EFI), 120),
            file(3, EFI),
            vec![3],
        ),
        (
            "a truncated increment",
            |g| {
                let path = g.join(point_dir(1)).join(SCSI);
                let length = fs::metadata(&path).unwrap().len();
                fs::File::options().write(true).open(path).unwrap().set_len(length / 2).unwrap();
            },
            file(1, SCSI),
            vec![1, 2, 3],
        ),
        (
            "a file with more behind it",
            |g| {
                let path = g.join(point_dir(3)).join(EFI);
                let mut bytes = fs::read(&path).unwrap();
                bytes.push(0);
                fs::write(path, bytes).unwrap();
            },
            file(3, EFI),
            vec![3],
        ),
        (
            "a deleted base",
            |g| fs::remove_file(g.join(point_dir(0)).join("efidisk0.base.rbd.bz2")).unwrap(),
            file(0, "efidisk0.base.rbd.bz2"),
            vec![0, 1, 2, 3],
        ),
        (
            "two increments swapped with their indexes",
            |g| {
                for name in [EFI.to_owned(), format!("{EFI}.idx")] {
                    swap(&g.join(point_dir(2)).join(&name), &g.join(point_dir(3)).join(&name));
                }
            },
            file(2, EFI),
            vec![2, 3],
        ),
        (
            "a deleted index",
            |g| fs::remove_file(g.join(point_dir(1)).join(format!("{SCSI}.idx"))).unwrap(),
            file(1, &format!("{SCSI}.idx")),
            vec![],
        ),
        (
            "a flipped bit in an index",
            |g| flip(&g.join(point_dir(1)).join(format!("{SCSI}.idx")), 40),
            file(1, &format!("{SCSI}.idx")),
            vec![],
        ),
        (
            "an index of another image",
            |g| {
                let index = g.join(point_dir(1)).join(format!("{SCSI}.idx"));
                fs::copy(g.join(point_dir(0)).join("scsi0.base.rbd.zst.idx"), index).unwrap();
            },
            file(1, &format!("{SCSI}.idx")),
            vec![],
        ),
        (
            "a flipped bit in a seek table",
            |g| {
                let path = g.join(point_dir(0)).join("scsi0.base.rbd.zst");
                let length = usize::try_from(fs::metadata(&path).unwrap().len()).unwrap();
                flip(&path, length - 6);
            },
            file(0, "scsi0.base.rbd.zst"),
            vec![],
        ),
        (
            "another configuration",
            |g| fs::write(g.join(point_dir(1)).join("guest.conf"), "cores: 9\n").unwrap(),
            file(1, "guest.conf"),
            vec![1],
        ),
        (
            "two configurations swapped",
            |g| {
                let conf = |n| g.join(point_dir(n)).join("guest.conf");
                swap(&conf(2), &conf(3));
            },
            file(3, "guest.conf"),
            vec![2, 3],
        ),
        (
            "deleted firewall rules",
            |g| fs::remove_file(g.join(point_dir(0)).join("guest.fw")).unwrap(),
            file(0, "guest.fw"),
            vec![0],
        ),
        (
            "a flipped bit in the newest manifest",
            |g| flip(&g.join(point_dir(3)).join("manifest.json"), 700),
            file(3, "manifest.json"),
            vec![3],
        ),
        (
            "a truncated manifest in the middle of a chain",
            |g| fs::write(g.join(point_dir(1)).join("manifest.json"), "{").unwrap(),
            file(1, "manifest.json"),
            vec![1, 2, 3],
        ),
        (
            "two manifests swapped",
            |g| {
                let manifest = |n| g.join(point_dir(n)).join("manifest.json");
                swap(&manifest(2), &manifest(3));
            },
            file(2, "manifest.json"),
            vec![2, 3],
        ),
        (
            "attributes that cannot be read",
            |g| fs::write(g.join(point_dir(2)).join("attributes.json"), "{").unwrap(),
            file(2, "attributes.json"),
            vec![],
        ),
        (
            "a guest record that cannot be read",
            |g| fs::write(g.join("guest.json"), "{").unwrap(),
            "guest.json".into(),
            vec![],
        ),
    ]
}

#[test]
fn each_damage_is_named_with_exactly_the_points_that_it_costs() {
    for (case, harm, file, points) in harms() {
        let dir = tempfile::tempdir().unwrap();
        build(dir.path());
        let guest = guest(dir.path());
        harm(guest.path());
        let report = check(&guest, None);
        let named: Vec<&PathBuf> = report.damage.iter().map(|damage| &damage.file).collect();
        assert!(named.contains(&&guest.path().join(&file)), "{case}: {:#?}", report.damage);
        assert_eq!(lost(&guest, &report), points, "{case}: {:#?}", report.damage);
    }
}

#[test]
fn what_is_whole_is_found_whole_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let guest = guest(dir.path());
    let report = check(&guest, None);
    assert_eq!(report.damage, []);
    assert_eq!((report.points.len(), report.images.len(), report.complete), (4, 8, true));
    let stored =
        |point: &StoredPoint| point.manifest.images.iter().map(|i| i.stored_bytes).sum::<u64>();
    assert_eq!(report.bytes, guest.load().unwrap().points.iter().map(stored).sum::<u64>());
}

#[test]
fn a_damaged_frame_and_a_truncation_name_the_lost_extents_only() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let guest = guest(dir.path());
    let base = guest.path().join(point_dir(0)).join("scsi0.base.rbd.zst");
    let good = fs::read(&base).unwrap();
    flip(&base, 60);
    let report = check(&guest, None);
    let [damage] = &report.damage[..] else { panic!("{report:#?}") };
    assert!(damage.what.starts_with("frame 0: "), "{damage:?}");
    assert!(!damage.extents.is_empty());
    assert!(damage.extents.iter().all(|extent| extent.end() <= 2 << 20), "{damage:?}");
    fs::write(&base, &good[..good.len() - 120]).unwrap();
    let report = check(&guest, None);
    let [damage] = &report.damage[..] else { panic!("{report:#?}") };
    assert!(damage.what.contains("bytes instead of"), "{damage:?}");
    assert!(damage.extents.iter().all(|extent| extent.offset >= 1 << 20), "{damage:?}");
    assert!(!damage.extents.is_empty());
}

#[test]
fn damage_in_a_hidden_points_image_costs_the_points_after_it() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let guest = guest(dir.path());
    let lock = exclusive(&guest);
    guest.hide_point(&lock, &guest.load().unwrap().points[1]).unwrap();
    flip(&guest.path().join(point_dir(1)).join(SCSI), 60);
    let report = check(&guest, None);
    assert_eq!(lost(&guest, &report), [2, 3]);
    assert_eq!(report.points.len(), 3);
}

#[test]
fn only_what_the_selected_points_need_is_read() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let guest = guest(dir.path());
    flip(&guest.path().join(point_dir(2)).join(SCSI), 60);
    let select = |point: &StoredPoint| point.manifest.seq <= 2;
    let request =
        VerifyRequest { select: &select, subset: None, threads: 1, progress: &|_| Ok(()) };
    let report = guest.verify(&request).unwrap();
    assert_eq!((report.damage.len(), report.points.len(), report.images.len()), (0, 2, 4));
}

#[test]
fn the_subsets_together_are_everything() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let guest = guest(dir.path());
    flip(&guest.path().join(point_dir(2)).join(SCSI), 60);
    let reports = [1, 2, 3].map(|n| check(&guest, Some(Subset { n, of: 3 })));
    assert_eq!(reports.iter().map(|report| report.images.len()).sum::<usize>(), 8);
    assert_eq!(reports.iter().filter(|report| !report.damage.is_empty()).count(), 1);
    assert!(reports.iter().all(|report| !report.complete));
}

#[test]
fn a_marked_damage_stops_increments_until_it_is_found_whole_again() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let guest = guest(dir.path());
    let lock = exclusive(&guest);
    let scsi0: DiskKey = "scsi0".parse().unwrap();
    let usable = || {
        let history = guest.load().unwrap();
        point_usable_as_base(&Disk::real(), &history, &history.points[3], &scsi0)
    };
    assert_eq!(usable(), None);
    let noted = Attributes { notes: "keep".into(), protected: true, ..Attributes::default() };
    guest.set_attributes(&lock, &guest.load().unwrap().points[3], &noted).unwrap();
    let increment = guest.path().join(point_dir(2)).join(SCSI);
    let good = fs::read(&increment).unwrap();
    flip(&increment, 60);
    assert_eq!(usable(), None, "the cheap check does not read content");
    guest.mark_verified(&lock, &check(&guest, None), day(9)).unwrap();
    let history = guest.load().unwrap();
    let failed: Vec<bool> = history.points.iter().map(|p| p.attributes.has_failed()).collect();
    assert_eq!(failed, [false, false, true, true]);
    assert_eq!(history.points[2].attributes.failed_images.len(), 1);
    assert_eq!(history.points[3].attributes.failed_images.len(), 0);
    assert!(usable().unwrap().contains("was found damaged"));
    assert_eq!(history.points[0].attributes.verified.as_ref().unwrap().at, day(9));
    fs::write(&increment, good).unwrap();
    guest.mark_verified(&lock, &check(&guest, None), day(10)).unwrap();
    assert_eq!(usable(), None);
    let newest = guest.load().unwrap().points.remove(3).attributes;
    assert_eq!((newest.notes.as_str(), newest.protected), ("keep", true));
    assert_eq!(newest.verified.unwrap().state, VerifiedState::Ok);
}

#[test]
fn one_look_at_an_image_serves_all_points_of_a_run() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let guest = guest(dir.path());
    let history = guest.load().unwrap();
    let (disk, scsi0) = (Disk::real(), "scsi0".parse::<DiskKey>().unwrap());
    let mut check = BaseCheck::new(&disk, &history);
    assert_eq!(check.unusable(&history.points[2], &scsi0), None);
    // What was looked at is not looked at again: that these files are gone is not noticed.
    for point in 0..3 {
        let image = history.points[point].manifest.image(&scsi0).unwrap();
        fs::remove_file(history.points[point].dir.join(&image.file)).unwrap();
    }
    assert_eq!(check.unusable(&history.points[3], &scsi0), None);
    assert!(BaseCheck::new(&disk, &history).unusable(&history.points[3], &scsi0).is_some());
}

#[test]
fn an_image_that_does_not_fit_its_manifest_is_no_base() {
    let harms: [Harm; 2] =
        [|path| fs::remove_file(path).unwrap(), |path| fs::write(path, "x").unwrap()];
    for (n, harm) in harms.into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        build(dir.path());
        let guest = guest(dir.path());
        harm(&guest.path().join(point_dir(1)).join(SCSI));
        let history = guest.load().unwrap();
        let usable = |point: usize, disk: &str| {
            let disk = disk.parse().unwrap();
            point_usable_as_base(&Disk::real(), &history, &history.points[point], &disk)
        };
        assert!(usable(3, "scsi0").is_some(), "harm {n}");
        assert_eq!(usable(0, "scsi0"), None, "harm {n}");
        assert_eq!(usable(3, "efidisk0"), None, "harm {n}");
    }
}

/// data-path E1: the index follows from the image, so that its loss costs no base.
#[test]
fn an_image_without_its_index_is_a_base_and_gets_it_again() {
    let harms: [Harm; 3] = [
        |path| fs::remove_file(path.with_extension("zst.idx")).unwrap(),
        |path| flip(&path.with_extension("zst.idx"), 40),
        |path| {
            let other = path.parent().unwrap().join("efidisk0.increment.rbd.gz.idx");
            fs::copy(other, path.with_extension("zst.idx")).unwrap();
        },
    ];
    for (n, harm) in harms.into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        build(dir.path());
        let guest = guest(dir.path());
        let image = guest.path().join(point_dir(1)).join(SCSI);
        let good = fs::read(image.with_extension("zst.idx")).unwrap();
        harm(&image);
        let history = guest.load().unwrap();
        let (newest, disk) = (&history.points[3], "scsi0".parse().unwrap());
        assert_eq!(point_usable_as_base(&Disk::real(), &history, newest, &disk), None, "harm {n}");
        assert_eq!(lost_indexes(&history, newest, &disk), std::slice::from_ref(&image), "harm {n}");
        let lock = exclusive(&guest);
        guest.rebuild_index(&lock, &image).unwrap();
        assert_eq!(fs::read(image.with_extension("zst.idx")).unwrap(), good, "harm {n}");
        flip(&image, 60);
        harm(&image);
        let error = guest.rebuild_index(&lock, &image).unwrap_err();
        assert!(matches!(error, RepositoryError::Damaged { .. }), "harm {n}: {error:?}");
    }
}

#[test]
fn a_wish_to_stop_ends_the_reading_between_frames_and_keeps_what_was_found() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let guest = guest(dir.path());
    let select = |_: &StoredPoint| true;
    let stop = |bytes| match bytes {
        0 => Ok(()),
        _ => Err(std::io::Error::from(std::io::ErrorKind::Other)),
    };
    let request = VerifyRequest { select: &select, subset: None, threads: 1, progress: &stop };
    let report = guest.verify(&request).unwrap();
    assert!(report.stopped && !report.complete, "{report:?}");
    assert!(report.images.is_empty(), "no image was read to its end: {report:?}");
}

/// A loop of links, or a directory: no system failed, and the rest of the guest is looked at as well.
#[test]
fn what_is_no_file_in_the_place_of_one_is_its_damage_and_ends_no_check() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let guest = guest(dir.path());
    for file in [SCSI, "guest.conf"] {
        let path = guest.path().join(point_dir(1)).join(file);
        let away = path.with_extension("away");
        fs::rename(&path, &away).unwrap();
        for is_link in [true, false] {
            match is_link {
                true => std::os::unix::fs::symlink(&path, &path).unwrap(),
                false => fs::create_dir(&path).unwrap(),
            }
            let report = check(&guest, None);
            let files: Vec<&Path> = report.damage.iter().map(|damage| &*damage.file).collect();
            assert_eq!(files, [&path], "{report:?}");
            assert_eq!(report.images.len(), 8, "{report:?}");
            fs::remove_file(&path).or_else(|_| fs::remove_dir(&path)).unwrap();
        }
        fs::rename(&away, &path).unwrap();
    }
    assert_eq!(check(&guest, None).damage, []);
}
