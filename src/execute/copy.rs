//! The steps of copying: a point arrives in the target, is read there, goes from the source. Which
//! and why stands in the plan.

use super::{CopiedGuest, Execution, Proven, Stopped, StoredGuest};
use crate::model::{Bytes, ChainId, Label};
use crate::plan::{CopiedPoint, RemovedPoint};
use crate::report::VolumeOutcome;
use crate::repository::{Copying, RepositoryError, StoredPoint};
use crate::stall::{Pulse, StallWatch};
use anyhow::ensure;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Instant;

impl Execution {
    /// Carries one step of copying out, on a thread of its own. A point is whole in the target or not
    /// there; it goes from the source only after it was read in the target.
    pub(super) async fn copy(
        self: &Arc<Self>,
        act: impl FnOnce(&Copier<'_>) -> anyhow::Result<String> + Send + 'static,
    ) -> Result<(), Stopped> {
        let done = self.on_copied(act).await?;
        self.change(done);
        Ok(())
    }

    /// The same for what nobody asked for by itself; it gives what was done in words.
    pub(super) async fn on_copied(
        self: &Arc<Self>,
        act: impl FnOnce(&Copier<'_>) -> anyhow::Result<String> + Send + 'static,
    ) -> Result<String, Stopped> {
        let execution = self.clone();
        let step = move || {
            let held = execution.held.copying()?;
            act(&Copier { execution: &execution, held })
        };
        match tokio::task::spawn_blocking(step).await? {
            Err(_) if self.stop.is_cancelled() => Err(self.stopped()),
            Err(error) => Err(error.into()),
            Ok(done) => Ok(done),
        }
    }
}

/// One step at work.
pub(super) struct Copier<'a> {
    execution: &'a Execution,
    held: &'a Arc<CopiedGuest>,
}

impl Copier<'_> {
    pub(super) fn begin_chain(&self, label: &Label, chain: ChainId) -> anyhow::Result<String> {
        let of = label.clone();
        self.watched(&format!("begin chain of {label}"), 0, move |held, _| {
            let StoredGuest { directory, lock } = &held.target;
            directory.begin_chain_beside(lock, &held.source.directory, &of, chain)
        })?;
        Ok(format!("began chain {chain} of {label} in the target"))
    }

    pub(super) fn mark(&self, wanted: &CopiedPoint) -> anyhow::Result<String> {
        let point = self.held.source.point(wanted.id, &wanted.directory)?;
        self.carry_marks(&point)?;
        Ok(format!("copied the marks of point {} {}", wanted.label, wanted.moment))
    }

    fn carry_marks(&self, point: &StoredPoint) -> anyhow::Result<()> {
        if self.held.target.directory.copy_marks(&self.held.target.lock, point)? {
            refresh(&self.held.target);
        }
        Ok(())
    }

