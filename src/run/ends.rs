//! How a guest's turn ended, in words and as a kind of failure.

use crate::execute::{FoundDamage, Stopped};
use crate::operation::{NoLock, Refusal};
use crate::report::{Failure, GuestOutcome};
use crate::repository::RepositoryError;

/// The user stopped the run in, or before, a guest's turn; what became of it follows.
#[derive(Debug, thiserror::Error)]
#[error("interrupted; {0}")]
pub struct Interrupted(pub &'static str);

/// The kind of failure that an error is, as far as its chain tells.
pub fn failure_of(error: &anyhow::Error) -> Failure {
    if let Some(no_lock) = error.chain().find_map(|e| e.downcast_ref::<NoLock>()) {
        return no_lock.failure();
    }
    if error.chain().any(|e| e.is::<Interrupted>()) {
        return Failure::Interrupted;
    }
    let repository = error.chain().find_map(|e| e.downcast_ref::<RepositoryError>());
    repository.map_or(Failure::Other, kind_of)
}

/// The kind of failure that an error of a repository is.
pub fn kind_of(error: &RepositoryError) -> Failure {
    match error {
        RepositoryError::Locked { .. } => Failure::Locked,
        _ => Failure::Other,
    }
}

pub(super) fn refused(refusal: Refusal, outcome: GuestOutcome) -> GuestOutcome {
    match refusal {
        Refusal::Skipped(reason) => outcome.skipped_because(reason),
        Refusal::Failed(failure, error) => outcome.failed(failure, format!("{error:#}")),
    }
}

/// The outcome of a guest whose plan was stopped, and what stands there then.
pub(super) fn stopped_outcome(
    stopped: Stopped,
    outcome: GuestOutcome,
    stands: &str,
) -> GuestOutcome {
    match stopped {
        Stopped::Interrupted => {
            outcome.failed(Failure::Interrupted, format!("interrupted; {stands}"))
        }
        Stopped::InterruptedHalfway => {
            let text = "interrupted; the warnings name what is left, and the next run of the guest looks for it";
            outcome.failed(Failure::Interrupted, text.to_owned())
        }
        Stopped::BecauseOfAnother => {
            outcome.failed(Failure::Other, "stopped, as another step failed".to_owned())
        }
        Stopped::Changed(what) => outcome.failed(
            Failure::Other,
            format!("{what}, twice within one run; nothing was changed, run it again"),
        ),
        Stopped::Ended(failure, error) => outcome.failed(failure, format!("{error:#}")),
        Stopped::Damaged(what) => outcome.failed(Failure::Damage, what),
        Stopped::Failed(error) => {
            let damage = error.chain().any(|e| e.is::<FoundDamage>());
            let failure = if damage { Failure::Damage } else { Failure::Other };
            outcome.failed(failure, format!("{error:#}"))
        }
    }
}
