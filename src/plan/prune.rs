//! Decides on pruning: which points go by the rules of retention, which of those must stay hidden
//! because others need their images, which hidden ones merge. Pure; it removes nothing.

use super::links::Links;
use super::{Action, Item, KeptPoint, OnFailure, Plan, PointAction, RemovedPoint, Step, failure};
use crate::model::{Guest, ImageId, Label, Moment, PointId};
use crate::report::Failure;
use crate::retention::{self, Rules, Share, Verdict};
use std::collections::{BTreeMap, BTreeSet};

/// An image as far as removing its point is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredImage {
    /// Its id.
    pub image: ImageId,
    /// The image that it follows; `None` makes it a base.
    pub parent: Option<ImageId>,
    /// Its bytes in the repository.
    pub bytes: u64,
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
    /// The disks that it should hold and that could not be saved.
    pub missing: Vec<String>,
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
    /// Whether that is damage; if not, a later version wrote there.
    pub is_damaged: bool,
    /// The points, by their directories, in which an interrupted merge left files.
    pub leftovers: Vec<String>,
}

/// What the user wants to be pruned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrunePolicy {
    /// Only points of this label; `None` judges each label for itself.
    pub label: Option<Label>,
    /// The rules.
    pub rules: Rules,
    /// The point that this run is about to make, if it makes one.
    pub new: Option<PointId>,
    /// The moment of the run, from the wall clock.
    pub now: Moment,
}

/// Plans the pruning of one guest.
pub fn plan(facts: &PruneFacts, policy: &PrunePolicy) -> Plan {
    let mut pruning = pruning(&facts.points, policy);
    let mut warnings = of_the_future(facts, policy);
    warnings.extend(incomplete(facts, policy));
    let steps = sweep(&facts.leftovers).into_iter().chain(pruning.steps);
    let mut items: Vec<Item> = steps.map(Item::Step).collect();
    let nothing_goes = nothing_goes(facts);
    if let Some(text) = &nothing_goes {
        warnings.push(text.clone());
        items.clear();
        pruning.stopped.clear();
    }
    failure::all(&mut items, OnFailure::STOP);
    Plan {
        warnings,
        kept: pruning.kept,
        not_removed: pruning.stopped,
        if_interrupted: "nothing is half",
        if_damaged: "`verify --mark` notes which points that costs, and no backup goes on with it",
        falls_short: nothing_goes.map(|text| not_pruned(&text, facts.is_damaged)),
        ..Plan::new(facts.guest.clone(), items)
    }
}

fn nothing_goes(facts: &PruneFacts) -> Option<String> {
    let why = facts.frozen_repository.as_ref()?;
    Some(format!("nothing of this guest is removed from the repository: {why}"))
}

/// A guest of which nothing may be removed was not pruned, whatever its plan comes to.
fn not_pruned(text: &str, is_damaged: bool) -> (Failure, String) {
    match is_damaged {
        true => (Failure::Damage, format!("{text}; `verify` tells what that costs")),
        false => (Failure::Other, format!("{text}; prune with the version that wrote it")),
    }
}

/// What pruning comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruning {
    /// What is hidden and deleted.
    pub steps: Vec<Step>,
    /// What stays, and why.
    pub kept: Vec<KeptPoint>,
    /// The rules that were stopped, each with its label and the reason.
    pub stopped: Vec<String>,
}

/// The step that removes what an interrupted merge left, when it left something.
pub(super) fn sweep(points: &[String]) -> Option<Step> {
    let action = || Action::Point(PointAction::SweepLeftovers { points: points.to_owned() });
    (!points.is_empty()).then(|| action().because("an interrupted merge left files there"))
}

fn of_the_future(facts: &PruneFacts, policy: &PrunePolicy) -> Vec<String> {
    let is_meant = |p: &&StoredFact| policy.label.as_ref().is_none_or(|label| *label == p.label);
    let future =
        facts.points.iter().filter(is_meant).filter(|p| p.moment.is_in_the_future(policy.now));
    let text = |point| {
        format!("point {} is dated in the future: look at the clocks of the nodes", name(point))
    };
    future.map(text).collect()
}

/// A word for each label whose newest point lacks a disk: while that goes on, nothing makes room.
fn incomplete<'a>(
    facts: &'a PruneFacts,
    policy: &'a PrunePolicy,
) -> impl Iterator<Item = String> + 'a {
    let is_meant = |p: &&StoredFact| policy.label.as_ref().is_none_or(|label| *label == p.label);
    let shown = facts.points.iter().filter(is_meant).filter(|p| !p.hidden);
    let newest: BTreeMap<&Label, &StoredFact> = shown.map(|p| (&p.label, p)).collect();
    let lacking = newest.into_values().filter(|p| !p.missing.is_empty());
    lacking.filter(|_| !policy.rules.is_empty()).map(|point| {
        format!(
            "point {} lacks {}, which could not be saved: such points take no older one's place. Mend the disk's \
             storage, or exclude the disk with backup=0",
            name(point),
            point.missing.join(", ")
        )
    })
}

