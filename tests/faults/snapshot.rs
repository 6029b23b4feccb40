//! Snapshots of guests through PVE's API, where each request fails in turn: no old snapshot goes before the
//! new one is there, nothing is done behind a failure, what is told is what was done, and the next run
//! converges. Not what PVE's answers mean in all their forms: `tests/cli/snapshot.rs`.

use crate::common::{Lab, block_on};
use pve_ferry::cancel::Cancel;
use pve_ferry::context::{ClusterApi, Context};
use pve_ferry::model::{Moment, TimestampFormat};
use pve_ferry::operation::{Operation, RollbackRequest, SnapshotRequest};
use pve_ferry::plan::snapshot::{Memory, NewSnapshot, SnapshotPolicy, Which};
use pve_ferry::pve::api::{Api, Pvesh};
use pve_ferry::report::{Failure, Report};
use pve_ferry::run::{Confirm, Mode, confirmed, run};
use pve_ferry::select::Selection;
use pve_ferry::transport::{Answer, Host, Script};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// How a request fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// PVE refuses it, and does nothing.
    Refused,
    /// It is carried out, and the answer never comes.
    AnswerLost,
    /// The task that it starts fails, and did nothing.
    TaskFails,
}

/// PVE with one guest, as `pvesh` shows it.
#[derive(Default)]
struct Pve(Mutex<State>);

struct Snapshot {
    name: String,
    taken: i64,
    description: String,
}

