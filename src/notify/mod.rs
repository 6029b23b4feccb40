//! Tells others what a run did: each sink is a pure rendering of the one [`Report`], then one
//! send. Who is told when is not decided here: that is `told`.
//!
//! A sink never changes what a run did, and none may take longer than [`Sink::deadline`].

pub mod clean;
pub mod facts;
mod html;
pub mod influx;
pub mod mail;
pub mod prometheus;
pub mod pve;
pub mod syslog;
pub mod text;

pub use facts::{Occasion, Verdict};

use crate::report::Report;
use std::time::Duration;

/// How long a sink may take before it is given up; PVE's has longer, see [`pve::DEADLINE`].
pub const DEADLINE: Duration = Duration::from_secs(45);

/// One way to tell.
#[derive(Debug, Clone, PartialEq)]
pub enum Sink {
    /// The system's log.
    Syslog(syslog::Target),
    /// Mail to people.
    Mail(mail::Target),
    /// PVE's own notification system.
    Pve(pve::Target),
    /// A time series database.
    Influx(influx::Target),
    /// A file for Prometheus' node exporter.
    Prometheus(prometheus::Target),
}

/// Why a sink was not told. The run itself is not touched by it.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// A message could not be made of what is configured.
    #[error("the mail cannot be written: {0}; check the addresses")]
    Message(String),
    /// The mail server was not reached, or did not take it.
    #[error("the mail was not taken by {server}")]
    Smtp {
        /// Host and port.
        server: String,
        /// Why.
        source: lettre::transport::smtp::Error,
    },
    /// The local sendmail, or PVE's Perl, did not do it.
    #[error("{what} failed")]
    Command {
        /// What was tried.
        what: &'static str,
        /// How it failed.
        source: crate::transport::TransportError,
    },
    /// The system's log does not take lines.
    #[error("the system's log does not answer: {0}")]
    Syslog(String),
    /// The metrics were not taken.
    #[error("{server} did not take the metrics: {why}")]
    Http {
        /// The address without anything secret.
        server: String,
        /// The answer, or why there was none.
        why: String,
    },
    /// The metrics file cannot be written; the old one is there.
    #[error("cannot write {} (the one before it is untouched)", path.display())]
    File {
        /// Which one.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The metrics file of a job that is gone cannot be removed.
    #[error("cannot remove {}: its job does not run here any more, and it says so to nobody; remove it by hand", path.display())]
    Stale {
        /// Which one.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// PVE took the report and did not reach all targets to which it should go.
    #[error(
        "PVE did not tell all of its targets: {0}; each can be tested under Datacenter, Notifications"
    )]
    Targets(String),
    /// PVE was still at it when its time was over.
    #[error("PVE's notifications took longer than {} s; some targets may have been told already", pve::DEADLINE.as_secs())]
    Unfinished {
        /// How far it came.
        source: crate::transport::TransportError,
    },
    /// It did not end in time.
    #[error("no answer within {} s", _0.as_secs())]
    Late(Duration),
    /// Its thread died.
    #[error("its thread broke off")]
    Broken,
}

impl Sink {
    /// What the user calls it.
    pub fn name(&self) -> String {
        match self {
            Self::Syslog(_) => "syslog".to_owned(),
            Self::Mail(target) => format!("mail to {}", target.to.join(", ")),
            Self::Pve(_) => "PVE notification".to_owned(),
            Self::Influx(target) => format!("InfluxDB at {}", target.server()),
            Self::Prometheus(target) => format!("metrics file in {}", target.directory.display()),
        }
    }

    /// How long it may take before it is given up.
    pub fn deadline(&self) -> Duration {
        match self {
            // Its Perl has a deadline of its own, and knows what was done until then.
            Self::Pve(_) => pve::DEADLINE + Duration::from_secs(5),
            Self::Syslog(_) | Self::Mail(_) | Self::Influx(_) | Self::Prometheus(_) => DEADLINE,
        }
    }

    /// Tells it, within [`Sink::deadline`].
    ///
    /// # Errors
    /// It was not told.
    pub async fn tell(&self, occasion: &Occasion, report: &Report) -> Result<(), NotifyError> {
        let (occasion, report) = (occasion.clone(), report.clone());
        let told = async {
            match self.clone() {
                Self::Syslog(target) => {
                    on_a_thread(move || target.tell(&text::lines(&occasion, &report))).await
                }
                Self::Mail(target) => target.tell(&occasion, &report).await,
                Self::Pve(target) => target.tell(&occasion, &report).await,
                Self::Influx(target) => {
                    on_a_thread(move || target.tell(&influx::lines(&occasion, &report))).await
                }
                Self::Prometheus(target) => {
                    on_a_thread(move || target.tell(&occasion, &report)).await
                }
            }
        };
        let deadline = self.deadline();
        tokio::time::timeout(deadline, told).await.unwrap_or(Err(NotifyError::Late(deadline)))
    }
}

/// Does blocking work on a thread that is left behind when it does not end: a thread of the
/// runtime would hold the program back at its end.
async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NotifyError> + Send + 'static,
) -> Result<T, NotifyError> {
    let (done, waiting) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        // Nobody may be waiting any more.
        let _ = done.send(work());
    });
    waiting.await.unwrap_or(Err(NotifyError::Broken))
}

#[cfg(test)]
mod tests;
