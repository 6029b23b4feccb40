//! Speed of images in memory and on a disk, beside `zstd -1` on one thread in the same run. It prints;
//! it judges nothing, because machines differ.
//!
//! `cargo bench --bench stream [-- MiB]`: how much data to use, 512 unless told.
#![allow(clippy::expect_used, clippy::print_stdout)]

use pve_ferry::repository::image::{
    ChainLink, ChainReader, Compression, ImageError, ImageOptions, ImageReader, ImageSink,
    ImageSummary, ZeroRuns, index_path, write_image,
};
use pve_ferry::stream::{Header, StreamWriter};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;

fn main() {
    let wanted = std::env::args().filter_map(|word| word.parse::<usize>().ok()).next();
    let whole = volume(wanted.unwrap_or(512) * MIB);
    // gzip and bzip2 are so slow that a part of it must do.
    let part = &whole[..whole.len() / 16];
    let sources = [(&whole[..], stream(&whole)), (part, stream(part))];
    let directory = std::env::temp_dir().join(format!("ferry-bench-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory for the benchmark");
    let threads = std::thread::available_parallelism().map_or(1, usize::from);

    for (compression, threads, which) in [
        (Compression::Zstd(1), 1, 0),
        (Compression::Zstd(1), threads, 0),
        (Compression::Zstd(3), threads, 0),
        (Compression::None, threads, 0),
        (Compression::Gzip, threads, 1),
        (Compression::Bzip2, threads, 1),
    ] {
        let (volume, source) = &sources[which];
        // Measured again each time: other work on the machine comes and goes.
        let bench = Bench { size: volume.len(), limit: zstd_alone(volume) };
        bench.line("zstd -1, one thread, 1 MiB at a time", bench.limit, "");
        let path = directory.join(format!("bench{}", compression.suffix()));
        let (time, summary) = timed(|| write(&path, source, compression, threads));
        let share = summary.stored_bytes * 100 / summary.stream_bytes;
        let note = format!("stored {share} %");
        bench.line(&format!("write_image {compression}, {threads} threads"), time, &note);
        bench.read(&path, &summary, compression, threads);
    }
    std::fs::remove_dir_all(&directory).expect("the benchmark's directory is its own");
}

struct Bench {
    size: usize,
    limit: Duration,
}

impl Bench {
    fn line(&self, what: &str, time: Duration, note: &str) {
        let speed = self.size as f64 / 1e6 / time.as_secs_f64();
        let ratio = time.as_secs_f64() / self.limit.as_secs_f64();
        println!("{what:44} {speed:7.0} MB/s  {ratio:5.2} of zstd -1  {note}");
    }

    fn read(&self, path: &Path, summary: &ImageSummary, compression: Compression, threads: usize) {
        let link = ChainLink {
            path: PathBuf::from(path),
            digest: summary.digest,
            from: None,
            to: "s".to_owned(),
        };
        let (time, chain) = timed(|| ChainReader::open(&[link]).expect("the image just written"));
        self.line(&format!("  open {compression}"), time, "with its index");
        for threads in [1, threads] {
            let (time, ()) = timed(|| {
                let mut take = |_, bytes: &[u8]| -> Result<(), ImageError> {
                    std::hint::black_box(bytes);
                    Ok(())
                };
                chain.for_each_block(threads, &mut take).expect("the image just written");
            });
            self.line(&format!("  read {compression}, {threads} threads"), time, "");
        }
        let image = ImageReader::open(path).expect("the image just written");
        let (time, damage) = timed(|| image.verify(threads, &mut |_| Ok(())));
        assert!(damage.expect("threads").is_empty());
        self.line(&format!("  verify {compression}, {threads} threads"), time, "");
        std::fs::remove_file(index_path(path)).expect("its index");
        let (time, _) = timed(|| pve_ferry::repository::image::ImageIndex::scan(path));
        self.line(&format!("  scan {compression}, one thread"), time, "");
    }
}

fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let result = work();
    (start.elapsed(), result)
}

/// A quarter each of text, of noise, of half noise, of zeros; never the same twice.
fn volume(size: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut volume = Vec::with_capacity(size);
    for block in 0..size / 4096 {
        let kind = block / 64 % 4;
        let end = volume.len() + 4096;
        while volume.len() < end {
            let number = random();
            match kind {
                0 => {
                    write!(volume, "{} line {number:x} of a log, ", number % 1000).expect("memory")
                }
                1 => volume.extend(number.to_le_bytes()),
                2 => volume.extend((number & 0x0f0f_0f0f_0f0f_0f0f).to_le_bytes()),
                _ => volume.extend([0; 8]),
            }
        }
        volume.truncate(end);
    }
    volume
}

/// In writes of 4 MiB, as `rbd export-diff` sends a base.
fn stream(volume: &[u8]) -> Vec<u8> {
    let header = Header { from: None, to: Some("s".to_owned()), size: volume.len() as u64 };
    let output = Vec::with_capacity(volume.len() + MIB);
    let mut writer = StreamWriter::new(output, &header).expect("memory");
    for (number, object) in volume.chunks(4 * MIB).enumerate() {
        writer.write((number * 4 * MIB) as u64, object).expect("memory");
    }
    writer.finish().expect("memory")
}

fn write(path: &Path, source: &[u8], compression: Compression, threads: usize) -> ImageSummary {
    let mut data = File::create(path).expect("a file");
    let mut index = File::create(index_path(path)).expect("a file");
    let files = ImageSink { data: &mut data, index: &mut index };
    let header = pve_ferry::stream::StreamReader::new(source)
        .and_then(|mut reader| reader.read_header())
        .expect("our own stream");
    let options = ImageOptions { compression, threads, zeros: ZeroRuns::Aligned };
    write_image(&mut &source[..], &header, files, options, &|_| ()).expect("an image")
}

fn zstd_alone(volume: &[u8]) -> Duration {
    let mut compressor = zstd::bulk::Compressor::new(1).expect("zstd");
    let mut output = Vec::with_capacity(2 * MIB);
    let (time, ()) = timed(|| {
        for chunk in volume.chunks(MIB) {
            output.clear();
            compressor.compress_to_buffer(chunk, &mut output).expect("zstd");
        }
    });
    time
}
