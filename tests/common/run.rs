//! Runs of operations as a user starts them, each in a runtime of its own. Checks nothing.

use super::events::Notes;
use super::lab::{Lab, VMID, block_on, block_on_real_time};
use pve_ferry::context::{Cluster, Context, Hosts, Limits};
use pve_ferry::model::{NodeName, VmId};
use pve_ferry::operation::{BackupRequest, Operation, RestoreRequest};
use pve_ferry::plan::facts::SnapshotProtection;
use pve_ferry::plan::restore::RestorePolicy;
use pve_ferry::pve::files::ClusterFiles;
use pve_ferry::report::{GuestOutcome, Report};
use pve_ferry::repository::image::{ImageOptions, ZeroRuns};
use pve_ferry::repository::{Disk, Repository};
use pve_ferry::run::{Mode, Performed, run};
use pve_ferry::select::Selection;
use pve_ferry::storage::{Driver, Memory, Registry, Storage};
use pve_ferry::survey::{self, RestorePoint, Sought};
use pve_ferry::throttle::Throttle;
use pve_ferry::transport::Host;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};

/// What a backup is asked for.
#[derive(Clone)]
pub struct Backup {
    pub selection: String,
    pub label: &'static str,
    pub repository: &'static str,
    pub disk: Disk,
    pub snapshots: SnapshotProtection,
    pub mode: Mode,
    pub renew: Option<pve_ferry::retention::Span>,
    pub audit: Option<u64>,
    pub retention: pve_ferry::retention::Rules,
    pub freeze_timeout: u32,
}

impl Default for Backup {
    fn default() -> Self {
        Self {
            selection: VMID.to_string(),
            label: "daily",
            repository: "repository",
            disk: Disk::real(),
            snapshots: SnapshotProtection::Unprotected,
            mode: Mode::Execute,
            renew: None,
            audit: None,
            retention: pve_ferry::retention::Rules::default(),
            freeze_timeout: pve_ferry::plan::FREEZE_TIMEOUT,
        }
    }
}

/// What a restore is asked for: a point of guest 100.
#[derive(Clone)]
pub struct Restore {
    pub sought: Sought,
    pub repository: &'static str,
    pub disk: Disk,
    pub policy: RestorePolicy,
    pub mode: Mode,
}

impl Restore {
    /// The newest point, to this vmid.
    pub fn to(vmid: u32) -> Self {
        Self {
            sought: Sought {
                vmid: VmId::try_from(VMID).unwrap(),
                label: None,
                time: None,
                directory: None,
            },
            repository: "repository",
            disk: Disk::real(),
            policy: RestorePolicy {
                target: Some(VmId::try_from(vmid).unwrap()),
                random: pve_ferry::entropy::random_bytes::<256>().unwrap().to_vec(),
                ..RestorePolicy::default()
            },
            mode: Mode::Execute,
        }
    }
}

impl Lab {
    /// The world as a run sees it.
    pub fn ctx(&self) -> Arc<Context> {
        let node = self.node.clone();
        Arc::new(Context {
            home: Some(Cluster {
                files: ClusterFiles::new(self.etc()),
                hosts: Hosts::Scripted(Arc::new(move |name| node.script_of(name))),
                storages: self.storages(),
                guards: PathBuf::from("/run/pve-ferry"),
            }),
            remotes: BTreeMap::new(),
            api: None,
            clock: self.clock.clone(),
            progress: Arc::new(Notes(self.events.clone())),
            cancel: self.cancel.lock().unwrap().clone(),
            limits: Limits {
                guests: 2,
                transfers: Arc::new(Semaphore::new(2)),
                image: ImageOptions {
                    compression: *self.compression.lock().unwrap(),
                    threads: 1,
                    zeros: ZeroRuns::default(),
                },
                throttle: Throttle::new(None),
                stall_timeout: pve_ferry::stall::STALL_TIMEOUT,
                repository_hangs: pve_ferry::cancel::Cancel::default(),
                lock_wait: Some(Duration::ZERO),
            },
            hooks: self.hooks.lock().unwrap().clone(),
            unfinished: self.unfinished(),
            freezes: self.freezes(),
        })
    }

    /// The storages as the nodes have them.
    fn storages(&self) -> Registry {
        let nodes = ["pve1", "pve2"].map(|node| (node.parse().unwrap(), Host::local()));
        let mut storages = Registry::default();
        let mut share = |id: &str, storage: Memory| {
            storages.serve(id.parse().unwrap(), Driver::Shared(Storage::Memory(storage)), &nodes);
        };
        share("ceph", self.storage.clone());
        share("spare", self.spare.clone());
        for id in self.entries.lock().unwrap().iter() {
            share(id, self.storage.under_another_id(id));
        }
        let local = self.local.clone();
        let of_node = move |node: &NodeName, _| Storage::Memory(local[node.as_str()].clone());
        let of_node = Driver::NodeLocal(Box::new(of_node));
        storages.serve("local-zfs".parse().unwrap(), of_node, &nodes);
        storages.leave_unserved("local".parse().unwrap(), "dir");
        storages
    }

