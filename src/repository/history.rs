//! All that a guest's directory holds, as values, and the questions that are answered from it
//! alone. Not for reading it from disk: that is `guest_dir.rs`.

use super::chain::{BrokenChain, images_of_chain};
use super::layout::GuestKey;
use super::lookup::Lookup;
use super::manifest::Manifest;
use super::records::{Attributes, GuestRecord};
use crate::model::{ChainId, DiskKey, ImageId, Label, PointId};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;

/// A restore point as it stands in the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPoint {
    /// What it contains.
    pub manifest: Manifest,
    /// What changed since its commit.
    pub attributes: Attributes,
    /// Its directory.
    pub dir: PathBuf,
}

impl StoredPoint {
    /// Whether nothing may remove it.
    pub fn is_protected(&self) -> bool {
        self.attributes.protected
    }
}

/// Why something in a guest's directory could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnreadableKind {
    /// A later version wrote it: no increments are made on this guest's points, nothing is removed.
    Newer,
    /// It is damaged: nothing is removed from this guest until a person has looked.
    Damaged,
    /// It is damaged, and its whole sealed copy is believed in its place; otherwise as damaged.
    Copied,
}

/// A point, or a file of it, that could not be read. It exists, and is treated as protected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The file or directory.
    pub path: PathBuf,
    /// Why it could not be read.
    pub why: String,
    /// Damaged, or of a later version.
    pub kind: UnreadableKind,
    /// Its order, where even a damaged file tells it: no new point may come before it.
    pub seq: Option<u64>,
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.path.display(), self.why)
    }
}

/// What a run that did not finish left: a point's directory without a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Debris {
    /// The directory.
    pub path: PathBuf,
    /// Whether image files of ours stand there: in a repository of an early version it may be a point
    /// that lost its manifest.
    pub holds_images: bool,
}

/// Everything of one guest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// The guest; rebuilt from the newest points where guest.json is missing or damaged.
    pub record: Option<GuestRecord>,
    /// The restore points, hidden ones too, by `seq`.
    pub points: Vec<StoredPoint>,
    /// What could not be read.
    pub unreadable: Vec<Unreadable>,
    /// What unfinished runs left.
    pub debris: Vec<Debris>,
    /// Where images stand among the points.
    pub(crate) lookup: Lookup,
    /// Image files that manifests name and their directories do not list.
    pub missing: Vec<PathBuf>,
    /// The manifests of points of which only the sealed copy is there: the directory is gone.
    pub gone: Vec<Manifest>,
}

impl History {
    /// The restore points that a user sees.
    pub fn visible(&self) -> impl DoubleEndedIterator<Item = &StoredPoint> {
        self.points.iter().filter(|point| !point.manifest.is_hidden())
    }

    /// The newest point of a label, hidden or not, by order and not by clock.
    pub fn newest(&self, label: &Label) -> Option<&StoredPoint> {
        self.points.iter().rev().find(|point| point.manifest.label == *label)
    }

    /// A point by its id.
    pub fn point(&self, id: PointId) -> Option<&StoredPoint> {
        self.points.iter().find(|point| point.manifest.point == id)
    }

    /// The point that holds an image.
    pub fn holder_of(&self, image: ImageId) -> Option<&StoredPoint> {
        self.lookup.holder(&self.points, image).map(|(point, _)| &self.points[point])
    }

    /// All images that need one, by their ids, and the one itself: what is on top of it, and on top of
    /// that.
    pub(super) fn needing(&self, image: ImageId) -> HashSet<ImageId> {
        let (mut needing, mut open) = (HashSet::new(), vec![image]);
        while let Some(image) = open.pop() {
            if needing.insert(image) {
                let children = self.lookup.children(&self.points, image).into_iter();
                open.extend(
                    children.map(|(point, own)| self.points[point].manifest.images[own].id),
                );
            }
        }
        needing
    }

    /// The chain of a label, as guest.json or else the newest point tells.
    pub fn chain(&self, label: &Label) -> Option<ChainId> {
        self.record.as_ref()?.chains.get(label).copied()
    }

    /// The order of the next point: after everything that is there, readable or not, and after
    /// what is gone: a copy of it may stand elsewhere, which the next point comes after.
    pub fn next_seq(&self) -> u64 {
        let readable = self.points.iter().map(|point| point.manifest.seq);
        let damaged = self.unreadable.iter().filter_map(|unreadable| unreadable.seq);
        let gone = self.record.iter().map(|record| record.last_seq);
        let gone = gone.chain(self.gone.iter().map(|manifest| manifest.seq));
        readable.chain(damaged).chain(gone).max().unwrap_or_default().saturating_add(1)
    }

