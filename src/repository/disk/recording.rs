//! A list of all that was done to a file system, in order: what of it outlives a loss of power, a
//! test can ask afterwards; and whoever is told of it while it is done. Not for doing it.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// A file that was made while it was recorded, whatever its name becomes: the n-th, counted from 1.
/// 0 is a file that was made before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FileId(pub u64);

/// One change of a file system that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileOperation {
    /// A directory was made.
    CreateDir(PathBuf),
    /// A file was made, empty.
    Create(FileId, PathBuf),
    /// Bytes were put behind those that the file had.
    Write(FileId, Vec<u8>),
    /// The file's content is durable.
    Fsync(FileId),
    /// What the kernel had in memory of a file's durable content was given up: whoever reads it reads the
    /// medium.
    Forget(FileId),
    /// The names in a directory are durable.
    FsyncDir(PathBuf),
    /// A file bears another name, and what bore that is gone.
    Rename(PathBuf, PathBuf),
    /// A file's name is gone.
    Unlink(PathBuf),
    /// An empty directory is gone.
    RemoveDir(PathBuf),
    /// A file's times are now.
    Touch(PathBuf),
}

/// Who is told of each change before it is made.
#[derive(Clone)]
pub(super) struct Watch(Arc<dyn Fn(&FileOperation) + Send + Sync>);

impl Watch {
    pub(super) fn new(tell: impl Fn(&FileOperation) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    pub(super) fn tell(&self, change: &FileOperation) {
        (self.0)(change);
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watch")
    }
}

/// Operations as they are recorded; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Recording(Arc<Mutex<Recorded>>);

#[derive(Debug, Default)]
struct Recorded {
    operations: Vec<FileOperation>,
    counts: Vec<usize>,
    files: u64,
    elsewhere: Option<Elsewhere>,
}

/// Counts what is done elsewhere meanwhile.
struct Elsewhere(Box<dyn Fn() -> usize + Send>);

impl std::fmt::Debug for Elsewhere {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Elsewhere({})", (self.0)())
    }
}

impl Recording {
    /// Notes with each operation how much had been done elsewhere before it, as `count` says: calls of
    /// a storage, for example, to be put into one order with these.
    pub(super) fn beside(count: impl Fn() -> usize + Send + 'static) -> Self {
        let elsewhere = Some(Elsewhere(Box::new(count)));
        Self(Arc::new(Mutex::new(Recorded { elsewhere, ..Recorded::default() })))
    }

    /// What was done elsewhere before each operation; as many as there are operations.
    pub fn counts(&self) -> Vec<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).counts.clone()
    }

    /// All operations that succeeded so far, in the order in which they were done.
    pub fn operations(&self) -> Vec<FileOperation> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).operations.clone()
    }

    /// The name of the next file.
    pub(super) fn next_file(&self) -> FileId {
        let mut recorded = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        recorded.files += 1;
        FileId(recorded.files)
    }

    /// Does something and notes it. Nothing else is done meanwhile, so that whatever stands before
    /// an fsync was there when it began.
    pub(super) fn of<T>(
        &self,
        what: impl FnOnce() -> FileOperation,
        act: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let mut recorded = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = recorded.elsewhere.as_ref().map_or(0, |elsewhere| (elsewhere.0)());
        let done = act()?;
        recorded.operations.push(what());
        recorded.counts.push(count);
        Ok(done)
    }
}
