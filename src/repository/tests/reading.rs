//! Reading what others left: damage, later versions, stale caches, other clusters.

use crate::model::*;
use crate::repository::fixture::*;
use crate::repository::*;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// Rewrites a sealed file as another version would, with a right seal.
fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value = seal::open(&fs::read(path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, seal::close(&value).unwrap()).unwrap();
}

#[test]
fn every_kind_of_garbage_is_listed_and_never_taken_for_absent() {
    let world = World::new();
    world.point(1, None);
    let second = world.point(2, Some(1));
    let path = second.dir.join("manifest.json");
    let good = fs::read(&path).unwrap();
    let other =
        fs::read(world.guest().load().unwrap().points[0].dir.join("manifest.json")).unwrap();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("empty", vec![]),
        ("half", good[..good.len() / 2].to_vec()),
        ("zeros", vec![0; 4096]),
        ("not UTF-8", vec![0xff; 10]),
        ("other JSON", b"[1,2]".to_vec()),
        ("an object", b"{}".to_vec()),
        ("deep nesting", vec![b'['; 100_000]),
        ("another point's", other),
        ("no seal", serde_json::to_vec(&second.manifest).unwrap()),
    ];
    for (case, bytes) in cases {
        fs::write(&path, bytes).unwrap();
        assert_listed_as_damaged(&world, &second, case);
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_listed_as_damaged(&world, &second, "a directory");
    fs::remove_dir(&path).unwrap();
    std::os::unix::fs::symlink("/nowhere", &path).unwrap();
    assert_listed_as_damaged(&world, &second, "a dangling link");
}

fn assert_listed_as_damaged(world: &World, second: &StoredPoint, case: &str) {
    let (guest, lock) = (world.guest(), world.lock());
    let history = guest.load().unwrap();
    assert_eq!(history.points.len(), 1, "{case}");
    assert_eq!(history.debris, [], "{case}");
    let [unreadable] = &history.unreadable[..] else { panic!("{case}") };
    assert_eq!(unreadable.path, second.dir.join("manifest.json"), "{case}");
    assert_eq!(unreadable.kind, UnreadableKind::Damaged, "{case}");
    let refused = guest.delete_point(&lock, &history.points[0]).unwrap_err();
    assert!(matches!(refused, RepositoryError::RemovalForbidden { .. }), "{case}: {refused:?}");
    let debris = Debris { path: second.dir.clone(), holds_images: true };
    guest.sweep(&lock, &debris).unwrap_err();
    assert!(second.dir.join("scsi0.increment.rbd.zst").exists(), "{case}");
}

#[test]
fn even_without_another_unreadable_point_a_directory_with_a_manifest_is_not_swept() {
    let world = World::new();
    let point = world.point(1, None);
    let debris = Debris { path: point.dir.clone(), holds_images: true };
    let error = world.guest().sweep(&world.lock(), &debris).unwrap_err();
    assert!(matches!(error, RepositoryError::NotDebris { .. }), "{error:?}");
    let above = Debris { path: world.dir.path().to_owned(), holds_images: true };
    assert!(world.guest().sweep(&world.lock(), &above).is_err());
}

/// What an NFS client remembers of names is up to a minute old: a point that another node has
/// committed meanwhile is a point, and a protection that it has set counts.
#[test]
fn a_point_is_no_debris_because_a_look_at_its_manifest_finds_nothing() {
    let world = World::new();
    let point = world.point(1, None);
    let protected = Attributes { protected: true, ..Attributes::default() };
    world.guest().set_attributes(&world.lock(), &point, &protected).unwrap();
    let stale = world.guest_on(Disk::failing_at(0, Fault::StaleNames));
    let history = stale.load().unwrap();
    assert_eq!((&history.debris[..], history.points.len()), (&[][..], 1));
    assert!(history.points[0].is_protected());
    let debris = Debris { path: point.dir.clone(), holds_images: true };
    let error = stale.sweep(&world.lock(), &debris).unwrap_err();
    assert!(matches!(error, RepositoryError::NotDebris { .. }), "{error:?}");
    assert_eq!(world.guest().load().unwrap(), history);
}

/// The same for a draft that another host's clock gave the same name, or whose commit only seemed
/// to fail.
#[test]
fn a_draft_with_a_manifest_is_not_abandoned_because_a_look_at_it_finds_nothing() {
    let world = World::new();
    world.point(1, None);
    let (stale, lock) = (world.guest_on(Disk::failing_at(0, Fault::StaleNames)), world.lock());
    let draft = stale.begin(&lock, &label(), noon()).unwrap();
    let manifest = draft.path().join("manifest.json");
    fs::write(&manifest, "{}").unwrap();
    let error = draft.abandon().unwrap_err();
    assert!(matches!(error, RepositoryError::NotDebris { .. }), "{error:?}");
    assert!(manifest.exists());
}

