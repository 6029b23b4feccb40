//! `pve-ferry delete`, `protect`, `unprotect`: what a person does with one restore point. The
//! rules of retention are not for here: that is `prune`.

use super::error::CliError;
use super::options::Common;
use super::restore::time;
use super::{output, world};
use crate::model::Label;
use crate::repository::{
    Attributes, Disk, Lock, LockMode, LockOptions, Repository, RepositoryError, StoredPoint,
};
use crate::survey::{self, NoPoint, Sought, SurveyedPoint};
use anyhow::Context as _;
use dialoguer::{Confirm, theme::ColorfulTheme};
use std::time::Duration;

/// Which point is meant.
#[derive(Debug, clap::Args)]
struct Meant {
    #[command(flatten)]
    common: Common,
    /// The guest's vmid.
    #[arg(long, value_name = "N")]
    vmid: String,
    /// The point's moment as `list` prints it, or `latest`.
    #[arg(long, value_name = "TIME")]
    time: String,
    /// Its label, when several points bear that moment.
    #[arg(long, value_name = "LABEL")]
    label: Option<String>,
    /// The guest's directory, when several guests had that vmid.
    #[arg(long, value_name = "CLUSTER/GUEST")]
    guest: Option<String>,
    /// Seconds to wait for a run that works on the guest.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    lock_wait: u64,
}

/// Remove one restore point
///
/// Also the newest one, which `prune` never removes. A point whose images newer ones need is
/// hidden: it is gone from `list`, and its files go once nothing needs them. A protected point is
/// refused.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  pve-ferry delete --path /mnt/backup --vmid 100 --label daily --time 2026-01-01T00:00:00Z")]
pub struct DeleteArgs {
    #[command(flatten)]
    meant: Meant,
    /// Do not ask.
    #[arg(long, alias = "noconfirm")]
    yes: bool,
}

/// Keep one restore point whatever the rules of retention say
#[derive(Debug, clap::Args)]
pub struct ProtectArgs {
    #[command(flatten)]
    meant: Meant,
    /// Why, or whatever should be known about it.
    #[arg(long, value_name = "TEXT")]
    notes: Option<String>,
}

/// Let the rules of retention apply to a point again
#[derive(Debug, clap::Args)]
pub struct UnprotectArgs {
    #[command(flatten)]
    meant: Meant,
    /// Why, or whatever should be known about it.
    #[arg(long, value_name = "TEXT")]
    notes: Option<String>,
}

/// Removes a point.
///
/// # Errors
/// The point is not there, is protected, or the file system fails.
pub fn delete(args: &DeleteArgs) -> Result<u8, CliError> {
    let asked = args.meant.find()?;
    args.confirm(&asked.point)?;
    let (lock, found) = args.meant.locked(&asked)?;
    let (directory, point) = (&found.directory, &found.point);
    if point.is_protected() {
        let text = format!("{} is protected; unprotect it first", name(point));
        return Err(anyhow::anyhow!(text).into());
    }
    let done = if found.history.needed_by(point).is_some() {
        directory.hide_point(&lock, point)?;
        "hidden; newer points need its images, and its files go with them"
    } else {
        directory.delete_point(&lock, point)?;
        "removed"
    };
    directory.refresh_derived(&lock)?;
    output::line(&format!("{}: {done}", name(point)));
    Ok(0)
}

impl DeleteArgs {
    fn confirm(&self, point: &StoredPoint) -> Result<(), CliError> {
        if self.yes {
            return Ok(());
        }
        if !output::is_interactive() {
            return Err(CliError::usage("it asks on a terminal; give --yes otherwise"));
        }
        let question = format!("Remove {}?", name(point));
        let theme = ColorfulTheme::default();
        let confirm = Confirm::with_theme(&theme).with_prompt(question).default(false);
        let yes = confirm.interact().context("no answer; nothing was changed")?;
        if yes { Ok(()) } else { Err(CliError::usage("nothing was changed")) }
    }
}

/// Protects a point.
///
/// # Errors
/// The point is not there, or the file system fails.
pub fn protect(args: &ProtectArgs) -> Result<u8, CliError> {
    let marked = args.meant.mark(|attributes| Attributes {
        protected: true,
        ..noted(attributes, args.notes.as_deref())
    })?;
    output::line(&format!("{}: protected", name(&marked)));
    Ok(0)
}

/// Takes the protection from a point.
///
/// # Errors
/// The point is not there, or the file system fails.
pub fn unprotect(args: &UnprotectArgs) -> Result<u8, CliError> {
    let marked = args.meant.mark(|attributes| Attributes {
        protected: false,
        ..noted(attributes, args.notes.as_deref())
    })?;
    output::line(&format!("{}: not protected", name(&marked)));
    Ok(0)
}

fn noted(attributes: &Attributes, notes: Option<&str>) -> Attributes {
    let notes = notes.map_or_else(|| attributes.notes.clone(), str::to_owned);
    Attributes { notes, ..attributes.clone() }
}

impl Meant {
    /// The point of exactly that moment: what is taken away or protected is never a neighbour.
    fn find(&self) -> Result<SurveyedPoint, CliError> {
        let sought = Sought {
            vmid: self.vmid.parse()?,
            label: self.label.as_deref().map(str::parse::<Label>).transpose()?,
            time: time(Some(&self.time))?,
            directory: self.guest.clone(),
        };
        let repository = Repository::open(&self.common.path, Disk::real())?;
        let here = world::cluster().cluster_id().ok().flatten();
        let found = survey::point(&repository, &sought, here.as_ref())?;
        let moment = found.point.manifest.time;
        if let Some(wanted) = sought.time.filter(|wanted| *wanted != moment) {
            let what = format!("guest {} of exactly {wanted}", sought.vmid);
            return Err(anyhow::Error::from(NoPoint::None(what)).into());
        }
        let twins = found.history.visible().filter(|p| p.manifest.time == moment).count();
        if sought.label.is_none() && twins > 1 {
            return Err(CliError::usage(
                "several labels have a point of that moment: give --label",
            ));
        }
        Ok(found)
    }

    /// The same point, under our lock.
    fn locked(&self, asked: &SurveyedPoint) -> Result<(Lock, SurveyedPoint), CliError> {
        let wait = Some(Duration::from_secs(self.lock_wait));
        let options = LockOptions { wait, what: "mark or delete a point".to_owned() };
        let directory = asked.directory.clone();
        let lock = directory.lock(LockMode::Exclusive, &options)?;
        let history = directory.load()?;
        let point = history.point(asked.point.manifest.point).cloned();
        let point = point.with_context(|| format!("{} is gone", name(&asked.point)))?;
        Ok((lock, SurveyedPoint { directory, history, point }))
    }

    fn mark(&self, change: impl Fn(&Attributes) -> Attributes) -> Result<StoredPoint, CliError> {
        let asked = self.find()?;
        let (lock, found) = self.locked(&asked)?;
        let attributes = change(&found.point.attributes);
        let marked: Result<(), RepositoryError> =
            found.directory.set_attributes(&lock, &found.point, &attributes);
        marked?;
        Ok(found.point)
    }
}

fn name(point: &StoredPoint) -> String {
    let manifest = &point.manifest;
    format!("point {} {} of guest {}", manifest.label, manifest.time, manifest.guest.vmid)
}
