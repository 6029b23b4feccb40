//! What the operations on guests of this cluster begin with: whom the user means, and a guest as it
//! is when its turn comes. Not for guests as a repository tells them (`prune::chosen`).

use super::Selected;
use crate::context::Context;
use crate::model::{Guest, VmId};
use crate::select::{Selection, select};
use crate::survey::{self, IdentifiedGuest, SurveyedGuest};
use anyhow::{Context as _, ensure};

/// The selected guests of the cluster, and what of the selection named nothing.
///
/// # Errors
/// The cluster's files cannot be read.
pub(super) fn selected(ctx: &Context, selection: &Selection) -> anyhow::Result<Selected<Guest>> {
    let selected = select(selection, &ctx.home()?.files.candidates()?);
    Ok(Selected { not_found: selected.empty_items, ..Selected::all(selected.guests) })
}

/// What tells a guest from others, for its place in a repository. All else is read under the lock of
/// that place, for which a run may wait for hours.
///
/// # Errors
/// It is gone, or it cannot be read.
pub(super) async fn identified(ctx: &Context, vmid: VmId) -> anyhow::Result<IdentifiedGuest> {
    survey::identity(ctx, found(ctx, vmid).await?).await
}

/// The same guest where it is now, with its volumes.
///
/// # Errors
/// It is gone, it cannot be read, or another one bears its vmid now.
pub(super) async fn surveyed(
    ctx: &Context,
    known: &IdentifiedGuest,
) -> anyhow::Result<SurveyedGuest> {
    let vmid = known.guest.vmid;
    let read = survey::guest(ctx, found(ctx, vmid).await?).await?;
    ensure!(
        read.incarnation == known.incarnation,
        "guest {vmid} is another one than before its lock was free; nothing was changed, run it again"
    );
    Ok(read)
}

async fn found(ctx: &Context, vmid: VmId) -> anyhow::Result<Guest> {
    let found = ctx.home()?.guest(vmid).await?;
    let guest = found
        .with_context(|| format!("guest {vmid} is gone from the cluster; nothing was changed"))?;
    let is_member = ctx.home()?.files.members()?.is_member(&guest.node);
    ensure!(
        is_member != Some(false),
        "node {} is no member of the cluster: {} is what a removed node left (move the guest's configuration to a member's directory, or delete it); nothing was changed",
        guest.node,
        ctx.home()?.files.config_path(&guest.node, guest.kind, vmid).display()
    );
    Ok(guest)
}
