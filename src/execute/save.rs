//! The steps of a backup. Each does one thing to the world; which and why stands in the plan.

use super::state::consistency;
use super::undo::Undo;
use super::{Execution, Stopped};
use crate::clock::Stopwatch;
use crate::model::{ChainId, DiskKey, ImageId, Label, Moment, PointId, SnapshotName, VolumeId};
use crate::plan::facts::RunState;
use crate::plan::{Action, BaseImage};
use crate::pve::{GuestControl, GuestStatus};
use crate::report::VolumeOutcome;
use crate::repository::image::{Compression, ImageSink, ImageSummary, write_image};
use crate::repository::layout::image_file;
use crate::repository::{
    Debris, GuestDir, GuestRecord, ImageEntry, ImageKind, Lock, Manifest, PointDraft, Skipped, State,
};
use crate::storage::{Export, Finish, SnapshotFacts, VolumeFacts};
use crate::stream::Header;
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
            Action::ThawGuest => self.thaw_guest(work).await,
            Action::SweepDebris { directory } => self.sweep(work, directory),
            Action::BeginRestorePoint { label, moment } => self.begin(work, label, *moment),
            Action::SaveConfig { .. } => self.save_config(work),
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
                let saving = Saving { disk, volume, snapshot, since, compression };
                self.save_volume(work, saving).await
            }
            Action::CommitRestorePoint => self.commit(work).await,
            other => Err(anyhow!("{other:?} is no step of a backup").into()),
        }
    }

    async fn thaw_guest(&self, work: &BackupWork) -> Result<(), Stopped> {
        let count = work.control.thaw().await?;
        self.note(&format!("thawed {count} file systems that an interrupted run had left frozen"));
        Ok(())
    }

    fn sweep(&self, work: &BackupWork, directory: &str) -> Result<(), Stopped> {
        let debris = work.debris.iter().find(|debris| debris.path.ends_with(directory));
        let debris = debris.with_context(|| format!("{directory} was not surveyed"))?;
        work.directory.sweep(&work.lock, debris)?;
        self.note(&format!("removed {directory}, which an interrupted run had left"));
        Ok(())
    }

    fn begin(&self, work: &BackupWork, label: &Label, moment: Moment) -> Result<(), Stopped> {
        self.will_make(Undo::Draft);
        // The chain's id must be durable before its first snapshot, or a kill makes orphans.
        work.directory.save_record(&work.lock, &work.record)?;
        let draft = work.directory.begin(&work.lock, label, moment)?;
        self.state().outcome.point = Some(draft.moment());
        *work.draft.lock().unwrap_or_else(PoisonError::into_inner) = Some(draft);
        Ok(())
    }

    fn save_config(&self, work: &BackupWork) -> Result<(), Stopped> {
        work.with_draft(|draft| draft.save_config(&work.config))??;
        if let Some(firewall) = &work.firewall {
            work.with_draft(|draft| draft.save_firewall(firewall))??;
        }
        Ok(())
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
        let stopped = || async { work.control.status().await.map(|s| s == GuestStatus::Stopped) };
        if work.run_state == RunState::Stopped && !stopped().await? {
            self.state().seen_running = true;
            self.warn("crash-consistent only: the guest was started meanwhile".to_owned());
        }
        Ok(())
    }

    async fn hold(&self, volume: &VolumeId, name: &SnapshotName) -> Result<(), Stopped> {
        let storage = self.storage(volume)?;
        let facts = self.present(volume).await?;
        let identity = snapshot_in(&facts, volume, name)?.identity.clone();
        Ok(storage.protect_snapshot(&volume.name, &identity).await?)
    }

    async fn commit(&self, work: &BackupWork) -> Result<(), Stopped> {
        let manifest = self.manifest(work);
        let committed = work.with_draft(|draft| draft.commit(&work.lock, manifest))??;
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

    fn manifest(&self, work: &BackupWork) -> Manifest {
        let guest = &self.plan.guest;
        let mut state = self.state();
        let worth = consistency(&state, work.run_state);
        state.outcome.consistency = Some(worth.to_string());
        let mut images = state.images.clone();
        images.sort_by(|a, b| a.disk.cmp(&b.disk));
        let skipped = self.plan.skipped.iter().filter_map(|skipped| {
            let disk = skipped.disk.parse().ok()?;
            Some(Skipped { disk, reason: skipped.reason.clone() })
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

    async fn present(&self, volume: &VolumeId) -> anyhow::Result<VolumeFacts> {
        let facts = self.storage(volume)?.volume(&volume.name).await?;
        let facts = facts.with_context(|| format!("volume {volume} is gone"))?;
        let surveyed = self.state().volumes.get(volume).cloned();
        if surveyed.is_some_and(|surveyed| surveyed != facts.identity) {
            bail!("volume {volume} is no longer the one that was surveyed");
        }
        Ok(facts)
    }
}

fn snapshot_in<'a>(
    facts: &'a VolumeFacts,
    volume: &VolumeId,
    name: &SnapshotName,
) -> anyhow::Result<&'a SnapshotFacts> {
    let found = facts.snapshot(&name.to_string());
    found.with_context(|| format!("snapshot {volume}@{name} is gone"))
}

/// One volume on its way into the restore point.
struct Saving<'a> {
    disk: &'a DiskKey,
    volume: &'a VolumeId,
    snapshot: &'a SnapshotName,
    since: Option<&'a BaseImage>,
    compression: Compression,
}

