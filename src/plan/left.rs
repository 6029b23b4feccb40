//! What interrupted restores left, and what is done with it. Not how it is told from anything else:
//! that is the survey's.

use super::restore::RestoreFacts;
use super::{Action, Step};
use crate::model::{VolumeId, VolumeIdentity};

/// A volume that an interrupted restore of the guest made on this node and did not finish; nobody
/// has taken it up since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftVolume {
    /// Its id.
    pub volume: VolumeId,
    /// What it is.
    pub identity: VolumeIdentity,
    /// Bytes that are free when it is gone.
    pub used: u64,
}

/// The storages as they are when what interrupted restores left is gone: its names and its space.
pub(super) fn without_left(facts: &RestoreFacts) -> RestoreFacts {
    let mut facts = facts.clone();
    for left in &facts.left {
        let Some(storage) = facts.storages.get_mut(&left.volume.storage) else { continue };
        storage.volumes.remove(&left.volume.name);
        storage.free_bytes = storage.free_bytes.map(|free| free.saturating_add(left.used));
    }
    facts
}

pub(super) fn deletion(left: &LeftVolume) -> Step {
    let (volume, identity) = (left.volume.clone(), left.identity.clone());
    Action::DeleteVolume { volume, identity }.because("an interrupted restore left it")
}
