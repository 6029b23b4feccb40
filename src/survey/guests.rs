//! All guests of the cluster as a person looks for them: with tags, pools, and whether they run. Not
//! the facts of a plan, which are read per guest just before its turn.

use crate::model::VmId;
use crate::pve::resources::guest_states;
use crate::pve::{ClusterFiles, FilesError};
use crate::select::Candidate;
use crate::transport::Host;
use std::collections::{BTreeMap, BTreeSet};

/// The cluster's guests.
#[derive(Debug)]
pub struct SurveyedGuests {
    /// All of them, in the order of node and vmid.
    pub candidates: Vec<Candidate>,
    /// What the cluster says of their states, in its own words.
    pub states: BTreeMap<VmId, String>,
    /// Why no states are known; `None` when they are.
    pub no_states: Option<String>,
    /// The nodes that the cluster takes to be down.
    pub offline: BTreeSet<String>,
    /// Directories of nodes that are no members of the cluster (any more).
    pub removed: BTreeSet<String>,
}

/// Reads the cluster's files and asks it once which guests run. Guests are known from the files, so
/// that a cluster without an answer still shows them all.
///
/// # Errors
/// A configuration, `user.cfg` or `.members` cannot be read.
pub async fn guests(cluster: &ClusterFiles, host: &Host) -> Result<SurveyedGuests, FilesError> {
    let candidates = cluster.candidates()?;
    let members = cluster.members()?;
    let nodes: BTreeSet<&String> = candidates.iter().map(|c| &c.guest.node).collect();
    let is_offline = |node: &&&String| members.is_online(node) == Some(false);
    let offline = nodes.iter().filter(is_offline).map(|node| (*node).clone()).collect();
    let is_removed = |node: &&&String| members.is_member(node) == Some(false);
    let removed = nodes.iter().filter(is_removed).map(|node| (*node).clone()).collect();
    let (states, no_states) = match guest_states(host).await {
        Ok(states) => (states, None),
        Err(error) => (BTreeMap::new(), Some(format!("{:#}", anyhow::Error::from(error)))),
    };
    Ok(SurveyedGuests { candidates, states, no_states, offline, removed })
}
