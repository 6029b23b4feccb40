//! What was found where stored disks were compared with the snapshots that they were made from, and the
//! words for it. Nothing is compared here.

use super::Finding;
use crate::audit::Audited;
use crate::model::Bytes;
use crate::plan::compare::{ComparedPoint, Comparison};
use crate::repository::AuditFindings;

/// What became of one disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskAudit {
    /// What was to be compared.
    pub of: Comparison,
    /// What was found, or why nothing could be.
    pub result: Result<Audited, String>,
}

impl DiskAudit {
    /// All among these results, in their order.
    pub fn among(results: &[Finding]) -> Vec<&Self> {
        let compared = results.iter().filter_map(|result| match result {
            Finding::Compared(disk) => Some(disk.as_ref()),
            Finding::Verified(_) | Finding::NotDone(_) => None,
        });
        compared.collect()
    }

    /// What differs, in words; none when nothing does.
    pub fn what_differs(&self) -> Option<String> {
        self.result.as_ref().ok()?.what_differs()
    }

    fn is_equal(&self) -> bool {
        self.result.as_ref().is_ok_and(Audited::is_equal)
    }

    /// What was found, in one line.
    pub fn line(&self) -> String {
        let Comparison { label, moment, disk, volume, share, .. } = &self.of;
        let found = match (&self.result, self.what_differs()) {
            (Err(why), _) => format!("NOT COMPARED: {why}"),
            (Ok(_), Some(what)) => format!("DIFFERS: {what}"),
            (Ok(audited), None) => format!("equal, {} compared ({share})", Bytes(audited.bytes)),
        };
        format!("  {label} {moment} {disk} of {volume}: {found}")
    }
}

/// How comparing some disks ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All that was compared is what its source holds.
    Equal,
    /// Some could not be compared.
    Unknown,
    /// One is not what its source holds.
    Differs,
}

impl Ending {
    /// That of these disks.
    pub fn of(disks: &[&DiskAudit]) -> Self {
        if disks.iter().any(|disk| disk.what_differs().is_some()) {
            return Self::Differs;
        }
        match disks.iter().all(|disk| disk.result.is_ok()) {
            true => Self::Equal,
            false => Self::Unknown,
        }
    }
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Equal => "ok, equal to its source",
            Self::Unknown => "not all of it could be compared",
            Self::Differs => {
                "DIFFERS from its source; the next backup makes a new base, older points may be wrong at the same places"
            }
        })
    }
}

/// What is wrong with these disks, or not known of them, in words; none when all are equal.
pub fn what_is_wrong(disks: &[&DiskAudit]) -> Option<String> {
    let ending = Ending::of(disks);
    match ending {
        Ending::Equal => None,
        Ending::Unknown => Some(ending.to_string()),
        Ending::Differs => {
            let lines: Vec<String> = disks.iter().map(|disk| disk.line()).collect();
            Some(format!("{ending}\n{}", lines.join("\n")))
        }
    }
}

/// What was found of each point, for the plan that notes it.
pub fn compared_points(disks: &[&DiskAudit]) -> Vec<ComparedPoint> {
    let of_point = |disks: &[&DiskAudit]| {
        let of = &disks.first()?.of;
        let keys = |is_it: fn(&DiskAudit) -> bool| {
            disks.iter().filter(|disk| is_it(disk)).map(|disk| disk.of.disk.clone()).collect()
        };
        Some(ComparedPoint {
            id: of.point,
            label: of.label.clone(),
            moment: of.moment,
            share: of.share,
            equal: keys(DiskAudit::is_equal),
            differing: keys(|disk| disk.what_differs().is_some()),
        })
    };
    disks.chunk_by(|a, b| a.of.point == b.of.point).filter_map(of_point).collect()
}

/// The same as the repository notes it with the point.
pub(super) fn findings(point: &ComparedPoint, results: &[Finding]) -> AuditFindings {
    let disks = DiskAudit::among(results);
    let own = || disks.iter().filter(|disk| disk.of.point == point.id);
    let differing = own().filter_map(|disk| Some((disk.of.image, disk.what_differs()?)));
    AuditFindings {
        point: point.id,
        share: point.share,
        equal: own().filter(|disk| disk.is_equal()).map(|disk| disk.of.image).collect(),
        differing: differing.collect(),
    }
}
