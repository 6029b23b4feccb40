//! Automatic snapshots of guests: the same order as everywhere (select, survey, plan, check,
//! execute, report), through PVE's API and so from any machine. Decisions stand in
//! `plan::snapshot`; backups are not for here.

use super::turns::in_turns;
use super::{Mode, Performed, hooked};
use crate::cancel::Cancel;
use crate::clock::{Clock, Stopwatch};
use crate::execute::snapshot::{Hands, Patience, held_by_pve};
use crate::hooks::Hooks;
use crate::model::{GuestSnapshot, VmId};
use crate::plan::snapshot::{
    Memory, SnapshotFacts, SnapshotPolicy, SnapshotRefusal, plan, rollback as plan_rollback,
};
use crate::plan::{Plan, check};
use crate::pve::api::{Api, ApiError, ApiGuest, ApiStorage};
use crate::report::{Failure, GuestOutcome, Report};
use crate::select::{Candidate, Hidden, Selection, is_undecided, select};
use crate::survey;
use crate::waits::WaitedFor;
use anyhow::{Context as _, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// What every command about snapshots works with.
#[derive(Clone)]
pub struct SnapshotRun {
    /// The cluster.
    pub api: Arc<Api>,
    /// The wall clock.
    pub clock: Clock,
    /// The user's wish to stop.
    pub cancel: Cancel,
    /// How long tasks and locks are waited for.
    pub patience: Patience,
    /// The user's programs, called in every phase unless nothing is to be done.
    pub hooks: Arc<Hooks>,
}

/// What the user wants to be made and removed.
pub struct SnapshotRequest {
    /// Which guests.
    pub selection: Selection,
    /// What becomes of them.
    pub policy: SnapshotPolicy,
    /// How many at once.
    pub at_once: usize,
}

/// Which guest goes back to what.
pub struct RollbackRequest {
    /// The guest.
    pub vmid: VmId,
    /// The snapshot's name.
    pub name: String,
}

/// How often a locked guest is looked at.
const LOCK_PAUSE: Duration = Duration::from_secs(2);

/// Makes and removes snapshots of the selected guests.
///
/// # Errors
/// Guests or storages cannot be listed; a guest's own failure is in the report.
pub async fn snapshot(
    run: &SnapshotRun,
    request: SnapshotRequest,
    mode: Mode,
) -> anyhow::Result<Performed> {
    let work = all_turns(run, request, mode);
    match mode {
        Mode::Execute => hooked::job(&run.hooks, &run.cancel, work).await,
        Mode::DryRun => work.await,
    }
}

async fn all_turns(
    run: &SnapshotRun,
    request: SnapshotRequest,
    mode: Mode,
) -> anyhow::Result<Performed> {
    let started = run.clock.now();
    let Chosen { guests, doubts, not_found } = run.selected(&request.selection).await?;
    let name = if request.policy.create.is_some() { "snapshot create" } else { "snapshot prune" };
    let storages = match request.policy.create {
        Some(_) => Some(run.api.storages().await.context("cannot see how full the storages are")?),
        None => None,
    };
    let turns = Turns { run: run.clone(), policy: request.policy, storages, mode, doubts };
    let turns = Arc::new(turns);
    let done = in_turns(guests, request.at_once, |guest| {
        let turns = turns.clone();
        async move { turns.take(guest).await }
    });
    let done = done.await;
    let (outcomes, plans): (Vec<_>, Vec<_>) = done.into_iter().unzip();
    let report = Report::new(name, (started, run.clock.now()), outcomes, not_found);
    Ok(Performed { report, plans: plans.into_iter().flatten().collect() })
}

/// Puts one guest back to a snapshot. `agree` is asked before anything is changed, with the plan, and
/// hooks are called for what is agreed to.
///
/// # Errors
/// Guests cannot be listed, or the user does not agree; the guest's own failure is in the report.
pub async fn rollback(
    run: &SnapshotRun,
    request: &RollbackRequest,
    mode: Mode,
    agree: impl FnOnce(&Plan) -> anyhow::Result<()>,
) -> anyhow::Result<Performed> {
    let started = run.clock.now();
    let guests = run.api.guests().await?;
    let is_meant = |guest: &&ApiGuest| guest.candidate.guest.vmid == request.vmid;
    let report =
        |outcomes| Report::new("snapshot rollback", (started, run.clock.now()), outcomes, vec![]);
    let Some(guest) = guests.iter().find(is_meant) else {
        return Ok(Performed { report: report(Vec::new()), plans: Vec::new() });
    };
    let outcome = GuestOutcome::new(&guest.candidate.guest);
    let facts = run.surveyed(guest.clone(), None).await?;
    let plan = match plan_rollback(&facts, &request.name) {
        Ok(plan) => plan,
        Err(why) => {
            let outcome = refused(outcome, why);
            return Ok(Performed { report: report(vec![outcome]), plans: Vec::new() });
        }
    };
    check::check(&plan)?;
    if mode == Mode::DryRun {
        return Ok(Performed { report: report(vec![outcome]), plans: vec![plan] });
    }
    agree(&plan)?;
    let work = async {
        let outcome = run.turn(outcome, &plan).await;
        Ok(Performed { report: report(vec![outcome]), plans: Vec::new() })
    };
    hooked::job(&run.hooks, &run.cancel, work).await
}

/// Whom a selection means.
struct Chosen {
    /// The guests in the order of the selection, also those that it may mean.
    guests: Vec<ApiGuest>,
    /// Why it cannot be told whether some of them are meant.
    doubts: Doubts,
    /// What of the selection named nothing.
    not_found: Vec<String>,
}

/// Why it cannot be told whether a guest is meant: nothing is done to it, and that is a failure.
type Doubts = BTreeMap<VmId, String>;

/// What was found of one guest: its snapshots, or why they cannot be seen.
pub type Snapshots = (ApiGuest, Result<Vec<GuestSnapshot>, String>);

impl SnapshotRun {
    /// The snapshots of the selected guests, all of them, and what of the selection named nothing.
    ///
    /// # Errors
    /// The guests cannot be listed.
    pub async fn list(
        &self,
        selection: &Selection,
    ) -> anyhow::Result<(Vec<Snapshots>, Vec<String>)> {
        let Chosen { guests, doubts, not_found } = self.selected(selection).await?;
        let mut asked = JoinSet::new();
        let mut listed: Vec<Option<Snapshots>> = guests.iter().map(|_| None).collect();
        for (place, guest) in guests.into_iter().enumerate() {
            if let Some(doubt) = doubts.get(&guest.candidate.guest.vmid) {
                listed[place] = Some((guest, Err(doubt.clone())));
                continue;
            }
            // The client itself bounds how many requests are under way.
            let api = self.api.clone();
            asked.spawn(async move { (place, listed_one(&api, guest).await) });
        }
        while let Some(joined) = asked.join_next().await {
            match joined {
                Ok((place, found)) => listed[place] = Some(found),
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            }
        }
        let listed = listed.into_iter().flatten().collect();
        Ok((listed, not_found))
    }

    async fn selected(&self, selection: &Selection) -> anyhow::Result<Chosen> {
        self.refuse_hidden_pools(selection).await?;
        let mut guests = self.api.guests().await.context("cannot list the guests")?;
        if guests.is_empty() {
            let text = "the cluster shows no guest: without the privilege VM.Audit it hides them all (an API token with privilege separation has privileges of its own)";
            tracing::warn!("{text}");
        }
        let unread = match selection.asks_for_storages() {
            true => self.fill_in_storages(&mut guests).await,
            false => Doubts::new(),
        };
        let doubt = |guest: &ApiGuest| {
            Some((guest.candidate.guest.vmid, doubt(selection, guest, &unread)?))
        };
        let doubts: Doubts = guests.iter().filter_map(doubt).collect();
        let candidates: Vec<Candidate> = guests.iter().map(|g| g.candidate.clone()).collect();
        let selected = select(selection, &candidates);
        let meant: BTreeSet<VmId> = selected.guests.iter().map(|guest| guest.vmid).collect();
        let mut by_vmid: BTreeMap<VmId, ApiGuest> =
            guests.into_iter().map(|g| (g.candidate.guest.vmid, g)).collect();
        // All verdicts stand in the order of the selection.
        let named = selected.why.iter().map(|verdict| verdict.guest.vmid);
        let named = named.filter(|vmid| meant.contains(vmid) || doubts.contains_key(vmid));
        let guests = named.filter_map(|vmid| by_vmid.remove(&vmid)).collect();
        Ok(Chosen { guests, doubts, not_found: selected.empty_items })
    }

    /// A pool that PVE does not show is one without guests: one that is excluded would be worked on,
    /// and one that is asked for be passed over.
    async fn refuse_hidden_pools(&self, selection: &Selection) -> anyhow::Result<()> {
        let hidden = self.api.hidden_pools(&selection.pools()).await;
        let hidden = hidden.context("cannot learn which pools PVE shows; nothing was changed")?;
        let Some(first) = hidden.first() else { return Ok(()) };
        let paths: Vec<String> = hidden.iter().map(|pool| format!("/pool/{pool}")).collect();
        bail!(
            "without the privilege Pool.Audit, handed down, on {} PVE does not tell which guests the selection means; nothing was changed: `pveum acl modify /pool/{first} --roles PVEAuditor` with --tokens or --users grants it",
            paths.join(" and ")
        )
    }

    /// Fills in the storages of the guests, and gives back why those of some are not known.
    async fn fill_in_storages(&self, guests: &mut [ApiGuest]) -> Doubts {
        let mut unread = Doubts::new();
        for guest in guests.iter_mut().filter(|guest| guest.status != "unknown") {
            let config = match self.api.guest_config(&guest.candidate.guest).await {
                Ok(config) => config,
                Err(error) => {
                    let why =
                        format!("its configuration cannot be read: {}", error.without_claims());
                    unread.insert(guest.candidate.guest.vmid, why);
                    continue;
                }
            };
            let used = config.volumes().into_iter().filter(|v| !v.is_cdrom() && !v.is_unused());
            guest.candidate.storages = used.filter_map(|v| Some(v.volume?.storage)).collect();
        }
        unread
    }

    /// The guest's facts; from its new node when it has moved since it was listed, and without a
    /// lock when there is time to wait for that.
    async fn surveyed(
        &self,
        mut guest: ApiGuest,
        storages: Option<&[ApiStorage]>,
    ) -> Result<SnapshotFacts, ApiError> {
        let watch = Stopwatch::start();
        let mut waiting = held_by_pve(&guest.candidate.guest);
        let mut was_moved = false;
        loop {
            match survey::snapshot(&self.api, &guest, storages).await {
                Err(error) if error.says_moved() && !was_moved => {
                    was_moved = true;
                    let vmid = guest.candidate.guest.vmid;
                    let now = self.api.guests().await?;
                    let now = now.into_iter().find(|g| g.candidate.guest.vmid == vmid);
                    guest = now.ok_or(error)?;
                }
                Ok(facts) if self.is_worth_waiting(&facts, &watch) => {
                    waiting.is_for(WaitedFor::pve(facts.lock.as_deref().unwrap_or_default()));
                    tokio::time::sleep(LOCK_PAUSE).await;
                }
                ended => return ended,
            }
        }
    }

    fn is_worth_waiting(&self, facts: &SnapshotFacts, watch: &Stopwatch) -> bool {
        let in_time = watch.elapsed() < self.patience.lock && !self.cancel.is_cancelled();
        facts.lock.is_some() && in_time
    }

    /// Carries a plan out between the hooks of the guest's turn.
    async fn turn(&self, outcome: GuestOutcome, plan: &Plan) -> GuestOutcome {
        let (guest, cancel, begun) = (&plan.guest, &self.cancel, Stopwatch::start());
        let hooks = &self.hooks;
        let mut outcome = match hooks.call(&hooked::guest_start(guest), cancel).await {
            Ok(warnings) => {
                let mut done = self.hands().carry_out(plan).await;
                done.warnings.extend(warnings);
                done
            }
            Err(veto) => hooked::vetoed(outcome, veto, cancel),
        };
        if let Some(event) = hooked::guest_end(guest, &outcome, begun) {
            // Nothing can be stopped any more: there are only warnings.
            outcome.warnings.extend(hooks.call(&event, cancel).await.unwrap_or_default());
        }
        outcome
    }

    fn hands(&self) -> Hands<'_> {
        let (api, hooks, cancel) = (&self.api, &self.hooks, &self.cancel);
        Hands { api, patience: self.patience, cancel, hooks }
    }
}

