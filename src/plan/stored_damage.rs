//! What a backup does about damage of what is stored already: it says so, and makes lost indexes
//! again. Not for mending: that is `repair`.

use super::facts::BackupFacts;
use super::repair::{IfDamaged, Mend};
use super::{Action, Item, PointAction, Step, TransferAction};
use crate::model::ImageId;
use std::collections::BTreeSet;

/// A repository in which something is damaged or missing takes the new point, and loses nothing
/// more; but a run that finds it so is not ok.
pub(super) fn warning(facts: &BackupFacts) -> Option<String> {
    let why = facts.frozen_repository.as_ref().filter(|_| facts.is_damaged)?;
    Some(format!(
        "something stored of this guest is damaged or missing ({why}): nothing of it is removed until that is mended; \
         `verify` tells what that costs, `repair` mends what can be"
    ))
}

/// The indexes that are made again before increments follow their images.
pub(super) fn indexes(facts: &BackupFacts, transfers: &[Step]) -> Vec<Item> {
    let bases = transfers.iter().filter_map(|step| match &step.action {
        Action::Transfer(TransferAction::Save { since, .. }) => {
            since.as_ref().map(|base| base.image)
        }
        _ => None,
    });
    let bases: BTreeSet<ImageId> = bases.collect();
    let images = facts.points.iter().flat_map(|point| &point.images);
    let files = images.filter(|image| bases.contains(&image.image)).flat_map(|i| &i.lost_indexes);
    let files: BTreeSet<&String> = files.collect();
    let step = |file: &String| {
        let mend = Mend::Index { file: file.clone(), if_damaged: IfDamaged::IsMarked };
        Action::Point(PointAction::Mend(mend)).because("it is missing or damaged")
    };
    files.into_iter().map(|file| Item::Step(step(file))).collect()
}
