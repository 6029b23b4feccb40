//! The API through `pvesh`, on the node that the path names: no credentials, and no network but
//! ssh. Not for machines that are no node.
//!
//! `pvesh create` and `delete` carry a task out themselves: they print its log, then its id as
//! JSON, and end with 0 whatever became of the task (`RESTEnvironment::fork_worker`). So the end
//! of a task is always asked for. A `pvesh` that is killed takes its task with it, so none is
//! killed at a timeout.

use super::error::ApiError;
use super::request::{Method, Request};
use crate::transport::{Command, Host, TransportError};
use serde_json::Value;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The way to a node; none names this one.
pub type HostOf = Arc<dyn Fn(Option<&str>) -> Host + Send + Sync>;

/// No task of a snapshot takes longer than a day.
const TASK: Duration = Duration::from_secs(86_400);

/// `pvesh` on the nodes.
#[derive(Clone)]
pub struct Pvesh {
    host_of: HostOf,
}

impl fmt::Debug for Pvesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pvesh")
    }
}

impl Pvesh {
    /// Uses these ways to the nodes.
    pub fn new(host_of: HostOf) -> Self {
        Self { host_of }
    }

    /// Sends a request and gives back the data of its answer.
    ///
    /// # Errors
    /// It is refused, or `pvesh` does not run.
    pub async fn call(&self, request: &Request) -> Result<Value, ApiError> {
        let host = (self.host_of)(request.node());
        let output =
            host.run(&command(request)).await.map_err(|source| failure(request, source))?;
        data(&String::from_utf8_lossy(&output.stdout))
            .ok_or_else(|| ApiError::Answer { request: request.to_string(), what: "JSON" })
    }
}

fn command(request: &Request) -> Command {
    let (command, word) = match request.method {
        Method::Get => (Command::reads("pvesh"), "get"),
        Method::Post => (Command::writes("pvesh").deadline(TASK), "create"),
        Method::Delete => (Command::writes("pvesh").deadline(TASK), "delete"),
    };
    let params =
        request.params.iter().flat_map(|(name, value)| [format!("--{name}"), value.clone()]);
    command.args([word, &request.path]).args(params).args(["--output-format", "json"])
}

fn failure(request: &Request, source: TransportError) -> ApiError {
    let stderr = source.stderr().trim().to_owned();
    match source.status().is_some() && !stderr.is_empty() {
        true => ApiError::refused(request, 0, &stderr),
        false => ApiError::Pvesh { request: request.to_string(), source },
    }
}

/// The document: all of the output, or its last line behind the log of a task.
fn data(stdout: &str) -> Option<Value> {
    let text = stdout.trim();
    if text.is_empty() {
        return Some(Value::Null);
    }
    let last = text.lines().next_back().unwrap_or_default();
    serde_json::from_str(text).or_else(|_| serde_json::from_str(last)).ok().or_else(|| {
        let upid = last.trim();
        upid.starts_with("UPID:").then(|| Value::String(upid.to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{Answer, Script};

    fn pvesh(script: &Arc<Script>) -> Pvesh {
        let script = script.clone();
        Pvesh::new(Arc::new(move |_| Host::Scripted(script.clone())))
    }

    #[tokio::test]
    async fn a_request_becomes_words_and_the_id_of_a_task_stands_behind_its_log() {
        let script = Script::new();
        let words = "pvesh create /nodes/pve1/qemu/100/snapshot --snapname a --output-format json";
        let log = "snapshotting 'drive-scsi0' (ceph:vm-100-disk-0)\n\"UPID:pve1:1:2:3:qmsnapshot:100:root@pam:\"\n";
        script.on_exactly(words, Answer::prints(log));
        let request = Request::post("/nodes/pve1/qemu/100/snapshot").with("snapname", "a");
        let data = pvesh(&script).call(&request).await.unwrap();
        assert_eq!(data, "UPID:pve1:1:2:3:qmsnapshot:100:root@pam:");
        assert_eq!(script.commands()[0].deadline, TASK, "a task is not killed at a timeout");
    }

    #[tokio::test]
    async fn what_pvesh_says_is_the_reason() {
        let script = Script::new();
        script.on("pvesh", Answer::fails(255, "Configuration file 'x' does not exist\n"));
        let error = pvesh(&script).call(&Request::get("/nodes/a/qemu/1/config")).await.unwrap_err();
        assert!(error.says_moved(), "{error}");
        script.on("pvesh", Answer::prints("no json"));
        assert!(pvesh(&script).call(&Request::get("/version")).await.is_err());
    }
}
