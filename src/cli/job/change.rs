//! `job create`, `set`, `enable`, `disable`, `destroy`: a change of jobs.cfg, then of this node's
//! cron file. What the words mean is `define.rs`'s to know.

use super::super::error::CliError;
use super::super::output;
use super::define::{Form, changed_job, defined, new_job, operation_in};
use super::{FILE, Which, by_name, our_files, place, render, runs, secrets, this_node, when};
use crate::job::{Job, JobName, Runner};
use crate::model::OperationKind;
use crate::pve::JobsCfg;
use crate::pve::jobs_cfg::with_job;

/// `job create`.
///
/// # Errors
/// The words make no sense, there is such a job, or files cannot be written.
pub fn create(words: &[String]) -> Result<u8, CliError> {
    let operation = operation_in(words).unwrap_or_else(|| OperationKind::Backup.name().to_owned());
    let mut defined = defined(words, &operation, Form::Whole)?;
    let secrets = secrets::taken_out(&mut defined.options)?;
    let node = this_node()?;
    let mut defined = Some(defined);
    let job = change(|cfg| {
        // The closure runs once; the words are gone afterwards.
        let defined = defined.take().ok_or_else(|| CliError::usage("nothing to define"))?;
        let names_it = defined.job.name.is_some();
        let job = new_job(defined, &cfg.names(), &node)?;
        refuse_twice(cfg, &job, names_it)?;
        secrets.keep()?;
        Ok((job.name.clone(), Some(job)))
    })?;
    if let Some(job) = job {
        tell("created", &job, &node);
        place::begin(&job, &node);
    }
    Ok(0)
}

fn refuse_twice(cfg: &JobsCfg, job: &Job, names_it: bool) -> Result<(), CliError> {
    let conflict = |text: String| Err(CliError::Coded(13, format!("{text}; nothing was changed")));
    if cfg.names().contains(&job.name) {
        return conflict(format!("job {0} exists already; `job set {0}` changes it", job.name));
    }
    let same = |other: &&Job| other.operation == job.operation && other.options == job.options;
    match cfg.jobs.iter().find(same) {
        Some(other) if !names_it => conflict(format!(
            "job {} does the same; give the new one a name if you want both",
            other.name
        )),
        _ => Ok(()),
    }
}

/// `job set`.
///
/// # Errors
/// The words make no sense, there is no such job, or files cannot be written.
pub fn set(words: &[String]) -> Result<u8, CliError> {
    if let Some(operation) = operation_in(words) {
        let text =
            format!("--operation {operation}: the operation of a job stays; make another job");
        return Err(CliError::usage(text));
    }
    // Which options there are depends on the job; its name is the word without dashes.
    let cfg = super::jobs()?;
    let known = words.iter().find_map(|word| cfg.jobs.iter().find(|job| job.name.as_str() == word));
    let operation =
        known.map_or(OperationKind::Backup.name(), |job| job.operation.as_str()).to_owned();
    let mut changes = defined(words, &operation, Form::Changes)?;
    let secrets = secrets::taken_out(&mut changes.options)?;
    if changes.is_empty() {
        return Err(CliError::usage(
            "nothing to change: `pve-ferry job set --help` shows the options",
        ));
    }
    let mut changes = Some(changes);
    let job = change(|cfg| {
        let changes = changes.take().ok_or_else(|| CliError::usage("nothing to change"))?;
        let job = match &changes.job.name {
            Some(name) => by_name(cfg, name)?.clone(),
            None => meant(cfg, &changes.options)?.clone(),
        };
        let changed = changed_job(&job, changes)?;
        secrets.keep()?;
        Ok((job.name.clone(), Some(changed)))
    })?;
    if let Some(job) = job {
        let node = this_node()?;
        tell("changed", &job, &node);
        place::begin(&job, &node);
    }
    Ok(0)
}

/// Without a name, selection and label say which job is meant, and the other options what changes.
fn meant<'a>(cfg: &'a JobsCfg, options: &[(String, String)]) -> Result<&'a Job, CliError> {
    let value = |key: &str| options.iter().find(|(k, _)| k == key).map(|(_, v)| v.clone());
    let which =
        Which { name: None, vmid: value("vmid"), label: value("label"), path: value("path") };
    which.find(cfg)
}

