//! Walks a guest's directory and reads every point. Not for images: they are not opened here.

use super::disk::{Disk, NOTE_LIMIT};
use super::error::{About, RepositoryError};
use super::history::{Debris, History, StoredPoint, Unreadable, UnreadableKind};
use super::layout::{self, GuestNames};
use super::manifest::{Manifest, SEQ_LIMIT, UnreadableManifest};
use super::records::{Attributes, GuestRecord};
use crate::model::{Label, Moment};
use std::io;
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
    let mut scanner = Scanner { disk, names, history: History::default() };
    scanner.history.record = scanner.guest_record(path)?;
    for (dir, label, moment) in point_dirs(disk, path)? {
        scanner.point_dir(&dir, &label, moment)?;
    }
    Ok(scanner.history.settle())
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

fn is_eio(error: &io::Error) -> bool {
    error.raw_os_error() == Some(nix::libc::EIO)
}

fn is_dir(disk: &Disk, path: &Path) -> Result<bool, RepositoryError> {
    Ok(disk.facts(path).about("look at", path)?.is_some_and(|facts| facts.is_dir()))
}

struct Scanner<'a> {
    disk: &'a Disk,
    names: &'a GuestNames,
    history: History,
}

impl Scanner<'_> {
    /// guest.json; a damaged one is rebuilt from the points, so it is no obstacle.
    fn guest_record(&self, path: &Path) -> Result<Option<GuestRecord>, RepositoryError> {
        let file = path.join(layout::GUEST);
        let read = match self.disk.read(&file) {
            // EIO may pass; what comes again is a sector that is lost.
            Err(error) if is_eio(&error) => self.disk.read(&file),
            read => read,
        };
        match read {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            // What is said of this one file, or of its place on the disk, ends no look at all others.
            Err(error) if error.raw_os_error().is_none() || is_eio(&error) => Ok(None),
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
        // Only the certain absence of a manifest makes debris of a directory, and that the listing
        // tells: an NFS client answers for up to a minute from its memory that a name is not there,
        // and reads a directory anew whenever it is opened.
        let listed = self.disk.names(dir).about("look into", dir)?;
        let has = |name: &str| listed.iter().any(|listed| listed == name);
        if !has(layout::MANIFEST) {
            let freeze = self.disk.read_at_most(&dir.join(layout::FREEZE), NOTE_LIMIT).ok();
            let freeze = freeze.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            self.history.debris.push(Debris { path: dir.to_owned(), freeze });
        } else if let Some(manifest) = self.manifest(dir, label, moment) {
            let attributes = match has(layout::ATTRIBUTES) {
                true => self.attributes(dir, &manifest),
                false => Attributes::default(),
            };
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
        let place = (label, moment, self.names.clone());
        let told = (&manifest.label, manifest.time, manifest.guest.names());
        (place != told).then(|| {
            let Manifest { label, time, guest, .. } = manifest;
            let (vmid, cluster) = (guest.vmid, &guest.cluster_name);
            format!("it is the manifest of guest {vmid} of cluster {cluster}, {label} {time}")
        })
    }

    /// The attributes of a point that has some. A point whose attributes cannot be read may be
    /// protected, so it is.
    fn attributes(&mut self, dir: &Path, manifest: &Manifest) -> Attributes {
        let path = dir.join(layout::ATTRIBUTES);
        let why = match self.disk.read(&path) {
            Err(error) => error.to_string(),
            Ok(bytes) => match serde_json::from_slice::<Attributes>(&bytes) {
                Ok(attributes) if attributes.point == Some(manifest.point) => return attributes,
                Ok(_) => "it belongs to another restore point".to_owned(),
                Err(error) => error.to_string(),
            },
        };
        let kind = UnreadableKind::Damaged;
        self.history.unreadable.push(Unreadable { path, why, kind, seq: Some(manifest.seq) });
        Attributes { protected: true, ..Attributes::default() }
    }
}

/// The order that even a manifest of another version tells, unless no point can come after it.
fn seq_of(bytes: &[u8]) -> Option<u64> {
    let value = super::seal::value(bytes).ok()?;
    value.get("seq")?.as_u64().filter(|seq| *seq < SEQ_LIMIT)
}
