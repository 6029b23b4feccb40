//! The steps of pruning: one point hidden or removed. Which and why stands in the plan.

use crate::plan::{Action, RemovedPoint};
use crate::repository::image::ImageOptions;
use crate::repository::{GuestDir, Lock, MergeOptions, Remaining, StoredPoint};
use anyhow::{Context as _, bail, ensure};

/// A guest's points while they are pruned: read once under the lock, as each step costs a walk over
/// all of them otherwise.
pub struct Pruner<'a> {
    directory: &'a GuestDir,
    lock: &'a Lock,
    image: ImageOptions,
    remaining: Option<Remaining>,
    /// Whether what is derived from the points is older than they are.
    is_stale: bool,
}

/// Carries one step out and says what was done, with all that is written after it.
///
/// # Errors
/// As [`Pruner::step`].
pub fn step(
    directory: &GuestDir,
    lock: &Lock,
    image: &ImageOptions,
    action: &Action,
) -> anyhow::Result<String> {
    let mut pruner = Pruner::new(directory, lock, *image);
    let done = pruner.step(action);
    pruner.finish();
    done
}

impl<'a> Pruner<'a> {
    /// Reads nothing yet.
    pub fn new(directory: &'a GuestDir, lock: &'a Lock, image: ImageOptions) -> Self {
        Self { directory, lock, image, remaining: None, is_stale: false }
    }

    /// Carries one step out and says what was done.
    ///
    /// # Errors
    /// The point is another one than the survey saw, or was protected meanwhile, and nothing was
    /// changed; or the repository refuses or fails, and the point is there, hidden or gone, never
    /// half of it.
    pub fn step(&mut self, action: &Action) -> anyhow::Result<String> {
        let done = self.act(action);
        if done.is_err() {
            // What is there now is known by nobody but the disk.
            self.remaining = None;
        }
        done
    }

    fn act(&mut self, action: &Action) -> anyhow::Result<String> {
        let mut stays = None;
        let (done, wanted) = match action {
            Action::SweepLeftovers { .. } => {
                let count = self.directory.sweep_leftovers(self.lock)?.len();
                return Ok(format!("removed {count} files that an interrupted merge had left"));
            }
            Action::HidePoint(wanted) => {
                let point = self.found(wanted)?;
                self.is_stale = true;
                self.directory.hide_remaining(self.lock, &point)?;
                ("hid", wanted)
            }
            Action::DeleteRestorePoint(wanted) => {
                let point = self.found(wanted)?;
                self.is_stale = true;
                let (directory, lock) = (self.directory, self.lock);
                stays = directory.delete_remaining(lock, self.remaining()?, &point)?;
                ("removed", wanted)
            }
            Action::MergeImages { into, from } => {
                self.merge(into, from)?;
                ("merged older points into", into)
            }
            other => bail!("{other:?} is no step of pruning"),
        };
        let stays = stays.map_or_else(String::new, |foreign| format!("; {foreign}"));
        Ok(format!("{done} point {} {}{stays}", wanted.label, wanted.moment))
    }

    fn merge(&mut self, into: &RemovedPoint, from: &[RemovedPoint]) -> anyhow::Result<()> {
        // A point that was hidden since is another one now.
        self.remaining = None;
        let points: Vec<StoredPoint> =
            from.iter().map(|from| self.found(from)).collect::<Result<_, _>>()?;
        let kept = self.remaining()?.point(into.id).cloned();
        let kept = kept.context("the point to merge into is gone")?;
        let options = MergeOptions { image: self.image, progress: &|_| {} };
        self.is_stale = true;
        self.directory.merge_points(self.lock, &kept, &points, &options)?;
        self.remaining = None;
        Ok(())
    }

    /// Writes again what is derived from the points: once, whatever was done.
    pub fn finish(&mut self) {
        if !std::mem::take(&mut self.is_stale) {
            return;
        }
        // It is no truth: the next commit writes it again.
        if let Err(error) = self.directory.refresh_derived(self.lock) {
            tracing::warn!("RESTORE.txt is not up to date: {:#}", anyhow::Error::from(error));
        }
    }

    fn remaining(&mut self) -> anyhow::Result<&mut Remaining> {
        let read = match self.remaining.take() {
            Some(remaining) => remaining,
            None => Remaining::read(self.directory, self.lock)?,
        };
        Ok(self.remaining.insert(read))
    }

    fn found(&mut self, wanted: &RemovedPoint) -> anyhow::Result<StoredPoint> {
        let found = self.remaining()?.point(wanted.id).cloned();
        let found = found.filter(|point| point.dir.ends_with(&wanted.directory));
        let point = found.with_context(|| {
            format!("point {} is no longer in {}; it was not touched", wanted.id, wanted.directory)
        })?;
        ensure!(!point.is_protected(), "it is protected now; it was not touched");
        Ok(point)
    }
}
