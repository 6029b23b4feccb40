//! Steps with a guest's configuration and firewall file.

use super::super::undo::Undo;
use super::super::{Execution, OpenPoint, Restoring, Stopped};
use crate::model::VmId;
use crate::plan::ConfigAction;
use crate::plan::facts::RunState;
use crate::pve::{FilesError, GuestConfig, GuestStatus};
use anyhow::{Context as _, anyhow};
use std::sync::Arc;

impl Execution {
    pub(super) async fn config_step(
        self: &Arc<Self>,
        action: &ConfigAction,
    ) -> Result<(), Stopped> {
        match action {
            ConfigAction::CreateClusterId { random } => {
                self.ctx.home()?.files.create_cluster_id(*random)?;
                Ok(())
            }
            ConfigAction::Save { .. } => self.save_config().await,
            ConfigAction::Check { digest } => self.check_config(self.held.open()?, digest).await,
            ConfigAction::Write { vmid, .. } => {
                let restoring = self.held.restoring()?;
                self.write_config(restoring, *vmid, action).await?;
                // Only now: until they are named by it, a killed run's volumes are debris.
                self.clear_notes();
                self.settle(&restoring.settled);
                Ok(())
            }
        }
    }

    async fn save_config(self: &Arc<Self>) -> Result<(), Stopped> {
        let saved = self.on_open(|_, open| {
            open.with_draft(|draft| draft.save_config(&open.config))??;
            if let Some(firewall) = &open.firewall {
                open.with_draft(|draft| draft.save_firewall(firewall))??;
            }
            Ok(())
        });
        Ok(saved.await?)
    }

    /// The configuration must be the one that was surveyed, on the node that was surveyed; and a
    /// guest that was stopped before its snapshots must be so after them, or they are torn.
    async fn check_config(&self, work: &OpenPoint, digest: &str) -> Result<(), Stopped> {
        let guest = &self.plan.guest;
        let present = self.ctx.home()?.guest(guest.vmid).await?;
        let Some(present) = present.filter(|p| p.node == guest.node && p.kind == guest.kind) else {
            return Err(Stopped::Changed(format!("guest {} left node {}", guest.vmid, guest.node)));
        };
        if self.ctx.home()?.config(&present).await? != work.config {
            let text = format!("the configuration is no longer that of digest {digest}");
            return Err(Stopped::Changed(text));
        }
        let status = || self.until_stopped(work.control.status());
        if work.run_state == RunState::Stopped && status().await? != GuestStatus::Stopped {
            self.state().seen_running = true;
            self.warn("crash-consistent only: the guest was started meanwhile".to_owned());
        }
        Ok(())
    }

    /// The firewall first, so that the guest never runs without it; then the configuration in one
    /// piece, in place of what reserves its vmid.
    async fn write_config(
        &self,
        work: &Restoring,
        vmid: VmId,
        action: &ConfigAction,
    ) -> Result<(), Stopped> {
        let ConfigAction::Write { kind, node, expected, text, .. } = action else {
            return Err(anyhow!("{action:?} writes no configuration").into());
        };
        let present = work.present_config.as_deref().map(|text| GuestConfig::parse(text).digest());
        if present != *expected {
            return Err(Stopped::Changed(format!("the configuration of {vmid} is another one")));
        }
        let reserved = self.state().reserved.clone().context("the vmid is not reserved")?;
        if work.present_config.is_some() {
            self.is_still_stopped(work, vmid).await?;
        }
        self.write_firewall(work, vmid).await?;
        let cluster = &self.ctx.home()?.files;
        cluster.replace_config(node, *kind, vmid, (&reserved, text))?;
        let verb = if work.present_config.is_some() { "replaced" } else { "wrote" };
        self.finished(&format!("{verb} the configuration of {vmid} on {node}"));
        Ok(())
    }

    /// The guest was stopped when the plan was made; the volumes were written since, for hours maybe,
    /// and a lock is no obstacle to whoever forces it.
    async fn is_still_stopped(&self, work: &Restoring, vmid: VmId) -> Result<(), Stopped> {
        if work.control.status().await? == GuestStatus::Stopped {
            return Ok(());
        }
        Err(anyhow!(
            "guest {vmid} was started meanwhile: its configuration was not replaced; stop it and restore again"
        )
        .into())
    }

    async fn write_firewall(&self, work: &Restoring, vmid: VmId) -> Result<(), Stopped> {
        let cluster = &self.ctx.home()?.files;
        let (present, saved) = (self.ctx.home()?.firewall(vmid).await?, &work.firewall);
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
}
