//! The steps of a restore: volumes, then firewall and configuration. Each writes only to what
//! this run made; reading and checking the chain is the repository's work.

use super::moving::Direction;
use super::{Execution, Restoring, Stopped};
use crate::clock::Stopwatch;
use crate::model::{DiskKey, VmId, VolumeRef};
use crate::report::VolumeOutcome;
use crate::repository::image::ImageError;
use crate::repository::{OpenChain, StoredChain};
use crate::storage::Import;
use anyhow::{Context as _, anyhow};
use std::io::{self, Write};
use std::sync::Arc;

impl Execution {
    pub(super) async fn restore_volume(
        self: &Arc<Self>,
        work: &Restoring,
        disk: &DiskKey,
        volume: &VolumeRef,
    ) -> Result<(), Stopped> {
        let begun = Stopwatch::start();
        let stored = work.chains.get(disk).with_context(|| format!("no chain for {disk}"))?;
        let chain = self.open_chain(stored.clone(), &format!("check {disk} of {volume}")).await?;
        let (size, data) = (chain.size(), chain.data_bytes());
        let identity = self.state().volumes.get(volume).cloned();
        let identity = identity.with_context(|| format!("volume {volume} was not made by us"))?;
        let storage = self.storage(volume)?;
        let import = self.until_stopped(storage.import(&volume.id.name, &identity)).await?;
        let tells_used = import.into.tells_used && data > 0;
        self.write_volume(chain, import, volume).await?;
        // Side by side: each look is a process or more, whose start costs more than its work.
        let look = async {
            let name = &volume.id.name;
            let used = async {
                match tells_used {
                    true => storage.used_bytes(name).await,
                    false => Ok(None),
                }
            };
            let (restored, used) = tokio::join!(storage.volume(name), used);
            restored.map(|restored| (restored, used))
        };
        let (restored, used) = self.until_stopped(look).await?;
        let restored = restored.context("the volume is gone")?;
        if restored.shape.size != size || restored.identity != identity {
            return Err(
                anyhow!("volume {volume} has another size or identity than expected").into()
            );
        }
        if let Some(used) = used?.filter(|used| *used < least_used(stored, data)) {
            self.must_be_all(stored, volume, used).await?;
        }
        self.note(&format!("restored {disk} to {volume}"));
        self.state().outcome.volumes.push(VolumeOutcome {
            disk: disk.to_string(),
            volume: volume.id.to_string(),
            logical_bytes: size,
            stream_bytes: data,
            seconds: begun.elapsed().as_secs_f64(),
            ..VolumeOutcome::default()
        });
        Ok(())
    }

    /// Less arrived than was written: that is right only where the rest is zeros, which a storage need
    /// not keep.
    async fn must_be_all(
        self: &Arc<Self>,
        stored: &StoredChain,
        volume: &VolumeRef,
        used: u64,
    ) -> Result<(), Stopped> {
        let chain = self.open_chain(stored.clone(), &format!("look at {volume} again")).await?;
        let (cancel, threads) = (self.ctx.cancel.clone(), self.ctx.limits.image.threads);
        let needed = tokio::task::spawn_blocking(move || {
            let mut needed = 0;
            let looked: Result<(), ImageError> = chain.for_each_block(threads, &mut |_, bytes| {
                needed += bytes.iter().filter(|byte| **byte != 0).count() as u64;
                cancel.check().map_err(ImageError::Write)
            });
            looked.map(|()| needed)
        });
        let needed = needed.await??;
        if used >= needed {
            return Ok(());
        }
        let holds = match used {
            0 => "nothing".to_owned(),
            _ => format!("at most {used} of {needed} bytes that are no zeros"),
        };
        Err(anyhow!("volume {volume} holds {holds}, although all of its data was taken").into())
    }

    /// Opens a chain. Where that means to read all of it, it is shown, and can be stopped.
    async fn open_chain(
        self: &Arc<Self>,
        stored: StoredChain,
        what: &str,
    ) -> Result<OpenChain, Stopped> {
        let total = stored.bytes_to_open();
        let meter = (total > 0).then(|| self.ctx.progress.begin(what, total));
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
        volume: &VolumeRef,
    ) -> Result<(), Stopped> {
        let threads = self.ctx.limits.image.threads;
        let what = format!("{} {volume}", self.plan.guest.vmid);
        let meter = self.ctx.progress.begin(&what, chain.data_bytes());
        let Import { writer, exit, .. } = import;
        let (bar, throttle) = (meter.clone(), self.ctx.limits.throttle.clone());
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

    /// What to say when volumes were restored and PVE was not told of them. There is no next run that
    /// would try again.
    pub(super) fn not_attached(&self, vmid: VmId, why: &str) -> String {
        let restored: Vec<String> =
            self.state().outcome.volumes.iter().map(|volume| volume.volume.clone()).collect();
        format!(
            "restored as {}, but not attached: {why}; the volumes stay: scan again on the node of guest {vmid} (`qm disk rescan --vmid {vmid}`, for a container `pct rescan --vmid {vmid}`), or remove them",
            restored.join(", ")
        )
    }
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

/// What a volume uses at least once all of this data was written, zeros aside. What a storage tells is an
/// upper bound, a whole object for each byte in it: a loss within objects cannot be seen so. Streams of
/// eve4pve-barc hold runs of zeros as data, where only that nothing arrived is worth a second look.
fn least_used(stored: &StoredChain, data: u64) -> u64 {
    match stored {
        StoredChain::Ours(_) => data,
        StoredChain::Barc(_) => 1,
    }
}
