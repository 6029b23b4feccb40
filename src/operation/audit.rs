//! Comparing what is stored with the snapshots that it was made from, at a person's wish. Changes
//! nothing but the points' marks; a backup's own comparison is a step of its plan. Decisions stand in
//! `plan::compare`.

use super::verify::{Meant, guest_of};
use super::{Next, Operation, Refusal, Selected, Turn};
use crate::context::Context;
use crate::execute::{DiskAudit, Ending, Finding, compared_points, not_done, what_is_wrong};
use crate::model::{Guest, OperationKind};
use crate::plan::compare::{
    ComparableImage, ComparablePoint, CompareFacts, ComparePolicy, mark, plan,
};
use crate::report::{Failure, GuestOutcome, Report};
use crate::repository::{Disk, GuestDir, History, ImageEntry, Repository, StoredPoint};
use crate::run::Findings;
use crate::survey;
use std::path::PathBuf;
use std::sync::Arc;

/// What is to be compared.
pub struct AuditRequest {
    /// The repository.
    pub path: PathBuf,
    /// Which guests and points.
    pub meant: Meant,
    /// Of how many parts of the blocks one is compared; 1 is all.
    pub parts: u64,
}

/// What others read that wait for us.
const WHAT: &str = "verify --source";

impl Operation for AuditRequest {
    type Subject = GuestDir;

    fn kind(&self) -> OperationKind {
        OperationKind::Verify
    }

    async fn select(&self, _ctx: &Arc<Context>) -> anyhow::Result<Selected<GuestDir>> {
        let (path, meant) = (self.path.clone(), self.meant.clone());
        let listed = tokio::task::spawn_blocking(move || {
            meant.directories(&Repository::open(&path, Disk::real())?)
        });
        Ok(Selected::all(listed.await??))
    }

    fn guest(&self, directory: &GuestDir) -> Guest {
        guest_of(directory.names().vmid)
    }

    fn place(&self, directory: &GuestDir) -> String {
        survey::relative(directory)
    }

    async fn next(
        &self,
        _ctx: &Arc<Context>,
        directory: &GuestDir,
        turn: &mut Turn,
    ) -> Result<Next, Refusal> {
        match turn.progressed.plans {
            0 => {
                turn.read(directory, WHAT).await?;
                let facts = facts(self.guest(directory), directory).await?;
                let policy = ComparePolicy { label: self.meant.label.clone(), parts: self.parts };
                Ok(Next::Plan(plan(&facts, &policy)))
            }
            1 => self.noted(directory, turn).await,
            _ => Ok(Next::Done),
        }
    }

    fn judge(&self, _directory: &GuestDir, turn: &Turn, mut outcome: GuestOutcome) -> GuestOutcome {
        let results = &turn.progressed.findings;
        let disks = DiskAudit::among(results);
        outcome.warnings.extend(not_done(results).map(unnoted_comparison));
        let failure = match Ending::of(&disks) {
            Ending::Differs => Failure::Damage,
            Ending::Equal | Ending::Unknown => Failure::Other,
        };
        match what_is_wrong(&disks) {
            Some(wrong) => outcome.failed(failure, wrong),
            None => outcome,
        }
    }

    fn judge_run(&self, report: Report, turns: &[Findings]) -> Report {
        let report = self.meant.named_in(report);
        let code = exit_code(&report, turns);
        report.ended_with(code)
    }
}

impl AuditRequest {
    /// What is to be noted; what cannot be noted, as in a repository that is mounted read-only, is told.
    async fn noted(&self, directory: &GuestDir, turn: &mut Turn) -> Result<Next, Refusal> {
        let disks = DiskAudit::among(&turn.progressed.findings);
        // Where no point is, nothing was compared: that must not be counted as good.
        if disks.is_empty() {
            return Ok(Next::Nothing);
        }
        let Some(plan) = mark(self.guest(directory), compared_points(&disks)) else {
            return Ok(Next::Done);
        };
        if turn.is_stuck {
            let why = "the file system of the repository does not answer".to_owned();
            turn.progressed.findings.push(Finding::NotDone(why));
            return Ok(Next::Done);
        }
        match turn.upgrade(directory, WHAT).await {
            Ok(()) => Ok(Next::Plan(plan)),
            Err(error) => {
                turn.progressed.findings.push(Finding::NotDone(format!("{error:#}")));
                Ok(Next::Done)
            }
        }
    }
}

/// Why what was found stands in the report and not beside the points.
pub fn unnoted_comparison(why: &str) -> String {
    format!("what was found could not be noted: {why}")
}

async fn facts(guest: Guest, directory: &GuestDir) -> anyhow::Result<CompareFacts> {
    let directory = directory.clone();
    let history = tokio::task::spawn_blocking(move || directory.load());
    let history = history.await??;
    let points = history.visible().map(|point| comparable(&history, point)).collect();
    Ok(CompareFacts { guest, points })
}

fn comparable(history: &History, point: &StoredPoint) -> ComparablePoint {
    let manifest = &point.manifest;
    let image = |image: &ImageEntry| ComparableImage {
        disk: image.disk.clone(),
        image: image.id,
        volume: image.volume.clone(),
    };
    ComparablePoint {
        id: manifest.point,
        seq: manifest.seq,
        label: manifest.label.clone(),
        moment: manifest.time,
        audits: history.audits(manifest.chain),
        images: manifest.images.iter().map(image).collect(),
    }
}

/// How the run ends: what could not be compared is known of no more than before, and is not ok.
fn exit_code(report: &Report, turns: &[Findings]) -> u8 {
    let failures: Vec<Failure> = report.guests.iter().filter_map(|guest| guest.failure).collect();
    if let Some(first) =
        [Failure::Interrupted, Failure::Damage].into_iter().find(|f| failures.contains(f))
    {
        return first.code();
    }
    let is_compared = |turn: &&Findings| !DiskAudit::among(&turn.findings).is_empty();
    match turns.iter().filter(is_compared).count() {
        _ if turns.is_empty() => 4,
        0 => failures.first().map_or(Failure::Other.code(), |failure| failure.code()),
        n if n == turns.len() && failures.is_empty() && report.not_found.is_empty() => 0,
        _ => 3,
    }
}
