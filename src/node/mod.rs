//! What stands on this node alone: its cron file, the results of its jobs' last runs, its timers,
//! what its restores and freezes have under way.
//! Not for what the cluster shares: that is `pve`.

pub mod cron_d;
pub mod freezes;
pub mod last_run;
pub mod timers;
pub mod unfinished;

use std::io;
use std::path::PathBuf;

/// Why something of this node could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// There is no directory for cron files.
    #[error("{} is not there: install cron, or no job will run on this node", .0.display())]
    NoCron(PathBuf),
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file could not be written; the old one is still there.
    #[error("cannot write {} (what was there is still there)", path.display())]
    Write {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl NodeError {
    fn read(path: PathBuf) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Read { path, source }
    }

    fn write(path: PathBuf) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Write { path, source }
    }
}
