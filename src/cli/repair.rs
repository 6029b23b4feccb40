//! `pve-ferry repair`: what was typed, made into a request. Decides nothing.

use super::around::{About, Around};
use super::error::CliError;
use super::options::{Common, Logging};
use super::told::{Nature, Subject};
use super::{blocking, options, signals};
use crate::clock::Clock;
use crate::hooks::Hooks;
use crate::model::Label;
use crate::operation::{Mode, Performed, RepairRequest, repair};
use crate::repository::{Disk, Repository};
use crate::select::Selection;
use std::sync::Arc;
use std::time::Duration;

/// Put back what can be made again: a manifest that others need, a lost index
///
/// A manifest or attributes come back from their sealed copies, once every image that the manifest
/// names was read and is what it says; an index is made again from its image. No image is removed
/// or changed. Ends with 12 when something cannot be mended.
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
pub fn run(args: &Args, logging: &Logging) -> Result<u8, CliError> {
    let (label, repository) = (args.label.as_deref(), Some(args.common.path.as_path()));
    let dry_run = args.dry_run;
    let subject = Subject { operation: "repair", label, repository, dry_run };
    let about = About { subject, nature: Nature::Act, logging, keep: None };
    args.around.conclude(&about, args.json, |hooks| performed(args, hooks))
}

fn performed(args: &Args, hooks: Arc<Hooks>) -> Result<Performed, CliError> {
    let selection = args.vmid.as_deref().map(Selection::parse).transpose();
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let request = RepairRequest {
        selection: selection.map_err(|e| CliError::usage(e.to_string()))?,
        label: args.label.as_deref().map(str::parse::<Label>).transpose()?,
        repository: Repository::open(&args.common.path, Disk::real())?,
        threads: args.threads.map_or_else(cores, |n| usize::from(n.max(1))),
        lock_wait: Some(Duration::from_secs(args.lock_wait)),
        hooks,
    };
    let mode = if args.dry_run { Mode::DryRun } else { Mode::Execute };
    let cancel = options::cancel();
    blocking(async {
        signals::listen(&cancel)?;
        let cancel = cancel.clone();
        let work = move || repair(&request, mode, &Clock::System, &cancel);
        tokio::task::spawn_blocking(work).await?
    })
}
