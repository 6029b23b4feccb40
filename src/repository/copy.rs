//! Copies a restore point into another repository, byte by byte, and proves what arrived there. Not
//! for choosing points, nor for removing them: that is `removal.rs`.

use super::chain::{HeldImage, images_of_chain};
use super::copies;
use super::disk::Disk;
use super::draft::{Committed, publish, text_digest, write_draft};
use super::error::{About, RepositoryError};
use super::files;
use super::guest_dir::GuestDir;
use super::history::{History, StoredPoint};
use super::image::{ImageReader, index_path};
use super::layout;
use super::lock::Lock;
use super::manifest::ImageEntry;
use super::records::Attributes;
use super::verify_image;
use crate::model::{ImageId, Label};
use crate::stall::Pulse;
use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::path::Path;

/// How points are copied, and what is known of the copies so far.
pub struct Copying<'a> {
    /// Threads that decode and digest what arrived.
    pub threads: usize,
    /// Told bytes of image files as they are written.
    pub progress: &'a (dyn Fn(u64) + Sync),
    /// Asked between two pieces; its error ends the copy, and what arrived waits for the next one.
    pub go_on: &'a (dyn Fn() -> io::Result<()> + Sync),
    /// Told of what tells nothing while it lasts.
    pub pulse: &'a Pulse,
    /// Images that were read whole in the target, and are what their manifests say.
    pub proven: BTreeSet<ImageId>,
}

impl GuestDir {
    /// Copies a point of `source` into this directory of the same guest: the same files, manifest,
    /// order and marks, so that an increment may follow it here as it might there. What arrived is
    /// read back before the commit. Image files that an interrupted copy has left are not sent
    /// again. A point that is here already is only given the marks of the source's.
    ///
    /// # Errors
    /// No exclusive lock here; an image that the point needs is not here; its name is taken; a file
    /// is damaged at one of the ends; or a file system fails. The point is not here then, except
    /// with [`RepositoryError::Unknown`], and the source is never changed.
    pub fn copy_point(
        &self,
        lock: &Lock,
        source: &GuestDir,
        point: &StoredPoint,
        copying: &mut Copying<'_>,
    ) -> Result<Committed, RepositoryError> {
        lock.confirm(self.path())?;
        self.copy_marks(lock, point)?;
        let mut history = self.load()?;
        if let Some(present) = history.point(point.manifest.point) {
            return Ok(Committed { point: present.clone(), warnings: Vec::new() });
        }
        let target = self.place(point, &mut history)?;
        self.has_own_chain(&history, source, &point.manifest.label)?;
        self.ensure_place(&target, source.disk(), point)?;
        let transfer = Transfer { from: source.disk(), to: self.disk(), copying };
        transfer.files(point, &target)?;
        prove_texts(self.disk(), &target)?;
        for image in &target.manifest.images {
            // What was proven under this id, if anything, is not what was sent now.
            copying.proven.remove(&image.id);
            self.prove_copy(point, &HeldImage { point: &target, image }, copying)?;
        }
        let text = manifest_text(&target)?;
        write_draft(self.disk(), &target.dir, &text)?;
        let copied = self.copy_sealed(&target, &text);
        lock.confirm(self.path())?;
        publish(self.disk(), &target.dir, &text)?;
        let derived = self.refresh_derived(lock);
        let warnings = [copied, derived].into_iter().filter_map(Result::err).collect();
        Ok(Committed { point: target, warnings })
    }

    fn copy_sealed(&self, point: &StoredPoint, manifest: &str) -> Result<(), RepositoryError> {
        let (disk, id) = (self.disk(), point.manifest.point);
        if point.attributes != Attributes::default() {
            let path = point.dir.join(layout::ATTRIBUTES);
            let attributes = Attributes { point: Some(id), ..point.attributes.clone() };
            let text =
                attributes.text().map_err(|source| RepositoryError::Json { path, source })?;
            copies::write_attributes(disk, self.path(), id, &text)?;
        }
        copies::write_manifest(disk, self.path(), id, manifest)
    }

    /// Reads all that a point of this directory needs, and is content only with all of it: what a
    /// source may be removed for. Images that are proven already are not read again.
    ///
    /// # Errors
    /// Something is missing, damaged or cannot be read.
    pub fn prove_point(
        &self,
        point: &StoredPoint,
        copying: &mut Copying<'_>,
    ) -> Result<(), RepositoryError> {
        let history = self.load()?;
        prove_texts(self.disk(), point)?;
        for image in &point.manifest.images {
            let chain = images_of_chain(&history, point, &image.disk);
            for held in chain.map_err(|source| not_copied(point, source))? {
                prove(&held, copying)?;
            }
        }
        Ok(())
    }

