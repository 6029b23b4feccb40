//! One file per command that acts: what is wanted, whom it is about, and the next plan for one of them.
//! The loop that runs them all is [`crate::run`]'s; what a plan may change stands in it and nowhere else.

mod adopt;
mod api_guests;
mod assemble;
mod audit;
mod backup;
mod copy;
mod guests;
mod point;
mod prepare;
mod prune;
mod repair;
mod reset;
mod restore;
mod rollback;
mod snapshot;
mod turn;
mod verify;
mod waiting;

pub use crate::plan::point::PointAct;
pub use adopt::AdoptRequest;
pub use api_guests::{Snapshots, list_snapshots};
pub use assemble::AssembleRequest;
pub use audit::{AuditRequest, unnoted_comparison};
pub use backup::BackupRequest;
pub use copy::CopyRequest;
pub use point::{PointRequest, point_name};
pub use prune::PruneRequest;
pub use repair::RepairRequest;
pub use reset::{ResetRequest, ResetTarget, owner_of as volume_owner};
pub use restore::RestoreRequest;
pub use rollback::RollbackRequest;
pub use snapshot::{SnapshotRequest, SnapshotSubject};
pub use turn::{Progressed, Turn};
pub use verify::{CheckRequest, Meant, StoredOf, unnoted_damage};
pub use waiting::NoLock;

use crate::context::Context;
use crate::model::{Guest, OperationKind};
use crate::plan::Plan;
use crate::report::{Failure, GuestOutcome, Report};
use crate::repository::{Repository, RepositoryError};
use crate::run::{Findings, failure_of};
use std::sync::Arc;

/// What a command does, one guest after the other.
pub trait Operation: Send + Sync + 'static {
    /// One guest, with what the operation must know of it before its turn.
    type Subject: Send + Sync + 'static;

    /// Its row in the table of operations: its name in reports, what it needs, when a person is asked.
    fn kind(&self) -> OperationKind;

    /// Whom it is about, in the order of their turns.
    ///
    /// # Errors
    /// That cannot be found out: nobody has a turn.
    fn select(
        &self,
        ctx: &Arc<Context>,
    ) -> impl Future<Output = anyhow::Result<Selected<Self::Subject>>> + Send;

    /// The guest, as reports name it until a plan knows more.
    fn guest(&self, subject: &Self::Subject) -> Guest;

    /// What is known of its outcome before anything is done.
    fn outcome(&self, subject: &Self::Subject) -> GuestOutcome {
        GuestOutcome::new(&self.guest(subject))
    }

    /// What is to be done for it next, by the world as it is now and what came of its plans so far. It
    /// only reads, and takes the locks that the plan needs.
    ///
    /// # Errors
    /// Nothing more is done for it; what was done before stays.
    fn next(
        &self,
        ctx: &Arc<Context>,
        subject: &Self::Subject,
        turn: &mut Turn,
    ) -> impl Future<Output = Result<Next, Refusal>> + Send;

    /// The outcome when nothing is left to do.
    fn judge(&self, _subject: &Self::Subject, _turn: &Turn, outcome: GuestOutcome) -> GuestOutcome {
        outcome
    }

    /// The place that a turn is about, as the user names it, where a guest may have several.
    fn place(&self, _subject: &Self::Subject) -> String {
        String::new()
    }

    /// The report of the run as a whole, where what its steps found says more than its guests do.
    fn judge_run(&self, report: Report, _turns: &[Findings]) -> Report {
        report
    }

    /// What is to be said of the run as a whole, after all turns.
    ///
    /// # Errors
    /// What it is about cannot be read.
    fn afterwards(&self, _world: &Arc<Context>) -> anyhow::Result<Vec<String>> {
        Ok(Vec::new())
    }
}

/// Whom an operation is about.
pub struct Selected<S> {
    /// In the order of their turns.
    pub subjects: Vec<S>,
    /// What of the selection named nothing.
    pub not_found: Vec<String>,
    /// The repository that is written to, if it was none yet when the run began.
    pub uninitialized: Option<Repository>,
}

impl<S> Selected<S> {
    /// These, and nothing was named that is not there.
    pub fn all(subjects: Vec<S>) -> Self {
        Self { subjects, not_found: Vec::new(), uninitialized: None }
    }

    /// The same for work that writes to this repository.
    ///
    /// # Errors
    /// The file system does not answer.
    pub fn into(self, target: &Repository) -> Result<Self, RepositoryError> {
        let uninitialized = (!target.is_begun()?).then(|| target.clone());
        Ok(Self { uninitialized, ..self })
    }
}

/// What is to be done for a guest.
// There is one at a time: its size in memory does not matter.
#[allow(clippy::large_enum_variant)]
pub enum Next {
    /// This; then the operation is asked again.
    Plan(Plan),
    /// Something, for which the world is changed before a plan can be made of it: the guest's hooks hear
    /// of its start first.
    Begin,
    /// Nothing more.
    Done,
    /// Nothing of what was asked for was there: the report is not about this guest.
    Nothing,
}

/// Why nothing is done for a guest. Nothing of it was changed.
pub enum Refusal {
    /// Its configuration leaves it out.
    Skipped(String),
    /// It cannot be done.
    Failed(Failure, anyhow::Error),
}

impl Refusal {
    /// Another guest's transfer hangs in the file system of the repository.
    pub fn repository_hangs() -> Self {
        let text = "the file system of the repository does not answer, a transfer hangs in it; nothing was changed for this guest: look at its mount and its server, and run this again";
        Self::Failed(Failure::Other, anyhow::anyhow!(text))
    }
}

impl<E: Into<anyhow::Error>> From<E> for Refusal {
    fn from(error: E) -> Self {
        let error = error.into();
        Self::Failed(failure_of(&error), error)
    }
}
