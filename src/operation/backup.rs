//! A backup's way from the selection to plan and work. Decisions stand in `plan::backup`.

use super::guests::{identified, surveyed};
use super::{Mode, Prepared, Refusal};
use crate::execute::{BackupWork, Work};
use crate::model::{ClusterId, Guest, Label, PointId};
use crate::plan::backup::{NoBackup, plan, recovery_alone};
use crate::plan::facts::{BackupPolicy, SnapshotProtection};
use crate::report::Failure;
use crate::repository::{GuestDir, GuestKey, Lock, LockMode, LockOptions, Repository};
use crate::retention::{Rules, Span};
use crate::select::Selection;
use crate::survey;
use crate::world::World;
use anyhow::Context as _;
use std::sync::{Arc, Mutex};

/// What the user wants to be backed up, and where to.
pub struct BackupRequest {
    /// Which guests.
    pub selection: Selection,
    /// The label of the points.
    pub label: Label,
    /// The repository.
    pub repository: Repository,
    /// What happens to the snapshot that stays on each volume.
    pub snapshots: SnapshotProtection,
    /// When an image is a base although an increment would be possible.
    pub renew: Option<Span>,
    /// Of how many parts of the blocks one is compared with the source after the commit.
    pub audit: Option<u64>,
    /// Which older points of the label go after the commit.
    pub retention: Rules,
    /// Seconds that a guest's agent may take to answer the freeze.
    pub freeze_timeout: u32,
}

impl BackupRequest {
    pub(super) async fn prepare(
        &self,
        world: &Arc<World>,
        guest: &Guest,
        mode: Mode,
    ) -> Result<Prepared, Refusal> {
        let known = identified(world, guest.vmid).await?;
        if known.is_template {
            return Err(Refusal::Skipped("it is a template".to_owned()));
        }
        let key = guest_key(world, &self.repository, &known, mode)?;
        let directory = self.repository.guest(&key);
        let lock = written(world, (&self.repository, &directory), mode, "backup").await?;
        // Only now: who held the lock may have replaced the snapshots, or the guest have moved.
        let read = surveyed(world, &known).await?;
        let repository = self.repository.clone();
        let free_bytes = tokio::task::spawn_blocking(move || repository.free_bytes()).await??;
        let surveyed =
            survey::backup(world, read, (&directory, key, free_bytes), &self.label).await?;
        let policy = BackupPolicy {
            label: self.label.clone(),
            now: world.clock.now(),
            point: new_point_id()?,
            snapshots: self.snapshots,
            renew: self.renew,
            audit: self.audit,
            retention: self.retention.clone(),
            freeze_timeout: self.freeze_timeout,
        };
        let (plan, refused) = match plan(&surveyed.facts, &policy) {
            Ok(plan) => (plan, None),
            Err(reason) => match recovery_alone(&surveyed.facts) {
                Some(plan) => (plan, Some(reason)),
                None => return Err(refusal(reason)),
            },
        };
        let work = lock.map(|lock| {
            let point = open_point((directory, lock), surveyed, policy.label, policy.point);
            Work::Backup(Box::new(point))
        });
        let prepared = Prepared { plan, work };
        match refused {
            Some(reason) => {
                Err(Refusal::AfterRecovery(Box::new(prepared), Box::new(refusal(reason))))
            }
            None => Ok(prepared),
        }
    }
}

fn refusal(reason: NoBackup) -> Refusal {
    match reason {
        NoBackup::Skipped(why) => Refusal::Skipped(why),
        other => Refusal::Failed(Failure::Other, other.into()),
    }
}

/// The guest's place in a repository.
pub(super) fn guest_key(
    world: &World,
    repository: &Repository,
    known: &survey::IdentifiedGuest,
    mode: Mode,
) -> anyhow::Result<GuestKey> {
    let key = GuestKey {
        cluster_name: world.cluster.cluster_name()?,
        cluster: cluster_id(world, mode)?,
        vmid: known.guest.vmid,
        incarnation: known.incarnation,
    };
    survey::place(world, repository, known, key)
}

/// The cluster's id, made at the first backup. A dry run makes none: it finds an empty repository
/// under a number that no cluster has.
fn cluster_id(world: &World, mode: Mode) -> anyhow::Result<ClusterId> {
    if let Some(id) = world.cluster.cluster_id()? {
        return Ok(id);
    }
    match mode {
        Mode::Execute => {
            let random = crate::entropy::random_bytes().context("read random bytes")?;
            Ok(world.cluster.create_cluster_id(random)?)
        }
        Mode::DryRun => Ok("00000000-0000-4000-8000-000000000000".parse()?),
    }
}

/// The exclusive lock of a directory that is to be written to; a dry run needs none. A repository
/// that was not begun is: this run is a person's, or was refused before.
pub(super) async fn written(
    world: &World,
    (repository, directory): (&Repository, &GuestDir),
    mode: Mode,
    what: &'static str,
) -> anyhow::Result<Option<Lock>> {
    match mode {
        Mode::Execute => {
            let repository = repository.clone();
            tokio::task::spawn_blocking(move || repository.begin()).await??;
            lock(world, directory, LockMode::Exclusive, what).await.map(Some)
        }
        Mode::DryRun => Ok(None),
    }
}

/// Takes a lock on a guest's directory; waiting for it must not stop other guests.
pub(super) async fn lock(
    world: &World,
    directory: &GuestDir,
    mode: LockMode,
    what: &'static str,
) -> anyhow::Result<Lock> {
    let directory = directory.clone();
    let options = LockOptions { wait: world.limits.lock_wait, what: what.to_owned() };
    let cancel = world.cancel.clone();
    let take = move || super::waiting::take(&directory, mode, &options, &cancel);
    Ok(tokio::task::spawn_blocking(take).await??)
}

/// The id of a point that is to be made.
pub(super) fn new_point_id() -> anyhow::Result<PointId> {
    Ok(PointId(crate::entropy::random_u64().context("read random bytes")?))
}

/// What the steps of making a point work on.
pub(super) fn open_point(
    (directory, lock): (GuestDir, Lock),
    surveyed: survey::Surveyed,
    label: Label,
    point: PointId,
) -> BackupWork {
    BackupWork {
        directory,
        lock,
        record: surveyed.record,
        control: surveyed.control,
        config: surveyed.config,
        firewall: surveyed.firewall,
        run_state: surveyed.facts.run_state,
        chain: surveyed.facts.chain,
        debris: surveyed.debris,
        label,
        point,
        draft: Mutex::new(None),
    }
}
