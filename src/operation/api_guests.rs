//! Whom a selection means, as PVE's API tells it, and their snapshots. Reads only; where it cannot be told
//! whether a guest is meant, that is said of it, and nothing is done to it.

use crate::model::{GuestSnapshot, VmId};
use crate::pve::api::{Api, ApiGuest};
use crate::select::{Candidate, Hidden, Selection, is_undecided, select};
use anyhow::{Context as _, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::task::JoinSet;

/// Whom a selection means.
pub(super) struct Chosen {
    /// The guests in the order of the selection, also those that it may mean.
    pub guests: Vec<ChosenGuest>,
    /// What of the selection named nothing.
    pub not_found: Vec<String>,
}

/// A guest that a selection means, or may mean.
pub(super) struct ChosenGuest {
    /// The guest as the cluster lists it.
    pub guest: ApiGuest,
    /// Why it cannot be told whether it is meant: nothing is done to it, and that is a failure.
    pub doubt: Option<String>,
}

/// Why it cannot be told whether guests are meant.
type Doubts = BTreeMap<VmId, String>;

/// What was found of one guest: its snapshots, or why they cannot be seen.
pub type Snapshots = (ApiGuest, Result<Vec<GuestSnapshot>, String>);

/// The snapshots of the selected guests, all of them, and what of the selection named nothing.
///
/// # Errors
/// The guests cannot be listed.
pub async fn list_snapshots(
    api: &Arc<Api>,
    selection: &Selection,
) -> anyhow::Result<(Vec<Snapshots>, Vec<String>)> {
    let Chosen { guests, not_found } = selected(api, selection).await?;
    let mut asked = JoinSet::new();
    let mut listed: Vec<Option<Snapshots>> = guests.iter().map(|_| None).collect();
    for (place, ChosenGuest { guest, doubt }) in guests.into_iter().enumerate() {
        if let Some(doubt) = doubt {
            listed[place] = Some((guest, Err(doubt)));
            continue;
        }
        // The client itself bounds how many requests are under way.
        let api = api.clone();
        asked.spawn(async move { (place, listed_one(&api, guest).await) });
    }
    while let Some(joined) = asked.join_next().await {
        match joined {
            Ok((place, found)) => listed[place] = Some(found),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
    let listed = listed.into_iter().flatten().collect();
    Ok((listed, not_found))
}

/// The guests that a selection means, and those of which that cannot be told.
///
/// # Errors
/// The guests cannot be listed, or PVE hides a pool that the selection names.
pub(super) async fn selected(api: &Api, selection: &Selection) -> anyhow::Result<Chosen> {
    refuse_hidden_pools(api, selection).await?;
    let mut guests = api.guests().await.context("cannot list the guests")?;
    if guests.is_empty() {
        let text = "the cluster shows no guest: without the privilege VM.Audit it hides them all (an API token with privilege separation has privileges of its own)";
        tracing::warn!("{text}");
    }
    let unread = match selection.asks_for_storages() {
        true => fill_in_storages(api, &mut guests).await,
        false => Doubts::new(),
    };
    let doubt =
        |guest: &ApiGuest| Some((guest.candidate.guest.vmid, doubt(selection, guest, &unread)?));
    let mut doubts: Doubts = guests.iter().filter_map(doubt).collect();
    let candidates: Vec<Candidate> = guests.iter().map(|g| g.candidate.clone()).collect();
    let selected = select(selection, &candidates);
    let meant: BTreeSet<VmId> = selected.guests.iter().map(|guest| guest.vmid).collect();
    let mut by_vmid: BTreeMap<VmId, ApiGuest> =
        guests.into_iter().map(|g| (g.candidate.guest.vmid, g)).collect();
    // All verdicts stand in the order of the selection.
    let named = selected.why.iter().map(|verdict| verdict.guest.vmid);
    let named = named.filter(|vmid| meant.contains(vmid) || doubts.contains_key(vmid));
    let named: Vec<VmId> = named.collect();
    let chosen =
        |vmid| Some(ChosenGuest { guest: by_vmid.remove(&vmid)?, doubt: doubts.remove(&vmid) });
    let guests = named.into_iter().filter_map(chosen).collect();
    Ok(Chosen { guests, not_found: selected.empty_items })
}

/// A pool that PVE does not show is one without guests: one that is excluded would be worked on,
/// and one that is asked for be passed over.
async fn refuse_hidden_pools(api: &Api, selection: &Selection) -> anyhow::Result<()> {
    let hidden = api.hidden_pools(&selection.pools()).await;
    let hidden = hidden.context("cannot learn which pools PVE shows; nothing was changed")?;
    let Some(first) = hidden.first() else { return Ok(()) };
    let paths: Vec<String> = hidden.iter().map(|pool| format!("/pool/{pool}")).collect();
    bail!(
        "without the privilege Pool.Audit, handed down, on {} PVE does not tell which guests the selection means; nothing was changed: `pveum acl modify /pool/{first} --roles PVEAuditor` with --tokens or --users grants it",
        paths.join(" and ")
    )
}

/// Fills in the storages of the guests, and gives back why those of some are not known.
async fn fill_in_storages(api: &Api, guests: &mut [ApiGuest]) -> Doubts {
    let mut unread = Doubts::new();
    for guest in guests.iter_mut().filter(|guest| guest.status != "unknown") {
        let config = match api.guest_config(&guest.candidate.guest).await {
            Ok(config) => config,
            Err(error) => {
                let why = format!("its configuration cannot be read: {}", error.without_claims());
                unread.insert(guest.candidate.guest.vmid, why);
                continue;
            }
        };
        let used = config.volumes().into_iter().filter(|v| !v.is_cdrom() && !v.is_unused());
        guest.candidate.storages = used.filter_map(|v| Some(v.volume?.storage)).collect();
    }
    unread
}

/// Why it cannot be told whether a guest is meant, if it cannot. PVE may still tell the tags of a guest
/// whose node is down; then they are all there are.
fn doubt(selection: &Selection, guest: &ApiGuest, unread: &Doubts) -> Option<String> {
    let (candidate, unread) = (&guest.candidate, unread.get(&guest.candidate.guest.vmid));
    let is_away = guest.status == "unknown";
    let hidden = Hidden {
        name: is_away && candidate.guest.name.is_empty(),
        tags: is_away && candidate.tags.is_empty(),
        storages: is_away || unread.is_some(),
    };
    let away = || format!("{}, and the selection asks for what only that knows", silence(guest));
    let why = unread.cloned().unwrap_or_else(away);
    is_undecided(selection, candidate, hidden)
        .then(|| format!("whether it is selected is unknown: {why}"))
}

async fn listed_one(api: &Api, guest: ApiGuest) -> Snapshots {
    let found = match guest.status.as_str() {
        "unknown" => Err(silence(&guest)),
        _ => api
            .snapshots(&guest.candidate.guest)
            .await
            .map_err(|e| format!("{:#}", anyhow::Error::from(e))),
    };
    (guest, found)
}

/// Why a guest's state is not known.
fn silence(guest: &ApiGuest) -> String {
    let unknown = || "its node is offline or does not answer".to_owned();
    guest.unseen.clone().unwrap_or_else(unknown)
}
