//! `job import`: takes the jobs of eve4pve-barc, crossover and cv4pve-autosnap over from their
//! crontabs. Their files are only read; which line is what, `job::import` knows.

use super::super::error::CliError;
use super::super::output;
use super::define::{check, operation_command, order};
use super::secrets::Pending;
use super::{change, jobs, place, this_node, when};
use crate::job::around_line::Form;
use crate::job::import::{Found, Proposal, found};
use crate::job::{Job, JobName, Runner, free_name};
use crate::model::OperationKind;
use crate::pve::JobsCfg;
use crate::pve::api::password_in;
use crate::secret::SecretSource;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Take over the jobs of eve4pve-barc, crossover and cv4pve-autosnap from their crontabs
///
/// Reads /etc/cron.d/*, /etc/crontab and root's crontab, or the files that are named. Imported jobs
/// run on this node, as the old ones did. The old lines are not changed: take them out afterwards,
/// or both will run. What cannot be imported is named with its reason (exit 3): lines of crossover
/// are, as long as pve-ferry has no `mirror`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Crontabs to read instead.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Say what would be imported, and stop.
    #[arg(long, short = 'n')]
    dry_run: bool,
}

/// What came of one line.
enum Outcome {
    Imported(Box<Job>, Vec<String>),
    Exists(JobName),
    Refused(String),
}

/// Runs the command.
///
/// # Errors
/// A file that was named cannot be read, or ours cannot be written.
pub fn run(args: &Args) -> Result<u8, CliError> {
    let mut counts = (0_usize, 0_usize);
    // What a dry run would have made until then: the next line would find it there.
    let mut planned = Vec::new();
    for (path, text) in texts(args)? {
        for line in found(&text, form(&path), &file) {
            counts.0 += 1;
            let about = format!("{}:{} ({})", path.display(), line.number, line.tool);
            let outcome = import(line, args, &planned)?;
            if let Outcome::Imported(job, _) = &outcome {
                planned.push((**job).clone());
            }
            match outcome {
                Outcome::Imported(job, notes) => imported(&about, &job, &notes, args),
                Outcome::Exists(name) => {
                    output::line(&format!("{about}: job {name} does the same already"))
                }
                Outcome::Refused(why) => {
                    counts.1 += 1;
                    output::line(&format!("{about}: NOT imported: {why}"));
                }
            }
        }
    }
    match counts {
        (0, _) => {
            output::line("no line of eve4pve-barc, crossover or cv4pve-autosnap was found");
            return Ok(4);
        }
        (found, refused) if refused < found && !args.dry_run => {
            output::line("the old lines are still there: take them out, or both will run");
        }
        _ => {}
    }
    Ok(if counts.1 == 0 { 0 } else { 3 })
}

fn imported(about: &str, job: &Job, notes: &[String], args: &Args) {
    let verb = if args.dry_run { "would be job" } else { "is now job" };
    let when = if job.enabled { when(&job.schedule) } else { "disabled".to_owned() };
    output::line(&format!("{about}: {verb} {}: {} {when}", job.name, job.operation));
    for note in notes {
        output::line(&format!("  {note}"));
    }
}

