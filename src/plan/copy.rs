//! Decides on copying between repositories: which points go over, and in which order; which of the
//! source go then, when they are moved. Pure; it copies nothing.

use super::prune::{StoredFact, name, needed_below, removed};
use super::{Action, CopiedPoint, Item, OnFailure, Plan, PointAction, Step, failure};
use crate::model::{Bytes, ChainId, Guest, ImageId, Label, PointId};
use crate::report::Failure;
use std::collections::BTreeSet;

/// All that copying a guest's points depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyFacts {
    /// The guest.
    pub guest: Guest,
    /// All its points in the source, by `seq`.
    pub source: Vec<StoredFact>,
    /// What cannot be read in the source.
    pub unreadable: Vec<String>,
    /// All its points in the target, by `seq`.
    pub target: Vec<StoredFact>,
    /// Points of both whose copy in the target lacks marks that they have in the source.
    pub unmarked: BTreeSet<PointId>,
    /// Labels that have no chain in the target, or one that the source has, too.
    pub lacks_chain: BTreeSet<Label>,
    /// Labels for which the target has begun no chain of its own, so that it takes the source's.
    pub takes_chain: BTreeSet<Label>,
    /// Why nothing may be added in the target; `None` when it may.
    pub closed: Option<String>,
    /// Bytes that interrupted copies have left in the target.
    pub arrived: u64,
    /// Free bytes in the target.
    pub free_bytes: u64,
}

/// What becomes of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// It stays as it is.
    Stays,
    /// What the target holds, seen whole, goes.
    Moves,
}

/// What the user wants to be copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyPolicy {
    /// Only points of this label, and what they need.
    pub label: Option<Label>,
    /// What becomes of the source.
    pub source: Source,
    /// The first of the chains that labels get, from the random source.
    pub new_chain: ChainId,
}

/// Why nothing of a guest is copied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoCopy {
    /// The target holds what must not be added to.
    #[error("nothing can be added in the target: {0}; nothing was changed")]
    Closed(String),
    /// The target would be full before the end.
    #[error("not enough space in the target: {free} free, {needed} needed; nothing was changed")]
    NoSpace {
        /// What is free.
        free: Bytes,
        /// What the points need that are not there.
        needed: Bytes,
    },
    /// Both repositories went on by themselves, so that no order of their points would be true.
    #[error(
        "{copied} cannot stand in one order with {present}, which only the target holds: both repositories were backed up to; copy into an empty directory; nothing was changed"
    )]
    Conflict {
        /// A point of the source.
        copied: String,
        /// A point of the target.
        present: String,
    },
}

/// Plans the copying of one guest's points.
///
/// # Errors
/// The target cannot take them.
pub fn plan(facts: &CopyFacts, policy: &CopyPolicy) -> Result<Plan, NoCopy> {
    let copied = to_copy(facts, policy);
    refuse(facts, &copied)?;
    let mut warnings: Vec<String> = facts
        .unreadable
        .iter()
        .map(|what| format!("cannot be read in the source: {what}"))
        .collect();
    let mut new_chains = policy.new_chain.and_others();
    let mut steps = chains(facts, &copied, &mut new_chains);
    // Marks are small and go first: a target that is full soon is no reason to leave them behind.
    steps.extend(to_mark(facts, policy).map(mark_step));
    steps.extend(copied.iter().map(|point| copy_step(point)));
    if policy.source == Source::Moves && facts.unreadable.is_empty() {
        let (moved, staying) = moved(facts, policy, &copied);
        steps.extend(moved.iter().filter(|p| !p.hidden).map(|p| verify_step(p)));
        steps.extend(handed_over(facts, &moved, &mut new_chains));
        steps.extend(moved.iter().rev().map(|point| remove_step(facts, point)));
        warnings.extend(staying);
    } else if policy.source == Source::Moves {
        warnings.push("nothing is removed from the source, as not all of it can be read".into());
    }
    let mut items: Vec<Item> = steps.into_iter().map(Item::Step).collect();
    past_damage(&mut items);
    let unread = "something of the source cannot be read; see the warnings".to_owned();
    let unread = (!facts.unreadable.is_empty()).then_some((Failure::Damage, unread));
    Ok(Plan {
        warnings,
        if_interrupted: "every point is whole or not there, and what arrived is not sent again",
        falls_short: unread,
        ..Plan::new(facts.guest.clone(), items)
    })
}

