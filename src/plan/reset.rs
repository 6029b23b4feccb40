//! Decides on a reset: which snapshots on a guest's volumes are ours to delete, and why each other
//! one stays. Pure. Not for restore points: none of them is touched, only what increments begin at.
//!
//! A whole name of ours alone proves nothing: two repositories have chains of their own on one
//! volume. So a snapshot goes only when its chain belongs to a guest of this cluster in the
//! repository that the user names, or when the user names the chain itself.

use super::facts::SnapshotFact;
use super::{Action, Item, KeptPoint, OnFailure, Plan, PointAction, VolumeAction, failure};
use crate::model::{ChainId, Guest, Label, SkippedDisk, SnapshotIdentity, SnapshotName, VolumeRef};
use std::collections::BTreeSet;

/// A volume and the snapshots on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResetVolume {
    /// Its id.
    pub volume: VolumeRef,
    /// Its snapshots, oldest first.
    pub snapshots: Vec<SnapshotFact>,
    /// Whether its content is being migrated, so that none of its snapshots may be deleted now.
    pub migrating: bool,
}

/// A chain of the repository that the user named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainFact {
    /// Its id.
    pub chain: ChainId,
    /// The guest that it belongs to, in words.
    pub guest: String,
    /// The snapshots that its restore points were made from.
    pub sources: BTreeSet<SnapshotIdentity>,
}

/// All that a reset of one guest's volumes depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResetFacts {
    /// The guest; of one whose configuration is gone, what the volumes' names tell.
    pub guest: Guest,
    /// Its volumes.
    pub volumes: Vec<ResetVolume>,
    /// Volumes that could not be looked at, or that hold nothing of ours.
    pub skipped: Vec<SkippedDisk>,
    /// The repository that was asked about chains; none when the user named none.
    pub repository: Option<String>,
    /// The chains that it knows, of guests of this cluster.
    pub chains: Vec<ChainFact>,
}

/// What the user wants to be reset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResetPolicy {
    /// Only snapshots of this label.
    pub label: Option<Label>,
    /// Chains that the user says are ours to delete.
    pub chains: BTreeSet<ChainId>,
}

/// Why nothing of a guest is reset. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoReset {
    /// There are snapshots of ours, and neither repository nor chain was named.
    #[error(
        "whose chains are these: {0}? Give the repository of their backups with --path, or --chain and the 8 digits; nothing was changed"
    )]
    WhoseChains(String),
}

/// Plans the reset of one guest's volumes.
///
/// # Errors
/// Nobody said whose chains are meant.
pub fn plan(facts: &ResetFacts, policy: &ResetPolicy) -> Result<Plan, NoReset> {
    refuse_without_owner(facts, policy)?;
    let (mut chains, mut deletions, mut kept) = (BTreeSet::new(), Vec::new(), Vec::new());
    let mut skipped = facts.skipped.clone();
    for volume in &facts.volumes {
        for snapshot in &volume.snapshots {
            match judge(facts, policy, snapshot) {
                Ok(_) if volume.migrating => skipped.push(postponed(volume, snapshot)),
                Ok((chain, reason)) => {
                    chains.insert(chain);
                    deletions.extend(deletion(&volume.volume, snapshot, &reason));
                }
                Err(because) => {
                    let point = format!("{}@{}", volume.volume, snapshot.identity.name);
                    kept.push(KeptPoint { point, because });
                }
            }
        }
    }
    let mut items: Vec<Item> = chains.iter().map(|chain| reset_chain(facts, *chain)).collect();
    items.append(&mut deletions);
    failure::all(&mut items, OnFailure::STOP);
    Ok(Plan { skipped, stays: kept, ..Plan::new(facts.guest.clone(), items) })
}

/// A snapshot that was to go and must not as long as its volume is being migrated.
fn postponed(volume: &ResetVolume, snapshot: &SnapshotFact) -> SkippedDisk {
    SkippedDisk {
        disk: format!("{}@{}", volume.volume, snapshot.identity.name),
        reason: format!("its volume {}: reset it after that", super::old_snapshots::MIGRATING),
        by_configuration: false,
    }
}

/// Whether a snapshot goes, with its chain and the reason, or the reason why it stays.
fn judge(
    facts: &ResetFacts,
    policy: &ResetPolicy,
    snapshot: &SnapshotFact,
) -> Result<(ChainId, String), String> {
    let name = SnapshotName::parse(&snapshot.identity.name).ok_or("it is not ours")?;
    if let Some(label) = policy.label.as_ref().filter(|label| **label != name.label) {
        return Err(format!("its label is {}, not {label}", name.label));
    }
    let known = facts.chains.iter().find(|fact| fact.chain == name.chain);
    if let Some(fact) = known {
        let is_base = fact.sources.contains(&snapshot.identity);
        let base = "it was asked for; the next backup makes a base of this volume";
        let reason = if is_base { base } else { "an interrupted run left it" };
        return Ok((name.chain, reason.to_owned()));
    }
    if policy.chains.contains(&name.chain) {
        return Ok((
            name.chain,
            "its chain was named; the next backup makes a base of this volume".to_owned(),
        ));
    }
    Err(match &facts.repository {
        Some(path) => format!("{path} has no guest of this cluster with chain {}", name.chain),
        None => format!("chain {} was not named", name.chain),
    })
}

/// A look at the chains that are there is no reset: without an owner there is a question.
fn refuse_without_owner(facts: &ResetFacts, policy: &ResetPolicy) -> Result<(), NoReset> {
    if facts.repository.is_some() || !policy.chains.is_empty() {
        return Ok(());
    }
    let names = facts.volumes.iter().flat_map(|volume| {
        let ours = volume.snapshots.iter().map(|snapshot| &snapshot.identity.name);
        let ours = ours.filter(|name| SnapshotName::parse(name).is_some());
        ours.map(|name| format!("{}@{name}", volume.volume))
    });
    let names: Vec<String> = names.collect();
    if names.is_empty() { Ok(()) } else { Err(NoReset::WhoseChains(names.join(", "))) }
}

fn reset_chain(facts: &ResetFacts, chain: ChainId) -> Item {
    let known = facts.chains.iter().find(|fact| fact.chain == chain);
    let reason = match known {
        Some(fact) => format!("it is of {}", fact.guest),
        None => "the user named it".to_owned(),
    };
    Item::Step(Action::Point(PointAction::ResetChain { chain }).because(reason))
}

fn deletion(volume: &VolumeRef, snapshot: &SnapshotFact, reason: &str) -> Vec<Item> {
    let (volume, identity) = (volume.clone(), snapshot.identity.clone());
    let mut items = Vec::new();
    if snapshot.protected {
        let (volume, snapshot) = (volume.clone(), identity.clone());
        let release = Action::Volume(VolumeAction::ReleaseSnapshot { volume, snapshot });
        items.push(Item::Step(release.because("it is to be deleted")));
    }
    let delete = Action::Volume(VolumeAction::DeleteSnapshot { volume, snapshot: identity });
    items.push(Item::Step(delete.because(reason)));
    items
}
