//! What `verify` found of stored points, as text, JSON, exit code, and as the one report that others
//! are told from. It checks nothing itself.

use super::document::{Damage, Verification, VerifiedGuest, VerifiedStatus};
use crate::clock::{first_label, host_name};
use crate::model::{Bytes, Guest, GuestKind, Moment, VmId, counted};
use crate::operation::{Checked, failure_of};
use crate::report::{Failure, GuestOutcome, Report, Status};
use crate::repository::DamageFound;
use std::path::Path;

/// What is said of a guest whose check the user stopped.
const STOPPED: &str = "interrupted; not all of it was read";

/// What verifying one guest gave.
pub struct Verified {
    /// The guest.
    pub vmid: VmId,
    /// The guest's directory as the user names it.
    pub directory: String,
    /// What was found, or why nothing was.
    pub result: anyhow::Result<Checked>,
}

/// What verifying a repository gave.
pub struct AllVerified {
    /// Its guests.
    pub guests: Vec<Verified>,
    /// What was named and nothing is stored of.
    pub not_found: Vec<String>,
}

/// A line per guest, and what is damaged.
pub fn text(verified: &AllVerified) -> String {
    let mut lines = Vec::new();
    for Verified { vmid, directory, result } in &verified.guests {
        let about = format!("guest {vmid} ({directory})");
        match result {
            Err(error) => lines.push(format!("{about}: FAILED: {error:#}")),
            Ok(checked @ Checked { report, unnoted, .. }) => {
                let ending = match (report.damage.is_empty(), report.stopped) {
                    (false, _) => "DAMAGED",
                    (true, true) => "NOT ALL READ",
                    (true, false) => "ok",
                };
                lines.push(format!(
                    "{about}: {ending}, {}, {}, {} read",
                    counted(report.points.len(), "point"),
                    counted(report.images.len(), "image"),
                    Bytes(report.bytes)
                ));
                lines.extend(report.damage.iter().map(damage_line));
                let lost = report.points_lost();
                if !lost.is_empty() {
                    let lost: Vec<String> = lost.iter().map(|dir| point_name(dir)).collect();
                    lines.push(format!("  restore points that this costs: {}", lost.join(", ")));
                }
                lines.extend(report.stopped.then(|| format!("  {STOPPED}")));
                let warnings = unnoted.iter().cloned().chain(checked.blind_spots());
                lines.extend(warnings.map(|warning| format!("  warning: {warning}")));
            }
        }
    }
    let not_found = verified.not_found.iter();
    lines.extend(not_found.map(|item| format!("nothing selected by {item}")));
    if lines.is_empty() {
        lines.push("no restore points: nothing was verified".to_owned());
    }
    lines.join("\n") + "\n"
}

/// The document of `--json`.
pub fn document(verified: &AllVerified) -> Verification {
    let guests = verified.guests.iter().map(guest_document).collect();
    let status = match exit_code(verified) {
        0 => Status::Ok,
        3 => Status::Partial,
        _ => Status::Failed,
    };
    let not_found = verified.not_found.clone();
    Verification { operation: "verify", status, guests, not_found }
}

/// How the command ends.
pub fn exit_code(all: &AllVerified) -> u8 {
    let verified = &all.guests;
    let damaged =
        |v: &Verified| v.result.as_ref().is_ok_and(|found| !found.report.damage.is_empty());
    let interrupted = |v: &Verified| match &v.result {
        Ok(found) => found.report.stopped,
        Err(error) => failure_of(error) == Failure::Interrupted,
    };
    if verified.iter().any(interrupted) {
        return Failure::Interrupted.code();
    }
    if verified.iter().any(damaged) {
        return Failure::Damage.code();
    }
    let failed: Vec<&anyhow::Error> =
        verified.iter().filter_map(|v| v.result.as_ref().err()).collect();
    match failed.len() {
        // Where nothing is, nothing was verified: the directory may not be mounted.
        0 if verified.is_empty() => 4,
        0 if all.not_found.is_empty() => 0,
        n if n > 0 && n == verified.len() => super::error::code_of(failed[0]),
        _ => 3,
    }
}

