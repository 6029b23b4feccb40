//! The metrics files of jobs that this node does not run any more. Which files are ours, and of which
//! job, `notify::prometheus` knows; this knows which jobs there are.

use super::super::backup;
use super::our_files;
use crate::job::{Job, command_name};
use crate::pve::JobsCfg;
use crate::told::Settings;

/// Removes the files of jobs that were destroyed, renamed, moved to another node, or whose guests all
/// left this node. What could not be removed is the result.
pub fn remove_stale(cfg: &JobsCfg, node: &str) -> Vec<String> {
    // Whom nobody can be told of has no files that we could find.
    let text = our_files().read("notify.cfg").unwrap_or_default();
    let is_alive = |operation: &str, name: &str| {
        let is_damaged = cfg.damaged.iter().any(|(id, _)| id == name);
        let job = cfg.jobs.iter().find(|job| job.name.as_str() == name);
        is_damaged || job.is_some_and(|job| is_of(job, operation) && runs_here(job, node))
    };
    let targets = Settings::metrics_files(&text);
    let problems = targets.iter().flat_map(|target| target.remove_stale(&is_alive));
    problems.map(|problem| format!("{:#}", anyhow::Error::from(problem))).collect()
}

/// Whether runs of a job tell of themselves as this operation. Another job may have had its name.
fn is_of(job: &Job, operation: &str) -> bool {
    command_name(&job.operation) == operation
}

/// Whether a node runs a job, disabled or not. One that runs wherever guests are leaves this node with
/// the last of them, and their metrics are those of the node that they went to.
fn runs_here(job: &Job, node: &str) -> bool {
    if !job.runs_on(node) {
        return false;
    }
    let follows_guests = job.follows_guests();
    let vmid = job.option("vmid").unwrap_or_default();
    // What cannot be told is no reason to remove anything.
    !(follows_guests && matches!(backup::on_this_node(vmid), Ok(None)))
}
