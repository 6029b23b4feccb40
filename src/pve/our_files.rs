//! Our own files: `jobs.cfg` and its like below `/etc/pve/pve-ferry`, secrets below
//! `/etc/pve/priv/pve-ferry`; on a machine that is no PVE node below `/etc/pve-ferry`. Knows where
//! they are and changes them one at a time; what they mean, it does not know.

use super::exclusive::{write_new, write_new_as};
use super::files::{FilesError, read_optional};
use crate::clock::Stopwatch;
use crate::model::Moment;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where our files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OurFiles {
    config: PathBuf,
    private: PathBuf,
    /// The cluster file system's root, which must be mounted before anything is believed.
    cluster: Option<PathBuf>,
}

/// Why one of our files could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum OurFilesError {
    /// The cluster file system is not there.
    #[error("{} holds no nodes: the cluster file system is not mounted (is pve-cluster running?); nothing was changed", .0.display())]
    NotMounted(PathBuf),
    /// Another command changes a file of ours, and does not end.
    #[error("another command has been changing our files for {seconds} seconds (its lock is {}); nothing was changed", path.display())]
    Busy {
        /// The lock.
        path: PathBuf,
        /// How long we waited.
        seconds: u64,
    },
    /// A change was not possible.
    #[error("cannot change {} (nothing was changed; a cluster without quorum is read-only)", path.display())]
    Change {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Reading or writing a file failed.
    #[error(transparent)]
    File(#[from] FilesError),
}

/// How long a change waits for another. One takes milliseconds: whoever holds the lock longer is
/// dead, and its lock is taken away.
const PATIENCE: Duration = Duration::from_secs(20);

impl OurFiles {
    /// The files of a PVE node, whose cluster file system is at `root`.
    pub fn of_node(root: &Path) -> Self {
        Self {
            config: root.join("pve-ferry"),
            private: root.join("priv").join("pve-ferry"),
            cluster: Some(root.to_owned()),
        }
    }

    /// The files of another machine.
    pub fn of_machine(directory: &Path) -> Self {
        let (config, private) = (directory.to_owned(), directory.join("priv"));
        Self { config, private, cluster: None }
    }

    /// Where a file is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.config.join(name)
    }

    /// Reads a file; one that is not there is empty.
    ///
    /// # Errors
    /// It cannot be read. A cluster file system that is not mounted looks empty, and is an error.
    pub fn read(&self, name: &str) -> Result<String, OurFilesError> {
        self.is_mounted()?;
        Ok(read_optional(&self.path(name))?.unwrap_or_default())
    }

    /// When a file was changed last; none when it is not there.
    pub fn changed(&self, name: &str) -> Option<Moment> {
        let facts = fs::metadata(self.path(name)).ok()?;
        Some(Moment::from_unix(facts.mtime()))
    }

    /// Changes a file under a lock that holds in the whole cluster: `change` gets the text that is
    /// there and gives the new one. Readers see the one or the other.
    ///
    /// # Errors
    /// The lock cannot be had, `change` refuses, or writing fails; the old text is then still there.
    pub fn change<E>(
        &self,
        name: &str,
        change: impl FnOnce(&str) -> Result<String, E>,
    ) -> Result<Result<(), E>, OurFilesError> {
        self.is_mounted()?;
        make_directory(&self.config, 0o755)?;
        let _lock = Held::take(&self.config.join(format!("{name}.lock")))?;
        let text = self.read(name)?;
        match change(&text) {
            Ok(new) if new == text => Ok(Ok(())),
            Ok(new) => Ok(Ok(replace(&self.path(name), &new)?)),
            Err(error) => Ok(Err(error)),
        }
    }

    /// Writes a secret into a file that only root reads, and says where it is. One with the same
    /// content is left as it is.
    ///
    /// # Errors
    /// There is another file of that name, or writing fails.
    pub fn keep_secret(&self, name: &str, secret: &str) -> Result<PathBuf, OurFilesError> {
        self.is_mounted()?;
        make_directory(&self.private, 0o700)?;
        close(&self.private, 0o700)?;
        let path = self.private.join(name);
        if read_optional(&path)?.is_some_and(|text| text.trim_end() == secret) {
            close(&path, 0o600)?;
            return Ok(path);
        }
        write_new_as(&path, &format!("{secret}\n"), 0o600)?;
        Ok(path)
    }

    /// The name under which a secret is kept: that of the file that holds it already, else the next
    /// one that is free, as `api-token-2`. A name is public, so nothing of the secret is in it.
    ///
    /// # Errors
    /// The files that are there cannot be read.
    pub fn secret_name(&self, begin: &str, secret: &str) -> Result<String, OurFilesError> {
        self.is_mounted()?;
        let mut number = 1_u32;
        loop {
            let name = format!("{begin}-{number}");
            match read_optional(&self.private.join(&name))? {
                Some(text) if text.trim_end() != secret => number += 1,
                _ => return Ok(name),
            }
        }
    }

    /// Where a secret of this name is kept.
    pub fn secret_path(&self, name: &str) -> PathBuf {
        self.private.join(name)
    }

    fn is_mounted(&self) -> Result<(), OurFilesError> {
        match &self.cluster {
            Some(root) if !root.join("nodes").is_dir() => {
                Err(OurFilesError::NotMounted(root.clone()))
            }
            _ => Ok(()),
        }
    }
}

