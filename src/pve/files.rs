//! Reads the cluster file system below `/etc/pve`: nodes, guests, storages, identity. Not for
//! changing it: that is `exclusive`.

use super::datacenter_cfg::MacPrefix;
use super::guest_config::GuestConfig;
use super::members::Members;
use super::storage_cfg::StorageCfg;
use super::user_cfg::{Pool, parse_pools};
use crate::clock::{first_label, host_name};
use crate::model::{ClusterId, ClusterName, Guest, GuestKind, Invalid, VmId, shown, text_of};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// The cluster's files below one root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterFiles {
    pub(super) root: PathBuf,
}

/// What went wrong with a file of the cluster.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The cluster file system is not there.
    #[error("{} holds no nodes: the cluster file system is not mounted (is pve-cluster running?), or this is no PVE node; nothing was changed", root.display())]
    NotMounted {
        /// Its directory.
        root: PathBuf,
    },
    /// A file or directory could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file could not be written; what had been begun is removed again.
    #[error("cannot write {} (nothing is left of it)", path.display())]
    Write {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file could not be written, and a part of it is left.
    #[error("cannot write {}, and what was begun could not be removed: remove it by hand", path.display())]
    HalfWritten {
        /// Which one.
        path: PathBuf,
        /// Why writing failed.
        source: io::Error,
    },
    /// A file could not be removed.
    #[error("cannot remove {} (it is still there)", path.display())]
    Remove {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The vmid belongs to a guest already. Nothing was changed.
    #[error("guest {vmid} exists already: {} (nothing was changed)", path.display())]
    GuestExists {
        /// The number.
        vmid: VmId,
        /// Its configuration.
        path: PathBuf,
    },
    /// The file exists already. Nothing was changed.
    #[error("{} exists already (nothing was changed)", path.display())]
    FileExists {
        /// Which one.
        path: PathBuf,
    },
    /// Somebody else changed the file in between, so that it is not ours to remove.
    #[error("{} is not what we wrote: somebody changed it (it is still there)", path.display())]
    Changed {
        /// Which one.
        path: PathBuf,
    },
    /// The text is larger than the cluster file system takes. Nothing was changed.
    #[error("{} would be larger than 1 MiB, the limit of the cluster file system (nothing was changed)", path.display())]
    TooLarge {
        /// Which one.
        path: PathBuf,
    },
    /// A file does not have the form that it should have.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl ClusterFiles {
    /// The files below `root`: `/etc/pve`, or what `PVE_FERRY_ETC_PVE` says.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Where the files are.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The name of this node: what the link `local` points to, else `nodename` in `.members`, else
    /// the host name.
    ///
    /// # Errors
    /// `.members` is needed and cannot be read or understood.
    pub fn this_node(&self) -> Result<String, FilesError> {
        if let Ok(target) = std::fs::read_link(self.root.join("local")) {
            if let Some(name) = target.file_name() {
                return Ok(name.to_string_lossy().into_owned());
            }
        }
        if let Some(name) = self.members()?.nodename {
            return Ok(name);
        }
        Ok(first_label(&host_name()).to_owned())
    }

    /// All nodes that have a directory, in the order of their names.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn nodes(&self) -> Result<Vec<String>, FilesError> {
        names_in(&self.root.join("nodes"))
    }

    /// What the cluster knows of its members; nothing when there is no such file.
    ///
    /// # Errors
    /// The file is there and cannot be read or understood.
    pub fn members(&self) -> Result<Members, FilesError> {
        let path = self.root.join(".members");
        match read_optional(&path)? {
            Some(text) => Members::parse(&text).map_err(|error| damaged(path, error)),
            None => Ok(Members::default()),
        }
    }

    /// The address under which a node is reached: as the cluster knows it, else its name.
    ///
    /// # Errors
    /// `.members` cannot be read or understood.
    pub fn node_address(&self, node: &str) -> Result<String, FilesError> {
        Ok(self.members()?.address(node).unwrap_or(node).to_owned())
    }

    /// All guests in the order of node and vmid.
    ///
    /// # Errors
    /// A directory or a configuration cannot be read.
    pub fn guests(&self) -> Result<Vec<Guest>, FilesError> {
        Ok(self.guests_with_configs()?.into_iter().map(|(guest, _)| guest).collect())
    }

    /// All guests with their configurations, in the order of node and vmid. A guest that vanishes
    /// while we read is not there.
    ///
    /// # Errors
    /// A directory or a configuration cannot be read.
    pub fn guests_with_configs(&self) -> Result<Vec<(Guest, GuestConfig)>, FilesError> {
        let mut found = Vec::new();
        for (vmid, place) in self.settled_places()? {
            if let Some(text) = read_optional(&self.config_path(&place.node, place.kind, vmid))? {
                found.push(guest_from(vmid, place, &text));
            }
        }
        found.sort_by(|(a, _), (b, _)| (&a.node, a.vmid).cmp(&(&b.node, b.vmid)));
        Ok(found)
    }

    /// Looks a guest up on all nodes.
    ///
    /// # Errors
    /// A directory or the configuration cannot be read.
    pub fn find(&self, vmid: VmId) -> Result<Option<Guest>, FilesError> {
        for _ in 0..MOVING_PASSES {
            let Some(place) = self.settled_places()?.remove(&vmid) else {
                return Ok(None);
            };
            if let Some(text) = read_optional(&self.config_path(&place.node, place.kind, vmid))? {
                return Ok(Some(guest_from(vmid, place, &text).0));
            }
        }
        Ok(None)
    }

    /// The text of a guest's configuration, as [`text_of`] makes it of the file's bytes.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read_config(&self, guest: &Guest) -> Result<String, FilesError> {
        read(&self.config_path(&guest.node, guest.kind, guest.vmid))
    }

    /// The text of a guest's firewall rules, if it has any; as [`text_of`] makes it.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn read_firewall(&self, vmid: VmId) -> Result<Option<String>, FilesError> {
        read_optional(&self.firewall_path(vmid))
    }

    /// The storages that are defined; an absent file defines none but `local`.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn storage_cfg(&self) -> Result<StorageCfg, FilesError> {
        let text = read_optional(&self.root.join("storage.cfg"))?;
        Ok(StorageCfg::parse(&text.unwrap_or_default()))
    }

    /// How the network addresses begin that are made up for guests of this cluster.
    ///
    /// # Errors
    /// `datacenter.cfg` is there and cannot be read.
    pub fn mac_prefix(&self) -> Result<MacPrefix, FilesError> {
        let text = read_optional(&self.root.join("datacenter.cfg"))?;
        Ok(MacPrefix::parse(&text.unwrap_or_default()))
    }

    /// The resource pools; none when there is no `user.cfg`.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn pools(&self) -> Result<Vec<Pool>, FilesError> {
        let text = read_optional(&self.root.join("user.cfg"))?;
        Ok(parse_pools(&text.unwrap_or_default()))
    }

    /// The cluster's name; a single node's own name.
    ///
    /// # Errors
    /// `.members` cannot be read, or the name is none that we can use in a path.
    pub fn cluster_name(&self) -> Result<ClusterName, FilesError> {
        let name = match self.members()?.cluster_name() {
            Some(name) => name.to_owned(),
            None => self.this_node()?,
        };
        name.parse().map_err(|error: Invalid| damaged(self.root.join(".members"), error))
    }

    /// The cluster's id, if it has one already.
    ///
    /// # Errors
    /// The file is there and holds no id.
    pub fn cluster_id(&self) -> Result<Option<ClusterId>, FilesError> {
        let path = self.cluster_id_path();
        let Some(text) = read_optional(&path)? else {
            return Ok(None);
        };
        text.trim().parse().map(Some).map_err(|error: Invalid| damaged(path, error))
    }

    /// Where a guest's configuration is or would be.
    pub fn config_path(&self, node: &str, kind: GuestKind, vmid: VmId) -> PathBuf {
        self.kind_directory(node, kind).join(format!("{vmid}.conf"))
    }

    pub(super) fn firewall_path(&self, vmid: VmId) -> PathBuf {
        self.root.join("firewall").join(format!("{vmid}.fw"))
    }

    pub(super) fn cluster_id_path(&self) -> PathBuf {
        self.root.join("pve-ferry").join("cluster-id")
    }

    fn kind_directory(&self, node: &str, kind: GuestKind) -> PathBuf {
        let directory = match kind {
            GuestKind::Qemu => "qemu-server",
            GuestKind::Lxc => "lxc",
        };
        self.root.join("nodes").join(node).join(directory)
    }

    /// A guest that moves from node to node while we go through the directories would be seen
    /// twice or not at all: two equal passes show that nothing moved.
    fn settled_places(&self) -> Result<BTreeMap<VmId, Place>, FilesError> {
        let mut before = self.places()?;
        for _ in 0..MOVING_PASSES {
            let after = self.places()?;
            if after == before {
                break;
            }
            before = after;
        }
        Ok(before)
    }

    pub(super) fn places(&self) -> Result<BTreeMap<VmId, Place>, FilesError> {
        let nodes = self.nodes()?;
        if nodes.is_empty() {
            // Without its mount it looks like a cluster that has no guests.
            return Err(FilesError::NotMounted { root: self.root.clone() });
        }
        let mut places = BTreeMap::new();
        for node in nodes {
            for kind in [GuestKind::Qemu, GuestKind::Lxc] {
                let names = names_in(&self.kind_directory(&node, kind))?;
                let vmids =
                    names.iter().filter_map(|name| name.strip_suffix(".conf")?.parse().ok());
                places.extend(vmids.map(|vmid| (vmid, Place { node: node.clone(), kind })));
            }
        }
        Ok(places)
    }
}

