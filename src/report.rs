//! What a run did: the one value from which exit code, JSON and later mail and metrics are made.
//! Data and pure functions only; it is never read back.

use crate::model::{Moment, OperationKind, SkippedDisk, VmId};
use schemars::JsonSchema;
use serde::Serialize;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// All that was asked for was done.
    Ok,
    /// Some was done.
    Partial,
    /// Nothing, or not what was asked for.
    Failed,
}

impl Status {
    /// What an exit code says of a run: the one table that everybody who tells of it follows.
    pub fn of_code(code: u8) -> Self {
        match code {
            0 => Self::Ok,
            3 => Self::Partial,
            _ => Self::Failed,
        }
    }
}

/// How one guest ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GuestStatus {
    /// All that was asked for was done.
    Ok,
    /// It was done without a disk that should have been, or something of it is not whole.
    // A turn knows failures only: [`Report::new`] tells these guests from those that are ok.
    Partial,
    /// It was not done, and nothing half is left.
    Failed,
    /// It was left out by its own configuration.
    Skipped,
}

/// One volume that was transferred.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct VolumeOutcome {
    /// Its key in the configuration.
    pub disk: String,
    /// Its id.
    pub volume: String,
    /// `base`, `increment`, `copy`, or empty where there is no such thing.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Size of the volume, bytes.
    pub logical_bytes: u64,
    /// Bytes of its diff stream.
    pub stream_bytes: u64,
    /// Bytes in the repository.
    pub stored_bytes: u64,
    /// Seconds of the transfer.
    pub seconds: f64,
}

impl VolumeOutcome {
    /// The kind of a volume whose files were copied as they are.
    pub const COPY: &'static str = "copy";
}

/// What happened to one guest.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct GuestOutcome {
    /// Its number.
    pub vmid: VmId,
    /// Its name.
    pub name: String,
    /// The node it was on.
    pub node: String,
    /// How it ended.
    pub status: GuestStatus,
    /// Why it failed or was left out; what was changed; what to do next.
    pub error: Option<String>,
    /// Seconds for which it was frozen.
    pub frozen_seconds: Option<f64>,
    /// What the point is worth: `frozen`, `stopped` or `crash`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consistency: Option<String>,
    /// The moment of the restore point that was made or used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub point: Option<Moment>,
    /// Its volumes.
    pub volumes: Vec<VolumeOutcome>,
    /// Its volumes that were left out.
    pub skipped: Vec<SkippedDisk>,
    /// What was done, but is not whole, in words: a volume that is known to be damaged, firewall rules
    /// that could not be restored.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_whole: Vec<String>,
    /// Rules of retention that removed nothing, as they would have taken what nothing makes up for, each
    /// with its label and the reason, in words. The point that was made is as whole as without them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_removed: Vec<String>,
    /// What was changed or taken away, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<String>,
    /// What could have been taken away and stays, with the reason, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<String>,
    /// What the user should look at.
    pub warnings: Vec<String>,
    /// The exit code that its failure asks for, when it was the only guest.
    #[serde(skip)]
    pub failure: Option<Failure>,
}

/// The kind of a failure, as far as exit codes tell kinds apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Anything without a code of its own.
    Other,
    /// Another run of ours holds the lock.
    Locked,
    /// Damage was found.
    Damage,
    /// A decision is needed.
    Conflict,
    /// The options or the configuration are at fault.
    Usage,
    /// The user or a signal ended it.
    Interrupted,
}

impl Failure {
    /// The exit code (see the table in the help text).
    pub fn code(self) -> u8 {
        match self {
            Self::Other => 1,
            Self::Usage => 2,
            Self::Locked => 11,
            Self::Damage => 12,
            Self::Conflict => 13,
            Self::Interrupted => 130,
        }
    }
}

/// Sums over all guests.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct Totals {
    /// Guests that the selection named.
    pub guests: usize,
    /// Guests that were done with all that was asked for.
    pub guests_ok: usize,
    /// Volumes that were transferred.
    pub volumes: usize,
    /// Sum of the diff streams, bytes.
    pub stream_bytes: u64,
    /// Sum in the repository, bytes.
    pub stored_bytes: u64,
}

/// What a run did.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Report {
    /// The command.
    // The name of an `OperationKind`; that of what runs jobs, where none began.
    pub operation: &'static str,
    /// How it ended.
    pub status: Status,
    /// When it began.
    pub started: Moment,
    /// When it ended.
    pub finished: Moment,
    /// Its guests, in the order of the selection.
    pub guests: Vec<GuestOutcome>,
    /// Sums.
    pub totals: Totals,
    /// What the user should look at and belongs to no guest.
    pub warnings: Vec<String>,
    /// Parts of the selection that named nothing, or nodes that did not answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_found: Vec<String>,
    /// What kept every guest from having its turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The exit code of that error.
    #[serde(skip)]
    pub error_code: Option<u8>,
}

