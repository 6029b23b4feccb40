//! The steps of a backup. Each does one thing to the world; which and why stands in the plan.

use super::state::consistency;
use super::transfer::Saving;
use super::undo::Undo;
use super::{Execution, Stopped};
use crate::model::{ChainId, Label, Moment, PointId, SnapshotName, VolumeId};
use crate::plan::Action;
use crate::plan::facts::RunState;
use crate::plan::repair::Mend;
use crate::pve::{GuestControl, GuestStatus};
use crate::repository::{
    Debris, GuestDir, GuestRecord, Lock, Manifest, PointDraft, RepositoryError, Skipped, State,
};
use crate::storage::{SnapshotFacts, VolumeFacts};
use anyhow::{Context as _, anyhow, bail};
use std::sync::{Arc, Mutex, PoisonError};

/// What the steps of a backup work on.
pub struct BackupWork {
    /// The guest's directory in the repository.
    pub directory: GuestDir,
    /// Our exclusive lock on it.
    pub lock: Lock,
    /// What guest.json is to hold.
    pub record: GuestRecord,
    /// How the guest is frozen and asked.
    pub control: GuestControl,
    /// The configuration as surveyed.
    pub config: String,
    /// The firewall file as surveyed.
    pub firewall: Option<String>,
    /// Whether the guest ran when it was surveyed.
    pub run_state: RunState,
    /// What interrupted runs left in the guest's directory.
    pub debris: Vec<Debris>,
    /// The label of the run.
    pub label: Label,
    /// The chain of the run.
    pub chain: ChainId,
    /// The id that the new point gets; its digits name the freeze's guard, too.
    pub point: PointId,
    /// The open restore point.
    pub draft: Mutex<Option<PointDraft>>,
}

impl BackupWork {
    /// Digits that name this run's guard.
    pub(super) fn token(&self) -> String {
        self.point.to_string()[..8].to_owned()
    }

    pub(super) fn take_draft(&self) -> Option<PointDraft> {
        self.draft.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn with_draft<T>(&self, act: impl FnOnce(&PointDraft) -> T) -> anyhow::Result<T> {
        let draft = self.draft.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(act(draft.as_ref().context("no restore point is open")?))
    }
}

impl Execution {
    pub(super) async fn backup_step(
        self: &Arc<Self>,
        work: &BackupWork,
        action: &Action,
    ) -> Result<(), Stopped> {
        match action {
            Action::ThawGuest { after } => self.thaw_guest(work, *after).await,
            Action::SweepDebris { directory } => {
                self.sweep(directory).await;
                Ok(())
            }
            Action::Mend(Mend::Index { file }) => self.rebuild_index(file).await,
            Action::BeginRestorePoint { label, moment } => self.begin(label, *moment).await,
            Action::SaveConfig { .. } => self.save_config().await,
            Action::CheckConfig { digest } => self.check_config(work, digest).await,
            Action::CreateSnapshot { volume, identity, snapshot } => {
                self.state().volumes.insert(volume.clone(), identity.clone());
                self.create_snapshot(volume, snapshot).await
            }
            Action::HoldSnapshot { volume, snapshot } => self.hold(volume, snapshot).await,
            Action::ReleaseSnapshot { volume, snapshot } => {
                Ok(self.storage(volume)?.unprotect_snapshot(&volume.name, snapshot).await?)
            }
            Action::DeleteSnapshot { volume, snapshot } => {
                self.storage(volume)?.delete_snapshot(&volume.name, snapshot).await?;
                self.note(&format!("deleted snapshot {volume}@{}", snapshot.name));
                Ok(())
            }
            Action::SaveVolume { disk, volume, snapshot, since } => {
                let compression = self.world.limits.image.compression;
                let since = since.as_ref();
                let saving = Saving { disk, volume, snapshot, since, compression, striped: false };
                self.save_volume(saving).await
            }
            Action::CommitRestorePoint => self.commit(self.manifest(work)).await,
            Action::AuditVolume { disk, volume, share } => {
                self.audit_volume(work, (disk, volume), *share).await
            }
            Action::SweepLeftovers { .. } => self.sweep_leftovers(action).await,
            Action::HidePoint(_) | Action::MergeImages { .. } | Action::DeleteRestorePoint(_) => {
                self.prune(action).await
            }
            other => Err(anyhow!("{other:?} is no step of a backup").into()),
        }
    }

