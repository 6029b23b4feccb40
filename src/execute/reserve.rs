//! The vmid of a restored guest, from its reservation to its configuration: PVE's lock `create` is on
//! it all the time, so that nobody else makes, starts or changes a guest there. Not for volumes.

use super::undo::Undo;
use super::{Execution, Restoring, Stopped};
use crate::clock::host_name;
use crate::model::Guest;
use crate::node::unfinished::Reservation;
use crate::pve::FilesError;
use crate::pve::files::ClusterFiles;

impl Execution {
    /// Reserves the vmid as `create_and_lock_config` of PVE does: with a configuration that holds
    /// nothing but the lock, or with the lock in the one that is replaced.
    pub(super) fn reserve(&self, work: &Restoring, text: &str) -> Result<(), Stopped> {
        let Guest { vmid, kind, node, .. } = self.plan.guest.clone();
        let (text, before) = (text.to_owned(), work.present_config.clone());
        let (at, host) = (self.ctx.clock.now(), host_name());
        let reservation = Reservation { vmid, kind, node, text, before, at, host };
        self.note_reservation(&reservation);
        self.write_reservation(&reservation)?;
        let Reservation { node, text, before, .. } = reservation;
        self.will_make(match before {
            None => Undo::Config { node, kind, vmid, text: text.clone() },
            Some(before) => Undo::Lock { node, kind, vmid, texts: (text.clone(), before) },
        });
        self.state().reserved = Some(text);
        self.note(&format!("reserved vmid {vmid}"));
        Ok(())
    }

    fn note_reservation(&self, reservation: &Reservation) {
        match self.ctx.unfinished.reserve(reservation) {
            Ok(note) => self.state().reservation = Some(note),
            Err(error) => self.warn(format!(
                "vmid {} could not be noted as reserved, and stays locked if this run is killed: {:#}",
                reservation.vmid,
                anyhow::Error::from(error)
            )),
        }
    }

    /// Whoever was faster with a configuration of that vmid keeps it.
    fn write_reservation(&self, reservation: &Reservation) -> anyhow::Result<()> {
        let Reservation { vmid, kind, node, text, before, .. } = reservation;
        let cluster = &self.ctx.home()?.files;
        Ok(match before {
            None => cluster.write_config_exclusively(node, *kind, *vmid, text),
            Some(before) => cluster.replace_config(node, *kind, *vmid, (before, text)),
        }?)
    }

    /// Takes back what a dead restore had reserved, if it is still exactly that.
    pub(super) fn release_left(&self) -> Result<(), Stopped> {
        let vmid = self.plan.guest.vmid;
        for left in self.ctx.unfinished.reserved(vmid) {
            let Some(note) = self.ctx.unfinished.take_reservation(&left) else {
                return Err(Stopped::Changed(format!("another restore took vmid {vmid} over")));
            };
            match release(&self.ctx.home()?.files, &left) {
                Ok(()) | Err(FilesError::Changed { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            if let Err(error) = note.clear() {
                self.warn(format!(
                    "the note of vmid {vmid} stays: {:#}",
                    anyhow::Error::from(error)
                ));
            }
        }
        let done = format!("released vmid {vmid}, which an interrupted restore had reserved");
        self.note(&done);
        self.state().outcome.changes.push(done);
        Ok(())
    }
}

fn release(cluster: &ClusterFiles, left: &Reservation) -> Result<(), FilesError> {
    let Reservation { vmid, kind, node, text, before, .. } = left;
    match before {
        None => cluster.remove_config_if_equal(node, *kind, *vmid, text),
        Some(before) => cluster.replace_config(node, *kind, *vmid, (text, before)),
    }
}
