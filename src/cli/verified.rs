//! What `verify` found of stored points, as text and JSON. It checks nothing itself.

use super::document::{Damage, Verification, VerifiedGuest, VerifiedStatus};
use crate::execute::{Checked, NOT_ALL_READ, damage_line, not_done};
use crate::model::{Bytes, counted};
use crate::operation::unnoted_damage;
use crate::report::GuestOutcome;
use crate::repository::DamageFound;
use crate::run::{Findings, Performed};
use std::path::Path;

/// One guest's turn: how it ended, and what was found in it.
struct Verified<'a> {
    outcome: &'a GuestOutcome,
    found: &'a Findings,
}

impl Verified<'_> {
    fn all(performed: &Performed) -> impl Iterator<Item = Verified<'_>> {
        let turns = performed.report.guests.iter().zip(&performed.turns);
        turns.map(|(outcome, found)| Verified { outcome, found })
    }

    /// What was found, unless something else is to be said: what is whole and has failed all the same
    /// could not be noted.
    fn checked(&self) -> Option<&Checked> {
        let checked = Checked::among(&self.found.findings)?;
        let report = &checked.report;
        let explains = report.stopped || !report.damage.is_empty();
        (explains || self.outcome.failure.is_none()).then_some(checked)
    }

    fn unnoted(&self) -> Option<String> {
        not_done(&self.found.findings).map(unnoted_damage)
    }

    fn error(&self) -> String {
        self.outcome.error.clone().unwrap_or_default()
    }
}

/// A line per guest, and what is damaged.
pub fn text(performed: &Performed) -> String {
    let mut lines: Vec<String> =
        Verified::all(performed).flat_map(|verified| guest_lines(&verified)).collect();
    let not_found = performed.report.not_found.iter();
    lines.extend(not_found.map(|item| format!("nothing selected by {item}")));
    if lines.is_empty() {
        lines.push("no restore points: nothing was verified".to_owned());
    }
    lines.join("\n") + "\n"
}

fn guest_lines(verified: &Verified<'_>) -> Vec<String> {
    let about = format!("guest {} ({})", verified.outcome.vmid, verified.found.place);
    let Some(checked) = verified.checked() else {
        return vec![format!("{about}: FAILED: {}", verified.error())];
    };
    let report = &checked.report;
    let ending = match (report.damage.is_empty(), report.stopped) {
        (false, _) => "DAMAGED",
        (true, true) => "NOT ALL READ",
        (true, false) => "ok",
    };
    let mut lines = vec![format!(
        "{about}: {ending}, {}, {}, {} read",
        counted(report.points.len(), "point"),
        counted(report.images.len(), "image"),
        Bytes(report.bytes)
    )];
    lines.extend(report.damage.iter().map(damage_line));
    lines.extend(checked.points_lost().map(|cost| format!("  {cost}")));
    lines.extend(report.stopped.then(|| format!("  {NOT_ALL_READ}")));
    let warnings = verified.unnoted().into_iter().chain(checked.blind_spots());
    lines.extend(warnings.map(|warning| format!("  warning: {warning}")));
    lines
}

/// What else was said on the way, and stands in none of the lines: by hooks, for the most part.
pub fn warnings(performed: &Performed) -> Vec<String> {
    let mut all = Vec::new();
    for verified in Verified::all(performed) {
        let checked = verified.checked();
        let mut shown: Vec<String> = verified.unnoted().into_iter().collect();
        shown.extend(checked.and_then(Checked::blind_spots));
        shown.push(NOT_ALL_READ.to_owned());
        let warnings = verified.outcome.warnings.iter();
        all.extend(warnings.filter(|warning| !shown.contains(warning)).cloned());
    }
    all.extend(performed.report.warnings.iter().cloned());
    all
}

/// The document of `--json`.
pub fn document(performed: &Performed) -> Verification {
    let guests = Verified::all(performed).map(|verified| guest_document(&verified)).collect();
    let (status, not_found) = (performed.report.status, performed.report.not_found.clone());
    Verification { operation: "verify", status, guests, not_found }
}

fn guest_document(verified: &Verified<'_>) -> VerifiedGuest {
    let vmid = verified.outcome.vmid;
    let Some(Checked { report, unsummed }) = verified.checked() else {
        return failed(vmid, verified.error());
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
        error: report.stopped.then(|| NOT_ALL_READ.to_owned()),
        directory: Some(verified.found.place.clone()),
        points: Some(report.points.len()),
        images: Some(report.images.len()),
        bytes: Some(report.bytes),
        damage: Some(report.damage.iter().map(damage_document).collect()),
        points_lost: Some(lost),
        without_checksum: Some(*unsummed).filter(|count| *count > 0),
        unnoted: verified.unnoted(),
    }
}

fn failed(vmid: crate::model::VmId, error: String) -> VerifiedGuest {
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
