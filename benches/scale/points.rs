//! A guest with many points: planned to be pruned, listed, walked by `verify`, and pruned.

use super::{forget_peak, memory, timed};
use pve_ferry::cancel::Cancel;
use pve_ferry::clock::Clock;
use pve_ferry::context::{Context, Limits};
use pve_ferry::hooks::Hooks;
use pve_ferry::model::*;
use pve_ferry::node::freezes::Freezes;
use pve_ferry::node::unfinished::UnfinishedRestores;
use pve_ferry::operation::PruneRequest;
use pve_ferry::plan::check::check;
use pve_ferry::plan::prune::{PruneFacts, PrunePolicy, StoredFact, StoredImage, plan};
use pve_ferry::progress::Silent;
use pve_ferry::repository::image::{
    Compression, ImageOptions, ImageSink, ImageSummary, ZeroRuns, index_path, write_image,
};
use pve_ferry::repository::{
    Consistency, Disk, FORMAT, GuestDir, GuestKey, GuestRecord, ImageEntry, ImageKind, LockMode,
    LockOptions, Manifest, Repository, State, StoredPoint, Subset, VerifyRequest, layout,
};
use pve_ferry::retention::Rules;
use pve_ferry::run::{Mode, run};
use pve_ferry::stream::{Header, StreamWriter};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// Of so many points one has a base in the repository.
const RENEWED: u64 = 30;

fn label() -> Label {
    "hourly".parse().expect("a label")
}

fn moment(n: u64) -> Moment {
    Moment::from_unix(1_700_000_000 + 3600 * i64::try_from(n).unwrap_or_default())
}

fn keep_seven() -> Rules {
    let mut rules = Rules::default();
    rules.add_prune_backups("keep-last=7").expect("a rule");
    rules
}

/// Plans and checks what `keep-last=7` leaves of so many hourly points, with a base every so many.
pub fn planned(count: u64, renewed: u64) {
    let point = |n: u64| StoredFact {
        directory: n.to_string(),
        id: PointId(n),
        label: label(),
        seq: n + 1,
        moment: moment(n),
        hidden: false,
        protected: false,
        failed: false,
        missing: Vec::new(),
        images: vec![StoredImage {
            image: ImageId(n + 1),
            parent: (n % renewed != 0).then_some(ImageId(n)),
            bytes: 1 << 20,
        }],
    };
    let guest = Guest {
        vmid: "100".parse().expect("a vmid"),
        kind: GuestKind::Qemu,
        name: String::new(),
        node: "pve1".to_owned(),
    };
    let points = (0..count).map(point).collect();
    let (frozen_repository, leftovers) = (None, Vec::new());
    let facts = PruneFacts { guest, points, frozen_repository, is_damaged: false, leftovers };
    let rules = keep_seven();
    let policy = PrunePolicy { label: None, rules, new: None, now: Moment::from_unix(1 << 33) };
    let what = format!("plan a prune of {count} points, a base every {renewed}");
    let plan = timed(&what, || plan(&facts, &policy));
    timed("  and check it", || check(&plan).expect("a plan that may run"));
    println!("{:70} {} steps", "", plan.items.len());
}

/// The same points in a repository, with an image of one block each.
pub fn stored(directory: &Path, count: u64) {
    std::fs::create_dir_all(directory).expect("a directory");
    let open = || Repository::open_target(directory, Disk::real()).expect("a repository");
    open().begin().expect("a repository");
    let guest = open().guest(&key());
    timed(&format!("write {count} points of one block, a base every {RENEWED}"), || {
        begin(&guest);
        (0..count).for_each(|n| write_point(&guest, n));
    });
    forget_peak();
    let before = memory().0;
    let history = timed("  read all points, as `list` does", || guest.load().expect("points"));
    assert_eq!((history.points.len() as u64, history.unreadable.len()), (count, 0));
    drop(history);
    let select = |_: &StoredPoint| true;
    let (none, progress) = (Some(Subset { n: 1, of: u64::MAX }), |_: u64| Ok(()));
    for (what, subset) in [("its walk alone", none), ("every image read", None)] {
        let request = VerifyRequest { select: &select, subset, threads: 2, progress: &progress };
        let report = timed(&format!("  verify, {what}"), || guest.verify(&request));
        assert_eq!(report.expect("a report").damage, []);
    }
    let pruned = |mode| {
        let request =
            PruneRequest { selection: None, label: None, repository: open(), rules: keep_seven() };
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let ctx = Arc::new(context(directory));
        let done = runtime.block_on(run(ctx, request, mode)).expect("a prune");
        assert_eq!(done.report.exit_code(), 0, "{:?}", done.report.error);
    };
    timed("  prune --prune-backups keep-last=7 --dry-run", || pruned(Mode::DryRun));
    timed("  prune --prune-backups keep-last=7", || pruned(Mode::Execute));
    println!("{:70} {} MiB of memory", "", memory().1 - before);
    std::fs::remove_dir_all(directory).expect("the benchmark's directory is its own");
}

