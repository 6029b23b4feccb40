//! With which configuration, key and monitors a Ceph cluster is reached, as PVE resolves it. Not
//! for running anything: the storage driver takes these values.
//!
//! Source: `PVE::CephConfig::ceph_connect_option`. A section with `monhost` is an external cluster
//! and may have a configuration of its own; one without belongs to the cluster that PVE manages,
//! whose `ceph.conf` holds, and a configuration of its own is ignored then. The key file is used in
//! both cases when it is there; otherwise the configuration says where the key is.

use super::guest_config::split_list;
use super::storage_cfg::RbdSection;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

/// The values that `rbd` is called with: `-c`, `--keyring`, `-m`, `--id`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CephAccess {
    /// The configuration file; none leaves it to Ceph's own defaults.
    pub conf: Option<PathBuf>,
    /// The file with the user's key, if the storage has one of its own.
    pub keyring: Option<PathBuf>,
    /// The monitors as Ceph wants them: comma-separated, IPv6 addresses in brackets.
    pub monhost: Option<String>,
    /// The Ceph user without `client.`.
    pub username: String,
}

/// Resolves a section below the cluster file system's root (`/etc/pve`); `exists` answers whether
/// a file is there.
pub fn ceph_access(
    section: &RbdSection,
    etc_pve: &Path,
    exists: &dyn Fn(&Path) -> bool,
) -> CephAccess {
    let own_file = |suffix| etc_pve.join("priv/ceph").join(format!("{}.{suffix}", section.id));
    let there = |path: PathBuf| exists(&path).then_some(path);
    let conf = match section.monhost {
        Some(_) => there(own_file("conf")),
        None => Some(etc_pve.join("ceph.conf")),
    };
    CephAccess {
        conf,
        keyring: there(own_file("keyring")),
        monhost: section.monhost.as_deref().map(monitors),
        username: section.username.clone(),
    }
}

fn monitors(list: &str) -> String {
    split_list(list).map(monitor).collect::<Vec<_>>().join(",")
}

/// Ceph wants brackets around an IPv6 address; PVE accepts it bare, with `.port` behind it.
fn monitor(address: &str) -> String {
    let is_v6 = |text: &str| text.parse::<Ipv6Addr>().is_ok();
    if is_v6(address) {
        return format!("[{address}]");
    }
    match address.rsplit_once('.') {
        Some((host, port)) if is_v6(host) => format!("[{host}]:{port}"),
        _ => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pve::storage_cfg::StorageCfg;

    fn access(options: &str, files: &[&str]) -> CephAccess {
        let section = StorageCfg::parse(&format!("rbd: ceph\n{options}")).rbd("ceph").unwrap();
        let exists = |path: &Path| files.iter().any(|file| Path::new(file) == path);
        ceph_access(&section, Path::new("/etc/pve"), &exists)
    }

    const CONF: &str = "/etc/pve/priv/ceph/ceph.conf";
    const KEYRING: &str = "/etc/pve/priv/ceph/ceph.keyring";

    #[test]
    fn pves_own_cluster_uses_its_configuration_and_ignores_the_storages() {
        let found = access("", &[CONF, KEYRING]);
        assert_eq!(found.conf, Some("/etc/pve/ceph.conf".into()));
        assert_eq!(found.keyring, Some(KEYRING.into()));
        assert_eq!((found.monhost, found.username.as_str()), (None, "admin"));
        assert_eq!(access("", &[]).keyring, None);
    }

    #[test]
    fn an_external_cluster_uses_its_own_files_where_they_are() {
        let options = "\tmonhost 10.0.0.1 10.0.0.2:6789\n\tusername bob\n";
        let found = access(options, &[CONF, KEYRING]);
        assert_eq!(found.conf, Some(CONF.into()));
        assert_eq!(found.keyring, Some(KEYRING.into()));
        assert_eq!(found.monhost.as_deref(), Some("10.0.0.1,10.0.0.2:6789"));
        assert_eq!(found.username, "bob");
        let bare = access(options, &[]);
        assert_eq!((bare.conf, bare.keyring), (None, None));
    }

    #[test]
    fn monitors_are_written_as_ceph_wants_them() {
        assert_eq!(
            monitors("fd00::1;fd00::2.6789, [fd00::3]:3300,mon.example"),
            "[fd00::1],[fd00::2]:6789,[fd00::3]:3300,mon.example"
        );
        // What is written as Ceph wants it stays so.
        for right in
            ["[v2:192.0.2.1:3300,v1:192.0.2.1:6789]", "v2:[fd00::1]:3300", "192.0.2.1,[fd00::2]"]
        {
            assert_eq!(monitors(right), right);
        }
    }
}
