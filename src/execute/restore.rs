//! The steps of a restore: volumes, then firewall and configuration. Each writes only to what
//! this run made; reading and checking the chain is the repository's work.

use super::moving::Direction;
use super::undo::Undo;
use super::{Execution, Stopped, Work};
use crate::clock::Stopwatch;
use crate::model::{DiskKey, GuestKind, VmId, VolumeId, VolumeShape};
use crate::plan::{Action, Item, Step};
use crate::pve::{GuestControl, GuestStatus};
use crate::report::VolumeOutcome;
use crate::repository::image::ImageError;
use crate::repository::{Lock, OpenChain, StoredChain};
use crate::storage::{Import, StorageError};
use anyhow::{Context as _, anyhow};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

/// What the steps of a restore work on.
pub struct RestoreWork {
    /// Our shared lock on the guest's directory in the repository; none on another tool's.
    pub lock: Option<Lock>,
    /// The files of each disk.
    pub chains: BTreeMap<DiskKey, StoredChain>,
    /// The configuration that the guest gets; none when single volumes are restored.
    pub config: Option<String>,
    /// The firewall file that the guest gets.
    pub firewall: Option<String>,
    /// How the guest is started, and PVE told of new volumes.
    pub control: GuestControl,
    /// The present configuration, when it is replaced.
    pub present_config: Option<String>,
}

impl Execution {
    pub(super) async fn restore_step(
        self: &Arc<Self>,
        work: &RestoreWork,
        action: &Action,
    ) -> Result<(), Stopped> {
        match action {
            Action::CreateVolume { volume, shape, .. } => self.create_volume(volume, shape).await,
            Action::RestoreVolume { disk, volume } => self.restore_volume(work, disk, volume).await,
            Action::DeleteVolume { volume, identity } => self.delete_left(volume, identity).await,
            Action::WriteConfig { vmid, kind, node, replaces } => {
                // The volumes are whole: from here on no later restore may take them for debris.
                self.clear_notes();
                match replaces {
                    Some(_) => self.replace_config(work, *vmid, *kind, node).await,
                    None => self.write_config(work, *vmid, *kind, node),
                }
            }
            Action::RescanVolumes { vmid } => {
                self.clear_notes();
                work.control.rescan().await?;
                self.note(&format!("guest {vmid} has the volumes as unused disks"));
                Ok(())
            }
            Action::StartGuest { vmid } => self.start(work, *vmid).await,
            other => Err(anyhow!("{other:?} is no step of a restore").into()),
        }
    }

    async fn create_volume(&self, volume: &VolumeId, shape: &VolumeShape) -> Result<(), Stopped> {
        let storage = self.storage(volume)?;
        let facts = match storage.create_volume(&volume.name, shape).await {
            Ok(facts) => facts,
            // Somebody else was faster: that volume is theirs.
            Err(error @ StorageError::Exists { .. }) => return Err(error.into()),
            Err(error) => {
                self.name_what_may_be_ours(volume).await;
                return Err(error.into());
            }
        };
        self.will_make(Undo::Volume(volume.clone(), facts.identity.clone()));
        self.note_made(volume, &facts.identity);
        self.state().volumes.insert(volume.clone(), facts.identity);
        self.note(&format!("created volume {volume}"));
        Ok(())
    }

    /// A volume that was not there before and is there after a failed creation: nothing proves that
    /// it is ours, so it is not deleted, and whoever reads the report decides.
    async fn name_what_may_be_ours(&self, volume: &VolumeId) {
        let Ok(storage) = self.storage(volume) else { return };
        if !matches!(storage.volume(&volume.name).await, Ok(None)) {
            self.warn(format!(
                "volume {volume} may be there now, made by this run and empty: look at it, and remove it"
            ));
        }
    }

    async fn restore_volume(
        self: &Arc<Self>,
        work: &RestoreWork,
        disk: &DiskKey,
        volume: &VolumeId,
    ) -> Result<(), Stopped> {
        let _turn = self.turn_to_transfer().await?;
        let begun = Stopwatch::start();
        let stored = work.chains.get(disk).with_context(|| format!("no chain for {disk}"))?;
        let chain = self.open_chain(stored.clone(), &format!("check {disk} of {volume}")).await?;
        let (size, data) = (chain.size(), chain.data_bytes());
        let identity = self.state().volumes.get(volume).cloned();
        let identity = identity.with_context(|| format!("volume {volume} was not made by us"))?;
        let storage = self.storage(volume)?;
        let import = self.until_stopped(storage.import(&volume.name, &identity)).await?;
        self.write_volume(chain, import, volume).await?;
        let restored = self.until_stopped(storage.volume(&volume.name)).await?;
        let restored = restored.context("the volume is gone")?;
        if restored.shape.size != size || restored.identity != identity {
            return Err(
                anyhow!("volume {volume} has another size or identity than expected").into()
            );
        }
        self.note(&format!("restored {disk} to {volume}"));
        self.state().outcome.volumes.push(VolumeOutcome {
            disk: disk.to_string(),
            volume: volume.to_string(),
            logical_bytes: size,
            stream_bytes: data,
            seconds: begun.elapsed().as_secs_f64(),
            ..VolumeOutcome::default()
        });
        Ok(())
    }

    /// Opens a chain. Where that means to read all of it, it is shown, and can be stopped.
    async fn open_chain(
        self: &Arc<Self>,
        stored: StoredChain,
        what: &str,
    ) -> Result<OpenChain, Stopped> {
        let total = stored.bytes_to_open();
        let meter = (total > 0).then(|| self.world.progress.begin(what, total));
        let (bar, cancel) = (meter.clone(), self.stop.clone());
        let opened = tokio::task::spawn_blocking(move || {
            stored.open(&|bytes: u64| {
                if let Some(bar) = &bar {
                    bar.add(bytes);
                }
                cancel.check()
            })
        });
        let opened = opened.await?;
        if let Some(meter) = meter {
            meter.end();
        }
        if self.stop.is_cancelled() {
            return Err(self.stopped());
        }
        Ok(opened?)
    }

