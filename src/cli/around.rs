//! What stands around a command's work: hooks before it and after it, and those who are told of it. One
//! struct of options, so that every command has all of them and means the same. Does no work itself.

use super::bars;
use super::end::CommandResult;
use super::error::CliError;
use super::hooks::HookOptions;
use super::options::Logging;
use super::told::{Nature, Subject, Teller, ToldOptions};
use crate::hooks::Hooks;
use crate::run::Performed;
use std::sync::Arc;

/// Hooks and being told.
#[derive(Debug, clap::Args)]
pub struct Around {
    #[command(flatten)]
    hooks: HookOptions,
    #[command(flatten)]
    told: ToldOptions,
}

/// What a command knows of its work before it begins.
pub struct About<'a> {
    /// What those who are told hear that it is about.
    pub subject: Subject<'a>,
    /// Whether jobs do it, or a person.
    pub nature: Nature,
    /// How much is said.
    pub logging: &'a Logging,
    /// `--keep`, for scripts of older tools.
    pub keep: Option<u32>,
}

impl Around {
    /// Does a command's work with its hooks, prints the result and tells everybody.
    ///
    /// # Errors
    /// What was typed makes no sense, or nothing could be done at all.
    pub fn conclude(
        &self,
        about: &About,
        as_json: bool,
        work: impl FnOnce(Arc<Hooks>) -> Result<Performed, CliError>,
    ) -> CommandResult {
        let (teller, hooks) = self.begin(about)?;
        teller.conclude(hooks.and_then(work), as_json)
    }

    /// Who is to be told, and the hooks, for commands that print their results themselves.
    ///
    /// # Errors
    /// What was typed makes no sense. That a hook cannot be started is the inner error: those who
    /// are told hear of it.
    pub fn begin(&self, about: &About) -> Result<(Teller, Result<Arc<Hooks>, CliError>), CliError> {
        let teller = self.told.teller(&about.subject)?;
        let teller = match about.nature {
            Nature::Run => teller,
            Nature::Act => self.told.act(teller, &about.subject),
        };
        let hooks = teller.hooks(&self.hooks, about.keep, bars::progress(about.logging));
        Ok((teller, hooks))
    }
}
