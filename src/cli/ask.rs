//! Questions with lists to choose from, for a person at 3 a.m. Asked only on a terminal and only
//! before anything is changed; every answer could have been an option.

use super::agree::{Declined, answered};
use super::barc;
use super::error::CliError;
use super::restore::{Args, policy, sought, time};
use crate::model::{Bytes, DiskKey, Moment, VmId, counted};
use crate::plan::restore::{Existing, RestorePolicy, StoredVolume};
use crate::repository::legacy::{LegacyHistory, LegacyImage, LegacyPoint};
use crate::repository::{Disk, GuestDir, History, Repository, StoredPoint};
use crate::survey::{self, RestorePoint, Sought};
use dialoguer::console::{Term, truncate_str};
use dialoguer::theme::ColorfulTheme;
use dialoguer::{Input, MultiSelect, Select};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What a restore needs to know, typed or chosen.
pub struct Chosen {
    /// The repository.
    pub path: PathBuf,
    /// The point.
    pub sought: Sought,
    /// Where it goes.
    pub policy: RestorePolicy,
    /// What is asked before it begins; nothing where it was typed.
    pub question: Option<String>,
}

impl Chosen {
    /// Everything as options.
    ///
    /// # Errors
    /// An option has the wrong form.
    pub fn from_options(path: PathBuf, vmid: VmId, args: &Args) -> Result<Self, CliError> {
        Ok(Self { path, sought: sought(vmid, args)?, policy: policy(args)?, question: None })
    }
}

/// Asks for everything that a restore needs and the options do not say.
///
/// # Errors
/// The user gave up, or the repository holds nothing.
pub fn restore(args: &Args) -> Result<Chosen, CliError> {
    let path = path(args.path.clone())?;
    let (sought, point) = choose_point(&path, args.vmid.as_deref(), args.time.as_deref())?;
    let volumes = point.volumes()?;
    if volumes.is_empty() {
        return Err(CliError::usage(
            "the point's configuration tells of none of its images; `assemble` writes them to files",
        ));
    }
    let mut policy = policy(args)?;
    if policy.disks.is_empty() {
        policy.disks = disks(&volumes)?;
    }
    if policy.disks.is_empty() && policy.target.is_none() {
        policy.target = Some(target(point.vmid(), policy.existing)?);
    }
    if policy.storage.is_none() && policy.storage_map.is_empty() && policy.to.is_none() {
        policy.storage = storage(&volumes)?;
    }
    if !policy.disks.is_empty() && policy.attach.is_none() {
        let vmid: String = prompt("Give the disks to guest (vmid, empty for none)", String::new())?;
        policy.attach = Some(vmid).filter(|v| !v.is_empty()).map(|v| v.parse()).transpose()?;
    }
    let question = Some(question(&point, &policy));
    Ok(Chosen { path, sought, policy, question })
}

/// One guest's points to choose from, newest first: of ours, or of one label of eve4pve-barc.
struct Offer {
    vmid: VmId,
    /// Vmid and name.
    who: String,
    /// How many points there are, and how old the newest is.
    what: String,
    directory: String,
    points: Vec<(Sought, String)>,
}

/// Lets the user choose a restore point, of ours or of eve4pve-barc, and tells how it is found again.
///
/// # Errors
/// The user gave up, or the repository holds nothing.
pub fn choose_point(
    path: &Path,
    vmid: Option<&str>,
    moment: Option<&str>,
) -> Result<(Sought, RestorePoint), CliError> {
    let repository = Repository::open(path, Disk::real())?;
    let vmid = vmid.map(str::parse::<VmId>).transpose()?;
    let wanted = time(moment)?;
    let home = super::context::home();
    let is_meant = |of: VmId| vmid.is_none_or(|vmid| vmid == of);
    let fits = |time: Moment| wanted.is_none_or(|wanted| time <= wanted);
    let mut offers = Vec::new();
    for directory in repository.guests()?.iter().filter(|dir| is_meant(dir.names().vmid)) {
        offers.extend(of_ours(directory, &directory.load()?, &fits));
    }
    let barc = survey::barc_histories(path, &home)?;
    let barc = barc.iter().filter(|history| is_meant(history.directory.vmid));
    offers.extend(barc.filter_map(|history| of_barc(history, &fits)));
    if offers.is_empty() {
        let text = format!("{} holds no restore point that fits", path.display());
        return Err(CliError::usage(text));
    }
    let lines = guest_lines(&offers);
    let mut points = offers.swap_remove(choose("Guest", &lines)?).points;
    let lines: Vec<String> = points.iter().map(|(_, line)| line.clone()).collect();
    let (sought, _) = points.swap_remove(choose("Restore point", &lines)?);
    let point = survey::restore_point(&repository, &sought, &home)?;
    Ok((sought, point))
}

