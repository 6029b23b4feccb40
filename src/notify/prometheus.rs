//! Metrics for Prometheus as a file that its node exporter reads (textfile collector). One file
//! per job, so that jobs do not overwrite each other; moments instead of ages, so that an age
//! grows also when nothing runs any more.

use super::NotifyError;
use super::facts::{Occasion, key_of, seconds};
use crate::entropy::random_u64;
use crate::report::{GuestOutcome, GuestStatus, Report};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Where the node exporter looks for files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The directory.
    pub directory: PathBuf,
}

impl Target {
    /// Replaces the job's file, by rename: a reader sees the old one or the new one.
    ///
    /// # Errors
    /// The directory is not there or not writable.
    pub fn tell(&self, occasion: &Occasion, report: &Report) -> Result<(), NotifyError> {
        let path = self.directory.join(file_name(&occasion.key(report)));
        let before = read(&path).unwrap_or_default();
        let failed = |source| NotifyError::File { path: path.clone(), source };
        let number = random_u64().map_err(failed)?;
        // The exporter reads `*.prom` only, so that it never sees the one that is being written. The
        // directory is often another user's, who must not know the name before it is there.
        let new = path.with_extension(format!("prom.{number:016x}"));
        let mut file = create(&new).map_err(failed)?;
        let mut write = || {
            // Whatever the umask is: the exporter runs as a user of its own.
            file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
            file.write_all(text(occasion, report, &before).as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, &path)
        };
        write().map_err(|source| {
            // What was begun is of no use to anyone.
            let _ = std::fs::remove_file(&new);
            failed(source)
        })
    }

    /// Removes the files of jobs that are not alive, by operation and name: what nobody writes any
    /// more says "good" for ever. Files of runs without a job, and whatever is not surely ours, stay.
    /// The result is what could not be removed.
    pub fn remove_stale(&self, is_alive: &dyn Fn(&str, &str) -> bool) -> Vec<NotifyError> {
        // Without the directory there is nothing to remove; who is told says that it is not there.
        let entries = std::fs::read_dir(&self.directory).into_iter().flatten();
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let mut problems = Vec::new();
        for path in paths.filter(|path| job_of_file(path).is_some_and(|(o, j)| !is_alive(&o, &j))) {
            match std::fs::remove_file(&path) {
                Ok(()) => tracing::info!("removed {}, of a job that is gone", path.display()),
                Err(source) => problems.push(NotifyError::Stale { path, source }),
            }
        }
        problems
    }
}

/// A file that nothing and nobody has put there before: a link is not followed.
fn create(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)
}

/// A regular file of a directory that may be another user's: links are not followed, and what never
/// ends, as a pipe, is not waited for.
fn read(path: &Path) -> std::io::Result<String> {
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is no regular file"));
    }
    let mut text = String::new();
    file.take(LARGEST).read_to_string(&mut text)?;
    Ok(text)
}

/// The largest file that is read: many times what 10,000 guests need.
const LARGEST: u64 = 64 << 20;

fn file_name(key: &str) -> String {
    format!("pve-ferry_{key}.prom")
}

/// The operation and the job of a file that we wrote, and that bears the name which we give it.
fn job_of_file(path: &Path) -> Option<(String, String)> {
    let name = path.file_name()?.to_str()?;
    let is_ours = name.starts_with("pve-ferry_") && name.ends_with(".prom");
    if !is_ours {
        return None;
    }
    let (operation, job) = job_of(&read(path).ok()?)?;
    (name == file_name(&key_of(&format!("{operation} {job}")))).then_some((operation, job))
}

