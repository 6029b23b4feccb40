//! Open files of images. A chain may have more images than a process may have files open, so that a
//! handle opens its file again when it is needed after it was closed to make room for others.

use crate::repository::disk::open_file;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// How many files of images are open at most: far fewer than the 1,024 files that a process may have
/// by default, as several volumes are read at once and others need files, too.
pub(super) const MOST_OPEN: usize = 128;

/// What was opened last stands last; what was dropped meanwhile is in it still, and counts.
static OPEN: Mutex<VecDeque<Weak<Slot>>> = Mutex::new(VecDeque::new());

type Slot = Mutex<Option<Arc<File>>>;

/// A file that was opened, and is opened again when needed.
#[derive(Debug)]
pub(super) struct Handle {
    path: PathBuf,
    /// Which file it was: one that took its place is refused.
    identity: (u64, u64),
    slot: Arc<Slot>,
}

impl Handle {
    /// Opens a file, so that one that is not there is told at once.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Self::of(path, open_file(path)?)
    }

    /// The handle of a file that was opened by this path.
    ///
    /// # Errors
    /// The file cannot be looked at.
    pub(super) fn of(path: &Path, file: File) -> io::Result<Self> {
        let (identity, path) = (identity(&file)?, path.to_owned());
        let slot = Arc::new(Mutex::new(Some(Arc::new(file))));
        remember(&slot);
        Ok(Self { path, identity, slot })
    }

    /// The file, open at least as long as the caller holds it.
    ///
    /// # Errors
    /// It was closed and cannot be opened again, or another file took its place.
    pub(super) fn file(&self) -> io::Result<Arc<File>> {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &*slot {
            return Ok(Arc::clone(file));
        }
        let file = open_file(&self.path)?;
        if identity(&file)? != self.identity {
            return Err(io::Error::other("another file took its place while it was read"));
        }
        let file = Arc::new(file);
        *slot = Some(Arc::clone(&file));
        drop(slot);
        remember(&self.slot);
        Ok(file)
    }
}

fn identity(file: &File) -> io::Result<(u64, u64)> {
    file.metadata().map(|facts| (facts.dev(), facts.ino()))
}

/// Notes a file that was opened, and closes the ones that were opened first when there are too many.
fn remember(slot: &Arc<Slot>) {
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    open.push_back(Arc::downgrade(slot));
    while open.len() > MOST_OPEN {
        let oldest = open.pop_front().and_then(|oldest| oldest.upgrade());
        if let Some(oldest) = oldest.filter(|oldest| !Arc::ptr_eq(oldest, slot)) {
            oldest.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt as _;

    #[test]
    fn a_file_is_read_after_many_others_were_opened_and_never_another_in_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = |n: usize| directory.path().join(n.to_string());
        let make = |n: usize| {
            std::fs::write(path(n), [u8::try_from(n % 251).unwrap()]).unwrap();
            Handle::open(&path(n)).unwrap()
        };
        let handles: Vec<Handle> = (0..3 * MOST_OPEN).map(make).collect();
        let is_open = |handle: &&Handle| handle.slot.lock().unwrap().is_some();
        assert!(handles.iter().filter(is_open).count() <= MOST_OPEN);
        for (n, handle) in handles.iter().enumerate() {
            let mut byte = [0];
            handle.file().unwrap().read_exact_at(&mut byte, 0).unwrap();
            assert_eq!(usize::from(byte[0]), n % 251);
        }
        let first = &handles[0];
        first.slot.lock().unwrap().take();
        std::fs::rename(path(1), path(0)).unwrap();
        assert!(first.file().unwrap_err().to_string().contains("took its place"));
    }
}
