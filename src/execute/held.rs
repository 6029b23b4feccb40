//! What one guest's turn holds until its end, and what the steps of its plans work on: directories
//! under our locks, an open restore point, files that are read. Filled by the operations, between two
//! plans; the steps take from it what they need, whatever command they belong to.

use super::findings::Finding;
use super::prune::ReadPoints;
use crate::model::{ChainId, DiskKey, ImageId, Label, PointId};
use crate::node::unfinished::MadeVolume;
use crate::plan::facts::RunState;
use crate::pve::GuestControl;
use crate::repository::legacy::{LegacyHistory, LegacyLink};
use crate::repository::{
    Debris, GuestDir, GuestRecord, Lock, PointDraft, Repository, StoredChain, StoredPoint,
};
use anyhow::Context as _;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What one guest's turn holds. Cloning it is cheap; what it holds is let go with the last clone.
#[derive(Clone, Default)]
pub struct Held {
    /// Digits that name this turn's guards of frozen guests.
    pub token: String,
    /// The repository that is written, where it is to be made first.
    pub target: Option<Repository>,
    /// The guest's directory there, where it is to be made first.
    pub place: Option<GuestDir>,
    /// The guest's directory in the repository that is written, under our lock.
    pub stored: Option<Arc<StoredGuest>>,
    /// What was read of the points there.
    pub points: Arc<Mutex<ReadPoints>>,
    /// The restore point that is made.
    pub open: Option<Arc<OpenPoint>>,
    /// The old tool's files that a point is made of.
    pub old: Option<Arc<OldFiles>>,
    /// The restore point that is read, and the guest that is made of it.
    pub restoring: Option<Arc<Restoring>>,
    /// The disk that is written into a file.
    pub assembling: Option<Arc<Assembling>>,
    /// The guest's directory in a repository that is only read, or emptied, beside the one that is written.
    pub source: Option<Arc<StoredGuest>>,
    /// The guest's directories in two repositories, between which points are copied.
    pub copying: Option<Arc<CopiedGuest>>,
    /// The directories of the guests whose chains are reset, under our exclusive locks; a chain that
    /// only the user named has none.
    pub chains: BTreeMap<ChainId, Arc<StoredGuest>>,
    /// What eve4pve-barc saved of a guest and is checked; nothing locks it, and nothing is noted in it.
    pub barc: Option<Arc<LegacyHistory>>,
    /// What steps of the turn's earlier plans gave.
    pub found: Arc<[Finding]>,
}

/// A guest's directory in a repository, and our lock on it.
pub struct StoredGuest {
    /// The directory.
    pub directory: GuestDir,
    /// The lock: exclusive where something is written.
    pub lock: Lock,
}

impl StoredGuest {
    /// The point as it is now, which a plan means by its id and its directory under the guest's.
    ///
    /// # Errors
    /// It is not there any more, or the directory cannot be read.
    pub(super) fn point(&self, id: PointId, place: &str) -> anyhow::Result<StoredPoint> {
        let history = self.directory.load()?;
        let point = history.point(id).filter(|point| point.dir.ends_with(place)).cloned();
        point.with_context(|| format!("point {id} is no longer in {place}; it was not touched"))
    }
}

/// A restore point while it is made.
pub struct OpenPoint {
    /// What guest.json is to hold.
    pub record: GuestRecord,
    /// How the guest is asked.
    pub control: GuestControl,
    /// The configuration as surveyed.
    pub config: String,
    /// The firewall file as surveyed.
    pub firewall: Option<String>,
    /// Whether the guest ran when it was surveyed.
    pub run_state: RunState,
    /// What interrupted runs left in the guest's directory.
    pub debris: Vec<Debris>,
    /// The label of the run.
    pub label: Label,
    /// The chain of the run.
    pub chain: ChainId,
    /// The id that the new point gets.
    pub point: PointId,
    /// The point's files, once it was begun.
    pub draft: Mutex<Option<PointDraft>>,
}