    /// What work within repositories runs with: no cluster, one guest after the other, no hooks.
    pub fn without_cluster(&self) -> Context {
        let mut ctx = Arc::into_inner(self.ctx()).unwrap();
        (ctx.home, ctx.limits.guests, ctx.hooks) = (None, 1, Arc::default());
        ctx
    }

    /// Runs to the end; with hooks, which are real processes, on a real clock.
    pub fn in_a_runtime<T>(&self, work: impl Future<Output = T>) -> T {
        let hooked = !self.hooks.lock().unwrap().is_empty();
        if hooked { block_on_real_time(work) } else { block_on(work) }
    }

    /// A backup, a minute after what was before.
    pub fn backup(&self, wanted: &Backup) -> Report {
        self.perform_backup(wanted).unwrap().report
    }

    /// The same with the plans, or the error that kept every guest from its turn.
    pub fn perform_backup(&self, wanted: &Backup) -> anyhow::Result<Performed> {
        self.clock.advance(60);
        *self.cancel.lock().unwrap() = pve_ferry::cancel::Cancel::default();
        let operation = self.backup_operation(wanted)?;
        let performed = self.in_a_runtime(run(self.ctx(), operation, wanted.mode));
        self.learn(wanted.repository);
        performed
    }

    /// What a backup is asked for, as the library wants it.
    pub fn backup_operation(&self, wanted: &Backup) -> anyhow::Result<BackupRequest> {
        let path = self.repository(wanted.repository);
        Ok(BackupRequest {
            selection: Selection::parse(&wanted.selection)?,
            label: wanted.label.parse()?,
            repository: Repository::open_target(&path, wanted.disk.clone())?,
            snapshots: wanted.snapshots,
            renew: wanted.renew,
            audit: wanted.audit,
            retention: wanted.retention.clone(),
            freeze_timeout: wanted.freeze_timeout,
        })
    }

    /// A backup of one guest that must end well.
    pub fn good_backup(&self, wanted: &Backup) -> GuestOutcome {
        let report = self.backup(wanted);
        assert_eq!(report.exit_code(), 0, "{report:#?}");
        report.guests.into_iter().next().unwrap()
    }

    /// A restore.
    pub fn restore(&self, wanted: &Restore) -> anyhow::Result<Report> {
        self.restore_found(self.found(wanted)?, wanted)
    }

    /// The point that a restore means.
    pub fn found(&self, wanted: &Restore) -> anyhow::Result<RestorePoint> {
        let repository =
            Repository::open_target(&self.repository(wanted.repository), wanted.disk.clone())?;
        survey::restore_point(&repository, &wanted.sought, &survey::Home::default())
    }

    /// A restore of a point that was found earlier.
    pub fn restore_found(&self, point: RestorePoint, wanted: &Restore) -> anyhow::Result<Report> {
        *self.cancel.lock().unwrap() = pve_ferry::cancel::Cancel::default();
        let (sought, policy) = (wanted.sought.clone(), wanted.policy.clone());
        let request = RestoreRequest { point, sought, policy };
        let operation = request;
        Ok(self.in_a_runtime(run(self.ctx(), operation, wanted.mode))?.report)
    }

    /// A restore whose process dies where it waits for ever, or when `dies` tells. Nothing of it is
    /// undone then. Whether it died.
    pub fn killed_restore(&self, wanted: &Restore, dies: &Notify) -> bool {
        *self.cancel.lock().unwrap() = pve_ferry::cancel::Cancel::default();
        let (sought, policy) = (wanted.sought.clone(), wanted.policy.clone());
        let point = self.found(wanted).unwrap();
        let operation = RestoreRequest { point, sought, policy };
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        // The wish to die is heard between any two steps.
        let runtime = runtime.enable_all().start_paused(true).event_interval(1).build().unwrap();
        let died = runtime.block_on(async {
            tokio::select! {
                biased;
                () = dies.notified() => true,
                _ = run(self.ctx(), operation, wanted.mode) => false,
                // The clock jumps there when nothing else can happen any more.
                () = tokio::time::sleep(Duration::from_secs(7 * 86_400)) => true,
            }
        });
        drop(runtime);
        self.earlier_process_is_dead(wanted.repository);
        died
    }

    /// The process of an earlier run is dead: the locks that it could not remove are seen to be
    /// nobody's. (Both runs of a test are the same process, which lives.)
    pub fn earlier_process_is_dead(&self, repository: &str) {
        // A repository does not tell of guests of which nothing but a lock stands there.
        let within = |path: PathBuf| {
            std::fs::read_dir(path).into_iter().flatten().map(|entry| entry.unwrap().path())
        };
        let root = self.repository(repository).join("pve-ferry");
        for guest in within(root).flat_map(within) {
            within(guest.join("locks")).for_each(|file| std::fs::remove_file(file).unwrap());
        }
        // As the process lives, its flock does: another file of the same text has none.
        let notes = self.etc().with_file_name("state").join("freezes");
        for note in std::fs::read_dir(notes).into_iter().flatten() {
            let path = note.unwrap().path();
            let text = std::fs::read(&path).unwrap();
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, text).unwrap();
        }
    }
}