/// What a run within a repository works with, on two threads.
fn context(state: &Path) -> Context {
    Context {
        home: None,
        remotes: BTreeMap::new(),
        api: None,
        clock: Clock::System,
        progress: Arc::new(Silent),
        cancel: Cancel::default(),
        limits: Limits::of_a_repository(Some(2), 0),
        hooks: Arc::new(Hooks::default()),
        unfinished: UnfinishedRestores::new(state),
        freezes: Freezes::new(state),
    }
}

fn key() -> GuestKey {
    GuestKey {
        cluster_name: "lab".parse().expect("a name"),
        cluster: "0f1e2d3c-0000-4000-8000-000000000001".parse().expect("an id"),
        vmid: "100".parse().expect("a vmid"),
        incarnation: Incarnation(0xabc),
    }
}

fn begin(guest: &GuestDir) {
    let lock = guest.lock(LockMode::Exclusive, &LockOptions::default()).expect("a lock");
    let record = GuestRecord {
        guest: key(),
        kind: GuestKind::Qemu,
        name: "web".to_owned(),
        chains: BTreeMap::from([(label(), ChainId(7))]),
        last_seq: 0,
        other: serde_json::Map::new(),
    };
    guest.save_record(&lock, &record).expect("guest.json");
}

fn write_point(guest: &GuestDir, n: u64) {
    let dir = guest.path().join(label().as_str()).join(moment(n).stamp());
    std::fs::create_dir_all(&dir).expect("a directory");
    let disk: DiskKey = "scsi0".parse().expect("a key");
    let name = |n: u64| format!("s{n}");
    let from = (n % RENEWED != 0).then(|| n - 1);
    let kind = if from.is_some() { ImageKind::Increment } else { ImageKind::Base };
    let file = layout::image_file(&disk, kind, Compression::None);
    let header = Header { from: from.map(name), to: Some(name(n)), size: 4 << 30 };
    let made = write(&dir.join(&*file), &header, n);
    let snapshot = |n: u64| SnapshotIdentity {
        volume: VolumeIdentity::Memory { id: 7 },
        snapshot: n.to_string(),
        name: name(n),
    };
    let image = ImageEntry {
        id: ImageId(n + 1),
        parent: from.map(|from| ImageId(from + 1)),
        device: "ceph:vm-100-disk-0,size=4G".to_owned(),
        volume: "ceph:vm-100-disk-0".parse().expect("a volume"),
        size: 4 << 30,
        shape: VolumeShape { size: 4 << 30, ..VolumeShape::default() },
        source: snapshot(n),
        base_source: from.map(snapshot),
        from: header.from.clone(),
        to: name(n),
        file,
        disk,
        compression: Compression::None,
        stream_bytes: made.stream_bytes,
        stored_bytes: made.stored_bytes,
        data_bytes: made.data_bytes,
        digest: made.digest,
        merged: 0,
        other: serde_json::Map::new(),
    };
    let manifest = Manifest {
        format: FORMAT,
        requires: Vec::new(),
        point: PointId(n + 1),
        seq: n + 1,
        chain: ChainId(7),
        label: label(),
        time: moment(n),
        guest: key(),
        kind: GuestKind::Qemu,
        name: "web".to_owned(),
        node: "pve1".to_owned(),
        consistency: Consistency::Frozen,
        state: State::Committed,
        config_digest: None,
        firewall_digest: None,
        images: vec![image],
        skipped: Vec::new(),
        other: serde_json::Map::new(),
    };
    std::fs::write(dir.join("manifest.json"), sealed(&manifest)).expect("a manifest");
}

fn write(path: &Path, header: &Header, n: u64) -> ImageSummary {
    let mut writer = StreamWriter::new(Vec::new(), header).expect("a stream");
    writer.write(n % 1000 * 4096, &[n as u8 | 1; 4096]).expect("a write");
    let stream = writer.finish().expect("its end");
    let mut data = File::create(path).expect("an image");
    let mut index = File::create(index_path(path)).expect("an index");
    let files = ImageSink { data: &mut data, index: &mut index };
    let (compression, zeros) = (Compression::None, ZeroRuns::Aligned);
    let options = ImageOptions { compression, threads: 1, zeros };
    write_image(&mut &stream[..], header, files, options, &|_| ()).expect("an image")
}

/// As a commit seals it.
fn sealed(manifest: &Manifest) -> String {
    let pretty = serde_json::to_string_pretty(manifest).expect("a document");
    let body = pretty.strip_suffix("\n}").unwrap_or(&pretty);
    let seal = blake3::hash(body.as_bytes());
    format!("{body},\n  \"seal\": \"blake3:{seal}\"\n}}\n")
}