/// Judges the points and orders the steps: what nothing needs is deleted first, as hiding and
/// merging write and a full file system has no room for that, from the newest to the oldest, so
/// that none goes before those on top of it; then points are hidden, and what is hidden merges.
pub fn pruning(points: &[StoredFact], policy: &PrunePolicy) -> Pruning {
    let (fates, stopped) = verdicts(points, policy);
    let needed = needed(points, &fates);
    let links = Links::of(points);
    let kept = points.iter().zip(&fates).filter_map(|(point, fate)| {
        Some(KeptPoint { point: name(point), because: fate.why()?.to_owned() })
    });
    let goes = |(_, fate): &(&StoredFact, &Fate)| *fate == &Fate::Goes;
    let going: Vec<&StoredFact> =
        points.iter().zip(&fates).filter(goes).map(|(point, _)| point).collect();
    let going_ids: BTreeSet<PointId> = going.iter().map(|point| point.id).collect();
    let fold = policy.rules.fold;
    let merging = Merging { links: &links, going: &going_ids, needed: &needed, fold };
    let merges: Vec<Merge<'_>> =
        points.iter().zip(&fates).filter_map(|(into, fate)| merging.merge(into, fate)).collect();
    let mut steps = Vec::new();
    // A base that is folded now stays in sight until then: should that fail, it is a point still.
    let folded: BTreeSet<PointId> = merges.iter().filter_map(Merge::folds).collect();
    let is_folded = |point: &StoredFact| folded.contains(&point.id);
    for point in going.iter().rev().filter(|p| !needed.contains(&p.id)) {
        let why = if point.hidden { "nothing needs it any more" } else { "no rule keeps it" };
        steps.push(Action::Point(PointAction::Delete(links.removed(point))).because(why));
    }
    for point in going.iter().filter(|p| needed.contains(&p.id) && !p.hidden && !is_folded(p)) {
        let action = Action::Point(PointAction::Hide(links.removed(point)));
        steps.push(action.because("no rule keeps it; newer points need its images"));
    }
    steps.extend(merges.iter().flat_map(|merge| merge.steps(&links)));
    Pruning { steps, kept: kept.collect(), stopped }
}

/// What is known when merges are looked for.
struct Merging<'a> {
    links: &'a Links<'a>,
    /// The points that go.
    going: &'a BTreeSet<PointId>,
    needed: &'a BTreeSet<PointId>,
    fold: Option<Share>,
}

/// Points that merge into one that stays.
struct Merge<'a> {
    into: &'a StoredFact,
    /// The newest first.
    from: Vec<&'a StoredFact>,
    because: String,
}

impl<'a> Merging<'a> {
    /// The increments right below a point that stays merge into it. What another point stands on
    /// does not, nor anything damaged; a base only when it is to be folded.
    fn merge(&self, into: &'a StoredFact, fate: &Fate) -> Option<Merge<'a>> {
        fate.why()?;
        let mut from: Vec<&StoredFact> = Vec::new();
        let mut because = "older increments merge".to_owned();
        let mut line = BTreeSet::from([into.id]);
        let mut open: BTreeMap<(u64, PointId), &StoredFact> = self.below(into, into).collect();
        while let Some((_, below)) = open.pop_last() {
            let children = self.links.children(below);
            let in_line = |id: &PointId| line.contains(id);
            let alone = children.iter().all(|id| in_line(id) || self.is_deleted(*id));
            let increments = below.images.iter().all(|image| image.parent.is_some());
            let share = self.fold.filter(|share| self.is_due(*share, below, &from, (into, fate)));
            if !alone || below.failed || !(increments || share.is_some()) {
                break;
            }
            from.push(below);
            line.insert(below.id);
            open.extend(self.below(below, into));
            if let Some(share) = share {
                because = format!("older increments exceed {share} of the base (fold)");
                break;
            }
        }
        (!from.is_empty()).then_some(Merge { into, from, because })
    }

    /// What a point stands on, of what may merge into `into`.
    fn below(
        &self,
        point: &StoredFact,
        into: &StoredFact,
    ) -> impl Iterator<Item = ((u64, PointId), &'a StoredFact)> {
        let (links, limit) = (self.links, into.seq);
        let (going, needed) = (self.going, self.needed);
        let fits =
            move |p: &&StoredFact| p.seq < limit && going.contains(&p.id) && needed.contains(&p.id);
        links.parents(point).filter(fits).map(|p| ((p.seq, p.id), p))
    }

    /// Whether it is gone before anything merges.
    fn is_deleted(&self, id: PointId) -> bool {
        self.going.contains(&id) && !self.needed.contains(&id)
    }

    /// Whether a base is folded: retention said so, or it is hidden and what stands on it exceeds
    /// the share.
    fn is_due(
        &self,
        share: Share,
        base: &StoredFact,
        above: &[&StoredFact],
        (into, fate): (&StoredFact, &Fate),
    ) -> bool {
        let bytes = above.iter().map(|p| p.bytes()).sum::<u64>() + into.bytes();
        let exceeded = base.hidden && share.is_exceeded(bytes, base.bytes());
        base.is_base() && (exceeded || matches!(fate, Fate::Folds(_)))
    }
}

impl Merge<'_> {
    /// The base that is folded; it is the last one.
    fn folds(&self) -> Option<PointId> {
        self.from.iter().find(|from| from.is_base()).map(|from| from.id)
    }

