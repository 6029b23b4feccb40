//! Merges the images of older points into those of a newer one, disk by disk, with the manifest as
//! the commit. Not for choosing what merges, nor for removing the points that are not needed then.

use super::chain::{HeldImage, images_of_chain};
use super::copies;
use super::disk::{Disk, DiskFile};
use super::draft::Committed;
use super::error::{About, RepositoryError};
use super::files;
use super::guest_dir::GuestDir;
use super::history::{History, StoredPoint};
use super::image::{
    ChainLink, ImageOptions, ImageSink, MergeSource, Merged, ZeroRuns, merge_images,
};
use super::layout;
use super::lock::Lock;
use super::manifest::{ImageEntry, Manifest};
use crate::model::{Incarnation, PointId};
use std::path::{Path, PathBuf};

/// How points merge.
#[derive(Clone, Copy)]
pub struct MergeOptions<'a> {
    /// How the merged images are made. Images of volumes with their own striping get their zeros
    /// written, whatever stands here.
    pub image: ImageOptions,
    /// Told bytes of volume data as they are merged.
    pub progress: &'a (dyn Fn(u64) + Sync),
}

impl GuestDir {
    /// Merges into each image of `into` the images of `from` that it directly follows: afterwards
    /// `into` holds the same volumes and needs none of the points of `from`, unless it did so by an
    /// image that is not in line. A base is folded when its point is in `from`. A disk without such
    /// images stays as it is. All disks change at once, by the manifest; the points of `from` are
    /// not changed, and other points may still need them.
    ///
    /// The lock is checked before the commit. What an earlier merge left is swept first.
    ///
    /// # Errors
    /// No exclusive lock; something of the guest cannot be read; a chain is broken, an image is
    /// damaged, or the file system fails: then all is as before, except with
    /// [`RepositoryError::Unknown`], where the manifest is the old or the new one, and the files of
    /// both are there.
    pub fn merge_points(
        &self,
        lock: &Lock,
        into: &StoredPoint,
        from: &[StoredPoint],
        options: &MergeOptions<'_>,
    ) -> Result<Committed, RepositoryError> {
        self.sweep_leftovers(lock)?;
        let history = self.may_remove(lock)?;
        let into = present(&history, into)?;
        let from: Vec<PointId> = from.iter().map(|point| point.manifest.point).collect();
        let mut merging = Merging { disk: self.disk(), into, made: Vec::new() };
        let result = merging.all(&history, &from, options).and_then(|manifest| {
            lock.confirm(self.path())?;
            self.replace_images(&merging, manifest)
        });
        match result {
            // Either manifest may be there, so the files of both stay.
            Err(error @ RepositoryError::Unknown { .. }) => Err(error),
            Err(error) => {
                merging.give_up();
                Err(error)
            }
            Ok(point) => {
                // The copy names the new files before the old ones, which it named, are gone.
                let copied = self.copy_manifest(&point);
                let cleaned = copied.and_then(|()| merging.remove_old());
                let derived = self.refresh_derived(lock);
                let warnings = [cleaned, derived].into_iter().filter_map(Result::err).collect();
                Ok(Committed { point, warnings })
            }
        }
    }

    /// Removes from the directories of points what no manifest names and a merge or a rewrite left
    /// when it was interrupted. Says which files.
    ///
    /// # Errors
    /// No exclusive lock; something of the guest cannot be read; or the file system fails, and the
    /// rest is swept the next time.
    pub fn sweep_leftovers(&self, lock: &Lock) -> Result<Vec<PathBuf>, RepositoryError> {
        let history = self.may_remove(lock)?;
        let leftovers = self.leftovers(&history)?;
        for of_point in leftovers.chunk_by(|a, b| a.parent() == b.parent()) {
            let Some(dir) = of_point[0].parent() else { continue };
            // A merge that was cut off behind its commit left the copy of before.
            for point in history.points.iter().filter(|point| point.dir == dir) {
                self.copy_manifest(point)?;
            }
            // The manifest that was read must be the one that a loss of power leaves.
            self.disk().fsync_dir(dir).about("fsync", dir)?;
            for path in of_point {
                files::remove_if_there(self.disk(), path)?;
            }
        }
        Ok(leftovers)
    }

