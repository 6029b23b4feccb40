//! A guest on the memory driver whose plans are made by hand, and what happens to it.

use crate::cancel::Cancel;
use crate::clock::Clock;
use crate::context::{Cluster, Context, Hosts, Limits};
use crate::execute::{Executed, Held, run};
use crate::hooks::Hooks;
use crate::model::{
    ChainId, Guest, GuestKind, Label, Moment, SnapshotName, VmId, VolumeIdentity, VolumeRef,
};
use crate::node::freezes::Freezes;
use crate::node::unfinished::UnfinishedRestores;
use crate::plan::{Action, Item, OnFailure, Plan, Scope, Step, VolumeAction};
use crate::progress::{Meter, Progress, Silent};
use crate::pve::files::ClusterFiles;
use crate::report::GuestOutcome;
use crate::storage::memory::Memory;
use crate::storage::{Driver, Registry, Storage};
use crate::transport::{Answer, Script};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// What happened, in its order: the notes of steps, and the words that the guards were given.
pub(super) type Events = Arc<Mutex<Vec<String>>>;

/// What a note makes happen.
pub(super) enum Then {
    Stop(Cancel),
    Panic,
}

/// Writes the notes of steps down; one of them may do something.
pub(super) struct Notes {
    pub(super) events: Events,
    at: Mutex<Option<(String, Then)>>,
}

impl Progress for Notes {
    fn begin(&self, _what: &str, _total: u64) -> Arc<dyn Meter> {
        Arc::new(Silent)
    }

    fn note(&self, line: &str) {
        self.events.lock().unwrap().push(line.to_owned());
        match &*self.at.lock().unwrap() {
            Some((words, Then::Stop(cancel))) if line.contains(words) => cancel.cancel(),
            Some((words, Then::Panic)) if line.contains(words) => panic!("meant by the test"),
            _ => {}
        }
    }
}

/// A guest of four volumes, each with a snapshot `old`; another cluster has volumes of the same names.
pub(super) struct Lab {
    pub(super) memory: Memory,
    pub(super) far: Memory,
    pub(super) events: Events,
    pub(super) notes: Arc<Notes>,
    pub(super) cancel: Cancel,
    pub(super) ctx: Arc<Context>,
    pub(super) identities: Vec<VolumeIdentity>,
    _state: tempfile::TempDir,
}

pub(super) const OLD: &str = "ferry.0000001a.daily.20250101T000000Z";

pub(super) fn volume(n: usize) -> VolumeRef {
    format!("ceph:disk-{n}").parse().unwrap()
}

pub(super) fn new_name() -> SnapshotName {
    let (label, moment): (Label, _) = ("daily".parse().unwrap(), Moment::from_unix(1_767_225_600));
    SnapshotName { chain: ChainId(0x1a), label, moment }
}

/// A guest whose guards all do what they are told.
pub(super) fn node(events: &Events) -> Arc<Script> {
    let (script, events) = (Script::new(), events.clone());
    script.on("env test -d /run/systemd/system", Answer::nothing());
    script.talk(move |_, mut partner| {
        let events = events.clone();
        tokio::spawn(async move {
            partner.says.send("ready".to_owned()).await.unwrap();
            while let Some(word) = partner.hears.recv().await {
                events.lock().unwrap().push(word.clone());
                if word == "freeze" {
                    partner.says.send("frozen 1".to_owned()).await.unwrap();
                    continue;
                }
                for said in ["thaw 1 asked", "thawed"] {
                    // Whoever wished to stop listens no longer.
                    _ = partner.says.send(said.to_owned()).await;
                }
                return;
            }
        });
    });
    script
}

impl Lab {
    pub(super) async fn new() -> Self {
        let (memory, far) = (Memory::new("ceph"), Memory::of_place("ceph", "far"));
        let (events, cancel) = (Events::default(), Cancel::default());
        let identities = with_volumes(&memory).await;
        with_volumes(&far).await;
        let notes = Arc::new(Notes { events: events.clone(), at: Mutex::default() });
        let (state, script) = (tempfile::tempdir().unwrap(), node(&events));
        let ctx = Arc::new(Context {
            api: None,
            home: Some(cluster(&memory, state.path(), &script)),
            remotes: [("far".parse().unwrap(), cluster(&far, state.path(), &script))].into(),
            clock: Clock::fixed(Moment::from_unix(0)),
            progress: notes.clone(),
            cancel: cancel.clone(),
            limits: Limits::of_a_repository(Some(1), 0),
            hooks: Arc::new(Hooks::default()),
            unfinished: UnfinishedRestores::new(state.path()),
            freezes: Freezes::new(state.path()),
        });
        Self { memory, far, events, notes, cancel, ctx, identities, _state: state }
    }

