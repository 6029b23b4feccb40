//! How the last run of a kind ended, on this node: so that those who want to hear of changes only
//! hear of them. Not a history.

use crate::notify::Verdict;
use crate::notify::facts::failed;
use crate::report::Report;
use std::path::{Path, PathBuf};

/// The file that remembers it.
pub(super) struct Last {
    path: PathBuf,
}

impl Last {
    pub fn new(state: &Path, key: &str) -> Self {
        Self { path: state.join("told").join(key) }
    }

    /// What was remembered; nothing when this is the first run, or it cannot be read.
    pub fn text(&self) -> Option<String> {
        std::fs::read_to_string(&self.path).ok()
    }

    /// Forgets it; whether there was anything.
    pub fn forget(&self) -> bool {
        std::fs::remove_file(&self.path).is_ok()
    }

    /// Remembers, by rename.
    pub fn remember(&self, text: &str) -> Result<(), String> {
        let write = || {
            self.path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            let new = self.path.with_extension(format!("new.{}", std::process::id()));
            std::fs::write(&new, text)?;
            std::fs::rename(&new, &self.path)
        };
        let path = self.path.display();
        write().map_err(|e| {
            format!(
                "how this run ended is not remembered, so the next may be told again: {path}: {e}"
            )
        })
    }
}

/// What has to be the same for nobody to be told: how it ended, and which guests were not done.
pub(super) fn fingerprint(report: &Report) -> String {
    let mut parts = vec![Verdict::of(report).word().to_owned()];
    parts.extend(failed(report).map(|guest| guest.vmid.to_string()));
    // The text of an error may differ from run to run, by a process id for one; its kind does not.
    parts.push(format!("code {}", report.exit_code()));
    parts.extend(report.not_found.iter().cloned());
    parts.join("\n") + "\n"
}
