//! The options that every job in `jobs.cfg` has. Not those of its operation: they are the options of
//! its command, and `cli::reference` makes their schema out of the command line's definition.

use crate::job::Runner;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a job in `jobs.cfg` has beside the options of its operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobOptions {
    /// When the job runs, in the node's local time: hourly, daily, weekly, monthly, or the five
    /// fields of cron.
    pub schedule: String,
    /// The one node that runs the job. Without it every node runs it for the guests that it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Whether the job runs.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub enabled: bool,
    /// Who starts its runs.
    #[serde(default, skip_serializing_if = "is_cron")]
    pub runner: Runner,
    /// A line for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

fn yes() -> bool {
    true
}

fn is_yes(flag: &bool) -> bool {
    *flag
}

fn is_cron(runner: &Runner) -> bool {
    *runner == Runner::Cron
}
