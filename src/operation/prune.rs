//! Pruning a repository: the same order as everywhere (select, lock, survey, plan, check, execute,
//! report), without a cluster: guests that are long gone and hosts that are no node have points,
//! too. Decisions stand in `plan::prune`.

use super::hooked::{Caller, Failed};
use super::waiting::take;
use super::{Mode, Performed, hooked};
use crate::cancel::Cancel;
use crate::clock::{Clock, Stopwatch};
use crate::execute::damaged_file;
use crate::execute::prune::Pruner;
use crate::hooks::Hooks;
use crate::model::{Guest, Label, Moment};
use crate::plan::prune::{PruneFacts, PrunePolicy, plan};
use crate::plan::{Plan, Step, check};
use crate::report::{Failure, GuestOutcome, GuestStatus, Report};
use crate::repository::image::ImageOptions;
use crate::repository::{GuestDir, Lock, LockMode, LockOptions, Repository};
use crate::retention::Rules;
use crate::select::{Candidate, Selection, select};
use crate::survey;
use std::sync::Arc;
use std::time::Duration;

/// What the user wants to be pruned.
pub struct PruneRequest {
    /// Which guests of the repository; all when absent.
    pub selection: Option<Selection>,
    /// Only points of this label.
    pub label: Option<Label>,
    /// The repository.
    pub repository: Repository,
    /// The rules.
    pub rules: Rules,
    /// How merged images are written.
    pub image: ImageOptions,
    /// How long to wait for locks; `None` does not wait.
    pub lock_wait: Option<Duration>,
    /// The user's own programs that are called on the way.
    pub hooks: Arc<Hooks>,
}

/// Prunes the selected guests, one after another. A wish to stop is heard between two points.
///
/// # Errors
/// The repository cannot be listed; a guest's own failure is in the report.
pub fn prune(
    request: &PruneRequest,
    mode: Mode,
    clock: &Clock,
    cancel: &Cancel,
) -> anyhow::Result<Performed> {
    let work = || prune_in_turns(request, mode, clock, cancel);
    match mode {
        Mode::DryRun => work(),
        Mode::Execute => hooked::job_blocking(&request.hooks, cancel, work),
    }
}

fn prune_in_turns(
    request: &PruneRequest,
    mode: Mode,
    clock: &Clock,
    cancel: &Cancel,
) -> anyhow::Result<Performed> {
    let started = clock.now();
    let (guests, not_found) = chosen(&request.repository, request.selection.as_ref())?;
    let (mut outcomes, mut plans) = (Vec::new(), Vec::new());
    for (guest, directory) in guests {
        let outcome = GuestOutcome::new(&guest);
        if cancel.is_cancelled() {
            outcomes.push(outcome.failed(Failure::Interrupted, "interrupted".to_owned()));
            continue;
        }
        let turn = Turn { request, directory: &directory, now: clock.now(), cancel };
        let begun = Stopwatch::start();
        let (mut outcome, plan) = match turn.take(mode) {
            Ok(taken) => taken,
            Err(failed) => (hooked::ended_early(outcome, failed), None),
        };
        if mode == Mode::Execute {
            turn.caller().guest_end(&guest, &mut outcome, begun);
        }
        outcomes.push(outcome);
        plans.extend(plan);
    }
    let report = Report::new("prune", (started, clock.now()), outcomes, not_found);
    Ok(Performed { report, plans })
}

/// A guest as a repository tells, and its directory there.
pub(super) type Present = (Guest, GuestDir);

/// Guests as their directories tell, so that two with one vmid are two.
pub(super) fn chosen(
    repository: &Repository,
    selection: Option<&Selection>,
) -> anyhow::Result<(Vec<Present>, Vec<String>)> {
    let mut present = Vec::new();
    for directory in repository.guests()? {
        // One guest that cannot be read is no reason to pass the others by: its own turn says why.
        match survey::prune(&directory) {
            Ok(Some(facts)) => present.push((facts.guest, directory)),
            Ok(None) => {}
            Err(_) => present.push((survey::unread_guest(&directory), directory)),
        }
    }
    let Some(selection) = selection else { return Ok((present, Vec::new())) };
    let candidate = |(guest, _): &Present| Candidate {
        guest: guest.clone(),
        pools: Vec::new(),
        tags: Vec::new(),
        storages: Vec::new(),
        template: false,
    };
    let candidates: Vec<Candidate> = present.iter().map(candidate).collect();
    let selected = select(selection, &candidates);
    present.retain(|(guest, _)| selected.guests.contains(guest));
    Ok((present, selected.empty_items))
}

/// One guest's turn.
struct Turn<'a> {
    request: &'a PruneRequest,
    directory: &'a GuestDir,
    now: Moment,
    cancel: &'a Cancel,
}

