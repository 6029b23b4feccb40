//! Replacing small files whole and durably. Not for images, which are written once.

use super::disk::Disk;
use super::error::{About, RepositoryError};
use std::io::Write;
use std::path::Path;

/// Writes a new file and makes its content, not yet its name, durable.
pub(crate) fn write_new(disk: &Disk, path: &Path, bytes: &[u8]) -> Result<(), RepositoryError> {
    let mut file = disk.create_new(path).about("make", path)?;
    file.write_all(bytes).about("write", path)?;
    file.fsync().about("fsync", path)
}

/// Puts `bytes` in the place of a file: the old or the new content is there, never half of it.
pub(crate) fn replace(disk: &Disk, path: &Path, bytes: &[u8]) -> Result<(), RepositoryError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    let draft = Path::new(&name);
    remove_if_there(disk, draft)?;
    let result = write_new(disk, draft, bytes)
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
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.about("remove", path),
    }
}

/// Makes a directory unless it is there, and its name durable.
pub(crate) fn ensure_dir(disk: &Disk, path: &Path) -> Result<(), RepositoryError> {
    if disk.facts(path).about("look at", path)?.is_some_and(|facts| facts.is_dir()) {
        return Ok(());
    }
    match disk.create_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        other => other.about("make the directory", path)?,
    }
    match path.parent() {
        Some(parent) => disk.fsync_dir(parent).about("fsync", parent),
        None => Ok(()),
    }
}

/// Removes a point's directory that holds no manifest, the freeze record last: while anything
/// stands there, so does the note which guest may be frozen. Whether there is a manifest, the very
/// listing decides by which files are removed: an NFS client may answer from its memory that a name
/// is not there, but not when it lists.
pub(crate) fn remove_uncommitted(disk: &Disk, dir: &Path) -> Result<(), RepositoryError> {
    let mut names = disk.names(dir).about("list", dir)?;
    if names.iter().any(|name| name == super::layout::MANIFEST) {
        return Err(RepositoryError::NotDebris { path: dir.to_owned() });
    }
    names.sort_by_key(|name| name == super::layout::FREEZE);
    for name in names {
        remove_if_there(disk, &dir.join(name))?;
    }
    match disk.remove_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.about("remove the directory", dir),
    }
}
