//! Reads the facts and the policy of a prune case, and the same lines in a backup's.

use crate::notation::{has, rest};
use pve_ferry::model::{Guest, GuestKind, ImageId, PointId};
use pve_ferry::plan::prune::{PruneFacts, PrunePolicy, StoredFact, StoredImage};
use pve_ferry::retention::{Calendar, Rules, Span};

pub fn read(lines: &[Vec<String>]) -> (PruneFacts, PrunePolicy) {
    let mut facts = PruneFacts {
        guest: Guest {
            vmid: "100".parse().unwrap(),
            kind: GuestKind::Qemu,
            name: "web".into(),
            node: "pve1".into(),
        },
        points: Vec::new(),
        frozen_repository: None,
        is_damaged: false,
        leftovers: Vec::new(),
    };
    let now = "2026-01-10T00:00:00Z".parse().unwrap();
    let mut policy = PrunePolicy { label: None, rules: Rules::default(), new: None, now };
    for line in lines {
        match line[0].as_str() {
            "prune" => {}
            "now" => policy.now = line[1].parse().unwrap(),
            "label" => policy.label = Some(line[1].parse().unwrap()),
            "frozen-repository" => facts.frozen_repository = rest(line, "frozen-repository"),
            "leftovers" => facts.leftovers.push(line[1].clone()),
            "stored" => facts.points.push(stored(line)),
            _ => assert!(rule(line, &mut policy.rules), "unknown fact {line:?}"),
        }
    }
    (facts, policy)
}

/// Whether the line is a rule of retention; it is added then.
pub fn rule(line: &[String], rules: &mut Rules) -> bool {
    match line[0].as_str() {
        "keep" => rules.keep = Some(line[1].parse().unwrap()),
        "fold" => rules.fold = Some(line[1].parse().unwrap()),
        "retain" => rules.retain = Some(line[1].parse().unwrap()),
        "keep-within" => rules.within = Some(Span::age(&line[1]).unwrap()),
        "timezone" => {
            rules.calendar = Calendar::of(pve_ferry::clock::zone(&line[1]).unwrap());
        }
        "prune-backups" => rules.add_prune_backups(&line[1]).unwrap(),
        _ => return false,
    }
    true
}

/// `stored SEQ LABEL MOMENT [hidden] [protected] [failed] [without-scsi1] images 10 21<20:7`: image 21 follows 20
/// and has 7 bytes.
pub fn stored(line: &[String]) -> StoredFact {
    let (label, moment) = (&line[2], line[3].parse::<pve_ferry::model::Moment>().unwrap());
    let image = |text: &str| {
        let id = |text: &str| ImageId(text.parse().unwrap());
        let (text, bytes) = text.split_once(':').unwrap_or((text, "0"));
        let bytes = bytes.parse().unwrap();
        match text.split_once('<') {
            Some((image, parent)) => {
                StoredImage { image: id(image), parent: Some(id(parent)), bytes }
            }
            None => StoredImage { image: id(text), parent: None, bytes },
        }
    };
    StoredFact {
        directory: format!("{label}/{}", moment.stamp()),
        id: PointId(line[1].parse().unwrap()),
        label: label.parse().unwrap(),
        seq: line[1].parse().unwrap(),
        moment,
        hidden: has(line, "hidden"),
        protected: has(line, "protected"),
        failed: has(line, "failed"),
        missing: line
            .iter()
            .filter_map(|word| word.strip_prefix("without-"))
            .map(Into::into)
            .collect(),
        images: rest(line, "images").unwrap().split_whitespace().map(image).collect(),
    }
}
