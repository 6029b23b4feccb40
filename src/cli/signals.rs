//! Signals: the first asks for a clean end, a later one ends at once and names what stays.

use super::output;
use crate::cancel::Cancel;
use crate::clock::Stopwatch;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens for SIGINT, SIGTERM and SIGHUP as long as the runtime lives.
///
/// # Errors
/// The system refuses to tell us of signals.
pub fn listen(cancel: &Cancel) -> std::io::Result<()> {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let first = Arc::default();
    for kind in kinds {
        tokio::spawn(obey(signal(kind)?, cancel.clone(), Arc::clone(&first)));
    }
    Ok(())
}

/// timeout(1) and service managers send one wish as several signals (to the process and to its
/// group, or of two kinds): those that come this soon after the first are the same wish.
const SAME_WISH: Duration = Duration::from_secs(1);

async fn obey(mut signals: Signal, cancel: Cancel, first: Arc<OnceLock<Stopwatch>>) {
    while signals.recv().await.is_some() {
        match first.get() {
            None => {
                first.get_or_init(Stopwatch::start);
                output::notice("pve-ferry: stopping cleanly; once more to stop at once");
                cancel.cancel();
            }
            Some(since) if since.elapsed() < SAME_WISH => {}
            Some(_) => leave(&cancel),
        }
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
    output::release(130);
    std::process::exit(130);
}
