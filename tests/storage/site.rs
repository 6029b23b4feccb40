//! Where the suite runs: a storage, and hands that reach behind it. Decides nothing about results.

use pve_ferry::model::{SnapshotIdentity, VolumeIdentity, VolumeShape};
use pve_ferry::storage::{Memory, ObjectMap, Rbd, RbdConfig, Storage, StorageError, VolumeFacts};
use pve_ferry::transport::{Command, Host, Sink};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;

#[derive(Clone)]
pub struct Site {
    pub storage: Storage,
    prefix: String,
    lab: Option<Arc<PathBuf>>,
}

/// Keeps a volume open until it is closed. Killed instead, Ceph would hold it open for 30 s.
pub enum Watch {
    Memory,
    Rbd { process: Box<Sink> },
}

pub const POOL: &str = "conformance";
pub const DATA_POOL: &str = "conformance-data";
static POOLS: OnceCell<()> = OnceCell::const_new();

impl Site {
    pub fn memory() -> Self {
        let storage = Storage::Memory(Memory::new("memory"));
        Self { storage, prefix: "vm-100".to_owned(), lab: None }
    }

    pub async fn rbd(conf: PathBuf, test: &str) -> Self {
        let config = Self::config(&conf);
        let storage = Storage::Rbd(Rbd::new(config, Host::local()));
        let prefix = format!("vm-{}-{test}", std::process::id());
        let site = Self { storage, prefix, lab: Some(Arc::new(conf)) };
        POOLS.get_or_init(|| site.make_pools()).await;
        site
    }

    pub fn config(conf: &std::path::Path) -> RbdConfig {
        RbdConfig {
            id: "ceph".to_owned(),
            pool: POOL.to_owned(),
            namespace: String::new(),
            data_pool: None,
            monhost: None,
            username: String::new(),
            conf: Some(conf.to_owned()),
            keyring: None,
            krbd: false,
            io_threads: 8,
        }
    }

    pub fn name(&self, suffix: &str) -> String {
        format!("{}-{suffix}", self.prefix)
    }

    pub async fn create(&self, suffix: &str, size: u64) -> VolumeFacts {
        let shape = VolumeShape { size, ..VolumeShape::default() };
        self.storage.create_volume(&self.name(suffix), &shape).await.unwrap()
    }

    pub async fn facts(&self, name: &str) -> VolumeFacts {
        self.storage.volume(name).await.unwrap().unwrap()
    }

    pub async fn snapshot(&self, name: &str, snapshot: &str) -> SnapshotIdentity {
        self.storage.create_snapshot(name, snapshot).await.unwrap();
        self.facts(name).await.snapshot(snapshot).unwrap().identity.clone()
    }

    /// Applies a stream and tells how it ended. A broken pipe on the way is told by the end.
    pub async fn apply(
        &self,
        name: &str,
        expected: &VolumeIdentity,
        stream: Vec<u8>,
    ) -> Result<(), StorageError> {
        let mut import = self.storage.import(name, expected).await?;
        let write = move || drop(import.writer.write_all(&stream));
        tokio::task::spawn_blocking(write).await.unwrap();
        import.exit.wait().await
    }

    pub async fn export(
        &self,
        name: &str,
        own: &SnapshotIdentity,
        since: Option<&SnapshotIdentity>,
    ) -> Result<Vec<u8>, StorageError> {
        let mut export = self.storage.export(&self.facts(name).await, own, since).await?;
        let read = move || {
            let mut bytes = Vec::new();
            export.reader.read_to_end(&mut bytes).map(|_| bytes)
        };
        let bytes = tokio::task::spawn_blocking(read).await.unwrap().unwrap();
        export.exit.wait().await.map(|()| bytes)
    }

    /// The present content of a volume, read by other means than the driver's.
    pub async fn content(&self, name: &str) -> Vec<u8> {
        match &self.storage {
            Storage::Memory(memory) => memory.read(name).unwrap(),
            Storage::Rbd(_) => self.rbd_run(&["export", "--image", name, "--path", "-"]).await,
        }
    }

    pub async fn snapshot_content(&self, name: &str, snapshot: &str) -> Vec<u8> {
        match &self.storage {
            Storage::Memory(memory) => memory.read_snapshot(name, snapshot).unwrap(),
            Storage::Rbd(_) => {
                let words = ["export", "--image", name, "--snap", snapshot, "--path", "-"];
                self.rbd_run(&words).await
            }
        }
    }

