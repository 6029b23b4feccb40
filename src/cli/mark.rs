//! `pve-ferry delete`, `protect`, `unprotect`: what a person does with one restore point. The
//! rules of retention are not for here: that is `prune`.
//!
//! All three stand in the system's log with the person that did it. Hooks are called for `delete` only;
//! why stands in `operation::hooked`.

use super::agree::agree;
use super::around::{About, Around};
use super::error::CliError;
use super::options::{Common, Logging};
use super::restore::time;
use super::told::{Nature, Subject, ToldOptions};
use super::{blocking, output, signals, world};
use crate::clock::Clock;
use crate::hooks::Hooks;
use crate::model::Label;
use crate::operation::{Performed, PointAct, PointRequest, act_on_point, point_name};
use crate::report::GuestOutcome;
use crate::repository::{Disk, Repository, StoredPoint};
use crate::survey::{self, NoPoint, Sought, SurveyedPoint};
use std::sync::Arc;
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
/// refused. Who removed which point stands in the system's log.
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
    #[command(flatten)]
    around: Around,
}

/// Keep one restore point whatever the rules of retention say
#[derive(Debug, clap::Args)]
pub struct ProtectArgs {
    #[command(flatten)]
    meant: Meant,
    /// Why, or whatever should be known about it.
    #[arg(long, value_name = "TEXT")]
    notes: Option<String>,
    #[command(flatten)]
    told: ToldOptions,
}

/// Let the rules of retention apply to a point again
#[derive(Debug, clap::Args)]
pub struct UnprotectArgs {
    #[command(flatten)]
    meant: Meant,
    /// Why, or whatever should be known about it.
    #[arg(long, value_name = "TEXT")]
    notes: Option<String>,
    #[command(flatten)]
    told: ToldOptions,
}

/// Removes a point.
///
/// # Errors
/// The point is not there, is protected, or the file system fails.
pub fn delete(args: &DeleteArgs, logging: &Logging) -> Result<u8, CliError> {
    let found = args.meant.find()?;
    args.confirm(&found.point)?;
    let label = found.point.manifest.label.to_string();
    let subject = args.meant.subject("delete", &label);
    let about = About { subject, nature: Nature::Act, logging, keep: None };
    let (teller, hooks) = args.around.begin(&about)?;
    let result = hooks.and_then(|hooks| args.meant.perform(PointAct::Delete, found, hooks));
    teller.conclude_one(result, done)
}

impl DeleteArgs {
    fn confirm(&self, point: &StoredPoint) -> Result<(), CliError> {
        if self.yes {
            return Ok(());
        }
        if !output::is_interactive() {
            return Err(CliError::usage("it asks on a terminal; give --yes otherwise"));
        }
        let question = format!("Remove {}?", point_name(point));
        Ok(agree(&question).map_err(anyhow::Error::from)?)
    }
}

/// Protects a point.
///
/// # Errors
/// The point is not there, or the file system fails.
pub fn protect(args: &ProtectArgs) -> Result<u8, CliError> {
    mark(&args.meant, &args.told, PointAct::Protect { notes: args.notes.clone() })
}

/// Takes the protection from a point.
///
/// # Errors
/// The point is not there, or the file system fails.
pub fn unprotect(args: &UnprotectArgs) -> Result<u8, CliError> {
    mark(&args.meant, &args.told, PointAct::Unprotect { notes: args.notes.clone() })
}

fn mark(meant: &Meant, told: &ToldOptions, act: PointAct) -> Result<u8, CliError> {
    let found = meant.find()?;
    let label = found.point.manifest.label.to_string();
    let subject = meant.subject(act.name(), &label);
    let teller = told.act(told.teller(&subject)?, &subject);
    teller.conclude_one(meant.perform(act, found, Arc::default()), done)
}

fn done(outcome: &GuestOutcome) -> String {
    outcome.changes.join("\n")
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

    fn subject<'a>(&'a self, operation: &'static str, label: &'a str) -> Subject<'a> {
        let repository = Some(self.common.path.as_path());
        Subject { operation, label: Some(label), repository, dry_run: false }
    }

    fn perform(
        &self,
        act: PointAct,
        found: SurveyedPoint,
        hooks: Arc<Hooks>,
    ) -> Result<Performed, CliError> {
        let lock_wait = Duration::from_secs(self.lock_wait);
        let request = PointRequest { act, found, lock_wait, hooks };
        let cancel = super::options::cancel();
        blocking(async {
            signals::listen(&cancel)?;
            let act = move || act_on_point(&request, &Clock::System, &cancel);
            tokio::task::spawn_blocking(act).await?
        })
    }
}
