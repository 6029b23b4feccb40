//! Chains of images over points, hidden and missing ones too.

use crate::model::*;
use crate::repository::fixture::*;
use crate::repository::*;
use proptest::prelude::*;
use std::path::PathBuf;

fn history(entries: Vec<ImageEntry>) -> History {
    let point = |entry: ImageEntry| {
        let id = entry.id.0;
        let manifest = Manifest { seq: id, ..manifest(vec![entry]) };
        StoredPoint { manifest, attributes: Attributes::default(), dir: format!("/p{id}").into() }
    };
    History { points: entries.into_iter().map(point).collect(), ..History::default() }
}

fn chain(history: &History, point: usize) -> Result<Vec<PathBuf>, BrokenChain> {
    let disk = "scsi0".parse().unwrap();
    let links = chain_of(history, &history.points[point], &disk)?;
    Ok(links.into_iter().map(|link| link.path).collect())
}

#[test]
fn a_chain_goes_through_hidden_points_down_to_the_base() {
    let mut history = history(vec![image(1, None), image(2, Some(1)), image(3, Some(2))]);
    history.points[1].manifest.state = State::Hidden;
    let paths = chain(&history, 2).unwrap();
    let expected =
        ["/p1/scsi0.base.rbd.zst", "/p2/scsi0.increment.rbd.zst", "/p3/scsi0.increment.rbd.zst"];
    assert_eq!(paths, expected.map(PathBuf::from));
    assert_eq!(
        chain(&history, 0).unwrap(),
        expected[..1].iter().map(PathBuf::from).collect::<Vec<_>>()
    );
}

#[test]
fn many_points_of_one_chain_walk_each_image_once() {
    let entries = (1..=1000).map(|n| image(n, (n > 1).then(|| n - 1)));
    let mut history = history(entries.collect());
    let mut walked = chain::Walked::default();
    let mut walk = |history: &History, point: usize| {
        let point = &history.points[point];
        let newest = HeldImage { point, image: &point.manifest.images[0] };
        let (images, broken) = walked.walk(history, newest);
        (images.len(), broken)
    };
    assert_eq!(walk(&history, 499), (500, None));
    assert_eq!(walk(&history, 999), (500, None));
    assert_eq!(walk(&history, 700), (0, None));
    // A break is the break of every point above it, in the same words.
    history.points.remove(299);
    let mut walked = chain::Walked::default();
    let mut broken = |history: &History, point: usize| {
        let point = &history.points[point];
        let newest = HeldImage { point, image: &point.manifest.images[0] };
        walked.walk(history, newest).1
    };
    let history = History { points: history.points, ..History::default() };
    let first = broken(&history, 299);
    assert!(matches!(first, Some(BrokenChain::MissingParent { parent: ImageId(300), .. })));
    assert_eq!(broken(&history, 900), first);
    assert_eq!(broken(&history, 298), None);
}

#[test]
fn what_needs_an_image_is_all_that_is_on_top_of_it() {
    let mut history = history(vec![
        image(1, None),
        image(2, Some(1)),
        image(3, Some(1)),
        image(4, Some(3)),
        image(5, None),
    ]);
    let needing = |history: &History, n| {
        let found = history.needing(ImageId(n)).into_iter().map(|image| image.0);
        found.collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(needing(&history, 1), [1, 2, 3, 4].into());
    assert_eq!(needing(&history, 3), [3, 4].into());
    assert_eq!(history.needed_by(&history.points[0]), Some(&history.points[1]));
    assert_eq!(history.needed_by(&history.points[3]), None);
    // A point that is added after the first question is found, too.
    let added = self::history(vec![image(6, Some(5))]).points.remove(0);
    history.points.push(added);
    assert_eq!(needing(&history, 5), [5, 6].into());
    assert_eq!(chain(&history, 5).unwrap().len(), 2);
}

#[test]
fn a_chain_follows_images_and_not_disk_keys() {
    let mut history = history(vec![image(1, None), image(2, Some(1))]);
    history.points[0].manifest.images[0].disk = "virtio0".parse().unwrap();
    assert_eq!(chain(&history, 1).unwrap().len(), 2);
}

#[test]
fn a_chain_without_its_parent_is_broken() {
    let history = history(vec![image(2, Some(1))]);
    let error = chain(&history, 0).unwrap_err();
    assert!(matches!(error, BrokenChain::MissingParent { parent: ImageId(1), .. }), "{error}");
    let other = chain_of(&history, &history.points[0], &"scsi1".parse().unwrap());
    assert!(matches!(other, Err(BrokenChain::NoSuchDisk { .. })));
}

#[test]
fn neighbours_that_contradict_each_other_are_no_chain() {
    let mut names = history(vec![image(1, None), image(2, Some(1))]);
    names.points[1].manifest.images[0].from = Some("s9".into());
    assert!(matches!(chain(&names, 1), Err(BrokenChain::Mismatch { .. })));
    let mut identity = history(vec![image(1, None), image(2, Some(1))]);
    identity.points[1].manifest.images[0].base_source =
        Some(SnapshotIdentity { snapshot: "9".into(), ..snapshot(1) });
    assert!(matches!(chain(&identity, 1), Err(BrokenChain::Mismatch { .. })));
    let circle = history(vec![image(1, Some(2)), image(2, Some(1))]);
    assert!(matches!(chain(&circle, 1), Err(BrokenChain::Circle { .. })));
}

#[test]
fn a_point_that_others_need_is_not_deleted_but_hidden() {
    let world = World::new();
    let first = world.point(1, None);
    world.point(2, Some(1));
    let (guest, lock) = (world.guest(), world.lock());
    let error = guest.delete_point(&lock, &first).unwrap_err();
    assert!(matches!(error, RepositoryError::StillNeeded { .. }), "{error:?}");
    guest.hide_point(&lock, &first).unwrap();
    let history = guest.load().unwrap();
    assert_eq!(history.visible().count(), 1);
    assert_eq!(chain(&history, 1).unwrap().len(), 2);
    guest.delete_point(&lock, &history.points[1]).unwrap();
    guest.delete_point(&lock, &history.points[0]).unwrap();
    assert_eq!(guest.load().unwrap().points, []);
}

proptest! {
    /// Whatever stands in the manifests: an error, or a list from a base on whose names link.
    #[test]
    fn a_chain_begins_with_a_base_and_links_or_is_an_error(
        links in prop::collection::vec((0_u64..12, prop::option::of(0_u64..12), 0_u64..14, any::<bool>()), 1..12),
    ) {
        let entries = links.iter().map(|&(id, parent, named, honest)| {
            let entry = image(id, parent);
            let from = parent.map(|parent| format!("s{}", if honest { parent } else { named }));
            ImageEntry { from, ..entry }
        });
        let history = history(entries.collect());
        for point in &history.points {
            let disk = "scsi0".parse().unwrap();
            let Ok(chain) = chain_of(&history, point, &disk) else { continue };
            prop_assert_eq!(&chain[0].from, &None);
            for pair in chain.windows(2) {
                prop_assert_eq!(pair[1].from.as_ref(), Some(&pair[0].to));
            }
            let own = &point.manifest.images[0];
            prop_assert_eq!(&chain[chain.len() - 1].to, &own.to);
        }
    }
}
