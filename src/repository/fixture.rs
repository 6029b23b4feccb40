//! What the tests of this module share: a guest, its manifests, points with small files for
//! images. Not for real images: `tests/repository.rs` makes those.

use super::draft::text_digest;
use super::*;
use crate::model::*;
use serde_json::Map;
use std::collections::BTreeMap;
use std::io::Write;

pub(crate) const NOON: i64 = 1_767_268_800;

pub(crate) fn key() -> GuestKey {
    GuestKey {
        cluster_name: "lab".parse().unwrap(),
        cluster: "0f1e2d3c-0000-4000-8000-000000000001".parse().unwrap(),
        vmid: VmId::try_from(100).unwrap(),
        incarnation: Incarnation(0xabc),
    }
}

pub(crate) fn label() -> Label {
    "daily".parse().unwrap()
}

pub(crate) fn noon() -> Moment {
    Moment::from_unix(NOON)
}

pub(crate) fn record() -> GuestRecord {
    GuestRecord {
        guest: key(),
        kind: GuestKind::Qemu,
        name: "web".into(),
        chains: BTreeMap::from([(label(), ChainId(0x1a2b_3c4d))]),
        last_seq: 0,
        other: Map::new(),
    }
}

pub(crate) fn snapshot(id: u64) -> SnapshotIdentity {
    let volume = VolumeIdentity::Memory { id: 7 };
    SnapshotIdentity { volume, snapshot: id.to_string(), name: format!("s{id}") }
}

/// Image `id`, on top of image `parent`.
pub(crate) fn image(id: u64, parent: Option<u64>) -> ImageEntry {
    let disk: DiskKey = "scsi0".parse().unwrap();
    let kind = if parent.is_some() { ImageKind::Increment } else { ImageKind::Base };
    let compression = image::Compression::Zstd(1);
    let content = format!("image {id}");
    ImageEntry {
        id: ImageId(id),
        parent: parent.map(ImageId),
        device: "ceph:vm-100-disk-0,size=4G".into(),
        volume: "ceph:vm-100-disk-0".parse().unwrap(),
        size: 4 << 30,
        shape: VolumeShape { size: 4 << 30, ..VolumeShape::default() },
        source: snapshot(id),
        base_source: parent.map(snapshot),
        from: parent.map(|parent| format!("s{parent}")),
        to: format!("s{id}"),
        file: layout::image_file(&disk, kind, compression),
        disk,
        compression,
        stream_bytes: 100,
        stored_bytes: content.len() as u64,
        data_bytes: 50,
        digest: text_digest(content.as_bytes()).unwrap(),
        merged: 0,
        other: Map::new(),
    }
}

pub(crate) fn manifest(images: Vec<ImageEntry>) -> Manifest {
    Manifest {
        format: FORMAT,
        requires: vec![],
        point: PointId(images.first().map_or(0, |image| image.id.0)),
        seq: 1,
        chain: ChainId(0x1a2b_3c4d),
        label: label(),
        time: noon(),
        guest: key(),
        kind: GuestKind::Qemu,
        name: "web".into(),
        node: "pve1".into(),
        consistency: Consistency::Frozen,
        state: State::Committed,
        config_digest: None,
        firewall_digest: None,
        images,
        skipped: vec![Skipped {
            disk: "ide2".parse().unwrap(),
            reason: "a cd-rom".into(),
            by_configuration: None,
        }],
        other: Map::new(),
    }
}

/// A repository with one guest.
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Repository::open_target(dir.path(), Disk::real()).unwrap().begin().unwrap();
        Self { dir }
    }

    pub(crate) fn guest_on(&self, disk: Disk) -> GuestDir {
        Repository::open_target(self.dir.path(), disk).unwrap().guest(&key())
    }

    pub(crate) fn guest(&self) -> GuestDir {
        self.guest_on(Disk::real())
    }

    pub(crate) fn lock(&self) -> Lock {
        let options = LockOptions { wait: None, what: "test".into() };
        self.guest().lock(LockMode::Exclusive, &options).unwrap()
    }

    /// A committed point with one image.
    pub(crate) fn point(&self, id: u64, parent: Option<u64>) -> StoredPoint {
        let moment = noon().plus_seconds(i64::try_from(id).unwrap() * 60);
        make_point(&self.guest(), image(id, parent), moment).unwrap()
    }
}

/// What a backup does with the repository, in the same order.
pub(crate) fn make_point(
    guest: &GuestDir,
    entry: ImageEntry,
    moment: Moment,
) -> Result<StoredPoint, RepositoryError> {
    let options = LockOptions { wait: None, what: "test".into() };
    let lock = guest.lock(LockMode::Exclusive, &options)?;
    for debris in guest.load()?.debris {
        guest.sweep(&lock, &debris)?;
    }
    if guest.load()?.record.is_none() {
        guest.save_record(&lock, &record())?;
    }
    let draft = guest.begin(&lock, &label(), moment)?;
    draft.save_config("cores: 1\n")?;
    let (mut data, mut index) = draft.image_files(&entry.disk, entry.kind(), entry.compression)?;
    let wrote = |result: std::io::Result<()>| {
        result.map_err(|source| RepositoryError::io("write", draft.path(), source))
    };
    wrote(data.write_all(format!("image {}", entry.id.0).as_bytes()))?;
    wrote(index.write_all(b"index"))?;
    Ok(draft.commit(&lock, manifest(vec![entry]))?.point)
}
