//! Carries the plans of guest snapshots out, through PVE's API: makes, removes, rolls back. Which
//! and why stands in the plan.

use crate::cancel::Cancel;
use crate::clock::Stopwatch;
use crate::hooks::{About, At, Event, Hooks, Phase, VolumeFacts};
use crate::model::guest_snapshot::DESCRIPTION;
use crate::model::{Guest, GuestSnapshot};
use crate::plan::{Action, Plan};
use crate::pve::api::{Api, ApiError, Request, TaskEnd, path};
use crate::report::{Failure, GuestOutcome};
use crate::waits::{WaitedFor, Waiting};
use anyhow::{anyhow, bail, ensure};
use std::time::Duration;

/// How long tasks and locks are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For one task; it goes on afterwards.
    pub task: Duration,
    /// For a guest that something else has locked.
    pub lock: Duration,
}

/// Makes, removes and rolls back.
pub struct Hands<'a> {
    /// The cluster.
    pub api: &'a Api,
    /// How long it waits.
    pub patience: Patience,
    /// The user's wish to stop; heard between two steps.
    pub cancel: &'a Cancel,
    /// The user's programs, called around the making and the removing of a snapshot.
    pub hooks: &'a Hooks,
}

/// A snapshot that is made or removed, as far as hooks are told of it.
struct Hooked<'a> {
    guest: &'a Guest,
    about: About,
    name: &'a str,
    begun: Stopwatch,
}

/// The pause before a locked guest is asked again.
const LOCK_PAUSE: Duration = Duration::from_secs(2);

