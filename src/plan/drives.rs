//! What a restored configuration names that no restore point holds: the node's own disks, and
//! cloud-init drives, which PVE makes. Pure.

use super::guest_config::RestoredVolume;
use super::placing::Placed;
use super::restore::{RestoreFacts, StoredVolume};
use super::restore_policy::{RestorePolicy, storage_for};
use crate::model::{DiskKey, VmId, VolumeId};
use std::collections::BTreeMap;

/// A disk of the node that the saved configuration passes through to the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeDisk {
    /// Its key in the configuration.
    pub disk: DiskKey,
    /// The device.
    pub path: String,
}

/// A cloud-init drive that the point does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudInitDrive {
    /// Its key in the configuration.
    pub disk: DiskKey,
    /// The volume that it was.
    pub volume: VolumeId,
    /// Whether its storage is there, and PVE may use it on the node.
    pub can_be_made: bool,
}

impl RestorePolicy {
    /// Whether the restored guest is another one than the one that was saved, and may run beside it.
    pub fn makes_another(&self, saved: VmId, target: VmId) -> bool {
        self.unique || saved != target
    }
}

/// The cloud-init drives that stay in the configuration, under the names that they get: PVE makes a
/// missing one at the guest's start (`PVE::QemuServer::Cloudinit`, commit_cloudinit_disk).
pub fn made_anew(facts: &RestoreFacts, target: VmId) -> BTreeMap<DiskKey, VolumeId> {
    let made = facts.cloud_init.iter().filter(|drive| drive.can_be_made);
    made.map(|drive| (drive.disk.clone(), named_after(&drive.volume, facts.vmid, target))).collect()
}

/// `local:100/vm-100-cloudinit.qcow2` becomes `local:901/vm-901-cloudinit.qcow2`.
fn named_after(volume: &VolumeId, saved: VmId, target: VmId) -> VolumeId {
    let (old_dir, old_name) = (format!("{saved}/"), format!("vm-{saved}-cloudinit"));
    let name = match volume.name.strip_prefix(&old_dir) {
        Some(rest) => format!("{target}/{rest}"),
        None => volume.name.clone(),
    };
    let name = name.replace(&old_name, &format!("vm-{target}-cloudinit"));
    VolumeId { storage: volume.storage.clone(), name }
}

/// The cloud-init volumes that stay in place are named by the restored configuration, too: PVE knows them
/// by their names only and writes them anew at the next start.
pub(super) fn cloud_init_in_place(
    facts: &RestoreFacts,
    policy: &RestorePolicy,
    placed: &Placed,
    target: VmId,
) -> Vec<(DiskKey, RestoredVolume)> {
    let is_placed = |stored: &StoredVolume| placed.iter().any(|(of, _)| of.disk == stored.disk);
    let left = facts.volumes.iter().filter(|stored| !is_placed(stored));
    let named = left.filter(|stored| stored.volume.own_name().ends_with("cloudinit"));
    named
        .map(|stored| {
            let storage = storage_for(policy, &stored.volume.storage);
            let volume = VolumeId { storage, name: format!("vm-{target}-cloudinit") };
            (stored.disk.clone(), RestoredVolume { volume, size: stored.shape.size })
        })
        .collect()
}

/// What is told of them.
pub(super) fn warnings(facts: &RestoreFacts, policy: &RestorePolicy, target: VmId) -> Vec<String> {
    let another = policy.makes_another(facts.vmid, target);
    let of_node = facts.node_disks.iter().map(|NodeDisk { disk, path }| match another {
        true => format!(
            "{disk} ({path}) is a disk of the node that guest {} may have: it is commented out, so that no two guests write to it",
            facts.vmid
        ),
        false => format!("{disk} ({path}) is a disk of the node: it was not saved and stays as it is"),
    });
    let made = made_anew(facts, target);
    let of_cloud_init = facts.cloud_init.iter().map(|drive| {
        let CloudInitDrive { disk, volume, .. } = drive;
        match made.get(disk) {
            Some(volume) => format!(
                "{disk}: the cloud-init drive {volume} is made anew by PVE when the guest starts, or by `qm cloudinit update {target}`"
            ),
            None => format!(
                "{disk}: the cloud-init drive {volume} cannot be made again on its storage: make it with `qm set {target} --{disk} STORAGE:cloudinit`"
            ),
        }
    });
    of_node.chain(of_cloud_init).collect()
}