/// The operation and the job of which a text tells, if it is one of [`text`] for a job.
fn job_of(text: &str) -> Option<(String, String)> {
    let mut lines = text.lines();
    let head = format!("# HELP pve_ferry_{RUN} ");
    if !lines.next()?.starts_with(&head) {
        return None;
    }
    let series = lines.find(|line| !line.starts_with('#'))?;
    let labels = series.strip_prefix(&format!("pve_ferry_{RUN}{{operation=\""))?;
    let (operation, rest) = labels.split_once("\",job=\"")?;
    let (job, _) = rest.split_once('"')?;
    // Neither has anything that is escaped; what has is none of ours.
    let is_plain = |text: &str| !text.is_empty() && !text.contains(['"', '\\']);
    (is_plain(operation) && is_plain(job)).then(|| (operation.to_owned(), job.to_owned()))
}

/// The first metric of every file.
const RUN: &str = "run_timestamp_seconds";

type Metric<'a> = (&'static str, &'static str, &'a dyn Fn(&GuestOutcome) -> Option<f64>);

/// The report in Prometheus' text format. The moments of points that are not known now, as when
/// the repository is not mounted, stay as they were in the text `before`: an alert on their age
/// must not fall silent just when there is a reason for it.
pub fn text(occasion: &Occasion, report: &Report, before: &str) -> String {
    let mut text = String::new();
    run(&mut text, occasion, report);
    let volumes = |guest: &GuestOutcome| (!guest.volumes.is_empty()).then_some(());
    let sum = |guest: &GuestOutcome, of: &dyn Fn(&crate::report::VolumeOutcome) -> f64| {
        volumes(guest).map(|()| guest.volumes.iter().map(of).sum::<f64>())
    };
    let failed = |g: &GuestOutcome| {
        (g.status != GuestStatus::Skipped).then(|| flag(g.status == GuestStatus::Failed))
    };
    let ok = |g: &GuestOutcome| {
        (g.status != GuestStatus::Skipped).then(|| flag(g.ending() == GuestStatus::Ok))
    };
    let missing = |g: &GuestOutcome| {
        let was_done = matches!(g.status, GuestStatus::Ok | GuestStatus::Partial);
        was_done.then(|| count(g.missing_disks()))
    };
    let newest = |g: &GuestOutcome| occasion.points.get(&g.vmid).copied().unwrap_or_default();
    let moment = |moment: crate::model::Moment| number(moment.unix());
    let metrics: [Metric; 9] = [
        (
            "last_good_point_timestamp_seconds",
            "Moment of the guest's newest restore point that is not known to be damaged.",
            &|g| newest(g).good.map(moment),
        ),
        (
            "last_verified_point_timestamp_seconds",
            "Moment of the guest's newest restore point that was verified and found whole.",
            &|g| newest(g).verified.map(moment),
        ),
        ("guest_ok", "1 when the last run did all of the guest that was asked for.", &ok),
        ("guest_failed", "1 when the last run failed for the guest.", &failed),
        (
            "guest_missing_disks",
            "Disks of the guest that the last run should have done and did not.",
            &missing,
        ),
        ("guest_read_bytes", "Bytes read from the guest's volumes in the last run.", &|g| {
            sum(g, &|v| bytes(v.stream_bytes))
        }),
        ("guest_stored_bytes", "Bytes stored for the guest in the last run.", &|g| {
            sum(g, &|v| bytes(v.stored_bytes))
        }),
        ("guest_transfer_seconds", "Seconds of the guest's transfers in the last run.", &|g| {
            sum(g, &|v| v.seconds)
        }),
        ("guest_frozen_seconds", "Seconds for which the guest was frozen in the last run.", &|g| {
            g.frozen_seconds
        }),
    ];
    let mut guests: Vec<&GuestOutcome> = report.guests.iter().collect();
    // A series must not stand twice, or the exporter drops the whole file.
    guests.sort_by_key(|guest| guest.vmid);
    guests.dedup_by_key(|guest| guest.vmid);
    for (name, help, value) in metrics {
        let values = guests.iter().filter_map(|guest| value(guest).map(|value| (guest, value)));
        let mut lines: Vec<String> = values
            .map(|(guest, value)| {
                let labels = labels(occasion, report, Some(guest));
                format!("pve_ferry_{name}{{{labels}}} {value}\n")
            })
            .collect();
        if name.starts_with("last_") {
            let known = lines.iter().filter_map(|line| vmid_of(line)).map(str::to_owned).collect();
            lines.extend(carried(before, name, (report, known)));
        }
        if !lines.is_empty() {
            heading(&mut text, name, help);
            text.extend(lines);
        }
    }
    text
}