    /// Streams the chain's content, each block once, into the storage.
    async fn write_volume(
        &self,
        chain: OpenChain,
        import: Import,
        volume: &VolumeId,
    ) -> Result<(), Stopped> {
        let threads = self.world.limits.image.threads;
        let what = format!("{} {volume}", self.plan.guest.vmid);
        let meter = self.world.progress.begin(&what, chain.data_bytes());
        let Import { writer, exit } = import;
        let (bar, throttle) = (meter.clone(), self.world.limits.throttle.clone());
        let moving = self.moving(Direction::Into, volume);
        let (writer, go_on) = (moving.watched_writer(writer), moving.go_on());
        let task = tokio::task::spawn_blocking(move || -> Result<(), ImageError> {
            let told = |bytes: usize| {
                bar.add(bytes as u64);
                throttle.pass(bytes, &go_on)
            };
            let mut counted = Counted { writer, told };
            chain.write_stream(&mut counted, IMPORT_RECORD, threads)?;
            counted.flush().map_err(ImageError::Write)
        });
        let done = self.until_moved(task, exit, &moving).await;
        meter.end();
        done
    }

    /// The firewall first, so that the guest never exists without it.
    fn write_config(
        &self,
        work: &RestoreWork,
        vmid: VmId,
        kind: GuestKind,
        node: &str,
    ) -> Result<(), Stopped> {
        let text = work.config.as_ref().context("the restore point's configuration is missing")?;
        let cluster = &self.world.cluster;
        if let Some(firewall) = &work.firewall {
            match cluster.read_firewall(vmid)? {
                Some(present) if present == *firewall => {}
                Some(_) => self.warn(format!(
                    "a firewall file for {vmid} is there and was kept; the restored guest's own stands in the repository"
                )),
                None => {
                    self.will_make(Undo::Firewall(vmid, firewall.clone()));
                    cluster.write_firewall_exclusively(vmid, firewall)?;
                }
            }
        }
        let undo = Undo::Config { node: node.to_owned(), kind, vmid, text: text.clone() };
        self.will_make(undo);
        cluster.write_config_exclusively(node, kind, vmid, text)?;
        self.finished(&format!("wrote the configuration of {vmid} on {node}"));
        Ok(())
    }

    /// The guest was stopped when the plan was made; the volumes were written since, for hours maybe.
    async fn replace_config(
        &self,
        work: &RestoreWork,
        vmid: VmId,
        kind: GuestKind,
        node: &str,
    ) -> Result<(), Stopped> {
        let text = work.config.as_ref().context("the restore point's configuration is missing")?;
        let present = work.present_config.as_ref().context("no configuration to replace")?;
        let status = work.control.status().await?;
        if status != GuestStatus::Stopped {
            return Err(anyhow!(
                "guest {vmid} was started meanwhile: its configuration was not replaced; stop it and restore again"
            )
            .into());
        }
        self.world.cluster.replace_config(node, kind, vmid, (present, text))?;
        self.finished(&format!("replaced the configuration of {vmid} on {node}"));
        Ok(())
    }

    /// The guest exists from here on: nothing of it is undone any more.
    fn finished(&self, line: &str) {
        let mut state = self.state();
        state.committed = true;
        state.undo.clear();
        drop(state);
        self.note(line);
    }

    /// Single volumes stand for themselves: once all are whole, no later failure takes them away.
    pub(super) fn keep_single_volumes(&self, done: &[Item], rest: &[Item]) {
        if !matches!(self.work, Work::Restore(_)) || self.writes_config() {
            return;
        }
        if done.iter().any(restores_volume) && !rest.iter().any(restores_volume) {
            self.finished("all volumes are restored");
        }
    }

    /// Whether a whole guest is restored.
    pub(super) fn writes_config(&self) -> bool {
        self.plan.steps().any(|step| matches!(step.action, Action::WriteConfig { .. }))
    }

    /// What to say when a step failed after all was restored. There is no next run that would try
    /// again.
    pub(super) fn unfinished(&self, failed: &Item, why: &str) -> String {
        let Item::Step(Step { action: Action::RescanVolumes { vmid }, .. }) = failed else {
            return format!("restored, but not started: {why}");
        };
        let restored: Vec<String> =
            self.state().outcome.volumes.iter().map(|volume| volume.volume.clone()).collect();
        format!(
            "restored as {}, but not attached: {why}; the volumes stay: scan again on the node of guest {vmid} (`qm disk rescan --vmid {vmid}`, for a container `pct rescan --vmid {vmid}`), or remove them",
            restored.join(", ")
        )
    }

    async fn start(&self, work: &RestoreWork, vmid: VmId) -> Result<(), Stopped> {
        work.control.start().await?;
        self.note(&format!("started guest {vmid}"));
        Ok(())
    }
}

fn restores_volume(item: &Item) -> bool {
    matches!(item, Item::Step(Step { action: Action::RestoreVolume { .. }, .. }))
}

/// Bytes per record of the stream that a storage imports: an object of Ceph's usual size, so that
/// one write fills one object.
const IMPORT_RECORD: u64 = 4 << 20;

/// A writer that tells how much was written, and is told whether to go on.
struct Counted<W, F> {
    writer: W,
    told: F,
}

impl<W: Write, F: FnMut(usize) -> io::Result<()>> Write for Counted<W, F> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.writer.write(buffer)?;
        (self.told)(count)?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
