//! `job render`: this node's cron file and timers, made anew from jobs.cfg, and the metrics of jobs
//! that it does not run any more taken away. Decides nothing.

use super::super::error::CliError;
use super::super::options::Logging;
use super::super::{blocking, output, told};
use super::run::unread;
use super::{cron_d, directory, jobs, metrics, this_node};
use crate::job::crontab::rendered;
use crate::node::cron_d::Written;
use crate::node::timers;
use crate::pve::JobsCfg;
use crate::transport::Host;
use anyhow::Context as _;

/// Write this node's cron file anew from jobs.cfg
///
/// Cron does it every five minutes by itself once the file is there. It says so when somebody
/// edited the file by hand, and keeps that text beside it in pve-ferry.edited, the next one in
/// pve-ferry.edited.2. Metrics files (notify.cfg, prometheus) of jobs that this node does not run any
/// more are removed.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
///
/// # Errors
/// jobs.cfg cannot be read, or the file cannot be written.
pub fn run(_args: &Args, logging: &Logging) -> Result<u8, CliError> {
    if !logging.quiet {
        return render();
    }
    // That is how cron runs it, every five minutes: what lasts is told once.
    match jobs() {
        Ok(cfg) => {
            told::of_jobs_cfg_again();
            rendered_from(&cfg)
        }
        Err(error) => unread(error),
    }
}

/// Writes the cron file, switches timers, and removes the metrics of jobs that are gone. A section
/// of jobs.cfg that is no job is said once, when it appears; the code is then 3.
///
/// # Errors
/// jobs.cfg cannot be read, or the file cannot be written.
pub fn render() -> Result<u8, CliError> {
    rendered_from(&jobs()?)
}

fn rendered_from(cfg: &JobsCfg) -> Result<u8, CliError> {
    let node = this_node()?;
    let written = cron_d().write(&rendered(&cfg.jobs, &cfg.damaged, &node));
    let written = written.map_err(anyhow::Error::from)?;
    if let Written::ReplacedEdited(aside) = &written {
        output::notice(&format!(
            "warning: {} had been edited by hand and was replaced; the edited text is in {}; `pve-ferry job set` changes jobs",
            cron_d().path().display(),
            aside.display()
        ));
    }
    switch_timers(cfg, &node)?;
    let problems = metrics::remove_stale(cfg, &node);
    if written != Written::Same {
        // Said once: cron renders every five minutes, and mails whatever is said.
        problems.iter().for_each(|problem| output::notice(&format!("warning: {problem}")));
    }
    if written == Written::Same || cfg.damaged.is_empty() {
        return Ok(0);
    }
    for (id, why) in &cfg.damaged {
        output::notice(&format!("warning: job {id} cannot run: {why}"));
    }
    Ok(3)
}

fn switch_timers(cfg: &JobsCfg, node: &str) -> Result<(), CliError> {
    let units = directory("PVE_FERRY_SYSTEMD", "/etc/systemd/system");
    let changes = timers::changes(&timers::enabled(&units), &cfg.jobs, node);
    if changes.is_empty() {
        return Ok(());
    }
    blocking(async move {
        for timers::Change { command, forget } in changes {
            let result = Host::local().run(&command).await;
            result.with_context(|| {
                format!("{command}: the job stays defined, its timer is not as it should be")
            })?;
            if let Some(forget) = forget {
                // See `timers::Change::forget`.
                let _ = Host::local().run(&forget).await;
            }
        }
        Ok(())
    })
}
