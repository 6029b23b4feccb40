//! How commands fail. Not what that means: the drivers above know.

use crate::model::Bytes;
use std::fmt;
use std::time::Duration;

/// A command that did not end well. The texts hold the redacted command and the last lines of
/// its standard error.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The program was not started, so nothing was changed.
    #[error("cannot start `{command}`; nothing was changed")]
    Start {
        /// The redacted command.
        command: String,
        /// Why not.
        source: std::io::Error,
    },
    /// It ended, but not with 0.
    #[error("`{command}` {ending}{}", trailing(stderr))]
    Failed {
        /// The redacted command.
        command: String,
        /// How it ended.
        ending: Ending,
        /// The last 20 lines of its standard error.
        stderr: String,
    },
    /// It did not end in time and was killed.
    #[error("`{command}` did not end within {after:?} and was killed{}", trailing(stderr))]
    Deadline {
        /// The redacted command.
        command: String,
        /// The deadline.
        after: Duration,
        /// The last 20 lines of its standard error.
        stderr: String,
    },
    /// It printed more than anybody asked for, and was killed.
    #[error(
        "`{command}` printed more than {}, which is no answer of this program, and was killed",
        Bytes(*limit as u64)
    )]
    TooMuch {
        /// The redacted command.
        command: String,
        /// How many bytes it might have printed.
        limit: usize,
    },
    /// ssh itself failed: the node does not answer, or does not let us in.
    #[error("cannot reach node {node}; `{command}` may not have run there{}", trailing(stderr))]
    Unreachable {
        /// The node's name.
        node: String,
        /// The redacted command.
        command: String,
        /// The last 20 lines of standard error.
        stderr: String,
    },
    /// Its pipes broke although it may have run.
    #[error("cannot follow `{command}`; it may have run")]
    Pipe {
        /// The redacted command.
        command: String,
        /// What broke.
        source: std::io::Error,
    },
    /// A test's script holds no answer for it.
    #[error("unexpected command: `{command}`")]
    Unexpected {
        /// The redacted command.
        command: String,
    },
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// By itself, with this status.
    Status(i32),
    /// By this signal.
    Signal(i32),
}

impl TransportError {
    /// How the process ended, when it did by itself or by a signal that was not ours.
    pub fn ending(&self) -> Option<Ending> {
        match self {
            Self::Failed { ending, .. } => Some(*ending),
            _ => None,
        }
    }

    /// The exit status, when the process ended by itself.
    pub fn status(&self) -> Option<i32> {
        match self.ending() {
            Some(Ending::Status(status)) => Some(status),
            _ => None,
        }
    }

    /// The last lines of standard error; empty when there are none.
    pub fn stderr(&self) -> &str {
        match self {
            Self::Failed { stderr, .. }
            | Self::Deadline { stderr, .. }
            | Self::Unreachable { stderr, .. } => stderr,
            _ => "",
        }
    }

    /// Whether the program surely never began its work.
    pub fn did_not_run(&self) -> bool {
        matches!(self, Self::Start { .. } | Self::Unexpected { .. })
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "ended with status {status}"),
            Self::Signal(signal) => write!(f, "was killed by signal {signal}"),
        }
    }
}

/// The last 20 lines that are not empty.
pub(super) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

fn trailing(stderr: &str) -> String {
    if stderr.is_empty() { String::new() } else { format!(":\n{stderr}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_twenty_lines_are_kept() {
        let text: String = (0..30).map(|n| format!("line {n}\n\n")).collect();
        let kept = last_lines(&text);
        assert!(kept.starts_with("line 10\n") && kept.ends_with("line 29"), "{kept}");
        assert_eq!(last_lines("\n \n"), "");
    }
}
