//! Compares a volume of a restore point with the snapshot that it was made from. Which and how much
//! stands in the plan.

use super::save::BackupWork;
use super::stopping::GRACE;
use super::{Execution, Stopped, Work};
use crate::audit::{AuditStopped, Audited, Watch, audit};
use crate::model::{DiskKey, Share, VolumeId};
use crate::repository::image::{ChainReader, ImageError};
use crate::repository::{AuditFindings, ImageEntry, chain_of};
use crate::world::World;
use anyhow::Context as _;
use std::path::Path;
use std::sync::Arc;

/// Blocks in flight: each one waits for the storage for most of its time, above all where a thin volume
/// has nothing and the answer is no more than that.
const AT_ONCE: usize = 16;

impl Execution {
    pub(super) async fn audit_volume(
        self: &Arc<Self>,
        work: &BackupWork,
        (disk, volume): (&DiskKey, &VolumeId),
        share: Share,
    ) -> Result<(), Stopped> {
        let _turn = self.turn_to_transfer().await?;
        let wanted = disk.clone();
        let stored = self.on_disk(move |_, work| {
            let history = work.directory.load()?;
            let point = history.point(work.point).context("the new restore point is gone")?;
            let image = point.manifest.image(&wanted).context("the new point does not hold it")?;
            Ok((image.clone(), ChainReader::open(&chain_of(&history, point, &wanted)?)?))
        });
        let (image, chain) = stored.await?;
        let compared = compare_with_source(&self.world, chain, (volume, &image), share).await;
        let what = match compared {
            Err(_) if self.world.cancel.is_cancelled() => return Err(Stopped::Interrupted),
            other => other?.what_differs(),
        };
        let findings = AuditFindings {
            point: work.point,
            share,
            equal: if what.is_none() { vec![image.id] } else { vec![] },
            differing: what.iter().map(|what| (image.id, what.clone())).collect(),
        };
        let now = self.world.clock.now();
        let noted = self
            .on_disk(move |_, work| Ok(work.directory.mark_audited(&work.lock, &findings, now)?));
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
    /// What a step after the commit found damaged on its way, as a merge reads old images: marked, so
    /// that no increment follows it, and told as a damage and not as a hitch. None for other failures.
    pub(super) async fn note_damage(self: &Arc<Self>, stopped: &Stopped) -> Option<String> {
        let (Stopped::Failed(error), Work::Backup(_)) = (stopped, &self.work) else {
            return None;
        };
        let path = damaged_file(error)?.to_owned();
        let (text, now) = (format!("{error:#}"), self.world.clock.now());
        let marked = self.on_disk(move |_, work| {
            Ok(work.directory.mark_damaged(&work.lock, &path, (&text, now))?)
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

/// Compares one volume of a point with its source, which must be the very snapshot still.
///
/// # Errors
/// One of the two cannot be read, the snapshot is gone, or the user wished to stop.
pub async fn compare_with_source(
    world: &Arc<World>,
    chain: ChainReader,
    (volume, image): (&VolumeId, &ImageEntry),
    share: Share,
) -> anyhow::Result<Audited> {
    let storage = world.storages.get(&volume.storage);
    let storage = storage.with_context(|| format!("storage {} is gone", volume.storage))?;
    let source = world.cancel.unless_cancelled(storage.blocks(&volume.name, &image.source)).await;
    let source = source.ok_or(AuditStopped::Interrupted)??;
    let shared = world.clone();
    let compare = move || {
        let watch = Watch {
            progress: shared.progress.as_ref(),
            cancel: &shared.cancel,
            throttle: &shared.limits.throttle,
            threads: shared.limits.image.threads.max(AT_ONCE),
        };
        (audit(&chain, &source, share, &watch), source)
    };
    let mut compared = tokio::task::spawn_blocking(compare);
    let compared = tokio::select! {
        biased;
        compared = &mut compared => compared,
        // It hears the wish between two blocks. Only a cluster that does not answer keeps it, in a read
        // that nobody can end: then the thread is left to itself.
        () = world.cancel.cancelled() => match tokio::time::timeout(GRACE, compared).await {
            Ok(compared) => compared,
            Err(_) => return Err(AuditStopped::Interrupted.into()),
        },
    };
    let (audited, source) = compared?;
    let audited = audited?;
    let finished = world.cancel.unless_cancelled(source.finish()).await;
    finished.ok_or(AuditStopped::Interrupted)??;
    Ok(audited)
}
