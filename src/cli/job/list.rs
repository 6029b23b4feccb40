//! `job list` and `job show`: what jobs there are, when they run, how they ended, and how old the
//! newest good point of each of their guests is. Reads only.

use super::super::document::{CronFile, DamagedJob, JobDefinition, JobGuest, JobList, ListedJob};
use super::super::error::CliError;
use super::super::output;
use super::super::status::Stock;
use super::super::table::{Align, render};
use super::run::meaning;
use super::{Which, checked_jobs, cron_file, jobs, local, runs, this_node, waiting, when};
use crate::clock::Clock;
use crate::job::cover::selected_by;
use crate::job::cron_check::CronDifference;
use crate::job::crontab::line;
use crate::job::words::joined;
use crate::job::{Job, Runner};
use crate::model::{Age, Guest, Moment};
use crate::node::last_run::LastRun;
use crate::pve::JobsCfg;
use crate::pve::jobs_cfg::section;

/// List the jobs: schedule, next run, last result, and the age of each guest's newest good point
///
/// Of a run under way that waits for another one it says since when, and for whom.
///
/// Below them it says what is different in this node's cron file from what jobs.cfg wants, as after
/// an edit by hand. The exit code is 3 when a job cannot run, or cron does not run one of this node.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// Show one job as it is defined, and the command that it stands for
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    #[command(flatten)]
    which: Which,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// One job with all that is known of it on this node.
struct Listed<'a> {
    job: &'a Job,
    next: Option<Moment>,
    last: Option<LastRun>,
    is_running: bool,
    guests: Vec<(Guest, Option<Moment>)>,
    /// Why the points of its guests are not known.
    unknown: Option<String>,
}

/// `job list`.
///
/// # Errors
/// jobs.cfg or the cluster's files cannot be read.
pub fn list(args: &ListArgs) -> Result<u8, CliError> {
    let cfg = checked_jobs()?;
    let node = this_node()?;
    let mut stock = Stock::new()?;
    let listed: Vec<Listed<'_>> =
        cfg.jobs.iter().map(|job| listed(job, &mut stock)).collect::<Result<_, _>>()?;
    let cron = cron_file()?;
    match args.json {
        true => output::json(&document(&listed, &cfg, &node, cron.as_ref())),
        false => output::text(&(text(&listed, &cfg, &node) + &cron_text(cron.as_ref()))),
    }
    let all_run = cron.is_none_or(|cron| cron.not_run.is_empty());
    Ok(if cfg.damaged.is_empty() && all_run { 0 } else { 3 })
}

/// What is different in the cron file, a line each, and what to do.
fn cron_text(cron: Option<&CronDifference>) -> String {
    let Some(cron) = cron else { return String::new() };
    let details = cron.differences.iter().map(String::as_str).chain(cron.advice());
    let details: String = details.map(|line| format!("  {line}\n")).collect();
    format!("\n{}\n{details}", cron.headline())
}

fn listed<'a>(job: &'a Job, stock: &mut Stock) -> Result<Listed<'a>, CliError> {
    let now = Clock::System.now();
    let runs = runs();
    let next = job.enabled.then(|| job.schedule.next_after(now, &crate::clock::local_zone()));
    let guests = selected_by(job, &stock.candidates).unwrap_or_default();
    let mut unknown = None;
    let mut with_points = Vec::new();
    for guest in guests {
        let good = match (job.option("path"), &unknown) {
            (Some(path), None) => {
                stock.good(path, job.option("label"), &guest).unwrap_or_else(|why| {
                    unknown = Some(why);
                    None
                })
            }
            _ => None,
        };
        with_points.push((guest, good));
    }
    let last = runs.last(&job.name).map_err(anyhow::Error::from)?;
    let is_running = runs.is_running(&job.name);
    Ok(Listed { job, next: next.flatten(), last, is_running, guests: with_points, unknown })
}

