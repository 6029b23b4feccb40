//! Which driver answers for a storage on a node. Reads no configuration: whoever makes the registry has.

use super::Storage;
use crate::model::{NodeName, RemoteName, StorageId};
use crate::transport::Host;
use std::collections::BTreeMap;

/// Makes the driver of a node-local storage for one node and the way to it.
pub type OfNode = Box<dyn Fn(&NodeName, Host) -> Storage>;

/// How a storage of storage.cfg is served.
pub enum Driver {
    /// All nodes see the same volumes, so that it does not matter on which of them is asked.
    Shared(Storage),
    /// Each node has volumes of its own under the storage's id: one driver per node, made for the way to
    /// that node.
    NodeLocal(OfNode),
}

/// Why there is no driver to ask.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoStorage {
    /// storage.cfg has no such section.
    #[error("storage {0} does not exist in storage.cfg")]
    NotDefined(String),
    /// No cluster is known under the name before the storage.
    #[error("no cluster is known here as {0}")]
    NoCluster(RemoteName),
    /// No driver serves storages of this kind.
    #[error("storage {id} is of the kind {kind}")]
    OtherKind {
        /// The storage.
        id: String,
        /// Its kind in PVE's words: `dir`, `lvm`.
        kind: String,
    },
    /// Each node has its own, and storage.cfg does not give this node one.
    #[error("storage {id} is not on node {node}")]
    NotOnNode {
        /// The storage.
        id: String,
        /// The node that was asked about.
        node: String,
    },
}

/// The storages of one cluster. A storage is asked for by node and id, as `local-zfs` of one node is
/// another one than `local-zfs` of the next.
#[derive(Debug, Default)]
pub struct Registry(BTreeMap<StorageId, Entry>);

#[derive(Debug)]
enum Entry {
    Shared(Storage),
    NodeLocal(BTreeMap<NodeName, Storage>),
    Unserved { kind: String },
}

impl Registry {
    /// Adds a storage; for one that is node-local, `nodes` are those that have it, each with the way
    /// there.
    pub fn serve(&mut self, id: StorageId, driver: Driver, nodes: &[(NodeName, Host)]) {
        let entry = match driver {
            Driver::Shared(storage) => Entry::Shared(storage),
            Driver::NodeLocal(of_node) => {
                let made =
                    |(node, host): &(NodeName, Host)| (node.clone(), of_node(node, host.clone()));
                Entry::NodeLocal(nodes.iter().map(made).collect())
            }
        };
        self.0.insert(id, entry);
    }

    /// Adds a storage that no driver serves.
    pub fn leave_unserved(&mut self, id: StorageId, kind: &str) {
        self.0.insert(id, Entry::Unserved { kind: kind.to_owned() });
    }

    /// The storage that a node has under this id.
    ///
    /// # Errors
    /// There is none, or no driver for it.
    pub fn find(&self, node: &str, id: &str) -> Result<&Storage, NoStorage> {
        match self.0.get(id) {
            None => Err(NoStorage::NotDefined(id.to_owned())),
            Some(Entry::Unserved { kind }) => {
                Err(NoStorage::OtherKind { id: id.to_owned(), kind: kind.clone() })
            }
            Some(Entry::Shared(storage)) => Ok(storage),
            Some(Entry::NodeLocal(of_nodes)) => of_nodes
                .get(node)
                .ok_or_else(|| NoStorage::NotOnNode { id: id.to_owned(), node: node.to_owned() }),
        }
    }

    /// The node whose volumes those of a guest on that node are; none where all nodes have the same.
    pub fn place(&self, node: &str, id: &str) -> Option<NodeName> {
        match self.0.get(id) {
            Some(Entry::NodeLocal(of_nodes)) => {
                of_nodes.get_key_value(node).map(|(node, _)| node.clone())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Memory;

    fn registry() -> Registry {
        let nodes = ["pve1", "pve2"].map(|node| (node.parse().unwrap(), Host::local()));
        let mut registry = Registry::default();
        let shared = Driver::Shared(Storage::Memory(Memory::new("ceph")));
        registry.serve("ceph".parse().unwrap(), shared, &nodes);
        let local = Driver::NodeLocal(Box::new(|node, _| {
            Storage::Memory(Memory::of_place("local-zfs", node.as_str()))
        }));
        registry.serve("local-zfs".parse().unwrap(), local, &nodes);
        registry.leave_unserved("local".parse().unwrap(), "dir");
        registry
    }

    fn place(registry: &Registry, node: &str, id: &str) -> Result<String, NoStorage> {
        let Storage::Memory(memory) = registry.find(node, id)? else { unreachable!() };
        Ok(memory.place())
    }

    #[test]
    fn a_shared_storage_is_the_same_on_every_node_and_a_local_one_is_another_on_each() {
        let registry = registry();
        for node in ["pve1", "pve2", "pve9"] {
            assert_eq!(place(&registry, node, "ceph"), Ok("ceph".to_owned()));
        }
        assert_eq!(place(&registry, "pve1", "local-zfs"), Ok("pve1/local-zfs".to_owned()));
        assert_eq!(place(&registry, "pve2", "local-zfs"), Ok("pve2/local-zfs".to_owned()));
        let pve2 = registry.place("pve2", "local-zfs");
        assert_eq!(pve2.map(|node| node.to_string()).as_deref(), Some("pve2"));
        assert_eq!(registry.place("pve2", "ceph"), None);
    }

    #[test]
    fn no_other_nodes_storage_answers_for_a_node_that_has_none() {
        let why = |node, id| place(&registry(), node, id).unwrap_err().to_string();
        assert_eq!(why("pve9", "local-zfs"), "storage local-zfs is not on node pve9");
        assert_eq!(why("pve1", "local"), "storage local is of the kind dir");
        assert_eq!(why("pve1", "gone"), "storage gone does not exist in storage.cfg");
    }
}
