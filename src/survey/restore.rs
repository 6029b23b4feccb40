//! The facts of a restore: what its point holds, what is at its target. Which point it is stands in
//! `sought`.

use super::damage::damage;
use super::left::Left;
use super::sought::Sought;
use super::source::RestorePoint;
use crate::context::Context;
use crate::model::{Guest, GuestKind};
use crate::node::unfinished::{MadeVolume, Reservation};
use crate::plan::restore::{
    CloudInitDrive, NodeDisk, PresentGuest, RestoreFacts, RestorePolicy, StorageRules,
    StoredVolume, TargetStorage, storage_for,
};
use crate::pve::{ConfigVolume, GuestConfig, GuestStatus, NamedVolumes, StorageCfg};
use crate::storage::{Location, Storage};
use anyhow::Context as _;
use std::collections::{BTreeMap, BTreeSet};

/// What was read for a restore.
#[derive(Debug)]
pub struct SurveyedRestore {
    /// The facts that the plan is made from.
    pub facts: RestoreFacts,
    /// The notes of dead restores that are about nothing any more.
    pub settled: Vec<MadeVolume>,
}

/// Reads what the plan of a restore depends on.
///
/// # Errors
/// The target's node, a storage or the cluster's files cannot be read.
pub async fn restore(
    ctx: &Context,
    point: &RestorePoint,
    sought: &Sought,
    policy: &RestorePolicy,
) -> anyhow::Result<SurveyedRestore> {
    let is_whole = policy.disks.is_empty();
    let target = policy.target.unwrap_or(point.vmid());
    // Single volumes leave the guest alone, whose node may be the one that is down.
    let found = ctx.home()?.guest(target).await?.filter(|_| is_whole);
    let (present, left_reserved) = match found {
        Some(guest) => present(ctx, guest).await?,
        None => (None, false),
    };
    let attach = match policy.attach {
        Some(vmid) => ctx.home()?.guest(vmid).await?,
        None => None,
    };
    let firewall = if is_whole { point.firewall() } else { Ok(None) };
    let volumes = wanted_and_others(point, policy)?;
    let (storage_cfg, node) = (ctx.home()?.files.storage_cfg()?, ctx.home()?.files.this_node()?);
    let storages = storages(ctx, (&storage_cfg, &node), (point.kind(), &volumes), policy).await?;
    let written = policy.attach.unwrap_or(target);
    let Left { volumes: left, settled } = super::left::left(ctx, written, &node, &storages).await?;
    // A configuration that cannot be read is refused where it is written.
    let config = match is_whole {
        true => point.config().map_err(|error| format!("{error:#}")),
        false => Ok(String::new()),
    };
    let saved = GuestConfig::parse(config.as_deref().unwrap_or_default());
    let facts = RestoreFacts {
        present_firewall: match is_whole {
            true => ctx.home()?.firewall(target).await?,
            false => None,
        },
        config,
        mac_prefix: ctx.home()?.files.mac_prefix()?,
        node_disks: node_disks(&saved),
        cloud_init: unsaved_cloud_init(&saved, &volumes, (&storage_cfg, &node)),
        quorate: ctx.home()?.files.members()?.is_quorate() != Some(false),
        owners: super::left::owners(ctx, &storages).await?,
        vmid: point.vmid(),
        name: point.name(),
        kind: point.kind(),
        volumes,
        skipped: point.skipped(),
        damage: damage(point, sought, &policy.disks),
        firewall: firewall.map_err(|error| format!("{error:#}")),
        present,
        attach,
        storages,
        left,
        left_reserved,
        node,
    };
    Ok(SurveyedRestore { facts, settled })
}

/// Disks and partitions of the node, be they a machine's drives or a container's mount points;
/// directories can be shared.
fn node_disks(saved: &GuestConfig) -> Vec<NodeDisk> {
    let drives = saved.volumes();
    let of_node = drives.iter().filter(|drive| drive.is_node_disk());
    let disk = |drive: &ConfigVolume| NodeDisk {
        disk: drive.key.clone(),
        path: drive.value.volume().unwrap_or_default().to_owned(),
    };
    of_node.map(disk).collect()
}

