//! Volumes in this process: the reference that other drivers are compared with, and the storage
//! on which plans execute in tests. Keeps nothing when the process ends.
//!
//! Besides the contract it has knobs: [`Memory::inject`] makes an operation fail, hang or tear its
//! stream, [`Memory::meanwhile`] lets others act right before a call, [`Memory::calls`] tells the
//! order of operations, and the functions in `hands.rs` do what guests and other administrators do
//! to volumes.

mod blocks;
mod content;
mod fault;
mod hands;
mod import;
mod stream;
mod world;

pub(super) use blocks::Frozen;
pub use fault::{Fault, Operation};
pub(super) use import::Transfer;

use super::blocks::{Blocks, Source};
use super::transfer::{End, Export, Finish, Import};
use super::{Location, Removed, Result, StorageError, VolumeFacts, refuse_watchers};
use crate::model::{SnapshotIdentity, VolumeIdentity, VolumeShape};
use fault::Due;
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use world::{World, at};

/// A storage in memory. A clone is the same storage.
#[derive(Debug, Clone)]
pub struct Memory {
    id: String,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    world: World,
    faults: Due<Fault>,
    meanwhile: Due<Box<dyn FnOnce() + Send>>,
    calls: Vec<String>,
}

impl Memory {
    /// An empty storage with this id.
    pub fn new(id: &str) -> Self {
        let (world, calls) = (World::new(id), Vec::new());
        let shared = Shared { world, faults: Due::default(), meanwhile: Due::default(), calls };
        Self { id: id.to_owned(), shared: Arc::new(Mutex::new(shared)) }
    }

    /// An empty storage with this id, of which each place (a node, a cluster) has another one.
    pub fn of_place(id: &str, place: &str) -> Self {
        Self { id: id.to_owned(), ..Self::new(&format!("{place}/{id}")) }
    }

    /// The place that it was made for, and its id; the id alone where it was made for none.
    pub fn place(&self) -> String {
        self.shared().world.id.clone()
    }

    /// The same volumes under another entry of storage.cfg.
    #[must_use]
    pub fn under_another_id(&self, id: &str) -> Self {
        Self { id: id.to_owned(), shared: self.shared.clone() }
    }

    /// Lets the `nth` call of the operation from now on (1 is the next) go wrong.
    pub fn inject(&self, operation: Operation, nth: usize, fault: Fault) {
        self.shared().faults.add(operation, nth, fault);
    }

    /// Lets somebody else act right before the `nth` call of the operation from now on (1 is the next)
    /// does its work.
    pub fn meanwhile(&self, operation: Operation, nth: usize, act: impl FnOnce() + Send + 'static) {
        self.shared().meanwhile.add(operation, nth, Box::new(act));
    }

    /// All calls of the contract so far, as `create-snapshot ceph:vm-100-disk-0@s`.
    pub fn calls(&self) -> Vec<String> {
        self.shared().calls.clone()
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) async fn location(&self) -> Result<Location> {
        let place = self.shared().world.id.clone();
        Ok(Location { volumes: place.clone(), space: place })
    }

    pub(super) async fn volume(&self, name: &str) -> Result<Option<VolumeFacts>> {
        self.perform(Operation::Volume, name, |world| Ok(world.facts(name))).await
    }

    /// A look aside: it takes none of the faults that a test means for the guest's own volumes.
    pub(super) async fn volume_of(&self, identity: &VolumeIdentity) -> Result<Option<VolumeFacts>> {
        let world = &self.shared().world;
        let mut named = world.volumes.iter();
        let name = named.find(|(_, volume)| volume.identity == *identity).map(|(name, _)| name);
        Ok(name.and_then(|name| world.facts(name)))
    }

    pub(super) async fn watchers(&self, name: &str) -> Result<usize> {
        Ok(self.shared().world.volume_mut(name)?.watchers)
    }

    pub(super) async fn volumes(&self) -> Result<Vec<String>> {
        let names = |world: &mut World| Ok(world.volumes.keys().cloned().collect());
        self.perform(Operation::Volumes, "", names).await
    }

    pub(super) async fn free_bytes(&self) -> Result<Option<u64>> {
        self.perform(Operation::FreeBytes, "", |world| Ok(world.free)).await
    }

    pub(super) async fn used_bytes(&self, name: &str) -> Result<Option<u64>> {
        let used = |world: &mut World| world.volume_mut(name).map(|v| Some(v.content.used()));
        self.perform(Operation::UsedBytes, name, used).await
    }

    pub(super) async fn create_snapshot(&self, volume: &str, snapshot: &str) -> Result<()> {
        let create = |world: &mut World| world.create_snapshot(volume, snapshot);
        self.perform(Operation::CreateSnapshot, &at(volume, snapshot), create).await
    }

    pub(super) async fn protect_snapshot(
        &self,
        volume: &str,
        expected: &SnapshotIdentity,
    ) -> Result<()> {
        let protect = |world: &mut World| {
            world.snapshot(volume, expected)?.protected = true;
            Ok(())
        };
        self.perform(Operation::ProtectSnapshot, &at(volume, &expected.name), protect).await
    }

    pub(super) async fn unprotect_snapshot(
        &self,
        volume: &str,
        expected: &SnapshotIdentity,
    ) -> Result<()> {
        let unprotect = |world: &mut World| world.unprotect(volume, expected);
        self.perform(Operation::UnprotectSnapshot, &at(volume, &expected.name), unprotect).await
    }

