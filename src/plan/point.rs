//! Decides what a person's act on one restore point comes to: it goes or is hidden, or is marked. Pure.
//! Which points rules of retention remove is not here: that is `prune`.

use super::prune::{StoredFact, removed};
use super::{Action, Item, NamedPoint, OnFailure, Plan, PointAction, RemovedPoint, Step, failure};
use crate::model::{Guest, OperationKind, VmId};

/// What is to be done with the point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PointAct {
    /// It goes; also the newest one, but no protected one.
    Delete,
    /// It stays whatever the rules of retention say.
    Protect {
        /// What is noted about it; `None` leaves what is noted.
        notes: Option<String>,
    },
    /// The rules of retention apply to it again.
    Unprotect {
        /// What is noted about it; `None` leaves what is noted.
        notes: Option<String>,
    },
}

impl PointAct {
    /// The operation.
    pub fn kind(&self) -> OperationKind {
        match self {
            Self::Delete => OperationKind::Delete,
            Self::Protect { .. } => OperationKind::Protect,
            Self::Unprotect { .. } => OperationKind::Unprotect,
        }
    }
}

/// All that an act depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PointFacts {
    /// The guest, as the point tells.
    pub guest: Guest,
    /// The point that the person means.
    pub named: NamedPoint,
    /// All points of the guest that are there, by `seq`.
    pub points: Vec<StoredFact>,
}

/// Why nothing is done. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoAct {
    /// It went before its directory could be locked.
    #[error("point {0} of guest {1} is gone")]
    Gone(NamedPoint, VmId),
    /// A person protected it.
    #[error("point {0} of guest {1} is protected; unprotect it first")]
    Protected(NamedPoint, VmId),
}

/// Plans what a person does with one point.
///
/// # Errors
/// The point is gone, or may not be removed.
pub fn plan(facts: &PointFacts, act: &PointAct) -> Result<Plan, NoAct> {
    let (named, vmid) = (&facts.named, facts.guest.vmid);
    let point = facts.points.iter().find(|point| point.id == named.id);
    let point = point.ok_or_else(|| NoAct::Gone(named.clone(), vmid))?;
    let step = match act {
        PointAct::Delete if point.protected => {
            return Err(NoAct::Protected(named.clone(), vmid));
        }
        PointAct::Delete => removal(removed(&facts.points, point)),
        PointAct::Protect { notes } => {
            Action::Point(PointAction::Protect { point: named.clone(), notes: notes.clone() })
                .step()
        }
        PointAct::Unprotect { notes } => {
            Action::Point(PointAction::Unprotect { point: named.clone(), notes: notes.clone() })
                .step()
        }
    };
    let mut items = vec![Item::Step(step)];
    failure::all(&mut items, OnFailure::STOP);
    let if_interrupted = "nothing was changed";
    Ok(Plan { if_interrupted, ..Plan::new(facts.guest.clone(), items) })
}

/// A point that others need only leaves the user's sight.
fn removal(point: RemovedPoint) -> Step {
    let point = RemovedPoint { is_named: true, ..point };
    if point.needed_by.is_empty() {
        return Action::Point(PointAction::Delete(point)).because("it was asked for");
    }
    let action = Action::Point(PointAction::Hide(point));
    action.because("it was asked for; newer points need its images")
}
