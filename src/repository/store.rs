//! The repository as a whole: finding guests in it. Not for what a guest's directory holds.

use super::disk::{Disk, real_path};
use super::error::{About, RepositoryError};
use super::files;
use super::guest_dir::GuestDir;
use super::layout::{self, GuestKey, GuestNames};
use super::legacy;
use super::records::GuestRecord;
use crate::model::ChainId;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// A directory that holds restore points of guests.
#[derive(Debug, Clone)]
pub struct Repository {
    disk: Disk,
    /// The path that the user gave.
    path: PathBuf,
    /// `pve-ferry` below it; see [`Repository::begin`].
    root: PathBuf,
    /// See [`Repository::owner_of`].
    owners: Arc<OnceLock<BTreeMap<ChainId, Arc<GuestRecord>>>>,
}

impl Repository {
    /// Opens the repository at `path` to read it, or to change what is in it. A directory that holds
    /// neither one of ours nor what eve4pve-barc wrote is most likely a mount point without its mount,
    /// and whoever reads of an empty repository there takes his backups for lost.
    ///
    /// # Errors
    /// [`RepositoryError::Missing`], [`RepositoryError::NotBegun`], or the file system does not answer.
    pub fn open(path: &Path, disk: Disk) -> Result<Self, RepositoryError> {
        let repository = Self::open_target(path, disk)?;
        let kinds = [layout::ROOT, legacy::ROOT];
        match repository.names()?.iter().any(|name| kinds.contains(&name.as_str())) {
            true => Ok(repository),
            false => Err(RepositoryError::NotBegun { path: path.to_owned() }),
        }
    }

    /// Opens the directory at `path` for new points. Nothing is written, and nothing is said of what
    /// is in it: that may be a repository, nothing yet, or a mount point that is not mounted.
    ///
    /// # Errors
    /// [`RepositoryError::Missing`], or the file system does not answer.
    pub fn open_target(path: &Path, disk: Disk) -> Result<Self, RepositoryError> {
        // The user may well give a link, so links are followed here and only here.
        let missing = || RepositoryError::Missing { path: path.to_owned() };
        let real = match real_path(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(missing()),
            other => other.about("open the repository", path)?,
        };
        let disk = disk.below(&real);
        let facts = disk.facts(&real).about("open the repository", path)?;
        if !facts.is_some_and(|facts| facts.is_dir()) {
            return Err(missing());
        }
        let root = real.join(layout::ROOT);
        Ok(Self { disk, path: path.to_owned(), root, owners: Arc::default() })
    }

    /// The path as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a repository was begun here. The listing tells, as an NFS client may remember for a
    /// while that a name is absent.
    ///
    /// # Errors
    /// The file system does not answer.
    pub fn is_begun(&self) -> Result<bool, RepositoryError> {
        Ok(self.names()?.iter().any(|name| name == layout::ROOT))
    }

    /// What the directory holds that the repository is or would be in.
    fn names(&self) -> Result<Vec<String>, RepositoryError> {
        let parent = self.root.parent().unwrap_or(&self.root);
        self.disk.names(parent).about("list", &self.path)
    }

    /// Begins a repository, durably, unless there is one. Nothing else does so: where a mount point
    /// is not mounted a run without a person would fill the disk below it, and call that a backup.
    ///
    /// # Errors
    /// The file system fails.
    pub fn begin(&self) -> Result<(), RepositoryError> {
        files::ensure_dir(&self.disk, &self.root)
    }

    /// Refuses a directory in which no repository was begun.
    ///
    /// # Errors
    /// [`RepositoryError::NotBegun`], or the file system does not answer.
    pub fn must_be_begun(&self) -> Result<(), RepositoryError> {
        match self.is_begun()? {
            true => Ok(()),
            false => Err(RepositoryError::NotBegun { path: self.path.clone() }),
        }
    }

    /// Bytes that may still be written to it.
    ///
    /// # Errors
    /// The file system does not answer.
    pub fn free_bytes(&self) -> Result<u64, RepositoryError> {
        self.disk.free_bytes(&self.path).about("ask for the free space of", &self.path)
    }

    /// Refuses another repository that is this one, by whatever path or mount, or lies inside it or
    /// around it.
    ///
    /// # Errors
    /// [`RepositoryError::Overlap`], or the file system does not answer.
    pub fn is_apart_from(&self, other: &Self) -> Result<(), RepositoryError> {
        let chain = |one: &Self| -> Result<Vec<(u64, u64)>, RepositoryError> {
            let real = one.root.parent().unwrap_or(&one.root);
            let disk = one.disk.anywhere();
            let facts = |dir: &Path| disk.facts(dir).about("look at", dir);
            let ids = real.ancestors().map(|dir| Ok(facts(dir)?.map(|f| (f.dev(), f.ino()))));
            Ok(ids.collect::<Result<Vec<_>, RepositoryError>>()?.into_iter().flatten().collect())
        };
        let (ours, theirs) = (chain(self)?, chain(other)?);
        let inside = |inner: &[(u64, u64)], outer: &[(u64, u64)]| {
            outer.first().is_some_and(|outer| inner.contains(outer))
        };
        if inside(&ours, &theirs) || inside(&theirs, &ours) {
            let (one, other) = (self.path.clone(), other.path.clone());
            return Err(RepositoryError::Overlap { one, other });
        }
        Ok(())
    }

    /// One guest's directory, whether it exists or not.
    pub fn guest(&self, key: &GuestKey) -> GuestDir {
        GuestDir::new(self.disk.clone(), &self.root, key.names(), Some(key.clone()))
    }

    /// The directories of all guests, by cluster and vmid.
    ///
    /// # Errors
    /// A directory cannot be listed.
    pub fn guests(&self) -> Result<Vec<GuestDir>, RepositoryError> {
        let mut found: Vec<GuestNames> = Vec::new();
        for cluster in self.disk.names(&self.root).about("list", &self.root)? {
            let dir = self.root.join(&cluster);
            if !self.disk.facts(&dir).about("look at", &dir)?.is_some_and(|facts| facts.is_dir()) {
                continue;
            }
            let guests = self.disk.names(&dir).about("list", &dir)?;
            let of_guests = guests.iter().filter(|guest| !self.is_bare(&dir.join(guest)));
            found.extend(of_guests.filter_map(|guest| GuestNames::parse(&cluster, guest)));
        }
        found.sort();
        let dir = |names| GuestDir::new(self.disk.clone(), &self.root, names, None);
        Ok(found.into_iter().map(dir).collect())
    }

    /// The guest whose chain it is, as far as the records of guests tell that can be read; they are read
    /// once, when somebody asks first, and chains that were begun since are not known.
    ///
    /// # Errors
    /// A directory cannot be listed.
    pub fn owner_of(&self, chain: ChainId) -> Result<Option<Arc<GuestRecord>>, RepositoryError> {
        if let Some(owners) = self.owners.get() {
            return Ok(owners.get(&chain).cloned());
        }
        let mut owners = BTreeMap::new();
        for record in self.guests()?.iter().filter_map(GuestDir::record).map(Arc::new) {
            owners.extend(record.chains.values().map(|chain| (*chain, record.clone())));
        }
        Ok(self.owners.get_or_init(|| owners).get(&chain).cloned())
    }

    /// Whether nothing but locks was ever written there: it goes when the run that holds one ends, or
    /// another one's that comes to nothing, too. What cannot be listed is not bare.
    fn is_bare(&self, guest: &Path) -> bool {
        let names = self.disk.names(guest);
        names.is_ok_and(|names| names.iter().all(|name| name == layout::LOCKS))
    }
}
