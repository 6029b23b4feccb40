//! Copying between repositories: the same order as everywhere (select, lock, survey, plan, check,
//! execute, report), without a cluster. Decisions stand in `plan::copy`.

use super::begun::Fresh;
use super::hooked::{self, Caller, Failed};
use super::prune::chosen;
use super::waiting::take;
use super::{Mode, Performed, kind_of};
use crate::cancel::Cancel;
use crate::clock::{Clock, Stopwatch};
use crate::execute::copy::{CopyWork, Proven, step};
use crate::hooks::Hooks;
use crate::model::Label;
use crate::plan::copy::{CopyPolicy, NoCopy, Source, plan};
use crate::plan::{Action, Plan, Step, check};
use crate::progress::Progress;
use crate::report::{Failure, GuestOutcome, Report};
use crate::repository::legacy::LegacyRepository;
use crate::repository::{Disk, GuestDir, Lock, LockMode, LockOptions, Repository, RepositoryError};
use crate::select::Selection;
use crate::survey;
use std::sync::Arc;
use std::time::Duration;

/// What the user wants to be copied.
pub struct CopyRequest {
    /// Where the points are.
    pub from: Repository,
    /// Where they are to be, too.
    pub to: Repository,
    /// Which guests of the source; all when absent.
    pub selection: Option<Selection>,
    /// Only points of this label, and what they need.
    pub label: Option<Label>,
    /// What becomes of the source.
    pub source: Source,
    /// Threads that decode and digest what arrived.
    pub threads: usize,
    /// How long to wait for locks; `None` does not wait.
    pub lock_wait: Option<Duration>,
    /// Who is told how far a copy is.
    pub progress: Arc<dyn Progress>,
    /// The user's own programs that are called on the way.
    pub hooks: Arc<Hooks>,
}

/// Copies the points of the selected guests, one guest after another.
///
/// # Errors
/// The repositories are not two, or cannot be listed; a guest's own failure is in the report.
pub fn copy(
    request: &CopyRequest,
    mode: Mode,
    clock: &Clock,
    cancel: &Cancel,
) -> anyhow::Result<Performed> {
    // Words that make no sense are no run.
    request.from.is_apart_from(&request.to)?;
    let work = || copy_in_turns(request, mode, clock, cancel);
    match mode {
        Mode::DryRun => work(),
        Mode::Execute => hooked::job_blocking(&request.hooks, cancel, work),
    }
}

fn copy_in_turns(
    request: &CopyRequest,
    mode: Mode,
    clock: &Clock,
    cancel: &Cancel,
) -> anyhow::Result<Performed> {
    let started = clock.now();
    let (guests, not_found) = chosen(&request.from, request.selection.as_ref())?;
    let fresh = Fresh::of(Some(&request.to))?;
    let (mut outcomes, mut plans) = (Vec::new(), Vec::new());
    for (guest, source) in guests {
        let outcome = GuestOutcome::new(&guest);
        if cancel.is_cancelled() {
            outcomes.push(outcome.failed(Failure::Interrupted, "interrupted".to_owned()));
            continue;
        }
        let (turn, begun) = (Turn { request, cancel }, Stopwatch::start());
        let (mut outcome, plan) = match turn.take(&source, mode) {
            Ok(taken) => taken,
            Err(failed) => (hooked::ended_early(outcome, failed), None),
        };
        if mode == Mode::Execute {
            turn.caller().guest_end(&guest, &mut outcome, begun);
        }
        outcomes.push(outcome);
        plans.extend(plan);
    }
    let mut report = Report::new("copy", (started, clock.now()), outcomes, not_found);
    report.warnings.extend(of_barc(&request.from)?);
    report.warnings.extend(fresh.told());
    Ok(Performed { report, plans })
}

/// A word about what stands there, too, and is not copied.
fn of_barc(from: &Repository) -> anyhow::Result<Option<String>> {
    let legacy = LegacyRepository::open(from.path(), Disk::real(), jiff::tz::TimeZone::UTC)?;
    let Some(legacy) = legacy else { return Ok(None) };
    let text = format!(
        "what eve4pve-barc wrote below {} is not copied: copy that directory as it is",
        from.path().display()
    );
    Ok((!legacy.directories()?.is_empty()).then_some(text))
}

/// One guest's turn.
struct Turn<'a> {
    request: &'a CopyRequest,
    cancel: &'a Cancel,
}

