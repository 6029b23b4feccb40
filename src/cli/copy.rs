//! `pve-ferry copy`: what was typed, made into a request. Decides nothing.

use super::around::{About, Around};
use super::end::CommandResult;
use super::error::CliError;
use super::options::{Logging, Stall, label};
use super::told::{Nature, Subject};
use super::{blocking, context, options, signals};
use crate::context::Limits;
use crate::hooks::Hooks;
use crate::operation::CopyRequest;
use crate::plan::copy::Source;
use crate::repository::{Disk, Repository};
use crate::run::{self, Mode, Performed};
use crate::select::Selection;
use std::path::PathBuf;
use std::sync::Arc;

/// Copy or move restore points into another repository
///
/// For a second site, or to carry the first points there on a disk. Points that the target holds
/// are passed over, so that a second run goes on where the first one ended; everything that arrives
/// is read back and compared. A point never goes without those that it needs. Marks and notes go
/// along, also to points that the target holds already. Backups may go on in both repositories: the
/// first one into the copy is a full one. With --move the target goes on with increments, and the
/// next backup into the source is a full one.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pve-ferry copy --from /mnt/backup --to /mnt/usb-disk
  pve-ferry copy --from /mnt/backup --to /mnt/second --vmid 100:120 --label daily
  pve-ferry copy --from /mnt/old --to /mnt/new --move --dry-run")]
pub struct Args {
    /// The repository to copy from.
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// The repository to copy into: a directory that must exist.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Which guests of the source: 100,101 100:120 all NAME, -ITEM excludes [default: all].
    #[arg(long, value_name = "SEL")]
    vmid: Option<String>,
    /// Only points of this label, and hidden ones that they need.
    #[arg(long, value_name = "LABEL")]
    label: Option<String>,
    /// Remove from the source what was read whole in the target, the newest and protected ones too.
    #[arg(long = "move")]
    moves: bool,
    /// Threads that verify what arrived [default: all cores].
    #[arg(long, alias = "compressthreads", value_name = "N")]
    threads: Option<u16>,
    /// Seconds to wait for runs that work on a guest in one of the repositories.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    lock_wait: u64,
    #[command(flatten)]
    stall: Stall,
    /// Print what would be copied and removed, and stop.
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
/// A repository is missing or cannot be listed, they are not two, or the words make no sense.
pub fn run(args: &Args, logging: &Logging) -> CommandResult {
    let (label, repository) = (args.label.as_deref(), Some(args.to.as_path()));
    let dry_run = args.dry_run;
    let subject = Subject { operation: "copy", label, repository, dry_run };
    let about = About { subject, nature: Nature::Run, logging, keep: None };
    args.around.conclude(&about, args.json, |hooks| performed(args, logging, hooks))
}

fn performed(args: &Args, logging: &Logging, hooks: Arc<Hooks>) -> Result<Performed, CliError> {
    let selection = args.vmid.as_deref().map(Selection::parse).transpose();
    let request = CopyRequest {
        from: Repository::open(&args.from, Disk::real())?,
        to: Repository::open_target(&args.to, Disk::real())?,
        selection: selection.map_err(|e| CliError::usage(e.to_string()))?,
        label: args.label.as_deref().map(label).transpose()?,
        source: if args.moves { Source::Moves } else { Source::Stays },
    };
    // Words that make no sense are no run.
    request.from.is_apart_from(&request.to)?;
    let mode = if args.dry_run { Mode::DryRun } else { Mode::Execute };
    let mut limits = Limits::of_a_repository(args.threads, args.lock_wait);
    limits.stall_timeout = args.stall.timeout();
    let ctx = Arc::new(context::without_cluster(limits, logging, options::cancel(), hooks));
    blocking(async {
        signals::listen(&ctx.cancel)?;
        run::run(ctx.clone(), request, mode).await
    })
}
