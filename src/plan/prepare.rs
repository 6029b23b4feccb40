//! What must be there before a guest's own place in a repository can be locked: the repository, the
//! cluster's id, and then the guest's directory, which is named after that id. Plans of their own, without a
//! lock, as there is none yet.

use super::{Action, ConfigAction, Item, OnFailure, Plan, PlanKind, PointAction, Step};
use crate::model::Guest;

/// What is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrepareFacts {
    /// The guest whose turn finds it missing.
    pub guest: Guest,
    /// The repository's directory, if it is no repository yet.
    pub new_repository: Option<String>,
    /// The random bytes of which the cluster's id is made, if the cluster has none yet.
    pub new_cluster_id: Option<[u8; 16]>,
    /// Whether the guest has no directory in the repository yet.
    pub new_directory: bool,
}

impl PrepareFacts {
    /// Nothing is missing.
    pub fn nothing(guest: &Guest) -> Self {
        let (new_repository, new_cluster_id) = (None, None);
        Self { guest: guest.clone(), new_repository, new_cluster_id, new_directory: false }
    }
}

/// Plans what is missing to be made; none when nothing is. Nothing of it is undone, as another run may
/// use it already.
pub fn plan(facts: PrepareFacts) -> Option<Plan> {
    let repository = facts.new_repository.map(|directory| {
        let init: Action = PointAction::InitRepository { directory }.into();
        init.because("it is no repository yet")
    });
    let id = facts.new_cluster_id.map(|random| {
        let create: Action = ConfigAction::CreateClusterId { random }.into();
        create.because("the cluster has none yet")
    });
    let stays = |step: Step| Item::Step(Step { on_failure: OnFailure::STOP, ..step });
    let directory = facts.new_directory.then(|| {
        let create: Action = PointAction::CreateGuestDirectory.into();
        create.because("the guest has none yet")
    });
    let items: Vec<Item> = repository.into_iter().chain(id).chain(directory).map(stays).collect();
    if items.is_empty() {
        return None;
    }
    Some(Plan { kind: PlanKind::Prepare, ..Plan::new(facts.guest, items) })
}