#[derive(Default)]
struct State {
    snapshots: Vec<Snapshot>,
    rolled_back: Vec<String>,
    /// PVE's word for what has locked the guest, in its configuration.
    lock: Option<&'static str>,
    /// The same where it locked the guest after that was read.
    locked_since: Option<&'static str>,
    /// How each task ended.
    tasks: BTreeMap<String, &'static str>,
    requests: Vec<String>,
    fault: Option<(usize, Fault)>,
    /// Where the user wishes to stop: when such a request comes.
    stop_at: Option<(&'static str, Cancel)>,
}

const OLD: [&str; 3] = ["autodaily260101000000", "autodaily260102000000", "autodaily260103000000"];
const NEW: &str = "autodaily260104000000";
const BY_HAND: &str = "before_upgrade";

impl Pve {
    /// Its guest has three automatic snapshots, and one that a person made.
    fn new() -> Arc<Self> {
        let snapshot = |name: &str, taken, description: &str| Snapshot {
            name: name.to_owned(),
            taken,
            description: description.to_owned(),
        };
        let automatic = OLD.iter().zip(1000..);
        let mut snapshots: Vec<_> =
            automatic.map(|(name, taken)| snapshot(name, taken, "cv4pve-autosnap\n")).collect();
        snapshots.insert(1, snapshot(BY_HAND, 1001, "mine"));
        Arc::new(Self(Mutex::new(State { snapshots, ..State::default() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn names(&self) -> Vec<String> {
        self.state().snapshots.iter().map(|found| found.name.clone()).collect()
    }

    fn has(&self, name: &str) -> bool {
        self.names().iter().any(|found| found == name)
    }

    fn writes(&self) -> usize {
        self.state().requests.iter().filter(|request| is_write(request)).count()
    }

    fn answer(&self, words: &[&str]) -> Answer {
        let ["pvesh", verb, path, params @ ..] = words else { panic!("{words:?}") };
        let mut state = self.state();
        state.requests.push(format!("{verb} {path}"));
        if let Some((at, cancel)) = &state.stop_at {
            if format!("{verb} {path}").ends_with(at) {
                cancel.cancel();
            }
        }
        let nth = state.requests.len();
        let fault = state.fault.filter(|(at, _)| *at == nth).map(|(_, fault)| fault);
        if fault == Some(Fault::Refused) {
            return Answer::fails(255, "the node is busy\n");
        }
        if let Some(lock) = state.locked_since.filter(|_| *verb != "get") {
            return Answer::fails(255, &format!("VM is locked ({lock})\n"));
        }
        let data = state.act(&format!("{verb} {path}"), params, fault == Some(Fault::TaskFails));
        match fault {
            Some(Fault::AnswerLost) => Answer::fails(255, ""),
            _ => Answer::prints(data.to_string()),
        }
    }

    /// A context that reaches it, with that much time for locks.
    fn ctx(self: &Arc<Self>, lock_wait: u64) -> Arc<Context> {
        let (script, pve) = (Script::new(), self.clone());
        script.reply("pvesh", move |command| pve.answer(&command.argv()));
        let host_of = move |_: Option<&str>| Host::Scripted(script.clone());
        let client = Arc::new(Api::on_nodes(Pvesh::new(Arc::new(host_of))));
        let task_timeout = Duration::from_secs(600);
        let api = ClusterApi { client, task_timeout, lock_wait: Duration::from_secs(lock_wait) };
        let lab = Lab::empty();
        let ctx = Arc::into_inner(lab.ctx()).unwrap();
        Arc::new(Context { home: None, api: Some(api), cancel: Cancel::default(), ..ctx })
    }
}

fn is_write(request: &str) -> bool {
    !request.starts_with("get ")
}

impl State {
    fn act(&mut self, request: &str, params: &[&str], fails: bool) -> Value {
        let (verb, path) = request.split_once(' ').unwrap();
        let given = |name: &str| params.iter().skip_while(|word| **word != name).nth(1);
        let own = path.strip_prefix("/nodes/pve1/qemu/100/").unwrap_or(path);
        let words: Vec<&str> = own.split('/').collect();
        match (verb, &words[..]) {
            ("get", ["", "cluster", "resources"]) if given("--type") == Some(&"vm") => json!([
                {"type": "qemu", "vmid": 100, "node": "pve1", "name": "web", "status": "running"}
            ]),
            ("get", ["", "cluster", "resources"]) => json!([
                {"storage": "ceph", "node": "pve1", "plugintype": "rbd", "disk": 1, "maxdisk": 9}
            ]),
            ("get", ["config"]) => {
                let mut config = json!({"agent": "1", "scsi0": "ceph:vm-100-disk-0"});
                if let Some(lock) = self.lock {
                    config["lock"] = lock.into();
                }
                config
            }
            ("get", ["feature"]) => json!({"hasFeature": 1}),
            ("get", ["snapshot"]) => self.snapshots.iter().map(shown).collect(),
            ("get", ["", "nodes", "pve1", "tasks", upid, "status"]) => {
                json!({"status": "stopped", "exitstatus": self.tasks[*upid]})
            }
            ("create", ["snapshot"]) => {
                let (name, description) = (given("--snapname"), given("--description"));
                let (name, description) =
                    (name.unwrap().to_string(), description.unwrap().to_string());
                let new = Snapshot { name, taken: 2000, description };
                self.task(fails, |state| state.snapshots.push(new))
            }
            ("delete", ["snapshot", name]) => {
                self.task(fails, |state| state.snapshots.retain(|found| found.name != *name))
            }
            ("create", ["snapshot", name, "rollback"]) => {
                self.task(fails, |state| state.rolled_back.push((*name).to_owned()))
            }
            _ => panic!("{verb} {path}"),
        }
    }

    fn task(&mut self, fails: bool, act: impl FnOnce(&mut Self)) -> Value {
        let upid = format!("UPID:pve1:{:08X}:00000002:65A1B2C3:x:100:root@pam:", self.tasks.len());
        self.tasks.insert(upid.clone(), if fails { "no space left" } else { "OK" });
        if !fails {
            act(self);
        }
        json!(upid)
    }
}

fn shown(snapshot: &Snapshot) -> Value {
    let Snapshot { name, taken, description } = snapshot;
    json!({"name": name, "snaptime": taken, "description": description})
}

/// A new snapshot of that name, after which so many stay.
fn create(name: &str, keep: u32) -> SnapshotRequest {
    let create = NewSnapshot {
        name: name.to_owned(),
        memory: Memory::LeftOut,
        which: Which::All,
        most_percent: 95,
    };
    let format: TimestampFormat = "yyMMddHHmmss".parse().unwrap();
    let label = "daily".parse().unwrap();
    let policy = SnapshotPolicy { label, format, keep: Some(keep), create: Some(create) };
    SnapshotRequest { selection: Selection::parse("100").unwrap(), policy }
}

fn rollback() -> RollbackRequest {
    RollbackRequest { vmid: 100.try_into().unwrap(), name: OLD[1].to_owned() }
}

fn performed(pve: &Arc<Pve>, operation: impl Operation) -> anyhow::Result<Report> {
    Ok(block_on(run(pve.ctx(0), operation, Mode::Execute))?.report)
}

/// What a report tells of a guest that was done.
fn told(report: &Report, what: &str) -> usize {
    report.guests[0].changes.iter().filter(|change| change.starts_with(what)).count()
}

/// The requests that come after the one of that place.
fn writes_after(pve: &Pve, nth: usize) -> Vec<String> {
    let requests = pve.state().requests.split_off(nth);
    requests.into_iter().filter(|request| is_write(request)).collect()
}

#[test]
fn each_request_of_a_new_snapshot_that_fails_leaves_the_old_ones_until_it_is_there() {
    let mut cases = 0;
    for fault in [Fault::Refused, Fault::AnswerLost, Fault::TaskFails] {
        for nth in 1.. {
            let pve = Pve::new();
            pve.state().fault = Some((nth, fault));
            let report = performed(&pve, create(NEW, 2)).ok();
            if pve.state().requests.len() < nth {
                break;
            }
            let context = format!("{fault:?} {nth}: {:?} {report:#?}", pve.state().requests);
            let left: Vec<bool> = OLD.iter().map(|name| pve.has(name)).collect();
            let gone = left.iter().filter(|is_there| !**is_there).count();
            assert!(left.is_sorted() && pve.has(BY_HAND), "the oldest go first: {context}");
            assert!(gone == 0 || pve.has(NEW), "{context}");
            let is_done = report.as_ref().is_some_and(|report| report.exit_code() == 0);
            assert!(!is_done || (gone, pve.has(NEW)) == (2, true), "{context}");
            if let Some(report) = &report {
                // Only of the request that failed it is not known whether it was carried out.
                let (made, removed) = (told(report, "made"), told(report, "removed"));
                let unknown = usize::from(pve.has(NEW)) + gone - made - removed;
                assert!(unknown <= usize::from(!is_done), "{context}");
            }
            assert!(is_done || writes_after(&pve, nth).is_empty(), "{context}");
            pve.state().fault = None;
            let again = performed(&pve, create("autodaily260105000000", 2)).unwrap();
            assert_eq!(again.exit_code(), 0, "{context} {again:#?}");
            let left = pve.names();
            assert_eq!((left.len(), left[0].as_str()), (3, BY_HAND), "{context} {left:?}");
            cases += 1;
        }
    }
    assert!(cases >= 39, "{cases}");
}

#[test]
fn each_request_of_a_rollback_that_fails_is_told_and_the_next_one_goes_there() {
    let mut cases = 0;
    for fault in [Fault::Refused, Fault::AnswerLost, Fault::TaskFails] {
        for nth in 1.. {
            let pve = Pve::new();
            pve.state().fault = Some((nth, fault));
            let report = asked(&pve, rollback(), Box::new(|_| Ok(()))).ok();
            if pve.state().requests.len() < nth {
                break;
            }
            let context = format!("{fault:?} {nth}: {:?} {report:#?}", pve.state().requests);
            let is_done = report.as_ref().is_some_and(|report| report.exit_code() == 0);
            let there = pve.state().rolled_back.clone();
            assert!(!is_done || there == [OLD[1]], "{context}");
            assert!(is_done || writes_after(&pve, nth).is_empty(), "{context}");
            assert_eq!(pve.names().len(), 4, "{context}");
            pve.state().fault = None;
            let again = asked(&pve, rollback(), Box::new(|_| Ok(()))).unwrap();
            assert_eq!(again.exit_code(), 0, "{context}");
            assert_eq!(pve.state().rolled_back.last().unwrap(), OLD[1], "{context}");
            cases += 1;
        }
    }
    assert!(cases >= 27, "{cases}");
}

fn asked(pve: &Arc<Pve>, operation: impl Operation, ask: Confirm) -> anyhow::Result<Report> {
    Ok(block_on(confirmed(pve.ctx(0), operation, ask))?.report)
}

#[test]
fn a_run_that_is_stopped_ends_the_task_under_way_and_begins_no_other() {
    let pve = Pve::new();
    let ctx = pve.ctx(0);
    pve.state().stop_at = Some(("100/snapshot", ctx.cancel.clone()));
    // The first such request only lists: nothing has begun.
    let report = block_on(run(ctx, create(NEW, 1), Mode::Execute)).unwrap().report;
    assert_eq!((report.exit_code(), pve.writes()), (130, 0), "{report:#?}");

    let ctx = pve.ctx(0);
    pve.state().stop_at = Some(("create /nodes/pve1/qemu/100/snapshot", ctx.cancel.clone()));
    let report = block_on(run(ctx, create(NEW, 1), Mode::Execute)).unwrap().report;
    assert_eq!((report.exit_code(), pve.writes()), (130, 1), "{report:#?}");
    assert_eq!(report.guests[0].changes, [format!("made snapshot {NEW}")]);
    assert_eq!(pve.names().len(), 5, "nothing was removed");
}

/// The clock is the test's: only what waits moves it.
#[test]
fn a_wish_to_stop_is_heard_while_a_guest_is_waited_for_that_pve_has_locked() {
    let backup = Some("backup");
    for (at, lock, locked_since) in
        [("100/config", backup, None), ("create /nodes/pve1/qemu/100/snapshot", None, backup)]
    {
        let pve = Pve::new();
        let ctx = pve.ctx(86_400);
        {
            let mut state = pve.state();
            state.stop_at = Some((at, ctx.cancel.clone()));
            (state.lock, state.locked_since) = (lock, locked_since);
        }
        let report = block_on(async {
            let begun = tokio::time::Instant::now();
            let performed = run(ctx, create(NEW, 1), Mode::Execute).await.unwrap();
            assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
            performed.report
        });
        assert_eq!(report.exit_code(), 130, "{at} {report:#?}");
        assert_eq!((pve.names().len(), pve.writes()), (4, usize::from(lock.is_none())), "{at}");
    }
}

#[test]
fn a_snapshot_that_was_made_anew_while_the_person_read_is_not_rolled_back_to() {
    let pve = Pve::new();
    let other = pve.clone();
    let ask: Confirm = Box::new(move |plans| {
        assert!(plans[0].to_string().contains(OLD[1]), "{}", plans[0]);
        other.state().snapshots[2].taken += 1;
        Ok(())
    });
    let report = asked(&pve, rollback(), ask).unwrap();
    assert_eq!((report.exit_code(), pve.writes()), (13, 0), "{report:#?}");
    let guest = &report.guests[0];
    assert_eq!(guest.failure, Some(Failure::Conflict));
    let error = guest.error.as_deref().unwrap();
    assert!(error.contains("was not shown before the question"), "{error}");
    assert!(error.contains(&Moment::from_unix(1002).to_string()), "{error}");
}

#[test]
fn nobody_is_asked_about_a_rollback_that_cannot_be_done() {
    let pve = Pve::new();
    let nowhere = RollbackRequest { name: "nix".to_owned(), ..rollback() };
    let report = asked(&pve, nowhere, Box::new(|_| panic!("asked"))).unwrap();
    assert_eq!((report.exit_code(), pve.writes()), (1, 0), "{report:#?}");
    let said = asked(&pve, rollback(), Box::new(|_| anyhow::bail!("no"))).unwrap_err();
    assert_eq!((said.to_string(), pve.writes()), ("no".to_owned(), 0));
}
