//! The volumes that a restore has under way: noted before they are made, cleared when nothing half is
//! left of them, and removed where an earlier run was killed. Not for what an error undoes.

use super::{Execution, Stopped};
use crate::model::{VolumeIdentity, VolumeRef};
use crate::node::unfinished::MadeVolume;
use crate::survey;

impl Execution {
    /// Notes a volume before it is made. A restore goes on without the note: it is needed only if the
    /// run is killed.
    pub(super) fn note_intent(&self, volume: &VolumeRef, made_as: &str) {
        let (vmid, now) = (self.plan.guest.vmid, self.ctx.clock.now());
        match self.ctx.unfinished.note(vmid, volume, made_as, now) {
            Ok(note) => _ = self.state().notes.insert(volume.clone(), note),
            Err(error) => self.warn(format!(
                "{volume} could not be noted, and stays if this run is killed: {:#}",
                anyhow::Error::from(error)
            )),
        }
    }

    /// Notes what the volume is, before it gets its own name.
    pub(super) fn note_identity(&self, volume: &VolumeRef, identity: &VolumeIdentity) {
        let Some(mut note) = self.state().notes.remove(volume) else { return };
        if let Err(error) = self.ctx.unfinished.identify(&mut note, identity) {
            self.warn(format!(
                "{volume} could not be noted as made, and stays if this run is killed: {:#}",
                anyhow::Error::from(error)
            ));
        }
        self.state().notes.insert(volume.clone(), note);
    }

    /// Takes all notes back: what they are about is whole, or gone.
    pub(super) fn clear_notes(&self) {
        let (notes, reservation) = {
            let mut state = self.state();
            (std::mem::take(&mut state.notes), state.reservation.take())
        };
        for note in notes.into_values().chain(reservation) {
            if let Err(error) = note.clear() {
                self.warn(format!("a note of this run stays: {:#}", anyhow::Error::from(error)));
            }
        }
    }

    /// Leaves the note of a volume that could not be removed: the next restore tries again.
    pub(super) fn leave_note(&self, volume: &VolumeRef) {
        self.state().notes.remove(volume);
    }

    /// The same with the reservation of the vmid.
    pub(super) fn leave_reservation(&self) {
        self.state().reservation = None;
    }

    /// Takes back the notes of dead runs that are about nothing any more.
    pub(super) fn settle(&self, settled: &[MadeVolume]) {
        for made in settled {
            let Some(note) = self.ctx.unfinished.take(made) else { continue };
            if let Err(error) = note.clear() {
                self.warn(format!("an old note stays: {:#}", anyhow::Error::from(error)));
            }
        }
    }

    /// Removes a volume that a dead restore left, if it is that still and nobody uses it.
    pub(super) async fn delete_left(
        &self,
        volume: &VolumeRef,
        identity: &VolumeIdentity,
    ) -> Result<(), Stopped> {
        let mut left = self.ctx.unfinished.left(self.plan.guest.vmid).into_iter();
        let is_it = |made: &MadeVolume| {
            (made.first_id() == volume.id && made.node == volume.node)
                || made.identity.as_ref() == Some(identity)
        };
        let unfinished = &self.ctx.unfinished;
        let note = left.find(is_it).and_then(|made| unfinished.take(&made));
        let Some(note) = note else {
            return Err(Stopped::Changed(format!("another restore took {volume} over")));
        };
        if survey::is_referenced(&self.ctx, &volume.id).await? {
            return Err(Stopped::Changed(format!("a guest has {volume} now")));
        }
        self.storage(volume)?.delete_volume(&volume.id.name, identity).await?;
        let done = format!("deleted volume {volume}, which an interrupted restore had left");
        self.note(&done);
        self.state().outcome.changes.push(done);
        if let Err(error) = note.clear() {
            self.warn(format!("the note of {volume} stays: {:#}", anyhow::Error::from(error)));
        }
        Ok(())
    }
}
