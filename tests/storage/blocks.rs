//! Reading block by block: the same bytes as in the snapshot, whatever became of the volume and
//! whatever the storage's own records of changes say.

use crate::site::{POOL, Site};
use crate::stream::{Stream, noise};
use pve_ferry::model::{SnapshotIdentity, VolumeIdentity};
use pve_ferry::storage::StorageError;
use pve_ferry::transport::{Command, Host};

const MIB: u64 = 1 << 20;

/// All blocks one after the other.
async fn read(site: &Site, name: &str, own: &SnapshotIdentity) -> Vec<u8> {
    let blocks = site.storage.blocks(name, own).await.unwrap();
    let size = usize::try_from(blocks.size()).unwrap();
    let all = move || {
        let mut bytes = Vec::new();
        for number in 0..blocks.count() {
            let length = usize::try_from(blocks.length(number)).unwrap();
            bytes.extend(blocks.read(number).unwrap().unwrap_or_else(|| vec![0; length]));
        }
        (bytes, blocks)
    };
    let (bytes, blocks) = tokio::task::spawn_blocking(all).await.unwrap();
    blocks.finish().await.unwrap();
    assert_eq!(bytes.len(), size);
    bytes
}

pub async fn blocks_are_those_of_the_snapshot(site: Site) {
    let facts = site.create("a", 21 * MIB - 512).await;
    let changes = [
        Stream::new(21 * MIB - 512).write(0, &noise(6_000_000, 1)).write(20 * MIB, &noise(9, 2)),
        Stream::new(21 * MIB - 512).write(100, &noise(5, 2)).zero(MIB, 6 * MIB),
        Stream::new(5 * MIB),
        Stream::new(13 * MIB + 512).write(12 * MIB + 1, &noise(70_000, 3)),
    ];
    let mut snapshots = Vec::new();
    for (number, change) in changes.into_iter().enumerate() {
        site.apply(&facts.name, &facts.identity, change.end()).await.unwrap();
        snapshots.push(site.snapshot(&facts.name, &format!("s{number}")).await);
    }
    for own in &snapshots {
        let expected = site.snapshot_content(&facts.name, &own.name).await;
        assert!(read(&site, &facts.name, own).await == expected, "{}", own.name);
    }
}

pub async fn blocks_of_a_clone_show_its_parent(site: Site) {
    let base = site.create("base", 16 * MIB).await;
    let stream = Stream::new(16 * MIB).write(MIB, &noise(9_000_000, 1)).end();
    site.apply(&base.name, &base.identity, stream).await.unwrap();
    let parent = site.snapshot(&base.name, "__base__").await;
    site.storage.protect_snapshot(&base.name, &parent).await.unwrap();
    let name = site.name("clone");
    site.clone_volume(&base.name, "__base__", &name).await;
    let clone = site.facts(&name).await;
    let changes = [
        Stream::new(16 * MIB).write(2 * MIB, &noise(500, 2)),
        Stream::new(16 * MIB).zero(4 * MIB, 4 * MIB),
        Stream::new(6 * MIB),
        Stream::new(12 * MIB).write(11 * MIB, &noise(500, 4)),
    ];
    let mut snapshots = vec![site.snapshot(&name, "untouched").await];
    for (number, change) in changes.into_iter().enumerate() {
        site.apply(&name, &clone.identity, change.end()).await.unwrap();
        snapshots.push(site.snapshot(&name, &format!("s{number}")).await);
    }
    for own in &snapshots {
        let expected = site.snapshot_content(&name, &own.name).await;
        assert!(read(&site, &name, own).await == expected, "{}", own.name);
    }
}

pub async fn blocks_of_another_snapshot_do_not_count(site: Site) {
    let name = site.create("a", MIB).await.name;
    let own = site.snapshot(&name, "s").await;
    let other = SnapshotIdentity { snapshot: "999999".into(), ..own.clone() };
    let error = site.storage.blocks(&name, &other).await.unwrap_err();
    assert!(matches!(error, StorageError::Identity { .. }), "{error}");
    let blocks = site.storage.blocks(&name, &own).await.unwrap();
    site.remove_snapshot(&name, "s").await;
    site.snapshot(&name, "s").await;
    let error = blocks.finish().await.unwrap_err();
    assert!(matches!(error, StorageError::Identity { .. }), "{error}");
    let error = site.storage.blocks(&name, &own).await.unwrap_err();
    assert!(matches!(error, StorageError::Identity { .. }), "{error}");
}

async fn rados(site: &Site, words: &[&str]) {
    let conf = site.conf();
    let command = Command::writes("rados").args(["-c", &conf, "-p", POOL]);
    Host::local().run(&command.args(words.iter().copied())).await.unwrap();
}

/// The object that holds a snapshot's object map.
fn map_of(own: &SnapshotIdentity) -> String {
    let VolumeIdentity::Rbd { image, .. } = &own.volume else { panic!("{own:?} is no image") };
    format!("rbd_object_map.{image}.{:016x}", own.snapshot.parse::<u64>().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rbd_blocks_are_right_where_the_object_map_lies() {
    let Some(conf) = crate::lab_cluster("a lying object map") else { return };
    let site = Site::rbd(conf, "lying-map").await;
    let (written, empty) = (site.create("a", 8 * MIB).await, site.create("b", 8 * MIB).await);
    let stream = Stream::new(8 * MIB).write(0, &noise(6_000_000, 1)).end();
    site.apply(&written.name, &written.identity, stream).await.unwrap();
    let (own, nothing) =
        (site.snapshot(&written.name, "s").await, site.snapshot(&empty.name, "s").await);
    let truth = site.content(&written.name).await;
    // Now the map says that the snapshot holds nothing, and librbd believes it.
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("map").display().to_string();
    rados(&site, &["get", &map_of(&nothing), &file]).await;
    rados(&site, &["put", &map_of(&own), &file]).await;
    let through_librbd = site.snapshot_content(&written.name, "s").await;
    assert!(through_librbd.iter().all(|byte| *byte == 0), "librbd is not deceived any more");
    assert!(read(&site, &written.name, &own).await == truth);
    site.sweep().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rbd_blocks_of_striped_images_are_right() {
    let Some(conf) = crate::lab_cluster("a striped image") else { return };
    let site = Site::rbd(conf, "striped").await;
    let name = site.name("a");
    let shape = ["create", "--size", "24M", "--object-size", "1M", "--image", &name];
    let striping = ["--stripe-unit", "65536", "--stripe-count", "5"];
    let words: Vec<&str> = shape.into_iter().chain(striping).collect();
    site.rbd_run(&words).await;
    let identity = site.facts(&name).await.identity;
    let stream = Stream::new(24 * MIB).write(70_000, &noise(9_000_000, 1));
    site.apply(&name, &identity, stream.write(23 * MIB, &noise(70_000, 2)).end()).await.unwrap();
    let own = site.snapshot(&name, "s").await;
    assert!(read(&site, &name, &own).await == site.snapshot_content(&name, "s").await);
    site.sweep().await;
}
