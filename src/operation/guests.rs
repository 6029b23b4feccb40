//! What the operations on guests of this cluster begin with: whom the user means, and a guest as it
//! is when its turn comes. Not for guests as a repository tells them (`prune::chosen`).

use crate::model::{Guest, VmId};
use crate::select::{Selection, select};
use crate::survey::{self, SurveyedGuest};
use crate::world::World;
use anyhow::Context as _;

/// The selected guests of the cluster, and what of the selection named nothing.
///
/// # Errors
/// The cluster's files cannot be read.
pub(super) fn selected(
    world: &World,
    selection: &Selection,
) -> anyhow::Result<(Vec<Guest>, Vec<String>)> {
    let selected = select(selection, &world.cluster.candidates()?);
    Ok((selected.guests, selected.empty_items))
}

/// A guest where it is now, with its volumes: it may have moved since the selection, hours ago.
///
/// # Errors
/// It is gone, or it cannot be read.
pub(super) async fn surveyed(world: &World, vmid: VmId) -> anyhow::Result<SurveyedGuest> {
    let guest = world
        .cluster
        .find(vmid)?
        .with_context(|| format!("guest {vmid} is gone from the cluster; nothing was changed"))?;
    survey::guest(world, guest).await
}
