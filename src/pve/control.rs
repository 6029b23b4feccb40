//! Asks a guest's state and starts it with PVE's own commands, on the node where it runs. Not for its
//! configuration, which is a file, nor for freezing it, which is a guard's (`execute::guard`).
//!
//! `qm guest cmd` ends with 0 even when the agent refused: it then prints the agent's error as a
//! JSON object instead of the answer (`API2/Qemu/Agent.pm`, `QMPClient.pm`). So nothing but the
//! expected answer counts as success.

use crate::model::{GuestKind, VmId};
use crate::transport::{Command, Host, TransportError};
use std::time::Duration;

/// One guest on the node that has it now.
#[derive(Debug, Clone)]
pub struct GuestControl {
    /// The node.
    pub host: Host,
    /// Virtual machine or container.
    pub kind: GuestKind,
    /// Its number.
    pub vmid: VmId,
}

/// Whether a guest runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestStatus {
    /// It runs.
    Running,
    /// It does not, and nothing uses its volumes.
    Stopped,
    /// Its process is there but does not run: `paused`, `prelaunch`, `io-error`. Its volumes are
    /// in use.
    Other(String),
}

/// Whether a guest's file systems are frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FreezeStatus {
    /// They are: the guest cannot write.
    Frozen,
    /// They are not.
    Thawed,
}

/// What went wrong with a guest.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The command failed.
    #[error("guest {vmid}: cannot {task}")]
    Command {
        /// The guest.
        vmid: VmId,
        /// What was to be done.
        task: &'static str,
        /// How the command failed.
        source: TransportError,
    },
    /// The command ended well, but its answer is none that we know: what it was to do may not have
    /// been done.
    #[error("guest {vmid}: cannot {task}: the answer was {answer:?}")]
    Answer {
        /// The guest.
        vmid: VmId,
        /// What was to be done.
        task: &'static str,
        /// What was printed instead, shortened.
        answer: String,
    },
}

impl ControlError {
    /// Whether PVE says that there is no agent, or none that answers.
    pub fn is_no_agent(&self) -> bool {
        matches!(self, Self::Command { source, .. } if says_no_agent(source))
    }
}

/// The longest piece of an unknown answer that an error shows, in characters.
const SHOWN_ANSWER: usize = 200;

/// A start loads memory and waits for volumes.
const START_DEADLINE: Duration = Duration::from_secs(300);

impl GuestControl {
    /// Whether the guest runs.
    ///
    /// # Errors
    /// The command failed: there is no such guest on this node, or the node cannot be reached.
    pub async fn status(&self) -> Result<GuestStatus, ControlError> {
        const TASK: &str = "ask its status";
        let command = Command::reads(self.program()).args(["status".to_owned(), self.number()]);
        let answer = self.run(TASK, &command).await?;
        match answer.strip_prefix("status:").map(str::trim) {
            Some("running") => Ok(GuestStatus::Running),
            Some("stopped") => Ok(GuestStatus::Stopped),
            Some(other) if !other.is_empty() => Ok(GuestStatus::Other(other.to_owned())),
            _ => Err(self.strange(TASK, &answer)),
        }
    }

    /// Whether the guest's file systems are frozen: the one question whose answer shows that there is
    /// an agent that can freeze, too.
    ///
    /// # Errors
    /// The agent refused or did not answer; [`ControlError::is_no_agent`] tells which.
    pub async fn freeze_status(&self) -> Result<FreezeStatus, ControlError> {
        const TASK: &str = "ask whether it is frozen";
        let command = Command::reads("qm").args(["guest", "cmd"]);
        let command = command.args([self.number(), "fsfreeze-status".to_owned()]);
        let answer = self.run(TASK, &command).await?;
        match answer.trim_matches('"') {
            "frozen" => Ok(FreezeStatus::Frozen),
            "thawed" => Ok(FreezeStatus::Thawed),
            _ => Err(self.strange(TASK, &answer)),
        }
    }

    /// Starts the guest.
    ///
    /// # Errors
    /// It did not start within five minutes, or runs already.
    pub async fn start(&self) -> Result<(), ControlError> {
        let command = Command::writes(self.program()).args(["start".to_owned(), self.number()]);
        self.run("start it", &command.deadline(START_DEADLINE)).await.map(drop)
    }

    /// Lets PVE look at the guest's volumes again: it corrects sizes and lists disks that are not
    /// attached.
    ///
    /// # Errors
    /// The command failed.
    pub async fn rescan(&self) -> Result<(), ControlError> {
        let words: &[&str] = match self.kind {
            GuestKind::Qemu => &["disk", "rescan", "--vmid"],
            GuestKind::Lxc => &["rescan", "--vmid"],
        };
        let command = Command::writes(self.program()).args(words.iter().copied());
        let command = command.arg(self.number()).deadline(START_DEADLINE);
        self.run("scan its volumes", &command).await.map(drop)
    }

    fn program(&self) -> &'static str {
        match self.kind {
            GuestKind::Qemu => "qm",
            GuestKind::Lxc => "pct",
        }
    }

    fn number(&self) -> String {
        self.vmid.to_string()
    }

    async fn run(&self, task: &'static str, command: &Command) -> Result<String, ControlError> {
        let output = self.host.run(command).await;
        let output =
            output.map_err(|source| ControlError::Command { vmid: self.vmid, task, source })?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn strange(&self, task: &'static str, answer: &str) -> ControlError {
        let answer = agent_error(answer).unwrap_or_else(|| answer.to_owned());
        let answer = answer.chars().take(SHOWN_ANSWER).collect();
        ControlError::Answer { vmid: self.vmid, task, answer }
    }
}

