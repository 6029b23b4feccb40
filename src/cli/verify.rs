//! `pve-ferry verify`: reads what is stored and says what is damaged, and which points that costs.

use super::around::{About, Around};
use super::error::CliError;
use super::options::{Common, Logging};
use super::told::{Nature, Subject};
use super::verified::{AllVerified, Verified, document, guest, outcome, report, text};
use super::{bars, blocking, options, output, signals, source};
use crate::cancel::Cancel;
use crate::clock::Clock;
use crate::hooks::Hooks;
use crate::model::{Label, Moment, VmId};
use crate::operation::hooked::{Caller, job_blocking};
use crate::operation::{
    AuditRequest, CheckRequest, Checked, Interrupted, Meant, Performed, verify,
};
use crate::progress::Progress;
use crate::report::Report;
use crate::repository::image::{Compression, ImageOptions, ZeroRuns};
use crate::repository::{Disk, Repository, Subset};
use crate::stall::STALL_TIMEOUT;
use crate::survey;
use crate::throttle::Throttle;
use crate::world::Limits;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

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
    let subject = Subject { operation: "verify", label, repository, dry_run: false };
    let about = About { subject, nature: Nature::Run, logging, keep: None };
    let (teller, hooks) = args.around.begin(&about)?;
    let started = Clock::System.now();
    let span = || (started, Clock::System.now());
    let report = hooks.and_then(|hooks| listening(args, logging, &hooks, &span));
    teller.told(span, report)
}

/// The checks, with an ear for signals: who stops them is told what was found until then.
fn listening(
    args: &Args,
    logging: &Logging,
    hooks: &Arc<Hooks>,
    span: &dyn Fn() -> (Moment, Moment),
) -> Result<Report, CliError> {
    let cancel = options::cancel();
    let caller = Caller { hooks, cancel: &cancel };
    let work = || match args.source {
        true => between_hooks(caller, || compared(args, logging, (hooks, &cancel), span)),
        false => between_hooks(caller, || checked(args, logging, caller, span)),
    };
    blocking(async {
        signals::listen(&cancel)?;
        Ok(tokio::task::block_in_place(work))
    })?
}

/// All checks between the hooks of the run. What they found is printed before the last hooks are
/// called; an error keeps its exit code.
fn between_hooks(
    caller: Caller<'_>,
    work: impl FnOnce() -> Result<Report, CliError>,
) -> Result<Report, CliError> {
    let mut stopped = None;
    let performed = job_blocking(caller.hooks, caller.cancel, || match work() {
        Ok(report) => Ok(Performed { report, plans: Vec::new() }),
        Err(error) => {
            let text = error.to_string();
            stopped = Some(error);
            Err(anyhow::anyhow!(text))
        }
    });
    let report = performed.map_err(|error| stopped.unwrap_or_else(|| error.into()))?.report;
    report.warnings.iter().for_each(|warning| output::notice(&format!("warning: {warning}")));
    Ok(report)
}

/// Checks what is stored, and prints what was found.
fn checked(
    args: &Args,
    logging: &Logging,
    caller: Caller<'_>,
    span: &dyn Fn() -> (Moment, Moment),
) -> Result<Report, CliError> {
    let check = Check { args, caller, progress: bars::progress(logging) };
    let (verified, warnings) = check.all()?;
    match args.json {
        true => output::json(&document(&verified)),
        false => output::text(&text(&verified)),
    }
    let mut report = report(verified, span());
    report.warnings = warnings;
    Ok(report)
}

/// Compares with the snapshots on the storages, and prints what was found.
fn compared(
    args: &Args,
    logging: &Logging,
    (hooks, cancel): (&Arc<Hooks>, &Cancel),
    span: &dyn Fn() -> (Moment, Moment),
) -> Result<Report, CliError> {
    let repository = Repository::open(&args.common.path, Disk::real())?;
    let wanted = with_source(args, (logging, hooks), meant(args)?)?;
    source::run(&repository, wanted, cancel, span)
}

/// One check of everything that is meant.
struct Check<'a> {
    args: &'a Args,
    caller: Caller<'a>,
    progress: Arc<dyn Progress>,
}

