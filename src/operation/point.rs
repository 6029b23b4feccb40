//! What a person does with one restore point: it is removed, or marked, under the guest's lock. Which
//! points rules of retention remove is not here: that is `prune`.

use super::hooked::{self, Caller, Failed};
use super::waiting::take;
use super::{Performed, kind_of};
use crate::cancel::Cancel;
use crate::clock::{Clock, Stopwatch};
use crate::hooks::{About, At, Event, Hooks, Phase};
use crate::model::Guest;
use crate::report::{Failure, GuestOutcome, Report};
use crate::repository::{
    Attributes, Lock, LockMode, LockOptions, Manifest, RepositoryError, StoredPoint,
};
use crate::survey::SurveyedPoint;
use anyhow::Context as _;
use std::sync::Arc;
use std::time::Duration;

/// What is to be done with the point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PointAct {
    /// It goes; also the newest one, but no protected one.
    Delete,
    /// It stays whatever the rules of retention say.
    Protect {
        /// What is noted about it; `None` leaves what is noted.
        notes: Option<String>,
    },
    /// The rules of retention apply to it again.
    Unprotect {
        /// What is noted about it; `None` leaves what is noted.
        notes: Option<String>,
    },
}

/// One act.
pub struct PointRequest {
    /// What is to be done.
    pub act: PointAct,
    /// The point as it was found; it is read again under the lock.
    pub found: SurveyedPoint,
    /// How long to wait for a run that works on the guest.
    pub lock_wait: Duration,
    /// The user's own programs that are called on the way; none for marks.
    pub hooks: Arc<Hooks>,
}

/// Does it. Why it was not done is in the report, what was done in its changes.
///
/// # Errors
/// A hook stopped it before it began; nothing was changed.
pub fn act_on_point(
    request: &PointRequest,
    clock: &Clock,
    cancel: &Cancel,
) -> anyhow::Result<Performed> {
    let caller = Caller { hooks: &request.hooks, cancel };
    let work = || {
        let (started, begun) = (clock.now(), Stopwatch::start());
        let guest = request.guest();
        let not_done = |failed| hooked::ended_early(GuestOutcome::new(&guest), failed);
        let mut outcome = request.turn(&guest, caller).unwrap_or_else(not_done);
        outcome.point = Some(request.found.point.manifest.time);
        caller.guest_end(&guest, &mut outcome, begun);
        let span = (started, clock.now());
        let report = Report::new(request.act.name(), span, vec![outcome], vec![]);
        Ok(Performed { report, plans: vec![] })
    };
    hooked::job_blocking(&request.hooks, cancel, work)
}

impl PointAct {
    /// The command.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Protect { .. } => "protect",
            Self::Unprotect { .. } => "unprotect",
        }
    }
}

impl PointRequest {
    fn guest(&self) -> Guest {
        let Manifest { guest, kind, name, node, .. } = &self.found.point.manifest;
        Guest { vmid: guest.vmid, kind: *kind, name: name.clone(), node: node.clone() }
    }

    fn turn(&self, guest: &Guest, caller: Caller<'_>) -> Result<GuestOutcome, Failed> {
        let (lock, found) = self.locked(caller.cancel)?;
        let mut outcome = GuestOutcome::new(guest);
        outcome.warnings.extend(caller.guest_start(guest)?);
        let work = || {
            // Waiting, and hooks, take time: a wish to stop that came meanwhile must count.
            if caller.cancel.is_cancelled() {
                let text = "interrupted; nothing was changed";
                return Err((Failure::Interrupted, anyhow::anyhow!(text)));
            }
            self.done(&lock, &found)
        };
        let (done, warnings) = match self.act {
            PointAct::Delete => caller.around(self.removal(guest), work),
            PointAct::Protect { .. } | PointAct::Unprotect { .. } => (work(), vec![]),
        };
        outcome.warnings.extend(warnings);
        match done {
            Ok(done) => outcome.changes.push(done),
            Err(failed) => return Ok(hooked::ended_early(outcome, failed)),
        }
        Ok(outcome)
    }

    /// The same point, under our lock.
    fn locked(&self, cancel: &Cancel) -> Result<(Lock, SurveyedPoint), Failed> {
        let what = "mark or delete a point".to_owned();
        let options = LockOptions { wait: Some(self.lock_wait), what };
        let directory = self.found.directory.clone();
        let lock = take(&directory, LockMode::Exclusive, &options, cancel);
        let lock = lock.map_err(|error| (error.failure(), error.into()))?;
        let history = directory.load().map_err(failed)?;
        let point = history.point(self.found.point.manifest.point).cloned();
        let gone = || format!("{} is gone", point_name(&self.found.point));
        let point = point.with_context(gone).map_err(|error| (Failure::Other, error))?;
        Ok((lock, SurveyedPoint { directory, history, point }))
    }

    fn removal(&self, guest: &Guest) -> Event {
        let mut event = Event::new(Phase::new(About::Prune, At::Before)).of(guest);
        let manifest = &self.found.point.manifest;
        event.point = Some(format!("{} {}", manifest.label, manifest.time));
        event
    }

    /// Does it and says what was done.
    fn done(&self, lock: &Lock, found: &SurveyedPoint) -> Result<String, Failed> {
        let name = point_name(&found.point);
        let attributes = &found.point.attributes;
        let done = match &self.act {
            PointAct::Delete => return delete(lock, found),
            PointAct::Protect { notes } => {
                let marked = Attributes { protected: true, ..noted(attributes, notes) };
                (marked, "protected")
            }
            PointAct::Unprotect { notes } => {
                let marked = Attributes { protected: false, ..noted(attributes, notes) };
                (marked, "not protected")
            }
        };
        found.directory.set_attributes(lock, &found.point, &done.0).map_err(failed)?;
        Ok(format!("{name}: {}", done.1))
    }
}

fn delete(lock: &Lock, found: &SurveyedPoint) -> Result<String, Failed> {
    let (directory, point) = (&found.directory, &found.point);
    if point.is_protected() {
        let text = format!("{} is protected; unprotect it first", point_name(point));
        return Err((Failure::Other, anyhow::anyhow!(text)));
    }
    let done = if found.history.needed_by(point).is_some() {
        directory.hide_point(lock, point).map_err(failed)?;
        "hidden; newer points need its images, and its files go with them".to_owned()
    } else {
        let stays = directory.delete_point(lock, point).map_err(failed)?;
        stays.map_or_else(|| "removed".to_owned(), |foreign| format!("removed; {foreign}"))
    };
    directory.refresh_derived(lock).map_err(failed)?;
    Ok(format!("{}: {done}", point_name(point)))
}

fn noted(attributes: &Attributes, notes: &Option<String>) -> Attributes {
    let notes = notes.clone().unwrap_or_else(|| attributes.notes.clone());
    Attributes { notes, ..attributes.clone() }
}

/// A point as a person knows it.
pub fn point_name(point: &StoredPoint) -> String {
    let manifest = &point.manifest;
    format!("point {} {} of guest {}", manifest.label, manifest.time, manifest.guest.vmid)
}

fn failed(error: RepositoryError) -> Failed {
    (kind_of(&error), error.into())
}
