//! The storages of a cluster as `storage.cfg` defines them. Not for what is on them, nor for how
//! Ceph is reached: that is `ceph_access`.

use super::guest_config::split_list;
use super::property_string::truth;
use super::section_config::{Section, SectionConfig};
use std::fmt;

/// The parsed file, with the storage `local` that PVE always adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageCfg {
    config: SectionConfig,
    storages: Vec<Section>,
}

/// An `rbd` section with PVE's defaults filled in (`RBDPlugin.pm`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RbdSection {
    /// The storage's id.
    pub id: String,
    /// The pool; `rbd` unless it is said otherwise.
    pub pool: String,
    /// The RBD namespace, if it is not the default one.
    pub namespace: Option<String>,
    /// The pool that holds the data, if it is another one.
    pub data_pool: Option<String>,
    /// The monitors of an external cluster; none for the cluster that PVE itself manages.
    pub monhost: Option<String>,
    /// The Ceph user without `client.`; `admin` unless it is said otherwise.
    pub username: String,
    /// Whether containers and machines use the kernel's driver.
    pub krbd: bool,
    /// What may be stored there: `images`, `rootdir`.
    pub content: Vec<String>,
    /// The nodes that have it; all of them when empty.
    pub nodes: Vec<String>,
    /// Whether it is switched off.
    pub disable: bool,
}

impl StorageCfg {
    /// Reads `storage.cfg`; an absent file is an empty text.
    pub fn parse(text: &str) -> Self {
        let config = SectionConfig::parse(text);
        let mut storages: Vec<Section> = Vec::new();
        for section in config.sections() {
            // Where an id stands twice, PVE takes the last one.
            storages.retain(|known| known.id != section.id);
            storages.push(section.clone());
        }
        if !storages.iter().any(is_pves_local) {
            storages.retain(|section| section.id != "local");
            storages.insert(0, default_local());
        }
        Self { config, storages }
    }

    /// All storages, `local` always among them.
    pub fn storages(&self) -> &[Section] {
        &self.storages
    }

    /// The storage with an id.
    pub fn storage(&self, id: &str) -> Option<&Section> {
        self.storages.iter().find(|section| section.id == id)
    }

    /// What kind of storage it is, in PVE's words: `rbd`, `dir`, `lvmthin`.
    pub fn kind(&self, id: &str) -> Option<&str> {
        self.storage(id).map(|section| section.kind.as_str())
    }

    /// The storage as an RBD storage; `None` when there is none or it is of another kind.
    pub fn rbd(&self, id: &str) -> Option<RbdSection> {
        self.storage(id).and_then(RbdSection::of)
    }
}

/// The options of any section that keep PVE from using a storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// Whether it is switched off.
    pub disabled: bool,
    /// The nodes that have it; all of them when empty.
    pub nodes: Vec<String>,
    /// What may be stored there: `images`, `rootdir`, ...
    pub content: Vec<String>,
}

impl Section {
    /// The section's `disable`, `nodes` and `content`; without the last, what most kinds that hold
    /// volumes have as their default.
    pub fn usage(&self) -> Usage {
        let list = |key| split_list(self.get(key).unwrap_or_default()).map(str::to_owned).collect();
        let content = match self.get("content") {
            Some(_) => list("content"),
            None => vec!["images".to_owned()],
        };
        let disabled = self.get("disable").is_some_and(|value| truth(value) != Some(false));
        Usage { disabled, nodes: list("nodes"), content }
    }
}

impl fmt::Display for StorageCfg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt(f)
    }
}