/// A damaged point does not keep the others from being copied; any other failure ends the plan. What
/// takes something from the source needs all that came before.
fn past_damage(items: &mut [Item]) {
    let copies = |step: &Step| {
        matches!(step.action, Action::Point(PointAction::Copy(_) | PointAction::CopyMarks(_)))
    };
    let mut before = Vec::new();
    for (id, step) in failure::steps_mut(items).enumerate() {
        step.on_failure = if copies(step) { OnFailure::PAST_DAMAGE } else { OnFailure::STOP };
        if copies(step) {
            before.push(id);
        } else {
            step.needs.clone_from(&before);
        }
    }
}

/// Points that a user sees and the target lacks, and the points that hold images that those need,
/// by `seq`, so that none goes before what it needs.
fn to_copy<'a>(facts: &'a CopyFacts, policy: &CopyPolicy) -> Vec<&'a StoredFact> {
    let is_there = |id: PointId| facts.target.iter().any(|point| point.id == id);
    let wanted = |p: &&StoredFact| is_meant(p, policy) && !p.hidden && !is_there(p.id);
    let mut chosen: BTreeSet<PointId> =
        facts.source.iter().filter(wanted).map(|point| point.id).collect();
    let present: BTreeSet<ImageId> = images(&facts.target).collect();
    let mut open: Vec<ImageId> =
        facts.source.iter().filter(wanted).flat_map(StoredFact::parents).collect();
    while let Some(image) = open.pop() {
        if present.contains(&image) {
            continue;
        }
        let holder = facts.source.iter().find(|p| p.images.iter().any(|i| i.image == image));
        // One that is there holds it by another image's name: the copy itself will say so.
        let holder = holder.filter(|holder| !is_there(holder.id));
        if let Some(holder) = holder.filter(|holder| chosen.insert(holder.id)) {
            open.extend(holder.parents());
        }
    }
    facts.source.iter().filter(|point| chosen.contains(&point.id)).collect()
}

/// The chains of labels that the copied points bear and that have none in the target: without one of its
/// own the points' would be taken for it, which is the source's.
fn chains(
    facts: &CopyFacts,
    copied: &[&StoredFact],
    new_chains: &mut dyn Iterator<Item = ChainId>,
) -> Vec<Step> {
    let labels: BTreeSet<&Label> = copied.iter().map(|point| &point.label).collect();
    let labels = labels.into_iter().filter(|label| facts.lacks_chain.contains(label));
    let step = |(label, chain): (&Label, ChainId)| {
        let begin = Action::Point(PointAction::BeginChain { label: label.clone(), chain });
        begin.because("the target has none of its own for the label")
    };
    labels.zip(new_chains).map(step).collect()
}

/// Points of both that were marked in the source only. Hidden ones, too: points need their images.
fn to_mark<'a>(
    facts: &'a CopyFacts,
    policy: &'a CopyPolicy,
) -> impl Iterator<Item = &'a StoredFact> {
    facts.source.iter().filter(|p| is_meant(p, policy) && facts.unmarked.contains(&p.id))
}

fn is_meant(point: &StoredFact, policy: &CopyPolicy) -> bool {
    policy.label.as_ref().is_none_or(|label| *label == point.label)
}

fn images(points: &[StoredFact]) -> impl Iterator<Item = ImageId> {
    points.iter().flat_map(|point| point.images.iter().map(|image| image.image))
}

fn refuse(facts: &CopyFacts, copied: &[&StoredFact]) -> Result<(), NoCopy> {
    if copied.is_empty() {
        return Ok(());
    }
    if let Some(why) = &facts.closed {
        return Err(NoCopy::Closed(why.clone()));
    }
    for point in copied {
        if let Some(other) = facts.target.iter().find(|other| contradicts(facts, point, other)) {
            let (copied, present) = (name(point), name(other));
            return Err(NoCopy::Conflict { copied, present });
        }
    }
    let bytes: u64 = copied.iter().map(|point| point.bytes()).sum();
    let needed = bytes.saturating_sub(facts.arrived);
    if needed > facts.free_bytes {
        return Err(NoCopy::NoSpace { free: Bytes(facts.free_bytes), needed: Bytes(needed) });
    }
    Ok(())
}

