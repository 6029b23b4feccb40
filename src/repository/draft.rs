//! A restore point while it is made, up to its commit. Not for what is in the images.

use super::copies;
use super::disk::{Disk, DiskFile};
use super::error::{About, RepositoryError};
use super::files;
use super::guest_dir::GuestDir;
use super::history::StoredPoint;
use super::image::{Compression, Digest};
use super::layout::{self, ImageKind};
use super::lock::Lock;
use super::manifest::{FORMAT, Manifest};
use super::records::Attributes;
use crate::model::{DiskKey, Label, MOVED_ON_AT_MOST, Moment};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

/// A restore point that does not exist yet: a directory without a manifest. Dropped without
/// [`commit`](Self::commit) or [`abandon`](Self::abandon) it stays as debris for the next run.
#[derive(Debug)]
pub struct PointDraft {
    guest: GuestDir,
    dir: PathBuf,
    label: Label,
    moment: Moment,
    /// Handles kept open since the files were made: they are told of failed write-backs.
    images: Mutex<Vec<DiskFile>>,
    config: Mutex<Saved>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Saved {
    config: Option<Digest>,
    firewall: Option<Digest>,
}

/// A commit that has happened, and what went wrong after it.
#[derive(Debug)]
pub struct Committed {
    /// The point.
    pub point: StoredPoint,
    /// Files derived from the points that could not be written again: no loss, but to be told.
    pub warnings: Vec<RepositoryError>,
}

impl PointDraft {
    pub(super) fn make(
        guest: GuestDir,
        label: &Label,
        moment: Moment,
    ) -> Result<Self, RepositoryError> {
        let label_dir = guest.path().join(label.as_str());
        files::ensure_dir(guest.disk(), &label_dir)?;
        for seconds in 0..=MOVED_ON_AT_MOST {
            let moment = moment.plus_seconds(seconds);
            let dir = label_dir.join(moment.stamp());
            match guest.disk().create_dir(&dir) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
                other => other.about("make the directory", &dir)?,
            }
            guest.disk().fsync_dir(&label_dir).about("fsync", &label_dir)?;
            let (images, config) = (Mutex::default(), Mutex::default());
            return Ok(Self { guest, dir, label: label.clone(), moment, images, config });
        }
        let source = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
        Err(RepositoryError::io("find a free name for a restore point in", &label_dir, source))
    }

    /// The point's directory.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// The moment in its name: the one asked for, or the next second that was free.
    pub fn moment(&self) -> Moment {
        self.moment
    }

    /// Makes an image's file and its index's, in this order; the first's name for the manifest is
    /// [`layout::image_file`].
    ///
    /// # Errors
    /// The file system fails.
    pub fn image_files(
        &self,
        disk: &DiskKey,
        kind: ImageKind,
        compression: Compression,
    ) -> Result<(DiskFile, DiskFile), RepositoryError> {
        let name = layout::image_file(disk, kind, compression);
        let data = self.image_file(&name)?;
        let index = self.image_file(&layout::index_file(&name))?;
        Ok((data, index))
    }

    fn image_file(&self, name: &str) -> Result<DiskFile, RepositoryError> {
        let path = self.dir.join(name);
        let file = self.guest.disk().create_new(&path).about("make", &path)?;
        let kept = file.try_clone().about("make", &path)?;
        self.images.lock().unwrap_or_else(PoisonError::into_inner).push(kept);
        Ok(file)
    }

    /// Saves the guest's configuration as it was; once.
    ///
    /// # Errors
    /// The file system fails.
    pub fn save_config(&self, text: &str) -> Result<(), RepositoryError> {
        let digest = self.save(layout::CONFIG, text)?;
        self.config.lock().unwrap_or_else(PoisonError::into_inner).config = digest;
        Ok(())
    }

    /// Saves the guest's firewall rules as they were; once.
    ///
    /// # Errors
    /// The file system fails.
    pub fn save_firewall(&self, text: &str) -> Result<(), RepositoryError> {
        let digest = self.save(layout::FIREWALL, text)?;
        self.config.lock().unwrap_or_else(PoisonError::into_inner).firewall = digest;
        Ok(())
    }

    fn save(&self, name: &str, text: &str) -> Result<Option<Digest>, RepositoryError> {
        // A configuration that changed while it was saved is taken again, so the name may exist.
        files::remove_if_there(self.guest.disk(), &self.dir.join(name))?;
        let bytes = crate::model::bytes_of(text);
        files::write_new(self.guest.disk(), &self.dir.join(name), &bytes)?;
        Ok(text_digest(&bytes))
    }

