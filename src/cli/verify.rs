//! `pve-ferry verify`: reads what is stored and says what is damaged, and which points that costs.

use super::error::CliError;
use super::hooks::HookOptions;
use super::options::{Common, Logging};
use super::told::{Subject, Teller, ToldOptions};
use super::{bars, output};
use crate::cancel::Cancel;
use crate::clock::{Clock, Stopwatch};
use crate::hooks::{About, At, Event, Hooks, Phase};
use crate::model::{Bytes, Guest, GuestKind, Label, Moment, VmId};
use crate::operation::{Performed, hooked::job_blocking};
use crate::progress::Progress;
use crate::report::{Failure, GuestOutcome, Report};
use crate::repository::{
    DamageFound, Disk, GuestDir, LockMode, LockOptions, Repository, Subset, VerifyReport,
    VerifyRequest,
};
use crate::survey;
use serde_json::{Value, json};
use std::path::Path;
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
  pve-ferry verify --path /mnt/backup --read-data-subset 3/30   (the third thirtieth)")]
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
    hooks: HookOptions,
    #[command(flatten)]
    told: ToldOptions,
}

/// What verifying one guest gave.
struct Verified {
    vmid: VmId,
    /// The guest's directory as the user names it.
    directory: String,
    result: Result<VerifyReport, anyhow::Error>,
}

/// Runs the command.
///
/// # Errors
/// The repository is missing or cannot be listed, or the words make no sense.
pub fn run(args: &Args, logging: &Logging) -> Result<u8, CliError> {
    let (label, repository) = (args.label.as_deref(), Some(args.common.path.as_path()));
    let teller =
        args.told.teller(&Subject { operation: "verify", label, repository, dry_run: false })?;
    let started = Clock::System.now();
    let span = || (started, Clock::System.now());
    match hooked(args, logging, &teller) {
        Ok((verified, warnings)) => {
            match args.json {
                true => output::json(&document(&verified)),
                false => output::text(&text(&verified)),
            }
            warnings.iter().for_each(|warning| output::notice(&format!("warning: {warning}")));
            let mut report = report(&verified, span());
            report.warnings = warnings;
            teller.tell(&report);
            Ok(exit_code(&verified))
        }
        Err(error) => {
            let (text, code) = (error.to_string(), error.exit_code());
            teller.tell(&Report::broken_off("verify", span(), text, code));
            Err(error)
        }
    }
}

/// All checks between the hooks of the run, with what those warned of.
fn hooked(
    args: &Args,
    logging: &Logging,
    teller: &Teller,
) -> Result<(Vec<Verified>, Vec<String>), CliError> {
    let hooks = teller.hooks(&args.hooks, None, bars::progress(logging))?;
    let started = Clock::System.now();
    let mut found = None;
    let work = || {
        let all = run_all(args, logging, &hooks);
        let report = all.as_ref().map(|all| report(all, (started, Clock::System.now())));
        let performed = report.map(|report| Performed { report, plans: Vec::new() });
        let performed = performed.map_err(|error| anyhow::anyhow!(error.to_string()));
        found = Some(all);
        performed
    };
    let performed = job_blocking(&hooks, &Cancel::default(), work);
    match found {
        Some(found) => {
            found.map(|all| (all, performed.map(|p| p.report.warnings).unwrap_or_default()))
        }
        // A hook stopped it before it began.
        None => performed.map(|_| (Vec::new(), Vec::new())).map_err(CliError::from),
    }
}

fn run_all(args: &Args, logging: &Logging, hooks: &Hooks) -> Result<Vec<Verified>, CliError> {
    let repository = Repository::open(&args.common.path, Disk::real())?;
    let wanted = vmids(&args.vmid)?;
    let progress = bars::progress(logging);
    let mut verified = Vec::new();
    for directory in repository.guests()? {
        if wanted.is_empty() || wanted.contains(&directory.names().vmid) {
            let meter = progress.begin(&survey::relative(&directory), 0);
            let check = || one(args, &directory, &|bytes| meter.add(bytes));
            let result = between_hooks(hooks, directory.names().vmid, check)?;
            meter.end();
            let (vmid, directory) = (directory.names().vmid, survey::relative(&directory));
            verified.push(Verified { vmid, directory, result });
        }
    }
    verified.extend(barc(args, progress.as_ref())?);
    Ok(verified)
}

