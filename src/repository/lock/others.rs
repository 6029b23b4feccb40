//! The locks of others: which are stale, which are in our way. Not for our own file.

use super::holder::{Holder, LockMode};
use super::{Wanted, is_gone};
use crate::repository::disk::NOTE_LIMIT;
use crate::repository::error::{About, RepositoryError};
use std::io;
use std::path::Path;
use std::time::SystemTime;

/// The directory of locks as we look at it.
pub(super) struct Others<'a> {
    pub(super) dir: &'a Path,
    /// The server's clock, as it dated our own file.
    pub(super) now: SystemTime,
    /// Our own lock, which is never in our way.
    pub(super) own: &'a Path,
}

impl Others<'_> {
    /// Removes what dead and vanished holders left. Its name is random, so that nobody else's lock
    /// can bear it meanwhile; a holder that only slept notices that its file is gone.
    pub(super) fn remove_stale(&self, wanted: &Wanted<'_>) -> Result<(), RepositoryError> {
        for name in self.names(wanted)? {
            let path = self.dir.join(&name);
            let stale = self.is_old(&path, wanted)?
                || (name.ends_with(".lock")
                    && self.read(&path, wanted)?.is_some_and(|h| wanted.whoami.knows_dead(&h)));
            if stale {
                match wanted.disk.unlink(&path) {
                    Err(error) if is_gone(&error) => {}
                    other => other.about("remove the stale lock", &path)?,
                }
            }
        }
        Ok(())
    }

    /// The first lock that excludes ours.
    pub(super) fn conflict(&self, wanted: &Wanted<'_>) -> Result<Option<Holder>, RepositoryError> {
        for name in self.names(wanted)? {
            let path = self.dir.join(&name);
            if !name.ends_with(".lock") || path == self.own {
                continue;
            }
            let Some(holder) = self.read(&path, wanted)? else { continue };
            if wanted.mode == LockMode::Exclusive || holder.mode == LockMode::Exclusive {
                return Ok(Some(holder));
            }
        }
        Ok(None)
    }

    fn names(&self, wanted: &Wanted<'_>) -> Result<Vec<String>, RepositoryError> {
        let mut names = wanted.disk.names(self.dir).about("list the locks in", self.dir)?;
        // A label may be called "locks": its points are directories with other names.
        names.retain(|name| name.ends_with(".lock") || name.ends_with(".tmp"));
        Ok(names)
    }

    /// The holder; `None` when the lock was released meanwhile. What cannot be understood is held.
    fn read(&self, path: &Path, wanted: &Wanted<'_>) -> Result<Option<Holder>, RepositoryError> {
        match wanted.disk.read_at_most(path, NOTE_LIMIT) {
            Ok(bytes) => {
                Ok(Some(serde_json::from_slice(&bytes).unwrap_or_else(|_| Holder::unknown())))
            }
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(Some(Holder::unknown())),
            Err(error) => Err(RepositoryError::io("read the lock", path, error)),
        }
    }

    fn is_old(&self, path: &Path, wanted: &Wanted<'_>) -> Result<bool, RepositoryError> {
        let Some(facts) = wanted.disk.facts(path).about("look at the lock", path)? else {
            return Ok(false);
        };
        let touched = facts.modified().about("look at the lock", path)?;
        let age = self.now.duration_since(touched).unwrap_or_default();
        Ok(age > wanted.timing.stale)
    }
}