impl Turn<'_> {
    fn take(&self, mode: Mode) -> Result<(GuestOutcome, Option<Plan>), Failed> {
        if mode == Mode::DryRun {
            let (plan, frozen) = self.plan().map_err(|error| (Failure::Other, error))?;
            let mut outcome = GuestOutcome::new(&plan.guest);
            outcome.not_whole.clone_from(&plan.not_whole);
            return Ok((frozen_or_ok(outcome, frozen), Some(plan)));
        }
        let options = LockOptions { wait: self.request.lock_wait, what: "prune".to_owned() };
        let lock = take(self.directory, LockMode::Exclusive, &options, self.cancel);
        let lock = lock.map_err(|error| (error.failure(), error.into()))?;
        let (plan, frozen) = self.plan().map_err(|error| (Failure::Other, error))?;
        self.carry_out(&plan, &lock).map(|outcome| (frozen_or_ok(outcome, frozen), None))
    }

    /// The plan, and why nothing may be removed, if so.
    fn plan(&self) -> anyhow::Result<(Plan, Option<Frozen>)> {
        let facts = survey::prune(self.directory)?;
        // Emptied since it was selected.
        let facts: PruneFacts =
            facts.ok_or_else(|| anyhow::anyhow!("its restore points are gone meanwhile"))?;
        let (label, rules) = (self.request.label.clone(), self.request.rules.clone());
        let plan = plan(&facts, &PrunePolicy { label, rules, new: None, now: self.now });
        check::check(&plan)?;
        let failure = if facts.is_damaged { Failure::Damage } else { Failure::Other };
        Ok((plan, facts.frozen_repository.map(|why| (failure, why))))
    }

    fn caller(&self) -> Caller<'_> {
        Caller { hooks: &self.request.hooks, cancel: self.cancel }
    }

    fn carry_out(&self, plan: &Plan, lock: &Lock) -> Result<GuestOutcome, Failed> {
        tracing::debug!("plan:\n{plan}");
        let mut outcome = GuestOutcome::new(&plan.guest);
        outcome.warnings.clone_from(&plan.warnings);
        outcome.not_whole.clone_from(&plan.not_whole);
        outcome.warnings.extend(self.caller().guest_start(&plan.guest)?);
        let mut pruner = Pruner::new(self.directory, lock, self.request.image);
        let ended = self.steps(plan, &mut pruner, outcome);
        pruner.finish();
        Ok(ended)
    }

    /// What was done before a step failed, or the user wished to stop, is told all the same.
    fn steps(
        &self,
        plan: &Plan,
        pruner: &mut Pruner<'_>,
        mut outcome: GuestOutcome,
    ) -> GuestOutcome {
        for planned in plan.steps() {
            if self.cancel.is_cancelled() {
                let text = "interrupted; nothing is half".to_owned();
                return outcome.failed(Failure::Interrupted, text);
            }
            let mut work = || done(planned, pruner.step(&planned.action));
            let (done, warnings) = match hooked::step_event(&plan.guest, &planned.action) {
                Some(event) => self.caller().around(event, work),
                None => (work(), Vec::new()),
            };
            outcome.warnings.extend(warnings);
            let done = match done {
                Ok(done) => done,
                Err(failed) => return hooked::ended_early(outcome, failed),
            };
            tracing::info!(guest = %plan.guest.vmid, "{done}");
            outcome.changes.push(done);
        }
        outcome
    }
}

/// Why nothing of a guest may be removed, and what kind of failure that is.
type Frozen = (Failure, String);

/// A guest of which nothing may be removed was not pruned, whatever its plan came to.
fn frozen_or_ok(mut outcome: GuestOutcome, frozen: Option<Frozen>) -> GuestOutcome {
    let Some((failure, why)) = frozen.filter(|_| outcome.status == GuestStatus::Ok) else {
        return outcome;
    };
    let next = match failure {
        Failure::Damage => "`verify` tells what that costs",
        _ => "prune with the version that wrote it",
    };
    let text = format!("nothing of this guest is removed from the repository: {why}; {next}");
    // The plan's warning says the same.
    outcome.warnings.retain(|warning| !text.starts_with(warning));
    outcome.failed(failure, text)
}

fn done(planned: &Step, result: anyhow::Result<String>) -> Result<String, Failed> {
    result.map_err(|error| {
        let error = error.context(planned.to_string());
        if damaged_file(&error).is_none() {
            return (Failure::Other, error);
        }
        let next = "`verify --mark` notes which points that costs, and no backup goes on with it";
        (Failure::Damage, anyhow::anyhow!("{error:#}; {next}"))
    })
}
