//! Reads the facts of a case of `delete`, `protect` or `unprotect`, and what is to be done.

use crate::notation::rest;
use crate::prune_facts::stored;
use pve_ferry::model::{Guest, GuestKind};
use pve_ferry::plan::NamedPoint;
use pve_ferry::plan::point::{PointAct, PointFacts};

/// `delete LABEL MOMENT`, or `protect LABEL MOMENT [notes TEXT]`; then `stored` as in a case of pruning. A
/// point that is not stored is gone.
pub fn read(lines: &[Vec<String>]) -> (PointFacts, PointAct) {
    let asked = &lines[0];
    let notes = rest(asked, "notes");
    let act = match asked[0].as_str() {
        "delete" => PointAct::Delete,
        "protect" => PointAct::Protect { notes },
        _ => PointAct::Unprotect { notes },
    };
    let points: Vec<_> = lines[1..].iter().map(|line| stored(line)).collect();
    let (label, moment) = (asked[1].parse().unwrap(), asked[2].parse().unwrap());
    let is_it = |point: &&pve_ferry::plan::prune::StoredFact| {
        (&point.label, point.moment) == (&label, moment)
    };
    let found = points.iter().find(is_it);
    let id = found.map_or(pve_ferry::model::PointId(99), |point| point.id);
    let directory = format!("{label}/{}", moment.stamp());
    let guest = Guest {
        vmid: "100".parse().unwrap(),
        kind: GuestKind::Qemu,
        name: "web".into(),
        node: "pve1".into(),
    };
    (PointFacts { guest, named: NamedPoint { directory, id, label, moment }, points }, act)
}
