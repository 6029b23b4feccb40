//! Notes what others found: a comparison of a point with its source, or damage that some work met on
//! its way. Looks for nothing itself: `verify` does.

use super::chain::images_of_chain;
use super::error::RepositoryError;
use super::guest_dir::GuestDir;
use super::history::{History, StoredPoint};
use super::lock::Lock;
use super::records::AuditRecord;
use super::verify::{DamageFound, VerifyReport};
use crate::model::{ChainId, ImageId, Moment, PointId, Share};
use std::collections::BTreeSet;
use std::path::Path;

/// What a comparison with the source found.
#[derive(Debug, Clone)]
pub struct AuditFindings {
    /// The point.
    pub point: PointId,
    /// The blocks that were compared.
    pub share: Share,
    /// The images whose disks were compared and are equal.
    pub equal: Vec<ImageId>,
    /// The images whose disks differ, each with what differs.
    pub differing: Vec<(ImageId, String)>,
}

impl History {
    /// The blocks that were compared last in each point of the chain, newest first, so that the
    /// next comparison takes those that follow.
    pub fn audits(&self, chain: ChainId) -> Vec<Share> {
        let of_chain = self.points.iter().rev().filter(|point| point.manifest.chain == chain);
        of_chain.filter_map(|p| p.attributes.audited.as_ref()).map(|a| a.share).collect()
    }
}

impl GuestDir {
    /// Writes what a comparison found into the point's attributes. A point that differs is failed, and
    /// no increment follows its images; reading it again does not make it good, only a comparison of
    /// all blocks does.
    ///
    /// # Errors
    /// No exclusive lock, the point is gone, or the file system fails; nothing is noted then.
    pub fn mark_audited(
        &self,
        lock: &Lock,
        findings: &AuditFindings,
        at: Moment,
    ) -> Result<(), RepositoryError> {
        lock.confirm(self.path())?;
        let history = self.load()?;
        let gone = || RepositoryError::Damaged {
            path: self.path().to_owned(),
            why: format!("point {} is gone", findings.point),
        };
        let point = history.point(findings.point).ok_or_else(gone)?;
        let mut attributes = point.attributes.clone();
        attributes.audited = Some(record(point, findings, at));
        self.set_attributes(lock, point, &attributes)?;
        self.refresh_derived(lock)
    }
}

impl GuestDir {
    /// Marks an image that some work found damaged, as `verify --mark` would: the points that need it
    /// have failed, and no increment follows it. A file that is no image of a point is passed over.
    ///
    /// # Errors
    /// No exclusive lock, or the file system fails.
    pub fn mark_damaged(
        &self,
        lock: &Lock,
        file: &Path,
        (what, at): (&str, Moment),
    ) -> Result<(), RepositoryError> {
        let history = self.load()?;
        let damaged = |point: &StoredPoint| {
            let own = point.manifest.images.iter().find(|i| point.dir.join(&i.file) == *file);
            own.map(|image| image.id)
        };
        let Some(image) = history.points.iter().find_map(damaged) else { return Ok(()) };
        let needs = |point: &&StoredPoint| {
            point.manifest.images.iter().any(|own| {
                images_of_chain(&history, point, &own.disk)
                    .is_ok_and(|chain| chain.iter().any(|held| held.image.id == image))
            })
        };
        let damage = DamageFound {
            file: file.to_owned(),
            what: what.to_owned(),
            image: Some(image),
            extents: Vec::new(),
            points_lost: history.visible().filter(needs).map(|point| point.dir.clone()).collect(),
        };
        let report = VerifyReport { damage: vec![damage], ..VerifyReport::default() };
        self.mark_verified(lock, &report, at)
    }
}

fn record(point: &StoredPoint, findings: &AuditFindings, at: Moment) -> AuditRecord {
    let before = point.attributes.audited.as_ref();
    let cleared = |id: &ImageId| findings.share.is_all() && findings.equal.contains(id);
    let old = before.iter().flat_map(|record| &record.failed_images).filter(|id| !cleared(id));
    let new = findings.differing.iter().map(|(id, _)| id);
    let failed: BTreeSet<ImageId> = old.chain(new).copied().collect();
    let disk = |id: &ImageId| {
        let image = point.manifest.images.iter().find(|image| image.id == *id);
        image.map_or_else(|| id.to_string(), |image| image.disk.to_string())
    };
    let found: Vec<String> =
        findings.differing.iter().map(|(id, what)| format!("{}: {what}", disk(id))).collect();
    let why = match found.is_empty() {
        false => Some(found.join("; ")),
        true if failed.is_empty() => None,
        true => before.and_then(|record| record.why.clone()),
    };
    AuditRecord { share: findings.share, at, failed_images: failed.into_iter().collect(), why }
}
