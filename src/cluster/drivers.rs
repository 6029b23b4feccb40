//! Which driver serves a section of storage.cfg: the one place that knows all of them. Asks no storage.

use super::Hosts;
use crate::model::NodeName;
use crate::pve::ceph_access::ceph_access;
use crate::pve::section_config::Section;
use crate::pve::storage_cfg::{RbdSection, StorageCfg};
use crate::storage::{Driver, Rbd, RbdConfig, Registry, Storage};
use crate::transport::Host;
use std::path::Path;

/// What drivers need beside their section.
pub struct Tools<'a> {
    /// Where `/etc/pve` is, for what storages keep below it: keys, `ceph.conf`.
    pub etc_pve: &'a Path,
    /// How many requests one transfer has under way at once.
    pub io_threads: u16,
}

/// The storages of storage.cfg. `nodes` are those of the cluster: a node-local storage gets a driver for
/// each of them that the section's `nodes` permits.
pub fn registry(config: &StorageCfg, nodes: &[String], hosts: &Hosts, tools: &Tools) -> Registry {
    made_with(config, nodes, hosts, &|section| driver(section, tools))
}

/// None for kinds that no driver serves.
fn driver(section: &Section, tools: &Tools) -> Option<Driver> {
    match section.kind.as_str() {
        "rbd" => {
            let rbd = rbd_config(&RbdSection::of(section)?, tools);
            Some(Driver::Shared(Storage::Rbd(Rbd::new(rbd, Host::local()))))
        }
        _ => None,
    }
}

fn made_with(
    config: &StorageCfg,
    nodes: &[String],
    hosts: &Hosts,
    driver: &dyn Fn(&Section) -> Option<Driver>,
) -> Registry {
    let mut registry = Registry::default();
    for section in config.storages() {
        // No volume's id can name a storage whose own id has another form.
        let Ok(id) = section.id.parse() else { continue };
        let Some(driver) = driver(section) else {
            registry.leave_unserved(id, &section.kind);
            continue;
        };
        let permitted = section.usage().nodes;
        let has_it = |node: &&String| permitted.is_empty() || permitted.contains(node);
        let way = |node: &String| Some((node.parse::<NodeName>().ok()?, hosts.host(node)));
        let ways: Vec<_> = nodes.iter().filter(has_it).filter_map(way).collect();
        registry.serve(id, driver, &ways);
    }
    registry
}

fn rbd_config(section: &RbdSection, tools: &Tools) -> RbdConfig {
    let access = ceph_access(section, tools.etc_pve, &|path| path.exists());
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
        io_threads: tools.io_threads.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Memory, NoStorage};
    use std::collections::BTreeMap;

    const STORAGE_CFG: &str = "rbd: ceph\n\npool: local-zfs\n\tnodes pve1,pve2\n\nlvm: old\n";

    fn hosts() -> Hosts {
        let addresses = BTreeMap::from([("pve2".to_owned(), "192.0.2.2".to_owned())]);
        Hosts::Real { this_node: "pve1".to_owned(), etc_pve: "/etc/pve".into(), addresses }
    }

    #[test]
    fn each_node_that_has_a_local_storage_gets_a_driver_made_for_the_way_to_it() {
        let driver = |section: &Section| match section.kind.as_str() {
            // What the driver was made for stands in the storage's place.
            "pool" => Some(Driver::NodeLocal(Box::new(|node: &NodeName, host: Host| {
                let way = if host.is_remote() { "ssh" } else { "here" };
                Storage::Memory(Memory::of_place("local-zfs", &format!("{node}-{way}")))
            }))),
            _ => None,
        };
        let config = StorageCfg::parse(STORAGE_CFG);
        let nodes = ["pve1", "pve2", "pve3"].map(str::to_owned);
        let registry = made_with(&config, &nodes, &hosts(), &driver);
        let place = |node| match registry.find(node, "local-zfs") {
            Ok(Storage::Memory(memory)) => memory.place(),
            other => format!("{:?}", other.err()),
        };
        assert_eq!(place("pve1"), "pve1-here/local-zfs");
        assert_eq!(place("pve2"), "pve2-ssh/local-zfs");
        let not_there = NoStorage::NotOnNode { id: "local-zfs".into(), node: "pve3".into() };
        assert_eq!(registry.find("pve3", "local-zfs").unwrap_err(), not_there);
    }

    #[test]
    fn an_rbd_storage_is_served_on_every_node_and_unknown_kinds_are_named() {
        let tools = Tools { etc_pve: Path::new("/nonexistent"), io_threads: 1 };
        let config = StorageCfg::parse(STORAGE_CFG);
        let registry = registry(&config, &["pve1".to_owned()], &hosts(), &tools);
        for node in ["pve1", "pve7"] {
            assert!(matches!(registry.find(node, "ceph"), Ok(Storage::Rbd(_))));
        }
        for (id, kind) in [("old", "lvm"), ("local", "dir")] {
            let other = NoStorage::OtherKind { id: id.to_owned(), kind: kind.to_owned() };
            assert_eq!(registry.find("pve1", id).unwrap_err(), other);
        }
    }
}
