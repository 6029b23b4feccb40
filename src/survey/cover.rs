//! The facts of coverage: which points a repository holds of the guests that the cluster has now.
//! Judges nothing, and asks no storage: it is made to be run every few minutes.

use super::incarnation;
use crate::job::cover::GuestPoints;
use crate::model::{ClusterId, Guest, GuestKind, Label, VmId};
use crate::pve::{GuestConfig, config_volume::ConfigVolume};
use crate::repository::{GuestDir, Repository, RepositoryError, StoredPoint, VerifiedState};
use std::collections::BTreeMap;

/// What a repository holds of guests, by their vmid. `cluster` is this cluster's id; without one
/// it has never saved anything.
///
/// # Errors
/// A directory cannot be read.
pub fn stored_points(
    repository: &Repository,
    cluster: Option<&ClusterId>,
    guests: &[(Guest, GuestConfig)],
    label: Option<&Label>,
) -> Result<BTreeMap<VmId, GuestPoints>, RepositoryError> {
    let mut found: BTreeMap<VmId, GuestPoints> = BTreeMap::new();
    let Some(cluster) = cluster else { return Ok(found) };
    for directory in repository.guests()? {
        let names = directory.names();
        let guest = guests.iter().find(|(guest, _)| guest.vmid == names.vmid);
        let Some((guest, config)) = guest else { continue };
        if names.cluster_short != cluster.short() {
            continue;
        }
        let history = directory.load()?;
        let points: Vec<&StoredPoint> = history.visible().collect();
        let Some(newest) = points.last() else { continue };
        if !is_same_guest((guest, config), &directory, newest) {
            continue;
        }
        let mut wanted = points.clone();
        wanted.retain(|point| label.is_none_or(|label| point.manifest.label == *label));
        if let Some(summary) = summary(repository, &wanted) {
            found.insert(guest.vmid, summary);
        }
    }
    Ok(found)
}

fn summary(repository: &Repository, points: &[&StoredPoint]) -> Option<GuestPoints> {
    let newest = points.last()?;
    let is_verified = |point: &StoredPoint| {
        point.attributes.verified.as_ref().is_some_and(|v| v.state == VerifiedState::Ok)
    };
    let time = |point: &&&StoredPoint| point.manifest.time;
    let rev = || points.iter().rev();
    Some(GuestPoints {
        path: repository.path().display().to_string(),
        good: rev().find(|point| is_good(point)).as_ref().map(time),
        verified: rev().find(|point| is_verified(point)).as_ref().map(time),
        newest_failed: newest.attributes.has_failed(),
    })
}

/// Whether a point is a comfort: nothing in it is known to be damaged, and no disk is missing.
pub fn is_good(point: &StoredPoint) -> bool {
    !point.attributes.has_failed() && super::missing_disks(&point.manifest).is_empty()
}

/// A vmid that was given away again is another guest, whose points would be no comfort. A VM is
/// told by its incarnation. A container's is made of its root volume's identity, which only the
/// storage knows: here its name and the name of that volume must be the same, so that a renamed
/// container counts as unsaved until its next point.
fn is_same_guest(
    (guest, config): (&Guest, &GuestConfig),
    directory: &GuestDir,
    newest: &StoredPoint,
) -> bool {
    let manifest = &newest.manifest;
    if manifest.kind != guest.kind {
        return false;
    }
    if let Some(incarnation) = incarnation(guest.kind, config, None) {
        return incarnation == directory.names().incarnation;
    }
    let is_root = |volume: &&ConfigVolume| volume.key.as_str() == "rootfs";
    let volumes = config.volumes();
    let root = volumes.iter().find(is_root).and_then(|volume| volume.volume.as_ref());
    let saved = manifest.images.iter().find(|image| image.disk.as_str() == "rootfs");
    let same_root = match guest.kind {
        GuestKind::Qemu => true,
        GuestKind::Lxc => root.is_some() && root == saved.map(|image| &image.volume),
    };
    same_root && manifest.name == guest.name
}
