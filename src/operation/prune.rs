//! Pruning's way from the guests of a repository to plan and work. It needs no cluster: guests that are
//! long gone and hosts that are no node have points, too. Decisions stand in `plan::prune`.

use super::{Next, Operation, Refusal, Selected, Turn};
use crate::context::Context;
use crate::model::{Guest, Label, OperationKind};
use crate::plan::prune::{PruneFacts, PrunePolicy, plan};
use crate::repository::{GuestDir, Repository};
use crate::retention::Rules;
use crate::select::{Candidate, Selection, select};
use crate::survey;
use std::sync::Arc;

/// What the user wants to be pruned. How merged images are written stands in the limits of the run.
pub struct PruneRequest {
    /// Which guests of the repository; all when absent.
    pub selection: Option<Selection>,
    /// Only points of this label.
    pub label: Option<Label>,
    /// The repository.
    pub repository: Repository,
    /// The rules.
    pub rules: Rules,
}

impl Operation for PruneRequest {
    type Subject = Present;

    fn kind(&self) -> OperationKind {
        OperationKind::Prune
    }

    async fn select(&self, _ctx: &Arc<Context>) -> anyhow::Result<Selected<Present>> {
        present(&self.repository, self.selection.as_ref()).await
    }

    fn guest(&self, (guest, _): &Present) -> Guest {
        guest.clone()
    }

    async fn next(
        &self,
        ctx: &Arc<Context>,
        (_, directory): &Present,
        turn: &mut Turn,
    ) -> Result<Next, Refusal> {
        if !turn.is_first() {
            return Ok(Next::Done);
        }
        turn.hold(directory, "prune").await?;
        let directory = directory.clone();
        let facts = tokio::task::spawn_blocking(move || survey::prune(&directory)).await??;
        // Emptied since it was selected.
        let facts: PruneFacts =
            facts.ok_or_else(|| anyhow::anyhow!("its restore points are gone meanwhile"))?;
        let (label, rules) = (self.label.clone(), self.rules.clone());
        let policy = PrunePolicy { label, rules, new: None, now: ctx.clock.now() };
        Ok(Next::Plan(plan(&facts, &policy)))
    }
}

/// A guest as a repository tells, and its directory there.
pub(super) type Present = (Guest, GuestDir);

/// The selected guests of a repository. Reads it on a thread of its own.
///
/// # Errors
/// As [`chosen`].
pub(super) async fn present(
    repository: &Repository,
    selection: Option<&Selection>,
) -> anyhow::Result<Selected<Present>> {
    let (repository, selection) = (repository.clone(), selection.cloned());
    let chosen = tokio::task::spawn_blocking(move || chosen(&repository, selection.as_ref()));
    let (present, not_found) = chosen.await??;
    Ok(Selected { not_found, ..Selected::all(present) })
}

/// Guests as their directories tell, so that two with one vmid are two.
///
/// # Errors
/// The repository cannot be listed.
pub(super) fn chosen(
    repository: &Repository,
    selection: Option<&Selection>,
) -> anyhow::Result<(Vec<Present>, Vec<String>)> {
    let mut present = Vec::new();
    for directory in repository.guests()? {
        // One guest that cannot be read is no reason to pass the others by: its own turn says why.
        match survey::prune(&directory) {
            Ok(Some(facts)) => present.push((facts.guest, directory)),
            Ok(None) => {}
            Err(_) => present.push((survey::unread_guest(&directory), directory)),
        }
    }
    let Some(selection) = selection else { return Ok((present, Vec::new())) };
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
