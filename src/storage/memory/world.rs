//! The state of a memory storage and what its operations do to it. Not async, and injects nothing.

use super::blocks::BLOCK_SIZE;
use super::content::Content;
use super::stream;
use crate::model::{SnapshotIdentity, VolumeIdentity, VolumeShape};
use crate::storage::{
    ObjectMap, SnapshotFacts, StorageError, VolumeFacts, own_name, refuse_watchers,
};
use std::collections::BTreeMap;

#[derive(Debug)]
pub(super) struct World {
    pub id: String,
    pub volumes: BTreeMap<String, Volume>,
    pub free: Option<u64>,
    /// Bytes of a block, as an audit reads them.
    pub block_size: u64,
    last_volume: u64,
    last_snapshot: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Volume {
    pub identity: VolumeIdentity,
    pub shape: VolumeShape,
    pub content: Content,
    pub snapshots: Vec<Snapshot>,
    pub watchers: usize,
    pub object_map: ObjectMap,
    pub parent: Option<(String, SnapshotIdentity)>,
    pub migrating: bool,
    pub mirror_target: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub identity: SnapshotIdentity,
    pub content: Content,
    pub protected: bool,
}

type Result<T> = std::result::Result<T, StorageError>;

impl World {
    pub(super) fn new(id: &str) -> Self {
        // Two storages of one test must not give the same identity twice.
        let start = id.bytes().fold(0x811c_9dc5_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0193) & 0xffff_ffff
        });
        let (id, last_volume, block_size) = (id.to_owned(), start << 20, BLOCK_SIZE);
        let (volumes, free, last_snapshot) = (BTreeMap::new(), None, 0);
        Self { id, volumes, free, block_size, last_volume, last_snapshot }
    }

    pub(super) fn object(&self, name: &str) -> String {
        format!("{}:{name}", self.id)
    }

    pub(super) fn facts(&self, name: &str) -> Option<VolumeFacts> {
        let volume = self.volumes.get(own_name(name))?;
        Some(VolumeFacts {
            name: name.to_owned(),
            identity: volume.identity.clone(),
            shape: VolumeShape { size: volume.content.size(), ..volume.shape.clone() },
            snapshots: volume.snapshots.iter().map(Snapshot::facts).collect(),
            object_map: volume.object_map,
            tells_used: true,
            parent: volume.parent.as_ref().map(|(name, _)| name.clone()),
            migrating: volume.migrating,
            mirror_target: volume.mirror_target,
        })
    }

    pub(super) fn require(&self, name: &str) -> Result<VolumeFacts> {
        self.facts(name).ok_or(StorageError::NotFound { object: self.object(name) })
    }

    pub(super) fn volume_mut(&mut self, name: &str) -> Result<&mut Volume> {
        let object = self.object(name);
        self.volumes.get_mut(own_name(name)).ok_or(StorageError::NotFound { object })
    }

    pub(super) fn create(&mut self, name: &str, shape: &VolumeShape) -> Result<VolumeFacts> {
        if self.volumes.contains_key(own_name(name)) {
            return Err(StorageError::Exists { object: self.object(name) });
        }
        if shape.striping.is_some() {
            let why = "its striping is not the default one".to_owned();
            return Err(StorageError::Unsupported { object: self.object(name), why });
        }
        self.last_volume += 1;
        let volume = Volume {
            identity: VolumeIdentity::Memory { id: self.last_volume },
            shape: shape.clone(),
            content: Content::new(shape.size),
            snapshots: Vec::new(),
            watchers: 0,
            object_map: ObjectMap::Valid,
            parent: None,
            migrating: false,
            mirror_target: false,
        };
        self.volumes.insert(own_name(name).to_owned(), volume);
        self.require(name)
    }

    pub(super) fn create_snapshot(&mut self, name: &str, snapshot: &str) -> Result<()> {
        if self.require(name)?.snapshot(snapshot).is_some() {
            return Err(StorageError::Exists { object: self.object(&at(name, snapshot)) });
        }
        if self.require(name)?.mirror_target {
            let (object, why) = (self.object(&at(name, snapshot)), "it is read-only".to_owned());
            return Err(StorageError::Busy { object, why });
        }
        self.last_snapshot += 1;
        let number = self.last_snapshot.to_string();
        let volume = self.volume_mut(name)?;
        let identity = SnapshotIdentity {
            volume: volume.identity.clone(),
            snapshot: number,
            name: snapshot.to_owned(),
        };
        let content = volume.content.clone();
        volume.snapshots.push(Snapshot { identity, content, protected: false });
        Ok(())
    }

    /// The snapshot, if it is exactly the expected one.
    pub(super) fn snapshot(
        &mut self,
        name: &str,
        expected: &SnapshotIdentity,
    ) -> Result<&mut Snapshot> {
        let object = self.object(&at(name, &expected.name));
        self.require(name)?.find(&object, expected)?;
        let missing = StorageError::NotFound { object };
        let snapshots = &mut self.volume_mut(name)?.snapshots;
        snapshots.iter_mut().find(|snapshot| snapshot.identity == *expected).ok_or(missing)
    }

    pub(super) fn unprotect(&mut self, name: &str, expected: &SnapshotIdentity) -> Result<()> {
        let object = self.object(&at(name, &expected.name));
        let is_parent =
            |v: &Volume| v.parent.as_ref().is_some_and(|(_, snapshot)| snapshot == expected);
        if self.volumes.values().any(is_parent) {
            return Err(StorageError::Busy { object, why: "clones depend on it".to_owned() });
        }
        self.snapshot(name, expected)?.protected = false;
        Ok(())
    }

    pub(super) fn delete_snapshot(
        &mut self,
        name: &str,
        expected: &SnapshotIdentity,
    ) -> Result<()> {
        let object = self.object(&at(name, &expected.name));
        self.require(name)?.refuse_migrating(&object)?;
        if self.snapshot(name, expected)?.protected {
            return Err(StorageError::Busy { object, why: "it is protected".to_owned() });
        }
        self.volume_mut(name)?.snapshots.retain(|snapshot| snapshot.identity != *expected);
        Ok(())
    }

    pub(super) fn rename(&mut self, name: &str, to: &str) -> Result<()> {
        self.require(name)?;
        if self.volumes.contains_key(own_name(to)) {
            return Err(StorageError::Exists { object: self.object(to) });
        }
        if let Some(volume) = self.volumes.remove(own_name(name)) {
            self.volumes.insert(own_name(to).to_owned(), volume);
        }
        Ok(())
    }

    pub(super) fn delete(&mut self, name: &str, expected: &VolumeIdentity) -> Result<()> {
        let (facts, object) = (self.require(name)?, self.object(name));
        facts.check(&object, expected)?;
        refuse_watchers(self.volume_mut(name)?.watchers, &object)?;
        if !facts.snapshots.is_empty() {
            return Err(StorageError::Busy { object, why: "it has snapshots".to_owned() });
        }
        self.volumes.remove(own_name(name));
        Ok(())
    }

    pub(super) fn rollback(&mut self, name: &str, to: &SnapshotIdentity) -> Result<()> {
        let object = self.object(name);
        let content = self.snapshot(name, to)?.content.clone();
        refuse_watchers(self.volume_mut(name)?.watchers, &object)?;
        self.volume_mut(name)?.content = content;
        Ok(())
    }

    /// A whole diff stream, but for the first `omitted` changes.
    pub(super) fn encode(
        &mut self,
        name: &str,
        (own, since): (&SnapshotIdentity, Option<&SnapshotIdentity>),
        omitted: usize,
    ) -> Result<Vec<u8>> {
        let base = match since {
            Some(since) => Some((since, self.snapshot(name, since)?.content.clone())),
            None => None,
        };
        let content = &self.snapshot(name, own)?.content;
        let base = base.as_ref().map(|(identity, content)| (*identity, content));
        Ok(stream::encode((own, content), base, omitted))
    }

    pub(super) fn clone_volume(&mut self, name: &str, snapshot: &str, clone: &str) -> Result<()> {
        let parent = self.volume_mut(name)?.clone();
        let found = parent.snapshots.into_iter().find(|s| s.identity.name == snapshot);
        let missing = StorageError::NotFound { object: self.object(&at(name, snapshot)) };
        let snapshot = found.ok_or(missing)?;
        let size = snapshot.content.size();
        self.create(clone, &VolumeShape { size, ..parent.shape })?;
        let volume = self.volume_mut(clone)?;
        volume.content = snapshot.content;
        volume.parent = Some((at(name, &snapshot.identity.name), snapshot.identity));
        Ok(())
    }
}

impl Snapshot {
    fn facts(&self) -> SnapshotFacts {
        let (identity, size) = (self.identity.clone(), self.content.size());
        SnapshotFacts { identity, size, protected: self.protected }
    }
}

/// A snapshot's name behind its volume's.
pub(super) fn at(volume: &str, snapshot: &str) -> String {
    format!("{volume}@{snapshot}")
}
