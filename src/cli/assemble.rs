//! `pve-ferry assemble`: one volume of a restore point as a raw image file.

use super::error::CliError;
use super::options::{Logging, label};
use super::{ask, bars, blocking, output, restore, signals};
use crate::assemble::{Watch, assemble};
use crate::model::Bytes;
use crate::repository::{Disk, Lock, LockOptions, Repository};
use crate::survey::{self, RestorePoint, Sought};
use std::path::PathBuf;
use std::time::Duration;

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
}

struct Wanted {
    point: RestorePoint,
    disk: String,
    output: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// The point or the disk is not there, its images are damaged, or the output cannot be written.
pub fn run(args: &Args, logging: &Logging) -> Result<u8, CliError> {
    let wanted = wanted(args)?;
    let lock = LockOptions {
        wait: Some(Duration::from_secs(args.lock_wait)),
        what: "assemble".to_owned(),
    };
    let _lock: Option<Lock> = wanted.point.lock(&lock)?;
    let stored = wanted.point.chain_named(&wanted.disk)?;
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let threads = args.threads.map_or_else(cores, |n| usize::from(n.max(1)));
    let (progress, cancel) = (bars::progress(logging), super::options::cancel());
    let assembled = blocking(async {
        signals::listen(&cancel)?;
        let file = wanted.output.clone();
        let cancel = cancel.clone();
        tokio::task::spawn_blocking(move || {
            let watch = Watch { progress: progress.as_ref(), cancel: &cancel };
            assemble(&stored, &file, threads, &watch)
        })
        .await?
    });
    if cancel.is_cancelled() && assembled.is_err() {
        output::notice("pve-ferry: interrupted; nothing is left");
        return Ok(130);
    }
    let assembled = assembled?;
    output::line(&format!(
        "assembled {} of guest {} at {}: {} ({} of it data) in {}",
        wanted.disk,
        wanted.point.vmid(),
        wanted.point.time(),
        Bytes(assembled.size),
        Bytes(assembled.data_bytes),
        wanted.output.display()
    ));
    Ok(0)
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
            let point = survey::restore_point(&repository, &sought, &super::world::home())?;
            Ok(Wanted { point, disk: disk.clone(), output: output.clone() })
        }
        _ if output::is_interactive() => asked(args),
        _ => Err(CliError::usage(
            "--path, --vmid, --disk and --output are needed (on a terminal it asks)",
        )),
    }
}

fn asked(args: &Args) -> Result<Wanted, CliError> {
    let path = ask::path(args.path.clone())?;
    let (_, point) = ask::choose_point(&path, args.vmid.as_deref(), args.time.as_deref())?;
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
    Ok(Wanted { point, disk, output })
}
