//! Format 1 as it was first written, kept for ever under tests/data/repository/v1. Never make
//! these files again: that old repositories stay readable is what they prove.

use crate::example::*;
use pve_ferry::model::*;
use pve_ferry::repository::image::{ChainReader, ImageIndex};
use pve_ferry::repository::*;
use std::fs;
use std::path::{Path, PathBuf};

/// A copy, because file modes and a lock directory do not survive git.
fn golden() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/repository/v1"), dir.path());
    dir
}

#[test]
fn a_repository_of_format_1_is_read_and_verified() {
    let dir = golden();
    let repository = Repository::open_target(dir.path(), Disk::real()).unwrap();
    let guests = repository.guests().unwrap();
    let [guest] = &guests[..] else { panic!("{guests:?}") };
    let history = guest.load().unwrap();
    assert_eq!((history.unreadable.len(), history.debris.len()), (0, 1));
    let record = history.record.as_ref().unwrap();
    assert_eq!((&record.guest, record.chains[&label()]), (&key(), ChainId(0x1a2b_3c4d)));
    let states: Vec<bool> = history.points.iter().map(|p| p.manifest.is_hidden()).collect();
    assert_eq!(states, [false, true, false, false]);
    let newest = &history.points[3];
    assert_eq!((newest.attributes.notes.as_str(), newest.is_protected()), ("kept", true));
    assert_eq!(newest.attributes.verified.as_ref().unwrap().at, day(9));
    assert_eq!(newest.manifest.skipped[0].reason, "a cd-rom");
    let select = |_: &StoredPoint| true;
    let request =
        VerifyRequest { select: &select, subset: None, threads: 2, progress: &|_| Ok(()) };
    let report = guest.verify(&request).unwrap();
    assert_eq!((report.damage.len(), report.images.len()), (0, 8));
}

#[test]
fn the_volumes_of_format_1_have_the_content_that_they_had() {
    let (dir, example) = (golden(), tempfile::tempdir().unwrap());
    let contents = build(example.path());
    let guest = guest(dir.path());
    let history = guest.load().unwrap();
    for (point, disks) in history.points.iter().zip(contents) {
        for (disk, expected) in disks {
            let links = chain_of(&history, point, &disk.parse().unwrap()).unwrap();
            let chain = ChainReader::open(&links).unwrap();
            let mut content = vec![0; usize::try_from(chain.size()).unwrap()];
            chain.read_at(0, &mut content).unwrap();
            assert!(content == expected, "{disk} of {}", point.dir.display());
        }
    }
}

/// What is written today differs from the golden files in nothing that a reader of format 1 sees.
#[test]
fn manifests_and_indexes_are_still_written_as_in_format_1() {
    let (dir, example) = (golden(), tempfile::tempdir().unwrap());
    build(example.path());
    let read = |root: &Path, n: usize| {
        let dir = guest(root).path().join(point_dir(n));
        let mut value: serde_json::Value =
            serde_json::from_slice(&fs::read(dir.join("manifest.json")).unwrap()).unwrap();
        // A later codec may compress better; the seal follows from the rest.
        value["images"]
            .as_array_mut()
            .unwrap()
            .iter_mut()
            .for_each(|i| i["stored_bytes"] = 0.into());
        value["seal"] = 0.into();
        let indexes: Vec<PathBuf> = fs::read_dir(&dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "idx"))
            .collect();
        let digests: std::collections::BTreeMap<_, _> = indexes
            .iter()
            .map(|path| {
                let index = ImageIndex::read(&mut fs::File::open(path).unwrap()).unwrap();
                (path.file_name().unwrap().to_owned(), (index.root_digest(), index.header.clone()))
            })
            .map(|(name, (digest, header))| (name, format!("{digest} {header}")))
            .collect();
        (serde_json::to_string_pretty(&value).unwrap(), digests)
    };
    for n in [0, 2, 3] {
        assert_eq!(read(dir.path(), n), read(example.path(), n));
    }
}
