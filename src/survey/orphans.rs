//! Snapshots of ours on a guest's volumes whose own guest is gone. Not for those of guests that are there:
//! their next backup looks for what became of their disks (`departed`).

use crate::context::Context;
use crate::model::{ChainId, GuestKind, SnapshotName, VolumeRef};
use crate::plan::facts::{BackupFacts, OrphanFact};
use crate::pve::GuestConfig;
use crate::repository::{GuestRecord, Repository};
use std::collections::BTreeSet;

/// Looks for them by their chains, in the records of this repository: the chains of other repositories
/// are theirs. Nothing of the repository is read where no other chain's snapshot is.
///
/// # Errors
/// The repository or the cluster's files cannot be read.
pub async fn orphans(
    ctx: &Context,
    repository: &Repository,
    facts: &BackupFacts,
) -> anyhow::Result<Vec<OrphanFact>> {
    let mut found = Vec::new();
    for (volume, chain) in other_chains(facts) {
        let repository = repository.clone();
        let owner = tokio::task::spawn_blocking(move || repository.owner_of(chain)).await??;
        let Some(owner) = owner else { continue };
        if is_gone(ctx, &owner).await? {
            let name = if owner.name.is_empty() { "" } else { " " };
            let guest = format!("guest {}{name}{}", owner.guest.vmid, owner.name);
            found.push(OrphanFact { volume, chain, guest });
        }
    }
    Ok(found)
}

/// Each chain once for each volume.
fn other_chains(facts: &BackupFacts) -> Vec<(VolumeRef, ChainId)> {
    let mut found = Vec::new();
    for volume in &facts.volumes {
        let names = volume.snapshots.iter().filter_map(|s| SnapshotName::parse(&s.identity.name));
        let chains: BTreeSet<ChainId> = names.map(|name| name.chain).collect();
        let others = chains.into_iter().filter(|chain| Some(*chain) != facts.chain);
        found.extend(others.map(|chain| (volume.volume.clone(), chain)));
    }
    found
}

/// Whether the cluster has no such guest any more. One of its vmid that nothing tells from it is taken
/// for it, as every container is: its root volume may have been moved.
async fn is_gone(ctx: &Context, owner: &GuestRecord) -> anyhow::Result<bool> {
    if ctx.home()?.files.cluster_id()?.as_ref() != Some(&owner.guest.cluster) {
        return Ok(false);
    }
    let Some(guest) = ctx.home()?.guest(owner.guest.vmid).await? else { return Ok(true) };
    if guest.kind != owner.kind || guest.kind == GuestKind::Lxc {
        return Ok(guest.kind != owner.kind);
    }
    let config = GuestConfig::parse(&ctx.home()?.config(&guest).await?);
    let present = super::incarnation(guest.kind, &config, None);
    Ok(present.is_some_and(|present| present != owner.guest.incarnation))
}
