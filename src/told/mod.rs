//! Being told: who hears of a run, when, and what is said when somebody could not be told. What is
//! said is rendered in `notify`.
//!
//! Nothing here changes what a run did or its exit code. Sinks are told one after another, the
//! system's log first, so that one that is down is named by those after it, and in the log at last.

mod last;
mod once;
mod settings;

pub use once::{Heard, over, tell_once};
pub use settings::{InfluxWish, Settings, When, Wishes, addresses, is_address};

use crate::cancel::Cancel;
use crate::model::Label;
use crate::notify::clean::clean;
use crate::notify::facts::NewestPoints;
use crate::notify::text::Severity;
use crate::notify::{Occasion, Sink, Verdict};
use crate::report::Report;
use crate::repository::{History, Repository, VerifiedState};
use last::Last;
use std::path::Path;

/// Tells everybody who is to hear of the report; what went wrong with that is the result.
///
/// `state` is the directory where this node remembers how runs ended, for those who are told only
/// of changes. A wish to stop leaves the rest untold, and says so.
pub async fn tell(
    settings: &Settings,
    (occasion, report): (&Occasion, &Report),
    state: &Path,
    cancel: &Cancel,
) -> Vec<String> {
    let mut report = clean(report, &settings.secrets);
    report.warnings.extend(settings.problems.iter().cloned());
    let last = Last::new(state, &occasion.key(&report));
    let now = last::fingerprint(&report);
    let changed = last.text().as_deref() != Some(&*now);
    let mut problems = Vec::new();
    let mut change_told = true;
    for (sink, when) in &settings.sinks {
        if !due(*when, &report, changed) {
            continue;
        }
        if let Err(problem) = told_to(sink, (occasion, &report), settings, cancel).await {
            report.warnings.push(problem.clone());
            problems.push(problem);
            change_told &= *when != When::Change;
        }
    }
    // Who was not told of a change is told at the next run.
    let wanted = settings.sinks.iter().any(|(_, when)| *when == When::Change);
    if wanted && change_told && changed {
        problems.extend(last.remember(&now).err());
    }
    log_problems(settings, occasion, &problems).await;
    problems
}

/// Tells one sink, or says why not.
async fn told_to(
    sink: &Sink,
    (occasion, report): (&Occasion, &Report),
    settings: &Settings,
    cancel: &Cancel,
) -> Result<(), String> {
    let told = tokio::select! {
        told = sink.tell(occasion, report) => told.map_err(|e| format!("{:#}", anyhow::Error::from(e))),
        () = cancel.cancelled() => Err("interrupted".to_owned()),
    };
    told.map_err(|why| {
        let problem = clean_line(&format!("not told: {}: {why}", sink.name()), settings);
        tracing::debug!("{problem}");
        problem
    })
}

fn due(when: When, report: &Report, changed: bool) -> bool {
    match when {
        When::Always => true,
        When::Failure => !Verdict::of(report).is_good(),
        When::Change => changed,
    }
}

/// The system's log was told before the others failed.
async fn log_problems(settings: &Settings, occasion: &Occasion, problems: &[String]) {
    let logs = settings.sinks.iter().filter_map(|(sink, _)| match sink {
        Sink::Syslog(target) => Some(target.clone()),
        _ => None,
    });
    let name = occasion.job.as_deref().unwrap_or("told");
    let lines: Vec<_> =
        problems.iter().map(|p| (Severity::Warning, format!("{name}: {p}"))).collect();
    for log in logs.filter(|_| !lines.is_empty()) {
        let lines = lines.clone();
        // Whether the log is there was seen, and said, before.
        let _ = tokio::task::spawn_blocking(move || log.tell_in_time(lines)).await;
    }
}

fn clean_line(text: &str, settings: &Settings) -> String {
    let mut holder = Report::broken_off(
        "told",
        (crate::model::Moment::from_unix(0), crate::model::Moment::from_unix(0)),
        text.to_owned(),
        0,
    );
    holder = clean(&holder, &settings.secrets);
    holder.error.unwrap_or_default().replace('\n', " | ")
}

/// What the repository holds of the report's guests, for metrics; only of one label where there is
/// one. A guest that cannot be read is left out.
pub fn newest_points(
    repository: &Repository,
    label: Option<&Label>,
    report: &Report,
) -> std::collections::BTreeMap<crate::model::VmId, NewestPoints> {
    let mut all = std::collections::BTreeMap::new();
    for directory in repository.guests().unwrap_or_default() {
        let vmid = directory.names().vmid;
        if !report.guests.iter().any(|guest| guest.vmid == vmid) {
            continue;
        }
        let Ok(history) = directory.load() else { continue };
        let found = newest(&history, label);
        // Several guests may have had the vmid; the present one has the newest points.
        let known: &mut NewestPoints = all.entry(vmid).or_default();
        if found.good > known.good {
            *known = found;
        }
    }
    all
}

fn newest(history: &History, label: Option<&Label>) -> NewestPoints {
    let points = || {
        let fits = |p: &&crate::repository::StoredPoint| {
            label.is_none_or(|label| p.manifest.label == *label)
        };
        history.visible().rev().filter(fits)
    };
    let is_verified = |p: &&crate::repository::StoredPoint| {
        p.attributes.verified.as_ref().is_some_and(|v| v.state == VerifiedState::Ok)
    };
    NewestPoints {
        good: points().find(|p| crate::survey::is_good(p)).map(|p| p.manifest.time),
        verified: points().find(is_verified).map(|p| p.manifest.time),
    }
}
