//! What is between the program and who typed it: words that make no sense, a question answered with
//! no. Nobody else is told of it.

use super::super::agree::Declined;
use super::super::error::CliError;
use super::super::output;
use crate::report::{Failure, Report};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether nobody sees what is printed. The program does one thing.
static UNWATCHED: AtomicBool = AtomicBool::new(false);

/// From now on nobody sees what is printed, as in a scheduled run: then words that a later version does
/// not know any more are a backup that is not made.
pub fn unwatched() {
    UNWATCHED.store(true, Ordering::Relaxed);
}

/// Whether an error is nobody else's business.
pub(super) fn is_slip(error: &CliError) -> bool {
    !UNWATCHED.load(Ordering::Relaxed)
        && (error.exit_code() == Failure::Usage.code() || is_a_no(error))
}

/// Whether a report only says that what was typed names nothing, to the person who typed it.
pub(super) fn selects_nothing(report: &Report) -> bool {
    !UNWATCHED.load(Ordering::Relaxed)
        && output::is_interactive()
        && report.guests.is_empty()
        && report.exit_code() == 4
}

fn is_a_no(error: &CliError) -> bool {
    let CliError::Other(error) = error else { return false };
    error.chain().any(|cause| cause.is::<Declined>() || cause.is::<dialoguer::Error>())
}
