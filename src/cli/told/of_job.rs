//! A job that broke off before its command knew whom to tell is told of all the same. What a command
//! tells of its own run is the parent's.

use super::super::error::CliError;
use super::{Certificates, Listeners, Subject, slip, untold};
use crate::operation::Performed;
use crate::told;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether somebody was told, or would have been if anybody were named. The program does one thing.
pub(super) static TOLD: AtomicBool = AtomicBool::new(false);

/// Tells of a job that broke off before its command knew whom to tell: those of `notify.cfg`, and
/// those whom the job's own words name, as far as they make sense. Does nothing when its command told.
pub fn of_job(
    (operation, name): (&'static str, &str),
    options: &[(String, String)],
    error: &CliError,
) {
    if TOLD.load(Ordering::Relaxed) || slip::is_slip(error) {
        return;
    }
    let option = |key: &str| options.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
    let mut all = told::addresses(option("mail").unwrap_or_default());
    all.retain(|one| told::is_address(one));
    let listeners = Listeners {
        mail: all,
        mail_when: option("mail-when").and_then(|word| word.parse().ok()),
        syslog: option("syslog").is_some(),
        job_name: Some(name.to_owned()),
        ..Listeners::default()
    };
    let repository = option("path").map(Path::new);
    let subject = Subject { operation, label: option("label"), repository, dry_run: false };
    let broken: Result<Performed, CliError> =
        Err(CliError::Coded(error.exit_code(), error.to_string()));
    match listeners.teller(&subject, Certificates::Checked) {
        // The error is the job's, which is returned already.
        Ok(teller) => drop(teller.conclude(broken, false)),
        Err(error) => untold::warn(&format!("nobody was told: {error}")),
    }
}
