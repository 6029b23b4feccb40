//! An adoption's way from the selection to plan and work. Decisions, and why it is done so, stand in
//! `plan::adopt`.

use super::backup::{guest_key, new_chain_id, new_image_id, new_point_id, open_point};
use super::guests::{identified, selected, surveyed};
use super::{Next, Operation, Refusal, Selected, Turn, prepare};
use crate::context::Context;
use crate::execute::OldFiles;
use crate::model::{DiskKey, Guest, Label, OperationKind};
use crate::plan::adopt::{AdoptPolicy, NoAdoption, origin, plan};
use crate::plan::facts::RunState;
use crate::plan::{Action, Plan, PointAction, TransferAction};
use crate::report::Failure;
use crate::repository::Repository;
use crate::repository::legacy::{LegacyHistory, LegacyLink, LegacyPoint};
use crate::select::Selection;
use crate::survey::{self, Home, OldChain};
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// What the user wants to be adopted, and where to.
pub struct AdoptRequest {
    /// Which guests.
    pub selection: Selection,
    /// Below it stands the old tool's directory `barc`.
    pub path: PathBuf,
    /// The old tool's label: any text.
    pub old_label: String,
    /// The label of the adopted point.
    pub label: Label,
    /// The repository.
    pub repository: Repository,
    /// What this machine adds to what the old tool wrote.
    pub home: Home,
}

impl Operation for AdoptRequest {
    type Subject = Guest;

    fn kind(&self) -> OperationKind {
        OperationKind::Adopt
    }

    async fn select(&self, ctx: &Arc<Context>) -> anyhow::Result<Selected<Guest>> {
        Ok(selected(ctx, &self.selection)?.into(&self.repository)?)
    }

    fn guest(&self, guest: &Guest) -> Guest {
        guest.clone()
    }

    async fn next(
        &self,
        ctx: &Arc<Context>,
        guest: &Guest,
        turn: &mut Turn,
    ) -> Result<Next, Refusal> {
        if !turn.is_first() {
            return Ok(Next::Done);
        }
        let known = identified(ctx, guest.vmid).await?;
        if let Some(plan) = prepare::missing(ctx, &self.repository, turn, &known.guest)? {
            return Ok(Next::Plan(plan));
        }
        let key = guest_key(ctx, &self.repository, &known).await?;
        let directory = self.repository.guest(&key);
        if let Some(plan) = prepare::missing_directory(&directory, turn, &known.guest).await? {
            return Ok(Next::Plan(plan));
        }
        turn.hold(&directory, "adopt").await?;
        let read = surveyed(ctx, &known).await?;
        let place = (&directory, key, self.repository.free_bytes()?);
        let chain = OldChain { path: &self.path, label: &self.old_label, home: &self.home };
        let read = survey::adopt(ctx, read, place, &self.label, &chain).await?;
        let (new_chain, new_image) = (new_chain_id()?, new_image_id()?);
        let policy = AdoptPolicy { label: self.label.clone(), new_chain, new_image };
        let plan = plan(&read.facts, &policy).map_err(refusal)?;
        let old = read.old.as_ref().context("the old tool's directory is gone")?;
        let point = adopted_point(&plan, old)?;
        let mut open = open_point(read.surveyed, policy.label, policy.new_chain, new_point_id()?);
        // The point holds what was saved then, and nobody knows whether the guest was frozen.
        open.config = point.config.clone().unwrap_or_default();
        open.firewall.clone_from(&point.firewall);
        open.run_state = RunState::RunningWithoutAgent;
        let origin = origin(&old.directory.name(), &point.stamp);
        let files = OldFiles { origin, chains: chains(&plan, old, point)? };
        turn.held.makes(open);
        turn.held.old = Some(Arc::new(files));
        Ok(Next::Plan(plan))
    }
}

/// One that is adopted already is no failure: whoever runs it again has what he wants.
fn refusal(reason: NoAdoption) -> Refusal {
    match reason {
        NoAdoption::Already { .. } => Refusal::Skipped(reason.to_string()),
        NoAdoption::Occupied { .. } => Refusal::Failed(Failure::Conflict, reason.into()),
        other => Refusal::Failed(Failure::Other, other.into()),
    }
}

/// The old point that the plan is about: the one of its moment.
fn adopted_point<'a>(plan: &Plan, old: &'a LegacyHistory) -> anyhow::Result<&'a LegacyPoint> {
    let moment = plan.steps().find_map(|step| match step.action {
        Action::Point(PointAction::Begin { moment, .. }) => Some(moment),
        _ => None,
    });
    let snapshot = plan.steps().find_map(|step| match &step.action {
        Action::Transfer(TransferAction::Adopt { snapshot, .. }) => Some(snapshot.name.clone()),
        _ => None,
    });
    let is_meant = |point: &&LegacyPoint| {
        let name = format!("barc{}{}", old.directory.label, point.stamp);
        Some(point.time) == moment && Some(name) == snapshot
    };
    old.points.iter().find(is_meant).context("the old tool's point is gone")
}

fn chains(
    plan: &Plan,
    old: &LegacyHistory,
    point: &LegacyPoint,
) -> anyhow::Result<BTreeMap<DiskKey, Vec<LegacyLink>>> {
    let disks = plan.steps().filter_map(|step| match &step.action {
        Action::Transfer(TransferAction::Adopt { disk, .. }) => Some(disk.clone()),
        _ => None,
    });
    disks.map(|disk| Ok((disk.clone(), old.chain_of(point, disk.as_str())?))).collect()
}
