//! A cluster as one of its nodes reaches it: its files, the ways to its nodes, its storages. Makes no
//! decision.

mod drivers;
mod guests;

pub use drivers::{Tools, registry};

use crate::pve::files::ClusterFiles;
use crate::storage::Registry;
use crate::transport::{Host, Script, Ssh};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// A cluster as one of its nodes reaches it.
pub struct Cluster {
    /// The cluster's files below `/etc/pve`.
    pub files: ClusterFiles,
    /// How commands reach the nodes.
    pub hosts: Hosts,
    /// The storages of storage.cfg, by node and id.
    pub storages: Registry,
    /// Where the guards of freezes keep their locks, on each node: `/run/pve-ferry`, or what
    /// `PVE_FERRY_RUN` says.
    pub guards: PathBuf,
}

/// The script that answers as the node of a name.
type ScriptOf = dyn Fn(&str) -> Arc<Script> + Send + Sync;

/// How commands reach the nodes of the cluster.
#[derive(Clone)]
pub enum Hosts {
    /// Commands run here, or over ssh on the other nodes.
    Real {
        /// This node's name.
        this_node: String,
        /// Where `/etc/pve` is, for the nodes' host keys.
        etc_pve: PathBuf,
        /// Addresses of the other nodes by name.
        addresses: BTreeMap<String, String>,
    },
    /// Scripts answer, by the name of the node (tests).
    Scripted(Arc<ScriptOf>),
}

impl Hosts {
    /// The way to a node: this machine itself, or ssh.
    pub fn host(&self, node: &str) -> Host {
        match self {
            Self::Scripted(script_of) => Host::Scripted(script_of(node)),
            Self::Real { this_node, .. } if node == this_node => Host::local(),
            Self::Real { etc_pve, addresses, .. } => {
                let address = addresses.get(node).map_or(node, String::as_str);
                Host::Ssh(Ssh::new(node, address, etc_pve))
            }
        }
    }
}
