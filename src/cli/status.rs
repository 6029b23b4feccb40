//! `pve-ferry status`: is every guest covered, and since when not? For people and for monitoring
//! systems. Reads only; what it is worth is judged in `job::cover`.

use super::document::{Coverage, CoveredGuest, StatusAnswer, Unknown};
use super::error::CliError;
use super::table::{Align, render};
use super::{context, job, output};
use crate::clock::Clock;
use crate::job::JobName;
use crate::job::cover::{
    Cover, CoverFacts, CoverPolicy, GuestCover, GuestFacts, GuestPoints, Severity, age, cover,
};
use crate::model::{Age, ClusterId, Guest, Label, Moment, OperationKind, VmId};
use crate::pve::GuestConfig;
use crate::repository::{Disk, Repository};
use crate::select::Candidate;
use crate::survey;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Is every guest covered, and how old is its newest good point?
///
/// Looks at all guests of the cluster, all jobs, and the repositories of the jobs. Ends with the
/// codes of Nagios plugins: 0 ok, 1 warning (a guest is in no job, or this node's cron file was
/// edited), 2 critical (a point is too old, missing or damaged, or cron does not run a job of this
/// node), 3 unknown. The first line is the one that such systems show. A guest is well without a
/// point when its jobs find nothing to save by its configuration, as backup=0 on every disk.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pve-ferry status
  pve-ferry status --max-age 26h --label daily
  pve-ferry status --path /mnt/backup --json")]
pub struct Args {
    /// How old the newest good point may be, as 26h, 90m, 2d [default: the time between two runs of
    /// the guest's jobs, and 2 hours; 26h where no job says it].
    #[arg(long, value_name = "AGE")]
    max_age: Option<String>,
    /// Only jobs and points of this label.
    #[arg(long, value_name = "LABEL")]
    label: Option<String>,
    /// Repositories to look into, beside those of the jobs.
    #[arg(long, value_name = "DIR", num_args = 1..)]
    path: Vec<PathBuf>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

type Key = (String, Option<String>);

/// The guests of the cluster, and what repositories hold of them; each is read once. A machine that
/// is no node knows of none.
#[derive(Default)]
pub struct Stock {
    /// All guests as selections see them.
    pub candidates: Vec<Candidate>,
    guests: Vec<(Guest, GuestConfig)>,
    cluster: Option<ClusterId>,
    read: BTreeMap<Key, Result<BTreeMap<VmId, GuestPoints>, String>>,
}

impl Stock {
    /// Reads the cluster's guests.
    ///
    /// # Errors
    /// The cluster's files cannot be read.
    pub fn new() -> Result<Self, CliError> {
        if !context::is_node() {
            return Ok(Self::default());
        }
        let cluster = context::cluster();
        let read = || {
            anyhow::Ok(Self {
                candidates: cluster.candidates()?,
                guests: cluster.guests_with_configs()?,
                cluster: cluster.cluster_id()?,
                read: BTreeMap::new(),
            })
        };
        Ok(read()?)
    }

    /// The points of all guests in a repository, or why they are not known.
    pub fn points(
        &mut self,
        path: &str,
        label: Option<&str>,
    ) -> Result<&BTreeMap<VmId, GuestPoints>, String> {
        let key = (path.to_owned(), label.map(str::to_owned));
        if !self.read.contains_key(&key) {
            let points = self.read_points(Path::new(path), label);
            self.read.insert(key.clone(), points.map_err(|error| format!("{error:#}")));
        }
        match self.read.get(&key) {
            Some(points) => points.as_ref().map_err(Clone::clone),
            None => Err("it was not read".to_owned()),
        }
    }

    /// The newest good point of one guest.
    ///
    /// # Errors
    /// Why it is not known.
    pub fn good(
        &mut self,
        path: &str,
        label: Option<&str>,
        guest: &Guest,
    ) -> Result<Option<Moment>, String> {
        Ok(self.points(path, label)?.get(&guest.vmid).and_then(|points| points.good))
    }

    /// Why a guest's configuration leaves a backup nothing to take.
    fn nothing_to_save(&self, vmid: VmId) -> Option<String> {
        let known = self.guests.iter().find(|(guest, _)| guest.vmid == vmid);
        known.and_then(|(_, config)| config.nothing_to_save())
    }