/// Whether a point that only the target holds stands, by its order, on another side of the copied
/// one than by its date, so that retention would take the older one for the newer.
fn contradicts(facts: &CopyFacts, copied: &StoredFact, other: &StoredFact) -> bool {
    let is_copy = facts.source.iter().any(|point| point.id == other.id);
    let by_order = copied.seq.cmp(&other.seq);
    let by_date = copied.moment.cmp(&other.moment);
    !is_copy && other.label == copied.label && (by_order != by_date || by_order.is_eq())
}

/// What goes from the source once it is in the target: points that the target lists, and hidden
/// ones that nothing needs then. With that, why points stay.
fn moved<'a>(
    facts: &'a CopyFacts,
    policy: &CopyPolicy,
    copied: &[&StoredFact],
) -> (Vec<&'a StoredFact>, Vec<String>) {
    let listed = |p: &StoredFact| facts.target.iter().any(|t| t.id == p.id && !t.hidden);
    let arrives = |p: &StoredFact| copied.iter().any(|c| c.id == p.id) || listed(p);
    let mut staying = Vec::new();
    let mut remaining: Vec<&StoredFact> = Vec::new();
    for point in facts.source.iter().filter(|p| !p.hidden) {
        if is_meant(point, policy) && arrives(point) {
            continue;
        }
        if is_meant(point, policy) {
            let name = name(point);
            staying.push(format!("{name} stays in the source: the target does not list it"));
        }
        remaining.push(point);
    }
    let needed = needed_below(&facts.source, &remaining);
    let is_remaining = |p: &StoredFact| remaining.iter().any(|r| r.id == p.id);
    let mut going = Vec::new();
    // What is hidden and protected is as a person left it; other labels are not asked about.
    let left = |p: &StoredFact| p.hidden && (p.protected || !is_meant(p, policy));
    let untouched = |p: &StoredFact| is_remaining(p) || left(p);
    for point in facts.source.iter().filter(|p| !untouched(p)) {
        match needed.contains(&point.id) {
            false => going.push(point),
            true if point.hidden => {}
            true => staying.push(format!("{} stays in the source: others need it", name(point))),
        }
    }
    (going, staying)
}

/// The chains of labels whose newest point goes: what an increment would follow is in the target
/// then.
fn handed_over(
    facts: &CopyFacts,
    moved: &[&StoredFact],
    new_chains: &mut dyn Iterator<Item = ChainId>,
) -> Vec<Step> {
    let is_newest = |p: &&StoredFact| {
        let later = |o: &StoredFact| o.label == p.label && !o.hidden && o.seq > p.seq;
        !p.hidden && !facts.source.iter().any(later)
    };
    let newest = moved.iter().copied().filter(is_newest).map(|point| &point.label);
    let labels: BTreeSet<&Label> =
        newest.filter(|label| facts.takes_chain.contains(label)).collect();
    let step = |(label, new): (&Label, ChainId)| {
        let hand_over = Action::Point(PointAction::HandOverChain { label: label.clone(), new });
        hand_over.because("the target goes on with it")
    };
    labels.into_iter().zip(new_chains).map(step).collect()
}

fn mark_step(point: &StoredFact) -> Step {
    Action::Point(PointAction::CopyMarks(copied(point)))
        .because("the source's was marked since it was copied")
}

fn copy_step(point: &StoredFact) -> Step {
    let why = if point.hidden { "points that are copied need its images" } else { "" };
    Action::Point(PointAction::Copy(copied(point))).because(why)
}

fn verify_step(point: &StoredFact) -> Step {
    Action::Point(PointAction::VerifyCopy(copied(point))).because("the source's is to go")
}

fn remove_step(facts: &CopyFacts, point: &StoredFact) -> Step {
    let why = if point.hidden { "nothing needs it any more" } else { "it was moved" };
    let point = removed(&facts.source, point);
    Action::Point(PointAction::RemoveMoved(point)).because(why)
}

fn copied(point: &StoredFact) -> CopiedPoint {
    CopiedPoint {
        directory: point.directory.clone(),
        id: point.id,
        label: point.label.clone(),
        moment: point.moment,
        is_hidden: point.hidden,
        bytes: point.bytes(),
    }
}
