//! A small guest with four restore points of two disks: growing, shrinking, growing again; three
//! compressions; with everything that a point can have. Its ids and moments are fixed.

use pve_ferry::model::*;
use pve_ferry::repository::image::*;
use pve_ferry::repository::*;
use pve_ferry::stream::{Header, StreamWriter};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// What is done to a disk before a point: the new size, and places that are written (with a seed)
/// or zeroed (without one).
pub type Change = (u64, Vec<(u64, u64, Option<u8>)>);

/// What is done to each disk, point by point; as many changes for each.
pub type Changes = BTreeMap<&'static str, Vec<Change>>;

fn changes() -> Changes {
    let scsi0 = [
        (4 * MIB, vec![(0, 2 * MIB + 5000, Some(1)), (3 * MIB + 4096, 300 * KIB, Some(2))]),
        (5 * MIB, vec![(64 * KIB, 128 * KIB, None), (5 * MIB - 512, 512, Some(3))]),
        (MIB + 512, vec![(100, 50, Some(4))]),
        (4 * MIB, vec![(2 * MIB, 4096, Some(5)), (0, 64 * KIB, None)]),
    ];
    let efidisk0 = [
        (528 * KIB, vec![(0, 10 * KIB, Some(6))]),
        (528 * KIB, vec![(1000, 2000, Some(7))]),
        (528 * KIB, vec![]),
        (528 * KIB, vec![(0, 100, Some(8))]),
    ];
    BTreeMap::from([("scsi0", scsi0.to_vec()), ("efidisk0", efidisk0.to_vec())])
}

/// A disk's compression at a point: chains may mix them.
fn compression(disk: &str, point: usize) -> Compression {
    match (disk, point) {
        ("scsi0", _) => Compression::Zstd(1),
        (_, 0) => Compression::Bzip2,
        (_, 1) => Compression::Gzip,
        _ => Compression::None,
    }
}

pub fn key() -> GuestKey {
    GuestKey {
        cluster_name: "lab".parse().unwrap(),
        cluster: "0f1e2d3c-0000-4000-8000-000000000001".parse().unwrap(),
        vmid: VmId::try_from(100).unwrap(),
        incarnation: Incarnation(0xabc),
    }
}

pub fn label() -> Label {
    "daily".parse().unwrap()
}

/// 2026-01-01T12:00:00Z and the days after.
pub fn day(n: usize) -> Moment {
    Moment::from_unix(1_767_268_800 + 86_400 * i64::try_from(n).unwrap())
}

pub fn point_dir(n: usize) -> String {
    format!("daily/{}", day(n).stamp())
}

pub fn guest(path: &Path) -> GuestDir {
    let repository = Repository::open_target(path, Disk::real()).unwrap();
    repository.begin().unwrap();
    repository.guest(&key())
}

pub fn exclusive(guest: &GuestDir) -> Lock {
    let options = LockOptions { wait: None, what: "test".into() };
    guest.lock(LockMode::Exclusive, &options).unwrap()
}

/// Takes all locks away, as another host does with stale ones.
pub fn lose_locks(guest: &GuestDir) {
    for lock in std::fs::read_dir(guest.path().join("locks")).unwrap() {
        std::fs::remove_file(lock.unwrap().path()).unwrap();
    }
}

/// That these files were durable, and forgotten by the kernel, before the manifest counted.
pub fn assert_read_from_the_medium(done: &[FileOperation], files: &[String]) {
    let is_commit = |step: &FileOperation| match step {
        FileOperation::Rename(_, to) => to.ends_with("manifest.json"),
        _ => false,
    };
    let commit = done.iter().position(is_commit).unwrap();
    assert!(!files.is_empty());
    for name in files {
        let made = done.iter().find_map(|step| match step {
            FileOperation::Create(id, path) if path.ends_with(name) => Some(*id),
            _ => None,
        });
        let made = made.unwrap_or_else(|| panic!("{name} was not made"));
        let at = |wanted: FileOperation| done.iter().rposition(|step| *step == wanted);
        let (durable, forgotten) =
            (at(FileOperation::Fsync(made)), at(FileOperation::Forget(made)));
        assert!(
            durable.is_some() && durable < forgotten && forgotten < Some(commit),
            "{name}: {durable:?} {forgotten:?}"
        );
    }
}

