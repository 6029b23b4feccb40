//! The facts of a repair: what of a guest's directory is missing or damaged, and what it could be
//! made of again. Reads indexes and sealed copies, and no image.

use super::prune::guest;
use super::relative;
use crate::model::Label;
use crate::plan::repair::{GonePoint, LostAttributes, LostManifest, RecordSource, RepairFacts};
use crate::repository::{GuestDir, History, Unreadable, UnreadableKind};
use anyhow::Context as _;
use std::path::Path;

/// Reads what the repair of a guest's points depends on, those of one label or all.
///
/// # Errors
/// The directory cannot be read.
pub fn repair(directory: &GuestDir, label: Option<&Label>) -> anyhow::Result<RepairFacts> {
    let history = directory
        .load()
        .with_context(|| format!("read the restore points of {}", relative(directory)))?;
    let place = Place { directory, label };
    let (indexes, wrong) = directory.lost_images(&history)?;
    let lost = history.unreadable.iter().filter(|unreadable| unreadable.is_lost_manifest());
    let indexes = indexes.iter().map(|file| place.relative(file)).filter(|f| place.is_meant(f));
    let gone = history.gone.iter().filter(|gone| label.is_none_or(|label| gone.label == *label));
    let gone = gone.map(|gone| GonePoint {
        point: gone.point,
        label: gone.label.clone(),
        moment: gone.time,
    });
    let mut beyond: Vec<String> = history.unreadable.iter().filter_map(beyond_repair).collect();
    beyond.extend(wrong);
    Ok(RepairFacts {
        guest: guest(directory, &history),
        manifests: lost.filter_map(|unreadable| place.manifest(unreadable)).collect(),
        indexes: indexes.collect(),
        attributes: place.attributes(&history),
        record: record(&history),
        copies: directory.wrong_copies(&history),
        gone: gone.collect(),
        broken: history.needs_what_is_gone().map(|broken| broken.to_string()),
        beyond,
    })
}

struct Place<'a> {
    directory: &'a GuestDir,
    label: Option<&'a Label>,
}

impl Place<'_> {
    fn relative(&self, path: &Path) -> String {
        path.strip_prefix(self.directory.path()).unwrap_or(path).display().to_string()
    }

    fn is_meant(&self, relative: &str) -> bool {
        let of = |label: &Label| relative.split('/').next() == Some(label.as_str());
        self.label.is_none_or(of)
    }

    fn manifest(&self, unreadable: &Unreadable) -> Option<LostManifest> {
        let dir = unreadable.path.parent()?;
        let directory = self.relative(dir);
        let without_source = self.directory.sources_of_manifest(dir).err();
        let what = unreadable.why.clone();
        self.is_meant(&directory).then_some(LostManifest { directory, what, without_source })
    }

    fn attributes(&self, history: &History) -> Vec<LostAttributes> {
        let lost = history.unreadable.iter().filter(|unreadable| unreadable.is_attributes());
        let of_point = |unreadable: &Unreadable| {
            let dir = unreadable.path.parent()?;
            let point = history.points.iter().find(|point| point.dir == dir)?.manifest.point;
            let has_copy = unreadable.kind == UnreadableKind::Copied;
            Some(LostAttributes { directory: self.relative(dir), point, has_copy })
        };
        lost.filter_map(of_point).filter(|lost| self.is_meant(&lost.directory)).collect()
    }
}

fn record(history: &History) -> Option<RecordSource> {
    let lost = history.unreadable.iter().find(|unreadable| unreadable.is_record())?;
    // Without points there is nothing that it would follow from.
    history.record.as_ref()?;
    Some(match lost.kind {
        UnreadableKind::Copied => RecordSource::Copy,
        _ => RecordSource::Points,
    })
}

/// What cannot be read and is none of the files that can be made again.
fn beyond_repair(unreadable: &Unreadable) -> Option<String> {
    let known =
        unreadable.is_lost_manifest() || unreadable.is_attributes() || unreadable.is_record();
    (!known).then(|| unreadable.to_string())
}
