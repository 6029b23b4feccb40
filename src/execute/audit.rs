//! Compares a volume of a restore point with the snapshot that it was made from. Which and how much
//! stands in the plan.

use super::stopping::GRACE;
use super::{DiskAudit, Execution, Finding, Stopped, what_is_wrong};
use crate::audit::{AuditStopped, Audited, Watch, audit};
use crate::model::{DiskKey, Share, VolumeRef};
use crate::plan::Step;
use crate::plan::compare::Comparison;
use crate::repository::image::{ChainReader, ImageError};
use crate::repository::{AuditFindings, ImageEntry, chain_of};
use crate::stall::{Pulse, WaitsFor};
use crate::storage::Storage;
use anyhow::Context as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Blocks in flight: each one waits for the storage for most of its time, above all where a thin volume
/// has nothing and the answer is no more than that.
const AT_ONCE: usize = 16;

impl Execution {
    pub(super) async fn audit_volume(
        self: &Arc<Self>,
        (disk, volume): (&DiskKey, &VolumeRef),
        share: Share,
    ) -> Result<(), Stopped> {
        self.unless_stuck()?;
        let wanted = disk.clone();
        let new = self.held.open()?.point;
        let stored = self.on_disk(move |_, stored| {
            let history = stored.directory.load()?;
            let point = history.point(new).context("the new restore point is gone")?;
            let image = point.manifest.image(&wanted).context("the new point does not hold it")?;
            Ok((image.clone(), ChainReader::open(&chain_of(&history, point, &wanted)?)?))
        });
        let (image, chain) = stored.await?;
        let source = self.storage(volume)?;
        let compared = self.compare_with_source(chain, source, &image, share).await;
        let what = match compared {
            Err(_) if self.ctx.cancel.is_cancelled() => return Err(Stopped::Interrupted),
            other => other?.what_differs(),
        };
        let findings = AuditFindings {
            point: new,
            share,
            equal: if what.is_none() { vec![image.id] } else { vec![] },
            differing: what.iter().map(|what| (image.id, what.clone())).collect(),
        };
        let now = self.ctx.clock.now();
        let noted = self.on_disk(move |_, stored| {
            Ok(stored.directory.mark_audited(&stored.lock, &findings, now)?)
        });
        let noted = noted.await;
        let Some(what) = what else {
            noted?;
            self.note(&format!("compared {disk} of {volume} with its source ({share})"));
            return Ok(());
        };
        let marked = match noted {
            Ok(()) => String::new(),
            Err(error) => {
                format!(" (and this could not be noted: {error:#}; run `verify --source`)")
            }
        };
        Err(Stopped::Damaged(format!(
            "{disk} is not what its snapshot on {volume} holds: {what}; older points may be wrong there, too{marked}"
        )))
    }
}

impl Execution {
    /// Compares stored disks with their sources, one after another. What is not compared to the end is
    /// known of none.
    pub(super) async fn compare_all(self: Arc<Self>, steps: &[Step]) -> Result<(), Stopped> {
        if let Err(stopped) = self.clone().run_in_order(steps).await {
            self.state().findings.clear();
            return Err(stopped);
        }
        let state = self.state();
        what_is_wrong(&DiskAudit::among(&state.findings))
            .map_or(Ok(()), |wrong| Err(Stopped::Damaged(wrong)))
    }

    /// Compares a stored disk with its source. That it cannot be is a result, too.
    pub(super) async fn compare_stored(self: &Arc<Self>, of: &Comparison) -> Result<(), Stopped> {
        let _turn = self.turn_to_transfer(self.queue_up_transfer().await).await?;
        let compared = self.compared(of).await;
        if self.ctx.cancel.is_cancelled() {
            return Err(Stopped::Interrupted);
        }
        let result = compared.map_err(|error| format!("{error:#}"));
        self.found(Finding::Compared(Arc::new(DiskAudit { of: of.clone(), result })));
        Ok(())
    }

    async fn compared(self: &Arc<Self>, of: &Comparison) -> anyhow::Result<Audited> {
        self.unless_stuck()?;
        let id = &of.volume.storage;
        let (point, disk) = (of.point, of.disk.clone());
        let stored = self.on_disk(move |_, stored| {
            let history = stored.directory.load()?;
            let point = history.point(point).context("the restore point is gone")?;
            let image = point.manifest.image(&disk).context("the point does not hold it")?;
            let chain = ChainReader::open(&chain_of(&history, point, &disk)?)?;
            Ok((image.clone(), chain, point.manifest.node.clone()))
        });
        let (image, chain, node) = stored.await?;
        let storage = self.ctx.storage(&node, id).ok().cloned();
        let storage = storage.with_context(|| format!("there is no storage {id} here to ask"))?;
        self.compare_with_source(chain, storage, &image, of.share).await
    }

