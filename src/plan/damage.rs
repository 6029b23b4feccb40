//! Decides whether a restore point is read although checks found damage in it. Pure. What is damaged
//! is found elsewhere: by `verify`, and by comparisons with the source.

use crate::model::{DiskKey, Label, Moment};

/// Damage that a check noted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownDamage {
    /// The disk whose chain holds it; none where it is in the point's configuration or firewall file.
    pub disk: Option<DiskKey>,
    /// What was found, in words.
    pub why: String,
}

impl std::fmt::Display for KnownDamage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.disk {
            Some(disk) => write!(f, "{disk} is known to be damaged: {}", self.why),
            None => write!(f, "the point is known to be damaged: {}", self.why),
        }
    }
}

/// A point as options name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PointName {
    /// Its label.
    pub label: Label,
    /// Its moment.
    pub time: Moment,
}

impl std::fmt::Display for PointName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "--label {} --time {}", self.label, self.time)
    }
}

/// How the user came to a point.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Choice {
    /// As the newest that fits: of all, or of those not after a moment.
    #[default]
    Newest,
    /// By its own moment.
    Named,
}

/// What is known of a point that somebody wants to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DamageFacts {
    /// The point; none where nothing is ever noted (directories of eve4pve-barc).
    pub point: Option<PointName>,
    /// How the user came to it.
    pub choice: Choice,
    /// What is damaged in it.
    pub found: Vec<KnownDamage>,
    /// The newest other point that fits and is not known to be damaged where it is wanted.
    pub sound: Option<PointName>,
}

/// Why a point is not read; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found}. {sound}; {point} takes the damaged one all the same. Nothing was changed")]
pub struct IsDamaged {
    found: String,
    sound: String,
    point: PointName,
}

/// What the user has to be told of the damage in the wanted disks; all disks and the configuration
/// when none is named.
///
/// # Errors
/// There is some, and the user may not know that this point is the one that is meant.
pub fn judge(facts: &DamageFacts, disks: &[DiskKey]) -> Result<Vec<String>, IsDamaged> {
    let is_wanted = |damage: &&KnownDamage| {
        disks.is_empty() || damage.disk.as_ref().is_some_and(|disk| disks.contains(disk))
    };
    let found: Vec<String> =
        facts.found.iter().filter(is_wanted).map(ToString::to_string).collect();
    match (&facts.point, facts.choice) {
        (Some(point), Choice::Newest) if !found.is_empty() => {
            let sound = match &facts.sound {
                Some(sound) => format!("The newest sound point that fits: {sound}"),
                None => "No other point that fits is sound".to_owned(),
            };
            Err(IsDamaged { found: found.join("; "), sound, point: point.clone() })
        }
        _ => Ok(found),
    }
}
