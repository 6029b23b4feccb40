//! Volumes that a guest's points hold and its backup does not take any more, wherever they are now.

use super::backup::snapshot_fact;
use super::kept::Kept;
use crate::context::Context;
use crate::model::{ChainId, DiskKey, SkippedDisk, VolumeId, VolumeIdentity};
use crate::plan::facts::{DepartedFact, VolumeFact};
use crate::repository::History;
use std::collections::BTreeMap;

/// Looks for them by their identity: PVE renames the image of a disk that another guest gets (`qm disk
/// move --target-vmid`), on the guest's node where the storage is node-local. One that cannot be looked for now is looked for by the next run.
pub(super) async fn departed(
    ctx: &Context,
    node: &str,
    kept: &Kept,
    volumes: &[VolumeFact],
    skipped: &[SkippedDisk],
) -> Vec<DepartedFact> {
    let mut found = Vec::new();
    for (identity, (disk, was)) in
        kept.chain.map(|chain| of_points(&kept.history, chain)).unwrap_or_default()
    {
        // A disk that the guest has and that could not be looked at has not departed: its storage may be
        // away, and whoever asks it once more waits once more.
        let is_in_trouble = skipped.iter().any(|s| !s.by_configuration && s.disk == disk.as_str());
        if is_in_trouble || volumes.iter().any(|volume| volume.identity == identity) {
            continue;
        }
        let Ok(storage) = ctx.storage(node, &was.storage) else { continue };
        let Ok(Some(facts)) = storage.volume_of(&identity).await else { continue };
        let volume = ctx.place_of(node, &VolumeId { storage: was.storage, name: facts.name });
        let snapshots = facts.snapshots.into_iter().map(snapshot_fact).collect();
        found.push(DepartedFact { disk, volume, snapshots, migrating: facts.migrating });
    }
    found
}

/// Each volume of the chain's points, with its key and id in the newest of them.
fn of_points(history: &History, chain: ChainId) -> BTreeMap<VolumeIdentity, (DiskKey, VolumeId)> {
    let of_chain = history.points.iter().filter(|point| point.manifest.chain == chain);
    let images = of_chain.flat_map(|point| &point.manifest.images);
    let named = |image: &crate::repository::ImageEntry| {
        (image.source.volume.clone(), (image.disk.clone(), image.volume.clone()))
    };
    images.map(named).collect()
}
