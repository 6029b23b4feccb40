//! The hooks of a whole run and of one guest's turn in it, and for work that needs no cluster those
//! around its parts. Those around the steps of a plan on storages are the executor's.
//!
//! What each command calls inside of `job-*` and `guest-*`: `backup` and `restore` what the
//! executor's table says; `adopt` `export-*` around each volume, as it writes an image of it; `reset`
//! `snap-remove-*` around each snapshot; `prune` `prune-*` and `merge-*`; `delete` `prune-*`, as the
//! point is gone either way and whoever guards points must not be passed by; `copy` `export-*` around
//! each point, `verify-*` where it is read in the target, `prune-*` where it goes from the source;
//! `verify`, with `--source` too, `verify-*`; `assemble` `restore-*`; `snapshot create` and
//! `snapshot prune` `snap-create-*` and `snap-remove-*`; `snapshot rollback` nothing more. `protect` and `unprotect` call none:
//! they change a mark, take nothing away and are done before a hook would have started.

use super::Performed;
use super::waiting::Interrupted;
use crate::cancel::Cancel;
use crate::clock::Stopwatch;
use crate::hooks::{About, At, Event, Hooks, Phase, Veto};
use crate::model::Guest;
use crate::plan::Action;
use crate::report::{Failure, GuestOutcome, GuestStatus, Status};

/// The event before the run.
pub fn job_start() -> Event {
    Event::new(Phase::new(About::Job, At::Before))
}

/// The event at the run's end: `job-end` when every guest had its turn, whatever came of it, and
/// `job-abort` when none had.
pub fn job_end(result: &anyhow::Result<Performed>, begun: Stopwatch) -> Event {
    let seconds = begun.elapsed().as_secs_f64();
    match result {
        Err(error) => {
            let phase = Phase::new(About::Job, At::Abort);
            Event::new(phase).ended(Some(format!("{error:#}")), seconds)
        }
        Ok(performed) => {
            let mut event = Event::new(Phase::new(About::Job, At::After)).ended(None, seconds);
            event.status = Some(match performed.report.status {
                Status::Ok => "ok",
                Status::Partial => "partial",
                Status::Failed => "failed",
            });
            event.report = serde_json::to_string(&performed.report).ok();
            event
        }
    }
}

/// The event before a guest's turn.
pub fn guest_start(guest: &Guest) -> Event {
    Event::new(Phase::new(About::Guest, At::Before)).of(guest)
}

/// The event after a guest's turn; none for a guest that its own configuration leaves out.
pub fn guest_end(guest: &Guest, outcome: &GuestOutcome, begun: Stopwatch) -> Option<Event> {
    let ending = outcome.ending();
    let at = match ending {
        GuestStatus::Skipped => return None,
        GuestStatus::Ok | GuestStatus::Partial => At::After,
        GuestStatus::Failed => At::Abort,
    };
    let event = Event::new(Phase::new(About::Guest, at)).of(guest);
    let mut event = event.ended(outcome.error.clone(), begun.elapsed().as_secs_f64());
    event.point = outcome.point.map(|point| point.to_string());
    if ending == GuestStatus::Partial {
        event.status = Some("partial");
    }
    Some(event)
}

/// Joins the job's start, its work and its end. A hook that stops the start stops all of it.
///
/// # Errors
/// The work's own, or that a hook stopped it; then nothing was changed.
pub async fn job(
    hooks: &Hooks,
    cancel: &Cancel,
    work: impl Future<Output = anyhow::Result<Performed>>,
) -> anyhow::Result<Performed> {
    let begun = Stopwatch::start();
    let started = hooks.call(&job_start(), cancel).await;
    let (warnings, result) = match started {
        Ok(warnings) => (warnings, work.await),
        Err(veto) => (Vec::new(), Err(stopped(veto))),
    };
    let ended = hooks.call(&job_end(&result, begun), cancel).await;
    finish(result, warnings, ended.unwrap_or_default())
}

/// The same for work that is not async.
///
/// # Errors
/// As [`job`].
pub fn job_blocking(
    hooks: &Hooks,
    cancel: &Cancel,
    work: impl FnOnce() -> anyhow::Result<Performed>,
) -> anyhow::Result<Performed> {
    let begun = Stopwatch::start();
    let (warnings, result) = match hooks.call_blocking(&job_start(), cancel) {
        Ok(warnings) => (warnings, work()),
        Err(veto) => (Vec::new(), Err(stopped(veto))),
    };
    let ended = hooks.call_blocking(&job_end(&result, begun), cancel);
    finish(result, warnings, ended.unwrap_or_default())
}

fn stopped(veto: Veto) -> anyhow::Error {
    anyhow::Error::from(veto).context("nothing was changed")
}

fn finish(
    result: anyhow::Result<Performed>,
    before: Vec<String>,
    after: Vec<String>,
) -> anyhow::Result<Performed> {
    let mut performed = result?;
    performed.report.warnings.extend(before.into_iter().chain(after));
    Ok(performed)
}

/// The outcome of a guest whose turn a hook stopped.
pub fn vetoed(outcome: GuestOutcome, veto: Veto, cancel: &Cancel) -> GuestOutcome {
    let failure = if cancel.is_cancelled() { Failure::Interrupted } else { Failure::Other };
    outcome.failed(failure, format!("{:#}; nothing was changed", anyhow::Error::from(veto)))
}