    /// Works on the repository on a thread of its own: a disk that does not answer must not hold up the
    /// threads that thaw and watch other guests. Nothing else reaches an open point's directory.
    pub(super) async fn on_disk<T: Send + 'static>(
        self: &Arc<Self>,
        act: impl FnOnce(&Self, &BackupWork) -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let execution = self.clone();
        let act = move || match &execution.work {
            super::Work::Backup(work) => act(&execution, work),
            super::Work::Adopt(work) => act(&execution, &work.open),
            _ => bail!("only a backup has an open restore point"),
        };
        tokio::task::spawn_blocking(act).await?
    }

    /// What an interrupted run left costs room and nothing else: that it cannot be removed must not
    /// cost the guest its backup. A lost lock stops the next step.
    async fn sweep(self: &Arc<Self>, directory: &str) {
        let wanted = directory.to_owned();
        let swept = self.on_disk(move |_, work| {
            let debris = work.debris.iter().find(|debris| debris.path.ends_with(&wanted));
            let debris = debris.with_context(|| format!("{wanted} was not surveyed"))?;
            Ok(work.directory.sweep(&work.lock, debris)?)
        });
        match swept.await {
            Ok(stays) => {
                self.note(&format!("removed {directory}, which an interrupted run had left"));
                self.state().outcome.warnings.extend(stays.map(|foreign| foreign.to_string()));
            }
            Err(error) => self.not_swept(&error),
        }
    }

    fn not_swept(&self, error: &anyhow::Error) {
        self.warn(format!(
            "what an interrupted run left stays: {error:#}; the next run tries again"
        ));
    }

    /// As [`Execution::sweep`], of single files; after the commit its failure is a warning anyhow.
    async fn sweep_leftovers(self: &Arc<Self>, action: &Action) -> Result<(), Stopped> {
        if let Err(Stopped::Failed(error)) = self.prune(action).await {
            self.not_swept(&error);
        }
        Ok(())
    }

    /// An image that turns out to be damaged is marked, so that the next survey of this very run makes
    /// a base. An index that only cannot be written keeps no increment from following.
    async fn rebuild_index(self: &Arc<Self>, file: &str) -> Result<(), Stopped> {
        let image = file.to_owned();
        let rebuilt = self.on_disk(move |execution, work| {
            let path = work.directory.path().join(&image);
            let rebuilt = work.directory.rebuild_index(&work.lock, &path);
            let Err(RepositoryError::Damaged { why, .. }) = &rebuilt else {
                return Ok(Ok(rebuilt.err()));
            };
            let now = execution.world.clock.now();
            work.directory.mark_damaged(&work.lock, &path, (why, now))?;
            Ok(Err(Stopped::Changed(format!("{image} is damaged ({why})"))))
        });
        match rebuilt.await?? {
            None => self.note(&format!("made the index of {file} again")),
            Some(error) => self.warn(format!(
                "the index of {file} could not be made again: {:#}",
                anyhow::Error::from(error)
            )),
        }
        Ok(())
    }

    async fn prune(self: &Arc<Self>, action: &Action) -> Result<(), Stopped> {
        let action = action.clone();
        let done = self.on_disk(move |execution, work| {
            let image = &execution.world.limits.image;
            super::prune::step(&work.directory, &work.lock, image, &action)
        });
        let done = done.await?;
        self.note(&done);
        self.state().outcome.changes.push(done);
        Ok(())
    }

    pub(super) async fn begin(
        self: &Arc<Self>,
        label: &Label,
        moment: Moment,
    ) -> Result<(), Stopped> {
        self.will_make(Undo::Draft);
        let label = label.clone();
        let begun = self.on_disk(move |execution, work| {
            // The chain's id must be durable before its first snapshot, or a kill makes orphans.
            work.directory.save_record(&work.lock, &work.record)?;
            let draft = work.directory.begin(&work.lock, &label, moment)?;
            execution.state().outcome.point = Some(draft.moment());
            *work.draft.lock().unwrap_or_else(PoisonError::into_inner) = Some(draft);
            Ok(())
        });
        Ok(begun.await?)
    }

    pub(super) async fn save_config(self: &Arc<Self>) -> Result<(), Stopped> {
        let saved = self.on_disk(|_, work| {
            work.with_draft(|draft| draft.save_config(&work.config))??;
            if let Some(firewall) = &work.firewall {
                work.with_draft(|draft| draft.save_firewall(firewall))??;
            }
            Ok(())
        });
        Ok(saved.await?)
    }

