//! How requests to the API fail, in words that name the request and what to do next. Not about
//! what a failure means for a run: its plan and its report say that.

use super::request::Request;
use crate::transport::TransportError;
use std::path::PathBuf;
use std::time::Duration;

/// A request that was not answered as hoped.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Words of the command line that name no host or no user.
    #[error("{0:?} is not {1}")]
    Form(String, &'static str),
    /// The certificates to trust cannot be read.
    #[error("cannot read the certificates in {}; nothing was sent", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// TLS cannot be used.
    #[error("cannot prepare TLS; nothing was sent")]
    Tls(#[from] rustls::Error),
    /// No host took the request. What other requests did before it is not known here.
    #[error("no host of the cluster answers, and this request changed nothing: {}", tried.join("; "))]
    Unreachable {
        /// Each host with what happened there.
        tried: Vec<String>,
    },
    /// The connection broke after the request may have arrived.
    #[error("{request}: the connection to {host} broke ({why}); it may have been carried out")]
    Unclear {
        /// The request.
        request: String,
        /// The host.
        host: String,
        /// How it broke.
        why: String,
    },
    /// The user or the token is not let in.
    #[error("{host} lets nobody in with these credentials: {reason}; nothing was changed")]
    Login {
        /// The host.
        host: String,
        /// What it said.
        reason: String,
    },
    /// A privilege is missing.
    #[error("{request}: permission denied: {}; nothing was changed", missing(privilege.as_ref(), reason))]
    Denied {
        /// The request.
        request: String,
        /// Path and privilege, where the answer names them.
        privilege: Option<(String, String)>,
        /// The answer.
        reason: String,
    },
    /// The API says no.
    #[error("{request}: {reason}")]
    Refused {
        /// The request.
        request: String,
        /// The HTTP status; 0 where there was none.
        status: u16,
        /// What it said, with its notes on single parameters.
        reason: String,
    },
    /// The answer is none that we know.
    #[error("{request}: the answer has no {what}")]
    Answer {
        /// The request.
        request: String,
        /// What is missing in it.
        what: &'static str,
    },
    /// `pvesh` could not be run or did not end.
    #[error("{request}: pvesh failed")]
    Pvesh {
        /// The request.
        request: String,
        /// How.
        source: TransportError,
    },
    /// A task ended with an error.
    #[error("task {upid} failed: {reason}")]
    Task {
        /// Its id.
        upid: String,
        /// Its last words.
        reason: String,
    },
    /// A task still runs.
    #[error(
        "task {upid} still runs after {} s (--timeout) and goes on; the next run takes up what it made",
        after.as_secs()
    )]
    TaskTimeout {
        /// Its id.
        upid: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// A task was started, and nobody tells what became of it.
    #[error(
        "task {upid} was started, and after {} s its end is not known: {why}; it goes on without us: \
         `pvenode task status {upid}` on a node of the cluster tells what became of it, and the next run takes up what it made",
        after.as_secs()
    )]
    TaskLost {
        /// Its id.
        upid: String,
        /// How long its end was asked for.
        after: Duration,
        /// What came instead of an answer.
        why: String,
    },
}

impl ApiError {
    /// The error for an answer with a status, or a message of pvesh.
    pub(super) fn refused(request: &Request, status: u16, reason: &str) -> Self {
        let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
        let request = request.to_string();
        match permission(&reason) {
            Some(privilege) => Self::Denied { request, privilege: Some(privilege), reason },
            None if status == 403 => Self::Denied { request, privilege: None, reason },
            None => Self::Refused { request, status, reason },
        }
    }

    /// Whether the guest is no longer on the node that was asked.
    pub fn says_moved(&self) -> bool {
        matches!(self, Self::Refused { reason, .. } if reason.contains("does not exist"))
    }

    /// Whether nobody answered, which may be otherwise soon: a proxy or a node that restarts.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Pvesh { .. })
    }

    /// Whether the node of the request said nothing: a proxy that cannot reach it answers with 595 to 599
    /// (pve-http-server).
    pub fn is_silence(&self) -> bool {
        let is_gateway = matches!(self, Self::Refused { status: 595..=599, .. });
        is_gateway || self.is_outage() || matches!(self, Self::Unclear { .. })
    }

    /// What happened to this request, without a word on what was changed: for a question that was
    /// asked after something had been.
    pub fn without_claims(&self) -> String {
        match self {
            Self::Unreachable { tried } => {
                format!("no host of the cluster answers: {}", tried.join("; "))
            }
            Self::Login { host, reason } => format!("{host} lets nobody in: {reason}"),
            Self::Denied { request, reason, .. } => format!("{request}: {reason}"),
            Self::Pvesh { request, source } => format!("{request}: pvesh failed: {source}"),
            other => other.to_string(),
        }
    }

    /// What the API or the task said, where it said something.
    pub fn reason(&self) -> &str {
        match self {
            Self::Refused { reason, .. } | Self::Denied { reason, .. } => reason,
            Self::Task { reason, .. } | Self::Login { reason, .. } => reason,
            _ => "",
        }
    }
}

fn missing(privilege: Option<&(String, String)>, reason: &str) -> String {
    match privilege {
        Some((path, privilege)) => {
            format!("the privilege {privilege} on {path} is missing (pveum acl modify grants it)")
        }
        None => reason.to_owned(),
    }
}

/// `Permission check failed (/vms/100, VM.Snapshot)` (`PVE::RPCEnvironment`): path and privilege.
fn permission(reason: &str) -> Option<(String, String)> {
    let (_, inner) = reason.split_once("Permission check failed (")?;
    let (path, privileges) = inner.split_once(')')?.0.split_once(',')?;
    Some((path.trim().to_owned(), privileges.trim().replace('|', " or ")))
}
