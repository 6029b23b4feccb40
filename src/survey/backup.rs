//! The facts of a backup, and what its execution will need of what was read.

use crate::model::{ChainId, Guest, GuestKind, ImageId, Label, VolumeId, VolumeIdentity};
use crate::model::{DiskKey, SkippedDisk};
use crate::node::freezes::Freeze;
use crate::plan::facts::{BackupFacts, DebrisFact, ImageFact, PointFact, SnapshotFact, VolumeFact};
use crate::plan::prune::StoredFact;
use crate::pve::GuestControl;
use crate::pve::{ConfigVolume, GuestConfig, Inclusion};
use crate::repository::{
    Debris, GuestDir, GuestKey, GuestRecord, History, StoredPoint, lost_indexes,
    point_usable_as_base,
};
use crate::storage::{ObjectMap, VolumeFacts};
use crate::world::World;
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::path::PathBuf;

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
pub async fn identity(world: &World, guest: Guest) -> anyhow::Result<IdentifiedGuest> {
    let parsed = GuestConfig::parse(&world.cluster.read_config(&guest)?);
    let is_template = parsed.is_template();
    let told = super::incarnation(guest.kind, &parsed, None);
    let incarnation = match told {
        Some(incarnation) => incarnation,
        None => {
            let first = first_key(world, guest.kind, &parsed);
            let entry = parsed.volumes().into_iter().find(|v| Some(&v.key) == first.as_ref());
            let read = match &entry {
                Some(entry) => volume(world, entry).await.map_err(|skip| vec![skip]),
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
pub async fn guest(world: &World, guest: Guest) -> anyhow::Result<SurveyedGuest> {
    let config = world.cluster.read_config(&guest)?;
    let parsed = GuestConfig::parse(&config);
    let mut volumes = Vec::new();
    let mut skipped = Vec::new();
    for entry in parsed.volumes() {
        let left_out = left_out(world, &parsed, &entry);
        match left_out {
            Some(skip) => skipped.push(skip),
            None => match volume(world, &entry).await {
                Ok(fact) => volumes.push(fact),
                Err(skip) => skipped.push(skip),
            },
        }
    }
    let first = first_key(world, guest.kind, &parsed);
    let root = volumes.iter().find(|volume| Some(&volume.disk) == first.as_ref());
    let incarnation = super::incarnation(guest.kind, &parsed, root.map(|v| &v.identity))
        .with_context(|| no_identity(&skipped))?;
    let is_template = parsed.is_template();
    Ok(SurveyedGuest { guest, config, volumes, skipped, is_template, incarnation })
}

/// The volume that tells a guest without a uuid from others: a container's root, a machine's
/// first. When just this one cannot be read, no other one serves: it would make it another guest.
fn first_key(world: &World, kind: GuestKind, config: &GuestConfig) -> Option<DiskKey> {
    let tells = |entry: &ConfigVolume| {
        entry.is_included() && entry.volume.is_some() && left_out(world, config, entry).is_none()
    };
    match kind {
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
fn left_out(world: &World, config: &GuestConfig, entry: &ConfigVolume) -> Option<SkippedDisk> {
    let storage = &entry.volume.as_ref().filter(|_| entry.is_included())?.storage;
    let kind = world.other_storages.get(storage)?;
    let without_ovmf = config.get("bios") != Some("ovmf");
    let why = match entry.key.as_str() {
        // `PVE::QemuServer::Cloudinit` writes it anew, and makes it when it is not there.
        _ if entry.is_cloudinit() => {
            "it is a cloud-init drive, which PVE makes of the configuration"
        }
        key if key.starts_with("efidisk") && without_ovmf => "it is an EFI disk without bios: ovmf",
        _ => return None,
    };
    let reason = format!("{why} (storage {storage} is of the kind {kind})");
    Some(SkippedDisk { disk: entry.key.to_string(), reason, by_configuration: true })
}

async fn volume(world: &World, entry: &ConfigVolume) -> Result<VolumeFact, SkippedDisk> {
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
    let facts = volume_facts(world, id).await.map_err(|reason| skip(reason, false))?;
    if facts.mirror_target {
        return Err(skip(format!("volume {id} {MIRROR_TARGET}"), false));
    }
    Ok(VolumeFact {
        disk: entry.key.clone(),
        volume: id.clone(),
        identity: facts.identity,
        size: facts.shape.size,
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

async fn volume_facts(world: &World, id: &VolumeId) -> Result<VolumeFacts, String> {
    let Some(storage) = world.storages.get(&id.storage) else {
        return Err(match world.other_storages.get(&id.storage) {
            Some(kind) => format!(
                "storage {} is of the kind {kind}, which cannot be backed up incrementally yet",
                id.storage
            ),
            None => format!("storage {} does not exist in storage.cfg", id.storage),
        });
    };
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
    world: &World,
    read: SurveyedGuest,
    place: (&GuestDir, GuestKey, u64),
    label: &Label,
) -> anyhow::Result<Surveyed> {
    let (directory, key, free_bytes) = place;
    let (there, label, of) = (directory.clone(), label.clone(), read.guest.clone());
    // Other guests are thawed and watched meanwhile, however long the repository takes.
    let kept = tokio::task::spawn_blocking(move || kept(&there, &key, &of, &label)).await??;
    let parsed = GuestConfig::parse(&read.config);
    let SurveyedGuest { guest, config, mut volumes, skipped, .. } = read;
    let control = super::control(world, &guest);
    let agent = super::agent(&control, &parsed).await?;
    let freezes = world.freezes.left(guest.vmid).iter().map(Freeze::to_string).collect();
    fill_used(world, &mut volumes, &kept.points).await;
    let departed = super::departed::departed(world, &kept.history, kept.chain, &volumes).await;
    let (firewall, unread_firewall) = match world.cluster.read_firewall(guest.vmid) {
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
        chain: kept.chain,
        points: kept.points,
        audited: kept.history.audits(kept.chain),
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

/// What the repository holds of a guest.
struct Kept {
    history: History,
    record: GuestRecord,
    chain: ChainId,
    points: Vec<PointFact>,
    leftovers: Vec<String>,
    stored: Vec<StoredFact>,
}

fn kept(
    directory: &GuestDir,
    key: &GuestKey,
    guest: &Guest,
    label: &Label,
) -> anyhow::Result<Kept> {
    let history = directory.load().context("read the guest's restore points")?;
    let record = record(key, guest, label, &history)?;
    let chain = record.chains[label];
    let points = points(directory, &history, chain);
    let leftovers = super::leftovers(directory, &history)?;
    let stored = super::stored(directory, &history);
    Ok(Kept { history, record, chain, points, leftovers, stored })
}

fn record(
    key: &GuestKey,
    guest: &Guest,
    label: &Label,
    history: &History,
) -> anyhow::Result<GuestRecord> {
    let mut record = match &history.record {
        Some(record) => record.clone(),
        None => GuestRecord {
            guest: key.clone(),
            kind: guest.kind,
            name: String::new(),
            chains: BTreeMap::new(),
            last_seq: 0,
            other: serde_json::Map::new(),
        },
    };
    record.name.clone_from(&guest.name);
    if !record.chains.contains_key(label) {
        record.chains.insert(label.clone(), ChainId(crate::entropy::random_u32()?));
    }
    Ok(record)
}

fn points(directory: &GuestDir, history: &History, chain: ChainId) -> Vec<PointFact> {
    let of_chain = history.points.iter().filter(|point| point.manifest.chain == chain);
    let mut facts: Vec<PointFact> =
        of_chain.map(|point| point_fact(directory, history, point)).collect();
    // Older points share their images with the newest, so that each index is looked at once.
    let newest = history.points.iter().rev().find(|point| point.manifest.chain == chain);
    if let (Some(newest), Some(fact)) = (newest, facts.last_mut()) {
        for (image, entry) in fact.images.iter_mut().zip(&newest.manifest.images) {
            let files = lost_indexes(history, newest, &entry.disk);
            let files = files.iter().filter(|_| image.unusable.is_none());
            let relative = |file: &PathBuf| {
                file.strip_prefix(directory.path()).unwrap_or(file).display().to_string()
            };
            image.lost_indexes = files.map(relative).collect();
        }
    }
    for differing in differing_volumes(history, chain) {
        distrust(&mut facts, differing);
    }
    facts
}

/// The volumes of a chain's points that were found to differ from their source, and in which point.
fn differing_volumes(
    history: &History,
    chain: ChainId,
) -> impl Iterator<Item = (u64, &VolumeIdentity)> {
    let of_chain = history.points.iter().filter(move |point| point.manifest.chain == chain);
    of_chain.flat_map(|point| {
        let audited = point.attributes.audited.iter().flat_map(|audited| &audited.failed_images);
        let image = |id: &ImageId| point.manifest.images.iter().find(|image| image.id == *id);
        audited.filter_map(image).map(|image| (point.manifest.seq, &image.source.volume))
    })
}

/// Nobody knows since when a volume differs from its source: what is older in the chain is no base
/// for increments either, even where its snapshot is still there.
fn distrust(facts: &mut [PointFact], (seq, volume): (u64, &VolumeIdentity)) {
    for point in facts.iter_mut().filter(|point| point.seq <= seq) {
        for image in point.images.iter_mut().filter(|image| image.source.volume == *volume) {
            let why = "is of a chain that was found to differ from its source";
            image.unusable.get_or_insert_with(|| why.to_owned());
        }
    }
}

fn point_fact(directory: &GuestDir, history: &History, point: &StoredPoint) -> PointFact {
    let images = point.manifest.images.iter().map(|image| ImageFact {
        image: image.id,
        source: image.source.clone(),
        bytes: (image.stream_bytes, image.stored_bytes),
        is_base: image.parent.is_none(),
        increments: image.increments(),
        unusable: point_usable_as_base(directory.disk(), history, point, &image.disk),
        lost_indexes: Vec::new(),
    });
    PointFact { seq: point.manifest.seq, moment: point.manifest.time, images: images.collect() }
}

fn debris_fact(directory: &GuestDir, debris: &Debris) -> DebrisFact {
    let relative = debris.path.strip_prefix(directory.path()).unwrap_or(&debris.path);
    DebrisFact { directory: relative.display().to_string() }
}

/// Asks for the used bytes of the volumes that will get a base, where the answer is cheap. Without
/// an answer the free space is not judged.
async fn fill_used(world: &World, volumes: &mut [VolumeFact], points: &[PointFact]) {
    let known: BTreeMap<_, ()> = points
        .iter()
        .flat_map(|point| &point.images)
        .map(|image| (image.source.clone(), ()))
        .collect();
    for volume in volumes {
        if volume.snapshots.iter().any(|s| known.contains_key(&s.identity)) {
            continue;
        }
        if let Some(storage) = world.storages.get(&volume.volume.storage) {
            volume.used = storage.used_bytes(&volume.volume.name).await.unwrap_or(None);
        }
    }
}
