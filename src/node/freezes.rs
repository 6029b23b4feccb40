//! Freezes that runs on this node have begun and whose thaw nobody has seen yet, noted so that they
//! survive a killed run and a power loss. They only explain: whether a guest is frozen, its agent says.
//!
//! A note is held under flock(2) by the run that wrote it, as long as that lives: whoever gets the
//! lock has found what a dead run left, whatever process has its number by now.

use super::NodeError;
use crate::clock::host_name;
use crate::model::{Moment, VmId};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// A freeze of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freeze {
    /// The guest.
    pub vmid: VmId,
    /// The node that it was on.
    pub node: String,
    /// What distinguishes this freeze from others of the guest; the guard's name ends with it.
    pub token: String,
    /// When it was about to begin.
    pub at: Moment,
    /// The process of the run.
    pub pid: u32,
    /// That process's machine: the directory may be on a file system that several share.
    pub host: String,
}

impl Freeze {
    /// A freeze that this process is about to begin.
    pub fn of_this_process(vmid: VmId, node: &str, token: &str, at: Moment) -> Self {
        let (node, token) = (node.to_owned(), token.to_owned());
        Self { vmid, node, token, at, pid: std::process::id(), host: host_name() }
    }
}

impl fmt::Display for Freeze {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, at, pid, host, .. } = self;
        write!(
            f,
            "the run of pid {pid} on {host} ended while the guest was frozen (on {node}, {at})"
        )
    }
}

/// The notes of this node.
#[derive(Debug, Clone)]
pub struct Freezes {
    directory: PathBuf,
}

/// A note that is held. Dropped, it stays: nobody has seen the guest thawed.
#[derive(Debug)]
pub struct FreezeNote {
    path: PathBuf,
    _lock: Flock<File>,
}

impl Freezes {
    /// The notes below `state`: `/var/lib/pve-ferry`, or what `PVE_FERRY_STATE` says.
    pub fn new(state: &Path) -> Self {
        Self { directory: state.join("freezes") }
    }

    /// Notes a freeze durably, before it begins.
    ///
    /// # Errors
    /// The state directory cannot be written; nothing is noted then.
    pub fn note(&self, freeze: &Freeze) -> Result<FreezeNote, NodeError> {
        let path = self.path(freeze);
        self.write(&path, freeze).map_err(NodeError::write(path))
    }

    fn write(&self, path: &Path, freeze: &Freeze) -> io::Result<FreezeNote> {
        fs::create_dir_all(&self.directory)?;
        let draft = path.with_extension("tmp");
        // The lock goes with the file through its renaming: nobody sees the note without it.
        let mut lock = locked(File::create(&draft)?)?;
        lock.write_all(serde_json::to_string_pretty(freeze)?.as_bytes())?;
        lock.sync_all()?;
        fs::rename(&draft, path)?;
        File::open(&self.directory)?.sync_all()?;
        Ok(FreezeNote { path: path.to_owned(), _lock: lock })
    }

    /// What dead runs of this machine have left of a guest, oldest first. A note that cannot be read
    /// explains nothing.
    pub fn left(&self, vmid: VmId) -> Vec<Freeze> {
        let mut left: Vec<Freeze> = self.notes().filter_map(|path| of_dead_run(&path)).collect();
        left.retain(|freeze| freeze.vmid == vmid);
        left.sort_by(|a, b| (a.at, &a.token).cmp(&(b.at, &b.token)));
        left
    }

    /// Removes what dead runs of this machine have left of a guest: it was seen thawed.
    ///
    /// # Errors
    /// One cannot be removed; the next run then says once more that the guest was left frozen.
    pub fn forget(&self, vmid: VmId) -> Result<(), NodeError> {
        self.left(vmid)
            .iter()
            .map(|freeze| self.path(freeze))
            .try_for_each(|path| fs::remove_file(&path).map_err(NodeError::write(path)))
    }

    fn notes(&self) -> impl Iterator<Item = PathBuf> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "json"))
    }

    fn path(&self, freeze: &Freeze) -> PathBuf {
        self.directory.join(format!("{}-{}.json", freeze.vmid, freeze.token))
    }
}

impl FreezeNote {
    /// Takes the note back: the guest was seen thawed, or was never frozen.
    ///
    /// # Errors
    /// It cannot be removed; the next run of the guest then says that it was left frozen.
    pub fn clear(self) -> Result<(), NodeError> {
        fs::remove_file(&self.path).map_err(NodeError::write(self.path))
    }
}

fn of_dead_run(path: &Path) -> Option<Freeze> {
    let freeze: Freeze = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    let is_free = locked(File::open(path).ok()?).is_ok();
    (is_free && freeze.host == host_name()).then_some(freeze)
}

fn locked(file: File) -> io::Result<Flock<File>> {
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn freeze(vmid: &str, token: &str) -> Freeze {
        let at = Moment::from_unix(5);
        Freeze::of_this_process(vmid.parse().unwrap(), "pve1", token, at)
    }

    #[test]
    fn a_freeze_is_left_when_its_run_is_dead_and_forgotten_when_the_guest_was_seen_thawed() {
        let dir = tempfile::tempdir().unwrap();
        let freezes = Freezes::new(dir.path());
        let (mine, other) = (freeze("100", "aa"), freeze("101", "bb"));
        assert_eq!(freezes.left(mine.vmid), []);
        let (note, others) = (freezes.note(&mine).unwrap(), freezes.note(&other).unwrap());
        assert_eq!(freezes.left(mine.vmid), [], "its run lives");
        freezes.forget(mine.vmid).unwrap();
        drop(note);
        assert_eq!(freezes.left(mine.vmid), std::slice::from_ref(&mine), "a live run's note stays");
        drop(others);
        freezes.forget(mine.vmid).unwrap();
        assert_eq!(freezes.left(mine.vmid), []);
        assert_eq!(freezes.left(other.vmid), [other]);
        freezes.note(&mine).unwrap().clear().unwrap();
        assert_eq!(freezes.left(mine.vmid), []);
    }

    #[test]
    fn a_freeze_of_another_machine_or_a_torn_note_explains_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let freezes = Freezes::new(dir.path());
        let mine = freeze("100", "aa");
        let elsewhere = Freeze { host: "another-machine".to_owned(), ..mine.clone() };
        drop(freezes.note(&elsewhere).unwrap());
        assert_eq!(freezes.left(mine.vmid), []);
        drop(freezes.note(&mine).unwrap());
        let path = freezes.path(&mine);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, &text[..text.len() / 2]).unwrap();
        assert_eq!(freezes.left(mine.vmid), []);
    }
}
