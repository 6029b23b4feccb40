//! `pve-ferry snapshot create|list|prune|rollback`: what was typed, made into requests. Decides
//! nothing.

use super::connection::Connection;
use super::end::CommandResult;
use super::error::CliError;
use super::options::Logging;
use super::snapshot_rollback::RollbackArgs;
use super::snapshot_work::{CreateArgs, PruneArgs};
use super::{context, options, output};
use crate::cancel::Cancel;
use crate::clock::local_zone;
use crate::context::{ClusterApi, Context, Limits};
use crate::hooks::Hooks;
use crate::model::{Moment, TimestampFormat};
use crate::report::Report;
use crate::repository::image::{Compression, ImageOptions, ZeroRuns};
use crate::run::{Mode, Performed};
use crate::select::Selection;
use crate::throttle::Throttle;
use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Make and keep automatic snapshots of guests, through PVE
///
/// Works on a node, and with --host from any machine. Snapshots have the names and the description
/// of cv4pve-autosnap, and each recognises the other's. What a person made is never touched, and
/// nothing is ever forced.
#[derive(Debug, ClapArgs)]
#[command(visible_alias = "snap", subcommand_required = true, arg_required_else_help = true)]
#[command(after_help = "\
Examples:
  pve-ferry snapshot create --vmid all --label daily --keep 7
  pve-ferry snapshot create --vmid @tag-prod,-105 --label hourly --keep 24 --dry-run
  pve-ferry snapshot list --vmid 100 -o json
  pve-ferry snapshot create --host pve1,pve2 --api-token file:/root/token --vmid all --label daily --keep 7
  pve-ferry snapshot rollback --vmid 100 --name autodaily260101020000")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    pub(super) connection: Connection,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a snapshot of each selected guest, then remove what the retention does not keep
    #[command(alias = "snap")]
    Create(CreateArgs),
    /// List snapshots
    #[command(visible_alias = "status")]
    List(super::snapshot_list::ListArgs),
    /// Remove the oldest snapshots of a label
    #[command(visible_alias = "clean")]
    Prune(PruneArgs),
    /// Put a guest back to one of its snapshots: what was written since is lost
    Rollback(RollbackArgs),
}

/// Options that may stand before the command, as cv4pve-autosnap has them, or behind it.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Guests and patience")]
pub(super) struct Common {
    /// Which guests: all, 100:120, NAME, web%, @tag-x, @pool-x, all-NODE, storage-x; -ITEM excludes.
    #[arg(long, global = true, value_name = "SEL", allow_hyphen_values = true)]
    pub(super) vmid: Option<String>,
    /// Seconds to wait for one task of PVE; it goes on afterwards, and the next run takes it up.
    ///
    /// Without --host a task is waited for to its end: it is a child of ours and would end with us.
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 600)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    /// How the time stands in names: yyyy or yy, then MM dd HH mm ss, - and _ between.
    #[arg(long, global = true, value_name = "FORMAT", default_value = "yyMMddHHmmss")]
    pub(super) timestamp_format: String,
    /// From how many percent on a storage is too full for a snapshot.
    #[arg(long, global = true, value_name = "PERCENT", default_value_t = 95)]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(super) max_perc_storage: u8,
    /// Seconds to wait for guests that something else has locked.
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 0)]
    lock_wait: u64,
    /// Print what would be made and removed, and stop.
    #[arg(long, short = 'n', global = true)]
    dry_run: bool,
    /// As which older tool it behaves: every failure is exit 1.
    #[arg(long, global = true, value_name = "TOOL")]
    #[allow(
        dead_code,
        reason = "the exit code is made where errors end, before there are options"
    )]
    compat: Option<Compat>,
    /// Ask nothing.
    #[arg(long, global = true, alias = "noconfirm")]
    pub(super) yes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Compat {
    /// cv4pve-autosnap.
    Autosnap,
}

/// Runs the command.
///
/// # Errors
/// The cluster cannot be reached or the words make no sense; a guest's failure is in the report.
pub fn run(args: &Args, logging: &Logging) -> CommandResult {
    match &args.command {
        Command::Create(create) => create.run(args, logging),
        Command::Prune(prune) => prune.run(args, logging),
        Command::List(list) => Ok(list.run(args)?.into()),
        Command::Rollback(rollback) => rollback.run(args, logging),
    }
}

