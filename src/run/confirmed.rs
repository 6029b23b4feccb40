//! Work that a person is asked about first: all guests are planned without locks, shown, and asked about
//! once. Then every turn plans again and runs, and does nothing that destroys what was not shown.

use super::{Interrupted, Mode, Performed, Way, job, selected_in_turns};
use crate::context::Context;
use crate::model::{Confirmation, VmId};
use crate::operation::Operation;
use crate::plan::{Action, Plan, Step};
use std::sync::Arc;

/// Shows plans and asks a person; a no is its error. It may wait for an answer as long as it takes.
pub type Confirm = Box<dyn FnOnce(&[Plan]) -> anyhow::Result<()> + Send>;

/// Runs an operation once a person has said yes to its plans. Where they destroy nothing nobody is asked,
/// unless it was chosen from lists: then the question shows what came of the choice. Where no guest has a plan, that is the result: no hook is called for it, as none is before the yes.
///
/// # Errors
/// The answer was no, the user wished to stop before it, or what [`super::run`] says; nothing was changed.
pub async fn confirmed<O: Operation>(
    ctx: Arc<Context>,
    operation: O,
    confirm: Confirm,
) -> anyhow::Result<Performed> {
    let operation = Arc::new(operation);
    let planned = selected_in_turns(ctx.clone(), operation.clone(), Mode::DryRun.into()).await?;
    if ctx.cancel.is_cancelled() {
        return Err(Interrupted("nothing was changed").into());
    }
    if planned.plans.is_empty() {
        return Ok(planned);
    }
    let shown = Shown::of(&planned.plans);
    let is_chosen = operation.kind().row().confirmation == Confirmation::Chosen;
    if is_chosen || !shown.0.is_empty() {
        // On a thread of its own, as the answer takes its time and signals are to be heard meanwhile.
        tokio::task::spawn_blocking(move || confirm(&planned.plans)).await??;
    }
    job(ctx, operation, Way { mode: Mode::Execute, shown: Some(shown) }).await
}

/// What a person has seen of what will be destroyed.
#[derive(Clone)]
pub(super) struct Shown(Arc<Vec<(VmId, Action)>>);

impl Shown {
    fn of(plans: &[Plan]) -> Self {
        let of_one = |plan: &Plan| {
            let vmid = plan.guest.vmid;
            destroying(plan).map(|step| (vmid, step.action.clone())).collect::<Vec<_>>()
        };
        Self(Arc::new(plans.iter().flat_map(of_one).collect()))
    }

    /// Why a plan is not what was said yes to; none where all that it destroys was shown. The world went
    /// on while the person read.
    pub(super) fn beyond(&self, plan: &Plan) -> Option<String> {
        let is_shown = |step: &Step| {
            let mut shown = self.0.iter().filter(|(vmid, _)| *vmid == plan.guest.vmid);
            shown.any(|(_, action)| *action == step.action)
        };
        let new = destroying(plan).find(|step| !is_shown(step))?;
        Some(format!(
            "{new}: that was not shown before the question, the guest has changed since; nothing of the plan was done, run it again"
        ))
    }
}

fn destroying(plan: &Plan) -> impl Iterator<Item = &Step> {
    plan.steps().filter(|step| step.action.destroys())
}
