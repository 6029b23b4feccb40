//! `pve-ferry snapshot rollback`: what was typed, and the question that comes before. Decides
//! nothing.

use super::agree::{Declined, agree};
use super::error::CliError;
use super::hooks::HookOptions;
use super::options::Logging;
use super::snapshot::{Args, say};
use super::told::{Listeners, Subject, Teller};
use super::{bars, blocking, output, signals};
use crate::hooks::JobFacts;
use crate::model::VmId;
use crate::operation::{Mode, Performed, RollbackRequest, rollback};
use crate::plan::Plan;
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
    pub fn run(&self, args: &Args, logging: &Logging) -> Result<u8, CliError> {
        let vmid = args.common.vmid.as_deref().unwrap_or_default();
        let vmid: VmId = vmid.parse().map_err(|_| CliError::usage("give --vmid N, one guest"))?;
        if !args.common.yes && !output::is_interactive() && args.mode() == Mode::Execute {
            return Err(CliError::usage("it asks on a terminal; give --yes otherwise"));
        }
        let dry_run = args.mode() == Mode::DryRun;
        let subject =
            Subject { operation: "snapshot rollback", label: None, repository: None, dry_run };
        let teller = self.told.teller(&subject, args.connection.certificates())?;
        let teller = self.told.act(teller, &subject);
        match self.performed(args, vmid, (&teller, logging)) {
            // Nothing was done, and who sits in front of it knows why.
            Err(CliError::Other(error)) if error.is::<Declined>() => Err(error.into()),
            result => teller.conclude_with(result, |performed| say(performed, self.json)),
        }
    }

    fn performed(
        &self,
        args: &Args,
        vmid: VmId,
        (teller, logging): (&Teller, &Logging),
    ) -> Result<Performed, CliError> {
        let request = RollbackRequest { vmid, name: self.name.clone() };
        let mut run = args.snapshot_run()?;
        let mut hidden = args.connection.secret_variables();
        hidden.extend_from_slice(teller.secret_variables());
        let operation = "snapshot rollback".to_owned();
        let job = JobFacts { operation, ..JobFacts::default() };
        run.hooks = self.hooks.hooks(job, &hidden, bars::progress(logging))?;
        let ask = |plan: &Plan| match args.common.yes {
            true => Ok(()),
            false => {
                output::notice(plan.to_string().trim_end());
                Ok(agree("Roll back?")?)
            }
        };
        blocking(async {
            signals::listen(&run.cancel)?;
            rollback(&run, &request, args.mode(), ask).await
        })
    }
}
