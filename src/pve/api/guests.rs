//! What the API tells of guests, their configurations, their snapshots and of storages. Parses
//! and asks; judges nothing.

use super::Api;
use super::error::ApiError;
use super::request::Request;
use crate::model::{Guest, GuestKind, GuestSnapshot, VmId};
use crate::pve::GuestConfig;
use crate::select::Candidate;
use serde_json::Value;

/// A guest as `/cluster/resources` shows it. PVE sends nothing but id, node and kind of one whose
/// node does not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiGuest {
    /// The guest with pools and tags; its storages are not known here.
    pub candidate: Candidate,
    /// `running`, `stopped`, `unknown`, or another word of PVE.
    pub status: String,
    /// Why neither the cluster's list nor the guest's own node tells its state; none where one does.
    pub unseen: Option<String>,
}

/// A storage of a node as `/cluster/resources` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiStorage {
    /// The node.
    pub node: String,
    /// The storage's id.
    pub storage: String,
    /// Bytes used and bytes in all; none where PVE knows no size, or none above zero.
    pub usage: Option<(u64, u64)>,
    /// Whether all nodes see the same.
    pub shared: bool,
    /// Its type (`rbd`, `dir`); none where PVE does not tell.
    pub plugin: Option<String>,
}

impl ApiStorage {
    /// Whether its volumes are files.
    pub fn is_file_based(&self) -> bool {
        self.plugin.as_ref().is_some_and(|plugin| FILE_BASED.contains(&plugin.as_str()))
    }
}

/// The types of PVE's storages whose configuration has a path (PVE::Storage::*Plugin).
const FILE_BASED: [&str; 6] = ["dir", "nfs", "cifs", "cephfs", "glusterfs", "btrfs"];

impl Api {
    /// All guests that the user may see. Those of which the cluster's list tells no state are asked for
    /// on their own nodes.
    ///
    /// # Errors
    /// The request for the list fails, or its answer is no list.
    pub async fn guests(&self) -> Result<Vec<ApiGuest>, ApiError> {
        let request = Request::get("/cluster/resources").with("type", "vm");
        let mut guests: Vec<ApiGuest> =
            self.list(&request).await?.iter().filter_map(guest).collect();
        self.ask_their_nodes(&mut guests).await;
        Ok(guests)
    }

    /// All storages that the user may see, on each node that has them.
    ///
    /// # Errors
    /// The request fails, or its answer is no list.
    pub async fn storages(&self) -> Result<Vec<ApiStorage>, ApiError> {
        let request = Request::get("/cluster/resources").with("type", "storage");
        Ok(self.list(&request).await?.iter().filter_map(storage).collect())
    }

    /// A guest's configuration as it is now, without pending changes.
    ///
    /// # Errors
    /// The request fails: the guest is not on that node, or a privilege is missing.
    pub async fn guest_config(&self, guest: &Guest) -> Result<GuestConfig, ApiError> {
        let request = Request::get(path(guest, "config")).with("current", "1");
        let data = self.call(&request).await?;
        let entries = data.as_object();
        let entries = entries
            .ok_or_else(|| ApiError::Answer { request: request.to_string(), what: "object" })?;
        let lines = entries.iter().map(|(key, value)| match value {
            // A description has lines of its own; none of them is an entry.
            Value::String(text) => format!("{key}: {}\n", text.replace(['\r', '\n'], " ")),
            other => format!("{key}: {other}\n"),
        });
        Ok(GuestConfig::parse(&lines.collect::<String>()))
    }

    /// A guest's snapshots, without the entry `current` that stands for the guest itself.
    ///
    /// # Errors
    /// The request fails, or its answer is no list.
    pub async fn snapshots(&self, guest: &Guest) -> Result<Vec<GuestSnapshot>, ApiError> {
        let request = Request::get(path(guest, "snapshot"));
        Ok(self.list(&request).await?.iter().filter_map(snapshot).collect())
    }

    /// Whether PVE can snapshot a guest with all volumes that it has now. PVE judges by the
    /// configuration and the types of the storages, and touches no storage for it.
    ///
    /// # Errors
    /// The request fails, or its answer says neither.
    pub async fn can_snapshot(&self, guest: &Guest) -> Result<bool, ApiError> {
        let request = Request::get(path(guest, "feature")).with("feature", "snapshot");
        let data = self.call(&request).await?;
        let has = data["hasFeature"].as_bool().or_else(|| Some(number(&data, "hasFeature")? != 0));
        has.ok_or_else(|| ApiError::Answer { request: request.to_string(), what: "hasFeature" })
    }

