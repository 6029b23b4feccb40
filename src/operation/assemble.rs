//! Assembling one volume of a restore point as a file: nothing that exists is changed. Decisions stand in
//! `plan::assemble`.

use super::{Next, Operation, Refusal, Selected, Turn};
use crate::context::Context;
use crate::execute::Assembling;
use crate::model::{DiskKey, Guest, OperationKind};
use crate::plan::assemble::{AssembleFacts, plan};
use crate::plan::damage::DamageFacts;
use crate::report::{Failure, GuestOutcome};
use crate::repository::LockMode;
use crate::survey::{self, RestorePoint, Sought};
use std::path::PathBuf;
use std::sync::Arc;

/// What the user wants as a file.
pub struct AssembleRequest {
    /// The restore point.
    pub point: RestorePoint,
    /// How it was sought.
    pub sought: Sought,
    /// One of its disks, as [`RestorePoint::disk_names`] names it.
    pub disk: String,
    /// The file; it must not exist.
    pub output: PathBuf,
}

impl Operation for AssembleRequest {
    type Subject = ();

    fn kind(&self) -> OperationKind {
        OperationKind::Assemble
    }

    async fn select(&self, _ctx: &Arc<Context>) -> anyhow::Result<Selected<()>> {
        Ok(Selected::all(vec![()]))
    }

    fn guest(&self, _subject: &()) -> Guest {
        let point = &self.point;
        let (vmid, kind) = (point.vmid(), point.kind());
        Guest { vmid, kind, name: point.name(), node: point.node() }
    }

    fn outcome(&self, subject: &()) -> GuestOutcome {
        let point = Some(self.point.time());
        GuestOutcome { point, ..GuestOutcome::new(&self.guest(subject)) }
    }

    async fn next(
        &self,
        _ctx: &Arc<Context>,
        subject: &(),
        turn: &mut Turn,
    ) -> Result<Next, Refusal> {
        if !turn.is_first() {
            return Ok(Next::Done);
        }
        // A shared lock, so that nothing removes what is read; none on what the old tool wrote, where we
        // write nothing.
        let lock = match self.point.directory() {
            Some(directory) => turn.lock(directory, LockMode::Shared, "assemble").await?,
            None => None,
        };
        // What was found before the lock may be gone or merged.
        let found = self.point.clone();
        let point = tokio::task::spawn_blocking(move || found.read_again()).await??;
        let facts = AssembleFacts {
            guest: self.guest(subject),
            moment: self.point.time(),
            disk: self.disk.clone(),
            file: self.output.display().to_string(),
            damage: self.known_damage(&point),
        };
        let plan = plan(&facts);
        let plan = plan.map_err(|damaged| Refusal::Failed(Failure::Conflict, damaged.into()))?;
        let (chain, output) = (point.chain_named(&self.disk)?, self.output.clone());
        turn.held.assembling = Some(Arc::new(Assembling { lock, chain, output }));
        Ok(Next::Plan(plan))
    }
}

impl AssembleRequest {
    fn known_damage(&self, point: &RestorePoint) -> DamageFacts {
        match self.disk.parse::<DiskKey>() {
            Ok(disk) => survey::damage(point, &self.sought, &[disk]),
            Err(_) => DamageFacts::default(),
        }
    }
}
