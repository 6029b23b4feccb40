//! A bounded run of all targets on the stable toolchain: valid inputs, changed at random but always in
//! the same way. It searches by luck; to search by coverage is libFuzzer's work.
//!
//! `cargo test --test fuzz -- [SECONDS [SEED]]`, 5 seconds unless told; the input that made a target panic is
//! printed as hexadecimal digits. It is a test of the product's workspace, not a program of the fuzz workspace:
//! the library that two workspaces build has one file name, and whoever builds next would link the wrong one.

// A test that cannot go on fails: that is its work. Its numbers are small, and what it found must be seen.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_possible_truncation
)]

#[path = "src/lib.rs"]
mod targets;

use nix::sys::resource::{Resource, setrlimit};
use std::panic::catch_unwind;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use targets::{TARGETS, Target};

/// Bytes of address space: an allocation that foreign input asks for ends the run.
const MEMORY: u64 = 2 << 30;

fn main() -> ExitCode {
    setrlimit(Resource::RLIMIT_AS, MEMORY, MEMORY).unwrap();
    let words = std::env::args().skip(1).filter(|word| !word.starts_with('-'));
    let Ok(words) = words.map(|word| word.parse::<u64>()).collect::<Result<Vec<_>, _>>() else {
        // `cargo test WORD` looks for another test.
        println!("SKIPPED, as other words than SECONDS and SEED were given: the fuzz run");
        return ExitCode::SUCCESS;
    };
    let mut words = words.into_iter();
    let seconds = words.next().unwrap_or(5);
    let mut random = Random(words.next().unwrap_or(1) | 1);
    let share = Duration::from_secs(seconds) / TARGETS.len() as u32;
    for target in TARGETS {
        match run(target, share, &mut random) {
            Ok(count) => println!("{}: {count} inputs", target.name),
            Err(input) => {
                let digits: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
                println!("{}: panicked with {digits}", target.name);
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

/// Runs for `share`; the count of inputs, or the input that made it panic.
fn run(target: &Target, share: Duration, random: &mut Random) -> Result<u64, Vec<u8>> {
    let seeds = (target.seeds)();
    let start = Instant::now();
    let mut count = 0;
    for seed in &seeds {
        try_input(target, seed.clone())?;
    }
    while start.elapsed() < share {
        let mut input = seeds[random.below(seeds.len())].clone();
        for _ in 0..=random.below(4) {
            change(&mut input, random);
        }
        try_input(target, input)?;
        count += 1;
    }
    Ok(count)
}

fn try_input(target: &Target, input: Vec<u8>) -> Result<(), Vec<u8>> {
    catch_unwind(|| (target.run)(&input)).map_err(|_| input)
}

/// Numbers that break things: borders of types, of granules, of frames.
const NUMBERS: [u64; 12] = [
    0,
    1,
    u64::MAX,
    u64::MAX - 1,
    1 << 63,
    1 << 32,
    u32::MAX as u64,
    65_535,
    65_536,
    1 << 20,
    (1 << 20) + 1,
    4096,
];

fn change(input: &mut Vec<u8>, random: &mut Random) {
    if input.is_empty() {
        return;
    }
    let at = random.near_an_end(input.len());
    let end = (at + 1 + random.below(64)).min(input.len());
    match random.below(7) {
        0 => input[at] ^= 1 << random.below(8),
        1 => input[at] = random.next() as u8,
        2 => input.truncate(at),
        3 => drop(input.drain(at..end)),
        4 => {
            let copy = input[at..end].to_vec();
            let to = random.near_an_end(input.len());
            input.splice(to..to, copy);
        }
        5 => {
            let number = NUMBERS[random.below(NUMBERS.len())].to_le_bytes();
            let length = number.len().min(input.len() - at);
            input[at..at + length].copy_from_slice(&number[..length]);
        }
        _ => input[at] = b"ftswze"[random.below(6)],
    }
}

/// xorshift64: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// A position; records stand near the ends, data in between.
    fn near_an_end(&mut self, length: usize) -> usize {
        let distance = self.below(length.min(120));
        match self.below(3) {
            0 => self.below(length),
            1 => distance,
            _ => length - 1 - distance,
        }
    }
}
