//! The turns of guests: some at a time, begun in the order of the selection. Not what is done in one.

use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Gives every guest its turn, at most so many at once. They begin in the order given, and the
/// results keep it. A panic in a turn is a fault of ours and ends the run.
pub async fn in_turns<G, T, F>(guests: Vec<G>, at_once: usize, take: impl Fn(G) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let room = Arc::new(Semaphore::new(at_once.max(1)));
    let mut running = JoinSet::new();
    let mut done: Vec<Option<T>> = guests.iter().map(|_| None).collect();
    for (place, guest) in guests.into_iter().enumerate() {
        // Taken here and not by the task, as tasks do not begin in the order in which they are
        // spawned. The semaphore is never closed, so this waits and does not fail.
        let room_for_one = room.clone().acquire_owned().await;
        let turn = take(guest);
        running.spawn(async move {
            let _held = room_for_one;
            (place, turn.await)
        });
    }
    while let Some(joined) = running.join_next().await {
        match joined {
            Ok((place, result)) => done[place] = Some(result),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
    done.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn turns_begin_in_order_and_never_too_many_at_once() {
        for at_once in [1, 3] {
            let begun = Arc::new(Mutex::new(Vec::new()));
            let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let results = in_turns((0..200).collect(), at_once, |n: usize| {
                let (begun, now, most) = (begun.clone(), now.clone(), most.clone());
                begun.lock().unwrap().push(n);
                async move {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    now.fetch_sub(1, Ordering::SeqCst);
                    n
                }
            })
            .await;
            let all: Vec<usize> = (0..200).collect();
            assert_eq!((&results, &*begun.lock().unwrap()), (&all, &all));
            assert!(most.load(Ordering::SeqCst) <= at_once);
        }
    }
}