    async fn create_snapshot(&self, volume: &VolumeId, name: &SnapshotName) -> Result<(), Stopped> {
        let storage = self.storage(volume)?;
        self.will_make(Undo::Snapshot(volume.clone(), name.clone()));
        storage.create_snapshot(&volume.name, &name.to_string()).await?;
        self.note(&format!("created snapshot {volume}@{name}"));
        Ok(())
    }

    /// The configuration must be the one that was surveyed, on the node that was surveyed; and a
    /// guest that was stopped before its snapshots must be so after them, or they are torn.
    async fn check_config(&self, work: &BackupWork, digest: &str) -> Result<(), Stopped> {
        let guest = &self.plan.guest;
        let present = self.world.cluster.find(guest.vmid)?;
        let Some(present) = present.filter(|p| p.node == guest.node && p.kind == guest.kind) else {
            return Err(Stopped::Changed(format!("guest {} left node {}", guest.vmid, guest.node)));
        };
        if self.world.cluster.read_config(&present)? != work.config {
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

    async fn hold(&self, volume: &VolumeId, name: &SnapshotName) -> Result<(), Stopped> {
        let storage = self.storage(volume)?;
        let facts = self.until_stopped(self.present(volume)).await?;
        let identity = snapshot_in(&facts, volume, name)?.identity.clone();
        Ok(storage.protect_snapshot(&volume.name, &identity).await?)
    }

    pub(super) async fn commit(self: &Arc<Self>, manifest: Manifest) -> Result<(), Stopped> {
        let committed = self.on_disk(move |_, work| {
            Ok(work.with_draft(|draft| draft.commit(&work.lock, manifest))??)
        });
        let committed = committed.await?;
        let mut state = self.state();
        state.committed = true;
        let warnings = committed.warnings.into_iter();
        let warnings = warnings.map(|w| format!("after the commit: {:#}", anyhow::Error::from(w)));
        state.outcome.warnings.extend(warnings);
        // The snapshots are needed from now on: they stay.
        state.undo.clear();
        drop(state);
        self.note("committed the restore point");
        Ok(())
    }

    pub(super) fn manifest(&self, work: &BackupWork) -> Manifest {
        let guest = &self.plan.guest;
        let mut state = self.state();
        let worth = consistency(&state, work.run_state);
        state.outcome.consistency = Some(worth.to_string());
        let mut images = state.images.clone();
        images.sort_by(|a, b| a.disk.cmp(&b.disk));
        let skipped = self.plan.skipped.iter().filter_map(|skipped| {
            let disk = skipped.disk.parse().ok()?;
            let by_configuration = Some(skipped.by_configuration);
            Some(Skipped { disk, reason: skipped.reason.clone(), by_configuration })
        });
        Manifest {
            format: crate::repository::FORMAT,
            requires: Vec::new(),
            point: work.point,
            // Order, name and digests are the draft's to say.
            seq: 0,
            label: work.label.clone(),
            time: state.outcome.point.unwrap_or(Moment::from_unix(0)),
            config_digest: None,
            firewall_digest: None,
            chain: work.chain,
            guest: work.record.guest.clone(),
            kind: guest.kind,
            name: guest.name.clone(),
            node: guest.node.clone(),
            consistency: worth,
            state: State::Committed,
            images,
            skipped: skipped.collect(),
            other: serde_json::Map::new(),
        }
    }

    pub(super) async fn present(&self, volume: &VolumeId) -> anyhow::Result<VolumeFacts> {
        let facts = self.storage(volume)?.volume(&volume.name).await?;
        let facts = facts.with_context(|| format!("volume {volume} is gone"))?;
        let surveyed = self.state().volumes.get(volume).cloned();
        if surveyed.is_some_and(|surveyed| surveyed != facts.identity) {
            bail!("volume {volume} is no longer the one that was surveyed");
        }
        Ok(facts)
    }
}

pub(super) fn snapshot_in<'a>(
    facts: &'a VolumeFacts,
    volume: &VolumeId,
    name: &SnapshotName,
) -> anyhow::Result<&'a SnapshotFacts> {
    let found = facts.snapshot(&name.to_string());
    found.with_context(|| format!("snapshot {volume}@{name} is gone"))
}
