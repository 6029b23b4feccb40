//! How a job's last run on this node ended, and that two runs of one job do not meet. Another
//! node's runs stand on that node: nothing that every run writes belongs into the cluster's files.

use super::NodeError;
use crate::job::JobName;
use crate::model::Moment;
use nix::fcntl::{Flock, FlockArg};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

/// One run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LastRun {
    /// When it began.
    pub started: Moment,
    /// When it ended; none while it runs, and for ever when it was killed.
    #[serde(default)]
    pub finished: Option<Moment>,
    /// Its exit code.
    #[serde(default)]
    pub exit_code: Option<u8>,
    /// Its last words, when it did not end well.
    #[serde(default)]
    pub message: String,
}

/// The runs of this node's jobs.
#[derive(Debug, Clone)]
pub struct Runs {
    directory: PathBuf,
}

/// A run under way; no other run of the same job begins as long as it lives.
#[derive(Debug)]
pub struct Run {
    path: PathBuf,
    last: LastRun,
    _lock: Flock<File>,
}

impl Runs {
    /// The runs noted below `state`: `/var/lib/pve-ferry`, or what `PVE_FERRY_STATE` says.
    pub fn new(state: &std::path::Path) -> Self {
        Self { directory: state.join("jobs") }
    }

    /// Begins a run, unless one of the same job is under way on this node.
    ///
    /// # Errors
    /// The state directory cannot be written.
    pub fn begin(&self, job: &JobName, now: Moment) -> Result<Option<Run>, NodeError> {
        fs::create_dir_all(&self.directory).map_err(NodeError::write(self.directory.clone()))?;
        let path = self.lock_path(job);
        let mut options = File::options();
        let file = options.write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(NodeError::write(path))?;
        let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else { return Ok(None) };
        let last =
            LastRun { started: now, finished: None, exit_code: None, message: String::new() };
        let run = Run { path: self.path(job), last, _lock: lock };
        run.write()?;
        Ok(Some(run))
    }

    /// How the last run ended; none when there was none on this node.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn last(&self, job: &JobName) -> Result<Option<LastRun>, NodeError> {
        let path = self.path(job);
        match fs::read(&path) {
            // What is damaged is as good as absent: the next run writes it anew.
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(NodeError::read(path)(error)),
        }
    }

    /// Whether a run of the job is under way on this node.
    pub fn is_running(&self, job: &JobName) -> bool {
        let Ok(file) = File::open(self.lock_path(job)) else { return false };
        Flock::lock(file, FlockArg::LockSharedNonblock).is_err()
    }

    /// Forgets a job that is no more, unless it runs.
    pub fn forget(&self, job: &JobName) {
        if !self.is_running(job) {
            for path in [self.path(job), self.lock_path(job)] {
                // What stays is overwritten by a later job of that name.
                let _ = fs::remove_file(path);
            }
        }
    }

    fn path(&self, job: &JobName) -> PathBuf {
        self.directory.join(format!("{job}.json"))
    }

    fn lock_path(&self, job: &JobName) -> PathBuf {
        self.directory.join(format!("{job}.lock"))
    }
}

impl Run {
    /// Notes how it ended.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn end(mut self, now: Moment, exit_code: u8, message: String) -> Result<(), NodeError> {
        self.last = LastRun {
            finished: Some(now),
            exit_code: Some(exit_code),
            message,
            ..self.last.clone()
        };
        self.write()
    }

    fn write(&self) -> Result<(), NodeError> {
        let draft = self.path.with_extension("json.tmp");
        let text = serde_json::to_string_pretty(&self.last).unwrap_or_default();
        let written = fs::write(&draft, text).and_then(|()| fs::rename(&draft, &self.path));
        written.map_err(NodeError::write(self.path.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Moment {
        Moment::from_unix(seconds)
    }

    #[test]
    fn a_run_is_noted_from_its_beginning_and_excludes_another() {
        let dir = tempfile::tempdir().unwrap();
        let runs = Runs::new(dir.path());
        let job: JobName = "nightly".parse().unwrap();
        assert_eq!(runs.last(&job).unwrap(), None);
        assert!(!runs.is_running(&job));
        let run = runs.begin(&job, at(10)).unwrap().unwrap();
        assert!(runs.is_running(&job));
        assert!(runs.begin(&job, at(11)).unwrap().is_none());
        assert_eq!(runs.last(&job).unwrap().unwrap().finished, None);
        run.end(at(20), 3, "db failed".into()).unwrap();
        let last = runs.last(&job).unwrap().unwrap();
        assert_eq!((last.started, last.finished, last.exit_code), (at(10), Some(at(20)), Some(3)));
        assert!(!runs.is_running(&job));
        runs.forget(&job);
        assert_eq!(fs::read_dir(dir.path().join("jobs")).unwrap().count(), 0);
    }
}