/// The number of file systems that an agent has frozen or thawed, as `qm guest cmd` prints it.
///
/// # Errors
/// It prints something else, also when it ends with 0: the agent's own words, where it refused.
pub fn answered_count(text: &str) -> Result<u64, String> {
    let text = text.trim();
    text.parse().map_err(|_| agent_error(text).unwrap_or_else(|| text.to_owned()))
}

/// The words of an agent's error: `{"error": {"class": ..., "desc": ...}}`.
fn agent_error(answer: &str) -> Option<String> {
    // What a program complained of may stand behind it.
    let mut values = serde_json::Deserializer::from_str(answer).into_iter::<serde_json::Value>();
    let value = values.next()?.ok()?;
    Some(value.get("error")?.get("desc")?.as_str()?.trim().to_owned())
}

/// What `assert_agent_available` says (`Agent.pm`). The text decides, because over ssh the status
/// of a failed `qm` is the one that ssh uses for itself.
fn says_no_agent(error: &TransportError) -> bool {
    let stderr = error.stderr().to_ascii_lowercase();
    ["is not running", "no qemu guest agent"].iter().any(|text| stderr.contains(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{Answer, Script};
    use std::sync::Arc;

    fn guest(kind: GuestKind, script: &Arc<Script>) -> GuestControl {
        GuestControl { host: Host::Scripted(script.clone()), kind, vmid: 100.try_into().unwrap() }
    }

    fn vm(script: &Arc<Script>) -> GuestControl {
        guest(GuestKind::Qemu, script)
    }

    #[tokio::test]
    async fn the_status_is_the_process_not_the_wish() {
        for (answer, expected) in [
            ("status: running\n", GuestStatus::Running),
            ("status: stopped\n", GuestStatus::Stopped),
            ("status: paused\n", GuestStatus::Other("paused".into())),
        ] {
            let script = Script::new();
            script.on_exactly("qm status 100", Answer::prints(answer));
            script.on_exactly("pct status 100", Answer::prints(answer));
            assert_eq!(vm(&script).status().await.unwrap(), expected);
            assert_eq!(guest(GuestKind::Lxc, &script).status().await.unwrap(), expected);
        }
    }

    #[tokio::test]
    async fn an_empty_status_is_an_error() {
        let script = Script::new();
        script.on("qm status", Answer::prints("status: \n"));
        let error = vm(&script).status().await.unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"guest 100: cannot ask its status: the answer was "status:""#
        );
    }

    #[tokio::test]
    async fn an_agent_that_does_not_run_is_told_from_another_failure() {
        let script = Script::new();
        let is_no_agent = async |answer: Answer| {
            script.on("qm guest cmd 100 fsfreeze-status", answer);
            vm(&script).freeze_status().await.unwrap_err().is_no_agent()
        };
        assert!(is_no_agent(Answer::fails(255, "QEMU guest agent is not running\n")).await);
        assert!(is_no_agent(Answer::fails(255, "No QEMU guest agent configured\n")).await);
        assert!(!is_no_agent(Answer::fails(2, "unable to open config\n")).await);
        assert!(!is_no_agent(Answer::nothing()).await);
    }

    #[tokio::test]
    async fn the_agent_says_whether_the_guest_is_frozen() {
        let script = Script::new();
        let vm = vm(&script);
        for (answer, status) in
            [("frozen\n", FreezeStatus::Frozen), ("\"thawed\"\n", FreezeStatus::Thawed)]
        {
            script.on_exactly("qm guest cmd 100 fsfreeze-status", Answer::prints(answer));
            assert_eq!(vm.freeze_status().await.unwrap(), status);
        }
    }

    #[tokio::test]
    async fn an_agents_refusal_is_an_error_although_qm_ends_with_0() {
        let refusal = "{\n   \"error\" : {\n      \"class\" : \"GenericError\",\n      \
                       \"desc\" : \"The command guest-fsfreeze-status has been disabled\"\n   }\n}\n";
        let script = Script::new();
        script.on("qm guest cmd 100", Answer::prints(refusal));
        let error = vm(&script).freeze_status().await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "guest 100: cannot ask whether it is frozen: the answer was \
             \"The command guest-fsfreeze-status has been disabled\""
        );
        let disabled = "The command guest-fsfreeze-status has been disabled";
        assert_eq!(answered_count(refusal), Err(disabled.to_owned()));
        assert_eq!(answered_count(&format!("{refusal} and a warning")), Err(disabled.to_owned()));
        assert_eq!(answered_count(" 3\n"), Ok(3));
        assert_eq!(answered_count(""), Err(String::new()), "no number is no success");
    }

    #[tokio::test]
    async fn starting_and_scanning_use_each_kinds_own_words() {
        let script = Script::new();
        script.on("qm", Answer::nothing()).on("pct", Answer::nothing());
        for kind in [GuestKind::Qemu, GuestKind::Lxc] {
            guest(kind, &script).start().await.unwrap();
            guest(kind, &script).rescan().await.unwrap();
        }
        assert_eq!(
            script.log(),
            ["qm start 100", "qm disk rescan --vmid 100", "pct start 100", "pct rescan --vmid 100"]
        );
        script.on("qm start", Answer::fails(255, "VM 100 already running\n"));
        let error = vm(&script).start().await.unwrap_err();
        assert_eq!(error.to_string(), "guest 100: cannot start it");
    }
}
