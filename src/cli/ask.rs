//! Questions with lists to choose from, for a person at 3 a.m. Asked only on a terminal and only
//! before anything is changed; every answer could have been an option.

use super::error::CliError;
use super::restore::{Args, policy, sought, time};
use crate::model::{Bytes, DiskKey, Moment, VmId};
use crate::plan::restore::RestorePolicy;
use crate::repository::{Disk, Repository, StoredPoint};
use crate::survey::{self, Sought};
use anyhow::Context as _;
use dialoguer::theme::ColorfulTheme;
use dialoguer::{Confirm, Input, MultiSelect, Select};
use std::path::{Path, PathBuf};

/// What a restore needs to know, typed or chosen.
pub struct Chosen {
    /// The repository.
    pub path: PathBuf,
    /// The point.
    pub sought: Sought,
    /// Where it goes.
    pub policy: RestorePolicy,
}

impl Chosen {
    /// Everything as options.
    ///
    /// # Errors
    /// An option has the wrong form.
    pub fn from_options(path: PathBuf, vmid: VmId, args: &Args) -> Result<Self, CliError> {
        Ok(Self { path, sought: sought(vmid, args)?, policy: policy(args)? })
    }
}

/// Asks for everything that a restore needs and the options do not say.
///
/// # Errors
/// The user gave up, or the repository holds nothing.
pub fn restore(args: &Args) -> Result<Chosen, CliError> {
    let path = path(args.path.clone())?;
    let point = choose_point(&path, args.vmid.as_deref(), args.time.as_deref())?;
    let manifest = &point.1.manifest;
    let sought = Sought {
        vmid: manifest.guest.vmid,
        label: Some(manifest.label.clone()),
        time: Some(manifest.time),
        directory: Some(point.0),
    };
    let mut policy = policy(args)?;
    if policy.disks.is_empty() {
        policy.disks = disks(&point.1)?;
    }
    if policy.disks.is_empty() && policy.target.is_none() {
        let vmid: u32 = prompt("Restore as vmid", manifest.guest.vmid.number())?;
        policy.target = Some(VmId::try_from(vmid)?);
    }
    if policy.storage.is_none() && policy.storage_map.is_empty() && policy.to.is_none() {
        policy.storage = storage(&point.1)?;
    }
    if !policy.disks.is_empty() && policy.attach.is_none() {
        let vmid: String = prompt("Give the disks to guest (vmid, empty for none)", String::new())?;
        policy.attach = Some(vmid).filter(|v| !v.is_empty()).map(|v| v.parse()).transpose()?;
    }
    confirm(&point.1, &policy)?;
    Ok(Chosen { path, sought, policy })
}

/// Lets the user choose a restore point; its guest's directory comes with it.
///
/// # Errors
/// The user gave up, or the repository holds nothing.
pub fn choose_point(
    path: &Path,
    vmid: Option<&str>,
    moment: Option<&str>,
) -> Result<(String, StoredPoint), CliError> {
    let repository = Repository::open(path, Disk::real())?;
    let vmid = vmid.map(str::parse::<VmId>).transpose()?;
    let wanted = time(moment)?;
    let mut guests = Vec::new();
    for directory in repository.guests()? {
        let history = directory.load()?;
        let mut points = history.visible().cloned().collect::<Vec<_>>();
        points.retain(|p| wanted.is_none_or(|time| p.manifest.time <= time));
        if !points.is_empty() && vmid.is_none_or(|vmid| directory.names().vmid == vmid) {
            guests.push((survey::relative(&directory), points));
        }
    }
    if guests.is_empty() {
        let mut text = format!("{} holds no restore point that fits", path.display());
        if !survey::barc_histories(path, &super::world::home())?.is_empty() {
            text.push_str(
                "; what eve4pve-barc wrote there is chosen with --vmid and --time, as `list` shows it",
            );
        }
        return Err(CliError::usage(text));
    }
    let names: Vec<String> = guests.iter().map(|(dir, points)| guest_line(dir, points)).collect();
    let (directory, mut points) = guests.swap_remove(choose("Guest", &names)?);
    points.reverse();
    let lines: Vec<String> = points.iter().map(point_line).collect();
    let chosen = choose("Restore point", &lines)?;
    Ok((directory, points.swap_remove(chosen)))
}

