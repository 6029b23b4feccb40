//! Everything outside that one run works with, in one value: clusters, nodes, storages, the
//! repository, the clock, the user's wish to stop. It makes no decision.

use crate::cancel::Cancel;
use crate::clock::Clock;
use crate::hooks::Hooks;
use crate::node::freezes::Freezes;
use crate::node::unfinished::UnfinishedRestores;
use crate::progress::Progress;
use crate::pve::files::ClusterFiles;
use crate::repository::image::ImageOptions;
use crate::storage::Storage;
use crate::throttle::Throttle;
use crate::transport::{Host, Script, Ssh};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// What one run works with.
pub struct World {
    /// The cluster's files below `/etc/pve`.
    pub cluster: ClusterFiles,
    /// How commands reach the nodes.
    pub hosts: Hosts,
    /// The storages that a driver exists for, by their id in storage.cfg.
    pub storages: BTreeMap<String, Storage>,
    /// Storages that exist but that no driver serves: id and kind.
    pub other_storages: BTreeMap<String, String>,
    /// The wall clock, the monotonic clock.
    pub clock: Clock,
    /// Who is told how far a transfer is.
    pub progress: Arc<dyn Progress>,
    /// The user's wish to stop.
    pub cancel: Cancel,
    /// How much happens at once, and how images are written.
    pub limits: Limits,
    /// The user's own programs that are called on the way.
    pub hooks: Arc<Hooks>,
    /// What restores on this node have made and not finished.
    pub unfinished: UnfinishedRestores,
    /// The freezes that runs on this node have begun and whose thaw nobody has seen.
    pub freezes: Freezes,
    /// Where the guards of freezes keep their locks, on each node: `/run/pve-ferry`, or what
    /// `PVE_FERRY_RUN` says.
    pub guards: PathBuf,
}

/// How much happens at once, and how images are written.
#[derive(Debug)]
pub struct Limits {
    /// Guests at once.
    pub guests: usize,
    /// Volumes at once, over all guests.
    pub transfers: Arc<Semaphore>,
    /// How many bytes per second all transfers together may move.
    pub throttle: Throttle,
    /// How long a stream may be without a byte before it is given up.
    pub stall_timeout: Duration,
    /// There as soon as a transfer was left hanging in the file system of a repository: nothing more is
    /// begun that needs it.
    pub repository_hangs: Cancel,
    /// How images are written.
    pub image: ImageOptions,
    /// How long to wait for locks; `None` waits without limit.
    pub lock_wait: Option<Duration>,
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
