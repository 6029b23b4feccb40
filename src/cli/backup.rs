//! `pve-ferry backup`: what was typed, made into a request; what came of it, as text or JSON.

use super::around::{About, Around};
use super::end::CommandResult;
use super::error::CliError;
use super::options::{Common, Logging, Parallel, label};
use super::retention::RetentionOptions;
use super::told::{Nature, Subject};
use super::{blocking, context, output, signals};
use crate::hooks::Hooks;
use crate::operation::BackupRequest;
use crate::plan::FREEZE_TIMEOUT;
use crate::plan::facts::SnapshotProtection;
use crate::repository::image::Compression;
use crate::repository::{Disk, Repository};
use crate::run::{self, Mode, Performed};
use crate::select::Selection;
use std::sync::Arc;

/// Back guests up into a directory, incrementally
///
/// All volumes of a guest are snapshotted inside one freeze of its file systems and then written
/// as one restore point: a base the first time, increments afterwards. Nothing is visible in the
/// repository before all of it is durable there, and nothing that the next increment needs is
/// removed before that.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pve-ferry backup --vmid 100 --label daily --path /mnt/backup
  pve-ferry backup --vmid all,-105 --label daily --path /mnt/backup --jobs 4
  pve-ferry backup --vmid @tag-prod --label hourly --path /mnt/backup --dry-run")]
pub struct Args {
    /// Which guests: 100,101 100:120 all all-NODE @pool-X @tag-X storage-X NAME, -ITEM excludes.
    #[arg(long, value_name = "SEL")]
    vmid: String,
    /// Label of the restore points: hourly, daily, or any word of your own.
    #[arg(long, value_name = "LABEL")]
    label: String,
    /// Of these guests only those that are on this node now.
    #[arg(long)]
    this_node: bool,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    retention: RetentionOptions,
    /// A new base after this many increments, or when the last one is so old: 7, 36h, 14d, 4w, 6m; 0: always
    /// [default: after 500 increments where no rule of retention is given].
    #[arg(long, value_name = "N|Nh|Nd|Nw|Nm", conflicts_with_all = ["keep", "fold"])]
    renew: Option<String>,
    /// Compare this share of each volume's blocks with its snapshot after the commit, another one in
    /// each run: 1/50. A difference fails the guest with 12, and the next backup is a base.
    #[arg(long, value_name = "1/N", value_parser = crate::model::parts)]
    audit: Option<u64>,
    /// Seconds to wait for the guest agent to say that the file systems are frozen. After that the backup
    /// is made without a freeze, and one that still comes is thawed.
    #[arg(long, value_name = "SECONDS", default_value_t = FREEZE_TIMEOUT,
        value_parser = clap::value_parser!(u32).range(1..))]
    freeze_timeout: u32,
    #[command(flatten)]
    parallel: Parallel,
    /// none, zstd[:LEVEL], gzip or bzip2.
    #[arg(long, value_name = "METHOD", default_value = "zstd:1")]
    compress: String,
    /// Protect the snapshot that stays on each volume against `rbd snap rm` and `rbd snap purge` by hand;
    /// PVE deletes the guest all the same.
    #[arg(long)]
    protect_snap: bool,
    /// Print what would be done, and stop.
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
    /// Ask nothing.
    #[arg(long, alias = "noconfirm", hide = true)]
    yes: bool,
    #[command(flatten)]
    barc: BarcSpellings,
    #[command(flatten)]
    around: Around,
}

/// Options of eve4pve-barc that are the default here.
#[derive(Debug, clap::Args)]
struct BarcSpellings {
    #[arg(long, hide = true)]
    qemu_freeze: bool,
    #[arg(long, hide = true, value_name = "BOOL")]
    cksum: Option<String>,
    #[arg(long, hide = true, value_name = "METHOD")]
    ckmethod: Option<String>,
    #[arg(long, hide = true, conflicts_with = "protect_snap")]
    unprotect_snap: bool,
}

