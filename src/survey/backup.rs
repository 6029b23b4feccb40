//! The facts of a backup, and what its execution will need of what was read.

use super::kept::{Kept, debris_fact, kept};
use crate::context::Context;
use crate::model::{DiskKey, Guest, GuestKind, Label, SkippedDisk, VolumeId};
use crate::node::freezes::Freeze;
use crate::plan::facts::{BackupFacts, PointFact, SnapshotFact, VolumeFact};
use crate::pve::GuestControl;
use crate::pve::{ConfigVolume, GuestConfig, Inclusion};
use crate::repository::{Debris, GuestDir, GuestKey, GuestRecord};
use crate::storage::{NoStorage, ObjectMap, VolumeFacts};
use anyhow::Context as _;
use std::collections::BTreeMap;

/// A guest as it was read for a backup.
pub struct Surveyed {
    /// The facts that the plan is made from.
    pub facts: BackupFacts,
    /// The configuration as it stands in its file.
    pub config: String,
    /// The firewall file, when there is one.
    pub firewall: Option<String>,
    /// What guest.json is to hold.
    pub record: GuestRecord,
    /// What interrupted runs left in the guest's directory.
    pub debris: Vec<Debris>,
    /// How the guest is frozen and asked.
    pub control: GuestControl,
}

/// The configuration and the volumes of a guest, before its place in the repository is known.
pub struct SurveyedGuest {
    /// The guest, found anew.
    pub guest: Guest,
    /// The configuration as it stands in its file.
    pub config: String,
    volumes: Vec<VolumeFact>,
    skipped: Vec<SkippedDisk>,
    /// Whether it is a template.
    pub is_template: bool,
    /// What distinguishes it from an earlier guest of its vmid.
    pub incarnation: crate::model::Incarnation,
}

/// A guest as far as its place in a repository needs it known: what is read before its lock is
/// taken, as all else may be another one when the lock is.
#[derive(Debug)]
pub struct IdentifiedGuest {
    /// The guest.
    pub guest: Guest,
    /// Whether it is a template.
    pub is_template: bool,
    /// What distinguishes it from an earlier guest of its vmid.
    pub incarnation: crate::model::Incarnation,
}

/// Reads what tells the guest from others. A storage is asked only where the configuration does
/// not tell, of a container's root volume as a rule.
///
/// # Errors
/// As [`guest`].
pub async fn identity(ctx: &Context, guest: Guest) -> anyhow::Result<IdentifiedGuest> {
    let parsed = GuestConfig::parse(&ctx.home()?.config(&guest).await?);
    let is_template = parsed.is_template();
    let told = super::incarnation(guest.kind, &parsed, None);
    let incarnation = match told {
        Some(incarnation) => incarnation,
        None => {
            let first = first_key(ctx, &guest, &parsed);
            let entry = parsed.volumes().into_iter().find(|v| Some(&v.key) == first.as_ref());
            let read = match &entry {
                Some(entry) => volume(ctx, &guest.node, entry).await.map_err(|skip| vec![skip]),
                None => Err(Vec::new()),
            };
            let (root, skipped) = read.map_or_else(|skip| (None, skip), |v| (Some(v), Vec::new()));
            super::incarnation(guest.kind, &parsed, root.as_ref().map(|v| &v.identity))
                .with_context(|| no_identity(&skipped))?
        }
    };
    Ok(IdentifiedGuest { guest, is_template, incarnation })
}

/// Reads configuration and volumes.
///
/// # Errors
/// The configuration cannot be read, or nothing tells the guest from an earlier one of its vmid.
pub async fn guest(ctx: &Context, guest: Guest) -> anyhow::Result<SurveyedGuest> {
    let config = ctx.home()?.config(&guest).await?;
    let parsed = GuestConfig::parse(&config);
    let mut volumes = Vec::new();
    let mut skipped = Vec::new();
    for entry in parsed.volumes() {
        let left_out = left_out(ctx, &guest.node, &parsed, &entry);
        match left_out {
            Some(skip) => skipped.push(skip),
            None => match volume(ctx, &guest.node, &entry).await {
                Ok(fact) => volumes.push(fact),
                Err(skip) => skipped.push(skip),
            },
        }
    }
    let first = first_key(ctx, &guest, &parsed);
    let root = volumes.iter().find(|volume| Some(&volume.disk) == first.as_ref());
    let incarnation = super::incarnation(guest.kind, &parsed, root.map(|v| &v.identity))
        .with_context(|| no_identity(&skipped))?;
    let is_template = parsed.is_template();
    Ok(SurveyedGuest { guest, config, volumes, skipped, is_template, incarnation })
}

