//! What large things cost, in figures: many points, a long chain, indexes of millions of records, a thin
//! volume of 4 TiB. It prints; it judges nothing, because machines differ. What must not grow is counted
//! by tests.
//!
//! `cargo bench --bench scale [-- POINTS]`: 10,000 points unless told. It writes some hundred MiB below
//! `TMPDIR`; with a tmpfs there, the figures are the program's and not the disk's.
#![allow(clippy::expect_used, clippy::print_stdout, clippy::cast_possible_truncation)]

mod chain;
mod points;
mod sparse;

use std::time::Instant;

fn main() {
    let wanted = std::env::args().filter_map(|word| word.parse::<u64>().ok()).next();
    let points = wanted.unwrap_or(10_000);
    for renewed in [30, points] {
        points::planned(points, renewed);
    }
    let directory = std::env::temp_dir().join(format!("ferry-scale-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory for the benchmark");
    points::stored(&directory.join("points"), points);
    chain::long(&directory.join("long"));
    chain::scattered(&directory.join("scattered"));
    sparse::compared(&directory.join("sparse"));
    std::fs::remove_dir_all(&directory).expect("the benchmark's directory is its own");
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let result = work();
    println!("{what:70} {:8.3} s", begun.elapsed().as_secs_f64());
    result
}

/// Forgets the most memory that this process had until now (proc(5), clear_refs).
fn forget_peak() {
    std::fs::write("/proc/self/clear_refs", "5").expect("proc");
}

/// The memory that this process has and the most that it had, in MiB (`VmRSS`, `VmHWM`).
fn memory() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mib = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kib = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
        kib.unwrap_or_default() / 1024
    };
    (mib("VmRSS:"), mib("VmHWM:"))
}

/// The files that this process has open.
fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}
