//! The steps of copying: a point arrives in the target, is read there, goes from the source. Which
//! and why stands in the plan.

use crate::cancel::Cancel;
use crate::model::{Bytes, ChainId, Label, PointId};
use crate::plan::{Action, CopiedPoint, RemovedPoint};
use crate::progress::Progress;
use crate::report::VolumeOutcome;
use crate::repository::{Copying, GuestDir, Lock, RepositoryError, StoredPoint};
use anyhow::{Context as _, bail, ensure};
use std::collections::BTreeSet;
use std::time::Instant;

/// What the steps of copying work on.
pub struct CopyWork<'a> {
    /// The guest's directory in the source.
    pub source: &'a GuestDir,
    /// Our lock on it: exclusive when points are to go from it.
    pub source_lock: Lock,
    /// The guest's directory in the target.
    pub target: &'a GuestDir,
    /// Our exclusive lock on it.
    pub target_lock: Lock,
    /// Threads that decode and digest.
    pub threads: usize,
    /// Who is told how far a copy is.
    pub progress: &'a dyn Progress,
    /// The user's wish to stop.
    pub cancel: &'a Cancel,
    /// What was read whole in the target.
    pub proven: Proven,
    /// What was copied, a line per volume.
    pub volumes: Vec<VolumeOutcome>,
}

/// Images and points that were read whole in the target, in this run.
#[derive(Default)]
pub struct Proven {
    images: BTreeSet<crate::model::ImageId>,
    points: BTreeSet<PointId>,
}

/// Carries one step out and says what was done.
///
/// # Errors
/// The point is not the one that was surveyed, is damaged, or a repository fails. A point is whole
/// in the target or not there; it goes from the source only after it was read in the target.
pub fn step(work: &mut CopyWork<'_>, action: &Action) -> anyhow::Result<String> {
    match action {
        Action::CopyMarks(point) => work.mark(point),
        Action::CopyPoint(point) => work.copy(point),
        Action::VerifyCopy(point) => work.verify(point),
        Action::HandOverChain { label } => work.hand_over(label),
        Action::RemoveMoved(point) => work.remove(point),
        other => bail!("{other:?} is no step of copying"),
    }
}

