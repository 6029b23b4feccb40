//! What a person does with one restore point, from the point that was found to plan and work. Decisions
//! stand in `plan::point`.

use super::{Next, Operation, Refusal, Selected, Turn};
use crate::context::Context;
use crate::model::{Guest, OperationKind};
use crate::plan::point::{PointAct, plan};
use crate::report::GuestOutcome;
use crate::repository::{Manifest, StoredPoint};
use crate::survey::{self, SurveyedPoint};
use std::sync::Arc;

/// One act.
pub struct PointRequest {
    /// What is to be done.
    pub act: PointAct,
    /// The point as it was found; it is read again under the lock.
    pub found: SurveyedPoint,
}

impl Operation for PointRequest {
    type Subject = Guest;

    fn kind(&self) -> OperationKind {
        self.act.kind()
    }

    async fn select(&self, _ctx: &Arc<Context>) -> anyhow::Result<Selected<Guest>> {
        let Manifest { guest, kind, name, node, .. } = &self.found.point.manifest;
        let (name, node) = (name.clone(), node.clone());
        Ok(Selected::all(vec![Guest { vmid: guest.vmid, kind: *kind, name, node }]))
    }

    fn guest(&self, guest: &Guest) -> Guest {
        guest.clone()
    }

    fn outcome(&self, guest: &Guest) -> GuestOutcome {
        let point = Some(self.found.point.manifest.time);
        GuestOutcome { point, ..GuestOutcome::new(guest) }
    }

    async fn next(
        &self,
        _ctx: &Arc<Context>,
        guest: &Guest,
        turn: &mut Turn,
    ) -> Result<Next, Refusal> {
        if !turn.is_first() {
            return Ok(Next::Done);
        }
        turn.hold(&self.found.directory, "mark or delete a point").await?;
        let (guest, found) = (guest.clone(), self.found.clone());
        let read = move || survey::named_point(guest, &found);
        let facts = tokio::task::spawn_blocking(read).await??;
        Ok(Next::Plan(plan(&facts, &self.act)?))
    }
}

/// A point as a person knows it.
pub fn point_name(point: &StoredPoint) -> String {
    let manifest = &point.manifest;
    format!("point {} {} of guest {}", manifest.label, manifest.time, manifest.guest.vmid)
}
