//! What guests and administrators do to memory volumes behind our back. Not part of the contract.

use super::{Memory, Result};
use crate::model::VolumeShape;
use crate::storage::memory::world::at;
use crate::storage::{ObjectMap, StorageError};

impl Memory {
    /// Makes a volume of this size without further ado.
    ///
    /// # Errors
    /// The name is taken.
    pub fn add_volume(&self, name: &str, size: u64) -> Result<()> {
        let shape = VolumeShape { size, ..VolumeShape::default() };
        self.shared().world.create(name, &shape).map(drop)
    }

    /// Writes as the guest does.
    ///
    /// # Errors
    /// There is no such volume, or the bytes do not fit into it.
    pub fn write(&self, name: &str, offset: u64, data: &[u8]) -> Result<()> {
        let end = offset.saturating_add(data.len() as u64);
        let mut shared = self.shared();
        let object = shared.world.object(name);
        let content = &mut shared.world.volume_mut(name)?.content;
        if end > content.size() {
            let why = format!("a write up to {end} does not fit");
            return Err(StorageError::Unsupported { object, why });
        }
        content.write(offset, data);
        Ok(())
    }

    /// Discards as the guest does; the range reads as zero afterwards.
    ///
    /// # Errors
    /// There is no such volume.
    pub fn discard(&self, name: &str, offset: u64, length: u64) -> Result<()> {
        self.shared().world.volume_mut(name)?.content.zero(offset, length);
        Ok(())
    }

    /// Grows or shrinks the volume.
    ///
    /// # Errors
    /// There is no such volume.
    pub fn resize(&self, name: &str, size: u64) -> Result<()> {
        self.shared().world.volume_mut(name)?.content.resize(size);
        Ok(())
    }

    /// The present content, whole.
    ///
    /// # Errors
    /// There is no such volume.
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        Ok(self.shared().world.volume_mut(name)?.content.read_all())
    }

    /// The content of the snapshot of this name, whole.
    ///
    /// # Errors
    /// There is no such volume or snapshot.
    pub fn read_snapshot(&self, name: &str, snapshot: &str) -> Result<Vec<u8>> {
        let mut shared = self.shared();
        let missing = StorageError::NotFound { object: shared.world.object(&at(name, snapshot)) };
        let snapshots = &shared.world.volume_mut(name)?.snapshots;
        let found = snapshots.iter().find(|s| s.identity.name == snapshot).ok_or(missing)?;
        Ok(found.content.read_all())
    }

    /// Says how many clients have the volume open.
    ///
    /// # Errors
    /// There is no such volume.
    pub fn set_watchers(&self, name: &str, watchers: usize) -> Result<()> {
        self.shared().world.volume_mut(name)?.watchers = watchers;
        Ok(())
    }

    /// Says what state the volume's object map is in.
    ///
    /// # Errors
    /// There is no such volume.
    pub fn set_object_map(&self, name: &str, state: ObjectMap) -> Result<()> {
        self.shared().world.volume_mut(name)?.object_map = state;
        Ok(())
    }

    /// Begins or ends a migration of the volume to another place.
    ///
    /// # Errors
    /// There is no such volume.
    pub fn set_migrating(&self, name: &str, migrating: bool) -> Result<()> {
        self.shared().world.volume_mut(name)?.migrating = migrating;
        Ok(())
    }

    /// Says whether another cluster's mirroring writes the volume.
    ///
    /// # Errors
    /// There is no such volume.
    pub fn set_mirror_target(&self, name: &str, target: bool) -> Result<()> {
        self.shared().world.volume_mut(name)?.mirror_target = target;
        Ok(())
    }

    /// Says how many bytes are free.
    pub fn set_free_bytes(&self, free: Option<u64>) {
        self.shared().world.free = free;
    }

    /// Says how many bytes a block has, as an audit reads them: RBD's objects have 4 MiB.
    pub fn set_block_size(&self, bytes: u64) {
        self.shared().world.block_size = bytes;
    }

    /// Makes a linked clone of a snapshot.
    ///
    /// # Errors
    /// There is no such snapshot, or the clone's name is taken.
    pub fn clone_volume(&self, name: &str, snapshot: &str, clone: &str) -> Result<()> {
        self.shared().world.clone_volume(name, snapshot, clone)
    }

    /// Gives a volume another name, as PVE does with a disk that another guest gets.
    ///
    /// # Errors
    /// There is no such volume.
    pub fn set_name(&self, name: &str, new: &str) -> Result<()> {
        let mut shared = self.shared();
        let object = shared.world.object(name);
        let volume = shared.world.volumes.remove(name);
        let volume = volume.ok_or(StorageError::NotFound { object })?;
        shared.world.volumes.insert(new.to_owned(), volume);
        Ok(())
    }

    /// Removes a volume with its snapshots, as a destroyed guest's.
    pub fn remove_volume(&self, name: &str) {
        self.shared().world.volumes.remove(name);
    }

    /// Removes a snapshot, protected or not.
    ///
    /// # Errors
    /// There is no such volume.
    pub fn remove_snapshot(&self, name: &str, snapshot: &str) -> Result<()> {
        let mut shared = self.shared();
        shared.world.volume_mut(name)?.snapshots.retain(|s| s.identity.name != snapshot);
        Ok(())
    }
}
