//! `pve-ferry assemble`: one volume of a restore point as a raw image file.

use super::around::{About, Around};
use super::end::CommandResult;
use super::error::CliError;
use super::options::{Logging, Stall, label};
use super::told::{Nature, Subject};
use super::{ask, blocking, context, options, output, restore, signals};
use crate::hooks::Hooks;
use crate::model::Bytes;
use crate::operation::AssembleRequest;
use crate::report::VolumeOutcome;
use crate::repository::{Disk, Repository};
use crate::run::{self, Mode, Performed};
use crate::survey::{self, RestorePoint, Sought};
use std::path::PathBuf;
use std::sync::Arc;

/// Write one volume of a restore point as a sparse raw image
///
/// Needs neither Ceph nor PVE. Without --vmid, on a terminal, it asks.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pve-ferry assemble                                       (asks)
  pve-ferry assemble --path /mnt/backup --vmid 100 --disk scsi0 --output /tmp/web.raw
  pve-ferry assemble --path /mnt/backup --vmid 100 --disk scsi0 --time 2026-01-01T00:00:00Z --output web.raw")]
pub struct Args {
    /// The repository.
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    /// The guest's vmid in the repository.
    #[arg(long, value_name = "N")]
    vmid: Option<String>,
    /// Only points of this label.
    #[arg(long, value_name = "LABEL")]
    label: Option<String>,
    /// What `list` prints, `latest`, or a moment: the newest point not after it.
    #[arg(long, value_name = "TIME")]
    time: Option<String>,
    /// The guest's directory, when several guests had the vmid.
    #[arg(long, value_name = "DIR")]
    guest: Option<String>,
    /// The disk; one of eve4pve-barc also as its files are named (pool.image).
    #[arg(long, value_name = "KEY")]
    disk: Option<String>,
    /// The file; it must not exist.
    #[arg(long, short = 'o', value_name = "FILE")]
    output: Option<PathBuf>,
    /// Threads that decompress and check [default: all cores].
    #[arg(long, value_name = "N")]
    threads: Option<u16>,
    /// Seconds to wait for a run that works on the guest.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    lock_wait: u64,
    #[command(flatten)]
    stall: Stall,
    #[command(flatten)]
    around: Around,
}

struct Wanted {
    path: PathBuf,
    sought: Sought,
    point: RestorePoint,
    disk: String,
    output: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// The point or the disk is not there, its images are damaged, or the output cannot be written.
pub fn run(args: &Args, logging: &Logging) -> CommandResult {
    // What is not there is no run: nobody is told of it, and no hook is called.
    let wanted = wanted(args)?;
    wanted.point.chain_named(&wanted.disk)?;
    let (label, repository) = (args.label.as_deref(), Some(wanted.path.as_path()));
    let subject = Subject { operation: "assemble", label, repository, dry_run: false };
    let about = About { subject, nature: Nature::Act, logging, keep: None };
    let (teller, hooks) = args.around.begin(&about)?;
    let name = format!("guest {} at {}", wanted.point.vmid(), wanted.point.time());
    let result = hooks.and_then(|hooks| performed(args, logging, (wanted, hooks)));
    teller.conclude_one(result, |outcome| line(&name, &outcome.volumes))
}

fn performed(
    args: &Args,
    logging: &Logging,
    (wanted, hooks): (Wanted, Arc<Hooks>),
) -> Result<Performed, CliError> {
    let request = AssembleRequest {
        point: wanted.point,
        sought: wanted.sought,
        disk: wanted.disk,
        output: wanted.output,
    };
    let mut limits = options::limits_of_one(args.threads, args.lock_wait);
    limits.stall_timeout = args.stall.timeout();
    let ctx = context::without_cluster(limits, logging, options::cancel(), hooks);
    blocking(async {
        signals::listen(&ctx.cancel)?;
        run::run(Arc::new(ctx), request, Mode::Execute).await
    })
}

fn line(name: &str, volumes: &[VolumeOutcome]) -> String {
    let line = |volume: &VolumeOutcome| {
        let VolumeOutcome { disk, volume, logical_bytes, stream_bytes, .. } = volume;
        let (size, data) = (Bytes(*logical_bytes), Bytes(*stream_bytes));
        format!("assembled {disk} of {name}: {size} ({data} of it data) in {volume}")
    };
    volumes.iter().map(line).collect()
}

fn wanted(args: &Args) -> Result<Wanted, CliError> {
    match (&args.path, &args.vmid, &args.disk, &args.output) {
        (Some(path), Some(vmid), Some(disk), Some(output)) => {
            let repository = Repository::open(path, Disk::real())?;
            let sought = Sought {
                vmid: vmid.parse()?,
                label: args.label.as_deref().map(label).transpose()?,
                time: restore::time(args.time.as_deref())?,
                directory: args.guest.clone(),
            };
            let point = survey::restore_point(&repository, &sought, &context::home())?;
            let (path, disk, output) = (path.clone(), disk.clone(), output.clone());
            Ok(Wanted { path, sought, point, disk, output })
        }
        _ if output::is_interactive() => asked(args),
        _ => Err(CliError::usage(
            "--path, --vmid, --disk and --output are needed (on a terminal it asks)",
        )),
    }
}

fn asked(args: &Args) -> Result<Wanted, CliError> {
    let path = ask::path(args.path.clone())?;
    let (sought, point) = ask::choose_point(&path, args.vmid.as_deref(), args.time.as_deref())?;
    let disk = match &args.disk {
        Some(disk) => disk.clone(),
        None => ask::one_disk(&point)?,
    };
    let output = match &args.output {
        Some(output) => output.clone(),
        None => {
            let name = format!("vm-{}-{disk}.raw", point.vmid());
            PathBuf::from(ask::prompt("Write to", name)?)
        }
    };
    Ok(Wanted { path, sought, point, disk, output })
}
