//! `job run`: one run of a job, by cron or by a person. The job's words go through the same parser
//! and the same commands as if they had been typed.

use super::super::error::CliError;
use super::super::options::Logging;
use super::super::output::{self, Seen};
use super::super::{backup, run as run_command, told};
use super::define::{OPERATIONS, check, operation_command, parsed};
use super::{Which, by_name, jobs, place, render, runs, this_node, waiting};
use crate::clock::Clock;
use crate::job::{Job, command_name};
use crate::node::last_run::Said;
use crate::pve::JobsCfg;
use crate::report::Failure;
use crate::told::Heard;
use std::sync::Arc;

/// Run a job now
///
/// By hand it runs as it stands, on all its guests, also when it is disabled.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// As cron does: only if the job is enabled and this node's, only for guests on this node, and
    /// silent unless something is wrong. Waits for other runs without limit, and begins no repository
    /// where none is: the directory may not be mounted.
    #[arg(long)]
    scheduled: bool,
}

/// A hundred years: a scheduled run waits for another one as long as that works.
const FOR_EVER: &str = "--lock-wait=3155760000";

/// Runs the command.
///
/// # Errors
/// The job cannot be read or begun; its own failure is an exit code.
pub fn run(args: &Args, logging: &Logging) -> Result<u8, CliError> {
    if args.scheduled {
        return scheduled(&args.which, logging);
    }
    let cfg = jobs()?;
    begin(args.which.find(&cfg)?, Seen::AtOnce, named_words)
}

/// A run that nobody watches: whatever keeps it from doing its work is told as its failure would be.
fn scheduled(which: &Which, logging: &Logging) -> Result<u8, CliError> {
    told::unwatched();
    let cfg = match jobs() {
        Ok(cfg) => cfg,
        Err(error) => return unread(error),
    };
    told::of_jobs_cfg_again();
    let due = due(which, &cfg);
    if let Err(error) = &due {
        told::of_job(("job", &which.in_words()), &[], error);
    }
    let Some(job) = due? else {
        // The cron file is older than jobs.cfg, or the node was away: now it is made right.
        render::render()?;
        return Ok(0);
    };
    if job.node.is_none() && job.operation == "backup" {
        let vmid = job.option("vmid").unwrap_or_default();
        // What cannot be told here is an error of the run, which notes it.
        if matches!(backup::on_this_node(vmid), Ok(None)) {
            return Ok(0);
        }
    }
    let seen = if logging.debug { Seen::AtOnce } else { Seen::WhenWrong };
    let ended = begin(job, seen, |job| {
        // Without a person nobody could say that the directory is the right one.
        place::must_be_there(job)?;
        scheduled_words(job)
    });
    if let Err(error) = &ended {
        // It did not even begin, as when its last run is still under way. Each time it is told: what
        // is left out night after night is no backup.
        told::of_job((operation_word(job), job.name.as_str()), &job.options, error);
    }
    ended
}

/// jobs.cfg cannot be read, so that no job of this node runs: told once. Whoever has heard of it, cron's
/// mail among them, is not told again by each run of each job; the code says it all the same.
///
/// # Errors
/// What was given, where somebody has not heard of it yet.
pub fn unread(error: CliError) -> Result<u8, CliError> {
    match told::of_jobs_cfg(&error) {
        Heard::Before if !output::is_interactive() => Ok(error.exit_code()),
        Heard::Before | Heard::Now | Heard::NotAll => Err(error),
    }
}

/// The job, if it is to run here; one that is gone is no error.
fn due<'a>(which: &Which, cfg: &'a JobsCfg) -> Result<Option<&'a Job>, CliError> {
    let job = match &which.name {
        Some(name) => match by_name(cfg, name) {
            Ok(job) => job,
            Err(CliError::Coded(4, _)) => return Ok(None),
            Err(error) => return Err(error),
        },
        None => which.find(cfg)?,
    };
    let ours = job.enabled && job.runs_on(&this_node()?);
    Ok(ours.then_some(job))
}

/// The job's words, with its name where the operation tells it to others.
fn named_words(job: &Job) -> Result<Vec<String>, CliError> {
    check(job)?;
    let mut words = job.words();
    if knows(job, "job-name")? {
        words.push(format!("--job-name={}", job.name));
    }
    Ok(words)
}

/// Whether the operation of a job has an option.
fn knows(job: &Job, long: &str) -> Result<bool, CliError> {
    let command = operation_command(&job.operation)?;
    Ok(command.get_arguments().any(|arg| arg.get_long() == Some(long)))
}

/// The job's words, and what a run without a person adds.
fn scheduled_words(job: &Job) -> Result<Vec<String>, CliError> {
    let mut words = named_words(job)?;
    if job.option("lock-wait").is_none() && knows(job, "lock-wait")? {
        words.push(match job.operation.starts_with("snapshot") {
            true => until_the_next_run(job),
            false => FOR_EVER.to_owned(),
        });
    }
    if job.node.is_none() && job.option("this-node").is_none() && knows(job, "this-node")? {
        words.push("--this-node".to_owned());
    }
    Ok(words)
}