    fn read_points(
        &self,
        path: &Path,
        label: Option<&str>,
    ) -> anyhow::Result<BTreeMap<VmId, GuestPoints>> {
        let repository = Repository::open(path, Disk::real())?;
        let label = label.map(str::parse::<Label>).transpose()?;
        Ok(survey::stored_points(&repository, self.cluster.as_ref(), &self.guests, label.as_ref())?)
    }
}

/// Runs the command. Everything that goes wrong is "unknown" to a monitoring system.
///
/// # Errors
/// Only wrong words; they have their usual code, which is critical to a monitoring system.
pub fn run(args: &Args) -> Result<u8, CliError> {
    let max_age = args.max_age.as_deref().map(age).transpose()?;
    if let Some(label) = &args.label {
        super::options::label(label)?;
    }
    let cover = match judged(args, max_age) {
        Ok(cover) => cover,
        Err(error) => {
            let text = format!("PVE-FERRY UNKNOWN - {error}");
            match args.json {
                true => output::json(&StatusAnswer::Unknown(Unknown {
                    status: Severity::Unknown,
                    error: error.to_string(),
                })),
                false => output::line(&text),
            }
            return Ok(Severity::Unknown.code());
        }
    };
    match args.json {
        true => output::json(&document(&cover)),
        false => output::text(&text(&cover)),
    }
    Ok(cover.severity.code())
}

fn judged(args: &Args, max_age: Option<i64>) -> Result<Cover, CliError> {
    if !context::is_node() {
        let text = "this machine is no PVE node and knows no guests; `pve-ferry job list` says how its jobs ended";
        return Err(CliError::usage(text));
    }
    let cfg = job::checked_jobs()?;
    let mut stock = Stock::new()?;
    let mut jobs = cfg.jobs;
    // What cannot run covers nobody.
    jobs.retain(|job| cfg.damaged.iter().all(|(id, _)| id != job.name.as_str()));
    let label = args.label.as_deref();
    jobs.retain(|job| label.is_none_or(|label| job.option("label") == Some(label)));
    let backups =
        jobs.iter().filter(|job| job.enabled && job.kind() == Some(OperationKind::Backup));
    let mut paths: Vec<String> =
        backups.filter_map(|job| job.option("path")).map(str::to_owned).collect();
    paths.extend(args.path.iter().map(|path| path.display().to_string()));
    paths.sort();
    paths.dedup();
    let mut unreadable = Vec::new();
    let mut points: BTreeMap<VmId, Vec<GuestPoints>> = BTreeMap::new();
    for path in paths {
        match stock.points(&path, label) {
            Ok(found) => found
                .iter()
                .for_each(|(vmid, of)| points.entry(*vmid).or_default().push(of.clone())),
            Err(why) => unreadable.push((path, why)),
        }
    }
    let guest = |candidate: Candidate| {
        let vmid = candidate.guest.vmid;
        let nothing_to_save = stock.nothing_to_save(vmid);
        GuestFacts { candidate, points: points.remove(&vmid).unwrap_or_default(), nothing_to_save }
    };
    let guests = stock.candidates.clone().into_iter().map(guest).collect();
    let damaged_jobs =
        cfg.damaged.iter().map(|(id, why)| format!("job {id} cannot run: {why}")).collect();
    let cron_file = job::cron_file()?.filter(|found| found.severity() > Severity::Ok);
    let cron_file = cron_file.map(|found| (found.severity(), found.to_string()));
    let facts = CoverFacts { guests, jobs, unreadable, damaged_jobs, cron_file };
    let policy =
        CoverPolicy { max_age, now: Clock::System.now(), zone: crate::clock::local_zone() };
    Ok(cover(&facts, &policy))
}

fn text(cover: &Cover) -> String {
    let now = Clock::System.now();
    let mut text = first_line(cover, now) + "\n";
    for problem in &cover.problems {
        text.push_str(&format!("{problem}\n"));
    }
    let mut guests: Vec<&GuestCover> = cover.guests.iter().collect();
    guests.sort_by_key(|guest| std::cmp::Reverse(guest.severity));
    let rows: Vec<Vec<String>> = guests.into_iter().map(|guest| row(guest, now)).collect();
    let headings = [
        ("GUEST", Align::Left),
        ("NAME", Align::Left),
        ("NODE", Align::Left),
        ("STATE", Align::Left),
        ("GOOD", Align::Right),
        ("VERIFIED", Align::Right),
        ("JOBS", Align::Left),
        ("WHY", Align::Left),
    ];
    if !rows.is_empty() {
        text.push_str(&render(&headings, &rows));
    }
    text
}

/// State, numbers, and after the bar the same for machines (Nagios plugin interface).
fn first_line(cover: &Cover, now: Moment) -> String {
    let count = |severity| cover.guests.iter().filter(|guest| guest.severity == severity).count();
    let empty = cover.guests.iter().filter(|guest| guest.nothing_to_save).count();
    let (all, good) = (cover.guests.len(), count(Severity::Ok) - empty);
    let unprotected = cover.guests.iter().filter(|guest| guest.jobs.is_empty()).count();
    let only = cover.guests.iter().filter(|guest| guest.has_snapshots_only()).count();
    let mut parts = vec![match all {
        0 => "no guest in this cluster".to_owned(),
        _ => format!("{good} of {all} guests have a good point that is new enough"),
    }];
    if empty > 0 {
        parts.push(format!("{empty} with nothing to save"));
    }
    if unprotected > only {
        parts.push(format!("{} in no job", unprotected - only));
    }
    if only > 0 {
        parts.push(format!("{only} with snapshots only, which are no backup"));
    }
    parts.extend(cover.problems.first().map(|problem| shortened(problem)));
    let saved = cover.guests.iter().filter(|guest| !guest.nothing_to_save);
    let oldest = saved.filter_map(|guest| guest.good).min();
    let oldest =
        oldest.map_or(String::new(), |good| format!(" oldest={}s", now.unix() - good.unix()));
    format!(
        "PVE-FERRY {} - {} | guests={all} good={good} critical={} warning={} unknown={} nojob={unprotected}{oldest}",
        cover.severity.word(),
        parts.join(", ").replace('|', "/"),
        count(Severity::Critical),
        count(Severity::Warning),
        count(Severity::Unknown),
    )
}

/// The beginning of what follows as a whole on a line of its own.
fn shortened(problem: &str) -> String {
    const CHARS: usize = 160;
    match problem.char_indices().nth(CHARS) {
        Some((end, _)) => format!("{}...", &problem[..end]),
        None => problem.to_owned(),
    }
}

fn row(cover: &GuestCover, now: Moment) -> Vec<String> {
    let age =
        |moment: Option<Moment>| moment.map_or("none".into(), |m| Age::of(m, now).to_string());
    let all = cover.jobs.iter().chain(&cover.snapshot_jobs);
    let jobs: Vec<&str> = all.map(JobName::as_str).collect();
    vec![
        cover.guest.vmid.to_string(),
        cover.guest.name.clone(),
        cover.guest.node.clone(),
        cover.severity.word().to_ascii_lowercase(),
        age(cover.good),
        age(cover.verified),
        if jobs.is_empty() { "-".to_owned() } else { jobs.join(",") },
        cover.why.clone(),
    ]
}

fn document(cover: &Cover) -> StatusAnswer {
    let now = Clock::System.now();
    let seconds = |moment: Option<Moment>| moment.map(|moment| now.unix() - moment.unix());
    let guest = |guest: &GuestCover| CoveredGuest {
        vmid: guest.guest.vmid,
        name: guest.guest.name.clone(),
        node: guest.guest.node.clone(),
        status: guest.severity,
        why: guest.why.clone(),
        jobs: guest.jobs.clone(),
        snapshot_jobs: guest.snapshot_jobs.clone(),
        good_point: guest.good,
        good_age_seconds: seconds(guest.good),
        verified_point: guest.verified,
        verified_age_seconds: seconds(guest.verified),
    };
    StatusAnswer::Known(Coverage {
        status: cover.severity,
        guests: cover.guests.iter().map(guest).collect(),
        problems: cover.problems.clone(),
    })
}
