//! How a command ended, as data: what it did, its exit code, and what came of telling others. Whoever
//! runs a command for a job makes the job's record of it, and nobody reads printed text for that.
//! Prints nothing.

use super::error::CliError;
use crate::report::Report;

/// The end of a command.
pub type CommandResult = Result<CommandEnd, CommandError>;

/// A command that came to its end, however well.
#[derive(Debug, Default)]
pub struct CommandEnd {
    /// The exit code (see the table in the help text).
    pub code: u8,
    /// What it did; none of commands that do nothing to guests or restore points.
    pub report: Option<Report>,
    /// Who was notified of it.
    pub notified: Notified,
}

/// A command that broke off.
#[derive(Debug)]
pub struct CommandError {
    /// Why.
    pub error: CliError,
    /// Who was notified of it.
    pub notified: Notified,
}

/// What came of notifying others of a command's end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notified {
    /// Whether that is done: those that are named, if any are, were notified or could not be. Otherwise
    /// the command did not come to it, or it is nobody else's business.
    pub is_done: bool,
    /// Who could not be notified, and why.
    pub problems: Vec<String>,
}

impl CommandEnd {
    /// What the user is to hear first where it did not end well: the first guest that failed, in a line;
    /// nothing where no guest did.
    pub fn first_failure(&self) -> Option<String> {
        self.report.as_ref().and_then(super::report::first_failure)
    }
}

impl From<u8> for CommandEnd {
    /// The end of a command that notifies nobody.
    fn from(code: u8) -> Self {
        Self { code, ..Self::default() }
    }
}

impl<E: Into<CliError>> From<E> for CommandError {
    /// An error of which nobody was notified yet.
    fn from(error: E) -> Self {
        Self { error: error.into(), notified: Notified::default() }
    }
}