    pub async fn clone_volume(&self, name: &str, snapshot: &str, clone: &str) {
        match &self.storage {
            Storage::Memory(memory) => memory.clone_volume(name, snapshot, clone).unwrap(),
            Storage::Rbd(_) => {
                let from = ["clone", "--image", name, "--snap", snapshot, "--dest-pool", POOL];
                let words: Vec<&str> = from.into_iter().chain(["--dest", clone]).collect();
                self.rbd_run(&words).await;
            }
        }
    }

    /// Removes a snapshot as an administrator does who does not know us.
    pub async fn remove_snapshot(&self, name: &str, snapshot: &str) {
        match &self.storage {
            Storage::Memory(memory) => memory.remove_snapshot(name, snapshot).unwrap(),
            Storage::Rbd(_) => {
                self.rbd_run(&["snap", "rm", "--image", name, "--snap", snapshot]).await;
            }
        }
    }

    pub async fn open(&self, name: &str) -> Watch {
        match &self.storage {
            Storage::Memory(memory) => {
                memory.set_watchers(name, 1).unwrap();
                Watch::Memory
            }
            Storage::Rbd(_) => {
                // It watches until its input ends.
                let watch = self.rbd_command(&["watch", "--image", name]);
                let process = Host::local().sink(&watch).unwrap();
                for _ in 0..100 {
                    if self.storage.watchers(name).await.unwrap() > 0 {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Watch::Rbd { process: Box::new(process) }
            }
        }
    }

    pub async fn close(&self, name: &str, watch: Watch) {
        match (&self.storage, watch) {
            (Storage::Memory(memory), _) => memory.set_watchers(name, 0).unwrap(),
            (_, Watch::Rbd { process }) => {
                let Sink { writer, exit } = *process;
                drop(writer);
                exit.wait().await.unwrap();
            }
            (_, Watch::Memory) => panic!("{name} was opened on another storage"),
        }
    }

    /// Makes the storage flag the volume's object map as wrong.
    pub async fn spoil_object_map(&self, name: &str) {
        match &self.storage {
            Storage::Memory(memory) => memory.set_object_map(name, ObjectMap::Invalid).unwrap(),
            Storage::Rbd(_) => {
                let VolumeIdentity::Rbd { image, .. } = self.facts(name).await.identity else {
                    panic!("{name} is no image");
                };
                let conf = self.conf();
                let object = format!("rbd_object_map.{image}");
                let words = ["-c", &conf, "-p", POOL, "rm", &object];
                Host::local().run(&Command::writes("rados").args(words)).await.unwrap();
                // The next writer finds it missing and sets the flags.
                let bench = ["bench", "--io-type", "write", "--io-size", "65536"];
                let words: Vec<&str> =
                    bench.into_iter().chain(["--io-total", "65536", "--image", name]).collect();
                self.rbd_run(&words).await;
            }
        }
    }

    /// Removes whatever this test made.
    pub async fn sweep(&self) {
        let Storage::Rbd(_) = &self.storage else { return };
        let names = self.storage.volumes().await.unwrap();
        let ours = names.iter().filter(|name| name.starts_with(&self.prefix));
        // Clones come before what they depend on.
        let mut ours: Vec<&String> = ours.collect();
        ours.sort_by_key(|name| !name.ends_with("clone"));
        for name in ours {
            for snapshot in self.facts(name).await.snapshots.iter().filter(|s| s.protected) {
                self.storage.unprotect_snapshot(name, &snapshot.identity).await.unwrap();
            }
            self.rbd_run(&["snap", "purge", "--image", name]).await;
            self.rbd_run(&["rm", "--image", name]).await;
        }
    }

    pub async fn rbd_run(&self, words: &[&str]) -> Vec<u8> {
        let command = self.rbd_command(words);
        Host::local().run(&command).await.unwrap().stdout
    }

    fn rbd_command(&self, words: &[&str]) -> Command {
        let conf = self.conf();
        // An exported volume is printed whole.
        let command = Command::writes("rbd").output_limit(256 << 20);
        command.args(words.iter().copied()).args(["-p", POOL, "-c", &conf])
    }

    pub fn conf(&self) -> String {
        self.lab.as_ref().unwrap().display().to_string()
    }

    async fn make_pools(&self) {
        let conf = self.conf();
        for pool in [POOL, DATA_POOL] {
            let words = ["-c", &conf, "osd", "pool", "create", pool, "8"];
            Host::local().run(&Command::writes("ceph").args(words)).await.unwrap();
            let words = ["-c", &conf, "pool", "init", pool];
            Host::local().run(&Command::writes("rbd").args(words)).await.unwrap();
        }
    }
}
