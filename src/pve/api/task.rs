//! Tasks of PVE: a request that takes long answers with an id, and the task is followed to its
//! end. Ends no task itself.

use super::Api;
use super::error::ApiError;
use super::request::Request;
use crate::clock::Stopwatch;
use crate::model::Invalid;
use serde_json::Value;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A task's id: `UPID:node:pid:pstart:start:type:id:user:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upid {
    text: String,
    node: String,
}

/// How a task ended that did its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskEnd {
    /// With `OK`.
    Ok,
    /// With `WARNINGS: n`: done, and its log says more.
    Warnings(u32),
}

/// The shortest and the longest pause between two looks at a task.
const PAUSES: (Duration, Duration) = (Duration::from_millis(150), Duration::from_secs(2));

/// Most snapshots take no longer than this; the pauses grow afterwards.
const SHORT: Duration = Duration::from_millis(1500);

impl Upid {
    /// The node that it runs on.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// The id in an answer.
    ///
    /// # Errors
    /// The answer is something else.
    pub fn in_answer(request: &Request, data: &Value) -> Result<Self, ApiError> {
        let text = data.as_str().and_then(|text| text.parse().ok());
        text.ok_or(ApiError::Answer { request: request.to_string(), what: "task id" })
    }
}

impl FromStr for Upid {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let fields: Vec<&str> = text.split(':').collect();
        let fits = fields.len() == 9 && fields[0] == "UPID" && !fields[1].is_empty();
        let clean = !text.contains(|c: char| c.is_whitespace() || c == '/');
        match fits && clean {
            true => Ok(Self { text: text.to_owned(), node: fields[1].to_owned() }),
            false => Err(Invalid::new(text, "a task id (UPID:...)")),
        }
    }
}

impl fmt::Display for Upid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl Api {
    /// Waits for a task's end, also while nobody answers: the task goes on meanwhile, and only what
    /// it says itself is its end.
    ///
    /// # Errors
    /// It failed, still runs after `limit`, or its end cannot be learnt. Each names the task.
    pub async fn follow(&self, upid: &Upid, limit: Duration) -> Result<TaskEnd, ApiError> {
        let watch = Stopwatch::start();
        let request = Request::get(format!("/nodes/{}/tasks/{upid}/status", upid.node()));
        let mut pause = PAUSES.0;
        loop {
            let unknown = match self.call(&request).await {
                Ok(status) if status["status"] == "stopped" => {
                    return ending(upid, status["exitstatus"].as_str());
                }
                Ok(_) => None,
                Err(error) if error.is_outage() => Some(error.without_claims()),
                Err(error) => {
                    let (upid, why) = (upid.to_string(), error.without_claims());
                    return Err(ApiError::TaskLost { upid, after: watch.elapsed(), why });
                }
            };
            if watch.elapsed() >= limit {
                return Err(too_late(upid, limit, unknown));
            }
            tokio::time::sleep(pause).await;
            if watch.elapsed() > SHORT {
                pause = (pause * 5 / 4).min(PAUSES.1);
            }
        }
    }
}

/// The error at the limit: whether the task still runs is known only if the last question was
/// answered.
fn too_late(upid: &Upid, after: Duration, unknown: Option<String>) -> ApiError {
    let upid = upid.to_string();
    match unknown {
        Some(why) => ApiError::TaskLost { upid, after, why },
        None => ApiError::TaskTimeout { upid, after },
    }
}

/// As `PVE::Tools::upid_status_is_error` judges it.
fn ending(upid: &Upid, exit: Option<&str>) -> Result<TaskEnd, ApiError> {
    let warnings = |text: &str| text.strip_prefix("WARNINGS:")?.trim().parse().ok();
    match exit {
        Some("OK") => Ok(TaskEnd::Ok),
        Some(text) => match warnings(text) {
            Some(count) => Ok(TaskEnd::Warnings(count)),
            None => Err(ApiError::Task { upid: upid.to_string(), reason: text.trim().to_owned() }),
        },
        None => {
            let reason = "it was stopped, or its node went down: nobody knows its end".to_owned();
            Err(ApiError::Task { upid: upid.to_string(), reason })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPID: &str = "UPID:pve1:00001A2B:0000C3D4:65A1B2C3:qmsnapshot:100:root@pam!x:";

    #[test]
    fn an_id_names_its_node_and_other_texts_are_none() {
        let upid: Upid = UPID.parse().unwrap();
        assert_eq!((upid.node(), upid.to_string().as_str()), ("pve1", UPID));
        for text in ["", "UPID:", "UPID::1:2:3:a:b:c:", "UPID:p/q:1:2:3:a:b:c:", "OK"] {
            assert!(text.parse::<Upid>().is_err(), "{text}");
        }
    }

    #[test]
    fn warnings_are_success_and_no_word_at_all_is_not() {
        let upid: Upid = UPID.parse().unwrap();
        assert_eq!(ending(&upid, Some("OK")).unwrap(), TaskEnd::Ok);
        assert_eq!(ending(&upid, Some("WARNINGS: 2")).unwrap(), TaskEnd::Warnings(2));
        for exit in [Some("snapshot feature is not available"), Some("WARNINGS: x"), None] {
            let error = ending(&upid, exit).unwrap_err();
            assert!(error.to_string().contains("UPID:pve1"), "{error}");
        }
    }
}
