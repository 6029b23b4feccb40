//! A job that broke off before its command knew whom to tell is told of all the same. What a command
//! tells of its own run is the parent's.

use super::super::end::Notified;
use super::super::error::CliError;
use super::{Certificates, Listeners, Subject, slip, warn};
use crate::run::Performed;
use crate::told;
use std::path::Path;

/// A job whose run broke off before anybody was notified of it.
pub struct BrokenJob<'a> {
    /// Its operation, as the reports of its command call it.
    pub operation: &'static str,
    /// Its name, or what was typed for it.
    pub name: &'a str,
    /// Its options by their long names, as far as they are known.
    pub options: &'a [(String, String)],
}

/// Tells of it: those of `notify.cfg`, and those whom the job's own words name, as far as they make sense.
pub fn of_job(job: &BrokenJob, error: &CliError) -> Notified {
    if slip::is_slip(error) {
        return Notified::default();
    }
    let option = |key: &str| job.options.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
    let mut all = told::addresses(option("mail").unwrap_or_default());
    all.retain(|one| told::is_address(one));
    let listeners = Listeners {
        mail: all,
        mail_when: option("mail-when").and_then(|word| word.parse().ok()),
        syslog: option("syslog").is_some(),
        job_name: Some(job.name.to_owned()),
        ..Listeners::default()
    };
    let repository = option("path").map(Path::new);
    let (operation, label) = (job.operation, option("label"));
    let subject = Subject { operation, label, repository, dry_run: false };
    let broken: Result<Performed, CliError> =
        Err(CliError::Coded(error.exit_code(), error.to_string()));
    match listeners.teller(&subject, Certificates::Checked) {
        // The error is the job's, which has it already.
        Ok(teller) => match teller.conclude(broken, false) {
            Ok(end) => end.notified,
            Err(end) => end.notified,
        },
        Err(error) => {
            let problem = format!("nobody was told: {error}");
            warn(&problem);
            Notified { is_done: false, problems: vec![problem] }
        }
    }
}
