//! The documents of `job list --json` and `job show --json`. Not for `jobs.cfg` itself.

use crate::job::cover::Severity;
use crate::job::cron_check::CronState;
use crate::job::{JobName, Runner};
use crate::model::{Moment, VmId};
use crate::node::last_run::LastRun;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

/// The jobs as one node sees them.
#[derive(Debug, Serialize, JsonSchema)]
pub struct JobList {
    /// The node.
    pub node: String,
    /// The jobs, in the order of `jobs.cfg`.
    pub jobs: Vec<ListedJob>,
    /// Jobs and other sections of `jobs.cfg` that cannot run.
    pub damaged: Vec<DamagedJob>,
    /// What is wrong with the file by which cron runs the jobs of this node; null when nothing is, when
    /// there are no jobs, and on a machine that is no node.
    pub cron_file: Option<CronFile>,
}

/// A cron file that is not what `jobs.cfg` wants.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CronFile {
    /// Where it is.
    pub path: String,
    /// What is the matter.
    pub state: CronState,
    /// How bad it is, as `status` counts it.
    pub status: Severity,
    /// What is different, in words.
    pub differences: Vec<String>,
    /// The jobs of this node that do not run at all.
    pub not_run: Vec<JobName>,
    /// What to do; null when there is nothing to do.
    pub advice: Option<&'static str>,
}

/// A section of `jobs.cfg` that cannot run.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DamagedJob {
    /// Its name as it stands there.
    pub name: String,
    /// Why it cannot run.
    pub error: String,
}

/// A job with what is known of its runs on this node.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ListedJob {
    /// The job.
    #[serde(flatten)]
    pub definition: JobDefinition,
    /// When it runs next; null when it never does.
    pub next_run: Option<Moment>,
    /// Whether it runs now, on this node.
    pub running: bool,
    /// Its last run on this node; null when there was none.
    pub last_run: Option<LastRun>,
    /// The guests that it selects.
    pub guests: Vec<JobGuest>,
    /// Why the points of its guests are not known; null when they are.
    pub guests_error: Option<String>,
}

/// A guest of a job.
#[derive(Debug, Serialize, JsonSchema)]
pub struct JobGuest {
    /// Its number.
    pub vmid: VmId,
    /// Its name.
    pub name: String,
    /// Its node.
    pub node: String,
    /// Its newest point of the job's label that was not found damaged; null when there is none.
    pub good_point: Option<Moment>,
    /// The age of that point, seconds.
    pub good_age_seconds: Option<i64>,
}

/// A job as it is defined.
#[derive(Debug, Serialize, JsonSchema)]
pub struct JobDefinition {
    /// Its name.
    pub name: JobName,
    /// The command that it runs.
    pub operation: String,
    /// When, as it stands in `jobs.cfg`.
    pub schedule: String,
    /// The same in words.
    pub schedule_words: String,
    /// The one node that runs it; null when every node does for the guests that it has.
    pub node: Option<String>,
    /// Whether it runs.
    pub enabled: bool,
    /// Who starts its runs.
    pub runner: Runner,
    /// A line for people; null when there is none.
    pub comment: Option<String>,
    /// The options of its command by their names, as text; a flag has an empty one.
    pub options: Map<String, Value>,
    /// The command line that it stands for.
    pub command: String,
}
