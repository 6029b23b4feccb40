//! Automatic snapshots of guests: what is made, what goes, and why, from the facts that PVE tells.
//! Not for snapshots on storages: those belong to backups.
//!
//! Age is PVE's `snaptime`, never the name: a clock that was set back, or an hour that came twice,
//! does not make the newest snapshot the oldest. What was there before a run never outlives the
//! snapshot that the run makes, and that one is never removed by it.

use super::failure::{self, OnFailure};
use super::snapshot_feature::{Feature, refusal};
use super::vmstate::{MemoryFacts, unfit};
use super::{Action, GuestAction, HooksAfter, Item, KeptPoint, Plan, Step};
use crate::model::guest_snapshot::label_in;
use crate::model::{
    Bytes, Guest, GuestKind, GuestSnapshot, Label, Moment, TimestampFormat, VolumeId,
};

/// What PVE tells of a guest, just before its turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotFacts {
    /// The guest.
    pub guest: Guest,
    /// Its state in PVE's words: `running`, `stopped`, `unknown`.
    pub status: String,
    /// Why nobody tells its state; none where somebody does.
    pub unseen: Option<String>,
    /// Whether it is a template.
    pub template: bool,
    /// What it is locked for, if it is.
    pub lock: Option<String>,
    /// Whether PVE may talk to an agent in it; none for a container, which needs none.
    pub agent: Option<bool>,
    /// Its volumes, cd-roms left out.
    pub disks: Vec<DiskFacts>,
    /// Whether PVE can snapshot it with all of them.
    pub feature: Feature,
    /// What its memory needs; none when it has none to save, or PVE does not tell where it goes.
    pub memory: Option<MemoryFacts>,
    /// The entries of its configuration with which PVE saves no memory.
    pub memory_blockers: Vec<String>,
    /// Its snapshots.
    pub snapshots: Vec<GuestSnapshot>,
}

/// One volume of a guest, as far as a snapshot cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskFacts {
    /// Its key.
    pub key: String,
    /// The volume; none for a directory or a device of the node.
    pub volume: Option<VolumeId>,
    /// The type of its storage, where PVE shows it.
    pub plugin: Option<String>,
    /// Bytes used and bytes in all of that storage on the guest's node, where PVE knows.
    pub usage: Option<(u64, u64)>,
}

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotPolicy {
    /// The label.
    pub label: Label,
    /// How times stand in names.
    pub format: TimestampFormat,
    /// How many snapshots of the label stay; all of them without it.
    pub keep: Option<u32>,
    /// The snapshot to make; none when only old ones go.
    pub create: Option<NewSnapshot>,
}

/// The snapshot to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSnapshot {
    /// Its name, which was checked against PVE's form.
    pub name: String,
    /// Whether memory goes into it.
    pub memory: Memory,
    /// Which guests get one.
    pub which: Which,
    /// From how many percent on a storage is too full.
    pub most_percent: u8,
}

/// Whether a machine's memory goes into its snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// It does, for machines that run.
    Included,
    /// It does not.
    LeftOut,
}

/// Which of the selected guests get a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// All.
    All,
    /// Those that run.
    OnlyRunning,
}

/// Why a guest has no plan. Nothing of it was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotRefusal {
    /// It is left out, as it should be.
    #[error("skipped: {0}")]
    Skipped(String),
    /// It should have been done and cannot be.
    #[error("{0}")]
    Failed(String),
}

/// Plans one guest.
///
/// # Errors
/// It is left out or cannot be done, and why.
pub fn plan(facts: &SnapshotFacts, policy: &SnapshotPolicy) -> Result<Plan, SnapshotRefusal> {
    refuse_unseen(facts)?;
    if facts.template {
        return Err(SnapshotRefusal::Skipped("it is a template".to_owned()));
    }
    let mut plan = empty(&facts.guest);
    if let Some(create) = &policy.create {
        may_be_made(facts, create)?;
        refuse_locked(facts)?;
        plan.items.push(Item::Step(creation(facts, create)));
        plan.warnings.extend(advice(facts));
        plan.warnings.extend(unasked(facts));
    }
    retain(facts, policy, &mut plan);
    if plan.steps().any(|step| step.action.destroys()) {
        refuse_locked(facts)?;
    }
    plan.warnings.extend(facts.snapshots.iter().filter_map(unfinished));
    // A snapshot that could not be made removes none, and nothing is removed behind a removal that failed.
    failure::all(&mut plan.items, OnFailure::STOP);
    Ok(plan)
}

