//! What drivers report about volumes, and the checks of identities. Pure: no driver asks here.

use super::StorageError;
use crate::model::{SnapshotIdentity, VolumeIdentity, VolumeShape};

/// A volume as its storage shows it at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeFacts {
    /// The name it was asked for by.
    pub name: String,
    /// What it is.
    pub identity: VolumeIdentity,
    /// What is needed to make it again; its size is that of the present content.
    pub shape: VolumeShape,
    /// Its snapshots that users made (not the storage's own ones), oldest first.
    pub snapshots: Vec<SnapshotFacts>,
    /// Whether changed blocks are recorded, and whether the record is right.
    pub object_map: ObjectMap,
    /// Whether the storage can tell cheaply how much of it is in use (of an RBD image: `fast-diff` with a
    /// right object map; without, every object is asked for).
    pub tells_used: bool,
    /// The snapshot it was cloned from and still depends on.
    pub parent: Option<String>,
    /// Whether its content is on its way to another place and parts of it are not there yet (`rbd
    /// migration`). Until that is over no snapshot of it may be deleted: in Ceph (issue 15831) the
    /// next write to an object that was not copied yet would abort its client, which is the guest.
    pub migrating: bool,
    /// Whether it is written by another cluster's mirroring, so that here it can only be read.
    pub mirror_target: bool,
}

/// Why a snapshot of a volume that is being migrated stays.
const MIGRATING: &str = "its volume is being migrated, and deleting a snapshot of it now would make the guest's next write fail";

/// A snapshot as its storage shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotFacts {
    /// What it is.
    pub identity: SnapshotIdentity,
    /// The volume's size in it, in bytes.
    pub size: u64,
    /// Whether the storage refuses to delete it.
    pub protected: bool,
}

/// The state of a volume's record of which objects exist and changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectMap {
    /// It is kept and right.
    Valid,
    /// It is kept, but the storage itself flags it as wrong: no answer derived from it counts.
    Invalid,
    /// There is none.
    None,
}

/// What became of something that was to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// We deleted it.
    Deleted,
    /// It was gone before we came.
    AlreadyGone,
}

impl VolumeFacts {
    /// The snapshot of this name.
    pub fn snapshot(&self, name: &str) -> Option<&SnapshotFacts> {
        self.snapshots.iter().find(|snapshot| snapshot.identity.name == name)
    }

    /// Whether this is the volume that was surveyed; `object` names it in the error.
    ///
    /// # Errors
    /// It is another one.
    pub fn check(&self, object: &str, expected: &VolumeIdentity) -> Result<(), StorageError> {
        if self.identity == *expected {
            return Ok(());
        }
        Err(StorageError::Identity {
            object: object.to_owned(),
            expected: expected.to_string(),
            found: self.identity.to_string(),
        })
    }

    /// The snapshot that was surveyed, if the volume still has exactly it.
    ///
    /// # Errors
    /// The volume or the snapshot is another one of that name, or the snapshot is gone.
    pub fn find(
        &self,
        object: &str,
        expected: &SnapshotIdentity,
    ) -> Result<&SnapshotFacts, StorageError> {
        self.check(object, &expected.volume)?;
        let object = object.to_owned();
        let found = self
            .snapshot(&expected.name)
            .ok_or(StorageError::NotFound { object: object.clone() })?;
        if found.identity == *expected {
            return Ok(found);
        }
        Err(StorageError::Identity {
            object,
            expected: format!("snapshot {}", expected.snapshot),
            found: format!("snapshot {}", found.identity.snapshot),
        })
    }

    /// Refuses a volume that is being migrated, for whoever would delete a snapshot of it.
    ///
    /// # Errors
    /// It is being migrated.
    pub fn refuse_migrating(&self, object: &str) -> Result<(), StorageError> {
        if !self.migrating {
            return Ok(());
        }
        Err(StorageError::Busy { object: object.to_owned(), why: MIGRATING.to_owned() })
    }

    /// Refuses a volume that has snapshots.
    ///
    /// # Errors
    /// It has some.
    pub fn refuse_snapshots(&self, object: &str) -> Result<(), StorageError> {
        if self.snapshots.is_empty() {
            return Ok(());
        }
        Err(StorageError::Busy { object: object.to_owned(), why: "it has snapshots".to_owned() })
    }
}

/// Refuses a volume that so many clients have open.
///
/// # Errors
/// Somebody has it open.
pub(super) fn refuse_watchers(watchers: usize, object: &str) -> Result<(), StorageError> {
    if watchers == 0 {
        return Ok(());
    }
    let why = format!("{watchers} client(s) have it open");
    Err(StorageError::Busy { object: object.to_owned(), why })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(volume: u64, number: &str, name: &str) -> SnapshotIdentity {
        SnapshotIdentity {
            volume: VolumeIdentity::Memory { id: volume },
            snapshot: number.into(),
            name: name.into(),
        }
    }

    fn facts() -> VolumeFacts {
        let own = SnapshotFacts { identity: snapshot(7, "4", "s"), size: 1, protected: false };
        VolumeFacts {
            name: "v".into(),
            identity: VolumeIdentity::Memory { id: 7 },
            shape: VolumeShape::default(),
            snapshots: vec![own],
            object_map: ObjectMap::None,
            tells_used: false,
            parent: None,
            migrating: false,
            mirror_target: false,
        }
    }

    #[test]
    fn a_snapshot_is_itself_only_with_volume_number_and_name() {
        let facts = facts();
        assert!(facts.find("c:v@s", &snapshot(7, "4", "s")).is_ok());
        for other in [snapshot(8, "4", "s"), snapshot(7, "5", "s")] {
            let error = facts.find("c:v@s", &other).unwrap_err();
            assert!(matches!(error, StorageError::Identity { .. }), "{error}");
        }
        let error = facts.find("c:v@t", &snapshot(7, "4", "t")).unwrap_err();
        assert_eq!(error.to_string(), "c:v@t does not exist; nothing was changed");
    }

    #[test]
    fn a_volume_is_the_surveyed_one_only_with_its_identity() {
        let facts = facts();
        facts.check("c:v", &VolumeIdentity::Memory { id: 7 }).unwrap();
        let error = facts.check("c:v", &VolumeIdentity::Memory { id: 8 }).unwrap_err();
        assert!(matches!(error, StorageError::Identity { .. }), "{error}");
        assert!(error.to_string().contains("c:v is another one now"), "{error}");
    }

    #[test]
    fn open_volumes_are_refused() {
        assert!(matches!(refuse_watchers(2, "c:v"), Err(StorageError::Busy { .. })));
        refuse_watchers(0, "c:v").unwrap();
    }
}
