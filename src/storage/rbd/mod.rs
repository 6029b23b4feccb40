//! Ceph RBD through the `rbd` command, as on every PVE node. Does not map kernel devices.
//!
//! Names are not trusted: an image is its id, a snapshot its number within the image (Ceph gives
//! neither twice), and both are compared before whatever destroys or overwrites, and after every
//! export. Exit statuses are errno's (2 ENOENT, 16 EBUSY, 17 EEXIST, 30 EROFS, 39 ENOTEMPTY, 110
//! ETIMEDOUT), checked on Ceph 16.2.15; a "does not exist" is believed only when the pool's list,
//! which was readable, does not show the name. All reads use `--format json`.

mod answers;
mod blocks;
mod cluster;
mod config;
mod connection;
mod failure;
mod librados;
mod listing;
mod transfer;

pub(super) use blocks::Objects;
pub use cluster::space_and_fsid;
pub use config::RbdConfig;
pub use connection::Connection;
pub use librados::Failure;
pub(super) use transfer::Transfer;

use super::transfer::{Export, Import};
use super::{Blocks, Removed, Result, StorageError, VolumeFacts};
use super::{name_while_deleted, own_name, refuse_watchers};
use crate::clock::Stopwatch;
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

/// `osd_client_watch_timeout` is 30 s.
const FORGOTTEN: Duration = Duration::from_secs(35);

impl Rbd {
    /// `pool/image`, or `pool/namespace/image`.
    pub fn place(&self, name: &str) -> String {
        let RbdConfig { pool, namespace, .. } = &self.0.config;
        let image = name.rsplit('/').next().unwrap_or(name);
        match namespace.is_empty() {
            true => format!("{pool}/{image}"),
            false => format!("{pool}/{namespace}/{image}"),
        }
    }

    /// The storage of this section of storage.cfg, whose commands run on `host`.
    pub fn new(config: RbdConfig, host: Host) -> Self {
        Self(Arc::new(Shared { config, host, fsid: OnceCell::new() }))
    }

    pub(super) fn id(&self) -> &str {
        &self.0.config.id
    }

    pub(super) async fn volume(&self, name: &str) -> Result<Option<VolumeFacts>> {
        let (found, fsid) = tokio::join!(self.info_and_snapshots(name), self.fsid());
        let Some((info, snapshots)) = found? else { return Ok(None) };
        let identity = self.identity(fsid?, &info.id);
        let snapshots = answers::snapshots(&snapshots, &self.object(name), &identity)?;
        Ok(Some(info.facts(name, identity, snapshots)))
    }

    pub(super) async fn watchers(&self, name: &str) -> Result<usize> {
        let status = self.on_image("status", name).args(JSON);
        let status = self.read(status, Deed::reading(self, name)).await?;
        answers::watchers(&status.stdout, &self.object(name))
    }

    /// A volume that must be there, and how many have it open.
    async fn with_watchers(&self, name: &str) -> Result<(VolumeFacts, usize)> {
        let (facts, watchers) = tokio::join!(self.require(name), self.watchers(name));
        Ok((facts?, watchers?))
    }

    /// By the image's id, which a rename leaves as it is. An image in the trash has no name.
    pub(super) async fn volume_of(&self, identity: &VolumeIdentity) -> Result<Option<VolumeFacts>> {
        let VolumeIdentity::Rbd { image, .. } = identity else { return Ok(None) };
        if self.identity(self.fsid().await?, image) != *identity {
            return Ok(None);
        }
        let info = Command::reads("rbd").args(["info", "--image-id", image]).args(JSON);
        let info = match self.read(info, Deed::reading(self, image)).await {
            Err(StorageError::NotFound { .. }) => return Ok(None),
            other => answers::info(&other?.stdout, &self.object(image))?,
        };
        if info.name.is_empty() {
            return Ok(None);
        }
        let facts = self.volume(&info.name).await?;
        Ok(facts.filter(|facts| facts.identity == *identity))
    }

