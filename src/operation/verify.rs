//! Checking what is stored of one guest, under its lock, and noting what was found. Not comparing
//! it with what it was made from: that is `audit`.

use super::waiting::take;
use crate::cancel::Cancel;
use crate::clock::Clock;
use crate::model::{Label, VmId, counted};
use crate::repository::{
    GuestDir, LockMode, LockOptions, Repository, RepositoryError, StoredPoint, Subset,
    VerifyReport, VerifyRequest,
};
use anyhow::Context as _;
use std::time::Duration;

/// Which guests and points of a repository are meant; all of them when nothing is named.
#[derive(Debug, Clone)]
pub struct Meant {
    /// Only these guests; all when empty.
    pub vmids: Vec<VmId>,
    /// Only points of this label.
    pub label: Option<Label>,
}

impl Meant {
    /// The directories that hold something of what is meant.
    ///
    /// # Errors
    /// The repository cannot be listed.
    pub fn directories(&self, repository: &Repository) -> Result<Vec<GuestDir>, RepositoryError> {
        let mut directories = repository.guests()?;
        directories.retain(|directory| self.holds_any(directory));
        Ok(directories)
    }

    /// What was named and is none of the guests that were found: nobody may take it for checked.
    pub fn not_found(&self, found: &[VmId]) -> Vec<String> {
        let label = self.label.as_ref().map(|label| format!("label {label}"));
        if self.vmids.is_empty() {
            return label.filter(|_| found.is_empty()).into_iter().collect();
        }
        let with = label.map(|label| format!(" with {label}")).unwrap_or_default();
        let missing = self.vmids.iter().filter(|vmid| !found.contains(vmid));
        missing.map(|vmid| format!("{vmid}{with}")).collect()
    }

    fn holds_any(&self, directory: &GuestDir) -> bool {
        if self.vmids.is_empty() && self.label.is_none() {
            return true;
        }
        let is_named = self.vmids.is_empty() || self.vmids.contains(&directory.names().vmid);
        // What cannot be read may be what is meant: the check itself says what is wrong with it.
        is_named
            && directory.load().map_or(true, |history| {
                !history.unreadable.is_empty() || history.visible().any(|point| self.means(point))
            })
    }

    fn means(&self, point: &StoredPoint) -> bool {
        self.label.as_ref().is_none_or(|label| point.manifest.label == *label)
    }
}

/// What is to be checked, and what becomes of the result.
pub struct CheckRequest {
    /// Only points of this label.
    pub label: Option<Label>,
    /// The images whose content is read; `None` reads all.
    pub subset: Option<Subset>,
    /// How many threads decode and digest.
    pub threads: usize,
    /// How long to wait for a run that works on the guest.
    pub lock_wait: Duration,
    /// Whether the result is noted with the points.
    pub mark: bool,
}

/// What was found of one guest.
#[derive(Debug)]
pub struct Checked {
    /// What was read and what is damaged.
    pub report: VerifyReport,
    /// Why the damage could not be noted; `None` when it was, or when nobody asked for that.
    pub unnoted: Option<String>,
    /// Images without a checksum, of which only the form could be checked; ours all have one.
    pub unsummed: usize,
}

impl Checked {
    /// Whether there was nothing to check, as in the directory of a guest that was always left out.
    pub fn is_of_nothing(&self) -> bool {
        let VerifyReport { points, damage, stopped, .. } = &self.report;
        points.is_empty() && damage.is_empty() && !stopped
    }

    /// What the check could not see, in words.
    pub fn blind_spots(&self) -> Option<String> {
        (self.unsummed > 0).then(|| {
            let images = counted(self.unsummed, "image");
            format!("no checksum stands beside {images}: whether a byte was changed there cannot be seen")
        })
    }
}

/// Checks a guest's points. Blocks; a wish to stop ends it between two frames, with what was found
/// until then.
///
/// # Errors
/// The directory is locked or cannot be read, or it cannot be noted that it is whole. Damage that
/// cannot be noted is no error: it must be told.
pub fn verify(
    directory: &GuestDir,
    request: &CheckRequest,
    progress: &(dyn Fn(u64) + Sync),
    cancel: &Cancel,
) -> anyhow::Result<Checked> {
    let select = |point: &StoredPoint| {
        request.label.as_ref().is_none_or(|label| point.manifest.label == *label)
    };
    let (subset, threads) = (request.subset, request.threads);
    let shared = take(directory, LockMode::Shared, &options(request), cancel)?;
    let progress = &|bytes| {
        progress(bytes);
        cancel.check()
    };
    let report = directory.verify(&VerifyRequest { select: &select, subset, threads, progress })?;
    drop(shared);
    match noted(directory, request, &report, cancel) {
        Err(error) if !report.damage.is_empty() => {
            let text = format!(
                "the damage could not be noted: {error:#}; verify with --mark again, else the \
                 next increment may follow a damaged image"
            );
            Ok(Checked { report, unnoted: Some(text), unsummed: 0 })
        }
        Err(error) => Err(error).context("no damage was found, but that could not be noted"),
        Ok(()) => Ok(Checked { report, unnoted: None, unsummed: 0 }),
    }
}

fn noted(
    directory: &GuestDir,
    request: &CheckRequest,
    report: &VerifyReport,
    cancel: &Cancel,
) -> anyhow::Result<()> {
    // Who stops it wants it to end; only damage is worth the moment that noting takes.
    if !request.mark || (report.stopped && report.damage.is_empty()) {
        return Ok(());
    }
    let lock = take(directory, LockMode::Exclusive, &options(request), cancel)?;
    Ok(directory.mark_verified(&lock, report, Clock::System.now())?)
}

fn options(request: &CheckRequest) -> LockOptions {
    LockOptions { wait: Some(request.lock_wait), what: "verify".to_owned() }
}
