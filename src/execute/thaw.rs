//! Sees to it that a guest is thawed, or that nobody is told that all is well: the guard of a freeze is
//! listened to until it has seen the guest thawed, beside all else that the run does. What a point is
//! worth is not for here.

use super::guard::{Duty, Guard, Post, Said};
use super::{Execution, Stopped};
use crate::cancel::Open;
use crate::context::{Context, NoCluster};
use crate::model::Guest;
use crate::node::freezes::{Freeze, FreezeNote};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// A thaw that is to be seen.
pub(super) struct ThawWatch {
    ctx: Arc<Context>,
    guest: Guest,
    token: String,
    /// The note of our own freeze.
    note: Option<FreezeNote>,
    stays: Option<Open>,
}

/// A thaw that is being watched, and who watches it.
pub(super) struct Watched {
    task: JoinHandle<u64>,
    guard: String,
}

impl Execution {
    /// Notes on this node that a guest is about to be frozen, and that its thaw is to be seen.
    pub(super) async fn thaw_to_be_seen(&self, guard: &Guard, token: &str) -> ThawWatch {
        let (vmid, node) = (self.plan.guest.vmid, &self.plan.guest.node);
        let name = guard.name();
        let what = format!("guest {vmid} on {node} frozen until its guard ({name}) thaws it");
        let stays = Some(self.ctx.cancel.open(what));
        let freeze = Freeze::of_this_process(vmid, node, token, self.ctx.clock.now());
        let freezes = self.ctx.freezes.clone();
        let noted = tokio::task::spawn_blocking(move || freezes.note(&freeze)).await;
        let noted = noted.map_err(anyhow::Error::from).and_then(|noted| Ok(noted?));
        let note = noted
            .map_err(|error| self.warn(format!("the freeze is not noted on this node: {error:#}")))
            .ok();
        ThawWatch { note, stays, ..self.watch_without_note(token) }
    }

    fn watch_without_note(&self, token: &str) -> ThawWatch {
        let (ctx, guest) = (self.ctx.clone(), self.plan.guest.clone());
        ThawWatch { ctx, guest, token: token.to_owned(), note: None, stays: None }
    }

    /// Listens to the guard from now on.
    pub(super) fn watch(&self, watch: ThawWatch, guard: Option<Guard>) {
        let name = guard.as_ref().map_or("another one".to_owned(), |guard| guard.name().to_owned());
        let task = tokio::spawn(watch.until_thawed(guard));
        self.state().watched = Some(Watched { task, guard: name });
    }

    /// The step that thaws a guest which somebody has left frozen. A guest that does not thaw is saved
    /// all the same, while its guard goes on; but the run is not ok.
    pub(super) async fn thaw_guest(&self, after: u32) -> Result<(), Stopped> {
        let token = format!("{}-left", self.held.token);
        let post = surveyed_post(&self.ctx, &self.plan.guest)?;
        let guard = Guard::start(&post, Duty::Thaw { seconds: after }, &token).await;
        let guard = guard.map_err(|error| {
            tracing::debug!("no guard yet: {:#}", anyhow::Error::from(error));
        });
        self.watch(self.watch_without_note(&token), guard.ok());
        let limit = THAW + Duration::from_secs(after.into());
        match self.seen_thawed(limit).await {
            Some(0) => self.note("the guest had been left frozen and was thawed already"),
            Some(count) => {
                self.note(&format!("thawed {count} file systems that had been left frozen"));
            }
            None => {
                self.warn("the guest had been left frozen and is not seen thawed yet".to_owned())
            }
        }
        Ok(())
    }

    /// Waits at the end of a run for the last of the guard's words. A run whose guest was not seen
    /// thawed is not well.
    pub(super) async fn see_it_thawed(&self) {
        if self.seen_thawed(LAST).await.is_some() {
            return;
        }
        let Some(watched) = self.state().watched.take() else { return };
        watched.task.abort();
        // Its note is nobody's from here on: the next try finds it, too.
        let _ = watched.task.await;
        let (vmid, node) = (self.plan.guest.vmid, place(&self.ctx, &self.plan.guest).await);
        self.state().unthawed = Some(format!(
            "guest {vmid} was not seen thawed; its guard ({}) goes on: look at it (qm guest cmd {vmid} fsfreeze-status, on {node})",
            watched.guard
        ));
    }

