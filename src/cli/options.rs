//! Options that mean the same in every command. What is typed is made into values here.

use super::error::CliError;
use crate::cancel::Cancel;
use crate::context::Limits;
use crate::model::{Invalid, Label, Rate};
use crate::repository::image::{Compression, ImageOptions, ZeroRuns};
use crate::stall::STALL_TIMEOUT;
use crate::throttle::Throttle;
use clap::Args;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// How much is said.
#[derive(Debug, Clone, Args)]
pub struct Logging {
    /// Say every command that is run, with its duration and status, on stderr.
    #[arg(long, global = true, help_heading = "Output")]
    pub debug: bool,
    /// Say only warnings and errors.
    #[arg(long, global = true, help_heading = "Output", conflicts_with = "debug")]
    pub quiet: bool,
}

/// Where the repository is.
#[derive(Debug, Args)]
pub struct Common {
    /// The repository: a directory that must exist.
    #[arg(long, value_name = "DIR")]
    pub path: PathBuf,
}

/// How much happens at once.
#[derive(Debug, Args)]
pub struct Parallel {
    /// Guests, and volumes over all guests, at once.
    #[arg(long, alias = "max-parallel", value_name = "N", default_value_t = 2)]
    pub jobs: u16,
    /// Threads that compress, decompress and hash [default: all cores].
    #[arg(long, alias = "compressthreads", value_name = "N")]
    pub threads: Option<u16>,
    /// Storage operations in flight per volume.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub iothreads: u16,
    /// All transfers together move at most so much [default: no limit].
    #[arg(long, value_name = "RATE")]
    pub bwlimit: Option<Rate>,
    /// Seconds to wait for locks of other runs [default: not at all].
    #[arg(long, value_name = "SECONDS")]
    pub lock_wait: Option<u64>,
    #[command(flatten)]
    pub stall: Stall,
}

/// How long data may stand still.
#[derive(Debug, Args)]
pub struct Stall {
    /// Give a transfer up in which no byte has moved for so many seconds; after half of them there is a
    /// warning.
    #[arg(long, value_name = "SECONDS", default_value_t = 600,
        value_parser = clap::value_parser!(u64).range(1..=604_800))]
    pub stall_timeout: u64,
}

impl Stall {
    /// The limit.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.stall_timeout)
    }
}

/// A label as it is typed.
///
/// # Errors
/// It is none; where only its case is wrong, the error says how it is written.
pub fn label(text: &str) -> Result<Label, CliError> {
    text.parse().map_err(|wrong: Invalid| match text.to_ascii_lowercase().parse::<Label>() {
        Ok(right) => CliError::usage(format!("{wrong}: write --label {right}")),
        Err(_) => CliError::usage(format!(
            "--label: {wrong}; usual ones are hourly, daily, weekly, monthly"
        )),
    })
}

/// Limits are numbers of at least one.
fn at_least_one(number: u16) -> usize {
    usize::from(number.max(1))
}

impl Parallel {
    /// Threads as asked for, or one per core.
    pub fn threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        self.threads.map_or_else(cores, at_least_one)
    }

    /// The limits of a run.
    pub fn limits(&self, compression: Compression) -> Limits {
        let jobs = at_least_one(self.jobs);
        Limits {
            guests: jobs,
            transfers: Arc::new(Semaphore::new(jobs)),
            throttle: Throttle::new(self.bwlimit),
            stall_timeout: self.stall.timeout(),
            repository_hangs: Cancel::default(),
            image: ImageOptions {
                compression,
                threads: self.threads(),
                zeros: ZeroRuns::default(),
            },
            lock_wait: Some(Duration::from_secs(self.lock_wait.unwrap_or(0))),
        }
    }
}

/// The limits of a run that needs a repository for the most part, and takes one guest after another.
pub fn limits_of_one(threads: Option<u16>, lock_wait: u64) -> Limits {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    Limits {
        guests: 1,
        transfers: Arc::new(Semaphore::new(1)),
        throttle: Throttle::default(),
        stall_timeout: STALL_TIMEOUT,
        repository_hangs: Cancel::default(),
        image: ImageOptions {
            compression: Compression::None,
            threads: threads.map_or_else(cores, |n| usize::from(n.max(1))),
            zeros: ZeroRuns::default(),
        },
        lock_wait: Some(Duration::from_secs(lock_wait)),
    }
}

/// The user's wish to stop, wired to the signals.
pub fn cancel() -> Cancel {
    Cancel::default()
}