    /// Brings the sealed copy of a point's manifest up to date.
    pub(super) fn copy_manifest(&self, point: &StoredPoint) -> Result<(), RepositoryError> {
        let path = point.dir.join(layout::MANIFEST);
        let text =
            point.manifest.text().map_err(|source| RepositoryError::Json { path, source })?;
        copies::write_manifest(self.disk(), self.path(), point.manifest.point, &text)
    }

    /// The files that [`GuestDir::sweep_leftovers`] would remove, those of one point side by side.
    ///
    /// # Errors
    /// A point's directory cannot be listed.
    pub fn leftovers(&self, history: &History) -> Result<Vec<PathBuf>, RepositoryError> {
        let mut leftovers = Vec::new();
        for point in &history.points {
            let names = self.disk().names(&point.dir).about("list", &point.dir)?;
            let of_point = names.iter().filter(|name| is_leftover(&point.manifest, name));
            leftovers.extend(of_point.map(|name| point.dir.join(name)));
        }
        Ok(leftovers)
    }

    /// The commit: the manifest with the merged images takes the place of the old one.
    fn replace_images(
        &self,
        merging: &Merging<'_>,
        manifest: Manifest,
    ) -> Result<StoredPoint, RepositoryError> {
        let point = StoredPoint { manifest, ..merging.into.clone() };
        if merging.made.is_empty() {
            return Ok(point);
        }
        let (disk, path) = (self.disk(), point.dir.join(layout::MANIFEST));
        let json = |source| RepositoryError::Json { path: path.clone(), source };
        let old = merging.into.manifest.text().map_err(json)?;
        let new = point.manifest.text().map_err(json)?;
        // The names of the new files must be durable before the manifest that needs them.
        disk.fsync_dir(&point.dir).about("fsync", &point.dir)?;
        let Err(error) = files::replace(disk, &path, new.as_bytes()) else { return Ok(point) };
        // An error of the rename or after it leaves open what is there.
        match disk.read(&path) {
            Ok(found) if found == old.as_bytes() => Err(error),
            Ok(found) if found == new.as_bytes() && disk.fsync_dir(&point.dir).is_ok() => Ok(point),
            _ => {
                let source = std::io::Error::other(error);
                Err(RepositoryError::Unknown { path: point.dir.clone(), source })
            }
        }
    }
}

fn present<'a>(
    history: &'a History,
    wanted: &StoredPoint,
) -> Result<&'a StoredPoint, RepositoryError> {
    let found = history.point(wanted.manifest.point).filter(|point| point.dir == wanted.dir);
    found.ok_or_else(|| {
        let why = "there is no such restore point any more".to_owned();
        RepositoryError::Unfit { path: wanted.dir.clone(), why }
    })
}

fn is_leftover(manifest: &Manifest, name: &str) -> bool {
    let image = name.strip_suffix(".idx").unwrap_or(name);
    let named = manifest.images.iter().any(|entry| entry.file == image || entry.file == name);
    !named && layout::debris_when_unnamed(name)
}

/// A merge under way.
struct Merging<'a> {
    disk: &'a Disk,
    into: &'a StoredPoint,
    /// The new files, with the old file that each image replaces.
    made: Vec<Made>,
}

struct Made {
    new: PathBuf,
    old: PathBuf,
}