/// The volume that tells a guest without a uuid from others: a container's root, a machine's
/// first. When just this one cannot be read, no other one serves: it would make it another guest.
fn first_key(ctx: &Context, guest: &Guest, config: &GuestConfig) -> Option<DiskKey> {
    let tells = |entry: &ConfigVolume| {
        entry.is_included()
            && entry.volume.is_some()
            && left_out(ctx, &guest.node, config, entry).is_none()
    };
    match guest.kind {
        GuestKind::Lxc => "rootfs".parse().ok(),
        GuestKind::Qemu => config.volumes().into_iter().find(tells).map(|volume| volume.key),
    }
}

/// Why a guest has no place in a repository: mostly because its first disk is where we save nothing.
fn no_identity(skipped: &[SkippedDisk]) -> String {
    match skipped.iter().find(|skipped| !skipped.by_configuration) {
        Some(skip) => {
            format!("no volume can be backed up ({}: {}); nothing was changed", skip.disk, skip.reason)
        }
        None => "nothing tells this guest from an earlier one of its vmid: it has neither an smbios uuid (`qm set VMID --smbios1 uuid=...` gives it one) nor a volume that is backed up; nothing was changed".to_owned(),
    }
}

/// Volumes that PVE's own backup leaves out although they may stand on any storage. We save them where
/// we can, as that costs nothing; where we cannot, nothing is missing.
fn left_out(
    ctx: &Context,
    node: &str,
    config: &GuestConfig,
    entry: &ConfigVolume,
) -> Option<SkippedDisk> {
    let storage = &entry.volume.as_ref().filter(|_| entry.is_included())?.storage;
    let Err(unserved @ NoStorage::OtherKind { .. }) = ctx.storage(node, storage) else {
        return None;
    };
    let without_ovmf = config.get("bios") != Some("ovmf");
    let why = match entry.key.as_str() {
        // `PVE::QemuServer::Cloudinit` writes it anew, and makes it when it is not there.
        _ if entry.is_cloudinit() => {
            "it is a cloud-init drive, which PVE makes of the configuration"
        }
        key if key.starts_with("efidisk") && without_ovmf => "it is an EFI disk without bios: ovmf",
        _ => return None,
    };
    let reason = format!("{why} ({unserved})");
    Some(SkippedDisk { disk: entry.key.to_string(), reason, by_configuration: true })
}

async fn volume(
    ctx: &Context,
    node: &str,
    entry: &ConfigVolume,
) -> Result<VolumeFact, SkippedDisk> {
    let skip = |reason: String, by_configuration| SkippedDisk {
        disk: entry.key.to_string(),
        reason,
        by_configuration,
    };
    if let Inclusion::Excluded(reason) = &entry.inclusion {
        return Err(skip(reason.clone(), true));
    }
    let Some(id) = &entry.volume else {
        return Err(skip(entry.no_volume(), false));
    };
    let facts = volume_facts(ctx, node, id).await.map_err(|reason| skip(reason, false))?;
    if facts.mirror_target {
        return Err(skip(format!("volume {id} {MIRROR_TARGET}"), false));
    }
    Ok(VolumeFact {
        disk: entry.key.clone(),
        volume: ctx.place_of(node, id),
        identity: facts.identity,
        size: facts.shape.size,
        tells_used: facts.tells_used,
        used: None,
        snapshots: facts.snapshots.into_iter().map(snapshot_fact).collect(),
        change_record_invalid: facts.object_map == ObjectMap::Invalid,
        migrating: facts.migrating,
    })
}

const MIRROR_TARGET: &str = "is the non-primary image of a mirror, which takes no snapshot: back it up where it is primary, or promote it (rbd mirror image promote)";

