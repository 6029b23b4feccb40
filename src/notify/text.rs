//! A report as plain text: the body of mails, and the lines of the system's log. Pure; HTML is
//! `html.rs`.

use super::facts::{
    Occasion, Verdict, by_importance, duration, failed, name, seconds, status_word,
};
use crate::model::{Bytes, OperationKind, counted};
use crate::report::{GuestOutcome, GuestStatus, Report};
use std::fmt::Write as _;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Something was not done.
    Error,
    /// Somebody should look.
    Warning,
    /// All is well.
    Info,
}

/// The report as lines for the system's log: a line per guest, per warning, and one for the run.
pub fn lines(occasion: &Occasion, report: &Report) -> Vec<(Severity, String)> {
    let title = occasion.title(report);
    let mut lines = Vec::new();
    for guest in by_importance(report) {
        let about = format!("{title}: guest {} on {}", name(guest), guest.node);
        let severity = match guest.ending() {
            GuestStatus::Skipped | GuestStatus::Ok => Severity::Info,
            GuestStatus::Partial | GuestStatus::Failed => Severity::Error,
        };
        lines.push((severity, format!("{about}: {}", ending(guest))));
        let warnings = guest.warnings.iter().map(|w| (Severity::Warning, format!("{about}: {w}")));
        lines.extend(warnings);
        let missed = guest.skipped.iter().filter(|disk| !disk.by_configuration);
        lines.extend(missed.map(|disk| {
            (Severity::Error, format!("{about}: {} not saved: {}", disk.disk, disk.reason))
        }));
        let broken = guest.not_whole.iter();
        lines.extend(broken.map(|w| (Severity::Error, format!("{about}: not whole: {w}"))));
        let stopped = guest.said_of_retention();
        lines.extend(stopped.map(|w| (Severity::Error, format!("{about}: not removed: {w}"))));
        // Whoever looks for a point or a snapshot that is gone finds it here, with who took it.
        let changes = guest.changes.iter();
        lines.extend(changes.map(|c| (Severity::Info, format!("{about}: {c}{}", by(occasion)))));
    }
    lines.extend(report.error.iter().map(|e| (Severity::Error, format!("{title}: {e}"))));
    let unknown = |item| (Severity::Error, format!("{title}: nothing selected by {item}"));
    lines.extend(report.not_found.iter().map(unknown));
    lines.extend(report.warnings.iter().map(|w| (Severity::Warning, format!("{title}: {w}"))));
    let severity = match Verdict::of(report) {
        Verdict::Ok => Severity::Info,
        Verdict::Warning => Severity::Warning,
        Verdict::Partial | Verdict::Failed => Severity::Error,
    };
    let ending = format!("{}, {}{}", occasion.subject(report), totals(report), by(occasion));
    lines.push((severity, ending));
    // One line is one record: what follows a line end would be a record without a name.
    lines.into_iter().map(|(severity, text)| (severity, text.replace('\n', " | "))).collect()
}

/// `, by anna (as root)`; nothing where no person did it.
fn by(occasion: &Occasion) -> String {
    occasion.who.as_ref().map(|who| format!(", by {who}")).unwrap_or_default()
}

/// The body of a mail: what needs a person first, then a table of all guests.
pub fn body(occasion: &Occasion, report: &Report) -> String {
    let mut body = format!("{}\n\n{}\n", occasion.subject(report), about(occasion, report));
    for (heading, entries) in sections(report) {
        let _ = writeln!(body, "\n{heading}");
        for (who, what) in entries {
            let who = if who.is_empty() { String::new() } else { format!("{who}: ") };
            let _ = writeln!(body, "  {who}{}", what.replace('\n', "\n    "));
        }
    }
    let rows = rows(report);
    if !rows.is_empty() {
        body.push('\n');
        body.push_str(&table(&rows, columns(report)));
    }
    body
}

/// Where, when, how much.
pub fn about(occasion: &Occasion, report: &Report) -> String {
    let place = occasion.repository.as_ref().map(|path| format!(" into {path}"));
    let place =
        place.filter(|_| report.kind() == Some(OperationKind::Backup)).unwrap_or_else(|| {
            occasion
                .repository
                .as_ref()
                .map(|path| format!(", repository {path}"))
                .unwrap_or_default()
        });
    format!(
        "{}{place}, from {} to {} ({}), {}{}.",
        report.operation,
        report.started,
        report.finished,
        duration(seconds(report)),
        totals(report),
        by(occasion)
    )
}

/// `3 volumes, 1.00 GiB read, 512.00 MiB stored`; snapshots move no bytes: `3 changes`.
pub fn totals(report: &Report) -> String {
    if is_of_snapshots(report) {
        let changes = report.guests.iter().map(|guest| guest.changes.len()).sum::<usize>();
        return counted(changes, "change");
    }
    let totals = &report.totals;
    format!(
        "{}, {} read, {} stored",
        counted(totals.volumes, "volume"),
        Bytes(totals.stream_bytes),
        Bytes(totals.stored_bytes)
    )
}

/// Whether the report is about snapshots of guests through PVE, which have no volumes.
fn is_of_snapshots(report: &Report) -> bool {
    report.kind().is_some_and(OperationKind::is_of_guest_snapshots)
}

