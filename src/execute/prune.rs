//! The steps of pruning: one point hidden, removed or merged. Which and why stands in the plan.

use super::{Execution, Stopped, StoredGuest};
use crate::plan::RemovedPoint;
use crate::repository::image::ImageOptions;
use crate::repository::{MergeOptions, Remaining, StoredPoint};
use anyhow::{Context as _, ensure};
use std::sync::Arc;

/// The points of the guest's directory that a turn holds, as far as they were read: each step of
/// pruning costs a walk over all of them otherwise. Read under the lock, and let go with it.
#[derive(Default)]
pub struct ReadPoints {
    remaining: Option<Remaining>,
    /// Whether what is derived from the points is older than they are.
    is_stale: bool,
}

impl ReadPoints {
    /// Something else than pruning writes to the points: they are read again.
    pub(super) fn forget(&mut self) {
        self.remaining = None;
    }

    /// Notes that what is derived from the points is older than they are.
    pub(super) fn change(&mut self) {
        self.is_stale = true;
    }
}

impl Execution {
    /// Hides, removes or merges points, and says what was done.
    pub(super) async fn prune(
        self: &Arc<Self>,
        act: impl FnOnce(&mut Pruner<'_>) -> anyhow::Result<String> + Send + 'static,
    ) -> Result<(), Stopped> {
        let done = self.on_disk(move |execution, stored| {
            let (points, image) = (&mut *execution.held.points(), execution.ctx.limits.image);
            let done = act(&mut Pruner { stored, image, points });
            if done.is_err() {
                // What is there now is known by nobody but the disk.
                points.forget();
            }
            done
        });
        self.change(done.await?);
        Ok(())
    }

    /// Writes again what is derived from the points: once for all steps of a plan, however it ended. It
    /// is no truth: that it cannot be written is a warning, and the next commit writes it again.
    pub(super) async fn refresh_derived(self: &Arc<Self>) {
        if self.held.stored.is_none() || self.state().is_stuck {
            return;
        }
        let refreshed = self.on_disk(|execution, stored| {
            if std::mem::take(&mut execution.held.points().is_stale) {
                stored.directory.refresh_derived(&stored.lock)?;
            }
            Ok(())
        });
        if let Err(error) = self.said_while_it_lasts(&"write RESTORE.txt", refreshed).await {
            self.warn(format!("RESTORE.txt is not up to date: {error:#}"));
        }
    }
}

/// Works on the points of one directory, and says what it did.
///
/// # Errors
/// Of each step: the point is another one than the survey saw, or was protected meanwhile, and nothing was
/// changed; or the repository refuses or fails, and the point is there, hidden or gone, never half of it.
pub(super) struct Pruner<'a> {
    stored: &'a StoredGuest,
    image: ImageOptions,
    points: &'a mut ReadPoints,
}

impl Pruner<'_> {
    pub(super) fn sweep(&mut self) -> anyhow::Result<String> {
        let count = self.stored.directory.sweep_leftovers(&self.stored.lock)?.len();
        Ok(format!("removed {count} files that an interrupted merge had left"))
    }

    pub(super) fn hide(&mut self, wanted: &RemovedPoint) -> anyhow::Result<String> {
        let point = self.found(wanted)?;
        self.points.change();
        self.stored.directory.hide_remaining(&self.stored.lock, &point)?;
        Ok(format!("hid point {} {}", wanted.label, wanted.moment))
    }

    pub(super) fn delete(&mut self, wanted: &RemovedPoint) -> anyhow::Result<String> {
        let point = self.found(wanted)?;
        self.points.change();
        let StoredGuest { directory, lock } = self.stored;
        let stays = directory.delete_remaining(lock, self.remaining()?, &point)?;
        let stays = stays.map_or_else(String::new, |foreign| format!("; {foreign}"));
        Ok(format!("removed point {} {}{stays}", wanted.label, wanted.moment))
    }

    pub(super) fn merge(
        &mut self,
        into: &RemovedPoint,
        from: &[RemovedPoint],
    ) -> anyhow::Result<String> {
        // A point that was hidden since is another one now.
        self.points.forget();
        let points: Vec<StoredPoint> =
            from.iter().map(|from| self.found(from)).collect::<Result<_, _>>()?;
        let kept = self.remaining()?.point(into.id).cloned();
        let kept = kept.context("the point to merge into is gone")?;
        let options = MergeOptions { image: self.image, progress: &|_| {} };
        self.points.change();
        self.stored.directory.merge_points(&self.stored.lock, &kept, &points, &options)?;
        self.points.forget();
        Ok(format!("merged older points into point {} {}", into.label, into.moment))
    }

    fn remaining(&mut self) -> anyhow::Result<&mut Remaining> {
        let read = match self.points.remaining.take() {
            Some(remaining) => remaining,
            None => Remaining::read(&self.stored.directory, &self.stored.lock)?,
        };
        Ok(self.points.remaining.insert(read))
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
