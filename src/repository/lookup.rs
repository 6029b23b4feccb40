//! Where each image stands among a guest's points, and what follows it: made once per history, when
//! it is first asked for, so that whoever walks chains does not search all points at each step.

use super::history::StoredPoint;
use crate::model::ImageId;
use std::collections::HashMap;
use std::sync::OnceLock;

/// The place of an image: the number of its point, and its own in that.
pub(super) type Place = (usize, usize);

/// The maps of a history. They follow from its points: equal points have equal ones, and a copy makes
/// its own.
#[derive(Debug, Default)]
pub(crate) struct Lookup(OnceLock<Maps>);

#[derive(Debug)]
struct Maps {
    /// How many points there were: more may be added to a history afterwards.
    points: usize,
    holders: HashMap<ImageId, Place>,
    children: HashMap<ImageId, Vec<Place>>,
}

impl Clone for Lookup {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Lookup {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Lookup {}

impl Lookup {
    /// The first point, in their order, that holds an image.
    pub(super) fn holder(&self, points: &[StoredPoint], image: ImageId) -> Option<Place> {
        let maps = self.maps(points);
        let added = || places(points, maps.points).find(|(_, _, id, _)| *id == image);
        let known = maps.holders.get(&image).copied();
        known.or_else(|| added().map(|(point, own, ..)| (point, own)))
    }

    /// The images made on top of one, in the order of their points.
    pub(super) fn children(&self, points: &[StoredPoint], image: ImageId) -> Vec<Place> {
        let maps = self.maps(points);
        let mut children = maps.children.get(&image).cloned().unwrap_or_default();
        let added = places(points, maps.points).filter(|(.., parent)| *parent == Some(image));
        children.extend(added.map(|(point, own, ..)| (point, own)));
        children
    }

    fn maps(&self, points: &[StoredPoint]) -> &Maps {
        self.0.get_or_init(|| {
            let (mut holders, mut children) = (HashMap::new(), HashMap::<_, Vec<Place>>::new());
            for (point, own, image, parent) in places(points, 0) {
                holders.entry(image).or_insert((point, own));
                if let Some(parent) = parent {
                    children.entry(parent).or_default().push((point, own));
                }
            }
            Maps { points: points.len(), holders, children }
        })
    }
}

/// The images of the points from number `first` on: place, id and parent.
fn places(
    points: &[StoredPoint],
    first: usize,
) -> impl Iterator<Item = (usize, usize, ImageId, Option<ImageId>)> {
    points.iter().enumerate().skip(first).flat_map(|(number, point)| {
        let images = point.manifest.images.iter().enumerate();
        images.map(move |(own, image)| (number, own, image.id, image.parent))
    })
}
