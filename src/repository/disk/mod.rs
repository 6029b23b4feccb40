//! The one door through which the repository touches the file system: no symbolic link is followed,
//! nothing but regular files is opened, small files are small; and tests can let any operation fail or
//! record them. Not for knowing what a file means: paths come in, bytes go out.
//!
//! Paths have to be free of links up to the repository as well: [`real_path`] makes them so, once.

mod faults;
mod nofollow;
mod recording;

pub use faults::Fault;
pub(crate) use nofollow::{facts, open_file};
pub use recording::{FileId, FileOperation, Recording};

use faults::Faults;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{Mode, UtimensatFlags, mkdirat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, unlinkat};
use nofollow::{Place, directory};
use recording::Watch;
use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The file system as the repository sees it; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    faults: Option<Arc<Faults>>,
    recording: Option<Recording>,
    watch: Option<Watch>,
    /// Nothing outside of this directory is touched.
    below: Option<Arc<Path>>,
}

/// The most bytes of a document: a manifest of a guest with 256 volumes has a tenth of it.
pub(crate) const DOCUMENT_LIMIT: u64 = 4 << 20;
/// The most bytes of a lock file or a note of a few lines.
pub(crate) const NOTE_LIMIT: u64 = 64 << 10;

/// Whose clock gives files their dates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dates {
    /// One clock all of them.
    OfServer,
    /// Each host its own.
    OfClients,
}

/// The path of a directory that the user gave, without the links that may stand in it: they are
/// followed here and nowhere else.
///
/// # Errors
/// There is no such directory, or the file system does not answer.
pub(crate) fn real_path(path: &Path) -> io::Result<PathBuf> {
    std::fs::canonicalize(path)
}

impl Disk {
    /// The real file system.
    pub fn real() -> Self {
        Self::default()
    }

    /// A file system whose `n`-th write operation (counted from 0, over all clones) fails.
    pub fn failing_at(n: u64, fault: Fault) -> Self {
        let (count, thread) = (AtomicU64::new(0), std::thread::current().id());
        let faults = Faults { at: n, fault, count, thread };
        Self { faults: Some(Arc::new(faults)), ..Self::default() }
    }

    /// The real file system, whose changes are recorded from now on, over all clones.
    pub fn recorded() -> (Self, Recording) {
        Self::recorded_beside(|| 0)
    }

    /// The same, with the number of what was done elsewhere noted beside each change
    /// ([`Recording::counts`]).
    pub fn recorded_beside(count: impl Fn() -> usize + Send + 'static) -> (Self, Recording) {
        let recording = Recording::beside(count);
        (Self { recording: Some(recording.clone()), ..Self::default() }, recording)
    }

    /// The real file system, which tells of each change right before it is made, over all clones: a
    /// test lets others act in that moment.
    pub fn watched(tell: impl Fn(&FileOperation) + Send + Sync + 'static) -> Self {
        Self { watch: Some(Watch::new(tell)), ..Self::default() }
    }

    /// The same file system, of which nothing outside of a directory is touched.
    pub(crate) fn below(&self, directory: &Path) -> Self {
        Self { below: Some(directory.into()), ..self.clone() }
    }

    /// The same file system without that boundary: for looking at what is above.
    pub(crate) fn anywhere(&self) -> Self {
        Self { below: None, ..self.clone() }
    }

    /// How many write operations there were: tests stop when `n` is not reached any more.
    pub fn writes(&self) -> u64 {
        self.faults.as_ref().map_or(0, |faults| faults.count.load(Ordering::SeqCst))
    }