/// More passes than this only a cluster that never rests would need.
const MOVING_PASSES: usize = 4;

/// Where a guest's configuration stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) node: String,
    pub(super) kind: GuestKind,
}

fn guest_from(vmid: VmId, place: Place, text: &str) -> (Guest, GuestConfig) {
    let config = GuestConfig::parse(text);
    let name = shown(config.name().unwrap_or_default());
    (Guest { vmid, kind: place.kind, name, node: place.node }, config)
}

/// The names in a directory in their order; an absent directory holds none.
fn names_in(path: &Path) -> Result<Vec<String>, FilesError> {
    let unreadable = |source| FilesError::Read { path: path.to_owned(), source };
    let entries = match std::fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(unreadable)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(unreadable)?.file_name().into_string().ok());
    }
    names.sort();
    Ok(names)
}

fn read(path: &Path) -> Result<String, FilesError> {
    std::fs::read(path)
        .map(|bytes| text_of(&bytes))
        .map_err(|source| FilesError::Read { path: path.to_owned(), source })
}

pub(super) fn read_optional(path: &Path) -> Result<Option<String>, FilesError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(text_of(&bytes))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FilesError::Read { path: path.to_owned(), source }),
    }
}

fn damaged(path: PathBuf, error: impl std::error::Error + Send + Sync + 'static) -> FilesError {
    FilesError::Damaged { path, source: Box::new(error) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn cluster() -> (tempfile::TempDir, ClusterFiles) {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("nodes/pve2/qemu-server/100.conf", "name: web\n"),
            ("nodes/pve1/qemu-server/250.conf", "memory: 1\n"),
            ("nodes/pve1/qemu-server/notes.conf", ""),
            ("nodes/pve1/qemu-server/101.conf.tmp", ""),
            ("nodes/pve1/lxc/200.conf", "hostname: ct\n"),
            ("firewall/100.fw", "[OPTIONS]\nenable: 1\n"),
        ] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let files = ClusterFiles::new(dir.path().to_owned());
        (dir, files)
    }

    fn vmid(number: u32) -> VmId {
        number.try_into().unwrap()
    }

    #[test]
    fn guests_come_in_the_order_of_node_and_vmid() {
        let (_dir, files) = cluster();
        let guests: Vec<_> = files
            .guests()
            .unwrap()
            .into_iter()
            .map(|g| format!("{} {} {} {:?}", g.node, g.vmid, g.kind, g.name))
            .collect();
        assert_eq!(
            guests,
            [r#"pve1 200 lxc "ct""#, r#"pve1 250 qemu """#, r#"pve2 100 qemu "web""#]
        );
        assert_eq!(files.nodes().unwrap(), ["pve1", "pve2"]);
    }

    #[test]
    fn a_guest_is_found_wherever_it_is() {
        let (_dir, files) = cluster();
        let guest = files.find(vmid(100)).unwrap().unwrap();
        assert_eq!((guest.node.as_str(), guest.name.as_str()), ("pve2", "web"));
        assert_eq!(files.read_config(&guest).unwrap(), "name: web\n");
        assert_eq!(files.read_firewall(vmid(100)).unwrap().unwrap(), "[OPTIONS]\nenable: 1\n");
        assert_eq!(files.read_firewall(vmid(200)).unwrap(), None);
        assert_eq!(files.find(vmid(999)).unwrap(), None);
        let gone = Guest { node: "pve9".into(), ..guest };
        assert!(files.read_config(&gone).unwrap_err().to_string().contains("pve9/qemu-server/100"));
    }

    #[test]
    fn this_node_is_the_link_then_the_member_list_then_the_host_name() {
        let (dir, files) = cluster();
        let host = nix::unistd::gethostname().unwrap().into_string().unwrap();
        assert_eq!(files.this_node().unwrap(), host.split('.').next().unwrap());
        fs::write(dir.path().join(".members"), r#"{"nodename":"pve2","version":0}"#).unwrap();
        assert_eq!(files.this_node().unwrap(), "pve2");
        std::os::unix::fs::symlink("nodes/pve1", dir.path().join("local")).unwrap();
        assert_eq!(files.this_node().unwrap(), "pve1");
        assert_eq!(files.cluster_name().unwrap().as_str(), "pve1");
    }

    #[test]
    fn members_give_the_clusters_name_and_the_addresses() {
        let (dir, files) = cluster();
        fs::write(
            dir.path().join(".members"),
            r#"{"nodename":"pve1","cluster":{"name":"lab","quorate":1},
                "nodelist":{"pve2":{"ip":"10.0.0.2","online":1}}}"#,
        )
        .unwrap();
        assert_eq!(files.cluster_name().unwrap().as_str(), "lab");
        assert_eq!(files.node_address("pve2").unwrap(), "10.0.0.2");
        assert_eq!(files.node_address("pve3").unwrap(), "pve3");
        fs::write(dir.path().join(".members"), "{").unwrap();
        assert!(files.cluster_name().unwrap_err().to_string().contains(".members is damaged"));
    }

    #[test]
    fn a_byte_that_is_no_utf8_hides_nothing_and_stays_that_byte() {
        let (dir, files) = cluster();
        let put = |path: &str, bytes: &[u8]| fs::write(dir.path().join(path), bytes).unwrap();
        let config = b"#caf\xe9\nhostname: ct\n".as_slice();
        put("nodes/pve1/lxc/200.conf", config);
        put("firewall/200.fw", b"[OPTIONS]\n# caf\xe9\n");
        put("user.cfg", b"user:a@pve:1:0:Andr\xe9::::\npool:web:caf\xe9:200:ceph:\n");
        put("storage.cfg", b"# caf\xe9\n\nrbd: ceph\n\tpool data\n");
        assert_eq!(files.guests().unwrap().len(), 3);
        let guest = files.find(vmid(200)).unwrap().unwrap();
        assert_eq!(guest.name, "ct");
        let text = files.read_config(&guest).unwrap();
        assert_eq!(crate::model::bytes_of(&text), config);
        assert_eq!(GuestConfig::parse(&text).digest(), blake3::hash(config).to_hex().to_string());
        assert!(files.read_firewall(vmid(200)).unwrap().is_some());
        assert_eq!(files.pools().unwrap()[0].name, "web");
        assert_eq!(files.storage_cfg().unwrap().kind("ceph"), Some("rbd"));

        let again = vmid(201);
        files.write_config_exclusively("pve1", GuestKind::Lxc, again, &text).unwrap();
        assert_eq!(fs::read(dir.path().join("nodes/pve1/lxc/201.conf")).unwrap(), config);
        files.remove_config_if_equal("pve1", GuestKind::Lxc, again, &text).unwrap();
    }

    #[test]
    fn an_empty_root_is_not_mounted_and_a_node_alone_is_a_cluster_without_anything() {
        let dir = tempfile::tempdir().unwrap();
        let files = ClusterFiles::new(dir.path().to_owned());
        let error = files.guests().unwrap_err();
        assert!(error.to_string().contains("is pve-cluster running?"), "{error}");
        assert!(matches!(files.find(100.try_into().unwrap()), Err(FilesError::NotMounted { .. })));
        fs::create_dir_all(dir.path().join("nodes/pve1")).unwrap();
        assert!(files.guests().unwrap().is_empty() && files.pools().unwrap().is_empty());
        assert_eq!(files.cluster_id().unwrap(), None);
        assert_eq!(files.storage_cfg().unwrap().kind("local"), Some("dir"));
    }
}
