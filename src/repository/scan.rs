//! Walks a guest's directory and reads every point. Not for images: they are not opened here.

use super::copies::Copies;
use super::disk::Disk;
use super::error::{About, RepositoryError};
use super::history::{History, StoredPoint, Unreadable, UnreadableKind};
use super::layout::{self, GuestNames};
use super::lost::{Bare, Search};
use super::manifest::{Manifest, UnreadableManifest};
use super::records::{Attributes, GuestRecord};
use crate::model::{Label, Moment};
use std::path::{Path, PathBuf};

/// Reads everything of one guest; nothing when there is no directory.
pub(super) fn scan(
    disk: &Disk,
    path: &Path,
    names: &GuestNames,
) -> Result<History, RepositoryError> {
    if let Some(unreadable) = no_directory(disk, path)? {
        return Ok(History { unreadable: vec![unreadable], ..History::default() });
    }
    let copies = Copies::of(disk, path);
    let (history, bare) = (History::default(), Vec::new());
    let mut scanner = Scanner { disk, names, copies: &copies, history, bare };
    for (dir, label, moment) in point_dirs(disk, path)? {
        scanner.point_dir(&dir, &label, moment)?;
    }
    scanner.guest_record(path);
    let Scanner { mut history, bare, .. } = scanner;
    Search { disk, guest: path, names, copies: &copies }.settle(bare, &mut history);
    Ok(history.settle())
}

/// A guest's directory that is none, or a link to one: what it leads to is none of ours, and that
/// nothing can be read there is not the same as that nothing is there.
fn no_directory(disk: &Disk, path: &Path) -> Result<Option<Unreadable>, RepositoryError> {
    let facts = disk.facts(path).about("look at", path)?;
    let why = match facts {
        Some(facts) if facts.is_symlink() => {
            "it is a symbolic link, which is not followed in a repository"
        }
        Some(facts) if !facts.is_dir() => "it is no directory",
        _ => return Ok(None),
    };
    let (path, why) = (path.to_owned(), why.to_owned());
    Ok(Some(Unreadable { path, why, kind: UnreadableKind::Damaged, seq: None }))
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

fn is_eio(error: &std::io::Error) -> bool {
    error.raw_os_error() == Some(nix::libc::EIO)
}

fn is_dir(disk: &Disk, path: &Path) -> Result<bool, RepositoryError> {
    Ok(disk.facts(path).about("look at", path)?.is_some_and(|facts| facts.is_dir()))
}

struct Scanner<'a> {
    disk: &'a Disk,
    names: &'a GuestNames,
    copies: &'a Copies,
    history: History,
    /// The directories of points that hold no manifest.
    bare: Vec<Bare>,
}

impl Scanner<'_> {
    /// guest.json. One that cannot be read has its sealed copy, or is rebuilt from the points, so that
    /// it is no obstacle; but what it alone knew may be lost.
    fn guest_record(&mut self, guest: &Path) {
        let path = guest.join(layout::GUEST);
        let read = match self.disk.read(&path) {
            // EIO may pass; what comes again is a sector that is lost.
            Err(error) if is_eio(&error) => self.disk.read(&path),
            read => read,
        };
        let read = read.map_err(|error| error.to_string());
        let why = match read.and_then(|bytes| GuestRecord::parse(&bytes)) {
            Ok(record) => {
                self.history.record = Some(record);
                return;
            }
            Err(why) => why,
        };
        self.history.record = self.copies.record(self.disk);
        let is_empty = self.history.points.is_empty() && self.history.unreadable.is_empty();
        if !is_empty {
            let kind = kind_of(self.history.record.is_some());
            self.history.unreadable.push(Unreadable { path, why, kind, seq: None });
        }
    }

    fn point_dir(
        &mut self,
        dir: &Path,
        label: &Label,
        moment: Moment,
    ) -> Result<(), RepositoryError> {
        // Only the certain absence of a manifest makes debris of a directory, and that the listing
        // tells: an NFS client answers for up to a minute from its memory that a name is not there,
        // and reads a directory anew whenever it is opened.
        let listed = self.disk.names(dir).about("look into", dir)?;
        let has = |name: &str| listed.iter().any(|listed| listed == name);
        if !has(layout::MANIFEST) {
            self.bare.extend(Bare::of(self.disk, dir, &listed));
        } else if let Some(manifest) = self.manifest(dir, label, moment) {
            let attributes = match has(layout::ATTRIBUTES) {
                true => self.attributes(dir, &manifest),
                false => self.absent_attributes(dir, &manifest),
            };
            let missing = manifest.images.iter().filter(|image| !has(&image.file));
            self.history.missing.extend(missing.map(|image| dir.join(&image.file)));
            let dir = dir.to_owned();
            self.history.points.push(StoredPoint { manifest, attributes, dir });
        }
        Ok(())
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

    /// The attributes of a point that has some. A point whose attributes cannot be read may be
    /// protected, so it is; what else they said, their sealed copy tells.
    fn attributes(&mut self, dir: &Path, manifest: &Manifest) -> Attributes {
        let path = dir.join(layout::ATTRIBUTES);
        let read = self.disk.read(&path).map_err(|error| error.to_string());
        let why = match read.and_then(|bytes| Attributes::parse(&bytes, manifest.point)) {
            Ok(attributes) => return attributes,
            Err(why) => why,
        };
        let copy = self.copies.attributes(self.disk, manifest.point);
        let kind = kind_of(copy.is_some());
        self.history.unreadable.push(Unreadable { path, why, kind, seq: Some(manifest.seq) });
        Attributes { protected: true, ..copy.unwrap_or_default() }
    }

    /// A point without attributes has none to tell, unless a copy says that they were there: whoever
    /// removed them has not removed the protection.
    fn absent_attributes(&mut self, dir: &Path, manifest: &Manifest) -> Attributes {
        if self.copies.attributes_path(manifest.point).is_none() {
            return Attributes::default();
        }
        let copy = self.copies.attributes(self.disk, manifest.point);
        let (path, kind) = (dir.join(layout::ATTRIBUTES), kind_of(copy.is_some()));
        let why = "it is missing, although the point has had some".to_owned();
        self.history.unreadable.push(Unreadable { path, why, kind, seq: Some(manifest.seq) });
        copy.unwrap_or_else(|| Attributes { protected: true, ..Attributes::default() })
    }
}

fn kind_of(has_copy: bool) -> UnreadableKind {
    if has_copy { UnreadableKind::Copied } else { UnreadableKind::Damaged }
}

/// The order that even a manifest of another version tells.
fn seq_of(bytes: &[u8]) -> Option<u64> {
    let value: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    value.get("seq")?.as_u64()
}
