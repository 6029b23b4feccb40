//! The cluster of a test: files below an `/etc/pve` of its own, a storage, nodes, repositories.
//! What a run is stands in `run.rs`, what must be in a repository in `model.rs`.

use super::events::Events;
use super::model::Model;
use super::node::Node;
use pve_ferry::cancel::Cancel;
use pve_ferry::clock::Clock;
use pve_ferry::hooks::Hooks;
use pve_ferry::model::Moment;
use pve_ferry::node::freezes::Freezes;
use pve_ferry::node::unfinished::UnfinishedRestores;
use pve_ferry::repository::image::Compression;
use pve_ferry::storage::{Memory, Storage};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// The guest that most tests are about.
pub const VMID: u32 = 100;

/// Snapshots that are nobody's business but their owners': names that look like ours among them.
pub const FOREIGN: [&str; 4] = [
    "before-daily-update",
    "autodaily260101000000",
    "ferry.deadbeef.daily.20200101T000000Z",
    "ferry.daily",
];

/// A cluster with two nodes, a storage that they share, and one on each of them.
pub struct Lab {
    home: TempDir,
    pub storage: Memory,
    /// A second storage, empty.
    pub spare: Memory,
    /// The storage `local-zfs` of each node: one id, two storages.
    pub local: BTreeMap<&'static str, Memory>,
    /// More entries of storage.cfg for the first storage.
    pub(super) entries: Mutex<Vec<String>>,
    pub node: Arc<Node>,
    pub events: Arc<Events>,
    pub clock: Clock,
    pub cancel: Arc<Mutex<Cancel>>,
    pub compression: Mutex<Compression>,
    pub hooks: Mutex<Arc<Hooks>>,
    pub(super) model: Mutex<Model>,
}

impl Lab {
    /// A cluster without guests.
    pub fn empty() -> Self {
        let home = temporary();
        let etc = home.path().join("etc");
        for node in ["pve1", "pve2"] {
            for kind in ["qemu-server", "lxc"] {
                std::fs::create_dir_all(etc.join("nodes").join(node).join(kind)).unwrap();
            }
        }
        std::fs::create_dir_all(etc.join("firewall")).unwrap();
        std::os::unix::fs::symlink("nodes/pve1", etc.join("local")).unwrap();
        let events = Arc::new(Events::default());
        Self {
            home,
            storage: Memory::new("ceph"),
            spare: Memory::new("spare"),
            local: ["pve1", "pve2"].map(|node| (node, Memory::of_place("local-zfs", node))).into(),
            entries: Mutex::default(),
            node: Node::new(events.clone()),
            events,
            clock: Clock::fixed(Moment::from_unix(1_790_000_000)),
            cancel: Arc::default(),
            compression: Mutex::new(Compression::Zstd(1)),
            hooks: Mutex::default(),
            model: Mutex::default(),
        }
    }

    /// A cluster without guests, of whose storages no other cluster has one.
    pub fn of_cluster(name: &str) -> Self {
        let local = |node| (node, Memory::of_place("local-zfs", &format!("{name}/{node}")));
        Self {
            storage: Memory::of_place("ceph", name),
            spare: Memory::of_place("spare", name),
            local: ["pve1", "pve2"].map(local).into(),
            ..Self::empty()
        }
    }

    /// A cluster whose guest 100 runs on pve1 with an agent, two disks, a firewall file, and
    /// snapshots of other tools on each disk.
    pub fn new() -> Self {
        let lab = Self::empty();
        lab.add_guest(VMID, &[98_304, 65_536]);
        for disk in 0..2 {
            let volume = format!("vm-{VMID}-disk-{disk}");
            FOREIGN.iter().for_each(|name| lab.make_snapshot(&volume, name));
        }
        lab.node.set(VMID, |guest| (guest.running, guest.agent) = (true, Some(3)));
        std::fs::write(lab.etc().join(format!("firewall/{VMID}.fw")), "[OPTIONS]\n\nenable: 1\n")
            .unwrap();
        lab.write_somewhere(1);
        lab
    }

    /// Adds a stopped virtual machine with disks of these sizes on pve1.
    pub fn add_guest(&self, vmid: u32, sizes: &[u64]) {
        let mut config = format!(
            "agent: 1\nname: web{vmid}\nnet0: virtio=BC:24:11:00:00:01,bridge=vmbr0\n\
             smbios1: uuid=00000000-0000-4000-8000-{vmid:012}\n"
        );
        for (disk, size) in sizes.iter().enumerate() {
            let volume = format!("vm-{vmid}-disk-{disk}");
            self.storage.add_volume(&volume, *size).unwrap();
            config.push_str(&format!("scsi{disk}: ceph:{volume},size={}K\n", size / 1024));
        }
        std::fs::write(self.config_path("pve1", vmid), config).unwrap();
    }

