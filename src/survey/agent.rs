//! Whether a guest runs, and what its agent says: asked of every guest that is to be frozen, as a run
//! that died may have left it so. Not for thawing it: that is in the plan.

use crate::model::GuestKind;
use crate::plan::facts::RunState;
use crate::pve::{ControlError, FreezeStatus, GuestConfig, GuestControl, GuestStatus};

/// What a guest's node and its agent say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SurveyedAgent {
    /// Whether the guest runs, and whether it can be frozen.
    pub run_state: RunState,
    /// Whether it is frozen now.
    pub is_frozen: bool,
    /// What was said in place of an answer, where it is not just that no agent answers.
    pub said: Option<String>,
}

/// Asks both.
///
/// # Errors
/// Nobody knows whether the guest runs.
pub async fn agent(
    control: &GuestControl,
    config: &GuestConfig,
) -> Result<SurveyedAgent, ControlError> {
    let surveyed = |run_state| SurveyedAgent { run_state, is_frozen: false, said: None };
    if control.status().await? == GuestStatus::Stopped {
        return Ok(surveyed(RunState::Stopped));
    }
    if control.kind == GuestKind::Lxc || !config.freeze_enabled() {
        return Ok(surveyed(RunState::RunningWithoutAgent));
    }
    Ok(match control.freeze_status().await {
        Ok(status) => SurveyedAgent {
            is_frozen: status == FreezeStatus::Frozen,
            ..surveyed(RunState::RunningWithAgent)
        },
        Err(error) => SurveyedAgent {
            said: (!error.is_no_agent()).then(|| in_one_line(error)),
            ..surveyed(RunState::RunningAgentSilent)
        },
    })
}

fn in_one_line(error: ControlError) -> String {
    let text = format!("{:#}", anyhow::Error::from(error));
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
