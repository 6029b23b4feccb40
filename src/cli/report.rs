//! The report and the dry run as a person reads them. Pure: a value in, a text out.

use crate::model::{Bytes, OperationKind, counted};
use crate::report::{GuestOutcome, GuestStatus, Report, VolumeOutcome};
use crate::run::Performed;
use schemars::JsonSchema;
use serde::Serialize;
use std::fmt::Write as _;

/// The report as text: failures first, then a line per guest and per volume.
pub fn text(report: &Report) -> String {
    let mut text = String::new();
    let mut guests: Vec<&GuestOutcome> = report.guests.iter().collect();
    guests.sort_by_key(|guest| guest.status != GuestStatus::Failed);
    for guest in guests {
        guest_lines(&mut text, guest);
    }
    for item in &report.not_found {
        line(&mut text, &format!("nothing selected by {item}"));
    }
    for warning in &report.warnings {
        line(&mut text, &format!("warning: {warning}"));
    }
    line(&mut text, &summary(report));
    text
}

fn line(text: &mut String, content: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{content}");
}

/// How the first guest that failed ended, as the text has it, in one line; nothing where none did.
pub fn first_failure(report: &Report) -> Option<String> {
    let guest = report.guests.iter().find(|guest| guest.ending() == GuestStatus::Failed)?;
    guest_line(guest).lines().next().map(str::to_owned)
}

fn guest_lines(text: &mut String, guest: &GuestOutcome) {
    line(text, &guest_line(guest));
    guest.volumes.iter().for_each(|volume| line(text, &volume_line(volume)));
    for skipped in &guest.skipped {
        line(text, &format!("  {:<10} skipped because {}", skipped.disk, skipped.reason));
    }
    guest.not_whole.iter().for_each(|what| line(text, &format!("  NOT WHOLE: {what}")));
    guest.said_of_retention().for_each(|what| line(text, &format!("  NOT REMOVED: {what}")));
    guest.changes.iter().for_each(|change| line(text, &format!("  {change}")));
    guest.kept.iter().for_each(|kept| line(text, &format!("  kept {kept}")));
    guest.warnings.iter().for_each(|warning| line(text, &format!("  warning: {warning}")));
}

/// Which guest it is, and how it ended.
fn guest_line(guest: &GuestOutcome) -> String {
    let name = if guest.name.is_empty() { String::new() } else { format!(" {}", guest.name) };
    let about = format!("guest {}{name} on {}", guest.vmid, guest.node);
    let error = guest.error.as_deref().unwrap_or_default();
    let ending = match guest.ending() {
        GuestStatus::Failed => format!("FAILED: {error}"),
        GuestStatus::Skipped => format!("skipped because {error}"),
        GuestStatus::Partial => ending("PARTIAL", guest),
        GuestStatus::Ok => ending("ok", guest),
    };
    format!("{about}: {ending}")
}

fn ending(word: &str, guest: &GuestOutcome) -> String {
    let mut parts = vec![word.to_owned()];
    parts.extend(guest.point.map(|point| format!("point {point}")));
    parts.extend(guest.consistency.clone());
    parts.extend(guest.frozen_seconds.map(|seconds| format!("frozen for {seconds:.1} s")));
    parts.join(", ")
}

fn volume_line(volume: &VolumeOutcome) -> String {
    let what = match volume.kind.as_str() {
        "" => "restored to".to_owned(),
        kind => format!("{kind} of"),
    };
    let stored = match volume.stored_bytes {
        0 => String::new(),
        bytes => format!(", {} stored", Bytes(bytes)),
    };
    // A copy is of files as they are: nobody reads a stream.
    let moved = match volume.kind.as_str() {
        VolumeOutcome::COPY => format!("{} copied", Bytes(volume.stored_bytes)),
        _ => format!("{} read{stored}", Bytes(volume.stream_bytes)),
    };
    format!(
        "  {:<10} {what} {} ({}): {moved}, {:.1} s",
        volume.disk,
        volume.volume,
        Bytes(volume.logical_bytes),
        volume.seconds
    )
}

