//! `pve-ferry snapshot create` and `prune`: what was typed, made into one request. Decides nothing.

use super::agree;
use super::end::CommandResult;
use super::error::CliError;
use super::hooks::HookOptions;
use super::options::Logging;
use super::snapshot::{Args, local, say};
use super::told::{Listeners, Subject, Teller};
use super::{bars, blocking, options, output, signals};
use crate::clock::Clock;
use crate::hooks::JobFacts;
use crate::model::guest_snapshot::automatic_name;
use crate::operation::SnapshotRequest;
use crate::plan::snapshot::{Memory, NewSnapshot, SnapshotPolicy, Which};
use crate::run::{self, Confirm, Mode, Performed};
use clap::Args as ClapArgs;

/// What `snapshot create` takes beside the options of all commands about snapshots.
#[derive(Debug, ClapArgs)]
pub struct CreateArgs {
    /// The label: a lower-case letter, then up to 23 letters, digits, - or _.
    #[arg(long, value_name = "LABEL")]
    label: String,
    /// How many snapshots of the label stay, the new one among them [default: all].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep: Option<u32>,
    /// Include the memory of machines that run.
    #[arg(long)]
    state: bool,
    /// Only guests that run.
    #[arg(long)]
    only_running: bool,
    #[command(flatten)]
    work: Work,
}

/// What `snapshot prune` takes.
#[derive(Debug, ClapArgs)]
pub struct PruneArgs {
    /// The label.
    #[arg(long, value_name = "LABEL")]
    label: String,
    /// How many snapshots of the label stay; 0 removes them all.
    #[arg(long, value_name = "N")]
    keep: u32,
    #[command(flatten)]
    work: Work,
}

#[derive(Debug, ClapArgs)]
struct Work {
    /// Guests at once.
    #[arg(long, alias = "max-parallel", value_name = "N", default_value_t = 2)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=50))]
    jobs: u16,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    hooks: HookOptions,
    #[command(flatten)]
    told: Listeners,
}

/// What is to be done, and whether somebody is asked first.
struct Wanted {
    policy: SnapshotPolicy,
    confirm: Option<Confirm>,
}

impl CreateArgs {
    /// Runs the command.
    ///
    /// # Errors
    /// The cluster cannot be reached or the words make no sense.
    pub fn run(&self, args: &Args, logging: &Logging) -> CommandResult {
        let subject = subject("snapshot create", &self.label, args);
        let teller = self.work.told.teller(&subject, args.connection.certificates())?;
        let policy = self.policy(args);
        let result = policy.and_then(|policy| {
            self.work.perform(args, Wanted { policy, confirm: None }, (&teller, logging))
        });
        teller.conclude_with(result, |performed| say(performed, self.work.json))
    }

    /// Whether the words make sense.
    ///
    /// # Errors
    /// They do not.
    pub fn check(&self, args: &Args) -> Result<(), CliError> {
        self.policy(args).map(drop)
    }

    fn policy(&self, args: &Args) -> Result<SnapshotPolicy, CliError> {
        let (label, format) = (options::label(&self.label)?, args.format()?);
        let time = local(Clock::System.now(), &format.strftime());
        let create = NewSnapshot {
            name: automatic_name(&label, &time)?,
            memory: if self.state { Memory::Included } else { Memory::LeftOut },
            which: if self.only_running { Which::OnlyRunning } else { Which::All },
            most_percent: args.common.max_perc_storage,
        };
        Ok(SnapshotPolicy { label, format, keep: self.keep, create: Some(create) })
    }
}

impl PruneArgs {
    /// Runs the command. Only a person who would lose all snapshots of a label is asked.
    ///
    /// # Errors
    /// The cluster cannot be reached, the words make no sense, or the user does not agree.
    pub fn run(&self, args: &Args, logging: &Logging) -> CommandResult {
        let policy = self.policy(args)?;
        let is_asked = self.keep == 0 && !args.common.yes && args.mode() == Mode::Execute;
        let question = format!("Remove all snapshots of the label {}?", policy.label);
        let confirm = (is_asked && output::is_interactive()).then(|| agree::about(|_| question));
        let subject = subject("snapshot prune", &self.label, args);
        let teller = self.work.told.teller(&subject, args.connection.certificates())?;
        let result = self.work.perform(args, Wanted { policy, confirm }, (&teller, logging));
        teller.conclude_with(result, |performed| say(performed, self.work.json))
    }

    /// Whether the words make sense.
    ///
    /// # Errors
    /// They do not.
    pub fn check(&self, args: &Args) -> Result<(), CliError> {
        self.policy(args).map(drop)
    }

    fn policy(&self, args: &Args) -> Result<SnapshotPolicy, CliError> {
        let (label, format) = (options::label(&self.label)?, args.format()?);
        Ok(SnapshotPolicy { label, format, keep: Some(self.keep), create: None })
    }
}

impl Work {
    fn perform(
        &self,
        args: &Args,
        wanted: Wanted,
        (teller, logging): (&Teller, &Logging),
    ) -> Result<Performed, CliError> {
        let job = job_facts(&wanted.policy, teller.job());
        let Wanted { policy, confirm } = wanted;
        let request = SnapshotRequest { selection: args.selection()?, policy };
        let mut hidden = args.connection.secret_variables();
        hidden.extend_from_slice(teller.secret_variables());
        let hooks = self.hooks.hooks(job, &hidden, bars::progress(logging))?;
        let ctx = args.context(self.jobs, logging, hooks)?;
        blocking(async {
            signals::listen(&ctx.cancel)?;
            match confirm {
                Some(confirm) => agree::confirmed(ctx, request, confirm).await,
                None => run::run(ctx, request, args.mode()).await,
            }
        })
    }
}

fn subject<'a>(operation: &'static str, label: &'a str, args: &Args) -> Subject<'a> {
    let dry_run = args.mode() == Mode::DryRun;
    Subject { operation, label: Some(label), repository: None, dry_run }
}

fn job_facts(policy: &SnapshotPolicy, job: Option<&str>) -> JobFacts {
    let create = policy.create.as_ref();
    JobFacts {
        operation: create.map_or("snapshot prune", |_| "snapshot create").to_owned(),
        job: job.map(str::to_owned),
        label: Some(policy.label.to_string()),
        keep: policy.keep.map(|keep| keep.to_string()),
        memory: create.is_some_and(|create| create.memory == Memory::Included),
        ..JobFacts::default()
    }
}