/// What all turns of a run share.
struct Turns {
    run: SnapshotRun,
    policy: SnapshotPolicy,
    /// None when no snapshot is to be made.
    storages: Option<Vec<ApiStorage>>,
    mode: Mode,
    doubts: Doubts,
}

type Turn = (GuestOutcome, Option<Plan>);

impl Turns {
    async fn take(&self, guest: ApiGuest) -> Turn {
        let outcome = GuestOutcome::new(&guest.candidate.guest);
        if self.run.cancel.is_cancelled() {
            let text = "interrupted; nothing was changed".to_owned();
            return (outcome.failed(Failure::Interrupted, text), None);
        }
        if let Some(doubt) = self.doubts.get(&outcome.vmid) {
            return (outcome.failed(Failure::Other, format!("{doubt}; nothing was changed")), None);
        }
        let facts = match self.facts(guest).await {
            Ok(facts) => facts,
            Err(error) => return (outcome.failed(Failure::Other, chain(error.into())), None),
        };
        let plan = match plan(&facts, &self.policy) {
            Ok(plan) => plan,
            Err(why) => return (refused(outcome, why), None),
        };
        if let Err(violation) = check::check(&plan) {
            return (outcome.failed(Failure::Other, violation.to_string()), None);
        }
        if self.mode == Mode::DryRun {
            return (outcome, Some(plan));
        }
        tracing::debug!("plan:\n{plan}");
        (self.run.turn(outcome, &plan).await, None)
    }

