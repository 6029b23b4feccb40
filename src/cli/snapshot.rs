//! `pve-ferry snapshot create|list|prune|rollback`: what was typed, made into requests. Decides
//! nothing.

use super::connection::Connection;
use super::error::CliError;
use super::hooks::HookOptions;
use super::options::Logging;
use super::{bars, blocking, options, output, signals};
use crate::clock::{Clock, local_zone};
use crate::execute::snapshot::Patience;
use crate::hooks::JobFacts;
use crate::model::guest_snapshot::automatic_name;
use crate::model::{Moment, TimestampFormat, VmId};
use crate::operation::{
    Mode, Performed, RollbackRequest, SnapshotRequest, SnapshotRun, rollback, snapshot,
};
use crate::plan::Plan;
use crate::plan::snapshot::{Memory, NewSnapshot, SnapshotPolicy, Which};
use crate::report::Report;
use crate::select::Selection;
use anyhow::{Context as _, bail};
use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use dialoguer::{Confirm, theme::ColorfulTheme};
use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

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
    connection: Connection,
    #[command(flatten)]
    common: Common,
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
struct Common {
    /// Which guests: all, 100:120, NAME, web%, @tag-x, @pool-x, all-NODE, storage-x; -ITEM excludes.
    #[arg(long, global = true, value_name = "SEL", allow_hyphen_values = true)]
    vmid: Option<String>,
    /// Seconds to wait for one task of PVE; it goes on afterwards, and the next run takes it up.
    ///
    /// Without --host a task is waited for to its end: it is a child of ours and would end with us.
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 600)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    /// How the time stands in names: yyyy or yy, then MM dd HH mm ss, - and _ between.
    #[arg(long, global = true, value_name = "FORMAT", default_value = "yyMMddHHmmss")]
    timestamp_format: String,
    /// From how many percent on a storage is too full for a snapshot.
    #[arg(long, global = true, value_name = "PERCENT", default_value_t = 95)]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=100))]
    max_perc_storage: u8,
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
    yes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Compat {
    /// cv4pve-autosnap.
    Autosnap,
}

#[derive(Debug, ClapArgs)]
struct CreateArgs {
    /// The label: a lower-case letter, then up to 23 letters, digits, - or _.
    #[arg(long, value_name = "LABEL")]
    label: String,
    /// How many snapshots of the label stay, the new one among them [default: all].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep: Option<u32>,
    /// Include the memory of machines that run.
    #[arg(long)]
    state: bool,
    /// Only guests that run.
    #[arg(long)]
    only_running: bool,
    #[command(flatten)]
    work: Work,
}

#[derive(Debug, ClapArgs)]
struct PruneArgs {
    /// The label.
    #[arg(long, value_name = "LABEL")]
    label: String,
    /// How many snapshots of the label stay; 0 removes them all.
    #[arg(long, value_name = "N")]
    keep: u32,
    #[command(flatten)]
    work: Work,
}

#[derive(Debug, ClapArgs)]
struct Work {
    /// Guests at once.
    #[arg(long, alias = "max-parallel", value_name = "N", default_value_t = 2)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=50))]
    jobs: u16,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    hooks: HookOptions,
}

