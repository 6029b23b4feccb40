//! Whether this node's cron file is what jobs.cfg makes of it. Reads only; what is different and how
//! bad that is, `job::cron_check` knows.

use super::super::context::is_node;
use super::super::error::CliError;
use super::{FILE, cron_d, jobs, our_files, this_node};
use crate::clock::Clock;
use crate::job::cron_check::{CronDifference, CronFacts, compare};
use crate::job::crontab::rendered;

/// What is different; none when nothing is, when there are no jobs, and on a machine that is no node.
///
/// # Errors
/// The cluster's files cannot be read.
pub fn cron_file() -> Result<Option<CronDifference>, CliError> {
    let cfg = jobs()?;
    if !is_node() || (cfg.jobs.is_empty() && cfg.damaged.is_empty()) {
        return Ok(None);
    }
    let cron = cron_d();
    let path = cron.path().display().to_string();
    let found = match cron.found() {
        Ok(found) => found,
        Err(error) => {
            // Its own text is about the path, which is said already.
            let why = std::error::Error::source(&error).map(ToString::to_string);
            let why = why.unwrap_or_else(|| error.to_string());
            return Ok(Some(CronDifference::unreadable(path, why)));
        }
    };
    let changed = our_files().changed(FILE);
    Ok(compare(&CronFacts {
        path: &path,
        found: found.as_ref().map(|found| found.text.as_str()),
        refused: found.as_ref().and_then(|found| found.refused),
        wanted: &rendered(&cfg.jobs, &cfg.damaged, &this_node()?),
        changed_ago: changed.map(|changed| Clock::System.now().unix() - changed.unix()),
    }))
}
