//! A backup's way from the selection to plan and work. Decisions stand in `plan::backup`.

use super::guests::{self, identified, surveyed};
use super::{Next, Operation, Refusal, Selected, Turn, prepare};
use crate::context::Context;
use crate::execute::OpenPoint;
use crate::model::{ChainId, Guest, ImageId, Label, OperationKind, PointId};
use crate::plan::backup::{NoBackup, plan, recovery_alone};
use crate::plan::facts::{BackupPolicy, SnapshotProtection};
use crate::report::Failure;
use crate::repository::{GuestKey, Repository};
use crate::retention::{Rules, Span};
use crate::select::Selection;
use crate::survey;
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

impl Operation for BackupRequest {
    type Subject = Guest;

    fn kind(&self) -> OperationKind {
        OperationKind::Backup
    }

    async fn select(&self, ctx: &Arc<Context>) -> anyhow::Result<Selected<Guest>> {
        Ok(guests::selected(ctx, &self.selection)?.into(&self.repository)?)
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
        if known.is_template {
            return Err(Refusal::Skipped("it is a template".to_owned()));
        }
        if let Some(plan) = prepare::missing(ctx, &self.repository, turn, &known.guest)? {
            return Ok(Next::Plan(plan));
        }
        let key = guest_key(ctx, &self.repository, &known).await?;
        let directory = self.repository.guest(&key);
        if let Some(plan) = prepare::missing_directory(&directory, turn, &known.guest).await? {
            return Ok(Next::Plan(plan));
        }
        turn.hold(&directory, "backup").await?;
        // Only now: who held the lock may have replaced the snapshots, or the guest have moved.
        let read = surveyed(ctx, &known).await?;
        let repository = self.repository.clone();
        let free_bytes = tokio::task::spawn_blocking(move || repository.free_bytes()).await??;
        let mut surveyed =
            survey::backup(ctx, read, (&directory, key, free_bytes), &self.label).await?;
        surveyed.facts.orphans = survey::orphans(ctx, &self.repository, &surveyed.facts).await?;
        let policy = self.policy(ctx)?;
        let plan = match plan(&surveyed.facts, &policy) {
            Ok(plan) => plan,
            Err(reason) => {
                let Some(recovery) = recovery_alone(&surveyed.facts) else {
                    return Err(refusal(reason));
                };
                turn.refusal = Some(refusal(reason));
                recovery
            }
        };
        turn.held.makes(open_point(surveyed, policy.label, policy.new_chain, policy.point));
        Ok(Next::Plan(plan))
    }
}

impl BackupRequest {
    fn policy(&self, ctx: &Context) -> anyhow::Result<BackupPolicy> {
        Ok(BackupPolicy {
            label: self.label.clone(),
            now: ctx.clock.now(),
            point: new_point_id()?,
            new_chain: new_chain_id()?,
            new_image: new_image_id()?,
            snapshots: self.snapshots,
            renew: self.renew,
            audit: self.audit,
            retention: self.retention.clone(),
            freeze_timeout: self.freeze_timeout,
        })
    }
}

fn refusal(reason: NoBackup) -> Refusal {
    match reason {
        NoBackup::Skipped(why) => Refusal::Skipped(why),
        other => Refusal::Failed(Failure::Other, other.into()),
    }
}

/// The guest's place in a repository. Where a dry run has shown that the cluster's id is to be made, the
/// place is one under a number that no cluster has.
pub(super) async fn guest_key(
    ctx: &Context,
    repository: &Repository,
    known: &survey::IdentifiedGuest,
) -> anyhow::Result<GuestKey> {
    let id = ctx.home()?.files.cluster_id()?;
    let key = GuestKey {
        cluster_name: ctx.home()?.files.cluster_name()?,
        cluster: id.map_or_else(|| "00000000-0000-4000-8000-000000000000".parse(), Ok)?,
        vmid: known.guest.vmid,
        incarnation: known.incarnation,
    };
    survey::place(ctx, repository, known, key).await
}

/// The id of a point that is to be made.
pub(super) fn new_point_id() -> anyhow::Result<PointId> {
    Ok(PointId(crate::entropy::random_u64().context("read random bytes")?))
}

/// The id of a chain that is to be begun.
pub(super) fn new_chain_id() -> anyhow::Result<ChainId> {
    Ok(ChainId(crate::entropy::random_u32().context("read random bytes")?))
}

/// The id of the first image that is to be made.
pub(super) fn new_image_id() -> anyhow::Result<ImageId> {
    Ok(ImageId(crate::entropy::random_u64().context("read random bytes")?))
}

/// The point that is to be made, as far as the survey tells, of a label that gets the new chain where it
/// has none.
pub(super) fn open_point(
    surveyed: survey::Surveyed,
    label: Label,
    new_chain: ChainId,
    point: PointId,
) -> OpenPoint {
    let chain = surveyed.facts.chain.unwrap_or(new_chain);
    let mut record = surveyed.record;
    record.chains.insert(label.clone(), chain);
    OpenPoint {
        record,
        control: surveyed.control,
        config: surveyed.config,
        firewall: surveyed.firewall,
        run_state: surveyed.facts.run_state,
        chain,
        debris: surveyed.debris,
        label,
        point,
        draft: Mutex::new(None),
    }
}
