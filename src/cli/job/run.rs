//! `job run`: one run of a job, by cron or by a person. The job's words go through the same parser
//! and the same commands as if they had been typed.

use super::super::end::{CommandError, CommandResult, Notified};
use super::super::error::CliError;
use super::super::options::Logging;
use super::super::output::{self, Seen};
use super::super::told::{self, BrokenJob};
use super::super::{Cli, backup, run as run_command};
use super::define::{command_line, operation_command};
use super::{Which, by_name, jobs, place, render, runs, this_node, waiting};
use crate::clock::Clock;
use crate::job::Job;
use crate::model::{Need, OperationKind};
use crate::node::last_run::{LastRunEnd, Run};
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
    let job = args.which.find(&cfg)?;
    begin(job, Seen::AtOnce, || command_line(job, named(job)?)).map_err(|end| end.error)
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
        // Which operation the job has is not known.
        let (operation, name) = ("job", which.in_words());
        told::of_job(&BrokenJob { operation, name: &name, options: &[] }, error);
    }
    let Some(job) = due? else {
        // The cron file is older than jobs.cfg, or the node was away: now it is made right.
        render::render()?;
        return Ok(0);
    };
    if job.follows_guests() {
        let vmid = job.option("vmid").unwrap_or_default();
        // What cannot be told here is an error of the run, which notes it.
        if matches!(backup::on_this_node(vmid), Ok(None)) {
            return Ok(0);
        }
    }
    let seen = if logging.debug { Seen::AtOnce } else { Seen::WhenWrong };
    let ended = begin(job, seen, || {
        // Without a person nobody could say that the directory is the right one.
        place::must_be_there(job)?;
        command_line(job, unattended(job)?)
    });
    ended.map_err(|CommandError { error, notified }| {
        if !notified.is_done {
            // It did not even begin, as when its last run is still under way. Each time it is told: what
            // is left out night after night is no backup.
            told::of_job(&broken(job), &error);
        }
        error
    })
}

/// The job for those who hear that its run broke off.
fn broken(job: &Job) -> BrokenJob<'_> {
    BrokenJob { operation: operation_word(job), name: job.name.as_str(), options: &job.options }
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

/// What a run adds to the job's words: its name, where the operation tells it to others.
fn named(job: &Job) -> Result<Vec<String>, CliError> {
    let name = || format!("--job-name={}", job.name);
    Ok(knows(job, "job-name")?.then(name).into_iter().collect())
}

/// Whether the operation of a job has an option.
fn knows(job: &Job, long: &str) -> Result<bool, CliError> {
    let command = operation_command(&job.operation)?;
    Ok(command.get_arguments().any(|arg| arg.get_long() == Some(long)))
}

