//! One guest's directory: reading all of it, and handing out locks and drafts. Not for the
//! content of points: `draft.rs` makes them, `removal.rs` takes them away.

use super::copies;
use super::disk::Disk;
use super::draft::{PointDraft, text_digest};
use super::error::{About, RepositoryError};
use super::files;
use super::history::History;
use super::history::StoredPoint;
use super::image::Digest;
use super::layout::{self, GuestKey, GuestNames};
use super::lock::{self, Lock, LockMode, LockOptions};
use super::records::{Attributes, GuestRecord};
use super::restore_txt;
use super::scan;
use super::verify::{VerifyReport, VerifyRequest};
use crate::model::{Label, Moment};
use std::path::{Path, PathBuf};

/// How often a directory is made anew that another run took away before our lock stood in it. Each time
/// the other one must have hit that moment.
const AGAIN: u32 = 20;

/// One guest's directory in a repository; it need not exist yet.
#[derive(Debug, Clone)]
pub struct GuestDir {
    disk: Disk,
    names: GuestNames,
    /// The whole key, when somebody asked for this very guest.
    key: Option<GuestKey>,
    path: PathBuf,
}

impl GuestDir {
    pub(super) fn new(disk: Disk, root: &Path, names: GuestNames, key: Option<GuestKey>) -> Self {
        let path = root.join(names.cluster_dir()).join(names.guest_dir());
        Self { disk, names, key, path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the directory names tell.
    pub fn names(&self) -> &GuestNames {
        &self.names
    }

    /// The file system it is on.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Whether anything was ever written for the guest.
    ///
    /// # Errors
    /// The file system does not answer.
    pub fn exists(&self) -> Result<bool, RepositoryError> {
        Ok(self.disk.facts(&self.path).about("look at", &self.path)?.is_some())
    }

    /// Reads everything. A file that cannot be understood is in the result, not an error.
    ///
    /// # Errors
    /// A directory cannot be listed, or the guest is one of another cluster.
    pub fn load(&self) -> Result<History, RepositoryError> {
        let history = scan::scan(&self.disk, &self.path, &self.names)?;
        self.same_cluster(history)
    }

    /// What guest.json says, or its sealed copy; none when neither can be understood.
    pub fn record(&self) -> Option<GuestRecord> {
        let read = self.disk.read(&self.path.join(layout::GUEST)).ok();
        let record = read.and_then(|bytes| GuestRecord::parse(&bytes).ok());
        record.or_else(|| copies::Copies::of(&self.disk, &self.path).record(&self.disk))
    }

    fn same_cluster(&self, history: History) -> Result<History, RepositoryError> {
        if let (Some(key), Some(record)) = (&self.key, &history.record) {
            if key.cluster != record.guest.cluster {
                return Err(RepositoryError::OtherCluster {
                    path: self.path.clone(),
                    found: record.guest.cluster.to_string(),
                    expected: key.cluster.to_string(),
                });
            }
        }
        Ok(history)
    }

    /// Takes a lock. Where another run that wrote nothing to it took the directory away since it was made,
    /// an exclusive one makes it again; it goes with the lock then, as it does after a run of ours that
    /// writes nothing. Blocks while it waits.
    ///
    /// # Errors
    /// Somebody else holds one ([`RepositoryError::Locked`]); for an exclusive one, the repository
    /// was not begun ([`RepositoryError::NotBegun`]), or the file system fails.
    pub fn lock(&self, mode: LockMode, options: &LockOptions) -> Result<Lock, RepositoryError> {
        let acquire = || {
            lock::acquire(&self.path, &lock::Wanted::by_us(&self.path, &self.disk, mode, options))
        };
        // Whoever only reads makes nothing, so that a read-only repository can be restored from.
        if mode == LockMode::Shared {
            return acquire();
        }
        for _ in 0..AGAIN {
            match acquire() {
                Err(RepositoryError::Io { source, .. })
                    if source.kind() == std::io::ErrorKind::NotFound =>
                {
                    self.make()?;
                }
                other => return other.map(Lock::of_a_new_place),
            }
        }
        acquire().map(Lock::of_a_new_place)
    }

    /// Makes the directories of the cluster and the guest, as far as they are not there. The one of the
    /// repository must be there: one that is not mounted any more is not begun again on the disk below it.
    ///
    /// # Errors
    /// The repository was not begun ([`RepositoryError::NotBegun`]), or the file system fails.
    pub fn make(&self) -> Result<(), RepositoryError> {
        let mut above = self.path.ancestors();
        let (guest, cluster, root) = (above.next(), above.next(), above.next());
        let place = root.and_then(Path::parent).unwrap_or(&self.path);
        if !self.disk.names(place).about("list", place)?.iter().any(|name| name == layout::ROOT) {
            return Err(RepositoryError::NotBegun { path: place.to_owned() });
        }
        [cluster, guest]
            .into_iter()
            .flatten()
            .try_for_each(|dir| files::ensure_dir(&self.disk, dir))
    }

    /// Writes guest.json. To be done before a chain's first snapshot is made: a chain whose id is
    /// lost with a killed run leaves snapshots that nobody may delete.
    ///
    /// # Errors
    /// No exclusive lock, or the file system fails; the old record is then still there.
    pub fn save_record(&self, lock: &Lock, record: &GuestRecord) -> Result<(), RepositoryError> {
        lock.confirm(&self.path)?;
        let path = self.path.join(layout::GUEST);
        let text =
            record.text().map_err(|source| RepositoryError::Json { path: path.clone(), source })?;
        files::replace(&self.disk, &path, text.as_bytes())?;
        copies::not_written(copies::write_record(&self.disk, &self.path, &text));
        Ok(())
    }

    /// Begins a restore point: makes `<label>/<stamp>`, or the next free second's.
    ///
    /// # Errors
    /// No exclusive lock, no chain recorded for the label, or the file system fails.
    pub fn begin(
        &self,
        lock: &Lock,
        label: &Label,
        moment: Moment,
    ) -> Result<PointDraft, RepositoryError> {
        lock.confirm(&self.path)?;
        let history = self.load()?;
        if history.chain(label).is_none() {
            let label = label.to_string();
            return Err(RepositoryError::NoChain { path: self.path.clone(), label });
        }
        PointDraft::make(self.clone(), label, moment)
    }

    /// Replaces what may change of a point after its commit.
    ///
    /// # Errors
    /// No exclusive lock, or the file system fails; the old attributes are then still there.
    pub fn set_attributes(
        &self,
        lock: &Lock,
        point: &StoredPoint,
        attributes: &Attributes,
    ) -> Result<(), RepositoryError> {
        lock.confirm(&self.path)?;
        let attributes = Attributes { point: Some(point.manifest.point), ..attributes.clone() };
        let path = point.dir.join(layout::ATTRIBUTES);
        let text = attributes
            .text()
            .map_err(|source| RepositoryError::Json { path: path.clone(), source })?;
        files::replace(&self.disk, &path, text.as_bytes())?;
        let id = point.manifest.point;
        copies::not_written(copies::write_attributes(&self.disk, &self.path, id, &text));
        Ok(())
    }

    /// A point's saved configuration.
    ///
    /// # Errors
    /// It cannot be read, or is not what its manifest says.
    pub fn saved_config(&self, point: &StoredPoint) -> Result<String, RepositoryError> {
        self.saved(point, layout::CONFIG, point.manifest.config_digest.as_ref())
    }

    /// A point's saved firewall file, when the guest had one.
    ///
    /// # Errors
    /// As [`GuestDir::saved_config`].
    pub fn saved_firewall(&self, point: &StoredPoint) -> Result<Option<String>, RepositoryError> {
        let digest = point.manifest.firewall_digest.as_ref();
        digest.map(|_| self.saved(point, layout::FIREWALL, digest)).transpose()
    }

    fn saved(
        &self,
        point: &StoredPoint,
        name: &str,
        digest: Option<&Digest>,
    ) -> Result<String, RepositoryError> {
        let path = point.dir.join(name);
        let bytes = self.disk.read(&path).about("read", &path)?;
        let unfit =
            |why: &str| RepositoryError::Damaged { path: path.clone(), why: why.to_owned() };
        if digest.is_some() && text_digest(&bytes).as_ref() != digest {
            return Err(unfit("its digest is not the one in the manifest"));
        }
        Ok(crate::model::text_of(&bytes))
    }

    /// Writes again what is derived from the points: RESTORE.txt. It is no truth, so that a failure
    /// is a warning for the caller to pass on.
    ///
    /// # Errors
    /// No exclusive lock, or the file system fails.
    pub fn refresh_derived(&self, lock: &Lock) -> Result<(), RepositoryError> {
        lock.covers(&self.path)?;
        let history = scan::scan(&self.disk, &self.path, &self.names)?;
        let text = restore_txt::render(&history, &self.path);
        files::replace_any(&self.disk, &self.path.join(layout::RESTORE), text.as_bytes())
    }

    /// Checks stored points: everything that the selected ones need, each image once.
    ///
    /// # Errors
    /// A directory cannot be listed, or a file cannot be read, which is no damage as long as another
    /// try may read it. Damage is in the report.
    pub fn verify(&self, request: &VerifyRequest<'_>) -> Result<VerifyReport, RepositoryError> {
        super::verify::verify(self, request)
    }
}
