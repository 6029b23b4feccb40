//! The kind of failure that the error of a step is. What it means for the plan stands in the plan.

use super::{Execution, FoundDamage, damaged_file};
use crate::report::Failure;
use crate::repository::RepositoryError;

/// The kind of failure, as far as the error's chain tells.
pub(super) fn kind(error: &anyhow::Error) -> Failure {
    if damaged_file(error).is_some() || error.chain().any(|e| e.is::<FoundDamage>()) {
        return Failure::Damage;
    }
    match error.chain().find_map(|e| e.downcast_ref::<RepositoryError>()) {
        Some(RepositoryError::Damaged { .. } | RepositoryError::Incomplete { .. }) => {
            Failure::Damage
        }
        Some(RepositoryError::Taken { .. }) => Failure::Conflict,
        Some(RepositoryError::Locked { .. }) => Failure::Locked,
        _ => Failure::Other,
    }
}

impl Execution {
    /// The error with what the plan says that is to be done about damage.
    pub(super) fn with_advice(&self, kind: Failure, error: anyhow::Error) -> anyhow::Error {
        match self.plan.if_damaged {
            "" => error,
            advice if kind == Failure::Damage => anyhow::anyhow!("{error:#}; {advice}"),
            _ => error,
        }
    }
}