/// The content of the disks at each point.
pub type Contents = Vec<BTreeMap<String, Vec<u8>>>;

/// Puts the example into an empty directory.
pub fn build(path: &Path) -> Contents {
    static MADE: OnceLock<(tempfile::TempDir, Contents)> = OnceLock::new();
    let (template, contents) = MADE.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let contents = make(dir.path(), &changes());
        (dir, contents)
    });
    copy(template.path(), path);
    contents.clone()
}

/// Copies a repository.
pub fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Makes a repository of a guest whose disks change so.
pub fn make(path: &Path, changes: &Changes) -> Contents {
    let guest = guest(path);
    let lock = exclusive(&guest);
    guest.save_record(&lock, &record()).unwrap();
    let mut contents: Contents = Vec::new();
    for n in 0..changes.values().map(Vec::len).max().unwrap_or(0) {
        let draft = guest.begin(&lock, &label(), day(n)).unwrap();
        draft
            .save_config(&format!("cores: {}\nscsi0: ceph:vm-100-disk-0,size=4M\n", n + 1))
            .unwrap();
        draft.save_firewall("[OPTIONS]\n\nenable: 1\n").unwrap();
        let mut now = contents.last().cloned().unwrap_or_default();
        let images: Vec<ImageEntry> = changes
            .iter()
            .map(|(disk, changes)| {
                let volume = now.entry((*disk).to_owned()).or_default();
                let stream = apply(&changes[n], volume, &header(disk, n, changes[n].0));
                write_point(&draft, disk, n, (changes[n].0, &stream))
            })
            .collect();
        contents.push(now);
        draft.commit(&lock, manifest(n, images)).unwrap();
    }
    contents
}

fn record() -> GuestRecord {
    GuestRecord {
        guest: key(),
        kind: GuestKind::Qemu,
        name: "web".into(),
        chains: BTreeMap::from([(label(), ChainId(0x1a2b_3c4d))]),
        last_seq: 0,
        other: serde_json::Map::new(),
    }
}

fn snapshot(disk: &str, n: usize) -> SnapshotIdentity {
    SnapshotIdentity {
        volume: VolumeIdentity::Rbd {
            fsid: "4bdd1010-c9d7-4a00-b932-0c2405b9899d".into(),
            pool: "data".into(),
            namespace: String::new(),
            image: format!("10ab{}", disk.len()),
        },
        snapshot: (n + 4).to_string(),
        name: format!("ferry.1a2b3c4d.daily.{}", day(n).stamp()),
    }
}

fn image_id(disk: &str, n: usize) -> ImageId {
    ImageId(u64::try_from(disk.len() * 0x100 + n).unwrap())
}

/// Between which snapshots the image of a point leads.
pub fn header(disk: &str, n: usize, size: u64) -> Header {
    let from = n.checked_sub(1).map(|n| snapshot(disk, n).name);
    Header { from, to: Some(snapshot(disk, n).name), size }
}

/// Makes a repository of a guest with one disk, scsi0, out of these streams, each with the volume's
/// size; they lead as [`header`] says.
pub fn make_of_streams(path: &Path, streams: &[(u64, Vec<u8>)]) {
    let guest = guest(path);
    let lock = exclusive(&guest);
    guest.save_record(&lock, &record()).unwrap();
    for (n, (size, stream)) in streams.iter().enumerate() {
        let draft = guest.begin(&lock, &label(), day(n)).unwrap();
        let image = write_point(&draft, "scsi0", n, (*size, stream));
        draft.commit(&lock, manifest(n, vec![image])).unwrap();
    }
}

