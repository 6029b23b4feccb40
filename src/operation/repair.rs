//! Repairing what is stored: the same order as everywhere (select, lock, survey, plan, check,
//! execute, report), without a cluster. What is put back may show what else is lost, so that a guest
//! is surveyed again until nothing more can be done. Decisions stand in `plan::repair`.

use super::hooked::{self, Caller, Failed};
use super::prune::chosen;
use super::waiting::take;
use super::{Mode, Performed};
use crate::cancel::Cancel;
use crate::clock::{Clock, Stopwatch};
use crate::execute::repair::step;
use crate::hooks::Hooks;
use crate::model::{Guest, Label};
use crate::plan::repair::plan;
use crate::plan::{Action, Plan, Step, check};
use crate::report::{Failure, GuestOutcome, Report};
use crate::repository::{GuestDir, Lock, LockMode, LockOptions, Mending, Repository};
use crate::select::Selection;
use crate::survey;
use std::sync::Arc;
use std::time::Duration;

/// What the user wants to be repaired.
pub struct RepairRequest {
    /// Which guests of the repository; all when absent.
    pub selection: Option<Selection>,
    /// Only points of this label.
    pub label: Option<Label>,
    /// The repository.
    pub repository: Repository,
    /// Threads that decode and digest what is read.
    pub threads: usize,
    /// How long to wait for locks; `None` does not wait.
    pub lock_wait: Option<Duration>,
    /// The user's own programs that are called on the way.
    pub hooks: Arc<Hooks>,
}

/// Repairs the selected guests, one after another. A wish to stop is heard between two pieces of an
/// image.
///
/// # Errors
/// The repository cannot be listed; a guest's own failure is in the report.
pub fn repair(
    request: &RepairRequest,
    mode: Mode,
    clock: &Clock,
    cancel: &Cancel,
) -> anyhow::Result<Performed> {
    let work = || in_turns(request, mode, clock, cancel);
    match mode {
        Mode::DryRun => work(),
        Mode::Execute => hooked::job_blocking(&request.hooks, cancel, work),
    }
}

fn in_turns(
    request: &RepairRequest,
    mode: Mode,
    clock: &Clock,
    cancel: &Cancel,
) -> anyhow::Result<Performed> {
    let started = clock.now();
    let (guests, not_found) = chosen(&request.repository, request.selection.as_ref())?;
    let (mut outcomes, mut plans) = (Vec::new(), Vec::new());
    for (guest, directory) in guests {
        let turn = Turn { request, directory: &directory, guest: &guest, cancel };
        let begun = Stopwatch::start();
        let taken = match mode {
            Mode::DryRun => turn.dry().map(|(outcome, plan)| (outcome, Some(plan))),
            Mode::Execute => turn.take().map(|outcome| (outcome, None)),
        };
        let (mut outcome, plan) = taken.unwrap_or_else(|failed| {
            (hooked::ended_early(GuestOutcome::new(&guest), failed), None)
        });
        if mode == Mode::Execute {
            turn.caller().guest_end(&guest, &mut outcome, begun);
        }
        outcomes.push(outcome);
        plans.extend(plan);
    }
    let report = Report::new("repair", (started, clock.now()), outcomes, not_found);
    Ok(Performed { report, plans })
}

/// One guest's turn.
struct Turn<'a> {
    request: &'a RepairRequest,
    directory: &'a GuestDir,
    guest: &'a Guest,
    cancel: &'a Cancel,
}

/// What came of a guest's plans so far.
#[derive(Default)]
struct Mended {
    done: Vec<String>,
    /// Steps that failed, which are not tried again, and why.
    failed: Vec<(Action, String)>,
    /// What the last plan knows that nothing mends.
    beyond: Vec<String>,
}

impl Turn<'_> {
    fn dry(&self) -> Result<(GuestOutcome, Plan), Failed> {
        let plan = self.plan().map_err(other)?;
        let outcome = GuestOutcome::new(&plan.guest);
        Ok((judged(outcome, plan.not_whole.clone()), plan))
    }

    fn take(&self) -> Result<GuestOutcome, Failed> {
        self.go_on()?;
        let options = LockOptions { wait: self.request.lock_wait, what: "repair".to_owned() };
        let lock = take(self.directory, LockMode::Exclusive, &options, self.cancel);
        let lock = lock.map_err(|error| (error.failure(), error.into()))?;
        let mut outcome = GuestOutcome::new(self.guest);
        outcome.warnings.extend(self.caller().guest_start(self.guest)?);
        let mut mended = Mended::default();
        let ended = self.rounds(&lock, &mut mended);
        if !mended.done.is_empty() {
            if let Err(error) = self.directory.refresh_derived(&lock) {
                let error = anyhow::Error::from(error);
                outcome.warnings.push(format!("RESTORE.txt is not up to date: {error:#}"));
            }
        }
        outcome.changes = mended.done;
        if let Err(failed) = ended {
            return Ok(hooked::ended_early(outcome, failed));
        }
        let failed = mended.failed.into_iter().map(|(_, why)| why);
        Ok(judged(outcome, mended.beyond.into_iter().chain(failed).collect()))
    }

    /// Plans and carries out until a plan holds nothing that was not tried.
    fn rounds(&self, lock: &Lock, mended: &mut Mended) -> Result<(), Failed> {
        loop {
            let plan = self.plan().map_err(other)?;
            tracing::debug!("plan:\n{plan}");
            mended.beyond.clone_from(&plan.not_whole);
            let is_new =
                |step: &&Step| mended.failed.iter().all(|(tried, _)| *tried != step.action);
            let steps: Vec<Step> = plan.steps().filter(is_new).cloned().collect();
            if steps.is_empty() {
                return Ok(());
            }
            for step in steps {
                self.go_on()?;
                self.one(&step, lock, mended);
            }
        }
    }

    fn one(&self, planned: &Step, lock: &Lock, mended: &mut Mended) {
        let progress = |_: u64| self.cancel.check();
        let mending = Mending { threads: self.request.threads, progress: &progress };
        match step(self.directory, lock, &mending, &planned.action) {
            Ok(done) => {
                tracing::info!(guest = %self.guest.vmid, "{done}");
                mended.done.push(done);
            }
            Err(error) => {
                let why = format!("{:#}", error.context(planned.to_string()));
                mended.failed.push((planned.action.clone(), why));
            }
        }
    }

    fn plan(&self) -> anyhow::Result<Plan> {
        let plan = plan(&survey::repair(self.directory, self.request.label.as_ref())?);
        check::check(&plan)?;
        Ok(plan)
    }

    fn go_on(&self) -> Result<(), Failed> {
        match self.cancel.is_cancelled() {
            true => Err((Failure::Interrupted, anyhow::anyhow!("interrupted; nothing is half"))),
            false => Ok(()),
        }
    }

    fn caller(&self) -> Caller<'_> {
        Caller { hooks: &self.request.hooks, cancel: self.cancel }
    }
}

fn other(error: anyhow::Error) -> Failed {
    (Failure::Other, error)
}

/// A guest of which something stays damaged is not repaired, whatever was done.
fn judged(outcome: GuestOutcome, beyond: Vec<String>) -> GuestOutcome {
    if beyond.is_empty() {
        return outcome;
    }
    let text = format!(
        "cannot be mended: {}; the points that need it can be removed with `delete`, the newest first, and then a \
         directory without a manifest by hand",
        beyond.join("; ")
    );
    outcome.failed(Failure::Damage, text)
}