/// What a run without a person adds.
fn unattended(job: &Job) -> Result<Vec<String>, CliError> {
    let mut words = named(job)?;
    if job.option("lock-wait").is_none() && knows(job, "lock-wait")? {
        words.push(match job.kind().is_some_and(|kind| kind.needs(Need::Api)) {
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

/// Makes the command line of a job, runs it, and notes how that ended.
///
/// # Errors
/// The run cannot begin, or its end cannot be noted; the command's own failure is an exit code.
fn begin(
    job: &Job,
    seen: Seen,
    made: impl FnOnce() -> Result<Cli, CliError>,
) -> Result<u8, CommandError> {
    let run = runs().begin(&job.name, Clock::System.now()).map_err(anyhow::Error::from)?;
    let Some(run) = run.map(Arc::new) else { return Err(left_out(job).into()) };
    output::keep(seen);
    let waits = waiting::noted(&job.name, &run);
    // Also words that a later version does not know any more are a run that failed.
    let ended = match made() {
        Ok(cli) => run_command(&cli),
        Err(error) => Err(error.into()),
    };
    drop(waits);
    let (end, notified) = concluded(job, ended);
    output::release(end.exit_code);
    note(&run, end, notified)
}

/// What is noted of a run, and who was notified of it. Says what the command has not said.
fn concluded(job: &Job, ended: CommandResult) -> (LastRunEnd, Notified) {
    let (exit_code, failure, notified) = match ended {
        Ok(end) => (end.code, end.first_failure(), end.notified),
        Err(CommandError { error, mut notified }) => {
            if !notified.is_done {
                // Nobody looks at this node's cron mail where a notify.cfg says who is to hear of it.
                let now = told::of_job(&broken(job), &error);
                notified.is_done = now.is_done;
                notified.problems.extend(now.problems);
            }
            let text = format!("pve-ferry: error: {error}");
            output::notice(&text);
            (error.exit_code(), text.lines().next().map(|line| line.trim().to_owned()), notified)
        }
    };
    let ending = format!("job {} ended with {exit_code}: {}", job.name, meaning(exit_code));
    if exit_code != 0 {
        output::notice(&ending);
    }
    let message = match exit_code {
        0 => String::new(),
        _ => output::plain(failure.as_deref().unwrap_or(&ending)).chars().take(LONGEST).collect(),
    };
    let untold = notified.problems.clone();
    (LastRunEnd { exit_code, message, untold }, notified)
}

/// Notes how a run ended.
///
/// # Errors
/// The file cannot be written.
fn note(run: &Run, end: LastRunEnd, notified: Notified) -> Result<u8, CommandError> {
    let code = end.exit_code;
    match run.end(Clock::System.now(), end) {
        Ok(()) => Ok(code),
        Err(error) => Err(CommandError { error: anyhow::Error::from(error).into(), notified }),
    }
}

/// Characters of what is noted of a run that did not end well.
const LONGEST: usize = 300;

/// The name of a job's operation for those who are told of it: the one that its command's reports
/// have, or a run that broke off would leave metrics that no later run replaces.
fn operation_word(job: &Job) -> &'static str {
    job.kind().map_or("job", OperationKind::name)
}

/// The last run has not ended, and two at once would be of no use.
fn left_out(job: &Job) -> CliError {
    let (name, known) = (&job.name, waiting::under_way(&job.name));
    let text = format!(
        "job {name}: its last run on this node is still under way{known}; this one is left out, nothing was done"
    );
    CliError::Coded(Failure::Locked.code(), text)
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
            let words = unattended(&job).unwrap();
            assert!(command_line(&job, words.clone()).is_ok());
            let wait = words.into_iter().find(|word| word.starts_with("--lock-wait="));
            wait.or_else(|| job.option("lock-wait").map(|wait| format!("--lock-wait={wait}")))
                .unwrap()
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
                operation: operation.to_owned(),
                schedule: "daily".parse().unwrap(),
                node: None,
                enabled: true,
                runner: crate::job::Runner::Cron,
                comment: None,
                options: vec![],
            };
            assert_eq!(operation_word(&job), crate::job::command_name(operation));
        }
    }

    #[test]
    fn the_message_of_a_run_is_its_first_failure_and_no_line_that_looks_like_one() {
        use super::super::super::end::CommandEnd;
        use crate::model::{Guest, GuestKind, Moment};
        use crate::report::{GuestOutcome, Report};
        let job = crate::pve::JobsCfg::parse("prune: tidy\n\tschedule daily\n").jobs.remove(0);
        let message = |end: CommandEnd| concluded(&job, Ok(end)).0.message;
        assert_eq!(message(CommandEnd::from(0)), "");
        assert_eq!(message(CommandEnd::from(3)), "job tidy ended with 3: partial");
        let guest = |vmid: u32| {
            let (kind, name, node) = (GuestKind::Qemu, "db".to_owned(), "pve1".to_owned());
            GuestOutcome::new(&Guest { vmid: vmid.try_into().unwrap(), kind, name, node })
        };
        let mut fine = guest(100);
        fine.warnings.push("hook a: error: FAILED".into());
        let broken = guest(101).failed(Failure::Other, "\u{1b}[31mno space\nleft".into());
        let now = Moment::from_unix(0);
        let report = |guests| Report::new("prune", (now, now), guests, vec![]);
        let end = |report: Report| CommandEnd {
            code: report.exit_code(),
            report: Some(report),
            notified: Notified::default(),
        };
        let said = message(end(report(vec![fine.clone(), broken])));
        assert_eq!(said, "guest 101 db on pve1: FAILED: no space");
        fine.not_whole.push("a disk".into());
        assert_eq!(message(end(report(vec![fine]))), "job tidy ended with 3: partial");
    }
}
