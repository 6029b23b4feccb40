//! `pve-ferry job`: jobs are made, shown, run and taken over. One file per kind of command.

mod change;
mod cron_file;
mod define;
mod import;
mod list;
mod metrics;
mod place;
mod render;
mod run;
mod secrets;
mod waiting;

pub use cron_file::cron_file;

use super::context::{self, directory, our_files};
use super::error::CliError;
use super::options::Logging;
use crate::job::{Job, JobName, Schedule};
use crate::node::cron_d::CronD;
use crate::node::last_run::Runs;
use crate::pve::JobsCfg;
use crate::pve::jobs_cfg::line_of;

/// The file below our configuration directory.
const FILE: &str = "jobs.cfg";

/// Jobs: an operation with its options that runs on a schedule
///
/// They are defined in /etc/pve/pve-ferry/jobs.cfg for the whole cluster (pve-ferry-jobs.cfg(5)). Each node renders
/// /etc/cron.d/pve-ferry from it and runs the jobs for the guests that it has, unless a job names
/// the one node that runs it.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a job: `job create --help` shows its options.
    #[command(disable_help_flag = true, disable_version_flag = true)]
    Create(Words),
    /// Change a job: `job set --help` shows its options.
    #[command(disable_help_flag = true, disable_version_flag = true)]
    Set(Words),
    List(list::ListArgs),
    Show(list::ShowArgs),
    Run(run::Args),
    /// Let a job run again.
    Enable(Which),
    /// Keep a job from running; it stays defined.
    Disable(Which),
    /// Remove a job. What it saved stays.
    Destroy(Which),
    Import(import::Args),
    Render(render::Args),
}

/// Words whose grammar depends on the operation among them.
#[derive(Debug, clap::Args)]
struct Words {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "WORDS")]
    words: Vec<String>,
}

/// Which job is meant: by its name, or as users of eve4pve-barc say it.
#[derive(Debug, clap::Args)]
struct Which {
    /// The job's name.
    #[arg(value_name = "NAME", required_unless_present_all = ["vmid", "label"])]
    name: Option<String>,
    /// Instead of a name: the selection of the job, as it was typed.
    #[arg(long, value_name = "SEL", requires = "label", conflicts_with = "name")]
    vmid: Option<String>,
    /// And its label.
    #[arg(long, value_name = "LABEL", requires = "vmid")]
    label: Option<String>,
    /// And, where several are left, its repository.
    #[arg(long, value_name = "DIR", requires = "vmid")]
    path: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// The words make no sense, or files cannot be read or written.
pub fn run(args: &Args, logging: &Logging) -> Result<u8, CliError> {
    match &args.command {
        Command::Create(words) => change::create(&words.words),
        Command::Set(words) => change::set(&words.words),
        Command::List(args) => list::list(args),
        Command::Show(args) => list::show(args),
        Command::Run(args) => run::run(args, logging),
        Command::Enable(which) => change::enable(which),
        Command::Disable(which) => change::disable(which),
        Command::Destroy(which) => change::destroy(which),
        Command::Import(args) => import::run(args),
        Command::Render(args) => render::run(args, logging),
    }
}

impl Which {
    /// The job that is meant.
    ///
    /// # Errors
    /// There is none, there are several, or its section cannot be read.
    fn find<'a>(&self, cfg: &'a JobsCfg) -> Result<&'a Job, CliError> {
        match (&self.name, &self.vmid, &self.label) {
            (Some(name), _, _) => by_name(cfg, name),
            (None, Some(vmid), Some(label)) => {
                let path = self.path.as_deref().map(secrets::whole).transpose()?;
                by_words(cfg, (vmid, label, path.as_deref()))
            }
            _ => Err(CliError::usage("give the job's name, or --vmid and --label")),
        }
    }

    /// What was typed, for those who hear that it cannot run.
    fn in_words(&self) -> String {
        let words = [&self.name, &self.vmid, &self.label].into_iter().flatten();
        words.map(String::as_str).collect::<Vec<_>>().join(" ")
    }
}