    fn steps(&self, links: &Links<'_>) -> Vec<Step> {
        let from = self.from.iter().rev().map(|p| links.removed(p)).collect();
        let action = Action::Point(PointAction::Merge { into: links.removed(self.into), from });
        let mut steps = vec![action.because(self.because.clone())];
        let delete = |p: &&StoredFact| Action::Point(PointAction::Delete(links.removed(p)));
        steps.extend(self.from.iter().map(|p| delete(p).because("it is merged")));
        steps
    }
}

impl StoredFact {
    fn is_base(&self) -> bool {
        self.images.iter().all(|image| image.parent.is_none())
    }

    pub(super) fn bytes(&self) -> u64 {
        self.images.iter().map(|image| image.bytes).sum()
    }

    /// The images that its own ones follow.
    pub(super) fn parents(&self) -> impl Iterator<Item = ImageId> {
        self.images.iter().filter_map(|image| image.parent)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Stays(String),
    /// It stays, and the base below goes into it.
    Folds(String),
    /// The user is not to see it any more.
    Goes,
    /// It is of a label that is not asked about: neither told nor touched.
    Untouched,
}

impl Fate {
    /// The rule by which it stays.
    fn why(&self) -> Option<&str> {
        match self {
            Self::Stays(why) | Self::Folds(why) => Some(why),
            Self::Goes | Self::Untouched => None,
        }
    }
}

/// Each label is judged for itself; hidden points are gone already and count nowhere. Beside the fates,
/// the rules that were stopped.
fn verdicts(points: &[StoredFact], policy: &PrunePolicy) -> (Vec<Fate>, Vec<String>) {
    let is_meant = |point: &StoredFact| policy.label.as_ref().is_none_or(|l| *l == point.label);
    let mut fates: Vec<Fate> = points.iter().map(|point| hidden_fate(point, policy)).collect();
    let mut stopped = Vec::new();
    let labels: BTreeSet<&Label> =
        points.iter().filter(|p| is_meant(p)).map(|p| &p.label).collect();
    for label in labels {
        let of_label = |i: &usize| points[*i].label == *label && !points[*i].hidden;
        let indexes: Vec<usize> = (0..points.len()).filter(of_label).collect();
        let item = |i: &usize| item(&points[*i], policy);
        let items: Vec<retention::Item> = indexes.iter().map(item).collect();
        let judgement = retention::judge(&items, &policy.rules, policy.now);
        stopped.extend(judgement.stopped.map(|why| format!("retention of {label}: {why}")));
        for (index, verdict) in indexes.into_iter().zip(judgement.verdicts) {
            fates[index] = match verdict {
                Verdict::Keep(why) => Fate::Stays(why),
                Verdict::Fold(why) => Fate::Folds(why),
                Verdict::Remove => Fate::Goes,
            };
        }
    }
    (fates, stopped)
}

/// A hidden point goes once nothing needs it; one that a person protected stays as it is.
fn hidden_fate(point: &StoredFact, policy: &PrunePolicy) -> Fate {
    let other_label = policy.label.as_ref().is_some_and(|label| *label != point.label);
    let goes = point.hidden && !point.protected && !other_label && !policy.rules.is_empty();
    if goes { Fate::Goes } else { Fate::Untouched }
}

fn item(point: &StoredFact, policy: &PrunePolicy) -> retention::Item {
    let (is_base, bytes, is_new) = (point.is_base(), point.bytes(), policy.new == Some(point.id));
    let incomplete = !point.missing.is_empty();
    let StoredFact { seq, moment, protected, failed, .. } = *point;
    retention::Item { seq, moment, protected, is_base, failed, incomplete, is_new, bytes }
}

/// The points whose images hold up a point that stays.
fn needed(points: &[StoredFact], fates: &[Fate]) -> BTreeSet<PointId> {
    let staying = points.iter().zip(fates).filter(|(_, fate)| **fate != Fate::Goes);
    needed_below(points, &staying.map(|(point, _)| point).collect::<Vec<_>>())
}

/// The points whose images these points need.
pub(super) fn needed_below(points: &[StoredFact], staying: &[&StoredFact]) -> BTreeSet<PointId> {
    let holders: BTreeMap<ImageId, (PointId, Option<ImageId>)> = points
        .iter()
        .flat_map(|p| p.images.iter().map(|image| (image.image, (p.id, image.parent))))
        .collect();
    let mut open: Vec<ImageId> = staying.iter().flat_map(|point| point.parents()).collect();
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

/// The point with what the linter judges it by; for many points, [`Links`] is made once.
pub(super) fn removed(points: &[StoredFact], point: &StoredFact) -> RemovedPoint {
    Links::of(points).removed(point)
}

pub(super) fn name(point: &StoredFact) -> String {
    format!("{} {}", point.label, point.moment)
}
