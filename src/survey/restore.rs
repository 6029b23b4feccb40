//! The facts of a restore: which point, what it holds, what is at its target.

use super::damage::damage;
use super::left::Left;
use super::source::RestorePoint;
use crate::model::{ClusterId, Guest, GuestKind, Label, Moment, VmId};
use crate::node::unfinished::{MadeVolume, Reservation};
use crate::plan::restore::{
    CloudInitDrive, NodeDisk, PresentGuest, RestoreFacts, RestorePolicy, StorageRules,
    StoredVolume, TargetStorage, storage_for,
};
use crate::pve::{ConfigVolume, GuestConfig, GuestStatus, NamedVolumes, StorageCfg};
use crate::repository::{GuestDir, History, Repository, StoredPoint, Unreadable};
use crate::storage::{Location, Storage};
use crate::world::World;
use anyhow::Context as _;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Which restore point the user means.
#[derive(Debug, Clone)]
pub struct Sought {
    /// The guest's number.
    pub vmid: VmId,
    /// The label; any when absent.
    pub label: Option<Label>,
    /// The newest point not after this moment; the newest of all when absent.
    pub time: Option<Moment>,
    /// The guest's directory, `<cluster>-<8 hex>/<vmid>-<8 hex>`, when the vmid is not enough.
    pub directory: Option<String>,
}

/// Why no single point is meant.
#[derive(Debug, thiserror::Error)]
pub enum NoPoint {
    /// The repository holds nothing of it.
    #[error("the repository holds no restore point of {0}; `pve-ferry list` shows what it holds")]
    None(String),
    /// The point that is meant may be one that cannot be read.
    #[error(
        "a newer restore point that fits cannot be read: {unreadable}; name an older one with --time {older}, or look at it first; nothing was changed"
    )]
    Unreadable {
        /// What cannot be read.
        unreadable: String,
        /// The newest readable point.
        older: Moment,
    },
    /// The point went while somebody waited for its directory's lock.
    #[error(
        "the point {label} {time} was removed or merged into a newer one meanwhile; the guest's newest points are now: {there}; nothing was changed"
    )]
    Gone {
        /// Its label.
        label: Label,
        /// Its moment.
        time: Moment,
        /// The newest points that are there, in words.
        there: String,
    },
    /// Several guests had that vmid.
    #[error("several guests of the repository had the vmid {0}: choose one with --guest ({1})")]
    Several(VmId, String),
}

/// A restore point and the guest it belongs to.
#[derive(Debug, Clone)]
pub struct SurveyedPoint {
    /// The guest's directory.
    pub directory: GuestDir,
    /// All its points.
    pub history: History,
    /// The point that is meant.
    pub point: StoredPoint,
}

impl SurveyedPoint {
    /// The same point as its directory holds it now. Only what is read under a lock stays.
    ///
    /// # Errors
    /// [`NoPoint::Gone`], or the directory cannot be read.
    pub fn read_again(&self) -> anyhow::Result<Self> {
        let (directory, history) = (self.directory.clone(), self.directory.load()?);
        let Some(point) = history.point(self.point.manifest.point).cloned() else {
            let newest = history.visible().rev().take(NEWEST);
            let names: Vec<String> =
                newest.map(|p| format!("{} {}", p.manifest.label, p.manifest.time)).collect();
            let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            let (label, time) = (self.point.manifest.label.clone(), self.point.manifest.time);
            return Err(NoPoint::Gone { label, time, there }.into());
        };
        Ok(Self { directory, history, point })
    }
}

/// How many points are named to somebody whose point is gone.
const NEWEST: usize = 5;

/// Finds the point that is meant. Among several guests of one vmid those of `here` come first,
/// because a vmid means the guest of this cluster to the person who types it.
///
/// # Errors
/// [`NoPoint`], or the repository cannot be read.
pub fn point(
    repository: &Repository,
    sought: &Sought,
    here: Option<&ClusterId>,
) -> anyhow::Result<SurveyedPoint> {
    let mut found = candidates(repository, sought)?;
    let of_here = |candidate: &SurveyedPoint| {
        candidate.history.record.as_ref().is_some_and(|r| Some(&r.guest.cluster) == here)
    };
    if found.len() > 1 && found.iter().any(of_here) {
        found.retain(of_here);
    }
    if found.len() > 1 {
        let names: Vec<String> = found.iter().map(|f| relative(&f.directory)).collect();
        return Err(NoPoint::Several(sought.vmid, names.join(", ")).into());
    }
    Ok(found.pop().ok_or_else(|| NoPoint::None(described(sought)))?)
}

