//! What interrupted restores left, and what of it may go. Not for looking at it: that is the survey's.

use super::restore::RestoreFacts;
use super::{Action, Step, VolumeAction};
use crate::model::{VolumeIdentity, VolumeRef};

/// A volume that an interrupted restore of the guest made on this node and did not finish, if it is
/// there still.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftVolume {
    /// Its id.
    pub volume: VolumeRef,
    /// What was made.
    pub identity: VolumeIdentity,
    /// What bears its name now.
    pub present: VolumeIdentity,
    /// Whether a configuration of the cluster names it.
    pub referenced: bool,
    /// Bytes that are free when it is gone.
    pub used: u64,
}

impl LeftVolume {
    /// Whether it is none that a later restore could remove: a guest has it, or it is another one.
    /// It stays in sight as long as that may change.
    pub fn is_settled(&self) -> bool {
        self.present != self.identity
    }

    /// Only what was made then, and nobody has taken up since.
    fn may_go(&self) -> bool {
        self.present == self.identity && !self.referenced
    }
}

/// What goes.
pub(super) fn going(facts: &RestoreFacts) -> impl Iterator<Item = &LeftVolume> {
    facts.left.iter().filter(|left| left.may_go())
}

/// The storages as they are when what interrupted restores left is gone: its names and its space.
pub(super) fn without_left(facts: &RestoreFacts) -> RestoreFacts {
    let mut without = facts.clone();
    for left in going(facts) {
        let Some(at) = facts.storages.get(&left.volume.id.storage) else { continue };
        for storage in without.storages.values_mut() {
            if storage.holds == at.holds {
                storage.volumes.remove(&left.volume.id.name);
            }
            if storage.space == at.space {
                storage.free_bytes = storage.free_bytes.map(|free| free.saturating_add(left.used));
            }
        }
    }
    without
}

pub(super) fn deletion(left: &LeftVolume) -> Step {
    let (volume, identity) = (left.volume.clone(), left.identity.clone());
    Action::Volume(VolumeAction::Delete { volume, identity })
        .because("an interrupted restore left it")
}