impl Saving<'_> {
    fn kind(&self) -> ImageKind {
        if self.since.is_some() { ImageKind::Increment } else { ImageKind::Base }
    }

    /// What vzdump calls the device (PVE::VZDump::QemuServer); a container's is its key.
    fn device(&self) -> String {
        match self.disk.as_str() {
            key if key.starts_with("mp") || key == "rootfs" => key.to_owned(),
            key if key.starts_with("tpmstate") => format!("drive-{key}-backup"),
            key => format!("drive-{key}"),
        }
    }
}

impl Execution {
    async fn save_volume(
        self: &Arc<Self>,
        work: &BackupWork,
        saving: Saving<'_>,
    ) -> Result<(), Stopped> {
        let _turn = self.world.limits.transfers.acquire().await.context("transfers ended")?;
        if self.world.cancel.is_cancelled() {
            return Err(Stopped::Interrupted);
        }
        let begun = Stopwatch::start();
        let facts = self.present(saving.volume).await?;
        let own = snapshot_in(&facts, saving.volume, saving.snapshot)?.clone();
        let since = saving.since.map(|base| &base.snapshot);
        let storage = self.storage(saving.volume)?;
        let export = storage.export(&saving.volume.name, &own.identity, since).await?;
        let header = Header {
            from: since.map(|identity| identity.name.clone()),
            to: Some(own.identity.name.clone()),
            size: own.size,
        };
        let summary = self.write_image(work, &saving, export, header).await?;
        let entry = entry(&saving, &facts, &own, &summary, self.random_image_id()?);
        let outcome = outcome(&entry, begun.elapsed().as_secs_f64());
        self.note(&format!("saved {} of {} ({})", saving.disk, saving.volume, outcome.kind));
        let mut state = self.state();
        state.outcome.volumes.push(outcome);
        state.images.push(entry);
        Ok(())
    }

    fn random_image_id(&self) -> anyhow::Result<ImageId> {
        Ok(ImageId(crate::entropy::random_u64()?))
    }

    /// Moves one stream into its file on a thread of its own. The transfer counts only when the
    /// stream was whole and the process behind it ended well, too.
    async fn write_image(
        &self,
        work: &BackupWork,
        saving: &Saving<'_>,
        export: Export,
        header: Header,
    ) -> Result<ImageSummary, Stopped> {
        let options = self.world.limits.image;
        let (data, index) = work.with_draft(|draft| {
            draft.image_files(saving.disk, saving.kind(), options.compression)
        })??;
        let total = if saving.since.is_some() { 0 } else { header.size };
        let what = format!("{} {}", self.plan.guest.vmid, saving.volume);
        let meter = self.world.progress.begin(&what, total);
        let Export { mut reader, exit } = export;
        let bar = meter.clone();
        let task = tokio::task::spawn_blocking(move || {
            let files = ImageSink { data, index };
            write_image(&mut reader, &header, files, options, &|bytes| bar.add(bytes))
        });
        let written = self.until_done_or_cancelled(task, exit).await;
        meter.end();
        written
    }

    /// Waits for a transfer's thread and then for its process; a wish to stop kills the process,
    /// which ends the thread.
    pub(super) async fn until_done_or_cancelled<T, E>(
        &self,
        mut task: tokio::task::JoinHandle<Result<T, E>>,
        mut exit: Finish,
    ) -> Result<T, Stopped>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let joined = tokio::select! {
            joined = &mut task => joined,
            () = self.world.cancel.cancelled() => {
                exit.kill();
                // The thread ends with its pipe; nothing of it is at work when we undo.
                let _ = task.await;
                let _ = exit.wait().await;
                return Err(Stopped::Interrupted);
            }
        };
        match joined? {
            Ok(done) => {
                exit.wait().await?;
                Ok(done)
            }
            Err(error) => {
                // A process that failed by itself knows better why; one that still runs does not.
                tokio::time::sleep(GRACE).await;
                exit.kill();
                let error = anyhow::Error::new(error);
                Err(match exit.wait().await {
                    Err(cause) => error.context(format!("{:#}", anyhow::Error::from(cause))),
                    Ok(()) => error,
                }
                .into())
            }
        }
    }
}

/// How long a process whose pipe has ended may take to end by itself.
const GRACE: std::time::Duration = std::time::Duration::from_millis(500);

fn entry(
    saving: &Saving,
    facts: &VolumeFacts,
    own: &SnapshotFacts,
    summary: &ImageSummary,
    id: ImageId,
) -> ImageEntry {
    let mut shape = facts.shape.clone();
    shape.size = own.size;
    ImageEntry {
        id,
        parent: saving.since.map(|base| base.image),
        disk: saving.disk.clone(),
        device: saving.device(),
        volume: saving.volume.clone(),
        size: own.size,
        shape,
        source: own.identity.clone(),
        base_source: saving.since.map(|base| base.snapshot.clone()),
        from: summary.from.clone(),
        to: own.identity.name.clone(),
        file: image_file(saving.disk, saving.kind(), saving.compression),
        compression: saving.compression,
        stream_bytes: summary.stream_bytes,
        stored_bytes: summary.stored_bytes,
        data_bytes: summary.data_bytes,
        digest: summary.digest,
        other: serde_json::Map::new(),
    }
}

fn outcome(entry: &ImageEntry, seconds: f64) -> VolumeOutcome {
    VolumeOutcome {
        disk: entry.disk.to_string(),
        volume: entry.volume.to_string(),
        kind: if entry.parent.is_some() { "increment" } else { "base" }.to_owned(),
        logical_bytes: entry.size,
        stream_bytes: entry.stream_bytes,
        stored_bytes: entry.stored_bytes,
        seconds,
    }
}
