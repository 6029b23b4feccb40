//! How to reach a pool, as PVE does, and the options of a new image. Does not read storage.cfg.

use super::connection::Connection;
use crate::model::VolumeShape;
use crate::transport::Command;
use std::path::PathBuf;

/// A section of type `rbd` of storage.cfg, with its files resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RbdConfig {
    /// The storage's id.
    pub id: String,
    /// The pool; PVE's default is `rbd`.
    pub pool: String,
    /// The RBD namespace; empty for the default one.
    pub namespace: String,
    /// The pool for the data of new images, when it is another one (erasure coding).
    pub data_pool: Option<String>,
    /// Monitors of a cluster that PVE does not manage, as Ceph wants them: separated by commas, IPv6
    /// addresses in brackets.
    pub monhost: Option<String>,
    /// The Ceph user without `client.`; empty for `admin`.
    pub username: String,
    /// `/etc/pve/ceph.conf` where there is no monhost, else `/etc/pve/priv/ceph/<id>.conf` if it
    /// exists (`PVE::CephConfig::ceph_connect_option`).
    pub conf: Option<PathBuf>,
    /// `/etc/pve/priv/ceph/<id>.keyring` if it exists.
    pub keyring: Option<PathBuf>,
    /// Whether guests use the kernel's driver. The commands are the same.
    pub krbd: bool,
    /// How many objects one transfer has in flight.
    pub io_threads: u32,
}

/// librados waits 300 s for monitors that do not answer, which is no time to keep a guest waiting.
pub(super) const PATIENCE: &str = "30";

impl RbdConfig {
    /// Adds pool and connection to an `rbd` command.
    pub(super) fn connect(&self, command: Command) -> Command {
        let command = command.args(["-p", &self.pool]);
        let command = match self.namespace.as_str() {
            "" => command,
            namespace => command.args(["--namespace", namespace]),
        };
        let command = command.args(self.connection().flags());
        command.args(["--client-mount-timeout", PATIENCE]).ends_with_us()
    }

    /// A `ceph` command that reads.
    pub(super) fn ceph(&self, word: &str) -> Command {
        let mut command = Command::reads("ceph").args([word, "--format", "json"]);
        if self.conf.is_none() {
            // Unlike rbd, this tool refuses to run where there is no configuration file at all, as
            // on a node whose only Ceph is an external one.
            command = command.args(["-c", "/dev/null"]);
        }
        command.args(["--connect-timeout", PATIENCE]).args(self.connection().flags())
    }

    /// How to reach the cluster.
    pub(super) fn connection(&self) -> Connection {
        let user = if self.username.is_empty() { "admin" } else { &self.username };
        Connection {
            conf: self.conf.as_ref().map(|conf| conf.display().to_string()),
            monitors: self.monhost.clone(),
            user: format!("client.{user}"),
            keyring: self.keyring.as_ref().map(|keyring| keyring.display().to_string()),
        }
    }
}

/// The options of `rbd create` that make an image of this shape; the pool for its data is that of
/// the shape, or else the storage's, as PVE would choose.
pub(super) fn creation(
    shape: &VolumeShape,
    data_pool: Option<&str>,
) -> Result<Vec<String>, String> {
    if let Some((unit, count)) = shape.striping {
        return Err(format!("it is striped ({count} times {unit} bytes), which is not supported"));
    }
    let mut options = vec!["--size".to_owned(), format!("{}B", shape.size)];
    if let Some(size) = shape.object_size {
        if !size.is_power_of_two() || !(4096..=32 << 20).contains(&size) {
            return Err(format!("objects of {size} bytes do not exist (4 KiB to 32 MiB, 2^n)"));
        }
        options.extend(["--object-size".to_owned(), format!("{size}B")]);
    }
    for feature in shape.features.iter().filter(|feature| can_be_chosen(feature)) {
        options.extend(["--image-feature".to_owned(), feature.clone()]);
    }
    if let Some(pool) = shape.data_pool.as_deref().or(data_pool) {
        options.extend(["--data-pool".to_owned(), pool.to_owned()]);
    }
    Ok(options)
}

/// The other words of `rbd info` follow from options or are states: `data-pool`, `operations`,
/// `migrating`, `striping`, `dirty-cache`.
fn can_be_chosen(feature: &str) -> bool {
    const CHOICES: [&str; 6] =
        ["layering", "exclusive-lock", "object-map", "fast-diff", "deep-flatten", "journaling"];
    CHOICES.contains(&feature)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> RbdConfig {
        RbdConfig {
            id: "ceph".into(),
            pool: "rbd".into(),
            namespace: String::new(),
            data_pool: None,
            monhost: None,
            username: String::new(),
            conf: Some("/etc/pve/ceph.conf".into()),
            keyring: Some("/etc/pve/priv/ceph/ceph.keyring".into()),
            krbd: false,
            io_threads: 10,
        }
    }

    fn line(config: &RbdConfig) -> String {
        config.connect(Command::reads("rbd").arg("ls")).to_string()
    }

    #[test]
    fn a_cluster_of_pves_own_is_reached_by_its_configuration_file() {
        let expected = "rbd ls -p rbd -c /etc/pve/ceph.conf -n client.admin \
            --keyring /etc/pve/priv/ceph/ceph.keyring --client-mount-timeout 30";
        assert_eq!(line(&config()), expected);
        let expected = "ceph df --format json --connect-timeout 30 -c /etc/pve/ceph.conf \
            -n client.admin --keyring /etc/pve/priv/ceph/ceph.keyring";
        assert_eq!(config().ceph("df").to_string(), expected);
    }

    #[test]
    fn an_external_cluster_is_reached_by_its_monitors() {
        let monhost = Some("192.0.2.1,192.0.2.2:6789,[2001:db8::1],[2001:db8::2]:3300".to_owned());
        let (namespace, username) = ("ns".to_owned(), "pve".to_owned());
        let external =
            RbdConfig { monhost, namespace, username, conf: None, keyring: None, ..config() };
        let expected = "rbd ls -p rbd --namespace ns \
            -m 192.0.2.1,192.0.2.2:6789,[2001:db8::1],[2001:db8::2]:3300 -n client.pve \
            --auth_supported none --client-mount-timeout 30";
        assert_eq!(line(&external), expected);
    }

    #[test]
    fn shapes_become_options_and_what_cannot_be_made_is_refused() {
        let features = ["layering", "fast-diff", "data-pool", "operations"].map(str::to_owned);
        let shape = VolumeShape {
            size: 1_000_000,
            object_size: Some(65_536),
            features: features.to_vec(),
            ..VolumeShape::default()
        };
        let options = creation(&shape, Some("ec")).unwrap().join(" ");
        let expected = "--size 1000000B --object-size 65536B --image-feature layering \
            --image-feature fast-diff --data-pool ec";
        assert_eq!(options, expected);
        let own = VolumeShape { data_pool: Some("own".into()), ..shape.clone() };
        assert!(creation(&own, Some("ec")).unwrap().ends_with(&["own".to_owned()]));
        let striped = VolumeShape { striping: Some((65_536, 4)), ..shape.clone() };
        assert!(creation(&striped, None).unwrap_err().contains("striped"));
        assert!(creation(&VolumeShape { object_size: Some(3000), ..shape }, None).is_err());
    }
}