fn make_directory(path: &Path, mode: u32) -> Result<(), OurFilesError> {
    let made = fs::DirBuilder::new().recursive(true).mode(mode).create(path);
    made.map_err(|source| OurFilesError::Change { path: path.to_owned(), source })
}

/// Takes away what others may do with what is there already; the cluster file system, which changes no
/// modes, lets nobody in by itself.
fn close(path: &Path, mode: u32) -> Result<(), OurFilesError> {
    let closed = fs::metadata(path).and_then(|facts| match facts.permissions().mode() & 0o077 {
        0 => Ok(()),
        _ => fs::set_permissions(path, fs::Permissions::from_mode(mode)),
    });
    closed.map_err(|source| OurFilesError::Change { path: path.to_owned(), source })
}

/// Puts a text in the place of a file, for root to write and everybody to read: jobs.cfg holds no
/// secret. The cluster file system sets modes of its own.
fn replace(path: &Path, text: &str) -> Result<(), OurFilesError> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".tmp.{}", std::process::id()));
    let aside = PathBuf::from(aside);
    write_new(&aside, text)?;
    // Where modes cannot be set, they are right already.
    let _ = fs::set_permissions(&aside, fs::Permissions::from_mode(0o644));
    fs::rename(&aside, path).map_err(|source| {
        let _ = fs::remove_file(&aside);
        OurFilesError::Change { path: path.to_owned(), source }
    })
}

/// A lock: a directory, since making one is what the cluster file system orders over all nodes.
struct Held(PathBuf);

impl Held {
    fn take(path: &Path) -> Result<Self, OurFilesError> {
        let begun = Stopwatch::start();
        let mut seen = None;
        let mut since = Stopwatch::start();
        loop {
            match fs::create_dir(path) {
                Ok(()) => return Ok(Self(path.to_owned())),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(OurFilesError::Change { path: path.to_owned(), source }),
            }
            // The time is only compared with itself, so that no clock matters.
            let now = fs::metadata(path).and_then(|facts| facts.modified()).ok();
            if now != seen {
                (seen, since) = (now, Stopwatch::start());
            } else if since.elapsed() > PATIENCE {
                // Its holder is dead; of several that see it, one makes the next lock.
                let _ = fs::remove_dir(path);
            }
            if begun.elapsed() > 2 * PATIENCE {
                let seconds = begun.elapsed().as_secs();
                return Err(OurFilesError::Busy { path: path.to_owned(), seconds });
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // What stays is taken away by the next command after its patience.
        let _ = fs::remove_dir(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> (tempfile::TempDir, OurFiles) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("nodes")).unwrap();
        let files = OurFiles::of_node(dir.path());
        (dir, files)
    }

    fn add(files: &OurFiles, line: &str) {
        let change = |text: &str| Ok::<_, ()>(format!("{text}{line}\n"));
        files.change("jobs.cfg", change).unwrap().unwrap();
    }

    #[test]
    fn changes_of_several_at_once_are_all_there() {
        let (dir, files) = node();
        std::thread::scope(|scope| {
            for n in 0..8 {
                let files = &files;
                scope.spawn(move || add(files, &n.to_string()));
            }
        });
        let text = files.read("jobs.cfg").unwrap();
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["0", "1", "2", "3", "4", "5", "6", "7"]);
        let names = fs::read_dir(dir.path().join("pve-ferry")).unwrap().count();
        assert_eq!(names, 1, "neither lock nor draft is left");
    }

    #[test]
    fn a_refused_change_changes_nothing() {
        let (_dir, files) = node();
        add(&files, "a");
        assert_eq!(files.change("jobs.cfg", |_| Err::<String, _>(7)).unwrap(), Err(7));
        assert_eq!(files.read("jobs.cfg").unwrap(), "a\n");
    }

    #[test]
    fn a_cluster_file_system_that_is_not_mounted_is_not_one_without_jobs() {
        let dir = tempfile::tempdir().unwrap();
        let files = OurFiles::of_node(dir.path());
        assert!(matches!(files.read("jobs.cfg"), Err(OurFilesError::NotMounted(_))));
        assert_eq!(OurFiles::of_machine(dir.path()).read("jobs.cfg").unwrap(), "");
    }

    #[test]
    fn secrets_are_for_root_alone_and_never_replaced() {
        let (_dir, files) = node();
        let path = files.keep_secret("a.token", "s3cret").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "s3cret\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let parent = fs::metadata(path.parent().unwrap()).unwrap().permissions().mode();
        assert_eq!(parent & 0o777, 0o700);
        assert_eq!(files.keep_secret("a.token", "s3cret").unwrap(), path);
        assert!(files.keep_secret("a.token", "other").is_err());
        assert_eq!(files.secret_name("token", "s3cret").unwrap(), "token-1");
        files.keep_secret("token-1", "s3cret").unwrap();
        assert_eq!(files.secret_name("token", "s3cret").unwrap(), "token-1");
        assert_eq!(files.secret_name("token", "other").unwrap(), "token-2");
    }

    #[test]
    fn a_directory_of_secrets_that_others_could_enter_is_closed_before_one_is_put_there() {
        let (dir, files) = node();
        let private = dir.path().join("priv/pve-ferry");
        fs::create_dir_all(&private).unwrap();
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        mode(&private, 0o755);
        let path = files.keep_secret("a.token", "s3cret").unwrap();
        mode(&path, 0o644);
        mode(&private, 0o755);
        files.keep_secret("a.token", "s3cret").unwrap();
        let now = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((now(&private), now(&path)), (0o700, 0o600));
    }
}
