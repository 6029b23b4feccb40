//! The guard of a freeze: the program of `guard.sh`, which freezes and thaws a guest on the guest's
//! own node, whatever becomes of the run. Here it is started and talked with; what to say when, and
//! what a point is worth, is not for here.

use crate::model::VmId;
use crate::pve::{GuestControl, answered_count};
use crate::transport::{Command, Dialogue, Host, TransportError};
use std::path::PathBuf;
use std::time::Duration;

const SCRIPT: &str = include_str!("guard.sh");

/// Where a guard works.
#[derive(Debug, Clone)]
pub struct Post {
    /// The guest, on the node that has it.
    pub control: GuestControl,
    /// That node's name.
    pub node: String,
    /// The cluster's files there.
    pub etc_pve: PathBuf,
    /// Where the guards of that node keep their locks.
    pub directory: PathBuf,
}

/// What a guard is started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duty {
    /// It freezes, and thaws after so many seconds, if not earlier.
    Freeze {
        /// Counted from the agent's answer.
        seconds: u32,
    },
    /// It only thaws, after whoever froze has had so many seconds to end that by himself.
    Thaw {
        /// Counted from its start.
        seconds: u32,
    },
}

/// A guard that lives.
#[derive(Debug)]
pub struct Guard {
    dialogue: Dialogue,
    name: String,
    thawed: u64,
    has_seen_it_thawed: bool,
}

/// What a guard says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// Another guard works on the guest; this one has done nothing.
    Busy,
    /// It waits for the word to freeze, or begins to thaw.
    Ready,
    /// The agent has frozen so many file systems.
    Frozen(u64),
    /// What came of the freeze is not known; it is thawed.
    NotFrozen(String),
    /// A thaw was answered for the first time.
    Thaw {
        /// The file systems that were frozen until then.
        count: u64,
        /// Whether that was at our word, and not earlier.
        asked: bool,
    },
    /// A thaw was not answered; it goes on.
    NoThaw(String),
    /// The agent says that the guest is thawed, or the guest does not run: the end.
    Thawed,
    /// It does not try any more: the end.
    GivenUp,
}

/// Why no guard is there.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// A command failed.
    #[error("the guard could not be started")]
    Transport(#[from] TransportError),
    /// It ended before it was ready.
    #[error("the guard ended before it was ready")]
    Ended,
    /// It has not said that it is ready.
    #[error("the guard was not ready within {} s", READY.as_secs())]
    Silent,
    /// Another one works on the guest.
    #[error("another guard, of this or another run, works on the guest")]
    Busy,
}

const SHORT: Duration = Duration::from_secs(15);

/// How long a guard may take until it is ready; it waits 40 s for another one's end.
const READY: Duration = Duration::from_secs(60);

impl Guard {
    /// Starts a guard and waits until it is ready; nothing is frozen then.
    ///
    /// # Errors
    /// There is none, and the guest must not be frozen.
    pub async fn start(post: &Post, duty: Duty, token: &str) -> Result<Self, GuardError> {
        let host = &post.control.host;
        let unit = format!("pve-ferry-guard-{}-{token}", post.control.vmid);
        let (command, name) = match has_systemd(host).await? {
            true => (in_unit(&unit, post.control.vmid), format!("unit {unit} on {}", post.node)),
            false => (in_session(), format!("a process on {}", post.node)),
        };
        let command = command.args(["bash", "-c", &script(), "pve-ferry-guard"]);
        let dialogue = host.dialogue(&command.args(words(post, duty)).deadline(SHORT))?;
        let mut guard = Self { dialogue, name, thawed: 0, has_seen_it_thawed: false };
        match tokio::time::timeout(READY, guard.next()).await {
            Ok(Some(Said::Busy)) => Err(GuardError::Busy),
            Ok(Some(_)) => Ok(guard),
            Ok(None) => {
                guard.dialogue.end().await?;
                Err(GuardError::Ended)
            }
            Err(_) => Err(GuardError::Silent),
        }
    }

    /// What it is called on its node.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it has said that the guest is thawed, or does not run.
    pub fn has_seen_it_thawed(&self) -> bool {
        self.has_seen_it_thawed
    }

    /// How many file systems were frozen until its first thaw.
    pub fn thawed(&self) -> u64 {
        self.thawed
    }

    /// Gives it the word to freeze.
    pub async fn freeze(&mut self) {
        self.dialogue.say("freeze").await;
    }

    /// Gives it the word to thaw.
    pub async fn thaw(&mut self) {
        self.dialogue.say("thaw").await;
    }

    /// The next that it says; none when it cannot be heard any more. That proves nothing: it may be
    /// gone, or only the way to it.
    pub async fn next(&mut self) -> Option<Said> {
        loop {
            let line = self.dialogue.hear().await?;
            let Some(said) = Said::parse(&line) else {
                tracing::debug!("the guard ({}) said {line:?}", self.name);
                continue;
            };
            match said {
                Said::Thaw { count, .. } => self.thawed = count,
                Said::Thawed => self.has_seen_it_thawed = true,
                _ => {}
            }
            return Some(said);
        }
    }
}

