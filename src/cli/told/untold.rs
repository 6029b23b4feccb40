//! What could not be told, until the run of a job notes it: a broken relay must not be found out with
//! the first failed backup. What is told and to whom is the parent's.

use super::super::output;
use std::sync::{Mutex, PoisonError};

/// The program does one thing, and a job's run is one of them.
static UNTOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Says that somebody could not be told. It is seen also when a job ends well.
pub(super) fn warn(problem: &str) {
    output::warning(&format!("pve-ferry: warning: {problem}"));
    UNTOLD.lock().unwrap_or_else(PoisonError::into_inner).push(problem.to_owned());
}

/// What could not be told since this was asked last.
pub fn untold() -> Vec<String> {
    std::mem::take(&mut *UNTOLD.lock().unwrap_or_else(PoisonError::into_inner))
}
