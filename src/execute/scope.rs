//! Scopes: opened before their items, and closed after them on every path, be it an error, a panic, the
//! user's wish or a deadline. How one kind of scope is opened and closed has a file of its own.

use super::engine::Hooks;
use super::freeze::{FrozenGuest, Snapshots};
use super::{Execution, Stopped};
use crate::plan::{Item, Scope, StepId};
use std::sync::Arc;
use tokio::task::JoinHandle;

/// A scope that is open.
pub(super) enum Opened {
    /// The guest is frozen, or asked to freeze.
    Frozen(Box<FrozenGuest>),
    /// It could not be opened, and its items are carried out all the same.
    Without,
}

impl Execution {
    /// Opens a scope.
    ///
    /// # Errors
    /// None of its items may be begun; nothing is to be closed.
    pub(super) async fn open(&self, scope: Scope) -> Result<Opened, Stopped> {
        match scope {
            Scope::Frozen { seconds, answer } => {
                let frozen = self.freeze(seconds, answer).await?;
                Ok(frozen.map_or(Opened::Without, |frozen| Opened::Frozen(Box::new(frozen))))
            }
        }
    }

    /// Carries out the items of an open scope, and closes it. They stand in a task of their own, so that a
    /// panic in them leaves nothing open, and so that a scope which may not stay open any longer is closed
    /// although they are under way.
    pub(super) async fn within(
        self: &Arc<Self>,
        mut opened: Opened,
        items: &[Item],
        first: StepId,
        hooks: Hooks,
    ) -> Result<(), Stopped> {
        if self.ctx.cancel.is_cancelled() && !self.is_committed() {
            self.close(opened, None).await;
            return Err(Stopped::Interrupted);
        }
        let (execution, items) = (self.clone(), items.to_vec());
        let mut work: JoinHandle<Result<(), Stopped>> =
            tokio::spawn(async move { execution.run_items(&items, first, hooks).await });
        let joined = tokio::select! {
            joined = &mut work => Some(joined),
            () = self.may_not_stay_open(&mut opened) => None,
        };
        let made = if joined.is_some() { Snapshots::All } else { Snapshots::TooLate };
        self.close(opened, Some(made)).await;
        let is_late = joined.is_none();
        let joined = match joined {
            Some(joined) => joined,
            // They hear the user's wish, too, and end by themselves. Aborted, they could still begin to
            // make something while what was made is undone.
            None => work.await,
        };
        if is_late && self.ctx.cancel.is_cancelled() {
            return Err(Stopped::Interrupted);
        }
        joined.unwrap_or_else(|panic| Err(Stopped::Failed(panic.into())))
    }

    /// Returns when the scope is to be closed although its items are under way; for most never.
    async fn may_not_stay_open(&self, opened: &mut Opened) {
        match opened {
            Opened::Frozen(frozen) => self.may_not_stay_frozen(frozen).await,
            Opened::Without => std::future::pending().await,
        }
    }

    /// Closes it: the only place where that is done.
    async fn close(&self, opened: Opened, made: Option<Snapshots>) {
        match opened {
            Opened::Frozen(frozen) => self.thaw(*frozen, made).await,
            Opened::Without => {}
        }
    }
}
