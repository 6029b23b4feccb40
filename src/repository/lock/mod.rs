//! Locks on a guest's directory that reach every host which sees the repository. Not flock and not
//! pmxcfs: those do not reach other hosts, or not without quorum.
//!
//! A lock is a file `locks/<16 hex>.lock`. Whoever wants one reads the others, puts its own there
//! whole (written under another name, then renamed) and reads the others again: of two that come
//! at the same time at least one sees the other. Whoever sees a conflict takes its file away and
//! tries again after a random pause, so that both never hold. A holder touches its file every five
//! minutes; after 30 minutes without that the lock is stale. Ages are differences of times that
//! the server itself gave to files, so that no host's clock matters. Some servers leave that to
//! their clients, and clocks are set: where a date may be wrong, whoever waits watches whether it
//! changes. A process that this host can see counts as what it is, whatever its lock's date.

mod holder;
mod others;

pub use holder::{Holder, LockMode};

use super::disk::{Dates, Disk, NOTE_LIMIT};
use super::error::{About, RepositoryError};
use crate::waits::Waiting;
use holder::Whoami;
use others::{Others, Watched};
use std::io;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How a lock is asked for.
#[derive(Debug, Clone, Default)]
pub struct LockOptions {
    /// How long to wait for others; `None` does not wait.
    pub wait: Option<Duration>,
    /// What it is for, in a word or two: others read it in their error.
    pub what: String,
}

/// The intervals; other ones only in tests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    refresh: Duration,
    stale: Duration,
    poll: Duration,
}

pub(crate) const TIMING: Timing = Timing {
    refresh: Duration::from_secs(5 * 60),
    stale: Duration::from_secs(30 * 60),
    poll: Duration::from_secs(1),
};

/// A held lock; dropping it releases it.
#[derive(Debug)]
pub struct Lock {
    guest_dir: PathBuf,
    mode: LockMode,
    ends: Ends,
    held: Arc<Held>,
}

/// What goes with a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// Its file.
    Alone,
    /// The directory, too, when nothing was written to it.
    WithItsDirectory,
}

#[derive(Debug)]
struct Held {
    disk: Disk,
    /// `None` on a file system that is read-only, or has no room for a name: others can write
    /// nothing there, either.
    file: Option<PathBuf>,
    timing: Timing,
    lost: AtomicBool,
    refreshed: Mutex<Instant>,
    released: (Mutex<bool>, Condvar),
}

impl Lock {
    /// Whether it excludes everybody else.
    pub fn mode(&self) -> LockMode {
        self.mode
    }

    /// Refreshes the lock and says whether it is still ours. Asked before every commit: a holder
    /// that slept for too long must not write what another run has replaced meanwhile.
    pub fn still_held(&self) -> bool {
        self.held.refresh();
        !self.held.lost.load(Ordering::SeqCst)
    }

    /// The same lock; with it goes the guest's directory, should nothing be written to it.
    pub(crate) fn of_a_new_place(self) -> Self {
        let mut lock = self;
        lock.ends = Ends::WithItsDirectory;
        lock
    }

    /// An error unless this is an exclusive lock of that guest, which changing anything needs.
    pub(crate) fn covers(&self, guest_dir: &Path) -> Result<(), RepositoryError> {
        let path = guest_dir.to_owned();
        if self.guest_dir != path || self.mode != LockMode::Exclusive || self.held.file.is_none() {
            return Err(RepositoryError::NotLocked { path });
        }
        Ok(())
    }

    /// An error unless the lock is of that guest and still held.
    pub(crate) fn confirm(&self, guest_dir: &Path) -> Result<(), RepositoryError> {
        self.covers(guest_dir)?;
        if self.still_held() {
            return Ok(());
        }
        Err(RepositoryError::LockLost { path: guest_dir.to_owned() })
    }

