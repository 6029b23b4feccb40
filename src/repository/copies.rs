//! The sealed copies in `manifests/` of what must not be lost: of each point's manifest and
//! attributes, and of guest.json. `repair` puts back from them. They never make a point exist, and
//! are not read while the files that they are copies of are whole.

use super::disk::Disk;
use super::error::{About, RepositoryError};
use super::files;
use super::layout;
use super::manifest::{Manifest, UnreadableManifest};
use super::records::{Attributes, GuestRecord};
use crate::model::PointId;
use std::path::{Path, PathBuf};

/// The copies of one guest, by the listing of their directory.
#[derive(Debug, Clone)]
pub(super) struct Copies {
    dir: PathBuf,
    names: Vec<String>,
}

impl Copies {
    /// Lists them; none where an older version wrote the guest's directory. A directory that cannot
    /// be listed holds none for us: what they are copies of may be whole.
    pub(super) fn of(disk: &Disk, guest: &Path) -> Self {
        let dir = guest.join(layout::COPIES);
        let names = disk.names(&dir).unwrap_or_default();
        Self { dir, names }
    }

    /// The points that there are copies of manifests of.
    pub(super) fn points(&self) -> impl Iterator<Item = PointId> {
        self.names.iter().filter_map(|name| name.strip_suffix(".json")?.parse().ok())
    }

    /// Where the copy of a point's manifest is, whether it is there or not.
    pub(super) fn manifest_path(&self, point: PointId) -> PathBuf {
        self.dir.join(manifest_name(point))
    }

    /// Reads the copy of a point's manifest.
    pub(super) fn manifest(
        &self,
        disk: &Disk,
        point: PointId,
    ) -> Result<Manifest, UnreadableManifest> {
        let damaged = |why: String| UnreadableManifest::Damaged(why);
        let bytes = disk.read(&self.manifest_path(point)).map_err(|e| damaged(e.to_string()))?;
        let manifest = Manifest::parse(&bytes)?;
        match manifest.point == point {
            true => Ok(manifest),
            false => Err(damaged(format!("it is the manifest of point {}", manifest.point))),
        }
    }

    /// Where the copy of a point's attributes is, when it is there.
    pub(super) fn attributes_path(&self, point: PointId) -> Option<PathBuf> {
        let name = attributes_name(point);
        self.names.contains(&name).then(|| self.dir.join(name))
    }

    /// The copy of a point's attributes, when it is there and whole.
    pub(super) fn attributes(&self, disk: &Disk, point: PointId) -> Option<Attributes> {
        let bytes = disk.read(&self.attributes_path(point)?).ok()?;
        Attributes::parse(&bytes, point).ok()
    }

    /// The copy of guest.json, when it is there and whole.
    pub(super) fn record(&self, disk: &Disk) -> Option<GuestRecord> {
        let bytes = disk.read(&self.dir.join(layout::GUEST)).ok()?;
        GuestRecord::parse(&bytes).ok()
    }
}

fn manifest_name(point: PointId) -> String {
    format!("{point}.json")
}

fn attributes_name(point: PointId) -> String {
    format!("{point}.attributes.json")
}

/// Where the copy of a point's manifest stands.
pub(super) fn manifest_path(guest: &Path, point: PointId) -> PathBuf {
    guest.join(layout::COPIES).join(manifest_name(point))
}

/// Writes the copy of a point's manifest, which is `text`.
pub(super) fn write_manifest(
    disk: &Disk,
    guest: &Path,
    point: PointId,
    text: &str,
) -> Result<(), RepositoryError> {
    write(disk, guest, &manifest_name(point), text)
}

/// Writes the copy of a point's attributes.
pub(super) fn write_attributes(
    disk: &Disk,
    guest: &Path,
    point: PointId,
    text: &str,
) -> Result<(), RepositoryError> {
    write(disk, guest, &attributes_name(point), text)
}

/// Writes the copy of guest.json.
pub(super) fn write_record(disk: &Disk, guest: &Path, text: &str) -> Result<(), RepositoryError> {
    write(disk, guest, layout::GUEST, text)
}

fn write(disk: &Disk, guest: &Path, name: &str, text: &str) -> Result<(), RepositoryError> {
    let dir = guest.join(layout::COPIES);
    files::ensure_dir(disk, &dir)?;
    files::replace(disk, &dir.join(name), text.as_bytes())
}

/// Says that a copy could not be written. What it is a copy of is whole: nothing failed that anybody
/// asked for.
pub(super) fn not_written(result: Result<(), RepositoryError>) {
    if let Err(error) = result {
        tracing::warn!("a sealed copy is not up to date: {:#}", anyhow::Error::from(error));
    }
}

/// Removes the copies of a point, durably: before its manifest goes, as a copy without the point
/// says that the point was lost.
pub(super) fn remove(disk: &Disk, guest: &Path, point: PointId) -> Result<(), RepositoryError> {
    let dir = guest.join(layout::COPIES);
    let listed = disk.names(&dir).about("list", &dir)?;
    let own = [manifest_name(point), attributes_name(point)];
    let mut removed = false;
    for name in own.iter().filter(|name| listed.contains(name)) {
        files::remove_if_there(disk, &dir.join(name))?;
        removed = true;
    }
    match removed {
        true => disk.fsync_dir(&dir).about("fsync", &dir),
        false => Ok(()),
    }
}

/// Removes the copy that a commit left which was cut off before its rename: word for word what the
/// directory holds as the manifest's draft. Such a point never existed.
pub(super) fn remove_uncommitted(
    disk: &Disk,
    guest: &Path,
    dir: &Path,
) -> Result<(), RepositoryError> {
    match uncommitted(disk, guest, dir) {
        Some(point) => remove(disk, guest, point),
        None => Ok(()),
    }
}

/// The id of the point whose commit was cut off in this directory between its copy and its rename.
pub(super) fn uncommitted(disk: &Disk, guest: &Path, dir: &Path) -> Option<PointId> {
    let draft = disk.read(&dir.join(layout::MANIFEST_TMP)).ok()?;
    let point = Manifest::parse(&draft).ok()?.point;
    let copy = disk.read(&manifest_path(guest, point)).ok()?;
    (copy == draft).then_some(point)
}