fn summary(report: &Report) -> String {
    let totals = &report.totals;
    let seconds = report.finished.unix() - report.started.unix();
    let volumes = counted(totals.volumes, "volume");
    let bytes = match report.kind() {
        Some(OperationKind::Copy) => format!("{} copied", Bytes(totals.stored_bytes)),
        _ => format!("{} read, {} stored", Bytes(totals.stream_bytes), Bytes(totals.stored_bytes)),
    };
    format!("{}: {}, {volumes}, {bytes}, {seconds} s", report.operation, guests_ok(report))
}

/// `1 of 2 guests ok, 1 skipped`: with the numbers that everybody else is told, too.
pub fn guests_ok(report: &Report) -> String {
    let (ok, asked) = (report.totals.guests_ok, report.guests_asked());
    match report.guests.len() - asked {
        0 => format!("{ok} of {asked} guests ok"),
        skipped => format!("{ok} of {asked} guests ok, {skipped} skipped"),
    }
}

/// The plans of a dry run as text, with the guests that would get none.
pub fn dry_run(performed: &Performed) -> String {
    let mut text = String::new();
    for plan in &performed.plans {
        text.push_str(&plan.to_string());
    }
    let refused = performed.report.guests.iter().filter(|guest| is_refused(guest));
    for guest in refused {
        guest_lines(&mut text, guest);
    }
    for item in &performed.report.not_found {
        line(&mut text, &format!("nothing selected by {item}"));
    }
    line(&mut text, "dry run: nothing was changed; the world may be another one in the real run");
    text
}

/// One step of a plan in JSON.
#[derive(Serialize, JsonSchema)]
struct StepView {
    /// What is done, in words, with what it is done to.
    step: String,
    /// Why.
    #[serde(skip_serializing_if = "String::is_empty")]
    because: String,
    /// Whether data is gone afterwards.
    destroys: bool,
}

/// One plan in JSON.
#[derive(Serialize, JsonSchema)]
struct PlanView {
    /// The guest's number.
    vmid: u32,
    /// Its name.
    name: String,
    /// Its node.
    node: String,
    /// What would be done, in this order.
    steps: Vec<StepView>,
    /// Its volumes that would be left out.
    skipped: Vec<crate::model::SkippedDisk>,
    /// What would be done, but is not whole.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_whole: Vec<String>,
    /// Rules of retention that would remove nothing, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_removed: Vec<String>,
    /// What the user should look at.
    warnings: Vec<String>,
    /// What could be taken away and stays.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kept: Vec<KeptView>,
}

/// One restore point that stays.
#[derive(Serialize, JsonSchema)]
struct KeptView {
    /// The point, in words.
    point: String,
    /// Why it stays.
    because: String,
}

/// What a dry run found: what would be done, if the world were still the same then.
#[derive(Serialize, JsonSchema)]
pub struct Plans<'a> {
    /// The command.
    operation: &'static str,
    /// Always true.
    dry_run: bool,
    /// A plan for each guest that gets one.
    plans: Vec<PlanView>,
    /// The guests that get none, and why.
    refused: Vec<&'a GuestOutcome>,
}

/// The plans of a dry run as a document.
pub fn plans(performed: &Performed) -> Plans<'_> {
    let plan = |plan: &crate::plan::Plan| PlanView {
        vmid: plan.guest.vmid.number(),
        name: plan.guest.name.clone(),
        node: plan.guest.node.clone(),
        steps: plan.steps().map(step_view).collect(),
        skipped: plan.skipped.clone(),
        not_whole: plan.not_whole.clone(),
        not_removed: plan.not_removed.clone(),
        warnings: plan.warnings.clone(),
        kept: plan.kept.iter().map(kept_view).collect(),
    };
    Plans {
        operation: performed.report.operation,
        dry_run: true,
        plans: performed.plans.iter().map(plan).collect(),
        refused: performed.report.guests.iter().filter(|guest| is_refused(guest)).collect(),
    }
}