/// The crontabs with their texts; of those that nobody named, the ones that are there.
fn texts(args: &Args) -> Result<Vec<(PathBuf, String)>, CliError> {
    if args.files.is_empty() {
        let read = |path: PathBuf| {
            Some((path.clone(), String::from_utf8_lossy(&std::fs::read(path).ok()?).into_owned()))
        };
        return Ok(usual_files().into_iter().filter_map(read).collect());
    }
    let read = |path: &PathBuf| match std::fs::read(path) {
        Ok(bytes) => Ok((path.clone(), String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) => Err(CliError::usage(format!("cannot read {}: {error}", path.display()))),
    };
    args.files.iter().map(read).collect()
}

fn usual_files() -> Vec<PathBuf> {
    let cron_d = super::context::directory("PVE_FERRY_CRON_D", "/etc/cron.d");
    let entries = std::fs::read_dir(cron_d).into_iter().flatten();
    let entries = entries.filter_map(Result::ok).filter(|entry| cron_reads(&entry.file_name()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.sort();
    files.extend(
        ["/etc/crontab", "/var/spool/cron/crontabs/root"].map(|path| Path::new(path).to_owned()),
    );
    files
}

/// Whether cron reads a file of this name in cron.d: a line that somebody switched off by the name
/// of its file must not become a job that runs (cron(8) of Debian).
fn cron_reads(name: &std::ffi::OsStr) -> bool {
    name.as_encoded_bytes().iter().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(b))
}

/// Which form a crontab has: those of users are in a directory of their own.
fn form(path: &Path) -> Form {
    let directory = path.parent().and_then(Path::file_name);
    if directory.is_some_and(|name| name == "crontabs") { Form::Personal } else { Form::System }
}

fn import(line: Found, args: &Args, planned: &[Job]) -> Result<Outcome, CliError> {
    let proposal = match line.job {
        Ok(proposal) => proposal,
        Err(why) => return Ok(Outcome::Refused(why)),
    };
    if operation_command(proposal.operation).is_err() {
        let why = format!("pve-ferry has no jobs of `{}` yet", proposal.operation);
        return Ok(Outcome::Refused(why));
    }
    let Made { mut job, mut notes, lost } = job_of(&proposal, line.tool)?;
    let mut pending = Pending::default();
    for (key, secret) in &proposal.secrets {
        let reference = pending.reference(key, secret)?;
        notes.push(format!("--{key} is now {reference}"));
        job.options.push((key.clone(), reference));
    }
    order(&mut job)?;
    if !lost.is_empty() {
        let why = format!(
            "pve-ferry has no {} yet; without it the job would be another one",
            lost.join(", ")
        );
        return Ok(Outcome::Refused(why));
    }
    let mut cfg = jobs()?;
    if args.dry_run {
        cfg.jobs.extend_from_slice(planned);
    }
    if let Some(other) = same(&cfg, &job) {
        return Ok(Outcome::Exists(other));
    }
    if let Err(error) = check(&job).and_then(|()| usable(&job, &proposal)) {
        return Ok(Outcome::Refused(
            error.to_string().lines().next().unwrap_or_default().to_owned(),
        ));
    }
    if let Some(script) = change::missing_script(&job) {
        notes.push(format!(
            "warning: there is no hook {script} now; runs go on without it, with a warning"
        ));
    }
    let gone = change::missing_directory(&job);
    notes.extend(gone.map(|path| {
        format!("warning: {path} is no directory on this node now: the job would fail")
    }));
    job.name = free_name(&job.operation, job.option("label"), &cfg.names())?;
    if !args.dry_run {
        pending.keep()?;
        let new = job.clone();
        change::change(|cfg| match cfg.names().contains(&new.name) {
            true => Err(CliError::Coded(
                13,
                format!("job {} has just been made by somebody else", new.name),
            )),
            false => Ok((new.name.clone(), Some(new))),
        })?;
        place::begin(&job, &this_node()?);
    }
    Ok(Outcome::Imported(Box::new(job), notes))
}

/// A file that a line names.
fn file(path: &str) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"))
}

/// Whether the files that a line of cv4pve-autosnap names serve: it asked for the password when the
/// file was not there, which nobody answers in a cron job, and did not start without its script.
fn usable(job: &Job, proposal: &Proposal) -> Result<(), CliError> {
    if !job.kind().is_some_and(OperationKind::is_of_guest_snapshots) {
        return Ok(());
    }
    if let Some(script) = job.option("script") {
        let mode = std::fs::metadata(script).map(|facts| facts.permissions().mode());
        if !mode.is_ok_and(|mode| mode & 0o111 != 0) {
            return Err(CliError::usage(format!("its script {script} cannot be executed")));
        }
    }
    let is_named = proposal.options.iter().any(|(key, _)| key == "password");
    let Some(value) = job.option("password").filter(|_| is_named) else { return Ok(()) };
    let source: SecretSource =
        value.parse().map_err(|e: crate::secret::SecretError| CliError::usage(e.to_string()))?;
    let secret =
        source.read().map_err(|e| CliError::usage(format!("{:#}", anyhow::Error::from(e))))?;
    password_in(secret.reveal()).map(drop).map_err(|e| CliError::usage(e.to_string()))
}

/// A job made of a line, what is different in it, and the options that our command does not know.
struct Made {
    job: Job,
    notes: Vec<String>,
    lost: Vec<String>,
}

/// A job with the options that our command knows, and those that it does not.
fn job_of(proposal: &Proposal, tool: &str) -> Result<Made, CliError> {
    let command = operation_command(proposal.operation)?;
    let knows = |key: &str| {
        command.get_arguments().any(|arg| {
            arg.get_long() == Some(key)
                || arg.get_all_aliases().is_some_and(|all| all.contains(&key))
        })
    };
    let (mut known, lost): (Vec<_>, Vec<_>) =
        proposal.options.iter().cloned().partition(|(key, _)| knows(key));
    if known.iter().any(|(key, _)| key == "script") && knows("hook-compat") {
        // Its hooks read its own variables, and cannot stop anything.
        let is_barc = OperationKind::of_job(proposal.operation) == Some(OperationKind::Backup);
        let compat = if is_barc { "barc" } else { "autosnap" };
        known.push(("hook-compat".to_owned(), compat.to_owned()));
    }
    let job = Job {
        name: "imported".parse()?,
        operation: proposal.operation.to_owned(),
        schedule: proposal.schedule.clone(),
        node: Some(this_node()?),
        enabled: proposal.enabled,
        runner: Runner::Cron,
        comment: Some(format!("imported from {tool}")),
        options: known,
    };
    let lost = lost.into_iter().map(|(key, _)| format!("--{key}")).collect();
    Ok(Made { job, notes: proposal.notes.clone(), lost })
}

fn same(cfg: &JobsCfg, job: &Job) -> Option<JobName> {
    let words = |job: &Job| (job.operation.clone(), job.schedule.clone(), job.options.clone());
    cfg.jobs.iter().find(|other| words(other) == words(job)).map(|other| other.name.clone())
}
