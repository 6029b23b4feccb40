//! Which restore point is meant, of all that a repository holds, and why none is. What is at the
//! target of a restore is for `restore`.

use super::several::{described_all, last_of_one_cluster};
use crate::model::{ClusterId, Label, Moment, VmId};
use crate::repository::{GuestDir, History, Repository, StoredPoint, Unreadable};
use std::path::Path;

/// Which restore point the user means.
#[derive(Debug, Clone)]
pub struct Sought {
    /// The guest's number.
    pub vmid: VmId,
    /// The label; any when absent.
    pub label: Option<Label>,
    /// The newest point not after this moment; the newest of all when absent.
    pub time: Option<Moment>,
    /// The guest's directory, `<cluster>-<8 hex>/<vmid>-<8 hex>`, when the vmid is not enough.
    pub directory: Option<String>,
}

/// Why no single point is meant.
#[derive(Debug, thiserror::Error)]
pub enum NoPoint {
    /// The repository holds nothing of it.
    #[error("the repository holds no restore point of {0}; `pve-ferry list` shows what it holds")]
    None(String),
    /// The point that is meant may be one that cannot be read.
    #[error(
        "a newer restore point that fits cannot be read: {unreadable}; name an older one with --time {older}, or look at it first; nothing was changed"
    )]
    Unreadable {
        /// What cannot be read.
        unreadable: String,
        /// The newest readable point.
        older: Moment,
    },
    /// The point went while somebody waited for its directory's lock.
    #[error(
        "the point {label} {time} was removed or merged into a newer one meanwhile; the guest's newest points are now: {there}; nothing was changed"
    )]
    Gone {
        /// Its label.
        label: Label,
        /// Its moment.
        time: Moment,
        /// The newest points that are there, in words.
        there: String,
    },
    /// Several guests had that vmid, and none of them was clearly the last one.
    #[error("several guests of the repository had the vmid {0}: choose one with --guest: {1}")]
    Several(VmId, String),
}

/// A restore point and the guest it belongs to.
#[derive(Debug, Clone)]
pub struct SurveyedPoint {
    /// The guest's directory.
    pub directory: GuestDir,
    /// All its points.
    pub history: History,
    /// The point that is meant.
    pub point: StoredPoint,
}

impl SurveyedPoint {
    /// The same point as its directory holds it now. Only what is read under a lock stays.
    ///
    /// # Errors
    /// [`NoPoint::Gone`], or the directory cannot be read.
    pub fn read_again(&self) -> anyhow::Result<Self> {
        let (directory, history) = (self.directory.clone(), self.directory.load()?);
        let Some(point) = history.point(self.point.manifest.point).cloned() else {
            let newest = history.visible().rev().take(NEWEST);
            let names: Vec<String> =
                newest.map(|p| format!("{} {}", p.manifest.label, p.manifest.time)).collect();
            let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            let (label, time) = (self.point.manifest.label.clone(), self.point.manifest.time);
            return Err(NoPoint::Gone { label, time, there }.into());
        };
        Ok(Self { directory, history, point })
    }
}

/// How many points are named to somebody whose point is gone.
const NEWEST: usize = 5;

/// Finds the point that is meant. Among several guests of one vmid those of `here` come first,
/// because a vmid means the guest of this cluster to the person who types it.
///
/// # Errors
/// [`NoPoint`], or the repository cannot be read.
pub fn point(
    repository: &Repository,
    sought: &Sought,
    here: Option<&ClusterId>,
) -> anyhow::Result<SurveyedPoint> {
    let mut found = candidates(repository, sought)?;
    let of_here = |candidate: &SurveyedPoint| {
        candidate.history.record.as_ref().is_some_and(|r| Some(&r.guest.cluster) == here)
    };
    if found.len() > 1 && found.iter().any(of_here) {
        found.retain(of_here);
    }
    if found.len() > 1 {
        let last = last_of_one_cluster(&found);
        let last = last.ok_or_else(|| NoPoint::Several(sought.vmid, described_all(&found)))?;
        return Ok(found.swap_remove(last));
    }
    Ok(found.pop().ok_or_else(|| NoPoint::None(described(sought)))?)
}

/// A guest's directory as the user names it.
pub fn relative(directory: &GuestDir) -> String {
    let names = directory.names();
    format!("{}/{}", names.cluster_dir(), names.guest_dir())
}