/// Whether a dry run has no plan for it.
fn is_refused(guest: &GuestOutcome) -> bool {
    matches!(guest.status, GuestStatus::Failed | GuestStatus::Skipped)
}

fn kept_view(kept: &crate::plan::KeptPoint) -> KeptView {
    KeptView { point: kept.point.clone(), because: kept.because.clone() }
}

fn step_view(step: &crate::plan::Step) -> StepView {
    StepView {
        step: step.to_string(),
        because: step.because.clone(),
        destroys: step.action.destroys(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Guest, GuestKind, Moment};
    use crate::report::Failure;

    fn guest(vmid: u32, name: &str) -> GuestOutcome {
        GuestOutcome::new(&Guest {
            vmid: vmid.try_into().unwrap(),
            kind: GuestKind::Qemu,
            name: name.into(),
            node: "pve1".into(),
        })
    }

    #[test]
    fn a_guest_that_lacks_a_disk_is_partial_and_not_counted_as_ok() {
        let now = Moment::from_unix(0);
        let mut half = guest(101, "half");
        half.skipped = vec![crate::model::SkippedDisk {
            disk: "scsi5".into(),
            reason: "storage local is of the kind dir".into(),
            by_configuration: false,
        }];
        let template = guest(102, "t").skipped_because("it is a template".into());
        let guests = vec![guest(100, "web"), half, template];
        let text = text(&Report::new("backup", (now, now), guests, vec![]));
        assert!(text.contains("guest 101 half on pve1: PARTIAL\n"), "{text}");
        assert!(text.contains("backup: 1 of 2 guests ok, 1 skipped, 0 volumes"), "{text}");
    }

    #[test]
    fn a_backup_whose_retention_is_stopped_has_a_whole_point_and_says_so() {
        let now = Moment::from_unix(0);
        let mut web = guest(100, "web");
        web.point = Some(now);
        web.not_removed = vec!["retention of daily: retain 14d would remove 5 points".into()];
        let report = Report::new("backup", (now, now), vec![web.clone()], vec![]);
        assert_eq!(report.exit_code(), 3);
        assert_eq!(
            text(&report),
            "guest 100 web on pve1: PARTIAL, point 1970-01-01T00:00:00Z
  NOT REMOVED: point 1970-01-01T00:00:00Z is whole; retention of daily: retain 14d would remove 5 points
backup: 0 of 1 guests ok, 0 volumes, 0 B read, 0 B stored, 0 s
"
        );
        web.not_whole = vec!["the guest's firewall file is not in the point".into()];
        let said = text(&Report::new("backup", (now, now), vec![web], vec![]));
        assert!(said.contains("NOT WHOLE: the guest's") && !said.contains("is whole"), "{said}");
    }

    #[test]
    fn failures_come_first_and_a_run_of_no_time_is_no_problem() {
        let now = Moment::from_unix(0);
        let mut web = guest(100, "web");
        web.point = Some(now);
        web.consistency = Some("frozen".into());
        web.frozen_seconds = Some(1.234);
        web.volumes.push(VolumeOutcome {
            disk: "scsi0".into(),
            volume: "ceph:vm-100-disk-0".into(),
            kind: "base".into(),
            logical_bytes: 4 << 30,
            stream_bytes: 1 << 30,
            stored_bytes: 1 << 29,
            seconds: 0.0,
        });
        let db = guest(105, "").failed(Failure::Locked, "locked".into());
        let report = Report::new("backup", (now, now), vec![web, db], vec!["999".into()]);
        assert_eq!(
            text(&report),
            "guest 105 on pve1: FAILED: locked
guest 100 web on pve1: ok, point 1970-01-01T00:00:00Z, frozen, frozen for 1.2 s
  scsi0      base of ceph:vm-100-disk-0 (4.00 GiB): 1.00 GiB read, 512.00 MiB stored, 0.0 s
nothing selected by 999
backup: 1 of 2 guests ok, 1 volume, 1.00 GiB read, 512.00 MiB stored, 0 s
"
        );
    }
}