    pub(super) async fn delete_snapshot(
        &self,
        volume: &str,
        expected: &SnapshotIdentity,
    ) -> Result<Removed> {
        let delete = |world: &mut World| gone_is_fine(world.delete_snapshot(volume, expected));
        self.perform(Operation::DeleteSnapshot, &at(volume, &expected.name), delete).await
    }

    pub(super) async fn create_volume(
        &self,
        name: &str,
        shape: &VolumeShape,
    ) -> Result<VolumeFacts> {
        self.perform(Operation::CreateVolume, name, |world| world.create(name, shape)).await
    }

    pub(super) async fn rename_volume(&self, name: &str, to: &str) -> Result<()> {
        let rename = |world: &mut World| world.rename(name, to);
        self.perform(Operation::RenameVolume, to, rename).await
    }

    pub(super) async fn delete_volume(
        &self,
        name: &str,
        expected: &VolumeIdentity,
    ) -> Result<Removed> {
        let delete = |world: &mut World| gone_is_fine(world.delete(name, expected));
        self.perform(Operation::DeleteVolume, name, delete).await
    }

    pub(super) async fn rollback(&self, volume: &str, to: &SnapshotIdentity) -> Result<()> {
        let roll = |world: &mut World| world.rollback(volume, to);
        self.perform(Operation::Rollback, &at(volume, &to.name), roll).await
    }

    pub(super) async fn export(
        &self,
        volume: &VolumeFacts,
        own: &SnapshotIdentity,
        since: Option<&SnapshotIdentity>,
    ) -> Result<Export> {
        let volume = volume.name.as_str();
        let object = at(volume, &own.name);
        let fault = self.enter(Operation::Export, &object).await?;
        let omitted = usize::from(fault == Some(Fault::OmitsAChange));
        let bytes = self.shared().world.encode(volume, (own, since), omitted)?;
        let (sender, mut transfer) = Transfer::new(&format!("{}:{object}", self.id));
        let snapshots = std::iter::once(own).chain(since).cloned().collect();
        transfer.source =
            Some(import::Source { memory: self.clone(), volume: volume.to_owned(), snapshots });
        let (kept, result) = fault::torn(fault, bytes, &transfer.object);
        // Nobody waits for an export that was dropped.
        let _ = sender.send(result);
        let bytes = std::io::Cursor::new(kept);
        let reader: Box<dyn Read + Send> = match fault {
            Some(Fault::Stalls(_)) => {
                Box::new(import::Still { bytes, stillness: transfer.keeps_still() })
            }
            _ => Box::new(bytes),
        };
        Ok(Export { reader, exit: Finish(End::Memory(transfer)) })
    }

    pub(super) async fn blocks(&self, volume: &str, own: &SnapshotIdentity) -> Result<Blocks> {
        let content = |world: &mut World| {
            Ok((world.snapshot(volume, own)?.content.clone(), world.block_size))
        };
        let snapshot = at(volume, &own.name);
        let (content, block_size) = self.perform(Operation::Blocks, &snapshot, content).await?;
        let size = content.size();
        let (volume, own) = (volume.to_owned(), own.clone());
        let source =
            Source::Memory(Box::new(Frozen { memory: self.clone(), volume, own, content }));
        Ok(Blocks { size, block_size, source })
    }

    pub(super) async fn import(&self, volume: &str, expected: &VolumeIdentity) -> Result<Import> {
        let fault = self.enter(Operation::Import, volume).await?;
        let object = format!("{}:{volume}", self.id);
        let facts = self.shared().world.require(volume)?;
        facts.check(&object, expected)?;
        refuse_watchers(self.shared().world.volume_mut(volume)?.watchers, &object)?;
        let (sender, mut transfer) = Transfer::new(&object);
        let mut writer = import::Applier::new(self.clone(), (volume, expected), fault, sender);
        if matches!(fault, Some(Fault::Stalls(_))) {
            writer.stillness = Some(transfer.keeps_still());
        }
        let exit = Finish(End::Memory(transfer));
        Ok(Import { into: facts, writer: Box::new(writer), exit })
    }

    /// One call of the contract: logged, made to fail where a test said so, done in one piece.
    async fn perform<T>(
        &self,
        operation: Operation,
        name: &str,
        work: impl FnOnce(&mut World) -> Result<T>,
    ) -> Result<T> {
        let fault = self.enter(operation, name).await?;
        let result = work(&mut self.shared().world)?;
        match fault {
            Some(Fault::HangAfter) => std::future::pending().await,
            Some(Fault::After) => Err(fault::error(operation, &format!("{}:{name}", self.id))),
            _ => Ok(result),
        }
    }

    async fn enter(&self, operation: Operation, name: &str) -> Result<Option<Fault>> {
        let object = format!("{}:{name}", self.id);
        let (fault, act) = {
            let mut shared = self.shared();
            shared.calls.push(format!("{operation} {object}"));
            (shared.faults.take(operation), shared.meanwhile.take(operation))
        };
        if let Some(act) = act {
            act();
        }
        match fault {
            Some(Fault::Before) => Err(fault::error(operation, &object)),
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Late(by)) => {
                tokio::time::sleep(by).await;
                Ok(None)
            }
            other => Ok(other),
        }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn gone_is_fine(result: Result<()>) -> Result<Removed> {
    match result {
        Ok(()) => Ok(Removed::Deleted),
        Err(StorageError::NotFound { .. }) => Ok(Removed::AlreadyGone),
        Err(error) => Err(error),
    }
}
