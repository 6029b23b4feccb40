//! The system's log: one datagram per line to its socket, with severity, name and process id. Not
//! for `--debug`'s lines, which go to stderr.

use super::NotifyError;
use super::text::Severity;
use crate::model::Moment;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;
use syslog::{Facility, LogFormat, Logger, LoggerBackend};

/// Which log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// Its socket; the system's own when none (`/dev/log`).
    pub socket: Option<PathBuf>,
}

/// The name that the lines bear.
const IDENTIFIER: &str = "pve-ferry";
/// No system's log takes longer records for sure.
const LONGEST: usize = 4000;

/// How long lines may take beside which somebody has other things to do.
const PATIENCE: Duration = Duration::from_secs(2);

impl Target {
    /// Writes the lines.
    ///
    /// # Errors
    /// The socket is not there or takes nothing.
    pub fn tell(&self, lines: &[(Severity, String)]) -> Result<(), NotifyError> {
        let failed = |error: syslog::Error| NotifyError::Syslog(error.to_string());
        let mut logger = self.open().map_err(failed)?;
        for (severity, line) in lines {
            let line = shortened(line);
            let written = match severity {
                Severity::Error => logger.err(line),
                Severity::Warning => logger.warning(line),
                Severity::Info => logger.info(line),
            };
            written.map_err(failed)?;
        }
        Ok(())
    }

    /// Writes the lines, and waits only so long for that: one that hangs keeps its thread, and nobody
    /// else. The program may end right after this, so they are waited for.
    pub fn tell_in_time(self, lines: Vec<(Severity, String)>) {
        let (done, written) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            if let Err(error) = self.tell(&lines) {
                tracing::debug!("{error}");
            }
            // Nobody may be waiting any more.
            let _ = done.send(());
        });
        let _ = written.recv_timeout(PATIENCE);
    }

    fn open(&self) -> Result<Logger<LoggerBackend, Form>, syslog::Error> {
        match &self.socket {
            Some(path) => syslog::unix_custom(Form, path),
            None => syslog::unix(Form),
        }
    }
}

/// The form of RFC 3164 as the C library writes it. The crate's own form asks for the local time
/// in a way that fails, and panics then, in a program with several threads.
#[derive(Debug, Clone, Copy)]
struct Form;

impl LogFormat<&str> for Form {
    fn format<W: Write>(
        &self,
        to: &mut W,
        severity: syslog::Severity,
        line: &str,
    ) -> Result<(), syslog::Error> {
        let priority = Facility::LOG_DAEMON as u8 | severity as u8;
        let time = stamp(crate::clock::Clock::System.now());
        let pid = std::process::id();
        write!(to, "<{priority}>{time} {IDENTIFIER}[{pid}]: {line}").map_err(syslog::Error::Write)
    }
}

/// `Nov  1 07:00:00`, local time.
fn stamp(now: Moment) -> String {
    let zone = crate::clock::local_zone();
    let now = jiff::Timestamp::from_second(now.unix()).unwrap_or_default();
    now.to_zoned(zone).strftime("%b %e %H:%M:%S").to_string()
}

fn shortened(line: &str) -> &str {
    let end = (0..=LONGEST.min(line.len())).rev().find(|at| line.is_char_boundary(*at));
    &line[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;
    use std::time::Duration;

    #[test]
    fn lines_arrive_with_severity_name_and_process() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("log");
        let log = UnixDatagram::bind(&socket).unwrap();
        log.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let target = Target { socket: Some(socket) };
        let long = format!("ä{}", "ö".repeat(5000));
        let lines = [
            (Severity::Error, "guest 100: FAILED".to_owned()),
            (Severity::Warning, "look".to_owned()),
            (Severity::Info, long),
        ];
        target.tell(&lines).unwrap();
        let heard = || {
            let mut buffer = [0; 9000];
            let count = log.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..count].to_vec()).unwrap()
        };
        let (error, warning, info) = (heard(), heard(), heard());
        let pid = std::process::id();
        assert!(error.starts_with("<27>"), "{error}");
        assert!(error.ends_with(&format!(" pve-ferry[{pid}]: guest 100: FAILED")), "{error}");
        assert!(warning.starts_with("<28>") && info.starts_with("<30>"), "{warning} {info}");
        assert!(info.len() < 4100, "{}", info.len());
    }

    #[test]
    fn a_log_that_is_not_there_is_an_error_and_no_panic() {
        let target = Target { socket: Some("/nonexistent/log".into()) };
        let error = target.tell(&[(Severity::Info, "x".into())]).unwrap_err();
        assert!(error.to_string().contains("log"), "{error}");
    }

    #[test]
    fn stamps_have_the_form_of_the_c_library() {
        let text = stamp(Moment::from_unix(1_767_225_600));
        assert_eq!(text.len(), 15, "{text}");
    }
}
