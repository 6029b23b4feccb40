//! Puts back what can be made again: a manifest and attributes from their sealed copies, an index
//! from its image. Nothing is put back that was not checked, and no image is ever removed here.

use super::chain::{HeldImage, has_lost_index};
use super::copies::{self, Copies};
use super::error::{About, RepositoryError};
use super::files;
use super::guest_dir::GuestDir;
use super::history::{History, StoredPoint, Unreadable, UnreadableKind};
use super::image::index_path;
use super::layout;
use super::lock::Lock;
use super::lost::point_dir;
use super::manifest::{Manifest, UnreadableManifest};
use super::records::Attributes;
use super::verify_image;
use crate::model::PointId;
use std::io;
use std::path::{Path, PathBuf};

/// How what is put back is read before.
pub struct Mending<'a> {
    /// Threads that decode and digest.
    pub threads: usize,
    /// Told bytes of image files as they are read; an error stops the reading.
    pub progress: &'a (dyn Fn(u64) -> io::Result<()> + Sync),
}

impl GuestDir {
    /// Where a manifest that cannot be read might be put back from, the best first: the draft that a
    /// rewrite left when it was cut off, which is the newer one, and the sealed copy. Without any,
    /// why there is none.
    pub fn sources_of_manifest(&self, dir: &Path) -> Result<Vec<Manifest>, String> {
        let disk = self.disk();
        let copies = Copies::of(disk, self.path());
        let is_of_dir = |manifest: &Manifest| {
            let guest = (&manifest.guest.vmid, &manifest.guest.incarnation);
            point_dir(self.path(), &manifest.label, manifest.time) == dir
                && guest == (&self.names().vmid, &self.names().incarnation)
        };
        let draft = disk.read(&dir.join(layout::MANIFEST_TMP)).ok();
        let draft = draft.and_then(|bytes| Manifest::parse(&bytes).ok());
        let copied = copies.points().filter_map(|id| copies.manifest(disk, id).ok());
        let mut found: Vec<Manifest> = draft.into_iter().chain(copied).filter(is_of_dir).collect();
        found.dedup();
        match found.is_empty() {
            true => Err("there is no whole sealed copy of it".to_owned()),
            false => Ok(found),
        }
    }

    /// Puts the manifest of a point back that is missing or damaged, once all that it names is there
    /// and is what it says; every image is read whole for that.
    ///
    /// # Errors
    /// No exclusive lock; no source of it fits the files, each with its reason; or the file system
    /// fails. The point is as before then.
    pub fn put_manifest_back(
        &self,
        lock: &Lock,
        dir: &Path,
        mending: &Mending<'_>,
    ) -> Result<StoredPoint, RepositoryError> {
        lock.confirm(self.path())?;
        let path = dir.join(layout::MANIFEST);
        let damaged = |why: String| RepositoryError::Damaged { path: path.clone(), why };
        if let Some(why) = self.is_of_a_later_version(&path) {
            return Err(damaged(why));
        }
        let mut reasons = Vec::new();
        for manifest in self.sources_of_manifest(dir).map_err(damaged)? {
            let attributes = Attributes::default();
            let point = StoredPoint { manifest, attributes, dir: dir.to_owned() };
            match self.misfit(&point, mending)? {
                Some(why) => reasons.push(why),
                None => {
                    lock.confirm(self.path())?;
                    self.write_back(&point)?;
                    return Ok(point);
                }
            }
        }
        reasons.dedup();
        Err(damaged(format!("it cannot be put back: {}", reasons.join("; "))))
    }

    fn is_of_a_later_version(&self, path: &Path) -> Option<String> {
        let bytes = self.disk().read(path).ok()?;
        match Manifest::parse(&bytes) {
            Err(UnreadableManifest::Newer(why)) => Some(why),
            _ => None,
        }
    }

    /// What of a point's files is not what a manifest says.
    fn misfit(
        &self,
        point: &StoredPoint,
        mending: &Mending<'_>,
    ) -> Result<Option<String>, RepositoryError> {
        for image in &point.manifest.images {
            let held = HeldImage { point, image };
            let findings = verify_image::content(&held, mending.threads, mending.progress)?;
            (mending.progress)(0).about("read", &held.path())?;
            if let Some(lost) = findings.into_iter().find(|finding| finding.costs.points()) {
                return Ok(Some(format!("{}: {}", lost.file.display(), lost.what)));
            }
        }
        Ok(None)
    }

    /// Writes a manifest beside its point and renames it, under a name of its own: as the draft of a
    /// commit it would be taken for one that was never done.
    fn write_back(&self, point: &StoredPoint) -> Result<(), RepositoryError> {
        let (disk, dir) = (self.disk(), &point.dir);
        let (path, draft) = (dir.join(layout::MANIFEST), dir.join(layout::MANIFEST_MENDED));
        let json = |source| RepositoryError::Json { path: path.clone(), source };
        let text = point.manifest.text().map_err(json)?;
        files::remove_if_there(disk, &draft)?;
        files::write_new(disk, &draft, text.as_bytes())?;
        disk.rename(&draft, &path).about("rename to", &path)?;
        disk.fsync_dir(dir).about("fsync", dir)?;
        copies::write_manifest(disk, self.path(), point.manifest.point, &text)?;
        files::remove_if_there(disk, &dir.join(layout::MANIFEST_TMP))
    }

    /// The images whose index is missing, damaged or another image's, as far as the image itself has
    /// its length; and the images that are missing or have another one, each with what is wrong.
    ///
    /// # Errors
    /// The file system does not answer.
    pub fn lost_images(
        &self,
        history: &History,
    ) -> Result<(Vec<PathBuf>, Vec<String>), RepositoryError> {
        let (mut indexes, mut wrong) = (Vec::new(), Vec::new());
        for point in &history.points {
            for image in &point.manifest.images {
                let held = HeldImage { point, image };
                match verify_image::wrong_length(&held)? {
                    Some(finding) => {
                        wrong.push(format!("{}: {}", finding.file.display(), finding.what))
                    }
                    None if has_lost_index(&held) => indexes.push(held.path()),
                    None => {}
                }
            }
        }
        Ok((indexes, wrong))
    }

