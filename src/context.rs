//! Everything outside that one run works with, in one value: clusters, nodes, storages, the
//! repository, the clock, the user's wish to stop. It makes no decision.

pub use crate::cluster::{Cluster, Hosts};

use crate::cancel::Cancel;
use crate::clock::Clock;
use crate::hooks::Hooks;
use crate::model::{ClusterRef, NodeName, RemoteName, VolumeId, VolumeRef};
use crate::node::freezes::Freezes;
use crate::node::unfinished::UnfinishedRestores;
use crate::progress::Progress;
use crate::pve::api::Api;
use crate::repository::image::{Compression, ImageOptions, ZeroRuns};
use crate::stall::STALL_TIMEOUT;
use crate::storage::{NoStorage, Storage};
use crate::throttle::Throttle;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// What one run works with. Not every run has a cluster: repositories are pruned, verified and copied on
/// machines without `/etc/pve`.
pub struct Context {
    /// The cluster that this node belongs to.
    pub home: Option<Cluster>,
    /// The other clusters that the run reaches, by the names that they have here.
    pub remotes: BTreeMap<RemoteName, Cluster>,
    /// The API of the cluster that is worked on, where no more of it is needed; from any machine.
    pub api: Option<ClusterApi>,
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
}

impl Context {
    /// The cluster that this node belongs to.
    ///
    /// # Errors
    /// The run has none.
    pub fn home(&self) -> Result<&Cluster, NoCluster> {
        self.cluster(&ClusterRef::Home)
    }

    /// The cluster that is meant.
    ///
    /// # Errors
    /// The run does not reach it.
    pub fn cluster(&self, meant: &ClusterRef) -> Result<&Cluster, NoCluster> {
        match meant {
            ClusterRef::Home => self.home.as_ref().ok_or(NoCluster::NoNode),
            ClusterRef::Remote(name) => {
                self.remotes.get(name).ok_or_else(|| NoCluster::NoRemote(name.clone()))
            }
        }
    }

    /// The API of the cluster that is worked on.
    ///
    /// # Errors
    /// The run has none.
    pub fn api(&self) -> Result<&ClusterApi, NoApi> {
        self.api.as_ref().ok_or(NoApi)
    }

    /// The storage that a node of this cluster has under this id.
    ///
    /// # Errors
    /// There is none, or no driver for it. A run without a cluster has no storages.
    pub fn storage(&self, node: &str, id: &str) -> Result<&Storage, NoStorage> {
        match &self.home {
            Some(home) => home.storages.find(node, id),
            None => Err(NoStorage::NotDefined(id.to_owned())),
        }
    }

    /// The storage that a volume is on.
    ///
    /// # Errors
    /// As [`Context::storage`], or the volume's cluster is not reached.
    pub fn storage_of(&self, volume: &VolumeRef) -> Result<&Storage, NoStorage> {
        let node = volume.node.as_ref().map_or("", NodeName::as_str);
        match self.cluster(&volume.cluster) {
            Ok(cluster) => cluster.storages.find(node, &volume.id.storage),
            Err(NoCluster::NoNode) => Err(NoStorage::NotDefined(volume.id.storage.clone())),
            Err(NoCluster::NoRemote(name)) => Err(NoStorage::NoCluster(name)),
        }
    }

    /// Where a volume of a guest on that node is: the node counts where the storage is node-local.
    pub fn place_of(&self, node: &str, id: &VolumeId) -> VolumeRef {
        let node = self.home.as_ref().and_then(|home| home.storages.place(node, &id.storage));
        VolumeRef { cluster: ClusterRef::Home, node, id: id.clone() }
    }
}

/// What was asked for needs a cluster, and this run has none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoCluster {
    /// The machine is no node.
    #[error("this needs a node of a Proxmox VE cluster; nothing was changed")]
    NoNode,
    /// No cluster bears the name here.
    #[error("no cluster is known here as {0}; nothing was changed")]
    NoRemote(RemoteName),
}

/// What was asked for needs the API of a cluster, and this run has none.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("this needs the API of a Proxmox VE cluster; nothing was changed")]
pub struct NoApi;

/// The API of a cluster, and how long it is waited for.
#[derive(Debug, Clone)]
pub struct ClusterApi {
    /// Who asks it.
    pub client: Arc<Api>,
    /// How long one task of PVE is waited for; it goes on afterwards.
    pub task_timeout: Duration,
    /// How long a guest is waited for that PVE has locked for something else.
    pub lock_wait: Duration,
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

impl Limits {
    /// The limits of work within repositories, one guest after the other: so many threads, all cores
    /// when absent, and so many seconds for a lock.
    pub fn of_a_repository(threads: Option<u16>, lock_wait: u64) -> Self {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = threads.map_or_else(cores, |threads| usize::from(threads.max(1)));
        let (compression, zeros) = (Compression::Zstd(1), ZeroRuns::default());
        Self {
            guests: 1,
            transfers: Arc::new(Semaphore::new(1)),
            throttle: Throttle::default(),
            stall_timeout: STALL_TIMEOUT,
            repository_hangs: Cancel::default(),
            image: ImageOptions { compression, threads, zeros },
            lock_wait: Some(Duration::from_secs(lock_wait)),
        }
    }
}
