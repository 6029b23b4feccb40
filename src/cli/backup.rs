//! `pve-ferry backup`: what was typed, made into a request; what came of it, as text or JSON.

use super::error::CliError;
use super::hooks::HookOptions;
use super::options::{Common, Logging, Parallel, label};
use super::retention::RetentionOptions;
use super::told::{Subject, ToldOptions};
use super::{bars, blocking, output, signals, world};
use crate::hooks::Hooks;
use crate::operation::{BackupRequest, Mode, Operation, Performed, perform};
use crate::plan::facts::SnapshotProtection;
use crate::repository::image::Compression;
use crate::repository::{Disk, Repository};
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
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    retention: RetentionOptions,
    /// A new base after this many increments, or when the last one is so old: 7, 14d, 4w, 6m; 0: always.
    #[arg(long, value_name = "N|Nd|Nw|Nm", conflicts_with = "keep")]
    renew: Option<String>,
    #[command(flatten)]
    parallel: Parallel,
    /// none, zstd[:LEVEL], gzip or bzip2.
    #[arg(long, value_name = "METHOD", default_value = "zstd:1")]
    compress: String,
    /// Protect the snapshot that stays on each volume; PVE cannot delete the guest then.
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
    hooks: HookOptions,
    #[command(flatten)]
    told: ToldOptions,
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

/// Runs the command.
///
/// # Errors
/// Nothing could be done at all; a guest's own failure is in the report.
pub fn run(args: &Args, logging: &Logging) -> Result<u8, CliError> {
    let repository = Some(args.common.path.as_path());
    let subject = Subject {
        operation: "backup",
        label: Some(&args.label),
        repository,
        dry_run: args.dry_run,
    };
    let teller = args.told.teller(&subject)?;
    let result = teller
        .hooks(&args.hooks, args.retention.keep, bars::progress(logging))
        .and_then(|hooks| performed(args, logging, hooks));
    teller.conclude(result, args.json)
}

fn performed(args: &Args, logging: &Logging, hooks: Arc<Hooks>) -> Result<Performed, CliError> {
    for notice in args.barc.notices() {
        output::notice(notice);
    }
    let compression: Compression = args.compress.parse()?;
    let selection = Selection::parse(&args.vmid).map_err(|e| CliError::usage(e.to_string()))?;
    let label = label(&args.label)?;
    let repository = Repository::open(&args.common.path, Disk::real())?;
    let mode = if args.dry_run { Mode::DryRun } else { Mode::Execute };
    let snapshots = match args.protect_snap {
        true => SnapshotProtection::Protected,
        false => SnapshotProtection::Unprotected,
    };
    let cancel = super::options::cancel();
    let limits = args.parallel.limits(compression);
    let world = world::world(limits, args.parallel.iothreads, logging, cancel, hooks)?;
    let renew = args.renew.as_deref().map(str::parse).transpose()?;
    let retention = args.retention.rules()?;
    let request = BackupRequest { selection, label, repository, snapshots, renew, retention };
    blocking(async {
        signals::listen(&world.cancel)?;
        perform(world.clone(), Operation::Backup(request), mode).await
    })
}
