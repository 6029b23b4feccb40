//! The one door through which the repository touches the file system, so that tests can let any
//! operation fail. Not for knowing what a file means: paths come in, bytes go out.

use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What happens at the chosen write operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// ENOSPC; of a write, the first half has arrived.
    NoSpace,
    /// EIO; of a write, the first half has arrived.
    Io,
    /// This and every later operation, reads too, fail with EIO: the server is gone.
    Vanish,
    /// This and every later write operation fail with EROFS; reads go on.
    ReadOnly,
    /// The operation is done and yet reported as EIO: the answer of an NFS server was lost.
    LostReply,
    /// Nothing ever fails, but whoever looks at a file hears that it is not there: an NFS
    /// client remembers that of names that another host has made since.
    StaleNames,
    /// Nothing ever fails, but a file that this process has open when it is removed stays in its
    /// directory under another name: NFS does so, until the last handle is closed.
    OpenFilesStay,
}

#[derive(Debug)]
struct Faults {
    at: u64,
    fault: Fault,
    count: AtomicU64,
}

/// The file system as the repository sees it; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    faults: Option<Arc<Faults>>,
}

/// The size of what is read whole into memory: manifests and the like, never images.
pub(crate) const SMALL_FILE_LIMIT: u64 = 64 << 20;

impl Disk {
    /// The real file system.
    pub fn real() -> Self {
        Self::default()
    }

    /// A file system whose `n`-th write operation (counted from 0, over all clones) fails.
    pub fn failing_at(n: u64, fault: Fault) -> Self {
        Self { faults: Some(Arc::new(Faults { at: n, fault, count: AtomicU64::new(0) })) }
    }

    /// How many write operations there were: tests stop when `n` is not reached any more.
    pub fn writes(&self) -> u64 {
        self.faults.as_ref().map_or(0, |faults| faults.count.load(Ordering::SeqCst))
    }

