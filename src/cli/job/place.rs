//! Where a job keeps its restore points: begun when a person defines the job, and never by a run
//! without one, which would fill whatever disk is below a mount point. Reads and writes no points.

use super::super::error::CliError;
use super::super::output;
use crate::job::Job;
use crate::repository::{Disk, Repository, RepositoryError};
use crate::run::new_repository;
use std::path::Path;

/// Begins the repository that a new job of this node writes to, where its directory is there, and
/// says so: the person who defines the job knows whether it is the right one.
pub fn begin(job: &Job, this_node: &str) {
    let Some(path) = written(job).filter(|_| job.runs_on(this_node)).map(Path::new) else { return };
    // That it is no directory now is said of every job.
    let Ok(repository) = Repository::open_target(path, Disk::real()) else { return };
    let begun = || -> Result<Option<String>, RepositoryError> {
        match repository.is_begun()? {
            true => Ok(None),
            false => repository.begin().map(|()| Some(new_repository(path))),
        }
    };
    match begun() {
        Ok(told) => told.iter().for_each(|told| output::notice(&format!("warning: {told}"))),
        Err(error) => {
            let error = anyhow::Error::from(error);
            output::notice(&format!("warning: no repository was begun for the job: {error:#}"));
        }
    }
}

/// Refuses a scheduled run of a job whose repository is not there.
///
/// # Errors
/// A directory is missing or holds no repository: exit 10.
pub fn must_be_there(job: &Job) -> Result<(), CliError> {
    if let Some(path) = written(job) {
        Repository::open_target(Path::new(path), Disk::real())?.must_be_begun()?;
    }
    let Some(path) = read(job) else { return Ok(()) };
    Repository::open(Path::new(path), Disk::real())?;
    Ok(())
}

/// The repository that a job writes points to.
fn written(job: &Job) -> Option<&str> {
    job.option(job.kind()?.row().writes?)
}

/// The repository that a job only reads, or takes something away from.
fn read(job: &Job) -> Option<&str> {
    job.option(job.kind()?.row().reads?)
}