/// Plans to put a guest back to one of its snapshots, whoever made it.
///
/// # Errors
/// There is no such snapshot, it is not whole, or the guest is locked or cannot be seen.
pub fn rollback(facts: &SnapshotFacts, name: &str) -> Result<Plan, SnapshotRefusal> {
    refuse_unseen(facts)?;
    refuse_locked(facts)?;
    let found = facts.snapshots.iter().find(|snapshot| snapshot.name == name);
    let snapshot = found.ok_or_else(|| {
        let text =
            format!("it has no snapshot {name:?}; `pve-ferry snapshot list --all` shows them");
        SnapshotRefusal::Failed(text)
    })?;
    if let Some(state) = &snapshot.unfinished {
        let text = format!("the snapshot {name} is not whole (state {state})");
        return Err(SnapshotRefusal::Failed(text));
    }
    let mut plan = empty(&facts.guest);
    let lost = "everything written since is lost";
    plan.items
        .push(Item::Step(Action::Guest(GuestAction::Rollback(snapshot.clone())).because(lost)));
    if facts.status == "running" && !snapshot.has_memory {
        let text = "the guest is stopped, and stays so: the snapshot holds no memory";
        plan.warnings.push(text.to_owned());
    }
    failure::all(&mut plan.items, OnFailure::STOP);
    Ok(plan)
}

/// Whether a snapshot is an automatic one of a label.
pub fn is_own(snapshot: &GuestSnapshot, label: &Label, format: &TimestampFormat) -> bool {
    snapshot.is_described_as_automatic() && label_in(&snapshot.name, format) == Some(label.as_str())
}

/// What to do about a lock, as far as we can know.
pub fn lock_advice(lock: &str) -> &'static str {
    match lock {
        "snapshot-delete" => {
            "; if no task of the guest runs, a removal failed: look at its task log, then `qm unlock` or `pct unlock`, and remove that snapshot again"
        }
        _ => {
            "; it is free again when that task ends, and --lock-wait waits for it; if no task of the guest runs any more, look at its task log, then `qm unlock` or `pct unlock`"
        }
    }
}

fn empty(guest: &Guest) -> Plan {
    Plan { if_interrupted: "nothing is half", ..Plan::new(guest.clone(), Vec::new()) }
}

fn may_be_made(facts: &SnapshotFacts, create: &NewSnapshot) -> Result<(), SnapshotRefusal> {
    if create.which == Which::OnlyRunning && facts.status != "running" {
        let text = format!("it is {}, and --only-running was given", facts.status);
        return Err(SnapshotRefusal::Skipped(text));
    }
    let without: Vec<&str> =
        facts.disks.iter().filter(|d| d.volume.is_none()).map(|d| d.key.as_str()).collect();
    if !without.is_empty() {
        let keys = without.join(", ");
        let text = format!("PVE cannot snapshot a directory or device of the node: {keys}");
        return Err(SnapshotRefusal::Skipped(text));
    }
    if let Some(why) = not_able(facts, create).or_else(|| no_room(facts, create)) {
        return Err(SnapshotRefusal::Failed(why));
    }
    if facts.snapshots.iter().any(|snapshot| snapshot.name == create.name) {
        let text = format!("it has a snapshot {} already", create.name);
        return Err(SnapshotRefusal::Failed(text));
    }
    Ok(())
}

/// Why PVE cannot make this snapshot at all, if it cannot.
fn not_able(facts: &SnapshotFacts, create: &NewSnapshot) -> Option<String> {
    if facts.feature == Feature::Missing {
        return Some(refusal(&facts.guest, &facts.disks));
    }
    if !is_memory_saved(facts, create) {
        return None;
    }
    if !facts.memory_blockers.is_empty() {
        let with = facts.memory_blockers.join(", ");
        return Some(format!(
            "PVE cannot save the memory of a machine with {with}: leave out --state"
        ));
    }
    facts.memory.as_ref().and_then(unfit)
}

/// Why one of the storages has no room, if one has none.
fn no_room(facts: &SnapshotFacts, create: &NewSnapshot) -> Option<String> {
    let of_disk = |disk: &DiskFacts| {
        let storage = disk.volume.as_ref()?.storage.as_str();
        too_full((storage, &disk.key), disk.usage, create.most_percent)
    };
    let of_memory = |memory: &MemoryFacts| {
        let who = (memory.storage.as_str(), "the memory");
        too_full(who, memory.usage, create.most_percent).or_else(|| does_not_fit(memory))
    };
    let memory = facts.memory.as_ref().filter(|_| is_memory_saved(facts, create));
    facts.disks.iter().find_map(of_disk).or_else(|| memory.and_then(of_memory))
}