    /// Adds a stopped virtual machine whose only disk is on the node's own `local-zfs`.
    pub fn add_local_guest(&self, node: &'static str, vmid: u32, size: u64) {
        let volume = format!("vm-{vmid}-disk-0");
        self.local[node].add_volume(&volume, size).unwrap();
        let config = format!(
            "name: web{vmid}\nscsi0: local-zfs:{volume},size={}K\n\
             smbios1: uuid=00000000-0000-4000-8000-{vmid:012}\n",
            size / 1024
        );
        std::fs::write(self.config_path(node, vmid), config).unwrap();
    }

    /// What a node has under the id of a storage; all other ids than `local-zfs` are the first storage's.
    pub fn memory(&self, node: &str, id: &str) -> &Memory {
        if id == "local-zfs" { &self.local[node] } else { &self.storage }
    }

    pub fn etc(&self) -> PathBuf {
        self.home.path().join("etc")
    }

    /// What restores have noted on the node where runs are started.
    pub fn unfinished(&self) -> UnfinishedRestores {
        UnfinishedRestores::new(&self.home.path().join("state"))
    }

    /// What freezes have noted there.
    pub fn freezes(&self) -> Freezes {
        Freezes::new(&self.home.path().join("state"))
    }

    pub fn config_path(&self, node: &str, vmid: u32) -> PathBuf {
        self.etc().join("nodes").join(node).join("qemu-server").join(format!("{vmid}.conf"))
    }

    /// A repository by its name; it exists afterwards.
    pub fn repository(&self, name: &str) -> PathBuf {
        let path = self.home.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    pub fn config(&self, vmid: u32) -> String {
        std::fs::read_to_string(self.config_path("pve1", vmid)).unwrap()
    }

    /// Changes a configuration as PVE does.
    pub fn edit_config(&self, vmid: u32, from: &str, to: &str) {
        let text = self.config(vmid);
        assert!(text.contains(from), "{from} is not in {text}");
        std::fs::write(self.config_path("pve1", vmid), text.replace(from, to)).unwrap();
    }

    /// The guest writes to and discards from both of its disks; each `round` differs.
    pub fn write_somewhere(&self, round: u8) {
        for (disk, size) in [(0_u64, 98_304_u64), (1, 65_536)] {
            let name = format!("vm-{VMID}-disk-{disk}");
            let at = (u64::from(round) * 7919 + disk * 3331) % (size - 9000);
            self.storage.write(&name, at, &[round ^ 0x5a; 6000]).unwrap();
            self.storage.discard(&name, (at * 3) % (size - 9000), 5000).unwrap();
        }
    }

    /// The first storage stands in storage.cfg under this id, too.
    pub fn also_as(&self, id: &str) {
        self.entries.lock().unwrap().push(id.to_owned());
    }

    pub fn rename_volume(&self, name: &str, to: &str) {
        block_on(self.driver().rename_volume(name, to)).unwrap();
    }

    pub fn driver(&self) -> Storage {
        Storage::Memory(self.storage.clone())
    }

    pub fn make_snapshot(&self, volume: &str, name: &str) {
        block_on(self.driver().create_snapshot(volume, name)).unwrap();
    }

    /// The names of a volume's snapshots.
    pub fn snapshots(&self, volume: &str) -> Vec<String> {
        let facts = block_on(self.driver().volume(volume)).unwrap().unwrap();
        facts.snapshots.into_iter().map(|snapshot| snapshot.identity.name).collect()
    }

    /// Those that runs of ours made.
    pub fn own_snapshots(&self, volume: &str) -> Vec<String> {
        let mut names = self.snapshots(volume);
        names.retain(|name| name.starts_with("ferry.") && !FOREIGN.contains(&name.as_str()));
        names
    }

    /// The names of all volumes.
    pub fn volumes(&self) -> Vec<String> {
        block_on(self.driver().volumes()).unwrap()
    }

    /// The user's finger on ^C: called, it stops the run that is under way then.
    pub fn wish(&self) -> impl Fn() + Send + 'static {
        let cancel = self.cancel.clone();
        move || cancel.lock().unwrap().cancel()
    }
}

/// In memory where the machine offers it: these tests wait for hundreds of thousands of fsyncs.
fn temporary() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Runs to the end on a clock that jumps over all waiting.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().start_paused(true).build().unwrap().block_on(work)
}

/// Runs to the end on a clock that goes as clocks do.
pub fn block_on_real_time<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}
