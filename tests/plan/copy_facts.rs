//! Reads the facts and the policy of a case of copying: `stored` in the source, `there` in the target.

use crate::notation::{rest, size};
use crate::prune_facts::stored;
use pve_ferry::model::{Guest, GuestKind, Label};
use pve_ferry::plan::copy::{CopyFacts, CopyPolicy, Source};
use std::collections::BTreeSet;

/// Whether the point of this order is named.
fn is_seq(seq: u64, words: &[String]) -> bool {
    words.iter().any(|word| *word == seq.to_string())
}

pub fn read(lines: &[Vec<String>]) -> (CopyFacts, CopyPolicy) {
    let mut facts = CopyFacts {
        guest: Guest {
            vmid: "100".parse().unwrap(),
            kind: GuestKind::Qemu,
            name: "web".into(),
            node: "pve1".into(),
        },
        source: Vec::new(),
        unreadable: Vec::new(),
        target: Vec::new(),
        unmarked: BTreeSet::new(),
        lacks_chain: BTreeSet::new(),
        takes_chain: BTreeSet::new(),
        closed: None,
        arrived: 0,
        free_bytes: 1 << 40,
    };
    let new_chain = "0000cafe".parse().unwrap();
    let mut policy = CopyPolicy { label: None, source: Source::Stays, new_chain };
    for line in lines {
        match line[0].as_str() {
            "copy" => {}
            "move" => policy.source = Source::Moves,
            "label" => policy.label = Some(line[1].parse().unwrap()),
            "unreadable" => facts.unreadable.extend(rest(line, "unreadable")),
            "unmarked" => facts
                .unmarked
                .extend(facts.source.iter().filter(|p| is_seq(p.seq, &line[1..])).map(|p| p.id)),
            "lacks-chain" => {
                facts.lacks_chain.extend(line[1..].iter().map(|l| l.parse::<Label>().unwrap()))
            }
            "takes-chain" => {
                facts.takes_chain.extend(line[1..].iter().map(|l| l.parse::<Label>().unwrap()))
            }
            "closed" => facts.closed = rest(line, "closed"),
            "arrived" => facts.arrived = size(&line[1]),
            "free" => facts.free_bytes = size(&line[1]),
            "stored" => facts.source.push(stored(line)),
            "there" => facts.target.push(stored(line)),
            _ => panic!("unknown fact {line:?}"),
        }
    }
    (facts, policy)
}
