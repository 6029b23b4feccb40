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

pub use compat::Compat;
pub use event::{Event, JobFacts, VolumeFacts};
pub use phase::{About, At, Phase};

use crate::cancel::Cancel;
use crate::progress::{Progress, Silent};
use crate::transport::{Command, Environment, Local, TransportError};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// One program.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hook {
    path: PathBuf,
    compat: Option<Compat>,
}

/// The hooks of one run.
pub struct Hooks {
    hooks: Vec<Hook>,
    /// The script of an older tool, where it is not there.
    missing: Option<PathBuf>,
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
    #[error("the hook {} cannot be used: {why}; nothing was changed", path.display())]
    Unusable {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
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
            missing: None,
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
    ///
    /// # Errors
    /// The script cannot be started, or the directory cannot be read. Under `compat` a script that
    /// is not there is left out, as the older tools did, and the start of the run warns of it.
    pub fn load(
        script: Option<(&Path, Option<Compat>)>,
        directory: &Path,
        job: JobFacts,
    ) -> Result<Self, HooksError> {
        let (mut hooks, mut missing) = (Vec::new(), None);
        if let Some((path, compat)) = script {
            match (usable(path), compat) {
                (Ok(path), compat) => hooks.push(Hook { path, compat }),
                (Err(_), Some(_)) if !path.exists() => missing = Some(path.to_owned()),
                (Err(why), _) => {
                    return Err(HooksError::Unusable { path: path.to_owned(), why });
                }
            }
        }
        let found = executables(directory);
        let failed = |source| HooksError::Directory { path: directory.to_owned(), source };
        let found = found.map_err(failed)?;
        hooks.extend(found.into_iter().map(|path| Hook { path, compat: None }));
        Ok(Self { hooks, missing, job, ..Self::default() })
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

    /// The same for callers that are not async; they must not stand on a thread of a runtime
    /// that may not wait.
    ///
    /// # Errors
    /// As [`Hooks::call`]; a runtime that cannot be had is a warning.
    pub fn call_blocking(&self, event: &Event, cancel: &Cancel) -> Called {
        if self.hooks.is_empty() {
            return Ok(self.absent(event));
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            return runtime.block_on(self.call(event, cancel));
        }
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(self.call(event, cancel)),
            Err(error) => Ok(vec![format!("hooks were not called in {}: {error}", event.phase)]),
        }
    }

    /// What the start of a run must say: who relies on a script should know that it is not called.
    fn absent(&self, event: &Event) -> Vec<String> {
        let is_start = event.phase == Phase::new(About::Job, At::Before);
        let missing = self.missing.iter().filter(|_| is_start);
        missing
            .map(|path| format!("there is no hook {}: it is called in no phase", path.display()))
            .collect()
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

/// The absolute path of a program that can be started.
fn usable(path: &Path) -> Result<PathBuf, String> {
    let absolute = path.canonicalize().map_err(|error| error.to_string())?;
    let facts = std::fs::metadata(&absolute).map_err(|error| error.to_string())?;
    let mode = facts.permissions().mode();
    match (facts.is_file(), mode & 0o111 != 0, mode & 0o002 != 0) {
        (false, ..) => Err("it is no file".to_owned()),
        (_, false, _) => Err("it is not executable (chmod +x)".to_owned()),
        // Whoever can write it would run as us.
        (.., true) => Err("everybody may write it (chmod o-w)".to_owned()),
        // Its own name, not that of what a link points to: scripts look at $0.
        _ => std::path::absolute(path).map_err(|error| error.to_string()),
    }
}

/// What run-parts would run, by name: files whose names are not those of editors and packages.
fn executables(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_other = name.starts_with('.') || name.ends_with('~') || name.contains(".dpkg-");
        let is_program = || usable(&path);
        if is_other {
            continue;
        }
        match is_program() {
            Ok(path) => found.push(path),
            // A README beside the hooks is nothing to warn of.
            Err(why) if why.contains("chmod +x") => {}
            Err(why) => tracing::warn!("{} is not called: {why}", path.display()),
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests;
