//! `pve-ferry repair`: what was typed, made into a request. Decides nothing.

use super::around::{About, Around};
use super::end::CommandResult;
use super::error::CliError;
use super::options::{Common, Logging};
use super::told::{Nature, Subject};
use super::{blocking, context, signals};
use crate::context::Limits;
use crate::hooks::Hooks;
use crate::model::Label;
use crate::operation::RepairRequest;
use crate::repository::{Disk, Repository};
use crate::run::{self, Mode, Performed};
use crate::select::Selection;
use std::sync::Arc;

/// Put back what can be made again: a manifest that others need, a lost index
///
/// `verify` and `list` name what is missing. A lost or damaged manifest, and a point's marks and notes,
/// are put back from the copies that each backup leaves in the guest's directory, after every image
/// that the manifest names was read and found whole; a lost index is made again from its image. No
/// image is removed or changed. Ends with 12 when something cannot be mended.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pve-ferry repair --path /mnt/backup --dry-run
  pve-ferry repair --path /mnt/backup --vmid 100")]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Which guests of the repository: 100,101 100:120 all NAME, -ITEM excludes [default: all].
    #[arg(long, value_name = "SEL")]
    vmid: Option<String>,
    /// Only points of this label.
    #[arg(long, value_name = "LABEL")]
    label: Option<String>,
    /// Threads that decompress and check [default: all cores].
    #[arg(long, value_name = "N")]
    threads: Option<u16>,
    /// Seconds to wait for a run that works on a guest.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    lock_wait: u64,
    /// Print what would be put back and what cannot be mended, and stop.
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    around: Around,
}

/// Runs the command.
///
/// # Errors
/// The repository is missing or cannot be listed, or the words make no sense.
pub fn run(args: &Args, logging: &Logging) -> CommandResult {
    let (label, repository) = (args.label.as_deref(), Some(args.common.path.as_path()));
    let dry_run = args.dry_run;
    let subject = Subject { operation: "repair", label, repository, dry_run };
    let about = About { subject, nature: Nature::Act, logging, keep: None };
    args.around.conclude(&about, args.json, |hooks| performed(args, hooks))
}

fn performed(args: &Args, hooks: Arc<Hooks>) -> Result<Performed, CliError> {
    let selection = args.vmid.as_deref().map(Selection::parse).transpose();
    let request = RepairRequest {
        selection: selection.map_err(|e| CliError::usage(e.to_string()))?,
        label: args.label.as_deref().map(str::parse::<Label>).transpose()?,
        repository: Repository::open(&args.common.path, Disk::real())?,
    };
    let mode = if args.dry_run { Mode::DryRun } else { Mode::Execute };
    let limits = Limits::of_a_repository(args.threads, args.lock_wait);
    let ctx = context::of_repository(limits, hooks);
    blocking(async {
        signals::listen(&ctx.cancel)?;
        run::run(ctx.clone(), request, mode).await
    })
}
