//! Checking what is stored of guests: a plan that reads each one under a shared lock, and, where that is
//! asked for, one that notes what was found under the exclusive lock. Not comparing it with what it was
//! made from: that is `audit`. Decisions stand in `plan::verify`.

use super::{Next, Operation, Refusal, Selected, Turn};
use crate::clock::{first_label, host_name};
use crate::context::Context;
use crate::execute::{Checked, Finding, NOT_ALL_READ, not_done};
use crate::model::{Guest, GuestKind, Label, OperationKind, Share, VmId};
use crate::plan::verify::{FoundFacts, VerifyFacts, mark, plan};
use crate::report::{Failure, GuestOutcome, Report};
use crate::repository::legacy::LegacyHistory;
use crate::repository::{Disk, GuestDir, Repository, RepositoryError, StoredPoint};
use crate::run::Findings;
use crate::survey::{self, Home};
use std::path::PathBuf;
use std::sync::Arc;

/// Which guests and points of a repository are meant; all of them when nothing is named.
#[derive(Debug, Clone)]
pub struct Meant {
    /// Only these guests; all when empty.
    pub vmids: Vec<VmId>,
    /// Only points of this label.
    pub label: Option<Label>,
}

impl Meant {
    /// The directories that hold something of what is meant.
    ///
    /// # Errors
    /// The repository cannot be listed.
    pub fn directories(&self, repository: &Repository) -> Result<Vec<GuestDir>, RepositoryError> {
        let mut directories = repository.guests()?;
        directories.retain(|directory| self.holds_any(directory));
        Ok(directories)
    }

    /// What was named and is none of the guests that were found: nobody may take it for checked.
    pub fn not_found(&self, found: &[VmId]) -> Vec<String> {
        let label = self.label.as_ref().map(|label| format!("label {label}"));
        if self.vmids.is_empty() {
            return label.filter(|_| found.is_empty()).into_iter().collect();
        }
        let with = label.map(|label| format!(" with {label}")).unwrap_or_default();
        let missing = self.vmids.iter().filter(|vmid| !found.contains(vmid));
        missing.map(|vmid| format!("{vmid}{with}")).collect()
    }

    fn holds_any(&self, directory: &GuestDir) -> bool {
        if self.vmids.is_empty() && self.label.is_none() {
            return true;
        }
        let is_named = self.vmids.is_empty() || self.vmids.contains(&directory.names().vmid);
        // What cannot be read may be what is meant: the check itself says what is wrong with it.
        is_named
            && directory.load().map_or(true, |history| {
                !history.unreadable.is_empty() || history.visible().any(|point| self.means(point))
            })
    }

    fn means(&self, point: &StoredPoint) -> bool {
        self.label.as_ref().is_none_or(|label| point.manifest.label == *label)
    }

    /// What eve4pve-barc saved of the guests that are meant; its labels are any text.
    fn barc(&self, mut histories: Vec<LegacyHistory>) -> Vec<LegacyHistory> {
        histories.retain(|history| {
            let directory = &history.directory;
            (self.vmids.is_empty() || self.vmids.contains(&directory.vmid))
                && self.label.as_ref().is_none_or(|label| label.as_str() == directory.label)
        });
        histories
    }

    /// The report of a run that was about these, which also names what of them is not there.
    pub(super) fn named_in(&self, mut report: Report) -> Report {
        let found: Vec<VmId> = report.guests.iter().map(|guest| guest.vmid).collect();
        report.not_found = self.not_found(&found);
        report
    }
}

/// What is to be checked, and what becomes of the result.
pub struct CheckRequest {
    /// The repository; below the same path may stand what eve4pve-barc wrote.
    pub path: PathBuf,
    /// Which guests and points.
    pub meant: Meant,
    /// The part of the images whose content is read; all of them when absent.
    pub part: Option<Share>,
    /// Whether the result is noted with the points.
    pub mark: bool,
    /// What this machine adds to what the old tool wrote.
    pub home: Home,
}

/// What is stored of one guest.
pub enum StoredOf {
    /// By us.
    Ours(GuestDir),
    /// By eve4pve-barc, under one label.
    Barc(Arc<LegacyHistory>),
}

/// What others read that wait for us.
const WHAT: &str = "verify";

impl Operation for CheckRequest {
    type Subject = StoredOf;

    fn kind(&self) -> OperationKind {
        OperationKind::Verify
    }

    async fn select(&self, _ctx: &Arc<Context>) -> anyhow::Result<Selected<StoredOf>> {
        let (path, meant, home) = (self.path.clone(), self.meant.clone(), self.home.clone());
        let listed = tokio::task::spawn_blocking(move || {
            let repository = Repository::open(&path, Disk::real())?;
            let ours = meant.directories(&repository)?.into_iter().map(StoredOf::Ours);
            let barc = meant.barc(survey::barc_histories(&path, &home)?).into_iter();
            let barc = barc.map(|history| StoredOf::Barc(Arc::new(history)));
            Ok::<_, RepositoryError>(ours.chain(barc).collect())
        });
        Ok(Selected::all(listed.await??))
    }

    fn guest(&self, subject: &StoredOf) -> Guest {
        guest_of(match subject {
            StoredOf::Ours(directory) => directory.names().vmid,
            StoredOf::Barc(history) => history.directory.vmid,
        })
    }

    fn place(&self, subject: &StoredOf) -> String {
        match subject {
            StoredOf::Ours(directory) => survey::relative(directory),
            StoredOf::Barc(history) => history.directory.name(),
        }
    }

