//! Checks what is stored: manifests, configurations, chains, image files frame by frame; and says
//! which restore points each damage costs. Not for repairing, nor for marking without being told.

use super::chain::{BrokenChain, HeldImage, Walked};
use super::draft::text_digest;
use super::error::RepositoryError;
use super::guest_dir::GuestDir;
use super::history::{History, StoredPoint};
use super::image::Digest;
use super::layout;
use super::lock::Lock;
use super::lost;
use super::records::{Attributes, Verified, VerifiedState};
use super::scan;
use super::verify_image::{self, Finding};
use crate::model::{ImageId, Moment, counted};
use crate::stream::Extent;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// A part of all images: those whose id falls into the `n`-th of `of` equal parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subset {
    /// Which part, from 1.
    pub n: u64,
    /// Of how many.
    pub of: u64,
}

impl Subset {
    fn holds(self, image: ImageId) -> bool {
        image.0 % self.of.max(1) + 1 == self.n
    }
}

/// What to check.
pub struct VerifyRequest<'a> {
    /// Which points; with each one everything that it needs is checked.
    pub select: &'a dyn Fn(&StoredPoint) -> bool,
    /// The images whose content is read; `None` reads all. The rest is always checked.
    pub subset: Option<Subset>,
    /// How many threads decode and digest.
    pub threads: usize,
    /// Told bytes of image files as they are read, between frames; an error stops the reading.
    pub progress: &'a (dyn Fn(u64) -> io::Result<()> + Sync),
}

/// One damage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamageFound {
    /// The damaged file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub what: String,
    /// The image, when it is one.
    pub image: Option<ImageId>,
    /// What of the volume is lost, as far as that is known.
    pub extents: Vec<Extent>,
    /// The directories of the visible points that cannot be restored whole because of it.
    pub points_lost: Vec<PathBuf>,
}

/// What a verification did and found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// The directories of the points that were checked.
    pub points: Vec<PathBuf>,
    /// The images whose content was read.
    pub images: BTreeSet<ImageId>,
    /// How many bytes of image files were read.
    pub bytes: u64,
    /// Whether every image of the checked points was read.
    pub complete: bool,
    /// Whether the reading was stopped before its end; what was found until then stands here.
    pub stopped: bool,
    /// What is damaged.
    pub damage: Vec<DamageFound>,
}

impl VerifyReport {
    /// The directories of all points that cannot be restored whole, each once.
    pub fn points_lost(&self) -> BTreeSet<&Path> {
        let lost = self.damage.iter().flat_map(|damage| &damage.points_lost);
        lost.map(PathBuf::as_path).collect()
    }
}

/// Checks the points that the request selects. The caller holds a shared lock.
pub(super) fn verify(
    guest: &GuestDir,
    request: &VerifyRequest<'_>,
) -> Result<VerifyReport, RepositoryError> {
    let history = scan::scan(guest.disk(), guest.path(), guest.names())?;
    let report = VerifyReport { complete: true, ..VerifyReport::default() };
    let stopped = AtomicBool::new(false);
    let progress = |bytes: u64| {
        (request.progress)(bytes).inspect_err(|_| stopped.store(true, Ordering::Relaxed))
    };
    let request = &VerifyRequest { progress: &progress, ..*request };
    let mut checker = Checker { guest, history: &history, walked: Walked::default(), report };
    checker.records();
    let points: Vec<&StoredPoint> =
        history.visible().filter(|point| (request.select)(point)).collect();
    let mut images: BTreeMap<(u64, ImageId), HeldImage<'_>> = BTreeMap::new();
    for point in points {
        checker.report.points.push(point.dir.clone());
        checker.texts(point)?;
        for held in checker.chains(point) {
            images.insert((held.point.manifest.seq, held.image.id), held);
        }
    }
    for held in images.into_values() {
        // Asks also before the first frame of each image.
        if progress(0).is_ok() {
            checker.image(&held, request, &stopped)?;
        }
    }
    checker.report.stopped = stopped.into_inner();
    checker.report.complete &= !checker.report.stopped;
    Ok(checker.report)
}

struct Checker<'a> {
    guest: &'a GuestDir,
    history: &'a History,
    walked: Walked,
    report: VerifyReport,
}

impl<'a> Checker<'a> {
    /// What could not be read while the directory was walked, and guest.json.
    fn records(&mut self) {
        for unreadable in &self.history.unreadable {
            // Attributes say what a person thinks of a point; without them it restores as well.
            let is_point = unreadable.path.ends_with(layout::MANIFEST);
            let lost = unreadable.path.parent().filter(|_| is_point).map(Path::to_owned);
            self.found(&unreadable.path, unreadable.why.clone(), lost.into_iter().collect());
        }
        for gone in &self.history.gone {
            let dir = lost::point_dir(self.guest.path(), &gone.label, gone.time);
            let what =
                "the restore point is gone with its directory; only its sealed copy is there";
            self.found(&dir, what.to_owned(), vec![dir.clone()]);
        }
        for (copy, what) in self.guest.damaged_copies(self.history) {
            self.found(&copy, what, Vec::new());
        }
    }

