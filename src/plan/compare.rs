//! Comparing what is stored with the snapshots that it was made from, at a person's wish, and noting what
//! was found: two plans, as with `verify`. A backup's own comparison is a step of its plan. Pure.

use super::verify::{Marks, check, noting};
use super::{Item, Plan, TransferAction};
use crate::model::{DiskKey, Guest, ImageId, Label, Moment, PointId, Share, VolumeId};
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// What of a guest could be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompareFacts {
    /// The guest, as far as its directory's name tells.
    pub guest: Guest,
    /// Its points that a user sees, in any order.
    pub points: Vec<ComparablePoint>,
}

/// A point that could be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComparablePoint {
    /// Its id.
    pub id: PointId,
    /// Its place in the order of the guest's points.
    pub seq: u64,
    /// Its label.
    pub label: Label,
    /// Its moment.
    pub moment: Moment,
    /// The blocks that were compared last in each point of its chain, newest first.
    pub audits: Vec<Share>,
    /// Its images.
    pub images: Vec<ComparableImage>,
}

/// One disk of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComparableImage {
    /// Its key in the point.
    pub disk: DiskKey,
    /// Its image.
    pub image: ImageId,
    /// The volume that it was made from.
    pub volume: VolumeId,
}

/// What the user wants to be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComparePolicy {
    /// Only points of this label.
    pub label: Option<Label>,
    /// Of how many parts of the blocks one is compared; 1 is all.
    pub parts: u64,
}

/// One disk of a point that is compared with its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// The point.
    pub point: PointId,
    /// Its label.
    pub label: Label,
    /// Its moment.
    pub moment: Moment,
    /// The disk's key in the point.
    pub disk: DiskKey,
    /// Its image.
    pub image: ImageId,
    /// The volume that it was made from.
    pub volume: VolumeId,
    /// The blocks that are compared.
    pub share: Share,
}

impl Comparison {
    pub(super) fn words(&self) -> (&'static str, String) {
        let Self { label, moment, disk, volume, share, .. } = self;
        ("compare", format!("{volume}  with {disk} of {label} {moment}  {share}"))
    }
}

/// What comparing one point found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComparedPoint {
    /// Its id.
    pub id: PointId,
    /// Its label.
    pub label: Label,
    /// Its moment.
    pub moment: Moment,
    /// The blocks that were compared.
    pub share: Share,
    /// The disks that are equal to their sources.
    pub equal: Vec<DiskKey>,
    /// The disks that differ from them.
    pub differing: Vec<DiskKey>,
}

impl ComparedPoint {
    pub(super) fn words(&self) -> (&'static str, String) {
        let disks = |disks: &[DiskKey], what: &str| {
            let names: Vec<String> = disks.iter().map(ToString::to_string).collect();
            (!names.is_empty()).then(|| format!("{} {what}", names.join(" ")))
        };
        let parts = [disks(&self.differing, "differing"), disks(&self.equal, "equal")];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        let Self { label, moment, share, .. } = self;
        ("mark comparison", format!("of {label} {moment}  {share}: {}", parts.join(", ")))
    }
}

/// Plans a comparison of the newest point of each label, whose snapshots stay on the volumes. Of a label
/// the points may be of several chains: what is older than its newest has been copied here, or has lost
/// its snapshots. Each time the part of the blocks that follows the last one is taken.
pub fn plan(facts: &CompareFacts, policy: &ComparePolicy) -> Plan {
    let mut labels = BTreeSet::new();
    let mut points: Vec<&ComparablePoint> = facts.points.iter().collect();
    points.sort_by_key(|point| Reverse(point.seq));
    points.retain(|point| {
        policy.label.as_ref().is_none_or(|label| point.label == *label)
            && labels.insert(&point.label)
    });
    let steps = points.into_iter().flat_map(|point| comparisons(point, policy.parts));
    let items = steps.map(|one| Item::Step(check(TransferAction::Compare(one))));
    Plan::new(facts.guest.clone(), items.collect())
}

fn comparisons(point: &ComparablePoint, parts: u64) -> impl Iterator<Item = Comparison> {
    let last = point.audits.iter().find(|share| share.of == parts).copied();
    let share = Share::after(last, parts);
    point.images.iter().map(move |image| Comparison {
        point: point.id,
        label: point.label.clone(),
        moment: point.moment,
        disk: image.disk.clone(),
        image: image.image,
        volume: image.volume.clone(),
        share,
    })
}

/// Plans what is noted of it; none where nothing could be compared.
pub fn mark(guest: Guest, points: Vec<ComparedPoint>) -> Option<Plan> {
    let found = |point: &ComparedPoint| !point.equal.is_empty() || !point.differing.is_empty();
    let marks: Vec<Marks> = points.into_iter().filter(found).map(Marks::Compared).collect();
    (!marks.is_empty()).then(|| noting(guest, marks))
}