/// Which columns of the table have anything to say of a report.
pub fn columns(report: &Report) -> std::ops::Range<usize> {
    if is_of_snapshots(report) { 0..ABOUT_GUESTS } else { 0..HEADINGS.len() }
}

/// One list under a heading: who, and what about it.
pub type Section = (&'static str, Vec<(String, String)>);

/// What is to be read besides the table, the worst first; empty lists are left out.
pub fn sections(report: &Report) -> Vec<Section> {
    let of = |guest: &GuestOutcome, text: &str| (format!("guest {}", name(guest)), text.to_owned());
    let unnamed = |text: &String| (String::new(), text.clone());
    let mut failures: Vec<_> = report.error.iter().map(unnamed).collect();
    failures.extend(failed(report).map(|g| of(g, g.error.as_deref().unwrap_or("failed"))));
    let mut warnings: Vec<_> = report.warnings.iter().map(unnamed).collect();
    let (mut missed, mut left_out, mut changes) = (Vec::new(), Vec::new(), Vec::new());
    let (mut not_whole, mut not_removed) = (Vec::new(), Vec::new());
    for guest in &report.guests {
        not_whole.extend(guest.not_whole.iter().map(|text| of(guest, text)));
        not_removed.extend(guest.said_of_retention().map(|text| of(guest, &text)));
        warnings.extend(guest.warnings.iter().map(|text| of(guest, text)));
        changes.extend(guest.changes.iter().map(|text| of(guest, text)));
        if guest.status == GuestStatus::Skipped {
            left_out.push(of(guest, guest.error.as_deref().unwrap_or_default()));
        }
        for disk in &guest.skipped {
            let list = if disk.by_configuration { &mut left_out } else { &mut missed };
            list.push(of(guest, &format!("{}: {}", disk.disk, disk.reason)));
        }
    }
    missed.extend(report.not_found.iter().map(|item| (item.clone(), "selects nothing".to_owned())));
    let all = [
        ("Failed", failures),
        ("Not whole", not_whole),
        ("Not removed", not_removed),
        ("Not done", missed),
        ("Warnings", warnings),
        ("Left out by configuration", left_out),
        ("Changed", changes),
    ];
    all.into_iter().filter(|(_, entries)| !entries.is_empty()).collect()
}

/// The headings of the table of guests.
pub const HEADINGS: [&str; 9] =
    ["Guest", "Name", "Node", "Status", "Point", "Worth", "Read", "Stored", "Seconds"];
/// How many of its first columns hold words, not numbers.
pub const WORDS: usize = 6;
/// How many of its first columns are about the guest, and not about a restore point.
const ABOUT_GUESTS: usize = 4;

/// The table of guests, failures first.
pub fn rows(report: &Report) -> Vec<[String; 9]> {
    by_importance(report).into_iter().map(row).collect()
}

fn row(guest: &GuestOutcome) -> [String; 9] {
    let read: u64 = guest.volumes.iter().map(|volume| volume.stream_bytes).sum();
    let stored: u64 = guest.volumes.iter().map(|volume| volume.stored_bytes).sum();
    let seconds: f64 = guest.volumes.iter().map(|volume| volume.seconds).sum();
    let bytes = |bytes: u64| if bytes == 0 { "-".to_owned() } else { Bytes(bytes).to_string() };
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let one_line = |text: &str| text.replace('\n', " ");
    [
        guest.vmid.to_string(),
        one_line(&guest.name),
        one_line(&guest.node),
        status_word(guest).to_owned(),
        or_dash(guest.point.map(|point| point.to_string())),
        or_dash(guest.consistency.clone()),
        bytes(read),
        bytes(stored),
        if guest.volumes.is_empty() { "-".to_owned() } else { format!("{seconds:.1}") },
    ]
}

fn table(rows: &[[String; 9]], columns: std::ops::Range<usize>) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([HEADINGS[column].chars().count()]).max().unwrap_or(0)
    };
    let headings = HEADINGS.map(str::to_owned);
    let mut text = String::new();
    for row in std::iter::once(&headings).chain(rows) {
        let cells =
            row[columns.clone()].iter().enumerate().map(|(column, cell)| match column < WORDS {
                true => format!("{cell:<width$}", width = width(column)),
                false => format!("{cell:>width$}", width = width(column)),
            });
        let line = cells.collect::<Vec<_>>().join("  ");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// How a guest ended, in a few words.
fn ending(guest: &GuestOutcome) -> String {
    let error = guest.error.as_deref().unwrap_or_default();
    match guest.ending() {
        GuestStatus::Failed => format!("FAILED: {error}"),
        GuestStatus::Skipped => format!("left out: {error}"),
        ending @ (GuestStatus::Ok | GuestStatus::Partial) => {
            let word = if ending == GuestStatus::Ok { "ok" } else { "PARTIAL" };
            let mut parts = vec![word.to_owned()];
            parts.extend(guest.point.map(|point| format!("point {point}")));
            parts.extend(guest.consistency.clone());
            let stored: u64 = guest.volumes.iter().map(|volume| volume.stored_bytes).sum();
            if stored > 0 {
                parts.push(format!("{} stored", Bytes(stored)));
            }
            parts.join(", ")
        }
    }
}