    /// The configuration and the firewall rules of a point.
    fn texts(&mut self, point: &StoredPoint) -> Result<(), RepositoryError> {
        let files = [
            (layout::CONFIG, point.manifest.config_digest),
            (layout::FIREWALL, point.manifest.firewall_digest),
        ];
        for (name, expected) in files {
            let path = point.dir.join(name);
            let Some(expected) = expected else { continue };
            if let Some(why) = self.text_differs(&path, expected)? {
                self.found(&path, why, vec![point.dir.clone()]);
            }
        }
        Ok(())
    }

    fn text_differs(
        &self,
        path: &Path,
        expected: Digest,
    ) -> Result<Option<String>, RepositoryError> {
        let disk = self.guest.disk();
        let read = match disk.read(path) {
            Err(error) if is_eio(&error) => disk.read(path),
            other => other,
        };
        match read {
            Ok(bytes) if text_digest(&bytes) == Some(expected) => Ok(None),
            Ok(_) => Ok(Some("it is not what was saved".to_owned())),
            Err(error) if passes(&error) => Err(RepositoryError::io("read", path, error)),
            Err(error) => Ok(Some(error.to_string())),
        }
    }

    /// All images that a point needs; a chain that breaks is a damage of this point alone, since
    /// every other point that it breaks finds that for itself.
    fn chains(&mut self, point: &'a StoredPoint) -> Vec<HeldImage<'a>> {
        let mut images = Vec::new();
        for image in &point.manifest.images {
            let (chain, broken) = self.walked.walk(self.history, HeldImage { point, image });
            match broken {
                None => images.extend(chain),
                Some(broken) => {
                    self.broken(&broken, point);
                    images.push(HeldImage { point, image });
                }
            }
        }
        images
    }

    /// A chain that breaks in one place costs every point that crosses it, and is named once.
    fn broken(&mut self, broken: &BrokenChain, point: &StoredPoint) {
        let (file, what) = (broken_file(broken, point), broken.to_string());
        let damage = &mut self.report.damage;
        match damage.iter_mut().find(|known| known.file == file && known.what == what) {
            Some(known) => known.points_lost.push(point.dir.clone()),
            None => self.found(&file, what, vec![point.dir.clone()]),
        }
    }

    fn image(
        &mut self,
        held: &HeldImage<'_>,
        request: &VerifyRequest<'_>,
        stopped: &AtomicBool,
    ) -> Result<(), RepositoryError> {
        let read = request.subset.is_none_or(|subset| subset.holds(held.image.id));
        let findings = if read {
            let findings = verify_image::content(held, request.threads, request.progress)?;
            // An image that was not read to its end counts as not read.
            if !stopped.load(Ordering::Relaxed) {
                self.report.images.insert(held.image.id);
                self.report.bytes += held.image.stored_bytes;
            }
            findings
        } else {
            self.report.complete = false;
            verify_image::outside(held)?
        };
        for Finding { file, what, extents, costs } in findings {
            let points_lost = if costs.points() { self.needing(held) } else { vec![] };
            let image = costs.points().then_some(held.image.id);
            self.report.damage.push(DamageFound { file, what, image, extents, points_lost });
        }
        Ok(())
    }

    /// The visible points with this image in a chain.
    fn needing(&self, held: &HeldImage<'_>) -> Vec<PathBuf> {
        let needing = self.history.needing(held.image.id);
        let needs = |point: &&StoredPoint| {
            point.manifest.images.iter().any(|own| needing.contains(&own.id))
        };
        self.history.visible().filter(needs).map(|point| point.dir.clone()).collect()
    }

    /// Notes a damage; one that several points find is one damage, which costs all of them.
    fn found(&mut self, file: &Path, what: String, points_lost: Vec<PathBuf>) {
        let mut known = self.report.damage.iter_mut();
        if let Some(known) = known.find(|known| known.file == file && known.what == what) {
            known.points_lost.extend(points_lost);
            return;
        }
        let (file, extents) = (file.to_owned(), Vec::new());
        self.report.damage.push(DamageFound { file, what, image: None, extents, points_lost });
    }
}

fn is_eio(error: &io::Error) -> bool {
    error.raw_os_error() == Some(nix::libc::EIO)
}

/// Whether an error of reading, EIO after a second try, says nothing of the file: neither that it is
/// gone, nor that the disk has lost it, nor that it is none that was written here.
fn passes(error: &io::Error) -> bool {
    let is_lost = is_eio(error) || is_of_the_file(error);
    error.raw_os_error().is_some() && !is_lost
}

/// Whether an error of opening or reading tells what is wrong with the very file: it is gone, or a
/// directory, a link or a device stands in its place. An error that is none of the system's is one of
/// its content.
pub(super) fn is_of_the_file(error: &io::Error) -> bool {
    use nix::libc::{EISDIR, ELOOP, ENODEV, ENOTDIR, ENXIO};
    let errors = [EISDIR, ELOOP, ENOTDIR, ENXIO, ENODEV];
    let own = error.raw_os_error().is_none() || error.kind() == io::ErrorKind::NotFound;
    own || error.raw_os_error().is_some_and(|e| errors.contains(&e))
}

fn broken_file(broken: &BrokenChain, point: &StoredPoint) -> PathBuf {
    match broken {
        BrokenChain::MissingParent { file, .. }
        | BrokenChain::Circle { file }
        | BrokenChain::Mismatch { file, .. } => file.clone(),
        BrokenChain::NoSuchDisk { .. } => point.dir.clone(),
    }
}

impl GuestDir {
    /// Writes into the points' attributes what a verification found: lost points as failed, their
    /// damaged images as no base for increments, and what was read whole without damage as good.
    ///
    /// # Errors
    /// No exclusive lock, or the file system fails; points are marked one after the other.
    pub fn mark_verified(
        &self,
        lock: &Lock,
        report: &VerifyReport,
        at: Moment,
    ) -> Result<(), RepositoryError> {
        lock.confirm(self.path())?;
        let damaged: BTreeSet<ImageId> = report.damage.iter().filter_map(|d| d.image).collect();
        for point in &self.load()?.points {
            let attributes = marked(point, report, &damaged, at);
            if attributes != point.attributes {
                self.set_attributes(lock, point, &attributes)?;
            }
        }
        self.refresh_derived(lock)
    }
}

fn marked(
    point: &StoredPoint,
    report: &VerifyReport,
    damaged: &BTreeSet<ImageId>,
    at: Moment,
) -> Attributes {
    let mut attributes = point.attributes.clone();
    let why = damage_of(point, report);
    let checked = report.points.contains(&point.dir);
    if why.is_some() {
        attributes.verified = Some(Verified { state: VerifiedState::Failed, at, why });
    } else if checked && report.complete {
        attributes.verified = Some(Verified { state: VerifiedState::Ok, at, why: None });
    }
    let failed_before = |id: &ImageId| point.attributes.failed_images.contains(id);
    // What failed before and was read well now had a passing trouble.
    let fails =
        |id: &ImageId| damaged.contains(id) || (failed_before(id) && !report.images.contains(id));
    let own = point.manifest.images.iter().map(|image| image.id);
    attributes.failed_images = own.filter(fails).collect();
    attributes
}

/// What a point has lost, in words: the first damages, as an image that is lost frame by frame has so
/// many that the attributes could not be written with them.
fn damage_of(point: &StoredPoint, report: &VerifyReport) -> Option<String> {
    const NAMED: usize = 20;
    let is_its = |damage: &&DamageFound| damage.points_lost.contains(&point.dir);
    let own: Vec<&DamageFound> = report.damage.iter().filter(is_its).collect();
    let named = own.iter().take(NAMED);
    let mut why: Vec<String> =
        named.map(|damage| format!("{}: {}", damage.file.display(), damage.what)).collect();
    let more = own.len().saturating_sub(NAMED);
    if more > 0 {
        why.push(counted(more, "more damage"));
    }
    (!why.is_empty()).then(|| why.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::libc::{EACCES, EISDIR, ELOOP, ENOTDIR, ENXIO, ESTALE, ETIMEDOUT};

    /// An image that is lost frame by frame, and what is written of it.
    #[test]
    fn of_countless_damages_a_point_bears_the_first_ones_and_their_number() {
        use super::super::fixture::{image, manifest};
        let manifest = manifest(vec![image(1, None)]);
        let (attributes, dir) = (Attributes::default(), PathBuf::from("daily/x"));
        let point = StoredPoint { manifest, attributes, dir };
        let lost = |frame| DamageFound {
            file: "daily/x/scsi0.base.rbd.zst".into(),
            what: format!("frame {frame}: not decompressible"),
            image: None,
            extents: Vec::new(),
            points_lost: vec![point.dir.clone()],
        };
        let report = |count: u64| {
            let damage = (0..count).map(lost).collect();
            VerifyReport { damage, ..VerifyReport::default() }
        };
        assert_eq!(damage_of(&point, &report(0)), None);
        let one = damage_of(&point, &report(1)).unwrap();
        assert_eq!(one, "daily/x/scsi0.base.rbd.zst: frame 0: not decompressible");
        let all = damage_of(&point, &report(1 << 20)).unwrap();
        assert!(all.len() < 2000 && all.ends_with("; 1048556 more damages"), "{all}");
    }

    /// What says nothing of the bytes, as a server that is away, is no damage: nobody could tell it
    /// from one afterwards, as marks stay. What stands in a file's place is the file's.
    #[test]
    fn what_cannot_be_read_for_another_reason_is_no_damage_but_an_error() {
        let error = io::Error::from_raw_os_error;
        for of_the_server in [EACCES, ESTALE, ETIMEDOUT] {
            assert!(passes(&error(of_the_server)), "{of_the_server}");
        }
        for of_the_file in [EISDIR, ELOOP, ENOTDIR, ENXIO, nix::libc::ENOENT, nix::libc::EIO] {
            assert!(!passes(&error(of_the_file)), "{of_the_file}");
        }
        assert!(!passes(&io::Error::from(io::ErrorKind::InvalidData)));
    }
}
