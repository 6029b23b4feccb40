//! Whether every guest is covered: which jobs save it, how old its newest good point is, and what
//! that is worth to a monitoring system. Facts in, judgement out; nothing is read here.

use super::{Job, JobName};
use crate::model::{Age, Guest, Moment, OperationKind};
use crate::select::{Candidate, Selection, select};
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::Serialize;

/// Restore points of one guest in one repository, newest first by order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestPoints {
    /// The repository as it was named.
    pub path: String,
    /// The newest point that no verification found damaged.
    pub good: Option<Moment>,
    /// The newest point that a verification found whole.
    pub verified: Option<Moment>,
    /// Whether the newest of all was found damaged.
    pub newest_failed: bool,
}

/// What is known of one guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestFacts {
    /// The guest, with what selections ask about.
    pub candidate: Candidate,
    /// Its points, one entry for each repository that was read and holds some.
    pub points: Vec<GuestPoints>,
    /// Why its configuration leaves a backup nothing to take; none where there is something.
    pub nothing_to_save: Option<String>,
}

/// What the judgement depends on.
#[derive(Debug, Clone)]
pub struct CoverFacts {
    /// All guests of the cluster.
    pub guests: Vec<GuestFacts>,
    /// All jobs.
    pub jobs: Vec<Job>,
    /// Repositories that could not be read, with the reason.
    pub unreadable: Vec<(String, String)>,
    /// Sections of jobs.cfg that could not be read.
    pub damaged_jobs: Vec<String>,
    /// What is wrong with the file by which cron runs this node's jobs, and how bad that is.
    pub cron_file: Option<(Severity, String)>,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct CoverPolicy {
    /// How old the newest good point may be, in seconds; none: the time between two runs of
    /// the guest's jobs, and two hours.
    pub max_age: Option<i64>,
    /// Now.
    pub now: Moment,
    /// The zone in which schedules are meant.
    pub zone: TimeZone,
}

/// Two hours for a job to wait and work, beside the time between two runs.
const SLACK: i64 = 2 * 3600;

/// What a guest may wait for where no job says it.
const DAY_AND_SLACK: i64 = 24 * 3600 + SLACK;

/// A snapshot is on the storage of the guest and goes with it.
const SNAPSHOTS_ONLY: &str = "in no backup job: snapshots only";

/// How bad it is, in the order in which the worst counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// All is well.
    Ok,
    /// Somebody should look.
    Warning,
    /// It cannot be told.
    Unknown,
    /// Data is at risk.
    Critical,
}

impl Severity {
    /// The exit code of the Nagios plugin interface.
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Warning => 1,
            Self::Critical => 2,
            Self::Unknown => 3,
        }
    }

    /// The word of that interface.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// The judgement of one guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestCover {
    /// The guest.
    pub guest: Guest,
    /// The enabled jobs that save it.
    pub jobs: Vec<JobName>,
    /// The enabled jobs that make snapshots of it, which are lost with its storage.
    pub snapshot_jobs: Vec<JobName>,
    /// Its newest good point.
    pub good: Option<Moment>,
    /// Its newest verified point.
    pub verified: Option<Moment>,
    /// How bad it is.
    pub severity: Severity,
    /// Why, in words; empty when all is well.
    pub why: String,
    /// Whether it is well without a point: its jobs find nothing to save by its configuration.
    pub nothing_to_save: bool,
}

impl GuestCover {
    /// Whether snapshots are all that any job makes of it.
    pub fn has_snapshots_only(&self) -> bool {
        self.jobs.is_empty() && !self.snapshot_jobs.is_empty()
    }
}

/// The judgement of the whole cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cover {
    /// Every guest that is no template.
    pub guests: Vec<GuestCover>,
    /// What concerns no single guest, the worst first: this node's cron file, repositories and jobs
    /// that cannot be read.
    pub problems: Vec<String>,
    /// The worst of all.
    pub severity: Severity,
}

