//! What restores on this node have under way, noted so that it survives a killed run and a power
//! loss: volumes that are made and not finished, vmids that are reserved. Not for deciding what
//! becomes of them: that is `plan::restore`.
//!
//! A note is written before what it is about is made. It is held under flock(2) by the run that wrote
//! it, as long as that lives: whoever gets the lock has found what a dead run left, whatever process
//! has its number by now.

use super::NodeError;
use crate::clock::host_name;
use crate::model::{GuestKind, Moment, NodeName, VmId, VolumeId, VolumeIdentity, VolumeRef};
use nix::fcntl::{Flock, FlockArg};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// A volume that a restore makes. It bears a name that nobody else can have thought of until its
/// identity is noted, and only then its own: so it can be told from others at any moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeVolume {
    /// The guest that it is meant for.
    pub vmid: VmId,
    /// Its id.
    pub volume: VolumeId,
    /// The node that it is on; none where all nodes see it.
    #[serde(default)]
    pub node: Option<NodeName>,
    /// The name on the same storage under which it is made; it holds a random number.
    pub made_as: String,
    /// What it is, once that is known: another volume of its name is none of ours.
    pub identity: Option<VolumeIdentity>,
    /// When it was to be made.
    pub at: Moment,
    /// The process that made it.
    pub pid: u32,
    /// That process's machine: the directory may be on a file system that several share.
    pub host: String,
}

impl MadeVolume {
    /// The volume's id until it gets its own.
    pub fn first_id(&self) -> VolumeId {
        VolumeId { storage: self.volume.storage.clone(), name: self.made_as.clone() }
    }
}

/// A vmid that a restore keeps for its guest with a configuration under PVE's lock `create`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// The vmid.
    pub vmid: VmId,
    /// The kind of the guest.
    pub kind: GuestKind,
    /// The node whose configuration it is.
    pub node: String,
    /// The configuration that was written: only while it is exactly this, it is ours.
    pub text: String,
    /// The configuration that was there, when a guest is replaced.
    pub before: Option<String>,
    /// When it was to be written.
    pub at: Moment,
    /// The machine of the process: the directory may be on a file system that several share.
    pub host: String,
}

/// The notes of this node.
#[derive(Debug, Clone)]
pub struct UnfinishedRestores {
    directory: PathBuf,
}

/// A note that is held. Dropped, it stays: what it is about was left.
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

    /// Notes durably that this process is about to make a volume, under the name `made_as` at first.
    ///
    /// # Errors
    /// The state directory cannot be written; nothing is noted then.
    pub fn note(
        &self,
        vmid: VmId,
        volume: &VolumeRef,
        made_as: &str,
        at: Moment,
    ) -> Result<Note, NodeError> {
        let made = MadeVolume {
            vmid,
            volume: volume.id.clone(),
            node: volume.node.clone(),
            made_as: made_as.to_owned(),
            identity: None,
            at,
            pid: std::process::id(),
            host: host_name(),
        };
        self.write(self.path(&made), &made)
    }

    /// Adds durably what the volume is, so that it is known under its own name, too.
    ///
    /// # Errors
    /// The state directory cannot be written; the note is as it was then.
    pub fn identify(&self, note: &mut Note, identity: &VolumeIdentity) -> Result<(), NodeError> {
        let path = note.path.clone();
        let made: MadeVolume = read(&path).map_err(NodeError::write(path.clone()))?;
        let made = MadeVolume { identity: Some(identity.clone()), ..made };
        *note = self.write(path, &made)?;
        Ok(())
    }

    /// Notes durably that this process is about to reserve a vmid.
    ///
    /// # Errors
    /// As [`UnfinishedRestores::note`].
    pub fn reserve(&self, reservation: &Reservation) -> Result<Note, NodeError> {
        self.write(self.reservation_path(reservation), reservation)
    }

    fn write<T: Serialize>(&self, path: PathBuf, about: &T) -> Result<Note, NodeError> {
        let written = self.try_to_write(&path, about);
        written.map_err(NodeError::write(path))
    }

    fn try_to_write<T: Serialize>(&self, path: &Path, about: &T) -> io::Result<Note> {
        fs::create_dir_all(&self.directory)?;
        let draft = path.with_extension("json.tmp");
        // The lock goes with the file through its renaming: nobody sees the note without it.
        let mut lock = locked(File::create(&draft)?, FlockArg::LockExclusiveNonblock)?;
        lock.write_all(serde_json::to_string_pretty(about)?.as_bytes())?;
        lock.sync_all()?;
        fs::rename(&draft, path)?;
        File::open(&self.directory)?.sync_all()?;
        Ok(Note { path: path.to_owned(), _lock: lock })
    }

    /// What dead runs of this machine have left of a guest. A note that cannot be read tells
    /// nothing: what it is about is then nobody's to remove.
    pub fn left(&self, vmid: VmId) -> Vec<MadeVolume> {
        let mut left: Vec<MadeVolume> = self.of_dead_runs();
        left.retain(|made| made.vmid == vmid && made.host == host_name());
        left.sort_by(|a, b| a.volume.cmp(&b.volume));
        left
    }

    /// The reservations that dead runs of this machine have left of a vmid.
    pub fn reserved(&self, vmid: VmId) -> Vec<Reservation> {
        let mut left: Vec<Reservation> = self.of_dead_runs();
        left.retain(|reservation| reservation.vmid == vmid && reservation.host == host_name());
        left
    }

    fn of_dead_runs<T: DeserializeOwned>(&self) -> Vec<T> {
        let Ok(entries) = fs::read_dir(&self.directory) else { return Vec::new() };
        let notes = entries.flatten().map(|entry| entry.path());
        let notes = notes.filter(|path| path.extension().is_some_and(|e| e == "json"));
        notes.filter_map(|path| of_dead_run(&path)).collect()
    }

    /// Takes a dead run's note of a volume over, so that nobody else acts on it; none when there is
    /// none, or somebody else holds it.
    pub fn take(&self, made: &MadeVolume) -> Option<Note> {
        take(self.path(made))
    }

    /// The same with a reservation.
    pub fn take_reservation(&self, reservation: &Reservation) -> Option<Note> {
        take(self.reservation_path(reservation))
    }

    /// One file for each volume that ever was: its first name is never given twice, on whichever node.
    fn path(&self, made: &MadeVolume) -> PathBuf {
        let volume = format!("{}:{}", made.volume.storage, made.made_as);
        self.directory.join(format!("{}-{}.json", made.vmid, short(&volume)))
    }

    /// One file for each reservation: there is a random number in its text.
    fn reservation_path(&self, reservation: &Reservation) -> PathBuf {
        let Reservation { vmid, node, text, .. } = reservation;
        self.directory.join(format!("{vmid}-reserved-{}.json", short(&format!("{node} {text}"))))
    }
}