/// What ended a turn, or a part of one, before its time: its kind, and why.
pub type Failed = (Failure, anyhow::Error);

/// The outcome of a guest whose turn ended before its time, with what was done and said until then.
pub fn ended_early(outcome: GuestOutcome, (failure, error): Failed) -> GuestOutcome {
    outcome.failed(failure, format!("{error:#}"))
}

/// The table of plans that need no cluster: the event before a step that has hooks.
pub fn step_event(guest: &Guest, action: &Action) -> Option<Event> {
    let (about, label, moment) = match action {
        Action::MergeImages { into, .. } => (About::Merge, &into.label, into.moment),
        Action::HidePoint(point)
        | Action::DeleteRestorePoint(point)
        | Action::RemoveMoved(point) => (About::Prune, &point.label, point.moment),
        Action::CopyPoint(point) => (About::Export, &point.label, point.moment),
        Action::VerifyCopy(point) => (About::Verify, &point.label, point.moment),
        _ => return None,
    };
    let mut event = Event::new(Phase::new(about, At::Before)).of(guest);
    event.point = Some(format!("{label} {moment}"));
    Some(event)
}

/// Calls hooks for work that is not async.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    /// The hooks.
    pub hooks: &'a Hooks,
    /// The user's wish to stop.
    pub cancel: &'a Cancel,
}

impl Caller<'_> {
    /// Calls those that come before something, with what failed without stopping it.
    ///
    /// # Errors
    /// One of them stops it, or the user does.
    pub fn before(&self, event: &Event) -> Result<Vec<String>, Failed> {
        let called = self.hooks.call_blocking(event, self.cancel);
        called.map_err(|veto| match self.cancel.is_cancelled() {
            true => (Failure::Interrupted, Interrupted("nothing is half").into()),
            false => (Failure::Other, anyhow::Error::from(veto)),
        })
    }

    /// Begins a guest's turn.
    ///
    /// # Errors
    /// As [`Caller::before`]; nothing was changed.
    pub fn guest_start(&self, guest: &Guest) -> Result<Vec<String>, Failed> {
        let called = self.before(&guest_start(guest));
        called.map_err(|(kind, error)| (kind, error.context("nothing was changed")))
    }

    /// Ends a guest's turn.
    pub fn guest_end(&self, guest: &Guest, outcome: &mut GuestOutcome, begun: Stopwatch) {
        let event = guest_end(guest, outcome, begun);
        outcome.warnings.extend(event.map(|event| self.after(&event)).unwrap_or_default());
    }

    /// Does a part of a guest's turn between its hooks; those that come before it can stop it. Beside
    /// the result stands what failed without stopping anything.
    pub fn around<T>(
        &self,
        event: Event,
        work: impl FnOnce() -> Result<T, Failed>,
    ) -> (Result<T, Failed>, Vec<String>) {
        let begun = Stopwatch::start();
        let (mut warnings, result) = match self.before(&event) {
            Ok(warnings) => (warnings, work()),
            Err((kind, error)) => {
                let about =
                    event.point.as_ref().map_or_else(|| event.phase.to_string(), Clone::clone);
                (Vec::new(), Err((kind, error.context(about))))
            }
        };
        let at = if result.is_ok() { At::After } else { At::Abort };
        let error = result.as_ref().err().map(|(_, error)| format!("{error:#}"));
        warnings.extend(self.after(&event.at(at).ended(error, begun.elapsed().as_secs_f64())));
        (result, warnings)
    }

    /// Checks a guest's points: a turn with this one part. What `judge` makes of the result is what
    /// the hooks hear of, so that damage is none of the ends that are good.
    pub fn check<T>(
        &self,
        guest: &Guest,
        work: impl FnOnce() -> anyhow::Result<T>,
        judge: impl Fn(&anyhow::Result<T>) -> GuestOutcome,
    ) -> (anyhow::Result<T>, Vec<String>) {
        let begun = Stopwatch::start();
        let (mut warnings, mut found) = (Vec::new(), None);
        let checked = self.guest_start(guest).and_then(|said| {
            warnings.extend(said);
            let event = Event::new(Phase::new(About::Verify, At::Before)).of(guest);
            let (checked, said) = self.around(event, || {
                let outcome = judge(found.insert(work()));
                let why = anyhow::anyhow!(outcome.error.unwrap_or_default());
                outcome.failure.map_or(Ok(()), |failure| Err((failure, why)))
            });
            warnings.extend(said);
            checked
        });
        // What was not found was stopped before.
        let stopped = checked.err().map(|(_, error)| error);
        let result =
            found.unwrap_or_else(|| Err(stopped.unwrap_or_else(|| anyhow::anyhow!("stopped"))));
        let mut outcome = judge(&result);
        outcome.warnings.clear();
        self.guest_end(guest, &mut outcome, begun);
        warnings.extend(outcome.warnings);
        (result, warnings)
    }

    fn after(&self, event: &Event) -> Vec<String> {
        self.hooks.call_blocking(event, self.cancel).unwrap_or_default()
    }
}
