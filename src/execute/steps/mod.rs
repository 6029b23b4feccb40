//! The steps of plans, by the noun that they are done to. Each does one thing to the ctx; which and why
//! stands in the plan, and what it works on in what the guest's turn holds.

mod config;
mod guest;
mod point;
mod transfer;
mod volume;

pub(super) use volume::snapshot_in;

use super::{Execution, Stopped};
use crate::plan::{Action, Step};
use std::sync::Arc;

impl Execution {
    /// Does what a step says.
    pub(super) async fn act(self: &Arc<Self>, step: &Step) -> Result<(), Stopped> {
        match &step.action {
            Action::Volume(action) => self.volume_step(action, step).await,
            Action::Transfer(action) => self.transfer_step(action).await,
            Action::Point(action) => self.point_step(action).await,
            Action::Guest(action) => self.guest_step(action).await,
            Action::Config(action) => self.config_step(action).await,
        }
    }
}
