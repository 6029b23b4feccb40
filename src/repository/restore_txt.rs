//! Renders RESTORE.txt: how to get a guest back with stock tools only. Not for restoring: nothing
//! here is run by us.

use super::history::History;
use std::path::Path;

/// The text for a guest's directory.
pub(crate) fn render(history: &History, guest_dir: &Path) -> String {
    let _ = (history, guest_dir);
    String::new()
}
