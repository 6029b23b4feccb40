//! Waiting for another run's lock without being deaf: a wish to stop ends it. Not the lock itself:
//! that is the repository's.

use crate::cancel::Cancel;
use crate::clock::Stopwatch;
use crate::context::Context;
use crate::report::Failure;
use crate::repository::{GuestDir, Holder, Lock, LockMode, LockOptions, RepositoryError};
use crate::waits::Waiting;
use std::time::Duration;

/// Why a lock was not taken. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum NoLock {
    /// Another run holds it, or the repository fails.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The user stopped the run while it waited.
    #[error("stopped while it waited for {0}; nothing was changed")]
    Stopped(Box<Holder>),
}

impl NoLock {
    /// The kind of failure that it is.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Repository(error) => crate::run::kind_of(error),
            Self::Stopped(_) => Failure::Interrupted,
        }
    }
}

/// Between two looks at the lock.
const PAUSE: Duration = Duration::from_secs(1);

/// How soon a wish to stop is heard.
const EAR: Duration = Duration::from_millis(100);

/// Takes a lock and waits for its holder as long as the options say; `None` there does not wait.
/// For whom it waits is said once. Blocks.
///
/// # Errors
/// The lock was not taken.
pub(super) fn take(
    directory: &GuestDir,
    mode: LockMode,
    options: &LockOptions,
    cancel: &Cancel,
) -> Result<Lock, NoLock> {
    let begun = Stopwatch::start();
    let at_once = LockOptions { wait: None, what: options.what.clone() };
    let mut waiting = Waiting::at(directory.path().display());
    loop {
        let holder = match directory.lock(mode, &at_once) {
            Err(RepositoryError::Locked { holder, path }) => {
                if options.wait.is_none_or(|limit| begun.elapsed() >= limit) {
                    return Err(RepositoryError::Locked { holder, path }.into());
                }
                holder
            }
            other => return Ok(other?),
        };
        waiting.is_for(holder.waited_for());
        let pause = Stopwatch::start();
        while pause.elapsed() < PAUSE {
            if cancel.is_cancelled() {
                return Err(NoLock::Stopped(holder));
            }
            std::thread::sleep(EAR);
        }
    }
}

/// The same on a thread of its own: waiting for it must not stop other guests.
///
/// # Errors
/// As [`take`].
pub(super) async fn lock(
    ctx: &Context,
    directory: &GuestDir,
    mode: LockMode,
    what: &str,
) -> anyhow::Result<Lock> {
    let directory = directory.clone();
    let options = LockOptions { wait: ctx.limits.lock_wait, what: what.to_owned() };
    let cancel = ctx.cancel.clone();
    Ok(tokio::task::spawn_blocking(move || take(&directory, mode, &options, &cancel)).await??)
}