fn by_name<'a>(cfg: &'a JobsCfg, name: &str) -> Result<&'a Job, CliError> {
    if let Some((id, why)) = cfg.damaged.iter().find(|(id, _)| id == name) {
        let file = our_files().path(FILE);
        return Err(CliError::usage(format!("job {id} in {}: {why}", file.display())));
    }
    let parsed: JobName = name.parse()?;
    let missing = || {
        let names: Vec<String> = cfg.jobs.iter().map(|job| job.name.to_string()).collect();
        let known = if names.is_empty() { "there are none".into() } else { names.join(", ") };
        CliError::Coded(4, format!("there is no job {name} ({known})"))
    };
    cfg.job(&parsed).ok_or_else(missing)
}

type BarcWords<'a> = (&'a str, &'a str, Option<&'a str>);

fn by_words<'a>(cfg: &'a JobsCfg, (vmid, label, path): BarcWords<'_>) -> Result<&'a Job, CliError> {
    let fitting: Vec<&Job> =
        cfg.jobs.iter().filter(|job| job.is_called(vmid, label, path)).collect();
    match fitting[..] {
        [one] => Ok(one),
        [] => {
            Err(CliError::Coded(4, format!("there is no job with --vmid {vmid} --label {label}")))
        }
        _ => {
            let names: Vec<String> = fitting.iter().map(|job| job.name.to_string()).collect();
            let names = names.join(", ");
            Err(CliError::Coded(13, format!("several jobs fit: {names}; name one of them")))
        }
    }
}

/// The operations that a job may have, by the kind of its section in `jobs.cfg`.
pub(super) fn operations() -> Vec<&'static str> {
    define::operations()
}

/// The schema of a section of `jobs.cfg` with this operation.
pub(super) fn section_schema(operation: &str) -> serde_json::Value {
    define::section_schema(operation)
}

/// The commands of `pve-ferry job` whose words depend on the operation, as their man pages show them.
///
/// # Errors
/// There is no `backup`, which does not happen.
pub(super) fn page(word: &str) -> Result<Option<clap::Command>, CliError> {
    match word {
        "create" => define::page(define::Form::Whole).map(Some),
        "set" => define::page(define::Form::Changes).map(Some),
        _ => Ok(None),
    }
}

/// What an operation does, in a line.
pub(super) fn about(operation: &str) -> Option<String> {
    let command = define::operation_command(operation).ok()?;
    command.get_about().map(ToString::to_string)
}

/// All jobs. Those that cannot run, because of an option that their command does not take, are among
/// the damaged, too, with its line.
///
/// # Errors
/// The file cannot be read.
pub(super) fn checked_jobs() -> Result<JobsCfg, CliError> {
    let text = our_files().read(FILE).map_err(anyhow::Error::from)?;
    let mut cfg = JobsCfg::parse(&text);
    for job in &cfg.jobs {
        if let Err(error) = define::check(job) {
            let wrong = define::fits(job).err();
            let line = line_of(&text, &job.name, wrong.as_ref().and_then(|error| error.key()));
            cfg.damaged.push((job.name.to_string(), format!("line {line}: {}", gist(&error))));
        }
    }
    Ok(cfg)
}

/// The one line of an error that says what is wrong; clap adds usage and tips.
fn gist(error: &CliError) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}

/// All jobs as a node renders them, whether or not their commands take their options.
///
/// # Errors
/// The file cannot be read.
pub(super) fn jobs() -> Result<JobsCfg, CliError> {
    let text = our_files().read(FILE).map_err(anyhow::Error::from)?;
    Ok(JobsCfg::parse(&text))
}

/// The node's name; on a machine that is no node its host name.
pub(super) fn this_node() -> Result<String, CliError> {
    Ok(context::cluster().this_node().map_err(anyhow::Error::from)?)
}

fn cron_d() -> CronD {
    CronD::new(directory("PVE_FERRY_CRON_D", "/etc/cron.d"))
}

fn runs() -> Runs {
    Runs::new(&context::state_directory())
}

/// A schedule with its words and its next time.
fn when(schedule: &Schedule) -> String {
    let zone = crate::clock::local_zone();
    let now = crate::clock::Clock::System.now();
    match schedule.next_after(now, &zone) {
        Some(next) => format!("{}, next {}", schedule.in_words(), local(next)),
        None => format!("{}, which never comes", schedule.in_words()),
    }
}

/// A moment as the clock on the wall shows it: schedules are meant in local time.
fn local(moment: crate::model::Moment) -> String {
    let zone = crate::clock::local_zone();
    let stamp = jiff::Timestamp::from_second(moment.unix()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    stamp.to_zoned(zone).strftime("%Y-%m-%d %H:%M").to_string()
}
