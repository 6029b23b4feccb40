//! Asks a guest's state, freezes and starts it with PVE's own commands, on the node where it runs.
//! Not for its configuration: that is a file.
//!
//! `qm guest cmd` ends with 0 even when the agent refused: it then prints the agent's error as a
//! JSON object instead of the answer (`API2/Qemu/Agent.pm`, `QMPClient.pm`). So nothing but the
//! expected answer counts as success.

use crate::model::{GuestKind, VmId};
use crate::transport::{Command, Effect, Host, TransportError};
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

/// The longest piece of an unknown answer that an error shows, in characters.
const SHOWN_ANSWER: usize = 200;

/// PVE itself waits three minutes for a thaw (`QMPClient.pm`): Windows and hook scripts take long.
const THAW_DEADLINE: Duration = Duration::from_secs(200);

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

    /// Whether the guest's agent answers. A container has none.
    ///
    /// # Errors
    /// The command failed for another reason than an agent or a guest that does not run.
    pub async fn agent_ping(&self) -> Result<bool, ControlError> {
        const TASK: &str = "ask its agent";
        if self.kind == GuestKind::Lxc {
            return Ok(false);
        }
        match self.run(TASK, &self.agent_command("ping", Effect::Reads)).await {
            Ok(answer) if answer.is_empty() || answer == "{}" => Ok(true),
            Ok(answer) => Err(self.strange(TASK, &answer)),
            Err(ControlError::Command { source, .. }) if says_no_agent(&source) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Freezes the guest's file systems and says how many. After an error, whatever it is, the
    /// guest may be frozen: thaw it.
    ///
    /// # Errors
    /// The agent refused or did not answer within `deadline`.
    pub async fn freeze(&self, deadline: Duration) -> Result<u64, ControlError> {
        let command = self.agent_command("fsfreeze-freeze", Effect::Writes).deadline(deadline);
        self.counted("freeze it", &command).await
    }

    /// Thaws the guest's file systems and says how many had been frozen until now; fewer than
    /// [`GuestControl::freeze`] said means that the guest wrote in between. May take 200 seconds.
    ///
    /// # Errors
    /// The agent refused or did not answer.
    pub async fn thaw(&self) -> Result<u64, ControlError> {
        let command = self.agent_command("fsfreeze-thaw", Effect::Writes).deadline(THAW_DEADLINE);
        self.counted("thaw it", &command).await
    }

    /// Whether the guest's file systems are frozen.
    ///
    /// # Errors
    /// The agent refused or did not answer.
    pub async fn freeze_status(&self) -> Result<FreezeStatus, ControlError> {
        const TASK: &str = "ask whether it is frozen";
        let command = self.agent_command("fsfreeze-status", Effect::Reads);
        let answer = self.run(TASK, &command).await?;
        match answer.trim_matches('"') {
            "frozen" => Ok(FreezeStatus::Frozen),
            "thawed" => Ok(FreezeStatus::Thawed),
            _ => Err(self.strange(TASK, &answer)),
        }
    }

    /// The command that thaws this guest: what a guard runs when we no longer can.
    pub fn thaw_command(&self) -> Command {
        self.agent_command("fsfreeze-thaw", Effect::Writes).deadline(THAW_DEADLINE)
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

    fn agent_command(&self, name: &str, effect: Effect) -> Command {
        let command = match effect {
            Effect::Reads => Command::reads("qm"),
            Effect::Writes => Command::writes("qm"),
        };
        command.args(["guest", "cmd"]).args([self.number(), name.to_owned()])
    }

    async fn counted(&self, task: &'static str, command: &Command) -> Result<u64, ControlError> {
        let answer = self.run(task, command).await?;
        answer.parse().map_err(|_| self.strange(task, &answer))
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

/// The words of an agent's error: `{"error": {"class": ..., "desc": ...}}`.
fn agent_error(answer: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(answer).ok()?;
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
    async fn an_agent_that_does_not_run_is_a_fact_and_another_failure_is_not() {
        let script = Script::new();
        script.on("qm guest cmd 100 ping", Answer::fails(255, "QEMU guest agent is not running\n"));
        assert!(!vm(&script).agent_ping().await.unwrap());
        script.on("qm guest cmd 100 ping", Answer::fails(255, "No QEMU guest agent configured\n"));
        assert!(!vm(&script).agent_ping().await.unwrap());
        script.on("qm guest cmd 100 ping", Answer::fails(2, "unable to open config\n"));
        assert!(vm(&script).agent_ping().await.is_err());
        script.on("qm guest cmd 100 ping", Answer::nothing());
        assert!(vm(&script).agent_ping().await.unwrap());
        assert!(!guest(GuestKind::Lxc, &script).agent_ping().await.unwrap());
        assert_eq!(script.log().len(), 4, "a container's agent is not asked for");
    }

    #[tokio::test]
    async fn freezing_and_thawing_count_file_systems() {
        let script = Script::new();
        script.on_exactly("qm guest cmd 100 fsfreeze-freeze", Answer::prints("3\n"));
        script.on_exactly("qm guest cmd 100 fsfreeze-status", Answer::prints("frozen\n"));
        script.on_exactly("qm guest cmd 100 fsfreeze-thaw", Answer::prints("3\n"));
        let vm = vm(&script);
        assert_eq!(vm.freeze(Duration::from_secs(5)).await.unwrap(), 3);
        assert_eq!(vm.freeze_status().await.unwrap(), FreezeStatus::Frozen);
        assert_eq!(vm.thaw().await.unwrap(), 3);
        script.on_exactly("qm guest cmd 100 fsfreeze-status", Answer::prints("thawed\n"));
        assert_eq!(vm.freeze_status().await.unwrap(), FreezeStatus::Thawed);
        assert_eq!(script.commands()[0].deadline, Duration::from_secs(5));
        assert_eq!(vm.thaw_command().to_string(), "qm guest cmd 100 fsfreeze-thaw");
    }

    #[tokio::test]
    async fn an_agents_refusal_is_an_error_although_qm_ends_with_0() {
        let refusal = "{\n   \"error\" : {\n      \"class\" : \"GenericError\",\n      \
                       \"desc\" : \"The command guest-fsfreeze-freeze has been disabled\"\n   }\n}\n";
        let script = Script::new();
        script.on("qm guest cmd 100", Answer::prints(refusal));
        let vm = vm(&script);
        let error = vm.freeze(Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "guest 100: cannot freeze it: the answer was \
             \"The command guest-fsfreeze-freeze has been disabled\""
        );
        assert!(vm.thaw().await.is_err() && vm.freeze_status().await.is_err());
        assert!(vm.agent_ping().await.is_err());
        script.on("qm guest cmd 100", Answer::nothing());
        assert!(vm.freeze(Duration::from_secs(1)).await.is_err(), "no number is no success");
    }

    #[tokio::test]
    async fn a_freeze_that_hangs_ends_at_its_deadline() {
        let script = Script::new();
        script.on("qm guest cmd 100 fsfreeze-freeze", Answer::hangs());
        let error = vm(&script).freeze(Duration::from_millis(20)).await.unwrap_err();
        let ControlError::Command { source: TransportError::Deadline { .. }, .. } = error else {
            panic!("{error:?}");
        };
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
