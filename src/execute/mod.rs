//! Carries out one plan: order, scopes, what belongs undone after a failure. It decides nothing.
//!
//! Consecutive steps of a kind that allows it run at the same time. Everything that a step makes
//! goes onto a list before it is made; when a step fails, or the user wishes to stop, the list is
//! undone backwards and the plan fails as a whole. After the commit of a restore point nothing is
//! undone any more: what then fails becomes a warning, as the next run finds and repeats it; but
//! nobody is told that all is well when something that was asked for was not done.

mod adopt;
mod audit;
pub mod copy;
mod freeze;
mod groups;
pub mod guard;
mod hooked;
mod left;
mod moving;
pub mod prune;
pub mod repair;
mod reserve;
mod reset;
mod restore;
mod save;
pub mod snapshot;
mod state;
mod stopping;
mod thaw;
mod transfer;
mod undo;

pub use adopt::{AdoptWork, FoundDamage};
pub use audit::{compare_with_source, damaged_file};
pub use reset::ResetWork;
pub use restore::RestoreWork;
pub use save::BackupWork;
pub use state::Frozen;

use crate::cancel::Cancel;
use crate::plan::{Action, Item, KeptPoint, Plan, Step};
use crate::report::{Failure, GuestOutcome};
use crate::world::World;
use groups::{is_audit, is_pruning, is_removal, run_together};
use state::State;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::task::JoinSet;

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
    /// The committed restore point is not what its source is.
    Damaged(String),
    /// A step failed.
    Failed(anyhow::Error),
}

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Changed(what) | Self::Damaged(what) => f.write_str(what),
            Self::Interrupted | Self::InterruptedHalfway => f.write_str("interrupted"),
            Self::BecauseOfAnother => f.write_str("stopped, as another step failed"),
            Self::Failed(error) => write!(f, "{error:#}"),
        }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Stopped {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// What the steps of a plan work on.
pub enum Work {
    /// A backup: the open restore point and what was surveyed for it.
    Backup(Box<BackupWork>),
    /// A restore: the restore point that is read.
    Restore(Box<RestoreWork>),
    /// A reset: the locks of the chains' guests.
    Reset(Box<ResetWork>),
    /// An adoption: the open restore point and the old tool's files.
    Adopt(Box<AdoptWork>),
}

/// A plan while it is carried out.
pub struct Execution {
    world: Arc<World>,
    plan: Plan,
    work: Work,
    state: Mutex<State>,
    /// The user's wish to stop, or that the plan is to end as a step of it failed.
    stop: Cancel,
}

/// Carries out a plan. The outcome is that of the guest, complete but for its status.
///
/// # Errors
/// The step that failed, together with what is known of the guest until then.
pub async fn run(
    world: Arc<World>,
    plan: Plan,
    work: Work,
) -> Result<GuestOutcome, (Stopped, GuestOutcome)> {
    let mut outcome = GuestOutcome::new(&plan.guest);
    outcome.skipped.clone_from(&plan.skipped);
    outcome.warnings.clone_from(&plan.warnings);
    let state = Mutex::new(State::new(outcome));
    let stop = world.cancel.child();
    let execution = Arc::new(Execution { world, plan, work, state, stop });
    let done = carried_out(&execution).await;
    execution.let_go().await;
    done
}

async fn carried_out(execution: &Arc<Execution>) -> Result<GuestOutcome, (Stopped, GuestOutcome)> {
    let result = execution.clone().run_items().await;
    execution.see_it_thawed().await;
    if let Err(stopped) = result {
        let unthawed = execution.state().unthawed.take();
        unthawed.into_iter().for_each(|text| execution.warn(text));
        execution.undo_all().await;
        execution.clear_notes();
        let stopped = match stopped {
            Stopped::Interrupted if execution.state().is_left => Stopped::InterruptedHalfway,
            other => other,
        };
        return Err((stopped, execution.take_outcome()));
    }
    execution.clear_notes();
    let mut outcome = execution.take_outcome();
    outcome.not_whole.clone_from(&execution.plan.not_whole);
    if matches!(execution.work, Work::Reset(_) | Work::Adopt(_)) {
        let kept = |kept: &KeptPoint| format!("{} because {}", kept.point, kept.because);
        outcome.kept = execution.plan.kept.iter().map(kept).collect();
    }
    Ok(outcome)
}

impl Execution {
    async fn run_items(self: Arc<Self>) -> Result<(), Stopped> {
        let mut rest = &self.plan.items[..];
        while let Some(item) = rest.first() {
            let beside = rest.iter().take_while(|other| run_together(item, other)).count().max(1);
            let count = if is_removal(rest) { 2 } else { beside };
            let (group, later) = rest.split_at(count);
            rest = later;
            self.judged(group.first())?;
            if self.world.cancel.is_cancelled() {
                if !self.is_committed() {
                    return Err(Stopped::Interrupted);
                }
                self.note_not_done(group.iter().chain(rest));
                break;
            }
            if self.state().unaudited.is_some() && is_pruning(&group[0]) {
                continue;
            }
            if let Err(stopped) = self.clone().run_group(group).await {
                self.after_failure(group, stopped).await?;
            }
            self.keep_single_volumes(group, rest);
        }
        self.judged(None)
    }

    /// Ends a run whose new point differs from its source when all its volumes were compared: then
    /// nothing more is to go.
    fn judged(&self, next: Option<&Item>) -> Result<(), Stopped> {
        let damage = self.state().damage.join("; ");
        if damage.is_empty() || next.is_some_and(is_audit) {
            return Ok(());
        }
        Err(Stopped::Damaged(format!(
            "the restore point is committed, but {damage}; what is concerned is marked as failed, nothing \
             more was deleted or pruned, and the next backup makes a new base"
        )))
    }

    async fn run_group(self: Arc<Self>, group: &[Item]) -> Result<(), Stopped> {
        match group {
            [Item::Scope(scope, steps)] => {
                self.between_hooks(steps, self.clone().while_frozen(*scope, steps)).await
            }
            items => {
                let steps = items.iter().filter_map(|item| match item {
                    Item::Step(step) => Some(step.clone()),
                    Item::Scope(..) => None,
                });
                let steps: Vec<Step> = steps.collect();
                // Snapshots of one guest belong to one moment: no hook comes between them.
                if matches!(steps.first().map(|s| &s.action), Some(Action::CreateSnapshot { .. })) {
                    let work = self.clone().run_beside(steps.clone());
                    return self.between_hooks(&steps, work).await;
                }
                if is_removal(items) {
                    return self.between_hooks(&steps, self.clone().run_in_order(&steps)).await;
                }
                self.run_hooked(steps).await
            }
        }
    }

    /// Runs steps one after another.
    async fn run_in_order(self: Arc<Self>, steps: &[Step]) -> Result<(), Stopped> {
        for step in steps {
            self.clone().run_beside(vec![step.clone()]).await?;
        }
        Ok(())
    }

    /// Runs steps at the same time. Each runs in a task, also a single one, so that a panic in it is
    /// its failure and not the whole run's.
    async fn run_beside(self: Arc<Self>, steps: Vec<Step>) -> Result<(), Stopped> {
        let mut tasks = JoinSet::new();
        for step in steps {
            let execution = self.clone();
            tasks.spawn(async move { execution.step(&step).await });
        }
        self.all_of(tasks).await
    }

    /// The same, each step between its own hooks.
    async fn run_hooked(self: Arc<Self>, steps: Vec<Step>) -> Result<(), Stopped> {
        let mut tasks = JoinSet::new();
        for step in steps {
            let execution = self.clone();
            tasks.spawn(async move { execution.hooked_step(&step).await });
        }
        self.all_of(tasks).await
    }

    async fn step(self: &Arc<Self>, step: &Step) -> Result<(), Stopped> {
        tracing::debug!(guest = %self.plan.guest.vmid, "begins: {step}");
        let work = async {
            match &self.work {
                Work::Backup(work) => self.backup_step(work, &step.action).await,
                Work::Restore(work) => self.restore_step(work, &step.action).await,
                Work::Reset(work) => self.reset_step(work, step).await,
                Work::Adopt(work) => self.adopt_step(work, &step.action).await,
            }
        };
        let done = self.step_or_stop(step, work).await;
        if let Err(stopped) = &done {
            self.note_stopped(step, stopped);
        }
        match done {
            Err(Stopped::Failed(error)) => Err(Stopped::Failed(error.context(step.to_string()))),
            other => other,
        }
    }

    /// After the commit a failure costs no data, so it becomes a warning and the rest goes on.
    async fn after_failure(
        self: &Arc<Self>,
        group: &[Item],
        stopped: Stopped,
    ) -> Result<(), Stopped> {
        if !self.is_committed() {
            return Err(stopped);
        }
        let damage = self.note_damage(&stopped).await;
        let text = match stopped {
            Stopped::Failed(error) => format!("{error:#}"),
            Stopped::Changed(what) => what,
            Stopped::Interrupted | Stopped::InterruptedHalfway | Stopped::BecauseOfAnother => {
                self.note_not_done(group);
                return Ok(());
            }
            Stopped::Damaged(what) => {
                self.state().damage.push(what);
                return Ok(());
            }
        };
        if let Some(what) = damage {
            self.state().damage.push(what);
            return Ok(());
        }
        if is_audit(&group[0]) {
            self.state().unaudited.get_or_insert(text);
            return Ok(());
        }
        let steps = group.len();
        tracing::debug!("{steps} steps failed after the commit");
        if matches!(self.work, Work::Restore(_)) {
            // There is no next run that would try again.
            let unfinished = self.unfinished(&group[0], &text);
            self.state().unfinished.get_or_insert(unfinished);
            return Ok(());
        }
        self.state().outcome.warnings.push(format!("{text}; the next run tries again"));
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_committed(&self) -> bool {
        self.state().committed
    }

    fn take_outcome(&self) -> GuestOutcome {
        let mut outcome = self.state().outcome.clone();
        outcome.volumes.sort_by(|a, b| a.disk.cmp(&b.disk));
        match self.short_of() {
            Some((failure, why)) => outcome.failed(failure, why),
            None => outcome,
        }
    }

    /// What was asked for and did not come about although the commit did.
    fn short_of(&self) -> Option<(Failure, String)> {
        let mut state = self.state();
        if let Some(why) = state.unthawed.take() {
            let text = match state.committed {
                true => format!("the restore point is committed, but {why}"),
                false => why,
            };
            return Some((Failure::Other, text));
        }
        if let Some(why) = state.unaudited.take() {
            let text = format!(
                "the restore point is committed, but could not be compared with its source: {why}; nothing was pruned"
            );
            return Some((Failure::Other, text));
        }
        if let Some(why) = state.unfinished.take() {
            return Some((Failure::Other, why));
        }
        let what = match self.work {
            Work::Restore(_) if !self.writes_config() => "the volumes are restored",
            Work::Restore(_) => "the guest is restored",
            _ => "the restore point is committed",
        };
        let not_done: Vec<&str> = std::mem::take(&mut state.not_done).into_iter().collect();
        let text = || format!("interrupted; {what}; not done: {}", not_done.join(", "));
        (!not_done.is_empty()).then(|| (Failure::Interrupted, text()))
    }

    /// Notes what of these items a user asked for. A snapshot that stays a little longer is none of it:
    /// the next run deletes it.
    fn note_not_done<'a>(&self, items: impl IntoIterator<Item = &'a Item>) {
        let asked_for = items.into_iter().filter_map(|item| match item {
            Item::Step(Step { action: Action::StartGuest { .. }, .. }) => Some("its start"),
            Item::Step(Step { action: Action::RescanVolumes { .. }, .. }) => {
                Some("attaching them as unused disks")
            }
            item if is_audit(item) => Some("the comparison with its source"),
            item => is_pruning(item).then_some("pruning"),
        });
        self.state().not_done.extend(asked_for);
    }

    fn warn(&self, text: String) {
        self.state().outcome.warnings.push(text);
    }

    fn note(&self, line: &str) {
        self.world.progress.note(line);
        tracing::info!(guest = %self.plan.guest.vmid, "{line}");
    }
}