/// A guest's directory as the user names it.
pub fn relative(directory: &GuestDir) -> String {
    let names = directory.names();
    format!("{}/{}", names.cluster_dir(), names.guest_dir())
}

fn described(sought: &Sought) -> String {
    let label = sought.label.as_ref().map(|l| format!(" with label {l}")).unwrap_or_default();
    let time = sought.time.map(|t| format!(" not after {t}")).unwrap_or_default();
    format!("guest {}{label}{time}", sought.vmid)
}

fn candidates(repository: &Repository, sought: &Sought) -> anyhow::Result<Vec<SurveyedPoint>> {
    let mut found = Vec::new();
    for directory in repository.guests()? {
        let named = sought.directory.as_ref().is_none_or(|name| relative(&directory) == *name);
        if directory.names().vmid != sought.vmid || !named {
            continue;
        }
        let history = directory.load()?;
        let fit = history.visible().filter(|point| fits(point, sought));
        let newest = fit.max_by_key(|point| rank(point, sought)).cloned();
        if let Some(point) = newest {
            refuse_what_hides_newer(&history, &point, sought)?;
            refuse_what_lost_its_manifest(&history, &point, sought)?;
            found.push(SurveyedPoint { directory, history, point });
        }
    }
    Ok(found)
}

/// Whether a point has the label and the moment that are sought.
pub(super) fn fits(point: &StoredPoint, sought: &Sought) -> bool {
    sought.label.as_ref().is_none_or(|label| point.manifest.label == *label)
        && sought.time.is_none_or(|time| point.manifest.time <= time)
}

/// Whoever asks for the newest point must not be given an older one in silence, because the newest
/// cannot be read.
fn refuse_what_hides_newer(
    history: &History,
    point: &StoredPoint,
    sought: &Sought,
) -> Result<(), NoPoint> {
    let newer = |unreadable: &&Unreadable| {
        place(&unreadable.path).is_some_and(|(label, moment)| {
            sought.label.as_ref().is_none_or(|sought| *sought == label)
                && sought.time.is_none_or(|time| moment <= time)
                && moment > point.manifest.time
        })
    };
    match history.unreadable.iter().find(newer) {
        Some(unreadable) => Err(NoPoint::Unreadable {
            unreadable: unreadable.to_string(),
            older: point.manifest.time,
        }),
        None => Ok(()),
    }
}

/// Nor because the newest is gone but for its sealed copy, or because the very directory that is
/// named has no manifest: what an interrupted run left bears a name that nobody was shown.
fn refuse_what_lost_its_manifest(
    history: &History,
    point: &StoredPoint,
    sought: &Sought,
) -> Result<(), NoPoint> {
    let is_meant = |label: &Label, moment: Moment| {
        sought.label.as_ref().is_none_or(|sought| sought == label)
            && sought.time.is_none_or(|time| moment <= time)
            && moment > point.manifest.time
    };
    let gone = history.gone.iter().filter(|gone| !gone.is_hidden());
    let gone = gone.filter(|gone| is_meant(&gone.label, gone.time)).map(|gone| {
        format!(
            "{} {} (its directory is gone; only its sealed copy is there)",
            gone.label, gone.time
        )
    });
    let bare = history.debris.iter().filter(|debris| debris.holds_images);
    let bare = bare.filter(|debris| {
        let named = place(&debris.path);
        named.is_some_and(|(label, time)| sought.time == Some(time) && is_meant(&label, time))
    });
    let bare = bare.map(|debris| format!("{} (it holds no manifest)", debris.path.display()));
    match gone.chain(bare).next() {
        Some(unreadable) => Err(NoPoint::Unreadable { unreadable, older: point.manifest.time }),
        None => Ok(()),
    }
}

