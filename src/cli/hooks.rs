//! The options of hooks, the same in every command that works on guests. Calls none.

use super::error::CliError;
use crate::hooks::{Compat, Hooks, JobFacts};
use crate::progress::Progress;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The user's own programs.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Hooks (besides those of /etc/pve-ferry/hooks.d)")]
pub struct HookOptions {
    /// Call this program in every phase of the run; before something, it can stop it.
    #[arg(long, alias = "script-hook", value_name = "FILE")]
    script: Option<PathBuf>,
    /// The script is one of eve4pve-barc or cv4pve-autosnap: it gets their variables, in their
    /// phases, and cannot stop anything.
    #[arg(long, value_name = "barc|autosnap", requires = "script")]
    hook_compat: Option<Compat>,
}

impl HookOptions {
    /// The hooks of a run.
    ///
    /// # Errors
    /// The script cannot be started.
    pub fn hooks(
        &self,
        job: JobFacts,
        hidden: &[String],
        log: Arc<dyn Progress>,
    ) -> Result<Arc<Hooks>, CliError> {
        let script = self.script.as_deref().map(|path| (path, self.hook_compat));
        let mut hooks = Hooks::load(script, &directory(), job)
            .map_err(|error| CliError::usage(format!("{:#}", anyhow::Error::from(error))))?;
        hooks.hidden = hidden.to_vec();
        hooks.log = log;
        if let Some(seconds) = patience() {
            hooks.patience = seconds;
        }
        Ok(Arc::new(hooks))
    }
}

/// Where the node's own hooks are: `/etc/pve-ferry/hooks.d`, or what `PVE_FERRY_HOOKS_D` says.
fn directory() -> PathBuf {
    let moved = std::env::var_os("PVE_FERRY_HOOKS_D").filter(|path| !path.is_empty());
    moved.map_or_else(|| PathBuf::from("/etc/pve-ferry/hooks.d"), PathBuf::from)
}

/// How long one call may take, where `PVE_FERRY_HOOK_SECONDS` says.
fn patience() -> Option<Duration> {
    let seconds = std::env::var("PVE_FERRY_HOOK_SECONDS").ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}
