//! A thin volume of 4 TiB with three blocks, compared with its source as `verify --source` does it.

use super::timed;
use pve_ferry::audit::{Watch, audit};
use pve_ferry::cancel::Cancel;
use pve_ferry::model::Share;
use pve_ferry::progress::Silent;
use pve_ferry::repository::image::{
    ChainLink, ChainReader, Compression, ImageOptions, ImageSink, ZeroRuns, index_path, write_image,
};
use pve_ferry::storage::{Memory, Storage};
use pve_ferry::stream::Header;
use pve_ferry::throttle::Throttle;
use std::fs::File;
use std::path::Path;

const SIZE: u64 = 4 << 40;
const BLOCK: u64 = 4 << 20;
const VOLUME: &str = "vm-100-disk-0";

/// The source is the memory driver, so that what is left is the program's own work.
pub fn compared(directory: &Path) {
    std::fs::create_dir_all(directory).expect("a directory");
    let memory = Memory::new("ceph");
    memory.add_volume(VOLUME, SIZE).expect("a volume");
    memory.set_block_size(BLOCK);
    for place in [0, SIZE / 2, SIZE - BLOCK] {
        memory.write(VOLUME, place, &[7; BLOCK as usize]).expect("a write");
    }
    let storage = Storage::Memory(memory);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let snapshot = runtime.block_on(async {
        storage.create_snapshot(VOLUME, "s").await.expect("a snapshot");
        let facts = storage.volume(VOLUME).await.expect("an answer").expect("the volume");
        facts.snapshot("s").expect("the snapshot").identity.clone()
    });
    let link = runtime.block_on(saved(&storage, &snapshot, &directory.join("image")));
    let chain = ChainReader::open(&[link]).expect("a chain");
    let blocks = runtime.block_on(storage.blocks(VOLUME, &snapshot)).expect("its blocks");
    let (throttle, cancel) = (Throttle::new(None), Cancel::default());
    let pulse = pve_ferry::stall::Pulse::default();
    let watch = Watch {
        progress: &Silent,
        cancel: &cancel,
        throttle: &throttle,
        threads: 16,
        pulse: &pulse,
    };
    let audited = timed("compare a thin volume of 4 TiB with three blocks with its source", || {
        audit(&chain, &blocks, Share::ALL, &watch).expect("both can be read")
    });
    assert!(audited.is_equal(), "{audited:?}");
    println!("{:70} {} blocks, {} MiB read", "", audited.blocks, audited.bytes >> 20);
}

async fn saved(
    storage: &Storage,
    snapshot: &pve_ferry::model::SnapshotIdentity,
    path: &Path,
) -> ChainLink {
    let facts = storage.volume(VOLUME).await.expect("it answers").expect("the volume");
    let mut export = storage.export(&facts, snapshot, None).await.expect("an export");
    let header = Header { from: None, to: Some("s".to_owned()), size: SIZE };
    let mut data = File::create(path).expect("an image");
    let mut index = File::create(index_path(path)).expect("an index");
    let files = ImageSink { data: &mut data, index: &mut index };
    let (compression, zeros) = (Compression::Zstd(1), ZeroRuns::Aligned);
    let options = ImageOptions { compression, threads: 1, zeros };
    let made = write_image(&mut export.reader, &header, files, options, &|_| ());
    let digest = made.expect("an image").digest;
    ChainLink { path: path.to_owned(), digest, from: None, to: "s".to_owned() }
}