fn text(listed: &[Listed<'_>], cfg: &JobsCfg, node: &str) -> String {
    let headings = ["NAME", "OPERATION", "SCHEDULE", "NEXT RUN", "NODE", "LAST RUN HERE"];
    let mut text = if listed.is_empty() {
        "no jobs; `pve-ferry job create --help` says how to make one\n".to_owned()
    } else {
        let rows: Vec<Vec<String>> = listed.iter().map(row).collect();
        render(&headings.map(|heading| (heading, Align::Left)), &rows)
    };
    let waits = listed.iter().map(|one| waiting::lines(&one.job.name, one.last.as_ref()));
    let waits: String = waits.collect();
    if !waits.is_empty() {
        text.push_str(&format!("\n{waits}"));
    }
    let untold: String = listed.iter().map(untold).collect();
    if !untold.is_empty() {
        text.push_str(&format!("\n{untold}"));
    }
    for listed in listed.iter().filter(|listed| !listed.guests.is_empty()) {
        text.push_str(&guests(listed));
    }
    for (id, why) in &cfg.damaged {
        text.push_str(&format!("\njob {id} cannot run: {why}\n"));
    }
    if listed.iter().any(|listed| listed.job.node.as_deref() != Some(node)) {
        text.push_str(&format!(
            "\nruns are those of this node, {node}; other nodes note their own\n"
        ));
    }
    text
}

fn row(listed: &Listed<'_>) -> Vec<String> {
    let job = listed.job;
    let next = match (job.enabled, listed.next) {
        (false, _) => "disabled".to_owned(),
        (true, Some(next)) => local(next),
        (true, None) => "never".to_owned(),
    };
    let by = if job.runner == Runner::Systemd { " (systemd)" } else { "" };
    vec![
        job.name.to_string(),
        job.operation.clone(),
        format!("{}{by}", job.schedule.in_words()),
        next,
        job.node.clone().unwrap_or_else(|| "each guest's".to_owned()),
        result(listed),
    ]
}

/// The last run in words: when it began and how it ended.
fn result(listed: &Listed<'_>) -> String {
    let Some(last) = &listed.last else { return "none".to_owned() };
    let began = local(last.started);
    match (listed.is_running, last.exit_code) {
        (true, _) if !last.waiting.is_empty() => format!("running since {began}, waits"),
        (true, _) => format!("running since {began}"),
        (false, Some(code)) if !last.untold.is_empty() => {
            format!("{began} {}, not all were told", meaning(code))
        }
        (false, Some(code)) => format!("{began} {}", meaning(code)),
        // It was killed, or the node went down.
        (false, None) => format!("{began} did not end"),
    }
}

/// Whom a job's last run could not tell, a line each.
fn untold(listed: &Listed<'_>) -> String {
    let problems = listed.last.iter().flat_map(|last| &last.untold);
    problems.map(|problem| format!("job {}, its last run: {problem}\n", listed.job.name)).collect()
}

fn guests(listed: &Listed<'_>) -> String {
    let now = Clock::System.now();
    let heading = format!(
        "\n{}: newest good point of label {}",
        listed.job.name,
        listed.job.option("label").unwrap_or("-")
    );
    if let Some(why) = &listed.unknown {
        return format!("{heading}: unknown, {why}\n");
    }
    let row = |(guest, good): &(Guest, Option<Moment>)| {
        let age = good.map_or("none".to_owned(), |good| Age::of(good, now).to_string());
        let time = good.map_or(String::new(), |good| good.to_string());
        vec![format!("  {}", guest.vmid), guest.name.clone(), guest.node.clone(), age, time]
    };
    let rows: Vec<Vec<String>> = listed.guests.iter().map(row).collect();
    let headings = [
        ("  GUEST", Align::Left),
        ("NAME", Align::Left),
        ("NODE", Align::Left),
        ("AGE", Align::Right),
        ("TIME", Align::Left),
    ];
    format!("{heading}\n{}", render(&headings, &rows))
}

fn document(
    listed: &[Listed<'_>],
    cfg: &JobsCfg,
    node: &str,
    cron: Option<&CronDifference>,
) -> JobList {
    let damaged = cfg.damaged.iter();
    let damaged =
        damaged.map(|(id, why)| DamagedJob { name: id.clone(), error: why.clone() }).collect();
    let cron_file = cron.map(|cron| CronFile {
        path: cron.path.clone(),
        state: cron.state,
        status: cron.severity(),
        differences: cron.differences.clone(),
        not_run: cron.not_run.clone(),
        advice: cron.advice(),
    });
    let jobs = listed.iter().map(one_document).collect();
    JobList { node: node.to_owned(), jobs, damaged, cron_file }
}

fn one_document(listed: &Listed<'_>) -> ListedJob {
    let now = Clock::System.now();
    let guest = |(guest, good): &(Guest, Option<Moment>)| JobGuest {
        vmid: guest.vmid,
        name: guest.name.clone(),
        node: guest.node.clone(),
        good_point: *good,
        good_age_seconds: good.map(|good| now.unix() - good.unix()),
    };
    ListedJob {
        definition: definition(listed.job),
        next_run: listed.next,
        running: listed.is_running,
        last_run: listed.last.clone(),
        guests: listed.guests.iter().map(guest).collect(),
        guests_error: listed.unknown.clone(),
    }
}

/// A job as it is defined.
fn definition(job: &Job) -> JobDefinition {
    let options = job.options.iter().map(|(key, value)| (key.clone(), value.clone().into()));
    JobDefinition {
        name: job.name.clone(),
        operation: job.operation.clone(),
        schedule: job.schedule.to_string(),
        schedule_words: job.schedule.in_words(),
        node: job.node.clone(),
        enabled: job.enabled,
        runner: job.runner,
        comment: job.comment.clone(),
        options: options.collect(),
        command: joined(&command(job)),
    }
}

fn command(job: &Job) -> Vec<String> {
    std::iter::once("pve-ferry".to_owned()).chain(job.words()).collect()
}

/// `job show`.
///
/// # Errors
/// There is no such job, or jobs.cfg cannot be read.
pub fn show(args: &ShowArgs) -> Result<u8, CliError> {
    let cfg = jobs()?;
    let job = args.which.find(&cfg)?;
    if args.json {
        output::json(&definition(job));
        return Ok(0);
    }
    let section = section(job).map_err(|error| CliError::usage(error.to_string()))?;
    let run = format!("pve-ferry job run {} --scheduled", job.name);
    let by = match (job.enabled, job.runner) {
        (false, _) => "nothing: it is disabled\n".to_owned(),
        (true, Runner::Systemd) => crate::node::timers::unit(&job.operation, &job.name) + "\n",
        (true, Runner::Cron) => line(job.schedule.fields(), &run),
    };
    output::text(&format!(
        "{section}\ncommand     {}\nwhen        {}\nstarted by  {by}",
        joined(&command(job)),
        when(&job.schedule)
    ));
    Ok(0)
}
