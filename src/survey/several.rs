//! Several guests that had one vmid: which of them is meant, and how they are named to a person who has
//! to choose. Not for their points: that is `restore`.

use super::sought::{SurveyedPoint, relative};
use crate::repository::StoredPoint;

/// Of guests that one cluster had under one vmid, one after the other, the one that was there last.
/// Of several clusters' nobody can tell which is meant.
pub(super) fn last_of_one_cluster(found: &[SurveyedPoint]) -> Option<usize> {
    let cluster = |candidate: &SurveyedPoint| {
        candidate.history.record.as_ref().map(|record| record.guest.cluster.clone())
    };
    let first = cluster(found.first()?)?;
    if found.iter().any(|candidate| cluster(candidate).as_ref() != Some(&first)) {
        return None;
    }
    let newest = |candidate: &SurveyedPoint| newest_of(candidate).map(|p| p.manifest.time);
    let last = (0..found.len()).max_by_key(|at| newest(&found[*at]))?;
    let as_new = found.iter().filter(|other| newest(other) >= newest(&found[last])).count();
    (as_new == 1).then_some(last)
}

fn newest_of(candidate: &SurveyedPoint) -> Option<&StoredPoint> {
    candidate.history.visible().max_by_key(|point| point.manifest.time)
}

/// The directories, each with its guest's newest point: names alone say nothing at 3 a.m.
pub(super) fn described_all(found: &[SurveyedPoint]) -> String {
    let described = |candidate: &SurveyedPoint| {
        let directory = relative(&candidate.directory);
        match newest_of(candidate).map(|point| &point.manifest) {
            Some(newest) => format!("{directory} (newest {} {})", newest.label, newest.time),
            None => directory,
        }
    };
    found.iter().map(described).collect::<Vec<_>>().join(", ")
}
