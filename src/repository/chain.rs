//! The chain of images that one disk of a point needs, from the base on, and whether it can be the
//! base of the next increment. Not for reading images: links, names and sizes only.

use super::disk::Disk;
use super::history::{History, StoredPoint};
use super::image::{ChainLink, ImageReader};
use super::manifest::ImageEntry;
use crate::model::{DiskKey, ImageId};
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

/// Why the images of a chain do not make a volume.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokenChain {
    /// The point has no image of that disk.
    #[error("restore point {} has no image of {disk}", point.display())]
    NoSuchDisk {
        /// The point's directory.
        point: PathBuf,
        /// The disk.
        disk: DiskKey,
    },
    /// No readable point holds the image that an increment begins at.
    #[error("{} needs image {parent}, which no readable restore point holds", file.display())]
    MissingParent {
        /// The increment's file.
        file: PathBuf,
        /// What it needs.
        parent: ImageId,
    },
    /// The images need each other in a circle.
    #[error("{} needs itself", file.display())]
    Circle {
        /// The file at which the circle was noticed.
        file: PathBuf,
    },
    /// Names or identities of two neighbours contradict each other.
    #[error("{} does not continue {}: {why}", file.display(), parent.display())]
    Mismatch {
        /// The increment's file.
        file: PathBuf,
        /// Its parent's file.
        parent: PathBuf,
        /// What contradicts.
        why: String,
    },
}

/// One image of a chain and the point that holds it.
#[derive(Debug, Clone, Copy)]
pub struct HeldImage<'a> {
    /// The point.
    pub point: &'a StoredPoint,
    /// Its image.
    pub image: &'a ImageEntry,
}

impl HeldImage<'_> {
    /// The image file.
    pub fn path(&self) -> PathBuf {
        self.point.dir.join(&self.image.file)
    }

    pub(super) fn link(&self) -> ChainLink {
        ChainLink {
            path: self.path(),
            digest: self.image.digest,
            from: self.image.from.clone(),
            to: self.image.to.clone(),
        }
    }
}

/// The files that together hold a disk of a point, the base first.
///
/// # Errors
/// The chain has no base, or two neighbours do not fit.
pub fn chain_of(
    history: &History,
    point: &StoredPoint,
    disk: &DiskKey,
) -> Result<Vec<ChainLink>, BrokenChain> {
    Ok(images_of_chain(history, point, disk)?.iter().map(HeldImage::link).collect())
}

/// The same with the manifests' entries.
///
/// # Errors
/// As [`chain_of`].
pub fn images_of_chain<'a>(
    history: &'a History,
    point: &'a StoredPoint,
    disk: &DiskKey,
) -> Result<Vec<HeldImage<'a>>, BrokenChain> {
    let image = point
        .manifest
        .image(disk)
        .ok_or_else(|| BrokenChain::NoSuchDisk { point: point.dir.clone(), disk: disk.clone() })?;
    let mut newest = HeldImage { point, image };
    let (mut chain, mut seen) = (vec![newest], HashSet::from([image.id]));
    while let Some(parent) = newest.image.parent {
        if !seen.insert(parent) {
            return Err(BrokenChain::Circle { file: newest.path() });
        }
        newest = below(history, &newest, parent)?;
        chain.push(newest);
    }
    chain.reverse();
    Ok(chain)
}

/// The image that another one was made on.
fn below<'a>(
    history: &'a History,
    newer: &HeldImage<'_>,
    parent: ImageId,
) -> Result<HeldImage<'a>, BrokenChain> {
    let missing = || BrokenChain::MissingParent { file: newer.path(), parent };
    let (point, own) = history.lookup.holder(&history.points, parent).ok_or_else(missing)?;
    let point = &history.points[point];
    let older = HeldImage { point, image: &point.manifest.images[own] };
    fits(&older, newer)?;
    Ok(older)
}

/// What is known of chains that were walked, so that many points walk what they share once.
#[derive(Debug, Default)]
pub(super) struct Walked(HashMap<ImageId, Option<BrokenChain>>);

impl Walked {
    /// The images of a disk's chain that nobody walked before, the newest first; those of a chain that
    /// breaks, too, with the reason.
    pub(super) fn walk<'a>(
        &mut self,
        history: &'a History,
        newest: HeldImage<'a>,
    ) -> (Vec<HeldImage<'a>>, Option<BrokenChain>) {
        let (mut newest, mut chain, mut own) = (newest, Vec::new(), HashSet::new());
        let broken = loop {
            if let Some(known) = self.0.get(&newest.image.id) {
                break known.clone();
            }
            chain.push(newest);
            own.insert(newest.image.id);
            let Some(parent) = newest.image.parent else { break None };
            if own.contains(&parent) {
                break Some(BrokenChain::Circle { file: newest.path() });
            }
            match below(history, &newest, parent) {
                Ok(older) => newest = older,
                Err(broken) => break Some(broken),
            }
        };
        self.0.extend(own.into_iter().map(|image| (image, broken.clone())));
        (chain, broken)
    }
}