/// What the entry of a disk's base says that does not follow from its stream.
pub fn base_entry(name: &str) -> ImageEntry {
    let (disk, kind): (DiskKey, _) = (name.parse().unwrap(), ImageKind::Base);
    let compression = Compression::Zstd(1);
    ImageEntry {
        id: ImageId(0),
        parent: None,
        device: "ceph:vm-100-disk-0,size=4M".into(),
        volume: "ceph:vm-100-disk-0".parse().unwrap(),
        size: 0,
        shape: VolumeShape::default(),
        source: snapshot(name, 8),
        base_source: None,
        from: None,
        to: String::new(),
        file: layout::image_file(&disk, kind, compression),
        disk,
        compression,
        stream_bytes: 0,
        stored_bytes: 0,
        data_bytes: 0,
        digest: format!("blake3:{}", "0".repeat(64)).parse().unwrap(),
        merged: 0,
        other: serde_json::Map::new(),
    }
}

fn write_point(
    draft: &PointDraft,
    name: &str,
    n: usize,
    (size, mut stream): (u64, &[u8]),
) -> ImageEntry {
    let disk: DiskKey = name.parse().unwrap();
    let own = snapshot(name, n);
    let before = n.checked_sub(1).map(|n| snapshot(name, n));
    let header = header(name, n, size);
    let compression = compression(name, n);
    let kind = if n == 0 { ImageKind::Base } else { ImageKind::Increment };
    let (data, index) = draft.image_files(&disk, kind, compression).unwrap();
    let options = ImageOptions { compression, threads: 2, zeros: ZeroRuns::Aligned };
    let sink = ImageSink { data, index };
    let made = write_image(&mut stream, &header, sink, options, &|_| {}).unwrap();
    ImageEntry {
        id: image_id(name, n),
        parent: before.is_some().then(|| image_id(name, n - 1)),
        device: format!("ceph:vm-100-disk-{},size=4M", name.len() % 2),
        volume: format!("ceph:vm-100-disk-{}", name.len() % 2).parse().unwrap(),
        size: made.size,
        shape: VolumeShape {
            size: made.size,
            object_size: Some(4 << 20),
            features: vec!["layering".into(), "exclusive-lock".into(), "data-pool".into()],
            ..VolumeShape::default()
        },
        source: own,
        base_source: before,
        from: made.from,
        to: made.to.unwrap(),
        file: layout::image_file(&disk, kind, compression),
        disk,
        compression,
        stream_bytes: made.stream_bytes,
        stored_bytes: made.stored_bytes,
        data_bytes: made.data_bytes,
        digest: made.digest,
        merged: 0,
        other: serde_json::Map::new(),
    }
}

/// Changes the volume and returns the stream that `rbd export-diff` would give for it.
fn apply(change: &Change, volume: &mut Vec<u8>, header: &Header) -> Vec<u8> {
    volume.resize(usize::try_from(change.0).unwrap(), 0);
    let mut ascending = change.1.clone();
    ascending.sort_unstable();
    let mut stream = StreamWriter::new(Vec::new(), header).unwrap();
    for (offset, length, seed) in ascending {
        let range = usize::try_from(offset).unwrap()..usize::try_from(offset + length).unwrap();
        let bytes = &mut volume[range];
        match seed {
            Some(seed) => {
                let pattern = |n: usize| u8::try_from(n * usize::from(seed) % 251).unwrap() | 1;
                bytes.iter_mut().enumerate().for_each(|(n, byte)| *byte = pattern(n));
                stream.write(offset, bytes).unwrap();
            }
            None => {
                bytes.fill(0);
                stream.zero(offset, length).unwrap();
            }
        }
    }
    stream.finish().unwrap()
}

pub fn manifest(n: usize, images: Vec<ImageEntry>) -> Manifest {
    Manifest {
        format: FORMAT,
        requires: vec![],
        point: PointId(0x1000 + u64::try_from(n).unwrap()),
        seq: 0,
        chain: ChainId(0x1a2b_3c4d),
        label: label(),
        time: day(n),
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
        other: serde_json::Map::new(),
    }
}
