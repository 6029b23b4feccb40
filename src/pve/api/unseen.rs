//! Guests of which the cluster's list tells no state are asked for on their own nodes.
//!
//! `/cluster/resources` holds what each node's `pvestatd` last sent. One that hangs (a storage that does not
//! answer can do that to it) or died makes all guests of its node `unknown` after five minutes, without
//! a name; and a guest that is newer than its last round is so at once. The node itself knows better.

use super::guests::{guest, path};
use super::request::Request;
use super::{Api, ApiGuest};
use std::collections::BTreeSet;

/// What PVE's list says of a guest whose node has not told for a while.
const UNKNOWN: &str = "unknown";

impl Api {
    /// Fills in what the nodes tell of guests of unknown state. A node that does not answer is asked
    /// once, and its guests are left as they are, with the reason.
    pub(super) async fn ask_their_nodes(&self, guests: &mut [ApiGuest]) {
        let node = |guest: &ApiGuest| guest.candidate.guest.node.clone();
        let silent = guests.iter().filter(|guest| guest.status == UNKNOWN);
        let nodes: BTreeSet<String> = silent.map(node).collect();
        for node in nodes {
            let mut away: Option<String> = None;
            let own = guests
                .iter_mut()
                .filter(|guest| guest.status == UNKNOWN && guest.candidate.guest.node == node);
            for guest in own {
                if away.is_none() {
                    away = self.ask(guest).await;
                }
                if let Some(why) = &away {
                    guest.unseen = Some(why.clone());
                }
            }
        }
    }

    /// Asks for one guest. The answer is why its node cannot be asked for others either.
    async fn ask(&self, unknown: &mut ApiGuest) -> Option<String> {
        let place = &unknown.candidate.guest;
        let request = Request::get(path(place, "status/current"));
        let error = match self.call(&request).await {
            Ok(mut told) => {
                if let Some(entry) = told.as_object_mut() {
                    entry.insert("type".to_owned(), place.kind.to_string().into());
                    entry.insert("node".to_owned(), place.node.clone().into());
                    entry.insert("vmid".to_owned(), place.vmid.to_string().into());
                }
                if let Some(told) = guest(&told).filter(|told| !told.status.is_empty()) {
                    *unknown = merged(unknown, told);
                }
                return None;
            }
            Err(error) => error,
        };
        let node = &place.node;
        if !error.is_silence() {
            let why = error.without_claims();
            unknown.unseen =
                Some(format!("the cluster does not know it, and node {node} says: {why}"));
            return None;
        }
        Some(format!("its node is offline or does not answer ({})", error.without_claims()))
    }
}

/// The pools stand in the cluster's list alone.
fn merged(listed: &ApiGuest, told: ApiGuest) -> ApiGuest {
    let mut merged = told;
    merged.candidate.pools.clone_from(&listed.candidate.pools);
    merged
}