impl OpenPoint {
    pub(super) fn take_draft(&self) -> Option<PointDraft> {
        self.draft.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn with_draft<T>(&self, act: impl FnOnce(&PointDraft) -> T) -> anyhow::Result<T> {
        let draft = self.draft.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(act(draft.as_ref().context("no restore point is open")?))
    }
}

/// What eve4pve-barc saved, of which a restore point is made.
pub struct OldFiles {
    /// The files of each disk, the base first.
    pub chains: BTreeMap<DiskKey, Vec<LegacyLink>>,
    /// What the point is adopted from; its manifest says so.
    pub origin: String,
}

/// What is read of a disk that is written into a file.
pub struct Assembling {
    /// Our shared lock on the guest's directory in the repository; none on another tool's.
    pub lock: Option<Lock>,
    /// The disk's files.
    pub chain: StoredChain,
    /// The file, as the user typed it.
    pub output: PathBuf,
}

/// A guest's directories in two repositories.
pub struct CopiedGuest {
    /// Where the points are: under an exclusive lock when they are to go from it.
    pub source: Arc<StoredGuest>,
    /// Where they go to, under our exclusive lock.
    pub target: StoredGuest,
    /// Threads that decode and digest.
    pub threads: usize,
    /// What was read whole in the target.
    pub proven: Mutex<Proven>,
}

/// Images and points that were read whole in the target, in this turn.
#[derive(Debug, Default)]
pub struct Proven {
    /// The images.
    pub images: BTreeSet<ImageId>,
    /// The points.
    pub points: BTreeSet<PointId>,
}

/// What a restore reads, and what it makes.
pub struct Restoring {
    /// Our shared lock on the guest's directory in the repository; none on another tool's.
    pub lock: Option<Lock>,
    /// The files of each disk.
    pub chains: BTreeMap<DiskKey, StoredChain>,
    /// The firewall file that the guest gets.
    pub firewall: Option<String>,
    /// How the guest is started, and PVE told of new volumes.
    pub control: GuestControl,
    /// The present configuration, when it is replaced.
    pub present_config: Option<String>,
    /// The notes of dead restores that are about nothing any more.
    pub settled: Vec<MadeVolume>,
}

impl Held {
    /// Takes up the point that is to be made; its digits name the guards of the freezes for it.
    pub fn makes(&mut self, open: OpenPoint) {
        self.token = open.point.to_string()[..8].to_owned();
        self.open = Some(Arc::new(open));
    }
}

/// A step without that which it works on is a fault of ours.
impl Held {
    pub(super) fn target(&self) -> anyhow::Result<&Repository> {
        self.target.as_ref().context("no repository is to be made")
    }

    pub(super) fn place(&self) -> anyhow::Result<&GuestDir> {
        self.place.as_ref().context("no directory of the guest is to be made")
    }

    pub(super) fn stored(&self) -> anyhow::Result<&Arc<StoredGuest>> {
        self.stored.as_ref().context("no directory of the guest is held")
    }

    /// What was read of the points; only work on the disk takes its time with it.
    pub(super) fn points(&self) -> MutexGuard<'_, ReadPoints> {
        self.points.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn copying(&self) -> anyhow::Result<&Arc<CopiedGuest>> {
        self.copying.as_ref().context("no two directories of the guest are held")
    }

    pub(super) fn open(&self) -> anyhow::Result<&Arc<OpenPoint>> {
        self.open.as_ref().context("no restore point is being made")
    }

    pub(super) fn old(&self) -> anyhow::Result<&Arc<OldFiles>> {
        self.old.as_ref().context("no files of another tool are held")
    }

    pub(super) fn assembling(&self) -> anyhow::Result<&Arc<Assembling>> {
        self.assembling.as_ref().context("no disk is held that is to be a file")
    }

    pub(super) fn restoring(&self) -> anyhow::Result<&Arc<Restoring>> {
        self.restoring.as_ref().context("no restore point is being read")
    }
}
