//! The hooks of a whole run and of one guest's turn in it. Those around the steps of a plan are the
//! executor's.
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
use crate::cancel::Cancel;
use crate::clock::Stopwatch;
use crate::hooks::{About, At, Event, Hooks, Phase, Veto};
use crate::model::Guest;
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