    /// How full the storages are is asked once for all guests; but memory fills them within the run,
    /// so that each guest's turn asks anew.
    async fn facts(&self, guest: ApiGuest) -> Result<SnapshotFacts, ApiError> {
        let create = self.policy.create.as_ref();
        if create.is_some_and(|create| create.memory == Memory::Included) {
            let now = self.run.api.storages().await?;
            return self.run.surveyed(guest, Some(&now)).await;
        }
        self.run.surveyed(guest, self.storages.as_deref()).await
    }
}

/// Why it cannot be told whether a guest is meant, if it cannot. PVE may still tell the tags of a guest
/// whose node is down; then they are all there are.
fn doubt(selection: &Selection, guest: &ApiGuest, unread: &Doubts) -> Option<String> {
    let (candidate, unread) = (&guest.candidate, unread.get(&guest.candidate.guest.vmid));
    let is_away = guest.status == "unknown";
    let hidden = Hidden {
        name: is_away && candidate.guest.name.is_empty(),
        tags: is_away && candidate.tags.is_empty(),
        storages: is_away || unread.is_some(),
    };
    let away = || format!("{}, and the selection asks for what only that knows", silence(guest));
    let why = unread.cloned().unwrap_or_else(away);
    is_undecided(selection, candidate, hidden)
        .then(|| format!("it cannot be told whether it is meant: {why}"))
}

async fn listed_one(api: &Api, guest: ApiGuest) -> Snapshots {
    let found = match guest.status.as_str() {
        "unknown" => Err(silence(&guest)),
        _ => api.snapshots(&guest.candidate.guest).await.map_err(|e| chain(e.into())),
    };
    (guest, found)
}

/// Why a guest's state is not known.
fn silence(guest: &ApiGuest) -> String {
    let unknown = || "its node is offline or does not answer".to_owned();
    guest.unseen.clone().unwrap_or_else(unknown)
}

fn refused(outcome: GuestOutcome, why: SnapshotRefusal) -> GuestOutcome {
    match why {
        SnapshotRefusal::Skipped(reason) => outcome.skipped_because(reason),
        SnapshotRefusal::Failed(reason) => {
            outcome.failed(Failure::Other, format!("{reason}; nothing was changed"))
        }
    }
}

fn chain(error: anyhow::Error) -> String {
    format!("{error:#}")
}
