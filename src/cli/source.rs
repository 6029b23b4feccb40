//! `pve-ferry verify --source`: what was compared with the snapshots on the storages, as text or
//! JSON. Not for what is damaged in the repository: that is the rest of verify.

use super::document::{
    ComparedDisk, ComparedGuest, ComparedPoint, DifferingBlock, DiskStatus, SourceStatus,
    SourceVerification,
};
use crate::execute::{DiskAudit, Ending, not_done};
use crate::operation::unnoted_comparison;
use crate::report::GuestOutcome;
use crate::run::{Findings, Performed};

/// What comparing one guest gave.
struct Compared<'a> {
    outcome: &'a GuestOutcome,
    found: &'a Findings,
    disks: Vec<&'a DiskAudit>,
}

impl Compared<'_> {
    fn all(performed: &Performed) -> impl Iterator<Item = Compared<'_>> {
        let turns = performed.report.guests.iter().zip(&performed.turns);
        turns.map(|(outcome, found)| {
            let disks = DiskAudit::among(&found.findings);
            Compared { outcome, found, disks }
        })
    }

    /// Why nothing was compared.
    fn error(&self) -> Option<String> {
        self.disks.is_empty().then(|| self.outcome.error.clone().unwrap_or_default())
    }

    fn unnoted(&self) -> Option<String> {
        not_done(&self.found.findings).map(unnoted_comparison)
    }
}

/// A line per guest and per disk.
pub fn text(performed: &Performed) -> String {
    let mut lines: Vec<String> =
        Compared::all(performed).flat_map(|compared| guest_lines(&compared)).collect();
    let not_found = performed.report.not_found.iter();
    lines.extend(not_found.map(|item| format!("nothing selected by {item}")));
    if lines.is_empty() {
        lines.push("no restore points".to_owned());
    }
    lines.join("\n") + "\n"
}

fn guest_lines(compared: &Compared<'_>) -> Vec<String> {
    let about = format!("guest {} ({})", compared.outcome.vmid, compared.found.place);
    if let Some(error) = compared.error() {
        return vec![format!("{about}: FAILED: {error}")];
    }
    let mut lines = vec![format!("{about}: {}", Ending::of(&compared.disks))];
    lines.extend(compared.disks.iter().map(|disk| disk.line()));
    lines.extend(compared.unnoted().map(|why| format!("  warning: {why}")));
    lines
}

/// What else was said on the way, and stands in none of the lines: by hooks, for the most part.
pub fn warnings(performed: &Performed) -> Vec<String> {
    let mut all = Vec::new();
    for compared in Compared::all(performed) {
        let shown = compared.unnoted();
        let warnings = compared.outcome.warnings.iter();
        all.extend(warnings.filter(|warning| shown.as_ref() != Some(warning)).cloned());
    }
    all.extend(performed.report.warnings.iter().cloned());
    all
}

/// The document of `--json`.
pub fn document(performed: &Performed) -> SourceVerification {
    let guests = Compared::all(performed).map(|compared| guest_document(&compared)).collect();
    let (status, not_found) = (performed.report.status, performed.report.not_found.clone());
    SourceVerification { operation: "verify", source: true, status, guests, not_found }
}

fn guest_document(compared: &Compared<'_>) -> ComparedGuest {
    let error = compared.error();
    let points = compared.disks.chunk_by(|a, b| a.of.point == b.of.point);
    ComparedGuest {
        vmid: compared.outcome.vmid,
        directory: compared.found.place.clone(),
        status: match (&error, Ending::of(&compared.disks)) {
            (Some(_), _) => SourceStatus::Failed,
            (None, Ending::Differs) => SourceStatus::Differs,
            (None, Ending::Equal) => SourceStatus::Ok,
            (None, Ending::Unknown) => SourceStatus::Partial,
        },
        points: error.is_none().then(|| points.filter_map(point_document).collect()),
        error,
        unnoted: compared.unnoted(),
    }
}

fn point_document(disks: &[&DiskAudit]) -> Option<ComparedPoint> {
    let of = &disks.first()?.of;
    Some(ComparedPoint {
        label: of.label.clone(),
        time: of.moment,
        share: of.share,
        disks: disks.iter().map(|disk| disk_document(disk)).collect(),
    })
}

fn disk_document(disk: &DiskAudit) -> ComparedDisk {
    let found = disk.result.as_ref().ok();
    let status = match found {
        None => DiskStatus::NotCompared,
        Some(audited) if audited.is_equal() => DiskStatus::Ok,
        Some(_) => DiskStatus::Differs,
    };
    ComparedDisk {
        disk: disk.of.disk.clone(),
        volume: disk.of.volume.clone(),
        status,
        error: disk.result.as_ref().err().cloned(),
        bytes: found.map(|audited| audited.bytes),
        blocks: found.map(|audited| audited.blocks),
        sizes: found.map(|audited| audited.sizes),
        differences: found.map(|audited| audited.differences.iter().map(difference).collect()),
    }
}

fn difference(difference: &crate::audit::Difference) -> DifferingBlock {
    DifferingBlock {
        offset: difference.extent.offset,
        length: difference.extent.length,
        source: format!("blake3:{}", difference.source),
        stored: format!("blake3:{}", difference.stored),
    }
}
