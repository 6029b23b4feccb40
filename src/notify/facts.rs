//! What every rendering says alike: how a run ended, in which words, with which numbers. Renders
//! nothing for a particular sink.

use crate::model::{Moment, VmId};
use crate::report::{GuestOutcome, GuestStatus, Report, Status};
use std::collections::BTreeMap;

/// What a report does not hold: where, why and for which job the run was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Occasion {
    /// The host name of the machine that ran it, as it is: it may have a domain.
    pub host: String,
    /// The job, when one ran it.
    pub job: Option<String>,
    /// The label of the points, where there is one.
    pub label: Option<String>,
    /// The repository, where there is one.
    pub repository: Option<String>,
    /// Who did it, where a person did and not a job.
    pub who: Option<String>,
    /// What the repository holds of each guest after the run.
    pub points: BTreeMap<VmId, NewestPoints>,
}

/// The newest points of a guest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NewestPoints {
    /// The newest one that is there and not known to be damaged.
    pub good: Option<Moment>,
    /// The newest one that was verified and found whole.
    pub verified: Option<Moment>,
}

/// How a run ended, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All that was asked for was done.
    Ok,
    /// It was, and somebody should look at something.
    Warning,
    /// Some of it was not done.
    Partial,
    /// Nothing, or not what was asked for.
    Failed,
}

impl Verdict {
    /// How a run ended, as its report has decided it.
    pub fn of(report: &Report) -> Self {
        let warned = !report.warnings.is_empty()
            || report.guests.iter().any(|guest| !guest.warnings.is_empty());
        match report.status {
            Status::Ok if warned => Self::Warning,
            Status::Ok => Self::Ok,
            Status::Partial => Self::Partial,
            Status::Failed => Self::Failed,
        }
    }

    /// The word in subjects.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "OK, WARNINGS",
            Self::Partial => "PARTIAL",
            Self::Failed => "FAILED",
        }
    }

    /// Whether all that was asked for was done.
    pub fn is_good(self) -> bool {
        matches!(self, Self::Ok | Self::Warning)
    }
}

impl Occasion {
    /// Job, or operation and label: what the run is known by.
    pub fn title(&self, report: &Report) -> String {
        match (&self.job, &self.label) {
            (Some(job), _) => format!("{} {job}", report.operation),
            (None, Some(label)) => format!("{} {label}", report.operation),
            (None, None) => report.operation.to_owned(),
        }
    }

    /// The same as one word that is fit for a file name and a key.
    pub fn key(&self, report: &Report) -> String {
        key_of(&self.title(report))
    }

    /// One line: how it ended, what it was, how many of how many.
    pub fn subject(&self, report: &Report) -> String {
        let mut parts = vec![count(report)];
        let failed = failed(report).count();
        if failed > 0 {
            parts.push(format!("{failed} failed"));
        }
        let on = if self.host.is_empty() { String::new() } else { format!(" on {}", self.host) };
        format!(
            "[{}] pve-ferry {}{on}: {}",
            Verdict::of(report).word(),
            self.title(report),
            parts.join(", ")
        )
    }
}

/// A title as one word.
pub(super) fn key_of(title: &str) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    title.chars().map(fits).collect()
}

/// `11 of 12 guests ok`.
fn count(report: &Report) -> String {
    let asked = report.guests_asked();
    match (asked, &report.error) {
        (0, Some(_)) => "nothing was done".to_owned(),
        (0, None) if report.guests.is_empty() => "nothing selected".to_owned(),
        _ => format!("{} of {asked} guests ok", report.totals.guests_ok),
    }
}

/// Guests that were not done.
pub fn failed(report: &Report) -> impl Iterator<Item = &GuestOutcome> {
    report.guests.iter().filter(|guest| guest.status == GuestStatus::Failed)
}

/// Guests in the order of importance: failed, half done, warned, the others; within that as
/// selected.
pub fn by_importance(report: &Report) -> Vec<&GuestOutcome> {
    let mut guests: Vec<&GuestOutcome> = report.guests.iter().collect();
    let rank = |guest: &GuestOutcome| {
        let ending = guest.ending();
        (ending != GuestStatus::Failed, ending != GuestStatus::Partial, guest.warnings.is_empty())
    };
    guests.sort_by_key(|guest| rank(guest));
    guests
}

/// `100 web`.
pub fn name(guest: &GuestOutcome) -> String {
    let space = if guest.name.is_empty() { "" } else { " " };
    format!("{}{space}{}", guest.vmid, guest.name)
}

/// The word for a guest's end.
pub fn status_word(guest: &GuestOutcome) -> &'static str {
    match guest.ending() {
        GuestStatus::Failed => "FAILED",
        GuestStatus::Skipped => "skipped",
        GuestStatus::Partial => "PARTIAL",
        GuestStatus::Ok if guest.warnings.is_empty() => "ok",
        GuestStatus::Ok => "ok, look",
    }
}

/// Seconds as a person says them: `47 s`, `3 min 5 s`, `2 h 0 min`.
pub fn duration(seconds: i64) -> String {
    match seconds.max(0) {
        s @ 0..60 => format!("{s} s"),
        s @ 60..3600 => format!("{} min {} s", s / 60, s % 60),
        s => format!("{} h {} min", s / 3600, s % 3600 / 60),
    }
}

/// Seconds of the whole run.
pub fn seconds(report: &Report) -> i64 {
    report.finished.unix() - report.started.unix()
}
