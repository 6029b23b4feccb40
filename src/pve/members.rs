//! Who the cluster's nodes are: `.members` of the cluster file system. Not for whether a node can
//! really be reached: only a connection tells.

use serde::Deserialize;
use std::collections::BTreeMap;

/// What the cluster file system knows of its members. A single node has no cluster and no list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Members {
    /// The node that wrote the file: this one.
    #[serde(default)]
    pub nodename: Option<String>,
    #[serde(default)]
    cluster: Option<Cluster>,
    #[serde(default)]
    nodelist: BTreeMap<String, Member>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Cluster {
    #[serde(default)]
    name: String,
    #[serde(default)]
    quorate: Option<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Member {
    #[serde(default)]
    online: Option<u8>,
    #[serde(default)]
    ip: Option<String>,
}

impl Members {
    /// Reads the JSON text of `.members`.
    ///
    /// # Errors
    /// The text is no such document.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// The cluster's name; none for a single node.
    pub fn cluster_name(&self) -> Option<&str> {
        let name = self.cluster.as_ref()?.name.as_str();
        (!name.is_empty()).then_some(name)
    }

    /// Whether the cluster has quorum; none for a single node, which needs none.
    pub fn is_quorate(&self) -> Option<bool> {
        self.cluster.as_ref()?.quorate.map(|flag| flag != 0)
    }

    /// The address of a node, if the cluster knows it.
    pub fn address(&self, node: &str) -> Option<&str> {
        self.nodelist.get(node)?.ip.as_deref()
    }

    /// Whether a node belongs to the cluster; none for a single node, which has no list. The directory of
    /// a node that was removed stays below `/etc/pve/nodes` until somebody deletes it.
    pub fn is_member(&self, node: &str) -> Option<bool> {
        (!self.nodelist.is_empty()).then(|| self.nodelist.contains_key(node))
    }

    /// Whether the cluster takes a node to be up; none when it does not know it.
    pub fn is_online(&self, node: &str) -> Option<bool> {
        self.nodelist.get(node)?.online.map(|flag| flag != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_knows_its_nodes() {
        let members = Members::parse(
            r#"{"nodename": "pve1", "version": 4,
                "cluster": {"name": "lab", "version": 2, "nodes": 2, "quorate": 1},
                "nodelist": {"pve1": {"id": 1, "online": 1, "ip": "10.0.0.1"},
                             "pve2": {"id": 2, "online": 0}}}"#,
        )
        .unwrap();
        assert_eq!(members.nodename.as_deref(), Some("pve1"));
        assert_eq!((members.cluster_name(), members.is_quorate()), (Some("lab"), Some(true)));
        assert_eq!(members.address("pve1"), Some("10.0.0.1"));
        assert_eq!((members.address("pve2"), members.is_online("pve2")), (None, Some(false)));
        assert_eq!(members.is_online("pve9"), None);
        assert_eq!(
            (members.is_member("pve2"), members.is_member("pve9")),
            (Some(true), Some(false))
        );
    }

    #[test]
    fn a_single_node_has_a_name_only() {
        let members = Members::parse(r#"{"nodename": "pve1", "version": 0}"#).unwrap();
        assert_eq!((members.cluster_name(), members.is_quorate()), (None, None));
        assert_eq!(members.is_member("pve1"), None);
        assert!(Members::parse("").is_err());
    }
}
