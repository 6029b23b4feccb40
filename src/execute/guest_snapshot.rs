//! Snapshots of whole guests through PVE's API: made, removed, rolled back to. Which and why stands in the
//! plan. Not snapshots of volumes: those are steps on a storage.

use super::{Execution, Stopped};
use crate::cancel::Open;
use crate::clock::Stopwatch;
use crate::context::{ClusterApi, NoApi};
use crate::model::guest_snapshot::DESCRIPTION;
use crate::model::{Guest, GuestSnapshot};
use crate::plan::{Action, GuestAction};
use crate::pve::api::{ApiError, Request, TaskEnd, path};
use crate::waits::{WaitedFor, Waiting};
use anyhow::{anyhow, bail, ensure};
use std::time::Duration;

/// The pause before a guest is asked for again.
const PAUSE: Duration = Duration::from_secs(2);

impl Execution {
    pub(super) async fn create_guest_snapshot(
        &self,
        name: &str,
        vmstate: Option<&str>,
    ) -> Result<(), Stopped> {
        let at = self.at_pve()?;
        let done = at.create(name, vmstate).await;
        match at.followed(&done).await {
            Some(there) => there.create(name, vmstate).await,
            None => done,
        }
    }

    pub(super) async fn delete_guest_snapshot(
        &self,
        planned: &GuestSnapshot,
    ) -> Result<(), Stopped> {
        let at = self.at_pve()?;
        let done = at.delete(planned).await;
        match at.followed(&done).await {
            Some(there) => there.delete(planned).await,
            None => done,
        }
    }

    pub(super) async fn roll_back(&self, planned: &GuestSnapshot) -> Result<(), Stopped> {
        let at = self.at_pve()?;
        let done = at.roll_back(planned).await;
        match at.followed(&done).await {
            Some(there) => there.roll_back(planned).await,
            None => done,
        }
    }

    /// Names what PVE goes on with when we are killed.
    pub(super) fn open_at_pve(&self, action: &GuestAction) -> Open {
        let step = Action::Guest(action.clone()).step();
        self.ctx.cancel.open(format!("guest {}: {step}", self.plan.guest.vmid))
    }

    fn at_pve(&self) -> Result<AtPve<'_>, NoApi> {
        Ok(AtPve { execution: self, api: self.ctx.api()?, guest: self.guest_now() })
    }

    /// The guest where it was seen last.
    fn guest_now(&self) -> Guest {
        let mut guest = self.plan.guest.clone();
        guest.node = self.state().moved_to.clone().unwrap_or(guest.node);
        guest
    }

    /// Something that was asked for and is done. It stands in the report, which is printed at the end:
    /// nothing here takes long enough to be said before.
    fn done(&self, what: String) {
        tracing::info!(guest = %self.plan.guest.vmid, "{what}");
        self.state().outcome.changes.push(what);
    }
}

/// A guest where it is, as PVE's API shows it.
struct AtPve<'a> {
    execution: &'a Execution,
    api: &'a ClusterApi,
    guest: Guest,
}

