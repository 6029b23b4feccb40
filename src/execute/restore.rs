//! The steps of a restore: volumes, then firewall and configuration. Each writes only to what
//! this run made; reading and checking the chain is the repository's work.

use super::moving::Direction;
use super::undo::Undo;
use super::{Execution, Stopped, Work};
use crate::clock::Stopwatch;
use crate::model::{DiskKey, VolumeId, VolumeShape};
use crate::node::unfinished::MadeVolume;
use crate::plan::{Action, Item, Step};
use crate::pve::GuestControl;
use crate::report::VolumeOutcome;
use crate::repository::image::ImageError;
use crate::repository::{Lock, OpenChain, StoredChain};
use crate::storage::Import;
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
    /// The notes of dead restores that are about nothing any more.
    pub settled: Vec<MadeVolume>,
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
            Action::ReleaseGuest { .. } => self.release_left(),
            Action::ReserveGuest { .. } => self.reserve(work),
            Action::WriteConfig { vmid, kind, node, .. } => {
                self.write_config(work, (*vmid, *kind), node).await?;
                // Only now: until they are named by it, a killed run's volumes are debris.
                self.clear_notes();
                self.settle(&work.settled);
                Ok(())
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

    /// Makes a volume under a name that nobody else can have thought of, and gives it its own when
    /// it is noted what it is: whatever becomes of this run, what it made is known to be its own.
    async fn create_volume(&self, volume: &VolumeId, shape: &VolumeShape) -> Result<(), Stopped> {
        let storage = self.storage(volume)?;
        let mark = crate::entropy::random_u64().context("read random bytes")?;
        let made_as = format!("ferry-new-{}-{mark:016x}", self.plan.guest.vmid);
        self.note_intent(volume, &made_as);
        self.will_make(Undo::Volume(volume.clone(), made_as.clone()));
        let identity = storage.create_volume(&made_as, shape).await?.identity;
        self.note_identity(volume, &identity);
        self.state().volumes.insert(volume.clone(), identity.clone());
        // Whoever was faster with a volume of that name keeps it.
        storage.rename_volume(&made_as, &identity, &volume.name).await?;
        self.note(&format!("created volume {volume}"));
        Ok(())
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

    /// The guest exists from here on: nothing of it is undone any more.
    pub(super) fn finished(&self, line: &str) {
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
