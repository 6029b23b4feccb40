//! `pve-ferry prune`: what was typed, made into a request. Decides nothing.

use super::around::{About, Around};
use super::end::CommandResult;
use super::error::CliError;
use super::options::{Common, Logging};
use super::retention::RetentionOptions;
use super::told::{Nature, Subject};
use super::{blocking, context, signals};
use crate::context::Limits;
use crate::hooks::Hooks;
use crate::model::Label;
use crate::operation::PruneRequest;
use crate::repository::{Disk, Repository};
use crate::retention::Rules;
use crate::run::{self, Mode, Performed};
use crate::select::Selection;
use std::sync::Arc;

/// Remove restore points by rules of retention
///
/// Each guest and label is judged for itself. A point stays when any rule keeps it; protected
/// points and the newest whole one always stay. A point whose images newer ones need is hidden: it
/// is gone from `list`, and its files go once nothing needs them.
#[derive(Debug, clap::Args)]
#[command(visible_alias = "clean")]
#[command(after_help = "\
Examples:
  pve-ferry prune --path /mnt/backup --retain 14d --dry-run
  pve-ferry prune --path /mnt/backup --vmid 100 --label daily --keep 7
  pve-ferry prune --path /mnt/backup --prune-backups keep-last=3,keep-daily=7,keep-weekly=4")]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Which guests of the repository: 100,101 100:120 all NAME, -ITEM excludes [default: all].
    #[arg(long, value_name = "SEL")]
    vmid: Option<String>,
    /// Only points of this label.
    #[arg(long, value_name = "LABEL")]
    label: Option<String>,
    #[command(flatten)]
    retention: RetentionOptions,
    /// Seconds to wait for a run that works on a guest.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    lock_wait: u64,
    /// Print each point with keep or remove and the rule that decided, and stop.
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
    /// Ask nothing.
    #[arg(long, alias = "noconfirm", hide = true)]
    yes: bool,
    #[command(flatten)]
    around: Around,
}

/// Whether the words make sense, as far as that can be told without the guests.
///
/// # Errors
/// They do not.
pub fn check(args: &Args) -> Result<(), CliError> {
    rules(args)?;
    args.label.as_deref().map(str::parse::<Label>).transpose()?;
    Ok(())
}

fn rules(args: &Args) -> Result<Rules, CliError> {
    let rules = args.retention.rules()?;
    if rules.is_empty() {
        let text = "give at least one rule: --keep, --retain, --prune-backups or --keep-within";
        return Err(CliError::usage(text));
    }
    Ok(rules)
}

/// Runs the command.
///
/// # Errors
/// The repository is missing or cannot be listed, or the words make no sense.
pub fn run(args: &Args, logging: &Logging) -> CommandResult {
    let (label, repository) = (args.label.as_deref(), Some(args.common.path.as_path()));
    let dry_run = args.dry_run;
    let subject = Subject { operation: "prune", label, repository, dry_run };
    let about = About { subject, nature: Nature::Run, logging, keep: args.retention.keep };
    args.around.conclude(&about, args.json, |hooks| performed(args, hooks))
}

fn performed(args: &Args, hooks: Arc<Hooks>) -> Result<Performed, CliError> {
    let rules = rules(args)?;
    let selection = args.vmid.as_deref().map(Selection::parse).transpose();
    let request = PruneRequest {
        selection: selection.map_err(|e| CliError::usage(e.to_string()))?,
        label: args.label.as_deref().map(str::parse::<Label>).transpose()?,
        repository: Repository::open(&args.common.path, Disk::real())?,
        rules,
    };
    let mode = if args.dry_run { Mode::DryRun } else { Mode::Execute };
    let limits = Limits::of_a_repository(None, args.lock_wait);
    let ctx = context::of_repository(limits, hooks);
    blocking(async {
        signals::listen(&ctx.cancel)?;
        run::run(ctx.clone(), request, mode).await
    })
}