    /// Makes a directory (0700) that must not exist yet.
    pub fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.inside(path)?;
        self.change(
            || FileOperation::CreateDir(path.to_owned()),
            || {
                let place = Place::of(path)?;
                Ok(mkdirat(&place.dir, place.name, Mode::S_IRWXU)?)
            },
        )
    }

    /// Makes a file (0600) that must not exist yet.
    pub fn create_new(&self, path: &Path) -> io::Result<DiskFile> {
        self.inside(path)?;
        let id = self.recording.as_ref().map_or(FileId::default(), Recording::next_file);
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = self.change(
            || FileOperation::Create(id, path.to_owned()),
            || {
                let place = Place::of(path)?;
                let mode = Mode::S_IRUSR | Mode::S_IWUSR;
                Ok(File::from(openat(&place.dir, place.name, flags, mode)?))
            },
        )?;
        Ok(DiskFile { disk: self.clone(), file, path: path.to_owned(), id })
    }

    /// Renames a file, replacing the target.
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inside(from)?;
        self.inside(to)?;
        let what = || FileOperation::Rename(from.to_owned(), to.to_owned());
        self.change(what, || rename(from, to))
    }

    /// Removes a file, or whatever else bears the name and is no directory.
    pub fn unlink(&self, path: &Path) -> io::Result<()> {
        self.inside(path)?;
        let stays = self.has(Fault::OpenFilesStay) && is_open(path);
        let what = || FileOperation::Unlink(path.to_owned());
        self.change(what, || match stays {
            true => rename(path, &path.with_extension("nfs")),
            false => remove(path, UnlinkatFlags::NoRemoveDir),
        })
    }

    /// Removes an empty directory.
    pub fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.inside(path)?;
        let what = || FileOperation::RemoveDir(path.to_owned());
        self.change(what, || remove(path, UnlinkatFlags::RemoveDir))
    }

    /// Makes the names in a directory durable.
    pub fn fsync_dir(&self, path: &Path) -> io::Result<()> {
        self.inside(path)?;
        let what = || FileOperation::FsyncDir(path.to_owned());
        self.change(what, || File::from(directory(path, OFlag::O_RDONLY)?).sync_all())
    }

    /// Sets a file's times to now, by the clock of the server that holds it.
    pub fn touch(&self, path: &Path) -> io::Result<()> {
        self.inside(path)?;
        let now = TimeSpec::UTIME_NOW;
        self.change(
            || FileOperation::Touch(path.to_owned()),
            || {
                let (place, own) = (Place::of(path)?, UtimensatFlags::NoFollowSymlink);
                Ok(utimensat(&place.dir, place.name, &now, &now, own)?)
            },
        )
    }

    /// Bytes that an ordinary writer may still use on the file system of `path`.
    pub fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        self.alive()?;
        let facts = nix::sys::statvfs::statvfs(path).map_err(io::Error::from)?;
        Ok(facts.blocks_available().saturating_mul(facts.fragment_size()))
    }

    /// Whose clock dates files in a directory; where that cannot be told, the server's.
    pub(crate) fn dates(&self, path: &Path) -> Dates {
        use nix::sys::statfs;
        // CephFS, FUSE (sshfs, and virtiofs), 9p; CIFS and SMB2 have no constant everywhere.
        let by_clients = [0x00c3_6400, 0x6573_5546, 0x0102_1997, 0xff53_4d42, 0xfe53_4d42, 0x517b];
        let kind = statfs::statfs(path).map(|facts| facts.filesystem_type().0);
        match kind.ok().and_then(|kind| u32::try_from(kind & 0xffff_ffff).ok()) {
            Some(kind) if by_clients.contains(&kind) => Dates::OfClients,
            _ => Dates::OfServer,
        }
    }

    /// Reads a document whole; one of more than 4 MiB is an error and not an allocation.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.read_at_most(path, DOCUMENT_LIMIT)
    }

    /// Reads a file whole that may have so many bytes; a larger one is an error.
    pub fn read_at_most(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            let why = format!("it has more than {limit} bytes, which no file of its kind has");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        Ok(bytes)
    }

    /// Opens a file of any size for reading.
    pub fn open(&self, path: &Path) -> io::Result<File> {
        self.alive()?;
        self.inside(path)?;
        open_file(path)
    }

    /// A file's facts, without following a link; `None` when nothing bears the name.
    pub fn facts(&self, path: &Path) -> io::Result<Option<Metadata>> {
        self.alive()?;
        self.inside(path)?;
        let stale = self.has(Fault::StaleNames);
        Ok(facts(path)?.filter(|facts| !(stale && facts.is_file())))
    }

    /// The names in a directory that are UTF-8, sorted; none when it does not exist.
    pub fn names(&self, path: &Path) -> io::Result<Vec<String>> {
        self.alive()?;
        self.inside(path)?;
        let mut names = match nofollow::names(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            names => names?,
        };
        names.sort();
        Ok(names)
    }

    /// Whether a directory holds nothing at all, names that are no UTF-8 included.
    pub fn is_empty_dir(&self, path: &Path) -> io::Result<bool> {
        self.alive()?;
        self.inside(path)?;
        nofollow::is_empty(path)
    }

    fn inside(&self, path: &Path) -> io::Result<()> {
        match &self.below {
            Some(below) if !path.starts_with(below) => {
                let why = format!("it lies outside of {}", below.display());
                Err(io::Error::new(io::ErrorKind::InvalidInput, why))
            }
            _ => Ok(()),
        }
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

    /// What shall happen to the next write operation.
    fn next(&self) -> Option<Fault> {
        self.faults.as_ref()?.next()
    }

    fn change<T>(
        &self,
        what: impl Fn() -> FileOperation,
        act: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        match self.next() {
            None => self.record(what, act),
            Some(Fault::LostReply) => self.record(what, act).and(Err(Fault::LostReply.error())),
            Some(fault) => Err(fault.error()),
        }
    }

    fn record<T>(
        &self,
        what: impl Fn() -> FileOperation,
        act: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        if let Some(watch) = &self.watch {
            watch.tell(&what());
        }
        match &self.recording {
            Some(recording) => recording.of(what, act),
            None => act(),
        }
    }
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (Place::of(from)?, Place::of(to)?);
    Ok(renameat(&from.dir, from.name, &to.dir, to.name)?)
}

fn remove(path: &Path, kind: UnlinkatFlags) -> io::Result<()> {
    let place = Place::of(path)?;
    Ok(unlinkat(&place.dir, place.name, kind)?)
}

/// Whether this process holds a file open.
fn is_open(path: &Path) -> bool {
    let handles = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let mut held = handles.filter_map(|handle| std::fs::read_link(handle.path()).ok());
    held.any(|held| held == path)
}