    pub(super) fn point(&self, wanted: &CopiedPoint) -> anyhow::Result<String> {
        let point = self.held.source.point(wanted.id, &wanted.directory)?;
        let name = format!("{} {}", wanted.label, wanted.moment);
        let began = Instant::now();
        let copied = point.clone();
        let copy = move |held: &CopiedGuest, copying: &mut Copying<'_>| {
            let StoredGuest { directory, lock } = &held.target;
            directory.copy_point(lock, &held.source.directory, &copied, copying)
        };
        let committed = self.watched(&format!("copy {name}"), wanted.bytes, copy)?;
        self.count(&point, began.elapsed().as_secs_f64());
        for warning in committed.warnings {
            tracing::warn!("after the commit: {:#}", anyhow::Error::from(warning));
        }
        let hidden = if wanted.is_hidden { "hidden " } else { "" };
        Ok(format!("copied {hidden}point {name} ({})", Bytes(wanted.bytes)))
    }

    /// Adds a point's images to what was copied of their volumes, its time by their sizes.
    fn count(&self, point: &StoredPoint, seconds: f64) {
        let total: u64 = point.manifest.images.iter().map(|image| image.stored_bytes).sum();
        let volumes = &mut self.execution.state().outcome.volumes;
        for image in &point.manifest.images {
            let (disk, volume) = (image.disk.to_string(), image.volume.to_string());
            let same = |known: &VolumeOutcome| (&known.disk, &known.volume) == (&disk, &volume);
            let place = volumes.iter().position(same).unwrap_or_else(|| {
                volumes.push(VolumeOutcome::default());
                volumes.len() - 1
            });
            let known = &mut volumes[place];
            (known.disk, known.volume, known.kind) = (disk, volume, "copy".to_owned());
            known.logical_bytes = image.size;
            known.stream_bytes += image.stream_bytes;
            known.stored_bytes += image.stored_bytes;
            // The time of a point, as its images had a share in it.
            known.seconds += seconds * image.stored_bytes as f64 / total.max(1) as f64;
        }
    }

    pub(super) fn verify(&self, wanted: &CopiedPoint) -> anyhow::Result<String> {
        let point = self.held.target.point(wanted.id, &wanted.directory)?;
        ensure!(!point.manifest.is_hidden(), "the target does not list it any more");
        let name = format!("{} {}", wanted.label, wanted.moment);
        self.watched(&format!("verify {name}"), 0, move |held, copying| {
            held.target.directory.prove_point(&point, copying)
        })?;
        self.proven().points.insert(wanted.id);
        Ok(format!("verified point {name} in the target"))
    }

    pub(super) fn hand_over(&self, label: &Label, new: ChainId) -> anyhow::Result<String> {
        let CopiedGuest { source, target, .. } = self.held.as_ref();
        let locks = (&target.lock, &source.lock);
        let taken = target.directory.take_chain(locks, &source.directory, (label, new))?;
        ensure!(taken, "the target has begun a chain of its own; the source keeps its chain");
        Ok(format!("handed the chain of {label} over to the target"))
    }

    pub(super) fn remove(&self, wanted: &RemovedPoint) -> anyhow::Result<String> {
        let point = self.held.source.point(wanted.id, &wanted.directory)?;
        let proven = point.manifest.is_hidden() || self.proven().points.contains(&wanted.id);
        ensure!(proven, "its copy was not read whole in this run; it was not touched");
        // Whatever the plan knew: what a person or a check noted is never gone with the source.
        self.carry_marks(&point)?;
        let StoredGuest { directory, lock } = self.held.source.as_ref();
        let stays = directory.delete_point(lock, &point)?;
        refresh(&self.held.source);
        let stays = stays.map_or_else(String::new, |foreign| format!("; {foreign}"));
        Ok(format!("removed point {} {} from the source{stays}", wanted.label, wanted.moment))
    }

    fn proven(&self) -> MutexGuard<'_, Proven> {
        self.held.proven.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves data on a thread of its own, which keeps the locks when it is left to itself as one of the
    /// file systems does not answer: then nothing counts as proven any more.
    fn watched<T: Send + 'static>(
        &self,
        what: &str,
        bytes: u64,
        act: impl FnOnce(&CopiedGuest, &mut Copying<'_>) -> Result<T, RepositoryError> + Send + 'static,
    ) -> anyhow::Result<T> {
        let meter = self.execution.ctx.progress.begin(what, bytes);
        let proven = std::mem::take(&mut self.proven().images);
        let held = self.held.clone();
        let (pulse, stop) = (Pulse::default(), self.execution.stop.child());
        let (bar, beats, going) = (meter.clone(), pulse.clone(), stop.clone());
        let work = move || {
            let progress = |bytes| bar.add(bytes);
            let go_on = || {
                beats.beat();
                going.check()
            };
            let (threads, pulse) = (held.threads, &beats);
            let (progress, go_on) = (&progress as _, &go_on as _);
            let mut copying = Copying { threads, progress, go_on, pulse, proven };
            (act(&held, &mut copying), copying.proven)
        };
        let (places, limit) = (&self.places(), self.execution.ctx.limits.stall_timeout);
        let watch = StallWatch { what, places, pulse: &pulse, limit, stop: &stop };
        let done = self.execution.unless_it_hangs(&watch, work);
        meter.end();
        let (result, proven) = done?;
        self.proven().images = proven;
        Ok(result?)
    }

    fn places(&self) -> String {
        let CopiedGuest { source, target, .. } = self.held.as_ref();
        let (source, target) = (source.directory.path(), target.directory.path());
        format!("{} or {}", source.display(), target.display())
    }
}

/// What is derived from the points is no truth: the next backup writes it again.
fn refresh(stored: &StoredGuest) {
    if let Err(error) = stored.directory.refresh_derived(&stored.lock) {
        let error = anyhow::Error::from(error);
        tracing::warn!("index and RESTORE.txt are not up to date: {error:#}");
    }
}