#[derive(Debug, ClapArgs)]
struct RollbackArgs {
    /// The snapshot's name.
    #[arg(long, value_name = "NAME")]
    name: String,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// The cluster cannot be reached or the words make no sense; a guest's failure is in the report.
pub fn run(args: &Args, logging: &Logging) -> Result<u8, CliError> {
    match &args.command {
        Command::Create(create) => create.run(args, logging),
        Command::Prune(prune) => prune.run(args, logging),
        Command::List(list) => list.run(args),
        Command::Rollback(rollback) => rollback.run(args),
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

    fn mode(&self) -> Mode {
        if self.common.dry_run { Mode::DryRun } else { Mode::Execute }
    }

    pub(super) fn snapshot_run(&self) -> Result<SnapshotRun, CliError> {
        let seconds = Duration::from_secs;
        Ok(SnapshotRun {
            api: Arc::new(self.connection.api()?),
            clock: Clock::System,
            cancel: options::cancel(),
            patience: Patience {
                task: seconds(self.common.timeout),
                lock: seconds(self.common.lock_wait),
            },
            hooks: Arc::default(),
        })
    }

    fn perform(
        &self,
        policy: SnapshotPolicy,
        work: &Work,
        logging: &Logging,
    ) -> Result<u8, CliError> {
        let job = job_facts(&policy);
        let (selection, at_once) = (self.selection()?, usize::from(work.jobs));
        let request = SnapshotRequest { selection, policy, at_once };
        let mut run = self.snapshot_run()?;
        let hidden = self.connection.secret_variables();
        run.hooks = work.hooks.hooks(job, &hidden, bars::progress(logging))?;
        let performed = blocking(async {
            signals::listen(&run.cancel)?;
            snapshot(&run, request, self.mode()).await
        })?;
        Ok(say(&performed, work.json))
    }
}

impl CreateArgs {
    fn run(&self, args: &Args, logging: &Logging) -> Result<u8, CliError> {
        let (label, format) = (options::label(&self.label)?, args.format()?);
        let create = NewSnapshot {
            name: automatic_name(&label, &time_for_name(Clock::System.now(), &format))?,
            memory: if self.state { Memory::Included } else { Memory::LeftOut },
            which: if self.only_running { Which::OnlyRunning } else { Which::All },
            most_percent: args.common.max_perc_storage,
        };
        let policy = SnapshotPolicy { label, format, keep: self.keep, create: Some(create) };
        args.perform(policy, &self.work, logging)
    }
}

impl PruneArgs {
    fn run(&self, args: &Args, logging: &Logging) -> Result<u8, CliError> {
        let (label, format) = (options::label(&self.label)?, args.format()?);
        let is_asked = self.keep == 0 && !args.common.yes && args.mode() == Mode::Execute;
        if is_asked && output::is_interactive() {
            let question = format!("Remove all snapshots of the label {label}?");
            agree(&question).map_err(|e| CliError::usage(e.to_string()))?;
        }
        let policy = SnapshotPolicy { label, format, keep: Some(self.keep), create: None };
        args.perform(policy, &self.work, logging)
    }
}

impl RollbackArgs {
    fn run(&self, args: &Args) -> Result<u8, CliError> {
        let vmid = args.common.vmid.as_deref().unwrap_or_default();
        let vmid: VmId = vmid.parse().map_err(|_| CliError::usage("give --vmid N, one guest"))?;
        if !args.common.yes && !output::is_interactive() && args.mode() == Mode::Execute {
            return Err(CliError::usage("it asks on a terminal; give --yes otherwise"));
        }
        let request = RollbackRequest { vmid, name: self.name.clone() };
        let run = args.snapshot_run()?;
        let ask = |plan: &Plan| match args.common.yes {
            true => Ok(()),
            false => agree(&format!("{plan}Roll back?")),
        };
        let performed = blocking(async {
            signals::listen(&run.cancel)?;
            rollback(&run, &request, args.mode(), ask).await
        })?;
        Ok(say(&performed, self.json))
    }
}

fn job_facts(policy: &SnapshotPolicy) -> JobFacts {
    let create = policy.create.as_ref();
    JobFacts {
        operation: create.map_or("snapshot prune", |_| "snapshot create").to_owned(),
        label: Some(policy.label.to_string()),
        keep: policy.keep.map(|keep| keep.to_string()),
        memory: create.is_some_and(|create| create.memory == Memory::Included),
        ..JobFacts::default()
    }
}

/// The time as it stands in the name of a snapshot made now.
fn time_for_name(now: Moment, format: &TimestampFormat) -> String {
    local(now, &format.strftime())
}

/// A moment in the zone of this machine.
pub(super) fn local(moment: Moment, format: &str) -> String {
    let timestamp = jiff::Timestamp::from_second(moment.unix()).unwrap_or_default();
    timestamp.to_zoned(local_zone()).strftime(format).to_string()
}

fn agree(question: &str) -> anyhow::Result<()> {
    let theme = ColorfulTheme::default();
    let confirm = Confirm::with_theme(&theme).with_prompt(question).default(false);
    if !confirm.interact().context("no answer; nothing was changed")? {
        bail!("nothing was changed");
    }
    Ok(())
}

fn say(performed: &Performed, as_json: bool) -> u8 {
    match (performed.plans.is_empty(), as_json) {
        (true, false) => output::text(&text(&performed.report)),
        _ => output::performed(performed, as_json),
    }
    performed.report.exit_code()
}

/// The report without the words about volumes, which do not fit here.
fn text(report: &Report) -> String {
    let whole = super::report::text(report);
    let mut lines: Vec<&str> = whole.lines().collect();
    lines.pop();
    let seconds = report.finished.unix() - report.started.unix();
    let (ok, all) = (report.totals.guests_ok, report.totals.guests);
    let skipped = report.guests.iter().filter(|g| g.status == crate::report::GuestStatus::Skipped);
    let last = match (all, skipped.count()) {
        (0, _) => {
            "no guest is selected; without the privilege VM.Audit PVE hides guests".to_owned()
        }
        (_, 0) => format!("{}: {ok} of {all} guests ok, {seconds} s", report.operation),
        (_, n) => {
            format!("{}: {ok} of {all} guests ok, {n} skipped, {seconds} s", report.operation)
        }
    };
    lines.push(&last);
    lines.join("\n") + "\n"
}