/// Whether the words of a job make sense, as far as that can be told without the cluster.
///
/// # Errors
/// They do not.
pub fn check(args: &Args) -> Result<(), CliError> {
    args.selection()?;
    args.connection.check()?;
    match &args.command {
        Command::Create(create) => create.check(args),
        Command::Prune(prune) => prune.check(args),
        Command::List(_) | Command::Rollback(_) => Ok(()),
    }
}

/// Whether these words ask for the codes of cv4pve-autosnap, which are 0 and 1: also when they are
/// wrong otherwise and nothing can be made of them.
pub fn is_autosnap(words: &[OsString]) -> bool {
    let pair = ["--compat", "autosnap"];
    let is_pair = words.windows(2).any(|two| two.iter().zip(pair).all(|(word, w)| word == w));
    is_pair || words.iter().any(|word| word == "--compat=autosnap")
}

impl Args {
    pub(super) fn selection(&self) -> Result<Selection, CliError> {
        let text = self.common.vmid.as_deref();
        let text = text.ok_or_else(|| CliError::usage("give --vmid, for example --vmid all"))?;
        Selection::parse(text).map_err(|e| CliError::usage(e.to_string()))
    }

    pub(super) fn format(&self) -> Result<TimestampFormat, CliError> {
        Ok(self.common.timestamp_format.parse()?)
    }

    pub(super) fn mode(&self) -> Mode {
        if self.common.dry_run { Mode::DryRun } else { Mode::Execute }
    }

    pub(super) fn api(&self) -> Result<ClusterApi, CliError> {
        Ok(ClusterApi {
            client: Arc::new(self.connection.api()?),
            task_timeout: Duration::from_secs(self.common.timeout),
            lock_wait: Duration::from_secs(self.common.lock_wait),
        })
    }

    /// The context of work on this many guests at once, through the API alone.
    pub(super) fn context(
        &self,
        guests: u16,
        logging: &Logging,
        hooks: Arc<Hooks>,
    ) -> Result<Arc<Context>, CliError> {
        let api = self.api()?;
        let limits = limits(guests, &api);
        let ctx = context::without_cluster(limits, logging, options::cancel(), hooks);
        Ok(Arc::new(Context { api: Some(api), ..ctx }))
    }
}

/// No volume is read and no image written. What PVE does may take as long as it is waited for, and is
/// spoken of only when it takes longer.
fn limits(guests: u16, api: &ClusterApi) -> Limits {
    Limits {
        guests: usize::from(guests),
        transfers: Arc::new(Semaphore::new(1)),
        throttle: Throttle::new(None),
        stall_timeout: (api.task_timeout + api.lock_wait) * 2,
        repository_hangs: Cancel::default(),
        image: ImageOptions {
            compression: Compression::None,
            threads: 1,
            zeros: ZeroRuns::default(),
        },
        lock_wait: Some(api.lock_wait),
    }
}

/// A moment in the zone of this machine.
pub(super) fn local(moment: Moment, format: &str) -> String {
    let timestamp = jiff::Timestamp::from_second(moment.unix()).unwrap_or_default();
    timestamp.to_zoned(local_zone()).strftime(format).to_string()
}

/// Prints what was done, or the plans of a dry run.
pub(super) fn say(performed: &Performed, as_json: bool) {
    match (performed.plans.is_empty(), as_json) {
        (true, false) => {
            output::heed(&performed.report);
            output::text(&text(&performed.report));
        }
        _ => output::performed(performed, as_json),
    }
}

/// The report without the words about volumes, which do not fit here.
fn text(report: &Report) -> String {
    let whole = super::report::text(report);
    let mut lines: Vec<&str> = whole.lines().collect();
    lines.pop();
    let seconds = report.finished.unix() - report.started.unix();
    let last = match report.guests.is_empty() {
        true => "no guest is selected; without the privilege VM.Audit PVE hides guests".to_owned(),
        false => format!("{}: {}, {seconds} s", report.operation, super::report::guests_ok(report)),
    };
    lines.push(&last);
    lines.join("\n") + "\n"
}