fn of_ours(
    directory: &GuestDir,
    history: &History,
    fits: &dyn Fn(Moment) -> bool,
) -> Option<Offer> {
    let name = survey::relative(directory);
    let points: Vec<&StoredPoint> =
        history.visible().filter(|point| fits(point.manifest.time)).collect();
    let newest = &points.last()?.manifest;
    let about = (directory.names().vmid, newest.name.as_str(), newest.time);
    let (who, what) = guest_line(about, points.len());
    let sought = |point: &StoredPoint| Sought {
        vmid: point.manifest.guest.vmid,
        label: Some(point.manifest.label.clone()),
        time: Some(point.manifest.time),
        directory: Some(name.clone()),
    };
    let of_points = points.iter().rev().map(|point| (sought(point), point_line(history, point)));
    let (vmid, directory) = (about.0, name.clone());
    Some(Offer { vmid, who, what, directory, points: of_points.collect() })
}

/// A label of the old tool need not be one of ours, and its directory has but one: that says all.
fn of_barc(history: &LegacyHistory, fits: &dyn Fn(Moment) -> bool) -> Option<Offer> {
    let directory = &history.directory;
    let with_images = |point: &&LegacyPoint| fits(point.time) && !point.images.is_empty();
    let points: Vec<&LegacyPoint> = history.points.iter().filter(with_images).collect();
    let newest = points.last()?;
    let name = barc::name_of(newest);
    let about = (directory.vmid, name.as_str(), newest.time);
    let (who, what) = guest_line(about, points.len());
    let sought = |point: &LegacyPoint| Sought {
        vmid: directory.vmid,
        label: None,
        time: Some(point.time),
        directory: Some(directory.name()),
    };
    let row = |point: &LegacyPoint| {
        let disks: Vec<String> = point.images.iter().map(LegacyImage::name).collect();
        let (kind, disks) = (barc::kind_of_point(point), disks.join(" "));
        format!("{}  {:<10} {kind}  {disks}", point.time, directory.label)
    };
    let points = points.iter().rev().map(|point| (sought(point), row(point)));
    let (vmid, directory) = (about.0, directory.name());
    Some(Offer { vmid, who, what, directory, points: points.collect() })
}

/// A line for each guest. Directories are named only where they tell guests apart: what is known of a
/// guest fits a terminal's line without.
fn guest_lines(offers: &[Offer]) -> Vec<String> {
    let is_one_of_several =
        |offer: &Offer| offers.iter().filter(|other| other.vmid == offer.vmid).nth(1).is_some();
    let line = |offer: &Offer| match is_one_of_several(offer) {
        // Before what a narrow terminal cuts off.
        true => format!("{}  ({})  {}", offer.who, offer.directory, offer.what.trim_start()),
        false => format!("{} {}", offer.who, offer.what),
    };
    offers.iter().map(line).collect()
}

/// The vmid of the restored guest. Offered is the point's own where no guest bears it, or where that
/// guest is to be replaced; else the lowest free one, as PVE's own forms do.
fn target(own: VmId, existing: Existing) -> Result<VmId, CliError> {
    let guests = super::context::cluster().guests().map_err(anyhow::Error::from)?;
    let used: BTreeSet<u32> = guests.iter().map(|guest| guest.vmid.number()).collect();
    let is_taken = |vmid: u32| existing == Existing::Refuse && used.contains(&vmid);
    let offered = std::iter::once(own.number()).chain(100..).find(|vmid| !is_taken(*vmid));
    let valid = |vmid: &u32| match VmId::try_from(*vmid) {
        Err(invalid) => Err(invalid.to_string()),
        Ok(_) if is_taken(*vmid) => {
            Err(format!("guest {vmid} exists (--force replaces a guest that is stopped)"))
        }
        Ok(_) => Ok(()),
    };
    let theme = ColorfulTheme::default();
    let input = Input::with_theme(&theme).with_prompt("Restore as vmid").validate_with(valid);
    let input = input.default(offered.unwrap_or(own.number()));
    Ok(VmId::try_from(answer(|| input.interact_text())?)?)
}

/// The answer, or why there is none: nothing was changed then.
fn answer<T>(ask: impl FnOnce() -> dialoguer::Result<T>) -> Result<T, CliError> {
    answered(ask).map_err(no_answer)
}

fn no_answer(declined: Declined) -> CliError {
    anyhow::Error::from(declined).into()
}

/// The repository, typed or asked for.
///
/// # Errors
/// The user gave up.
pub fn path(given: Option<PathBuf>) -> Result<PathBuf, CliError> {
    given.map_or_else(|| prompt("Repository", String::new()).map(PathBuf::from), Ok)
}

