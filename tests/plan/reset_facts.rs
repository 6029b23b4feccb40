//! Reads the facts and the policy of a reset case.

use crate::notation::{after, has, rest, snapshot};
use pve_ferry::model::SkippedDisk;
use pve_ferry::model::{Guest, GuestKind};
use pve_ferry::plan::facts::SnapshotFact;
use pve_ferry::plan::reset::{ChainFact, ResetFacts, ResetPolicy, ResetVolume};
use std::collections::BTreeSet;

pub fn read(lines: &[Vec<String>]) -> (ResetFacts, ResetPolicy) {
    let mut facts = ResetFacts {
        guest: Guest {
            vmid: "100".parse().unwrap(),
            kind: GuestKind::Qemu,
            name: "web".into(),
            node: "pve1".into(),
        },
        volumes: Vec::new(),
        skipped: Vec::new(),
        repository: None,
        chains: Vec::new(),
    };
    let mut policy = ResetPolicy::default();
    // The number of the volume that the next snapshots are on.
    let mut number = String::new();
    for line in lines {
        match line[0].as_str() {
            "reset" => {
                policy.label = after(line, "label").map(|label| label.parse().unwrap());
                policy.chains =
                    after(line, "chain").map(|c| c.parse().unwrap()).into_iter().collect();
                facts.repository = after(line, "path").map(str::to_owned);
            }
            "volume" => {
                after(line, "id").unwrap().clone_into(&mut number);
                let volume = line[1].parse().unwrap();
                facts.volumes.push(ResetVolume {
                    volume,
                    snapshots: Vec::new(),
                    migrating: has(line, "migrating"),
                });
            }
            "snapshot" => facts.volumes.last_mut().unwrap().snapshots.push(SnapshotFact {
                identity: snapshot(&number, &line[1]),
                protected: has(line, "protected"),
            }),
            "chain" => facts.chains.push(ChainFact {
                chain: line[1].parse().unwrap(),
                guest: rest(line, "of").unwrap(),
                sources: BTreeSet::new(),
            }),
            "source" => {
                let source = snapshot(after(line, "of").unwrap(), &line[1]);
                facts.chains.last_mut().unwrap().sources.insert(source);
            }
            "skip" => facts.skipped.push(SkippedDisk {
                disk: line[1].clone(),
                reason: rest(line, "reason").unwrap(),
                by_configuration: !has(line, "fault"),
            }),
            other => panic!("unknown fact {other}"),
        }
    }
    (facts, policy)
}
