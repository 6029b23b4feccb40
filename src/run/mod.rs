//! The one loop of every command that acts: select guests; then for each, in its turn, ask the operation
//! for a plan, check it, carry it out, and ask again until nothing is left to do; then report. Hooks,
//! cancellation, the second look at what changed and the dry run stand here and nowhere else.

mod confirmed;
mod ends;
pub mod hooked;
mod one_turn;
mod turns;

pub use confirmed::{Confirm, confirmed};
pub use ends::{Interrupted, failure_of, kind_of};
pub use turns::in_turns;

use crate::context::Context;
use crate::execute::Finding;
use crate::operation::Operation;
use crate::plan::Plan;
use crate::report::Report;
use crate::repository::Repository;
use confirmed::Shown;
use one_turn::hooked_turn;
use std::path::Path;
use std::sync::Arc;

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
    /// What steps found, in the order of the report's guests.
    pub turns: Vec<Findings>,
}

/// What the steps of one guest's turn found.
#[derive(Debug, Default)]
pub struct Findings {
    /// The place that the turn was about, as the user names it, where a guest may have several.
    pub place: String,
    /// What they found, in their order.
    pub findings: Vec<Finding>,
}

/// Runs an operation.
///
/// # Errors
/// Only what keeps every guest from having its turn; a guest's own failure is in the report.
pub async fn run<O: Operation>(
    ctx: Arc<Context>,
    operation: O,
    mode: Mode,
) -> anyhow::Result<Performed> {
    job(ctx, Arc::new(operation), mode.into()).await
}

/// A run of an operation, between its hooks where it is carried out.
async fn job<O: Operation>(
    ctx: Arc<Context>,
    operation: Arc<O>,
    way: Way,
) -> anyhow::Result<Performed> {
    match way.mode {
        Mode::DryRun => selected_in_turns(ctx, operation, way).await,
        Mode::Execute => {
            let (hooks, cancel) = (ctx.hooks.clone(), ctx.cancel.clone());
            hooked::job(&hooks, &cancel, selected_in_turns(ctx, operation, way)).await
        }
    }
}

/// How far the turns of a run go.
#[derive(Clone)]
struct Way {
    mode: Mode,
    /// What a person has seen and said yes to; none where nobody was asked.
    shown: Option<Shown>,
}

impl From<Mode> for Way {
    fn from(mode: Mode) -> Self {
        Self { mode, shown: None }
    }
}

async fn selected_in_turns<O: Operation>(
    ctx: Arc<Context>,
    operation: Arc<O>,
    way: Way,
) -> anyhow::Result<Performed> {
    let started = ctx.clock.now();
    let selected = operation.select(&ctx).await?;
    let at_once = ctx.limits.guests;
    let turns = turns::in_turns(selected.subjects, at_once, |subject| {
        let (ctx, operation, way) = (ctx.clone(), operation.clone(), way.clone());
        async move { hooked_turn(&ctx, &*operation, subject, way).await }
    });
    let (mut outcomes, mut plans, mut found) = (Vec::new(), Vec::new(), Vec::new());
    let mut said = Vec::new();
    for turn in turns.await {
        if turn.is_empty {
            said.extend(turn.outcome.warnings);
            continue;
        }
        outcomes.push(turn.outcome);
        plans.extend(turn.plans);
        found.push(turn.found);
    }
    let span = (started, ctx.clock.now());
    let report = Report::new(operation.kind().name(), span, outcomes, selected.not_found);
    let mut report = operation.judge_run(report, &found);
    report.warnings.extend(said);
    // Whoever asked a file system now that does not answer would hang, too.
    if !ctx.limits.repository_hangs.is_cancelled() {
        report.warnings.extend(operation.afterwards(&ctx)?);
        report.warnings.extend(selected.uninitialized.and_then(|target| was_initialized(&target)));
    }
    Ok(Performed { report, plans, turns: found })
}

/// The directory may be another one than was meant, or a mount point without its mount. A file system
/// that does not answer any more has made the run fail already, and is told so.
fn was_initialized(target: &Repository) -> Option<String> {
    target.is_begun().unwrap_or(false).then(|| new_repository(target.path()))
}

/// What is said of a new repository.
pub fn new_repository(path: &Path) -> String {
    let path = path.display();
    format!("a new repository was begun in {path}: is it the one that you mean, and mounted?")
}
