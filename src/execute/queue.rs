//! Turns to transfer: how many volumes move at once over all guests, and which is next. Not for what a
//! transfer does.

use super::{Execution, Stopped};
use crate::plan::{Action, Step};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use tokio::sync::{AcquireError, OwnedSemaphorePermit};

/// A step's place in the queue of those that move volumes; none for any other step. Dropped, it is free
/// for the next one.
pub(super) struct QueuedTurn(Option<Pin<Box<Waiting>>>);

type Waiting = dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send;

impl QueuedTurn {
    /// Of a step that waits for nobody.
    pub const NONE: Self = Self(None);
}

/// Whether a step moves a volume, so that only so many of its kind are under way.
fn moves_a_volume(action: &Action) -> bool {
    matches!(action, Action::Transfer(_))
}

impl Execution {
    /// Queues a step up. Asked for step after step in the order of the plan, as the tasks that carry them
    /// out begin in any: whoever fails must have the same steps before and behind it in every run.
    pub(super) async fn queue_up(&self, step: &Step) -> QueuedTurn {
        match moves_a_volume(&step.action) {
            true => self.queue_up_transfer().await,
            false => QueuedTurn::NONE,
        }
    }

    /// The same for what is a transfer.
    pub(super) async fn queue_up_transfer(&self) -> QueuedTurn {
        let turn = self.ctx.limits.transfers.clone().acquire_owned();
        let mut waiting: Pin<Box<Waiting>> = Box::pin(turn);
        // The place is taken when the semaphore is asked for the first time.
        match poll_fn(|context| Poll::Ready(waiting.as_mut().poll(context))).await {
            Poll::Ready(turn) => QueuedTurn(Some(Box::pin(std::future::ready(turn)))),
            Poll::Pending => QueuedTurn(Some(waiting)),
        }
    }

    /// Waits for the turn; none is given for a plan that is to end.
    ///
    /// # Errors
    /// Why the plan ends.
    pub(super) async fn turn_to_transfer(
        &self,
        queued: QueuedTurn,
    ) -> Result<Option<OwnedSemaphorePermit>, Stopped> {
        let QueuedTurn(Some(waiting)) = queued else { return Ok(None) };
        let turn = self.until_stopped(waiting).await?;
        if self.stop.is_cancelled() { Err(self.stopped()) } else { Ok(Some(turn)) }
    }
}
