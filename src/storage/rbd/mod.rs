//! Ceph RBD through the `rbd` command, as on every PVE node. Does not map kernel devices.
//!
//! Names are not trusted: an image is its id, a snapshot its number within the image (Ceph gives
//! neither twice), and both are compared before whatever destroys or overwrites, and after every
//! export. Exit statuses are errno's (2 ENOENT, 16 EBUSY, 17 EEXIST, 30 EROFS, 39 ENOTEMPTY, 110
//! ETIMEDOUT), checked on Ceph 16.2.15; a "does not exist" is believed only when the pool's list,
//! which was readable, does not show the name. All reads use `--format json`.

mod answers;
mod config;
mod failure;
mod transfer;

pub use config::RbdConfig;
pub(super) use transfer::Transfer;

use super::transfer::{Export, Import};
use super::{Removed, Result, StorageError, VolumeFacts, own_name};
use crate::model::{SnapshotIdentity, VolumeIdentity, VolumeShape};
use crate::transport::{Command, Host, Output};
use failure::Deed;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;

/// A pool, or a namespace of one, of one Ceph cluster. A clone is the same storage.
#[derive(Debug, Clone)]
pub struct Rbd(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: RbdConfig,
    host: Host,
    fsid: OnceCell<String>,
}

/// Removing or rolling back touches every object of an image, and there can be millions.
const BULK: Duration = Duration::from_secs(12 * 3600);

impl Rbd {
    /// The storage of this section of storage.cfg, whose commands run on `host`.
    pub fn new(config: RbdConfig, host: Host) -> Self {
        Self(Arc::new(Shared { config, host, fsid: OnceCell::new() }))
    }

    pub(super) fn id(&self) -> &str {
        &self.0.config.id
    }

    pub(super) async fn volume(&self, name: &str) -> Result<Option<VolumeFacts>> {
        let Some(info) = self.info(name).await? else { return Ok(None) };
        let image = self.on_image("status", name);
        // By the image's id: whatever bears the name by now, these are its snapshots.
        let snapshots = Command::reads("rbd").args(["snap", "ls", "--image-id", &info.id]);
        let (fsid, status, snapshots) = tokio::join!(
            self.fsid(),
            self.read(image.args(JSON), Deed::reading(self, name)),
            self.read(snapshots.args(JSON), Deed::reading(self, name)),
        );
        let identity = self.identity(fsid?, &info.id);
        let object = self.object(name);
        let watchers = answers::watchers(&status?.stdout, &object)?;
        let snapshots = answers::snapshots(&snapshots?.stdout, &object, &identity)?;
        Ok(Some(info.facts(name, identity, snapshots, watchers)))
    }

    pub(super) async fn volumes(&self) -> Result<Vec<String>> {
        let list = Command::reads("rbd").arg("ls").args(JSON);
        let deed = Deed::reading(self, &self.0.config.pool).on_the_pool();
        let output = self.read(list, deed).await?;
        answers::names(&output.stdout, &self.object(&self.0.config.pool))
    }

    pub(super) async fn free_bytes(&self) -> Result<Option<u64>> {
        let config = &self.0.config;
        let pool = config.data_pool.as_ref().unwrap_or(&config.pool);
        let df = config.ceph("df");
        let output = self.run(df, Deed::reading(self, pool).on_the_pool()).await?;
        answers::free_bytes(&output.stdout, &self.object(pool), pool)
    }

    pub(super) async fn used_bytes(&self, name: &str) -> Result<Option<u64>> {
        let info = self.info(name).await?;
        let info = info.ok_or_else(|| StorageError::NotFound { object: self.object(name) })?;
        if !info.has_fast_diff() {
            return Ok(None);
        }
        let du = self.on_image("du", name).args(JSON).deadline(Duration::from_secs(600));
        let output = self.read(du, Deed::reading(self, name)).await?;
        answers::used_bytes(&output.stdout, &self.object(name), info.size).map(Some)
    }

    pub(super) async fn create_snapshot(&self, volume: &str, snapshot: &str) -> Result<()> {
        let create = self.on_snapshot(&["snap", "create"], volume, snapshot);
        self.write(create, Deed::new("create", self, &at(volume, snapshot))).await
    }

    pub(super) async fn protect_snapshot(
        &self,
        volume: &str,
        expected: &SnapshotIdentity,
    ) -> Result<()> {
        if self.snapshot(volume, expected).await? {
            return Ok(());
        }
        let protect = self.on_snapshot(&["snap", "protect"], volume, &expected.name);
        self.write(protect, Deed::new("protect", self, &at(volume, &expected.name))).await
    }

    pub(super) async fn unprotect_snapshot(
        &self,
        volume: &str,
        expected: &SnapshotIdentity,
    ) -> Result<()> {
        if !self.snapshot(volume, expected).await? {
            return Ok(());
        }
        let unprotect = self.on_snapshot(&["snap", "unprotect"], volume, &expected.name);
        self.write(unprotect, Deed::new("unprotect", self, &at(volume, &expected.name))).await
    }