impl BarcSpellings {
    fn notices(&self) -> Vec<&'static str> {
        let mut notices = Vec::new();
        if self.qemu_freeze {
            notices.push("--qemu-freeze: guests with an agent are always frozen");
        }
        if self.cksum.is_some() || self.ckmethod.is_some() {
            notices.push("--cksum, --ckmethod: every image is always digested with BLAKE3");
        }
        if self.unprotect_snap {
            notices.push("--unprotect-snap: snapshots are not protected unless --protect-snap");
        }
        notices
    }
}

/// Whether the words make sense, as far as that can be told without the guests.
///
/// # Errors
/// They do not.
pub fn check(args: &Args) -> Result<(), CliError> {
    let _: Compression = args.compress.parse()?;
    Selection::parse(&args.vmid).map_err(|e| CliError::usage(e.to_string()))?;
    label(&args.label)?;
    let _: Option<crate::retention::Span> = args.renew.as_deref().map(str::parse).transpose()?;
    args.retention.rules().map(drop)
}

/// The selected guests that are on this node, as a selection; none when all are on other nodes.
/// Items that name no guest stay, so that they are reported.
///
/// # Errors
/// The cluster's files cannot be read, or the words are no selection.
pub fn on_this_node(vmid: &str) -> Result<Option<Selection>, CliError> {
    let selection = Selection::parse(vmid).map_err(|e| CliError::usage(e.to_string()))?;
    let cluster = context::cluster();
    let read = || anyhow::Ok((cluster.this_node()?, cluster.candidates()?));
    let (node, candidates) = read()?;
    let selected = crate::select::select(&selection, &candidates);
    if selected.guests.is_empty() {
        return Ok(Some(selection));
    }
    let here = selected.guests.iter().filter(|guest| guest.node == node);
    let mut items: Vec<String> = here.map(|guest| guest.vmid.to_string()).collect();
    items.extend(selected.empty_items);
    Ok(Selection::parse(&items.join(",")).ok())
}

fn selection(args: &Args) -> Result<Selection, CliError> {
    // A guest that left this node since we looked is still saved, over ssh.
    let here = if args.this_node { on_this_node(&args.vmid)? } else { None };
    let parsed = Selection::parse(&args.vmid).map_err(|e| CliError::usage(e.to_string()))?;
    Ok(here.unwrap_or(parsed))
}

/// Runs the command.
///
/// # Errors
/// Nothing could be done at all; a guest's own failure is in the report.
pub fn run(args: &Args, logging: &Logging) -> CommandResult {
    if args.this_node && on_this_node(&args.vmid)?.is_none() {
        output::notice("none of the selected guests is on this node");
        return Ok(0.into());
    }
    let repository = Some(args.common.path.as_path());
    let subject = Subject {
        operation: "backup",
        label: Some(&args.label),
        repository,
        dry_run: args.dry_run,
    };
    let about = About { subject, nature: Nature::Run, logging, keep: args.retention.keep };
    args.around.conclude(&about, args.json, |hooks| performed(args, logging, hooks))
}

fn performed(args: &Args, logging: &Logging, hooks: Arc<Hooks>) -> Result<Performed, CliError> {
    for notice in args.barc.notices() {
        output::notice(notice);
    }
    let compression: Compression = args.compress.parse()?;
    let selection = selection(args)?;
    let label = label(&args.label)?;
    let repository = Repository::open_target(&args.common.path, Disk::real())?;
    let mode = if args.dry_run { Mode::DryRun } else { Mode::Execute };
    let snapshots = match args.protect_snap {
        true => SnapshotProtection::Protected,
        false => SnapshotProtection::Unprotected,
    };
    let cancel = super::options::cancel();
    let limits = args.parallel.limits(compression);
    let ctx = context::open(limits, args.parallel.iothreads, logging, cancel, hooks)?;
    let renew = args.renew.as_deref().map(str::parse).transpose()?;
    let retention = args.retention.rules()?;
    let audit = args.audit;
    let freeze_timeout = args.freeze_timeout;
    let request = BackupRequest {
        selection,
        label,
        repository,
        snapshots,
        renew,
        audit,
        retention,
        freeze_timeout,
    };
    blocking(async {
        signals::listen(&ctx.cancel)?;
        run::run(ctx.clone(), request, mode).await
    })
}
