//! Which volume of a restore goes to which storage under which name, and whether that storage takes
//! it. Pure. Not for when it is written: that is `restore`.

use super::restore::{NoRestore, RestoreFacts, StoredVolume, wanted};
use super::restore_policy::{RestorePolicy, storage_for};
use crate::model::{Bytes, ClusterRef, GuestKind, NodeName, VmId, VolumeId, VolumeRef};
use std::collections::{BTreeMap, BTreeSet};

/// What the survey knows of one storage that gets volumes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TargetStorage {
    /// The node that it is on; none where all nodes have it.
    pub node: Option<NodeName>,
    /// The volumes that are there.
    pub volumes: BTreeSet<String>,
    /// Bytes free, where the storage can tell.
    pub free_bytes: Option<u64>,
    /// Where its volumes lie. Entries of storage.cfg that say the same hold the same volumes.
    pub holds: String,
    /// What its space is taken from: entries that say the same share it.
    pub space: String,
    /// What storage.cfg says of its use; none when it says nothing.
    pub rules: Option<StorageRules>,
}

/// The options of a storage.cfg section that keep PVE from using a storage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StorageRules {
    /// `disable`.
    pub disabled: bool,
    /// `nodes`; all of them when empty.
    pub nodes: Vec<String>,
    /// `content`.
    pub content: Vec<String>,
}

impl StorageRules {
    /// Why PVE would not use a volume there, in words that name the option; none when it would
    /// (`storage_check_enabled` and the content types, as `qm start` and `pct restore` ask).
    pub fn unfit_for(&self, kind: GuestKind, node: &str) -> Option<String> {
        if self.disabled {
            return Some("is disabled (`disable` in storage.cfg)".to_owned());
        }
        if !self.nodes.is_empty() && !self.nodes.iter().any(|known| known == node) {
            let nodes = self.nodes.join(",");
            return Some(format!("is not available on node {node} (`nodes {nodes}`)"));
        }
        let needed = match kind {
            GuestKind::Qemu => "images",
            GuestKind::Lxc => "rootdir",
        };
        let content = self.content.join(",");
        let takes = self.content.iter().any(|content| content == needed);
        (!takes).then(|| format!("takes no {needed} (`content {content}`)"))
    }
}

impl RestoreFacts {
    /// Where a volume is that is made on one of the storages.
    pub(super) fn place_of(&self, volume: &VolumeId) -> VolumeRef {
        let node = self.storages.get(&volume.storage).and_then(|storage| storage.node.clone());
        VolumeRef { cluster: ClusterRef::Home, node, id: volume.clone() }
    }
}

/// Each volume of the point that is written, with the volume that is made for it.
pub(super) type Placed<'a> = Vec<(&'a StoredVolume, VolumeId)>;

/// Finds a storage and a free name for each volume that is wanted.
///
/// # Errors
/// A storage is missing, full or not to be used, or a name is taken.
pub(super) fn place<'a>(
    facts: &'a RestoreFacts,
    policy: &RestorePolicy,
    target: VmId,
) -> Result<Placed<'a>, NoRestore> {
    let mut placing = Placing { facts, policy, target, taken: BTreeSet::new() };
    let mut placed = Vec::new();
    for stored in wanted(facts, policy)? {
        let storage_id = storage_for(policy, &stored.volume.storage);
        let storage = fit_storage(facts, &storage_id)?;
        let volume = VolumeId { storage: storage_id, name: placing.name_for(stored, storage) };
        let is_taken = placing.is_taken(storage, &volume.name);
        if is_taken && serves(facts, &volume) {
            continue;
        }
        if is_taken {
            return Err(in_the_way(facts, volume));
        }
        placing.taken.insert((storage.holds.as_str(), volume.name.clone()));
        placed.push((stored, volume));
    }
    check_space(facts, &placed)?;
    Ok(placed)
}

/// PVE knows a cloud-init volume by its name and writes it anew: the one of a guest that is replaced
/// serves.
fn serves(facts: &RestoreFacts, volume: &VolumeId) -> bool {
    facts.present.is_some() && volume.name.ends_with("cloudinit")
}