    pub(super) fn create(&self, n: usize) -> Step {
        let (volume, identity) = (volume(n), self.identities[n].clone());
        let snapshot = new_name();
        Action::Volume(VolumeAction::CreateSnapshot { volume, identity, snapshot }).step()
    }

    pub(super) fn hold(n: usize) -> Step {
        let (volume, snapshot) = (volume(n), new_name());
        Action::Volume(VolumeAction::HoldSnapshot { volume, snapshot }).step()
    }

    /// Deletes the old snapshot of a volume.
    pub(super) async fn delete(&self, n: usize) -> Step {
        let storage = Storage::Memory(self.memory.clone());
        let facts = storage.volume(&volume(n).id.name).await.unwrap().unwrap();
        let snapshot = facts.snapshot(OLD).unwrap().identity.clone();
        Action::Volume(VolumeAction::DeleteSnapshot { volume: volume(n), snapshot }).step()
    }

    pub(super) fn at(&self, words: &str, then: Then) {
        *self.notes.at.lock().unwrap() = Some((words.to_owned(), then));
    }

    pub(super) async fn run(&self, plan: Plan) -> Executed {
        let outcome = GuestOutcome::new(&plan.guest);
        run(self.ctx.clone(), plan, Held::default(), outcome).await
    }

    /// The same with what happened, in short: `+0` is a new snapshot on the first volume, `-0` the old one
    /// deleted.
    pub(super) async fn events_of(&self, plan: Plan) -> (Executed, Vec<String>) {
        let executed = self.run(plan).await;
        let short = |event: &String| {
            let words = event.split("@").next().unwrap();
            let words = words.replace("created snapshot ceph:disk-", "+");
            words.replace("deleted snapshot ceph:disk-", "-")
        };
        let events = self.events.lock().unwrap().iter().map(short).collect();
        (executed, events)
    }

    /// The volumes with a new snapshot, and those without their old one.
    pub(super) fn left(&self) -> (Vec<usize>, Vec<usize>) {
        let has =
            |n: &usize, name: &str| self.memory.read_snapshot(&format!("disk-{n}"), name).is_ok();
        let new = new_name().to_string();
        ((0..4).filter(|n| has(n, &new)).collect(), (0..4).filter(|n| !has(n, OLD)).collect())
    }
}

/// Makes the volumes, and says what they are.
async fn with_volumes(memory: &Memory) -> Vec<VolumeIdentity> {
    let (storage, mut identities) = (Storage::Memory(memory.clone()), Vec::new());
    for n in 0..4 {
        let name = format!("disk-{n}");
        memory.add_volume(&name, 65_536).unwrap();
        storage.create_snapshot(&name, OLD).await.unwrap();
        identities.push(storage.volume(&name).await.unwrap().unwrap().identity);
    }
    identities
}

fn cluster(memory: &Memory, files: &Path, script: &Arc<Script>) -> Cluster {
    let (mut storages, script) = (Registry::default(), script.clone());
    let shared = Driver::Shared(Storage::Memory(memory.clone()));
    storages.serve("ceph".parse().unwrap(), shared, &[]);
    Cluster {
        files: ClusterFiles::new(files.to_owned()),
        hosts: Hosts::Scripted(Arc::new(move |_| script.clone())),
        storages,
        guards: "/run/pve-ferry".into(),
    }
}

pub(super) fn plan(items: Vec<Item>) -> Plan {
    let (vmid, kind) = ("100".parse::<VmId>().unwrap(), GuestKind::Qemu);
    Plan::new(Guest { vmid, kind, name: String::new(), node: "pve1".into() }, items)
}

pub(super) fn row(steps: impl IntoIterator<Item = Step>) -> Plan {
    plan(steps.into_iter().map(Item::Step).collect())
}

pub(super) fn frozen(items: Vec<Item>) -> Item {
    Item::Scope(Scope::Frozen { seconds: 10, answer: 3600 }, items)
}

pub(super) fn meaning(on_failure: OnFailure, step: Step) -> Step {
    Step { on_failure, ..step }
}

pub(super) fn needing(needs: Vec<usize>, step: Step) -> Step {
    Step { needs, ..step }
}
