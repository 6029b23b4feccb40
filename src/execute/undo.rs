//! Takes back what a failed plan made. Each undo names exactly what the plan made, and looks at
//! its identity before it removes it; nothing that was there before the run is ever touched.

use super::{Execution, Work};
use crate::model::{GuestKind, SnapshotName, VmId, VolumeId, VolumeIdentity};
use anyhow::Context as _;

/// One thing that the plan made, or was about to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Undo {
    /// The open restore point.
    Draft,
    /// A snapshot of this run.
    Snapshot(VolumeId, SnapshotName),
    /// A volume of this run.
    Volume(VolumeId, VolumeIdentity),
    /// A configuration of this run.
    Config { node: String, kind: GuestKind, vmid: VmId, text: String },
    /// A firewall file of this run.
    Firewall(VmId, String),
}

impl std::fmt::Display for Undo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Draft => f.write_str("the open restore point"),
            Self::Snapshot(volume, name) => write!(f, "snapshot {volume}@{name}"),
            Self::Volume(volume, _) => write!(f, "volume {volume}"),
            Self::Config { vmid, node, .. } => write!(f, "configuration of {vmid} on {node}"),
            Self::Firewall(vmid, _) => write!(f, "firewall file of {vmid}"),
        }
    }
}

impl Execution {
    /// Notes what is about to be made, so that a failure in the middle of making it is undone, too.
    pub(super) fn will_make(&self, undo: Undo) {
        let open = self.world.cancel.open(undo.to_string());
        self.state().undo.push((undo, open));
    }

    /// Undoes everything, newest first. What cannot be undone is named in the outcome: the next
    /// run of the same guest finds it.
    pub(super) async fn undo_all(&self) {
        let list = std::mem::take(&mut self.state().undo);
        for (undo, _open) in list.into_iter().rev() {
            match self.undo(&undo).await {
                Ok(()) => self.forget(&undo),
                Err(error) => {
                    self.warn(format!("{undo} stays, as it could not be removed: {error:#}"));
                }
            }
        }
    }

    /// A volume that is gone is none that was restored.
    fn forget(&self, undo: &Undo) {
        if let Undo::Volume(volume, _) = undo {
            let gone = volume.to_string();
            self.state().outcome.volumes.retain(|volume| volume.volume != gone);
        }
    }

    async fn undo(&self, undo: &Undo) -> anyhow::Result<()> {
        match undo {
            Undo::Draft => self.undo_draft(),
            Undo::Snapshot(volume, name) => self.undo_snapshot(volume, name).await,
            Undo::Volume(volume, identity) => {
                let deleted = self.storage(volume)?.delete_volume(&volume.name, identity).await;
                if deleted.is_err() {
                    self.leave_note(volume);
                }
                Ok(deleted.map(drop)?)
            }
            Undo::Config { node, kind, vmid, text } => {
                Ok(self.world.cluster.remove_config_if_equal(node, *kind, *vmid, text)?)
            }
            Undo::Firewall(vmid, text) => {
                Ok(self.world.cluster.remove_firewall_if_equal(*vmid, text)?)
            }
        }
    }

    fn undo_draft(&self) -> anyhow::Result<()> {
        let work = match &self.work {
            Work::Backup(work) => work,
            Work::Adopt(work) => &work.open,
            _ => return Ok(()),
        };
        match work.take_draft() {
            Some(draft) => draft.abandon().context("remove the open restore point"),
            None => Ok(()),
        }
    }

    async fn undo_snapshot(&self, volume: &VolumeId, name: &SnapshotName) -> anyhow::Result<()> {
        let storage = self.storage(volume)?;
        let Some(facts) = storage.volume(&volume.name).await? else { return Ok(()) };
        let name = name.to_string();
        let made = facts.snapshot(&name);
        let Some(made) = made else { return Ok(()) };
        if made.protected {
            storage.unprotect_snapshot(&volume.name, &made.identity).await?;
        }
        storage.delete_snapshot(&volume.name, &made.identity).await?;
        Ok(())
    }

    pub(super) fn storage(&self, volume: &VolumeId) -> anyhow::Result<crate::storage::Storage> {
        let storage = self.world.storages.get(&volume.storage);
        storage.cloned().with_context(|| format!("storage {} has no driver here", volume.storage))
    }
}
