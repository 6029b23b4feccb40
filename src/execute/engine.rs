//! The one interpreter of plans: groups of steps in their order, scopes around them, and what a failure
//! means, which stands in the plan. What a step does is `steps`'.

use super::groups::{belong_together, is_audit, is_comparison, is_removal};
use super::queue::QueuedTurn;
use super::{Execution, Finding, StepResult, Stopped};
use crate::plan::{
    Action, GuestAction, Item, Means, OnFailure, PlanKind, PointAction, Scope, Step, StepId, Then,
    TransferAction, VolumeAction,
};
use crate::report::Failure;
use std::pin::Pin;
use std::sync::Arc;
use tokio::task::JoinSet;

/// What the carrying out of items comes to; boxed, as a scope holds items that may be scopes.
type Running<'a> = Pin<Box<dyn Future<Output = Result<(), Stopped>> + Send + 'a>>;

/// Whether the hooks of steps are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hooks {
    /// Around each step.
    AroundSteps,
    /// Not now: they were called before the scope in which the steps stand, and are after it.
    AroundScope,
}

/// Items that are carried out together, and the places of their steps in the plan.
struct Group<'a> {
    items: &'a [Item],
    first: &'a Step,
    ids: std::ops::Range<StepId>,
}

impl Execution {
    /// Carries the plan out.
    pub(super) async fn run_plan(self: &Arc<Self>) -> Result<(), Stopped> {
        self.run_items(&self.plan.items, 0, Hooks::AroundSteps).await?;
        self.judged(None)
    }

