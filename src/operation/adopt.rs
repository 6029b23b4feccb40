//! An adoption's way from the selection to plan and work. Decisions, and why it is done so, stand in
//! `plan::adopt`.

use super::backup::{guest_key, new_point_id, open_point, written};
use super::guests::{identified, surveyed};
use super::{Mode, Prepared, Refusal};
use crate::execute::{AdoptWork, Work};
use crate::model::{DiskKey, Guest, Label};
use crate::plan::adopt::{NoAdoption, origin, plan};
use crate::plan::facts::RunState;
use crate::plan::{Action, Plan};
use crate::report::Failure;
use crate::repository::Repository;
use crate::repository::legacy::{LegacyHistory, LegacyLink, LegacyPoint};
use crate::select::Selection;
use crate::survey::{self, Home, OldChain};
use crate::world::World;
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

impl AdoptRequest {
    pub(super) async fn prepare(
        &self,
        world: &Arc<World>,
        guest: &Guest,
        mode: Mode,
    ) -> Result<Prepared, Refusal> {
        let known = identified(world, guest.vmid).await?;
        let key = guest_key(world, &self.repository, &known, mode)?;
        let directory = self.repository.guest(&key);
        let lock = written(world, (&self.repository, &directory), mode, "adopt").await?;
        let read = surveyed(world, &known).await?;
        let place = (&directory, key, self.repository.free_bytes()?);
        let chain = OldChain { path: &self.path, label: &self.old_label, home: &self.home };
        let read = survey::adopt(world, read, place, &self.label, &chain).await?;
        let plan = plan(&read.facts, &self.label).map_err(refusal)?;
        let Some(lock) = lock else { return Ok(Prepared { plan, work: None }) };
        let old = read.old.as_ref().context("the old tool's directory is gone")?;
        let point = adopted_point(&plan, old)?;
        let mut open =
            open_point((directory, lock), read.surveyed, self.label.clone(), new_point_id()?);
        // The point holds what was saved then, and nobody knows whether the guest was frozen.
        open.config = point.config.clone().unwrap_or_default();
        open.firewall.clone_from(&point.firewall);
        open.run_state = RunState::RunningWithoutAgent;
        let work = AdoptWork {
            origin: origin(&old.directory.name(), &point.stamp),
            chains: chains(&plan, old, point)?,
            open,
        };
        Ok(Prepared { plan, work: Some(Work::Adopt(Box::new(work))) })
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
        Action::BeginRestorePoint { moment, .. } => Some(moment),
        _ => None,
    });
    let snapshot = plan.steps().find_map(|step| match &step.action {
        Action::AdoptVolume { snapshot, .. } => Some(snapshot.name.clone()),
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
        Action::AdoptVolume { disk, .. } => Some(disk.clone()),
        _ => None,
    });
    disks.map(|disk| Ok((disk.clone(), old.chain_of(point, disk.as_str())?))).collect()
}