/// One guest's check between its hooks; those before it can stop it, which is its failure.
fn between_hooks(
    hooks: &Hooks,
    vmid: VmId,
    check: impl FnOnce() -> Result<Result<VerifyReport, anyhow::Error>, CliError>,
) -> Result<Result<VerifyReport, anyhow::Error>, CliError> {
    let event = |at| Event::new(Phase::new(About::Verify, at)).of(&guest(vmid));
    let (begun, cancel) = (Stopwatch::start(), Cancel::default());
    let result = match hooks.call_blocking(&event(At::Before), &cancel) {
        Ok(_) => check()?,
        Err(veto) => Err(veto.into()),
    };
    let error = match &result {
        Err(error) => Some(format!("{error:#}")),
        Ok(report) if !report.damage.is_empty() => Some("damage was found".to_owned()),
        Ok(_) => None,
    };
    let at = if error.is_none() { At::After } else { At::Abort };
    let ended = event(at).ended(error, begun.elapsed().as_secs_f64());
    for warning in hooks.call_blocking(&ended, &cancel).unwrap_or_default() {
        output::notice(&format!("warning: {warning}"));
    }
    Ok(result)
}

/// A guest of the repository, as far as its directory's name tells.
fn guest(vmid: VmId) -> Guest {
    Guest { vmid, kind: GuestKind::Qemu, name: String::new(), node: crate::clock::host_name() }
}

/// What was found, as the one report that others are told from.
fn report(verified: &[Verified], span: (Moment, Moment)) -> Report {
    let outcome = |verified: &Verified| {
        let outcome = GuestOutcome::new(&guest(verified.vmid));
        match &verified.result {
            Err(error) => outcome.failed(Failure::Other, format!("{error:#}")),
            Ok(report) if report.damage.is_empty() => outcome,
            Ok(report) => {
                let lines: Vec<String> = report.damage.iter().map(damage_line).collect();
                let lost = report.points_lost();
                let lost: Vec<String> = lost.iter().map(|dir| point_name(dir)).collect();
                let cost = format!("restore points that this costs: {}", lost.join(", "));
                outcome.failed(Failure::Damage, format!("DAMAGED\n{}\n{cost}", lines.join("\n")))
            }
        }
    };
    let mut report = Report::new("verify", span, verified.iter().map(outcome).collect(), vec![]);
    // Mail and exit code never disagree; an empty repository is verified, too.
    report.error_code = Some(exit_code(verified));
    report
}

/// Checks what eve4pve-barc wrote below the same path. Nothing is noted there.
fn barc(args: &Args, progress: &dyn Progress) -> Result<Vec<Verified>, CliError> {
    let histories = survey::barc_histories(&args.common.path, &super::world::home())?;
    let histories = super::barc::selected(histories, &vmids(&args.vmid)?, args.label.as_deref());
    let subset = args.read_data_subset.as_deref().map(subset).transpose()?;
    let mut verified = Vec::new();
    for history in histories {
        let directory = history.directory.name();
        let meter = progress.begin(&directory, 0);
        let told = |bytes: u64| {
            meter.add(bytes);
            Ok(())
        };
        let result = history.verify(subset, threads(args), &told).map_err(anyhow::Error::from);
        meter.end();
        verified.push(Verified { vmid: history.directory.vmid, directory, result });
    }
    Ok(verified)
}

fn threads(args: &Args) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    args.threads.map_or_else(cores, |n| usize::from(n.max(1)))
}

