//! The variables that hook scripts of eve4pve-barc and cv4pve-autosnap read, for `--hook-compat`.
//! Pure. Under it a script is called in the phases that its tool knew, and cannot stop anything.

use super::event::{Event, JobFacts};
use super::phase::{About, At};
use crate::model::OperationKind;

/// Whose script it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compat {
    /// eve4pve-barc's.
    Barc,
    /// cv4pve-autosnap's.
    Autosnap,
}

impl std::str::FromStr for Compat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "barc" => Ok(Self::Barc),
            "autosnap" => Ok(Self::Autosnap),
            _ => Err(format!("{text:?} is none of barc, autosnap")),
        }
    }
}

impl Compat {
    /// The variables of a call; none when the tool had no such phase.
    pub fn variables(self, event: &Event, job: &JobFacts) -> Option<Vec<(String, String)>> {
        match self {
            Self::Barc => barc(event, job),
            Self::Autosnap => autosnap(event, job),
        }
    }
}

fn barc(event: &Event, job: &JobFacts) -> Option<Vec<(String, String)>> {
    let volume = event.volume.as_ref();
    let increment = volume.is_some_and(|volume| volume.increment);
    let suffix = match event.phase.at {
        At::Before => "pre",
        At::After => "post",
        At::Abort => "abort",
    };
    let phase = match (event.phase.about, event.phase.at) {
        (About::Job, At::Before) => format!("{}-job-start", command(job)?),
        // It had no phase for a job that broke off: its end was the end.
        (About::Job, At::After | At::Abort) => format!("{}-job-end", command(job)?),
        (About::SnapCreate, _) => format!("snap-create-{suffix}"),
        // It exported volumes; whole points, as copy does, it never had.
        (About::Export, _) if volume.is_none() => return None,
        (About::Export, _) if increment => format!("export-diff-{suffix}"),
        (About::Export, _) => format!("export-{suffix}"),
        (About::SnapRemove, _) => format!("snap-remove-{suffix}"),
        _ => return None,
    };
    let snapshot = volume.map(|v| format!("{}@{}", v.place, v.snapshot));
    let file = volume.map(|v| v.file.clone()).filter(|file| !file.is_empty());
    let vmid = event.guest.as_ref().map_or_else(|| "0".to_owned(), |g| g.vmid.to_string());
    let dash = || "-".to_owned();
    let pairs = [
        ("PHASE", phase),
        ("VMID", vmid),
        ("PATH", job.path.clone().unwrap_or_default()),
        ("LABEL", job.label.clone().unwrap_or_default()),
        ("KEEP", job.keep.clone().unwrap_or_default()),
        ("SNAP_NAME", snapshot.unwrap_or_else(dash)),
        ("BACKUP_FILE", file.unwrap_or_else(dash)),
    ];
    Some(named("EVE4PVE_BARC_", pairs))
}

/// barc's word for the command.
fn command(job: &JobFacts) -> Option<&'static str> {
    use OperationKind::{Assemble, Backup, Prune, Restore};
    match job.kind()? {
        Prune => Some("clean"),
        known @ (Backup | Restore | Assemble) => Some(known.name()),
        _ => None,
    }
}

fn autosnap(event: &Event, job: &JobFacts) -> Option<Vec<(String, String)>> {
    // It never put a guest back.
    if job.kind() == Some(OperationKind::SnapshotRollback) {
        return None;
    }
    let clean = matches!(job.kind(), Some(OperationKind::Prune | OperationKind::SnapshotPrune));
    // It made one snapshot of a guest with all its disks, so its script is called once.
    let once = event.volume.as_ref().is_none_or(|volume| volume.first);
    let phase = match (event.phase.about, event.phase.at) {
        (About::Job, At::Before) if clean => "clean-job-start",
        (About::Job, _) if clean => "clean-job-end",
        (About::Job, At::Before) => "snap-job-start",
        (About::Job, _) => "snap-job-end",
        (About::SnapCreate, At::Before) if once => "snap-create-pre",
        (About::SnapCreate, At::After) if once => "snap-create-post",
        (About::SnapCreate, At::Abort) if once => "snap-create-abort",
        (About::SnapRemove, At::Before) if once => "snap-remove-pre",
        (About::SnapRemove, At::After) if once => "snap-remove-post",
        (About::SnapRemove, At::Abort) if once => "snap-remove-abort",
        _ => return None,
    };
    // Its table: 1 when a job of snapshots starts, 0 before a removal and before a cleaning.
    let state = match phase {
        "snap-job-start" | "snap-create-pre" => true,
        "snap-remove-pre" | "clean-job-start" => false,
        _ => event.status == Some("ok"),
    };
    let guest = |of: &dyn Fn(&crate::model::Guest) -> String| {
        event.guest.as_ref().map(of).unwrap_or_default()
    };
    let bit = |holds: bool| if holds { "1" } else { "0" }.to_owned();
    let pairs = [
        ("PHASE", phase.to_owned()),
        ("VMID", guest(&|g| g.vmid.to_string())),
        ("VMNAME", guest(&|g| g.name.clone())),
        ("VMTYPE", guest(&|g| g.kind.to_string())),
        ("LABEL", job.label.clone().unwrap_or_default()),
        ("KEEP", job.keep.clone().unwrap_or_default()),
        ("SNAP_NAME", event.volume.as_ref().map(|v| v.snapshot.clone()).unwrap_or_default()),
        ("VMSTATE", bit(job.memory && event.phase.about != About::SnapRemove)),
        ("DURATION", duration(event.seconds)),
        ("STATE", bit(state)),
        ("DEBUG", bit(false)),
        ("DRY_RUN", bit(false)),
    ];
    Some(named("CV4PVE_AUTOSNAP_", pairs))
}

/// Seconds with a dot, and a bare 0 where nothing was measured.
fn duration(seconds: f64) -> String {
    if seconds == 0.0 { "0".to_owned() } else { format!("{seconds:.3}") }
}

fn named<const N: usize>(prefix: &str, pairs: [(&str, String); N]) -> Vec<(String, String)> {
    let clean = |value: String| value.replace('\0', "");
    pairs.into_iter().map(|(name, value)| (format!("{prefix}{name}"), clean(value))).collect()
}
