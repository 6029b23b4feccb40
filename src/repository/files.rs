//! Replacing small files whole and durably. Not for images, which are written once.

use super::disk::{DOCUMENT_LIMIT, Disk};
use super::error::{About, RepositoryError};
use super::layout;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Writes a new document and makes its content, not yet its name, durable. One that would not be read
/// again, as [`Disk::read`] reads nothing longer, is refused before anything is changed.
pub(crate) fn write_new(disk: &Disk, path: &Path, bytes: &[u8]) -> Result<(), RepositoryError> {
    can_be_read_again(path, bytes)?;
    write_any(disk, path, bytes)
}

/// Puts a document in the place of a file: the old or the new content is there, never half of it. What
/// would not be read again is refused as by [`write_new`].
pub(crate) fn replace(disk: &Disk, path: &Path, bytes: &[u8]) -> Result<(), RepositoryError> {
    can_be_read_again(path, bytes)?;
    replace_any(disk, path, bytes)
}

fn can_be_read_again(path: &Path, bytes: &[u8]) -> Result<(), RepositoryError> {
    match bytes.len() as u64 {
        ..=DOCUMENT_LIMIT => Ok(()),
        bytes => Err(RepositoryError::TooLong { path: path.to_owned(), bytes }),
    }
}

fn write_any(disk: &Disk, path: &Path, bytes: &[u8]) -> Result<(), RepositoryError> {
    let mut file = disk.create_new(path).about("make", path)?;
    file.write_all(bytes).about("write", path)?;
    file.fsync().about("fsync", path)
}

/// The same for a file that may have any length: one for people, or an index, which is read as a stream.
pub(crate) fn replace_any(disk: &Disk, path: &Path, bytes: &[u8]) -> Result<(), RepositoryError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    let draft = Path::new(&name);
    remove_if_there(disk, draft)?;
    let result = write_any(disk, draft, bytes)
        .and_then(|()| disk.rename(draft, path).about("rename to", path));
    if result.is_err() {
        // The first error is the one to tell; the next writer removes what stays.
        let _ = disk.unlink(draft);
    }
    result?;
    match path.parent() {
        Some(dir) => disk.fsync_dir(dir).about("fsync", dir),
        None => Ok(()),
    }
}

/// Removes a file; that it is not there is as good.
pub(crate) fn remove_if_there(disk: &Disk, path: &Path) -> Result<(), RepositoryError> {
    match disk.unlink(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other.about("remove", path),
    }
}

/// Makes a directory unless it is there, and its name durable: also of one that is there, as whoever made
/// it may have been killed before its name was.
pub(crate) fn ensure_dir(disk: &Disk, path: &Path) -> Result<(), RepositoryError> {
    let is_there = disk.facts(path).about("look at", path)?.is_some_and(|facts| facts.is_dir());
    if !is_there {
        match disk.create_dir(path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            other => other.about("make the directory", path)?,
        }
    }
    match path.parent() {
        Some(parent) => disk.fsync_dir(parent).about("fsync", parent),
        None => Ok(()),
    }
}

/// Removes what is ours of a point's directory that holds no manifest, and the directory when
/// nothing else is in it; says what stays because it is foreign. Whether there is a manifest, the very
/// listing decides by which files are removed: an NFS client may answer from its memory that a name is
/// not there, but not when it lists.
pub(crate) fn remove_uncommitted(
    disk: &Disk,
    dir: &Path,
) -> Result<Option<Foreign>, RepositoryError> {
    let mut names = disk.names(dir).about("list", dir)?;
    if names.iter().any(|name| name == layout::MANIFEST) {
        return Err(RepositoryError::NotDebris { path: dir.to_owned() });
    }
    names.retain(|name| layout::is_our_file(name));
    let mut failed = Ok(());
    for name in names {
        // What can go goes, whatever is in the way of the rest.
        failed = failed.and(remove_file(disk, &dir.join(name)));
    }
    failed?;
    match disk.remove_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {
            let names = disk.names(dir).about("list", dir)?;
            Ok(Some(Foreign { dir: dir.to_owned(), names }))
        }
        other => other.about("remove the directory", dir).map(|()| None),
    }
}

/// What is not ours in a directory, so that it stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    dir: PathBuf,
    /// The names that are UTF-8; there may be others.
    names: Vec<String>,
}

impl std::fmt::Display for Foreign {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<String> = self.names.iter().map(|name| format!("{name:?}")).collect();
        let names = if names.is_empty() { "files".to_owned() } else { names.join(", ") };
        write!(f, "{} stays, as it holds what is not ours: {names}", self.dir.display())
    }
}

/// Removes a file; a directory of that name is none of ours, and stays.
fn remove_file(disk: &Disk, path: &Path) -> Result<(), RepositoryError> {
    match remove_if_there(disk, path) {
        Err(_) if disk.facts(path).is_ok_and(|facts| facts.is_some_and(|f| f.is_dir())) => Ok(()),
        other => other,
    }
}
