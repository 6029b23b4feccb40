//! The heart: select, then per guest lock, survey, plan, check, execute; report. Every command
//! that changes something ends here; what it may change stands in its plan and nowhere else.

mod adopt;
mod assemble;
mod audit;
mod backup;
mod begun;
mod copy;
mod guests;
pub mod hooked;
mod point;
mod prune;
mod repair;
mod reset;
mod restore;
mod snapshot;
mod turns;
mod verify;
mod waiting;

pub use adopt::AdoptRequest;
pub use assemble::{AssembleRequest, assemble};
pub use audit::{AuditRequest, DiskAudit, GuestAudit, PointAudit, audit};
pub use backup::BackupRequest;
pub use begun::new_repository;
pub use copy::{CopyRequest, copy};
pub use point::{PointAct, PointRequest, act_on_point, point_name};
pub use prune::{PruneRequest, prune};
pub use repair::{RepairRequest, repair};
pub use reset::{ResetRequest, ResetTarget, owner_of as volume_owner};
pub use restore::RestoreRequest;
pub use snapshot::{RollbackRequest, SnapshotRequest, SnapshotRun, Snapshots, rollback, snapshot};
pub use verify::{CheckRequest, Checked, Meant, verify};
pub use waiting::{Interrupted, NoLock, failure_of};

use crate::cancel::Cancel;
use crate::clock::Stopwatch;
use crate::execute::{self, FoundDamage, Stopped, Work};
use crate::model::Guest;
use crate::plan::{Plan, check};
use crate::report::{Failure, GuestOutcome, Report};
use crate::repository::{Repository, RepositoryError};
use crate::world::World;
use begun::Fresh;
use std::sync::Arc;
use std::time::Duration;

/// What is to be done.
// There is one per run: its size in memory does not matter.
#[allow(clippy::large_enum_variant)]
pub enum Operation {
    /// Back selected guests up into a repository.
    Backup(BackupRequest),
    /// Bring a guest, or single volumes, back from a repository.
    Restore(RestoreRequest),
    /// Delete our own snapshots from volumes.
    Reset(ResetRequest),
    /// Go on with what eve4pve-barc saved.
    Adopt(AdoptRequest),
}

/// Whether the plans are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// They are.
    Execute,
    /// They are only made and handed back; nothing is locked and nothing is written.
    DryRun,
}

/// What came of it.
pub struct Performed {
    /// What was done, or would have been refused.
    pub report: Report,
    /// The plans, in the order of the selection; only of a dry run.
    pub plans: Vec<Plan>,
}

/// Performs an operation.
///
/// # Errors
/// Only what keeps every guest from having its turn; a guest's own failure is in the report.
pub async fn perform(
    world: Arc<World>,
    operation: Operation,
    mode: Mode,
) -> anyhow::Result<Performed> {
    match mode {
        Mode::DryRun => selected_in_turns(world, operation, mode).await,
        Mode::Execute => {
            let (hooks, cancel) = (world.hooks.clone(), world.cancel.clone());
            hooked::job(&hooks, &cancel, selected_in_turns(world, operation, mode)).await
        }
    }
}

async fn selected_in_turns(
    world: Arc<World>,
    operation: Operation,
    mode: Mode,
) -> anyhow::Result<Performed> {
    let started = world.clock.now();
    let name = operation.name();
    let (guests, not_found) = operation.select(&world)?;
    let target = operation.target().cloned();
    let fresh = Fresh::of(target.as_ref())?;
    let operation = Arc::new(operation);
    let at_once = world.limits.guests;
    let turns = turns::in_turns(guests, at_once, |guest| {
        let (world, operation) = (world.clone(), operation.clone());
        async move { operation.hooked_turn(&world, guest, mode).await }
    });
    let turns = turns.await;
    let (outcomes, plans): (Vec<_>, Vec<_>) = turns.into_iter().unzip();
    let span = (started, world.clock.now());
    let mut report = Report::new(name, span, outcomes, not_found);
    report.warnings.extend(fresh.told());
    Ok(Performed { report, plans: plans.into_iter().flatten().collect() })
}

type Turn = (GuestOutcome, Option<Plan>);

