//! What a hook is told: facts of the moment, as variables. Pure; what older tools' scripts expect is
//! added by `compat.rs`.

use super::phase::{At, Phase};
use crate::model::{Guest, OperationKind};

/// What is the same in all calls of one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobFacts {
    /// The command: the name of an [`OperationKind`].
    pub operation: String,
    /// The job, when one runs.
    pub job: Option<String>,
    /// The label of the points, where there is one.
    pub label: Option<String>,
    /// The repository, where there is one.
    pub path: Option<String>,
    /// `--keep`, where it is given.
    pub keep: Option<String>,
    /// Whether snapshots of guests hold their memory.
    pub memory: bool,
}

impl JobFacts {
    /// The operation.
    pub fn kind(&self) -> Option<OperationKind> {
        OperationKind::named(&self.operation)
    }
}

/// One volume, as far as a hook is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VolumeFacts {
    /// Its key in the configuration; empty where it is not known.
    pub disk: String,
    /// PVE's id.
    pub volume: String,
    /// The snapshot's name; empty where there is none.
    pub snapshot: String,
    /// Where the storage has it: `pool/image`.
    pub place: String,
    /// The image's file in the repository; empty where there is none.
    pub file: String,
    /// Whether only what changed is moved.
    pub increment: bool,
    /// Whether it is the first volume of the guest in this phase.
    pub first: bool,
}

/// One call of the hooks.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The phase.
    pub phase: Phase,
    /// The guest; none for the whole run.
    pub guest: Option<Guest>,
    /// The volume; none where it is about a guest or the run.
    pub volume: Option<VolumeFacts>,
    /// The restore point, label and moment, where it is about one.
    pub point: Option<String>,
    /// How it ended, after it did: `ok`, `partial`, `failed`.
    pub status: Option<&'static str>,
    /// Why it failed.
    pub error: Option<String>,
    /// Seconds since what the phase is about began.
    pub seconds: f64,
    /// The report as JSON, for the hook's standard input; only at the run's end.
    pub report: Option<String>,
}

impl Event {
    /// A call about the whole run, or, with [`Event::of`], about a guest.
    pub fn new(phase: Phase) -> Self {
        let (guest, volume, point, status, error) = (None, None, None, None, None);
        Self { phase, guest, volume, point, status, error, seconds: 0.0, report: None }
    }

    /// The same about a guest.
    #[must_use]
    pub fn of(mut self, guest: &Guest) -> Self {
        self.guest = Some(guest.clone());
        self
    }

    /// The same at another moment of what it is about.
    #[must_use]
    pub fn at(mut self, at: At) -> Self {
        self.phase.at = at;
        self
    }

    /// The same after what it is about ended, so many seconds after it began.
    #[must_use]
    pub fn ended(mut self, error: Option<String>, seconds: f64) -> Self {
        self.status = Some(if error.is_none() { "ok" } else { "failed" });
        (self.error, self.seconds) = (error, seconds);
        self
    }

    /// What follows the phase in the arguments, as vzdump does it: mode and vmid.
    pub fn arguments(&self, job: &JobFacts) -> Vec<String> {
        let mode = job.kind().map_or(job.operation.as_str(), |kind| kind.row().hook_mode);
        let guest = self.guest.iter().flat_map(|g| [mode.to_owned(), g.vmid.to_string()]);
        std::iter::once(self.phase.to_string()).chain(guest).collect()
    }

    /// The variables. Each is always set, empty where it does not apply, so that a script under
    /// `set -u` works and none sees one of an outer run.
    pub fn variables(&self, job: &JobFacts) -> Vec<(String, String)> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let guest = |of: &dyn Fn(&Guest) -> String| self.guest.as_ref().map(of).unwrap_or_default();
        let volume =
            |of: &dyn Fn(&VolumeFacts) -> String| self.volume.as_ref().map(of).unwrap_or_default();
        let kind = |v: &VolumeFacts| if v.increment { "increment" } else { "base" }.to_owned();
        let pairs = [
            ("PHASE", self.phase.to_string()),
            ("OPERATION", job.operation.clone()),
            ("JOB", text(&job.job)),
            ("LABEL", text(&job.label)),
            ("PATH", text(&job.path)),
            ("VMID", guest(&|g| g.vmid.to_string())),
            ("NAME", guest(&|g| g.name.clone())),
            ("KIND", guest(&|g| g.kind.to_string())),
            ("NODE", guest(&|g| g.node.clone())),
            ("DISK", volume(&|v| v.disk.clone())),
            ("VOLUME", volume(&|v| v.volume.clone())),
            ("SNAPSHOT", volume(&|v| v.snapshot.clone())),
            ("FILE", volume(&|v| v.file.clone())),
            ("IMAGE_KIND", volume(&|v| if v.file.is_empty() { String::new() } else { kind(v) })),
            ("POINT", text(&self.point)),
            ("STATUS", self.status.unwrap_or_default().to_owned()),
            ("ERROR", text(&self.error)),
            ("SECONDS", format!("{:.3}", self.seconds)),
        ];
        let named = pairs.into_iter().map(|(name, value)| (format!("PVE_FERRY_{name}"), value));
        // The environment cannot hold a zero byte.
        named.map(|(name, value)| (name, value.replace('\0', ""))).collect()
    }
}