    fn hold(guest_dir: &Path, wanted: &Wanted<'_>, file: Option<PathBuf>) -> Self {
        let held = Arc::new(Held {
            disk: wanted.disk.clone(),
            file,
            timing: wanted.timing,
            lost: AtomicBool::new(false),
            refreshed: Mutex::new(Instant::now()),
            released: (Mutex::new(false), Condvar::new()),
        });
        if held.file.is_some() {
            let refresher = Arc::clone(&held);
            std::thread::spawn(move || refresher.refresh_until_released());
        }
        let (guest_dir, mode) = (guest_dir.to_owned(), wanted.mode);
        Self { guest_dir, mode, ends: Ends::Alone, held }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        *guard(&self.held.released.0) = true;
        self.held.released.1.notify_all();
        if let Some(file) = &self.held.file {
            // A lock that cannot be removed becomes stale by itself; there is nobody to tell.
            let _ = self.held.disk.unlink(file);
            if self.ends == Ends::WithItsDirectory {
                remove_bare(&self.held.disk, &self.guest_dir);
            }
        }
    }
}

/// Takes a guest's directory away to which nothing was written, as that of a guest that was left out or
/// refused. Only directories that are empty ever go: another run's lock in it, or what one writes at the
/// same moment, keeps them, and whoever finds that its place is gone makes it anew.
fn remove_bare(disk: &Disk, guest_dir: &Path) {
    let names = disk.names(guest_dir);
    if names.is_ok_and(|names| names == [super::layout::LOCKS]) {
        let removed = disk.remove_dir(&guest_dir.join(super::layout::LOCKS));
        // One that stays is as good as one that is not there: nobody reads anything of it.
        let _ = removed.and_then(|()| disk.remove_dir(guest_dir));
    }
}

impl Held {
    fn refresh(&self) {
        let Some(file) = &self.file else { return };
        match self.disk.touch(file) {
            Ok(()) => *guard(&self.refreshed) = Instant::now(),
            Err(error) if is_gone(&error) => self.lost.store(true, Ordering::SeqCst),
            // One failed refresh is no loss yet; a commit, however, wants certainty.
            Err(_) => {
                let age = guard(&self.refreshed).elapsed();
                if age + self.timing.refresh >= self.timing.stale {
                    self.lost.store(true, Ordering::SeqCst);
                }
            }
        }
    }

    fn refresh_until_released(&self) {
        let mut released = guard(&self.released.0);
        while !*released {
            let wait = self.released.1.wait_timeout(released, self.timing.refresh);
            let (next, timeout) = wait.unwrap_or_else(PoisonError::into_inner);
            released = next;
            if timeout.timed_out() && !*released {
                drop(released);
                self.refresh();
                released = guard(&self.released.0);
            }
        }
    }
}

/// A panic elsewhere leaves these values whole, so a poisoned mutex is no reason to stop.
fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(nix::libc::ESTALE)
}

/// Whether there was no room.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// What is asked for, by whom.
pub(crate) struct Wanted<'a> {
    pub(crate) disk: &'a Disk,
    pub(crate) mode: LockMode,
    pub(crate) options: &'a LockOptions,
    pub(crate) timing: Timing,
    pub(crate) whoami: Whoami,
    /// Whose clock dates files there.
    pub(crate) dates: Dates,
}

impl<'a> Wanted<'a> {
    /// What this process asks for.
    pub(crate) fn by_us(
        guest_dir: &Path,
        disk: &'a Disk,
        mode: LockMode,
        options: &'a LockOptions,
    ) -> Self {
        let (timing, whoami) = (TIMING, Whoami::this_process());
        Self { disk, mode, options, timing, whoami, dates: disk.dates(guest_dir) }
    }
}

/// Takes a lock on a guest's directory, whose `locks/` must exist or be creatable.
pub(crate) fn acquire(guest_dir: &Path, wanted: &Wanted<'_>) -> Result<Lock, RepositoryError> {
    let start = Instant::now();
    let mut races = 0;
    let mut waiting = Waiting::at(guest_dir.display());
    let mut watched = Watched::default();
    loop {
        match attempt(guest_dir, wanted, &mut watched)? {
            Attempt::Held(lock) => return Ok(lock),
            // Two came at the same time: a random pause, and one of them is first.
            Attempt::Race if races < 50 => {
                races += 1;
                std::thread::sleep(Duration::from_millis(20 + random() % 280));
            }
            Attempt::Race => return Err(busy(guest_dir, Holder::unknown())),
            Attempt::Conflict(holder) => {
                if wanted.options.wait.is_none_or(|limit| start.elapsed() >= limit) {
                    return Err(busy(guest_dir, *holder));
                }
                waiting.is_for(holder.waited_for());
                std::thread::sleep(wanted.timing.poll);
            }
        }
    }
}