    /// Where the point will stand here, as a point of this history, in which its chains are whole.
    fn place(
        &self,
        point: &StoredPoint,
        history: &mut History,
    ) -> Result<StoredPoint, RepositoryError> {
        let manifest = &point.manifest;
        let dir = self.path().join(manifest.label.as_str()).join(manifest.time.stamp());
        let taken = |why: &str| RepositoryError::Taken { path: dir.clone(), why: why.to_owned() };
        let listed = self.disk().names(&dir).about("list", &dir)?;
        let lost = dir.join(layout::MANIFEST);
        if history.unreadable.iter().any(|unreadable| unreadable.path == lost) {
            return Err(taken("a point that lost its manifest stands there; `repair` mends it"));
        }
        if listed.iter().any(|name| name == layout::MANIFEST) {
            return Err(taken("another restore point stands there"));
        }
        let target = StoredPoint { dir, ..point.clone() };
        history.points.push(target.clone());
        for image in &target.manifest.images {
            images_of_chain(history, &target, &image.disk)
                .map_err(|source| not_copied(point, source))?;
        }
        Ok(target)
    }

    /// Before the point is here its label has a chain of this directory's own: without one the
    /// manifest's would be taken for it, which is the source's.
    fn has_own_chain(
        &self,
        history: &History,
        source: &GuestDir,
        label: &Label,
    ) -> Result<(), RepositoryError> {
        match history.lacks_chain(label, &source.load()?) {
            false => Ok(()),
            true => {
                let (path, label) = (self.path().to_owned(), label.to_string());
                Err(RepositoryError::NoChain { path, label })
            }
        }
    }

    /// Makes the point's directory; of what an interrupted copy left in it only image files stay.
    fn ensure_place(
        &self,
        target: &StoredPoint,
        source: &Disk,
        point: &StoredPoint,
    ) -> Result<(), RepositoryError> {
        let label = self.path().join(target.manifest.label.as_str());
        files::ensure_dir(self.disk(), &label)?;
        files::ensure_dir(self.disk(), &target.dir)?;
        self.disk().fsync_dir(&label).about("fsync", &label)?;
        let from = End { disk: source, dir: &point.dir };
        let to = End { disk: self.disk(), dir: &target.dir };
        let mut kept = BTreeSet::new();
        for image in &target.manifest.images {
            if arrived(image, &from, &to)? {
                kept.extend([image.file.to_string(), layout::index_file(&image.file)]);
            }
        }
        for name in self.disk().names(&target.dir).about("list", &target.dir)? {
            if !kept.contains(&name) && layout::is_our_file(&name) {
                files::remove_if_there(self.disk(), &target.dir.join(name))?;
            }
        }
        Ok(())
    }

    /// Reads an image that arrived. One that is damaged is taken away, so that the next copy sends
    /// it again; and the end is named at which the damage is.
    fn prove_copy(
        &self,
        point: &StoredPoint,
        arrived: &HeldImage<'_>,
        copying: &mut Copying<'_>,
    ) -> Result<(), RepositoryError> {
        let error = match prove(arrived, copying) {
            Err(error @ RepositoryError::Damaged { .. }) => error,
            other => return other,
        };
        let path = arrived.path();
        for path in [index_path(&path), path] {
            // The first error is the one to tell; the next copy removes what stays.
            let _ = files::remove_if_there(self.disk(), &path);
        }
        let original = HeldImage { point, image: arrived.image };
        copying.proven.remove(&arrived.image.id);
        match damage(&original, copying)? {
            Some(what) => Err(RepositoryError::Damaged { path: original.path(), why: what }),
            None => Err(error),
        }
    }
}

/// The files of one point on their way.
struct Transfer<'a, 'b> {
    from: &'a Disk,
    to: &'a Disk,
    copying: &'a Copying<'b>,
}

impl Transfer<'_, '_> {
    fn files(&self, point: &StoredPoint, target: &StoredPoint) -> Result<(), RepositoryError> {
        for image in &point.manifest.images {
            self.image(image, (&point.dir, &target.dir))?;
        }
        let manifest = &point.manifest;
        for (name, digest) in
            [(layout::CONFIG, manifest.config_digest), (layout::FIREWALL, manifest.firewall_digest)]
        {
            if digest.is_some() {
                let path = point.dir.join(name);
                let bytes = self.from.read(&path).about("read", &path)?;
                files::write_new(self.to, &target.dir.join(name), &bytes)?;
            }
        }
        if point.attributes == Attributes::default() {
            return Ok(());
        }
        let path = target.dir.join(layout::ATTRIBUTES);
        let attributes = Attributes { point: Some(manifest.point), ..point.attributes.clone() };
        let text = attributes
            .text()
            .map_err(|source| RepositoryError::Json { path: path.clone(), source })?;
        files::write_new(self.to, &path, text.as_bytes())
    }

