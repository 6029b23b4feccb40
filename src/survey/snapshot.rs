//! What PVE's API tells of a guest for its snapshots. Reads only.

use crate::model::GuestKind;
use crate::plan::snapshot::{DiskFacts, SnapshotFacts};
use crate::plan::snapshot_feature::Feature;
use crate::plan::vmstate::{MemoryFacts, Place, UsedStorage, needed, target};
use crate::pve::api::{Api, ApiError, ApiGuest, ApiStorage};
use crate::pve::{ConfigVolume, GuestConfig};

/// Reads a guest's configuration and snapshots. Where a snapshot is to be made, PVE is asked whether
/// it can be, and `storages` are all of the cluster; where none is, there are no `storages`.
///
/// # Errors
/// The API refuses, or the guest is not on the node where it was.
pub async fn snapshot(
    api: &Api,
    guest: &ApiGuest,
    storages: Option<&[ApiStorage]>,
) -> Result<SnapshotFacts, ApiError> {
    let mut facts = unread(guest);
    // Nothing more is needed of a template, and nothing more is known of an unreachable guest.
    if facts.template || facts.status == "unknown" {
        return Ok(facts);
    }
    let config = api.guest_config(&facts.guest).await?;
    facts.snapshots = api.snapshots(&facts.guest).await?;
    facts.lock = config.lock().map(str::to_owned);
    facts.agent = (facts.guest.kind == GuestKind::Qemu).then(|| config.agent_enabled());
    if let Some(all) = storages {
        facts.feature = feature(api, &facts).await;
        let near = Near { all, node: &guest.candidate.guest.node };
        facts.disks = disks(&config, &near);
        if facts.guest.kind == GuestKind::Qemu && facts.status == "running" {
            facts.memory = memory(&config, &facts.disks, &near);
            facts.memory_blockers = memory_blockers(&config);
        }
    }
    Ok(facts)
}

fn unread(guest: &ApiGuest) -> SnapshotFacts {
    SnapshotFacts {
        guest: guest.candidate.guest.clone(),
        status: guest.status.clone(),
        unseen: guest.unseen.clone(),
        template: guest.candidate.template,
        lock: None,
        agent: None,
        disks: Vec::new(),
        feature: Feature::NotAsked,
        memory: None,
        memory_blockers: Vec::new(),
        snapshots: Vec::new(),
    }
}

/// A question that fails stops nothing: PVE asks itself the same before it makes a snapshot.
async fn feature(api: &Api, facts: &SnapshotFacts) -> Feature {
    match api.can_snapshot(&facts.guest).await {
        Ok(true) => Feature::Present,
        Ok(false) => Feature::Missing,
        Err(error) => Feature::Unclear(error.without_claims()),
    }
}

/// The storages as seen from a node.
struct Near<'a> {
    all: &'a [ApiStorage],
    node: &'a str,
}

impl<'a> Near<'a> {
    fn find(&self, id: &str) -> Option<&'a ApiStorage> {
        self.all.iter().find(|storage| storage.storage == id && storage.node == self.node)
    }

    fn place(&self, id: &str) -> Place {
        match self.find(id) {
            Some(found) => Place::Here(found.plugin.clone().unwrap_or_default()),
            None if self.all.iter().any(|storage| storage.storage == id) => Place::Elsewhere,
            None => Place::Unseen,
        }
    }
}

fn disks(config: &GuestConfig, near: &Near<'_>) -> Vec<DiskFacts> {
    // PVE snapshots no drive with media=cdrom, that of cloud-init neither (`drive_is_cdrom`).
    let is_cdrom = |v: &ConfigVolume| v.is_cdrom() || v.value.get("media") == Some("cdrom");
    let held = config.volumes().into_iter().filter(|v| !is_cdrom(v) && !v.is_unused());
    held.map(|entry| {
        let storage = entry.volume.as_ref().and_then(|volume| near.find(&volume.storage));
        let (usage, plugin) =
            (storage.and_then(|s| s.usage), storage.and_then(|s| s.plugin.clone()));
        DiskFacts { key: entry.key.to_string(), volume: entry.volume, plugin, usage }
    })
    .collect()
}

/// Where the memory goes cannot be told when the user may not see one of the storages among which
/// PVE chooses.
fn memory(config: &GuestConfig, disks: &[DiskFacts], near: &Near<'_>) -> Option<MemoryFacts> {
    let configured = config.get("vmstatestorage");
    let used = |id: &String| {
        let found = near.find(id)?;
        let (shared, file_based) = (found.shared, found.is_file_based());
        Some(UsedStorage { id: id.clone(), shared, file_based })
    };
    let used: Option<Vec<UsedStorage>> =
        disks.iter().filter_map(|disk| Some(&disk.volume.as_ref()?.storage)).map(used).collect();
    let storage = match configured {
        Some(_) => target(configured, &[]),
        None => target(None, &used?),
    };
    let usage = near.find(&storage).and_then(|found| found.usage);
    let place = near.place(&storage);
    Some(MemoryFacts { storage, needed: needed(config.get("memory")), usage, place })
}

/// With these PVE refuses a snapshot with memory before it begins (qemu-server 9.2:
/// `check_non_migratable_resources`).
fn memory_blockers(config: &GuestConfig) -> Vec<String> {
    let virtiofs = (0..10).map(|number| format!("virtiofs{number}"));
    let keys = ["amd-sev", "intel-tdx"].map(str::to_owned).into_iter().chain(virtiofs);
    keys.filter(|key| config.get(key).is_some()).collect()
}