#[test]
fn a_later_version_stops_removal_and_increments_but_not_a_new_base() {
    for change in [(|v: &mut Value| v["requires"] = json!(["shards"])) as fn(&mut Value), |v| {
        v["format"] = json!(2)
    }] {
        let world = World::new();
        let first = world.point(1, None);
        let second = world.point(2, Some(1));
        edit(&second.dir.join("manifest.json"), change);
        let (guest, disk) = (world.guest(), "scsi0".parse().unwrap());
        let history = guest.load().unwrap();
        assert_eq!(history.points, std::slice::from_ref(&first));
        assert_eq!(history.unreadable[0].kind, UnreadableKind::Newer);
        assert_eq!(history.next_seq(), 3, "a later version's point keeps its place");
        assert!(history.forbids_increments().is_some());
        assert!(point_usable_as_base(&Disk::real(), &history, &first, &disk).is_some());
        let lock = world.lock();
        let debris = guest.begin(&lock, &label(), noon()).unwrap().path().to_owned();
        assert!(guest.sweep(&lock, &Debris { path: debris.clone(), holds_images: true }).is_err());
        assert!(guest.hide_point(&lock, &first).is_err());
        assert!(guest.delete_point(&lock, &first).is_err());
        fs::remove_dir(debris).unwrap();
        drop(lock);
        let base = make_point(&guest, image(3, None), noon().plus_seconds(9000)).unwrap();
        assert_eq!(base.manifest.seq, 3);
    }
}

#[test]
fn fields_of_later_versions_survive_every_rewrite() {
    let world = World::new();
    let point = world.point(1, None);
    let guest = world.guest();
    edit(&point.dir.join("manifest.json"), |v| {
        v["colour"] = json!({"deep": [1]});
        v["images"][0]["shade"] = json!(2.5);
    });
    let guest_json = guest.path().join("guest.json");
    let mut value: Value = serde_json::from_slice(&fs::read(&guest_json).unwrap()).unwrap();
    value["owner"] = json!("me");
    fs::write(&guest_json, value.to_string()).unwrap();
    fs::write(
        point.dir.join("attributes.json"),
        json!({"point": point.manifest.point, "protected": true, "mood": "good"}).to_string(),
    )
    .unwrap();
    let point = guest.load().unwrap().points.remove(0);
    let lock = world.lock();
    guest.hide_point(&lock, &point).unwrap();
    guest
        .set_attributes(
            &lock,
            &point,
            &Attributes { notes: "n".into(), ..point.attributes.clone() },
        )
        .unwrap();
    drop(lock);
    let renamed = Manifest { name: "renamed".into(), ..manifest(vec![]) };
    let lock = world.lock();
    guest.begin(&lock, &label(), noon()).unwrap().commit(&lock, renamed).unwrap();
    let history = guest.load().unwrap();
    let point = history.points.iter().find(|p| p.manifest.is_hidden()).unwrap();
    assert_eq!(point.manifest.other["colour"], json!({"deep": [1]}));
    assert_eq!(point.manifest.images[0].other["shade"], json!(2.5));
    assert_eq!(point.attributes.other["mood"], json!("good"));
    assert_eq!((point.attributes.notes.as_str(), point.attributes.protected), ("n", true));
    let record = history.record.unwrap();
    assert_eq!((record.other["owner"].clone(), record.name.as_str()), (json!("me"), "renamed"));
}

#[test]
fn attributes_that_cannot_be_read_protect() {
    let world = World::new();
    let point = world.point(1, None);
    let other = json!({"point": PointId(99), "protected": false}).to_string();
    for text in ["", "{", "[]", "{}", other.as_str()] {
        fs::write(point.dir.join("attributes.json"), text).unwrap();
        let history = world.guest().load().unwrap();
        assert!(history.points[0].is_protected(), "{text}");
        assert!(history.forbids_removal().is_some(), "{text}");
    }
}

/// Earlier versions kept a cache of all manifests there.
#[test]
fn an_old_index_json_is_neither_read_nor_touched() {
    let world = World::new();
    let first = world.point(1, None);
    let (guest, index) = (world.guest(), world.guest().path().join("index.json"));
    assert!(!index.exists());
    let truth = guest.load().unwrap();
    for text in ["", "{\"points\": {}}", "no JSON"] {
        fs::write(&index, text).unwrap();
        assert_eq!(guest.load().unwrap(), truth);
        guest.refresh_derived(&world.lock()).unwrap();
        assert_eq!(fs::read_to_string(&index).unwrap(), text);
    }
    guest.delete_point(&world.lock(), &first).unwrap();
    assert_eq!(guest.load().unwrap().points, []);
}

#[test]
fn a_lost_guest_record_is_rebuilt_with_the_chains() {
    let world = World::new();
    world.point(1, None);
    for bytes in [&b"{"[..], b""] {
        fs::write(world.guest().path().join("guest.json"), bytes).unwrap();
        assert_eq!(world.guest().load().unwrap().record, Some(record()));
    }
    fs::remove_file(world.guest().path().join("guest.json")).unwrap();
    assert_eq!(world.guest().load().unwrap().chain(&label()), Some(ChainId(0x1a2b_3c4d)));
}