/// The repository, typed or asked for.
///
/// # Errors
/// The user gave up.
pub fn path(given: Option<PathBuf>) -> Result<PathBuf, CliError> {
    given.map_or_else(|| prompt("Repository", String::new()).map(PathBuf::from), Ok)
}

/// Lets the user choose one disk of a point.
///
/// # Errors
/// The user gave up.
pub fn one_disk(point: &StoredPoint) -> Result<DiskKey, CliError> {
    let chosen = choose("Disk", &disk_lines(point))?;
    Ok(point.manifest.images[chosen].disk.clone())
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
    Ok(input.default(default).interact_text().context("no answer; nothing was changed")?)
}

fn choose(question: &str, lines: &[String]) -> Result<usize, CliError> {
    let theme = ColorfulTheme::default();
    let select = Select::with_theme(&theme).with_prompt(question).items(lines).default(0);
    Ok(select.interact().context("no answer; nothing was changed")?)
}

fn guest_line(directory: &str, points: &[StoredPoint]) -> String {
    let newest = points.last().map(|point| &point.manifest);
    let name = newest.map(|m| m.name.clone()).unwrap_or_default();
    let time = newest.map_or(Moment::from_unix(0), |m| m.time);
    let vmid = newest.map(|m| m.guest.vmid.to_string()).unwrap_or_default();
    format!("{vmid:>6}  {name:<20} {:>4} points, newest {time}  ({directory})", points.len())
}

fn point_line(point: &StoredPoint) -> String {
    let manifest = &point.manifest;
    let disks: Vec<&str> = manifest.images.iter().map(|image| image.disk.as_str()).collect();
    let failed = if point.attributes.has_failed() { "  DAMAGED (verify)" } else { "" };
    format!(
        "{}  {:<10} {:<8} {}{failed}",
        manifest.time,
        manifest.label.to_string(),
        manifest.consistency.to_string(),
        disks.join(" ")
    )
}

fn disk_lines(point: &StoredPoint) -> Vec<String> {
    let line = |image: &crate::repository::ImageEntry| {
        format!("{:<10} {:>11}  {}", image.disk.to_string(), Bytes(image.size), image.volume)
    };
    point.manifest.images.iter().map(line).collect()
}

/// All disks and the configuration, or some disks.
fn disks(point: &StoredPoint) -> Result<Vec<DiskKey>, CliError> {
    let lines = disk_lines(point);
    let theme = ColorfulTheme::default();
    let chosen = MultiSelect::with_theme(&theme)
        .with_prompt("Volumes (space selects; all of them: the whole guest)")
        .items(&lines)
        .defaults(&vec![true; lines.len()])
        .interact()
        .context("no answer; nothing was changed")?;
    if chosen.is_empty() {
        return Err(CliError::usage("no volume was chosen; nothing was changed"));
    }
    let all = chosen.len() == lines.len();
    let disk = |index: usize| point.manifest.images[index].disk.clone();
    Ok(if all { Vec::new() } else { chosen.into_iter().map(disk).collect() })
}

fn storage(point: &StoredPoint) -> Result<Option<String>, CliError> {
    let config = super::world::cluster().storage_cfg().map_err(anyhow::Error::from)?;
    let rbd = config.storages().iter().filter(|section| section.kind == "rbd");
    let own: Vec<&str> =
        point.manifest.images.iter().map(|image| image.volume.storage.as_str()).collect();
    let mut lines = vec![format!("as they were ({})", own.join(", "))];
    lines.extend(rbd.map(|section| section.id.clone()));
    let chosen = choose("Storage", &lines)?;
    Ok(if chosen == 0 { None } else { Some(lines.swap_remove(chosen)) })
}

fn confirm(point: &StoredPoint, policy: &RestorePolicy) -> Result<(), CliError> {
    let manifest = &point.manifest;
    let what = if policy.disks.is_empty() {
        let target = policy.target.unwrap_or(manifest.guest.vmid);
        format!("guest {} of {} as {target}", manifest.guest.vmid, manifest.time)
    } else {
        format!("{} volumes of guest {}", policy.disks.len(), manifest.guest.vmid)
    };
    let theme = ColorfulTheme::default();
    let yes = Confirm::with_theme(&theme)
        .with_prompt(format!("Restore {what}?"))
        .interact()
        .context("no answer; nothing was changed")?;
    if yes { Ok(()) } else { Err(CliError::usage("nothing was changed")) }
}