impl Said {
    /// A line as `guard.sh` prints it; none for one that means nothing.
    fn parse(line: &str) -> Option<Self> {
        let rest = |begin: &str| line.strip_prefix(begin).map(answered);
        match line {
            "busy" => return Some(Self::Busy),
            "ready" => return Some(Self::Ready),
            "thawed" | "stopped" | "gone" => return Some(Self::Thawed),
            "given up" => return Some(Self::GivenUp),
            _ => {}
        }
        if let Some(text) = rest("not frozen ") {
            return Some(Self::NotFrozen(text));
        }
        if let Some(text) = rest("no thaw ") {
            return Some(Self::NoThaw(text));
        }
        let mut words = line.split(' ');
        match (words.next()?, words.next()?.parse().ok()?, words.next()) {
            ("frozen", count, None) => Some(Self::Frozen(count)),
            ("thaw", count, Some(why)) => Some(Self::Thaw { count, asked: why == "asked" }),
            _ => None,
        }
    }
}

/// An agent's or a program's words as people may read them.
fn answered(text: &str) -> String {
    let text = answered_count(text).err().unwrap_or_else(|| text.to_owned());
    let text: String = text.chars().filter(|letter| !letter.is_control()).collect();
    match text.trim() {
        "" => "it said nothing".to_owned(),
        text => text.to_owned(),
    }
}

/// A transient unit (systemd-run(1)), whose input and output are ours. A stop of it, as when the node
/// goes down, reaches the script alone, which then thaws and has ten minutes for that.
fn in_unit(unit: &str, vmid: VmId) -> Command {
    Command::writes("systemd-run").args([
        "--quiet".to_owned(),
        "--collect".to_owned(),
        "--wait".to_owned(),
        "--pipe".to_owned(),
        format!("--unit={unit}"),
        format!("--description=Freezes and thaws guest {vmid} for pve-ferry"),
        "--property=KillMode=mixed".to_owned(),
        "--property=TimeoutStopSec=600".to_owned(),
        "--property=OOMScoreAdjust=-900".to_owned(),
        "--".to_owned(),
    ])
}

/// A session of its own, where no systemd runs: a kill of the run's process group does not reach it.
fn in_session() -> Command {
    Command::writes("setsid").args(["--fork", "--wait"])
}

/// The script without its comments.
fn script() -> String {
    let is_code = |line: &&str| !line.trim_start().starts_with('#') && !line.is_empty();
    SCRIPT.lines().filter(is_code).collect::<Vec<_>>().join("\n")
}

fn words(post: &Post, duty: Duty) -> [String; 6] {
    let (mode, seconds) = match duty {
        Duty::Freeze { seconds } => ("freeze", seconds),
        Duty::Thaw { seconds } => ("thaw", seconds),
    };
    [
        mode.to_owned(),
        post.control.vmid.to_string(),
        seconds.to_string(),
        post.node.clone(),
        post.etc_pve.display().to_string(),
        post.directory.display().to_string(),
    ]
}

/// Whether systemd runs the node: the test of sd_booted(3).
async fn has_systemd(host: &Host) -> Result<bool, TransportError> {
    // The program of that name, also where a shell that has its own stands before it.
    let words = ["test", "-d", "/run/systemd/system"];
    let command = Command::reads("env").args(words).deadline(SHORT);
    match host.run(&command).await {
        Ok(_) => Ok(true),
        Err(error) if error.status() == Some(1) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_guard_says_is_understood_and_what_agents_say_is_made_readable() {
        for (line, said) in [
            ("busy", Some(Said::Busy)),
            ("frozen 3", Some(Said::Frozen(3))),
            ("thaw 3 asked", Some(Said::Thaw { count: 3, asked: true })),
            ("thaw 0 late", Some(Said::Thaw { count: 0, asked: false })),
            ("stopped", Some(Said::Thawed)),
            (
                r#"not frozen { "error" : { "class" : "X", "desc" : "hook failed" } } "#,
                Some(Said::NotFrozen("hook failed".to_owned())),
            ),
            (
                "not frozen  QEMU guest agent is not running ",
                Some(Said::NotFrozen("QEMU guest agent is not running".to_owned())),
            ),
            ("no thaw  \u{1b}[31m", Some(Said::NoThaw("[31m".to_owned()))),
            ("not frozen  ", Some(Said::NotFrozen("it said nothing".to_owned()))),
            ("frozen many", None),
            ("frozen", None),
            ("", None),
        ] {
            assert_eq!(Said::parse(line), said, "{line}");
        }
    }

    /// systemd replaces `${NAME}` in a unit's words, and `$$` by one of them (systemd.service(5)).
    #[test]
    fn systemd_leaves_the_script_as_it_is() {
        let script = script();
        assert!(!script.contains("${") && !script.contains("$$"), "{script}");
        assert!(!script.contains('#') && script.len() < 8192, "{script}");
    }
}
