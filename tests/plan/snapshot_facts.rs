//! Reads the facts and the policy of a case about snapshots of guests.

use crate::notation::{after, has};
use pve_ferry::model::guest_snapshot::{DESCRIPTION, automatic_name};
use pve_ferry::model::{Guest, GuestKind, GuestSnapshot, TimestampFormat};
use pve_ferry::plan::snapshot::{
    DiskFacts, Memory, NewSnapshot, SnapshotFacts, SnapshotPolicy, Which,
};
use pve_ferry::plan::snapshot_feature::Feature;
use pve_ferry::plan::vmstate::{MemoryFacts, Place};
use pve_ferry::plan::{Plan, snapshot};

/// The plan of a case, or its refusal in words. `snapshots create|prune LABEL` or
/// `snapshots rollback NAME` is the first line.
pub fn outcome(lines: &[Vec<String>]) -> Result<Plan, String> {
    let facts = facts(lines);
    let (what, name) = (lines[0][1].as_str(), &lines[0][2]);
    match what {
        "rollback" => snapshot::rollback(&facts, name),
        _ => snapshot::plan(&facts, &policy(lines, what, name)),
    }
    .map_err(|error| error.to_string())
}

fn policy(lines: &[Vec<String>], what: &str, label: &str) -> SnapshotPolicy {
    let value = |key: &str| lines.iter().find(|line| line[0] == key).map(|line| line[1].as_str());
    let given = |key: &str| lines.iter().any(|line| line[0] == key);
    let label = label.parse().unwrap();
    let create = NewSnapshot {
        name: automatic_name(&label, value("time").unwrap_or("260110000000")).unwrap(),
        memory: if given("state") { Memory::Included } else { Memory::LeftOut },
        which: if given("only-running") { Which::OnlyRunning } else { Which::All },
        most_percent: value("max-percent").map_or(95, |text| text.parse().unwrap()),
    };
    SnapshotPolicy {
        label,
        format: value("format").map_or_else(TimestampFormat::default, |t| t.parse().unwrap()),
        keep: value("keep").map(|text| text.parse().unwrap()),
        create: (what == "create").then_some(create),
    }
}

fn facts(lines: &[Vec<String>]) -> SnapshotFacts {
    let mut facts = SnapshotFacts {
        unseen: None,
        guest: Guest {
            vmid: "100".parse().unwrap(),
            kind: GuestKind::Qemu,
            name: "web".into(),
            node: "pve1".into(),
        },
        status: "running".into(),
        template: false,
        lock: None,
        agent: Some(true),
        disks: Vec::new(),
        feature: Feature::Present,
        memory: None,
        memory_blockers: Vec::new(),
        snapshots: Vec::new(),
    };
    for line in lines {
        match line[0].as_str() {
            "snapshots" | "keep" | "time" | "format" | "state" | "only-running" | "max-percent" => {
            }
            "status" => facts.status.clone_from(&line[1]),
            "template" => facts.template = true,
            "container" => (facts.guest.kind, facts.agent) = (GuestKind::Lxc, None),
            "no-agent" => facts.agent = Some(false),
            "lock" => facts.lock = Some(line[1].clone()),
            "cannot" => facts.feature = Feature::Missing,
            "unclear" => facts.feature = Feature::Unclear(line[1..].join(" ")),
            "ties-memory" => facts.memory_blockers.push(line[1].clone()),
            "memory" => facts.memory = Some(memory(line)),
            "disk" => facts.disks.push(disk(line)),
            "has" => facts.snapshots.push(present(line)),
            other => panic!("unknown fact {other}"),
        }
    }
    facts
}

/// `disk KEY [on STORAGE [type PLUGIN] [called NAME] [used N of N]]`.
fn disk(line: &[String]) -> DiskFacts {
    let number = |key: &str| after(line, key).map(|text| text.parse().unwrap());
    let name = after(line, "called").unwrap_or("vm-100-disk-0");
    DiskFacts {
        key: line[1].clone(),
        volume: after(line, "on").map(|on| format!("{on}:{name}").parse().unwrap()),
        plugin: after(line, "type").map(str::to_owned),
        usage: number("used").zip(number("of")),
    }
}

/// `memory needs BYTES on STORAGE [type PLUGIN | elsewhere] [used N of N]`.
fn memory(line: &[String]) -> MemoryFacts {
    let number = |key: &str| after(line, key).map(|text| text.parse().unwrap());
    MemoryFacts {
        storage: after(line, "on").unwrap().to_owned(),
        needed: number("needs").unwrap(),
        usage: number("used").zip(number("of")),
        place: match after(line, "type") {
            _ if has(line, "elsewhere") => Place::Elsewhere,
            Some(plugin) => Place::Here(plugin.to_owned()),
            None => Place::Unseen,
        },
    }
}

/// `has NAME at SECONDS [by DESCRIPTION] [memory] [unfinished STATE]`.
fn present(line: &[String]) -> GuestSnapshot {
    let described = after(line, "by").unwrap_or(DESCRIPTION);
    GuestSnapshot {
        name: line[1].clone(),
        taken: after(line, "at").unwrap().parse().unwrap(),
        description: format!("{described}\n"),
        parent: None,
        has_memory: has(line, "memory"),
        unfinished: after(line, "unfinished").map(str::to_owned),
    }
}
