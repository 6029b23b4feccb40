//! What checks noted of stored points: which disks are known to be damaged, and which other point is
//! sound. It reads no image; whether damage keeps a point from being read, `plan::damage` decides.

use super::sought::{Sought, SurveyedPoint, fits, rank};
use super::source::RestorePoint;
use crate::model::DiskKey;
use crate::plan::damage::{Choice, DamageFacts, KnownDamage, PointName};
use crate::repository::{History, StoredPoint, VerifiedState, damage_of_chain};

/// What is known of the damage in a point, as `sought` and `disks` (all of them when empty) want it.
pub fn damage(point: &RestorePoint, sought: &Sought, disks: &[DiskKey]) -> DamageFacts {
    let RestorePoint::Ours(ours) = point else { return DamageFacts::default() };
    let found = known_damage(&ours.history, &ours.point);
    let is_named = sought.time == Some(ours.point.manifest.time);
    DamageFacts {
        point: Some(name(&ours.point)),
        choice: if is_named { Choice::Named } else { Choice::Newest },
        sound: if found.is_empty() { None } else { newest_sound(ours, sought, disks) },
        found,
    }
}

/// The damage that checks noted in the chains of a point's disks, and else in the point.
pub fn known_damage(history: &History, point: &StoredPoint) -> Vec<KnownDamage> {
    let of_disk = |disk: &DiskKey| {
        let why = damage_of_chain(history, point, disk)?;
        Some(KnownDamage { disk: Some(disk.clone()), why })
    };
    let images = point.manifest.images.iter();
    let mut found: Vec<KnownDamage> = images.filter_map(|image| of_disk(&image.disk)).collect();
    let failed = point.attributes.verified.as_ref();
    if let Some(failed) = failed.filter(|v| found.is_empty() && v.state == VerifiedState::Failed) {
        let why = failed.why.clone().unwrap_or_else(|| "verify found damage".to_owned());
        found.push(KnownDamage { disk: None, why });
    }
    found
}

fn newest_sound(found: &SurveyedPoint, sought: &Sought, disks: &[DiskKey]) -> Option<PointName> {
    let is_sound = |point: &&StoredPoint| {
        let damage = known_damage(&found.history, point);
        match disks {
            [] => damage.is_empty(),
            disks => disks.iter().all(|disk| {
                point.manifest.image(disk).is_some()
                    && damage.iter().all(|damage| damage.disk.as_ref() != Some(disk))
            }),
        }
    };
    let points = found.history.visible().filter(|point| fits(point, sought));
    points.filter(is_sound).max_by_key(|point| rank(point, sought)).map(name)
}

fn name(point: &StoredPoint) -> PointName {
    PointName { label: point.manifest.label.clone(), time: point.manifest.time }
}
