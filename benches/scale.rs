//! What large things cost, in figures: many points, a long chain, a thin volume of 4 TiB. It prints; it
//! judges nothing, because machines differ. What must not grow is counted by tests.
//!
//! `cargo bench --bench scale [-- POINTS]`: 10,000 points unless told.
#![allow(clippy::expect_used, clippy::print_stdout, clippy::cast_possible_truncation)]

use pve_ferry::model::{ImageId, Moment, PointId};
use pve_ferry::plan::check::check;
use pve_ferry::plan::prune::{PruneFacts, PrunePolicy, StoredFact, StoredImage, plan};
use pve_ferry::repository::image::{
    ChainLink, ChainReader, Compression, ImageError, ImageOptions, ImageSink, ZeroRuns, index_path,
    write_image,
};
use pve_ferry::retention::Rules;
use pve_ferry::stream::{Header, StreamWriter};
use std::fs::File;
use std::path::Path;
use std::time::Instant;

const MIB: u64 = 1 << 20;

fn main() {
    let wanted = std::env::args().filter_map(|word| word.parse::<u64>().ok()).next();
    let points = wanted.unwrap_or(10_000);
    for renewed in [30, points] {
        pruning(points, renewed);
    }
    let directory = std::env::temp_dir().join(format!("ferry-scale-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory for the benchmark");
    let links = timed("write 1,000 images of 1 MiB, scattered over 4 TiB", || chain(&directory));
    let open = timed("open the chain", || ChainReader::open(&links).expect("a chain"));
    let mut bytes = 0;
    timed("read it whole", || {
        open.for_each_block::<ImageError>(2, &mut |_, block| {
            bytes += block.len();
            Ok(())
        })
        .expect("the chain is whole");
    });
    println!("{:60} {} MiB read, {} MiB at most in memory", "", bytes as u64 / MIB, peak());
    let blocks = timed("ask it for each of the 1,048,576 blocks of 4 MiB", || {
        (0..MIB).filter(|block| open.holds_data(block * 4 * MIB, 4 * MIB)).count()
    });
    println!("{:60} {blocks} blocks hold data", "");
    std::fs::remove_dir_all(&directory).expect("the benchmark's directory is its own");
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let result = work();
    println!("{what:60} {:8.3} s", begun.elapsed().as_secs_f64());
    result
}

/// The most memory that this process had, in MiB (`VmHWM`, proc(5)).
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
    kib.unwrap_or_default() / 1024
}

/// Plans and checks what `keep-last=7` leaves of so many hourly points, with a base every so many.
fn pruning(count: u64, renewed: u64) {
    let point = |n: u64| StoredFact {
        directory: n.to_string(),
        id: PointId(n),
        label: "hourly".parse().expect("a label"),
        seq: n + 1,
        moment: Moment::from_unix(1_700_000_000 + 3600 * i64::try_from(n).unwrap_or_default()),
        hidden: false,
        protected: false,
        failed: false,
        missing: Vec::new(),
        images: vec![StoredImage {
            image: ImageId(n + 1),
            parent: (n % renewed != 0).then_some(ImageId(n)),
            bytes: MIB,
        }],
    };
    let guest = pve_ferry::model::Guest {
        vmid: "100".parse().expect("a vmid"),
        kind: pve_ferry::model::GuestKind::Qemu,
        name: String::new(),
        node: "pve1".to_owned(),
    };
    let points = (0..count).map(point).collect();
    let (frozen_repository, leftovers) = (None, Vec::new());
    let facts = PruneFacts { guest, points, frozen_repository, is_damaged: false, leftovers };
    let mut rules = Rules::default();
    rules.add_prune_backups("keep-last=7").expect("a rule");
    let policy = PrunePolicy { label: None, rules, new: None, now: Moment::from_unix(1 << 33) };
    let what = format!("plan a prune of {count} points, a base every {renewed}");
    let plan = timed(&what, || plan(&facts, &policy));
    timed("  and check it", || check(&plan).expect("a plan that may run"));
    println!("{:60} {} steps", "", plan.items.len());
}

fn chain(directory: &Path) -> Vec<ChainLink> {
    let name = |n: u64| format!("s{n:04}");
    let link = |n: u64| {
        let (from, to) = (n.checked_sub(1).map(name), name(n));
        let header = Header { from: from.clone(), to: Some(to.clone()), size: 4 << 40 };
        let mut writer = StreamWriter::new(Vec::new(), &header).expect("a stream");
        for part in 0..256_u64 {
            let noise: Vec<u8> = (0..4096_u64).map(|b| ((b * b + part) >> 3) as u8).collect();
            writer.write((part * 1000 + n) * 16 * MIB, &noise).expect("a write");
        }
        let stream = writer.finish().expect("its end");
        let path = directory.join(&to);
        let mut data = File::create(&path).expect("an image");
        let mut index = File::create(index_path(&path)).expect("an index");
        let files = ImageSink { data: &mut data, index: &mut index };
        let (compression, zeros) = (Compression::Zstd(1), ZeroRuns::Aligned);
        let options = ImageOptions { compression, threads: 1, zeros };
        let made = write_image(&mut &stream[..], &header, files, options, &|_| ());
        ChainLink { path, digest: made.expect("an image").digest, from, to }
    };
    (0..1000).map(link).collect()
}
