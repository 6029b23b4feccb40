//! Decides on pruning: which points go by the rules of retention, which of those must stay hidden
//! because others need their images, which hidden ones merge. Pure; it removes nothing.

use super::{Action, Item, KeptPoint, Plan, RemovedPoint, Step};
use crate::model::{Guest, ImageId, Label, Moment, PointId};
use crate::retention::{self, Rules, Verdict};
use std::collections::{BTreeMap, BTreeSet};

/// An image as far as removing its point is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredImage {
    /// Its id.
    pub image: ImageId,
    /// The image that it follows; `None` makes it a base.
    pub parent: Option<ImageId>,
}

/// A point in the repository, of whatever label and chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFact {
    /// Its directory, relative to the guest's.
    pub directory: String,
    /// Its id.
    pub id: PointId,
    /// Its label.
    pub label: Label,
    /// Its place in the order of points.
    pub seq: u64,
    /// Its date.
    pub moment: Moment,
    /// Whether the user does not see it any more.
    pub hidden: bool,
    /// Whether a person protected it.
    pub protected: bool,
    /// Whether it was found damaged.
    pub failed: bool,
    /// Its images.
    pub images: Vec<StoredImage>,
}

/// All that pruning a guest depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PruneFacts {
    /// The guest.
    pub guest: Guest,
    /// All its points, by `seq`.
    pub points: Vec<StoredFact>,
    /// Why nothing of this guest may be removed from the repository; `None` when it may.
    pub frozen_repository: Option<String>,
}

/// What the user wants to be pruned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrunePolicy {
    /// Only points of this label; `None` judges each label for itself.
    pub label: Option<Label>,
    /// The rules.
    pub rules: Rules,
    /// The moment of the run, from the wall clock.
    pub now: Moment,
}

/// Plans the pruning of one guest.
pub fn plan(facts: &PruneFacts, policy: &PrunePolicy) -> Plan {
    let pruning = pruning(&facts.points, policy);
    let mut warnings = of_the_future(facts, policy);
    let mut items: Vec<Item> = pruning.steps.into_iter().map(Item::Step).collect();
    if let Some(why) = &facts.frozen_repository {
        warnings.push(format!("nothing of this guest is removed from the repository: {why}"));
        items.clear();
    }
    let (guest, kept) = (facts.guest.clone(), pruning.kept);
    Plan { guest, items, skipped: Vec::new(), warnings, kept }
}

/// What pruning comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruning {
    /// What is hidden and deleted.
    pub steps: Vec<Step>,
    /// What stays, and why.
    pub kept: Vec<KeptPoint>,
}

fn of_the_future(facts: &PruneFacts, policy: &PrunePolicy) -> Vec<String> {
    let is_meant = |p: &&StoredFact| policy.label.as_ref().is_none_or(|label| *label == p.label);
    let future = facts.points.iter().filter(is_meant).filter(|p| p.moment > policy.now);
    let text = |point| {
        format!("point {} is dated in the future: look at the clocks of the nodes", name(point))
    };
    future.map(text).collect()
}

/// Judges the points and orders the steps: points are hidden first, as that loses nothing, then
/// deleted from the newest to the oldest, so that none goes before those on top of it.
pub fn pruning(points: &[StoredFact], policy: &PrunePolicy) -> Pruning {
    let verdicts = verdicts(points, policy);
    let needed = needed(points, &verdicts);
    let mut pruning = Pruning::default();
    for (point, verdict) in points.iter().zip(&verdicts) {
        if let Fate::Stays(why) = verdict {
            pruning.kept.push(KeptPoint { point: name(point), because: why.clone() });
        }
    }
    let goes = |(_, fate): &(&StoredFact, &Fate)| *fate == &Fate::Goes;
    let going = || points.iter().zip(&verdicts).filter(goes).map(|(point, _)| point);
    for point in going().filter(|p| needed.contains(&p.id) && !p.hidden) {
        let action = Action::HidePoint(removed(points, point));
        pruning.steps.push(action.because("no rule keeps it; newer points need its images"));
    }
    for point in going().rev().filter(|p| !needed.contains(&p.id)) {
        let why = if point.hidden { "nothing needs it any more" } else { "no rule keeps it" };
        pruning.steps.push(Action::DeleteRestorePoint(removed(points, point)).because(why));
    }
    if policy.rules.keep.is_some() {
        let order: Vec<&StoredFact> = going().collect();
        for (point, fate) in points.iter().zip(&verdicts) {
            if *fate != Fate::Goes {
                pruning.steps.extend(merge(points, &order, &needed, point));
            }
        }
    }
    pruning
}

