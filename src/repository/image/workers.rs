//! Threads that do pieces of work at once while the results are taken in order. It knows no images.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, Scope};

/// Where the result of one piece of work arrives; nothing arrives when its thread died.
pub(super) type Promise<R> = Receiver<R>;

type Queued<J, R> = (J, SyncSender<R>);

/// Hands work to threads. The threads end when it is dropped.
pub(super) struct Workers<J, R> {
    queue: SyncSender<Queued<J, R>>,
}

impl<J, R> Workers<J, R> {
    /// Starts `threads` threads, at least one; each makes its own `tool` once and uses it for all of
    /// its work. As many pieces of work as `waiting` may stand in the queue before `give` blocks.
    pub(super) fn start<'scope, T>(
        scope: &'scope Scope<'scope, '_>,
        (threads, waiting): (usize, usize),
        tool: impl Fn() -> T + Copy + Send + 'scope,
        work: impl Fn(&mut T, J) -> R + Copy + Send + 'scope,
    ) -> io::Result<Self>
    where
        J: Send + 'scope,
        R: Send + 'scope,
    {
        let (sender, receiver) = sync_channel::<Queued<J, R>>(waiting);
        // Only the threads own the receiving end: when none is left, giving work does not block.
        let receiver = Arc::new(Mutex::new(receiver));
        for number in 0..threads.max(1) {
            let receiver = Arc::clone(&receiver);
            let name = format!("image-{number}");
            Builder::new().name(name).spawn_scoped(scope, move || {
                let mut tool = tool();
                while let Some((job, sender)) = next(&receiver) {
                    // Whoever waited for it may have gone; then nobody misses the result.
                    let _ = sender.send(work(&mut tool, job));
                }
            })?;
        }
        Ok(Self { queue: sender })
    }

    /// Gives a piece of work to the next free thread.
    pub(super) fn give(&self, job: J) -> Promise<R> {
        let (sender, promise) = sync_channel(1);
        // It fails only when no thread is left; then the promise, too, tells that nothing comes.
        let _ = self.queue.send((job, sender));
        promise
    }
}

fn next<J, R>(receiver: &Mutex<Receiver<Queued<J, R>>>) -> Option<Queued<J, R>> {
    receiver.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

/// Memory that is used again instead of being given back to the system.
#[derive(Default)]
pub(super) struct Pool(Mutex<Vec<Vec<u8>>>);

impl Pool {
    /// Memory of any length and content.
    pub(super) fn take(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    /// Gives memory back.
    pub(super) fn give(&self, memory: Vec<u8>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(memory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn results_are_taken_in_the_order_in_which_the_work_was_given() {
        let results: Vec<Option<u64>> = thread::scope(|scope| {
            let double = |_: &mut (), n: u64| {
                thread::sleep(std::time::Duration::from_millis(20 - n));
                n * 2
            };
            let workers = Workers::start(scope, (3, 4), || (), double).unwrap();
            let promises: Vec<_> = (0..20).map(|n| workers.give(n)).collect();
            promises.into_iter().map(|promise| promise.recv().ok()).collect()
        });
        assert_eq!(results, (0..20).map(|n| Some(n * 2)).collect::<Vec<_>>());
    }

    #[test]
    fn dead_threads_are_noticed_and_do_not_block() {
        let outcome = std::panic::catch_unwind(|| {
            thread::scope(|scope| {
                let die =
                    |_: &mut (), n: u64| -> u64 { panic!("{n} kills a thread, as it should") };
                let workers = Workers::start(scope, (2, 1), || (), die).unwrap();
                for n in 0..20 {
                    assert!(workers.give(n).recv().is_err());
                }
            });
        });
        assert!(outcome.is_err(), "the scope tells of the panic");
    }
}
