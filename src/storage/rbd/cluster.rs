//! Who a cluster is and how much space its pools have. Not for images.

use super::connection::Connection;
use super::failure::Deed;
use super::librados::{Cluster, Failure};
use super::{Rbd, RbdConfig, answers};
use crate::storage::{Location, Result};
use crate::transport::{Command, Host, Output};
use std::time::Duration;

/// More than the library's own patience; a child that hangs is killed.
const QUICK: Duration = Duration::from_secs(8);

/// The answer of `ceph df --format json`, as `df`, with the cluster's `fsid` beside it.
///
/// # Errors
/// The library is not there, or the cluster does not answer within `patience` seconds.
pub fn space_and_fsid(
    connection: &Connection,
    patience: &str,
) -> std::result::Result<String, Failure> {
    let cluster = Cluster::connect(connection, patience)?;
    let (fsid, df) = (cluster.fsid()?, cluster.df()?);
    // The library gives 36 characters and JSON; whoever reads them checks.
    Ok(format!("{{\"fsid\":\"{fsid}\",\"df\":{df}}}"))
}

impl Rbd {
    /// The space that the storage's pool has left, in bytes; none when the pool does not show.
    pub(in crate::storage) async fn free_bytes(&self) -> Result<Option<u64>> {
        let config = &self.0.config;
        let pool = config.data_pool.as_ref().unwrap_or(&config.pool);
        if let Some(space) = self.space_by_librados(pool).await {
            return Ok(space);
        }
        let df = self.run(config.ceph("df"), Deed::reading(self, pool).on_the_pool()).await?;
        answers::free_bytes(&df.stdout, &self.object(pool), pool)
    }

    pub(in crate::storage) async fn location(&self) -> Result<Location> {
        let (fsid, config) = (self.fsid().await?, &self.0.config);
        let RbdConfig { pool, namespace, .. } = config;
        let data = config.data_pool.as_ref().unwrap_or(pool);
        Ok(Location {
            volumes: format!("{fsid}/{pool}/{namespace}"),
            space: format!("{fsid}/{data}"),
        })
    }

    /// The cluster's own id, which its monitors give; a configuration file may hold another's.
    pub(super) async fn fsid(&self) -> Result<&str> {
        let ask = || async {
            let quick = self.asked_librados().await;
            if let Some(fsid) = quick.and_then(|out| answers::fsid(&out.stdout, self.id()).ok()) {
                return Ok(fsid);
            }
            let deed = Deed::reading(self, "").on_the_pool();
            let output = self.run(self.0.config.ceph("fsid"), deed).await?;
            answers::fsid(&output.stdout, self.id())
        };
        self.0.fsid.get_or_try_init(ask).await.map(String::as_str)
    }

    /// The space, and the id with it: whoever asks for space makes a volume next, and needs the id.
    async fn space_by_librados(&self, pool: &str) -> Option<Option<u64>> {
        let output = self.asked_librados().await?;
        let space = answers::free_bytes_beside_fsid(&output.stdout, self.id(), pool).ok()?;
        // Known already is as good.
        let _ = self.0.fsid.set(answers::fsid(&output.stdout, self.id()).ok()?);
        Some(space)
    }

    /// What librados says, asked by a process of our own. No answer is no error: the `ceph` program
    /// is asked then, whose words an admin knows.
    async fn asked_librados(&self) -> Option<Output> {
        if !matches!(self.0.host, Host::Local(_)) || !we_are_the_program() {
            return None;
        }
        // Not by name: this is the same program even while a newer package is being installed.
        let command = Command::reads("/proc/self/exe").arg("ask-ceph");
        let command = command.args(self.0.config.connection().words()).deadline(QUICK);
        self.0.host.run(&command).await.ok()
    }
}

/// Otherwise we are a library in somebody else's process, as in the storage plugin.
fn we_are_the_program() -> bool {
    let program = std::env::current_exe();
    program.is_ok_and(|path| path.file_name().is_some_and(|name| name == "pve-ferry"))
}