/// Nobody is told to remove a volume that a guest has.
fn in_the_way(facts: &RestoreFacts, volume: VolumeId) -> NoRestore {
    match facts.owners.get(volume.own_name()) {
        Some(owner) => NoRestore::VolumeOfGuest(volume, *owner),
        None => NoRestore::VolumeExists(volume),
    }
}

fn fit_storage<'a>(facts: &'a RestoreFacts, id: &str) -> Result<&'a TargetStorage, NoRestore> {
    let storage = facts.storages.get(id).ok_or_else(|| NoRestore::NoStorage(id.to_owned()))?;
    let unfit = storage.rules.as_ref().and_then(|r| r.unfit_for(facts.kind, &facts.node));
    match unfit {
        Some(why) => Err(NoRestore::StorageUnfit { storage: id.to_owned(), why }),
        None => Ok(storage),
    }
}

/// The names that are given so far.
struct Placing<'a> {
    facts: &'a RestoreFacts,
    policy: &'a RestorePolicy,
    target: VmId,
    /// Where they lie, and the names.
    taken: BTreeSet<(&'a str, String)>,
}

impl Placing<'_> {
    fn is_ours(&self, storage: &TargetStorage, name: &str) -> bool {
        self.taken.iter().any(|(holds, taken)| *holds == storage.holds && taken == name)
    }

    fn is_taken(&self, storage: &TargetStorage, name: &str) -> bool {
        storage.volumes.contains(name) || self.is_ours(storage, name)
    }

    /// A restored guest gets the names that it had, with its new vmid. Volumes that join or replace
    /// something, that bore another guest's name, or of which several bore one name, get the next
    /// free disk number instead, as PVE gives it: for PVE the number in the name is the owner's.
    fn name_for(&self, stored: &StoredVolume, storage: &TargetStorage) -> String {
        if let Some((_, Some(name))) = &self.policy.to {
            return name.clone();
        }
        let kept = self.kept_name(stored);
        let is_free = |name: &String| {
            let joins = (self.facts.present.is_some() && !name.ends_with("cloudinit"))
                || !self.policy.disks.is_empty();
            !(self.is_ours(storage, name) || joins && storage.volumes.contains(name))
        };
        if let Some(kept) = kept.filter(is_free) {
            return kept;
        }
        let numbers = 0..=u32::MAX;
        let mut names = numbers.map(|n| format!("vm-{}-disk-{n}", self.target));
        let free =
            names.find(|name| !self.is_taken(storage, name) && !self.is_anothers(stored, name));
        free.unwrap_or_else(|| stored.volume.own_name().to_owned())
    }

    /// The name that it had, as the target's; none when it was named after another guest.
    fn kept_name(&self, stored: &StoredVolume) -> Option<String> {
        let (own, target) = (stored.volume.own_name(), self.target);
        if own.ends_with("-cloudinit") {
            return Some(format!("vm-{target}-cloudinit"));
        }
        let rest = own.strip_prefix(&format!("vm-{}-", self.facts.vmid))?;
        Some(format!("vm-{target}-{rest}"))
    }

    /// Whether another volume of the point is to get that name.
    fn is_anothers(&self, stored: &StoredVolume, name: &str) -> bool {
        let others = self.facts.volumes.iter().filter(|other| other.disk != stored.disk);
        others.filter_map(|other| self.kept_name(other)).any(|kept| kept == name)
    }
}

fn check_space(facts: &RestoreFacts, volumes: &Placed) -> Result<(), NoRestore> {
    let mut needed: BTreeMap<&str, (u64, &str)> = BTreeMap::new();
    for (stored, volume) in volumes {
        let Some(storage) = facts.storages.get(&volume.storage) else { continue };
        let (sum, _) = needed.entry(&storage.space).or_insert((0, &volume.storage));
        *sum = sum.saturating_add(stored.data_bytes);
    }
    for (needed, storage) in needed.into_values() {
        let free = facts.storages.get(storage).and_then(|s| s.free_bytes);
        if let Some(free) = free.filter(|free| *free < needed) {
            let storage = storage.to_owned();
            return Err(NoRestore::NoSpace { storage, free: Bytes(free), needed: Bytes(needed) });
        }
    }
    Ok(())
}
