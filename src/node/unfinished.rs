//! Volumes that restores on this node have made and not finished, noted so that they survive a
//! killed run and a power loss. Not for deciding what becomes of them: that is `plan::restore`.
//!
//! A note is held under flock(2) by the run that wrote it, as long as that lives: whoever gets the
//! lock has found what a dead run left, whatever process has its number by now.

use super::NodeError;
use crate::clock::host_name;
use crate::model::{Moment, VmId, VolumeId, VolumeIdentity};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// A volume that a restore made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeVolume {
    /// The guest that it is meant for.
    pub vmid: VmId,
    /// Its id.
    pub volume: VolumeId,
    /// What it is: another volume of that name is none of ours.
    pub identity: VolumeIdentity,
    /// When it was made.
    pub at: Moment,
    /// The process that made it.
    pub pid: u32,
    /// That process's machine: the directory may be on a file system that several share.
    pub host: String,
}

/// The notes of this node.
#[derive(Debug, Clone)]
pub struct UnfinishedRestores {
    directory: PathBuf,
}

/// A note that is held. Dropped, it stays: the volume was left.
#[derive(Debug)]
pub struct Note {
    path: PathBuf,
    _lock: Flock<File>,
}

impl UnfinishedRestores {
    /// The notes below `state`: `/var/lib/pve-ferry`, or what `PVE_FERRY_STATE` says.
    pub fn new(state: &Path) -> Self {
        Self { directory: state.join("restores") }
    }

    /// Notes durably that this process has made a volume.
    ///
    /// # Errors
    /// The state directory cannot be written; nothing is noted then.
    pub fn note(
        &self,
        vmid: VmId,
        made: (&VolumeId, &VolumeIdentity),
        at: Moment,
    ) -> Result<Note, NodeError> {
        let (volume, identity) = (made.0.clone(), made.1.clone());
        let (pid, host) = (std::process::id(), host_name());
        let made = MadeVolume { vmid, volume, identity, at, pid, host };
        let path = self.path(&made);
        self.write(&path, &made).map_err(NodeError::write(path))
    }

    fn write(&self, path: &Path, made: &MadeVolume) -> io::Result<Note> {
        fs::create_dir_all(&self.directory)?;
        let draft = path.with_extension("json.tmp");
        // The lock goes with the file through its renaming: nobody sees the note without it.
        let mut lock = locked(File::create(&draft)?, FlockArg::LockExclusiveNonblock)?;
        lock.write_all(serde_json::to_string_pretty(made)?.as_bytes())?;
        lock.sync_all()?;
        fs::rename(&draft, path)?;
        File::open(&self.directory)?.sync_all()?;
        Ok(Note { path: path.to_owned(), _lock: lock })
    }

    /// What dead runs of this machine have left of a guest. A note that cannot be read tells
    /// nothing: what it is about is then nobody's to remove.
    pub fn left(&self, vmid: VmId) -> Vec<MadeVolume> {
        let Ok(entries) = fs::read_dir(&self.directory) else { return Vec::new() };
        let notes = entries.flatten().map(|entry| entry.path());
        let notes = notes.filter(|path| path.extension().is_some_and(|e| e == "json"));
        let mut left: Vec<MadeVolume> = notes.filter_map(|path| of_dead_run(&path)).collect();
        left.retain(|made| made.vmid == vmid);
        left.sort_by(|a, b| a.volume.cmp(&b.volume));
        left
    }

    /// Takes a dead run's note over, so that nobody else acts on it; none when there is none, or
    /// somebody else holds it.
    pub fn take(&self, vmid: VmId, volume: &VolumeId, identity: &VolumeIdentity) -> Option<Note> {
        let is_it = |made: &MadeVolume| made.volume == *volume && made.identity == *identity;
        let path = self.path(&self.left(vmid).into_iter().find(is_it)?);
        let lock = locked(File::open(&path).ok()?, FlockArg::LockExclusiveNonblock).ok()?;
        // Whoever held it until now may have removed it: then there is nothing to take over.
        path.exists().then_some(Note { path, _lock: lock })
    }

    /// One file for each volume that ever was: an identity is never given twice.
    fn path(&self, made: &MadeVolume) -> PathBuf {
        let digest = blake3::hash(format!("{} {}", made.volume, made.identity).as_bytes());
        self.directory.join(format!("{}-{}.json", made.vmid, &digest.to_hex()[..16]))
    }
}

impl Note {
    /// Takes the note back: the volume is no longer half, or no longer there.
    ///
    /// # Errors
    /// It cannot be removed; a later restore of the guest then looks at the volume once more.
    pub fn clear(self) -> Result<(), NodeError> {
        let removed = fs::remove_file(&self.path).and_then(|()| match self.path.parent() {
            Some(directory) => File::open(directory)?.sync_all(),
            None => Ok(()),
        });
        removed.map_err(NodeError::write(self.path))
    }
}

fn of_dead_run(path: &Path) -> Option<MadeVolume> {
    let made: MadeVolume = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    let free = locked(File::open(path).ok()?, FlockArg::LockSharedNonblock).is_ok();
    (free && made.host == host_name()).then_some(made)
}

fn locked(file: File, how: FlockArg) -> io::Result<Flock<File>> {
    Flock::lock(file, how).map_err(|(_, errno)| errno.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_left_when_its_run_is_dead_and_gone_when_it_is_cleared() {
        let dir = tempfile::tempdir().unwrap();
        let notes = UnfinishedRestores::new(dir.path());
        let (vmid, other) = ("100".parse().unwrap(), "101".parse().unwrap());
        let volume: VolumeId = "ceph:vm-100-disk-0".parse().unwrap();
        let identity = VolumeIdentity::Memory { id: 7 };
        assert_eq!(notes.left(vmid), []);
        let note = notes.note(vmid, (&volume, &identity), Moment::from_unix(5)).unwrap();
        assert_eq!(notes.left(vmid), [], "its run lives");
        assert!(notes.take(vmid, &volume, &identity).is_none());
        drop(note);
        let left = notes.left(vmid);
        assert_eq!(left.len(), 1);
        assert_eq!((&left[0].volume, &left[0].identity), (&volume, &identity));
        assert_eq!((left[0].pid, left[0].at), (std::process::id(), Moment::from_unix(5)));
        assert_eq!(notes.left(other), []);
        let another = VolumeIdentity::Memory { id: 8 };
        assert!(notes.take(vmid, &volume, &another).is_none());
        let taken = notes.take(vmid, &volume, &identity).unwrap();
        assert!(notes.take(vmid, &volume, &identity).is_none(), "one takes it over");
        taken.clear().unwrap();
        assert_eq!(fs::read_dir(dir.path().join("restores")).unwrap().count(), 0);
    }

    #[test]
    fn a_note_of_another_machine_or_without_its_end_tells_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let notes = UnfinishedRestores::new(dir.path());
        let vmid = "100".parse().unwrap();
        let volume: VolumeId = "ceph:vm-100-disk-0".parse().unwrap();
        let identity = VolumeIdentity::Memory { id: 7 };
        drop(notes.note(vmid, (&volume, &identity), Moment::from_unix(5)).unwrap());
        let path = notes.path(&notes.left(vmid)[0]);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace(&host_name(), "another-machine")).unwrap();
        assert_eq!(notes.left(vmid), []);
        fs::write(&path, &text[..text.len() / 2]).unwrap();
        assert_eq!(notes.left(vmid), []);
    }
}
