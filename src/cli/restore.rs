//! `pve-ferry restore`: what was typed or chosen, made into a request.

use super::around::{About, Around};
use super::end::CommandResult;
use super::error::CliError;
use super::options::{Logging, Parallel, label};
use super::told::{Nature, Subject};
use super::{agree, ask, blocking, context, output, signals};
use crate::entropy::random_bytes;
use crate::hooks::Hooks;
use crate::model::{DiskKey, Mark, Moment, VmId};
use crate::operation::RestoreRequest;
use crate::plan::restore::{Afterwards, Existing, RestorePolicy};
use crate::repository::image::Compression;
use crate::repository::{Disk, Repository};
use crate::run::{self, Mode, Performed};
use crate::survey::{self, Sought};
use anyhow::Context as _;
use std::path::PathBuf;
use std::sync::Arc;

/// Bring a guest, or single volumes of it, back
///
/// Volumes first, each block written once and checked while it is read, then firewall and
/// configuration, so that the guest runs. An existing guest or volume is never touched. Without
/// --vmid, on a terminal, it asks what to restore and where to.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pve-ferry restore                                       (asks)
  pve-ferry restore --path /mnt/backup --vmid 100
  pve-ferry restore --path /mnt/backup --vmid 100 --time 2026-01-01T00:00:00Z --target-vmid 9100 --start
  pve-ferry restore --path /mnt/backup --vmid 100 --disk scsi1 --to ceph --attach 200")]
pub struct Args {
    /// The repository.
    #[arg(long, value_name = "DIR")]
    pub path: Option<PathBuf>,
    /// The guest's vmid in the repository.
    #[arg(long, value_name = "N")]
    pub vmid: Option<String>,
    /// Only points of this label.
    #[arg(long, value_name = "LABEL")]
    pub label: Option<String>,
    /// What `list` prints, `latest`, or a moment: the newest point not after it.
    #[arg(long, value_name = "TIME")]
    pub time: Option<String>,
    /// The guest's directory, when several guests had the vmid.
    #[arg(long, value_name = "DIR")]
    pub guest: Option<String>,
    /// The vmid that the guest gets [default: its own].
    #[arg(long, value_name = "M")]
    pub target_vmid: Option<String>,
    /// Storage for all volumes that --map-storage does not name [default: their own].
    #[arg(long, alias = "pool", value_name = "STORAGE")]
    pub storage: Option<String>,
    /// Volumes of storage A go to storage B; may be given several times.
    #[arg(long, value_name = "A:B", value_delimiter = ',')]
    pub map_storage: Vec<String>,
    /// Only this disk, without configuration; may be given several times.
    #[arg(long, value_name = "KEY", value_delimiter = ',')]
    pub disk: Vec<String>,
    /// Where single disks go.
    #[arg(long, value_name = "STORAGE[:NAME]", requires = "disk")]
    pub to: Option<String>,
    /// The guest that gets single disks as unused disks.
    #[arg(long, value_name = "VMID", requires = "disk")]
    pub attach: Option<String>,
    /// New MAC addresses and a new uuid even under its own vmid; another vmid always has them.
    #[arg(long)]
    pub unique: bool,
    /// Start the guest afterwards.
    #[arg(long)]
    pub start: bool,
    /// Replace the configuration of a stopped guest; its volumes stay as unused disks.
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub parallel: Parallel,
    /// Print what would be done, and stop.
    #[arg(long, short = 'n')]
    pub dry_run: bool,
    /// Print one JSON document.
    #[arg(long)]
    pub json: bool,
    /// Ask nothing.
    #[arg(long, alias = "noconfirm")]
    pub yes: bool,
    #[command(flatten)]
    pub around: Around,
}