    async fn next(
        &self,
        _ctx: &Arc<Context>,
        subject: &StoredOf,
        turn: &mut Turn,
    ) -> Result<Next, Refusal> {
        if turn.is_first() {
            return Ok(Next::Plan(self.check(subject, turn).await?));
        }
        match Checked::among(&turn.progressed.findings).cloned() {
            Some(checked) if checked.is_of_nothing() => Ok(Next::Nothing),
            Some(checked) if turn.progressed.plans == 1 => {
                self.noted(subject, &checked, turn).await
            }
            _ => Ok(Next::Done),
        }
    }

    fn judge(&self, _subject: &StoredOf, turn: &Turn, outcome: GuestOutcome) -> GuestOutcome {
        let results = &turn.progressed.findings;
        match Checked::among(results) {
            Some(checked) => judged(checked, results, outcome),
            None => outcome,
        }
    }

    fn judge_run(&self, report: Report, turns: &[Findings]) -> Report {
        let report = self.meant.named_in(report);
        let code = exit_code(&report, turns);
        report.ended_with(code)
    }
}

impl CheckRequest {
    async fn check(
        &self,
        subject: &StoredOf,
        turn: &mut Turn,
    ) -> anyhow::Result<crate::plan::Plan> {
        match subject {
            StoredOf::Ours(directory) => turn.read(directory, WHAT).await?,
            StoredOf::Barc(history) => turn.held.barc = Some(history.clone()),
        }
        Ok(plan(&VerifyFacts {
            guest: self.guest(subject),
            directory: self.place(subject),
            label: self.meant.label.clone(),
            part: self.part,
        }))
    }

    /// What is to be noted. Damage that cannot be noted is told; that all is well must have been noted
    /// where it was asked for.
    async fn noted(
        &self,
        subject: &StoredOf,
        checked: &Checked,
        turn: &mut Turn,
    ) -> Result<Next, Refusal> {
        let report = &checked.report;
        // Nothing is noted in what eve4pve-barc wrote. Who stops it wants it to end; only damage is worth
        // the moment that noting takes.
        let StoredOf::Ours(directory) = subject else { return Ok(Next::Done) };
        if !self.mark || (report.stopped && report.damage.is_empty()) {
            return Ok(Next::Done);
        }
        match turn.upgrade(directory, WHAT).await {
            Ok(()) => Ok(Next::Plan(mark(&found(self.guest(subject), directory, checked)))),
            Err(error) if report.damage.is_empty() => Err(error.context(UNNOTED).into()),
            Err(error) => {
                turn.progressed.findings.push(Finding::NotDone(format!("{error:#}")));
                Ok(Next::Done)
            }
        }
    }
}

const UNNOTED: &str = "no damage was found, but that could not be noted";

fn found(guest: Guest, directory: &GuestDir, checked: &Checked) -> FoundFacts {
    let report = &checked.report;
    let lost = report.points_lost();
    let name = |dir: &std::path::Path| {
        dir.strip_prefix(directory.path()).unwrap_or(dir).display().to_string()
    };
    let good = report.points.iter().filter(|dir| report.complete && !lost.contains(dir.as_path()));
    FoundFacts {
        guest,
        good: good.map(|dir| name(dir)).collect(),
        failed: lost.iter().map(|dir| name(dir)).collect(),
    }
}

/// What was found of one guest, as others are told of it.
fn judged(checked: &Checked, results: &[Finding], mut outcome: GuestOutcome) -> GuestOutcome {
    outcome.warnings.extend(checked.blind_spots());
    let (damage, unnoted) = (checked.damage(), not_done(results));
    match (damage, unnoted) {
        (Some(damage), _) => {
            outcome.warnings.extend(unnoted.map(unnoted_damage));
            outcome.warnings.extend(checked.report.stopped.then(|| NOT_ALL_READ.to_owned()));
            outcome.failed(Failure::Damage, damage)
        }
        (None, Some(why)) => outcome.failed(Failure::Other, format!("{UNNOTED}: {why}")),
        (None, None) if checked.report.stopped => {
            outcome.failed(Failure::Interrupted, NOT_ALL_READ.to_owned())
        }
        (None, None) => outcome,
    }
}

/// Why damage stands in the report and not beside the points, and what to do.
pub fn unnoted_damage(why: &str) -> String {
    format!(
        "the damage could not be noted: {why}; verify with --mark again, else the next increment may \
         follow a damaged image"
    )
}

/// How the run ends. What was not read to its end may hide damage, even beside damage that was found.
fn exit_code(report: &Report, turns: &[Findings]) -> u8 {
    let mut checks = turns.iter().filter_map(|turn| Checked::among(&turn.findings));
    let failures: Vec<Failure> = report.guests.iter().filter_map(|guest| guest.failure).collect();
    if failures.contains(&Failure::Interrupted) || checks.any(|checked| checked.report.stopped) {
        return Failure::Interrupted.code();
    }
    if failures.contains(&Failure::Damage) {
        return Failure::Damage.code();
    }
    match failures.len() {
        // Where nothing is, nothing was verified: the directory may not be mounted.
        0 if report.guests.is_empty() => 4,
        0 if report.not_found.is_empty() => 0,
        n if n > 0 && n == report.guests.len() => failures[0].code(),
        _ => 3,
    }
}

/// A guest of the repository, as far as its directory's name tells.
pub(super) fn guest_of(vmid: VmId) -> Guest {
    let node = first_label(&host_name()).to_owned();
    Guest { vmid, kind: GuestKind::Qemu, name: String::new(), node }
}