impl Operation {
    fn name(&self) -> &'static str {
        match self {
            Self::Backup(_) => "backup",
            Self::Restore(_) => "restore",
            Self::Reset(_) => "reset",
            Self::Adopt(_) => "adopt",
        }
    }

    fn select(&self, world: &World) -> anyhow::Result<(Vec<Guest>, Vec<String>)> {
        match self {
            Self::Backup(request) => guests::selected(world, &request.selection),
            Self::Restore(request) => Ok((vec![request.guest()], Vec::new())),
            Self::Reset(request) => request.select(world),
            Self::Adopt(request) => guests::selected(world, &request.selection),
        }
    }

    /// The repository that it writes to.
    fn target(&self) -> Option<&Repository> {
        match self {
            Self::Backup(request) => Some(&request.repository),
            Self::Adopt(request) => Some(&request.repository),
            Self::Restore(_) | Self::Reset(_) => None,
        }
    }

    /// One guest's turn, and then the hooks that hear of its end.
    async fn hooked_turn(&self, world: &Arc<World>, guest: Guest, mode: Mode) -> Turn {
        let begun = Stopwatch::start();
        let (mut outcome, plan) = self.turn(world, guest.clone(), mode).await;
        if mode == Mode::Execute {
            if let Some(event) = hooked::guest_end(&guest, &outcome, begun) {
                let called = world.hooks.call(&event, &world.cancel).await;
                outcome.warnings.extend(called.unwrap_or_default());
            }
        }
        (outcome, plan)
    }

    /// One guest's turn, with what its hooks and a first try told.
    async fn turn(&self, world: &Arc<World>, guest: Guest, mode: Mode) -> Turn {
        let mut told = Told::default();
        let (mut outcome, plan) = self.tries(world, guest, mode, &mut told).await;
        told.first_try.retain(|warning| !outcome.warnings.contains(warning));
        let of_first = told.first_try.iter().map(|warning| format!("in the first try: {warning}"));
        outcome.warnings.extend(of_first);
        outcome.warnings.extend(told.hooks.unwrap_or_default());
        (outcome, plan)
    }

    /// What changed under our hands before anything was written is surveyed and planned once more;
    /// then the guest fails. Its hooks hear of its start once it is clear that something will be
    /// done for it, and before anything is.
    async fn tries(&self, world: &Arc<World>, guest: Guest, mode: Mode, told: &mut Told) -> Turn {
        for last_try in [false, true] {
            if world.cancel.is_cancelled() {
                break;
            }
            let outcome = GuestOutcome::new(&guest);
            let prepared = tokio::select! {
                biased;
                prepared = until_stopped(&world.cancel, self.prepare(world, &guest, mode)) => prepared,
                () = world.limits.repository_hangs.cancelled() => Some(Err(Refusal::repository_hangs())),
            };
            let Some(prepared) = prepared else { break };
            let (prepared, refusal) = match prepared {
                Ok(prepared) => (prepared, None),
                Err(Refusal::AfterRecovery(prepared, refusal)) => (*prepared, Some(*refusal)),
                Err(refusal) => return (refusal.outcome(outcome), None),
            };
            if let Err(violation) = check::check(&prepared.plan) {
                return (outcome.failed(Failure::Other, violation.to_string()), None);
            }
            let Some(work) = prepared.work else {
                return (refused(refusal, outcome), Some(prepared.plan));
            };
            tracing::debug!("plan:\n{}", prepared.plan);
            if told.hooks.is_none() && refusal.is_none() {
                let called = world.hooks.call(&hooked::guest_start(&guest), &world.cancel).await;
                match called {
                    Ok(warnings) => told.hooks = Some(warnings),
                    Err(veto) => return (hooked::vetoed(outcome, veto, &world.cancel), None),
                }
            }
            match execute::run(world.clone(), prepared.plan, work).await {
                Ok(outcome) => return (refused(refusal, outcome), None),
                Err((Stopped::Changed(what), first)) if !last_try => {
                    tracing::info!(guest = %guest.vmid, "surveyed again: {what}");
                    told.first_try = first.warnings;
                }
                Err((stopped, outcome)) => return (stopped_outcome(stopped, outcome), None),
            }
        }
        let outcome = GuestOutcome::new(&guest);
        (stopped_outcome(Stopped::Interrupted, outcome), None)
    }

    async fn prepare(
        &self,
        world: &Arc<World>,
        guest: &Guest,
        mode: Mode,
    ) -> Result<Prepared, Refusal> {
        match self {
            Self::Backup(request) => request.prepare(world, guest, mode).await,
            Self::Restore(request) => request.prepare(world, mode).await,
            Self::Reset(request) => request.prepare(world, guest, mode).await,
            Self::Adopt(request) => request.prepare(world, guest, mode).await,
        }
    }
}

