//! What an operation knows of a guest's turn while it is asked for one plan after the other.

use super::waiting;
use crate::context::Context;
use crate::execute::{Executed, Finding, Held, StepResult, StoredGuest};
use crate::model::Guest;
use crate::plan::{Action, Plan, PlanKind, StepId};
use crate::repository::{GuestDir, Lock, LockMode};
use crate::run::Mode;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::Refusal;

/// What came of a guest's plans so far.
#[derive(Default)]
pub struct Progressed {
    /// Plans that got through, or that a dry run has shown.
    pub plans: usize,
    /// Of these, those that only prepared the repository.
    pub prepared: usize,
    /// What came of the steps of the plan that was carried out last; nothing in a dry run.
    pub results: BTreeMap<StepId, StepResult>,
    /// What failed so far although its plan went on, and why, in words.
    pub failed: Vec<(Action, String)>,
    /// What their steps gave that the next plan, the outcome or whoever shows it needs, in their order.
    pub findings: Vec<Finding>,
}

impl Progressed {
    /// Notes a plan that only was made.
    pub fn note_planned(&mut self, plan: &Plan) {
        self.plans += 1;
        self.prepared += usize::from(plan.kind == PlanKind::Prepare);
    }

    /// Notes a plan that was carried out.
    pub fn note(&mut self, plan: &Plan, executed: &mut Executed) {
        self.findings.append(&mut executed.findings);
        if executed.stopped.is_none() {
            self.note_planned(plan);
        }
        self.results.clone_from(&executed.results);
        let failed = (0..).zip(plan.steps()).filter_map(|(id, step)| match self.results.get(&id) {
            Some(StepResult::Failed(why)) => Some((step.action.clone(), why.clone())),
            _ => None,
        });
        self.failed.extend(failed);
    }
}

/// One guest's turn, as an operation sees it. Whether it is a dry run is the loop's to know: then no lock
/// is taken.
pub struct Turn {
    ctx: Arc<Context>,
    mode: Mode,
    /// What it holds until its end.
    pub held: Held,
    /// What came of its plans so far.
    pub progressed: Progressed,
    /// The guest as the survey found it, where that is not as it was selected: it may have moved.
    pub guest: Option<Guest>,
    /// Why nothing is done once the plan that was just given is through: what an interrupted run left
    /// is put right all the same.
    pub refusal: Option<Refusal>,
    /// Whether the guest's hooks have heard of its start.
    pub is_begun: bool,
    /// Whether a thread of it hangs in the file system of the repository.
    pub is_stuck: bool,
}

impl Turn {
    /// A turn that begins.
    pub fn new(ctx: Arc<Context>, mode: Mode) -> Self {
        let (held, progressed) = (Held::default(), Progressed::default());
        Self {
            ctx,
            mode,
            held,
            progressed,
            guest: None,
            refusal: None,
            is_begun: false,
            is_stuck: false,
        }
    }

    /// Whether nothing has been planned in it so far that does the work.
    pub fn is_first(&self) -> bool {
        self.progressed.plans == self.progressed.prepared
    }

    /// Takes a lock on a guest's directory; waiting for it must not stop other guests. A dry run takes
    /// none.
    ///
    /// # Errors
    /// Another run holds it, or the user stopped the wait.
    pub async fn lock(
        &self,
        directory: &GuestDir,
        mode: LockMode,
        what: &str,
    ) -> anyhow::Result<Option<Lock>> {
        if self.mode == Mode::DryRun {
            return Ok(None);
        }
        waiting::lock(&self.ctx, directory, mode, what).await.map(Some)
    }

    /// Takes the exclusive lock of the directory that is written to, unless the turn holds it already.
    ///
    /// # Errors
    /// As [`Turn::lock`].
    pub async fn hold(&mut self, directory: &GuestDir, what: &str) -> anyhow::Result<()> {
        if self.held.stored.is_some() {
            return Ok(());
        }
        let lock = self.lock(directory, LockMode::Exclusive, what).await?;
        let stored = |lock| Arc::new(StoredGuest { directory: directory.clone(), lock });
        self.held.stored = lock.map(stored);
        Ok(())
    }

    /// Takes the shared lock of a directory that is only read: nothing removes what is read.
    ///
    /// # Errors
    /// As [`Turn::lock`].
    pub async fn read(&mut self, directory: &GuestDir, what: &str) -> anyhow::Result<()> {
        let lock = self.lock(directory, LockMode::Shared, what).await?;
        let stored = |lock| Arc::new(StoredGuest { directory: directory.clone(), lock });
        self.held.stored = lock.map(stored);
        Ok(())
    }

    /// Gives the lock of a directory that was read back and takes the exclusive one, as what was found is
    /// to be noted. Between the two another run may have had it.
    ///
    /// # Errors
    /// As [`Turn::lock`].
    pub async fn upgrade(&mut self, directory: &GuestDir, what: &str) -> anyhow::Result<()> {
        let read = self.held.stored.take();
        tokio::task::spawn_blocking(move || drop(read)).await?;
        self.held.found = self.progressed.findings.clone().into();
        self.hold(directory, what).await
    }

    /// Lets go of all that it holds, to be surveyed anew.
    pub async fn again(&mut self) {
        let held = std::mem::take(&mut self.held);
        let_go(held, false).await;
    }

    /// Ends it; a file system that is known not to answer is not waited for.
    pub async fn let_go(self) {
        let_go(self.held, self.is_stuck).await;
    }
}

/// Locks are files on a disk: giving them back may take for ever where that disk is known not to answer.
async fn let_go(held: Held, is_stuck: bool) {
    let gone = tokio::task::spawn_blocking(move || drop(held));
    if !is_stuck {
        // A panic in it has been told; what the run did stays done.
        let _ = gone.await;
    }
}