/// The label and the moment that a point's directory is named after, of a file in it or its own path.
fn place(path: &Path) -> Option<(Label, Moment)> {
    let stamp = |dir: &Path| Moment::from_stamp(dir.file_name()?.to_str()?).ok();
    let dir = path.ancestors().find(|dir| stamp(dir).is_some())?;
    let label: Option<Label> = dir.parent()?.file_name()?.to_str()?.parse().ok();
    Some((label?, stamp(dir)?))
}

/// Order is `seq`; a moment that the user gave is compared with the points' own moments.
pub(super) fn rank(point: &StoredPoint, sought: &Sought) -> (Moment, u64) {
    let moment = if sought.time.is_some() { point.manifest.time } else { Moment::from_unix(0) };
    (moment, point.manifest.seq)
}

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
    world: &World,
    point: &RestorePoint,
    sought: &Sought,
    policy: &RestorePolicy,
) -> anyhow::Result<SurveyedRestore> {
    let is_whole = policy.disks.is_empty();
    let target = policy.target.unwrap_or(point.vmid());
    // Single volumes leave the guest alone, whose node may be the one that is down.
    let found = world.cluster.find(target)?.filter(|_| is_whole);
    let (present, left_reserved) = match found {
        Some(guest) => present(world, guest).await?,
        None => (None, false),
    };
    let firewall = if is_whole { point.firewall() } else { Ok(None) };
    let volumes = wanted_and_others(point, policy)?;
    let (config, node) = (world.cluster.storage_cfg()?, world.cluster.this_node()?);
    let storages = storages(world, (&config, &node), (point.kind(), &volumes), policy).await?;
    let written = policy.attach.unwrap_or(target);
    let Left { volumes: left, settled } = super::left::left(world, written, &storages).await?;
    // A configuration that cannot be read is refused where it is written.
    let saved = is_whole.then(|| point.config().ok()).flatten();
    let saved = GuestConfig::parse(&saved.unwrap_or_default());
    let facts = RestoreFacts {
        present_firewall: match is_whole {
            true => world.cluster.read_firewall(target)?,
            false => None,
        },
        node_disks: node_disks(&saved),
        cloud_init: unsaved_cloud_init(&saved, &volumes, (&config, &node)),
        quorate: world.cluster.members()?.is_quorate() != Some(false),
        owners: super::left::owners(world, &storages)?,
        vmid: point.vmid(),
        name: point.name(),
        kind: point.kind(),
        volumes,
        skipped: point.skipped(),
        damage: damage(point, sought, &policy.disks),
        firewall: firewall.map_err(|error| format!("{error:#}")),
        present,
        attach: policy.attach.map(|vmid| world.cluster.find(vmid)).transpose()?.flatten(),
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
async fn present(world: &World, guest: Guest) -> anyhow::Result<(Option<PresentGuest>, bool)> {
    let config = world.cluster.read_config(&guest)?;
    let reserved = world.unfinished.reserved(guest.vmid).into_iter();
    let mut reserved = reserved
        .filter(|left| left.text == config && left.node == guest.node && left.kind == guest.kind);
    let (config, is_left) = match reserved.next() {
        Some(Reservation { before: None, .. }) => return Ok((None, true)),
        Some(Reservation { before: Some(before), .. }) => (before, true),
        None => (config, false),
    };
    let parsed = GuestConfig::parse(&config);
    let control = super::control(world, &guest);
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
    world: &World,
    (config, node): (&StorageCfg, &str),
    (kind, volumes): (GuestKind, &[StoredVolume]),
    policy: &RestorePolicy,
) -> anyhow::Result<BTreeMap<String, TargetStorage>> {
    let wanted = volumes.iter().filter(|volume| policy.wants(&volume.disk));
    let wanted: BTreeSet<String> =
        wanted.map(|volume| storage_for(policy, &volume.volume.storage)).collect();
    let mut storages = BTreeMap::new();
    for id in wanted {
        let Some(storage) = world.storages.get(&id) else { continue };
        let rules = rules(config, &id);
        let is_unfit = rules.as_ref().is_some_and(|rules| rules.unfit_for(kind, node).is_some());
        let target = match is_unfit {
            true => TargetStorage { rules, ..TargetStorage::default() },
            false => TargetStorage { rules, ..look_at(storage).await? },
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
    Ok(TargetStorage { volumes, free_bytes, holds, space, rules: None })
}
