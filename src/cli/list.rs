//! `pve-ferry list`: what a repository holds, as table or JSON. Reads only.

use super::barc;
use super::document::{ListedImage, ListedPoint, Point, RestorePoints};
use super::error::CliError;
use super::options::Common;
use super::output;
use super::table::{Align, render};
use crate::clock::Clock;
use crate::model::{Age, Bytes, Moment, counted};
use crate::repository::ImageEntry;
use crate::repository::VerifiedState;
use crate::repository::legacy::LegacyHistory;
use crate::repository::{
    Disk, GuestDir, History, Repository, RepositoryError, StoredPoint, Unreadable, UnreadableKind,
};
use crate::survey;
use std::fmt::Write as _;

/// List the restore points of a repository
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pve-ferry list --path /mnt/backup
  pve-ferry list --path /mnt/backup --vmid 100 --images
  pve-ferry list --path /mnt/backup --json")]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Only these vmids, comma-separated.
    #[arg(long, value_name = "N,..", value_delimiter = ',')]
    vmid: Vec<String>,
    /// Only points of this label.
    #[arg(long, value_name = "LABEL")]
    label: Option<String>,
    /// A line per image, with what it is based on.
    #[arg(long)]
    images: bool,
    /// Hidden points, too: those that only increments need.
    #[arg(long)]
    all: bool,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

struct Listed {
    directory: GuestDir,
    history: History,
    points: Vec<StoredPoint>,
}

/// Runs the command.
///
/// # Errors
/// The repository is missing or cannot be read.
pub fn run(args: &Args) -> Result<u8, CliError> {
    let repository = Repository::open(&args.common.path, Disk::real())?;
    let barc = survey::barc_histories(&args.common.path, &super::context::home())?;
    let vmids = super::verify::vmids(&args.vmid)?;
    let barc = barc::selected(barc, &vmids, args.label.as_deref());
    let is_barc_only =
        args.label.as_ref().is_some_and(|l| l.parse::<crate::model::Label>().is_err());
    // The old tool took any text as a label; one that can only be its own is no mistake.
    let guests = if is_barc_only && !barc.is_empty() { vec![] } else { listed(args, &repository)? };
    if args.json {
        output::json(&document(&guests, &barc));
    } else {
        output::text(&text(args, &guests, &barc));
    }
    let found = guests.iter().any(|guest| !guest.points.is_empty())
        || barc.iter().any(|history| !history.points.is_empty());
    let has_unread = |guest: &Listed| {
        guest.history.unreadable.iter().any(|unreadable| unreadable.path == guest.directory.path())
    };
    if guests.iter().any(has_unread) {
        return Ok(3);
    }
    let asked = !args.vmid.is_empty() || args.label.is_some();
    Ok(if asked && !found { 4 } else { 0 })
}

fn listed(args: &Args, repository: &Repository) -> Result<Vec<Listed>, CliError> {
    let label = args.label.as_deref().map(super::options::label).transpose()?;
    let vmids = super::verify::vmids(&args.vmid)?;
    let mut guests = Vec::new();
    for directory in repository.guests()? {
        if !vmids.is_empty() && !vmids.contains(&directory.names().vmid) {
            continue;
        }
        // One guest that cannot be read is no reason to say nothing of the others.
        let history = directory.load().unwrap_or_else(|error| unread(&directory, error));
        // A guest that was always left out has a directory with nothing but its lock.
        if history.points.is_empty() && history.unreadable.is_empty() {
            continue;
        }
        let mut points =
            if args.all { history.points.clone() } else { history.visible().cloned().collect() };
        points.retain(|p| label.as_ref().is_none_or(|label| p.manifest.label == *label));
        guests.push(Listed { directory, history, points });
    }
    Ok(guests)
}

fn unread(directory: &GuestDir, error: RepositoryError) -> History {
    let why = format!("{:#}", anyhow::Error::from(error));
    let (path, kind) = (directory.path().to_owned(), UnreadableKind::Damaged);
    let unreadable = vec![Unreadable { path, why, kind, seq: None }];
    History { unreadable, ..History::default() }
}

fn text(args: &Args, guests: &[Listed], barc: &[LegacyHistory]) -> String {
    let now = Clock::System.now();
    let mut text = String::new();
    for guest in guests {
        header(&mut text, guest);
        if !guest.points.is_empty() {
            let table = if args.images { images(guest) } else { points(guest, now) };
            text.push_str(&table);
        }
        for unreadable in &guest.history.unreadable {
            // Writing to a string does not fail.
            let _ = writeln!(text, "  unreadable (kept, and protects this guest): {unreadable}");
        }
        for missing in &guest.history.missing {
            let _ = writeln!(text, "  missing (protects this guest): {}", missing.display());
        }
        for gone in &guest.history.gone {
            let _ = writeln!(
                text,
                "  gone with its directory: {} {} (`repair` tells more)",
                gone.label, gone.time
            );
        }
        text.push('\n');
    }
    let rows = if args.images { barc::Rows::Images } else { barc::Rows::Points };
    text.push_str(&barc::text(barc, rows, now));
    if guests.is_empty() && barc.is_empty() {
        text.push_str("no restore points\n");
    }
    text
}

fn header(text: &mut String, guest: &Listed) {
    let record = guest.history.record.as_ref();
    let name = record.map(|r| r.name.clone()).unwrap_or_default();
    let stored: u64 =
        guest.points.iter().flat_map(|p| &p.manifest.images).map(|i| i.stored_bytes).sum();
    let (count, stored) = (guest.points.len(), Bytes(stored));
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "guest {} {name}  {}, {stored}  ({})",
        guest.directory.names().vmid,
        counted(count, "point"),
        survey::relative(&guest.directory)
    );
}

