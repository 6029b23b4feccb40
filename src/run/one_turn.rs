//! One guest's turn in a run: plans until nothing is left to do, and the hooks that hear of its start and its
//! end. Which guests have turns is the loop's.

use super::ends::{refused, stopped_outcome};
use super::{Findings, Mode, Way, hooked};
use crate::cancel::Cancel;
use crate::clock::Stopwatch;
use crate::context::Context;
use crate::execute::{self, Stopped};
use crate::model::Guest;
use crate::operation::{Next, Operation, Refusal, Turn};
use crate::plan::{Plan, PlanKind, check};
use crate::report::{Failure, GuestOutcome};
use std::sync::Arc;
use std::time::Duration;

/// A turn that is over.
pub(super) struct Turned {
    pub outcome: GuestOutcome,
    /// Its plans where they are only made.
    pub plans: Vec<Plan>,
    pub found: Findings,
    /// Whether nothing of what was asked for was there.
    pub is_empty: bool,
}

/// One guest's turn, and then the hooks that hear of its end.
pub(super) async fn hooked_turn<O: Operation>(
    ctx: &Arc<Context>,
    operation: &O,
    subject: O::Subject,
    way: Way,
) -> Turned {
    let begun = Stopwatch::start();
    let (mode, guest) = (way.mode, operation.guest(&subject));
    let mut one = OneTurn {
        ctx,
        operation,
        subject: &subject,
        way,
        guest,
        said: Said::default(),
        plans: Vec::new(),
        has_tried: false,
        is_empty: false,
    };
    let mut turn = Turn::new(ctx.clone(), mode);
    let outcome = one.take(&mut turn).await;
    let mut outcome = one.with_what_was_said(outcome);
    let findings = std::mem::take(&mut turn.progressed.findings);
    turn.let_go().await;
    if mode == Mode::Execute {
        if let Some(event) = hooked::guest_end(&one.guest, &outcome, begun) {
            let called = ctx.hooks.call(&event, &ctx.cancel).await;
            outcome.warnings.extend(called.unwrap_or_default());
        }
    }
    let found = Findings { place: operation.place(&subject), findings };
    Turned { outcome, plans: one.plans, found, is_empty: one.is_empty }
}

/// What a turn heard before its outcome was there.
#[derive(Default)]
struct Said {
    /// The hooks of its start; none before they were called.
    hooks: Option<Vec<String>>,
    /// The try after which the guest was surveyed again.
    first_try: Vec<String>,
}

/// One guest's turn.
struct OneTurn<'a, O: Operation> {
    ctx: &'a Arc<Context>,
    operation: &'a O,
    subject: &'a O::Subject,
    guest: Guest,
    way: Way,
    said: Said,
    /// The plans of a dry run.
    plans: Vec<Plan>,
    /// Whether the plan that comes is the second try of one.
    has_tried: bool,
    /// Whether nothing of what was asked for was there.
    is_empty: bool,
}

/// Whether a turn goes on, with what is known of the guest until then.
type Going = std::ops::ControlFlow<GuestOutcome, GuestOutcome>;

