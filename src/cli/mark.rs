//! `pve-ferry delete`, `protect`, `unprotect`: what a person does with one restore point. The
//! rules of retention are not for here: that is `prune`.
//!
//! All three stand in the system's log with the person that did it. Hooks are called for `delete` only;
//! why stands in `operation::hooked`.

use super::around::{About, Around};
use super::end::CommandResult;
use super::error::CliError;
use super::options::{Common, Logging};
use super::restore::time;
use super::told::{Nature, Subject, ToldOptions};
use super::{agree, blocking, context, signals};
use crate::context::{Context, Limits};
use crate::hooks::Hooks;
use crate::model::Label;
use crate::operation::{PointAct, PointRequest, point_name};
use crate::report::GuestOutcome;
use crate::repository::{Disk, Repository};
use crate::run::{self, Mode};
use crate::survey::{self, NoPoint, Sought, SurveyedPoint};
use std::sync::Arc;

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
    /// Print what would be done, and stop.
    #[arg(long, short = 'n')]
    dry_run: bool,
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
pub fn delete(args: &DeleteArgs, logging: &Logging) -> CommandResult {
    let found = args.meant.find()?;
    let question = format!("Remove {}?", point_name(&found.point));
    let label = found.point.manifest.label.to_string();
    let subject = Subject { dry_run: args.dry_run, ..args.meant.subject("delete", &label) };
    let about = About { subject, nature: Nature::Act, logging, keep: None };
    let (teller, hooks) = args.around.begin(&about)?;
    let request = PointRequest { act: PointAct::Delete, found };
    let result = hooks.and_then(|hooks| {
        let ctx = args.meant.context(hooks);
        blocking(async {
            signals::listen(&ctx.cancel)?;
            match (args.dry_run, args.yes) {
                (true, _) => run::run(ctx, request, Mode::DryRun).await,
                (false, true) => run::run(ctx, request, Mode::Execute).await,
                (false, false) => agree::confirmed(ctx, request, agree::about(|_| question)).await,
            }
        })
    });
    match args.dry_run {
        true => teller.conclude(result, false),
        false => teller.conclude_one(result, done),
    }
}

/// Protects a point.
///
/// # Errors
/// The point is not there, or the file system fails.
pub fn protect(args: &ProtectArgs) -> CommandResult {
    mark(&args.meant, &args.told, PointAct::Protect { notes: args.notes.clone() })
}

/// Takes the protection from a point.
///
/// # Errors
/// The point is not there, or the file system fails.
pub fn unprotect(args: &UnprotectArgs) -> CommandResult {
    mark(&args.meant, &args.told, PointAct::Unprotect { notes: args.notes.clone() })
}

fn mark(meant: &Meant, told: &ToldOptions, act: PointAct) -> CommandResult {
    let found = meant.find()?;
    let label = found.point.manifest.label.to_string();
    let subject = meant.subject(act.kind().name(), &label);
    let teller = told.act(told.teller(&subject)?, &subject);
    let request = PointRequest { act, found };
    let ctx = meant.context(Arc::default());
    let result = blocking(async {
        signals::listen(&ctx.cancel)?;
        run::run(ctx, request, Mode::Execute).await
    });
    teller.conclude_one(result, done)
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
        let here = context::cluster().cluster_id().ok().flatten();
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

    fn context(&self, hooks: Arc<Hooks>) -> Arc<Context> {
        context::of_repository(Limits::of_a_repository(Some(1), self.lock_wait), hooks)
    }
}
