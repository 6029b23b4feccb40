//! Signals: the first asks for a clean end, a later one ends at once and names what stays. Not for
//! those that whoever started us has set aside.

use super::output;
use crate::cancel::Cancel;
use crate::clock::Stopwatch;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens for SIGINT, SIGTERM and SIGHUP as long as the runtime lives; not for one that we were
/// started with as ignored: under nohup(1) a connection that breaks must not end a restore, nor ^C
/// what a shell without job control runs in the background.
///
/// # Errors
/// The system refuses to tell us of signals.
pub fn listen(cancel: &Cancel) -> std::io::Result<()> {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    // Where /proc does not say what is ignored, nothing is taken to be.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let first = Arc::default();
    for kind in kinds.into_iter().filter(|kind| !is_ignored(&status, kind.as_raw_value())) {
        tokio::spawn(obey(signal(kind)?, cancel.clone(), Arc::clone(&first)));
    }
    Ok(())
}

/// Whether a process ignores a signal, by its `/proc/PID/status`: `SigIgn` is a mask in hexadecimal
/// digits whose lowest bit is signal 1 (proc(5)). A handler of ours takes a signal out of it, but none
/// is installed for what is in it: the answer stays the same however often it is asked for.
fn is_ignored(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok()).unwrap_or(0);
    let bit = u32::try_from(signal - 1).ok().and_then(|bit| 1_u64.checked_shl(bit));
    bit.is_some_and(|bit| mask & bit != 0)
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
                tokio::spawn(name_what_is_waited_for(cancel.clone()));
            }
            Some(since) if since.elapsed() < SAME_WISH => {}
            Some(_) => leave(&cancel),
        }
    }
}

/// What could be stopped at once has stopped by then.
const UNTIL_NAMED: Duration = Duration::from_secs(2);

/// Between two times that somebody is told for what the end waits.
const BETWEEN_TIMES: Duration = Duration::from_secs(30);

/// Says what is still under way although the user wishes to stop, and why the run has not ended.
async fn name_what_is_waited_for(cancel: Cancel) {
    tokio::time::sleep(UNTIL_NAMED).await;
    loop {
        for what in cancel.what_is_under_way() {
            output::notice(&format!("pve-ferry: waits for its end: {what}"));
        }
        tokio::time::sleep(BETWEEN_TIMES).await;
    }
}

// The user asked twice: what stays is named, and the next run of the same guest finds it.
#[allow(clippy::exit)]
fn leave(cancel: &Cancel) {
    for what in cancel.what_is_under_way() {
        output::notice(&format!("pve-ferry: left in the middle of: {what}"));
    }
    let stays = cancel.what_stays();
    for what in &stays {
        output::notice(&format!("pve-ferry: stays: {what}"));
    }
    if !stays.is_empty() {
        output::notice(
            "pve-ferry: the next backup or restore of the same guest on this node cleans this up",
        );
    }
    output::release(130);
    std::process::exit(130);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_ignored_signals_begins_with_signal_1() {
        let status = |mask: &str| {
            format!("Name:\tx\nSigBlk:\tffffffffffffffff\nSigIgn:\t{mask}\nSigCgt:\t3\n")
        };
        let ignored = |text: &str| [1, 2, 15].map(|signal| is_ignored(text, signal));
        assert_eq!(ignored(&status("0000000000001000")), [false; 3], "Rust ignores SIGPIPE");
        assert_eq!(ignored(&status("0000000000001001")), [true, false, false]);
        assert_eq!(ignored(&status("0000000000001003")), [true, true, false]);
        assert_eq!(ignored(&status("0000000000004000")), [false, false, true]);
        for text in ["", "SigIgn:\t\n", "SigIgn:\tnone\n"] {
            assert_eq!(ignored(text), [false; 3], "{text}");
        }
        assert!(!is_ignored(&status("ffffffffffffffff"), 0));
    }
}
