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
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Who starts its runs.
    #[serde(default)]
    pub runner: Runner,
    /// A line for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

fn yes() -> bool {
    true
}
