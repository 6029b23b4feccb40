//! `pve-ferry verify`: reads what is stored and says what is damaged, and which points that costs.

use super::around::{About, Around};
use super::end::CommandResult;
use super::error::CliError;
use super::options::{Common, Logging};
use super::told::{Nature, Subject};
use super::{blocking, context, options, output, signals, source, verified};
use crate::context::Context;
use crate::hooks::Hooks;
use crate::model::{Label, Share, VmId};
use crate::operation::{AuditRequest, CheckRequest, Meant, Operation};
use crate::run::{self, Mode, Performed};
use std::sync::Arc;
use std::time::Duration;

/// Check stored restore points: every frame, digest, chain and manifest
///
/// Names what is damaged and which restore points that costs; the others are good. Ends with 12
/// when anything is damaged.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pve-ferry verify --path /mnt/backup
  pve-ferry verify --path /mnt/backup --vmid 100 --mark
  pve-ferry verify --path /mnt/backup --read-data-subset 3/30   (the third thirtieth)
  pve-ferry verify --path /mnt/backup --vmid 100 --source       (against the snapshots on Ceph)
  pve-ferry verify --path /mnt/backup --source --audit 1/10     (another tenth each time)")]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Only these vmids, comma-separated.
    #[arg(long, value_name = "N,..", value_delimiter = ',')]
    vmid: Vec<String>,
    /// Only points of this label.
    #[arg(long, value_name = "LABEL")]
    label: Option<String>,
    /// Read only the N-th of M parts of the data; all parts together are everything.
    #[arg(long, value_name = "N/M")]
    read_data_subset: Option<String>,
    /// Note the results: `list` shows them, and no increment follows a damaged image. Nothing is
    /// noted in what eve4pve-barc wrote.
    #[arg(long)]
    mark: bool,
    /// Compare the newest point of each label with the snapshots on the storages that it was made
    /// from, by another way than exports take. Finds wrong diffs, which no digest shows; what differs
    /// is always noted, and the next backup is a base. Nothing else is checked then.
    #[arg(long, conflicts_with_all = ["read_data_subset", "mark"])]
    source: bool,
    /// With --source: compare only this share of the blocks, another one each time; 1/10.
    #[arg(long, value_name = "1/N", requires = "source", value_parser = crate::model::parts)]
    audit: Option<u64>,
    /// Threads that decompress and check [default: all cores].
    #[arg(long, value_name = "N")]
    threads: Option<u16>,
    /// Seconds to wait for a run that works on a guest.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    lock_wait: u64,
    /// With --source: give a comparison up in which no byte has moved for so many seconds; after half of
    /// them there is a warning.
    #[arg(long, value_name = "SECONDS", default_value_t = 600, requires = "source",
        value_parser = clap::value_parser!(u64).range(1..=604_800))]
    stall_timeout: u64,
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
    let subject = Subject { operation: "verify", label, repository, dry_run: false };
    let about = About { subject, nature: Nature::Run, logging, keep: None };
    let (teller, hooks) = args.around.begin(&about)?;
    let performed = hooks.and_then(|hooks| performed(args, logging, hooks));
    teller.conclude_with(performed, |performed| {
        match (args.source, args.json) {
            (false, true) => output::json(&verified::document(performed)),
            (false, false) => output::text(&verified::text(performed)),
            (true, true) => output::json(&source::document(performed)),
            (true, false) => output::text(&source::text(performed)),
        }
        let warnings = match args.source {
            true => source::warnings(performed),
            false => verified::warnings(performed),
        };
        warnings.iter().for_each(|warning| output::notice(&format!("warning: {warning}")));
    })
}

/// Checks what is stored, or compares it with the snapshots on the storages.
fn performed(args: &Args, logging: &Logging, hooks: Arc<Hooks>) -> Result<Performed, CliError> {
    let (path, meant, cancel) = (args.common.path.clone(), meant(args)?, options::cancel());
    let mut limits = options::limits_of_one(args.threads, args.lock_wait);
    limits.stall_timeout = Duration::from_secs(args.stall_timeout);
    if args.source {
        let request = AuditRequest { path, meant, parts: args.audit.unwrap_or(1) };
        return run_in(context::open(limits, 1, logging, cancel, hooks)?, request);
    }
    let part = args.read_data_subset.as_deref().map(part).transpose()?;
    let home = context::home();
    let request = CheckRequest { path, meant, part, mark: args.mark, home };
    let ctx = context::without_cluster(limits, logging, cancel, hooks);
    run_in(Arc::new(ctx), request)
}

fn run_in(ctx: Arc<Context>, request: impl Operation) -> Result<Performed, CliError> {
    blocking(async {
        signals::listen(&ctx.cancel)?;
        run::run(ctx.clone(), request, Mode::Execute).await
    })
}

fn meant(args: &Args) -> Result<Meant, CliError> {
    let label = args.label.as_deref().map(str::parse::<Label>).transpose()?;
    Ok(Meant { vmids: vmids(&args.vmid)?, label })
}

/// Vmids as they are typed.
///
/// # Errors
/// One of them is none.
pub fn vmids(words: &[String]) -> Result<Vec<VmId>, CliError> {
    Ok(words.iter().map(|word| word.trim().parse()).collect::<Result<_, _>>()?)
}

fn part(text: &str) -> Result<Share, CliError> {
    let invalid = || CliError::usage(format!("--read-data-subset {text:?} is not N/M (as 1/30)"));
    let (n, of) = text.split_once('/').ok_or_else(invalid)?;
    let (n, of) = (n.parse().map_err(|_| invalid())?, of.parse().map_err(|_| invalid())?);
    if n < 1 || n > of {
        return Err(invalid());
    }
    Ok(Share { n, of })
}
