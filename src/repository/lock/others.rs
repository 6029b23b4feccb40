//! The locks of others: which are stale, which are in our way. Not for our own file.

use super::holder::{Holder, Liveness, LockMode};
use super::{Timing, Wanted, is_gone};
use crate::repository::disk::Dates;
use crate::repository::disk::NOTE_LIMIT;
use crate::repository::error::{About, RepositoryError};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

/// The directory of locks as we look at it.
pub(super) struct Others<'a> {
    pub(super) dir: &'a Path,
    /// The server's clock, as it dated our own file.
    pub(super) now: SystemTime,
    /// Our own lock, which is never in our way.
    pub(super) own: &'a Path,
}

/// No file that is touched every few minutes is dated so far from now, whoever dates it.
const ABSURD: Duration = Duration::from_secs(24 * 60 * 60);

/// Locks whose dates tell too little, with the dates that they had when they were first seen. It
/// lives as long as somebody waits for them.
#[derive(Debug, Default)]
pub(super) struct Watched(BTreeMap<String, (SystemTime, Instant)>);

impl Watched {
    /// Whether a file has kept its date for so long that a living holder would have refreshed it.
    fn kept_its_date(&mut self, name: &str, date: SystemTime, timing: &Timing) -> bool {
        let (seen, since) = *self.0.entry(name.to_owned()).or_insert((date, Instant::now()));
        if seen != date {
            self.0.insert(name.to_owned(), (date, Instant::now()));
            return false;
        }
        since.elapsed() > timing.refresh + timing.refresh / 5
    }
}

/// What a file's date says of its holder, of whom nothing else is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ByDate {
    /// It was refreshed not long ago.
    Held,
    /// It was not.
    Stale,
    /// The date may be wrong: only whether it changes tells something.
    Watch,
}

/// Judges a date. One in the future comes of a clock that was wrong, then or now; one in the past is
/// an age only where the same clock gave both dates.
pub(super) fn by_date(now: SystemTime, date: SystemTime, dates: Dates, timing: &Timing) -> ByDate {
    let (age, is_past) = match now.duration_since(date) {
        Ok(age) => (age, true),
        Err(ahead) => (ahead.duration(), false),
    };
    match dates {
        _ if age <= timing.stale => ByDate::Held,
        _ if age > ABSURD => ByDate::Stale,
        Dates::OfServer if is_past => ByDate::Stale,
        _ => ByDate::Watch,
    }
}

impl Others<'_> {
    /// Removes what dead and vanished holders left, unfinished files too. Its name is random, so that
    /// nobody else's lock can bear it meanwhile; a holder that only slept notices that its file is
    /// gone.
    pub(super) fn remove_stale(
        &self,
        wanted: &Wanted<'_>,
        watched: &mut Watched,
    ) -> Result<(), RepositoryError> {
        for name in self.names(wanted)? {
            let path = self.dir.join(&name);
            if path != self.own && self.is_stale(&path, wanted, watched)? {
                match wanted.disk.unlink(&path) {
                    Err(error) if is_gone(&error) => {}
                    other => other.about("remove the stale lock", &path)?,
                }
            }
        }
        Ok(())
    }

    fn is_stale(
        &self,
        path: &Path,
        wanted: &Wanted<'_>,
        watched: &mut Watched,
    ) -> Result<bool, RepositoryError> {
        let Some(holder) = self.read(path, wanted)? else { return Ok(false) };
        match wanted.whoami.liveness(&holder) {
            Liveness::Lives => return Ok(false),
            Liveness::Dead => return Ok(true),
            Liveness::Unknown => {}
        }
        let Some(facts) = wanted.disk.facts(path).about("look at the lock", path)? else {
            return Ok(false);
        };
        let date = facts.modified().about("look at the lock", path)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Ok(match by_date(self.now, date, wanted.dates, &wanted.timing) {
            ByDate::Held => false,
            ByDate::Stale => true,
            ByDate::Watch => watched.kept_its_date(&name, date, &wanted.timing),
        })
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
        // Nothing else is ours: a label may be called "locks", and a stranger may have put more.
        names.retain(|name| is_ours(name));
        let mut files = Vec::with_capacity(names.len());
        for name in names {
            if !self.is_no_file(&name, wanted)? {
                files.push(name);
            }
        }
        Ok(files)
    }

    /// Whether what bears the name is a directory, a link or the like. Whoever locks makes a file and
    /// nothing else: it holds nothing, is in nobody's way, and not ours to remove. A name that is listed
    /// and not found, as by an NFS client's memory, is a file.
    fn is_no_file(&self, name: &str, wanted: &Wanted<'_>) -> Result<bool, RepositoryError> {
        let path = self.dir.join(name);
        let facts = wanted.disk.facts(&path).about("look at the lock", &path)?;
        Ok(facts.is_some_and(|facts| !facts.is_file()))
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
}

/// `<16 hex>.lock`, and `.tmp` while it is written.
fn is_ours(name: &str) -> bool {
    let stem = name.strip_suffix(".lock").or_else(|| name.strip_suffix(".tmp"));
    let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    stem.is_some_and(|stem| stem.len() == 16 && stem.bytes().all(is_hex))
}
