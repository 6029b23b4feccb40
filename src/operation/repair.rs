//! A repair's way from the guests of a repository to plans and work, without a cluster. What is put back
//! may show what else is lost, so that a guest is surveyed again until nothing more can be done.
//! Decisions stand in `plan::repair`.

use super::prune::{Present, present};
use super::{Next, Operation, Refusal, Selected, Turn};
use crate::context::Context;
use crate::model::{Guest, Label, OperationKind};
use crate::plan::repair::{plan, unmended};
use crate::report::{Failure, GuestOutcome};
use crate::repository::Repository;
use crate::select::Selection;
use crate::survey;
use std::sync::Arc;

/// What the user wants to be repaired. How many threads read images stands in the limits of the run.
pub struct RepairRequest {
    /// Which guests of the repository; all when absent.
    pub selection: Option<Selection>,
    /// Only points of this label.
    pub label: Option<Label>,
    /// The repository.
    pub repository: Repository,
}

impl Operation for RepairRequest {
    type Subject = Present;

    fn kind(&self) -> OperationKind {
        OperationKind::Repair
    }

    async fn select(&self, _ctx: &Arc<Context>) -> anyhow::Result<Selected<Present>> {
        present(&self.repository, self.selection.as_ref()).await
    }

    fn guest(&self, (guest, _): &Present) -> Guest {
        guest.clone()
    }

    /// A plan as long as the one before did something, or at least tried: the last one holds no steps,
    /// and says what nothing mends.
    async fn next(
        &self,
        _ctx: &Arc<Context>,
        (_, directory): &Present,
        turn: &mut Turn,
    ) -> Result<Next, Refusal> {
        if !turn.is_first() && turn.progressed.results.is_empty() {
            return Ok(Next::Done);
        }
        turn.hold(directory, "repair").await?;
        let (directory, label) = (directory.clone(), self.label.clone());
        let read = move || survey::repair(&directory, label.as_ref());
        let facts = tokio::task::spawn_blocking(read).await??;
        let tried = turn.progressed.failed.iter().map(|(action, _)| action.clone());
        Ok(Next::Plan(plan(&facts, &tried.collect::<Vec<_>>())))
    }

    /// A guest of which something stays damaged is not repaired, whatever was done.
    fn judge(&self, _: &Present, turn: &Turn, mut outcome: GuestOutcome) -> GuestOutcome {
        let mut damaged = std::mem::take(&mut outcome.not_whole);
        damaged.extend(turn.progressed.failed.iter().map(|(_, why)| why.clone()));
        match unmended(&damaged) {
            Some(text) => outcome.failed(Failure::Damage, text),
            None => outcome,
        }
    }
}
