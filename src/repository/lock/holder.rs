//! Who holds a lock, as it stands in the lock file. Not for deciding whether it is still valid.

use super::Wanted;
use crate::model::Moment;
use crate::waits::WaitedFor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// Whether others may work at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LockMode {
    /// With other shared ones: restore, mount, verify, copy.
    Shared,
    /// Alone: backup, prune, delete, merge.
    Exclusive,
}

/// The content of a lock file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Holder {
    /// The host's name.
    pub host: String,
    /// The kernel's id of that host's boot.
    pub boot_id: String,
    /// The machine's own id (`/etc/machine-id`): it stays while the boot's changes.
    #[serde(default)]
    pub machine_id: String,
    /// The process id.
    pub pid: u32,
    /// The pid namespace: process ids of other containers on the same kernel mean nothing here.
    #[serde(default)]
    pub pid_namespace: String,
    /// When the process began, in clock ticks after boot: process ids are given away again.
    #[serde(default)]
    pub started: u64,
    /// What distinguishes this lock from every other.
    pub random: String,
    /// Shared or exclusive.
    pub mode: LockMode,
    /// What it is for.
    pub what: String,
    /// The job that its process is a run of, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Since when, by the clock of the server that holds the repository.
    pub since: Moment,
}

impl Holder {
    /// Stands for a lock file that cannot be read: whoever wrote it may work.
    pub(crate) fn unknown() -> Self {
        Self {
            host: String::new(),
            boot_id: String::new(),
            machine_id: String::new(),
            pid: 0,
            pid_namespace: String::new(),
            started: 0,
            random: String::new(),
            mode: LockMode::Exclusive,
            what: String::new(),
            job: None,
            since: Moment::from_unix(0),
        }
    }

    /// The same for whoever waits for it.
    pub fn waited_for(&self) -> WaitedFor {
        if self.host.is_empty() {
            let what = "another run (its lock file cannot be read)".to_owned();
            return WaitedFor { what, job: None, host: None, pid: None, since: None };
        }
        WaitedFor {
            what: self.what.clone(),
            job: self.job.clone(),
            host: Some(self.host.clone()),
            pid: Some(self.pid),
            since: Some(self.since),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.waited_for().fmt(f)
    }
}

/// What this process says about itself in its locks.
#[derive(Debug, Clone)]
pub(crate) struct Whoami {
    pub(crate) host: String,
    pub(crate) boot_id: String,
    pub(crate) machine_id: String,
    pub(crate) pid: u32,
    pub(crate) pid_namespace: String,
    pub(crate) started: u64,
    pub(crate) job: Option<String>,
}

impl Whoami {
    pub(crate) fn this_process() -> Self {
        let pid = std::process::id();
        let host = nix::unistd::gethostname().unwrap_or_default();
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
        let machine_id = std::fs::read_to_string("/etc/machine-id");
        let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        Self {
            host: host.to_string_lossy().into_owned(),
            boot_id: boot_id.unwrap_or_default().trim().to_owned(),
            machine_id: machine_id.unwrap_or_default().trim().to_owned(),
            pid,
            pid_namespace: namespace.to_string_lossy().into_owned(),
            started: match Process::look(pid) {
                Process::Runs { since } => since,
                _ => 0,
            },
            job: crate::waits::job(),
        }
    }

    pub(crate) fn holder(&self, random: String, wanted: &Wanted<'_>, now: SystemTime) -> Holder {
        let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Holder {
            host: self.host.clone(),
            boot_id: self.boot_id.clone(),
            machine_id: self.machine_id.clone(),
            pid: self.pid,
            pid_namespace: self.pid_namespace.clone(),
            started: self.started,
            random,
            mode: wanted.mode,
            what: wanted.options.what.clone(),
            job: self.job.clone(),
            since: Moment::from_unix(i64::try_from(seconds).unwrap_or(0)),
        }
    }

    /// What this host knows of a holder, whatever the date of its file: whether it is a process of
    /// this very boot that runs, and whether it was one, or one of an earlier boot.
    pub(crate) fn liveness(&self, holder: &Holder) -> Liveness {
        let known = |own: &str, its: &str| !own.is_empty() && own == its;
        if self.host != holder.host || self.boot_id.is_empty() || holder.boot_id.is_empty() {
            return Liveness::Unknown;
        }
        if self.boot_id != holder.boot_id {
            // Cloned machines share an id, but no name.
            return match known(&self.machine_id, &holder.machine_id) {
                true => Liveness::Dead,
                false => Liveness::Unknown,
            };
        }
        if self.pid_namespace != holder.pid_namespace {
            return Liveness::Unknown;
        }
        match Process::look(holder.pid) {
            Process::Gone => Liveness::Dead,
            Process::Runs { .. } if holder.started == 0 => Liveness::Unknown,
            Process::Runs { since } if since == holder.started => Liveness::Lives,
            Process::Runs { .. } => Liveness::Dead,
            Process::CannotTell => Liveness::Unknown,
        }
    }
}

/// What is known of the process that holds a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Liveness {
    /// It runs on this host.
    Lives,
    /// It ran on this host and does not any more.
    Dead,
    /// It is another host's, or its file does not tell.
    Unknown,
}

/// What the kernel tells of a process id.
enum Process {
    Gone,
    Runs {
        /// Clock ticks after boot.
        since: u64,
    },
    CannotTell,
}

impl Process {
    /// Fields 3 and 22 of /proc/PID/stat (proc(5)), counted after the command, which may hold
    /// blanks and brackets. A zombie has ended.
    fn look(pid: u32) -> Self {
        let text = match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Self::Gone,
            Err(_) => return Self::CannotTell,
        };
        let after_command = text.rsplit_once(')').map_or("", |(_, rest)| rest);
        let fields: Vec<&str> = after_command.split_whitespace().collect();
        match (fields.first(), fields.get(19).and_then(|field| field.parse().ok())) {
            (Some(&("Z" | "X")), _) => Self::Gone,
            (_, Some(since)) => Self::Runs { since },
            _ => Self::CannotTell,
        }
    }
}
