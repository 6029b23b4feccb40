//! Takes back what a failed plan made. Each undo names exactly what the plan made, and looks at
//! its identity before it removes it; nothing that was there before the run is ever touched.

use super::Execution;
use crate::model::{GuestKind, SnapshotName, VmId, VolumeRef};
use crate::pve::FilesError;
use anyhow::Context as _;
use std::sync::Arc;
use std::time::Duration;

/// How long a file system may take that kept a thread already.
const STUCK: Duration = Duration::from_secs(5);

/// One thing that the plan made, or was about to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Undo {
    /// The open restore point.
    Draft,
    /// A snapshot of this run.
    Snapshot(VolumeRef, SnapshotName),
    /// A volume of this run, and the name under which it is made.
    Volume(VolumeRef, String),
    /// A configuration of this run.
    Config { node: String, kind: GuestKind, vmid: VmId, text: String },
    /// PVE's lock of this run on a guest: the text with it, and the one before.
    Lock { node: String, kind: GuestKind, vmid: VmId, texts: (String, String) },
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
            Self::Lock { vmid, node, .. } => write!(f, "lock of {vmid} on {node}"),
            Self::Firewall(vmid, _) => write!(f, "firewall file of {vmid}"),
        }
    }
}

impl Execution {
    /// Notes what is about to be made, so that a failure in the middle of making it is undone, too.
    pub(super) fn will_make(&self, undo: Undo) {
        let open = self.ctx.cancel.open(undo.to_string());
        self.state().undo.push((undo, open));
    }

    /// Undoes everything, newest first. What cannot be undone is named in the outcome: the next
    /// run of the same guest finds it.
    pub(super) async fn undo_all(self: &Arc<Self>) {
        let list = std::mem::take(&mut self.state().undo);
        for (undo, _open) in list.into_iter().rev() {
            let what = format!("guest {}: take back {undo}", self.plan.guest.vmid);
            let _busy = self.ctx.cancel.busy_with(what.clone());
            match self.said_while_it_lasts(&what, self.undo(&undo)).await {
                Ok(()) => self.forget(&undo),
                Err(error) => {
                    self.leave(format!("{undo} stays, as it could not be removed: {error:#}"));
                }
            }
        }
    }

    /// A volume that is gone is none that was restored, and a point that is gone holds nothing.
    fn forget(&self, undo: &Undo) {
        let outcome = &mut self.state().outcome;
        match undo {
            Undo::Draft => {
                outcome.volumes.clear();
                outcome.point = None;
            }
            Undo::Volume(volume, _) => {
                let gone = volume.id.to_string();
                outcome.volumes.retain(|volume| volume.volume != gone);
            }
            _ => {}
        }
    }

    async fn undo(self: &Arc<Self>, undo: &Undo) -> anyhow::Result<()> {
        match undo {
            Undo::Draft => self.undo_draft().await,
            Undo::Snapshot(volume, name) => self.undo_snapshot(volume, name).await,
            Undo::Volume(volume, made_as) => {
                let deleted = self.undo_volume(volume, made_as).await;
                if deleted.is_err() {
                    self.leave_note(volume);
                }
                deleted
            }
            Undo::Config { node, kind, vmid, text } => {
                let cluster = &self.ctx.home()?.files;
                let removed = cluster.remove_config_if_equal(node, *kind, *vmid, text);
                self.left_reserved(removed)
            }
            Undo::Lock { node, kind, vmid, texts: (locked, before) } => {
                let cluster = &self.ctx.home()?.files;
                let unlocked = cluster.replace_config(node, *kind, *vmid, (locked, before));
                self.left_reserved(unlocked)
            }
            Undo::Firewall(vmid, text) => {
                Ok(self.ctx.home()?.files.remove_firewall_if_equal(*vmid, text)?)
            }
        }
    }

    fn left_reserved(&self, undone: Result<(), FilesError>) -> anyhow::Result<()> {
        if undone.is_err() {
            self.leave_reservation();
        }
        Ok(undone?)
    }

    /// Under its first name it is ours, whatever the storage said; under its own name it is while it
    /// is what this run has seen made.
    async fn undo_volume(&self, volume: &VolumeRef, made_as: &str) -> anyhow::Result<()> {
        let storage = self.storage(volume)?;
        let first = storage.volume(made_as).await;
        let first = first.with_context(|| format!("it may be there as {made_as}"))?;
        if let Some(facts) = first {
            storage.delete_volume(made_as, &facts.identity).await?;
            return Ok(());
        }
        let identity = self.state().volumes.get(volume).cloned();
        if let Some(identity) = identity {
            storage.delete_volume(&volume.id.name, &identity).await?;
        }
        Ok(())
    }

    async fn undo_draft(self: &Arc<Self>) -> anyhow::Result<()> {
        let abandoned = self.on_open(|_, open| match open.take_draft() {
            Some(draft) => draft.abandon().context("remove the open restore point"),
            None => Ok(()),
        });
        let is_stuck = self.state().is_stuck;
        let abandoned = match is_stuck {
            true => tokio::time::timeout(STUCK, abandoned).await,
            false => Ok(abandoned.await),
        };
        abandoned.context("the file system of the repository does not answer")?
    }

    async fn undo_snapshot(&self, volume: &VolumeRef, name: &SnapshotName) -> anyhow::Result<()> {
        let storage = self.storage(volume)?;
        let Some(facts) = storage.volume(&volume.id.name).await? else { return Ok(()) };
        let name = name.to_string();
        let made = facts.snapshot(&name);
        let Some(made) = made else { return Ok(()) };
        if made.protected {
            storage.unprotect_snapshot(&volume.id.name, &made.identity).await?;
        }
        storage.delete_snapshot(&volume.id.name, &made.identity).await?;
        Ok(())
    }

    /// The storage that the volume is on.
    pub(super) fn storage(&self, volume: &VolumeRef) -> anyhow::Result<crate::storage::Storage> {
        let storage = self.ctx.storage_of(volume).cloned();
        storage.with_context(|| format!("{volume} cannot be reached"))
    }
}
