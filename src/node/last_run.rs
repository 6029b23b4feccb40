//! How a job's last run on this node ended, and that two runs of one job do not meet. Another
//! node's runs stand on that node: nothing that every run writes belongs into the cluster's files.

use super::NodeError;
use crate::job::JobName;
use crate::model::Moment;
use crate::waits::Wait;
use nix::fcntl::{Flock, FlockArg};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

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
    /// Who could not be told of it, and why; absent when everybody was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub untold: Vec<String>,
    /// For whom it waits now, the longest wait first; absent when it waits for nobody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<Wait>,
}

/// What is noted of a run at its end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LastRunEnd {
    /// Its exit code.
    pub exit_code: u8,
    /// What kept it from ending well, in a line; empty when it did.
    pub message: String,
    /// Who could not be told of it, and why.
    pub untold: Vec<String>,
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
    last: Mutex<LastRun>,
    _lock: Flock<File>,
}

/// Whoever asks whether a job runs holds its lock for a moment: a run must not be left out for that.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);

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
        let Some(lock) = alone(file.map_err(NodeError::write(path))?) else { return Ok(None) };
        let last = LastRun {
            started: now,
            finished: None,
            exit_code: None,
            message: String::new(),
            untold: Vec::new(),
            waiting: Vec::new(),
        };
        let run = Run { path: self.path(job), last: Mutex::new(last), _lock: lock };
        run.note(|_| {})?;
        Ok(Some(run))
    }

    /// How the last run ended; none when there was none on this node. One that was killed while it
    /// waited does not wait any more, whatever it had noted.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn last(&self, job: &JobName) -> Result<Option<LastRun>, NodeError> {
        let path = self.path(job);
        match fs::read(&path) {
            // What is damaged is as good as absent: the next run writes it anew.
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok().map(|mut last: LastRun| {
                if !last.waiting.is_empty() && !self.is_running(job) {
                    last.waiting.clear();
                }
                last
            })),
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
    /// Notes for whom it waits now.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn waits(&self, waiting: Vec<Wait>) -> Result<(), NodeError> {
        self.note(|last| last.waiting = waiting)
    }

    /// Notes how it ended.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn end(&self, now: Moment, end: LastRunEnd) -> Result<(), NodeError> {
        self.note(|last| {
            (last.finished, last.exit_code) = (Some(now), Some(end.exit_code));
            (last.message, last.untold) = (end.message, end.untold);
            last.waiting.clear();
        })
    }

    /// Changes what is noted. One change after another, as they share a draft.
    fn note(&self, change: impl FnOnce(&mut LastRun)) -> Result<(), NodeError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut last);
        let draft = self.path.with_extension("json.tmp");
        let text = serde_json::to_string_pretty(&*last).unwrap_or_default();
        let written = fs::write(&draft, text).and_then(|()| fs::rename(&draft, &self.path));
        written.map_err(NodeError::write(self.path.clone()))
    }
}

/// The lock, unless another run holds it.
fn alone(mut file: File) -> Option<Flock<File>> {
    for _ in 0..TRIES {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Some(lock),
            Err((same, _)) => file = same,
        }
        std::thread::sleep(PAUSE);
    }
    None
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
        let untold = vec!["not told: x".into()];
        run.end(at(20), LastRunEnd { exit_code: 3, message: "db failed".into(), untold }).unwrap();
        drop(run);
        let last = runs.last(&job).unwrap().unwrap();
        assert_eq!((last.started, last.finished, last.exit_code), (at(10), Some(at(20)), Some(3)));
        assert!(!runs.is_running(&job));
        runs.forget(&job);
        assert_eq!(fs::read_dir(dir.path().join("jobs")).unwrap().count(), 0);
    }

    #[test]
    fn who_waits_is_noted_and_who_was_killed_while_it_waited_waits_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let runs = Runs::new(dir.path());
        let job: JobName = "nightly".parse().unwrap();
        let holder = crate::waits::WaitedFor::pve("backup");
        let wait = Wait { object: "guest 100".to_owned(), since: at(12), holder };
        let run = runs.begin(&job, at(10)).unwrap().unwrap();
        let waiting = vec![wait.clone()];
        run.waits(waiting.clone()).unwrap();
        assert_eq!(runs.last(&job).unwrap().unwrap().waiting, waiting);
        run.waits(Vec::new()).unwrap();
        let text = fs::read_to_string(runs.path(&job)).unwrap();
        assert!(!text.contains("waiting"), "{text}");
        run.waits(vec![wait.clone()]).unwrap();
        // As after kill -9: the file says that it waits, and nobody holds the lock.
        drop(run);
        assert!(fs::read_to_string(runs.path(&job)).unwrap().contains("guest 100"));
        let last = runs.last(&job).unwrap().unwrap();
        assert_eq!((last.waiting, last.finished), (Vec::new(), None));
        let run = runs.begin(&job, at(20)).unwrap().unwrap();
        assert_eq!(runs.last(&job).unwrap().unwrap().waiting, []);
        run.waits(vec![wait]).unwrap();
        run.end(at(30), LastRunEnd::default()).unwrap();
        assert_eq!(runs.last(&job).unwrap().unwrap().waiting, []);
    }

    #[test]
    fn a_look_at_a_job_keeps_no_run_of_it_from_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let runs = Runs::new(dir.path());
        let job: JobName = "nightly".parse().unwrap();
        drop(runs.begin(&job, at(10)).unwrap().unwrap());
        let look = File::open(runs.lock_path(&job)).unwrap();
        let look = Flock::lock(look, FlockArg::LockSharedNonblock).unwrap();
        std::thread::scope(|scope| {
            let begun = scope.spawn(|| runs.begin(&job, at(20)).unwrap());
            std::thread::sleep(PAUSE);
            drop(look);
            assert!(begun.join().unwrap().is_some());
        });
    }
}
