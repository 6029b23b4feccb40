//! Steps on a guest as a whole.

use super::super::{Execution, Restoring, Stopped};
use crate::model::VmId;
use crate::plan::GuestAction;
use anyhow::anyhow;
use std::sync::Arc;

impl Execution {
    pub(super) async fn guest_step(self: &Arc<Self>, action: &GuestAction) -> Result<(), Stopped> {
        match action {
            GuestAction::Thaw { after } => self.thaw_guest(*after).await,
            GuestAction::Release { .. } => self.release_left(),
            GuestAction::Reserve { text, .. } => self.reserve(self.held.restoring()?, text),
            GuestAction::RescanVolumes { vmid } => {
                self.clear_notes();
                self.held.restoring()?.control.rescan().await?;
                self.note(&format!("guest {vmid} has the volumes as unused disks"));
                Ok(())
            }
            GuestAction::Start { vmid } => self.start(self.held.restoring()?, *vmid).await,
            GuestAction::CreateSnapshot { name, with_memory } => {
                let _open = self.open_at_pve(action);
                self.create_guest_snapshot(name, with_memory.then_some("1")).await
            }
            GuestAction::DeleteSnapshot(snapshot) => {
                let _open = self.open_at_pve(action);
                self.delete_guest_snapshot(snapshot).await
            }
            GuestAction::Rollback(snapshot) => {
                let _open = self.open_at_pve(action);
                self.roll_back(snapshot).await
            }
        }
    }

    async fn start(&self, work: &Restoring, vmid: VmId) -> Result<(), Stopped> {
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
