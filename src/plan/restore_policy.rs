//! What a user wants of a restore, and where that sends volumes. Pure. What comes of it with the facts
//! of a point and a cluster is not here: that is `restore`.

use crate::model::{DiskKey, Mark, VmId};
use std::collections::BTreeMap;

/// What the user wants of a restore.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestorePolicy {
    /// The vmid that the guest gets; its own without.
    pub target: Option<VmId>,
    /// The storage for all volumes that no mapping names.
    pub storage: Option<String>,
    /// Storage of the point, storage that its volumes go to.
    pub storage_map: BTreeMap<String, String>,
    /// Only these disks, without configuration; all and the configuration when empty.
    pub disks: Vec<DiskKey>,
    /// The storage and the name of a single volume.
    pub to: Option<(String, Option<String>)>,
    /// The guest that finds the volumes as unused disks.
    pub attach: Option<VmId>,
    /// Whether the guest becomes another one even under its own vmid.
    pub unique: bool,
    /// What happens when the guest is there.
    pub existing: Existing,
    /// Random bytes for new addresses and ids: 6 for each network card, 16 for each id.
    pub random: Vec<u8>,
    /// What this restore has under way is known by it, from the random source.
    pub mark: Mark,
    /// What happens after the restore.
    pub afterwards: Afterwards,
}

impl RestorePolicy {
    /// Whether a disk of the point is restored.
    pub fn wants(&self, disk: &DiskKey) -> bool {
        self.disks.is_empty() || self.disks.contains(disk)
    }
}

/// What to do with a guest that is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Existing {
    /// Refuse, and touch nothing.
    #[default]
    Refuse,
    /// Replace the configuration of a stopped guest; its volumes stay as unused disks.
    Replace,
}

/// What follows the restore.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Afterwards {
    /// Nothing.
    #[default]
    Rest,
    /// The guest is started.
    Start,
}

/// The storage that volumes of a storage of the point go to.
pub fn storage_for(policy: &RestorePolicy, of_point: &str) -> String {
    let to = policy.to.as_ref().map(|(storage, _)| storage);
    to.or_else(|| policy.storage_map.get(of_point))
        .or(policy.storage.as_ref())
        .map_or_else(|| of_point.to_owned(), String::clone)
}
