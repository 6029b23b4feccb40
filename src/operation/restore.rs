//! A restore's way from the point that is meant to plan and work. Decisions stand in
//! `plan::restore`.

use super::{Next, Operation, Refusal, Selected, Turn};
use crate::context::Context;
use crate::execute::Restoring;
use crate::model::{DiskKey, Guest, Mark, OperationKind, VolumeRef};
use crate::plan::restore::{NoRestore, RestorePolicy, plan};
use crate::plan::{Action, Plan, TransferAction};
use crate::pve::GuestControl;
use crate::report::Failure;
use crate::repository::{LockMode, StoredChain};
use crate::survey::{self, RestorePoint, Sought, SurveyedRestore};
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the user wants back, and where to.
pub struct RestoreRequest {
    /// The restore point that is meant.
    pub point: RestorePoint,
    /// How it was sought.
    pub sought: Sought,
    /// Where it goes, and how.
    pub policy: RestorePolicy,
}

impl Operation for RestoreRequest {
    type Subject = Guest;

    fn kind(&self) -> OperationKind {
        OperationKind::Restore
    }

    async fn select(&self, _world: &Arc<Context>) -> anyhow::Result<Selected<Guest>> {
        Ok(Selected::all(vec![self.target()]))
    }

    fn guest(&self, guest: &Guest) -> Guest {
        guest.clone()
    }

    async fn next(
        &self,
        ctx: &Arc<Context>,
        _guest: &Guest,
        turn: &mut Turn,
    ) -> Result<Next, Refusal> {
        if !turn.is_first() {
            return Ok(Next::Done);
        }
        // A restore shares the repository with others, so that nothing removes what it reads.
        // Until then it was free to, and what was found may be gone or merged.
        let lock = match &self.point {
            RestorePoint::Ours(ours) => {
                turn.lock(&ours.directory, LockMode::Shared, "restore").await?
            }
            RestorePoint::Barc(_) => None,
        };
        let point = self.point.read_again()?;
        let SurveyedRestore { facts, settled } =
            survey::restore(ctx, &point, &self.sought, &self.policy).await?;
        let mark = Mark(crate::entropy::random_u64().context("read random bytes")?);
        let policy = RestorePolicy { mark, ..self.policy.clone() };
        let plan = plan(&facts, &policy).map_err(refusal)?;
        let restoring = Restoring {
            lock,
            chains: chains(&point, &plan)?,
            firewall: facts.firewall.unwrap_or_default(),
            control: control(ctx, &plan.guest).await?,
            present_config: facts.present.map(|present| present.config),
            settled,
        };
        turn.held.restoring = Some(Arc::new(restoring));
        Ok(Next::Plan(plan))
    }
}

impl RestoreRequest {
    /// The guest that comes back, before its node is known.
    fn target(&self) -> Guest {
        let point = &self.point;
        Guest {
            vmid: self.policy.target.or(self.policy.attach).unwrap_or(point.vmid()),
            kind: point.kind(),
            name: point.name(),
            node: point.node(),
        }
    }
}

fn refusal(reason: NoRestore) -> Refusal {
    match reason {
        NoRestore::Config(_) => Refusal::Failed(Failure::Other, reason.into()),
        other => Refusal::Failed(Failure::Conflict, other.into()),
    }
}

/// How the guest is reached: where one of its vmid is, or else where it will be.
async fn control(ctx: &Context, guest: &Guest) -> anyhow::Result<GuestControl> {
    let present = ctx.home()?.guest(guest.vmid).await?;
    Ok(ctx.home()?.control(present.as_ref().unwrap_or(guest)))
}

fn chains(point: &RestorePoint, plan: &Plan) -> anyhow::Result<Chains> {
    let of_disk = |disk: &DiskKey| Ok((disk.clone(), point.chain(disk)?));
    restored(plan).map(|(disk, _)| of_disk(disk)).collect()
}

type Chains = BTreeMap<DiskKey, StoredChain>;

fn restored(plan: &Plan) -> impl Iterator<Item = (&DiskKey, &VolumeRef)> {
    plan.steps().filter_map(|step| match &step.action {
        Action::Transfer(TransferAction::Restore { disk, volume }) => Some((disk, volume)),
        _ => None,
    })
}
