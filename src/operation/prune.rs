//! Pruning a repository: the same order as everywhere (select, lock, survey, plan, check, execute,
//! report), without a cluster: guests that are long gone and hosts that are no node have points,
//! too. Decisions stand in `plan::prune`.

use super::waiting::take;
use super::{Mode, Performed};
use crate::cancel::Cancel;
use crate::clock::Clock;
use crate::execute::prune::step;
use crate::model::{Guest, Label, Moment};
use crate::plan::prune::{PruneFacts, PrunePolicy, plan};
use crate::plan::{Plan, check};
use crate::report::{Failure, GuestOutcome, Report};
use crate::repository::image::ImageOptions;
use crate::repository::{GuestDir, Lock, LockMode, LockOptions, Repository};
use crate::retention::Rules;
use crate::select::{Candidate, Selection, select};
use crate::survey;
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
    /// How long to wait for locks; `None` waits without limit.
    pub lock_wait: Option<Duration>,
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
    let started = clock.now();
    let (guests, not_found) = selected(request)?;
    let (mut outcomes, mut plans) = (Vec::new(), Vec::new());
    for (guest, directory) in guests {
        let outcome = GuestOutcome::new(&guest);
        if cancel.is_cancelled() {
            outcomes.push(outcome.failed(Failure::Interrupted, "interrupted".to_owned()));
            continue;
        }
        let turn = Turn { request, directory: &directory, now: clock.now(), cancel };
        match turn.take(mode) {
            Ok((outcome, plan)) => {
                outcomes.push(outcome);
                plans.extend(plan);
            }
            Err((failure, error)) => outcomes.push(outcome.failed(failure, format!("{error:#}"))),
        }
    }
    let report = Report::new("prune", (started, clock.now()), outcomes, not_found);
    Ok(Performed { report, plans })
}

type Present = (Guest, GuestDir);

/// Guests as their directories tell, so that two with one vmid are two.
fn selected(request: &PruneRequest) -> anyhow::Result<(Vec<Present>, Vec<String>)> {
    let mut present = Vec::new();
    for directory in request.repository.guests()? {
        if let Some(facts) = survey::prune(&directory)? {
            present.push((facts.guest, directory));
        }
    }
    let Some(selection) = &request.selection else { return Ok((present, Vec::new())) };
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

type Failed = (Failure, anyhow::Error);

impl Turn<'_> {
    fn take(&self, mode: Mode) -> Result<(GuestOutcome, Option<Plan>), Failed> {
        if mode == Mode::DryRun {
            let plan = self.plan().map_err(|error| (Failure::Other, error))?;
            return Ok((GuestOutcome::new(&plan.guest), Some(plan)));
        }
        let options = LockOptions { wait: self.request.lock_wait, what: "prune".to_owned() };
        let lock = take(self.directory, LockMode::Exclusive, &options, self.cancel);
        let lock = lock.map_err(|error| (error.failure(), error.into()))?;
        let plan = self.plan().map_err(|error| (Failure::Other, error))?;
        self.carry_out(&plan, &lock).map(|outcome| (outcome, None))
    }

    fn plan(&self) -> anyhow::Result<Plan> {
        let facts = survey::prune(self.directory)?;
        // Emptied since it was selected.
        let facts: PruneFacts =
            facts.ok_or_else(|| anyhow::anyhow!("its restore points are gone meanwhile"))?;
        let (label, rules) = (self.request.label.clone(), self.request.rules.clone());
        let plan = plan(&facts, &PrunePolicy { label, rules, now: self.now });
        check::check(&plan)?;
        Ok(plan)
    }

    fn carry_out(&self, plan: &Plan, lock: &Lock) -> Result<GuestOutcome, Failed> {
        tracing::debug!("plan:\n{plan}");
        let mut outcome = GuestOutcome::new(&plan.guest);
        outcome.warnings.clone_from(&plan.warnings);
        for planned in plan.steps() {
            if self.cancel.is_cancelled() {
                return Err((
                    Failure::Interrupted,
                    anyhow::anyhow!("interrupted; nothing is half"),
                ));
            }
            let done = step(self.directory, lock, &self.request.image, &planned.action)
                .map_err(|error| (Failure::Other, error.context(planned.to_string())))?;
            tracing::info!(guest = %plan.guest.vmid, "{done}");
            outcome.changes.push(done);
        }
        Ok(outcome)
    }
}