/// Work that changes nothing yet. Once the user wishes to stop it is given a moment to say for what it
/// waited, and then dropped: none is the result.
async fn until_stopped<T>(cancel: &Cancel, work: impl Future<Output = T>) -> Option<T> {
    let mut work = std::pin::pin!(work);
    tokio::select! {
        biased;
        done = &mut work => return Some(done),
        () = cancel.cancelled() => {}
    }
    tokio::time::timeout(LAST_WORDS, work).await.ok()
}

/// How long what waits may take to end by itself once the user wishes to stop.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A plan and, when it is to be carried out, what its steps work on.
struct Prepared {
    plan: Plan,
    work: Option<Work>,
}

/// What a turn told before its outcome was there.
#[derive(Default)]
struct Told {
    /// The hooks of its start; none before they were called.
    hooks: Option<Vec<String>>,
    /// The try after which the guest was surveyed again.
    first_try: Vec<String>,
}

/// Why a guest has no plan. Nothing of it was changed.
enum Refusal {
    /// It cannot be done, but what an interrupted run left must be put right all the same.
    AfterRecovery(Box<Prepared>, Box<Refusal>),
    /// Its configuration leaves it out.
    Skipped(String),
    /// It cannot be done.
    Failed(Failure, anyhow::Error),
}

impl Refusal {
    /// Another guest's transfer hangs in the file system of the repository.
    fn repository_hangs() -> Self {
        let text = "the file system of the repository does not answer, a transfer hangs in it; nothing was changed for this guest: look at its mount and its server, and run this again";
        Self::Failed(Failure::Other, anyhow::anyhow!(text))
    }

    fn outcome(self, outcome: GuestOutcome) -> GuestOutcome {
        match self {
            Self::Skipped(reason) => outcome.skipped_because(reason),
            Self::Failed(failure, error) => outcome.failed(failure, format!("{error:#}")),
            Self::AfterRecovery(_, refusal) => refusal.outcome(outcome),
        }
    }
}

fn refused(refusal: Option<Refusal>, outcome: GuestOutcome) -> GuestOutcome {
    match refusal {
        Some(refusal) => refusal.outcome(outcome),
        None => outcome,
    }
}

impl<E: Into<anyhow::Error>> From<E> for Refusal {
    fn from(error: E) -> Self {
        let error = error.into();
        let waited = error.downcast_ref::<waiting::NoLock>().map(waiting::NoLock::failure);
        let failure = waited.unwrap_or_else(|| {
            error.downcast_ref::<RepositoryError>().map_or(Failure::Other, kind_of)
        });
        Self::Failed(failure, error)
    }
}

fn kind_of(error: &RepositoryError) -> Failure {
    match error {
        RepositoryError::Locked { .. } => Failure::Locked,
        _ => Failure::Other,
    }
}

fn stopped_outcome(stopped: Stopped, outcome: GuestOutcome) -> GuestOutcome {
    match stopped {
        Stopped::Interrupted => {
            outcome.failed(Failure::Interrupted, "interrupted; nothing half is left".to_owned())
        }
        Stopped::InterruptedHalfway => {
            let text = "interrupted; the warnings name what is left, and the next run of the guest looks for it";
            outcome.failed(Failure::Interrupted, text.to_owned())
        }
        Stopped::BecauseOfAnother => {
            outcome.failed(Failure::Other, "stopped, as another step failed".to_owned())
        }
        Stopped::Changed(what) => outcome.failed(
            Failure::Other,
            format!("{what}, twice within one run; nothing was changed, run it again"),
        ),
        Stopped::Damaged(what) => outcome.failed(Failure::Damage, what),
        Stopped::Failed(error) => {
            let damage = error.chain().any(|e| e.is::<FoundDamage>());
            let failure = if damage { Failure::Damage } else { Failure::Other };
            outcome.failed(failure, format!("{error:#}"))
        }
    }
}