    /// Carries out items, one group after the other; the first step of them is the plan's of that place.
    /// An error ends the plan: what a failure means was looked at.
    pub(super) fn run_items<'a>(
        self: &'a Arc<Self>,
        items: &'a [Item],
        first: StepId,
        hooks: Hooks,
    ) -> Running<'a> {
        Box::pin(async move {
            let (mut rest, mut next) = (items, first);
            while let Some(group) = next_group(&mut rest, &mut next) {
                self.judged(Some(group.first))?;
                if self.ctx.cancel.is_cancelled() && self.hears_the_wish() {
                    if !self.is_committed() {
                        return Err(Stopped::Interrupted);
                    }
                    self.note_not_done(group.items.iter().chain(rest));
                    break;
                }
                if self.lacks_what_it_needs(&group) {
                    self.state().not_well.extend(group.ids);
                    continue;
                }
                match group.items {
                    [Item::Scope(scope, inner)] => {
                        self.run_scope(*scope, inner, &group, hooks).await?;
                    }
                    _ => self.run_group(&group, hooks).await?,
                }
            }
            Ok(())
        })
    }

    /// Carries out a scope. Within it each failure means what its own step says; that it does not come to
    /// be open means what its first step says.
    async fn run_scope(
        self: &Arc<Self>,
        scope: Scope,
        items: &[Item],
        group: &Group<'_>,
        hooks: Hooks,
    ) -> Result<(), Stopped> {
        let mut is_open = false;
        let mut work = async |hooks| {
            let opened = self.open(scope).await?;
            is_open = true;
            self.within(opened, items, group.ids.start, hooks).await
        };
        let done = if scope.is_quiet() && hooks == Hooks::AroundSteps {
            let steps: Vec<Step> = items.iter().flat_map(Item::steps).cloned().collect();
            self.between_hooks(&steps, work(Hooks::AroundScope)).await
        } else {
            work(hooks).await
        };
        match done {
            Err(stopped) if !is_open => self.failed(group, stopped).await,
            done => done,
        }
    }

    /// Carries out steps that belong together.
    async fn run_group(self: &Arc<Self>, group: &Group<'_>, hooks: Hooks) -> Result<(), Stopped> {
        let items = group.items;
        let steps: Vec<Step> = items.iter().flat_map(Item::steps).cloned().collect();
        let done = self.clone().run_steps(items, steps, hooks).await;
        self.note_results(group, &done);
        if let Err(stopped) = done {
            self.failed(group, stopped).await?;
        }
        match self.plan.whole_after {
            Some((last, words)) if group.ids.contains(&last) => self.finished(words),
            _ => {}
        }
        Ok(())
    }

    async fn failed(self: &Arc<Self>, group: &Group<'_>, stopped: Stopped) -> Result<(), Stopped> {
        self.state().not_well.extend(group.ids.clone());
        self.after_failure(group, stopped).await
    }

    /// Whether none of its steps has all that it needs. Steps that are carried out together need the same.
    fn lacks_what_it_needs(&self, group: &Group<'_>) -> bool {
        let state = self.state();
        let lacks = |step: &Step| step.needs.iter().any(|needed| state.not_well.contains(needed));
        group.items.iter().flat_map(Item::steps).all(lacks)
    }

    /// Steps that run at the same time fail together. What was broken off has no result.
    fn note_results(&self, group: &Group<'_>, done: &Result<(), Stopped>) {
        let result = match done {
            Ok(()) => StepResult::Done,
            Err(stopped @ (Stopped::Failed(_) | Stopped::Changed(_) | Stopped::Damaged(_))) => {
                StepResult::Failed(stopped.to_string())
            }
            Err(_) => return,
        };
        self.state().results.extend(group.ids.clone().map(|id| (id, result.clone())));
    }

    /// Ends a plan that has found damage when all that is to be done in spite of it is done.
    fn judged(&self, next: Option<&Step>) -> Result<(), Stopped> {
        let damage = self.state().damage.join("; ");
        if damage.is_empty() || next.is_some_and(|step| step.despite_damage) {
            return Ok(());
        }
        Err(Stopped::Damaged(format!(
            "{}, but {damage}; what is concerned is marked as failed, nothing more was deleted or pruned, \
             and the next backup makes a new base",
            self.plan.lasting
        )))
    }

    async fn run_steps(
        self: Arc<Self>,
        items: &[Item],
        steps: Vec<Step>,
        hooks: Hooks,
    ) -> Result<(), Stopped> {
        // Snapshots of one guest belong to one moment: no hook comes between them.
        let is_snapshot =
            |action: &Action| matches!(action, Action::Volume(VolumeAction::CreateSnapshot { .. }));
        let are_snapshots = steps.first().is_some_and(|step| is_snapshot(&step.action));
        match hooks {
            Hooks::AroundScope if is_removal(items) => self.run_in_order(&steps).await,
            Hooks::AroundScope => self.run_beside(steps).await,
            Hooks::AroundSteps if are_snapshots => {
                self.between_hooks(&steps, self.clone().run_beside(steps.clone())).await
            }
            Hooks::AroundSteps if is_removal(items) => {
                self.between_hooks(&steps, self.clone().run_in_order(&steps)).await
            }
            Hooks::AroundSteps if items.first().is_some_and(is_comparison) => {
                self.between_hooks(&steps, self.clone().compare_all(&steps)).await
            }
            Hooks::AroundSteps => self.run_hooked(steps).await,
        }
    }

    /// Runs steps one after another.
    pub(super) async fn run_in_order(self: Arc<Self>, steps: &[Step]) -> Result<(), Stopped> {
        for step in steps {
            self.clone().run_beside(vec![step.clone()]).await?;
        }
        Ok(())
    }

    /// Runs steps at the same time. Each runs in a task, also a single one, so that a panic in it is
    /// its failure and not the whole run's.
    pub(super) async fn run_beside(self: Arc<Self>, steps: Vec<Step>) -> Result<(), Stopped> {
        let (mut tasks, then) = (JoinSet::new(), then_of(&steps));
        for step in steps {
            let execution = self.clone();
            tasks.spawn(async move { execution.step(&step, QueuedTurn::NONE).await });
        }
        self.all_of(tasks, then).await
    }

    /// The same, each step between its own hooks.
    async fn run_hooked(self: Arc<Self>, steps: Vec<Step>) -> Result<(), Stopped> {
        let (mut tasks, then) = (JoinSet::new(), then_of(&steps));
        for step in steps {
            let (execution, turn) = (self.clone(), self.queue_up(&step).await);
            tasks.spawn(async move { execution.hooked_step(&step, turn).await });
        }
        self.all_of(tasks, then).await
    }

    pub(super) async fn step(
        self: &Arc<Self>,
        step: &Step,
        turn: QueuedTurn,
    ) -> Result<(), Stopped> {
        tracing::debug!(guest = %self.plan.guest.vmid, "begins: {step}");
        let work = async {
            let _turn = self.turn_to_transfer(turn).await?;
            self.act(step).await
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

    /// Does what the plan says of the failure of these steps: ends the plan with it, or notes it and lets
    /// the rest be done.
    async fn after_failure(
        self: &Arc<Self>,
        group: &Group<'_>,
        stopped: Stopped,
    ) -> Result<(), Stopped> {
        let on_failure = group.first.on_failure;
        if on_failure.means == Means::Judged && matches!(stopped, Stopped::Failed(_)) {
            return Ok(());
        }
        let Some(stopped) = self.unless_found(on_failure, stopped) else { return Ok(()) };
        // A step that makes all of it last may fail behind that: then nothing is taken back any more.
        let lasts = on_failure.then == Then::UndoAll && self.is_committed();
        let on_failure = if lasts { OnFailure::WARN } else { on_failure };
        let stopped = match (on_failure.then, stopped) {
            (Then::UndoAll, stopped) => return Err(stopped),
            (Then::Stop | Then::GoOnPastDamage, Stopped::Failed(error)) => {
                let kind = super::failure::kind(&error);
                if (on_failure.then, kind) != (Then::GoOnPastDamage, Failure::Damage) {
                    // What was done stays.
                    self.state().undo.clear();
                    return Err(Stopped::Ended(kind, self.with_advice(kind, error)));
                }
                self.state().failures.push((kind, format!("{error:#}")));
                return Ok(());
            }
            (Then::Stop | Then::GoOnPastDamage, stopped) => return Err(stopped),
            (Then::GoOn, stopped) => stopped,
        };
        let damage = self.note_damage(&stopped).await;
        let text = match stopped {
            Stopped::Failed(error) | Stopped::Ended(_, error) => format!("{error:#}"),
            Stopped::Changed(what) => what,
            Stopped::Interrupted | Stopped::InterruptedHalfway | Stopped::BecauseOfAnother => {
                self.note_not_done(group.items);
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
        match on_failure.means {
            Means::Failure | Means::Judged | Means::Finding => {
                self.note_failure(group.first, &text)
            }
            Means::Warning => {
                let text = self.failure_in_words(group.first, &text);
                self.warn(format!("{text}; the next run tries again"));
            }
        }
        Ok(())
    }

    /// What a check found, also until the user stopped it, is a result by then; so is that something could
    /// not be done, where the plan goes on. The operation judges the guest by them. All else comes back.
    fn unless_found(&self, on_failure: OnFailure, stopped: Stopped) -> Option<Stopped> {
        if on_failure.means != Means::Finding {
            return Some(stopped);
        }
        match stopped {
            Stopped::Damaged(_) => None,
            Stopped::Interrupted if !self.state().findings.is_empty() => None,
            Stopped::Failed(error) if on_failure.then == Then::GoOn => {
                self.found(Finding::NotDone(format!("{error:#}")));
                None
            }
            other => Some(other),
        }
    }

    /// Whether a wish to stop keeps its steps from being begun.
    pub(super) fn hears_the_wish(&self) -> bool {
        self.plan.kind != PlanKind::Findings
    }

    /// Of comparisons that cannot be made the first says why.
    fn note_failure(&self, step: &Step, why: &str) {
        let text = self.failure_in_words(step, why);
        let mut state = self.state();
        if is_audit(step) && std::mem::replace(&mut state.is_unaudited, true) {
            return;
        }
        state.failures.push((Failure::Other, text));
    }

    fn failure_in_words(&self, step: &Step, why: &str) -> String {
        match &step.action {
            Action::Transfer(TransferAction::Audit { .. }) => format!(
                "{}, but could not be compared with its source: {why}; nothing was pruned",
                self.plan.lasting
            ),
            Action::Guest(GuestAction::RescanVolumes { vmid }) => self.not_attached(*vmid, why),
            Action::Guest(GuestAction::Start { .. }) => {
                format!("restored, but not started: {why}")
            }
            Action::Point(PointAction::SweepDebris { .. } | PointAction::SweepLeftovers { .. }) => {
                format!("what an interrupted run left stays: {why}")
            }
            _ => why.to_owned(),
        }
    }
}

/// What the failure of steps that run at the same time means for each other: they are of one kind.
fn then_of(steps: &[Step]) -> Then {
    steps.first().map_or(Then::Stop, |step| step.on_failure.then)
}

fn next_group<'a>(rest: &mut &'a [Item], next: &mut StepId) -> Option<Group<'a>> {
    loop {
        let item = rest.first()?;
        let beside = rest.iter().take_while(|other| belong_together(item, other)).count().max(1);
        let (items, later) = rest.split_at(if is_removal(rest) { 2 } else { beside });
        *rest = later;
        let ids = *next..*next + items.iter().flat_map(Item::steps).count();
        *next = ids.end;
        // A scope without steps holds nothing that would have to be opened for.
        if let Some(first) = items.iter().flat_map(Item::steps).next() {
            return Some(Group { items, first, ids });
        }
    }
}

#[cfg(test)]
mod tests;
