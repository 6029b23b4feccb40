//! Writes into the cluster file system: only files that were not there before, and never over
//! anything. Not for changing a guest that exists; PVE's own commands do that.
//!
//! pmxcfs has no hard links and no rename that spares its target, so a file is created exclusively
//! and written with one call; it refuses more than 1 MiB. Creating is ordered by the cluster, which
//! makes it safe against a second writer on another node.

use super::files::{ClusterFiles, FilesError, read_optional};
use crate::model::uuid_text;
use crate::model::{ClusterId, GuestKind, VmId, bytes_of};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// pmxcfs' limit for one file in bytes (`CFS_MAX_FILE_SIZE`, pve-cluster).
const LARGEST: usize = 1 << 20;

/// How often, and how long between, we look for the id that another node has just created and is
/// about to write.
const PATIENCE: (u32, Duration) = (20, Duration::from_millis(100));

impl ClusterFiles {
    /// Writes the configuration of a guest that does not exist.
    ///
    /// # Errors
    /// The vmid is taken anywhere in the cluster, or writing failed; nothing is left then.
    pub fn write_config_exclusively(
        &self,
        node: &str,
        kind: GuestKind,
        vmid: VmId,
        text: &str,
    ) -> Result<(), FilesError> {
        if let Some(place) = self.places()?.get(&vmid) {
            let path = self.config_path(&place.node, place.kind, vmid);
            return Err(FilesError::GuestExists { vmid, path });
        }
        let path = self.config_path(node, kind, vmid);
        write_new(&path, text).map_err(|error| match error {
            FilesError::FileExists { path } => FilesError::GuestExists { vmid, path },
            other => other,
        })
    }

    /// Replaces a guest's configuration, which must still be the one that was surveyed. Readers see
    /// the old text or the new one, never a part.
    ///
    /// # Errors
    /// Somebody changed it, the vmid is taken on another node, too, or writing failed; the old
    /// configuration is then still there.
    pub fn replace_config(
        &self,
        node: &str,
        kind: GuestKind,
        vmid: VmId,
        (surveyed, text): (&str, &str),
    ) -> Result<(), FilesError> {
        if let Some(place) = self.places()?.get(&vmid).filter(|place| place.node != node) {
            let path = self.config_path(&place.node, place.kind, vmid);
            return Err(FilesError::GuestExists { vmid, path });
        }
        let path = self.config_path(node, kind, vmid);
        if read_optional(&path)?.as_deref() != Some(surveyed) {
            return Err(FilesError::Changed { path });
        }
        // The name is one that PVE's own tools use for the same purpose (`file_set_contents`).
        let aside = path.with_extension(format!("conf.tmp.{}", std::process::id()));
        write_new(&aside, text)?;
        fs::rename(&aside, &path).map_err(|source| undo(aside, source))
    }

    /// Removes a configuration that we wrote, if it still is what we wrote. One that is gone
    /// already is no error.
    ///
    /// # Errors
    /// Somebody changed it, or it cannot be removed.
    pub fn remove_config_if_equal(
        &self,
        node: &str,
        kind: GuestKind,
        vmid: VmId,
        text: &str,
    ) -> Result<(), FilesError> {
        remove_if_equal(&self.config_path(node, kind, vmid), text)
    }

    /// Writes the firewall rules of a guest that has none.
    ///
    /// # Errors
    /// There are some, or writing failed; nothing is left then.
    pub fn write_firewall_exclusively(&self, vmid: VmId, text: &str) -> Result<(), FilesError> {
        let path = self.firewall_path(vmid);
        make_parent(&path)?;
        write_new(&path, text)
    }

    /// Removes firewall rules that we wrote, if they still are what we wrote.
    ///
    /// # Errors
    /// Somebody changed them, or they cannot be removed.
    pub fn remove_firewall_if_equal(&self, vmid: VmId, text: &str) -> Result<(), FilesError> {
        remove_if_equal(&self.firewall_path(vmid), text)
    }

