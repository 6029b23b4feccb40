//! Taking points and debris away, and hiding points. Not for deciding which: retention does, and
//! `plan/check.rs` lints it; the refusals here are the last line.

use super::copies;
use super::error::{About, RepositoryError};
use super::files::{self, Foreign};
use super::guest_dir::GuestDir;
use super::history::{Debris, History, StoredPoint};
use super::layout;
use super::lock::{Lock, is_full};
use super::manifest::{Manifest, State};
use super::records::GuestRecord;
use crate::model::PointId;
use std::collections::HashSet;

/// The points of a guest while some of them go, read once under the lock of the run.
pub struct Remaining {
    history: History,
    gone: HashSet<PointId>,
}

impl Remaining {
    /// Reads them.
    ///
    /// # Errors
    /// No exclusive lock, or something of the guest cannot be read, so that nothing may go.
    pub fn read(guest: &GuestDir, lock: &Lock) -> Result<Self, RepositoryError> {
        Ok(Self { history: guest.may_remove(lock)?, gone: HashSet::new() })
    }

    /// A point that is still there.
    pub fn point(&self, id: PointId) -> Option<&StoredPoint> {
        self.history.point(id).filter(|point| self.is_there(point))
    }

    fn points(&self) -> impl Iterator<Item = &StoredPoint> {
        self.history.points.iter().filter(|point| self.is_there(point))
    }

    fn is_there(&self, point: &StoredPoint) -> bool {
        !self.gone.contains(&point.manifest.point)
    }

    fn needed_by(&self, point: &StoredPoint) -> Option<&StoredPoint> {
        self.history.others_on(point).into_iter().find(|other| self.is_there(other))
    }

    /// Its order is known by guest.json or by what stays: it is not to be noted lower again.
    fn note_gone(&mut self, point: &StoredPoint) {
        self.gone.insert(point.manifest.point);
        if let Some(record) = &mut self.history.record {
            record.last_seq = record.last_seq.max(point.manifest.seq);
        }
    }
}

impl GuestDir {
    /// Removes what an unfinished run left, unless it turns out to be a point that lost its manifest;
    /// says what stays because it is not ours.
    ///
    /// # Errors
    /// No exclusive lock; the directory holds a manifest; something of the guest cannot be read;
    /// or the file system fails, and the rest is swept by the next run.
    pub fn sweep(&self, lock: &Lock, debris: &Debris) -> Result<Option<Foreign>, RepositoryError> {
        let history = self.may_remove(lock)?;
        let inside = debris.path.starts_with(self.path()) && debris.path != self.path();
        let manifest = debris.path.join(layout::MANIFEST);
        if !inside || history.unreadable.iter().any(|unreadable| unreadable.path == manifest) {
            return Err(RepositoryError::NotDebris { path: debris.path.clone() });
        }
        copies::remove_uncommitted(self.disk(), self.path(), &debris.path)?;
        files::remove_uncommitted(self.disk(), &debris.path)
    }

    /// Removes a restore point: the manifest first, so that it is never half there. Says what stays
    /// in its directory because it is not ours. A point of which no disk can be restored may go while
    /// something of the guest is missing, too: a person has no other way out of that.
    ///
    /// # Errors
    /// No exclusive lock; another point needs its images (hide it instead); something of the guest
    /// cannot be read; or the file system fails, also where it has no room for guest.json, in which
    /// the order of the newest point is noted first. Once the manifest is gone the point is, and
    /// what stays is swept by the next run.
    pub fn delete_point(
        &self,
        lock: &Lock,
        point: &StoredPoint,
    ) -> Result<Option<Foreign>, RepositoryError> {
        let history = self.may_delete(lock, point)?;
        let mut remaining = Remaining { history, gone: HashSet::new() };
        self.delete_remaining(lock, &mut remaining, point)
    }

    /// The same of points that were read once under the lock: each that goes is noted there.
    ///
    /// # Errors
    /// As [`GuestDir::delete_point`].
    pub fn delete_remaining(
        &self,
        lock: &Lock,
        remaining: &mut Remaining,
        point: &StoredPoint,
    ) -> Result<Option<Foreign>, RepositoryError> {
        lock.confirm(self.path())?;
        if let Some(other) = remaining.needed_by(point) {
            return Err(RepositoryError::StillNeeded {
                path: point.dir.clone(),
                needed_by: other.dir.display().to_string(),
            });
        }
        self.remember_seq(lock, remaining, point)?;
        copies::remove(self.disk(), self.path(), point.manifest.point)?;
        files::remove_if_there(self.disk(), &point.dir.join(layout::MANIFEST))?;
        remaining.note_gone(point);
        self.disk().fsync_dir(&point.dir).about("fsync", &point.dir)?;
        files::remove_uncommitted(self.disk(), &point.dir)
    }