    /// Makes the point exist. `seq`, `label`, `time` and the digests of the configuration are set
    /// here, whatever the manifest given says.
    ///
    /// # Errors
    /// The point does not exist, except with [`RepositoryError::Unknown`]; the directory stays, as
    /// debris. [`RepositoryError::LockLost`]: another run may work here, so nothing was committed.
    pub fn commit(&self, lock: &Lock, manifest: Manifest) -> Result<Committed, RepositoryError> {
        lock.covers(self.guest.path())?;
        let manifest = self.complete(manifest)?;
        self.fits(&manifest)?;
        for file in self.images.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            file.fsync().about("fsync", file.path())?;
        }
        let path = self.dir.join(layout::MANIFEST);
        let text = manifest.text().map_err(|source| RepositoryError::Json { path, source })?;
        let (disk, guest) = (self.guest.disk(), self.guest.path());
        write_draft(disk, &self.dir, &text)?;
        // A copy that cannot be written costs no backup: the point is as good without it.
        let copied = copies::write_manifest(disk, guest, manifest.point, &text);
        lock.confirm(guest)?;
        publish(disk, &self.dir, &text)?;
        let dir = self.dir.clone();
        let point = StoredPoint { manifest, attributes: Attributes::default(), dir };
        let derived = self.after_commit(lock, &point);
        let warnings = [copied, derived].into_iter().filter_map(Result::err).collect();
        Ok(Committed { point, warnings })
    }

    fn complete(&self, mut manifest: Manifest) -> Result<Manifest, RepositoryError> {
        let saved = *self.config.lock().unwrap_or_else(PoisonError::into_inner);
        manifest.format = FORMAT;
        manifest.seq = self.guest.load()?.next_seq();
        manifest.label = self.label.clone();
        manifest.time = self.moment;
        manifest.config_digest = saved.config;
        manifest.firewall_digest = saved.firewall;
        Ok(manifest)
    }

    /// What can be checked without reading images: the files are there and have their sizes.
    fn fits(&self, manifest: &Manifest) -> Result<(), RepositoryError> {
        let unfit = |why| Err(RepositoryError::Unfit { path: self.dir.clone(), why });
        for image in &manifest.images {
            let path = self.dir.join(&image.file);
            let size = self.guest.disk().facts(&path).about("look at", &path)?.map(|f| f.len());
            if size != Some(image.stored_bytes) {
                let (expected, file) = (image.stored_bytes, &image.file);
                return unfit(format!("{file} has {size:?} bytes and should have {expected}"));
            }
        }
        match manifest.text().map(|text| Manifest::parse(text.as_bytes())) {
            Ok(Ok(read)) if read == *manifest => Ok(()),
            other => unfit(format!("the manifest does not read back as it is: {other:?}")),
        }
    }

    fn after_commit(&self, lock: &Lock, point: &StoredPoint) -> Result<(), RepositoryError> {
        let history = self.guest.load()?;
        copies::not_written(self.guest.write_missing_copies(&history));
        if let Some(mut record) = history.record {
            let Manifest { kind, name, label, chain, .. } = &point.manifest;
            let before = record.clone();
            (record.kind, record.name) = (*kind, name.clone());
            record.chains.insert(label.clone(), *chain);
            if record != before {
                self.guest.save_record(lock, &record)?;
            }
        }
        self.guest.refresh_derived(lock)
    }

    /// Removes everything of the point, which never existed.
    ///
    /// # Errors
    /// It was committed already, or the file system fails; what stays is swept by the next run.
    pub fn abandon(self) -> Result<(), RepositoryError> {
        let Self { guest, dir, images, .. } = self;
        // NFS keeps a file that is open under another name, and its directory with it.
        drop(images);
        copies::remove_uncommitted(guest.disk(), guest.path(), &dir)?;
        files::remove_uncommitted(guest.disk(), &dir).map(drop)
    }
}

/// Writes the manifest under the name that it bears until its commit.
pub(super) fn write_draft(disk: &Disk, dir: &Path, text: &str) -> Result<(), RepositoryError> {
    let tmp = dir.join(layout::MANIFEST_TMP);
    files::remove_if_there(disk, &tmp)?;
    files::write_new(disk, &tmp, text.as_bytes())?;
    // The names of data files must be durable before the name that makes the point exist.
    disk.fsync_dir(dir).about("fsync", dir)
}

/// The rename that commits. After an error it may have happened all the same (the answer of a
/// server was lost), so that what is there is read back.
pub(super) fn publish(disk: &Disk, dir: &Path, text: &str) -> Result<(), RepositoryError> {
    let (tmp, path) = (dir.join(layout::MANIFEST_TMP), dir.join(layout::MANIFEST));
    if let Err(source) = disk.rename(&tmp, &path) {
        // Absence is believed of the listing only: the client may remember that of before.
        match disk.names(dir) {
            Ok(names) if !names.iter().any(|name| name == layout::MANIFEST) => {
                return Err(RepositoryError::io("commit", &path, source));
            }
            _ if disk.read(&path).is_ok_and(|read| read == text.as_bytes()) => {}
            _ => return Err(RepositoryError::Unknown { path, source }),
        }
    }
    if let Err(source) = disk.fsync_dir(dir) {
        // A name that is not durable is no commit: the old snapshot must not be deleted for it. With
        // its former name it is no point that was lost either.
        return Err(match disk.rename(&path, &tmp) {
            Ok(()) => RepositoryError::io("make durable", &path, source),
            Err(_) => RepositoryError::Unknown { path, source },
        });
    }
    Ok(())
}

/// The digest of a small text file, in the form of image digests.
pub(crate) fn text_digest(bytes: &[u8]) -> Option<Digest> {
    Digest::from_str(&format!("blake3:{}", blake3::hash(bytes).to_hex())).ok()
}