impl Report {
    /// Makes the report of a run whose guests have all had their turn. How each of them and the run
    /// ended is decided here, and nowhere else.
    pub fn new(
        operation: &'static str,
        span: (Moment, Moment),
        guests: Vec<GuestOutcome>,
        not_found: Vec<String>,
    ) -> Self {
        let guests: Vec<GuestOutcome> = guests.into_iter().map(GuestOutcome::settled).collect();
        let status = Status::of_code(code_of(&guests, &not_found));
        let totals = totals_of(&guests);
        let (started, finished) = span;
        let warnings = Vec::new();
        let (error, error_code) = (None, None);
        Self {
            operation,
            status,
            started,
            finished,
            guests,
            totals,
            warnings,
            not_found,
            error,
            error_code,
        }
    }

    /// Makes the report of a run that ended before any guest had its turn.
    pub fn broken_off(
        operation: &'static str,
        span: (Moment, Moment),
        error: String,
        code: u8,
    ) -> Self {
        let mut report = Self::new(operation, span, Vec::new(), Vec::new());
        report.status = Status::Failed;
        (report.error, report.error_code) = (Some(error), Some(code));
        report
    }

    /// The same, for an operation that knows better than its guests tell how it ended.
    #[must_use]
    pub fn ended_with(mut self, code: u8) -> Self {
        (self.status, self.error_code) = (Status::of_code(code), Some(code));
        self
    }

    /// The operation that it is about; none where a job ended before it came to its operation.
    pub fn kind(&self) -> Option<OperationKind> {
        OperationKind::named(self.operation)
    }

    /// How many guests were asked for and not left out by their own configuration.
    pub fn guests_asked(&self) -> usize {
        self.guests.iter().filter(|guest| guest.status != GuestStatus::Skipped).count()
    }

    /// The exit code of the run.
    pub fn exit_code(&self) -> u8 {
        if let Some(code) = self.error_code {
            return code;
        }
        code_of(&self.guests, &self.not_found)
    }
}

/// The exit code of a run whose guests have had their turn.
fn code_of(guests: &[GuestOutcome], not_found: &[String]) -> u8 {
    let failures: Vec<Failure> = guests.iter().filter_map(|guest| guest.failure).collect();
    if failures.contains(&Failure::Interrupted) {
        return Failure::Interrupted.code();
    }
    // What is stored and wrong is worse than what is missing.
    if failures.contains(&Failure::Damage) {
        return Failure::Damage.code();
    }
    if guests.is_empty() {
        return 4;
    }
    let is_good = |g: &GuestOutcome| matches!(g.status, GuestStatus::Ok | GuestStatus::Skipped);
    if guests.iter().all(is_good) && not_found.is_empty() {
        return 0;
    }
    if guests.iter().any(|guest| guest.status != GuestStatus::Failed) {
        return 3;
    }
    match &failures[..] {
        // One guest, or all for the same reason: the reason is the code.
        [first, rest @ ..] if rest.iter().all(|f| f == first) => first.code(),
        _ => Failure::Other.code(),
    }
}

fn totals_of(guests: &[GuestOutcome]) -> Totals {
    let volumes = || guests.iter().flat_map(|guest| &guest.volumes);
    Totals {
        guests: guests.len(),
        guests_ok: guests.iter().filter(|guest| guest.status == GuestStatus::Ok).count(),
        volumes: volumes().count(),
        stream_bytes: volumes().map(|volume| volume.stream_bytes).sum(),
        stored_bytes: volumes().map(|volume| volume.stored_bytes).sum(),
    }
}

impl GuestOutcome {
    /// An outcome of a guest that was done and of which nothing else is known yet.
    pub fn new(guest: &crate::model::Guest) -> Self {
        Self {
            vmid: guest.vmid,
            name: guest.name.clone(),
            node: guest.node.clone(),
            status: GuestStatus::Ok,
            error: None,
            frozen_seconds: None,
            consistency: None,
            point: None,
            volumes: Vec::new(),
            skipped: Vec::new(),
            not_whole: Vec::new(),
            not_removed: Vec::new(),
            changes: Vec::new(),
            kept: Vec::new(),
            warnings: Vec::new(),
            failure: None,
        }
    }

    /// Names the guest as it is known by now: it may have moved since it was selected.
    pub fn is_about(&mut self, guest: &crate::model::Guest) {
        self.vmid = guest.vmid;
        self.name.clone_from(&guest.name);
        self.node.clone_from(&guest.node);
    }

    /// How it ended, with what is missing counted: what its turn knows of no failure is not yet ok.
    pub fn ending(&self) -> GuestStatus {
        let is_done = self.is_whole() && self.not_removed.is_empty();
        match self.status {
            GuestStatus::Ok if !is_done => GuestStatus::Partial,
            status => status,
        }
    }

    /// Whether nothing is missing of what was saved or brought back.
    fn is_whole(&self) -> bool {
        self.missing_disks() == 0 && self.not_whole.is_empty()
    }