impl Check<'_> {
    /// Guest after guest, with what their hooks warned of.
    fn all(&self) -> Result<(AllVerified, Vec<String>), CliError> {
        let args = self.args;
        let repository = Repository::open(&args.common.path, Disk::real())?;
        let (meant, request) = (meant(args)?, request(args)?);
        let (mut verified, mut warnings) = (Vec::new(), Vec::new());
        for directory in meant.directories(&repository)? {
            let (vmid, name) = (directory.names().vmid, survey::relative(&directory));
            let check = |told: &(dyn Fn(u64) + Sync)| {
                verify(&directory, &request, told, self.caller.cancel)
            };
            verified.push(self.turn((vmid, name), check, &mut warnings));
        }
        let histories = survey::barc_histories(&args.common.path, &super::world::home())?;
        for history in super::barc::selected(histories, &meant.vmids, args.label.as_deref()) {
            let (vmid, name) = (history.directory.vmid, history.directory.name());
            // Nothing is noted in what eve4pve-barc wrote.
            let check = |told: &(dyn Fn(u64) + Sync)| {
                let told = |bytes: u64| {
                    told(bytes);
                    self.caller.cancel.check()
                };
                let report = history.verify(request.subset, request.threads, &told)?;
                let images = history.points.iter().flat_map(|point| &point.images);
                let unsummed = images.filter(|image| image.sums.is_empty()).count();
                Ok(Checked { report, unnoted: None, unsummed })
            };
            verified.push(self.turn((vmid, name), check, &mut warnings));
        }
        // Where nothing is, nothing was verified: that must not be counted as good.
        verified.retain(|one| !one.result.as_ref().is_ok_and(Checked::is_of_nothing));
        let found: Vec<VmId> = verified.iter().map(|verified| verified.vmid).collect();
        let not_found = meant.not_found(&found);
        Ok((AllVerified { guests: verified, not_found }, warnings))
    }

    /// One guest's check between its hooks; those before it can stop it, which is its failure.
    fn turn(
        &self,
        (vmid, directory): (VmId, String),
        check: impl FnOnce(&(dyn Fn(u64) + Sync)) -> anyhow::Result<Checked>,
        warnings: &mut Vec<String>,
    ) -> Verified {
        if self.caller.cancel.is_cancelled() {
            let result = Err(Interrupted("it had no turn").into());
            return Verified { vmid, directory, result };
        }
        let meter = self.progress.begin(&directory, 0);
        let work = || check(&|bytes| meter.add(bytes));
        let (result, said) = self.caller.check(&guest(vmid), work, |result| outcome(vmid, result));
        meter.end();
        warnings.extend(said);
        Verified { vmid, directory, result }
    }
}

fn meant(args: &Args) -> Result<Meant, CliError> {
    let label = args.label.as_deref().map(str::parse::<Label>).transpose()?;
    Ok(Meant { vmids: vmids(&args.vmid)?, label })
}

fn request(args: &Args) -> Result<CheckRequest, CliError> {
    Ok(CheckRequest {
        label: args.label.as_deref().map(str::parse::<Label>).transpose()?,
        subset: args.read_data_subset.as_deref().map(subset).transpose()?,
        threads: threads(args),
        lock_wait: Duration::from_secs(args.lock_wait),
        mark: args.mark,
    })
}

fn with_source(
    args: &Args,
    (logging, hooks): (&Logging, &Arc<Hooks>),
    meant: Meant,
) -> Result<source::Wanted, CliError> {
    let image = ImageOptions {
        compression: Compression::None,
        threads: threads(args),
        zeros: ZeroRuns::default(),
    };
    let limits = Limits {
        guests: 1,
        transfers: Arc::new(Semaphore::new(1)),
        throttle: Throttle::default(),
        stall_timeout: STALL_TIMEOUT,
        repository_hangs: Cancel::default(),
        image,
        lock_wait: Some(Duration::from_secs(args.lock_wait)),
    };
    let request = AuditRequest { label: meant.label.clone(), parts: args.audit.unwrap_or(1) };
    let (logging, hooks) = (logging.clone(), hooks.clone());
    Ok(source::Wanted { meant, request, limits, logging, hooks, json: args.json })
}

fn threads(args: &Args) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    args.threads.map_or_else(cores, |n| usize::from(n.max(1)))
}

/// Vmids as they are typed.
///
/// # Errors
/// One of them is none.
pub fn vmids(words: &[String]) -> Result<Vec<VmId>, CliError> {
    Ok(words.iter().map(|word| word.trim().parse()).collect::<Result<_, _>>()?)
}

fn subset(text: &str) -> Result<Subset, CliError> {
    let invalid = || CliError::usage(format!("--read-data-subset {text:?} is not N/M (as 1/30)"));
    let (n, of) = text.split_once('/').ok_or_else(invalid)?;
    let (n, of) = (n.parse().map_err(|_| invalid())?, of.parse().map_err(|_| invalid())?);
    if n < 1 || n > of {
        return Err(invalid());
    }
    Ok(Subset { n, of })
}