/// Runs the command.
///
/// # Errors
/// The point is not there or not clear, or nothing could be done at all.
pub fn run(args: &Args, logging: &Logging) -> CommandResult {
    let (label, repository, dry_run) = (args.label.as_deref(), args.path.as_deref(), args.dry_run);
    let subject = Subject { operation: "restore", label, repository, dry_run };
    let about = About { subject, nature: Nature::Run, logging, keep: None };
    args.around.conclude(&about, args.json, |hooks| performed(args, logging, hooks))
}

fn performed(args: &Args, logging: &Logging, hooks: Arc<Hooks>) -> Result<Performed, CliError> {
    let chosen = match (&args.path, &args.vmid) {
        (Some(path), Some(vmid)) => ask::Chosen::from_options(path.clone(), vmid.parse()?, args)?,
        _ if output::is_interactive() && !args.yes => ask::restore(args)?,
        _ => return Err(CliError::usage("--path and --vmid are needed (on a terminal it asks)")),
    };
    let repository = Repository::open(&chosen.path, Disk::real())?;
    let point = survey::restore_point(&repository, &chosen.sought, &context::home())?;
    let request = RestoreRequest { point, sought: chosen.sought, policy: chosen.policy };
    let mode = if args.dry_run { Mode::DryRun } else { Mode::Execute };
    let question = chosen.question.filter(|_| mode == Mode::Execute);
    let cancel = super::options::cancel();
    let limits = args.parallel.limits(Compression::None);
    let ctx = context::open(limits, args.parallel.iothreads, logging, cancel, hooks)?;
    blocking(async {
        signals::listen(&ctx.cancel)?;
        match question {
            Some(question) => agree::confirmed(ctx, request, agree::about(|_| question)).await,
            None => run::run(ctx, request, mode).await,
        }
    })
}

/// The point that the options mean.
///
/// # Errors
/// A label or a time of the wrong form.
pub fn sought(vmid: VmId, args: &Args) -> Result<Sought, CliError> {
    Ok(Sought {
        vmid,
        label: args.label.as_deref().map(label).transpose()?,
        time: time(args.time.as_deref())?,
        directory: args.guest.clone(),
    })
}

/// A moment, or none for `latest`.
///
/// # Errors
/// The text is neither.
pub fn time(text: Option<&str>) -> Result<Option<Moment>, CliError> {
    let moment = text.filter(|text| *text != "latest").map(|text| {
        text.parse::<Moment>().or_else(|error| Moment::from_stamp(text).map_err(|_| error))
    });
    Ok(moment.transpose()?)
}

/// What the options want of the restore.
///
/// # Errors
/// A value of the wrong form.
pub fn policy(args: &Args) -> Result<RestorePolicy, CliError> {
    let vmid = |text: &Option<String>| text.as_deref().map(str::parse::<VmId>).transpose();
    let pair = |text: &String| {
        let (from, to) = text.split_once(':').filter(|(a, b)| !a.is_empty() && !b.is_empty())?;
        Some((from.to_owned(), to.to_owned()))
    };
    let storage_map = args.map_storage.iter().map(|text| {
        pair(text).ok_or_else(|| CliError::usage(format!("--map-storage {text:?} is not A:B")))
    });
    let to = args.to.as_ref().map(|to| match to.split_once(':') {
        Some((storage, name)) => (storage.to_owned(), Some(name.to_owned())),
        None => (to.clone(), None),
    });
    let disks: Result<Vec<DiskKey>, _> = args.disk.iter().map(|text| text.parse()).collect();
    Ok(RestorePolicy {
        mark: Mark::default(),
        random: random_bytes::<256>().context("read random bytes")?.to_vec(),
        target: vmid(&args.target_vmid)?,
        storage: args.storage.clone(),
        storage_map: storage_map.collect::<Result<_, _>>()?,
        disks: disks?,
        to,
        attach: vmid(&args.attach)?,
        unique: args.unique,
        existing: if args.force { Existing::Replace } else { Existing::Refuse },
        afterwards: if args.start { Afterwards::Start } else { Afterwards::Rest },
    })
}