impl AtPve<'_> {
    /// The guest on its new node, where its old one refused as it is gone from there, and changed nothing:
    /// it may have moved since it was surveyed, while a hook ran, or while the lock of just that migration
    /// was waited for.
    async fn followed(&self, done: &Result<(), Stopped>) -> Option<Self> {
        let Err(Stopped::Failed(error)) = done else { return None };
        error.downcast_ref::<ApiError>().filter(|error| error.says_moved())?;
        let node = self.node_now().await?;
        let mut guest = self.guest.clone();
        tracing::info!(guest = %guest.vmid, from = guest.node, to = node, "the guest has moved");
        self.execution.state().moved_to = Some(node.clone());
        guest.node = node;
        Some(Self { execution: self.execution, api: self.api, guest })
    }

    /// Where the guest is now; none when that is where it was, or nobody knows.
    async fn node_now(&self) -> Option<String> {
        let guest = &self.guest;
        let all = self.api.client.guests().await.ok()?;
        let mut found = all.into_iter().map(|found| found.candidate.guest);
        let found = found.find(|found| found.vmid == guest.vmid && found.kind == guest.kind)?;
        (found.node != guest.node).then_some(found.node)
    }

    async fn create(&self, name: &str, vmstate: Option<&str>) -> Result<(), Stopped> {
        let mut request = Request::post(path(&self.guest, "snapshot"))
            .with("snapname", name)
            .with("description", DESCRIPTION);
        if let Some(vmstate) = vmstate {
            request = request.with("vmstate", vmstate);
        }
        match self.run(&request).await {
            Ok(end) => self.warn_of(end, "making the snapshot"),
            Err(Refused::Api(ApiError::Unclear { why, .. })) => self.was_made(name, &why).await?,
            Err(other) => return Err(other.into()),
        }
        self.execution.done(format!("made snapshot {name}"));
        Ok(())
    }

    /// The connection broke while a snapshot was asked for: whether it is there now decides. As
    /// long as a task would be waited for, it is waited until somebody answers that.
    async fn was_made(&self, name: &str, why: &str) -> anyhow::Result<()> {
        let watch = Stopwatch::start();
        loop {
            let may_wait = self.may_wait(watch, self.api.task_timeout);
            let found = match self.find(name).await {
                Err(error) if error.is_outage() && may_wait => {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
                found => found,
            };
            let found = found.map_err(|error| anyhow!(
                "the connection broke ({why}), and whether the snapshot was made is not known ({}); nothing was removed, and the next run takes up what there is",
                error.without_claims()
            ))?;
            match found.map(|snapshot| snapshot.unfinished) {
                Some(None) => {
                    self.execution.warn(format!(
                        "the connection broke ({why}); the snapshot was made all the same"
                    ));
                    return Ok(());
                }
                Some(Some(state)) if !may_wait => bail!(
                    "the connection broke ({why}), and the snapshot is not finished (state {state})"
                ),
                None if watch.elapsed() > PAUSE * 3 => bail!(
                    "the connection broke ({why}), and there is no such snapshot; nothing was removed"
                ),
                Some(Some(_)) | None => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Whether the snapshot of the plan is there still. Names are given again: one that was made
    /// anew, described anew or that PVE is at work on is not what the user said yes to.
    async fn is_there(&self, planned: &GuestSnapshot) -> anyhow::Result<bool> {
        let Some(found) = self.find(&planned.name).await? else { return Ok(false) };
        let same = found.taken == planned.taken && found.description == planned.description;
        ensure!(same, "another snapshot bears that name now; nothing was changed");
        if let Some(state) = found.unfinished {
            bail!("the snapshot is not whole any more (state {state}); nothing was changed");
        }
        Ok(true)
    }

    /// Removes a snapshot that is still the one of the plan. What a replication needs stays: PVE
    /// refuses to remove it unless it is forced, and we never force.
    async fn delete(&self, planned: &GuestSnapshot) -> Result<(), Stopped> {
        let name = &planned.name;
        if !self.is_there(planned).await? {
            self.execution.warn(format!("snapshot {name} is gone already"));
            return Ok(());
        }
        let request = Request::delete(path(&self.guest, &format!("snapshot/{name}")));
        match self.run(&request).await {
            Ok(end) => self.warn_of(end, &format!("removing {name}")),
            Err(Refused::Api(error)) if is_needed(&error) => {
                self.execution.warn(format!(
                    "snapshot {name} is kept, as a replication needs it ({}); the next run tries again",
                    error.reason()
                ));
                return Ok(());
            }
            Err(Refused::Api(ApiError::Unclear { .. })) if self.is_surely_gone(name).await => {}
            Err(other) => return Err(other.into()),
        }
        self.execution.done(format!("removed snapshot {name}"));
        Ok(())
    }

    /// What cannot be looked up is not: then the broken request says that it may have been carried out.
    async fn is_surely_gone(&self, name: &str) -> bool {
        matches!(self.find(name).await, Ok(None))
    }

    async fn roll_back(&self, planned: &GuestSnapshot) -> Result<(), Stopped> {
        let name = &planned.name;
        if !self.is_there(planned).await? {
            return Err(anyhow!("the snapshot is gone; nothing was changed").into());
        }
        let request = Request::post(path(&self.guest, &format!("snapshot/{name}/rollback")));
        let end = self.run(&request).await?;
        self.warn_of(end, "rolling back");
        self.execution.done(format!("rolled back to snapshot {name}"));
        Ok(())
    }

    /// Runs a task, once more as long as something else holds the guest. Once it has begun it is waited
    /// for, whatever the user wishes: it would go on without us.
    async fn run(&self, request: &Request) -> Result<TaskEnd, Refused> {
        let watch = Stopwatch::start();
        let mut waiting = Waiting::at_guest(&self.guest);
        loop {
            match self.api.client.run(request, self.api.task_timeout).await {
                Err(error) if is_locked(&error) && watch.elapsed() < self.api.lock_wait => {
                    waiting.is_for(WaitedFor::pve(error.reason()));
                    let pause = tokio::time::sleep(PAUSE);
                    let waited = self.execution.stop.unless_cancelled(pause).await;
                    waited.ok_or_else(|| Refused::Stopped(self.execution.stopped()))?;
                }
                ended => return Ok(ended?),
            }
        }
    }

    /// Whether something that may take so long is waited for once more.
    fn may_wait(&self, since: Stopwatch, most: Duration) -> bool {
        since.elapsed() < most && !self.execution.stop.is_cancelled()
    }

    async fn find(&self, name: &str) -> Result<Option<GuestSnapshot>, ApiError> {
        let all = self.api.client.snapshots(&self.guest).await?;
        Ok(all.into_iter().find(|snapshot| snapshot.name == name))
    }

    fn warn_of(&self, end: TaskEnd, what: &str) {
        if let TaskEnd::Warnings(count) = end {
            let text = format!("{what} ended with WARNINGS: {count}; the task log has them");
            self.execution.warn(text);
        }
    }
}

/// Why a task did not do its work.
enum Refused {
    /// The API or the task says so.
    Api(ApiError),
    /// It was not begun, as the run is to end.
    Stopped(Stopped),
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl From<Refused> for Stopped {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Api(error) => Self::Failed(error.into()),
            Refused::Stopped(stopped) => stopped,
        }
    }
}

/// PVE refused before it began: another task holds the guest (`AbstractConfig::check_lock`,
/// `lock_config`, and the migration lock that replication takes).
fn is_locked(error: &ApiError) -> bool {
    let reason = error.reason();
    ["is locked (", "can't lock file", "guest migration lock"].iter().any(|t| reason.contains(t))
}

/// A replication job needs the snapshot (`AbstractConfig::snapshot_delete`).
fn is_needed(error: &ApiError) -> bool {
    let reason = error.reason();
    reason.contains("needed by replication") || reason.contains("replication job")
}