    pub(super) async fn delete_snapshot(
        &self,
        volume: &str,
        expected: &SnapshotIdentity,
    ) -> Result<Removed> {
        match self.snapshot(volume, expected).await {
            Err(StorageError::NotFound { .. }) => return Ok(Removed::AlreadyGone),
            other => other?,
        };
        // By number, not by name: Ceph gives it once in a pool, so that even a snapshot that is
        // made under the name in this very moment is safe.
        let delete = Command::reads("rbd").args(["snap", "rm", "--image", own_name(volume)]);
        let delete = delete.args(["--snap-id", &expected.snapshot]).deadline(BULK);
        let object = at(volume, &expected.name);
        match self.write(delete, Deed::new("delete", self, &object)).await {
            Err(StorageError::NotFound { .. }) => Ok(Removed::AlreadyGone),
            other => other.map(|()| Removed::Deleted),
        }
    }

    pub(super) async fn create_volume(
        &self,
        name: &str,
        shape: &VolumeShape,
    ) -> Result<VolumeFacts> {
        let object = self.object(name);
        let options = config::creation(shape, self.0.config.data_pool.as_deref());
        let options =
            options.map_err(|why| StorageError::Unsupported { object: object.clone(), why })?;
        let create = self.on_image("create", name).args(options);
        self.write(create, Deed::new("create", self, name).on_the_pool()).await?;
        self.volume(name).await?.ok_or(StorageError::NotFound { object })
    }

    pub(super) async fn delete_volume(
        &self,
        name: &str,
        expected: &VolumeIdentity,
    ) -> Result<Removed> {
        let Some(facts) = self.volume(name).await? else { return Ok(Removed::AlreadyGone) };
        let object = self.object(name);
        facts.check(&object, expected)?;
        facts.refuse_watchers(&object)?;
        let delete = self.on_image("rm", name).arg("--no-progress").deadline(BULK);
        self.write(delete, Deed::new("delete", self, name)).await?;
        Ok(Removed::Deleted)
    }

    pub(super) async fn rollback(&self, volume: &str, to: &SnapshotIdentity) -> Result<()> {
        let object = self.object(volume);
        let facts = self.require(volume).await?;
        facts.find(&self.object(&at(volume, &to.name)), to)?;
        facts.refuse_watchers(&object)?;
        let rollback = self.on_snapshot(&["snap", "rollback"], volume, &to.name);
        let rollback = rollback.arg("--no-progress").deadline(BULK);
        self.write(rollback, Deed::new("roll back to", self, &at(volume, &to.name))).await
    }

    pub(super) async fn export(
        &self,
        volume: &str,
        own: &SnapshotIdentity,
        since: Option<&SnapshotIdentity>,
    ) -> Result<Export> {
        transfer::export(self, volume, own, since).await
    }

    pub(super) async fn import(&self, volume: &str, expected: &VolumeIdentity) -> Result<Import> {
        transfer::import(self, volume, expected).await
    }

    async fn require(&self, name: &str) -> Result<VolumeFacts> {
        let facts = self.volume(name).await?;
        facts.ok_or_else(|| StorageError::NotFound { object: self.object(name) })
    }

    /// Whether the surveyed snapshot, which must be there, is protected.
    async fn snapshot(&self, volume: &str, expected: &SnapshotIdentity) -> Result<bool> {
        let facts = self.require(volume).await?;
        let object = self.object(&at(volume, &expected.name));
        Ok(facts.find(&object, expected)?.protected)
    }

    async fn info(&self, name: &str) -> Result<Option<answers::Info>> {
        let info = self.on_image("info", name).args(JSON);
        match self.read(info, Deed::reading(self, name)).await {
            Ok(output) => answers::info(&output.stdout, &self.object(name)).map(Some),
            // The same status says that the pool is not there.
            Err(missing @ StorageError::NotFound { .. }) => {
                let listed = self.volumes().await?.iter().any(|n| n == own_name(name));
                if listed { Err(missing) } else { Ok(None) }
            }
            Err(error) => Err(error),
        }
    }

    async fn fsid(&self) -> Result<&str> {
        let ask = || async {
            let id = self.id();
            let deed = Deed::reading(self, "").on_the_pool();
            let output = self.run(self.0.config.ceph("fsid"), deed).await?;
            answers::fsid(&output.stdout, id)
        };
        self.0.fsid.get_or_try_init(ask).await.map(String::as_str)
    }

    fn identity(&self, fsid: &str, image: &str) -> VolumeIdentity {
        VolumeIdentity::Rbd {
            fsid: fsid.to_owned(),
            pool: self.0.config.pool.clone(),
            namespace: self.0.config.namespace.clone(),
            image: image.to_owned(),
        }
    }

    async fn read(&self, command: Command, deed: Deed) -> Result<Output> {
        self.run(self.0.config.connect(command), deed).await
    }

    async fn write(&self, command: Command, deed: Deed) -> Result<()> {
        let command = Command { effect: crate::transport::Effect::Writes, ..command };
        self.run(self.0.config.connect(command), deed).await.map(drop)
    }

    async fn run(&self, command: Command, deed: Deed) -> Result<Output> {
        self.0.host.run(&command).await.map_err(|error| deed.failed(error))
    }

    fn on_image(&self, word: &str, name: &str) -> Command {
        Command::reads("rbd").args([word, "--image", own_name(name)])
    }

    fn on_snapshot(&self, words: &[&str], volume: &str, snapshot: &str) -> Command {
        let command = Command::reads("rbd").args(words.iter().copied());
        command.args(["--image", own_name(volume), "--snap", snapshot])
    }

    fn object(&self, name: &str) -> String {
        format!("{}:{name}", self.id())
    }
}

const JSON: [&str; 2] = ["--format", "json"];

fn at(volume: &str, snapshot: &str) -> String {
    format!("{volume}@{snapshot}")
}
