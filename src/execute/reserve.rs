//! The vmid of a restored guest, from its reservation to its configuration: PVE's lock `create` is on
//! it all the time, so that nobody else makes, starts or changes a guest there. Not for volumes.

use super::undo::Undo;
use super::{Execution, RestoreWork, Stopped};
use crate::clock::host_name;
use crate::model::{Guest, GuestKind, VmId};
use crate::node::unfinished::Reservation;
use crate::pve::{FilesError, GuestConfig, GuestStatus};
use anyhow::{Context as _, anyhow};

impl Execution {
    /// Reserves the vmid as `create_and_lock_config` of PVE does: with a configuration that holds
    /// nothing but the lock, or with the lock in the one that is replaced.
    pub(super) fn reserve(&self, work: &RestoreWork) -> Result<(), Stopped> {
        let Guest { vmid, kind, node, .. } = self.plan.guest.clone();
        let (text, before) = match &work.present_config {
            None => (reserving(vmid)?, None),
            Some(present) => (locked(present), Some(present.clone())),
        };
        let (at, host) = (self.world.clock.now(), host_name());
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
        match self.world.unfinished.reserve(reservation) {
            Ok(note) => self.state().reservation = Some(note),
            Err(error) => self.warn(format!(
                "vmid {} could not be noted as reserved, and stays locked if this run is killed: {:#}",
                reservation.vmid,
                anyhow::Error::from(error)
            )),
        }
    }

    /// Whoever was faster with a configuration of that vmid keeps it.
    fn write_reservation(&self, reservation: &Reservation) -> Result<(), FilesError> {
        let Reservation { vmid, kind, node, text, before, .. } = reservation;
        let cluster = &self.world.cluster;
        match before {
            None => cluster.write_config_exclusively(node, *kind, *vmid, text),
            Some(before) => cluster.replace_config(node, *kind, *vmid, (before, text)),
        }
    }

    /// Takes back what a dead restore had reserved, if it is still exactly that.
    pub(super) fn release_left(&self) -> Result<(), Stopped> {
        let vmid = self.plan.guest.vmid;
        for left in self.world.unfinished.reserved(vmid) {
            let Some(note) = self.world.unfinished.take_reservation(&left) else {
                return Err(Stopped::Changed(format!("another restore took vmid {vmid} over")));
            };
            match release(self, &left) {
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

    /// The firewall first, so that the guest never runs without it; then the configuration in one
    /// piece, in place of what reserves its vmid.
    pub(super) async fn write_config(
        &self,
        work: &RestoreWork,
        (vmid, kind): (VmId, GuestKind),
        node: &str,
    ) -> Result<(), Stopped> {
        let text = work.config.as_ref().context("the restore point's configuration is missing")?;
        let reserved = self.state().reserved.clone().context("the vmid is not reserved")?;
        if work.present_config.is_some() {
            self.is_still_stopped(work, vmid).await?;
        }
        self.write_firewall(work, vmid)?;
        let cluster = &self.world.cluster;
        cluster.replace_config(node, kind, vmid, (&reserved, text))?;
        let verb = if work.present_config.is_some() { "replaced" } else { "wrote" };
        self.finished(&format!("{verb} the configuration of {vmid} on {node}"));
        Ok(())
    }

    /// The guest was stopped when the plan was made; the volumes were written since, for hours maybe,
    /// and a lock is no obstacle to whoever forces it.
    async fn is_still_stopped(&self, work: &RestoreWork, vmid: VmId) -> Result<(), Stopped> {
        if work.control.status().await? == GuestStatus::Stopped {
            return Ok(());
        }
        Err(anyhow!(
            "guest {vmid} was started meanwhile: its configuration was not replaced; stop it and restore again"
        )
        .into())
    }

    fn write_firewall(&self, work: &RestoreWork, vmid: VmId) -> Result<(), Stopped> {
        let cluster = &self.world.cluster;
        let (present, saved) = (cluster.read_firewall(vmid)?, &work.firewall);
        match (present, saved) {
            (None, None) => {}
            (Some(present), Some(saved)) if present == *saved => {}
            (Some(_), _) => self.finds_another_firewall(vmid),
            (None, Some(saved)) => match cluster.write_firewall_exclusively(vmid, saved) {
                Ok(()) => self.will_make(Undo::Firewall(vmid, saved.clone())),
                Err(FilesError::FileExists { .. }) => self.finds_another_firewall(vmid),
                Err(error) => return Err(error.into()),
            },
        }
        Ok(())
    }

    /// One that the survey saw is told of already.
    fn finds_another_firewall(&self, vmid: VmId) {
        self.state().other_firewall = true;
        if self.plan.not_whole.is_empty() {
            self.warn(format!(
                "a firewall file for {vmid} is there and was kept; the restored guest's own stands in the repository"
            ));
        }
    }

    pub(super) async fn start(&self, work: &RestoreWork, vmid: VmId) -> Result<(), Stopped> {
        if self.state().other_firewall {
            return Err(anyhow!(
                "there is another firewall file of {vmid}: look at its rules first"
            )
            .into());
        }
        work.control.start().await?;
        self.note(&format!("started guest {vmid}"));
        Ok(())
    }
}

fn release(execution: &Execution, left: &Reservation) -> Result<(), FilesError> {
    let Reservation { vmid, kind, node, text, before, .. } = left;
    let cluster = &execution.world.cluster;
    match before {
        None => cluster.remove_config_if_equal(node, *kind, *vmid, text),
        Some(before) => cluster.replace_config(node, *kind, *vmid, (text, before)),
    }
}

/// A configuration with nothing but the lock, and a number by which it is known.
fn reserving(vmid: VmId) -> anyhow::Result<String> {
    let mark = crate::entropy::random_u64().context("read random bytes")?;
    Ok(format!("#pve-ferry restores guest {vmid} ({mark:016x})\nlock: create\n"))
}

fn locked(present: &str) -> String {
    let mut config = GuestConfig::parse(present);
    config.set("lock", "create");
    config.to_string()
}
