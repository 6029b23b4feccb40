//! The frozen scope: guard, freeze, snapshots, thaw, in this order and on every path. It contains
//! nothing but snapshot creation, and what a point is worth is decided by the thaw.

use super::guard::{self, Guard};
use super::state::Frozen;
use super::{BackupWork, Execution, Stopped, Work};
use crate::clock::{Stopwatch, boot_id};
use crate::plan::Step;
use crate::pve::{GuestConfig, GuestControl};
use crate::repository::FreezeRecord;
use anyhow::Context as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinError, JoinHandle};

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
        let guard = match self.arm(seconds).await {
            Ok(guard) => guard,
            Err(error) => {
                self.warn(format!("not frozen, as nothing would thaw it for sure: {error:#}"));
                return self.run_beside(steps.to_vec()).await;
            }
        };
        let (vmid, node) = (self.plan.guest.vmid, &self.plan.guest.node);
        let what = format!("guest {vmid} on {node} frozen until its guard ({guard}) thaws it");
        let stays = self.world.cancel.open(what);
        let begun = Stopwatch::start();
        let deadline = Duration::from_secs(seconds.into());
        let frozen = work.control.freeze(deadline).await;
        let mut snapshots = tokio::spawn(self.clone().run_beside(steps.to_vec()));
        let joined = self.while_it_may_stay_frozen(&mut snapshots, deadline, begun).await;
        let snapshots_done = joined.as_ref().map(|_| begun.elapsed());
        let thawed = self.thaw(&work.control).await;
        self.state().outcome.frozen_seconds = Some(begun.elapsed().as_secs_f64());
        drop(stays);
        self.close(&work.control, guard, thawed.is_ok()).await;
        match verdict(&frozen, &thawed, snapshots_done, seconds) {
            Ok(()) => self.state().frozen = Frozen::Held,
            Err(why) => self.warn(format!("crash-consistent only: {why}")),
        }
        self.outcome_of(joined, snapshots).await
    }

    /// Waits for the snapshots, but no longer than the guest may stay frozen for them: not beyond
    /// the deadline, and not when the user wishes to stop.
    async fn while_it_may_stay_frozen(
        &self,
        snapshots: &mut Snapshots,
        deadline: Duration,
        begun: Stopwatch,
    ) -> Option<Result<Result<(), Stopped>, JoinError>> {
        tokio::select! {
            joined = snapshots => Some(joined),
            () = self.world.cancel.cancelled() => None,
            () = tokio::time::sleep(deadline.saturating_sub(begun.elapsed())) => None,
        }
    }

    /// Snapshots that were late are still waited for: the point is worth less, but it is one.
    async fn outcome_of(
        &self,
        joined: Option<Result<Result<(), Stopped>, JoinError>>,
        snapshots: Snapshots,
    ) -> Result<(), Stopped> {
        let joined = match joined {
            Some(joined) => joined,
            None if self.world.cancel.is_cancelled() => {
                // They hear the wish, too, and end by themselves. Aborted, they could still begin to make
                // something while what was made is undone.
                let _ = snapshots.await;
                return Err(Stopped::Interrupted);
            }
            None => snapshots.await,
        };
        joined.unwrap_or_else(|panic| Err(Stopped::Failed(panic.into())))
    }

    async fn arm(&self, seconds: u32) -> anyhow::Result<Guard> {
        let Work::Backup(work) = &self.work else { anyhow::bail!("only a backup freezes a guest") };
        let guest = &self.plan.guest;
        let token = work.token();
        work.with_draft(|draft| {
            draft.note_freeze(&FreezeRecord {
                host: crate::clock::host_name(),
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

    /// Ends the guard when the guest is thawed; leaves it to its work when it is not.
    async fn close(&self, control: &GuestControl, guard: Guard, thawed: bool) {
        let Work::Backup(work) = &self.work else { return };
        if !thawed {
            self.state().unthawed = true;
            let (vmid, now) = (control.vmid, self.present_place(control));
            let guard = match now.node == self.plan.guest.node {
                true => format!("its guard ({guard}) thaws it at the deadline"),
                false => self.guard_there(&now, work).await,
            };
            self.warn(format!(
                "guest {vmid} did not answer the thaw; {guard}: look at it (qm guest cmd {vmid} fsfreeze-status, on {})",
                now.node
            ));
            return;
        }
        if let Err(error) = guard::disarm(&control.host, &guard).await {
            tracing::debug!("the guard could not be ended, it has probably fired: {error:#}");
        }
        self.note_thawed(work);
    }

    /// The freeze is over, and its record goes.
    fn note_thawed(&self, work: &BackupWork) {
        if let Err(error) = work.with_draft(|draft| draft.note_thawed()).and_then(|r| Ok(r?)) {
            self.warn(format!("the record of the freeze stays: {error:#}"));
        }
    }

    /// Thaws, and tries once more where the guest is by then: one that stays frozen is worse than a
    /// backup that is late. A live migration stops the guest on its old node, moves its
    /// configuration, and only then lets it go on on the new one: until that is over, nobody answers
    /// for a while, and both nodes may be the wrong one to ask.
    async fn thaw(&self, control: &GuestControl) -> anyhow::Result<u64> {
        let begun = Stopwatch::start();
        let first = within_deadline(control).await;
        let Err(error) = first else { return first };
        tracing::debug!("the first thaw failed: {error:#}");
        loop {
            let now = self.present_place(control);
            match within_deadline(&now.control).await {
                Err(error) if now.is_migrating && begun.elapsed() < SWITCH_OVER => {
                    tracing::debug!("no thaw on {} yet: {error:#}", now.node);
                }
                other => return other,
            }
            tokio::time::sleep(BETWEEN_TRIES).await;
        }
    }

    /// Thaws a guest that was not seen thawed when its freeze ended; by now it may answer, here or on
    /// another node.
    pub(super) async fn thaw_what_may_be_frozen(&self) {
        let Work::Backup(work) = &self.work else { return };
        if !self.state().unthawed {
            return;
        }
        match self.thaw(&work.control).await {
            Ok(_) => {
                self.state().unthawed = false;
                self.note("thawed the guest at last");
                self.note_thawed(work);
            }
            Err(error) => tracing::debug!("still no answer to the thaw: {error:#}"),
        }
    }

    /// Where the guest is now, by the cluster's files; where it was surveyed, when they do not tell.
    fn present_place(&self, control: &GuestControl) -> Place {
        let (surveyed, cluster) = (&self.plan.guest.node, &self.world.cluster);
        let Ok(Some(guest)) = cluster.find(control.vmid) else {
            let (node, control) = (surveyed.clone(), control.clone());
            return Place { node, control, is_migrating: false };
        };
        let config = cluster.read_config(&guest).map(|text| GuestConfig::parse(&text));
        let says_so = config.is_ok_and(|config| config.lock() == Some("migrate"));
        let is_migrating = says_so || guest.node != *surveyed;
        let control = GuestControl { host: self.world.hosts.host(&guest.node), ..control.clone() };
        Place { node: guest.node, control, is_migrating }
    }

    /// Arms a guard on the node that the guest moved to: the first one's commands know it no more.
    async fn guard_there(&self, now: &Place, work: &BackupWork) -> String {
        match guard::arm(&now.control, 1, &work.token()).await {
            Ok(guard) => {
                format!("it moved to {} meanwhile, where a guard ({guard}) tries on", now.node)
            }
            Err(error) => {
                let error = anyhow::Error::from(error);
                format!(
                    "it moved to {} meanwhile, and no guard could be armed there ({error:#})",
                    now.node
                )
            }
        }
    }
}

/// Where a guest is.
struct Place {
    node: String,
    control: GuestControl,
    is_migrating: bool,
}

/// How long the end of a live migration may take in which nobody answers for the guest.
const SWITCH_OVER: Duration = Duration::from_secs(60);

/// Between two tries to thaw meanwhile.
const BETWEEN_TRIES: Duration = Duration::from_secs(2);

async fn within_deadline(control: &GuestControl) -> anyhow::Result<u64> {
    let thaw = tokio::time::timeout(THAW_DEADLINE, control.thaw()).await;
    Ok(thaw.with_context(|| format!("no answer within {} s", THAW_DEADLINE.as_secs()))??)
}

/// How long one try to thaw may take. Leaving the scope is never cancelled.
const THAW_DEADLINE: Duration = Duration::from_secs(30);

type Snapshots = JoinHandle<Result<(), Stopped>>;

/// Whether every snapshot was made while everything was frozen.
fn verdict(
    frozen: &Result<u64, impl std::fmt::Display>,
    thawed: &anyhow::Result<u64>,
    snapshots_done: Option<Duration>,
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
    let in_time = snapshots_done.is_some_and(|d| d < Duration::from_secs(seconds.into()));
    if !in_time {
        return Err(format!("the snapshots took longer than {seconds} s, the guard had thawed it"));
    }
    if thawed < frozen {
        return Err(format!(
            "{frozen} file systems were frozen, {thawed} were still so at the end"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::verdict;
    use std::time::Duration;

    fn judge(frozen: Result<u64, &str>, thawed: Result<u64, &str>, seconds: u64) -> bool {
        let thawed = thawed.map_err(|e| anyhow::anyhow!(e.to_owned()));
        verdict(&frozen, &thawed, Some(Duration::from_secs(seconds)), 10).is_ok()
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