    /// The index follows its image when that is durable: where it stands, the image has arrived.
    fn image(&self, image: &ImageEntry, dirs: (&Path, &Path)) -> Result<(), RepositoryError> {
        let target = dirs.1.join(&image.file);
        if self.to.facts(&target).about("look at", &target)?.is_some() {
            (self.copying.progress)(image.stored_bytes);
            return Ok(());
        }
        self.file(&dirs.0.join(&image.file), &target, Some(image.stored_bytes))?;
        let index = index_path(&dirs.0.join(&image.file));
        // An index can be made again from its image, so that one may do without.
        if self.from.facts(&index).about("look at", &index)?.is_some() {
            self.file(&index, &index_path(&target), None)?;
        }
        Ok(())
    }

    fn file(&self, from: &Path, to: &Path, size: Option<u64>) -> Result<(), RepositoryError> {
        let mut source = self.from.open(from).about("open", from)?;
        let mut target = self.to.create_new(to).about("make", to)?;
        let mut buffer = vec![0; 1 << 20];
        let mut copied = 0;
        loop {
            (self.copying.go_on)().about("copy", from)?;
            let count = source.read(&mut buffer).about("read", from)?;
            if count == 0 {
                break;
            }
            target.write_all(&buffer[..count]).about("write", to)?;
            copied += count as u64;
            if size.is_some() {
                (self.copying.progress)(count as u64);
            }
        }
        if let Some(expected) = size.filter(|size| *size != copied) {
            let why = format!("it has {copied} bytes instead of {expected}");
            return Err(RepositoryError::Damaged { path: from.to_owned(), why });
        }
        self.copying.pulse.silently(|| target.fsync()).about("fsync", to)?;
        // What is read back must come from the medium as far as that can be asked for.
        target.forget_cached();
        Ok(())
    }
}

/// A point's directory in one of the two repositories.
struct End<'a> {
    disk: &'a Disk,
    dir: &'a Path,
}

impl End<'_> {
    /// The length of a file; none when it is not there, or no file.
    fn length(&self, name: &str) -> Result<Option<u64>, RepositoryError> {
        let path = self.dir.join(name);
        let facts = self.disk.facts(&path).about("look at", &path)?;
        Ok(facts.filter(|facts| facts.is_file()).map(|facts| facts.len()))
    }
}

/// Whether an image and its index have arrived whole, as far as their lengths tell.
fn arrived(image: &ImageEntry, from: &End<'_>, to: &End<'_>) -> Result<bool, RepositoryError> {
    let index = layout::index_file(&image.file);
    let whole = to.length(&image.file)? == Some(image.stored_bytes);
    let arrived = to.length(&index)?;
    Ok(whole && arrived.is_some() && arrived == from.length(&index)?)
}

/// Reads an image whole, unless that was done.
fn prove(held: &HeldImage<'_>, copying: &mut Copying<'_>) -> Result<(), RepositoryError> {
    if copying.proven.contains(&held.image.id) {
        return Ok(());
    }
    (copying.go_on)().about("verify", &held.path())?;
    if let Some(why) = damage(held, copying)? {
        return Err(RepositoryError::Damaged { path: held.path(), why });
    }
    copying.proven.insert(held.image.id);
    Ok(())
}

/// What of an image is lost. An index that is damaged costs nothing that is not made again.
fn damage(held: &HeldImage<'_>, copying: &Copying<'_>) -> Result<Option<String>, RepositoryError> {
    // A wish to stop is asked for between images: one that is read in part is not proven.
    let beat = |_| {
        copying.pulse.beat();
        Ok(())
    };
    let read = || verify_image::content(held, copying.threads, &beat);
    let findings = match ImageReader::open_indexed(&held.path()) {
        Ok(_) => read()?,
        // Without a good index it is read in one piece, which tells nothing before its end.
        Err(_) => copying.pulse.silently(read)?,
    };
    Ok(findings.into_iter().find(|finding| finding.costs.points()).map(|finding| finding.what))
}

fn prove_texts(disk: &Disk, point: &StoredPoint) -> Result<(), RepositoryError> {
    let manifest = &point.manifest;
    for (name, digest) in
        [(layout::CONFIG, manifest.config_digest), (layout::FIREWALL, manifest.firewall_digest)]
    {
        let path = point.dir.join(name);
        if digest.is_some() && text_digest(&disk.read(&path).about("read", &path)?) != digest {
            let why = "it is not what was saved".to_owned();
            return Err(RepositoryError::Damaged { path, why });
        }
    }
    Ok(())
}

fn manifest_text(target: &StoredPoint) -> Result<String, RepositoryError> {
    let path = target.dir.join(layout::MANIFEST);
    target.manifest.text().map_err(|source| RepositoryError::Json { path, source })
}

fn not_copied(point: &StoredPoint, source: super::chain::BrokenChain) -> RepositoryError {
    RepositoryError::Incomplete { path: point.dir.clone(), source }
}
