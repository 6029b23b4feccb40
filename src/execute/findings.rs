//! What steps find, as data: for the operation's next plan, for the guest's outcome and for whoever shows
//! it. Only words about it are made here.

use super::compared::DiskAudit;
use crate::model::{Bytes, Moment, counted};
use crate::repository::{DamageFound, VerifyReport};
use std::path::Path;
use std::sync::Arc;

/// What a step gave that others need.
#[derive(Debug, Clone)]
pub enum Finding {
    /// What was found where a guest's points were read.
    Verified(Arc<Checked>),
    /// What was found where a stored disk was compared with its source.
    Compared(Arc<DiskAudit>),
    /// Why a step was not done.
    NotDone(String),
}

/// What was found of one guest.
#[derive(Debug, Clone)]
pub struct Checked {
    /// What was read and what is damaged.
    pub report: VerifyReport,
    /// Images without a checksum, of which only the form could be checked; ours all have one.
    pub unsummed: usize,
}

/// What is said of a guest whose check the user stopped.
pub const NOT_ALL_READ: &str = "interrupted; not all of it was read";

impl Checked {
    /// The check among these results, if there is one.
    pub fn among(results: &[Finding]) -> Option<&Arc<Self>> {
        results.iter().find_map(|result| match result {
            Finding::Verified(checked) => Some(checked),
            Finding::Compared(_) | Finding::NotDone(_) => None,
        })
    }

    /// Whether there was nothing to check, as in the directory of a guest that was always left out.
    pub fn is_of_nothing(&self) -> bool {
        let VerifyReport { points, damage, stopped, .. } = &self.report;
        points.is_empty() && damage.is_empty() && !stopped
    }

    /// What the check could not see, in words.
    pub fn blind_spots(&self) -> Option<String> {
        (self.unsummed > 0).then(|| {
            let images = counted(self.unsummed, "image");
            format!("no checksum stands beside {images}: whether a byte was changed there cannot be seen")
        })
    }

    /// All that is damaged, and what that costs; none when nothing is.
    pub fn damage(&self) -> Option<String> {
        let damage = &self.report.damage;
        let lines: Vec<String> = damage.iter().map(damage_line).collect();
        let cost = self.cost();
        (!damage.is_empty()).then(|| format!("DAMAGED\n{}\n{cost}", lines.join("\n")))
    }

    /// The restore points that the damage costs; none when it costs none.
    pub fn points_lost(&self) -> Option<String> {
        (!self.report.points_lost().is_empty()).then(|| self.cost())
    }

    fn cost(&self) -> String {
        let lost: Vec<String> = self.report.points_lost().into_iter().map(point_name).collect();
        format!("restore points that this costs: {}", lost.join(", "))
    }
}

/// Why a step was not done, among these results.
pub fn not_done(results: &[Finding]) -> Option<&str> {
    results.iter().find_map(|result| match result {
        Finding::NotDone(why) => Some(why.as_str()),
        Finding::Verified(_) | Finding::Compared(_) => None,
    })
}

/// One damage in one line.
pub fn damage_line(damage: &DamageFound) -> String {
    let extents: u64 = damage.extents.iter().map(|extent| extent.length).sum();
    let where_ = match extents {
        0 => String::new(),
        bytes => format!(", {} of the volume", Bytes(bytes)),
    };
    format!("  {}: {}{where_}", damage.file.display(), damage.what)
}

/// A point as `list` shows it: label and moment.
fn point_name(dir: &Path) -> String {
    let part = |path: Option<&Path>| {
        path.and_then(Path::file_name).map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let (label, stamp) = (part(dir.parent()), part(Some(dir)));
    let moment = Moment::from_stamp(&stamp).map_or(stamp, |moment| moment.to_string());
    format!("{label} {moment}")
}