fn unsaved_cloud_init(
    saved: &GuestConfig,
    held: &[StoredVolume],
    (config, node): (&StorageCfg, &str),
) -> Vec<CloudInitDrive> {
    let drives = saved.volumes().into_iter().filter(ConfigVolume::is_cloudinit);
    let lost = drives.filter(|drive| held.iter().all(|volume| volume.disk != drive.key));
    let usable = |id: &str| {
        let rules = rules(config, id);
        rules.is_some_and(|rules| rules.unfit_for(GuestKind::Qemu, node).is_none())
    };
    let drive = |drive: ConfigVolume| {
        let volume = drive.volume?;
        Some(CloudInitDrive { can_be_made: usable(&volume.storage), disk: drive.key, volume })
    };
    lost.filter_map(drive).collect()
}

/// What a section of storage.cfg says of its use; none when there is no such section.
fn rules(config: &StorageCfg, id: &str) -> Option<StorageRules> {
    let usage = config.storage(id)?.usage();
    Some(StorageRules { disabled: usage.disabled, nodes: usage.nodes, content: usage.content })
}

/// The volumes of the point; of those that are wanted it is known exactly what they need.
fn wanted_and_others(
    point: &RestorePoint,
    policy: &RestorePolicy,
) -> anyhow::Result<Vec<StoredVolume>> {
    let mut volumes = point.volumes()?;
    for volume in volumes.iter_mut().filter(|volume| policy.wants(&volume.disk)) {
        volume.data_bytes = point.data_bytes(&volume.disk).unwrap_or(volume.data_bytes);
    }
    Ok(volumes)
}

/// The guest that has the vmid; and whether an interrupted restore has reserved it, which is then
/// looked through: what it wrote is as good as gone.
async fn present(ctx: &Context, guest: Guest) -> anyhow::Result<(Option<PresentGuest>, bool)> {
    let config = ctx.home()?.config(&guest).await?;
    let reserved = ctx.unfinished.reserved(guest.vmid).into_iter();
    let mut reserved = reserved
        .filter(|left| left.text == config && left.node == guest.node && left.kind == guest.kind);
    let (config, is_left) = match reserved.next() {
        Some(Reservation { before: None, .. }) => return Ok((None, true)),
        Some(Reservation { before: Some(before), .. }) => (before, true),
        None => (config, false),
    };
    let parsed = GuestConfig::parse(&config);
    let control = ctx.home()?.control(&guest);
    let status = control.status().await.context("ask whether the present guest runs")?;
    let NamedVolumes { volumes, snapshots } = parsed.named_volumes();
    let present = PresentGuest {
        volumes,
        snapshots,
        running: status != GuestStatus::Stopped,
        lock: parsed.lock().map(str::to_owned),
        config_digest: parsed.digest(),
        config,
        guest,
    };
    Ok((Some(present), is_left))
}

/// Reads the storages that wanted volumes go to, and no others: one that is down for another reason
/// must not be in the way at 3 a.m. One that PVE would not use is not asked.
async fn storages(
    ctx: &Context,
    (config, node): (&StorageCfg, &str),
    (kind, volumes): (GuestKind, &[StoredVolume]),
    policy: &RestorePolicy,
) -> anyhow::Result<BTreeMap<String, TargetStorage>> {
    let wanted = volumes.iter().filter(|volume| policy.wants(&volume.disk));
    let wanted: BTreeSet<String> =
        wanted.map(|volume| storage_for(policy, &volume.volume.storage)).collect();
    let mut storages = BTreeMap::new();
    for id in wanted {
        let Ok(storage) = ctx.storage(node, &id) else { continue };
        let place = || ctx.home.as_ref().and_then(|home| home.storages.place(node, &id));
        let rules = rules(config, &id);
        let is_unfit = rules.as_ref().is_some_and(|rules| rules.unfit_for(kind, node).is_some());
        let target = match is_unfit {
            true => TargetStorage { rules, node: place(), ..TargetStorage::default() },
            false => TargetStorage { rules, node: place(), ..look_at(storage).await? },
        };
        storages.insert(id, target);
    }
    Ok(storages)
}

async fn look_at(storage: &Storage) -> anyhow::Result<TargetStorage> {
    // The space first: who is asked for it tells the cluster's id beside it.
    let (volumes, free_bytes) = tokio::join!(storage.volumes(), storage.free_bytes());
    let (volumes, free_bytes) = (volumes?.into_iter().collect(), free_bytes?);
    let Location { volumes: holds, space } = storage.location().await?;
    Ok(TargetStorage { volumes, free_bytes, holds, space, ..TargetStorage::default() })
}