    /// Makes the index of an image again by reading the image.
    ///
    /// # Errors
    /// No exclusive lock; no point names the file or the image is damaged
    /// ([`RepositoryError::Damaged`]); or the file system fails.
    pub fn rebuild_index(&self, lock: &Lock, image: &Path) -> Result<(), RepositoryError> {
        lock.confirm(self.path())?;
        let damaged = |why: String| RepositoryError::Damaged { path: image.to_owned(), why };
        let history = self.load()?;
        let mut all = history.points.iter().flat_map(|point| {
            point.manifest.images.iter().map(move |i| HeldImage { point, image: i })
        });
        let held = all.find(|held| held.path() == image);
        let held = held.ok_or_else(|| damaged("no restore point names it".to_owned()))?;
        let reader = verify_image::scanned(&held)?.map_err(|lost| damaged(lost.what))?;
        let mut bytes = Vec::new();
        let path = index_path(image);
        reader.index().write(&mut bytes).about("make", &path)?;
        lock.confirm(self.path())?;
        files::replace_any(self.disk(), &path, &bytes)
    }

    /// Writes the attributes of a point again as they are believed: from their sealed copy, or, where
    /// there is none, protecting the point.
    ///
    /// # Errors
    /// No exclusive lock, or the file system fails.
    pub fn put_attributes_back(&self, lock: &Lock, point: PointId) -> Result<(), RepositoryError> {
        lock.confirm(self.path())?;
        let history = self.load()?;
        let Some(point) = history.point(point) else { return Ok(()) };
        self.set_attributes(lock, point, &point.attributes)
    }

    /// Writes guest.json again as it is believed: from its sealed copy, or as the points tell.
    ///
    /// # Errors
    /// No exclusive lock, or the file system fails.
    pub fn put_record_back(&self, lock: &Lock) -> Result<(), RepositoryError> {
        lock.confirm(self.path())?;
        match self.load()?.record {
            Some(record) => self.save_record(lock, &record),
            None => Ok(()),
        }
    }

    /// The points whose sealed copy is missing, damaged or not that of the manifest that is there.
    pub fn wrong_copies(&self, history: &History) -> Vec<PointId> {
        let copies = Copies::of(self.disk(), self.path());
        let is_right = |point: &&StoredPoint| {
            let copy = copies.manifest(self.disk(), point.manifest.point);
            copy.is_ok_and(|copy| copy == point.manifest)
        };
        let points = history.points.iter().filter(|point| !is_right(point));
        points.map(|point| point.manifest.point).collect()
    }

    /// The sealed copies of readable points that are there and damaged, each with what is wrong.
    pub(super) fn damaged_copies(&self, history: &History) -> Vec<(PathBuf, String)> {
        let copies = Copies::of(self.disk(), self.path());
        let of_points = copies.points().filter(|id| history.point(*id).is_some());
        let damage = |id: PointId| match copies.manifest(self.disk(), id) {
            Err(UnreadableManifest::Damaged(why)) => {
                Some((copies.manifest_path(id), format!("{why}; `repair` writes it again")))
            }
            _ => None,
        };
        of_points.filter_map(damage).collect()
    }

    /// Writes the sealed copies of these points again.
    ///
    /// # Errors
    /// No exclusive lock, or the file system fails.
    pub fn write_copies(&self, lock: &Lock, points: &[PointId]) -> Result<(), RepositoryError> {
        lock.confirm(self.path())?;
        let history = self.load()?;
        let known = points.iter().filter_map(|id| history.point(*id));
        known.into_iter().try_for_each(|point| self.copy_manifest(point))
    }

    /// Writes the sealed copies that points of early versions have none of.
    pub(super) fn write_missing_copies(&self, history: &History) -> Result<(), RepositoryError> {
        let copies = Copies::of(self.disk(), self.path());
        let has_copy: std::collections::BTreeSet<PointId> = copies.points().collect();
        let lack = history.points.iter().filter(|p| !has_copy.contains(&p.manifest.point));
        lack.into_iter().try_for_each(|point| self.copy_manifest(point))
    }

    /// Removes the sealed copies of a point whose directory is gone and that nothing needs: it is
    /// lost, and no more is to be said of it.
    ///
    /// # Errors
    /// No exclusive lock; the point is there, or needed; or the file system fails.
    pub fn forget_gone(&self, lock: &Lock, point: PointId) -> Result<(), RepositoryError> {
        lock.confirm(self.path())?;
        let history = self.load()?;
        let is_gone = history.gone.iter().any(|gone| gone.point == point);
        if !is_gone || history.needs_what_is_gone().is_some() {
            let why = format!("point {point} is there, or something needs it");
            return Err(RepositoryError::RemovalForbidden { path: self.path().to_owned(), why });
        }
        copies::remove(self.disk(), self.path(), point)
    }
}

impl Unreadable {
    /// Whether it is the manifest of a point that is damaged, so that it may be put back.
    pub fn is_lost_manifest(&self) -> bool {
        self.kind == UnreadableKind::Damaged && self.path.ends_with(layout::MANIFEST)
    }

    /// Whether it is a point's attributes.
    pub fn is_attributes(&self) -> bool {
        self.path.ends_with(layout::ATTRIBUTES)
    }

    /// Whether it is guest.json.
    pub fn is_record(&self) -> bool {
        self.path.ends_with(layout::GUEST)
    }
}
