//! Which points stand on which, and what the linter judges a removal by: looked up in maps that are
//! made once of the facts. Decides nothing.

use super::RemovedPoint;
use super::prune::StoredFact;
use crate::model::{ImageId, Label, PointId};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The images of a guest's points, by what they follow.
pub(super) struct Links<'a> {
    points: &'a [StoredFact],
    /// The points, by their number, with an image on top of this one.
    children: HashMap<ImageId, Vec<usize>>,
    holders: HashMap<ImageId, usize>,
    /// The newest sound point of each label, and the newest that is whole.
    newest: BTreeSet<PointId>,
}

impl<'a> Links<'a> {
    /// The links of these points.
    pub(super) fn of(points: &'a [StoredFact]) -> Self {
        let (mut children, mut holders) = (HashMap::<_, Vec<usize>>::new(), HashMap::new());
        for (number, point) in points.iter().enumerate() {
            for image in &point.images {
                holders.insert(image.image, number);
                if let Some(parent) = image.parent {
                    children.entry(parent).or_default().push(number);
                }
            }
        }
        Self { points, children, holders, newest: newest(points) }
    }

    /// The other points that stand on this one, in their order.
    pub(super) fn children(&self, point: &StoredFact) -> Vec<PointId> {
        let children = point.images.iter().filter_map(|image| self.children.get(&image.image));
        let numbers: BTreeSet<usize> = children.flatten().copied().collect();
        let ids = numbers.into_iter().map(|number| self.points[number].id);
        ids.filter(|id| *id != point.id).collect()
    }

    /// The other points that this one stands on.
    pub(super) fn parents(&self, point: &StoredFact) -> impl Iterator<Item = &'a StoredFact> {
        let holders = point.parents().filter_map(|parent| self.holders.get(&parent));
        let holders: BTreeSet<usize> = holders.copied().collect();
        let (points, id) = (self.points, point.id);
        holders.into_iter().map(move |number| &points[number]).filter(move |p| p.id != id)
    }

    /// The point with what the linter judges it by. This is read from the facts once more, and not
    /// taken from the decision that the linter is to judge.
    pub(super) fn removed(&self, point: &StoredFact) -> RemovedPoint {
        RemovedPoint {
            directory: point.directory.clone(),
            id: point.id,
            label: point.label.clone(),
            moment: point.moment,
            is_protected: point.protected,
            is_hidden: point.hidden,
            is_newest: self.newest.contains(&point.id),
            needed_by: self.children(point),
            is_named: false,
        }
    }
}

fn newest(points: &[StoredFact]) -> BTreeSet<PointId> {
    let (mut sound, mut whole) = (BTreeMap::new(), BTreeMap::new());
    for point in points.iter().filter(|point| !point.hidden && !point.failed) {
        newer(&mut sound, point);
        if point.missing.is_empty() {
            newer(&mut whole, point);
        }
    }
    sound.into_values().chain(whole.into_values()).map(|(_, id)| id).collect()
}

fn newer<'a>(newest: &mut BTreeMap<&'a Label, (u64, PointId)>, point: &'a StoredFact) {
    let known = newest.entry(&point.label).or_insert((point.seq, point.id));
    if known.0 <= point.seq {
        *known = (point.seq, point.id);
    }
}