/// Why a storage is too full, if it is. One without a known size is not.
fn too_full((storage, of): (&str, &str), usage: Option<(u64, u64)>, most: u8) -> Option<String> {
    let (used, total) = usage?;
    let is_more = u128::from(used) * 100 > u128::from(total) * u128::from(most);
    let tenths = u128::from(used) * 1000 / u128::from(total.max(1));
    is_more.then(|| {
        format!(
            "storage {storage} of {of} is {}.{} % full, and the limit is {most} % (--max-perc-storage)",
            tenths / 10,
            tenths % 10
        )
    })
}

fn does_not_fit(memory: &MemoryFacts) -> Option<String> {
    let (used, total) = memory.usage?;
    let free = total.saturating_sub(used);
    (memory.needed > free).then(|| {
        format!(
            "its memory needs {} on storage {} (twice the memory and 500 MiB, as PVE allocates it), which has {} free: make room, set vmstatestorage of the guest, or leave out --state",
            Bytes(memory.needed),
            memory.storage,
            Bytes(free)
        )
    })
}

fn refuse_unseen(facts: &SnapshotFacts) -> Result<(), SnapshotRefusal> {
    if facts.status == "unknown" {
        let why = facts.unseen.as_deref().unwrap_or("its node is offline or does not answer");
        return Err(SnapshotRefusal::Failed(format!("its status is unknown: {why}")));
    }
    Ok(())
}

fn refuse_locked(facts: &SnapshotFacts) -> Result<(), SnapshotRefusal> {
    match &facts.lock {
        Some(lock) => {
            Err(SnapshotRefusal::Failed(format!("it is locked ({lock}){}", lock_advice(lock))))
        }
        None => Ok(()),
    }
}

/// Hooks hear of the new snapshot when the old ones are gone, too: the scripts of cv4pve-autosnap expect
/// that order.
fn creation(facts: &SnapshotFacts, create: &NewSnapshot) -> Step {
    let (name, with_memory) = (create.name.clone(), is_memory_saved(facts, create));
    let step = Action::Guest(GuestAction::CreateSnapshot { name, with_memory }).step();
    Step { hooks_after: HooksAfter::ThePlan, ..step }
}

/// Only a machine that runs has memory to save.
fn is_memory_saved(facts: &SnapshotFacts, create: &NewSnapshot) -> bool {
    let runs = facts.guest.kind == GuestKind::Qemu && facts.status == "running";
    runs && create.memory == Memory::Included
}

fn advice(facts: &SnapshotFacts) -> Option<String> {
    let silent = facts.agent == Some(false) && facts.status == "running";
    silent.then(|| {
        "no guest agent is enabled: file systems are not frozen while the snapshot is made"
            .to_owned()
    })
}

fn unasked(facts: &SnapshotFacts) -> Option<String> {
    let Feature::Unclear(why) = &facts.feature else { return None };
    Some(format!(
        "PVE did not say whether it can snapshot all disks: {why}; the task itself refuses"
    ))
}

/// The newest of the label stay, the new one among them; the others go, oldest first.
fn retain(facts: &SnapshotFacts, policy: &SnapshotPolicy, plan: &mut Plan) {
    let Some(keep) = policy.keep else { return };
    let is_own = |s: &&GuestSnapshot| is_own(s, &policy.label, &policy.format);
    let mut own: Vec<&GuestSnapshot> = facts.snapshots.iter().filter(is_own).collect();
    own.retain(|snapshot| snapshot.unfinished.is_none());
    own.sort_by(|a, b| (a.taken, &a.name).cmp(&(b.taken, &b.name)));
    let new = usize::from(policy.create.is_some());
    let room = usize::try_from(keep).unwrap_or(usize::MAX).saturating_sub(new);
    let (old, kept) = own.split_at(own.len().saturating_sub(room));
    for snapshot in old {
        let action = Action::Guest(GuestAction::DeleteSnapshot((*snapshot).clone()));
        plan.items.push(Item::Step(action.because(format!("keep {keep}"))));
    }
    plan.kept.extend(kept.iter().map(|snapshot| KeptPoint {
        point: format!("{}  of {}", snapshot.name, Moment::from_unix(snapshot.taken)),
        because: format!("keep {keep}"),
    }));
}

fn unfinished(snapshot: &GuestSnapshot) -> Option<String> {
    let state = snapshot.unfinished.as_ref()?;
    Some(format!("snapshot {} is not finished (state {state}); it is left alone", snapshot.name))
}
