//! A job's run that waits for another: whoever looks can see for whom, while it waits. Not the wait
//! itself, nor what a terminal is shown of it: see `crate::waits`.

use super::super::{output, told};
use super::runs;
use crate::job::JobName;
use crate::node::last_run::{LastRun, Run};
use crate::notify::text::Severity;
use crate::waits::{Listener, Listening, Wait, listen};
use std::sync::Arc;

/// From now on the run's waits stand in `job list`, and a line about each in the system's log, until
/// what comes back is dropped.
pub fn noted(job: &JobName, run: &Arc<Run>) -> Listening {
    listen(Arc::new(Noted { job: job.clone(), run: run.clone() }))
}

struct Noted {
    job: JobName,
    run: Arc<Run>,
}

impl Listener for Noted {
    fn job(&self) -> &str {
        self.job.as_str()
    }

    fn begun(&self, wait: &Wait) {
        told::log((Severity::Info, format!("job {} waits for {wait}", self.job)));
    }

    fn changed(&self, all: Vec<Wait>) {
        // It is seen only when something else is wrong, too: a run that works is not to be mailed.
        if let Err(error) = self.run.waits(all) {
            let error = anyhow::Error::from(error);
            output::notice(&format!(
                "warning: `job list` does not show who is waited for: {error:#}"
            ));
        }
    }
}

/// A job's waits in lines under the table of jobs; nothing when it waits for nobody.
pub fn lines(job: &JobName, last: Option<&LastRun>) -> String {
    let waiting = last.map_or(&[][..], |last| &last.waiting);
    let line = |wait: &Wait| format!("job {job} has waited since {} for {wait}\n", wait.since);
    waiting.iter().map(line).collect()
}

/// What is known of a run that is under way: since when, and for whom it waits.
pub fn under_way(job: &JobName) -> String {
    // What cannot be read is not known; that it runs is certain.
    let Some(last) = runs().last(job).ok().flatten() else { return String::new() };
    let waits =
        last.waiting.iter().map(|wait| format!(", waiting since {} for {wait}", wait.since));
    format!(" (since {}{})", last.started, waits.collect::<String>())
}