impl Merging<'_> {
    /// Makes the merged images of all disks, and the manifest that names them.
    fn all(
        &mut self,
        history: &History,
        from: &[PointId],
        options: &MergeOptions<'_>,
    ) -> Result<Manifest, RepositoryError> {
        let mut manifest = self.into.manifest.clone();
        for entry in &mut manifest.images {
            let source = |source| RepositoryError::NoChainToMerge {
                path: self.into.dir.clone(),
                disk: entry.disk.clone(),
                source,
            };
            let chain = images_of_chain(history, self.into, &entry.disk).map_err(source)?;
            let (before, images) = in_line(&chain, from);
            if images.len() > 1 {
                *entry = self.one(before, images, options)?;
            }
        }
        Ok(manifest)
    }

    /// Makes the merged image of one disk, of images that stand behind one of the size `before`.
    fn one(
        &mut self,
        before: u64,
        images: &[HeldImage<'_>],
        options: &MergeOptions<'_>,
    ) -> Result<ImageEntry, RepositoryError> {
        let (oldest, own) = (images[0].image, images[images.len() - 1].image);
        let mut image = options.image;
        if own.shape.striping.is_some() {
            image.zeros = ZeroRuns::Written;
        }
        let links: Vec<ChainLink> = images.iter().map(HeldImage::link).collect();
        let file = self.free_name(oldest, own, image)?;
        let path = self.into.dir.join(&file);
        self.made.push(Made { new: path.clone(), old: self.into.dir.join(&own.file) });
        let (data, index) = (self.create(&path)?, self.create(&super::image::index_path(&path))?);
        let failed = |source| RepositoryError::NotMerged {
            path: self.into.dir.clone(),
            disk: own.disk.clone(),
            source: Box::new(source),
        };
        let kept = [data.try_clone(), index.try_clone()];
        let source = MergeSource { links, size_before: before };
        let sink = ImageSink { data, index };
        let merged = merge_images(&source, sink, image, options.progress).map_err(failed)?;
        for kept in kept {
            let kept = kept.about("fsync", &path)?;
            kept.fsync().about("fsync", &path)?;
            // What is read back must come from the medium: the images that it was made of go then.
            kept.forget_cached();
        }
        merged.verify(&path, image.threads).map_err(failed)?;
        Ok(ImageEntry { file, compression: image.compression, ..described(images, &merged) })
    }

    fn create(&self, path: &Path) -> Result<DiskFile, RepositoryError> {
        self.disk.create_new(path).about("make", path)
    }

    /// A name that no file here has. It follows from what is merged, so that no chance is needed.
    fn free_name(
        &self,
        oldest: &ImageEntry,
        own: &ImageEntry,
        options: ImageOptions,
    ) -> Result<String, RepositoryError> {
        let dir = &self.into.dir;
        let there = self.disk.names(dir).about("list", dir)?;
        let mut mark = blake3::hash(format!("{} {}", oldest.digest, own.digest).as_bytes());
        loop {
            let [a, b, c, d, ..] = *mark.as_bytes();
            let number = Incarnation(u32::from_le_bytes([a, b, c, d]));
            let kind = oldest.kind();
            let name = layout::merged_file(&own.disk, kind, number, options.compression);
            if !there.contains(&name) && !there.contains(&layout::index_file(&name)) {
                return Ok(name);
            }
            mark = blake3::hash(mark.as_bytes());
        }
    }

    /// Removes what was made. The first error is the one to tell; the next run removes what stays.
    fn give_up(&self) {
        for made in &self.made {
            let _ = self.disk.unlink(&super::image::index_path(&made.new));
            let _ = self.disk.unlink(&made.new);
        }
    }

    fn remove_old(&self) -> Result<(), RepositoryError> {
        for made in &self.made {
            files::remove_if_there(self.disk, &super::image::index_path(&made.old))?;
            files::remove_if_there(self.disk, &made.old)?;
        }
        Ok(())
    }
}

/// Of a chain, the newest image and those right before it that points of `from` hold, oldest first;
/// and the volume's size before the oldest of them.
fn in_line<'a, 'b>(chain: &'b [HeldImage<'a>], from: &[PointId]) -> (u64, &'b [HeldImage<'a>]) {
    let older = chain.iter().rev().skip(1);
    let count = older.take_while(|held| from.contains(&held.point.manifest.point)).count();
    let first = chain.len().saturating_sub(count + 1);
    let before = chain[..first].last().map_or(0, |held| held.image.size);
    (before, &chain[first..])
}

/// The entry of a merged image: the newest one's, from where the oldest began. It stands for as
/// many increments as they did, so that a renewal comes when it would have come.
fn described(images: &[HeldImage<'_>], merged: &Merged) -> ImageEntry {
    let (oldest, own) = (images[0].image, images[images.len() - 1].image);
    let increments = images.iter().map(|held| held.image.increments()).fold(0, u32::saturating_add);
    ImageEntry {
        merged: increments.saturating_sub(u32::from(oldest.parent.is_some())),
        parent: oldest.parent,
        from: oldest.from.clone(),
        base_source: oldest.base_source.clone(),
        stream_bytes: merged.summary.stream_bytes,
        stored_bytes: merged.summary.stored_bytes,
        data_bytes: merged.summary.data_bytes,
        digest: merged.summary.digest,
        ..own.clone()
    }
}
