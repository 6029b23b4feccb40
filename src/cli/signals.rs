//! Signals: the first asks for a clean end, the second ends at once and names what stays.

use super::output;
use crate::cancel::Cancel;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens for SIGINT, SIGTERM and SIGHUP as long as the runtime lives.
///
/// # Errors
/// The system refuses to tell us of signals.
pub fn listen(cancel: &Cancel) -> std::io::Result<()> {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    for kind in kinds {
        tokio::spawn(obey(signal(kind)?, cancel.clone()));
    }
    Ok(())
}

async fn obey(mut signals: Signal, cancel: Cancel) {
    while signals.recv().await.is_some() {
        if cancel.is_cancelled() {
            leave(&cancel);
        }
        output::notice("pve-ferry: stopping cleanly; once more to stop at once");
        cancel.cancel();
    }
}

// The user asked twice: what stays is named, and the next run of the same guest finds it.
#[allow(clippy::exit)]
fn leave(cancel: &Cancel) {
    let stays = cancel.what_stays();
    for what in &stays {
        output::notice(&format!("pve-ferry: stays: {what}"));
    }
    if !stays.is_empty() {
        output::notice("pve-ferry: the next run of the same guest cleans this up");
    }
    std::process::exit(130);
}
