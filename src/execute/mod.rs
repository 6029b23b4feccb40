//! Carries out one plan: order, scopes, what belongs undone after a failure. It decides nothing.
//!
//! Consecutive steps of a kind that allows it run at the same time. Everything that a step makes
//! goes onto a list before it is made; when a step fails, or the user wishes to stop, the list is
//! undone backwards and the plan fails as a whole. After the commit of a restore point nothing is
//! undone any more: what then fails becomes a warning, as the next run finds and repeats it; but
//! nobody is told that all is well when something that was asked for was not done.

mod adopt;
mod assemble;
mod audit;
mod compared;
mod copy;
mod engine;
mod failure;
mod findings;
mod freeze;
mod groups;
pub mod guard;
mod guest_snapshot;
mod held;
mod hooked;
mod left;
mod moving;
mod named;
mod outcome;
mod prune;
mod queue;
mod repair;
mod reserve;
mod restore;
mod scope;
mod state;
mod steps;
mod stopping;
mod stuck;
mod thaw;
mod transfer;
mod undo;
mod verify;

pub use adopt::FoundDamage;
pub use audit::damaged_file;
pub use compared::{DiskAudit, Ending, compared_points, what_is_wrong};
pub use findings::{Checked, Finding, NOT_ALL_READ, damage_line, not_done};
pub use held::{
    Assembling, CopiedGuest, Held, OldFiles, OpenPoint, Proven, Restoring, StoredGuest,
};
pub use prune::ReadPoints;
pub use state::{Frozen, StepResult};

use crate::cancel::Cancel;
use crate::context::Context;
use crate::plan::{KeptPoint, Plan, StepId};
use crate::report::{Failure, GuestOutcome};
use state::State;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Why a plan was not carried out. What it had made is gone again, unless the error says more.
#[derive(Debug)]
pub enum Stopped {
    /// The world is not what the survey saw; before anything of this guest was written.
    Changed(String),
    /// The user wished to stop.
    Interrupted,
    /// The user wished to stop, and not all is as before: the warnings name what is left.
    InterruptedHalfway,
    /// Another step of the plan failed, and what this one did would be thrown away.
    BecauseOfAnother,
    /// What is stored is not what it should be: the committed restore point is not what its source is, or
    /// a check found damage.
    Damaged(String),
    /// A step failed, in a way that has a kind of its own; what was done before stays.
    Ended(Failure, anyhow::Error),
    /// A step failed.
    Failed(anyhow::Error),
}

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Changed(what) | Self::Damaged(what) => f.write_str(what),
            Self::Interrupted | Self::InterruptedHalfway => f.write_str("interrupted"),
            Self::BecauseOfAnother => f.write_str("stopped, as another step failed"),
            Self::Failed(error) | Self::Ended(_, error) => write!(f, "{error:#}"),
        }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Stopped {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// A plan while it is carried out.
pub struct Execution {
    ctx: Arc<Context>,
    plan: Plan,
    held: Held,
    state: Mutex<State>,
    /// The user's wish to stop, or that the plan is to end as a step of it failed.
    stop: Cancel,
}

/// What came of a plan.
pub struct Executed {
    /// What is known of the guest until then.
    pub outcome: GuestOutcome,
    /// Why it did not get through.
    pub stopped: Option<Stopped>,
    /// What came of its steps; none of those that were not begun or were broken off.
    pub results: BTreeMap<StepId, StepResult>,
    /// Whether a thread hangs in the file system of the repository.
    pub is_stuck: bool,
    /// What its steps gave that others need, in their order.
    pub findings: Vec<Finding>,
}

/// Carries out a plan, and adds what came of it to the guest's outcome.
pub async fn run(ctx: Arc<Context>, plan: Plan, held: Held, mut outcome: GuestOutcome) -> Executed {
    outcome.is_about(&plan.guest);
    outcome.skipped.extend(plan.skipped.iter().cloned());
    outcome.warnings.extend(plan.warnings.iter().filter(|text| !is_said(&plan, text)).cloned());
    let state = Mutex::new(State::new(outcome));
    let stop = ctx.cancel.child();
    let execution = Arc::new(Execution { ctx, plan, held, state, stop });
    let result = execution.run_plan().await;
    if result.is_ok() {
        execution.call_late_hooks().await;
    }
    execution.see_it_thawed().await;
    execution.refresh_derived().await;
    let stopped = match result {
        Ok(()) => None,
        Err(stopped) => Some(execution.taken_back(stopped).await),
    };
    execution.clear_notes();
    let is_stuck = execution.state().is_stuck;
    let results = std::mem::take(&mut execution.state().results);
    let findings = std::mem::take(&mut execution.state().findings);
    let mut outcome = execution.take_outcome();
    if stopped.is_none() {
        outcome.not_whole.clone_from(&execution.plan.not_whole);
        outcome.not_removed.clone_from(&execution.plan.not_removed);
        let stays = |kept: &KeptPoint| format!("{} because {}", kept.point, kept.because);
        outcome.kept.extend(execution.plan.stays.iter().map(stays));
    }
    Executed { outcome, stopped, results, findings, is_stuck }
}

/// Whether a warning is what makes the guest fail: that is not said twice.
fn is_said(plan: &Plan, warning: &str) -> bool {
    plan.falls_short.as_ref().is_some_and(|(_, text)| text.starts_with(warning))
}

impl Execution {
    /// Takes back what the plan made, as far as that is undone at all, and says how it ended then.
    async fn taken_back(self: &Arc<Self>, stopped: Stopped) -> Stopped {
        let unthawed = self.state().unthawed.take();
        unthawed.into_iter().for_each(|text| self.warn(text));
        self.undo_all().await;
        self.clear_notes();
        match stopped {
            Stopped::Interrupted if self.state().is_left => Stopped::InterruptedHalfway,
            other => other,
        }
    }
}