pub(super) fn snapshot_fact(facts: crate::storage::SnapshotFacts) -> SnapshotFact {
    SnapshotFact { identity: facts.identity, protected: facts.protected }
}

async fn volume_facts(ctx: &Context, node: &str, id: &VolumeId) -> Result<VolumeFacts, String> {
    let storage = ctx.storage(node, &id.storage).map_err(|none| match none {
        NoStorage::OtherKind { .. } => {
            format!("{none}, which cannot be backed up incrementally yet")
        }
        _ => none.to_string(),
    })?;
    match storage.volume(&id.name).await {
        Ok(Some(facts)) => Ok(facts),
        Ok(None) => Err(format!("volume {id} does not exist")),
        Err(error) => Err(format!("volume {id} cannot be read: {:#}", anyhow::Error::from(error))),
    }
}

/// Reads the rest: the guest's state, its history in the repository, the space there.
///
/// # Errors
/// The guest's node or the repository cannot be read.
pub async fn backup(
    ctx: &Context,
    read: SurveyedGuest,
    place: (&GuestDir, GuestKey, u64),
    label: &Label,
) -> anyhow::Result<Surveyed> {
    let (directory, key, free_bytes) = place;
    let (there, label, of) = (directory.clone(), label.clone(), read.guest.clone());
    let standing = read.volumes.iter().flat_map(|volume| &volume.snapshots);
    let standing: Vec<_> = standing.map(|snapshot| snapshot.identity.clone()).collect();
    // Other guests are thawed and watched meanwhile, however long the repository takes.
    let kept =
        tokio::task::spawn_blocking(move || kept(&there, &key, (&of, &standing), &label)).await??;
    let parsed = GuestConfig::parse(&read.config);
    let SurveyedGuest { guest, config, mut volumes, skipped, .. } = read;
    let control = ctx.home()?.control(&guest);
    let agent = super::agent(&control, &parsed).await?;
    let freezes = ctx.freezes.left(guest.vmid).iter().map(Freeze::to_string).collect();
    fill_used(ctx, &mut volumes, &kept.points).await;
    let departed = super::departed::departed(ctx, &guest.node, &kept, &volumes, &skipped).await;
    let (firewall, unread_firewall) = match ctx.home()?.firewall(guest.vmid).await {
        Ok(firewall) => (firewall, None),
        Err(error) => (None, Some(format!("{:#}", anyhow::Error::from(error)))),
    };
    let facts = BackupFacts {
        lock: parsed.lock().map(str::to_owned),
        template: parsed.is_template(),
        run_state: agent.run_state,
        agent_said: agent.said,
        found_frozen: agent.is_frozen,
        freezes,
        config_digest: parsed.digest(),
        volumes,
        skipped,
        departed,
        orphans: Vec::new(),
        chain: kept.chain,
        points: kept.points,
        audited: kept.chain.map(|chain| kept.history.audits(chain)).unwrap_or_default(),
        debris: kept.history.debris.iter().map(|d| debris_fact(directory, d)).collect(),
        frozen_repository: kept.history.forbids_removal(),
        is_damaged: kept.history.is_damaged(),
        leftovers: kept.leftovers,
        stored: kept.stored,
        free_bytes,
        unread_firewall,
        guest,
    };
    let Kept { record, history, .. } = kept;
    Ok(Surveyed { facts, config, firewall, record, debris: history.debris, control })
}

/// Asks for the used bytes of the volumes that will get a base, where the answer is cheap. Without
/// an answer the free space is not judged.
async fn fill_used(ctx: &Context, volumes: &mut [VolumeFact], points: &[PointFact]) {
    let known: BTreeMap<_, ()> = points
        .iter()
        .flat_map(|point| &point.images)
        .map(|image| (image.source.clone(), ()))
        .collect();
    for volume in volumes {
        let has_base = volume.snapshots.iter().any(|s| known.contains_key(&s.identity));
        if has_base || !volume.tells_used {
            continue;
        }
        if let Ok(storage) = ctx.storage_of(&volume.volume) {
            volume.used = storage.used_bytes(&volume.volume.id.name).await.unwrap_or(None);
        }
    }
}