    /// Gives the cluster an id, unless another node is faster; the answer is the id that it has
    /// then. It may wait two seconds for another node's write.
    ///
    /// # Errors
    /// The file can be neither written nor read.
    pub fn create_cluster_id(&self, random: [u8; 16]) -> Result<ClusterId, FilesError> {
        let path = self.cluster_id_path();
        make_parent(&path)?;
        match write_new(&path, &format!("{}\n", version_4(random))) {
            Ok(()) | Err(FilesError::FileExists { .. }) => self.await_cluster_id(&path, random),
            Err(error) => Err(error),
        }
    }

    fn await_cluster_id(&self, path: &Path, random: [u8; 16]) -> Result<ClusterId, FilesError> {
        for _ in 0..PATIENCE.0 {
            let is_empty = read_optional(path)?.is_none_or(|text| text.trim().is_empty());
            if !is_empty {
                break;
            }
            std::thread::sleep(PATIENCE.1);
        }
        if read_optional(path)?.is_some_and(|text| text.trim().is_empty()) {
            // Its creator died between creating and writing: nobody has seen an id in it.
            fs::write(path, format!("{}\n", version_4(random)))
                .map_err(|source| FilesError::Write { path: path.to_owned(), source })?;
        }
        self.cluster_id()?.ok_or_else(|| FilesError::Read {
            path: path.to_owned(),
            source: io::ErrorKind::NotFound.into(),
        })
    }
}

fn version_4(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    uuid_text(bytes)
}

fn make_parent(path: &Path) -> Result<(), FilesError> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent)
        .map_err(|source| FilesError::Write { path: parent.to_owned(), source })
}

/// Writes a file that was not there, with the mode that the process gives its files.
pub(super) fn write_new(path: &Path, text: &str) -> Result<(), FilesError> {
    write_new_as(path, text, 0o666)
}

/// The same for a file that is never readable for more than `mode` allows, not even for a moment.
pub(super) fn write_new_as(path: &Path, text: &str, mode: u32) -> Result<(), FilesError> {
    let bytes = bytes_of(text);
    if bytes.len() > LARGEST {
        return Err(FilesError::TooLarge { path: path.to_owned() });
    }
    let mut file = match fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(FilesError::FileExists { path: path.to_owned() });
        }
        Err(source) => return Err(FilesError::Write { path: path.to_owned(), source }),
    };
    let written = file.write_all(&bytes).and_then(|()| file.sync_all());
    drop(file);
    written.and_then(|()| compare(path, &bytes)).map_err(|source| undo(path.to_owned(), source))
}

/// Reads back what was written: a cluster that loses its quorum in between tells nobody else.
fn compare(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::read(path)? == bytes {
        return Ok(());
    }
    Err(io::Error::other("reading it again gave another text"))
}

fn undo(path: PathBuf, source: io::Error) -> FilesError {
    match fs::remove_file(&path) {
        Ok(()) => FilesError::Write { path, source },
        Err(error) if error.kind() == io::ErrorKind::NotFound => FilesError::Write { path, source },
        Err(_) => FilesError::HalfWritten { path, source },
    }
}

