//! Decides on a restore: which volumes are made under which names, and what is refused. Pure.

pub use super::drives::{CloudInitDrive, NodeDisk, made_anew};
pub use super::placing::{StorageRules, TargetStorage};
pub use super::replaced::{MOST_UNUSED, PresentGuest};
pub use super::restore_policy::{Afterwards, Existing, RestorePolicy, storage_for};
pub use super::restore_refusal::NoRestore;

use super::damage::{DamageFacts, judge};
use super::guest_config::{self, Identity, Restoration, RestoredVolume, restored_config};
use super::left::{LeftVolume, deletion, going, without_left};
use super::placing::{Placed, place};
use super::shape::{shape_on, striping_lost};
use super::{
    Action, ConfigAction, GuestAction, Item, OnFailure, Plan, Step, TransferAction, VolumeAction,
    drives, failure, replaced,
};
use crate::model::{DiskKey, Guest, GuestKind, SkippedDisk, VmId, VolumeId, VolumeShape};
use crate::pve_config::{GuestConfig, MacPrefix};
use std::collections::BTreeMap;

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
    /// The firewall file that the target's vmid has now, where the guest is restored whole.
    pub present_firewall: Option<String>,
    /// The configuration that the guest had, where it is restored whole; why it cannot be read.
    pub config: Result<String, String>,
    /// How new network addresses begin in this cluster.
    pub mac_prefix: MacPrefix,
    /// The node's own disks that the saved configuration names, where the guest is restored whole.
    pub node_disks: Vec<NodeDisk>,
    /// The cloud-init drives that the point does not hold, where the guest is restored whole.
    pub cloud_init: Vec<CloudInitDrive>,
    /// Whether the cluster's files can be written: there is a quorum, or nobody needs one.
    pub quorate: bool,
    /// The guests whose configurations name volumes of these storages, by the volumes' own names.
    pub owners: BTreeMap<String, VmId>,
    /// The guest that has the target's vmid now, where the guest is restored whole.
    pub present: Option<PresentGuest>,
    /// Whether an interrupted restore of this node has left the target's vmid reserved.
    pub left_reserved: bool,
    /// The guest that is to find the volumes as unused disks, if it is there.
    pub attach: Option<Guest>,
    /// The storages that wanted volumes go to, by id; only those that exist and that we can write to.
    pub storages: BTreeMap<String, TargetStorage>,
    /// What interrupted restores left there.
    pub left: Vec<LeftVolume>,
    /// The node that gets the guest.
    pub node: String,
}