    /// Notes the order of a point that is about to go, unless what stays tells a higher one: before
    /// it goes, as afterwards nothing would tell it.
    fn remember_seq(
        &self,
        lock: &Lock,
        remaining: &Remaining,
        point: &StoredPoint,
    ) -> Result<(), RepositoryError> {
        let seq = point.manifest.seq;
        let is_told = |other: &StoredPoint| other.dir != point.dir && other.manifest.seq >= seq;
        let Some(record) = &remaining.history.record else { return Ok(()) };
        if record.last_seq >= seq || remaining.points().any(is_told) {
            return Ok(());
        }
        let record = GuestRecord { last_seq: seq, ..record.clone() };
        match self.save_record(lock, &record) {
            // Room is made on a full file system, too: what follows from the points is what it may
            // cost, and is written again once there is room.
            Err(RepositoryError::Io { source, .. }) if is_full(&source) => {
                files::remove_if_there(self.disk(), &self.path().join(layout::RESTORE))?;
                self.save_record(lock, &record)
            }
            other => other,
        }
    }

    /// Removes a point for the user and keeps its images for the points that need them.
    ///
    /// # Errors
    /// No exclusive lock; something of the guest cannot be read; or the file system fails, and the
    /// point is as before or hidden, never damaged.
    pub fn hide_point(
        &self,
        lock: &Lock,
        point: &StoredPoint,
    ) -> Result<StoredPoint, RepositoryError> {
        self.may_remove(lock)?;
        self.hide(point)
    }

    /// The same of points that were read once under the lock.
    ///
    /// # Errors
    /// As [`GuestDir::hide_point`].
    pub fn hide_remaining(
        &self,
        lock: &Lock,
        point: &StoredPoint,
    ) -> Result<StoredPoint, RepositoryError> {
        lock.confirm(self.path())?;
        self.hide(point)
    }

    fn hide(&self, point: &StoredPoint) -> Result<StoredPoint, RepositoryError> {
        let manifest = Manifest { state: State::Hidden, ..point.manifest.clone() };
        self.rewrite_manifest(&StoredPoint { manifest, ..point.clone() })
    }

    fn rewrite_manifest(&self, point: &StoredPoint) -> Result<StoredPoint, RepositoryError> {
        let path = point.dir.join(layout::MANIFEST);
        let text = point
            .manifest
            .text()
            .map_err(|source| RepositoryError::Json { path: path.clone(), source })?;
        files::replace(self.disk(), &path, text.as_bytes())?;
        // The copy that stays behind when this fails is of a point that was seen longer, no more.
        let id = point.manifest.point;
        copies::not_written(copies::write_manifest(self.disk(), self.path(), id, &text));
        Ok(point.clone())
    }

    /// What is there, when this point may be removed. Of a point without a disk that is whole nothing
    /// is lost, unless a lost manifest may come back.
    fn may_delete(&self, lock: &Lock, point: &StoredPoint) -> Result<History, RepositoryError> {
        lock.confirm(self.path())?;
        let history = self.load()?;
        let is_worthless =
            history.is_beyond_restore(point) && history.forbids_increments().is_none();
        if is_worthless && !self.may_be_mended(&history) {
            return Ok(history);
        }
        self.may_remove(lock)
    }

    /// Whether a lost manifest has something to be put back from: `repair` comes first then, as with
    /// it the point may be whole again.
    fn may_be_mended(&self, history: &History) -> bool {
        let lost = history.unreadable.iter().filter(|unreadable| unreadable.is_lost_manifest());
        let mut dirs = lost.filter_map(|unreadable| unreadable.path.parent());
        dirs.any(|dir| self.sources_of_manifest(dir).is_ok())
    }

    /// What is there, when something of it may be removed.
    pub(super) fn may_remove(&self, lock: &Lock) -> Result<History, RepositoryError> {
        lock.confirm(self.path())?;
        let history = self.load()?;
        match history.forbids_removal() {
            None => Ok(history),
            Some(why) => {
                Err(RepositoryError::RemovalForbidden { path: self.path().to_owned(), why })
            }
        }
    }
}
