//! The volumes that a restore has under way: noted when they are made, cleared when nothing half is
//! left of them, and removed where an earlier run was killed. Not for what an error undoes.

use super::{Execution, Stopped};
use crate::model::{VolumeId, VolumeIdentity};
use crate::survey;

impl Execution {
    /// Notes a volume before anything is written to it. A restore goes on without the note: it is
    /// needed only if the run is killed.
    pub(super) fn note_made(&self, volume: &VolumeId, identity: &VolumeIdentity) {
        let (vmid, now) = (self.plan.guest.vmid, self.world.clock.now());
        match self.world.unfinished.note(vmid, (volume, identity), now) {
            Ok(note) => _ = self.state().notes.insert(volume.clone(), note),
            Err(error) => self.warn(format!(
                "{volume} could not be noted, and stays if this run is killed: {:#}",
                anyhow::Error::from(error)
            )),
        }
    }

    /// Takes all notes back: what they are about is whole, or gone.
    pub(super) fn clear_notes(&self) {
        let notes = std::mem::take(&mut self.state().notes);
        for (volume, note) in notes {
            if let Err(error) = note.clear() {
                let error = anyhow::Error::from(error);
                self.warn(format!("the note of {volume} stays: {error:#}"));
            }
        }
    }

    /// Leaves the note of a volume that could not be removed: the next restore tries again.
    pub(super) fn leave_note(&self, volume: &VolumeId) {
        self.state().notes.remove(volume);
    }

    /// Removes a volume that a dead restore left, if it is that still and nobody uses it.
    pub(super) async fn delete_left(
        &self,
        volume: &VolumeId,
        identity: &VolumeIdentity,
    ) -> Result<(), Stopped> {
        let note = self.world.unfinished.take(self.plan.guest.vmid, volume, identity);
        let Some(note) = note else {
            return Err(Stopped::Changed(format!("another restore took {volume} over")));
        };
        if survey::is_referenced(&self.world, volume)? {
            return Err(Stopped::Changed(format!("a guest has {volume} now")));
        }
        self.storage(volume)?.delete_volume(&volume.name, identity).await?;
        let done = format!("deleted volume {volume}, which an interrupted restore had left");
        self.note(&done);
        self.state().outcome.changes.push(done);
        if let Err(error) = note.clear() {
            self.warn(format!("the note of {volume} stays: {:#}", anyhow::Error::from(error)));
        }
        Ok(())
    }
}