/// Judges every guest.
pub fn cover(facts: &CoverFacts, policy: &CoverPolicy) -> Cover {
    let candidates: Vec<Candidate> = facts.guests.iter().map(|g| g.candidate.clone()).collect();
    let of = |made: fn(&Job, &[Candidate]) -> Option<Vec<Guest>>| -> Vec<(&Job, Vec<Guest>)> {
        let enabled = facts.jobs.iter().filter(|job| job.enabled);
        enabled.filter_map(|job| Some((job, made(job, &candidates)?))).collect()
    };
    let about = Jobs { saving: of(selected_by), snapshotting: of(snapshotted_by) };
    let real = facts.guests.iter().filter(|guest| !guest.candidate.template);
    let guests: Vec<GuestCover> = real.map(|guest| judged(guest, &about, facts, policy)).collect();
    let problems = problems(facts);
    let none = if guests.is_empty() { Severity::Unknown } else { Severity::Ok };
    let of_problems = problems.iter().map(|(severity, _)| *severity);
    let worst = guests.iter().map(|guest| guest.severity).chain(of_problems).chain([none]).max();
    let problems = problems.into_iter().map(|(_, text)| text).collect();
    Cover { guests, problems, severity: worst.unwrap_or(Severity::Unknown) }
}

/// What concerns no single guest, the worst first.
fn problems(facts: &CoverFacts) -> Vec<(Severity, String)> {
    let unreadable = facts
        .unreadable
        .iter()
        .map(|(path, why)| format!("repository {path} cannot be read: {why}"));
    let damaged = facts.damaged_jobs.iter().map(|why| format!("jobs.cfg: {why}"));
    let unknown = unreadable.chain(damaged).map(|text| (Severity::Unknown, text));
    let mut problems: Vec<_> = unknown.chain(facts.cron_file.clone()).collect();
    problems.sort_by_key(|(severity, _)| std::cmp::Reverse(*severity));
    problems
}

/// The enabled jobs with their guests.
struct Jobs<'a> {
    saving: Vec<(&'a Job, Vec<Guest>)>,
    snapshotting: Vec<(&'a Job, Vec<Guest>)>,
}

/// Those of the jobs that are about a guest.
fn about<'a>(jobs: &[(&'a Job, Vec<Guest>)], guest: &Guest) -> Vec<&'a Job> {
    jobs.iter().filter(|(_, guests)| guests.contains(guest)).map(|(job, _)| *job).collect()
}

/// The guests of this cluster that a job makes snapshots of; with a `--host` it may be another.
fn snapshotted_by(job: &Job, candidates: &[Candidate]) -> Option<Vec<Guest>> {
    if job.kind() != Some(OperationKind::SnapshotCreate) || job.option("host").is_some() {
        return None;
    }
    selected(job, candidates)
}

/// The guests that a backup job is about, enabled or not; none for other jobs.
pub fn selected_by(job: &Job, candidates: &[Candidate]) -> Option<Vec<Guest>> {
    if job.kind() != Some(OperationKind::Backup) {
        return None;
    }
    selected(job, candidates)
}

fn selected(job: &Job, candidates: &[Candidate]) -> Option<Vec<Guest>> {
    let selection = Selection::parse(job.option("vmid")?).ok()?;
    Some(select(&selection, candidates).guests)
}

