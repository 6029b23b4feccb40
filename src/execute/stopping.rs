//! How the steps of a plan end before their time: because the user wishes it, or because another step
//! of the same guest failed and nothing of the plan will be kept. Which steps there are stands in the
//! plan; how a transfer is broken off in `transfer.rs`.

use super::{Execution, Stopped};
use crate::clock::Stopwatch;
use crate::plan::{Action, Ending, Step, Then};
use std::time::Duration;
use tokio::task::JoinSet;

/// How long something that writes may go on once the run is to end.
pub(super) const GRACE: Duration = Duration::from_secs(5);

fn is_undone(action: &Action) -> bool {
    matches!(action, Action::Volume(volume) if volume.is_undone())
}

impl Execution {
    /// Carries a step out, named while it is under way.
    pub(super) async fn step_or_stop(
        &self,
        step: &Step,
        work: impl Future<Output = Result<(), Stopped>>,
    ) -> Result<(), Stopped> {
        let _busy = self.stop.busy_with(format!("guest {}: {step}", self.plan.guest.vmid));
        let ending = step.action.ending();
        if ending == Ending::WithItsData {
            let moved = work.await;
            self.end_if_failed(step.on_failure.then, &moved);
            return moved;
        }
        let mut work = std::pin::pin!(self.said_while_it_lasts(step, work));
        if ending == Ending::ByItself {
            return work.await;
        }
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = self.stop.cancelled() => {}
        }
        match tokio::time::timeout(GRACE, work).await {
            Ok(done) => done,
            Err(_) => {
                let text =
                    format!("{step}: broken off, as it did not end within {} s", GRACE.as_secs());
                match is_undone(&step.action) {
                    true => self.warn(text),
                    false => self.leave(format!("{text}; it may have been done in part")),
                }
                Err(self.stopped())
            }
        }
    }

    /// Work that should not take long, and is said to be under way when it does, again and again: it may
    /// hang in a storage or a file system that does not answer.
    pub(super) async fn said_while_it_lasts<T>(
        &self,
        what: &impl std::fmt::Display,
        work: impl Future<Output = T>,
    ) -> T {
        let (mut work, begun) = (std::pin::pin!(work), Stopwatch::start());
        let mut pause = self.ctx.limits.stall_timeout / 2;
        loop {
            if let Ok(done) = tokio::time::timeout(pause, &mut work).await {
                return done;
            }
            let seconds = begun.elapsed().as_secs();
            let vmid = self.plan.guest.vmid;
            tracing::warn!(guest = %vmid, "{what}: still under way after {seconds} s");
            pause = begun.elapsed();
        }
    }

    /// Work that changes nothing, or nothing that could not be done again: dropped at once when the
    /// plan is to end.
    ///
    /// # Errors
    /// That of the work, or why the plan ends.
    pub(super) async fn until_stopped<T, E>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Stopped>
    where
        Stopped: From<E>,
    {
        tokio::select! {
            biased;
            done = work => Ok(done?),
            () = self.stop.cancelled() => Err(self.stopped()),
        }
    }

    /// Why a step ends before its time.
    pub(super) fn stopped(&self) -> Stopped {
        match self.ctx.cancel.is_cancelled() {
            true => Stopped::Interrupted,
            false => Stopped::BecauseOfAnother,
        }
    }

    /// Notes what is left, and that not all is as if the run had not been.
    pub(super) fn leave(&self, what: String) {
        self.state().is_left = true;
        self.warn(what);
    }

    /// A step of a volume that does not begin, or ends, because another one failed.
    pub(super) fn note_stopped(&self, step: &Step, stopped: &Stopped) {
        let Action::Transfer(transfer) = &step.action else { return };
        let Some((disk, volume)) = transfer.moved() else { return };
        if matches!(stopped, Stopped::BecauseOfAnother) {
            self.state().stopped_disks.push(format!("{disk} of {volume}"));
        }
    }

    /// Waits for all of them, so that nothing of a failed group is still at work while it is undone.
    /// The first failure is theirs. Where the plan fails as a whole it stops the others: what they
    /// move, for hours maybe, would be thrown away.
    pub(super) async fn all_of(
        &self,
        mut tasks: JoinSet<Result<(), Stopped>>,
        then: Then,
    ) -> Result<(), Stopped> {
        let mut first = Ok(());
        while let Some(joined) = tasks.join_next().await {
            // A step that panicked is a step that failed.
            let result = joined.unwrap_or_else(|panic| Err(Stopped::Failed(panic.into())));
            self.end_if_failed(then, &result);
            if matches!(first, Ok(()) | Err(Stopped::BecauseOfAnother)) && result.is_err() {
                first = result;
            }
        }
        self.name_stopped_disks();
        first
    }

    /// Where the plan fails as a whole, its other steps end: before the turn of a failed transfer goes to
    /// the next one.
    fn end_if_failed(&self, then: Then, result: &Result<(), Stopped>) {
        if result.is_err() && !self.is_committed() && then == Then::UndoAll {
            self.stop.cancel();
        }
    }

    fn name_stopped_disks(&self) {
        let mut disks = std::mem::take(&mut self.state().stopped_disks);
        disks.sort();
        if !disks.is_empty() {
            self.warn(format!("stopped because of that: {}", disks.join(", ")));
        }
    }
}
