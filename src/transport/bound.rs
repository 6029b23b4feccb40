//! Starts processes that do not outlive this one, whatever ends it: a `rbd snap create` of a dead run
//! must not make its snapshot after the next run has cleaned up. Not for what must go on, as a guard
//! does, or a program of PVE that is in the middle of a task.
//!
//! The kernel ties a child to the *thread* that started it (PR_SET_PDEATHSIG, prctl(2)), and threads
//! of a runtime come and go. So one thread that lasts as long as the process starts all of these.
#![allow(unsafe_code)]

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpid, getppid};
use std::io;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;

/// A process to be started, and who waits for it.
struct Order {
    process: Command,
    runtime: Handle,
    started: SyncSender<io::Result<Child>>,
}

/// Starts the process; it is killed when this process ends.
///
/// # Errors
/// As [`Command::spawn`], or the thread that starts processes is gone.
pub(super) fn spawn(mut process: Command) -> io::Result<Child> {
    let us = getpid();
    // SAFETY: between fork and exec only async-signal-safe calls are made: prctl(2) and getppid(2).
    // Neither allocates or takes a lock.
    unsafe {
        process.pre_exec(move || tie_to(us));
    }
    let (started, reply) = sync_channel(1);
    let gone = || io::Error::other("the thread that starts processes is gone");
    orders()?.send(Order { process, runtime: Handle::current(), started }).map_err(|_| gone())?;
    reply.recv().map_err(|_| gone())?
}

fn tie_to(parent: Pid) -> io::Result<()> {
    set_pdeathsig(Signal::SIGKILL)?;
    // It may have died before it could be told of.
    if getppid() == parent { Ok(()) } else { Err(io::Error::from_raw_os_error(nix::libc::ESRCH)) }
}

fn orders() -> io::Result<Sender<Order>> {
    static ORDERS: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();
    if let Some(orders) = ORDERS.get() {
        return Ok(orders.lock().unwrap_or_else(PoisonError::into_inner).clone());
    }
    let (sender, orders) = channel();
    std::thread::Builder::new().name("children".to_owned()).spawn(move || start_all(&orders))?;
    // Of two that began at once one stays; the other's thread ends with its last order.
    let kept = ORDERS.get_or_init(|| Mutex::new(sender));
    Ok(kept.lock().unwrap_or_else(PoisonError::into_inner).clone())
}

fn start_all(orders: &Receiver<Order>) {
    for Order { mut process, runtime, started } in orders {
        let _runtime = runtime.enter();
        // Nobody waits any more: then the child is dropped, which kills it.
        let _ = started.send(process.spawn());
    }
}

#[cfg(test)]
mod tests {
    use crate::transport::{Command, Host};
    use std::io::Read;

    #[tokio::test]
    async fn a_child_is_tied_to_a_thread_that_lasts_and_not_to_the_one_that_asked() {
        // Three threads that end at once, as those of a runtime do; their children live on.
        for _ in 0..3 {
            let runtime = tokio::runtime::Handle::current();
            let started = std::thread::spawn(move || {
                let _runtime = runtime.enter();
                let command = Command::reads("sh").args(["-c", "sleep 0.2; echo lives"]);
                Host::local().source(&command.ends_with_us()).unwrap()
            });
            let mut source = started.join().unwrap();
            let mut text = String::new();
            source.reader.read_to_string(&mut text).unwrap();
            assert_eq!(text.trim(), "lives");
            source.exit.wait().await.unwrap();
        }
    }
}