/// Plans a restore.
///
/// # Errors
/// The target is taken, cannot hold the volumes, or the options make no sense together.
pub fn plan(facts: &RestoreFacts, policy: &RestorePolicy) -> Result<Plan, NoRestore> {
    let target = policy.attach.or(policy.target).unwrap_or(facts.vmid);
    let whole = policy.disks.is_empty();
    check_options(policy)?;
    if !facts.quorate && (whole || policy.attach.is_some()) {
        return Err(NoRestore::NoQuorum(facts.node.clone()));
    }
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
    replaced::check(facts, &volumes)?;

    let mut steps = if whole { reservation(facts, policy, target) } else { Vec::new() };
    steps.extend(going(facts).map(deletion));
    steps.extend(volumes.iter().zip(policy.mark.and_others()).map(|((stored, volume), mark)| {
        let (disk, shape) = (stored.disk.clone(), shape_on(stored, volume));
        let (volume, made_as) = (facts.place_of(volume), mark.first_name(target));
        Action::Volume(VolumeAction::Create { disk, volume, made_as, shape }).step()
    }));
    steps.extend(volumes.iter().map(|(stored, volume)| {
        Action::Transfer(TransferAction::Restore {
            disk: stored.disk.clone(),
            volume: facts.place_of(volume),
        })
        .step()
    }));
    steps.extend(if whole {
        ending_of_guest(facts, policy, written_config(facts, policy, &volumes, target)?, target)
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
    let mut items: Vec<Item> = steps.into_iter().map(Item::Step).collect();
    after_restore(&mut items);
    let is_transfer =
        |step: &Step| matches!(step.action, Action::Transfer(TransferAction::Restore { .. }));
    // Single volumes stand for themselves: once all are whole, no later failure takes them away.
    let steps: Vec<&Step> = items.iter().flat_map(Item::steps).collect();
    let last = steps.iter().rposition(|step| is_transfer(step)).filter(|_| !whole);
    let whole_after = last.map(|last| (last, "all volumes are restored"));
    let lasting = if whole { "the guest is restored" } else { "the volumes are restored" };
    let mut warnings = replaced::warnings(facts);
    warnings.extend(drives::warnings(facts, policy, target));
    warnings.extend(volumes.iter().filter_map(|(stored, _)| striping_lost(stored)));
    Ok(Plan { skipped, warnings, not_whole, lasting, whole_after, ..Plan::new(guest, items) })
}

/// What fails when all is restored takes nothing away, and there is no next run that would try again.
fn after_restore(items: &mut [Item]) {
    for step in failure::steps_mut(items) {
        step.asked = match &step.action {
            Action::Guest(GuestAction::Start { .. }) => Some("its start"),
            Action::Guest(GuestAction::RescanVolumes { .. }) => {
                Some("attaching them as unused disks")
            }
            _ => continue,
        };
        step.on_failure = OnFailure::GO_ON;
    }
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
    if present.lock.as_deref() == Some("create") {
        return Err(NoRestore::BeingMade(target, present.guest.node.clone()));
    }
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

/// The volumes of the point that are restored.
pub(super) fn wanted<'a>(
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

/// The vmid is the guest's from the first step on.
fn reservation(facts: &RestoreFacts, policy: &RestorePolicy, target: VmId) -> Vec<Step> {
    let left = facts.left_reserved.then(|| {
        Action::Guest(GuestAction::Release { vmid: target })
            .because("an interrupted restore had reserved it")
    });
    let text = match &facts.present {
        None => format!("#pve-ferry restores guest {target} ({})\nlock: create\n", policy.mark),
        Some(present) => locked(&present.config),
    };
    let node = facts.node.clone();
    let reserve = Action::Guest(GuestAction::Reserve { vmid: target, node, text }).step();
    left.into_iter().chain([reserve]).collect()
}

fn locked(present: &str) -> String {
    let mut config = GuestConfig::parse(present);
    config.set("lock", "create");
    config.to_string()
}

fn ending_of_guest(
    facts: &RestoreFacts,
    policy: &RestorePolicy,
    text: String,
    target: VmId,
) -> Vec<Step> {
    let before = facts.present.as_ref().map(|present| present.config.clone());
    let expected = facts.present.as_ref().map(|present| present.config_digest.clone());
    let changes = match before.as_ref().or(facts.config.as_ref().ok()) {
        Some(before) => guest_config::changes(before, &text),
        None => Vec::new(),
    };
    let mut steps = vec![
        Action::Config(ConfigAction::Write {
            vmid: target,
            kind: facts.kind,
            node: facts.node.clone(),
            expected,
            text,
            changes,
        })
        .step(),
    ];
    if policy.afterwards == Afterwards::Start && rules_kept_back(facts).is_none() {
        steps.push(Action::Guest(GuestAction::Start { vmid: target }).because("--start was given"));
    }
    steps
}

/// The configuration that the guest gets, with the present guest's volumes as unused disks.
fn written_config(
    facts: &RestoreFacts,
    policy: &RestorePolicy,
    placed: &Placed,
    target: VmId,
) -> Result<String, NoRestore> {
    let saved = facts.config.clone().map_err(NoRestore::Config)?;
    let volume = |(stored, volume): &(&StoredVolume, VolumeId)| {
        let restored = RestoredVolume { volume: volume.clone(), size: stored.shape.size };
        (stored.disk.clone(), restored)
    };
    let mut volumes: BTreeMap<_, _> = placed.iter().map(volume).collect();
    volumes.extend(drives::cloud_init_in_place(facts, policy, placed, target));
    let another = policy.makes_another(facts.vmid, target);
    let restoration = Restoration {
        volumes,
        identity: if another { Identity::New } else { Identity::Kept },
        made_anew: made_anew(facts, target),
        mac_prefix: facts.mac_prefix.clone(),
    };
    let mut random = policy.random.iter().copied();
    let config = restored_config(&GuestConfig::parse(&saved), &restoration, &mut random)
        .map_err(|error| NoRestore::Config(error.to_string()))?;
    Ok(replaced::with_unused(config, facts.present.as_ref())?.to_string())
}

/// Why the restored guest has other firewall rules than the saved one: a damaged file keeps no guest
/// from coming back, and another file that stands there is never overwritten.
fn rules_kept_back(facts: &RestoreFacts) -> Option<String> {
    match (&facts.firewall, &facts.present_firewall) {
        (Err(why), _) => Some(why.clone()),
        (Ok(saved), Some(present)) if saved.as_ref() != Some(present) => {
            Some("there is another firewall file of that vmid, which stays".to_owned())
        }
        _ => None,
    }
}

/// Nobody starts a guest without its rules who does not know it.
fn without_firewall(facts: &RestoreFacts, policy: &RestorePolicy) -> Option<String> {
    let why = rules_kept_back(facts)?;
    let start = match policy.afterwards {
        Afterwards::Start => "therefore --start does not start it: look at its rules first",
        Afterwards::Rest => "look at its rules before it is started",
    };
    Some(format!("the guest's firewall rules cannot be restored: {why}; {start}"))
}

fn ending_of_disks(policy: &RestorePolicy) -> Vec<Step> {
    let rescan = |vmid| {
        Action::Guest(GuestAction::RescanVolumes { vmid })
            .because(format!("guest {vmid} gets them as unused disks"))
    };
    policy.attach.map(rescan).into_iter().collect()
}
