//! What every driver does alike. Each function gets a storage of its own, or names of its own.

use crate::site::Site;
use crate::stream::{Stream, noise};
use pve_ferry::model::{SnapshotIdentity, VolumeShape};
use pve_ferry::storage::{ObjectMap, Removed, StorageError};

const MIB: u64 = 1 << 20;

pub async fn a_new_volume_has_its_shape_and_reads_as_zero(site: Site) {
    let features = ["layering", "exclusive-lock"].map(str::to_owned).to_vec();
    let object_size = Some(65_536);
    let shape = VolumeShape { size: 1_000_448, object_size, features, ..VolumeShape::default() };
    let name = site.name("a");
    let made = site.storage.create_volume(&name, &shape).await.unwrap();
    assert_eq!((&made.shape, made.name.as_str()), (&shape, name.as_str()));
    assert_eq!(site.facts(&name).await, made);
    assert_eq!((made.snapshots.len(), made.parent), (0, None));
    assert_eq!(site.storage.watchers(&made.name).await.unwrap(), 0);
    assert_eq!(site.content(&name).await, vec![0; 1_000_448]);
}

pub async fn existing_names_are_not_taken_over(site: Site) {
    let made = site.create("a", MIB).await;
    let shape = VolumeShape { size: 2 * MIB, ..VolumeShape::default() };
    let error = site.storage.create_volume(&made.name, &shape).await.unwrap_err();
    assert!(matches!(error, StorageError::Exists { .. }), "{error}");
    assert!(error.to_string().contains(&made.name), "{error}");
    assert_eq!(site.facts(&made.name).await, made);
}

pub async fn missing_volumes_are_none_and_names_are_sorted(site: Site) {
    assert_eq!(site.storage.volume(&site.name("none")).await.unwrap(), None);
    for suffix in ["c", "a", "b"] {
        site.create(suffix, MIB).await;
    }
    let names = site.storage.volumes().await.unwrap();
    let ours: Vec<String> = names.into_iter().filter(|n| n.starts_with(&site.name(""))).collect();
    assert_eq!(ours, ["a", "b", "c"].map(|suffix| site.name(suffix)));
    // PVE puts the base of a linked clone before the name.
    let linked = format!("base-9000-disk-0/{}", site.name("a"));
    assert_eq!(site.facts(&linked).await.identity, site.facts(&site.name("a")).await.identity);
}

pub async fn striping_is_refused(site: Site) {
    let striping = Some((65_536, 4));
    let shape = VolumeShape { size: MIB, striping, ..VolumeShape::default() };
    let error = site.storage.create_volume(&site.name("a"), &shape).await.unwrap_err();
    assert!(matches!(error, StorageError::Unsupported { .. }), "{error}");
    assert_eq!(site.storage.volume(&site.name("a")).await.unwrap(), None);
}

pub async fn snapshots_are_listed_oldest_first_with_growing_ids(site: Site) {
    let name = site.create("a", MIB).await.name;
    for snapshot in ["z", "a", "ferry.1a2b3c4d.daily.20260101T000000Z"] {
        site.snapshot(&name, snapshot).await;
    }
    let facts = site.facts(&name).await;
    let names: Vec<&str> = facts.snapshots.iter().map(|s| s.identity.name.as_str()).collect();
    assert_eq!(names, ["z", "a", "ferry.1a2b3c4d.daily.20260101T000000Z"]);
    let ids: Vec<u64> =
        facts.snapshots.iter().map(|s| s.identity.snapshot.parse().unwrap()).collect();
    assert!(ids.is_sorted() && ids[0] < ids[2], "{ids:?}");
    assert!(facts.snapshots.iter().all(|s| s.size == MIB && s.identity.volume == facts.identity));
    let error = site.storage.create_snapshot(&name, "a").await.unwrap_err();
    assert!(matches!(error, StorageError::Exists { .. }), "{error}");
    let error = site.storage.create_snapshot(&site.name("none"), "a").await.unwrap_err();
    assert!(matches!(error, StorageError::NotFound { .. }), "{error}");
}

