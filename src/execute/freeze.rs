//! The frozen scope: guard, freeze, snapshots, thaw, in this order and on every path. It contains
//! nothing but snapshot creation, and what a point is worth is decided by the thaw.

use super::guard::{self, Guard};
use super::state::Frozen;
use super::{Execution, Stopped, Work};
use crate::clock::{Stopwatch, boot_id};
use crate::plan::Step;
use crate::pve::GuestControl;
use crate::repository::FreezeRecord;
use std::sync::Arc;
use std::time::Duration;

impl Execution {
    /// Runs the steps while the guest is frozen. A guest that cannot be frozen, or cannot be
    /// guarded, is not left without a backup: its snapshots are made all the same, and the point
    /// says that it is worth less.
    pub(super) async fn while_frozen(
        self: Arc<Self>,
        seconds: u32,
        steps: &[Step],
    ) -> Result<(), Stopped> {
        let Work::Backup(work) = &self.work else {
            return Err(Stopped::Failed(anyhow::anyhow!("only a backup freezes a guest")));
        };
        self.state().seen_running = true;
        self.state().frozen = Frozen::Broken;
        let node = self.plan.guest.node.clone();
        let control = &work.control;
        let guard = match self.arm(seconds).await {
            Ok(guard) => guard,
            Err(error) => {
                self.warn(format!("not frozen, as nothing would thaw it for sure: {error:#}"));
                return self.run_beside(steps.iter()).await;
            }
        };
        let stays = self.world.cancel.open(format!(
            "guest {} on {node} frozen until its guard ({guard}) thaws it",
            self.plan.guest.vmid
        ));
        let begun = Stopwatch::start();
        let frozen = control.freeze(Duration::from_secs(seconds.into())).await;
        let result = self.clone().run_beside(steps.iter()).await;
        let snapshots_done = begun.elapsed();
        let thawed = self.thaw(control).await;
        self.state().outcome.frozen_seconds = Some(begun.elapsed().as_secs_f64());
        drop(stays);
        let verdict = verdict(&frozen, &thawed, snapshots_done, seconds);
        self.close(control, guard, thawed.is_ok()).await;
        match verdict {
            Ok(()) => self.state().frozen = Frozen::Held,
            Err(why) => self.warn(format!("crash-consistent only: {why}")),
        }
        result
    }

    async fn arm(&self, seconds: u32) -> anyhow::Result<Guard> {
        let Work::Backup(work) = &self.work else { anyhow::bail!("only a backup freezes a guest") };
        let guest = &self.plan.guest;
        let token = work.token();
        work.with_draft(|draft| {
            draft.note_freeze(&FreezeRecord {
                host: crate::transport::host_name(),
                boot_id: boot_id().unwrap_or_default(),
                pid: std::process::id(),
                node: guest.node.clone(),
                vmid: guest.vmid,
                armed_at: self.world.clock.now(),
                deadline_seconds: seconds.into(),
                guard: format!("pve-ferry-thaw-{}-{token}", guest.vmid),
            })
        })??;
        Ok(guard::arm(&work.control, seconds, &token).await?)
    }

    /// Thaws, and tries once more: a guest that stays frozen is worse than a backup that is late.
    async fn thaw(&self, control: &GuestControl) -> anyhow::Result<u64> {
        match control.thaw().await {
            Ok(count) => Ok(count),
            Err(first) => {
                tracing::debug!("the first thaw failed: {first:#}");
                Ok(control.thaw().await?)
            }
        }
    }

    /// Ends the guard when the guest is thawed; leaves it to its work when it is not.
    async fn close(&self, control: &GuestControl, guard: Guard, thawed: bool) {
        let Work::Backup(work) = &self.work else { return };
        if !thawed {
            let vmid = control.vmid;
            self.warn(format!(
                "guest {vmid} did not answer the thaw; its guard ({guard}) thaws it at the deadline: look at it (qm guest cmd {vmid} fsfreeze-status)"
            ));
            return;
        }
        if let Err(error) = guard::disarm(&control.host, &guard).await {
            tracing::debug!("the guard could not be ended, it has probably fired: {error:#}");
        }
        if let Err(error) = work.with_draft(|draft| draft.note_thawed()).and_then(|r| Ok(r?)) {
            self.warn(format!("the record of the freeze stays: {error:#}"));
        }
    }
}

/// Whether every snapshot was made while everything was frozen.
fn verdict(
    frozen: &Result<u64, impl std::fmt::Display>,
    thawed: &anyhow::Result<u64>,
    snapshots_done: Duration,
    seconds: u32,
) -> Result<(), String> {
    let frozen = match frozen {
        Ok(count) => *count,
        Err(error) => return Err(format!("the guest did not freeze ({error:#})")),
    };
    let thawed = match thawed {
        Ok(count) => *count,
        Err(error) => return Err(format!("the guest did not answer the thaw ({error:#})")),
    };
    if frozen == 0 {
        return Err("the guest agent froze no file system".to_owned());
    }
    if snapshots_done >= Duration::from_secs(seconds.into()) {
        return Err(format!("the snapshots took longer than {seconds} s, the guard had thawed it"));
    }
    if thawed < frozen {
        return Err(format!("{frozen} file systems were frozen, {thawed} were still so at the end"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::verdict;
    use std::time::Duration;

    fn judge(frozen: Result<u64, &str>, thawed: Result<u64, &str>, seconds: u64) -> bool {
        let thawed = thawed.map_err(|e| anyhow::anyhow!(e.to_owned()));
        verdict(&frozen, &thawed, Duration::from_secs(seconds), 10).is_ok()
    }

    #[test]
    fn only_a_whole_freeze_before_the_deadline_counts() {
        assert!(judge(Ok(3), Ok(3), 2));
        assert!(!judge(Ok(3), Ok(2), 2), "one file system thawed by itself");
        assert!(!judge(Ok(3), Ok(0), 2), "the guard or the guest thawed");
        assert!(!judge(Ok(3), Ok(3), 10), "the last snapshot came after the deadline");
        assert!(!judge(Ok(0), Ok(0), 2), "nothing was frozen");
        assert!(!judge(Err("no agent"), Ok(0), 2));
        assert!(!judge(Ok(3), Err("no answer"), 2));
    }
}
