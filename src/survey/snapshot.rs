//! What PVE's API tells of a guest for its snapshots. Reads only.

use crate::model::{Guest, GuestKind};
use crate::plan::snapshot::{DiskFacts, SnapshotFacts};
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
    facts.disks = disks(&config, &facts.guest, storages);
    Ok(facts)
}

fn disks(config: &GuestConfig, guest: &Guest, storages: &[ApiStorage]) -> Vec<DiskFacts> {
    let held = config.volumes().into_iter().filter(|v| !v.is_cdrom() && !v.is_unused());
    held.map(|volume| {
        let storage = volume.volume.map(|id| id.storage);
        let here = |s: &&ApiStorage| s.node == guest.node && Some(&s.storage) == storage.as_ref();
        let usage = storages.iter().find(here).and_then(|s| s.usage);
        DiskFacts { key: volume.key.to_string(), storage, usage }
    })
    .collect()
}