pub async fn a_volume_made_again_under_one_name_is_refused(site: Site) {
    let (old, name) = (site.create("a", MIB).await, site.name("a"));
    let old_snapshot = site.snapshot(&name, "s").await;
    site.storage.delete_snapshot(&name, &old_snapshot).await.unwrap();
    site.storage.delete_volume(&name, &old.identity).await.unwrap();
    let new = site.create("a", MIB).await;
    assert_ne!(old.identity, new.identity);
    let new_snapshot = site.snapshot(&name, "s").await;
    assert_refused(&site, &name, &old_snapshot, &new_snapshot).await;
    let error = site.apply(&name, &old.identity, Stream::new(MIB).end()).await.unwrap_err();
    assert!(matches!(error, StorageError::Identity { .. }), "{error}");
    let error = site.storage.delete_volume(&name, &old.identity).await.unwrap_err();
    assert!(matches!(error, StorageError::Identity { .. }), "{error}");
}

pub async fn a_snapshot_made_again_under_one_name_is_refused(site: Site) {
    let name = site.create("a", MIB).await.name;
    let old = site.snapshot(&name, "s").await;
    site.remove_snapshot(&name, "s").await;
    assert_eq!(site.storage.delete_snapshot(&name, &old).await.unwrap(), Removed::AlreadyGone);
    let new = site.snapshot(&name, "s").await;
    assert_ne!(old, new);
    assert_refused(&site, &name, &old, &new).await;
    assert_eq!(site.storage.delete_snapshot(&name, &new).await.unwrap(), Removed::Deleted);
}

/// Nothing is done with `old`, whose name `new` bears now.
async fn assert_refused(site: &Site, name: &str, old: &SnapshotIdentity, new: &SnapshotIdentity) {
    let storage = &site.storage;
    let later = site.snapshot(name, "later").await;
    let errors = [
        storage.delete_snapshot(name, old).await.map(drop),
        storage.protect_snapshot(name, old).await,
        storage.unprotect_snapshot(name, old).await,
        storage.rollback(name, old).await,
        site.export(name, old, None).await.map(drop),
        site.export(name, &later, Some(old)).await.map(drop),
    ];
    for result in errors {
        let error = result.unwrap_err();
        assert!(matches!(error, StorageError::Identity { .. }), "{error}");
    }
    assert_eq!(&site.facts(name).await.snapshot(&new.name).unwrap().identity, new);
    storage.delete_snapshot(name, &later).await.unwrap();
}

pub async fn a_base_comes_back_bit_identical(site: Site) {
    let source = site.create("a", 20 * MIB).await;
    let stream = Stream::new(20 * MIB)
        .write(0, &noise(100_000, 1))
        .write(5 * MIB + 512, &noise(3_000_000, 2))
        .write(20 * MIB - 512, &noise(512, 3));
    site.apply(&source.name, &source.identity, stream.end()).await.unwrap();
    let own = site.snapshot(&source.name, "s").await;
    let stream = site.export(&source.name, &own, None).await.unwrap();
    let copy = site.create("b", 20 * MIB).await;
    site.apply(&copy.name, &copy.identity, stream).await.unwrap();
    let content = site.content(&copy.name).await;
    assert_eq!(content[5 * 1_048_576 + 512..][..3_000_000], noise(3_000_000, 2));
    assert!(content == site.content(&source.name).await);
    assert!(content == site.snapshot_content(&copy.name, "s").await);
}

