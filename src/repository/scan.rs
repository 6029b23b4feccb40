//! Walks a guest's directory and reads every point, through the cache where that is fresh. Not for
//! images: they are not opened here.

use super::disk::Disk;
use super::error::{About, RepositoryError};
use super::history::{Debris, History, StoredPoint, Unreadable, UnreadableKind};
use super::index_cache::{IndexCache, PointFacts};
use super::layout::{self, GuestNames};
use super::manifest::{Manifest, UnreadableManifest};
use super::records::{Attributes, GuestRecord};
use crate::model::{Label, Moment};
use std::io;
use std::path::{Path, PathBuf};

/// What was found, and the facts of the files behind it.
pub(super) struct Scanned {
    pub(super) history: History,
    pub(super) facts: Vec<(StoredPoint, PointFacts)>,
}

/// Reads everything of one guest; nothing when there is no directory.
pub(super) fn scan(
    disk: &Disk,
    path: &Path,
    names: &GuestNames,
) -> Result<Scanned, RepositoryError> {
    let cache = IndexCache::read(disk, path);
    scan_with(disk, path, names, &cache)
}

/// The same with the truth only: what `verify` looks at.
pub(super) fn scan_uncached(
    disk: &Disk,
    path: &Path,
    names: &GuestNames,
) -> Result<Scanned, RepositoryError> {
    scan_with(disk, path, names, &IndexCache::default())
}

fn scan_with(
    disk: &Disk,
    path: &Path,
    names: &GuestNames,
    cache: &IndexCache,
) -> Result<Scanned, RepositoryError> {
    let mut scanner = Scanner { disk, names, cache, history: History::default(), facts: vec![] };
    scanner.history.record = scanner.guest_record(path)?;
    for (dir, label, moment) in point_dirs(disk, path)? {
        scanner.point_dir(&dir, &label, moment)?;
    }
    Ok(Scanned { history: scanner.history.settle(), facts: scanner.facts })
}

/// All directories of points, with or without a manifest.
fn point_dirs(disk: &Disk, path: &Path) -> Result<Vec<(PathBuf, Label, Moment)>, RepositoryError> {
    let mut found = Vec::new();
    for label in disk.names(path).about("list", path)? {
        let label_dir = path.join(&label);
        if label.parse::<Label>().is_err() || !is_dir(disk, &label_dir)? {
            continue;
        }
        for stamp in disk.names(&label_dir).about("list", &label_dir)? {
            let Some((label, moment)) = layout::point_names(&label, &stamp) else { continue };
            let dir = label_dir.join(stamp);
            if is_dir(disk, &dir)? {
                found.push((dir, label, moment));
            }
        }
    }
    Ok(found)
}

fn is_dir(disk: &Disk, path: &Path) -> Result<bool, RepositoryError> {
    Ok(disk.facts(path).about("look at", path)?.is_some_and(|facts| facts.is_dir()))
}

struct Scanner<'a> {
    disk: &'a Disk,
    names: &'a GuestNames,
    cache: &'a IndexCache,
    history: History,
    facts: Vec<(StoredPoint, PointFacts)>,
}

impl Scanner<'_> {
    /// guest.json; a damaged one is rebuilt from the points, so it is no obstacle.
    fn guest_record(&self, path: &Path) -> Result<Option<GuestRecord>, RepositoryError> {
        let file = path.join(layout::GUEST);
        match self.disk.read(&file) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(RepositoryError::io("read", &file, error)),
        }
    }

    fn point_dir(
        &mut self,
        dir: &Path,
        label: &Label,
        moment: Moment,
    ) -> Result<(), RepositoryError> {
        // Only the certain absence of a manifest makes debris of a directory.
        let Some(facts) = PointFacts::of(self.disk, dir).about("look into", dir)? else {
            let freeze = self.disk.read(&dir.join(layout::FREEZE)).ok();
            let freeze = freeze.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            self.history.debris.push(Debris { path: dir.to_owned(), freeze });
            return Ok(());
        };
        if let Some(point) = self.cache.point(&facts, dir) {
            self.take(point, facts);
        } else if let Some(manifest) = self.manifest(dir, label, moment) {
            let (attributes, whole) = match facts.has_attributes() {
                true => self.attributes(dir, &manifest),
                false => (Attributes::default(), true),
            };
            let point = StoredPoint { manifest, attributes, dir: dir.to_owned() };
            match whole {
                true => self.take(point, facts),
                false => self.history.points.push(point),
            }
        }
        Ok(())
    }

    fn take(&mut self, point: StoredPoint, facts: PointFacts) {
        self.history.points.push(point.clone());
        self.facts.push((point, facts));
    }

    fn manifest(&mut self, dir: &Path, label: &Label, moment: Moment) -> Option<Manifest> {
        let path = dir.join(layout::MANIFEST);
        let (why, bytes) = match self.disk.read(&path) {
            Err(error) => (UnreadableManifest::Damaged(error.to_string()), Vec::new()),
            Ok(bytes) => match Manifest::parse(&bytes) {
                Ok(manifest) => match self.misplaced(&manifest, label, moment) {
                    None => return Some(manifest),
                    Some(why) => (UnreadableManifest::Damaged(why), bytes),
                },
                Err(why) => (why, bytes),
            },
        };
        let (kind, why) = match why {
            UnreadableManifest::Newer(why) => (UnreadableKind::Newer, why),
            UnreadableManifest::Damaged(why) => (UnreadableKind::Damaged, why),
        };
        let seq = seq_of(&bytes);
        self.history.unreadable.push(Unreadable { path, why, kind, seq });
        None
    }

    /// A manifest tells where it belongs; a copy in another place is not believed.
    fn misplaced(&self, manifest: &Manifest, label: &Label, moment: Moment) -> Option<String> {
        let place = (label, moment, &self.names.vmid, &self.names.incarnation);
        let told =
            (&manifest.label, manifest.time, &manifest.guest.vmid, &manifest.guest.incarnation);
        (place != told).then(|| {
            let Manifest { label, time, guest, .. } = manifest;
            format!("it is the manifest of guest {}, {label} {time}", guest.vmid)
        })
    }

    /// The attributes of a point that has some, and whether they are the true ones. A point whose
    /// attributes cannot be read may be protected, so it is.
    fn attributes(&mut self, dir: &Path, manifest: &Manifest) -> (Attributes, bool) {
        let path = dir.join(layout::ATTRIBUTES);
        let why = match self.disk.read(&path) {
            Err(error) => error.to_string(),
            Ok(bytes) => match serde_json::from_slice::<Attributes>(&bytes) {
                Ok(attributes) if attributes.point == Some(manifest.point) => {
                    return (attributes, true);
                }
                Ok(_) => "it belongs to another restore point".to_owned(),
                Err(error) => error.to_string(),
            },
        };
        let kind = UnreadableKind::Damaged;
        self.history.unreadable.push(Unreadable { path, why, kind, seq: Some(manifest.seq) });
        (Attributes { protected: true, ..Attributes::default() }, false)
    }
}

/// The order that even a manifest of another version tells.
fn seq_of(bytes: &[u8]) -> Option<u64> {
    let value: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    value.get("seq")?.as_u64()
}