/// Merges the hidden increments right below a point into it, and removes them. A base stays, and so
/// does whatever another point stands on; nothing damaged is merged.
fn merge(
    points: &[StoredFact],
    going: &[&StoredFact],
    needed: &BTreeSet<PointId>,
    into: &StoredFact,
) -> Vec<Step> {
    let mut run: Vec<&StoredFact> = Vec::new();
    for below in going.iter().rev().filter(|p| p.seq < into.seq && needed.contains(&p.id)) {
        let fact = removed(points, below);
        let in_line = |id: &PointId| *id == into.id || run.iter().any(|p| p.id == *id);
        let of_ours = fact.needed_by.iter().any(in_line);
        let goes = |id: &PointId| going.iter().any(|p| p.id == *id) && !needed.contains(id);
        let alone = fact.needed_by.iter().all(|id| in_line(id) || goes(id));
        let increments = below.images.iter().all(|image| image.parent.is_some());
        if of_ours && !(alone && increments && !below.failed) {
            break;
        }
        if of_ours {
            run.push(below);
        }
    }
    if run.is_empty() {
        return Vec::new();
    }
    let from = run.iter().rev().map(|p| removed(points, p)).collect();
    let action = Action::MergeImages { into: removed(points, into), from };
    let mut steps = vec![action.because("older increments merge (keep)")];
    let delete = |p: &&StoredFact| Action::DeleteRestorePoint(removed(points, p));
    steps.extend(run.iter().map(|p| delete(p).because("it is merged")));
    steps
}

#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Stays(String),
    /// The user is not to see it any more.
    Goes,
    /// It is of a label that is not asked about: neither told nor touched.
    Untouched,
}

/// Each label is judged for itself; hidden points are gone already and count nowhere.
fn verdicts(points: &[StoredFact], policy: &PrunePolicy) -> Vec<Fate> {
    let is_meant = |point: &StoredFact| policy.label.as_ref().is_none_or(|l| *l == point.label);
    let mut fates: Vec<Fate> = points.iter().map(|point| hidden_fate(point, policy)).collect();
    let labels: BTreeSet<&Label> =
        points.iter().filter(|p| is_meant(p)).map(|p| &p.label).collect();
    for label in labels {
        let of_label = |i: &usize| points[*i].label == *label && !points[*i].hidden;
        let indexes: Vec<usize> = (0..points.len()).filter(of_label).collect();
        let items: Vec<retention::Item> = indexes.iter().map(|i| item(&points[*i])).collect();
        let verdicts = retention::judge(&items, &policy.rules, policy.now);
        for (index, verdict) in indexes.into_iter().zip(verdicts) {
            fates[index] = match verdict {
                Verdict::Keep(why) => Fate::Stays(why),
                Verdict::Remove => Fate::Goes,
            };
        }
    }
    fates
}

/// A hidden point goes once nothing needs it; one that a person protected stays as it is.
fn hidden_fate(point: &StoredFact, policy: &PrunePolicy) -> Fate {
    let other_label = policy.label.as_ref().is_some_and(|label| *label != point.label);
    let goes = point.hidden && !point.protected && !other_label && !policy.rules.is_empty();
    if goes { Fate::Goes } else { Fate::Untouched }
}

fn item(point: &StoredFact) -> retention::Item {
    let is_base = point.images.iter().all(|image| image.parent.is_none());
    let StoredFact { seq, moment, protected, failed, .. } = *point;
    retention::Item { seq, moment, protected, is_base, failed }
}

/// The points whose images hold up a point that stays.
fn needed(points: &[StoredFact], fates: &[Fate]) -> BTreeSet<PointId> {
    let holders: BTreeMap<ImageId, (PointId, Option<ImageId>)> = points
        .iter()
        .flat_map(|p| p.images.iter().map(|image| (image.image, (p.id, image.parent))))
        .collect();
    let staying = points.iter().zip(fates).filter(|(_, fate)| **fate != Fate::Goes);
    let mut open: Vec<ImageId> =
        staying.flat_map(|(p, _)| p.images.iter().filter_map(|image| image.parent)).collect();
    let (mut needed, mut seen) = (BTreeSet::new(), BTreeSet::new());
    while let Some(image) = open.pop() {
        // Circles are damage; they must not keep us here for ever.
        if !seen.insert(image) {
            continue;
        }
        if let Some((point, parent)) = holders.get(&image) {
            needed.insert(*point);
            open.extend(parent);
        }
    }
    needed
}

/// The point with what the linter judges it by. This is read from the facts once more, and not
/// taken from the decision that the linter is to judge.
fn removed(points: &[StoredFact], point: &StoredFact) -> RemovedPoint {
    let whole = |p: &&StoredFact| p.label == point.label && !p.hidden && !p.failed;
    let newest = points.iter().filter(whole).max_by_key(|p| p.seq);
    let is_child = |other: &&StoredFact| {
        let parents = other.images.iter().filter_map(|image| image.parent);
        let own = |parent: ImageId| point.images.iter().any(|image| image.image == parent);
        other.id != point.id && parents.into_iter().any(own)
    };
    RemovedPoint {
        directory: point.directory.clone(),
        id: point.id,
        label: point.label.clone(),
        moment: point.moment,
        is_protected: point.protected,
        is_newest: newest.is_some_and(|newest| newest.id == point.id),
        needed_by: points.iter().filter(is_child).map(|other| other.id).collect(),
    }
}

fn name(point: &StoredFact) -> String {
    format!("{} {}", point.label, point.moment)
}
