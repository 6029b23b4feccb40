//! Chains of 1,000 images: many frames, and many records.

use super::{forget_peak, memory, open_files, timed};
use pve_ferry::repository::image::{
    ChainLink, ChainReader, Compression, ImageError, ImageOptions, ImageSink, ZeroRuns, index_path,
    write_image,
};
use pve_ferry::stream::{Header, StreamWriter};
use std::fs::File;
use std::path::Path;

const MIB: u64 = 1 << 20;
const SIZE: u64 = 4 << 40;
const IMAGES: u64 = 1000;

/// Images of 1 MiB, in blocks of 4 KiB.
pub fn long(directory: &Path) {
    let write = |n: u64, writer: &mut StreamWriter<Vec<u8>>| {
        for part in 0..256_u64 {
            let noise: Vec<u8> = (0..4096_u64).map(|b| ((b * b + part) >> 3) as u8).collect();
            writer.write((part * 1000 + n) * 16 * MIB, &noise).expect("a write");
        }
    };
    let links =
        timed("write 1,000 images of 1 MiB, scattered over 4 TiB", || images(directory, &write));
    read(&links);
    let open = ChainReader::open(&links).expect("a chain");
    let blocks = timed("ask it for each of the 1,048,576 blocks of 4 MiB", || {
        let holds = |block: &u64| open.holds_data(block * 4 * MIB, 4 * MIB).expect("an index");
        (0..MIB).filter(holds).count()
    });
    println!("{:70} {blocks} blocks hold data", "");
    std::fs::remove_dir_all(directory).expect("the benchmark's directory is its own");
}

/// Images of 10,000 records of one byte: what as many scattered writes cost, without their data.
pub fn scattered(directory: &Path) {
    const RECORDS: u64 = 10_000;
    let write = |n: u64, writer: &mut StreamWriter<Vec<u8>>| {
        for record in 0..RECORDS {
            writer.write(record * (SIZE / RECORDS) + n * 4096, &[7]).expect("a write");
        }
    };
    let links = timed("write 1,000 images of 10,000 records", || images(directory, &write));
    let bytes: u64 = links.iter().map(|link| length(&index_path(&link.path))).sum();
    println!("{:70} {} MiB of indexes, {} records", "", bytes / MIB, IMAGES * RECORDS);
    read(&links);
    std::fs::remove_dir_all(directory).expect("the benchmark's directory is its own");
}

fn length(path: &Path) -> u64 {
    path.metadata().expect("an index").len()
}

fn read(links: &[ChainLink]) {
    forget_peak();
    let before = memory().0;
    let open = timed("  open the chain", || ChainReader::open(links).expect("a chain"));
    let (mut bytes, mut blocks, mut files) = (0, 0_usize, 0);
    timed("  read it whole, with 2 threads", || {
        open.for_each_block::<ImageError>(2, &mut |_, block| {
            bytes += block.len();
            blocks += 1;
            if blocks % 1000 == 1 {
                files = files.max(open_files());
            }
            Ok(())
        })
        .expect("the chain is whole");
    });
    let most = memory().1 - before;
    println!(
        "{:70} {} MiB of data; {files} open files, {most} MiB of memory",
        "",
        bytes as u64 / MIB
    );
}

fn images(directory: &Path, write: &dyn Fn(u64, &mut StreamWriter<Vec<u8>>)) -> Vec<ChainLink> {
    std::fs::create_dir_all(directory).expect("a directory");
    let name = |n: u64| format!("s{n:04}");
    let link = |n: u64| {
        let (from, to) = (n.checked_sub(1).map(name), name(n));
        let header = Header { from: from.clone(), to: Some(to.clone()), size: SIZE };
        let mut writer = StreamWriter::new(Vec::new(), &header).expect("a stream");
        write(n, &mut writer);
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
    (0..IMAGES).map(link).collect()
}
