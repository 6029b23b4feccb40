//! What interrupted restores left on the storages. What of it may go, `plan::left` decides.

use crate::context::Context;
use crate::model::{VmId, VolumeId};
use crate::node::unfinished::MadeVolume;
use crate::plan::left::LeftVolume;
use crate::plan::restore::TargetStorage;
use crate::storage::name_while_deleted;
use std::collections::BTreeMap;

/// What dead restores of a guest have left on these storages.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// The volumes of which something is there.
    pub volumes: Vec<LeftVolume>,
    /// The notes that are about nothing any more.
    pub settled: Vec<MadeVolume>,
}

/// A creation that its run did not see the end of has come to one after so many seconds.
const CREATED_SINCE: i64 = 600;

/// Looks for the volumes that dead restores of a guest have made on these storages of a node.
///
/// # Errors
/// A storage or the cluster's files cannot be read.
pub(super) async fn left(
    ctx: &Context,
    vmid: VmId,
    node: &str,
    storages: &BTreeMap<String, TargetStorage>,
) -> anyhow::Result<Left> {
    let mut found = Left::default();
    for made in ctx.unfinished.left(vmid) {
        let Some(looked_at) = storages.get(&made.volume.storage) else { continue };
        if looked_at.node != made.node {
            continue;
        }
        let is_there = |id: &VolumeId| looked_at.volumes.contains(&id.name);
        let first = made.first_id();
        // Under its first name it is ours whatever it is; under its own, only what was noted; and a
        // deletion that was cut off left it under the last one.
        let known = made.identity.as_ref().map(|_| made.volume.clone());
        let last = made.identity.as_ref().map(|identity| VolumeId {
            storage: made.volume.storage.clone(),
            name: name_while_deleted(identity),
        });
        let mut names = [Some(first.clone()), last, known].into_iter().flatten();
        let id = names.find(is_there);
        let volume = match id {
            Some(id) => left_volume(ctx, node, &made, id).await?,
            None => None,
        };
        match volume {
            Some(volume) if volume.is_settled() => found.settled.push(made),
            Some(volume) => found.volumes.push(volume),
            None if ctx.clock.now().unix() - made.at.unix() > CREATED_SINCE => {
                found.settled.push(made);
            }
            None => {}
        }
    }
    Ok(found)
}

async fn left_volume(
    ctx: &Context,
    node: &str,
    made: &MadeVolume,
    volume: VolumeId,
) -> anyhow::Result<Option<LeftVolume>> {
    let Ok(storage) = ctx.storage(node, &volume.storage) else { return Ok(None) };
    let Some(facts) = storage.volume(&volume.name).await? else { return Ok(None) };
    let used = match facts.tells_used {
        true => storage.used_bytes(&volume.name).await.unwrap_or(None),
        false => None,
    };
    let is_first = volume == made.first_id();
    let noted = made.identity.clone().filter(|_| !is_first);
    Ok(Some(LeftVolume {
        referenced: is_referenced(ctx, &volume).await?,
        volume: ctx.place_of(node, &volume),
        identity: noted.unwrap_or_else(|| facts.identity.clone()),
        present: facts.identity,
        used: used.unwrap_or(0),
    }))
}

/// The guests whose configurations name volumes of these storages, by the volumes' own names: under
/// whichever storage entry, be it as unused, in a snapshot of the guest, or as a pending change.
///
/// # Errors
/// The cluster's files cannot be read.
pub(super) async fn owners(
    ctx: &Context,
    storages: &BTreeMap<String, TargetStorage>,
) -> anyhow::Result<BTreeMap<String, VmId>> {
    let mut owners = BTreeMap::new();
    for (guest, config) in ctx.home()?.guests().await? {
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
pub(crate) async fn is_referenced(ctx: &Context, volume: &VolumeId) -> anyhow::Result<bool> {
    let configs = ctx.home()?.guests().await?;
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