    /// What retention did not remove, for people: they are told that the point of a backup is whole all
    /// the same, where it is.
    pub fn said_of_retention(&self) -> impl Iterator<Item = String> {
        let is_whole = self.is_whole() && self.status != GuestStatus::Failed;
        let point = self.point.filter(|_| is_whole);
        let point = point.map(|point| format!("point {point} is whole; ")).unwrap_or_default();
        self.not_removed.iter().map(move |why| format!("{point}{why}"))
    }

    /// How many of its disks should have been done and were not.
    pub fn missing_disks(&self) -> usize {
        self.skipped.iter().filter(|disk| !disk.by_configuration).count()
    }

    fn settled(mut self) -> Self {
        self.status = self.ending();
        self
    }

    /// The same, failed.
    #[must_use]
    pub fn failed(mut self, failure: Failure, error: String) -> Self {
        self.status = GuestStatus::Failed;
        self.failure = Some(failure);
        self.error = Some(error);
        self
    }

    /// The same, left out by its own configuration.
    #[must_use]
    pub fn skipped_because(mut self, reason: String) -> Self {
        self.status = GuestStatus::Skipped;
        self.error = Some(reason);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Guest, GuestKind};

    fn outcome(vmid: u32) -> GuestOutcome {
        GuestOutcome::new(&Guest {
            vmid: VmId::try_from(vmid).unwrap(),
            kind: GuestKind::Qemu,
            name: String::new(),
            node: "pve1".into(),
        })
    }

    fn code(guests: Vec<GuestOutcome>, not_found: &[&str]) -> u8 {
        let now = Moment::from_unix(0);
        let not_found = not_found.iter().map(|s| (*s).to_owned()).collect();
        Report::new("backup", (now, now), guests, not_found).exit_code()
    }

    #[test]
    fn codes_follow_the_worst_that_happened() {
        let failed = |f| outcome(101).failed(f, "x".into());
        assert_eq!(code(vec![outcome(100)], &[]), 0);
        assert_eq!(code(vec![], &[]), 4);
        assert_eq!(code(vec![failed(Failure::Other)], &[]), 1);
        assert_eq!(code(vec![failed(Failure::Locked)], &[]), 11);
        assert_eq!(code(vec![failed(Failure::Locked), failed(Failure::Other)], &[]), 1);
        assert_eq!(code(vec![outcome(100), failed(Failure::Locked)], &[]), 3);
        assert_eq!(code(vec![outcome(100), failed(Failure::Damage)], &[]), 12);
        assert_eq!(code(vec![outcome(100)], &["999"]), 3);
        assert_eq!(code(vec![outcome(100), failed(Failure::Interrupted)], &[]), 130);
    }

    #[test]
    fn a_disk_that_could_not_be_saved_is_never_ok() {
        let mut guest = outcome(100);
        let skip = |by_configuration| SkippedDisk {
            disk: "scsi1".into(),
            reason: "r".into(),
            by_configuration,
        };
        guest.skipped = vec![skip(true)];
        assert_eq!(code(vec![guest.clone()], &[]), 0);
        guest.skipped = vec![skip(false)];
        assert_eq!(code(vec![guest], &[]), 3);
    }

    #[test]
    fn what_is_known_to_be_damaged_is_never_ok() {
        let mut guest = outcome(100);
        guest.not_whole = vec!["scsi0 is known to be damaged".into()];
        assert_eq!(code(vec![guest], &[]), 3);
    }

    #[test]
    fn a_guest_that_lacks_a_disk_is_partial_in_the_status_the_totals_and_the_document_alike() {
        let mut half = outcome(101);
        half.skipped = vec![SkippedDisk {
            disk: "scsi5".into(),
            reason: "storage local is of the kind dir".into(),
            by_configuration: false,
        }];
        let now = Moment::from_unix(0);
        let report = Report::new("backup", (now, now), vec![outcome(100), half], vec![]);
        assert_eq!((report.status, report.totals.guests_ok), (Status::Partial, 1));
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["guests"][1]["status"], "partial");
        assert_eq!((&json["status"], &json["totals"]["guests_ok"]), (&"partial".into(), &1.into()));
    }

    #[test]
    fn status_and_exit_code_never_disagree() {
        let now = Moment::from_unix(0);
        let report = |guests| Report::new("backup", (now, now), guests, vec![]);
        let failed = |f| outcome(101).failed(f, "x".into());
        for (report, code, status) in [
            (report(vec![]), 4, Status::Failed),
            (report(vec![outcome(100)]), 0, Status::Ok),
            (report(vec![outcome(100), failed(Failure::Other)]), 3, Status::Partial),
            (report(vec![outcome(100), failed(Failure::Damage)]), 12, Status::Failed),
            (report(vec![outcome(100)]).ended_with(3), 3, Status::Partial),
            (Report::broken_off("backup", (now, now), "x".into(), 10), 10, Status::Failed),
        ] {
            assert_eq!((report.exit_code(), report.status), (code, status), "{report:?}");
        }
    }
}