pub async fn increments_with_every_change_come_back_bit_identical(site: Site) {
    let (source, copy) = (site.create("a", 8 * MIB).await, site.create("b", 8 * MIB).await);
    let changes = [
        Stream::new(8 * MIB).write(0, &noise(6_000_000, 1)),
        Stream::new(8 * MIB).write(100, &noise(5, 2)).zero(MIB, 2 * MIB),
        Stream::new(13 * MIB).write(12 * MIB + 1, &noise(70_000, 3)),
        Stream::new(5 * MIB + 512).write(3 * MIB, &noise(4096, 4)),
        // Shrunk and grown between two snapshots: what was beyond must read as zero.
        Stream::new(2 * MIB + 4096),
        Stream::new(9 * MIB).zero(0, 65_536),
    ];
    let mut since: Option<SnapshotIdentity> = None;
    for (number, change) in changes.into_iter().enumerate() {
        site.apply(&source.name, &source.identity, change.end()).await.unwrap();
        if number == 4 {
            continue;
        }
        let own = site.snapshot(&source.name, &format!("s{number}")).await;
        let stream = site.export(&source.name, &own, since.as_ref()).await.unwrap();
        site.apply(&copy.name, &copy.identity, stream).await.unwrap();
        let (copied, original) =
            (site.content(&copy.name).await, site.snapshot_content(&source.name, &own.name).await);
        assert_eq!(copied.len(), original.len(), "after change {number}");
        assert!(copied == original, "after change {number}");
        since = Some(own);
    }
    let content = site.content(&copy.name).await;
    assert!(content.len() == 9 << 20 && content[3 << 20..].iter().all(|byte| *byte == 0));
}

pub async fn an_increment_without_changes_is_empty(site: Site) {
    let facts = site.create("a", MIB).await;
    site.apply(&facts.name, &facts.identity, Stream::new(MIB).write(0, b"x").end()).await.unwrap();
    let (one, two) =
        (site.snapshot(&facts.name, "s1").await, site.snapshot(&facts.name, "s2").await);
    let stream = site.export(&facts.name, &two, Some(&one)).await.unwrap();
    // Banner, two names of two letters, the size, the end.
    assert_eq!(stream.len(), 36);
    assert!(stream.starts_with(b"rbd diff v1\nf\x02\0\0\0s1t\x02\0\0\0s2s"));
}

pub async fn a_torn_import_is_an_error(site: Site) {
    let facts = site.create("a", 4 * MIB).await;
    let whole = Stream::new(4 * MIB).write(0, &noise(2_000_000, 1)).torn();
    for length in [0, 5, whole.len() - 1000, whole.len()] {
        let torn = whole[..length].to_vec();
        let error = site.apply(&facts.name, &facts.identity, torn).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&facts.name) && text.contains("not usable"), "{length}: {text}");
    }
}

pub async fn an_import_beyond_the_size_or_of_rubbish_is_an_error(site: Site) {
    let facts = site.create("a", MIB).await;
    let beyond = Stream::new(MIB).write(MIB, b"xy").end();
    let from = b"rbd diff v1\nf\x04\0\0\0nope".iter().copied().chain(*b"e").collect();
    for stream in [beyond, from, noise(4096, 1)] {
        let result = site.apply(&facts.name, &facts.identity, stream).await;
        assert!(result.is_err());
    }
    assert_eq!(site.content(&facts.name).await, vec![0; 1 << 20]);
}

pub async fn a_renamed_volume_is_the_same_one_and_takes_no_name(site: Site) {
    let (one, other) = (site.create("a", MIB).await, site.create("b", MIB).await);
    let to = format!("{}-renamed", one.name);
    let missing = site.storage.rename_volume(&to, &one.name).await;
    assert!(matches!(missing, Err(StorageError::NotFound { .. })), "{missing:?}");
    let taken = site.storage.rename_volume(&one.name, &other.name).await;
    assert!(matches!(taken, Err(StorageError::Exists { .. })), "{taken:?}");
    site.storage.rename_volume(&one.name, &to).await.unwrap();
    assert_eq!(site.storage.volume(&one.name).await.unwrap(), None);
    let renamed = site.storage.volume(&to).await.unwrap().unwrap();
    assert_eq!(renamed.identity, one.identity, "it is the same volume");
    site.storage.delete_volume(&to, &one.identity).await.unwrap();
}

