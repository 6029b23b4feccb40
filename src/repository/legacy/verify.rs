//! Checks what eve4pve-barc stored: every file whole, every checksum right, every chain with its base.
//! It notes nothing in the old tool's directory.

use super::super::image::ImageError;
use super::super::verify::{DamageFound, Subset, VerifyReport};
use super::history::{LegacyHistory, LegacyImage, LegacyPoint};
use super::scan::{Told, scan};
use crate::model::ImageId;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// What is wrong with files, by file.
type Wrong = BTreeMap<PathBuf, String>;

impl LegacyPoint {
    /// The path that stands for the point in reports: its directory would be called so if it had one.
    pub fn place(&self, history: &LegacyHistory) -> PathBuf {
        history.directory.path.join(self.time.stamp())
    }
}

impl LegacyHistory {
    /// Reads every file, or a part of them all, on so many threads, and lists what is damaged and
    /// which points that costs.
    ///
    /// # Errors
    /// The files cannot be read for another reason than damage.
    pub fn verify(
        &self,
        subset: Option<Subset>,
        threads: usize,
        told: &dyn Told,
    ) -> Result<VerifyReport, ImageError> {
        let images: Vec<&LegacyImage> =
            self.points.iter().flat_map(|point| &point.images).collect();
        let chosen: Vec<(usize, &LegacyImage)> = (0..)
            .zip(images)
            .filter(|(number, _)| subset.is_none_or(|subset| in_subset(*number, subset)))
            .collect();
        let mut wrong = self.links_that_lead_nowhere();
        let stopped = AtomicBool::new(false);
        let asked =
            |bytes: u64| told.read(bytes).inspect_err(|_| stopped.store(true, Ordering::Relaxed));
        let (read, failed) = read_all(&chosen, threads.max(1), &asked);
        wrong.extend(read);
        let stopped = stopped.into_inner();
        if let Some(error) = failed.filter(|_| !stopped) {
            return Err(error);
        }
        // What was not read to its end counts as not read.
        let chosen = if stopped { Vec::new() } else { chosen };
        let damage = wrong.into_iter().map(|(file, what)| DamageFound {
            points_lost: self.points_lost(&file),
            file,
            what,
            image: None,
            extents: Vec::new(),
        });
        Ok(VerifyReport {
            points: self.points.iter().map(|point| point.place(self)).collect(),
            images: chosen.iter().map(|(number, _)| ImageId(*number as u64)).collect(),
            bytes: chosen.iter().map(|(_, image)| image.link.stored_bytes).sum(),
            complete: subset.is_none() && !stopped,
            stopped,
            damage: damage.collect(),
        })
    }

    /// Files whose beginning is damaged, and increments without what they begin at.
    fn links_that_lead_nowhere(&self) -> Wrong {
        let mut wrong = Wrong::new();
        let all = self.points.iter().flat_map(|point| point.images.iter().map(move |i| (point, i)));
        for (point, image) in all {
            if let Err(error) = self.chain_of(point, &image.disk) {
                wrong.insert(error.file().to_owned(), error.to_string());
            } else if let Err(error) = image.link.check_name() {
                wrong.insert(image.link.path.clone(), error);
            }
        }
        wrong
    }

    /// The points of which a disk cannot be read without this file.
    fn points_lost(&self, file: &Path) -> Vec<PathBuf> {
        let needs =
            |image: &LegacyImage| image.link.path == file || self.needed_by(image).contains(file);
        let lost = self.points.iter().filter(|point| point.images.iter().any(needs));
        lost.map(|point| point.place(self)).collect()
    }

    /// The files that an image needs, as far as its chain can be followed.
    fn needed_by(&self, image: &LegacyImage) -> BTreeSet<PathBuf> {
        let mut files = BTreeSet::new();
        let mut next = Some(image);
        while let Some(image) = next {
            if !files.insert(image.link.path.clone()) {
                break;
            }
            next = self.parent(image);
        }
        files
    }
}

fn in_subset(number: usize, subset: Subset) -> bool {
    number as u64 % subset.of.max(1) + 1 == subset.n
}

/// Reads the files on several threads; what ended it before its end stands beside what is wrong.
fn read_all(
    images: &[(usize, &LegacyImage)],
    threads: usize,
    told: &dyn Told,
) -> (Wrong, Option<ImageError>) {
    let next = AtomicUsize::new(0);
    let found: Mutex<Vec<ImageError>> = Mutex::default();
    thread::scope(|scope| {
        for _ in 0..threads.min(images.len()) {
            scope.spawn(|| {
                while let Some((_, image)) = images.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if image.format.is_err() {
                        continue;
                    }
                    if let Err(error) = scan(&image.link, 0, told) {
                        found.lock().unwrap_or_else(PoisonError::into_inner).push(error);
                    }
                }
            });
        }
    });
    let (mut wrong, mut failed) = (Wrong::new(), None);
    for error in found.into_inner().unwrap_or_else(PoisonError::into_inner) {
        match error {
            ImageError::Damaged(damage) => drop(wrong.insert(damage.path, damage.what)),
            other => failed = failed.or(Some(other)),
        }
    }
    (wrong, failed)
}