    /// Makes a directory (0700) that must not exist yet.
    pub fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.change(|| fs::DirBuilder::new().mode(0o700).create(path))
    }

    /// Makes a file (0600) that must not exist yet.
    pub fn create_new(&self, path: &Path) -> io::Result<DiskFile> {
        let open = || fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = self.change(open)?;
        Ok(DiskFile { disk: self.clone(), file, path: path.to_owned() })
    }

    /// Renames a file, replacing the target.
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|| fs::rename(from, to))
    }

    /// Removes a file.
    pub fn unlink(&self, path: &Path) -> io::Result<()> {
        let stays = self.has(Fault::OpenFilesStay) && is_open(path);
        self.change(|| match stays {
            true => fs::rename(path, path.with_extension("nfs")),
            false => fs::remove_file(path),
        })
    }

    /// Removes an empty directory.
    pub fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.change(|| fs::remove_dir(path))
    }

    /// Makes the names in a directory durable.
    pub fn fsync_dir(&self, path: &Path) -> io::Result<()> {
        self.change(|| File::open(path)?.sync_all())
    }

    /// Sets a file's times to now, by the clock of the server that holds it.
    pub fn touch(&self, path: &Path) -> io::Result<()> {
        let now = TimeSpec::UTIME_NOW;
        self.change(|| {
            let follow = UtimensatFlags::FollowSymlink;
            utimensat(nix::fcntl::AT_FDCWD, path, &now, &now, follow).map_err(io::Error::from)
        })
    }

    /// Bytes that an ordinary writer may still use on the file system of `path`.
    pub fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        self.alive()?;
        let facts = nix::sys::statvfs::statvfs(path).map_err(io::Error::from)?;
        Ok(facts.blocks_available().saturating_mul(facts.fragment_size()))
    }

    /// Reads a small file whole; a larger one is an error and not an allocation.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.alive()?;
        let mut bytes = Vec::new();
        File::open(path)?.take(SMALL_FILE_LIMIT + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > SMALL_FILE_LIMIT {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is too large"));
        }
        Ok(bytes)
    }

    /// Opens a file of any size for reading.
    pub fn open(&self, path: &Path) -> io::Result<File> {
        self.alive()?;
        File::open(path)
    }

    /// A file's facts, without following a link; `None` when nothing bears the name.
    pub fn facts(&self, path: &Path) -> io::Result<Option<fs::Metadata>> {
        self.alive()?;
        let stale = self.has(Fault::StaleNames);
        match fs::symlink_metadata(path) {
            Ok(facts) if stale && facts.is_file() => Ok(None),
            Ok(facts) => Ok(Some(facts)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The names in a directory that are UTF-8, sorted; none when it does not exist.
    pub fn names(&self, path: &Path) -> io::Result<Vec<String>> {
        self.alive()?;
        let entries = match fs::read_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut names = Vec::new();
        for entry in entries {
            names.extend(entry?.file_name().into_string());
        }
        names.sort();
        Ok(names)
    }

    /// Whether a directory holds nothing at all, names that are no UTF-8 included.
    pub fn is_empty_dir(&self, path: &Path) -> io::Result<bool> {
        self.alive()?;
        Ok(fs::read_dir(path)?.next().is_none())
    }

    fn alive(&self) -> io::Result<()> {
        match &self.faults {
            Some(faults) if faults.vanished() => Err(Fault::Vanish.error()),
            _ => Ok(()),
        }
    }

    fn has(&self, fault: Fault) -> bool {
        self.faults.as_ref().is_some_and(|faults| faults.fault == fault)
    }

    /// Counts one write operation and says what shall happen to it.
    fn next(&self) -> Option<Fault> {
        let faults = self.faults.as_ref()?;
        let n = faults.count.fetch_add(1, Ordering::SeqCst);
        let fails = !matches!(faults.fault, Fault::StaleNames | Fault::OpenFilesStay);
        let hit = fails && (n == faults.at || (n > faults.at && faults.fault.lasts()));
        hit.then_some(faults.fault)
    }

    fn change<T>(&self, operation: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match self.next() {
            None => operation(),
            Some(Fault::LostReply) => operation().and(Err(Fault::LostReply.error())),
            Some(fault) => Err(fault.error()),
        }
    }
}

/// Whether this process holds a file open.
fn is_open(path: &Path) -> bool {
    let handles = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    handles.into_iter().any(|handle| fs::read_link(handle.path()).is_ok_and(|held| held == path))
}

impl Fault {
    fn lasts(self) -> bool {
        matches!(self, Self::Vanish | Self::ReadOnly)
    }

    fn error(self) -> io::Error {
        io::Error::from_raw_os_error(match self {
            Self::NoSpace => nix::libc::ENOSPC,
            Self::ReadOnly => nix::libc::EROFS,
            _ => nix::libc::EIO,
        })
    }
}

impl Faults {
    fn vanished(&self) -> bool {
        self.fault == Fault::Vanish && self.count.load(Ordering::SeqCst) > self.at
    }
}

/// A file open for writing.
#[derive(Debug)]
pub struct DiskFile {
    disk: Disk,
    file: File,
    path: PathBuf,
}

impl DiskFile {
    /// Makes the content durable.
    pub fn fsync(&self) -> io::Result<()> {
        self.disk.change(|| self.file.sync_all())
    }

    /// Lets the kernel forget what it has in memory of the file, so that reading it reads the medium.
    /// A file system that does not do so only makes that reading worth less.
    pub fn forget_cached(&self) {
        let advice = nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED;
        let _ = nix::fcntl::posix_fadvise(&self.file, 0, 0, advice);
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A second handle: errors of writing back are reported to a handle that was open meanwhile.
    pub fn try_clone(&self) -> io::Result<Self> {
        let file = self.file.try_clone()?;
        Ok(Self { disk: self.disk.clone(), file, path: self.path.clone() })
    }

    /// The file's facts.
    pub fn facts(&self) -> io::Result<fs::Metadata> {
        self.disk.alive()?;
        self.file.metadata()
    }
}

impl Write for DiskFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(fault) = self.disk.next() else {
            return self.file.write(bytes);
        };
        let arrives = match fault {
            Fault::LostReply => bytes.len(),
            Fault::ReadOnly => 0,
            _ => bytes.len() / 2,
        };
        self.file.write_all(&bytes[..arrives])?;
        Err(fault.error())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_it_makes_is_for_the_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::real();
        disk.create_dir(&dir.path().join("d")).unwrap();
        disk.create_new(&dir.path().join("f")).unwrap();
        let mode = |name| fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("d"), mode("f")), (0o700, 0o600));
        assert!(disk.create_new(&dir.path().join("f")).is_err());
    }

    #[test]
    fn a_full_disk_takes_half_of_a_write_and_then_works_again() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::failing_at(1, Fault::NoSpace);
        let mut file = disk.create_new(&dir.path().join("f")).unwrap();
        let error = file.write_all(b"12345678").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(nix::libc::ENOSPC));
        assert_eq!(disk.read(&dir.path().join("f")).unwrap(), b"1234");
        file.write_all(b"56").unwrap();
    }

    #[test]
    fn a_vanished_server_answers_nothing_any_more() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::failing_at(1, Fault::Vanish);
        drop(disk.create_new(&dir.path().join("f")).unwrap());
        assert!(disk.facts(&dir.path().join("f")).unwrap().is_some());
        assert!(disk.rename(&dir.path().join("f"), &dir.path().join("g")).is_err());
        assert!(disk.facts(&dir.path().join("f")).is_err());
        assert!(disk.names(dir.path()).is_err());
    }

    #[test]
    fn a_lost_reply_reports_a_failure_of_what_was_done() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::failing_at(0, Fault::LostReply);
        assert!(disk.create_dir(&dir.path().join("d")).is_err());
        assert!(dir.path().join("d").is_dir());
    }
}
