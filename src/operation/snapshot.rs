//! Automatic snapshots of guests, through PVE's API and so from any machine: from the selection to plan and
//! work. Decisions stand in `plan::snapshot`; backups are not for here.

use super::api_guests::{self, ChosenGuest};
use super::{Next, Operation, Refusal, Selected, Turn};
use crate::clock::Stopwatch;
use crate::context::Context;
use crate::model::{Guest, OperationKind};
use crate::plan::snapshot::{Memory, SnapshotFacts, SnapshotPolicy, SnapshotRefusal, plan};
use crate::pve::api::{ApiGuest, ApiStorage};
use crate::report::Failure;
use crate::run::Interrupted;
use crate::select::Selection;
use crate::survey;
use crate::waits::{WaitedFor, Waiting};
use anyhow::Context as _;
use std::sync::Arc;
use std::time::Duration;

/// What the user wants to be made and removed.
pub struct SnapshotRequest {
    /// Which guests.
    pub selection: Selection,
    /// What becomes of them.
    pub policy: SnapshotPolicy,
}

/// A guest that the selection means, or may mean.
pub struct SnapshotSubject {
    chosen: ChosenGuest,
    /// How full the storages were when the run began; none when no snapshot is to be made.
    storages: Option<Arc<Vec<ApiStorage>>>,
}

/// How often a locked guest is looked at.
const LOCK_PAUSE: Duration = Duration::from_secs(2);

impl Operation for SnapshotRequest {
    type Subject = SnapshotSubject;

    fn kind(&self) -> OperationKind {
        match self.policy.create {
            Some(_) => OperationKind::SnapshotCreate,
            None => OperationKind::SnapshotPrune,
        }
    }

    async fn select(&self, ctx: &Arc<Context>) -> anyhow::Result<Selected<SnapshotSubject>> {
        let api = &ctx.api()?.client;
        let chosen = api_guests::selected(api, &self.selection).await?;
        let storages = match self.policy.create {
            Some(_) => {
                let all = api.storages().await.context("cannot see how full the storages are")?;
                Some(Arc::new(all))
            }
            None => None,
        };
        let subject = |chosen| SnapshotSubject { chosen, storages: storages.clone() };
        let subjects = chosen.guests.into_iter().map(subject).collect();
        Ok(Selected { not_found: chosen.not_found, ..Selected::all(subjects) })
    }

    fn guest(&self, subject: &SnapshotSubject) -> Guest {
        subject.chosen.guest.candidate.guest.clone()
    }

    async fn next(
        &self,
        ctx: &Arc<Context>,
        subject: &SnapshotSubject,
        turn: &mut Turn,
    ) -> Result<Next, Refusal> {
        if !turn.is_first() {
            return Ok(Next::Done);
        }
        if let Some(doubt) = &subject.chosen.doubt {
            return Err(anyhow::anyhow!("{doubt}; nothing was changed").into());
        }
        let facts = self.facts(ctx, subject).await?;
        let plan = plan(&facts, &self.policy).map_err(refusal)?;
        turn.guest = Some(facts.guest);
        Ok(Next::Plan(plan))
    }
}

impl SnapshotRequest {
    /// How full the storages are is asked once for all guests; but memory fills them within the run,
    /// so that each guest's turn asks anew.
    async fn facts(
        &self,
        ctx: &Context,
        subject: &SnapshotSubject,
    ) -> anyhow::Result<SnapshotFacts> {
        let guest = &subject.chosen.guest;
        let create = self.policy.create.as_ref();
        if create.is_some_and(|create| create.memory == Memory::Included) {
            let now = ctx.api()?.client.storages().await?;
            return surveyed(ctx, guest, Some(&now)).await;
        }
        surveyed(ctx, guest, subject.storages.as_deref().map(Vec::as_slice)).await
    }
}

/// The guest's facts; from its new node when it has moved since it was listed, and without a
/// lock when there is time to wait for that.
///
/// # Errors
/// The API refuses, or the user stopped the wait.
pub(super) async fn surveyed(
    ctx: &Context,
    guest: &ApiGuest,
    storages: Option<&[ApiStorage]>,
) -> anyhow::Result<SnapshotFacts> {
    let (api, watch, mut guest) = (ctx.api()?, Stopwatch::start(), guest.clone());
    let mut waiting = Waiting::at_guest(&guest.candidate.guest);
    let mut was_moved = false;
    loop {
        match survey::snapshot(&api.client, &guest, storages).await {
            Err(error) if error.says_moved() && !was_moved => {
                was_moved = true;
                let vmid = guest.candidate.guest.vmid;
                let now = api.client.guests().await?;
                let now = now.into_iter().find(|g| g.candidate.guest.vmid == vmid);
                guest = now.ok_or(error)?;
            }
            Ok(facts) if facts.lock.is_some() && watch.elapsed() < api.lock_wait => {
                waiting.is_for(WaitedFor::pve(facts.lock.as_deref().unwrap_or_default()));
                let waited = ctx.cancel.unless_cancelled(tokio::time::sleep(LOCK_PAUSE)).await;
                waited.ok_or(Interrupted("nothing was changed"))?;
            }
            ended => return Ok(ended?),
        }
    }
}

/// Why nothing is done, as the loop tells it.
pub(super) fn refusal(why: SnapshotRefusal) -> Refusal {
    match why {
        SnapshotRefusal::Skipped(reason) => Refusal::Skipped(reason),
        SnapshotRefusal::Failed(reason) => {
            Refusal::Failed(Failure::Other, anyhow::anyhow!("{reason}; nothing was changed"))
        }
    }
}