    /// Why nothing may be removed from this guest: something in it cannot be read, and it may need
    /// whatever would be removed; or an image that a point needs is missing, and whatever would mend
    /// that must not go, nor the points that can still be restored.
    pub fn forbids_removal(&self) -> Option<String> {
        if let Some(first) = self.unreadable.first() {
            return Some(format!("{} cannot be read ({})", first.path.display(), first.why));
        }
        if let Some(first) = self.missing.first() {
            return Some(format!("{} is missing", first.display()));
        }
        self.needs_what_is_gone().map(|broken| broken.to_string())
    }

    /// Whether something is damaged or missing, and not only of a later version.
    pub fn is_damaged(&self) -> bool {
        let damaged = |unreadable: &Unreadable| unreadable.kind != UnreadableKind::Newer;
        self.unreadable.iter().any(damaged)
            || !self.missing.is_empty()
            || self.needs_what_is_gone().is_some()
    }

    /// Whether no disk of a point can be restored, as each of their chains lacks an image.
    pub(super) fn is_beyond_restore(&self, point: &StoredPoint) -> bool {
        let is_broken = |disk: &DiskKey| match images_of_chain(self, point, disk) {
            Ok(chain) => chain.iter().any(|held| self.missing.contains(&held.path())),
            Err(_) => true,
        };
        let images = &point.manifest.images;
        !images.is_empty() && images.iter().all(|image| is_broken(&image.disk))
    }

    /// The first image that follows one which no readable point holds.
    pub fn needs_what_is_gone(&self) -> Option<BrokenChain> {
        let images =
            || self.points.iter().flat_map(|p| p.manifest.images.iter().map(move |i| (p, i)));
        let held: BTreeSet<ImageId> = images().map(|(_, image)| image.id).collect();
        let orphan = images().find(|(_, image)| image.parent.is_some_and(|p| !held.contains(&p)));
        orphan.and_then(|(point, image)| {
            let (file, parent) = (point.dir.join(&image.file), image.parent?);
            Some(BrokenChain::MissingParent { file, parent })
        })
    }

    /// Why nobody knows whether a point's images were found damaged: what was noted of it is lost.
    pub(super) fn lost_attributes(&self, point: &StoredPoint) -> Option<String> {
        let path = point.dir.join(super::layout::ATTRIBUTES);
        let lost = |u: &&Unreadable| u.kind == UnreadableKind::Damaged && u.path == path;
        let lost = self.unreadable.iter().find(lost)?;
        Some(format!("{} cannot be read ({})", lost.path.display(), lost.why))
    }

    /// Why the next point must be a base for every volume: a later version has worked here, and
    /// what it means by its points is not known.
    pub fn forbids_increments(&self) -> Option<String> {
        let newer = |unreadable: &&Unreadable| unreadable.kind == UnreadableKind::Newer;
        let first = self.unreadable.iter().find(newer)?;
        Some(format!("{} cannot be read ({})", first.path.display(), first.why))
    }

    /// The first other point with an increment on top of one of this point's images.
    pub fn needed_by(&self, point: &StoredPoint) -> Option<&StoredPoint> {
        self.others_on(point).into_iter().next()
    }

    /// All other points with an increment on top of one of this point's images, in their order.
    pub(super) fn others_on(&self, point: &StoredPoint) -> Vec<&StoredPoint> {
        let children = |image: &super::ImageEntry| self.lookup.children(&self.points, image.id);
        let children = point.manifest.images.iter().flat_map(children);
        let others = children.filter(|(other, _)| self.points[*other].dir != point.dir);
        let numbers: BTreeSet<usize> = others.map(|(other, _)| other).collect();
        numbers.into_iter().map(|other| &self.points[other]).collect()
    }

    /// Puts points in order, and where guest.json is not readable, rebuilds it from them: losing
    /// a chain's id would orphan its snapshots.
    pub(crate) fn settle(mut self) -> Self {
        self.points.sort_by_key(|p| (p.manifest.seq, p.manifest.time, p.manifest.point));
        if self.record.is_none() {
            self.record = self.points.last().map(|newest| rebuilt_record(&self.points, newest));
        }
        if let Some(record) = &mut self.record {
            for point in self.points.iter().rev() {
                let Manifest { label, chain, .. } = &point.manifest;
                record.chains.entry(label.clone()).or_insert(*chain);
            }
        }
        self
    }
}

fn rebuilt_record(points: &[StoredPoint], newest: &StoredPoint) -> GuestRecord {
    let Manifest { guest, kind, name, .. } = &newest.manifest;
    let chain = |point: &StoredPoint| (point.manifest.label.clone(), point.manifest.chain);
    let chains: BTreeMap<Label, ChainId> = points.iter().map(chain).collect();
    let guest: GuestKey = guest.clone();
    let (name, other) = (name.clone(), serde_json::Map::new());
    GuestRecord { guest, kind: *kind, name, chains, last_seq: 0, other }
}