#[test]
fn two_clusters_and_two_incarnations_share_nothing() {
    let world = World::new();
    world.point(1, None);
    let repository = Repository::open(world.dir.path(), Disk::real()).unwrap();
    let other_cluster = "ffffffff-0000-4000-8000-000000000001".parse().unwrap();
    let others = [
        GuestKey { cluster: other_cluster, ..key() },
        GuestKey { incarnation: Incarnation(1), ..key() },
    ];
    for other in others {
        assert_eq!(repository.guest(&other).load().unwrap(), History::default());
    }
    // Ids that begin alike share a directory name; the record tells them apart.
    let alike = "0f1e2d3c-ffff-4000-8000-000000000001".parse().unwrap();
    let error = repository.guest(&GuestKey { cluster: alike, ..key() }).load().unwrap_err();
    assert!(matches!(error, RepositoryError::OtherCluster { .. }), "{error:?}");
    let found = repository.guests().unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].names(), &key().names());
    assert_eq!(found[0].load().unwrap().points.len(), 1);
}

#[test]
fn a_label_called_locks_and_foreign_files_are_no_trouble() {
    let world = World::new();
    let (guest, lock) = (world.guest(), world.lock());
    let locks: Label = "locks".parse().unwrap();
    let mut both = record();
    both.chains.insert(locks.clone(), ChainId(5));
    guest.save_record(&lock, &both).unwrap();
    let point = guest.begin(&lock, &locks, noon()).unwrap().commit(&lock, manifest(vec![]));
    let point = point.unwrap().point;
    fs::create_dir_all(guest.path().join("daily/not-a-stamp")).unwrap();
    fs::create_dir_all(guest.path().join(".snapshot/20260101T000000Z")).unwrap();
    fs::write(guest.path().join("notes"), "mine").unwrap();
    fs::write(guest.path().join("daily/20260101T000000Z"), "a file").unwrap();
    let history = guest.load().unwrap();
    assert_eq!(history.points, [point]);
    assert_eq!((history.debris.len(), history.unreadable.len()), (0, 0));
    drop(lock);
    world.lock();
}

#[test]
fn a_manifest_with_the_last_of_all_orders_does_not_make_all_later_points_equal() {
    let world = World::new();
    let first = world.point(1, None);
    edit(&first.dir.join("manifest.json"), |v| v["seq"] = json!(u64::MAX));
    let second = world.point(2, None);
    let third = world.point(3, Some(2));
    assert!(second.manifest.seq < third.manifest.seq);
    assert_eq!(world.guest().load().unwrap().unreadable.len(), 1);
}

/// The door's limit holds in both directions.
#[test]
fn what_would_be_too_long_to_be_read_again_is_not_written_and_what_was_there_stays() {
    use crate::repository::disk::DOCUMENT_LIMIT;
    let world = World::new();
    let point = world.point(1, None);
    let (guest, lock) = (world.guest(), world.lock());
    let notes = |count| {
        let (point, notes) = (Some(point.manifest.point), "x".repeat(count));
        Attributes { point, notes, ..Attributes::default() }
    };
    let limit = usize::try_from(DOCUMENT_LIMIT).unwrap();
    let most = 1 + limit - notes(1).text().unwrap().len();
    guest.set_attributes(&lock, &point, &notes(most)).unwrap();
    let kept = || guest.load().unwrap().points[0].attributes.notes.len();
    assert_eq!(kept(), most);
    let refused = |result: Result<(), RepositoryError>| {
        let error = result.unwrap_err();
        assert!(matches!(error, RepositoryError::TooLong { .. }), "{error:?}");
        assert!(error.to_string().contains("more than 4194304; it was not written"), "{error}");
    };
    refused(guest.set_attributes(&lock, &point, &notes(most + 1)));
    assert_eq!(kept(), most);
    let long = "x".repeat(limit);
    refused(guest.save_record(&lock, &GuestRecord { name: long.clone(), ..record() }));
    assert_eq!(guest.load().unwrap().record, Some(record()));
    let draft = guest.begin(&lock, &label(), noon()).unwrap();
    draft.save_config(&long).unwrap();
    refused(draft.save_config(&format!("{long}x")));
    refused(draft.save_firewall(&format!("{long}x")));
    let committed = draft.commit(&lock, Manifest { name: long, ..manifest(vec![]) });
    refused(committed.map(drop));
    assert_eq!(guest.load().unwrap().points.len(), 1);
}

#[test]
fn the_manifest_of_the_same_guest_of_another_cluster_is_not_believed() {
    let world = World::new();
    let point = world.point(1, None);
    edit(&point.dir.join("manifest.json"), |v| v["cluster_name"] = json!("other"));
    let history = world.guest().load().unwrap();
    assert_eq!((history.points.len(), history.unreadable.len()), (0, 1));
    assert!(history.unreadable[0].why.contains("of cluster other"), "{history:?}");
}
