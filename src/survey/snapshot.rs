//! What PVE's API tells of a guest for its snapshots. Reads only.

use crate::model::GuestKind;
use crate::plan::snapshot::{DiskFacts, SnapshotFacts};
use crate::plan::vmstate::{MemoryFacts, UsedStorage, needed, target};
use crate::pve::GuestConfig;
use crate::pve::api::{Api, ApiError, ApiGuest, ApiStorage};

/// Reads a guest's configuration and snapshots.
///
/// # Errors
/// The API refuses, or the guest is not on the node where it was.
pub async fn snapshot(
    api: &Api,
    guest: &ApiGuest,
    storages: &[ApiStorage],
) -> Result<SnapshotFacts, ApiError> {
    let (who, template) = (guest.candidate.guest.clone(), guest.candidate.template);
    let mut facts = SnapshotFacts {
        guest: who,
        status: guest.status.clone(),
        template,
        lock: None,
        agent: None,
        disks: Vec::new(),
        memory: None,
        snapshots: Vec::new(),
    };
    // Nothing more is needed of a template, and nothing more is known of an unreachable guest.
    if template || guest.status == "unknown" {
        return Ok(facts);
    }
    let config = api.guest_config(&facts.guest).await?;
    facts.snapshots = api.snapshots(&facts.guest).await?;
    facts.lock = config.lock().map(str::to_owned);
    facts.agent = (facts.guest.kind == GuestKind::Qemu).then(|| config.agent_enabled());
    let here: Vec<&ApiStorage> = storages.iter().filter(|s| s.node == facts.guest.node).collect();
    facts.disks = disks(&config, &here);
    if facts.guest.kind == GuestKind::Qemu && facts.status == "running" {
        facts.memory = memory(&config, &facts.disks, &here);
    }
    Ok(facts)
}

fn disks(config: &GuestConfig, here: &[&ApiStorage]) -> Vec<DiskFacts> {
    let held = config.volumes().into_iter().filter(|v| !v.is_cdrom() && !v.is_unused());
    held.map(|volume| {
        let storage = volume.volume.map(|id| id.storage);
        let usage = storage.as_ref().and_then(|id| named(here, id)?.usage);
        DiskFacts { key: volume.key.to_string(), storage, usage }
    })
    .collect()
}

/// Where the memory goes cannot be told when the user may not see one of the storages among which
/// PVE chooses.
fn memory(config: &GuestConfig, disks: &[DiskFacts], here: &[&ApiStorage]) -> Option<MemoryFacts> {
    let configured = config.get("vmstatestorage");
    let used = |id: &String| {
        let found = named(here, id)?;
        let (shared, file_based) = (found.shared, found.file_based);
        Some(UsedStorage { id: id.clone(), shared, file_based })
    };
    let used: Option<Vec<UsedStorage>> =
        disks.iter().filter_map(|disk| disk.storage.as_ref()).map(used).collect();
    let storage = match configured {
        Some(_) => target(configured, &[]),
        None => target(None, &used?),
    };
    let usage = named(here, &storage).and_then(|found| found.usage);
    Some(MemoryFacts { storage, needed: needed(config.get("memory")), usage })
}

fn named<'a>(here: &[&'a ApiStorage], id: &str) -> Option<&'a ApiStorage> {
    here.iter().find(|storage| storage.storage == id).copied()
}