/// `job enable`.
///
/// # Errors
/// There is no such job, or files cannot be written.
pub fn enable(which: &Which) -> Result<u8, CliError> {
    with_enabled(which, |job| job.enabled = true, "enabled")
}

/// `job disable`.
///
/// # Errors
/// There is no such job, or files cannot be written.
pub fn disable(which: &Which) -> Result<u8, CliError> {
    with_enabled(which, |job| job.enabled = false, "disabled")
}

fn with_enabled(which: &Which, set: fn(&mut Job), word: &str) -> Result<u8, CliError> {
    let job = change(|cfg| {
        let mut job = which.find(cfg)?.clone();
        set(&mut job);
        Ok((job.name.clone(), Some(job)))
    })?;
    if let Some(job) = job {
        tell(word, &job, &this_node()?);
    }
    Ok(0)
}

/// `job destroy`. A section that cannot be read is removed by its name, too.
///
/// # Errors
/// There is no such job, or files cannot be written.
pub fn destroy(which: &Which) -> Result<u8, CliError> {
    let mut gone = None;
    change(|cfg| {
        let damaged =
            which.name.as_ref().filter(|name| cfg.damaged.iter().any(|(id, _)| id == *name));
        let name: JobName = match damaged {
            Some(name) => name.parse()?,
            None => which.find(cfg)?.name.clone(),
        };
        gone = Some(name.clone());
        Ok((name, None))
    })?;
    if let Some(name) = gone {
        runs().forget(&name);
        output::line(&format!("job {name} destroyed; what it saved stays"));
    }
    Ok(0)
}

type Change = (JobName, Option<Job>);

/// Changes one job in jobs.cfg under its lock, then this node's cron file.
pub fn change(
    decide: impl FnOnce(&JobsCfg) -> Result<Change, CliError>,
) -> Result<Option<Job>, CliError> {
    let mut changed = None;
    let result = our_files().change(FILE, |text| {
        let (name, job) = decide(&JobsCfg::parse(text))?;
        let text =
            with_job(text, &name, job.as_ref()).map_err(|e| CliError::usage(e.to_string()))?;
        changed = job;
        Ok::<_, CliError>(text)
    });
    result.map_err(anyhow::Error::from)??;
    render::render().map_err(|error| match error {
        CliError::Other(error) => {
            CliError::Other(error.context("jobs.cfg was changed, this node's cron file was not"))
        }
        other => other,
    })?;
    Ok(changed)
}

/// The script of a job, if it is not there.
pub(super) fn missing_script(job: &Job) -> Option<&str> {
    job.option("script").filter(|script| !std::path::Path::new(script).exists())
}

/// The repository of a job, if it is no directory here.
pub(super) fn missing_directory(job: &Job) -> Option<&str> {
    job.option("path").filter(|path| !std::path::Path::new(path).is_dir())
}

/// Says what became of a job, and what its user must know.
fn tell(word: &str, job: &Job, this_node: &str) {
    let place = match &job.node {
        Some(node) => format!("on node {node}"),
        None => "on the node of each guest".to_owned(),
    };
    let when = if job.enabled { when(&job.schedule) } else { "disabled".to_owned() };
    output::line(&format!("job {} {word}: {} {place}, {when}", job.name, job.operation));
    let has_others = super::context::cluster().nodes().is_ok_and(|nodes| nodes.len() > 1);
    if has_others && job.node.as_deref() != Some(this_node) {
        output::notice(
            "other nodes know it within 5 minutes, where `pve-ferry job render` has run once",
        );
    }
    if let Some(path) = missing_directory(job).filter(|_| job.runs_on(this_node)) {
        output::notice(&format!(
            "warning: {path} is no directory on this node now: the job would fail"
        ));
    }
    if let Some(script) = missing_script(job).filter(|_| job.runs_on(this_node)) {
        output::notice(&format!(
            "warning: there is no hook {script} on this node now: {}",
            match job.option("hook-compat") {
                Some(_) => "runs go on without it, with a warning",
                None => "the job would fail",
            }
        ));
    }
    if job.runner == Runner::Systemd && job.node.as_deref() != Some(this_node) {
        output::notice("its timer is switched on by that node");
    }
}
