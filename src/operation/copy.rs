//! Copying between repositories: what is wanted, whom it is about, the next plan. Decisions stand in
//! `plan::copy`.

use super::backup::new_chain_id;
use super::prune::chosen;
use super::{Next, Operation, Refusal, Selected, Turn, prepare};
use crate::context::Context;
use crate::execute::{CopiedGuest, Proven, StoredGuest};
use crate::model::{Guest, Label, OperationKind};
use crate::plan::Plan;
use crate::plan::copy::{CopyPolicy, NoCopy, Source, plan};
use crate::report::Failure;
use crate::repository::legacy::LegacyRepository;
use crate::repository::{Disk, GuestDir, LockMode, Repository};
use crate::select::Selection;
use crate::survey;
use anyhow::Context as _;
use std::sync::{Arc, Mutex};

/// What the user wants to be copied.
#[derive(Clone)]
pub struct CopyRequest {
    /// Where the points are.
    pub from: Repository,
    /// Where they are to be, too.
    pub to: Repository,
    /// Which guests of the source; all when absent.
    pub selection: Option<Selection>,
    /// Only points of this label, and what they need.
    pub label: Option<Label>,
    /// What becomes of the source.
    pub source: Source,
}

impl Operation for CopyRequest {
    /// A guest as the source tells, and its directory there.
    type Subject = (Guest, GuestDir);

    fn kind(&self) -> OperationKind {
        OperationKind::Copy
    }

    async fn select(&self, _ctx: &Arc<Context>) -> anyhow::Result<Selected<Self::Subject>> {
        self.from.is_apart_from(&self.to)?;
        let (present, not_found) = chosen(&self.from, self.selection.as_ref())?;
        Ok(Selected { not_found, ..Selected::all(present) }.into(&self.to)?)
    }

    fn guest(&self, (guest, _): &Self::Subject) -> Guest {
        guest.clone()
    }

    /// Where nothing is to be copied, nothing is made and nothing locked.
    async fn next(
        &self,
        ctx: &Arc<Context>,
        (guest, source): &Self::Subject,
        turn: &mut Turn,
    ) -> Result<Next, Refusal> {
        if !turn.is_first() {
            return Ok(Next::Done);
        }
        let target = survey::twin(source, &self.to)?;
        let target = target.context("nothing readable tells which guest it was")?;
        let seen = self.planned(source, &target).await?;
        if seen.items.is_empty() {
            return Ok(Next::Plan(seen));
        }
        if !turn.is_begun {
            return Ok(Next::Begin);
        }
        let mode = match self.source {
            Source::Moves => LockMode::Exclusive,
            Source::Stays => LockMode::Shared,
        };
        if turn.held.source.is_none() {
            let lock = turn.lock(source, mode, "copy").await?;
            let locked = |lock| Arc::new(StoredGuest { directory: source.clone(), lock });
            turn.held.source = lock.map(locked);
        }
        // Only now: a source that is not to be had begins no repository.
        if let Some(plan) = prepare::missing_repository(&self.to, turn, guest)? {
            return Ok(Next::Plan(plan));
        }
        if let Some(plan) = prepare::missing_directory(&target, turn, guest).await? {
            return Ok(Next::Plan(plan));
        }
        let Some(source) = turn.held.source.clone() else { return Ok(Next::Plan(seen)) };
        let lock = turn.lock(&target, LockMode::Exclusive, "copy").await?;
        let lock = lock.context("the target was not locked")?;
        let target = StoredGuest { directory: target, lock };
        let plan = self.planned(&source.directory, &target.directory).await?;
        let (threads, proven) = (ctx.limits.image.threads, Mutex::new(Proven::default()));
        turn.held.copying = Some(Arc::new(CopiedGuest { source, target, threads, proven }));
        Ok(Next::Plan(plan))
    }

    fn afterwards(&self, _ctx: &Arc<Context>) -> anyhow::Result<Vec<String>> {
        Ok(of_barc(&self.from)?.into_iter().collect())
    }
}

impl CopyRequest {
    /// Reads both directories, on a thread of its own, and plans.
    async fn planned(&self, source: &GuestDir, target: &GuestDir) -> Result<Plan, Refusal> {
        let (request, source, target) = (self.clone(), source.clone(), target.clone());
        tokio::task::spawn_blocking(move || request.plan(&source, &target)).await?
    }

    fn plan(&self, source: &GuestDir, target: &GuestDir) -> Result<Plan, Refusal> {
        let free = self.to.free_bytes()?;
        let facts = survey::copy(source, target, free)?;
        let facts = facts.context("its restore points are gone meanwhile")?;
        let (label, new_chain) = (self.label.clone(), new_chain_id()?);
        let policy = CopyPolicy { label, source: self.source, new_chain };
        plan(&facts, &policy).map_err(|refusal| match refusal {
            NoCopy::Conflict { .. } => Refusal::Failed(Failure::Conflict, refusal.into()),
            _ => refusal.into(),
        })
    }
}

/// A word about what stands there, too, and is not copied.
fn of_barc(from: &Repository) -> anyhow::Result<Option<String>> {
    let legacy = LegacyRepository::open(from.path(), Disk::real(), jiff::tz::TimeZone::UTC)?;
    let Some(legacy) = legacy else { return Ok(None) };
    let text = format!(
        "what eve4pve-barc wrote below {} is not copied: copy that directory as it is",
        from.path().display()
    );
    Ok((!legacy.directories()?.is_empty()).then_some(text))
}