impl Hands<'_> {
    /// Carries a plan out and says how it ended. The first step that fails ends it: a snapshot
    /// that could not be made removes none, and nothing is removed behind a removal that failed.
    /// As the scripts of cv4pve-autosnap expect it, hooks hear of the new snapshot when the old ones
    /// are gone, too.
    pub async fn carry_out(&self, plan: &Plan) -> GuestOutcome {
        let mut outcome = GuestOutcome::new(&plan.guest);
        outcome.warnings.clone_from(&plan.warnings);
        let (mut made, mut guest) = (None, plan.guest.clone());
        for step in plan.steps() {
            if self.cancel.is_cancelled() {
                let text = "interrupted; nothing is half".to_owned();
                return outcome.failed(Failure::Interrupted, text);
            }
            let what = format!("guest {}: {step}", plan.guest.vmid);
            let _noted = (self.cancel.open(what.clone()), self.cancel.busy_with(what));
            let hooked = hooked(&plan.guest, &step.action);
            let mut done = self.told(hooked.as_ref(), At::Before, None, &mut outcome).await;
            if done.is_ok() {
                done = self.step_where_it_is(&mut guest, &step.action, &mut outcome).await;
            }
            if let Err(error) = done {
                let text = format!("{step}: {error:#}");
                // Nothing can be stopped any more; what fails then is a warning.
                let _ = self.told(hooked.as_ref(), At::Abort, Some(&text), &mut outcome).await;
                return outcome.failed(Failure::Other, text);
            }
            match hooked {
                Some(new) if new.about == About::SnapCreate => made = Some(new),
                other => drop(self.told(other.as_ref(), At::After, None, &mut outcome).await),
            }
        }
        drop(self.told(made.as_ref(), At::After, None, &mut outcome).await);
        outcome
    }

    /// Calls the hooks of a phase; those that come before can stop it.
    async fn told(
        &self,
        hooked: Option<&Hooked<'_>>,
        at: At,
        error: Option<&str>,
        outcome: &mut GuestOutcome,
    ) -> anyhow::Result<()> {
        let Some(hooked) = hooked else { return Ok(()) };
        let mut event = Event::new(Phase::new(hooked.about, at)).of(hooked.guest);
        let snapshot = hooked.name.to_owned();
        event.volume = Some(VolumeFacts { snapshot, first: true, ..VolumeFacts::default() });
        if at != At::Before {
            event = event.ended(error.map(str::to_owned), hooked.begun.elapsed().as_secs_f64());
        }
        outcome.warnings.extend(self.hooks.call(&event, self.cancel).await?);
        Ok(())
    }

    /// A guest may have moved since it was looked at: while a hook ran, or while the lock of just
    /// that migration was waited for. Its old node then refused, and changed nothing.
    async fn step_where_it_is(
        &self,
        guest: &mut Guest,
        action: &Action,
        outcome: &mut GuestOutcome,
    ) -> anyhow::Result<()> {
        let done = self.step(guest, action, outcome).await;
        let Err(error) = &done else { return done };
        if !error.downcast_ref::<ApiError>().is_some_and(ApiError::says_moved) {
            return done;
        }
        let Some(node) = self.node_now(guest).await else { return done };
        tracing::info!(guest = %guest.vmid, from = guest.node, to = node, "the guest has moved");
        guest.node = node;
        self.step(guest, action, outcome).await
    }

    /// Where a guest is now; none when that is where it was, or nobody knows.
    async fn node_now(&self, guest: &Guest) -> Option<String> {
        let all = self.api.guests().await.ok()?;
        let mut found = all.into_iter().map(|found| found.candidate.guest);
        let found = found.find(|found| found.vmid == guest.vmid && found.kind == guest.kind)?;
        (found.node != guest.node).then_some(found.node)
    }

    async fn step(
        &self,
        guest: &Guest,
        action: &Action,
        outcome: &mut GuestOutcome,
    ) -> anyhow::Result<()> {
        match action {
            Action::CreateGuestSnapshot { name, with_memory } => {
                let vmstate = with_memory.then_some("1");
                self.create(guest, (name, vmstate), outcome).await
            }
            Action::DeleteGuestSnapshot(snapshot) => self.delete(guest, snapshot, outcome).await,
            Action::RollbackGuest(snapshot) => self.roll_back(guest, snapshot, outcome).await,
            other => Err(anyhow!("{other:?} is no step of a guest's snapshots")),
        }
    }

    async fn create(
        &self,
        guest: &Guest,
        (name, vmstate): (&str, Option<&str>),
        outcome: &mut GuestOutcome,
    ) -> anyhow::Result<()> {
        let mut request = Request::post(path(guest, "snapshot"))
            .with("snapname", name)
            .with("description", DESCRIPTION);
        if let Some(vmstate) = vmstate {
            request = request.with("vmstate", vmstate);
        }
        match self.run(guest, &request).await {
            Ok(end) => self.warn(end, "making the snapshot", outcome),
            Err(ApiError::Unclear { why, .. }) => self.was_made(guest, name, &why, outcome).await?,
            Err(error) => return Err(error.into()),
        }
        note(outcome, guest, format!("made snapshot {name}"));
        Ok(())
    }

    /// The connection broke while a snapshot was asked for: whether it is there now decides. As
    /// long as a task would be waited for, it is waited until somebody answers that.
    async fn was_made(
        &self,
        guest: &Guest,
        name: &str,
        why: &str,
        outcome: &mut GuestOutcome,
    ) -> anyhow::Result<()> {
        let watch = Stopwatch::start();
        loop {
            let found = match self.find(guest, name).await {
                Ok(found) => found,
                Err(error) if error.is_outage() && self.may_wait(watch, self.patience.task) => {
                    tokio::time::sleep(LOCK_PAUSE).await;
                    continue;
                }
                Err(error) => bail!(
                    "the connection broke ({why}), and whether the snapshot was made is not known ({}); nothing was removed, and the next run takes up what there is",
                    error.without_claims()
                ),
            };
            match found.map(|snapshot| snapshot.unfinished) {
                Some(None) => {
                    outcome.warnings.push(format!(
                        "the connection broke ({why}); the snapshot was made all the same"
                    ));
                    return Ok(());
                }
                Some(Some(_)) if self.may_wait(watch, self.patience.task) => {}
                Some(Some(state)) => {
                    return Err(anyhow!(
                        "the connection broke ({why}), and the snapshot is not finished (state {state})"
                    ));
                }
                None if watch.elapsed() > LOCK_PAUSE * 3 => {
                    return Err(anyhow!(
                        "the connection broke ({why}), and there is no such snapshot; nothing was removed"
                    ));
                }
                None => {}
            }
            tokio::time::sleep(LOCK_PAUSE).await;
        }
    }

    /// Whether the snapshot of the plan is there still. Names are given again: one that was made
    /// anew, described anew or that PVE is at work on is not what the user agreed to.
    async fn is_there(&self, guest: &Guest, planned: &GuestSnapshot) -> anyhow::Result<bool> {
        let Some(found) = self.find(guest, &planned.name).await? else { return Ok(false) };
        let same = found.taken == planned.taken && found.description == planned.description;
        ensure!(same, "another snapshot bears that name now; nothing was changed");
        if let Some(state) = found.unfinished {
            bail!("the snapshot is not whole any more (state {state}); nothing was changed");
        }
        Ok(true)
    }

    /// Removes a snapshot that is still the one of the plan. What a replication needs stays: PVE
    /// refuses to remove it unless it is forced, and we never force.
    async fn delete(
        &self,
        guest: &Guest,
        planned: &GuestSnapshot,
        outcome: &mut GuestOutcome,
    ) -> anyhow::Result<()> {
        let name = &planned.name;
        if !self.is_there(guest, planned).await? {
            outcome.warnings.push(format!("snapshot {name} is gone already"));
            return Ok(());
        }
        let request = Request::delete(path(guest, &format!("snapshot/{name}")));
        match self.run(guest, &request).await {
            Ok(end) => self.warn(end, &format!("removing {name}"), outcome),
            Err(error) if is_needed(&error) => {
                let text = format!(
                    "snapshot {name} is kept, as a replication needs it ({}); the next run tries again",
                    error.reason()
                );
                outcome.warnings.push(text);
                return Ok(());
            }
            Err(ApiError::Unclear { .. }) if self.is_surely_gone(guest, name).await => {}
            Err(error) => return Err(error.into()),
        }
        note(outcome, guest, format!("removed snapshot {name}"));
        Ok(())
    }

    /// What cannot be looked up is not: then the broken request says that it may have been carried out.
    async fn is_surely_gone(&self, guest: &Guest, name: &str) -> bool {
        matches!(self.find(guest, name).await, Ok(None))
    }

    async fn roll_back(
        &self,
        guest: &Guest,
        planned: &GuestSnapshot,
        outcome: &mut GuestOutcome,
    ) -> anyhow::Result<()> {
        let name = &planned.name;
        let is_there = self.is_there(guest, planned).await?;
        ensure!(is_there, "the snapshot is gone; nothing was changed");
        let request = Request::post(path(guest, &format!("snapshot/{name}/rollback")));
        let end = self.run(guest, &request).await?;
        self.warn(end, "rolling back", outcome);
        note(outcome, guest, format!("rolled back to snapshot {name}"));
        Ok(())
    }

    /// Runs a task, once more as long as something else holds the guest.
    async fn run(&self, guest: &Guest, request: &Request) -> Result<TaskEnd, ApiError> {
        let watch = Stopwatch::start();
        let mut waiting = held_by_pve(guest);
        loop {
            match self.api.run(request, self.patience.task).await {
                Err(error) if is_locked(&error) && self.may_wait(watch, self.patience.lock) => {
                    waiting.is_for(WaitedFor::pve(error.reason()));
                    tokio::time::sleep(LOCK_PAUSE).await;
                }
                ended => return ended,
            }
        }
    }

    /// Whether something that may take so long is waited for once more.
    fn may_wait(&self, since: Stopwatch, most: Duration) -> bool {
        since.elapsed() < most && !self.cancel.is_cancelled()
    }

    async fn find(&self, guest: &Guest, name: &str) -> Result<Option<GuestSnapshot>, ApiError> {
        let all = self.api.snapshots(guest).await?;
        Ok(all.into_iter().find(|snapshot| snapshot.name == name))
    }

    fn warn(&self, end: TaskEnd, what: &str, outcome: &mut GuestOutcome) {
        if let TaskEnd::Warnings(count) = end {
            outcome
                .warnings
                .push(format!("{what} ended with WARNINGS: {count}; the task log has them"));
        }
    }
}

/// A guest that PVE may hold for something else.
pub fn held_by_pve(guest: &Guest) -> Waiting {
    Waiting::at(format_args!("guest {} {} on {}", guest.vmid, guest.name, guest.node))
}

/// Which steps have hooks. A rollback has those of the run and of the guest's turn, and no more.
fn hooked<'a>(guest: &'a Guest, action: &'a Action) -> Option<Hooked<'a>> {
    let (about, name) = match action {
        Action::CreateGuestSnapshot { name, .. } => (About::SnapCreate, name.as_str()),
        Action::DeleteGuestSnapshot(snapshot) => (About::SnapRemove, snapshot.name.as_str()),
        _ => return None,
    };
    Some(Hooked { guest, about, name, begun: Stopwatch::start() })
}

fn note(outcome: &mut GuestOutcome, guest: &Guest, what: String) {
    tracing::info!(guest = %guest.vmid, "{what}");
    outcome.changes.push(what);
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
