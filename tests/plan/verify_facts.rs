//! Reads the facts of what only reads: a check, what one found, a disk that is to be a file.

use crate::notation::{after, rest};
use pve_ferry::model::{Guest, GuestKind, Share};
use pve_ferry::plan::assemble::AssembleFacts;
use pve_ferry::plan::damage::{Choice, DamageFacts, KnownDamage, PointName};
use pve_ferry::plan::verify::{FoundFacts, VerifyFacts};

pub fn guest() -> Guest {
    Guest {
        vmid: "100".parse().unwrap(),
        kind: GuestKind::Qemu,
        name: String::new(),
        node: "pve1".into(),
    }
}

/// `N of M` behind `key`.
pub fn share(line: &[String], key: &str) -> Option<Share> {
    let n = after(line, key)?.parse().unwrap();
    Some(Share { n, of: after(line, "of").unwrap().parse().unwrap() })
}

pub fn read(lines: &[Vec<String>]) -> VerifyFacts {
    let directory = rest(&lines[0], "verify").unwrap();
    let mut facts = VerifyFacts { guest: guest(), directory, label: None, part: None };
    for line in &lines[1..] {
        match line[0].as_str() {
            "label" => facts.label = Some(line[1].parse().unwrap()),
            "part" => facts.part = share(line, "part"),
            other => panic!("unknown fact {other}"),
        }
    }
    facts
}

pub fn read_found(lines: &[Vec<String>]) -> FoundFacts {
    let mut facts = FoundFacts { guest: guest(), good: Vec::new(), failed: Vec::new() };
    for line in &lines[1..] {
        match line[0].as_str() {
            "good" => facts.good.push(line[1].clone()),
            "failed" => facts.failed.push(line[1].clone()),
            other => panic!("unknown fact {other}"),
        }
    }
    facts
}

pub fn read_assembled(lines: &[Vec<String>]) -> AssembleFacts {
    let mut facts = AssembleFacts {
        guest: guest(),
        moment: after(&lines[0], "of").unwrap().parse().unwrap(),
        disk: lines[0][1].clone(),
        file: rest(&lines[0], "into").unwrap(),
        damage: DamageFacts::default(),
    };
    for line in &lines[1..] {
        match line[0].as_str() {
            "damaged" => {
                let (label, time) = ("daily".parse().unwrap(), facts.moment);
                facts.damage.point = Some(PointName { label, time });
                let disk = Some(line[1].parse().unwrap());
                facts.damage.found.push(KnownDamage { disk, why: "scsi0.base: digest".into() });
            }
            "named" => facts.damage.choice = Choice::Named,
            other => panic!("unknown fact {other}"),
        }
    }
    facts
}