impl<O: Operation> OneTurn<'_, O> {
    /// Asks for plans and carries them out until there is nothing more to do.
    async fn take(&mut self, turn: &mut Turn) -> GuestOutcome {
        let mut outcome = self.operation.outcome(self.subject);
        loop {
            let next = self.next(turn).await;
            self.is_about(turn.guest.take(), &mut outcome);
            let going = match next {
                None => {
                    return stopped_outcome(Stopped::Interrupted, outcome, "nothing half is left");
                }
                Some(Err(refusal)) => return refused(refusal, outcome),
                Some(Ok(Next::Done)) => return self.operation.judge(self.subject, turn, outcome),
                Some(Ok(Next::Nothing)) => {
                    self.is_empty = true;
                    return outcome;
                }
                Some(Ok(Next::Begin)) => {
                    turn.is_begun = true;
                    self.begin(outcome).await
                }
                Some(Ok(Next::Plan(plan))) => self.one_plan(plan, turn, outcome).await,
            };
            match going {
                Going::Continue(so_far) => outcome = so_far,
                Going::Break(ended) => return ended,
            }
        }
    }

    /// Checks a plan, and carries it out or shows it.
    async fn one_plan(&mut self, plan: Plan, turn: &mut Turn, outcome: GuestOutcome) -> Going {
        if let Err(violations) = check::check(&plan) {
            return Going::Break(outcome.failed(Failure::Other, violations.to_string()));
        }
        let going = match self.way.mode {
            Mode::DryRun => self.show(plan, turn, outcome),
            Mode::Execute => self.carry_out(plan, turn, outcome).await,
        };
        match (going, turn.refusal.take()) {
            (Going::Continue(outcome), Some(refusal)) => Going::Break(refused(refusal, outcome)),
            (going, _) => going,
        }
    }

    fn show(&mut self, plan: Plan, turn: &mut Turn, mut outcome: GuestOutcome) -> Going {
        outcome.not_whole.clone_from(&plan.not_whole);
        outcome.not_removed.clone_from(&plan.not_removed);
        turn.progressed.note_planned(&plan);
        let falls_short = plan.falls_short.clone();
        show(&mut self.plans, plan);
        match falls_short {
            Some((failure, why)) => Going::Break(outcome.failed(failure, why)),
            None => Going::Continue(outcome),
        }
    }

    /// What changed before the plan wrote anything is surveyed and planned once more; then the guest fails.
    async fn carry_out(&mut self, plan: Plan, turn: &mut Turn, outcome: GuestOutcome) -> Going {
        tracing::debug!("plan:\n{plan}");
        if let Some(more) = self.way.shown.as_ref().and_then(|shown| shown.beyond(&plan)) {
            return Going::Break(outcome.failed(Failure::Conflict, more));
        }
        let outcome = match plan.kind {
            PlanKind::Work => match self.begin(outcome).await {
                Going::Continue(outcome) => outcome,
                vetoed => return vetoed,
            },
            _ => outcome,
        };
        let before = outcome.clone();
        let (ctx, held) = (self.ctx.clone(), turn.held.clone());
        let mut executed = execute::run(ctx, plan.clone(), held, outcome).await;
        turn.progressed.note(&plan, &mut executed);
        turn.is_stuck |= executed.is_stuck;
        let outcome = executed.outcome;
        match executed.stopped {
            None if outcome.failure.is_some() => Going::Break(outcome),
            None => {
                self.has_tried = false;
                Going::Continue(outcome)
            }
            Some(Stopped::Changed(what)) if !self.has_tried => {
                tracing::info!(guest = %self.guest.vmid, "surveyed again: {what}");
                self.has_tried = true;
                self.said.first_try = outcome.warnings;
                turn.again().await;
                Going::Continue(before)
            }
            Some(stopped) => Going::Break(stopped_outcome(stopped, outcome, plan.if_interrupted)),
        }
    }

    /// Takes note of what a survey has learnt of the guest.
    fn is_about(&mut self, guest: Option<Guest>, outcome: &mut GuestOutcome) {
        if let Some(guest) = guest {
            outcome.is_about(&guest);
            self.guest = guest;
        }
    }

    /// What is to be done next; none when the user wishes to stop.
    async fn next(&self, turn: &mut Turn) -> Option<Result<Next, Refusal>> {
        let cancel = &self.ctx.cancel;
        // What was found is to be told, and noted, whatever the user wishes. Where it would wait, it hears
        // the wish itself.
        if !turn.progressed.findings.is_empty() {
            return Some(self.operation.next(self.ctx, self.subject, turn).await);
        }
        // Behind work that is done it is asked all the same: mostly there is nothing left to be stopped.
        if cancel.is_cancelled() && turn.is_first() {
            return None;
        }
        tokio::select! {
            biased;
            // Asked first: what is prepared at once would be begun all the same.
            () = self.ctx.limits.repository_hangs.cancelled() => {
                Some(Err(Refusal::repository_hangs()))
            }
            next = until_stopped(cancel, self.operation.next(self.ctx, self.subject, turn)) => next,
        }
    }

    /// The guest's hooks hear of its start once it is clear that something will be done for it, and before
    /// anything is; what only puts right what an earlier run left is none of their business.
    async fn begin(&mut self, outcome: GuestOutcome) -> Going {
        if self.said.hooks.is_some() || self.way.mode == Mode::DryRun {
            return Going::Continue(outcome);
        }
        let event = hooked::guest_start(&self.guest);
        match self.ctx.hooks.call(&event, &self.ctx.cancel).await {
            Ok(warnings) => {
                self.said.hooks = Some(warnings);
                Going::Continue(outcome)
            }
            Err(veto) => Going::Break(hooked::vetoed(outcome, veto, &self.ctx.cancel)),
        }
    }

    fn with_what_was_said(&mut self, mut outcome: GuestOutcome) -> GuestOutcome {
        let said = std::mem::take(&mut self.said);
        let first = said.first_try.iter().filter(|warning| !outcome.warnings.contains(warning));
        let first: Vec<String> =
            first.map(|warning| format!("in the first try: {warning}")).collect();
        outcome.warnings.extend(first);
        outcome.warnings.extend(said.hooks.unwrap_or_default());
        outcome
    }
}

/// Adds a plan to those of a dry run; what only prepares the work is shown as its beginning.
fn show(plans: &mut Vec<Plan>, mut plan: Plan) {
    if plans.last().is_some_and(|last| last.kind == PlanKind::Prepare) {
        let prepared = plans.pop().into_iter().flat_map(|prepared| prepared.items);
        plan.items = prepared.chain(plan.items).collect();
    }
    plans.push(plan);
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
