//! `pve-ferry snapshot rollback`: what was typed, and the question that comes before. Decides
//! nothing.

use super::agree;
use super::end::CommandResult;
use super::error::CliError;
use super::hooks::HookOptions;
use super::options::Logging;
use super::snapshot::{Args, say};
use super::told::{Listeners, Subject, Teller};
use super::{bars, blocking, output, signals};
use crate::hooks::JobFacts;
use crate::model::VmId;
use crate::operation::RollbackRequest;
use crate::run::{self, Confirm, Mode, Performed};
use clap::Args as ClapArgs;

/// What `snapshot rollback` takes beside the options of all commands about snapshots.
#[derive(Debug, ClapArgs)]
pub struct RollbackArgs {
    /// The snapshot's name.
    #[arg(long, value_name = "NAME")]
    name: String,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    hooks: HookOptions,
    #[command(flatten)]
    told: Listeners,
}

impl RollbackArgs {
    /// Runs the command, which is a person's act.
    ///
    /// # Errors
    /// The cluster cannot be reached, the words make no sense, or the user does not agree.
    pub fn run(&self, args: &Args, logging: &Logging) -> CommandResult {
        let vmid = args.common.vmid.as_deref().unwrap_or_default();
        let vmid: VmId = vmid.parse().map_err(|_| CliError::usage("give --vmid N, one guest"))?;
        if !args.common.yes && !output::is_interactive() && args.mode() == Mode::Execute {
            return Err(CliError::usage("it asks on a terminal; give --yes otherwise").into());
        }
        let dry_run = args.mode() == Mode::DryRun;
        let subject =
            Subject { operation: "snapshot rollback", label: None, repository: None, dry_run };
        let teller = self.told.teller(&subject, args.connection.certificates())?;
        let teller = self.told.act(teller, &subject);
        let result = self.performed(args, vmid, (&teller, logging));
        teller.conclude_with(result, |performed| say(performed, self.json))
    }

    fn performed(
        &self,
        args: &Args,
        vmid: VmId,
        (teller, logging): (&Teller, &Logging),
    ) -> Result<Performed, CliError> {
        let request = RollbackRequest { vmid, name: self.name.clone() };
        let mut hidden = args.connection.secret_variables();
        hidden.extend_from_slice(teller.secret_variables());
        let operation = "snapshot rollback".to_owned();
        let job = JobFacts { operation, ..JobFacts::default() };
        let hooks = self.hooks.hooks(job, &hidden, bars::progress(logging))?;
        let ctx = args.context(1, logging, hooks)?;
        let confirm: Confirm = match args.common.yes {
            true => Box::new(|_| Ok(())),
            false => agree::about(|_| "Roll back?".to_owned()),
        };
        blocking(async {
            signals::listen(&ctx.cancel)?;
            match args.mode() {
                Mode::DryRun => run::run(ctx, request, Mode::DryRun).await,
                Mode::Execute => agree::confirmed(ctx, request, confirm).await,
            }
        })
    }
}
