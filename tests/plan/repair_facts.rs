//! Reads the facts of a repair case.

use crate::notation::{has, rest};
use pve_ferry::model::{Guest, GuestKind, PointId};
use pve_ferry::plan::repair::{
    GonePoint, LostAttributes, LostManifest, Mend, RecordSource, RepairFacts,
};
use pve_ferry::plan::{Action, PointAction};

pub fn read(lines: &[Vec<String>]) -> (RepairFacts, Vec<Action>) {
    let mut facts = RepairFacts {
        guest: Guest {
            vmid: "100".parse().unwrap(),
            kind: GuestKind::Qemu,
            name: "web".into(),
            node: "pve1".into(),
        },
        manifests: Vec::new(),
        indexes: Vec::new(),
        attributes: Vec::new(),
        record: None,
        copies: Vec::new(),
        gone: Vec::new(),
        broken: None,
        beyond: Vec::new(),
    };
    let mut tried = Vec::new();
    for line in lines {
        match line[0].as_str() {
            "repair" => {}
            "manifest" => facts.manifests.push(LostManifest {
                directory: line[1].clone(),
                what: "it is missing".into(),
                without_source: rest(line, "without"),
            }),
            "index" => facts.indexes.push(line[1].clone()),
            "attributes" => facts.attributes.push(LostAttributes {
                directory: line[1].clone(),
                point: PointId(1),
                has_copy: has(line, "copied"),
            }),
            "record" => {
                let source =
                    if has(line, "copied") { RecordSource::Copy } else { RecordSource::Points };
                facts.record = Some(source);
            }
            "copies" => facts.copies = vec![PointId(1); line[1].parse().unwrap()],
            "gone" => facts.gone.push(GonePoint {
                point: PointId(7),
                label: line[1].parse().unwrap(),
                moment: line[2].parse().unwrap(),
            }),
            "broken" => facts.broken = rest(line, "broken"),
            "beyond" => facts.beyond.extend(rest(line, "beyond")),
            "tried" => tried.push(Action::Point(PointAction::Mend(Mend::Manifest {
                directory: line[1].clone(),
            }))),
            other => panic!("unknown fact {other}"),
        }
    }
    (facts, tried)
}
