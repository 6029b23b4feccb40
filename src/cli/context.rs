//! Makes the world of a run from what the machine offers: `/etc/pve` (or where
//! `PVE_FERRY_ETC_PVE` says it is), storage.cfg, the nodes. Reads only.

use super::options::Logging;
use crate::cancel::Cancel;
use crate::clock::Clock;
use crate::cluster::{Cluster, Hosts, Tools, registry};
use crate::context::{Context, Limits};
use crate::hooks::Hooks;
use crate::node::freezes::Freezes;
use crate::node::unfinished::UnfinishedRestores;
use crate::pve::OurFiles;
use crate::pve::files::ClusterFiles;
use crate::survey::Home;
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// The cluster's files of this machine.
pub fn cluster() -> ClusterFiles {
    ClusterFiles::new(etc_pve())
}

/// Whether this machine is a PVE node: it has the cluster file system's directory, mounted or not.
pub fn is_node() -> bool {
    etc_pve().is_dir()
}

/// Our own files: below the cluster file system on a node, else in /etc/pve-ferry (or where
/// `PVE_FERRY_ETC` says).
pub fn our_files() -> OurFiles {
    match is_node() {
        true => OurFiles::of_node(cluster().root()),
        false => OurFiles::of_machine(&directory("PVE_FERRY_ETC", "/etc/pve-ferry")),
    }
}

/// A directory of this machine, unless the environment moves it.
pub fn directory(variable: &str, default: &str) -> PathBuf {
    let moved = std::env::var_os(variable).filter(|path| !path.is_empty());
    moved.map_or_else(|| PathBuf::from(default), PathBuf::from)
}

/// Where this node remembers things.
pub fn state_directory() -> PathBuf {
    directory("PVE_FERRY_STATE", "/var/lib/pve-ferry")
}

/// What this machine adds to what stands in a repository. On one that is no PVE node it is less.
pub fn home() -> Home {
    let cluster = cluster();
    let home = Home {
        cluster: cluster.cluster_id().ok().flatten(),
        zone: Some(crate::clock::local_zone()),
        ..Home::default()
    };
    match cluster.storage_cfg() {
        Ok(config) => home.with_pools(&config),
        Err(_) => home,
    }
}

fn etc_pve() -> PathBuf {
    let moved = std::env::var_os("PVE_FERRY_ETC_PVE").filter(|path| !path.is_empty());
    moved.map_or_else(|| PathBuf::from("/etc/pve"), PathBuf::from)
}

/// Makes the world of a run.
///
/// # Errors
/// This machine is no PVE node, or its files cannot be read.
pub fn open(
    limits: Limits,
    io_threads: u16,
    logging: &Logging,
    cancel: Cancel,
    hooks: Arc<Hooks>,
) -> anyhow::Result<Arc<Context>> {
    let cluster = cluster();
    let root = cluster.root().to_owned();
    let config = cluster
        .storage_cfg()
        .with_context(|| format!("{} is not readable: run this on a PVE node", root.display()))?;
    let this_node = cluster.this_node()?;
    let (nodes, hosts) = (cluster.nodes()?, hosts(&cluster, this_node)?);
    let tools = Tools { etc_pve: &root, io_threads };
    let home = Cluster {
        storages: registry(&config, &nodes, &hosts, &tools),
        hosts,
        files: cluster,
        guards: directory("PVE_FERRY_RUN", "/run/pve-ferry"),
    };
    let mut ctx = without_cluster(limits, logging, cancel, hooks);
    ctx.home = Some(home);
    Ok(Arc::new(ctx))
}

/// The context of a run that works on repositories alone.
pub fn without_cluster(
    limits: Limits,
    logging: &Logging,
    cancel: Cancel,
    hooks: Arc<Hooks>,
) -> Context {
    let progress = super::bars::progress(logging);
    Context {
        home: None,
        remotes: BTreeMap::new(),
        api: None,
        clock: Clock::System,
        progress,
        cancel,
        limits,
        hooks,
        unfinished: UnfinishedRestores::new(&state_directory()),
        freezes: Freezes::new(&state_directory()),
    }
}

/// The context of a run that changes the points of repositories: no line is written for each change, as
/// the report names them all.
pub fn of_repository(limits: Limits, hooks: Arc<Hooks>) -> Arc<Context> {
    let quiet = Logging { debug: false, quiet: true };
    Arc::new(without_cluster(limits, &quiet, Cancel::default(), hooks))
}

/// The ways to the nodes of this cluster.
///
/// # Errors
/// The cluster's files cannot be read.
pub fn hosts(cluster: &ClusterFiles, this_node: String) -> anyhow::Result<Hosts> {
    let etc_pve = cluster.root().to_owned();
    let mut addresses = BTreeMap::new();
    for node in cluster.nodes()? {
        if node != this_node {
            let address = cluster.node_address(&node)?;
            addresses.insert(node, address);
        }
    }
    Ok(Hosts::Real { this_node, etc_pve, addresses })
}
