//! Hooks: the user's own programs, called in phases of a run. When they are called is decided by
//! the executor; here stands how.
//!
//! `--script FILE` comes first, then every executable of `hooks.d` in the order of names. A hook
//! is started directly, without a shell, in `/`, with the phase as first argument, mode and vmid
//! behind it, and the variables of [`Event::variables`]. What it prints goes into the log line by
//! line. It has [`Hooks::patience`] to end; a background process that it leaves is left alone. Two
//! hooks never run at the same time. A hook that fails before something stops it; one that fails
//! afterwards is a warning.

pub mod compat;
mod event;
mod phase;
mod trust;

pub use compat::Compat;
pub use event::{Event, JobFacts, VolumeFacts};
pub use phase::{About, At, Phase};
pub use trust::Refusal;

use crate::cancel::Cancel;
use crate::progress::{Progress, Silent};
use crate::transport::{Command, Environment, Local, TransportError};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use trust::only_ours_to_change;

/// One program.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hook {
    path: PathBuf,
    compat: Option<Compat>,
}

/// The hooks of one run.
pub struct Hooks {
    hooks: Vec<Hook>,
    /// What the user may take for a hook and is called in no phase, in words.
    passed_over: Vec<String>,
    job: JobFacts,
    /// How long one call may take.
    pub patience: Duration,
    /// Variables that hold secrets, which no hook inherits.
    pub hidden: Vec<String>,
    /// Where the hooks' lines go.
    pub log: Arc<dyn Progress>,
    one_at_a_time: Mutex<()>,
}

/// Why the hooks of a run cannot be used. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum HooksError {
    /// There is no such program.
    #[error("the hook {} cannot be used, nothing was changed", path.display())]
    Unusable {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        source: Refusal,
    },
    /// The directory of hooks cannot be read.
    #[error("cannot read the hooks in {}; nothing was changed", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// A hook said no, or could not say yes.
#[derive(Debug, thiserror::Error)]
#[error("the hook {} stopped it in phase {phase}", hook.display())]
pub struct Veto {
    hook: PathBuf,
    phase: Phase,
    source: TransportError,
}

/// How the hooks of one phase ended.
pub type Called = Result<Vec<String>, Veto>;

impl Default for Hooks {
    fn default() -> Self {
        Self {
            hooks: Vec::new(),
            passed_over: Vec::new(),
            job: JobFacts::default(),
            patience: Duration::from_secs(600),
            hidden: Vec::new(),
            log: Arc::new(Silent),
            one_at_a_time: Mutex::default(),
        }
    }
}

impl Hooks {
    /// The hooks of a run: the script, and what the directory holds (nothing where there is none).
    /// What of the directory others could change is left out, and the start of the run warns of it.
    ///
    /// # Errors
    /// The script cannot be started or others could change it, or the directory cannot be read. Under
    /// `compat` a script that is not there is left out, as the older tools did, with a warning, too.
    pub fn load(
        script: Option<(&Path, Option<Compat>)>,
        directory: &Path,
        job: JobFacts,
    ) -> Result<Self, HooksError> {
        let (mut hooks, mut passed_over) = (Vec::new(), Vec::new());
        if let Some((path, compat)) = script {
            match (usable(path), compat) {
                (Ok(path), compat) => hooks.push(Hook { path, compat }),
                (Err(_), Some(_)) if !path.exists() => {
                    passed_over.push(format!(
                        "there is no hook {}: it is called in no phase",
                        path.display()
                    ));
                }
                (Err(source), _) => {
                    return Err(HooksError::Unusable { path: path.to_owned(), source });
                }
            }
        }
        let failed = |source| HooksError::Directory { path: directory.to_owned(), source };
        let found = found(directory).map_err(failed)?;
        hooks.extend(found.hooks.into_iter().map(|path| Hook { path, compat: None }));
        passed_over.extend(found.passed_over);
        Ok(Self { hooks, passed_over, job, ..Self::default() })
    }

    /// Whether there is none to call: then nobody needs to gather facts for them.
    pub fn is_empty(&self) -> bool {
        self.hooks.is_empty()
    }

    /// What the run is about.
    pub fn job(&self) -> &JobFacts {
        &self.job
    }

