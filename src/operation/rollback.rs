//! A rollback of one guest to one of its snapshots, through PVE's API. Decisions stand in
//! `plan::snapshot`. What was written since is lost, so that a person is asked first: `run::confirmed`.

use super::snapshot::{refusal, surveyed};
use super::{Next, Operation, Refusal, Selected, Turn};
use crate::context::Context;
use crate::model::{Guest, OperationKind, VmId};
use crate::plan::snapshot::rollback;
use crate::pve::api::ApiGuest;
use std::sync::Arc;

/// Which guest goes back to what.
pub struct RollbackRequest {
    /// The guest.
    pub vmid: VmId,
    /// The snapshot's name, whoever made it.
    pub name: String,
}

impl Operation for RollbackRequest {
    type Subject = ApiGuest;

    fn kind(&self) -> OperationKind {
        OperationKind::SnapshotRollback
    }

    async fn select(&self, ctx: &Arc<Context>) -> anyhow::Result<Selected<ApiGuest>> {
        let mut guests = ctx.api()?.client.guests().await?;
        guests.retain(|guest| guest.candidate.guest.vmid == self.vmid);
        Ok(Selected::all(guests))
    }

    fn guest(&self, guest: &ApiGuest) -> Guest {
        guest.candidate.guest.clone()
    }

    async fn next(
        &self,
        ctx: &Arc<Context>,
        guest: &ApiGuest,
        turn: &mut Turn,
    ) -> Result<Next, Refusal> {
        if !turn.is_first() {
            return Ok(Next::Done);
        }
        let facts = surveyed(ctx, guest, None).await?;
        let plan = rollback(&facts, &self.name).map_err(refusal)?;
        turn.guest = Some(facts.guest);
        Ok(Next::Plan(plan))
    }
}