/// Lets the user choose one disk of a point, by the name that `assemble --disk` takes.
///
/// # Errors
/// The user gave up, or a file of the point cannot be read.
pub fn one_disk(point: &RestorePoint) -> Result<String, CliError> {
    let mut disks = point.disk_names();
    let lines: Vec<String> =
        disks.iter().map(|(name, about)| format!("{name:<10} {about}")).collect();
    Ok(disks.swap_remove(choose("Disk", &lines)?).0)
}

/// Asks for a text or a number, with a default.
///
/// # Errors
/// The user gave up.
pub fn prompt<T>(question: &str, default: T) -> Result<T, CliError>
where
    T: Clone + std::str::FromStr + ToString,
    <T as std::str::FromStr>::Err: ToString,
{
    let theme = ColorfulTheme::default();
    let input = Input::with_theme(&theme).with_prompt(question).allow_empty(true);
    let input = input.default(default);
    answer(|| input.interact_text())
}

fn choose(question: &str, lines: &[String]) -> Result<usize, CliError> {
    let theme = ColorfulTheme::default();
    let select = Select::with_theme(&theme).with_prompt(question).items(plain(lines)).default(0);
    answer(|| select.interact())
}

/// What a list puts before its lines, with a column to spare.
const MARGIN: u16 = 7;

/// Names come from manifests, which may be a stranger's. A list takes its lines away by their number: one
/// that the terminal breaks in two would leave a part of itself.
fn plain(lines: &[String]) -> Vec<String> {
    let (_, columns) = Term::stderr().size();
    let width = usize::from(columns.saturating_sub(MARGIN).max(20));
    let fitting =
        |line: &String| truncate_str(&super::output::plain(line), width, "…").into_owned();
    lines.iter().map(fitting).collect()
}

fn guest_line((vmid, name, newest): (VmId, &str, Moment), count: usize) -> (String, String) {
    let name = truncate_str(name, 20, "…");
    (format!("{vmid:>6}  {name:<20}"), format!("{count:>4} points, newest {newest}"))
}

fn point_line(history: &History, point: &StoredPoint) -> String {
    let manifest = &point.manifest;
    let disks: Vec<&str> = manifest.images.iter().map(|image| image.disk.as_str()).collect();
    let is_damaged = !survey::known_damage(history, point).is_empty();
    let failed = if is_damaged { "  DAMAGED (verify)" } else { "" };
    format!(
        "{}  {:<10} {:<8} {}{failed}",
        manifest.time,
        manifest.label.to_string(),
        manifest.consistency.to_string(),
        disks.join(" ")
    )
}

/// All disks and the configuration, or some disks.
fn disks(volumes: &[StoredVolume]) -> Result<Vec<DiskKey>, CliError> {
    let line = |volume: &StoredVolume| {
        let (disk, size) = (volume.disk.to_string(), Bytes(volume.shape.size));
        format!("{disk:<10} {size:>11}  {}", volume.volume)
    };
    let lines: Vec<String> = volumes.iter().map(line).collect();
    let theme = ColorfulTheme::default();
    let select = MultiSelect::with_theme(&theme)
        .with_prompt("Volumes (space selects; all of them: the whole guest)")
        .items(plain(&lines))
        .defaults(&vec![true; lines.len()]);
    let chosen = answer(|| select.interact())?;
    if chosen.is_empty() {
        return Err(CliError::usage("no volume was chosen; nothing was changed"));
    }
    let all = chosen.len() == lines.len();
    let disk = |index: usize| volumes[index].disk.clone();
    Ok(if all { Vec::new() } else { chosen.into_iter().map(disk).collect() })
}

fn storage(volumes: &[StoredVolume]) -> Result<Option<String>, CliError> {
    let config = super::context::cluster().storage_cfg().map_err(anyhow::Error::from)?;
    let rbd = config.storages().iter().filter(|section| section.kind == "rbd");
    let own: BTreeSet<&str> = volumes.iter().map(|volume| volume.volume.storage.as_str()).collect();
    let own: Vec<&str> = own.into_iter().collect();
    let mut lines = vec![format!("as they were ({})", own.join(", "))];
    lines.extend(rbd.map(|section| section.id.clone()));
    let chosen = choose("Storage", &lines)?;
    Ok(if chosen == 0 { None } else { Some(lines.swap_remove(chosen)) })
}

fn question(point: &RestorePoint, policy: &RestorePolicy) -> String {
    let (vmid, time) = (point.vmid(), point.time());
    let what = if policy.disks.is_empty() {
        format!("guest {vmid} of {time} as {}", policy.target.unwrap_or(vmid))
    } else {
        format!("{} of guest {vmid}", counted(policy.disks.len(), "volume"))
    };
    format!("Restore {what}?")
}