    async fn info_and_snapshots(&self, name: &str) -> Result<Option<(answers::Info, Vec<u8>)>> {
        let Some(info) = self.info(name).await? else { return Ok(None) };
        if info.has_no_snapshots() {
            return Ok(Some((info, b"[]".to_vec())));
        }
        // By the image's id: whatever bears the name by now, these are its snapshots.
        let snapshots = Command::reads("rbd").args(["snap", "ls", "--image-id", &info.id]);
        let output = self.read(snapshots.args(JSON), Deed::reading(self, name)).await?;
        Ok(Some((info, output.stdout)))
    }

    pub(super) async fn volumes(&self) -> Result<Vec<String>> {
        let list = Command::reads("rbd").arg("ls").args(JSON);
        let deed = Deed::reading(self, &self.0.config.pool).on_the_pool();
        let output = self.read(list, deed).await?;
        answers::names(&output.stdout, &self.object(&self.0.config.pool))
    }

    pub(super) async fn used_bytes(&self, name: &str) -> Result<Option<u64>> {
        let du = self.on_image("du", name).args(JSON).deadline(Duration::from_secs(600));
        let output = self.read(du, Deed::reading(self, name)).await?;
        answers::used_bytes(&output.stdout, &self.object(name)).map(Some)
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
        if self.snapshot(volume, expected).await?.1 {
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
        if !self.snapshot(volume, expected).await?.1 {
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
        let object = at(volume, &expected.name);
        match self.snapshot(volume, expected).await {
            Err(StorageError::NotFound { .. }) => return Ok(Removed::AlreadyGone),
            other => other?.0.refuse_migrating(&self.object(&object))?,
        };
        // By number, not by name: Ceph gives it once in a pool, so that even a snapshot that is
        // made under the name in this very moment is safe.
        let delete = Command::reads("rbd").args(["snap", "rm", "--image", own_name(volume)]);
        let delete = delete.args(["--snap-id", &expected.snapshot]).deadline(BULK);
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
        let options = options.map_err(|why| StorageError::Unsupported { object, why })?;
        let create = self.on_image("create", name).args(options);
        self.write(create, Deed::new("create", self, name).on_the_pool()).await?;
        self.require(name).await
    }

    /// The image keeps its id and its objects.
    pub(super) async fn rename_volume(&self, name: &str, to: &str) -> Result<()> {
        let rename = Command::reads("rbd").args(["rename", "--image", own_name(name)]);
        let rename = rename.args(["--dest", own_name(to), "--dest-pool", &self.0.config.pool]);
        let rename = match self.0.config.namespace.as_str() {
            "" => rename,
            namespace => rename.args(["--dest-namespace", namespace]),
        };
        self.write(rename, Deed::new("rename to", self, to)).await
    }

    pub(super) async fn delete_volume(
        &self,
        name: &str,
        expected: &VolumeIdentity,
    ) -> Result<Removed> {
        let Some(facts) = self.unwatched(name, expected).await? else {
            return Ok(Removed::AlreadyGone);
        };
        let object = self.object(name);
        facts.check(&object, expected)?;
        facts.refuse_snapshots(&object)?;
        // `rbd rm` knows names only. Under this one nothing but the very image is deleted, whatever came
        // to bear its name since the look at it.
        let aside = name_while_deleted(expected);
        if own_name(name) == aside {
            self.delete_by_name(name).await?;
            return Ok(Removed::Deleted);
        }
        match self.rename_volume(name, &aside).await {
            Err(StorageError::NotFound { .. }) => return Ok(Removed::AlreadyGone),
            other => other?,
        }
        let deleted = async {
            self.require(&aside).await?.check(&object, expected)?;
            self.delete_by_name(&aside).await
        };
        if let Err(error) = deleted.await {
            // The first error is the one to tell.
            let _ = self.rename_volume(&aside, name).await;
            return Err(error);
        }
        Ok(Removed::Deleted)
    }

    async fn delete_by_name(&self, name: &str) -> Result<()> {
        let delete = self.on_image("rm", name).arg("--no-progress").deadline(BULK);
        self.write(delete, Deed::new("delete", self, name)).await
    }

    pub(super) async fn rollback(&self, volume: &str, to: &SnapshotIdentity) -> Result<()> {
        let object = self.object(volume);
        let (facts, watchers) = self.with_watchers(volume).await?;
        facts.find(&self.object(&at(volume, &to.name)), to)?;
        refuse_watchers(watchers, &object)?;
        let rollback = self.on_snapshot(&["snap", "rollback"], volume, &to.name);
        let rollback = rollback.arg("--no-progress").deadline(BULK);
        self.write(rollback, Deed::new("roll back to", self, &at(volume, &to.name))).await
    }

    pub(super) async fn export(
        &self,
        volume: &VolumeFacts,
        own: &SnapshotIdentity,
        since: Option<&SnapshotIdentity>,
    ) -> Result<Export> {
        transfer::export(self, volume, own, since)
    }

    pub(super) async fn blocks(&self, volume: &str, own: &SnapshotIdentity) -> Result<Blocks> {
        blocks::blocks(self, volume, own).await
    }

    pub(super) async fn import(&self, volume: &str, expected: &VolumeIdentity) -> Result<Import> {
        transfer::import(self, volume, expected).await
    }

    /// The facts as soon as nobody watches the image any more. A client that was killed, as an import
    /// of ours may have been, counts as a watcher until Ceph forgets it.
    async fn unwatched(
        &self,
        name: &str,
        expected: &VolumeIdentity,
    ) -> Result<Option<VolumeFacts>> {
        let watch = Stopwatch::start();
        loop {
            let Some(facts) = self.volume(name).await? else { return Ok(None) };
            let watchers = self.watchers(name).await?;
            if watchers == 0 || facts.identity != *expected {
                return Ok(Some(facts));
            }
            if watch.elapsed() > FORGOTTEN {
                refuse_watchers(watchers, &self.object(name))?;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// A volume that must be there.
    pub(super) async fn require(&self, name: &str) -> Result<VolumeFacts> {
        let facts = self.volume(name).await?;
        facts.ok_or_else(|| StorageError::NotFound { object: self.object(name) })
    }

    /// The volume of the surveyed snapshot, which must be there, and whether that is protected.
    async fn snapshot(
        &self,
        volume: &str,
        expected: &SnapshotIdentity,
    ) -> Result<(VolumeFacts, bool)> {
        let facts = self.require(volume).await?;
        let object = self.object(&at(volume, &expected.name));
        let protected = facts.find(&object, expected)?.protected;
        Ok((facts, protected))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{Answer, Script};
    use std::io::Read;

    const INFO: &str = include_str!("../../../tests/data/outputs/rbd-16.2.15/info.json");
    const SNAP_LS: &str = include_str!("../../../tests/data/outputs/rbd-16.2.15/snap-ls.json");
    const STATUS: &str = include_str!("../../../tests/data/outputs/rbd-16.2.15/status.json");
    const FSID: &str = include_str!("../../../tests/data/outputs/rbd-16.2.15/ceph-fsid.json");

    fn storage() -> (Arc<Script>, Rbd) {
        let script = Script::new();
        script.on("rbd info --image fx", Answer::prints(INFO));
        script.on("rbd snap ls --image-id 10bfc3736178", Answer::prints(SNAP_LS));
        script.on("rbd status --image fx", Answer::prints(STATUS));
        script.on("ceph fsid", Answer::prints(FSID));
        let config = RbdConfig {
            id: "ceph".into(),
            pool: "data".into(),
            namespace: String::new(),
            data_pool: None,
            monhost: None,
            username: String::new(),
            conf: Some("/etc/pve/ceph.conf".into()),
            keyring: None,
            krbd: false,
            io_threads: 16,
        };
        let rbd = Rbd::new(config, Host::Scripted(Arc::clone(&script)));
        (script, rbd)
    }

    async fn own(rbd: &Rbd) -> SnapshotIdentity {
        rbd.volume("fx").await.unwrap().unwrap().snapshots[0].identity.clone()
    }

    #[tokio::test]
    async fn a_survey_asks_only_commands_that_read_and_the_cluster_once() {
        let (script, rbd) = storage();
        for _ in 0..2 {
            let facts = rbd.volume("base-1-disk-0/fx").await.unwrap().unwrap();
            assert_eq!((facts.name.as_str(), facts.snapshots.len()), ("base-1-disk-0/fx", 2));
        }
        let commands = script.commands();
        assert!(commands.iter().all(|c| c.effect == crate::transport::Effect::Reads));
        assert_eq!(commands.iter().filter(|c| c.program == "ceph").count(), 1);
        assert_eq!(commands.len(), 5);
    }

    #[tokio::test]
    async fn an_image_that_was_renamed_is_found_by_its_id() {
        let (script, rbd) = storage();
        let identity = own(&rbd).await.volume;
        let renamed = INFO.replace("\"name\":\"fx\"", "\"name\":\"vm-126-disk-0\"");
        script.on("rbd info --image-id 10bfc3736178", Answer::prints(renamed.as_str()));
        script.on("rbd info --image vm-126-disk-0", Answer::prints(renamed.as_str()));
        let found = rbd.volume_of(&identity).await.unwrap().unwrap();
        assert_eq!((found.name.as_str(), found.snapshots.len()), ("vm-126-disk-0", 2));
        script.on("rbd info --image-id 10bfc3736178", Answer::fails(2, "No such file"));
        assert_eq!(rbd.volume_of(&identity).await.unwrap(), None);
        let VolumeIdentity::Rbd { fsid, namespace, image, .. } = identity else { panic!() };
        let elsewhere = VolumeIdentity::Rbd { fsid, namespace, image, pool: "other".into() };
        assert_eq!(rbd.volume_of(&elsewhere).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_missing_volume_is_believed_only_from_a_readable_list() {
        let (script, rbd) = storage();
        script.on("rbd info --image gone", Answer::fails(2, "no such file"));
        script.on("rbd ls", Answer::fails(2, "rbd: error opening pool 'data'"));
        let error = rbd.volume("gone").await.unwrap_err();
        assert!(matches!(error, StorageError::Tool { .. }), "{error}");
        script.on("rbd ls", Answer::prints("[\"gone\"]"));
        assert!(rbd.volume("gone").await.is_err());
        script.on("rbd ls", Answer::prints("[\"fx\"]"));
        assert_eq!(rbd.volume("gone").await.unwrap(), None);
    }

    #[tokio::test]
    async fn snapshots_are_deleted_by_number() {
        let (script, rbd) = storage();
        script.on("rbd snap rm", Answer::nothing());
        let own = own(&rbd).await;
        assert_eq!(rbd.delete_snapshot("fx", &own).await.unwrap(), Removed::Deleted);
        let expected = "rbd snap rm --image fx --snap-id 12 -p data -c /etc/pve/ceph.conf \
            -n client.admin --client-mount-timeout 30";
        assert_eq!(script.log().last().unwrap(), expected);
        let other = SnapshotIdentity { snapshot: "11".into(), ..own };
        assert!(rbd.delete_snapshot("fx", &other).await.is_err());
        assert!(!script.log().last().unwrap().contains("snap rm"));
    }

    #[tokio::test]
    async fn a_snapshot_of_an_image_that_is_being_migrated_is_not_deleted_by_anybody() {
        let (script, rbd) = storage();
        let own = own(&rbd).await;
        let migrating = INFO.replace("\"layering\"", "\"layering\",\"migrating\"");
        script.on("rbd info --image fx", Answer::prints(migrating));
        script.on("rbd snap rm", Answer::nothing());
        let error = rbd.delete_snapshot("fx", &own).await.unwrap_err();
        assert!(matches!(error, StorageError::Busy { .. }), "{error}");
        assert!(!script.log().iter().any(|line| line.contains("snap rm")), "{:?}", script.log());
        script.on("rbd info --image fx", Answer::prints(INFO));
        assert_eq!(rbd.delete_snapshot("fx", &own).await.unwrap(), Removed::Deleted);
    }

    #[tokio::test]
    async fn statuses_become_the_words_of_the_contract() {
        let (script, rbd) = storage();
        let words: [(i32, &str); 5] = [
            (2, "does not exist"),
            (16, "is in use (snapshot is protected)"),
            (17, "exists already"),
            (110, "storage ceph does not answer"),
            (1, "cannot create ceph:fx@s; it may have been changed"),
        ];
        for (status, text) in words {
            let stderr = "rbd: snapshot is protected\n2026-11-21 7f -1 librbd: late";
            script.once("rbd snap create", Answer::fails(status, stderr));
            let error = rbd.create_snapshot("fx", "s").await.unwrap_err().to_string();
            assert!(error.contains(text) && error.contains("ceph:fx@s"), "{status}: {error}");
        }
    }

    /// What `rbd info` says of the image once it has no snapshots.
    fn bare() -> String {
        INFO.replace("\"snapshot_count\":2", "\"snapshot_count\":0")
    }

    const ASIDE: &str = "ferry-gone-10bfc3736178";

    fn has(script: &Script, words: &str) -> bool {
        script.log().iter().any(|line| line.starts_with(words))
    }

    #[tokio::test]
    async fn an_image_is_deleted_by_a_name_that_says_which_it_is() {
        let (script, rbd) = storage();
        let own = own(&rbd).await.volume;
        script.on("rbd info --image fx", Answer::prints(bare()));
        script.on("rbd rename", Answer::nothing());
        script.on(&format!("rbd info --image {ASIDE}"), Answer::prints(bare()));
        script.on(&format!("rbd rm --image {ASIDE}"), Answer::nothing());
        assert_eq!(rbd.delete_volume("fx", &own).await.unwrap(), Removed::Deleted);
        assert!(has(&script, &format!("rbd rename --image fx --dest {ASIDE}")));
        // One that was cut off is gone on with.
        script.on(&format!("rbd status --image {ASIDE}"), Answer::prints(STATUS));
        assert_eq!(rbd.delete_volume(ASIDE, &own).await.unwrap(), Removed::Deleted);
        let renamed = script.log().iter().filter(|line| line.starts_with("rbd rename")).count();
        assert_eq!(renamed, 1);
    }

    fn ends_with_the_name_given_back(script: &Script) -> bool {
        let back = format!("rbd rename --image {ASIDE} --dest fx");
        script.log().last().is_some_and(|last| last.starts_with(&back))
    }

    /// Somebody deletes the image and makes another one of its name between our look and our deletion.
    #[tokio::test]
    async fn an_image_that_comes_to_bear_the_name_right_before_a_deletion_gets_it_back() {
        let (script, rbd) = storage();
        let own = own(&rbd).await.volume;
        script.on("rbd info --image fx", Answer::prints(bare()));
        script.on("rbd rename", Answer::nothing());
        let theirs = bare().replace("\"id\":\"10bfc3736178\"", "\"id\":\"77aa\"");
        script.on(&format!("rbd info --image {ASIDE}"), Answer::prints(theirs));
        let error = rbd.delete_volume("fx", &own).await.unwrap_err();
        assert!(matches!(error, StorageError::Identity { .. }), "{error}");
        assert!(ends_with_the_name_given_back(&script), "{:?}", script.log());
        assert!(!has(&script, "rbd rm"), "{:?}", script.log());
        // So does one that cannot be deleted.
        script.on(&format!("rbd info --image {ASIDE}"), Answer::prints(bare()));
        script.on("rbd rm", Answer::fails(16, "rbd: error: image still has watchers"));
        let error = rbd.delete_volume("fx", &own).await.unwrap_err();
        assert!(matches!(error, StorageError::Busy { .. }), "{error}");
        assert!(ends_with_the_name_given_back(&script), "{:?}", script.log());
    }

    #[tokio::test]
    async fn another_image_of_the_name_is_not_touched_by_anything_that_writes() {
        let (script, rbd) = storage();
        let other = VolumeIdentity::Memory { id: 1 };
        let identity = |result: Result<()>| {
            let error = result.unwrap_err();
            assert!(matches!(error, StorageError::Identity { .. }), "{error}");
        };
        identity(rbd.delete_volume("fx", &other).await.map(drop));
        identity(rbd.import("fx", &other).await.map(drop));
        let theirs = SnapshotIdentity { volume: other, ..own(&rbd).await };
        identity(rbd.delete_snapshot("fx", &theirs).await.map(drop));
        identity(rbd.protect_snapshot("fx", &theirs).await);
        identity(rbd.unprotect_snapshot("fx", &theirs).await);
        identity(rbd.rollback("fx", &theirs).await);
        let only_reads = |c: &Command| c.effect == crate::transport::Effect::Reads;
        assert!(script.commands().iter().all(only_reads), "{:?}", script.log());
    }

    #[tokio::test]
    async fn an_export_that_ends_badly_is_an_error_however_much_came() {
        let (script, rbd) = storage();
        let whole = "rbd diff v1\ne";
        script.on("rbd export-diff", Answer::fails(5, "I/O error").after_printing(whole));
        let (facts, own) = (rbd.require("fx").await.unwrap(), own(&rbd).await);
        let mut export = rbd.export(&facts, &own, None).await.unwrap();
        let mut text = String::new();
        export.reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, whole);
        let error = export.exit.wait().await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("cannot export ceph:fx@{}; nothing was changed", own.name)
        );
        let expected = format!(
            "rbd export-diff --no-progress --image fx --snap {} --path - \
             --rbd-concurrent-management-ops 16 -p data",
            own.name
        );
        assert!(script.log().iter().any(|line| line.starts_with(&expected)), "{:?}", script.log());
    }

    #[tokio::test]
    async fn an_export_whose_snapshot_was_replaced_meanwhile_does_not_count() {
        let (script, rbd) = storage();
        script.on("rbd export-diff", Answer::prints("rbd diff v1\ne"));
        let (facts, own) = (rbd.require("fx").await.unwrap(), own(&rbd).await);
        let export = rbd.export(&facts, &own, None).await.unwrap();
        drop(export.reader);
        let replaced = SNAP_LS.replace("\"id\":12", "\"id\":14");
        script.on("rbd snap ls --image-id 10bfc3736178", Answer::prints(replaced));
        let error = export.exit.wait().await.unwrap_err();
        assert!(matches!(error, StorageError::Identity { .. }), "{error}");
    }

    #[tokio::test]
    async fn an_import_goes_through_a_path_and_not_into_an_open_image() {
        let (script, rbd) = storage();
        script.on("rbd import-diff", Answer::fails(74, "rbd: failed to decode"));
        let identity = own(&rbd).await.volume;
        let mut import = rbd.import("fx", &identity).await.unwrap();
        import.writer.write_all(b"half").unwrap();
        drop(import.writer);
        let error = import.exit.wait().await.unwrap_err();
        assert!(error.to_string().contains("part of the data may have been written"), "{error}");
        assert_eq!(script.received(), [b"half".to_vec()]);
        assert!(script.log().last().unwrap().contains("--image fx --path /dev/stdin"));
        let watched = include_str!("../../../tests/data/outputs/rbd-16.2.15/status-watched.json");
        script.on("rbd status --image fx", Answer::prints(watched));
        let error = rbd.import("fx", &identity).await.unwrap_err();
        assert!(matches!(error, StorageError::Busy { .. }), "{error}");
    }
}
