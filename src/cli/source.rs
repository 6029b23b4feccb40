//! `pve-ferry verify --source`: what was compared with the snapshots on the storages, as text or
//! JSON. Not for what is damaged in the repository: that is the rest of verify.

use super::document::{
    ComparedDisk, ComparedGuest, ComparedPoint, DifferingBlock, DiskStatus, SourceStatus,
    SourceVerification,
};
use super::error::{CliError, code_of};
use super::{output, verified, world};
use crate::cancel::Cancel;
use crate::hooks::Hooks;
use crate::model::{Bytes, Moment, VmId};
use crate::operation::hooked::Caller;
use crate::operation::{
    AuditRequest, DiskAudit, GuestAudit, Interrupted, Meant, PointAudit, audit, failure_of,
};
use crate::report::{Failure, GuestOutcome, Report, Status};
use crate::repository::{GuestDir, Repository};
use crate::survey;
use crate::world::Limits;

/// What is wanted of the command, apart from the words of `verify` itself.
pub struct Wanted {
    /// Which guests.
    pub meant: Meant,
    /// Which points and blocks.
    pub request: AuditRequest,
    /// How much at once, and how long to wait for locks.
    pub limits: Limits,
    /// How much is said.
    pub logging: super::options::Logging,
    /// The user's own programs that are called on the way.
    pub hooks: std::sync::Arc<Hooks>,
    /// Whether one document is printed.
    pub json: bool,
}

/// What comparing one guest gave.
struct Compared {
    vmid: VmId,
    directory: String,
    result: anyhow::Result<GuestAudit>,
}

/// Compares, prints, and says how it ended. Blocks; a runtime must be there for the work itself.
///
/// # Errors
/// This is no PVE node, or the repository cannot be listed.
pub fn run(
    repository: &Repository,
    wanted: Wanted,
    cancel: &Cancel,
    span: impl Fn() -> (Moment, Moment),
) -> Result<Report, CliError> {
    let hooks = wanted.hooks.clone();
    let world = world::world(wanted.limits, 1, &wanted.logging, cancel.clone(), hooks)?;
    let directories: Vec<GuestDir> = wanted.meant.directories(repository)?;
    let (mut compared, warnings) = in_turns(&world, &directories, &wanted.request);
    // Where no point is, nothing was compared: that must not be counted as good.
    compared.retain(|guest| !guest.result.as_ref().is_ok_and(|audit| audit.points.is_empty()));
    let found: Vec<VmId> = compared.iter().map(|guest| guest.vmid).collect();
    let not_found = wanted.meant.not_found(&found);
    match wanted.json {
        true => output::json(&document(&compared, &not_found)),
        false => output::text(&text(&compared, &not_found)),
    }
    let code = exit_code(&compared, &not_found);
    let code = if cancel.is_cancelled() { Failure::Interrupted.code() } else { code };
    let outcomes = compared.iter().map(|guest| outcome(guest.vmid, &guest.result));
    let report = Report::new("verify", span(), outcomes.collect(), not_found);
    let mut report = report.ended_with(code);
    report.warnings = warnings;
    Ok(report)
}

/// Compares guest after guest, each between its hooks, with what those warned of.
fn in_turns(
    world: &std::sync::Arc<crate::world::World>,
    directories: &[GuestDir],
    request: &AuditRequest,
) -> (Vec<Compared>, Vec<String>) {
    let caller = Caller { hooks: &world.hooks, cancel: &world.cancel };
    let (mut compared, mut warnings) = (Vec::new(), Vec::new());
    for directory in directories {
        let vmid = directory.names().vmid;
        if world.cancel.is_cancelled() {
            let result = Err(Interrupted("it had no turn").into());
            compared.push(Compared { vmid, directory: survey::relative(directory), result });
            continue;
        }
        // This thread may wait: it is none of those that carry the work.
        let work = || tokio::runtime::Handle::current().block_on(audit(world, directory, request));
        let judge = |result: &_| outcome(vmid, result);
        let (result, said) = caller.check(&verified::guest(vmid), work, judge);
        warnings.extend(said);
        compared.push(Compared { vmid, directory: survey::relative(directory), result });
    }
    (compared, warnings)
}

/// A guest's comparison, as others are told of it.
fn outcome(vmid: VmId, result: &anyhow::Result<GuestAudit>) -> GuestOutcome {
    let mut outcome = GuestOutcome::new(&verified::guest(vmid));
    let GuestAudit { points, unnoted } = match result {
        Err(error) => return outcome.failed(failure_of(error), format!("{error:#}")),
        Ok(audit) => audit,
    };
    outcome.warnings.extend(unnoted.clone());
    if disks_of(points).any(|disk| differs(disk).is_some()) {
        let lines: Vec<String> = points.iter().flat_map(point_lines).collect();
        let text = format!("{}\n{}", summary(points), lines.join("\n"));
        return outcome.failed(Failure::Damage, text);
    }
    match disks_of(points).any(|disk| disk.result.is_err()) {
        true => outcome.failed(Failure::Other, summary(points).to_owned()),
        false => outcome,
    }
}

fn disks_of(points: &[PointAudit]) -> impl Iterator<Item = &DiskAudit> {
    points.iter().flat_map(|point| &point.disks)
}

