//! Decides on a restore: which volumes are made under which names, and what is refused. Pure.

pub use super::restore_policy::{Afterwards, Existing, RestorePolicy, storage_for};

use super::damage::{DamageFacts, IsDamaged, judge};
use super::left::{LeftVolume, deletion, going, without_left};
use super::shape::{shape_on, striping_lost};
use super::{Action, Item, Plan, Step};
use crate::model::{Bytes, DiskKey, Guest, GuestKind, SkippedDisk, VmId, VolumeId, VolumeShape};
use std::collections::{BTreeMap, BTreeSet};

/// A volume of the restore point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredVolume {
    /// Its key in the saved configuration.
    pub disk: DiskKey,
    /// What it was called.
    pub volume: VolumeId,
    /// What it is made like.
    pub shape: VolumeShape,
    /// Bytes that its whole chain writes, from the base on; more where that is not known exactly.
    pub data_bytes: u64,
}

/// What the survey knows of one storage that gets volumes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TargetStorage {
    /// The volumes that are there.
    pub volumes: BTreeSet<String>,
    /// Bytes free, where the storage can tell.
    pub free_bytes: Option<u64>,
}

/// The guest that has the target's vmid now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresentGuest {
    /// The guest.
    pub guest: Guest,
    /// Whether it runs.
    pub running: bool,
    /// PVE's lock on it.
    pub lock: Option<String>,
    /// Digest of its configuration.
    pub config_digest: String,
}

/// All that the decision on a restore depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreFacts {
    /// The guest of the restore point.
    pub vmid: VmId,
    /// Its name then.
    pub name: String,
    /// Virtual machine or container.
    pub kind: GuestKind,
    /// The volumes of the point.
    pub volumes: Vec<StoredVolume>,
    /// Disks that the point does not hold.
    pub skipped: Vec<SkippedDisk>,
    /// What checks found damaged in the point.
    pub damage: DamageFacts,
    /// The firewall file that the guest had, where it is restored whole; why it cannot be read.
    pub firewall: Result<Option<String>, String>,
    /// The guest that has the target's vmid now, where the guest is restored whole.
    pub present: Option<PresentGuest>,
    /// The guest that is to find the volumes as unused disks, if it is there.
    pub attach: Option<Guest>,
    /// The storages that wanted volumes go to, by id; only those that exist and can hold volumes.
    pub storages: BTreeMap<String, TargetStorage>,
    /// What interrupted restores left there.
    pub left: Vec<LeftVolume>,
    /// The node that gets the guest.
    pub node: String,
}

/// Why a restore is refused; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoRestore {
    /// The vmid is taken.
    #[error(
        "guest {0} exists on node {1}: choose another --target-vmid, or --force for a stopped guest (its volumes are kept as unused disks); nothing was changed"
    )]
    GuestExists(VmId, String),
    /// The guest that would be replaced is in use.
    #[error("guest {0} {1}, it cannot be replaced; nothing was changed")]
    GuestInUse(VmId, String),
    /// The guest that should get the volumes is not there.
    #[error(
        "guest {0} does not exist, and cannot get the volumes: choose another --attach, or leave it out; nothing was changed"
    )]
    NoGuest(VmId),
    /// A volume of that name is there.
    #[error(
        "volume {0} exists: choose another --target-vmid, --storage or --to; if an interrupted restore on another node left it (look at it first: no guest may need it), remove it with `pvesm free {0}`; nothing was changed"
    )]
    VolumeExists(VolumeId),
    /// A storage is missing or of a kind that cannot hold the volumes.
    #[error(
        "storage {0} does not exist here or cannot hold this volume: choose one with --storage or --map-storage {0}:OTHER; nothing was changed"
    )]
    NoStorage(String),
    /// The point has no such disk.
    #[error("the restore point holds no disk {0} (it holds {1}); nothing was changed")]
    NoDisk(DiskKey, String),
    /// Checks found damage in the point, and it is not clear that just this one is meant.
    #[error(transparent)]
    Damaged(#[from] IsDamaged),
    /// The options exclude each other.
    #[error("{0}; nothing was changed")]
    Usage(String),
    /// The storage would be full.
    #[error(
        "not enough space on storage {storage}: {free} free, {needed} needed; nothing was changed"
    )]
    NoSpace {
        /// The storage.
        storage: String,
        /// What is free.
        free: Bytes,
        /// What the point's data needs.
        needed: Bytes,
    },
}