impl RbdSection {
    /// The typed view of a section; `None` when it is of another kind.
    pub fn of(section: &Section) -> Option<Self> {
        if section.kind != "rbd" {
            return None;
        }
        let text = |key| section.get(key).filter(|value| !value.is_empty()).map(str::to_owned);
        let flag = |key| section.get(key).is_some_and(|value| truth(value) != Some(false));
        let list = |key| split_list(section.get(key).unwrap_or_default()).map(str::to_owned);
        Some(Self {
            id: section.id.clone(),
            pool: text("pool").unwrap_or_else(|| "rbd".to_owned()),
            namespace: text("namespace"),
            data_pool: text("data-pool"),
            monhost: text("monhost"),
            username: text("username").unwrap_or_else(|| "admin".to_owned()),
            krbd: flag("krbd"),
            content: section
                .get("content")
                .map_or_else(|| vec!["images".to_owned()], |_| list("content").collect()),
            nodes: list("nodes").collect(),
            disable: flag("disable"),
        })
    }

    /// Whether a node has this storage and may use it.
    pub fn is_available_on(&self, node: &str) -> bool {
        !self.disable && (self.nodes.is_empty() || self.nodes.iter().any(|known| known == node))
    }
}

fn is_pves_local(section: &Section) -> bool {
    let path = section.get("path").unwrap_or("/var/lib/vz");
    section.id == "local" && section.kind == "dir" && path == "/var/lib/vz"
}

/// What `PVE::Storage::Plugin::parse_config` puts in front when no usable `local` is defined.
fn default_local() -> Section {
    let options =
        [("path", "/var/lib/vz"), ("content", "backup,images,iso,rootdir,snippets,vztmpl")];
    let options = options.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
    Section { kind: "dir".to_owned(), id: "local".to_owned(), options }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_rbd_section_has_pves_defaults() {
        let rbd = StorageCfg::parse("rbd: ceph\n").rbd("ceph").unwrap();
        assert_eq!((rbd.pool.as_str(), rbd.username.as_str()), ("rbd", "admin"));
        assert_eq!(rbd.content, ["images"]);
        assert!(!rbd.krbd && !rbd.disable && rbd.is_available_on("any"));
        assert_eq!((rbd.namespace, rbd.data_pool, rbd.monhost), (None, None, None));
    }

    #[test]
    fn every_option_of_an_rbd_section_is_read() {
        let text = "rbd: ext\n\tpool p.1\n\tnamespace ns\n\tdata-pool ec\n\tmonhost 10.0.0.1;10.0.0.2\n\
                    \tusername bob\n\tkrbd 1\n\tcontent images,rootdir\n\tnodes a,b\n\tdisable\n";
        let config = StorageCfg::parse(text);
        assert_eq!(config.to_string(), text);
        let rbd = config.rbd("ext").unwrap();
        assert_eq!(
            rbd,
            RbdSection {
                id: "ext".into(),
                pool: "p.1".into(),
                namespace: Some("ns".into()),
                data_pool: Some("ec".into()),
                monhost: Some("10.0.0.1;10.0.0.2".into()),
                username: "bob".into(),
                krbd: true,
                content: vec!["images".into(), "rootdir".into()],
                nodes: vec!["a".into(), "b".into()],
                disable: true,
            }
        );
        assert!(!rbd.is_available_on("a"), "it is switched off");
        let on = RbdSection { disable: false, ..rbd };
        assert!(on.is_available_on("a") && !on.is_available_on("c"));
    }

    #[test]
    fn local_is_always_there_and_always_a_directory() {
        for text in ["", "rbd: local\n\tpool x\n", "dir: local\n\tpath /srv\n"] {
            let config = StorageCfg::parse(text);
            assert_eq!(config.kind("local"), Some("dir"), "{text}");
            assert_eq!(config.storage("local").unwrap().get("path"), Some("/var/lib/vz"));
            assert_eq!(config.to_string(), text);
        }
        let own = StorageCfg::parse("dir: local\n\tpath /var/lib/vz\n\tcontent iso\n");
        assert_eq!(own.storage("local").unwrap().get("content"), Some("iso"));
        assert_eq!(own.storages().len(), 1);
    }

    #[test]
    fn other_kinds_are_no_rbd_storage() {
        let config = StorageCfg::parse("lvmthin: thin\n\tvgname pve\n");
        assert_eq!(config.kind("thin"), Some("lvmthin"));
        assert_eq!((config.rbd("thin"), config.kind("gone")), (None, None));
    }
}
