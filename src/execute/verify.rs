//! Reads what is stored of a guest, and notes with its points what a check found. Which and how much
//! stands in the plan.

use super::compared::findings;
use super::findings::Finding;
use super::{Checked, Execution, Stopped};
use crate::model::{Label, Share};
use crate::plan::verify::Marks;
use crate::repository::legacy::LegacyHistory;
use crate::repository::{StoredPoint, Subset, VerifyRequest};
use anyhow::Context as _;
use std::sync::Arc;

impl Execution {
    /// Reads points of ours, or what eve4pve-barc wrote. A wish to stop ends it between two frames, with
    /// what was found until then.
    pub(super) async fn verify_points(
        self: &Arc<Self>,
        directory: &str,
        label: Option<&Label>,
        part: Option<Share>,
    ) -> Result<(), Stopped> {
        let meter = self.ctx.progress.begin(directory, 0);
        let (execution, label) = (self.clone(), label.cloned());
        let subset = part.map(|Share { n, of }| Subset { n, of });
        let told = meter.clone();
        let check = move || {
            let progress = |bytes: u64| {
                told.add(bytes);
                execution.ctx.cancel.check()
            };
            match &execution.held.barc {
                Some(history) => execution.read_barc(history, subset, &progress),
                None => execution.read_ours(label.as_ref(), subset, &progress),
            }
        };
        let checked = tokio::task::spawn_blocking(check).await;
        meter.end();
        let checked = Arc::new(checked??);
        self.found(Finding::Verified(checked.clone()));
        match checked.damage() {
            Some(damage) => Err(Stopped::Damaged(damage)),
            None if checked.report.stopped => Err(Stopped::Interrupted),
            None => Ok(()),
        }
    }

    fn read_ours(
        &self,
        label: Option<&Label>,
        subset: Option<Subset>,
        progress: &(dyn Fn(u64) -> std::io::Result<()> + Sync),
    ) -> anyhow::Result<Checked> {
        let select = |point: &StoredPoint| label.is_none_or(|label| point.manifest.label == *label);
        let threads = self.ctx.limits.image.threads;
        let request = VerifyRequest { select: &select, subset, threads, progress };
        let report = self.held.stored()?.directory.verify(&request)?;
        Ok(Checked { report, unsummed: 0 })
    }

    fn read_barc(
        &self,
        history: &LegacyHistory,
        subset: Option<Subset>,
        progress: &(dyn Fn(u64) -> std::io::Result<()> + Sync),
    ) -> anyhow::Result<Checked> {
        let report = history.verify(subset, self.ctx.limits.image.threads, &progress)?;
        let images = history.points.iter().flat_map(|point| &point.images);
        Ok(Checked { report, unsummed: images.filter(|image| image.sums.is_empty()).count() })
    }

    /// Notes what the check of an earlier plan of this turn found.
    pub(super) async fn mark(self: &Arc<Self>, marks: &Marks) -> Result<(), Stopped> {
        let now = self.ctx.clock.now();
        match marks {
            Marks::Verified { .. } => {
                let checked = Checked::among(&self.held.found).context("nothing was verified")?;
                let checked = checked.clone();
                let noted = self.on_disk(move |_, stored| {
                    Ok(stored.directory.mark_verified(&stored.lock, &checked.report, now)?)
                });
                Ok(noted.await?)
            }
            Marks::Compared(point) => {
                let findings = findings(point, &self.held.found);
                let noted = self.on_disk(move |_, stored| {
                    Ok(stored.directory.mark_audited(&stored.lock, &findings, now)?)
                });
                Ok(noted.await?)
            }
        }
    }
}
