//! Reads the facts of an adoption.

use crate::notation::{after, has, identity, rest, snapshot};
use pve_ferry::model::{Guest, GuestKind, ImageId, SkippedDisk};
use pve_ferry::plan::adopt::{AdoptFacts, AdoptPolicy, OldImage, OldPoint, OwnPoint};
use pve_ferry::plan::facts::{SnapshotFact, VolumeFact};

pub fn read(lines: &[Vec<String>]) -> (AdoptFacts, AdoptPolicy) {
    let mut facts = AdoptFacts {
        guest: Guest {
            vmid: "100".parse().unwrap(),
            kind: GuestKind::Qemu,
            name: "web".into(),
            node: "pve1".into(),
        },
        directory: "barc/100/daily".into(),
        points: Vec::new(),
        volumes: Vec::new(),
        unread: Vec::new(),
        chain: None,
        own: Vec::new(),
        unreadable: None,
    };
    for line in lines {
        match line[0].as_str() {
            "adopt" => {}
            "unreadable" => facts.unreadable = rest(line, "unreadable"),
            "unread" => {
                facts.unread.push((line[1].parse().unwrap(), rest(line, "reason").unwrap()));
            }
            "chain" => facts.chain = Some(line[1].parse().unwrap()),
            "own" => facts.own.push(OwnPoint {
                moment: line[1].parse().unwrap(),
                adopted: after(line, "adopted").map(str::to_owned),
            }),
            "old" => facts.points.push(OldPoint {
                stamp: line[1].clone(),
                time: line[2].parse().unwrap(),
                snapshot: format!("barcdaily{}", line[1]),
                config_digest: after(line, "config").map(str::to_owned),
                images: Vec::new(),
                skipped: Vec::new(),
            }),
            "image" => facts.points.last_mut().unwrap().images.push(OldImage {
                disk: line[1].parse().unwrap(),
                volume: line[2].parse().unwrap(),
                broken: rest(line, "broken"),
            }),
            "skip" => facts.points.last_mut().unwrap().skipped.push(SkippedDisk {
                disk: line[1].clone(),
                reason: rest(line, "reason").unwrap(),
                by_configuration: !has(line, "fault"),
            }),
            "volume" => facts.volumes.push(VolumeFact {
                disk: line[1].parse().unwrap(),
                volume: line[2].parse().unwrap(),
                identity: identity(after(line, "id").unwrap()),
                size: 4 << 30,
                tells_used: true,
                used: None,
                snapshots: Vec::new(),
                change_record_invalid: false,
                migrating: false,
            }),
            "snapshot" => {
                let volume = facts.volumes.last_mut().unwrap();
                let pve_ferry::model::VolumeIdentity::Memory { id } = volume.identity else {
                    panic!()
                };
                let identity = snapshot(&id.to_string(), &line[1]);
                volume.snapshots.push(SnapshotFact { identity, protected: has(line, "protected") });
            }
            other => panic!("unknown fact {other}"),
        }
    }
    let policy = AdoptPolicy {
        label: "daily".parse().unwrap(),
        new_chain: "0000cafe".parse().unwrap(),
        new_image: ImageId(0xcafe),
    };
    (facts, policy)
}
