//! The facts of pruning: what a guest's directory holds. Reads no cluster and no storage.

use super::{SurveyedPoint, relative};
use crate::model::{Guest, GuestKind};
use crate::plan::NamedPoint;
use crate::plan::point::PointFacts;
use crate::plan::prune::{PruneFacts, StoredFact, StoredImage};
use crate::repository::{GuestDir, History, Manifest, Skipped, StoredPoint};
use anyhow::Context as _;

/// Reads what the pruning of a guest depends on; `None` when its directory holds no point, readable
/// or not.
///
/// # Errors
/// The directory cannot be read.
pub fn prune(directory: &GuestDir) -> anyhow::Result<Option<PruneFacts>> {
    let history = directory
        .load()
        .with_context(|| format!("read the restore points of {}", relative(directory)))?;
    let is_empty = history.points.is_empty() && history.unreadable.is_empty();
    if is_empty && history.gone.is_empty() {
        return Ok(None);
    }
    let guest = guest(directory, &history);
    let frozen_repository = history.forbids_removal();
    let is_damaged = history.is_damaged();
    let leftovers = leftovers(directory, &history)?;
    let points = stored(directory, &history);
    Ok(Some(PruneFacts { guest, points, frozen_repository, is_damaged, leftovers }))
}

/// A guest of which nothing but the name of its directory is known.
pub fn unread_guest(directory: &GuestDir) -> Guest {
    guest(directory, &History::default())
}

/// The guest as its newest readable point tells, or else its record, or the name of its directory.
pub(super) fn guest(directory: &GuestDir, history: &History) -> Guest {
    let vmid = directory.names().vmid;
    let record = history.record.as_ref();
    let unknown = || Guest {
        vmid,
        kind: record.map_or(GuestKind::Qemu, |record| record.kind),
        name: record.map_or_else(String::new, |record| record.name.clone()),
        node: "an unknown node".to_owned(),
    };
    history.points.last().map_or_else(unknown, |newest| {
        let Manifest { kind, name, node, .. } = &newest.manifest;
        Guest { vmid, kind: *kind, name: name.clone(), node: node.clone() }
    })
}

/// The points, by their directories, in which an interrupted merge left files.
///
/// # Errors
/// A point's directory cannot be listed.
pub fn leftovers(directory: &GuestDir, history: &History) -> anyhow::Result<Vec<String>> {
    let files = directory.leftovers(history)?;
    let point = |file: &std::path::PathBuf| {
        let relative = file.strip_prefix(directory.path()).unwrap_or(file);
        relative.parent().map(|point| point.display().to_string())
    };
    let mut points: Vec<String> = files.iter().filter_map(point).collect();
    points.dedup();
    Ok(points)
}

/// All points of a guest as retention sees them.
pub fn stored(directory: &GuestDir, history: &History) -> Vec<StoredFact> {
    history.points.iter().map(|point| fact(directory, point)).collect()
}

/// Reads what a person's act on the point that was found depends on, as its directory holds it now.
///
/// # Errors
/// The directory cannot be read.
pub fn named_point(guest: Guest, found: &SurveyedPoint) -> anyhow::Result<PointFacts> {
    let (directory, manifest) = (&found.directory, &found.point.manifest);
    let history = directory.load()?;
    let named = NamedPoint {
        directory: fact(directory, &found.point).directory,
        id: manifest.point,
        label: manifest.label.clone(),
        moment: manifest.time,
    };
    Ok(PointFacts { guest, named, points: stored(directory, &history) })
}

/// Whether the guest's configuration left a disk out of a point. A point of an early version tells
/// that by its reason alone, and any that is not known counts as a disk that is missing.
pub fn is_left_out(skipped: &Skipped) -> bool {
    skipped.by_configuration.unwrap_or_else(|| crate::pve::is_exclusion(&skipped.reason))
}

/// The disks that a point should hold and lacks; a point that lacks any is not all of its guest.
pub fn missing_disks(manifest: &Manifest) -> Vec<String> {
    let missing = manifest.skipped.iter().filter(|skipped| !is_left_out(skipped));
    missing.map(|skipped| skipped.disk.to_string()).collect()
}

fn fact(directory: &GuestDir, point: &StoredPoint) -> StoredFact {
    let manifest = &point.manifest;
    let relative = point.dir.strip_prefix(directory.path()).unwrap_or(&point.dir);
    let image = |image: &crate::repository::ImageEntry| StoredImage {
        image: image.id,
        parent: image.parent,
        bytes: image.stored_bytes,
    };
    StoredFact {
        directory: relative.display().to_string(),
        id: manifest.point,
        label: manifest.label.clone(),
        seq: manifest.seq,
        moment: manifest.time,
        hidden: manifest.is_hidden(),
        protected: point.is_protected(),
        failed: point.attributes.has_failed(),
        missing: missing_disks(manifest),
        images: manifest.images.iter().map(image).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_noted_is_told_by_the_reasons_of_the_configuration_alone() {
        let skipped = |by_configuration, reason: &str| Skipped {
            disk: "scsi1".parse().unwrap(),
            reason: reason.to_owned(),
            by_configuration,
        };
        assert!(is_left_out(&skipped(None, "backup=0")));
        assert!(is_left_out(&skipped(Some(true), "a reason of tomorrow")));
        assert!(!is_left_out(&skipped(None, "volume ceph:vm-100-disk-1 does not exist")));
        assert!(!is_left_out(&skipped(Some(false), "backup=0")));
    }
}
