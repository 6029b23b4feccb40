//! Tells when a run has begun a new repository: the directory may be another one than was meant, or a
//! mount point without its mount. Not for beginning one: each operation does, just before it writes.

use crate::repository::{Repository, RepositoryError};
use std::path::Path;

/// A directory in which no repository was when the run began.
pub(super) struct Fresh<'a>(Option<&'a Repository>);

impl<'a> Fresh<'a> {
    /// # Errors
    /// The file system does not answer.
    pub(super) fn of(target: Option<&'a Repository>) -> Result<Self, RepositoryError> {
        let Some(repository) = target else { return Ok(Self(None)) };
        Ok(Self((!repository.is_begun()?).then_some(repository)))
    }

    /// What is to be told of it at the end, if the run has begun one. A file system that does not
    /// answer any more has made the run fail already, and is told so.
    pub(super) fn told(&self) -> Option<String> {
        let begun = |repository: &&Repository| repository.is_begun().unwrap_or(false);
        self.0.filter(begun).map(|repository| new_repository(repository.path()))
    }
}

/// What is said of a new repository.
pub fn new_repository(path: &Path) -> String {
    let path = path.display();
    format!("a new repository was begun in {path}: is it the one that you mean, and mounted?")
}