fn described(sought: &Sought) -> String {
    let label = sought.label.as_ref().map(|l| format!(" with label {l}")).unwrap_or_default();
    let time = sought.time.map(|t| format!(" not after {t}")).unwrap_or_default();
    format!("guest {}{label}{time}", sought.vmid)
}

fn candidates(repository: &Repository, sought: &Sought) -> anyhow::Result<Vec<SurveyedPoint>> {
    let mut found = Vec::new();
    for directory in repository.guests()? {
        let named = sought.directory.as_ref().is_none_or(|name| relative(&directory) == *name);
        if directory.names().vmid != sought.vmid || !named {
            continue;
        }
        let history = directory.load()?;
        let fit = history.visible().filter(|point| fits(point, sought));
        let newest = fit.max_by_key(|point| rank(point, sought)).cloned();
        if let Some(point) = newest {
            refuse_what_hides_newer(&history, &point, sought)?;
            refuse_what_lost_its_manifest(&history, &point, sought)?;
            found.push(SurveyedPoint { directory, history, point });
        }
    }
    Ok(found)
}

/// Whether a point has the label and the moment that are sought.
pub(super) fn fits(point: &StoredPoint, sought: &Sought) -> bool {
    sought.label.as_ref().is_none_or(|label| point.manifest.label == *label)
        && sought.time.is_none_or(|time| point.manifest.time <= time)
}

/// Whoever asks for the newest point must not be given an older one in silence, because the newest
/// cannot be read.
fn refuse_what_hides_newer(
    history: &History,
    point: &StoredPoint,
    sought: &Sought,
) -> Result<(), NoPoint> {
    let newer = |unreadable: &&Unreadable| {
        place(&unreadable.path).is_some_and(|(label, moment)| {
            sought.label.as_ref().is_none_or(|sought| *sought == label)
                && sought.time.is_none_or(|time| moment <= time)
                && moment > point.manifest.time
        })
    };
    match history.unreadable.iter().find(newer) {
        Some(unreadable) => Err(NoPoint::Unreadable {
            unreadable: unreadable.to_string(),
            older: point.manifest.time,
        }),
        None => Ok(()),
    }
}

/// Nor because the newest is gone but for its sealed copy, or because the very directory that is
/// named has no manifest: what an interrupted run left bears a name that nobody was shown.
fn refuse_what_lost_its_manifest(
    history: &History,
    point: &StoredPoint,
    sought: &Sought,
) -> Result<(), NoPoint> {
    let is_meant = |label: &Label, moment: Moment| {
        sought.label.as_ref().is_none_or(|sought| sought == label)
            && sought.time.is_none_or(|time| moment <= time)
            && moment > point.manifest.time
    };
    let gone = history.gone.iter().filter(|gone| !gone.is_hidden());
    let gone = gone.filter(|gone| is_meant(&gone.label, gone.time)).map(|gone| {
        format!(
            "{} {} (its directory is gone; only its sealed copy is there)",
            gone.label, gone.time
        )
    });
    let bare = history.debris.iter().filter(|debris| debris.holds_images);
    let bare = bare.filter(|debris| {
        let named = place(&debris.path);
        named.is_some_and(|(label, time)| sought.time == Some(time) && is_meant(&label, time))
    });
    let bare = bare.map(|debris| format!("{} (it holds no manifest)", debris.path.display()));
    match gone.chain(bare).next() {
        Some(unreadable) => Err(NoPoint::Unreadable { unreadable, older: point.manifest.time }),
        None => Ok(()),
    }
}

/// The label and the moment that a point's directory is named after, of a file in it or its own path.
fn place(path: &Path) -> Option<(Label, Moment)> {
    let stamp = |dir: &Path| Moment::from_stamp(dir.file_name()?.to_str()?).ok();
    let dir = path.ancestors().find(|dir| stamp(dir).is_some())?;
    let label: Option<Label> = dir.parent()?.file_name()?.to_str()?.parse().ok();
    Some((label?, stamp(dir)?))
}

/// Order is `seq`; a moment that the user gave is compared with the points' own moments.
pub(super) fn rank(point: &StoredPoint, sought: &Sought) -> (Moment, u64) {
    let moment = if sought.time.is_some() { point.manifest.time } else { Moment::from_unix(0) };
    (moment, point.manifest.seq)
}