/// The lines of a metric for guests of the report, or for all where it has none, whose value is
/// not known now.
fn carried(before: &str, name: &str, (report, known): (&Report, BTreeSet<String>)) -> Vec<String> {
    let is_asked = |vmid: &str| {
        report.guests.is_empty() || report.guests.iter().any(|g| g.vmid.to_string() == vmid)
    };
    let head = format!("pve_ferry_{name}{{");
    let lines = before.lines().filter(|line| line.starts_with(&head));
    lines
        .filter(|line| vmid_of(line).is_some_and(|vmid| is_asked(vmid) && !known.contains(vmid)))
        .map(|line| format!("{line}\n"))
        .collect()
}

fn vmid_of(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("vmid=\"")?;
    rest.split_once('"').map(|(vmid, _)| vmid)
}

/// What is known of the run as a whole.
fn run(text: &mut String, occasion: &Occasion, report: &Report) {
    let failed = report.guests.iter().filter(|guest| guest.status == GuestStatus::Failed).count();
    let metrics = [
        (RUN, "When the last run ended.", number(report.finished.unix())),
        ("run_seconds", "How long the last run took.", number(seconds(report))),
        ("run_exit_code", "Exit code of the last run; 0 is good.", f64::from(report.exit_code())),
        ("run_guests", "Guests of the last run.", count(report.totals.guests)),
        (
            "run_guests_ok",
            "Guests that the last run did with all that was asked for.",
            count(report.totals.guests_ok),
        ),
        ("run_guests_failed", "Guests that failed in the last run.", count(failed)),
        ("run_read_bytes", "Bytes read in the last run.", bytes(report.totals.stream_bytes)),
        ("run_stored_bytes", "Bytes stored in the last run.", bytes(report.totals.stored_bytes)),
    ];
    let labels = labels(occasion, report, None);
    for (name, help, value) in metrics {
        heading(text, name, help);
        // Writing to a string does not fail.
        let _ = writeln!(text, "pve_ferry_{name}{{{labels}}} {value}");
    }
}

fn heading(text: &mut String, name: &str, help: &str) {
    let _ = writeln!(text, "# HELP pve_ferry_{name} {help}\n# TYPE pve_ferry_{name} gauge");
}

fn labels(occasion: &Occasion, report: &Report, guest: Option<&&GuestOutcome>) -> String {
    let mut labels = vec![("operation", report.operation.to_owned())];
    labels.push(("job", occasion.job.clone().unwrap_or_default()));
    labels.push(("label", occasion.label.clone().unwrap_or_default()));
    if let Some(guest) = guest {
        labels.push(("vmid", guest.vmid.to_string()));
        labels.push(("name", guest.name.clone()));
    }
    let pair = |(key, value): &(&str, String)| format!("{key}=\"{}\"", escaped(value));
    labels.iter().filter(|(_, value)| !value.is_empty()).map(pair).collect::<Vec<_>>().join(",")
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn flag(holds: bool) -> f64 {
    if holds { 1.0 } else { 0.0 }
}

/// Prometheus knows only floating numbers; beyond 2^53 a byte more or less is no matter.
#[allow(clippy::cast_precision_loss)]
fn bytes(count: u64) -> f64 {
    count as f64
}

fn count(count: usize) -> f64 {
    bytes(u64::try_from(count).unwrap_or(u64::MAX))
}

#[allow(clippy::cast_precision_loss)]
fn number(seconds: i64) -> f64 {
    seconds as f64
}
