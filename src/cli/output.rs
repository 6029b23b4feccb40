//! The only file that prints. Results go to stdout; progress, logs and errors to stderr, so that
//! a document on stdout is never mixed with anything.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use super::error::CliError;
use super::options::Logging;
use std::io::{IsTerminal as _, Write as _};
use tracing_subscriber::filter::LevelFilter;

/// Prints one line of a result. A reader that went away is no error of ours.
pub fn line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Prints a text that ends its own lines.
pub fn text(text: &str) {
    let _ = write!(std::io::stdout(), "{text}");
}

/// Prints one document.
pub fn json(document: &impl serde::Serialize) {
    match serde_json::to_string_pretty(document) {
        Ok(text) => line(&text),
        // Our documents are made of strings, numbers and lists; they always have a JSON form.
        Err(error) => line(&format!("{{\"error\": \"{error}\"}}")),
    }
}

/// Prints what a person should know now, on stderr.
pub fn notice(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Prints the error that ends the program; the help that was asked for goes to stdout.
pub fn error(error: &CliError) {
    match error {
        CliError::Clap(error) => drop(error.print()),
        other => notice(&format!("pve-ferry: error: {other}")),
    }
}

/// Whether a person sits in front of it.
pub fn is_interactive() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Sends log lines to stderr: all with `--debug`, otherwise warnings only, as cron mails what is
/// printed.
pub fn start_logging(logging: &Logging) {
    let level = if logging.debug { LevelFilter::DEBUG } else { LevelFilter::WARN };
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    // A second call would fail; there is none.
    let _ = subscriber.try_init();
}

/// Prints what an operation did: the plans of a dry run, or the report.
pub fn performed(performed: &crate::operation::Performed, as_json: bool) {
    let dry = !performed.plans.is_empty();
    match (dry, as_json) {
        (true, true) => json(&super::report::plans(performed)),
        (true, false) => text(&super::report::dry_run(performed)),
        (false, true) => json(&performed.report),
        (false, false) => text(&super::report::text(&performed.report)),
    }
}