/// A guest of the repository, as far as its directory's name tells.
pub fn guest(vmid: VmId) -> Guest {
    let node = first_label(&host_name()).to_owned();
    Guest { vmid, kind: GuestKind::Qemu, name: String::new(), node }
}

/// What was found of one guest, as others are told of it.
pub fn outcome(vmid: VmId, result: &anyhow::Result<Checked>) -> GuestOutcome {
    let mut outcome = GuestOutcome::new(&guest(vmid));
    let checked = match result {
        Err(error) => return outcome.failed(failure_of(error), format!("{error:#}")),
        Ok(checked) => checked,
    };
    let report = &checked.report;
    outcome.warnings.extend(checked.blind_spots());
    if report.damage.is_empty() {
        return match report.stopped {
            true => outcome.failed(Failure::Interrupted, STOPPED.to_owned()),
            false => outcome,
        };
    }
    outcome.warnings.extend(checked.unnoted.clone());
    outcome.warnings.extend(report.stopped.then(|| STOPPED.to_owned()));
    let lines: Vec<String> = report.damage.iter().map(damage_line).collect();
    let lost: Vec<String> = report.points_lost().iter().map(|dir| point_name(dir)).collect();
    let cost = format!("restore points that this costs: {}", lost.join(", "));
    outcome.failed(Failure::Damage, format!("DAMAGED\n{}\n{cost}", lines.join("\n")))
}

/// What was found, as the one report that others are told from.
pub fn report(verified: AllVerified, span: (Moment, Moment)) -> Report {
    let code = exit_code(&verified);
    let outcome = |verified: &Verified| outcome(verified.vmid, &verified.result);
    let outcomes = verified.guests.iter().map(outcome).collect();
    Report::new("verify", span, outcomes, verified.not_found).ended_with(code)
}

/// A point as `list` shows it: label and moment.
fn point_name(dir: &Path) -> String {
    let part = |path: Option<&Path>| {
        path.and_then(Path::file_name).map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let (label, stamp) = (part(dir.parent()), part(Some(dir)));
    let moment = Moment::from_stamp(&stamp).map_or(stamp, |moment| moment.to_string());
    format!("{label} {moment}")
}

fn damage_line(damage: &DamageFound) -> String {
    let extents: u64 = damage.extents.iter().map(|extent| extent.length).sum();
    let where_ = match extents {
        0 => String::new(),
        bytes => format!(", {} of the volume", Bytes(bytes)),
    };
    format!("  {}: {}{where_}", damage.file.display(), damage.what)
}

fn guest_document(verified: &Verified) -> VerifiedGuest {
    let vmid = verified.vmid;
    let Checked { report, unnoted, unsummed } = match &verified.result {
        Err(error) => return failed(vmid, format!("{error:#}")),
        Ok(checked) => checked,
    };
    let is_whole = report.damage.is_empty();
    let lost = report.points_lost().into_iter().map(Path::to_owned).collect();
    VerifiedGuest {
        vmid,
        status: match (is_whole, report.stopped) {
            (false, _) => VerifiedStatus::Damaged,
            (true, true) => VerifiedStatus::Failed,
            (true, false) => VerifiedStatus::Ok,
        },
        error: report.stopped.then(|| STOPPED.to_owned()),
        directory: Some(verified.directory.clone()),
        points: Some(report.points.len()),
        images: Some(report.images.len()),
        bytes: Some(report.bytes),
        damage: Some(report.damage.iter().map(damage_document).collect()),
        points_lost: Some(lost),
        without_checksum: Some(*unsummed).filter(|count| *count > 0),
        unnoted: unnoted.clone(),
    }
}

fn failed(vmid: VmId, error: String) -> VerifiedGuest {
    VerifiedGuest {
        vmid,
        status: VerifiedStatus::Failed,
        error: Some(error),
        directory: None,
        points: None,
        images: None,
        bytes: None,
        damage: None,
        points_lost: None,
        without_checksum: None,
        unnoted: None,
    }
}

fn damage_document(damage: &DamageFound) -> Damage {
    Damage {
        file: damage.file.clone(),
        what: damage.what.clone(),
        extents: damage.extents.iter().map(|e| (e.offset, e.length)).collect(),
        points_lost: damage.points_lost.clone(),
    }
}
