//! `pve-ferry adopt`: what was typed, made into a request. It asks nothing, as nothing is taken away.

use super::around::{About, Around};
use super::end::CommandResult;
use super::error::CliError;
use super::options::{Logging, Parallel, label};
use super::told::{Nature, Subject};
use super::{blocking, context, signals};
use crate::hooks::Hooks;
use crate::model::Label;
use crate::operation::AdoptRequest;
use crate::repository::image::Compression;
use crate::repository::legacy::ROOT;
use crate::repository::{Disk, Repository, RepositoryError};
use crate::run::{self, Mode, Performed};
use crate::select::Selection;
use std::path::PathBuf;
use std::sync::Arc;

/// Go on with what eve4pve-barc saved
///
/// Makes of the newest point of eve4pve-barc whose snapshots still stand on the guest's volumes a
/// restore point of ours, so that the next `backup` is an increment since them. Every file is
/// checked, and its volume compared with the snapshot, which is read once for that. Nothing of the
/// old tool's is changed or removed, neither files nor snapshots: its older points stay where they
/// are, and `list`, `verify` and `restore` read them. Switch its jobs off before: it would remove
/// its snapshot, and our next backup would be a base.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pve-ferry adopt --path /mnt/backup --vmid 100 --label daily --dry-run
  pve-ferry adopt --path /mnt/backup --vmid all --label daily
  pve-ferry adopt --path /mnt/old --to /mnt/backup --vmid 100 --label Weekly --as weekly")]
pub struct Args {
    /// Which guests: 100,101 100:120 all all-NODE @pool-X @tag-X storage-X NAME, -ITEM excludes.
    #[arg(long, value_name = "SEL")]
    vmid: String,
    /// The label in eve4pve-barc.
    #[arg(long, value_name = "TEXT")]
    label: String,
    /// Where eve4pve-barc wrote to: the directory that holds `barc`.
    #[arg(long, value_name = "DIR")]
    path: PathBuf,
    /// The repository, a directory that must exist [default: the same as --path].
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// The label of the point, and of the backups that go on with it [default: the same label].
    #[arg(long = "as", value_name = "LABEL")]
    new_label: Option<String>,
    #[command(flatten)]
    parallel: Parallel,
    /// none, zstd[:LEVEL], gzip or bzip2.
    #[arg(long, value_name = "METHOD", default_value = "zstd:1")]
    compress: String,
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
    around: Around,
}

/// Runs the command.
///
/// # Errors
/// The words make no sense, a directory is missing, or nothing could be done at all; a guest's own
/// failure is in the report.
pub fn run(args: &Args, logging: &Logging) -> CommandResult {
    let (label, dry_run) = (args.new_label.as_ref().unwrap_or(&args.label), args.dry_run);
    let repository = Some(args.to.as_ref().unwrap_or(&args.path).as_path());
    let subject = Subject { operation: "adopt", label: Some(label), repository, dry_run };
    let about = About { subject, nature: Nature::Act, logging, keep: None };
    args.around.conclude(&about, args.json, |hooks| performed(args, logging, hooks))
}

fn performed(args: &Args, logging: &Logging, hooks: Arc<Hooks>) -> Result<Performed, CliError> {
    let compression: Compression = args.compress.parse()?;
    let request = request(args)?;
    let mode = if args.dry_run { Mode::DryRun } else { Mode::Execute };
    let limits = args.parallel.limits(compression);
    let cancel = super::options::cancel();
    let ctx = context::open(limits, args.parallel.iothreads, logging, cancel, hooks)?;
    blocking(async {
        signals::listen(&ctx.cancel)?;
        run::run(ctx.clone(), request, mode).await
    })
}

fn request(args: &Args) -> Result<AdoptRequest, CliError> {
    let selection = Selection::parse(&args.vmid).map_err(|e| CliError::usage(e.to_string()))?;
    let new_label = new_label(args)?;
    let old = args.path.join(ROOT);
    if !old.is_dir() {
        return Err(RepositoryError::Missing { path: old }.into());
    }
    Ok(AdoptRequest {
        selection,
        path: args.path.clone(),
        old_label: args.label.clone(),
        label: new_label,
        repository: Repository::open_target(args.to.as_ref().unwrap_or(&args.path), Disk::real())?,
        home: context::home(),
    })
}

/// The old tool took any text as a label, ours are names of directories and parts of snapshots.
fn new_label(args: &Args) -> Result<Label, CliError> {
    match &args.new_label {
        Some(text) => label(text),
        None => args.label.parse().map_err(|_| {
            let text = format!("{:?} is no label of ours: give one with --as", args.label);
            CliError::usage(text)
        }),
    }
}