fn remove_if_equal(path: &Path, text: &str) -> Result<(), FilesError> {
    match read_optional(path)? {
        None => Ok(()),
        Some(found) if found == text => fs::remove_file(path)
            .map_err(|source| FilesError::Remove { path: path.to_owned(), source }),
        Some(_) => Err(FilesError::Changed { path: path.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> (tempfile::TempDir, ClusterFiles) {
        let dir = tempfile::tempdir().unwrap();
        for node in ["pve1", "pve2"] {
            for kind in ["qemu-server", "lxc"] {
                fs::create_dir_all(dir.path().join("nodes").join(node).join(kind)).unwrap();
            }
        }
        let files = ClusterFiles::new(dir.path().to_owned());
        (dir, files)
    }

    fn vmid(number: u32) -> VmId {
        number.try_into().unwrap()
    }

    #[test]
    fn a_vmid_is_taken_on_every_node_and_by_both_kinds() {
        let (dir, files) = cluster();
        let theirs = dir.path().join("nodes/pve2/lxc/100.conf");
        fs::write(&theirs, "theirs").unwrap();
        let error =
            files.write_config_exclusively("pve1", GuestKind::Qemu, vmid(100), "ours").unwrap_err();
        assert!(matches!(error, FilesError::GuestExists { ref path, .. } if *path == theirs));
        assert_eq!(fs::read_to_string(&theirs).unwrap(), "theirs");
        assert!(!dir.path().join("nodes/pve1/qemu-server/100.conf").exists());
    }

    #[test]
    fn a_configuration_is_written_once_and_removed_only_while_it_is_ours() {
        let (_dir, files) = cluster();
        let write = |text| files.write_config_exclusively("pve1", GuestKind::Lxc, vmid(100), text);
        write("hostname: a\n").unwrap();
        assert!(matches!(write("x"), Err(FilesError::GuestExists { .. })));
        assert_eq!(files.find(vmid(100)).unwrap().unwrap().name, "a");
        let remove = |text| files.remove_config_if_equal("pve1", GuestKind::Lxc, vmid(100), text);
        assert!(matches!(remove("other"), Err(FilesError::Changed { .. })));
        remove("hostname: a\n").unwrap();
        assert_eq!(files.find(vmid(100)).unwrap(), None);
        remove("hostname: a\n").unwrap();
    }

    #[test]
    fn what_the_cluster_file_system_would_refuse_is_not_begun() {
        let (_dir, files) = cluster();
        let text = "#".repeat(LARGEST + 1);
        let error = files.write_config_exclusively("pve1", GuestKind::Qemu, vmid(100), &text);
        assert!(matches!(error, Err(FilesError::TooLarge { .. })));
        assert_eq!(files.find(vmid(100)).unwrap(), None);
        let error = files.write_config_exclusively("pve9", GuestKind::Qemu, vmid(100), "a: b\n");
        assert!(error.unwrap_err().to_string().contains("nothing is left"));
    }

    #[test]
    fn firewall_rules_are_never_overwritten() {
        let (_dir, files) = cluster();
        files.write_firewall_exclusively(vmid(100), "[RULES]\n").unwrap();
        let again = files.write_firewall_exclusively(vmid(100), "x");
        assert!(matches!(again, Err(FilesError::FileExists { .. })));
        assert_eq!(files.read_firewall(vmid(100)).unwrap().as_deref(), Some("[RULES]\n"));
        assert!(files.remove_firewall_if_equal(vmid(100), "x").is_err());
        files.remove_firewall_if_equal(vmid(100), "[RULES]\n").unwrap();
        assert_eq!(files.read_firewall(vmid(100)).unwrap(), None);
    }

    #[test]
    fn the_first_cluster_id_stays() {
        let (_dir, files) = cluster();
        let first = files.create_cluster_id([0xff; 16]).unwrap();
        assert_eq!(first.to_string(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(files.create_cluster_id([0; 16]).unwrap(), first);
        assert_eq!(files.cluster_id().unwrap(), Some(first));
    }

    #[test]
    fn an_id_whose_creator_died_is_written_by_the_next_one() {
        let (dir, files) = cluster();
        fs::create_dir(dir.path().join("pve-ferry")).unwrap();
        fs::write(dir.path().join("pve-ferry/cluster-id"), "").unwrap();
        let id = files.create_cluster_id([0; 16]).unwrap();
        assert_eq!(id.to_string(), "00000000-0000-4000-8000-000000000000");
        fs::write(dir.path().join("pve-ferry/cluster-id"), "nonsense\n").unwrap();
        assert!(files.create_cluster_id([0; 16]).unwrap_err().to_string().contains("is damaged"));
    }

    #[test]
    fn two_writers_at_once_agree_on_one_id() {
        let (_dir, files) = cluster();
        let ids: Vec<ClusterId> = std::thread::scope(|scope| {
            let files = &files;
            let start = |n: u8| scope.spawn(move || files.create_cluster_id([n; 16]).unwrap());
            let threads: Vec<_> = (0..8).map(start).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }
}
