//! The steps of a reset: snapshots of chains that are ours go. Which they are stands in the plan.

use super::{Execution, Stopped};
use crate::model::{ChainId, SnapshotIdentity, VolumeId};
use crate::plan::{Action, Step};
use crate::repository::{GuestDir, Lock};
use crate::storage::Removed;
use anyhow::anyhow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the steps of a reset work on.
pub struct ResetWork {
    /// Our exclusive lock on the directory of each chain's guest; none for a chain that only the user
    /// named.
    pub locks: BTreeMap<ChainId, Arc<(GuestDir, Lock)>>,
}

impl Execution {
    pub(super) async fn reset_step(&self, work: &ResetWork, step: &Step) -> Result<(), Stopped> {
        match &step.action {
            Action::ResetChain { chain } => confirm(work, *chain),
            Action::ReleaseSnapshot { volume, snapshot } => {
                Ok(self.storage(volume)?.unprotect_snapshot(&volume.name, snapshot).await?)
            }
            Action::DeleteSnapshot { volume, snapshot } => {
                self.delete(volume, snapshot, &step.because).await
            }
            other => Err(anyhow!("{other:?} is no step of a reset").into()),
        }
    }

    async fn delete(
        &self,
        volume: &VolumeId,
        snapshot: &SnapshotIdentity,
        because: &str,
    ) -> Result<(), Stopped> {
        let removed = self.storage(volume)?.delete_snapshot(&volume.name, snapshot).await?;
        let what = match removed {
            Removed::Deleted => "deleted",
            Removed::AlreadyGone => "found gone already:",
        };
        let done = format!("{what} snapshot {volume}@{} ({because})", snapshot.name);
        self.note(&done);
        self.state().outcome.changes.push(done);
        Ok(())
    }
}

/// A run whose lock was taken over must not delete what another one builds on.
fn confirm(work: &ResetWork, chain: ChainId) -> Result<(), Stopped> {
    match work.locks.get(&chain).map(Arc::as_ref) {
        Some((directory, lock)) => Ok(lock.confirm(directory.path())?),
        None => Ok(()),
    }
}
