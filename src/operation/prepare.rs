//! What must be there before a guest's own place in a repository can be locked, looked for. The plan that
//! makes it is `plan::prepare`'s: who finds that another run was faster has what it wants.

use super::Turn;
use crate::context::Context;
use crate::model::Guest;
use crate::plan::Plan;
use crate::plan::prepare::{PrepareFacts, plan};
use crate::repository::{GuestDir, Repository};
use anyhow::Context as _;

/// The plan that makes what is missing; none when nothing is, or once it was given.
///
/// # Errors
/// The file systems do not answer.
pub(super) fn missing(
    ctx: &Context,
    repository: &Repository,
    turn: &mut Turn,
    guest: &Guest,
) -> anyhow::Result<Option<Plan>> {
    missing_of(repository, turn, guest, || match ctx.home()?.files.cluster_id()? {
        Some(_) => Ok(None),
        None => Ok(Some(crate::entropy::random_bytes().context("read random bytes")?)),
    })
}

/// The same for work that needs no cluster, and so no id of one.
///
/// # Errors
/// The file system does not answer.
pub(super) fn missing_repository(
    repository: &Repository,
    turn: &mut Turn,
    guest: &Guest,
) -> anyhow::Result<Option<Plan>> {
    missing_of(repository, turn, guest, || Ok(None))
}

/// The plan that makes the guest's own directory; none where it is there, or once it was given.
///
/// # Errors
/// The file system does not answer.
pub(super) async fn missing_directory(
    place: &GuestDir,
    turn: &mut Turn,
    guest: &Guest,
) -> anyhow::Result<Option<Plan>> {
    if turn.held.place.is_some() {
        return Ok(None);
    }
    // Other guests are thawed and watched meanwhile, however long the repository takes.
    let looked_at = place.clone();
    if tokio::task::spawn_blocking(move || looked_at.exists()).await?? {
        return Ok(None);
    }
    turn.held.place = Some(place.clone());
    Ok(plan(PrepareFacts { new_directory: true, ..PrepareFacts::nothing(guest) }))
}

fn missing_of(
    repository: &Repository,
    turn: &mut Turn,
    guest: &Guest,
    new_cluster_id: impl FnOnce() -> anyhow::Result<Option<[u8; 16]>>,
) -> anyhow::Result<Option<Plan>> {
    if turn.held.target.is_some() {
        return Ok(None);
    }
    let directory = repository.path().display().to_string();
    let new_repository = (!repository.is_begun()?).then_some(directory);
    let new_cluster_id = new_cluster_id()?;
    let nothing = PrepareFacts::nothing(guest);
    let plan = plan(PrepareFacts { new_repository, new_cluster_id, ..nothing });
    turn.held.target = plan.is_some().then(|| repository.clone());
    Ok(plan)
}