/// Plans a restore.
///
/// # Errors
/// The target is taken, cannot hold the volumes, or the options make no sense together.
pub fn plan(facts: &RestoreFacts, policy: &RestorePolicy) -> Result<Plan, NoRestore> {
    let target = policy.attach.or(policy.target).unwrap_or(facts.vmid);
    let whole = policy.disks.is_empty();
    check_options(policy)?;
    if whole {
        check_present(facts, policy, target)?;
    }
    if let Some(missing) = policy.attach.filter(|_| facts.attach.is_none()) {
        return Err(NoRestore::NoGuest(missing));
    }
    wanted(facts, policy)?;
    let mut not_whole = judge(&facts.damage, &policy.disks)?;
    not_whole.extend(without_firewall(facts, policy));
    let facts = &without_left(facts);
    let volumes = place(facts, policy, target)?;
    check_space(facts, &volumes)?;

    let mut steps: Vec<Step> = going(facts).map(deletion).collect();
    steps.extend(volumes.iter().map(|(stored, volume)| {
        let (disk, shape) = (stored.disk.clone(), shape_on(stored, volume));
        Action::CreateVolume { disk, volume: volume.clone(), shape }.step()
    }));
    steps.extend(volumes.iter().map(|(stored, volume)| {
        Action::RestoreVolume { disk: stored.disk.clone(), volume: volume.clone() }.step()
    }));
    steps.extend(if whole {
        ending_of_guest(facts, policy, target)
    } else {
        ending_of_disks(policy)
    });

    let guest = Guest {
        vmid: target,
        kind: facts.kind,
        name: facts.name.clone(),
        node: facts.node.clone(),
    };
    let skipped = if whole { facts.skipped.clone() } else { Vec::new() };
    let items = steps.into_iter().map(Item::Step).collect();
    let mut warnings = warnings(facts, target);
    warnings.extend(volumes.iter().filter_map(|(stored, _)| striping_lost(stored)));
    Ok(Plan { guest, items, skipped, warnings, kept: Vec::new(), not_whole })
}

fn check_options(policy: &RestorePolicy) -> Result<(), NoRestore> {
    let usage = |text: &str| Err(NoRestore::Usage(text.to_owned()));
    let single_only = policy.to.is_some() || policy.attach.is_some();
    if policy.disks.is_empty() && single_only {
        return usage("--to and --attach restore single volumes: name them with --disk");
    }
    if !policy.disks.is_empty() && policy.afterwards == Afterwards::Start {
        return usage("--start starts a whole guest, --disk restores single volumes");
    }
    let named = policy.to.as_ref().is_some_and(|(_, name)| name.is_some());
    if named && policy.disks.len() > 1 {
        return usage("--to STORAGE:NAME names one volume: give one --disk");
    }
    Ok(())
}

fn check_present(
    facts: &RestoreFacts,
    policy: &RestorePolicy,
    target: VmId,
) -> Result<(), NoRestore> {
    let Some(present) = &facts.present else { return Ok(()) };
    if policy.existing == Existing::Refuse {
        return Err(NoRestore::GuestExists(target, present.guest.node.clone()));
    }
    if present.running {
        return Err(NoRestore::GuestInUse(target, "is running".into()));
    }
    if let Some(lock) = &present.lock {
        return Err(NoRestore::GuestInUse(target, format!("is locked by PVE ({lock})")));
    }
    if present.guest.kind != facts.kind {
        return Err(NoRestore::GuestInUse(
            target,
            format!("is of the kind {}", present.guest.kind),
        ));
    }
    if present.guest.node != facts.node {
        let node = &present.guest.node;
        return Err(NoRestore::GuestInUse(target, format!("is on node {node}, restore it there")));
    }
    Ok(())
}

type Placed<'a> = Vec<(&'a StoredVolume, VolumeId)>;

fn place<'a>(
    facts: &'a RestoreFacts,
    policy: &RestorePolicy,
    target: VmId,
) -> Result<Placed<'a>, NoRestore> {
    let mut taken: BTreeSet<VolumeId> = BTreeSet::new();
    let mut placed = Vec::new();
    for stored in wanted(facts, policy)? {
        let storage_id = storage_for(policy, &stored.volume.storage);
        let storage = facts
            .storages
            .get(&storage_id)
            .ok_or_else(|| NoRestore::NoStorage(storage_id.clone()))?;
        let names = Names { present: &storage.volumes, ours: &taken, storage: &storage_id };
        let is_taken = |name: &str| names.present.contains(name) || names.is_ours(name);
        let name = name_for(facts, policy, stored, target, &names);
        let volume = VolumeId { storage: storage_id.clone(), name };
        let regenerated = facts.present.is_some() && volume.name.ends_with("cloudinit");
        if regenerated && is_taken(&volume.name) {
            // PVE knows a cloud-init volume by its name and writes it anew: the present one serves.
            continue;
        }
        if is_taken(&volume.name) {
            return Err(NoRestore::VolumeExists(volume));
        }
        taken.insert(volume.clone());
        placed.push((stored, volume));
    }
    Ok(placed)
}