pub async fn deleting_a_volume_asks_for_its_identity(site: Site) {
    let (one, other) = (site.create("a", MIB).await, site.create("b", MIB).await);
    let error = site.storage.delete_volume(&one.name, &other.identity).await.unwrap_err();
    assert!(matches!(error, StorageError::Identity { .. }), "{error}");
    let snapshot = site.snapshot(&one.name, "s").await;
    let error = site.storage.delete_volume(&one.name, &one.identity).await.unwrap_err();
    assert!(matches!(error, StorageError::Busy { .. }), "{error}");
    site.storage.delete_snapshot(&one.name, &snapshot).await.unwrap();
    let removed = [
        site.storage.delete_volume(&one.name, &one.identity).await.unwrap(),
        site.storage.delete_volume(&one.name, &one.identity).await.unwrap(),
    ];
    assert_eq!(removed, [Removed::Deleted, Removed::AlreadyGone]);
    assert_eq!(site.storage.volume(&one.name).await.unwrap(), None);
    assert_eq!(site.facts(&other.name).await, other);
}

pub async fn protected_snapshots_stay(site: Site) {
    let name = site.create("a", MIB).await.name;
    let (protected, free) = (site.snapshot(&name, "p").await, site.snapshot(&name, "f").await);
    for _ in 0..2 {
        site.storage.protect_snapshot(&name, &protected).await.unwrap();
    }
    let facts = site.facts(&name).await;
    assert_eq!(facts.snapshots.iter().map(|s| s.protected).collect::<Vec<_>>(), [true, false]);
    let error = site.storage.delete_snapshot(&name, &protected).await.unwrap_err();
    assert!(matches!(error, StorageError::Busy { .. }), "{error}");
    for _ in 0..2 {
        site.storage.unprotect_snapshot(&name, &protected).await.unwrap();
    }
    site.storage.delete_snapshot(&name, &protected).await.unwrap();
    let left: Vec<_> = site.facts(&name).await.snapshots.into_iter().map(|s| s.identity).collect();
    assert_eq!(left, [free]);
}

pub async fn a_clone_is_exported_with_its_parents_data(site: Site) {
    let base = site.create("base", 8 * MIB).await;
    let stream = Stream::new(8 * MIB).write(MIB, &noise(3_000_000, 1)).end();
    site.apply(&base.name, &base.identity, stream).await.unwrap();
    let parent = site.snapshot(&base.name, "__base__").await;
    site.storage.protect_snapshot(&base.name, &parent).await.unwrap();
    let name = site.name("clone");
    site.clone_volume(&base.name, "__base__", &name).await;
    let clone = site.facts(&name).await;
    assert!(clone.parent.as_ref().unwrap().ends_with(&format!("{}@__base__", base.name)));
    let error = site.storage.unprotect_snapshot(&base.name, &parent).await.unwrap_err();
    assert!(matches!(error, StorageError::Busy { .. }), "{error}");
    let stream = Stream::new(8 * MIB).write(2 * MIB, &noise(500, 2)).end();
    site.apply(&name, &clone.identity, stream).await.unwrap();
    let own = site.snapshot(&name, "s").await;
    let stream = site.export(&name, &own, None).await.unwrap();
    let copy = site.create("copy", 8 * MIB).await;
    site.apply(&copy.name, &copy.identity, stream).await.unwrap();
    let content = site.content(&copy.name).await;
    assert!(content == site.content(&name).await);
    assert_eq!(content[1 << 20..][..1000], noise(1000, 1));
    assert_eq!(content[2 << 20..][..500], noise(500, 2));
}

pub async fn open_volumes_are_not_touched(site: Site) {
    let facts = site.create("a", MIB).await;
    let snapshot = site.snapshot(&facts.name, "s").await;
    let open = site.open(&facts.name).await;
    assert_eq!(site.storage.watchers(&facts.name).await.unwrap(), 1);
    let errors = [
        site.apply(&facts.name, &facts.identity, Stream::new(MIB).write(0, b"x").end()).await,
        site.storage.rollback(&facts.name, &snapshot).await,
        site.storage.delete_volume(&facts.name, &facts.identity).await.map(drop),
    ];
    for result in errors {
        let error = result.unwrap_err();
        assert!(matches!(error, StorageError::Busy { .. }), "{error}");
        assert!(error.to_string().contains("have it open"), "{error}");
    }
    assert_eq!(site.content(&facts.name).await, vec![0; 1 << 20]);
    site.close(&facts.name, open).await;
    site.storage.rollback(&facts.name, &snapshot).await.unwrap();
}

