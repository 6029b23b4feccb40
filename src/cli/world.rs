//! Makes the world of a run from what the machine offers: `/etc/pve` (or where
//! `PVE_FERRY_ETC_PVE` says it is), storage.cfg, the nodes. Reads only.

use super::options::Logging;
use crate::cancel::Cancel;
use crate::clock::Clock;
use crate::hooks::Hooks;
use crate::node::freezes::Freezes;
use crate::node::unfinished::UnfinishedRestores;
use crate::pve::OurFiles;
use crate::pve::ceph_access::ceph_access;
use crate::pve::files::ClusterFiles;
use crate::pve::storage_cfg::{RbdSection, StorageCfg};
use crate::storage::{Rbd, RbdConfig, Storage};
use crate::survey::Home;
use crate::transport::Host;
use crate::world::{Hosts, Limits, World};
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
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
pub fn world(
    limits: Limits,
    io_threads: u16,
    logging: &Logging,
    cancel: Cancel,
    hooks: Arc<Hooks>,
) -> anyhow::Result<Arc<World>> {
    let cluster = cluster();
    let root = cluster.root().to_owned();
    let config = cluster
        .storage_cfg()
        .with_context(|| format!("{} is not readable: run this on a PVE node", root.display()))?;
    let this_node = cluster.this_node()?;
    let (storages, other_storages) = storages(&config, &root, io_threads);
    Ok(Arc::new(World {
        hosts: hosts(&cluster, this_node)?,
        cluster,
        storages,
        other_storages,
        clock: Clock::System,
        progress: super::bars::progress(logging),
        cancel,
        limits,
        hooks,
        unfinished: UnfinishedRestores::new(&state_directory()),
        freezes: Freezes::new(&state_directory()),
        guards: directory("PVE_FERRY_RUN", "/run/pve-ferry"),
    }))
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

type Storages = (BTreeMap<String, Storage>, BTreeMap<String, String>);

fn storages(config: &StorageCfg, root: &Path, io_threads: u16) -> Storages {
    let mut served = BTreeMap::new();
    let mut others = BTreeMap::new();
    for section in config.storages() {
        match RbdSection::of(section) {
            Some(rbd) => {
                let storage =
                    Storage::Rbd(Rbd::new(rbd_config(&rbd, root, io_threads), Host::local()));
                served.insert(rbd.id.clone(), storage);
            }
            None => {
                others.insert(section.id.clone(), section.kind.clone());
            }
        }
    }
    (served, others)
}

fn rbd_config(section: &RbdSection, root: &Path, io_threads: u16) -> RbdConfig {
    let access = ceph_access(section, root, &|path| path.exists());
    RbdConfig {
        id: section.id.clone(),
        pool: section.pool.clone(),
        namespace: section.namespace.clone().unwrap_or_default(),
        data_pool: section.data_pool.clone(),
        monhost: access.monhost,
        username: access.username,
        conf: access.conf,
        keyring: access.keyring,
        krbd: section.krbd,
        io_threads: io_threads.into(),
    }
}