fn wanted<'a>(
    facts: &'a RestoreFacts,
    policy: &RestorePolicy,
) -> Result<Vec<&'a StoredVolume>, NoRestore> {
    if policy.disks.is_empty() {
        return Ok(facts.volumes.iter().collect());
    }
    let find = |disk: &DiskKey| {
        facts.volumes.iter().find(|v| v.disk == *disk).ok_or_else(|| {
            let held: Vec<&str> = facts.volumes.iter().map(|v| v.disk.as_str()).collect();
            NoRestore::NoDisk(disk.clone(), held.join(", "))
        })
    };
    policy.disks.iter().map(find).collect()
}

/// A restored guest gets the names that it had, with its new vmid. Volumes that join or replace
/// something, and those of several storages that bore one name, get the next free disk number
/// instead, as PVE gives it.
fn name_for(
    facts: &RestoreFacts,
    policy: &RestorePolicy,
    stored: &StoredVolume,
    target: VmId,
    names: &Names,
) -> String {
    if let Some((_, Some(name))) = &policy.to {
        return name.clone();
    }
    let own = stored.volume.own_name();
    let prefix = format!("vm-{}-", facts.vmid);
    let kept = match own.strip_prefix(&prefix) {
        Some(rest) => format!("vm-{target}-{rest}"),
        None => own.to_owned(),
    };
    let is_cloud_init = kept.ends_with("cloudinit");
    let joins = (facts.present.is_some() && !is_cloud_init) || !policy.disks.is_empty();
    let must_be_renamed = names.is_ours(&kept) || (joins && names.present.contains(&kept));
    if !must_be_renamed {
        return kept;
    }
    let is_free = |name: &String| !names.present.contains(name) && !names.is_ours(name);
    (0..=u32::MAX).map(|n| format!("vm-{target}-disk-{n}")).find(is_free).unwrap_or(kept)
}

/// The names on one storage: those that were there, and those that this plan gives.
struct Names<'a> {
    present: &'a BTreeSet<String>,
    ours: &'a BTreeSet<VolumeId>,
    storage: &'a str,
}

impl Names<'_> {
    fn is_ours(&self, name: &str) -> bool {
        self.ours.iter().any(|id| id.storage == self.storage && id.name == name)
    }
}

fn check_space(facts: &RestoreFacts, volumes: &Placed) -> Result<(), NoRestore> {
    let mut needed: BTreeMap<&str, u64> = BTreeMap::new();
    for (stored, volume) in volumes {
        *needed.entry(volume.storage.as_str()).or_default() += stored.data_bytes;
    }
    for (storage, needed) in needed {
        let free = facts.storages.get(storage).and_then(|s| s.free_bytes);
        if let Some(free) = free.filter(|free| *free < needed) {
            let storage = storage.to_owned();
            return Err(NoRestore::NoSpace { storage, free: Bytes(free), needed: Bytes(needed) });
        }
    }
    Ok(())
}

fn ending_of_guest(facts: &RestoreFacts, policy: &RestorePolicy, target: VmId) -> Vec<Step> {
    let replaces = facts.present.as_ref().map(|present| present.config_digest.clone());
    let mut steps = vec![
        Action::WriteConfig { vmid: target, kind: facts.kind, node: facts.node.clone(), replaces }
            .step(),
    ];
    if policy.afterwards == Afterwards::Start && facts.firewall.is_ok() {
        steps.push(Action::StartGuest { vmid: target }.because("--start was given"));
    }
    steps
}

/// A damaged firewall file keeps no guest from coming back; but nobody starts one without its rules
/// who does not know it.
fn without_firewall(facts: &RestoreFacts, policy: &RestorePolicy) -> Option<String> {
    let why = facts.firewall.as_ref().err()?;
    let start = match policy.afterwards {
        Afterwards::Start => "therefore --start does not start it: look at its rules first",
        Afterwards::Rest => "look at its rules before it is started",
    };
    Some(format!("the guest's firewall rules cannot be restored: {why}; {start}"))
}

fn ending_of_disks(policy: &RestorePolicy) -> Vec<Step> {
    let rescan = |vmid| {
        Action::RescanVolumes { vmid }.because(format!("guest {vmid} gets them as unused disks"))
    };
    policy.attach.map(rescan).into_iter().collect()
}

fn warnings(facts: &RestoreFacts, target: VmId) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(present) = &facts.present {
        if present.guest.vmid == target {
            warnings.push(format!("the present volumes of guest {target} stay as unused disks"));
        }
    }
    warnings
}