fn busy(guest_dir: &Path, holder: Holder) -> RepositoryError {
    RepositoryError::Locked { path: guest_dir.to_owned(), holder: Box::new(holder) }
}

enum Attempt {
    Held(Lock),
    Conflict(Box<Holder>),
    Race,
}

fn attempt(
    guest_dir: &Path,
    wanted: &Wanted<'_>,
    watched: &mut Watched,
) -> Result<Attempt, RepositoryError> {
    let dir = guest_dir.join(super::layout::LOCKS);
    let own = match OwnFile::write(&dir, wanted) {
        Ok(own) => own,
        Err(RepositoryError::Io { source, .. })
            if wanted.mode == LockMode::Shared
                && (source.kind() == io::ErrorKind::ReadOnlyFilesystem || is_full(&source)) =>
        {
            return Ok(Attempt::Held(Lock::hold(guest_dir, wanted, None)));
        }
        Err(error) => return Err(error),
    };
    let result = own.contend(guest_dir, wanted, watched);
    if !matches!(result, Ok(Attempt::Held(_))) {
        own.remove(wanted.disk);
    }
    result
}

/// Our file while we try: first under a name that nobody counts, then as a lock.
struct OwnFile {
    draft: PathBuf,
    lock: PathBuf,
    /// The server's clock when the file was made.
    now: std::time::SystemTime,
}

impl OwnFile {
    fn write(dir: &Path, wanted: &Wanted<'_>) -> Result<Self, RepositoryError> {
        let disk = wanted.disk;
        if disk.facts(dir).about("look at", dir)?.is_none() {
            match disk.create_dir(dir) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => other.about("make the directory", dir)?,
            }
        }
        let random = format!("{:016x}", random());
        let draft = dir.join(format!("{random}.tmp"));
        let mut file = disk.create_new(&draft).about("make the lock file", &draft)?;
        let written = (|| {
            let now = file.facts()?.modified()?;
            let holder = wanted.whoami.holder(random.clone(), wanted, now);
            let text = serde_json::to_string_pretty(&holder)?;
            if text.len() as u64 > NOTE_LIMIT {
                let why = format!("it would have more than {NOTE_LIMIT} bytes, which nobody reads");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
            }
            file.write_all(text.as_bytes())?;
            file.fsync()?;
            Ok(now)
        })();
        // On a full file system room is made, and a guest is restored, under a lock like any other:
        // a file without its content excludes everybody, as what cannot be understood is held.
        let written = match written {
            Err(full) if is_full(&full) => file.facts().and_then(|facts| facts.modified()),
            other => other,
        };
        let lock = dir.join(format!("{random}.lock"));
        match written.about("write the lock file", &draft) {
            Ok(now) => Ok(Self { draft, lock, now }),
            Err(error) => {
                // The first error is the one to tell.
                let _ = disk.unlink(&draft);
                Err(error)
            }
        }
    }

    fn contend(
        &self,
        guest_dir: &Path,
        wanted: &Wanted<'_>,
        watched: &mut Watched,
    ) -> Result<Attempt, RepositoryError> {
        let dir = &guest_dir.join(super::layout::LOCKS);
        Others { dir, now: self.now, own: &self.draft }.remove_stale(wanted, watched)?;
        let others = Others { dir, now: self.now, own: &self.lock };
        if let Some(holder) = others.conflict(wanted)? {
            return Ok(Attempt::Conflict(Box::new(holder)));
        }
        wanted.disk.rename(&self.draft, &self.lock).about("rename the lock file", &self.draft)?;
        if others.conflict(wanted)?.is_some() {
            return Ok(Attempt::Race);
        }
        Ok(Attempt::Held(Lock::hold(guest_dir, wanted, Some(self.lock.clone()))))
    }

    fn remove(&self, disk: &Disk) {
        for path in [&self.draft, &self.lock] {
            // Only one of the names exists; what cannot be removed becomes stale.
            let _ = disk.unlink(path);
        }
    }
}

fn random() -> u64 {
    // Without a random source the process id still tells the processes of one host apart, and a
    // collision of names is an error of `create_new`, never two holders.
    getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()))
}

#[cfg(test)]
mod tests;