fn points(guest: &Listed, now: Moment) -> String {
    let headings = [
        ("  LABEL", Align::Left),
        ("TIME", Align::Left),
        ("AGE", Align::Right),
        ("CHAIN", Align::Left),
        ("KIND", Align::Left),
        ("CONSISTENCY", Align::Left),
        ("SIZE", Align::Right),
        ("STORED", Align::Right),
        ("VERIFIED", Align::Left),
    ];
    let rows: Vec<Vec<String>> = guest.points.iter().map(|point| point_row(point, now)).collect();
    render(&headings, &rows)
}

fn point_row(point: &StoredPoint, now: Moment) -> Vec<String> {
    let manifest = &point.manifest;
    let images = &manifest.images;
    let sum = |of: fn(&ImageEntry) -> u64| Bytes(images.iter().map(of).sum()).to_string();
    let mut marks = kind(images);
    if point.attributes.protected {
        marks.push_str(", protected");
    }
    if manifest.is_hidden() {
        marks.push_str(", hidden");
    }
    let missing = survey::missing_disks(manifest);
    if !missing.is_empty() {
        marks.push_str(", lacks ");
        marks.push_str(&missing.join(" "));
    }
    vec![
        format!("  {}", manifest.label),
        manifest.time.to_string(),
        Age::of(manifest.time, now).to_string(),
        manifest.chain.to_string(),
        marks,
        manifest.consistency.to_string(),
        sum(|image| image.size),
        sum(|image| image.stored_bytes),
        verified(point),
    ]
}

fn kind(images: &[ImageEntry]) -> String {
    let bases = images.iter().filter(|image| image.parent.is_none()).count();
    let increments = images.len() - bases;
    match (bases, increments) {
        (0, _) => "increment".to_owned(),
        (_, 0) => "base".to_owned(),
        _ => format!("{bases} base, {increments} increment"),
    }
}

fn verified(point: &StoredPoint) -> String {
    if let Some(audited) = point.attributes.audited.as_ref().filter(|a| !a.failed_images.is_empty())
    {
        return format!("FAILED {}", audited.at);
    }
    match &point.attributes.verified {
        None => "-".to_owned(),
        Some(verified) if verified.state == VerifiedState::Ok => verified.at.to_string(),
        Some(verified) => format!("FAILED {}", verified.at),
    }
}

fn images(guest: &Listed) -> String {
    let headings = [
        ("  LABEL", Align::Left),
        ("TIME", Align::Left),
        ("DISK", Align::Left),
        ("KIND", Align::Left),
        ("SIZE", Align::Right),
        ("STREAM", Align::Right),
        ("STORED", Align::Right),
        ("VOLUME", Align::Left),
        ("FILE", Align::Left),
    ];
    let row = |point: &StoredPoint, image: &ImageEntry| {
        vec![
            format!("  {}", point.manifest.label),
            point.manifest.time.to_string(),
            image.disk.to_string(),
            if image.parent.is_some() { "increment" } else { "base" }.to_owned(),
            Bytes(image.size).to_string(),
            Bytes(image.stream_bytes).to_string(),
            Bytes(image.stored_bytes).to_string(),
            image.volume.to_string(),
            image.file.to_string(),
        ]
    };
    let of_point = |point: &StoredPoint| -> Vec<Vec<String>> {
        point.manifest.images.iter().map(|image| row(point, image)).collect()
    };
    let rows: Vec<Vec<String>> = guest.points.iter().flat_map(of_point).collect();
    render(&headings, &rows)
}

fn document(guests: &[Listed], barc: &[LegacyHistory]) -> RestorePoints {
    let own = guests.iter().flat_map(|guest| guest.points.iter().map(point_document));
    let mut restore_points: Vec<Point> = own.map(|point| Point::Own(Box::new(point))).collect();
    restore_points.extend(barc::documents(barc).into_iter().map(|p| Point::Barc(Box::new(p))));
    let unreadable =
        guests.iter().flat_map(|g| g.history.unreadable.iter().map(ToString::to_string)).collect();
    RestorePoints { restore_points, unreadable }
}

fn point_document(point: &StoredPoint) -> ListedPoint {
    let manifest = &point.manifest;
    let verified = point.attributes.verified.as_ref();
    let audited = point.attributes.audited.as_ref();
    let at = match audited {
        Some(audited) if !audited.failed_images.is_empty() => Some(audited.at),
        _ => verified.map(|v| v.at),
    };
    let has_failed = point.attributes.has_failed();
    let state = if has_failed { VerifiedState::Failed } else { VerifiedState::Ok };
    ListedPoint {
        id: manifest.point,
        seq: manifest.seq,
        vmid: manifest.guest.vmid,
        kind: manifest.kind,
        name: manifest.name.clone(),
        node: manifest.node.clone(),
        cluster: manifest.guest.cluster.clone(),
        label: manifest.label.clone(),
        chain: manifest.chain,
        time: manifest.time,
        consistency: manifest.consistency,
        verified: at.map(|_| state),
        verified_at: at,
        protected: point.attributes.protected,
        hidden: manifest.is_hidden(),
        notes: point.attributes.notes.clone(),
        path: point.dir.clone(),
        images: manifest.images.iter().map(image_document).collect(),
        skipped: manifest.skipped.clone(),
    }
}

fn image_document(image: &ImageEntry) -> ListedImage {
    ListedImage {
        id: image.id,
        disk: image.disk.clone(),
        volume: image.volume.clone(),
        kind: image.kind(),
        size: image.size,
        stream_bytes: image.stream_bytes,
        stored_bytes: image.stored_bytes,
        compression: image.compression.to_string(),
        digest: image.digest.to_string(),
        base: image.parent,
        file: image.file.to_string(),
    }
}
