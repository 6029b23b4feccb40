//! What an increment of a volume follows, or why its next image is a base. Not what else a backup
//! does.

use super::BaseImage;
use super::facts::{BackupFacts, BackupPolicy, ImageFact, PointFact, VolumeFact};
use crate::model::{Moment, VolumeIdentity};
use crate::retention::renewal;

/// How many increments follow a base at most when neither `--renew` nor a rule of retention bounds
/// them: a restore reads all of them, and one that is lost takes those after it along.
pub const LONGEST_CHAIN: usize = 500;

/// What the next image of a volume is an increment on, or why it is a base.
pub(super) fn of(
    facts: &BackupFacts,
    policy: &BackupPolicy,
    volume: &VolumeFact,
) -> Result<BaseImage, String> {
    unless_renewed(facts, policy, volume, base_of(facts, volume)?)
}

/// The newest image of this chain whose snapshot is still on the volume, or why there is none.
fn base_of(facts: &BackupFacts, volume: &VolumeFact) -> Result<BaseImage, String> {
    if volume.change_record_invalid {
        return Err(
            "the image's object map is flagged invalid (`rbd object-map rebuild` mends it)".into(),
        );
    }
    let images = || images_of(facts, |source| *source == volume.identity);
    let Some((newest_point, newest)) = images().next() else {
        return Err(why_unknown(facts, volume));
    };
    let on_volume = |image: &ImageFact| volume.snapshots.iter().any(|s| s.identity == image.source);
    let usable = images().find(|(_, image)| image.unusable.is_none() && on_volume(image));
    if let Some((_, image)) = usable {
        return Ok(BaseImage { image: image.image, snapshot: image.source.clone() });
    }
    Err(match &newest.unusable {
        Some(why) => format!("the image of point {newest_point} {why}"),
        None => format!("snapshot {} is gone from the volume", newest.source.name),
    })
}

/// The base of an increment, or why it is time for a new base. Increments are counted along the
/// volume's images, whichever disk key it had.
fn unless_renewed(
    facts: &BackupFacts,
    policy: &BackupPolicy,
    volume: &VolumeFact,
    base: BaseImage,
) -> Result<BaseImage, String> {
    let images = || images_of(facts, |source| *source == volume.identity);
    let Some(renew) = policy.renew else {
        let rules = &policy.retention;
        let is_endless = rules.is_empty() || rules.all.is_some();
        let count = images().take_while(|(_, image)| !image.is_base).count();
        let why = format!(
            "{count} increments follow the last base, and nothing else bounds them (--renew)"
        );
        return if is_endless && count >= LONGEST_CHAIN { Err(why) } else { Ok(base) };
    };
    let newest_base = (1..).zip(images()).find(|(_, (_, image))| image.is_base);
    let Some((count, (moment, _))) = newest_base else { return Ok(base) };
    let stands_for = images().take(count).map(|(_, image)| image.increments);
    let increments = stands_for.fold(0, u32::saturating_add);
    renewal(renew, increments, moment, policy.now).map_or(Ok(base), Err)
}

fn images_of(
    facts: &BackupFacts,
    is_source: impl Fn(&VolumeIdentity) -> bool,
) -> impl Iterator<Item = (Moment, &ImageFact)> {
    let of_point = move |point: &'_ PointFact| -> Vec<usize> {
        let fits = |image: &ImageFact| is_source(&image.source.volume);
        (0..point.images.len()).filter(|i| fits(&point.images[*i])).collect()
    };
    facts.points.iter().rev().flat_map(move |point| {
        of_point(point).into_iter().map(move |i| (point.moment, &point.images[i]))
    })
}

fn why_unknown(facts: &BackupFacts, volume: &VolumeFact) -> String {
    let same_name = |image: &ImageFact| match (&image.source.volume, &volume.identity) {
        (VolumeIdentity::Rbd { pool: a, .. }, VolumeIdentity::Rbd { pool: b, .. }) => a == b,
        _ => true,
    };
    if facts.points.is_empty() {
        return "it is the first backup of this chain".into();
    }
    if facts.points.iter().flat_map(|p| &p.images).any(same_name) {
        return "the volume is another one than in earlier points (new, made again or moved)"
            .into();
    }
    "no earlier point holds this volume".into()
}