fn one(
    args: &Args,
    directory: &GuestDir,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Result<VerifyReport, anyhow::Error>, CliError> {
    let label = args.label.as_deref().map(str::parse::<Label>).transpose()?;
    let subset = args.read_data_subset.as_deref().map(subset).transpose()?;
    let threads = threads(args);
    let select = |point: &crate::repository::StoredPoint| {
        label.as_ref().is_none_or(|label| point.manifest.label == *label)
    };
    let request = VerifyRequest { select: &select, subset, threads, progress };
    Ok(verified(args, directory, &request).map_err(anyhow::Error::from))
}

fn verified(
    args: &Args,
    directory: &GuestDir,
    request: &VerifyRequest,
) -> Result<VerifyReport, crate::repository::RepositoryError> {
    let options =
        LockOptions { wait: Some(Duration::from_secs(args.lock_wait)), what: "verify".to_owned() };
    let shared = directory.lock(LockMode::Shared, &options)?;
    let report = directory.verify(request)?;
    drop(shared);
    if args.mark {
        let exclusive = directory.lock(LockMode::Exclusive, &options)?;
        directory.mark_verified(&exclusive, &report, Clock::System.now())?;
    }
    Ok(report)
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

fn text(verified: &[Verified]) -> String {
    let mut lines = Vec::new();
    for Verified { vmid, directory, result } in verified {
        let about = format!("guest {vmid} ({directory})");
        match result {
            Err(error) => lines.push(format!("{about}: FAILED: {error:#}")),
            Ok(report) => {
                let ending = if report.damage.is_empty() { "ok" } else { "DAMAGED" };
                lines.push(format!(
                    "{about}: {ending}, {} points, {} images, {} read",
                    report.points.len(),
                    report.images.len(),
                    Bytes(report.bytes)
                ));
                lines.extend(report.damage.iter().map(damage_line));
                let lost = report.points_lost();
                if !lost.is_empty() {
                    let lost: Vec<String> = lost.iter().map(|dir| point_name(dir)).collect();
                    lines.push(format!("  restore points that this costs: {}", lost.join(", ")));
                }
            }
        }
    }
    if lines.is_empty() {
        lines.push("no restore points".to_owned());
    }
    lines.join("\n") + "\n"
}

/// A point as `list` shows it: label and moment.
fn point_name(dir: &Path) -> String {
    let part = |path: Option<&Path>| {
        path.and_then(Path::file_name).map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let (label, stamp) = (part(dir.parent()), part(Some(dir)));
    let moment = Moment::from_stamp(&stamp).map_or(stamp, |moment| moment.to_string());
    format!("{label} {moment}")
}

fn damage_line(damage: &DamageFound) -> String {
    let extents: u64 = damage.extents.iter().map(|extent| extent.length).sum();
    let where_ = match extents {
        0 => String::new(),
        bytes => format!(", {} of the volume", Bytes(bytes)),
    };
    format!("  {}: {}{where_}", damage.file.display(), damage.what)
}

fn document(verified: &[Verified]) -> Value {
    let guests: Vec<Value> = verified.iter().map(guest_document).collect();
    let status = match exit_code(verified) {
        0 => "ok",
        _ => "failed",
    };
    json!({ "operation": "verify", "status": status, "guests": guests })
}

fn guest_document(verified: &Verified) -> Value {
    let vmid = verified.vmid;
    match &verified.result {
        Err(error) => json!({ "vmid": vmid, "status": "failed", "error": format!("{error:#}") }),
        Ok(report) => json!({
            "vmid": vmid,
            "status": if report.damage.is_empty() { "ok" } else { "damaged" },
            "directory": verified.directory,
            "points": report.points.len(),
            "images": report.images.len(),
            "bytes": report.bytes,
            "damage": report.damage.iter().map(damage_document).collect::<Vec<_>>(),
            "points_lost": report.points_lost(),
        }),
    }
}

fn damage_document(damage: &DamageFound) -> Value {
    json!({
        "file": damage.file,
        "what": damage.what,
        "extents": damage.extents.iter().map(|e| [e.offset, e.length]).collect::<Vec<_>>(),
        "points_lost": damage.points_lost,
    })
}

fn exit_code(verified: &[Verified]) -> u8 {
    let damaged = |v: &Verified| v.result.as_ref().is_ok_and(|report| !report.damage.is_empty());
    if verified.iter().any(damaged) {
        return Failure::Damage.code();
    }
    let failed: Vec<&anyhow::Error> =
        verified.iter().filter_map(|v| v.result.as_ref().err()).collect();
    match failed.len() {
        0 => 0,
        n if n == verified.len() => super::error::code_of(failed[0]),
        _ => 3,
    }
}
