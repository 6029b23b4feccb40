//! The only file that prints. Results go to stdout; progress, logs and errors to stderr, so that
//! a document on stdout is never mixed with anything.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use super::error::CliError;
use super::options::Logging;
use crate::waits::WAITING;
use std::io::{IsTerminal as _, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tracing::{Level, Metadata};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

/// What the run of a job holds back, as cron mails whatever is printed; none where everything is seen at
/// once. Nothing is made of it but what is printed.
static HELD: Mutex<Option<Held>> = Mutex::new(None);

#[derive(Default)]
struct Held {
    text: String,
    /// It is printed however the job ends.
    important: bool,
}

/// When the output of a job is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// While it comes.
    AtOnce,
    /// All at its end, and only when something is wrong.
    WhenWrong,
}

/// From now on what is said is the output of a job's run.
pub fn keep(seen: Seen) {
    *held() = (seen == Seen::WhenWrong).then(Held::default);
}

/// Ends a job's output: what was held back is printed if the code is not 0 or something in it is
/// important.
pub fn release(code: u8) {
    let Some(held) = held().take() else { return };
    if code != 0 || held.important {
        print(&held.text);
    }
}

/// What is said in this job is to be seen, although it ends well.
fn important() {
    if let Some(held) = held().as_mut() {
        held.important = true;
    }
}

/// Holds a text back, if this is a job's run that does; whether it did.
fn kept(text: &str) -> bool {
    let mut held = held();
    let Some(held) = held.as_mut() else { return false };
    held.text.push_str(text);
    true
}

fn held() -> MutexGuard<'static, Option<Held>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a guest, a repository or a tool calls itself may hold sequences that a terminal obeys. A
/// document escapes them for itself.
pub fn plain(text: &str) -> String {
    // Tabs stay: tables of a shell are made of them.
    let parts: Vec<String> = text.split('\t').map(crate::notify::clean::plain).collect();
    parts.join("\t")
}

/// A reader that went away is no error of ours.
fn print(text: &str) {
    let _ = write!(std::io::stdout(), "{text}");
}

/// Prints one line of a result.
pub fn line(line: &str) {
    text(&format!("{line}\n"));
}

/// Prints a text that ends its own lines.
pub fn text(text: &str) {
    result(&plain(text));
}

fn result(text: &str) {
    if !kept(text) {
        print(text);
    }
}

/// Prints one document.
pub fn json(document: &impl serde::Serialize) {
    match serde_json::to_string_pretty(document) {
        Ok(text) => result(&format!("{}\n", for_terminals(text))),
        // Our documents are made of strings, numbers and lists; they always have a JSON form.
        Err(error) => line(&format!("{{\"error\": \"{error}\"}}")),
    }
}

/// JSON has no need to escape DEL and the controls of ISO 6429 above it, which terminals obey.
fn for_terminals(document: String) -> String {
    if !document.contains(|c: char| ('\u{7f}'..='\u{9f}').contains(&c)) {
        return document;
    }
    let escaped = |c: char| match c {
        '\u{7f}'..='\u{9f}' => format!("\\u{:04x}", u32::from(c)),
        c => c.to_string(),
    };
    document.chars().map(escaped).collect()
}

/// Prints what a person should know now, on stderr.
pub fn notice(text: &str) {
    let text = plain(text);
    if !kept(&format!("{text}\n")) {
        let _ = writeln!(std::io::stderr(), "{text}");
    }
}

/// The same for what is to be seen also when a job ends well.
pub fn warning(text: &str) {
    important();
    notice(text);
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

/// Which log lines are seen.
struct Log {
    debug: bool,
    quiet: bool,
}

/// Where one log line goes.
enum LogLine {
    Stderr,
    /// As a notice, which a job holds back.
    Notice,
    Nowhere,
}

impl MakeWriter<'_> for Log {
    type Writer = LogLine;

    fn make_writer(&self) -> LogLine {
        LogLine::Stderr
    }

    fn make_writer_for(&self, about: &Metadata<'_>) -> LogLine {
        match (self.debug || *about.level() <= Level::WARN, about.target()) {
            (true, _) => LogLine::Stderr,
            (false, WAITING) if !self.quiet => LogLine::Notice,
            (false, _) => LogLine::Nowhere,
        }
    }
}

impl std::io::Write for LogLine {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Stderr => return std::io::stderr().write(bytes),
            Self::Notice => notice(String::from_utf8_lossy(bytes).trim_end()),
            Self::Nowhere => {}
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Sends log lines to stderr: all with `--debug`, otherwise warnings only, as cron mails what is
/// printed, and for whom a run waits.
pub fn start_logging(logging: &Logging) {
    let level = if logging.debug { LevelFilter::DEBUG } else { LevelFilter::INFO };
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(Log { debug: logging.debug, quiet: logging.quiet })
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    // A second call would fail; there is none.
    let _ = subscriber.try_init();
}

/// Has what a report warns of seen, also when a job ends well.
pub fn heed(report: &crate::report::Report) {
    if !report.warnings.is_empty() || report.guests.iter().any(|guest| !guest.warnings.is_empty()) {
        important();
    }
}

/// Prints what an operation did: the plans of a dry run, or the report.
pub fn performed(performed: &crate::run::Performed, as_json: bool) {
    heed(&performed.report);
    let dry = !performed.plans.is_empty();
    match (dry, as_json) {
        (true, true) => json(&super::report::plans(performed)),
        (true, false) => text(&super::report::dry_run(performed)),
        (false, true) => json(&performed.report),
        (false, false) => text(&super::report::text(&performed.report)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_keeps_its_lines_and_tabs_and_loses_what_a_terminal_obeys() {
        assert_eq!(plain("a\tb\n\u{1b}[31mred\u{1b}[0m\r\n"), "a\tb\nred\n");
    }

    #[test]
    fn a_document_means_the_same_and_holds_nothing_that_a_terminal_obeys() {
        let name = "a\u{1b}[2J\u{9b}31m\u{7f}\u{9d}0;t\u{9c}ä";
        let text =
            for_terminals(serde_json::to_string(&serde_json::json!({ "name": name })).unwrap());
        assert!(!text.contains(char::is_control), "{text:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap()["name"], name);
    }
}
