//! What interrupted restores left on the storages. What of it may go, `plan::left` decides.

use crate::model::{VmId, VolumeId};
use crate::plan::left::LeftVolume;
use crate::plan::restore::TargetStorage;
use crate::world::World;
use std::collections::BTreeMap;

/// The volumes that dead restores of a guest have made on these storages, as far as something of
/// their name is there.
///
/// # Errors
/// A storage or the cluster's files cannot be read.
pub(super) async fn left(
    world: &World,
    vmid: VmId,
    storages: &BTreeMap<String, TargetStorage>,
) -> anyhow::Result<Vec<LeftVolume>> {
    let mut found = Vec::new();
    for made in world.unfinished.left(vmid) {
        let (id, name) = (&made.volume.storage, &made.volume.name);
        let is_there = storages.get(id).is_some_and(|storage| storage.volumes.contains(name));
        let Some(storage) = world.storages.get(id).filter(|_| is_there) else { continue };
        let Some(facts) = storage.volume(name).await? else { continue };
        let used = storage.used_bytes(name).await.unwrap_or(None).unwrap_or(0);
        found.push(LeftVolume {
            referenced: is_referenced(world, &made.volume)?,
            volume: made.volume,
            identity: made.identity,
            present: facts.identity,
            used,
        });
    }
    Ok(found)
}

/// The guests whose configurations name volumes of these storages, by the volumes' own names: under
/// whichever storage entry, be it as unused, in a snapshot of the guest, or as a pending change.
///
/// # Errors
/// The cluster's files cannot be read.
pub(super) fn owners(
    world: &World,
    storages: &BTreeMap<String, TargetStorage>,
) -> anyhow::Result<BTreeMap<String, VmId>> {
    let mut owners = BTreeMap::new();
    for (guest, config) in world.cluster.guests_with_configs()? {
        for word in words(&config.to_string()) {
            if storages.values().any(|storage| storage.volumes.contains(word)) {
                owners.entry(word.to_owned()).or_insert(guest.vmid);
            }
        }
    }
    Ok(owners)
}

/// Whether any configuration of the cluster names a volume, be it as unused, in a snapshot of the
/// guest, or under another storage entry of the same pool.
///
/// # Errors
/// The cluster's files cannot be read.
pub(crate) fn is_referenced(world: &World, volume: &VolumeId) -> anyhow::Result<bool> {
    let configs = world.cluster.guests_with_configs()?;
    Ok(configs.iter().any(|(_, config)| names(&config.to_string(), volume.own_name())))
}

fn names(config: &str, name: &str) -> bool {
    words(config).any(|word| word == name)
}

/// All that could be a volume's name.
fn words(config: &str) -> impl Iterator<Item = &str> {
    let in_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    config.split(move |c| !in_name(c))
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn a_configuration_names_a_volume_by_its_whole_name() {
        let config =
            "scsi0: ceph:vm-100-disk-10,size=4G\n[before]\n#old ceph:base-9-disk-0/vm-100-disk-2\n";
        assert!(names(config, "vm-100-disk-10") && names(config, "vm-100-disk-2"));
        assert!(!names(config, "vm-100-disk-1") && !names(config, "m-100-disk-10"));
    }
}
