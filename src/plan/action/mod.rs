//! The closed set of things that a plan can do, by the noun that they are done to. What is done to it,
//! its words, what it destroys and how it ends stand beside each other in the noun's file; doing it is
//! `execute`'s.

mod config;
mod guest;
mod point;
mod transfer;
mod volume;

pub use config::ConfigAction;
pub use guest::GuestAction;
pub use point::PointAction;
pub use transfer::TransferAction;
pub use volume::VolumeAction;

use super::Step;
use super::rule::Broken;
use super::tally::{Seen, Tally};

/// One thing that a plan can do.
// A plan has some dozens of steps: their size in memory does not matter.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// To a volume or a snapshot on its storage.
    Volume(VolumeAction),
    /// Data between a volume and a repository.
    Transfer(TransferAction),
    /// To restore points and what belongs to them in a repository.
    Point(PointAction),
    /// To a guest as a whole.
    Guest(GuestAction),
    /// With a guest's configuration.
    Config(ConfigAction),
}

/// How a step hears that its plan is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It is waited for, but not for long: then its command is killed, and it is named.
    Soon,
    /// It hears by itself, and is waited for: its work stands on a thread that nobody can end from
    /// outside, or must not be left half (a thaw, a commit).
    ByItself,
    /// It takes as long as there is data, and has a watch of its own.
    WithItsData,
}

impl Action {
    /// Verb and object, as a printed plan shows them.
    pub(super) fn words(&self) -> (&'static str, String) {
        match self {
            Self::Volume(action) => action.words(),
            Self::Transfer(action) => action.words(),
            Self::Point(action) => action.words(),
            Self::Guest(action) => action.words(),
            Self::Config(action) => action.words(),
        }
    }

    /// More lines of a printed plan.
    pub(super) fn details(&self) -> &[String] {
        match self {
            Self::Config(action) => action.details(),
            _ => &[],
        }
    }

    /// Whether consecutive actions of this kind are carried out at the same time.
    pub fn runs_beside_its_neighbours(&self) -> bool {
        match self {
            Self::Volume(action) => matches!(action, VolumeAction::CreateSnapshot { .. }),
            Self::Transfer(action) => {
                !matches!(action, TransferAction::Audit { .. } | TransferAction::Compare(_))
            }
            Self::Point(_) | Self::Guest(_) | Self::Config(_) => false,
        }
    }

    /// Whether both may be carried out at the same time, when they stand one after the other.
    pub fn runs_beside(&self, other: &Self) -> bool {
        self.runs_beside_its_neighbours() && self.is_like(other)
    }

    fn is_like(&self, other: &Self) -> bool {
        use std::mem::discriminant;
        match (self, other) {
            (Self::Volume(a), Self::Volume(b)) => discriminant(a) == discriminant(b),
            (Self::Transfer(a), Self::Transfer(b)) => discriminant(a) == discriminant(b),
            _ => false,
        }
    }

    /// Whether the action takes something away that was there before the run.
    pub fn destroys(&self) -> bool {
        match self {
            Self::Volume(action) => action.destroys(),
            Self::Transfer(_) => false,
            Self::Point(action) => action.destroys(),
            Self::Guest(action) => action.destroys(),
            Self::Config(action) => action.destroys(),
        }
    }

    /// Whether it proves that what follows a base stands, wherever that was written to: only then may the
    /// base go. Another kind of proof is added here and nowhere else.
    pub(super) fn proves(&self) -> bool {
        matches!(self, Self::Point(PointAction::Commit))
    }

    /// Adds what the action does to what the steps before it do.
    pub(super) fn count<'a>(&'a self, tally: &mut Tally<'a>) {
        tally.steps += 1;
        tally.destroying += usize::from(self.destroys());
        tally.proofs += usize::from(self.proves());
        match self {
            Self::Volume(action) => action.count(tally),
            Self::Transfer(action) => action.count(tally),
            Self::Point(action) => action.count(tally),
            Self::Guest(action) => action.count(tally),
            Self::Config(action) => action.count(tally),
        }
    }

    /// The rules about its own noun that it breaks where it stands.
    pub(super) fn check(&self, seen: &Seen<'_>, broken: &mut Broken) {
        match self {
            Self::Volume(action) => action.check(seen, broken),
            Self::Transfer(action) => action.check(seen, broken),
            Self::Point(action) => action.check(seen, broken),
            Self::Guest(action) => action.check(seen, broken),
            Self::Config(action) => action.check(seen, broken),
        }
    }

    /// How it ends when its plan is to end before its time.
    pub fn ending(&self) -> Ending {
        match self {
            Self::Volume(_) | Self::Config(ConfigAction::Write { .. }) => Ending::Soon,
            Self::Transfer(_)
            | Self::Point(PointAction::Merge { .. })
            | Self::Point(PointAction::Verify { .. }) => Ending::WithItsData,
            Self::Guest(action) => action.ending(),
            Self::Point(_) | Self::Config(_) => Ending::ByItself,
        }
    }

    /// The action as a step that needs no reason.
    pub fn step(self) -> Step {
        Step::new(self, String::new())
    }

    /// The action as a step with its reason.
    pub fn because(self, reason: impl Into<String>) -> Step {
        Step::new(self, reason.into())
    }
}

impl From<VolumeAction> for Action {
    fn from(action: VolumeAction) -> Self {
        Self::Volume(action)
    }
}

impl From<TransferAction> for Action {
    fn from(action: TransferAction) -> Self {
        Self::Transfer(action)
    }
}

impl From<PointAction> for Action {
    fn from(action: PointAction) -> Self {
        Self::Point(action)
    }
}

impl From<GuestAction> for Action {
    fn from(action: GuestAction) -> Self {
        Self::Guest(action)
    }
}

impl From<ConfigAction> for Action {
    fn from(action: ConfigAction) -> Self {
        Self::Config(action)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_and_a_thaw_are_never_broken_off() {
        assert_eq!(Action::Point(PointAction::Commit).ending(), Ending::ByItself);
        assert_eq!(Action::Guest(GuestAction::Thaw { after: 0 }).ending(), Ending::ByItself);
        let start = Action::Guest(GuestAction::Start { vmid: 100.try_into().unwrap() });
        assert_eq!(start.ending(), Ending::Soon);
    }
}
