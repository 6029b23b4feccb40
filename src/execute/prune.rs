//! The steps of pruning: one point hidden or removed. Which and why stands in the plan.

use crate::plan::{Action, RemovedPoint};
use crate::repository::image::ImageOptions;
use crate::repository::{GuestDir, Lock, MergeOptions, StoredPoint};
use anyhow::{Context as _, bail, ensure};

/// Carries one step out and says what was done.
///
/// # Errors
/// The point is another one than the survey saw, or was protected meanwhile, and nothing was
/// changed; or the repository refuses or fails, and the point is there, hidden or gone, never
/// half of it.
pub fn step(
    directory: &GuestDir,
    lock: &Lock,
    image: &ImageOptions,
    action: &Action,
) -> anyhow::Result<String> {
    let mut stays = None;
    let (done, wanted) = match action {
        Action::SweepLeftovers { .. } => {
            let count = directory.sweep_leftovers(lock)?.len();
            return Ok(format!("removed {count} files that an interrupted merge had left"));
        }
        Action::HidePoint(wanted) => {
            directory.hide_point(lock, &found(directory, wanted)?)?;
            ("hid", wanted)
        }
        Action::DeleteRestorePoint(wanted) => {
            stays = directory.delete_point(lock, &found(directory, wanted)?)?;
            ("removed", wanted)
        }
        Action::MergeImages { into, from } => {
            let points: Vec<StoredPoint> =
                from.iter().map(|f| found(directory, f)).collect::<Result<_, _>>()?;
            let options = MergeOptions { image: *image, progress: &|_| {} };
            let history = directory.load()?;
            let kept = history.point(into.id).context("the point to merge into is gone")?;
            directory.merge_points(lock, kept, &points, &options)?;
            ("merged older points into", into)
        }
        other => bail!("{other:?} is no step of pruning"),
    };
    // What is derived from the points is no truth: the next commit writes it again.
    if let Err(error) = directory.refresh_derived(lock) {
        tracing::warn!(
            "index and RESTORE.txt are not up to date: {:#}",
            anyhow::Error::from(error)
        );
    }
    let stays = stays.map_or_else(String::new, |foreign| format!("; {foreign}"));
    Ok(format!("{done} point {} {}{stays}", wanted.label, wanted.moment))
}

fn found(directory: &GuestDir, wanted: &RemovedPoint) -> anyhow::Result<StoredPoint> {
    let history = directory.load()?;
    let found = history.point(wanted.id).cloned();
    let found = found.filter(|point| point.dir.ends_with(&wanted.directory));
    let point = found.with_context(|| {
        format!("point {} is no longer in {}; it was not touched", wanted.id, wanted.directory)
    })?;
    ensure!(!point.is_protected(), "it is protected now; it was not touched");
    Ok(point)
}
