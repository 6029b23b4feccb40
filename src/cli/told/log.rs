//! The system's log where it is told unasked: where it is, and single lines of it. What it hears of a
//! run's end is `notify::text`'s to say.

use crate::notify::text::Severity;
use crate::notify::{Sink, syslog};
use crate::told::Settings;
use std::path::{Path, PathBuf};

/// The log as a sink, if this machine has one.
pub(super) fn sink() -> Option<Sink> {
    let is_there = socket().as_deref().unwrap_or(Path::new("/dev/log")).exists();
    is_there.then(|| Sink::Syslog(syslog::Target { socket: socket() }))
}

/// Puts the log's place into the settings.
pub(super) fn find(settings: &mut Settings) {
    for (sink, _) in &mut settings.sinks {
        if let Sink::Syslog(log) = sink {
            log.socket = socket();
        }
    }
}

/// Writes one line into the system's log, if this machine has one that takes it.
pub fn log((severity, text): (Severity, String)) {
    // One line is one record, whatever a path holds.
    let line = (severity, text.replace('\n', " | "));
    syslog::Target { socket: socket() }.tell_in_time(vec![line]);
}

/// Where the system's log is, if `PVE_FERRY_SYSLOG` moves it.
fn socket() -> Option<PathBuf> {
    let moved = std::env::var_os("PVE_FERRY_SYSLOG").filter(|path| !path.is_empty());
    moved.map(PathBuf::from)
}
