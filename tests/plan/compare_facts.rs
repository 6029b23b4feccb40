//! Reads the facts of a comparison with the source, and of what one found.

use crate::notation::after;
use crate::verify_facts::{guest, share};
use pve_ferry::model::{DiskKey, Guest, ImageId, PointId};
use pve_ferry::plan::compare::{
    ComparableImage, ComparablePoint, CompareFacts, ComparePolicy, ComparedPoint,
};

pub fn read(lines: &[Vec<String>]) -> (CompareFacts, ComparePolicy) {
    let mut facts = CompareFacts { guest: guest(), points: Vec::new() };
    let parts = after(&lines[0], "of").map_or(1, |parts| parts.parse().unwrap());
    let mut policy = ComparePolicy { label: None, parts };
    for line in &lines[1..] {
        match line[0].as_str() {
            "label" => policy.label = Some(line[1].parse().unwrap()),
            "point" => facts.points.push(ComparablePoint {
                id: PointId(line[1].parse().unwrap()),
                seq: line[1].parse().unwrap(),
                label: line[2].parse().unwrap(),
                moment: line[3].parse().unwrap(),
                audits: Vec::new(),
                images: Vec::new(),
            }),
            "audited" => {
                let point = facts.points.last_mut().unwrap();
                point.audits.push(share(line, "audited").unwrap());
            }
            "disk" => facts.points.last_mut().unwrap().images.push(ComparableImage {
                disk: line[1].parse().unwrap(),
                image: ImageId(1),
                volume: line[2].parse().unwrap(),
            }),
            other => panic!("unknown fact {other}"),
        }
    }
    (facts, policy)
}

pub fn read_compared(lines: &[Vec<String>]) -> (Guest, Vec<ComparedPoint>) {
    let disks = |line: &[String], what: &str| -> Vec<DiskKey> {
        after(line, what).iter().map(|disk| disk.parse().unwrap()).collect()
    };
    let points = lines[1..].iter().map(|line| ComparedPoint {
        id: PointId(1),
        label: line[0].parse().unwrap(),
        moment: line[1].parse().unwrap(),
        share: share(line, "part").unwrap(),
        equal: disks(line, "equal"),
        differing: disks(line, "differing"),
    });
    (guest(), points.collect())
}
