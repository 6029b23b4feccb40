//! Directories that eve4pve-barc wrote, read as they are. Nothing in them is ever written or deleted,
//! not even a lock: whoever lets the old tool run meanwhile finds a restore failing, never a wrong one.
//!
//! # What stands there
//! Source: `eve4pve-barc` 0.1 to 0.2.8. Below the directory that the user gave to it:
//!
//! ```text
//! barc/<vmid>/<label>/
//!     <stamp><pool>[.<namespace>].<image>.img[.gz|.bz2|.zz]     raw content, zeros included
//!     <stamp><pool>[.<namespace>].<image>.diff[.gz|.bz2|.zz]    `rbd diff v1`, from barc<label><stamp>
//!     <data file>.<md5|sha1|sha224|sha256|sha384|sha512>        of the uncompressed stream
//!     <data file>.<algorithm>.size                              its length
//!     <stamp>.conf  <stamp>.fw                                  copied after the export
//!     <diff>-merged  <diff>.raw                                 left by an interrupted merge
//! ```
//! A stamp is local time, `YYYYMMDDhhmmss` or, until 0.2.1, `YYMMDDhhmmss`. Nothing separates it from
//! the pool. Names lie: a raw full was written into a `.diff` when the base was missing, uncompressed
//! data under a compressed name when checksums were off, and `.zz` is gzip. So content decides what a
//! file is, the stream's own names decide what it continues, and only stamp and disk come from names.

mod chain;
mod content;
mod disks;
mod error;
mod history;
mod names;
mod scan;
mod sums;
mod verify;

#[cfg(test)]
mod tests;

pub use chain::LegacyChain;
pub use disks::ConfigDisk;
pub use error::LegacyError;
pub use history::{LegacyDir, LegacyHistory, LegacyImage, LegacyPoint};
pub use scan::{LegacyFormat, LegacyLink, Told};

use super::disk::{Disk, real_path};
use super::error::{About, RepositoryError};
use crate::model::VmId;
use jiff::tz::TimeZone;
use std::path::{Path, PathBuf};

/// The name of the directory below the path that the old tool was given.
pub const ROOT: &str = "barc";

/// All that eve4pve-barc wrote below one path.
#[derive(Debug, Clone)]
pub struct LegacyRepository {
    disk: Disk,
    root: PathBuf,
    zone: TimeZone,
}

impl LegacyRepository {
    /// What stands below `path`; none when the old tool wrote nothing there. `zone` is where it ran.
    ///
    /// # Errors
    /// The file system does not answer.
    pub fn open(path: &Path, disk: Disk, zone: TimeZone) -> Result<Option<Self>, RepositoryError> {
        let root = match real_path(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            real => real.about("look at", path)?.join(ROOT),
        };
        let disk = disk.below(&root);
        let facts = disk.facts(&root).about("look at", &root)?;
        let is_there = facts.is_some_and(|facts| facts.is_dir());
        Ok(is_there.then_some(Self { disk, root, zone }))
    }

    /// The directories of all guests and labels, by vmid and label.
    ///
    /// # Errors
    /// A directory cannot be listed.
    pub fn directories(&self) -> Result<Vec<LegacyDir>, RepositoryError> {
        let mut found = Vec::new();
        for name in self.disk.names(&self.root).about("list", &self.root)? {
            let dir = self.root.join(&name);
            let Ok(vmid) = name.parse::<VmId>() else { continue };
            if !self.is_dir(&dir)? {
                continue;
            }
            for label in self.disk.names(&dir).about("list", &dir)? {
                let path = dir.join(&label);
                if self.is_dir(&path)? {
                    found.push(self.directory(vmid, label, path));
                }
            }
        }
        found.sort_by(|a, b| (a.vmid, &a.label).cmp(&(b.vmid, &b.label)));
        Ok(found)
    }

    fn is_dir(&self, path: &Path) -> Result<bool, RepositoryError> {
        Ok(self.disk.facts(path).about("look at", path)?.is_some_and(|facts| facts.is_dir()))
    }

    fn directory(&self, vmid: VmId, label: String, path: PathBuf) -> LegacyDir {
        LegacyDir { vmid, label, path, disk: self.disk.clone(), zone: self.zone.clone() }
    }
}
