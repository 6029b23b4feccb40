//! jobs.cfg cannot be read, so that no job runs: told once, and not by every run of every job. A job
//! whose own section is at fault is not for here: that is `of_job`.

use super::super::error::CliError;
use super::super::{blocking, context, output, signals};
use super::log::{self, log};
use super::{Certificates, Listeners, Subject, Teller};
use crate::cancel::Cancel;
use crate::clock::Clock;
use crate::notify::Sink;
use crate::notify::text::Severity;
use crate::report::Report;
use crate::told::{self, Heard, When};

/// The state that lasts, and the file that remembers who was told of it.
const STATE: &str = "jobs.cfg";

/// Tells those of `notify.cfg` once, see [`told::tell_once`], and the system's log also where
/// `notify.cfg` does not name it or cannot be read, as when the cluster file system is not there.
/// Metrics are left out: they are of runs, and nothing would take this one back.
pub fn of_jobs_cfg(error: &CliError) -> Heard {
    let subject = Subject { operation: "job run", label: None, repository: None, dry_run: false };
    match Listeners::default().teller(&subject, Certificates::Checked) {
        Ok(teller) => teller.tell_once(error),
        Err(error) => {
            output::notice(&format!("pve-ferry: warning: nobody was told: {error}"));
            Heard::NotAll
        }
    }
}

/// jobs.cfg was read. If somebody was told that it could not be, the log hears that this is over, and
/// the next time is told again.
pub fn of_jobs_cfg_again() {
    if told::over(&context::state_directory(), STATE) {
        log((Severity::Info, "jobs.cfg can be read again: jobs run again".to_owned()));
    }
}

impl Teller {
    fn tell_once(mut self, error: &CliError) -> Heard {
        let sinks = &mut self.settings.sinks;
        sinks.retain(|(sink, _)| !matches!(sink, Sink::Prometheus(_) | Sink::Influx(_)));
        if !sinks.iter().any(|(sink, _)| matches!(sink, Sink::Syslog(_))) {
            sinks.extend(log::sink().map(|sink| (sink, When::Always)));
        }
        let text = format!("no job runs on this node: {error}");
        let span = (self.started, Clock::System.now());
        let report = Report::broken_off(self.operation, span, text, error.exit_code());
        log::find(&mut self.settings);
        let cancel = Cancel::default();
        let told = blocking(async {
            signals::listen(&cancel)?;
            let (about, state) = ((&self.occasion, &report), context::state_directory());
            Ok(told::tell_once(&self.settings, about, (&state, STATE), &cancel).await)
        });
        let (heard, problems) =
            told.unwrap_or_else(|error| (Heard::NotAll, vec![format!("nobody was told: {error}")]));
        problems.iter().for_each(|p| output::notice(&format!("pve-ferry: warning: {p}")));
        heard
    }
}
