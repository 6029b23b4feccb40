//! What a backup's plan does about freezes: this run's own, and one that somebody has left. How a guest
//! is frozen and thawed is not for here.

use super::facts::{BackupFacts, BackupPolicy, RunState};
use super::{Action, FREEZE_SECONDS, GuestAction, Item, OTHERS_FREEZE_SECONDS, Scope, Step};

/// The snapshots of a guest whose agent can freeze stand inside a freeze.
pub(super) fn around(
    facts: &BackupFacts,
    policy: &BackupPolicy,
    snapshots: Vec<Step>,
) -> Vec<Item> {
    let snapshots = snapshots.into_iter().map(Item::Step).collect();
    if facts.run_state == RunState::RunningWithAgent {
        let scope = Scope::Frozen { seconds: FREEZE_SECONDS, answer: policy.freeze_timeout };
        return vec![Item::Scope(scope, snapshots)];
    }
    snapshots
}

/// The thaw of a guest that somebody has left frozen. After a dead run of ours it is made sure of even
/// when the guest is thawed now: its freeze may still come. A freeze that no run of this node has noted
/// may be PVE's own while PVE holds its lock, and is left to it; any other may go on for a while.
pub(super) fn thaw(facts: &BackupFacts) -> Option<Step> {
    let can_tell = facts.run_state != RunState::RunningWithoutAgent;
    if !facts.freezes.is_empty() && can_tell {
        let thaw = Action::Guest(GuestAction::Thaw { after: 0 });
        return Some(thaw.because("an interrupted run left it frozen"));
    }
    (facts.found_frozen && facts.lock.is_none()).then(|| {
        let thaw = Action::Guest(GuestAction::Thaw { after: OTHERS_FREEZE_SECONDS });
        thaw.because("it is frozen, and by no run of this node")
    })
}

/// What is to be told of freezes.
pub(super) fn warnings(facts: &BackupFacts) -> Vec<String> {
    let mut warnings = Vec::new();
    if facts.run_state == RunState::RunningAgentSilent {
        let said = facts.agent_said.as_ref().map(|said| format!(" ({said})")).unwrap_or_default();
        warnings
            .push(format!("the guest agent does not answer{said}: the point is crash-consistent"));
    }
    warnings.extend(left(facts));
    warnings
}

/// What is told of the freezes of dead runs.
pub(super) fn left(facts: &BackupFacts) -> impl Iterator<Item = String> {
    let state = match facts.run_state {
        _ if facts.found_frozen => "it was frozen still and is thawed by this run".to_owned(),
        RunState::RunningWithAgent => "it is thawed now".to_owned(),
        RunState::Stopped => "it does not run now".to_owned(),
        RunState::RunningAgentSilent | RunState::RunningWithoutAgent => format!(
            "its agent does not answer now, so look at it (qm guest cmd {} fsfreeze-status, on {})",
            facts.guest.vmid, facts.guest.node
        ),
    };
    facts.freezes.iter().map(move |freeze| format!("{freeze}: {state}"))
}
