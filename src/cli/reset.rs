//! `pve-ferry reset`: what was typed, made into a request; the question before anything is deleted.

use super::agree;
use super::around::{About, Around};
use super::end::CommandResult;
use super::error::CliError;
use super::options::{Logging, Parallel, label};
use super::told::{Nature, Subject};
use super::{blocking, context, signals};
use crate::context::Context;
use crate::hooks::Hooks;
use crate::model::{ChainId, VolumeId, counted};
use crate::operation::{ResetRequest, ResetTarget, volume_owner};
use crate::plan::reset::ResetPolicy;
use crate::plan::{Action, Plan, VolumeAction};
use crate::repository::image::Compression;
use crate::repository::{Disk, Repository};
use crate::run::{self, Mode};
use crate::select::Selection;
use std::path::PathBuf;
use std::sync::Arc;

/// Delete our own snapshots of a chain from volumes
///
/// Deletes from the volumes of the selected guests the snapshots of chains that belong to the
/// repository --path (or that --chain names), and nothing else: snapshots of PVE, of other tools
/// and of other repositories stay, each listed with the reason. Restore points are not touched. The
/// next backup of such a volume makes a base by itself.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pve-ferry reset --vmid 100 --path /mnt/backup --dry-run
  pve-ferry reset --vmid 100,101 --label daily --path /mnt/backup
  pve-ferry reset --volume ceph:vm-100-disk-0 --path /mnt/backup     (a guest without configuration)
  pve-ferry reset --vmid 100 --chain 1a2b3c4d                        (a repository that is lost)")]
pub struct Args {
    /// Which guests: 100,101 100:120 all all-NODE @pool-X @tag-X storage-X NAME, -ITEM excludes.
    #[arg(long, value_name = "SEL", required_unless_present = "volume")]
    vmid: Option<String>,
    /// This volume, whether or not a guest has it; may be given several times.
    #[arg(long, value_name = "STORAGE:NAME", value_delimiter = ',', conflicts_with = "vmid")]
    volume: Vec<String>,
    /// The repository that tells which chains are ours: a directory that must exist.
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    /// Only snapshots of this label [default: all].
    #[arg(long, value_name = "LABEL")]
    label: Option<String>,
    /// A chain that is ours although no repository knows it; may be given several times.
    #[arg(long, value_name = "8 DIGITS", value_delimiter = ',')]
    chain: Vec<String>,
    #[command(flatten)]
    parallel: Parallel,
    /// Print what would be deleted and what stays, and stop.
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
    /// Do not ask.
    #[arg(long, alias = "noconfirm")]
    yes: bool,
    #[command(flatten)]
    around: Around,
}

/// Runs the command.
///
/// # Errors
/// The words make no sense, the repository is missing, or nobody said yes.
pub fn run(args: &Args, logging: &Logging) -> CommandResult {
    let request = request(args)?;
    let (label, repository, dry_run) = (args.label.as_deref(), args.path.as_deref(), args.dry_run);
    let subject = Subject { operation: "reset", label, repository, dry_run };
    let about = About { subject, nature: Nature::Act, logging, keep: None };
    args.around.conclude(&about, args.json, |hooks| {
        let ctx = context_of(args, logging, hooks)?;
        blocking(async {
            signals::listen(&ctx.cancel)?;
            match (args.dry_run, args.yes) {
                (true, _) => run::run(ctx.clone(), request, Mode::DryRun).await,
                (false, true) => run::run(ctx.clone(), request, Mode::Execute).await,
                (false, false) => {
                    agree::confirmed(ctx.clone(), request, agree::about(question)).await
                }
            }
        })
    })
}

fn context_of(args: &Args, logging: &Logging, hooks: Arc<Hooks>) -> anyhow::Result<Arc<Context>> {
    let limits = args.parallel.limits(Compression::None);
    let cancel = super::options::cancel();
    context::open(limits, args.parallel.iothreads, logging, cancel, hooks)
}

fn request(args: &Args) -> Result<ResetRequest, CliError> {
    let target = match &args.vmid {
        Some(text) => {
            let selection = Selection::parse(text).map_err(|e| CliError::usage(e.to_string()))?;
            ResetTarget::Guests(selection)
        }
        None => ResetTarget::Volumes(volumes(&args.volume)?),
    };
    let chains: Result<_, _> = args.chain.iter().map(|text| text.parse::<ChainId>()).collect();
    let policy =
        ResetPolicy { label: args.label.as_deref().map(label).transpose()?, chains: chains? };
    let open = |path: &PathBuf| Repository::open(path, Disk::real());
    let repository = args.path.as_ref().map(open).transpose()?;
    Ok(ResetRequest { target, repository, policy })
}

fn volumes(texts: &[String]) -> Result<Vec<VolumeId>, CliError> {
    let mut volumes = Vec::new();
    for text in texts {
        let volume: VolumeId = text.parse()?;
        volume_owner(&volume).map_err(|error| CliError::usage(error.to_string()))?;
        volumes.push(volume);
    }
    Ok(volumes)
}

fn question(plans: &[Plan]) -> String {
    let is_deletion =
        |action: &Action| matches!(action, Action::Volume(VolumeAction::DeleteSnapshot { .. }));
    let steps = plans.iter().flat_map(Plan::steps);
    let count = steps.filter(|step| is_deletion(&step.action)).count();
    format!("Delete {}?", counted(count, "snapshot"))
}