impl CopyWork<'_> {
    fn mark(&self, wanted: &CopiedPoint) -> anyhow::Result<String> {
        let point = found(self.source, wanted.id, &wanted.directory)?;
        self.carry_marks(&point)?;
        Ok(format!("copied the marks of point {} {}", wanted.label, wanted.moment))
    }

    fn carry_marks(&self, point: &StoredPoint) -> anyhow::Result<()> {
        if self.target.copy_marks(&self.target_lock, point)? {
            refresh(self.target, &self.target_lock);
        }
        Ok(())
    }

    fn copy(&mut self, wanted: &CopiedPoint) -> anyhow::Result<String> {
        let point = found(self.source, wanted.id, &wanted.directory)?;
        let name = format!("{} {}", wanted.label, wanted.moment);
        let began = Instant::now();
        let committed = self.watched(&format!("copy {name}"), wanted.bytes, |work, copying| {
            work.target.copy_point(&work.target_lock, work.source, &point, copying)
        })?;
        self.count(&point, began.elapsed().as_secs_f64());
        for warning in committed.warnings {
            tracing::warn!("after the commit: {:#}", anyhow::Error::from(warning));
        }
        let hidden = if wanted.is_hidden { "hidden " } else { "" };
        Ok(format!("copied {hidden}point {name} ({})", Bytes(wanted.bytes)))
    }

    /// Adds a point's images to what was copied of their volumes, its time by their sizes.
    fn count(&mut self, point: &StoredPoint, seconds: f64) {
        let total: u64 = point.manifest.images.iter().map(|image| image.stored_bytes).sum();
        for image in &point.manifest.images {
            let (disk, volume) = (image.disk.to_string(), image.volume.to_string());
            let same = |known: &VolumeOutcome| (&known.disk, &known.volume) == (&disk, &volume);
            let place = self.volumes.iter().position(same).unwrap_or_else(|| {
                self.volumes.push(VolumeOutcome::default());
                self.volumes.len() - 1
            });
            let known = &mut self.volumes[place];
            (known.disk, known.volume, known.kind) = (disk, volume, "copy".to_owned());
            known.logical_bytes = image.size;
            known.stream_bytes += image.stream_bytes;
            known.stored_bytes += image.stored_bytes;
            // The time of a point, as its images had a share in it.
            known.seconds += seconds * image.stored_bytes as f64 / total.max(1) as f64;
        }
    }

    fn verify(&mut self, wanted: &CopiedPoint) -> anyhow::Result<String> {
        let point = found(self.target, wanted.id, &wanted.directory)?;
        ensure!(!point.manifest.is_hidden(), "the target does not list it any more");
        let name = format!("{} {}", wanted.label, wanted.moment);
        self.watched(&format!("verify {name}"), 0, |work, copying| {
            work.target.prove_point(&point, copying)
        })?;
        self.proven.points.insert(wanted.id);
        Ok(format!("verified point {name} in the target"))
    }

    fn hand_over(&self, label: &Label) -> anyhow::Result<String> {
        let locks = (&self.target_lock, &self.source_lock);
        let new = new_chain()?;
        let taken = self.target.take_chain(locks, self.source, (label, new))?;
        ensure!(taken, "the target has begun a chain of its own; the source keeps its chain");
        Ok(format!("handed the chain of {label} over to the target"))
    }

    fn remove(&mut self, wanted: &RemovedPoint) -> anyhow::Result<String> {
        let point = found(self.source, wanted.id, &wanted.directory)?;
        let proven = point.manifest.is_hidden() || self.proven.points.contains(&wanted.id);
        ensure!(proven, "its copy was not read whole in this run; it was not touched");
        // Whatever the plan knew: what a person or a check noted is never gone with the source.
        self.carry_marks(&point)?;
        let stays = self.source.delete_point(&self.source_lock, &point)?;
        refresh(self.source, &self.source_lock);
        let stays = stays.map_or_else(String::new, |foreign| format!("; {foreign}"));
        Ok(format!("removed point {} {} from the source{stays}", wanted.label, wanted.moment))
    }

    fn watched<T>(
        &mut self,
        what: &str,
        bytes: u64,
        act: impl FnOnce(&Self, &mut Copying<'_>) -> Result<T, RepositoryError>,
    ) -> anyhow::Result<T> {
        let new_chain = new_chain()?;
        let meter = self.progress.begin(what, bytes);
        let proven = std::mem::take(&mut self.proven.images);
        let (cancel, threads) = (self.cancel.clone(), self.threads);
        let (progress, go_on) = (|bytes| meter.add(bytes), || cancel.check());
        let mut copying =
            Copying { threads, progress: &progress, go_on: &go_on, new_chain, proven };
        let result = act(self, &mut copying);
        self.proven.images = copying.proven;
        meter.end();
        Ok(result?)
    }
}

fn new_chain() -> anyhow::Result<ChainId> {
    Ok(ChainId(crate::entropy::random_u32().context("read random bytes")?))
}

/// What is derived from the points is no truth: the next backup writes it again.
fn refresh(directory: &GuestDir, lock: &Lock) {
    if let Err(error) = directory.refresh_derived(lock) {
        let error = anyhow::Error::from(error);
        tracing::warn!("index and RESTORE.txt are not up to date: {error:#}");
    }
}

fn found(directory: &GuestDir, id: PointId, place: &str) -> anyhow::Result<StoredPoint> {
    let history = directory.load()?;
    let point = history.point(id).cloned().filter(|point| point.dir.ends_with(place));
    point.with_context(|| format!("point {id} is no longer in {place}; nothing was changed"))
}
