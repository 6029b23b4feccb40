//! What a restored volume is made like, and what of the old one is not kept. Not for its content:
//! that is the same in any shape.

use super::restore::StoredVolume;
use crate::model::{Bytes, VolumeId, VolumeShape};

/// The shape that a volume gets: on its own storage the one it had, on another one that storage's
/// own data pool. It is never striped: drivers make no such volumes, and a stream tells what a
/// guest reads at which place, not in which object that lies.
pub(super) fn shape_on(stored: &StoredVolume, volume: &VolumeId) -> VolumeShape {
    let mut shape = stored.shape.clone();
    shape.striping = None;
    if volume.storage != stored.volume.storage {
        shape.data_pool = None;
    }
    shape
}

/// What is told of a volume that comes back without its striping.
pub(super) fn striping_lost(stored: &StoredVolume) -> Option<String> {
    let (unit, count) = stored.shape.striping?;
    let (disk, volume, unit) = (&stored.disk, &stored.volume, Bytes(unit));
    Some(format!(
        "striping of {disk} ({volume}: {count} times {unit}) is not kept: it comes back as an ordinary volume, with all its data"
    ))
}
