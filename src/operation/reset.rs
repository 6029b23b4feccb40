//! A reset's way from the selection, or from volumes by name, to plan and work. Decisions stand in
//! `plan::reset`.
//!
//! The directories of the guests whose chains are reset are locked before the volumes are read: a
//! backup that is under way keeps its base, and a reset that comes first lets it begin anew.

use super::guests::selected;
use super::{Next, Operation, Refusal, Selected, Turn};
use crate::context::Context;
use crate::execute::StoredGuest;
use crate::model::{ChainId, Guest, GuestKind, OperationKind, SnapshotName, VmId, VolumeId};
use crate::plan::reset::{NoReset, ResetFacts, ResetPolicy, ResetVolume, plan};
use crate::report::Failure;
use crate::repository::{LockMode, Repository};
use crate::select::Selection;
use crate::survey::{self, ChainOwner, NamedVolume};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What the user wants to be reset.
#[derive(Debug, Clone)]
pub struct ResetRequest {
    /// The volumes.
    pub target: ResetTarget,
    /// The repository that tells which chains are ours.
    pub repository: Option<Repository>,
    /// Labels and chains that are meant.
    pub policy: ResetPolicy,
}

/// Which volumes are meant.
#[derive(Debug, Clone)]
pub enum ResetTarget {
    /// Those of the configurations of these guests.
    Guests(Selection),
    /// These; their guests need no configuration.
    Volumes(Vec<VolumeId>),
}

impl Operation for ResetRequest {
    type Subject = Guest;

    fn kind(&self) -> OperationKind {
        OperationKind::Reset
    }

    async fn select(&self, ctx: &Arc<Context>) -> anyhow::Result<Selected<Guest>> {
        match &self.target {
            ResetTarget::Guests(selection) => selected(ctx, selection),
            ResetTarget::Volumes(volumes) => Ok(Selected::all(guests_of(ctx, volumes).await?)),
        }
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
        let named = self.volumes(ctx, guest).await?;
        let mut owners = self.owners(ctx, guest, &named).await?;
        for owner in &mut owners {
            let taken = turn.lock(&owner.directory, LockMode::Exclusive, "reset").await?;
            *owner = owner.again()?;
            let directory = owner.directory.clone();
            let Some(lock) = taken else { continue };
            let held = Arc::new(StoredGuest { directory, lock });
            turn.held.chains.extend(owner.chains.iter().map(|chain| (*chain, held.clone())));
        }
        // Read under the locks, so that no run of these chains changes it any more.
        let (volumes, skipped) = survey::reset_volumes(ctx, &guest.node, &named).await;
        let facts = ResetFacts {
            guest: guest.clone(),
            volumes,
            skipped,
            repository: self.repository.as_ref().map(|r| r.path().display().to_string()),
            chains: owners.iter().flat_map(ChainOwner::facts).collect(),
        };
        Ok(Next::Plan(plan(&facts, &self.policy).map_err(refusal)?))
    }
}

impl ResetRequest {
    async fn volumes(&self, ctx: &Context, guest: &Guest) -> anyhow::Result<Vec<NamedVolume>> {
        match &self.target {
            ResetTarget::Guests(_) => survey::volumes_of(ctx, guest).await,
            ResetTarget::Volumes(volumes) => {
                let own = volumes.iter().filter(|v| owner_of(v).ok() == Some(guest.vmid));
                let named = |v: &VolumeId| NamedVolume {
                    name: v.to_string(),
                    volume: v.clone(),
                    asked_for: true,
                };
                Ok(own.map(named).collect())
            }
        }
    }

    /// Those whose chains have snapshots on the volumes, in the order of their directories, so that
    /// two resets never wait for each other.
    async fn owners(
        &self,
        ctx: &Context,
        guest: &Guest,
        named: &[NamedVolume],
    ) -> anyhow::Result<Vec<ChainOwner>> {
        let Some(repository) = &self.repository else { return Ok(Vec::new()) };
        let present = chains_on(&survey::reset_volumes(ctx, &guest.node, named).await.0);
        if present.is_empty() {
            return Ok(Vec::new());
        }
        let (repository, cluster) = (repository.clone(), ctx.home()?.files.cluster_id()?);
        let owners = tokio::task::spawn_blocking(move || {
            survey::chain_owners(&repository, cluster.as_ref())
        });
        let mut owners = owners.await??;
        owners.retain(|owner| !owner.chains.is_disjoint(&present));
        owners.sort_by(|a, b| a.directory.path().cmp(b.directory.path()));
        Ok(owners)
    }
}

fn refusal(reason: NoReset) -> Refusal {
    Refusal::Failed(Failure::Conflict, reason.into())
}

fn chains_on(volumes: &[ResetVolume]) -> BTreeSet<ChainId> {
    let snapshots = volumes.iter().flat_map(|volume| &volume.snapshots);
    snapshots.filter_map(|s| Some(SnapshotName::parse(&s.identity.name)?.chain)).collect()
}

/// The guests of volumes by their names, each once; one without a configuration has no name and is
/// on no node, so that this node stands there.
async fn guests_of(ctx: &Context, volumes: &[VolumeId]) -> anyhow::Result<Vec<Guest>> {
    let vmids: BTreeSet<VmId> = volumes.iter().map(owner_of).collect::<anyhow::Result<_>>()?;
    let mut guests = Vec::new();
    for vmid in vmids {
        guests.push(match ctx.home()?.guest(vmid).await? {
            Some(guest) => guest,
            None => {
                let (kind, node) = (GuestKind::Qemu, ctx.home()?.files.this_node()?);
                Guest { vmid, kind, name: "(no configuration)".to_owned(), node }
            }
        });
    }
    Ok(guests)
}

/// The vmid in a volume's name: PVE has no others on a storage of blocks (`vm-100-disk-0`,
/// `base-100-disk-0`; `PVE::Storage::RBDPlugin::parse_volname`).
///
/// # Errors
/// The name has another form.
pub fn owner_of(volume: &VolumeId) -> anyhow::Result<VmId> {
    let mut parts = volume.own_name().splitn(3, '-');
    let form = matches!(parts.next(), Some("vm" | "base"));
    let vmid = parts.next().and_then(|vmid| vmid.parse().ok());
    vmid.filter(|_| form && parts.next().is_some()).ok_or_else(|| {
        anyhow::anyhow!(
            "{volume} is no volume of a guest (storage:vm-VMID-...); nothing was changed"
        )
    })
}