/// What a snapshot waits for are locks of PVE, and some of them stay until a person takes them away
/// (`snapshot-delete` after a removal that failed). So the wait ends half-way to the next run, which
/// would be left out otherwise, and after four hours at last: then the guest is reported.
fn until_the_next_run(job: &Job) -> String {
    let pause = job.schedule.next_pause(Clock::System.now(), &crate::clock::local_zone());
    let seconds = (pause.unwrap_or(0) / 2).clamp(0, 4 * 3600);
    format!("--lock-wait={seconds}")
}

/// Makes a job's words, runs them, and notes how that ended.
fn begin(
    job: &Job,
    seen: Seen,
    words: impl FnOnce(&Job) -> Result<Vec<String>, CliError>,
) -> Result<u8, CliError> {
    let run = runs().begin(&job.name, Clock::System.now()).map_err(anyhow::Error::from)?;
    let Some(run) = run.map(Arc::new) else { return Err(left_out(job)) };
    output::keep(seen);
    let waits = waiting::noted(&job.name, &run);
    // Also words that a later version does not know any more are a run that failed.
    let done = words(job).and_then(|words| parsed(&words)).and_then(|cli| run_command(&cli));
    drop(waits);
    let (code, error) = match done {
        Ok(code) => (code, None),
        Err(error) => (error.exit_code(), Some(error)),
    };
    if let Some(error) = &error {
        // Nobody looks at this node's cron mail where a notify.cfg says who is to hear of it.
        told::of_job((operation_word(job), job.name.as_str()), &job.options, error);
        output::notice(&format!("pve-ferry: error: {error}"));
    }
    if code != 0 {
        output::notice(&format!("job {} ended with {code}: {}", job.name, meaning(code)));
    }
    let said = output::release(code);
    let message = if code == 0 { String::new() } else { gist(&said) };
    let said = Said { message, untold: told::untold() };
    run.end(Clock::System.now(), code, said).map_err(anyhow::Error::from)?;
    Ok(code)
}

/// The name of a job's operation for those who are told of it: the one that its command's reports
/// have, or a run that broke off would leave metrics that no later run replaces.
fn operation_word(job: &Job) -> &'static str {
    let known = OPERATIONS.into_iter().find(|name| *name == job.operation);
    known.map_or("job", command_name)
}

/// The last run has not ended, and two at once would be of no use.
fn left_out(job: &Job) -> CliError {
    let (name, known) = (&job.name, waiting::under_way(&job.name));
    let text = format!(
        "job {name}: its last run on this node is still under way{known}; this one is left out, nothing was done"
    );
    CliError::Coded(Failure::Locked.code(), text)
}

/// The one line of all that says most: the first failure, else the last word.
fn gist(said: &str) -> String {
    let lines = || said.lines().filter(|line| !line.trim().is_empty());
    let failure = lines().find(|line| line.contains("FAILED") || line.contains("error:"));
    let line = failure.or_else(|| lines().next_back()).unwrap_or_default();
    line.trim().chars().take(300).collect()
}

/// An exit code in words.
pub fn meaning(code: u8) -> &'static str {
    match code {
        0 => "ok",
        2 => "usage or configuration",
        3 => "partial",
        4 => "nothing selected",
        10 => "repository missing",
        11 => "locked",
        12 => "damage found",
        13 => "conflict",
        130 => "interrupted",
        _ => "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheduled_job_of_snapshots_does_not_wait_for_a_lock_for_ever() {
        let words = |operation: &str, schedule: &str, more: Option<&str>| {
            let own = [("label", "daily"), ("vmid", "all"), ("keep", "1"), ("path", "/b")];
            let fits = |(key, _): &(&str, &str)| operation == "backup" || *key != "path";
            let own = own.into_iter().filter(fits).chain(more.map(|wait| ("lock-wait", wait)));
            let job = Job {
                name: "a".parse().unwrap(),
                operation: operation.to_owned(),
                schedule: schedule.parse().unwrap(),
                node: Some("pve1".to_owned()),
                enabled: true,
                runner: crate::job::Runner::Cron,
                comment: None,
                options: own.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            };
            let words = scheduled_words(&job).unwrap();
            words.into_iter().find(|word| word.starts_with("--lock-wait=")).unwrap()
        };
        assert_eq!(words("snapshot", "hourly", None), "--lock-wait=1800");
        assert_eq!(words("snapshot", "* * * * *", None), "--lock-wait=30");
        assert_eq!(words("snapshot-prune", "weekly", None), "--lock-wait=14400");
        assert_eq!(words("snapshot", "hourly", Some("7")), "--lock-wait=7");
        assert_eq!(words("backup", "hourly", None), FOR_EVER);
    }

    #[test]
    fn runs_that_break_off_are_told_of_under_the_name_of_those_that_do_not() {
        for operation in crate::cli::job::operations() {
            let job = Job {
                name: "a".parse().unwrap(),
                operation: operation.clone(),
                schedule: "daily".parse().unwrap(),
                node: None,
                enabled: true,
                runner: crate::job::Runner::Cron,
                comment: None,
                options: vec![],
            };
            assert_eq!(operation_word(&job), command_name(&operation));
        }
    }

    #[test]
    fn the_gist_is_the_first_failure_or_the_last_word() {
        assert_eq!(gist("a\n  guest 1: FAILED: x\nb\n"), "guest 1: FAILED: x");
        assert_eq!(gist("a\nb\n\n"), "b");
        assert_eq!(gist(""), "");
    }
}