pub async fn an_export_of_a_vanished_base_is_an_error(site: Site) {
    let name = site.create("a", MIB).await.name;
    let (one, two) = (site.snapshot(&name, "s1").await, site.snapshot(&name, "s2").await);
    let facts = site.facts(&name).await;
    let mut export = site.storage.export(&facts, &two, Some(&one)).await.unwrap();
    let read = move || std::io::copy(&mut export.reader, &mut std::io::sink()).unwrap();
    tokio::task::spawn_blocking(read).await.unwrap();
    site.remove_snapshot(&name, "s1").await;
    let error = export.exit.wait().await.unwrap_err();
    assert!(matches!(error, StorageError::NotFound { .. }), "{error}");
    let error = site.export(&name, &two, Some(&one)).await.unwrap_err();
    assert!(error.to_string().contains(&format!("{name}@s1")), "{error}");
}

pub async fn a_killed_transfer_is_an_error(site: Site) {
    let facts = site.create("a", 32 * MIB).await;
    let stream = Stream::new(32 * MIB).write(0, &noise(20_000_000, 1)).end();
    site.apply(&facts.name, &facts.identity, stream).await.unwrap();
    let own = site.snapshot(&facts.name, "s").await;
    let facts = site.facts(&facts.name).await;
    let mut export = site.storage.export(&facts, &own, None).await.unwrap();
    export.exit.kill();
    assert!(export.exit.wait().await.is_err());
    let mut import = site.storage.import(&facts.name, &facts.identity).await.unwrap();
    import.exit.kill();
    drop(import.writer);
    assert!(import.exit.wait().await.is_err());
    // Whoever imported and died is not in the way of cleaning up.
    site.storage.delete_snapshot(&facts.name, &own).await.unwrap();
    site.storage.delete_volume(&facts.name, &facts.identity).await.unwrap();
}

pub async fn a_rollback_brings_content_and_size_back(site: Site) {
    let facts = site.create("a", 2 * MIB).await;
    let stream = Stream::new(2 * MIB).write(MIB, &noise(500_000, 1)).end();
    site.apply(&facts.name, &facts.identity, stream).await.unwrap();
    let before = site.content(&facts.name).await;
    let snapshot = site.snapshot(&facts.name, "s").await;
    let stream = Stream::new(3 * MIB).write(0, &noise(2_000_000, 2)).end();
    site.apply(&facts.name, &facts.identity, stream).await.unwrap();
    site.storage.rollback(&facts.name, &snapshot).await.unwrap();
    assert_eq!(site.facts(&facts.name).await.shape.size, 2 * MIB);
    assert!(site.content(&facts.name).await == before);
}

pub async fn wrong_object_maps_are_reported(site: Site) {
    let features = ["layering", "exclusive-lock", "object-map", "fast-diff"].map(str::to_owned);
    let shape = VolumeShape { size: MIB, features: features.to_vec(), ..VolumeShape::default() };
    let name = site.name("a");
    let facts = site.storage.create_volume(&name, &shape).await.unwrap();
    assert_eq!(facts.object_map, ObjectMap::Valid);
    site.spoil_object_map(&name).await;
    assert_eq!(site.facts(&name).await.object_map, ObjectMap::Invalid);
}

pub async fn space_is_told(site: Site) {
    let facts = site.create("a", 16 * MIB).await;
    let stream = Stream::new(16 * MIB).write(0, &noise(4 << 20, 1)).end();
    site.apply(&facts.name, &facts.identity, stream).await.unwrap();
    let used = site.storage.used_bytes(&facts.name).await.unwrap().unwrap();
    assert!((4 * MIB..=8 * MIB).contains(&used), "{used}");
    if let pve_ferry::storage::Storage::Memory(memory) = &site.storage {
        memory.set_free_bytes(Some(1 << 30));
    }
    assert!(site.storage.free_bytes().await.unwrap().unwrap() > 64 * MIB);
}
