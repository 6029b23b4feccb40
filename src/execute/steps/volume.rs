//! Steps on volumes and on snapshots that stand beside their data. No data moves here.

use super::super::undo::Undo;
use super::super::{Execution, Stopped};
use crate::model::{SnapshotIdentity, SnapshotName, VolumeRef, VolumeShape};
use crate::plan::{OnFailure, Step, VolumeAction};
use crate::storage::{Removed, SnapshotFacts, VolumeFacts};
use anyhow::{Context as _, bail};

impl Execution {
    pub(super) async fn volume_step(
        &self,
        action: &VolumeAction,
        step: &Step,
    ) -> Result<(), Stopped> {
        match action {
            VolumeAction::CreateSnapshot { volume, identity, snapshot } => {
                self.state().volumes.insert(volume.clone(), identity.clone());
                self.create_snapshot(volume, snapshot).await
            }
            VolumeAction::HoldSnapshot { volume, snapshot } => self.hold(volume, snapshot).await,
            VolumeAction::ReleaseSnapshot { volume, snapshot } => {
                Ok(self.storage(volume)?.unprotect_snapshot(&volume.id.name, snapshot).await?)
            }
            VolumeAction::DeleteSnapshot { volume, snapshot } => {
                self.delete_snapshot(volume, snapshot, step).await
            }
            VolumeAction::Create { volume, made_as, shape, .. } => {
                self.create_volume(volume, made_as, shape).await
            }
            VolumeAction::Delete { volume, identity } => self.delete_left(volume, identity).await,
        }
    }

    async fn create_snapshot(
        &self,
        volume: &VolumeRef,
        name: &SnapshotName,
    ) -> Result<(), Stopped> {
        let storage = self.storage(volume)?;
        self.will_make(Undo::Snapshot(volume.clone(), name.clone()));
        storage.create_snapshot(&volume.id.name, &name.to_string()).await?;
        self.note(&format!("created snapshot {volume}@{name}"));
        Ok(())
    }

    async fn hold(&self, volume: &VolumeRef, name: &SnapshotName) -> Result<(), Stopped> {
        let storage = self.storage(volume)?;
        let facts = self.until_stopped(self.present(volume)).await?;
        let identity = snapshot_in(&facts, volume, name)?.identity.clone();
        Ok(storage.protect_snapshot(&volume.id.name, &identity).await?)
    }

    /// What goes behind a commit, as its place was taken, is not news; what goes because it was asked
    /// for is.
    async fn delete_snapshot(
        &self,
        volume: &VolumeRef,
        snapshot: &SnapshotIdentity,
        step: &Step,
    ) -> Result<(), Stopped> {
        let removed = self.storage(volume)?.delete_snapshot(&volume.id.name, snapshot).await?;
        if step.on_failure == OnFailure::WARN {
            self.note(&format!("deleted snapshot {volume}@{}", snapshot.name));
            return Ok(());
        }
        let what = match removed {
            Removed::Deleted => "deleted",
            Removed::AlreadyGone => "found gone already:",
        };
        self.change(format!("{what} snapshot {volume}@{} ({})", snapshot.name, step.because));
        Ok(())
    }

    /// Makes a volume under a name that nobody else can have thought of, and gives it its own when
    /// it is noted what it is: whatever becomes of this run, what it made is known to be its own.
    async fn create_volume(
        &self,
        volume: &VolumeRef,
        made_as: &str,
        shape: &VolumeShape,
    ) -> Result<(), Stopped> {
        let storage = self.storage(volume)?;
        self.note_intent(volume, made_as);
        self.will_make(Undo::Volume(volume.clone(), made_as.to_owned()));
        let identity = storage.create_volume(made_as, shape).await?.identity;
        self.note_identity(volume, &identity);
        self.state().volumes.insert(volume.clone(), identity.clone());
        // Whoever was faster with a volume of that name keeps it. What comes to bear it is known by its
        // identity to the import, which looks before it writes.
        storage.rename_volume(made_as, &volume.id.name).await?;
        self.note(&format!("created volume {volume}"));
        Ok(())
    }

    pub(in crate::execute) async fn present(
        &self,
        volume: &VolumeRef,
    ) -> anyhow::Result<VolumeFacts> {
        let facts = self.storage(volume)?.volume(&volume.id.name).await?;
        let facts = facts.with_context(|| format!("volume {volume} is gone"))?;
        let surveyed = self.state().volumes.get(volume).cloned();
        if surveyed.is_some_and(|surveyed| surveyed != facts.identity) {
            bail!("volume {volume} is no longer the one that was surveyed");
        }
        Ok(facts)
    }
}

pub(in crate::execute) fn snapshot_in<'a>(
    facts: &'a VolumeFacts,
    volume: &VolumeRef,
    name: &SnapshotName,
) -> anyhow::Result<&'a SnapshotFacts> {
    let found = facts.snapshot(&name.to_string());
    found.with_context(|| format!("snapshot {volume}@{name} is gone"))
}
