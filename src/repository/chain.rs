//! The chain of images that one disk of a point needs, from the base on, and whether it can be the
//! base of the next increment. Not for reading images: links, names and sizes only.

use super::disk::Disk;
use super::history::{History, StoredPoint};
use super::image::{ChainLink, ImageReader};
use super::manifest::ImageEntry;
use crate::model::{DiskKey, ImageId};
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
    let mut chain = vec![HeldImage { point, image }];
    let mut newest = chain[0];
    while let Some(parent) = newest.image.parent {
        if chain.iter().any(|held| held.image.id == parent) {
            return Err(BrokenChain::Circle { file: newest.path() });
        }
        let older = held_image(history, parent)
            .ok_or_else(|| BrokenChain::MissingParent { file: newest.path(), parent })?;
        fits(&older, &newest)?;
        chain.push(older);
        newest = older;
    }
    chain.reverse();
    Ok(chain)
}

fn held_image(history: &History, id: ImageId) -> Option<HeldImage<'_>> {
    let point = history.holder_of(id)?;
    let image = point.manifest.images.iter().find(|image| image.id == id)?;
    Some(HeldImage { point, image })
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
    if let Some(why) = history.forbids_increments() {
        return Some(why);
    }
    let chain = match images_of_chain(history, point, disk) {
        Ok(chain) => chain,
        Err(broken) => return Some(broken.to_string()),
    };
    let unknown = |held: &HeldImage<'_>| history.lost_attributes(held.point);
    chain.iter().find_map(|held| unknown(held).or_else(|| unusable(fs, held)))
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