impl Turn<'_> {
    fn take(&self, source: &GuestDir, mode: Mode) -> Result<(GuestOutcome, Option<Plan>), Failed> {
        let target = survey::twin(source, &self.request.to).map_err(other)?;
        let Some(target) = target else {
            return Err(other(anyhow::anyhow!("nothing readable tells which guest it was")));
        };
        let (plan, unreadable) = self.plan(source, &target)?;
        if mode == Mode::DryRun {
            return Ok((GuestOutcome::new(&plan.guest), Some(plan)));
        }
        // Where nothing is to be copied, nothing is made. A lock makes the guest's directory in
        // the target, so the hooks come before it.
        let warnings = self.caller().guest_start(&plan.guest)?;
        if plan.items.is_empty() {
            let mut outcome = outcome_of(&plan);
            outcome.warnings.extend(warnings);
            return Ok((with_unreadable(outcome, Vec::new(), unreadable), None));
        }
        let moves = self.request.source == Source::Moves;
        let source_mode = if moves { LockMode::Exclusive } else { LockMode::Shared };
        let source_lock = self.lock(source, source_mode)?;
        self.request.to.begin().map_err(failed)?;
        let target_lock = self.lock(&target, LockMode::Exclusive)?;
        let (plan, unreadable) = self.plan(source, &target)?;
        let work = CopyWork {
            source,
            source_lock,
            target: &target,
            target_lock,
            threads: self.request.threads,
            progress: self.request.progress.as_ref(),
            cancel: self.cancel,
            proven: Proven::default(),
            volumes: Vec::new(),
        };
        let mut outcome = self.carry_out(&plan, work, unreadable);
        outcome.warnings.extend(warnings);
        Ok((outcome, None))
    }

    fn caller(&self) -> Caller<'_> {
        Caller { hooks: &self.request.hooks, cancel: self.cancel }
    }

    fn lock(&self, directory: &GuestDir, mode: LockMode) -> Result<Lock, Failed> {
        let options = LockOptions { wait: self.request.lock_wait, what: "copy".to_owned() };
        take(directory, mode, &options, self.cancel).map_err(|why| (why.failure(), why.into()))
    }

    /// The plan, and how much of the source cannot be read.
    fn plan(&self, source: &GuestDir, target: &GuestDir) -> Result<(Plan, usize), Failed> {
        let free = self.request.to.free_bytes().map_err(failed)?;
        let facts = survey::copy(source, target, free).map_err(other)?;
        let gone = || other(anyhow::anyhow!("its restore points are gone meanwhile"));
        let facts = facts.ok_or_else(gone)?;
        let policy = CopyPolicy { label: self.request.label.clone(), source: self.request.source };
        let plan = plan(&facts, &policy).map_err(|refusal| match refusal {
            NoCopy::Conflict { .. } => (Failure::Conflict, refusal.into()),
            _ => other(refusal.into()),
        })?;
        check::check(&plan).map_err(|violation| other(violation.into()))?;
        Ok((plan, facts.unreadable.len()))
    }

    /// A damaged point does not keep the others from being copied; any other failure ends the
    /// guest's turn. After a failure nothing goes from the source.
    fn carry_out(&self, plan: &Plan, mut work: CopyWork<'_>, unreadable: usize) -> GuestOutcome {
        tracing::debug!("plan:\n{plan}");
        let mut outcome = outcome_of(plan);
        let mut failures: Vec<(Failure, String)> = Vec::new();
        for planned in plan.steps() {
            if self.cancel.is_cancelled() {
                let text = "interrupted; every point is whole or not there, and what arrived is not sent again";
                return outcome.failed(Failure::Interrupted, text.to_owned());
            }
            let copies = matches!(planned.action, Action::CopyPoint(_));
            if !copies && !failures.is_empty() {
                break;
            }
            let mut act = || step(&mut work, &planned.action).map_err(|e| self.failure(planned, e));
            let (done, warnings) = match hooked::step_event(&plan.guest, &planned.action) {
                Some(event) => self.caller().around(event, act),
                None => (act(), Vec::new()),
            };
            outcome.warnings.extend(warnings);
            match done {
                Ok(done) => {
                    tracing::info!(guest = %plan.guest.vmid, "{done}");
                    self.request.progress.note(&done);
                    outcome.changes.push(done);
                }
                Err((kind, error)) => {
                    failures.push((kind, format!("{error:#}")));
                    if failures.last().is_some_and(|(kind, _)| *kind != Failure::Damage) {
                        break;
                    }
                }
            }
        }
        outcome.volumes = work.volumes;
        with_unreadable(outcome, failures, unreadable)
    }

    fn failure(&self, planned: &Step, error: anyhow::Error) -> Failed {
        let kind = match error.downcast_ref::<RepositoryError>() {
            _ if self.cancel.is_cancelled() => Failure::Interrupted,
            Some(RepositoryError::Damaged { .. } | RepositoryError::Incomplete { .. }) => {
                Failure::Damage
            }
            Some(RepositoryError::Taken { .. }) => Failure::Conflict,
            _ => Failure::Other,
        };
        (kind, error.context(planned.to_string()))
    }
}

fn outcome_of(plan: &Plan) -> GuestOutcome {
    GuestOutcome { warnings: plan.warnings.clone(), ..GuestOutcome::new(&plan.guest) }
}

/// The outcome with all that failed. What cannot be read was not copied, which is never "ok".
fn with_unreadable(
    outcome: GuestOutcome,
    mut failures: Vec<(Failure, String)>,
    unreadable: usize,
) -> GuestOutcome {
    if unreadable > 0 {
        let text = "something of the source cannot be read; see the warnings".to_owned();
        failures.push((Failure::Damage, text));
    }
    let Some((kind, _)) = failures.first() else { return outcome };
    let texts: Vec<&str> = failures.iter().map(|(_, text)| text.as_str()).collect();
    outcome.failed(*kind, texts.join("; "))
}

fn failed(error: RepositoryError) -> Failed {
    (kind_of(&error), error.into())
}

fn other(error: anyhow::Error) -> Failed {
    (Failure::Other, error)
}