    /// Calls all hooks of a phase, one after another. What failed without stopping anything is the
    /// result. A wish to stop ends a hook that could still stop what follows.
    ///
    /// # Errors
    /// A hook stops what the phase comes before; those after it are not called.
    pub async fn call(&self, event: &Event, cancel: &Cancel) -> Called {
        let mut warnings = self.absent(event);
        if self.hooks.is_empty() {
            return Ok(warnings);
        }
        let _alone = self.one_at_a_time.lock().await;
        for hook in &self.hooks {
            let Err(source) = self.call_one(hook, event, cancel).await else { continue };
            let veto = Veto { hook: hook.path.clone(), phase: event.phase, source };
            if event.phase.can_veto() && hook.compat.is_none() {
                return Err(veto);
            }
            let (hook, phase) = (hook.path.display(), event.phase);
            warnings.push(format!("hook {hook} in phase {phase}: {}", veto.source));
        }
        Ok(warnings)
    }

    /// What the start of a run must say: who relies on a hook should know that it is not called.
    fn absent(&self, event: &Event) -> Vec<String> {
        match event.phase == Phase::new(About::Job, At::Before) {
            true => self.passed_over.clone(),
            false => Vec::new(),
        }
    }

    async fn call_one(
        &self,
        hook: &Hook,
        event: &Event,
        cancel: &Cancel,
    ) -> Result<(), TransportError> {
        let mut variables = event.variables(&self.job);
        if let Some(compat) = hook.compat {
            let Some(theirs) = compat.variables(event, &self.job) else { return Ok(()) };
            variables.extend(theirs);
        }
        let mut command = Command::writes(&hook.path.to_string_lossy())
            .args(event.arguments(&self.job))
            .deadline(self.patience);
        if let Some(report) = &event.report {
            command = command.input(report.as_bytes());
        }
        let environment = Environment { set: variables, removed: self.hidden.clone() };
        let name = hook.path.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        let tell = |line: &str| {
            self.log.note(&format!("hook {name}: {line}"));
            tracing::info!(hook = %name, phase = %event.phase, "{line}");
        };
        let _busy = cancel.busy_with(format!("hook {name} in phase {}", event.phase));
        let running = Local.run_lines(&command, &environment, &tell);
        match event.phase.can_veto() {
            true => tokio::select! {
                ended = running => ended,
                () = cancel.cancelled() => Err(TransportError::Pipe {
                    command: command.to_string(),
                    source: std::io::Error::from_raw_os_error(nix::libc::ECANCELED),
                }),
            },
            // What comes after is told also when the user wishes to stop.
            false => running.await,
        }
    }
}

/// The absolute path of a program that can be started, and that nobody else can change.
fn usable(path: &Path) -> Result<PathBuf, Refusal> {
    let facts = only_ours_to_change(path)?;
    match (facts.is_file(), facts.mode() & 0o111 != 0) {
        (false, _) => Err(Refusal::NoFile),
        (true, false) => Err(Refusal::NotExecutable),
        // Its own name, not that of what a link points to: scripts look at $0.
        (true, true) => Ok(std::path::absolute(path)?),
    }
}

/// What a directory of hooks holds.
#[derive(Default)]
struct Found {
    /// Its programs, by name.
    hooks: Vec<PathBuf>,
    /// What may be meant as one and is none, in words.
    passed_over: Vec<String>,
}

/// What run-parts would run, by name, as far as others cannot change it.
fn found(directory: &Path) -> std::io::Result<Found> {
    let mut found = Found::default();
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry?.path());
    }
    paths.retain(|path| !is_leftover(path));
    paths.sort();
    for path in paths {
        let not_called =
            |why: &dyn std::fmt::Display| format!("{} is not called: {why}", path.display());
        match usable(&path) {
            Ok(path) if has_a_hooks_name(&path) => found.hooks.push(path),
            Ok(_) => found.passed_over.push(not_called(&NAMES)),
            // A README beside the hooks, or a directory, is nothing to warn of.
            Err(Refusal::NotExecutable | Refusal::NoFile) => {}
            Err(why) => found.passed_over.push(not_called(&why)),
        }
    }
    Ok(found)
}

/// What run-parts takes, which surprises many.
const NAMES: &str = "the name of a hook has only letters, digits, _ and -, as run-parts wants it";

fn has_a_hooks_name(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
}

/// What editors, packages and admins leave beside the hooks, and nobody wants called.
fn is_leftover(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let endings = ["~", ".bak", ".orig", ".save", ".rej", ".swp", ".disabled"];
    name.starts_with(['.', '#'])
        || name.contains(".dpkg-")
        || endings.iter().any(|ending| name.ends_with(ending))
}

#[cfg(test)]
mod tests;