    /// What a step after the commit found damaged on its way, as a merge reads old images: marked, so
    /// that no increment follows it, and told as a damage and not as a hitch. None for other failures.
    pub(super) async fn note_damage(self: &Arc<Self>, stopped: &Stopped) -> Option<String> {
        let Stopped::Failed(error) = stopped else { return None };
        self.held.stored.as_ref()?;
        let path = damaged_file(error)?.to_owned();
        let (text, now) = (format!("{error:#}"), self.ctx.clock.now());
        let marked = self.on_disk(move |_, stored| {
            Ok(stored.directory.mark_damaged(&stored.lock, &path, (&text, now))?)
        });
        let unmarked = marked
            .await
            .err()
            .map(|error| format!("; it could not be marked ({error:#}): run `verify --mark`"));
        Some(format!("{error:#}{}", unmarked.unwrap_or_default()))
    }
}

/// The image file whose damage made some work fail; none when it failed for another reason.
pub fn damaged_file(error: &anyhow::Error) -> Option<&Path> {
    let found = error.chain().find_map(|cause| {
        let boxed = cause.downcast_ref::<Box<ImageError>>().map(AsRef::as_ref);
        cause.downcast_ref::<ImageError>().or(boxed)
    });
    found?.damaged_file()
}

impl Execution {
    /// Compares one volume of a point with its source, which must be the very snapshot still.
    ///
    /// # Errors
    /// One of the two cannot be read or stands still, the snapshot is gone, or the user wished to stop.
    async fn compare_with_source(
        &self,
        chain: ChainReader,
        storage: Storage,
        image: &ImageEntry,
        share: Share,
    ) -> anyhow::Result<Audited> {
        let ctx = &self.ctx;
        let source = storage.blocks(&image.volume.name, &image.source);
        let source = ctx.cancel.unless_cancelled(source).await;
        let source = source.ok_or(AuditStopped::Interrupted)??;
        let (pulse, stop) = (Pulse::default(), ctx.cancel.child());
        let (shared, beats, going) = (ctx.clone(), pulse.clone(), stop.clone());
        let compare = move || {
            let watch = Watch {
                progress: shared.progress.as_ref(),
                cancel: &going,
                throttle: &shared.limits.throttle,
                threads: shared.limits.image.threads.max(AT_ONCE),
                pulse: &beats,
            };
            (audit(&chain, &source, share, &watch), source)
        };
        let mut compared = tokio::task::spawn_blocking(compare);
        let what = format!("the comparison of {} with its restore point", image.volume);
        let limit = ctx.limits.stall_timeout;
        // It hears the wish between two blocks. Only a side that does not answer keeps it, in a read that
        // nobody can end: then the thread is left to itself. It changes nothing, so that it needs no lock.
        let compared = tokio::select! {
            biased;
            compared = &mut compared => compared,
            () = pulse.stands_still(limit, || warn_of_stall(&what, limit)) => {
                stop.cancel();
                self.left_comparing(&pulse);
                anyhow::bail!(
                    "{what} stood still for {} s and was given up: neither side goes on; look at the health of the storage (`ceph -s`) and at the mount of the repository, and run this again",
                    limit.as_secs_f64()
                );
            }
            () = ctx.cancel.cancelled() => match tokio::time::timeout(GRACE, compared).await {
                Ok(compared) => compared,
                Err(_) => {
                    self.left_comparing(&pulse);
                    return Err(AuditStopped::Interrupted.into());
                }
            },
        };
        let (audited, source) = compared?;
        let audited = audited?;
        let finished = ctx.cancel.unless_cancelled(source.finish()).await;
        finished.ok_or(AuditStopped::Interrupted)??;
        Ok(audited)
    }

    /// A storage that does not answer keeps nobody from the repository.
    fn left_comparing(&self, pulse: &Pulse) {
        if pulse.waits_for() == WaitsFor::Repository {
            self.note_stuck();
        }
    }
}

fn warn_of_stall(what: &str, limit: Duration) {
    let (half, limit) = ((limit / 2).as_secs_f64(), limit.as_secs_f64());
    tracing::warn!("{what}: no byte for {half} s; at {limit} s it is given up (--stall-timeout)");
}