fn fits(older: &HeldImage<'_>, newer: &HeldImage<'_>) -> Result<(), BrokenChain> {
    let mismatch =
        |why: String| Err(BrokenChain::Mismatch { file: newer.path(), parent: older.path(), why });
    if newer.image.from.as_deref() != Some(older.image.to.as_str()) {
        let (from, to) = (newer.image.from.as_deref().unwrap_or("nothing"), &older.image.to);
        return mismatch(format!("it begins at {from}, which ends at {to}"));
    }
    match &newer.image.base_source {
        Some(base) if *base != older.image.source => {
            mismatch(format!("it was made on snapshot {} of {}", base.snapshot, base.volume))
        }
        _ => Ok(()),
    }
}

/// Why a disk of a point is known to be damaged: what checks noted of an image of its chain, or that
/// there is no chain; `None` when nothing is known. Whether its files are whole, it does not ask.
pub fn damage_of_chain(history: &History, point: &StoredPoint, disk: &DiskKey) -> Option<String> {
    match images_of_chain(history, point, disk) {
        Ok(chain) => chain.iter().find_map(noted_damage),
        Err(broken) => Some(broken.to_string()),
    }
}

fn noted_damage(held: &HeldImage<'_>) -> Option<String> {
    let (id, attributes) = (&held.image.id, &held.point.attributes);
    let name = held.path();
    if attributes.failed_images.contains(id) {
        return Some(format!("{} was found damaged", name.display()));
    }
    let audited = attributes.audited.as_ref();
    audited
        .is_some_and(|audited| audited.failed_images.contains(id))
        .then(|| format!("{} was found to differ from its source", name.display()))
}

/// Whether the next increment of a disk may be based on its image in this point: the reason why
/// not, or `None`. Cheap: manifests and sizes; reading the content is `verify`'s work.
pub fn point_usable_as_base(
    fs: &Disk,
    history: &History,
    point: &StoredPoint,
    disk: &DiskKey,
) -> Option<String> {
    BaseCheck::new(fs, history).unusable(point, disk)
}

/// The same question for many points of a history: each image is looked at once, as its index may
/// have many megabytes and lie on another machine.
pub struct BaseCheck<'a> {
    fs: &'a Disk,
    history: &'a History,
    known: HashMap<ImageId, Option<String>>,
}

impl<'a> BaseCheck<'a> {
    /// Knows nothing yet.
    pub fn new(fs: &'a Disk, history: &'a History) -> Self {
        Self { fs, history, known: HashMap::new() }
    }

    /// Why the next increment of a disk may not be based on its image in this point; `None` when it may.
    pub fn unusable(&mut self, point: &StoredPoint, disk: &DiskKey) -> Option<String> {
        if let Some(why) = self.history.forbids_increments() {
            return Some(why);
        }
        match images_of_chain(self.history, point, disk) {
            Err(broken) => Some(broken.to_string()),
            Ok(chain) => chain.iter().find_map(|held| {
                let look =
                    || self.history.lost_attributes(held.point).or_else(|| unusable(self.fs, held));
                self.known.entry(held.image.id).or_insert_with(look).clone()
            }),
        }
    }
}

/// The images of a disk's chain whose indexes are missing, damaged or another image's, of a chain
/// that is usable as a base: they can be made again from the images.
pub fn lost_indexes(history: &History, point: &StoredPoint, disk: &DiskKey) -> Vec<PathBuf> {
    let chain = images_of_chain(history, point, disk).unwrap_or_default();
    chain.iter().filter(|held| has_lost_index(held)).map(HeldImage::path).collect()
}

/// Whether the index beside an image is not this very image's.
pub(super) fn has_lost_index(held: &HeldImage<'_>) -> bool {
    match ImageReader::open_indexed(&held.path()) {
        Ok(Some(reader)) => reader.index().root_digest() != held.image.digest,
        Ok(None) => true,
        Err(_) => false,
    }
}

fn unusable(fs: &Disk, held: &HeldImage<'_>) -> Option<String> {
    let (image, path) = (held.image, held.path());
    let name = path.display();
    if let Some(why) = noted_damage(held) {
        return Some(why);
    }
    match fs.facts(&path) {
        Err(error) => Some(format!("{name} cannot be looked at: {error}")),
        Ok(None) => Some(format!("{name} is missing")),
        Ok(Some(facts)) if facts.len() != image.stored_bytes => {
            let (found, expected) = (facts.len(), image.stored_bytes);
            Some(format!("{name} has {found} bytes instead of {expected}"))
        }
        // Its index may be lost: that is made again from the image before it is based on.
        Ok(Some(_)) => None,
    }
}
