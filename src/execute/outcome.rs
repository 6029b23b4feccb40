//! What a plan that is carried out knows of its guest: told step by step, and put together at the end. What
//! a failure means is the engine's.

use super::{Execution, Finding, State};
use crate::plan::Item;
use crate::report::{Failure, GuestOutcome};
use std::sync::{MutexGuard, PoisonError};

impl Execution {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_committed(&self) -> bool {
        self.state().committed
    }

    /// Keeps what a step gave, for those who need it.
    pub(super) fn found(&self, result: Finding) {
        self.state().findings.push(result);
    }

    pub(super) fn note(&self, line: &str) {
        self.ctx.progress.note(line);
        tracing::info!(guest = %self.plan.guest.vmid, "{line}");
    }

    /// Something that was asked for and is done: it stands in the report.
    pub(super) fn change(&self, done: String) {
        self.note(&done);
        self.state().outcome.changes.push(done);
    }

    pub(super) fn warn(&self, text: String) {
        self.state().outcome.warnings.push(text);
    }

    /// Notes what of these items a user asked for. A snapshot that stays a little longer is none of it:
    /// the next run deletes it.
    pub(super) fn note_not_done<'a>(&self, items: impl IntoIterator<Item = &'a Item>) {
        let asked = items.into_iter().flat_map(Item::steps).filter_map(|step| step.asked);
        self.state().not_done.extend(asked);
    }

    pub(super) fn take_outcome(&self) -> GuestOutcome {
        let mut outcome = self.state().outcome.clone();
        outcome.volumes.sort_by(|a, b| a.disk.cmp(&b.disk));
        match self.short_of() {
            Some((failure, why)) => outcome.failed(failure, why),
            None => outcome,
        }
    }

    /// What was asked for and did not come about although the plan got through.
    fn short_of(&self) -> Option<(Failure, String)> {
        let (mut state, lasting) = (self.state(), self.plan.lasting);
        if let Some(why) = state.unthawed.take() {
            let text = match state.committed {
                true => format!("{lasting}, but {why}"),
                false => why,
            };
            return Some((Failure::Other, text));
        }
        let mut failures = std::mem::take(&mut state.failures);
        failures.extend(self.plan.falls_short.clone());
        if let Some((kind, _)) = failures.first() {
            let texts: Vec<&str> = failures.iter().map(|(_, text)| text.as_str()).collect();
            return Some((*kind, texts.join("; ")));
        }
        let not_done: Vec<&str> = std::mem::take(&mut state.not_done).into_iter().collect();
        let text = || format!("interrupted; {lasting}; not done: {}", not_done.join(", "));
        (!not_done.is_empty()).then(|| (Failure::Interrupted, text()))
    }
}