fn exit_code(compared: &[Compared], not_found: &[String]) -> u8 {
    if disks(compared).any(|disk| differs(disk).is_some()) {
        return Failure::Damage.code();
    }
    let failed: Vec<&anyhow::Error> =
        compared.iter().filter_map(|guest| guest.result.as_ref().err()).collect();
    match failed.len() {
        0 if compared.is_empty() => 4,
        0 if not_found.is_empty() && disks(compared).all(|disk| disk.result.is_ok()) => 0,
        n if n > 0 && n == compared.len() => code_of(failed[0]),
        _ => 3,
    }
}

fn disks(compared: &[Compared]) -> impl Iterator<Item = &DiskAudit> {
    let audits = compared.iter().filter_map(|guest| guest.result.as_ref().ok());
    audits.flat_map(|audit| disks_of(&audit.points))
}

fn differs(disk: &DiskAudit) -> Option<String> {
    disk.result.as_ref().ok()?.what_differs()
}

fn text(compared: &[Compared], not_found: &[String]) -> String {
    let mut lines = Vec::new();
    for Compared { vmid, directory, result } in compared {
        let about = format!("guest {vmid} ({directory})");
        match result {
            Err(error) => lines.push(format!("{about}: FAILED: {error:#}")),
            Ok(GuestAudit { points, unnoted }) => {
                lines.push(format!("{about}: {}", summary(points)));
                lines.extend(points.iter().flat_map(point_lines));
                lines.extend(unnoted.iter().map(|why| format!("  warning: {why}")));
            }
        }
    }
    lines.extend(not_found.iter().map(|item| format!("nothing selected by {item}")));
    if lines.is_empty() {
        lines.push("no restore points".to_owned());
    }
    lines.join("\n") + "\n"
}

fn summary(points: &[PointAudit]) -> &'static str {
    let mut disks = points.iter().flat_map(|point| &point.disks).peekable();
    if disks.peek().is_none() {
        return "no restore points";
    }
    let disks: Vec<&DiskAudit> = disks.collect();
    if disks.iter().any(|disk| differs(disk).is_some()) {
        return "DIFFERS from its source; the next backup makes a new base, older points may be wrong at the same places";
    }
    match disks.iter().all(|disk| disk.result.is_ok()) {
        true => "ok, equal to its source",
        false => "not all of it could be compared",
    }
}

fn point_lines(point: &PointAudit) -> Vec<String> {
    let line = |disk: &DiskAudit| {
        let found = match (&disk.result, differs(disk)) {
            (Err(why), _) => format!("NOT COMPARED: {why}"),
            (Ok(_), Some(what)) => format!("DIFFERS: {what}"),
            (Ok(audited), None) => {
                format!("equal, {} compared ({})", Bytes(audited.bytes), point.share)
            }
        };
        format!("  {} {} {} of {}: {found}", point.label, point.time, disk.disk, disk.volume)
    };
    point.disks.iter().map(line).collect()
}

fn document(compared: &[Compared], not_found: &[String]) -> SourceVerification {
    let status = match exit_code(compared, not_found) {
        0 => Status::Ok,
        3 => Status::Partial,
        _ => Status::Failed,
    };
    let guests = compared.iter().map(guest_document).collect();
    let not_found = not_found.to_vec();
    SourceVerification { operation: "verify", source: true, status, guests, not_found }
}

fn guest_document(guest: &Compared) -> ComparedGuest {
    let (status, error) = match &guest.result {
        Err(error) => (SourceStatus::Failed, Some(format!("{error:#}"))),
        Ok(audit) => (guest_status(&audit.points), None),
    };
    let audit = guest.result.as_ref().ok();
    ComparedGuest {
        vmid: guest.vmid,
        directory: guest.directory.clone(),
        status,
        error,
        points: audit.map(|audit| audit.points.iter().map(point_document).collect()),
        unnoted: audit.and_then(|audit| audit.unnoted.clone()),
    }
}

fn guest_status(points: &[PointAudit]) -> SourceStatus {
    let disks = || points.iter().flat_map(|point| &point.disks);
    match (disks().any(|disk| differs(disk).is_some()), disks().all(|disk| disk.result.is_ok())) {
        (true, _) => SourceStatus::Differs,
        (false, true) => SourceStatus::Ok,
        (false, false) => SourceStatus::Partial,
    }
}

fn point_document(point: &PointAudit) -> ComparedPoint {
    ComparedPoint {
        label: point.label.clone(),
        time: point.time,
        share: point.share,
        disks: point.disks.iter().map(disk_document).collect(),
    }
}

fn disk_document(disk: &DiskAudit) -> ComparedDisk {
    let found = disk.result.as_ref().ok();
    let status = match found {
        None => DiskStatus::NotCompared,
        Some(audited) if audited.is_equal() => DiskStatus::Ok,
        Some(_) => DiskStatus::Differs,
    };
    ComparedDisk {
        disk: disk.disk.clone(),
        volume: disk.volume.clone(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn a_guest_that_was_stopped_is_interrupted_in_its_own_outcome_too() {
        let vmid: VmId = "100".parse().unwrap();
        let stopped = || anyhow::Error::from(Interrupted("nothing was noted"));
        let found = outcome(vmid, &Err(stopped()).context("what was found is not noted"));
        assert_eq!(found.failure, Some(Failure::Interrupted));
        assert_eq!(code_of(&stopped()), 130);
        let other = outcome(vmid, &Err(anyhow::anyhow!("no such pool")));
        assert_eq!(other.failure, Some(Failure::Other));
    }
}