impl Note {
    /// Takes the note back: what it is about is no longer half, or no longer there.
    ///
    /// # Errors
    /// It cannot be removed; a later restore of the guest then looks at it once more.
    pub fn clear(self) -> Result<(), NodeError> {
        let removed = fs::remove_file(&self.path).and_then(|()| match self.path.parent() {
            Some(directory) => File::open(directory)?.sync_all(),
            None => Ok(()),
        });
        removed.map_err(NodeError::write(self.path))
    }
}

fn short(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex()[..16].to_owned()
}

fn take(path: PathBuf) -> Option<Note> {
    let lock = locked(File::open(&path).ok()?, FlockArg::LockExclusiveNonblock).ok()?;
    // Whoever held it until now may have removed it: then there is nothing to take over.
    path.exists().then_some(Note { path, _lock: lock })
}

fn read<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

fn of_dead_run<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let about = read(path).ok()?;
    let is_free = locked(File::open(path).ok()?, FlockArg::LockSharedNonblock).is_ok();
    is_free.then_some(about)
}

fn locked(file: File, how: FlockArg) -> io::Result<Flock<File>> {
    Flock::lock(file, how).map_err(|(_, errno)| errno.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "ferry-new-100-0123456789abcdef";

    fn notes() -> (tempfile::TempDir, UnfinishedRestores, VmId, VolumeRef) {
        let dir = tempfile::tempdir().unwrap();
        let notes = UnfinishedRestores::new(dir.path());
        (dir, notes, "100".parse().unwrap(), "/pve2/local-zfs:vm-100-disk-0".parse().unwrap())
    }

    #[test]
    fn a_note_is_left_when_its_run_is_dead_and_gone_when_it_is_cleared() {
        let (dir, notes, vmid, volume) = notes();
        assert_eq!(notes.left(vmid), []);
        let mut note = notes.note(vmid, &volume, FIRST, Moment::from_unix(5)).unwrap();
        assert_eq!(notes.left(vmid), [], "its run lives");
        notes.identify(&mut note, &VolumeIdentity::Memory { id: 7 }).unwrap();
        assert_eq!(notes.left(vmid), [], "it lives on");
        drop(note);
        let left = notes.left(vmid);
        assert_eq!(left.len(), 1);
        assert_eq!((&left[0].volume, &left[0].node), (&volume.id, &volume.node));
        assert_eq!(left[0].identity, Some(VolumeIdentity::Memory { id: 7 }));
        assert_eq!(left[0].first_id().to_string(), format!("local-zfs:{FIRST}"));
        assert_eq!((left[0].pid, left[0].at), (std::process::id(), Moment::from_unix(5)));
        assert_eq!(notes.left("101".parse().unwrap()), []);
        let taken = notes.take(&left[0]).unwrap();
        assert!(notes.take(&left[0]).is_none(), "one takes it over");
        taken.clear().unwrap();
        assert_eq!(fs::read_dir(dir.path().join("restores")).unwrap().count(), 0);
    }

    #[test]
    fn a_note_of_another_machine_or_without_its_end_tells_nothing() {
        let (_dir, notes, vmid, volume) = notes();
        drop(notes.note(vmid, &volume, FIRST, Moment::from_unix(5)).unwrap());
        let path = notes.path(&notes.left(vmid)[0]);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace(&host_name(), "another-machine")).unwrap();
        assert_eq!(notes.left(vmid), []);
        fs::write(&path, &text[..text.len() / 2]).unwrap();
        assert_eq!(notes.left(vmid), []);
    }

    #[test]
    fn a_reservation_of_a_dead_run_is_found_beside_its_volumes() {
        let (_dir, notes, vmid, volume) = notes();
        let reservation = Reservation {
            vmid,
            kind: GuestKind::Qemu,
            node: "pve1".into(),
            text: "lock: create\n".into(),
            before: None,
            at: Moment::from_unix(5),
            host: host_name(),
        };
        let note = notes.reserve(&reservation).unwrap();
        drop(notes.note(vmid, &volume, FIRST, Moment::from_unix(5)).unwrap());
        assert_eq!((notes.reserved(vmid).len(), notes.left(vmid).len()), (0, 1));
        drop(note);
        assert_eq!(notes.reserved(vmid), std::slice::from_ref(&reservation));
        notes.take_reservation(&reservation).unwrap().clear().unwrap();
        assert_eq!((notes.reserved(vmid).len(), notes.left(vmid).len()), (0, 1));
    }
}