fn judged(
    facts: &GuestFacts,
    known: &Jobs<'_>,
    all: &CoverFacts,
    policy: &CoverPolicy,
) -> GuestCover {
    let guest = facts.candidate.guest.clone();
    let jobs = about(&known.saving, &guest);
    let snapshots = about(&known.snapshotting, &guest);
    let no_job = if snapshots.is_empty() { "in no job" } else { SNAPSHOTS_ONLY };
    let good = facts.points.iter().filter_map(|points| points.good).max();
    let verified = facts.points.iter().filter_map(|points| points.verified).max();
    let limit = policy.max_age.unwrap_or_else(|| allowed(&jobs, policy));
    let age = good.map(|good| Age::of(good, policy.now));
    let is_fresh = age.is_some_and(|age| age <= Age(limit) && !age.is_in_the_future());
    // Who is in no job would not be saved with a new disk either.
    let empty = facts.nothing_to_save.as_ref().filter(|_| !is_fresh && !jobs.is_empty());
    let (severity, why) = match empty {
        _ if is_fresh => fresh(facts, &jobs, no_job),
        // Backups pass it over and say "ok", so that it never gets a point.
        Some(why) => (Severity::Ok, format!("nothing to save: {why}")),
        None if jobs.is_empty() => (Severity::Warning, stale_words(age, no_job)),
        // What cannot be read may hold the point.
        None if !all.unreadable.is_empty() => {
            (Severity::Unknown, stale_words(age, "a repository cannot be read"))
        }
        None => (Severity::Critical, stale_words(age, &format!("at most {} allowed", Age(limit)))),
    };
    let names = |jobs: Vec<&Job>| jobs.iter().map(|job| job.name.clone()).collect();
    let (jobs, snapshot_jobs) = (names(jobs), names(snapshots));
    let nothing_to_save = empty.is_some();
    GuestCover { guest, jobs, snapshot_jobs, good, verified, severity, why, nothing_to_save }
}

/// A guest may be saved by something else than a job: its points say that it is.
fn fresh(facts: &GuestFacts, jobs: &[&Job], no_job: &str) -> (Severity, String) {
    if let Some(points) = facts.points.iter().find(|points| points.newest_failed) {
        let why = format!("its newest point in {} is damaged", points.path);
        return (Severity::Critical, why);
    }
    (Severity::Ok, if jobs.is_empty() { no_job.to_owned() } else { String::new() })
}

fn stale_words(age: Option<Age>, why: &str) -> String {
    match age {
        Some(age) if age.is_in_the_future() => {
            format!(
                "newest good point is dated in the future: look at the clocks of the nodes; {why}"
            )
        }
        Some(age) => format!("newest good point {age} old, {why}"),
        None => format!("no good point, {why}"),
    }
}

/// The longest time between two runs of the job that comes most often, and some slack.
fn allowed(jobs: &[&Job], policy: &CoverPolicy) -> i64 {
    let pause = |job: &&Job| job.schedule.longest_pause(policy.now, &policy.zone);
    jobs.iter().filter_map(pause).min().map_or(DAY_AND_SLACK, |seconds| seconds + SLACK)
}