/// A file open for writing.
#[derive(Debug)]
pub struct DiskFile {
    disk: Disk,
    file: File,
    path: PathBuf,
    id: FileId,
}

impl DiskFile {
    /// Makes the content durable.
    pub fn fsync(&self) -> io::Result<()> {
        self.disk.change(|| FileOperation::Fsync(self.id), || self.file.sync_all())
    }

    /// Lets the kernel forget what it has in memory of the file, so that reading it reads the medium.
    /// A file system that does not do so only makes that reading worth less.
    pub fn forget_cached(&self) {
        let advice = nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED;
        let forget = || Ok(nix::fcntl::posix_fadvise(&self.file, 0, 0, advice)?);
        let _ = self.disk.record(|| FileOperation::Forget(self.id), forget);
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A second handle: errors of writing back are reported to a handle that was open meanwhile.
    pub fn try_clone(&self) -> io::Result<Self> {
        let file = self.file.try_clone()?;
        Ok(Self { disk: self.disk.clone(), file, path: self.path.clone(), id: self.id })
    }

    /// The file's facts.
    pub fn facts(&self) -> io::Result<Metadata> {
        self.disk.alive()?;
        self.file.metadata()
    }

    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let what = || FileOperation::Write(self.id, bytes.to_vec());
        self.disk.record(what, || (&self.file).write_all(bytes))
    }
}

impl Write for DiskFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let fault = self.disk.next();
        self.append(&bytes[..fault.map_or(bytes.len(), |fault| fault.arrives(bytes.len()))])?;
        match fault {
            None => Ok(bytes.len()),
            Some(fault) => Err(fault.error()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
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

    #[test]
    fn nothing_outside_of_its_directory_is_touched() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("own")).unwrap();
        fs::write(at("other"), "text").unwrap();
        let disk = Disk::real().below(&at("own"));
        for path in [at("other"), at("own/../other"), "/etc/passwd".into(), at("own-too")] {
            let case = path.display();
            assert!(disk.read(&path).is_err(), "{case}");
            assert!(disk.facts(&path).is_err(), "{case}");
            assert!(disk.create_new(&path).is_err(), "{case}");
            assert!(disk.unlink(&path).is_err(), "{case}");
            assert!(disk.rename(&path, &at("own/here")).is_err(), "{case}");
            assert!(disk.touch(&path).is_err(), "{case}");
        }
        assert!(!at("own-too").exists());
        assert_eq!(fs::read(at("other")).unwrap(), b"text");
        assert!(disk.anywhere().read(&at("other")).is_ok());
    }

    #[test]
    fn a_link_in_the_place_of_a_directory_leads_no_change_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("real")).unwrap();
        fs::write(at("real/file"), "text").unwrap();
        std::os::unix::fs::symlink(at("real"), at("link")).unwrap();
        let disk = Disk::real();
        assert!(disk.unlink(&at("link/file")).is_err());
        assert!(disk.create_new(&at("link/new")).is_err());
        assert!(disk.create_dir(&at("link/dir")).is_err());
        assert!(disk.rename(&at("link/file"), &at("file")).is_err());
        assert!(disk.rename(&at("real/file"), &at("link/moved")).is_err());
        assert!(disk.fsync_dir(&at("link")).is_err());
        assert_eq!(disk.names(&at("real")).unwrap(), ["file"]);
        // The link itself goes, and not what it leads to.
        disk.unlink(&at("link")).unwrap();
        assert_eq!(fs::read(at("real/file")).unwrap(), b"text");
    }

    #[test]
    fn a_document_that_is_too_long_is_an_error_and_not_an_allocation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let disk = Disk::real();
        fs::write(&path, b"12345").unwrap();
        assert_eq!(disk.read_at_most(&path, 5).unwrap(), b"12345");
        assert!(disk.read_at_most(&path, 4).unwrap_err().to_string().contains("more than 4 bytes"));
        File::options().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
        assert_eq!(disk.read(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn what_is_done_is_recorded_in_order_and_what_fails_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let (disk, recording) = Disk::recorded();
        disk.create_dir(&at("d")).unwrap();
        let mut file = disk.create_new(&at("d/a")).unwrap();
        assert!(disk.create_new(&at("d/a")).is_err());
        file.write_all(b"bytes").unwrap();
        file.try_clone().unwrap().fsync().unwrap();
        disk.rename(&at("d/a"), &at("d/b")).unwrap();
        disk.clone().fsync_dir(&at("d")).unwrap();
        disk.unlink(&at("d/b")).unwrap();
        disk.remove_dir(&at("d")).unwrap();
        use FileOperation::*;
        let expected = [
            CreateDir(at("d")),
            Create(FileId(1), at("d/a")),
            Write(FileId(1), b"bytes".to_vec()),
            Fsync(FileId(1)),
            Rename(at("d/a"), at("d/b")),
            FsyncDir(at("d")),
            Unlink(at("d/b")),
            RemoveDir(at("d")),
        ];
        assert_eq!(recording.operations(), expected);
    }
}