    async fn list(&self, request: &Request) -> Result<Vec<Value>, ApiError> {
        match self.call(request).await? {
            Value::Array(entries) => Ok(entries),
            _ => Err(ApiError::Answer { request: request.to_string(), what: "list" }),
        }
    }
}

/// The path of something of a guest.
pub fn path(guest: &Guest, what: &str) -> String {
    format!("/nodes/{}/{}/{}/{what}", guest.node, guest.kind, guest.vmid)
}

fn text(entry: &Value, name: &str) -> String {
    entry[name].as_str().unwrap_or_default().to_owned()
}

/// PVE writes numbers and flags as numbers or as text, as Perl held them.
fn number(entry: &Value, name: &str) -> Option<i64> {
    entry[name].as_i64().or_else(|| entry[name].as_str()?.parse().ok())
}

pub(super) fn guest(entry: &Value) -> Option<ApiGuest> {
    let kind = match entry["type"].as_str()? {
        "qemu" => GuestKind::Qemu,
        "lxc" => GuestKind::Lxc,
        _ => return None,
    };
    let vmid = VmId::try_from(u32::try_from(number(entry, "vmid")?).ok()?).ok()?;
    let guest = Guest { vmid, kind, name: text(entry, "name"), node: text(entry, "node") };
    let tags = text(entry, "tags");
    let tags = tags.split([';', ',', ' ']).filter(|tag| !tag.is_empty()).map(str::to_owned);
    let pool = text(entry, "pool");
    let candidate = Candidate {
        guest,
        pools: Some(pool).filter(|pool| !pool.is_empty()).into_iter().collect(),
        tags: tags.collect(),
        storages: Vec::new(),
        template: number(entry, "template") == Some(1),
    };
    Some(ApiGuest { candidate, status: text(entry, "status"), unseen: None })
}

fn storage(entry: &Value) -> Option<ApiStorage> {
    let size = |name: &str| number(entry, name).and_then(|n| u64::try_from(n).ok());
    let usage = match (size("disk"), size("maxdisk")) {
        (Some(used), Some(total)) if total > 0 => Some((used, total)),
        _ => None,
    };
    let storage = text(entry, "storage");
    (!storage.is_empty()).then(|| ApiStorage {
        node: text(entry, "node"),
        storage,
        usage,
        shared: number(entry, "shared") == Some(1),
        plugin: Some(text(entry, "plugintype")).filter(|plugin| !plugin.is_empty()),
    })
}

fn snapshot(entry: &Value) -> Option<GuestSnapshot> {
    let name = text(entry, "name");
    let some = |name: &str| Some(text(entry, name)).filter(|text| !text.is_empty());
    (!name.is_empty() && name != "current").then(|| GuestSnapshot {
        name,
        taken: number(entry, "snaptime").unwrap_or(0),
        description: text(entry, "description"),
        parent: some("parent"),
        // A flag, or in older versions the volume that holds the memory.
        has_memory: number(entry, "vmstate").map_or(entry["vmstate"].is_string(), |n| n != 0),
        unfinished: some("snapstate"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_guest_on_a_dead_node_has_a_number_and_no_name() {
        let entry = json!({"id": "qemu/100", "type": "qemu", "vmid": "100", "node": "pve2", "status": "unknown"});
        let found = guest(&entry).unwrap();
        assert_eq!((found.candidate.guest.name.as_str(), found.status.as_str()), ("", "unknown"));
        assert!(guest(&json!({"type": "storage"})).is_none());
    }

    #[test]
    fn the_guest_itself_is_no_snapshot_and_memory_is_a_flag() {
        assert!(snapshot(&json!({"name": "current", "digest": "x"})).is_none());
        let found =
            snapshot(&json!({"name": "a", "snaptime": 5, "vmstate": 1, "description": "x\n"}));
        let found = found.unwrap();
        assert!(found.has_memory && found.taken == 5 && found.unfinished.is_none());
        assert!(!snapshot(&json!({"name": "a", "vmstate": 0})).unwrap().has_memory);
    }

    #[test]
    fn a_storage_without_a_size_has_no_usage() {
        let entry =
            json!({"type": "storage", "storage": "ceph", "node": "pve1", "disk": 0, "maxdisk": 10});
        assert_eq!(storage(&entry).unwrap().usage, Some((0, 10)));
        let entry = json!({"type": "storage", "storage": "ceph", "node": "pve1", "maxdisk": 0});
        assert_eq!(storage(&entry).unwrap().usage, None);
        let entry = json!({"storage": "nas", "node": "pve1", "shared": 1, "plugintype": "nfs"});
        let found = storage(&entry).unwrap();
        assert!(found.shared && found.is_file_based());
    }
}
