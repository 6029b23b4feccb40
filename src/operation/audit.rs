//! Comparing what is stored with the snapshots that it was made from, at a person's wish. Changes
//! nothing but the points' marks; a backup's own comparison is a step of its plan.

use super::backup::lock;
use super::waiting::Interrupted;
use crate::audit::Audited;
use crate::execute::compare_with_source;
use crate::model::{DiskKey, Label, Moment, Share, VolumeId};
use crate::repository::image::ChainReader;
use crate::repository::{
    AuditFindings, GuestDir, History, ImageEntry, LockMode, StoredPoint, chain_of,
};
use crate::world::World;
use anyhow::Context as _;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What is to be compared.
pub struct AuditRequest {
    /// Only points of this label.
    pub label: Option<Label>,
    /// Of how many parts of the blocks one is compared; 1 is all.
    pub parts: u64,
}

/// What became of one point: the newest of its chain, whose snapshots stay on the volumes.
pub struct PointAudit {
    /// Its label.
    pub label: Label,
    /// Its moment.
    pub time: Moment,
    /// The blocks that were compared.
    pub share: Share,
    /// Its disks.
    pub disks: Vec<DiskAudit>,
}

/// What became of one disk.
pub struct DiskAudit {
    /// Its key in the point.
    pub disk: DiskKey,
    /// The volume that it was made from.
    pub volume: VolumeId,
    /// What was found, or why nothing could be.
    pub result: Result<Audited, String>,
}

/// What became of one guest.
pub struct GuestAudit {
    /// The newest point of each label.
    pub points: Vec<PointAudit>,
    /// Why what was found could not be noted, as in a repository that is mounted read-only; `None`
    /// when it was.
    pub unnoted: Option<String>,
}

/// Compares the newest point of each label of a guest, and notes the results.
///
/// # Errors
/// The guest's directory is locked or cannot be read, or the user wished to stop. What cannot be
/// compared, or not be noted, is in the result: what was found must be told.
pub async fn audit(
    world: &Arc<World>,
    directory: &GuestDir,
    request: &AuditRequest,
) -> anyhow::Result<GuestAudit> {
    let shared = lock(world, directory, LockMode::Shared, WHAT).await?;
    let history = directory.load()?;
    let (mut points, mut findings) = (Vec::new(), Vec::new());
    for point in newest_of_labels(&history, request.label.as_ref()) {
        let last = history.audits(point.manifest.chain).into_iter().find(|s| s.of == request.parts);
        let share = Share::after(last, request.parts);
        let audit = point_audit(world, (&history, point), share).await?;
        findings.push(found(point, &audit));
        points.push(audit);
    }
    drop(shared);
    findings.retain(|found| !found.equal.is_empty() || !found.differing.is_empty());
    let noted = match findings.is_empty() {
        true => Ok(()),
        false => note(world, directory, &findings).await,
    };
    let unnoted = noted.err().map(|error| format!("what was found could not be noted: {error:#}"));
    Ok(GuestAudit { points, unnoted })
}

/// What others read that wait for us.
const WHAT: &str = "verify --source";

async fn note(
    world: &World,
    directory: &GuestDir,
    findings: &[AuditFindings],
) -> anyhow::Result<()> {
    let lock = lock(world, directory, LockMode::Exclusive, WHAT).await?;
    let now = world.clock.now();
    Ok(findings.iter().try_for_each(|found| directory.mark_audited(&lock, found, now))?)
}

/// Of a label the points may be of several chains: what is older than its newest has been copied here,
/// or has lost its snapshots.
fn newest_of_labels<'a>(history: &'a History, label: Option<&Label>) -> Vec<&'a StoredPoint> {
    let mut labels = BTreeSet::new();
    let mut points: Vec<&StoredPoint> = history.visible().collect();
    points.sort_by_key(|point| std::cmp::Reverse(point.manifest.seq));
    points.retain(|point| {
        label.is_none_or(|label| point.manifest.label == *label)
            && labels.insert(point.manifest.label.clone())
    });
    points
}

async fn point_audit(
    world: &Arc<World>,
    (history, point): (&History, &StoredPoint),
    share: Share,
) -> anyhow::Result<PointAudit> {
    let mut disks = Vec::new();
    for image in &point.manifest.images {
        let result = disk_audit(world, (history, point, image), share).await;
        if world.cancel.is_cancelled() {
            return Err(Interrupted("nothing was noted").into());
        }
        let result = result.map_err(|error| format!("{error:#}"));
        disks.push(DiskAudit { disk: image.disk.clone(), volume: image.volume.clone(), result });
    }
    let manifest = &point.manifest;
    Ok(PointAudit { label: manifest.label.clone(), time: manifest.time, share, disks })
}

async fn disk_audit(
    world: &Arc<World>,
    (history, point, image): (&History, &StoredPoint, &ImageEntry),
    share: Share,
) -> anyhow::Result<Audited> {
    let id = &image.volume.storage;
    world.storages.get(id).with_context(|| format!("there is no storage {id} here to ask"))?;
    let chain = ChainReader::open(&chain_of(history, point, &image.disk)?)?;
    compare_with_source(world, chain, (&image.volume, image), share).await
}

fn found(point: &StoredPoint, audit: &PointAudit) -> AuditFindings {
    let compared = || {
        let results = point.manifest.images.iter().zip(&audit.disks);
        results.filter_map(|(image, disk)| Some((image.id, disk.result.as_ref().ok()?)))
    };
    let equal = compared().filter(|(_, audited)| audited.is_equal()).map(|(id, _)| id);
    let differing = compared().filter_map(|(id, audited)| Some((id, audited.what_differs()?)));
    AuditFindings {
        point: point.manifest.point,
        share: audit.share,
        equal: equal.collect(),
        differing: differing.collect(),
    }
}
