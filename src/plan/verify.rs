//! Checking what is stored of a guest, and noting what was found. Two plans, as the first only reads:
//! others may read beside it, and its lock is given back before the second one's is taken. Pure.

use super::compare::ComparedPoint;
use super::{Action, Item, OnFailure, Plan, PlanKind, PointAction, Step};
use crate::model::{Guest, Label, Share, counted};

/// What is to be checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyFacts {
    /// The guest, as far as its directory's name tells.
    pub guest: Guest,
    /// The guest's directory, as a person names it.
    pub directory: String,
    /// Only points of this label.
    pub label: Option<Label>,
    /// The part of the data that is read; all of it when absent.
    pub part: Option<Share>,
}

/// What a check found, by the directories of points, relative to the guest's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundFacts {
    /// The guest, as far as its directory's name tells.
    pub guest: Guest,
    /// Points that were read whole, without damage.
    pub good: Vec<String>,
    /// Points that cannot be restored whole.
    pub failed: Vec<String>,
}

/// What is noted with points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Marks {
    /// What reading them found.
    Verified {
        /// The directories of points that are good, relative to the guest's.
        good: Vec<String>,
        /// Those of points that have failed; no increment follows what is damaged of them.
        failed: Vec<String>,
    },
    /// What comparing one with its source found; no increment follows what differs.
    Compared(ComparedPoint),
}

impl Marks {
    pub(super) fn words(&self) -> (&'static str, String) {
        match self {
            Self::Verified { good, failed } => {
                let part = |points: &[String], what: &str| {
                    (!points.is_empty())
                        .then(|| format!("{} as {what}", counted(points.len(), "point")))
                };
                let parts = [part(failed, "failed"), part(good, "good")];
                ("mark points", parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
            }
            Self::Compared(point) => point.words(),
        }
    }
}

/// Plans a check.
pub fn plan(facts: &VerifyFacts) -> Plan {
    let VerifyFacts { guest, directory, label, part } = facts.clone();
    let action = PointAction::Verify { directory, label, part };
    Plan::new(guest, vec![Item::Step(check(action))])
}

/// Plans what is noted of it. An image that failed before and was read well now is no longer held
/// against its points, so that there is something to note even where no point is judged.
pub fn mark(found: &FoundFacts) -> Plan {
    let FoundFacts { guest, good, failed } = found.clone();
    noting(guest, vec![Marks::Verified { good, failed }])
}

/// A step whose findings are results.
pub(super) fn check(action: impl Into<Action>) -> Step {
    Step { on_failure: OnFailure::FINDING, ..action.into().step() }
}

/// The plan that notes these.
pub(super) fn noting(guest: Guest, marks: Vec<Marks>) -> Plan {
    let step = |marks| {
        let action: Action = PointAction::Mark(marks).into();
        Item::Step(Step { on_failure: OnFailure::NOT_DONE, ..action.step() })
    };
    let items = marks.into_iter().map(step).collect();
    Plan { kind: PlanKind::Findings, ..Plan::new(guest, items) }
}