    /// Waits until the guest was seen thawed, and says how many file systems were frozen until then;
    /// none after so long, or soon after the user wished to stop.
    async fn seen_thawed(&self, limit: Duration) -> Option<u64> {
        let mut watched = self.state().watched.take()?;
        let stop = async {
            self.ctx.cancel.cancelled().await;
            tokio::time::sleep(STOPPED).await;
        };
        let seen = tokio::select! {
            seen = tokio::time::timeout(limit, &mut watched.task) => seen.ok().and_then(Result::ok),
            () = stop => None,
        };
        if seen.is_none() {
            self.state().watched = Some(watched);
        }
        seen
    }
}

impl ThawWatch {
    /// Listens to one guard after another until one has seen the guest thawed: a guard may be killed,
    /// and the way to it may break. The one that takes its place begins when the other has ended.
    async fn until_thawed(mut self, mut guard: Option<Guard>) -> u64 {
        let mut number = 1;
        let count = loop {
            if let Some(count) = to_its_end(guard.take()).await {
                break count;
            }
            tokio::time::sleep(BETWEEN_GUARDS).await;
            number += 1;
            let Ok(post) = present_post(&self.ctx, &self.guest).await else { continue };
            let token = format!("{}-{number}", self.token);
            match Guard::start(&post, Duty::Thaw { seconds: 0 }, &token).await {
                Ok(next) => guard = Some(next),
                Err(error) => {
                    tracing::debug!("no other guard yet: {:#}", anyhow::Error::from(error));
                }
            }
        };
        drop(self.stays.take());
        self.forget().await;
        count
    }

    async fn forget(self) {
        let (freezes, vmid) = (self.ctx.freezes.clone(), self.guest.vmid);
        let forgotten = tokio::task::spawn_blocking(move || {
            self.note.map_or(Ok(()), FreezeNote::clear).and_then(|()| freezes.forget(vmid))
        });
        let forgotten = forgotten.await.map_err(anyhow::Error::from).and_then(|done| Ok(done?));
        if let Err(error) = forgotten {
            tracing::warn!("guest {vmid} is thawed, but the note of its freeze stays: {error:#}");
        }
    }
}

/// The file systems that were thawed, when the guard has seen the guest thawed.
async fn to_its_end(guard: Option<Guard>) -> Option<u64> {
    let mut guard = guard?;
    while !guard.has_seen_it_thawed() {
        match guard.next().await? {
            Said::GivenUp => return None,
            Said::NoThaw(why) => tracing::debug!("the guest is not thawed yet: {why}"),
            _ => {}
        }
    }
    Some(guard.thawed())
}

/// How long a run waits for a thaw before it begins.
const THAW: Duration = Duration::from_secs(60);

/// How long it waits when nothing else is left to do: longer than one thaw that hangs.
const LAST: Duration = Duration::from_secs(300);

/// The same when the user wishes to stop.
const STOPPED: Duration = Duration::from_millis(1500);

const BETWEEN_GUARDS: Duration = Duration::from_secs(2);

/// Where the survey saw the guest.
pub(super) fn surveyed_post(ctx: &Context, guest: &Guest) -> Result<Post, NoCluster> {
    let home = ctx.home()?;
    Ok(Post {
        control: home.control(guest),
        node: guest.node.clone(),
        etc_pve: home.files.root().to_owned(),
        directory: home.guards.clone(),
    })
}

/// Where the guest is by now: it may have moved.
async fn present_post(ctx: &Context, guest: &Guest) -> Result<Post, NoCluster> {
    surveyed_post(ctx, &Guest { node: place(ctx, guest).await, ..guest.clone() })
}

/// The node that has it by the cluster's files, or had it, when they do not tell.
async fn place(ctx: &Context, guest: &Guest) -> String {
    let found = match &ctx.home {
        Some(home) => home.guest(guest.vmid).await.ok().flatten(),
        None => None,
    };
    found.map_or_else(|| guest.node.clone(), |found| found.node)
}