/// Reads an age as people type it: `26h`, `90m`, `2d`, `3600s`; seconds.
///
/// # Errors
/// The text has another form.
pub fn age(text: &str) -> Result<i64, crate::model::Invalid> {
    let invalid = || crate::model::Invalid::new(text, "an age (as 26h, 90m, 2d or 1w)");
    let units = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400), ('w', 7 * 86_400)];
    let of_unit = |(unit, seconds)| Some((text.strip_suffix::<char>(unit)?, seconds));
    let (digits, seconds) = units.into_iter().find_map(of_unit).ok_or_else(invalid)?;
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let number: u32 = if is_number { digits.parse() } else { "".parse() }.map_err(|_| invalid())?;
    Ok(i64::from(number) * seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Runner;
    use crate::model::GuestKind;

    const NOW: i64 = 1_767_225_600;

    fn job(name: &str, vmid: &str, schedule: &str) -> Job {
        Job {
            name: name.parse().unwrap(),
            operation: "backup".into(),
            schedule: schedule.parse().unwrap(),
            node: None,
            enabled: true,
            runner: Runner::Cron,
            comment: None,
            options: vec![("vmid".into(), vmid.into())],
        }
    }

    fn guest(vmid: u32, age: Option<i64>) -> GuestFacts {
        let guest = Guest {
            vmid: vmid.try_into().unwrap(),
            kind: GuestKind::Qemu,
            name: format!("vm{vmid}"),
            node: "pve1".into(),
        };
        let candidate =
            Candidate { guest, pools: vec![], tags: vec![], storages: vec![], template: false };
        let point = |age: i64| GuestPoints {
            path: "/b".into(),
            good: Some(Moment::from_unix(NOW - age)),
            verified: None,
            newest_failed: false,
        };
        let points = age.map(point).into_iter().collect();
        GuestFacts { candidate, points, nothing_to_save: None }
    }

    fn facts(jobs: Vec<Job>, guests: Vec<GuestFacts>) -> CoverFacts {
        CoverFacts { guests, jobs, unreadable: vec![], damaged_jobs: vec![], cron_file: None }
    }

    fn severities(facts: &CoverFacts, max_age: Option<i64>) -> Vec<Severity> {
        let now = Moment::from_unix(NOW);
        let cover = cover(facts, &CoverPolicy { max_age, now, zone: TimeZone::UTC });
        cover.guests.iter().map(|g| g.severity).chain([cover.severity]).collect()
    }

    use Severity::{Critical, Ok, Unknown, Warning};

    #[test]
    fn the_age_that_is_allowed_follows_from_the_schedule() {
        let daily = || job("a", "all", "daily");
        let at = |age| severities(&facts(vec![daily()], vec![guest(100, age)]), None);
        assert_eq!(at(Some(26 * 3600)), [Ok, Ok]);
        assert_eq!(at(Some(26 * 3600 + 1)), [Critical, Critical]);
        assert_eq!(at(None), [Critical, Critical]);
        let hourly = job("b", "100", "hourly");
        let both = facts(
            vec![daily(), hourly],
            vec![guest(100, Some(4 * 3600)), guest(101, Some(4 * 3600))],
        );
        assert_eq!(severities(&both, None), [Critical, Ok, Critical]);
        assert_eq!(severities(&both, Some(5 * 3600)), [Ok, Ok, Ok]);
    }

    #[test]
    fn a_guest_in_no_job_is_a_warning_and_never_silent() {
        let jobs = || vec![job("a", "100", "daily")];
        let guests = vec![guest(100, Some(60)), guest(101, None), guest(102, Some(900_000))];
        let cover = cover(
            &facts(jobs(), guests),
            &CoverPolicy { max_age: None, now: Moment::from_unix(NOW), zone: TimeZone::UTC },
        );
        let why: Vec<&str> = cover.guests.iter().map(|guest| guest.why.as_str()).collect();
        assert_eq!(why, ["", "no good point, in no job", "newest good point 10 d old, in no job"]);
        assert_eq!(cover.severity, Warning);
        let mut disabled = job("a", "all", "daily");
        disabled.enabled = false;
        assert_eq!(
            severities(&facts(vec![disabled], vec![guest(100, None)]), None),
            [Warning, Warning]
        );
    }

    #[test]
    fn snapshots_are_no_backup() {
        let snapshots = |name: &str, host: Option<&str>| {
            let mut job = job(name, "100,101", "hourly");
            job.operation = "snapshot".into();
            job.options.extend(host.map(|host| ("host".into(), host.into())));
            job
        };
        let jobs =
            vec![snapshots("s", None), snapshots("far", Some("a")), job("b", "100", "daily")];
        let guests = vec![guest(100, Some(60)), guest(101, None), guest(102, None)];
        let policy =
            CoverPolicy { max_age: None, now: Moment::from_unix(NOW), zone: TimeZone::UTC };
        let cover = cover(&facts(jobs, guests), &policy);
        let only: Vec<bool> = cover.guests.iter().map(GuestCover::has_snapshots_only).collect();
        assert_eq!(only, [false, true, false]);
        assert_eq!(cover.guests[1].why, "no good point, in no backup job: snapshots only");
        assert_eq!((cover.guests[1].severity, cover.guests[0].snapshot_jobs.len()), (Warning, 1));
    }

    #[test]
    fn what_cannot_be_read_is_unknown_and_not_ok() {
        let mut facts =
            facts(vec![job("a", "all", "daily")], vec![guest(100, Some(60)), guest(101, None)]);
        facts.unreadable = vec![("/c".into(), "gone".into())];
        assert_eq!(severities(&facts, None), [Ok, Unknown, Unknown]);
        facts.guests.clear();
        facts.unreadable.clear();
        assert_eq!(severities(&facts, None), [Unknown]);
    }

    #[test]
    fn a_guest_with_nothing_to_save_is_ok_and_says_so() {
        let empty = |vmid: u32, age: Option<i64>| GuestFacts {
            nothing_to_save: Some("every disk is backup=0".into()),
            ..guest(vmid, age)
        };
        let mut damaged = empty(103, Some(60));
        damaged.points[0].newest_failed = true;
        let guests =
            vec![empty(100, None), empty(101, Some(900_000)), empty(102, Some(60)), damaged];
        let facts = facts(vec![job("a", "100,102,103", "daily")], guests);
        assert_eq!(severities(&facts, None), [Ok, Warning, Ok, Critical, Critical]);
        let policy =
            CoverPolicy { max_age: None, now: Moment::from_unix(NOW), zone: TimeZone::UTC };
        let cover = cover(&facts, &policy);
        let why: Vec<&str> = cover.guests.iter().map(|guest| guest.why.as_str()).collect();
        let nothing = "nothing to save: every disk is backup=0";
        let no_job = "newest good point 10 d old, in no job";
        assert_eq!(why, [nothing, no_job, "", "its newest point in /b is damaged"]);
        let empty: Vec<bool> = cover.guests.iter().map(|guest| guest.nothing_to_save).collect();
        assert_eq!(empty, [true, false, false, false]);
    }

    #[test]
    fn a_cron_file_that_is_not_as_it_should_be_counts_and_stands_first_when_it_is_worst() {
        let judged = |severity: Severity| {
            let mut facts = facts(vec![job("a", "all", "daily")], vec![guest(100, Some(60))]);
            facts.unreadable = vec![("/c".into(), "gone".into())];
            facts.cron_file = Some((severity, "cron file".into()));
            let now = Moment::from_unix(NOW);
            cover(&facts, &CoverPolicy { max_age: None, now, zone: TimeZone::UTC })
        };
        let critical = judged(Critical);
        assert_eq!((critical.severity, critical.problems[0].as_str()), (Critical, "cron file"));
        let warning = judged(Warning);
        assert_eq!((warning.severity, warning.problems[1].as_str()), (Unknown, "cron file"));
        let mut alone = facts(vec![job("a", "all", "daily")], vec![guest(100, Some(60))]);
        alone.cron_file = Some((Warning, "cron file".into()));
        assert_eq!(severities(&alone, None), [Ok, Warning]);
    }

    #[test]
    fn a_point_of_a_wrong_clock_covers_nobody_and_one_that_was_moved_on_does() {
        let guests = vec![guest(100, Some(-3000)), guest(101, Some(-86_400))];
        let facts = facts(vec![job("a", "all", "daily")], guests);
        assert_eq!(severities(&facts, None), [Ok, Critical, Critical]);
    }

    #[test]
    fn damage_of_the_newest_point_and_templates() {
        let mut damaged = guest(100, Some(60));
        damaged.points[0].newest_failed = true;
        let mut template = guest(101, None);
        template.candidate.template = true;
        let facts = facts(vec![job("a", "all", "daily")], vec![damaged, template]);
        assert_eq!(severities(&facts, None), [Critical, Critical]);
    }

    #[test]
    fn ages_have_units() {
        assert_eq!(age("26h").unwrap(), 93_600);
        assert_eq!(age("2d").unwrap(), 172_800);
        for text in ["", "h", "26", "26 h", "-1h", "+1h", "1x", "ä"] {
            assert!(age(text).is_err(), "{text}");
        }
    }
}
